// On a phone a table of prose that is too wide is read row by row, each cell under its column's name; of others, and of
// wide figures, one sees a part and scrolls. With a place in the tab order they do so by keys as well.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".pst-scrollable-table-container")) {
    const table = box.querySelector("table:not(.dataframe)");
    if (table && box.scrollWidth > box.clientWidth) stack(table);
  }
  const scrolled = ".pst-scrollable-table-container, .cell_output:has(img.wide)";
  for (const box of document.querySelectorAll(scrolled)) box.tabIndex = 0;
});

function stack(table) {
  const names = [...table.querySelectorAll("thead th")].map((head) => head.textContent);
  for (const row of table.tBodies[0].rows) {
    [...row.cells].forEach((cell, k) => cell.setAttribute("data-name", names[k]));
  }
  table.classList.add("stacked");
}
