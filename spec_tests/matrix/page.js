// Sorting by a column, filters, and the counts of the precision that is chosen. Without it the page shows everything.
"use strict";
(() => {
  const table = document.getElementById("matrix");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const listed = [...rows];
  const fields = ["name", "numerics", "verdict"].map((id) => document.getElementById(id));
  const found = document.getElementById("found");

  // "f64:3:0 f32:2:1" -> the passed and the failed of one precision, or of all.
  function counts(cell, numerics) {
    let passed = 0, failed = 0;
    for (const part of (cell.dataset.counts || "").split(" ").filter(Boolean)) {
      const [name, good, bad] = part.split(":");
      if (numerics === "" || name === numerics) { passed += Number(good); failed += Number(bad); }
    }
    return { passed, failed };
  }

  const tones = { pass: "good", convention: "part", fail: "bad", absent: "none" };

  // What a cell says in one precision: a failure elsewhere is not one here.
  function kindOf(cell, { passed, failed }) {
    if (failed) return "fail";
    if (!passed) return "absent";
    return cell.dataset.named === "yes" ? "convention" : "pass";
  }

  function show() {
    const [name, numerics, verdict] = fields.map((field) => field.value.trim().toLowerCase());
    let shown = 0;
    for (const row of rows) {
      const total = { passed: 0, failed: 0 };
      const kinds = new Set();
      for (const cell of row.cells) {
        if (!cell.dataset.chapter) continue;
        const count = counts(cell, numerics);
        const kind = kindOf(cell, count);
        total.passed += count.passed;
        total.failed += count.failed;
        kinds.add(kind);
        cell.dataset.kind = kind;
        cell.className = `number ${tones[kind]}`;
        cell.textContent = kind === "absent" ? "" : count.failed ? `${count.passed} / ${count.failed}` : count.passed;
      }
      for (const cell of row.querySelectorAll("[data-total]")) cell.textContent = total[cell.dataset.total];
      const asked = numerics === "" || total.passed + total.failed > 0;
      row.hidden = !(row.dataset.name.toLowerCase().includes(name) && asked && (verdict === "" || kinds.has(verdict)));
      shown += !row.hidden;
      for (const card of document.querySelectorAll("section.card")) {
        if (card.dataset.name === row.dataset.name) card.hidden = row.hidden;
      }
    }
    found.textContent = `${shown} of ${rows.length} shown`;
  }

  function valueOf(row, place) {
    if (place === 0) return row.dataset.name.toLowerCase();
    const cell = row.cells[place];
    if (row.dataset.absent || !cell) return -Infinity;
    if (cell.dataset.total) return Number(cell.textContent);
    const { passed, failed } = counts(cell, fields[1].value);
    return passed + failed === 0 ? -Infinity : passed - 1e6 * failed;
  }

  function sort(head, place) {
    const ascending = head.getAttribute("aria-sort") === "descending" || (place === 0 && !head.hasAttribute("aria-sort"));
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    arrange(place, ascending);
  }

  function arrange(place, ascending) {
    const compared = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    body.append(...[...rows].sort((a, b) => (ascending ? 1 : -1) * compared(valueOf(a, place), valueOf(b, place))));
  }

  // The heads of columns are not there on a narrow screen; this is.
  const order = document.getElementById("order");
  order.addEventListener("input", () => {
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
    if (order.value === "") body.append(...listed);
    else arrange(Number(order.value), order.value === "0");
  });

  for (const field of fields) field.addEventListener("input", show);
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    head.querySelector("button").addEventListener("click", () => sort(head, place));
  });
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("filters").hidden = false;
  show();
})();
