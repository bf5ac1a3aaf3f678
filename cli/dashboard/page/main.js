// The page: which runs are chosen, what is known of each, and asking the server for what is new.

import { Chart, made } from "./chart.js";
import { shown } from "./numbers.js";
import { beside, kill, title } from "./reports.js";

const EVERY = 1000, LISTED = 2, MOST = 7; // Milliseconds between questions; questions between lists of runs; runs at once.
const OTHERS = "Everything else that is logged";
const LOST = "The server does not answer: it was closed, or the training that it belonged to has ended. What was read stays here.";
const part = (id) => document.getElementById(id);
const known = new Map(); // What is known of each run, by id.
const charts = new Map(); // By group and title.
let panels = [], rows = [], chosen = [], cursor = null, asked = 0;

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function fresh(id) {
  return { id, name: "", generation: 0, since: 0, version: "", columns: {}, notes: [], state: "", step: 0, steps: null, tokens: null, age: null,
    reports: { facts: [], kill: null, gates: [], skipped: null, starts: [], samples: [], notes: [] } };
}

function merge(run, told) {
  if (told.generation !== run.generation) run.columns = {};
  for (const [key, found] of Object.entries(told.columns)) {
    const column = (run.columns[key] ??= { steps: [], mean: [], low: [], high: [] });
    for (const name of ["steps", "mean", "low", "high"]) column[name].splice(found.first, Infinity, ...found[name]);
    column.last = found.last;
  }
  const { columns, reports, ...rest } = told;
  Object.assign(run, rest, reports ? { reports } : {});
}

async function follow(id) {
  const run = known.get(id) ?? fresh(id);
  known.set(id, run);
  const query = new URLSearchParams({ id, generation: run.generation, since: run.since, version: run.version });
  merge(run, await ask(`/run?${query}`));
  return run.more;
}

function choose(ids) {
  chosen = ids.slice(0, MOST);
  history.replaceState(null, "", `#${chosen.join("+")}`);
}

function firstChoice() {
  const wanted = location.hash.slice(1).split("+").filter((id) => rows.some((row) => row.id === id));
  if (wanted.length) return choose(wanted);
  const order = [...rows].sort((a, b) => (b.state === "running") - (a.state === "running") || (a.age ?? Infinity) - (b.age ?? Infinity));
  choose(order.slice(0, 1).map((row) => row.id));
}

function colour(id) { return `var(--run-${chosen.indexOf(id)})`; }

function list() {
  part("runs").hidden = rows.length < 2;
  part("count").textContent = `(${rows.length})`;
  const focused = document.activeElement?.value;
  part("list").replaceChildren(...rows.map((row) => {
    const item = made("li"), label = made("label"), box = made("input", { type: "checkbox", value: row.id });
    box.checked = chosen.includes(row.id);
    box.disabled = !box.checked && chosen.length === MOST;
    if (box.checked) label.style.setProperty("--swatch", colour(row.id));
    box.addEventListener("change", () => {
      choose(box.checked ? [...chosen, row.id] : chosen.filter((id) => id !== row.id));
      list();
      round();
    });
    const loss = row.loss === undefined ? "" : `, loss ${shown(row.loss)}`;
    label.append(box, made("b", {}, row.name), made("small", {}, `${row.state}, step ${row.step.toLocaleString("en")}${loss}`));
    item.append(label);
    return item;
  }));
  if (focused) part("list").querySelector(`input[value="${CSS.escape(focused)}"]`)?.focus();
}

function wanted(runs) {
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.columns)))];
  const named = new Set(panels.flatMap((panel) => panel.curves.map((curve) => curve.key)));
  const rest = keys.filter((key) => !named.has(key)).sort();
  const single = (key) => ({ group: OTHERS, title: key, unit: "", curves: [{ key, name: "", side: false }] });
  return [...panels.filter((panel) => panel.curves.some((curve) => keys.includes(curve.key))), ...rest.map(single)];
}

function drawCharts(runs) {
  const now = wanted(runs), place = part("charts");
  if (!now.length) {
    place.replaceChildren(made("p", { class: "hint" }, chosen.length ? "No line is logged yet: the gates of preflight come first, and the first line after the first step." : "Choose a run."));
    charts.clear();
    return;
  }
  const names = now.map((panel) => `${panel.group}/${panel.title}`);
  if (names.join() !== [...charts.keys()].join()) lay(now, names, place);
  for (const chart of charts.values()) chart.show(runs);
}

function lay(now, names, place) {
  const before = new Map(charts), groups = new Map();
  charts.clear();
  now.forEach((panel, i) => {
    charts.set(names[i], before.get(names[i]) ?? new Chart(panel, move, (text) => { part("spoken").textContent = text; }));
    if (!groups.has(panel.group)) groups.set(panel.group, []);
    groups.get(panel.group).push(charts.get(names[i]).element);
  });
  const open = place.querySelector("details")?.open;
  place.replaceChildren(...[...groups].map(([name, elements]) => {
    const folded = name === OTHERS, group = made(folded ? "details" : "div", { class: "group" }), grid = made("div", { class: "grid" });
    if (folded) {
      group.open = Boolean(open);
      group.addEventListener("toggle", () => charts.forEach((chart) => chart.draw()));
    }
    grid.append(...elements);
    group.append(made(folded ? "summary" : "h2", {}, name), grid);
    return group;
  }));
}

function move(to) {
  cursor = to;
  for (const chart of charts.values()) chart.point(cursor);
}

function same(place, elements) {
  // What did not change stays, with its focus, its selection and what was opened in it.
  const box = made("div");
  box.append(...elements);
  if (place.dataset.shown === box.innerHTML) return;
  place.dataset.shown = box.innerHTML;
  place.replaceChildren(...box.childNodes);
}

function draw() {
  const tokens = document.querySelector('input[name="x"]:checked').value === "tokens";
  const runs = chosen.map((id) => known.get(id)).filter((run) => run?.name);
  for (const run of runs) {
    run.colour = colour(run.id);
    run.scale = tokens && run.tokens ? run.tokens : 1;
    run.killed = run.reports.kill?.step;
  }
  same(part("titles"), runs.flatMap((run) => [title(run), ...kill(run)]));
  drawCharts(runs);
  same(part("reports"), runs.flatMap(beside));
  const first = runs[0];
  document.title = first ? `${first.state === "running" ? "● " : ""}${first.name}, step ${first.step.toLocaleString("en")}` : "atlas watch";
}

async function round() {
  let more = true;
  while (more) {
    more = false;
    for (const id of [...chosen]) more = await follow(id) || more;
    draw();
  }
}

async function begin() {
  [panels, rows] = await Promise.all([ask("/panels"), ask("/runs")]);
  firstChoice();
  list();
}

async function turn() {
  try {
    if (!panels.length) await begin();
    if (!document.hidden) {
      if (asked % LISTED === LISTED - 1) {
        rows = await ask("/runs");
        if (!chosen.length) firstChoice();
        list();
      }
      await round();
      asked += 1;
    }
    part("lost").hidden = true;
  } catch (error) {
    part("lost").textContent = error instanceof TypeError ? LOST : String(error.message ?? error);
    part("lost").hidden = false;
  }
  document.documentElement.dataset.turns = String(Number(document.documentElement.dataset.turns ?? 0) + 1);
  setTimeout(turn, EVERY);
}

for (const input of document.querySelectorAll('input[name="x"]')) input.addEventListener("change", draw);
addEventListener("resize", () => charts.forEach((chart) => chart.draw()));
document.addEventListener("visibilitychange", () => { if (!document.hidden) draw(); });
turn();
