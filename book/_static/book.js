// On a phone wide tables scroll. With a place in the tab order they do so by keys as well.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".pst-scrollable-table-container")) box.tabIndex = 0;
});
