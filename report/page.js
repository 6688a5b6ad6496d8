"use strict";
// What a pointer rests on in the maps is said below them, for touch and keyboard too.
(() => {
  const said = document.getElementById("pointed");
  if (said) {
    for (const cell of document.querySelectorAll("#where svg polygon")) {
      const tip = cell.querySelector("title");
      if (!tip) continue;
      const say = () => { said.textContent = tip.textContent; };
      cell.addEventListener("pointerenter", say);
      cell.addEventListener("click", say);
    }
  }
  // Columns of texts can be left out, to compare two strengths.
  const choose = document.getElementById("strengths");
  if (choose) {
    const columns = [...document.querySelectorAll(".column")];
    for (const strength of new Set(columns.map((c) => c.dataset.strength))) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = columns.find((c) => c.dataset.strength === strength).querySelector("h4").textContent;
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(shown));
        for (const column of columns) if (column.dataset.strength === strength) column.hidden = !shown;
        for (const side of document.querySelectorAll(".side")) {
          side.style.setProperty("--columns", Math.max(1, side.querySelectorAll(".column:not([hidden])").length));
        }
      });
      choose.append(button);
    }
  }
  // A table is sorted by the column whose head is clicked.
  const worst = document.getElementById("worst");
  if (worst) {
    const value = (row, i) => Number(row.cells[i].textContent.replace("\u2212", "-"));
    [...worst.tHead.rows[0].cells].slice(0, 3).forEach((head, i) => {
      head.style.cursor = "pointer";
      head.title = "sort";
      let down = i === 0;
      head.addEventListener("click", () => {
        down = !down;
        const rows = [...worst.tBodies[0].rows].sort((a, b) => (value(a, i) - value(b, i)) * (down ? -1 : 1));
        worst.tBodies[0].append(...rows);
      });
    });
  }
})();
