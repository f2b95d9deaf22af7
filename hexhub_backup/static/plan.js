// Finds packages in the list of those that can be chosen, and keeps count of them.

import { fill } from "./texts.js";

const part = document.getElementById("choose-packages");

if (part) {
  const find = document.getElementById("find-package");
  const chosen = document.getElementById("packages-chosen");
  const rows = [...part.querySelectorAll("label[data-package]")];
  const boxes = rows.map((row) => row.querySelector("input"));

  const tell = () => {
    const count = boxes.filter((box) => box.checked).length;
    const shown = rows.filter((row) => !row.hidden).length;
    const { sayChosen, sayFound } = part.dataset;
    const text = find.value.trim() ? sayFound : sayChosen;
    chosen.textContent = fill(text, { count, all: boxes.length, found: shown });
  };

  find.addEventListener("input", () => {
    const text = find.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.dataset.package.toLowerCase().includes(text);
    tell();
  });
  // Enter is for the search, and must not send the form.
  find.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  part.addEventListener("change", tell);
  part.querySelector("[data-needs-scripts]").hidden = false;
  tell();
}

// What has to be fixed is where one looks and types next.
document.querySelector("[aria-invalid]")?.focus();
