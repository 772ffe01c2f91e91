// Draws every picture of the page from its JSON, in the colours of the reader's theme, and keeps
// pictures and tables on the selected measure and split. Also sorts tables by their headings, copies
// texts, saves the data as a file, and prints in light colours with all details open.
"use strict";
(() => {
  const INK = "#010203"; // placeholders in the pictures, see picture.py
  const PAPER = "#fefdfc";
  const ACCENT = "#0072b2"; // too dark on a dark background
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const canHover = matchMedia("(hover: hover) and (pointer: fine)").matches;
  const config = { responsive: true, displayModeBar: false, scrollZoom: false };
  const chosen = { measure: null, split: null };
  const hiddenTrials = new Set();
  const mapClass = document.getElementById("map-class");
  const allPlots = [...document.querySelectorAll(".plot")].map((place) => ({
    place,
    source: document.getElementById(`${place.id}-data`).textContent,
  }));
  const plotsOfViews = allPlots.filter(({ source }) => source.includes('"meta":{"view":'));

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
    figure.data = figure.data.filter((trace) => isShown(trace.meta));
    for (const trace of figure.data) trace.visible = true;
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

  function drawOne({ place, source }, colours) {
    const { data, layout } = figureOf(source, colours);
    Plotly.react(place, data, layout, config);
    place.dispatchEvent(new Event("drawn"));
  }

  // Draw the visible pictures first, then the rest one at a time, so that the page stays responsive.
  let drawing = 0;
  let waiting = false;
  function draw(plots = allPlots) {
    const colours = theme();
    const isNear = ({ place }) => {
      const box = place.getBoundingClientRect();
      return box.bottom > -200 && box.top < innerHeight + 200;
    };
    const near = plots.filter(isNear);
    for (const plot of near) drawOne(plot, colours);
    const later = plots.filter((plot) => !near.includes(plot));
    const turn = ++drawing;
    const next = () => {
      if (turn !== drawing) return;
      waiting = later.length > 0;
      if (!waiting) return;
      drawOne(later.shift(), colours);
      setTimeout(next);
    };
    waiting = true;
    setTimeout(next);
  }

  function showTables() {
    for (const part of document.querySelectorAll("[data-measure][data-split]")) {
      part.hidden = part.dataset.measure !== chosen.measure || part.dataset.split !== chosen.split;
    }
  }

  // A cell's number, else its text; empty cells sort last in either direction.
  const collator = new Intl.Collator("en", { numeric: true });
  function keyOf(cell) {
    const text = cell.textContent.trim().replaceAll("\u2212", "-");
    if (!text || text === "\u2013") return null;
    const found = text.match(/^<?\s*([-+]?\d+(\.\d*)?(e[-+]?\d+)?)/i);
    return cell.tagName === "TH" || !found ? text : Number(found[1]);
  }
  function compared(a, b, direction) {
    if (a === null || b === null) return (a === null) - (b === null);
    const both = typeof a === "number" && typeof b === "number";
    return direction * (both ? a - b : collator.compare(String(a), String(b)));
  }
  function sortBy(head, column) {
    const direction = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
    const body = head.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, key: keyOf(row.cells[column]) }));
    rows.sort((one, other) => compared(one.key, other.key, direction));
    body.append(...rows.map(({ row }) => row));
    for (const each of head.parentElement.cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  }
  for (const head of document.querySelectorAll("table.results thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(head, head.cellIndex));
  }

  const status = document.createElement("p");
  status.className = "status";
  status.setAttribute("role", "status");
  document.body.append(status);
  function say(button, text) {
    const before = button.dataset.label ?? button.textContent;
    button.dataset.label = before;
    button.textContent = status.textContent = text;
    setTimeout(() => { button.textContent = before; status.textContent = ""; }, 2000);
  }
  async function copy(button) {
    const place = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(place.textContent);
    } catch { // an older browser, or one that requires more than a click
      getSelection().selectAllChildren(place);
      if (!document.execCommand("copy")) return say(button, "Press Ctrl+C");
    }
    say(button, "Copied");
  }
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(button));
  }
  for (const button of document.querySelectorAll("[data-download]")) {
    button.addEventListener("click", () => {
      const text = JSON.parse(document.getElementById(button.dataset.download).textContent);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
      link.download = button.dataset.file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const each of opened) each.open = true;
    document.documentElement.dataset.print = "";
    const colours = theme();
    drawing += 1;
    waiting = false;
    for (const plot of allPlots) drawOne(plot, colours);
  });
  addEventListener("afterprint", () => {
    for (const each of opened) each.open = false;
    delete document.documentElement.dataset.print;
    draw();
  });

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
      draw(waiting ? allPlots : plotsOfViews); // others may still be waiting to be drawn
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
    mapClass.addEventListener("change", () => draw());
  }
  dark.addEventListener("change", () => draw());
  draw();
})();
