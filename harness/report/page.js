// Draws every picture of the page from its JSON, in the colours of the reader's theme, and keeps
// pictures and tables at the chosen measure and split.
"use strict";
(() => {
  const INK = "#010203"; // stand-ins of the pictures, see pictures.py
  const PAPER = "#fefdfc";
  const ACCENT = "#0072b2"; // too dark on a dark ground
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const canHover = matchMedia("(hover: hover) and (pointer: fine)").matches;
  const config = { responsive: true, displayModeBar: false, scrollZoom: false };
  const chosen = { measure: null, split: null };
  const hiddenTrials = new Set();
  const mapClass = document.getElementById("map-class");
  const plots = [...document.querySelectorAll(".plot")].map((place) => ({
    place,
    source: document.getElementById(`${place.id}-data`).textContent,
  }));

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    return {
      ink: read("--ink"), paper: read("--paper"), muted: read("--muted"),
      line: read("--line"), grid: read("--grid"), accent: read("--accent"),
    };
  }

  function isShown(meta) {
    if (!meta) return true;
    if (meta.view) return meta.view === `${chosen.split}|${chosen.measure}`;
    return !hiddenTrials.has(meta.trial);
  }

  function figureOf(source, colours) {
    const swapped = { [INK]: colours.ink, [PAPER]: colours.paper, [ACCENT]: colours.accent };
    const figure = JSON.parse(source, (name, value) =>
      (typeof value === "string" && Object.hasOwn(swapped, value)) ? swapped[value] : value);
    const { layout } = figure;
    layout.font.color = colours.muted;
    layout.hoverlabel = {
      ...layout.hoverlabel, bgcolor: colours.paper, bordercolor: colours.line,
      font: { color: colours.ink, size: 13 },
    };
    layout.dragmode = canHover ? "zoom" : false;
    for (const name of ["xaxis", "yaxis"]) {
      layout[name] = {
        ...layout[name], gridcolor: colours.grid, linecolor: colours.line, zeroline: false,
        showline: true, ticks: "outside", layer: "below traces", ticklen: 4, tickcolor: colours.line,
      };
    }
    const meta = layout.meta;
    const view = `${chosen.split}|${chosen.measure}`;
    if (meta && meta.ranges && meta.ranges[view]) {
      layout[meta.axis].range = meta.ranges[view];
      layout[meta.axis].title.text = meta.titles[view];
    }
    for (const trace of figure.data) trace.visible = isShown(trace.meta);
    if (meta && meta.map && mapClass.value !== "") pickOut(figure.data, colours.accent);
    return figure;
  }

  function pickOut(traces, accent) {
    for (const { customdata, marker } of traces) {
      const isPicked = customdata.map(([, label]) => String(label) === mapClass.value);
      marker.opacity = isPicked.map((picked) => picked ? 1 : 0.12);
      marker.size = isPicked.map((picked) => picked ? 10 : 6);
      if (isPicked.some((picked) => picked)) marker.color = accent;
    }
  }

  function draw() {
    const colours = theme();
    for (const { place, source } of plots) {
      const { data, layout } = figureOf(source, colours);
      Plotly.react(place, data, layout, config);
    }
  }

  function showTables() {
    for (const part of document.querySelectorAll("[data-measure]")) {
      part.hidden = part.dataset.measure !== chosen.measure;
    }
  }

  for (const input of document.querySelectorAll(".choice input")) {
    const kind = input.dataset.kind;
    if (input.defaultChecked) chosen[kind] = input.value;
    input.checked = input.defaultChecked; // browsers restore old choices on reload
    input.addEventListener("change", () => {
      chosen[kind] = input.value;
      for (const twin of document.querySelectorAll(`.choice input[data-kind="${kind}"]`)) {
        twin.checked = twin.value === input.value;
      }
      showTables();
      draw();
    });
  }
  for (const button of document.querySelectorAll("button[data-trial]")) {
    button.addEventListener("click", () => {
      const trial = button.dataset.trial;
      const isOn = hiddenTrials.has(trial);
      if (isOn) hiddenTrials.delete(trial); else hiddenTrials.add(trial);
      for (const twin of document.querySelectorAll(`button[data-trial="${trial}"]`)) {
        twin.setAttribute("aria-pressed", String(isOn));
      }
      draw();
    });
  }
  if (mapClass) {
    mapClass.value = "";
    mapClass.addEventListener("change", draw);
  }
  dark.addEventListener("change", draw);
  draw();
})();
