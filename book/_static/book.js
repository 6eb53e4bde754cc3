// On a phone wide tables and figures scroll. With a place in the tab order they do so by keys as well.
document.addEventListener("DOMContentLoaded", () => {
  const scrolled = ".pst-scrollable-table-container, :is(.cell_output, p):has(img.wide)";
  for (const box of document.querySelectorAll(scrolled)) box.tabIndex = 0;
  // The theme's buttons that unfold the pages below a page have no name.
  for (const button of document.querySelectorAll(".has-children > details > summary")) {
    button.ariaLabel = `Pages of ${button.closest("li").querySelector("a").textContent.trim()}`;
  }
});
