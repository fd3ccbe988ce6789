"use strict";

// a click on a heading sorts by its column, numbers downwards first; what has no number stays last
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => sort(button.parentElement));
}

function sort(head) {
  const body = head.closest("table").tBodies[0];
  const rows = [...body.rows];
  const values = new Map(rows.map((row) => [row, row.cells[head.cellIndex].dataset.value]));
  const numeric = rows.every((row) => values.get(row) === "" || isFinite(values.get(row)));
  const before = head.getAttribute("aria-sort");
  const down = before ? before === "ascending" : numeric && head.cellIndex > 0;
  const order = (one, other) => {
    const [a, b] = [values.get(one), values.get(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    return (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true })) * (down ? -1 : 1);
  };
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows.sort(order));
}

// a method that is pointed at, or chosen, stands out in every chart of its section
for (const section of document.querySelectorAll("section.stream")) {
  let chosen = null;
  const show = (method) => {
    section.classList.toggle("chosen", method !== null);
    for (const series of section.querySelectorAll("svg .series")) {
      series.classList.toggle("hot", series.classList.contains(method));
    }
  };
  for (const button of section.querySelectorAll(".legend button")) {
    const method = button.dataset.method;
    button.addEventListener("mouseenter", () => show(method));
    button.addEventListener("mouseleave", () => show(chosen));
    button.addEventListener("click", () => {
      chosen = chosen === method ? null : method;
      for (const other of section.querySelectorAll(".legend button")) {
        other.setAttribute("aria-pressed", String(other.dataset.method === chosen));
      }
      show(chosen);
    });
  }
}

// paper cannot be opened
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.long)")) details.open = true;
});
