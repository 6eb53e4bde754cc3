// On a phone wide tables and figures scroll. With a place in the tab order they do so by keys as well.
document.addEventListener("DOMContentLoaded", () => {
  const scrolled = ".pst-scrollable-table-container, .cell_output:has(img.wide)";
  for (const box of document.querySelectorAll(scrolled)) box.tabIndex = 0;
});
