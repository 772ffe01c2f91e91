// Polls the server for the state of the runs, and loads a newer page without losing the reader's
// position and choices. Runs after page.js, which has reset everything.
"use strict";
(() => {
  const own = document.getElementById("watch").dataset;
  const KEY = "harness-watch";
  const QUIET_MS = 4000; // do not interrupt an active reader
  let touched = -QUIET_MS;
  let isLeaving = false;

  const counts = document.getElementById("live-counts");
  const problem = document.getElementById("live-problem");
  const runs = document.getElementById("live-runs");

  function cell(tag, text) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (tag === "th") made.scope = "row";
    return made;
  }

  function show(state) {
    counts.textContent = `Runs: ${state.counts}.`;
    problem.hidden = !state.problem;
    problem.textContent = state.problem ? `The page could not be updated: ${state.problem}` : "";
    runs.hidden = state.running.length === 0;
    runs.tBodies[0].replaceChildren(...state.running.map((texts) => {
      const row = document.createElement("tr");
      row.append(...texts.map((text, place) => cell(place ? "td" : "th", text)));
      return row;
    }));
  }

  const radios = () => [...document.querySelectorAll(".choice input")];
  const buttons = () => [...document.querySelectorAll("button[data-trial]")];
  const details = () => [...document.querySelectorAll("details")];
  const headings = () => [...document.querySelectorAll("h1, h2")];

  function keep() {
    // Anchor on the heading being read: content above it may have grown in the new page.
    const all = headings();
    const place = all.findLastIndex((each) => each.getBoundingClientRect().top <= innerHeight / 3);
    const near = place < 0 ? null : all[place];
    const summary = (each) => each.querySelector("summary")?.textContent;
    sessionStorage.setItem(KEY, JSON.stringify({
      heading: near && [near.textContent, near.getBoundingClientRect().top],
      y: scrollY,
      chosen: radios().filter((each) => each.checked).map((each) => [each.name, each.value]),
      hidden: buttons().filter((each) => each.getAttribute("aria-pressed") === "false")
        .map((each) => each.dataset.trial),
      open: details().flatMap((each, at) => (each.open ? [[at, summary(each)]] : [])),
    }));
  }

  function restore() {
    history.scrollRestoration = "manual";
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    sessionStorage.removeItem(KEY);
    if (!kept) return;
    for (const [name, value] of kept.chosen) {
      const input = radios().find((each) => each.name === name && each.value === value);
      if (input && !input.checked) input.click();
    }
    for (const trial of new Set(kept.hidden)) {
      const button = buttons().find((each) => each.dataset.trial === trial);
      if (button && button.getAttribute("aria-pressed") === "true") button.click();
    }
    const all = details();
    for (const [at, text] of kept.open) {
      if (all[at]?.querySelector("summary")?.textContent === text) all[at].open = true;
    }
    const near = kept.heading && headings().find((each) => each.textContent === kept.heading[0]);
    scrollTo(0, near ? scrollY + near.getBoundingClientRect().top - kept.heading[1] : kept.y);
  }

  function isBusy() {
    return performance.now() - touched < QUIET_MS || String(getSelection()) !== "";
  }

  async function ask() {
    if (isLeaving) return;
    try {
      const answer = await fetch("/state", { cache: "no-store" });
      const state = await answer.json();
      show(state);
      document.body.dataset.asked = "yes";
      if (state.page !== own.version && !isBusy()) {
        isLeaving = true;
        keep();
        location.reload();
      }
    } catch {
      counts.textContent = "The server does not respond: this is the last page it sent.";
    }
  }

  for (const kind of ["pointerdown", "keydown", "wheel", "touchmove"]) {
    addEventListener(kind, () => { touched = performance.now(); }, { passive: true });
  }
  restore();
  ask();
  setInterval(ask, Math.max(0.2, Number(own.every)) * 1000);
})();
