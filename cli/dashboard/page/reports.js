// What stands beside the charts of a run: its title row, why it was killed, what its gates found, what it wrote.

import { made } from "./chart.js";
import { lasting, shown } from "./numbers.js";

export function title(run) {
  const row = made("div", { class: "title" });
  row.style.setProperty("--swatch", run.colour);
  row.append(made("h1", {}, run.name), made("span", { class: `pill ${run.state.split(" ")[0]}` }, run.state), numbers(run));
  if (run.steps) {
    const bar = made("progress", { class: "wide", max: run.steps, value: run.step, "aria-label": `${run.name}: steps made` });
    row.append(bar);
  }
  const facts = made("p", { class: "facts wide" });
  for (const [name, text] of run.reports.facts) {
    const part = made("span", {}, `${name} `);
    part.append(made("b", {}, text));
    facts.append(part);
  }
  if (facts.childNodes.length) row.append(facts);
  if (run.reports.skipped) row.append(made("p", { class: "note wide" }, `Preflight was skipped: “${run.reports.skipped}”`));
  for (const note of [...run.notes, ...run.reports.notes]) row.append(made("p", { class: "note wide" }, note));
  return row;
}

function numbers(run) {
  const found = [["step", run.steps ? `${run.step.toLocaleString("en")} of ${run.steps.toLocaleString("en")}` : run.step.toLocaleString("en")]];
  const last = (key) => run.columns[key]?.last;
  if (last("train/loss") !== undefined) found.push(["loss", shown(last("train/loss"))]);
  if (last("val/loss") !== undefined) found.push(["validation", shown(last("val/loss"))]);
  if (run.age !== null) found.push(["last line", `${lasting(run.age)} ago`]);
  const seconds = last("train/step_seconds");
  if (run.state === "running" && seconds) found.push(["left, about", lasting(seconds * (run.steps - run.step))]);
  const box = made("div", { class: "numbers" });
  for (const [name, text] of found) {
    const part = made("span", {}, `${name} `);
    part.append(made("b", {}, text));
    box.append(part);
  }
  return box;
}

export function kill(run) {
  if (!run.reports.kill) return [];
  return run.reports.kill.kills.map((each) => {
    const box = made("div", { class: "kill", role: "note" });
    box.append(made("b", {}, `${run.name}: ${each.sentence}. `));
    const way = run.reports.kill.checkpoint ? ` The last good checkpoint is ${run.reports.kill.checkpoint}.` : " There is no checkpoint from before the first bad step.";
    box.append(`${each.cause ? `Likely cause: ${each.cause}.` : ""}${way}`);
    return box;
  });
}

export function beside(run) {
  const found = [];
  if (run.reports.gates.length) found.push(part(run, "Gates", gates(run.reports.gates)));
  if (run.reports.samples.length) found.push(part(run, "Samples", samples(run.reports.samples)));
  if (run.reports.starts.length) found.push(part(run, "Starts", starts(run.reports.starts)));
  return found;
}

function part(run, name, content) {
  const box = made("div");
  const heading = made("h2");
  heading.append(made("i", { "aria-hidden": "true" }), `${name} of ${run.name}`);
  heading.style.setProperty("--swatch", run.colour);
  const card = made("div", { class: "card" });
  card.append(content);
  box.append(heading, card);
  return box;
}

function table(headings, rows) {
  const found = made("table");
  const head = made("tr");
  head.append(...headings.map((each) => made("th", { scope: "col" }, each)));
  found.append(made("thead"), made("tbody"));
  found.tHead.append(head);
  for (const cells of rows) {
    const row = made("tr");
    for (const cell of cells) {
      const place = made("td");
      place.append(cell);
      row.append(place);
    }
    found.tBodies[0].append(row);
  }
  return found;
}

function gates(rows) {
  return table(["Verdict", "Gate", "What it found"], rows.map((row) => {
    const found = made("div");
    const checks = made("details");
    checks.append(made("summary", {}, `${row.checks.length} checks, ${row.seconds} s`));
    for (const check of row.checks) checks.append(made("div", {}, `${check.verdict}: ${check.name} (${check.numbers})`));
    found.append(row.headline, checks);
    return [made("span", { class: `pill ${row.verdict}` }, row.verdict), row.gate, found];
  }));
}

function samples(rows) {
  const list = made("ol", { class: "samples" });
  for (const row of rows) {
    const item = made("li");
    const text = made("pre");
    text.append(made("mark", {}, row.prompt), row.text);
    item.append(made("small", {}, `step ${row.step.toLocaleString("en")}${row.ended ? ", ended the document" : ""}`), text);
    list.append(item);
  }
  return list;
}

function starts(rows) {
  return table(["From step", "Command"], rows.map((row) => [row.step.toLocaleString("en"), made("code", {}, row.command)]));
}
