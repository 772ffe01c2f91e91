// Inserts pictures wherever they are named; on a map, shows the image under the pointer and all
// images of the selected class.
"use strict";
(() => {
  const source = document.getElementById("pictures");
  if (!source) return;
  const { pictures, classes } = JSON.parse(source.textContent);
  const ABOVE = 12; // pixels between the pointer and the tooltip

  for (const image of document.querySelectorAll("img[data-picture]")) {
    image.src = pictures[image.dataset.picture];
  }

  function pictureOf(name, text) {
    if (!name) {
      const frame = document.createElement("span");
      frame.className = "nothing";
      frame.textContent = "no picture";
      frame.setAttribute("role", "img");
      frame.setAttribute("aria-label", text);
      return frame;
    }
    const image = document.createElement("img");
    image.src = pictures[name];
    image.alt = text;
    image.width = image.height = 64;
    return image;
  }

  const maps = [...document.querySelectorAll(".plot[id^='map-']")];
  if (!maps.length) return;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);

  function follow(map) {
    map.on("plotly_hover", ({ event, points: [point] }) => {
      const [image, label, name] = point.customdata;
      const words = document.createElement("span");
      words.textContent = `${classes[label]}, image ${image}`;
      tip.replaceChildren(pictureOf(name, ""), words);
      tip.hidden = false;
      const left = Math.min(event.clientX + ABOVE, innerWidth - tip.offsetWidth - ABOVE);
      const top = event.clientY - tip.offsetHeight - ABOVE;
      tip.style.left = `${Math.max(ABOVE, left)}px`;
      tip.style.top = `${top < ABOVE ? event.clientY + ABOVE : top}px`;
    });
    map.on("plotly_unhover", () => { tip.hidden = true; });
  }
  for (const map of maps) {
    if (map.on) follow(map);
    else map.addEventListener("drawn", () => follow(map), { once: true });
  }
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  const choice = document.getElementById("map-class");
  const list = document.getElementById("map-images");
  choice.value = ""; // browsers restore old choices on reload
  choice.addEventListener("change", () => {
    const items = choice.value === "" ? [] : maps[0].data
      .flatMap((trace) => trace.customdata)
      .filter(([, label]) => String(label) === choice.value)
      .map(([image, label, name]) => {
        const item = document.createElement("li");
        item.append(pictureOf(name, `${classes[label]}, image ${image}`));
        return item;
      });
    list.replaceChildren(...items);
  });
})();
