// One chart: curves of the chosen runs over each other, drawn anew from a few hundred buckets whenever something is new.
// A line is the mean of a bucket, a band the range of its lines and layers; what was not finite is a gap.

import { powers, short, shown, ticks } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150, LARGE = 340, LEFT = 50, RIGHT = 10, TOP = 8, BOTTOM = 20;
const WIDE = 100; // A positive metric is drawn on a logarithmic axis when its largest value is this many times its least.
const DASHES = ["", "", "6 3", "2 2"];
const DOTS = 40; // Points of a curve up to which each is marked.

export function made(name, attributes = {}, text = undefined, space = undefined) {
  const element = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const drawn = (name, attributes, text) => made(name, attributes, text, SVG);

export class Chart {
  constructor(panel, moved, spoken) {
    this.panel = panel;
    this.moved = moved;
    this.spoken = spoken;
    this.element = made("figure");
    const caption = made("figcaption");
    const heading = made("div");
    heading.append(made("h3", {}, panel.title), made("span", {}, panel.unit));
    this.last = made("b");
    const button = made("button", { type: "button", "aria-pressed": "false", "aria-label": `Show ${panel.title} large` }, "⤢");
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(this.element.classList.toggle("large")));
      this.draw();
    });
    caption.append(heading, this.last, button);
    this.svg = drawn("svg", { role: "img", tabindex: "0" });
    this.legend = made("ul", { class: "legend" });
    this.element.append(caption, this.svg, this.legend);
    this.svg.addEventListener("pointermove", (event) => this.moved(this.at(event)));
    this.svg.addEventListener("pointerleave", () => this.moved(null));
    this.svg.addEventListener("blur", () => this.moved(null));
    this.svg.addEventListener("keydown", (event) => this.pressed(event));
    this.curves = [];
    this.cursor = null;
  }

  // `runs` are those that are chosen: id, colour, columns of the log, and by what a step is multiplied on the x axis.
  show(runs) {
    this.curves = runs.flatMap((run) => this.panel.curves.flatMap((curve, number) => {
      const column = run.columns[curve.key];
      if (!column || !column.steps.length) return [];
      const name = [runs.length > 1 ? run.name : "", curve.name].filter(Boolean).join(", ") || this.panel.title;
      return [{ ...column, x: column.steps.map((step) => step * run.scale), name, side: curve.side, run, dash: DASHES[number % DASHES.length] }];
    }));
    this.runs = runs;
    this.draw();
  }

  bounds() {
    const xs = this.curves.flatMap((curve) => [curve.x[0], curve.x[curve.x.length - 1]]);
    const ys = this.curves.flatMap((curve) => [...curve.low, ...curve.high, ...curve.mean]).filter((y) => y !== null);
    let low = ys.reduce((a, b) => Math.min(a, b), Infinity), high = ys.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!ys.length) [low, high] = [0, 1];
    const main = this.curves.filter((curve) => !curve.side).flatMap((curve) => curve.mean).filter((y) => y !== null);
    const log = low > 0 && this.panel.unit !== "hours" && Math.max(...main) > WIDE * Math.min(...main);
    if (low === high) { const reach = Math.abs(low) * 0.05 || 1; low -= reach; high += reach; }
    else if (!log) { const reach = (high - low) * 0.05; [low, high] = [low >= 0 && low < reach ? 0 : low - reach, high + reach]; }
    const left = Math.min(...xs), right = Math.max(...xs);
    return { left, right: right > left ? right : left + 1, low, high, log };
  }

  draw() {
    const width = this.svg.clientWidth || 320, height = this.element.classList.contains("large") ? LARGE : HEIGHT;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    if (!this.curves.length) return;
    const { left, right, low, high, log } = this.bounds();
    const flat = log ? Math.log10 : (y) => y;
    const x = (at) => LEFT + (at - left) / (right - left) * (width - LEFT - RIGHT);
    const y = (at) => height - BOTTOM - (flat(at) - flat(low)) / (flat(high) - flat(low)) * (height - TOP - BOTTOM);
    this.place = { left, right, width, height, x };
    const parts = [];
    for (const at of log ? powers(low, high) : ticks(low, high, height > HEIGHT ? 7 : 4, this.panel.unit)) {
      parts.push(drawn("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: y(at), y2: y(at) }));
      parts.push(drawn("text", { class: "tick", x: LEFT - 6, y: y(at) + 4, "text-anchor": "end" }, short(at, this.panel.unit)));
    }
    for (const at of ticks(left, right, Math.max(3, Math.floor(width / 80)))) {
      const anchor = x(at) > width - 30 ? "end" : "middle";
      parts.push(drawn("text", { class: "tick", x: x(at), y: height - 5, "text-anchor": anchor }, short(at)));
    }
    parts.push(drawn("line", { class: "base", x1: LEFT, x2: width - RIGHT, y1: height - BOTTOM, y2: height - BOTTOM }));
    for (const curve of this.curves) parts.push(...this.curve(curve, x, y));
    for (const run of this.runs) if (run.killed) {
      const at = x(Math.min(right, Math.max(left, run.killed * run.scale)));
      parts.push(drawn("line", { class: "death", x1: at, x2: at, y1: TOP, y2: height - BOTTOM }));
    }
    this.line = drawn("line", { class: "cursor", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
    this.svg.replaceChildren(...parts, this.line);
    this.point(this.cursor);
  }

  curve(curve, x, y) {
    const parts = [], pieces = [];
    let piece = [];
    curve.x.forEach((at, i) => {
      if (curve.mean[i] === null) { pieces.push(piece); piece = []; } else piece.push(i);
    });
    pieces.push(piece);
    const corner = (i, of) => `${x(curve.x[i]).toFixed(1)} ${y(of[i]).toFixed(1)}`;
    for (const at of pieces.filter((each) => each.length)) {
      if (!curve.side && at.some((i) => curve.low[i] < curve.high[i])) {
        const below = [...at].reverse().map((i) => corner(i, curve.low));
        parts.push(drawn("path", { class: "band", d: `M${at.map((i) => corner(i, curve.high)).join("L")}L${below.join("L")}Z` }));
      }
      const kind = curve.side ? "curve side" : "curve";
      parts.push(drawn("path", { class: kind, "stroke-dasharray": curve.dash, d: `M${at.map((i) => corner(i, curve.mean)).join("L")}` }));
    }
    const whole = pieces.flat();
    if (whole.length <= (curve.side ? 1 : DOTS)) {
      for (const i of whole) parts.push(drawn("circle", { class: "dot", cx: x(curve.x[i]), cy: y(curve.mean[i]), r: 2.4 }));
    }
    for (const part of parts) part.style.setProperty("--swatch", curve.run.colour);
    return parts;
  }

  at(event) {
    if (!this.place) return null;
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
    return this.place.left + Math.min(1, Math.max(0, share)) * (this.place.right - this.place.left);
  }

  pressed(event) {
    if (!this.place) return;
    const { left, right } = this.place, step = (right - left) / (event.shiftKey ? 10 : 50);
    const now = this.cursor ?? right;
    const next = { ArrowLeft: now - step, ArrowRight: now + step, Home: left, End: right }[event.key];
    if (event.key === "Escape") this.moved(null);
    if (next === undefined) return;
    event.preventDefault();
    this.moved(Math.min(right, Math.max(left, next)));
    this.spoken(`${this.panel.title}: ${this.words()}`);
  }

  // Where the cursor is, all charts say what they have there; without one, what came last.
  point(cursor) {
    this.cursor = cursor;
    if (!this.place) return;
    if (this.line) {
      const inside = cursor !== null && cursor >= this.place.left && cursor <= this.place.right;
      this.line.setAttribute("visibility", inside ? "visible" : "hidden");
      if (inside) for (const end of ["x1", "x2"]) this.line.setAttribute(end, this.place.x(cursor));
    }
    this.tell();
  }

  values() {
    return this.curves.map((curve) => {
      const last = curve.x.length - 1;
      let i = last;
      while (this.cursor !== null && i > 0 && Math.abs(curve.x[i - 1] - this.cursor) <= Math.abs(curve.x[i] - this.cursor)) i -= 1;
      return { curve, step: curve.steps[i], value: this.cursor === null ? curve.last : curve.mean[i] };
    });
  }

  words() {
    return this.values().map(({ curve, step, value }) => `${curve.name} ${shown(value, this.panel.unit)} at step ${step}`).join("; ");
  }

  tell() {
    const values = this.values(), alone = values.length === 1;
    this.last.textContent = alone ? shown(values[0].value, this.panel.unit) : "";
    this.legend.replaceChildren(...(alone ? [] : values).map(({ curve, value }) => {
      const item = made("li");
      item.style.setProperty("--swatch", curve.run.colour);
      const key = drawn("svg", { viewBox: "0 0 18 8", "aria-hidden": "true" });
      key.append(drawn("line", { class: curve.side ? "curve side" : "curve", "stroke-dasharray": curve.dash, x1: 0, x2: 18, y1: 4, y2: 4 }));
      const name = made("span", { title: curve.name }, curve.name);
      item.append(key, name, made("b", {}, shown(value, this.panel.unit)));
      return item;
    }));
    this.svg.setAttribute("aria-label", `${this.panel.title}, ${this.panel.unit}. ${this.words()}. Arrow keys move through the steps.`);
  }
}
