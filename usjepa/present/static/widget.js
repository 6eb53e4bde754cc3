// Shared by the interactive figures. `figure` is the element around this script; nothing outside it is touched.
const one = (selector) => figure.querySelector(selector);
const all = (selector) => [...figure.querySelectorAll(selector)];
const data = JSON.parse(one('script[type="application/json"]').textContent);
const bytes = (uri) => Uint8Array.from(atob(uri.split(",")[1]), (letter) => letter.charCodeAt(0));
const say = (text) => { one("output").textContent = text; };
const chosen = (name) => one(`input[name^="${name}"]:checked`).value;
const signed = (x, digits) => (x < 0 ? "\u2212" : x > 0 ? "+" : "") + Math.abs(x).toFixed(digits);
const SIDE = 24; // canvas pixels a token

one(".note").remove();
all("[disabled]").forEach((control) => { control.disabled = false; });
// Groups of radio buttons reach across a page: a second view of this figure must have its own.
const view = Math.random();
all('[type="radio"]').forEach((button) => { button.name += view; });
// JupyterLab would take these keys as shortcuts of its own.
figure.addEventListener("keydown", (event) => {
  if (event.key !== "Tab" && !event.ctrlKey && !event.metaKey) event.stopPropagation();
});

// A slider, with its value in words beside it and for screen readers. Gives a function that sets it.
function slider(name, words, changed) {
  const input = one(`input[name="${name}"]`);
  const tell = () => {
    input.nextElementSibling.textContent = words(+input.value);
    input.setAttribute("aria-valuetext", words(+input.value));
  };
  input.addEventListener("input", () => { tell(); changed(+input.value); });
  tell();
  return (value) => { input.value = value; tell(); };
}

// Keys and pointer on panels of tokens. `at` is the place [t, i, j] that was reached, and is changed here; a panel
// shows the slice `sliceOf(panel number)`.
function picker({ at, grid, sliceOf, moved, picked }) {
  const board = one(".pickable");
  const steps = { ArrowUp: [1, -1], ArrowDown: [1, 1], ArrowLeft: [2, -1], ArrowRight: [2, 1] };
  Object.assign(steps, { PageUp: [0, -1], PageDown: [0, 1] });
  board.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (step) {
      at[step[0]] = Math.max(0, Math.min(grid[step[0]] - 1, at[step[0]] + step[1]));
      moved();
    } else if (event.key === "Enter" || event.key === " ") picked();
    else return;
    event.preventDefault();
  });
  all(".pickable canvas").forEach((canvas, number) => {
    const reach = (event) => {
      const box = canvas.getBoundingClientRect();
      const share = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
      at[0] = sliceOf(number);
      share.forEach((x, axis) => {
        at[axis + 1] = Math.max(0, Math.min(grid[axis + 1] - 1, Math.floor(x * grid[axis + 1])));
      });
    };
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") { reach(event); moved(); }
    });
    canvas.addEventListener("click", (event) => { reach(event); picked(); });
  });
}

// Line drawing on a canvas of tokens; i and j may be fractions.
const wiped = (canvas) => {
  const brush = canvas.getContext("2d");
  brush.clearRect(0, 0, canvas.width, canvas.height);
  return brush;
};
const filled = (brush, i, j, colour) => {
  brush.fillStyle = colour;
  brush.fillRect(j * SIDE, i * SIDE, SIDE, SIDE);
};
const framed = (brush, i, j, colour, dash = []) => {
  for (const [style, width] of [["#000", 5], [colour, 3]]) {
    Object.assign(brush, { strokeStyle: style, lineWidth: width });
    brush.setLineDash(dash);
    brush.strokeRect(j * SIDE + 2, i * SIDE + 2, SIDE - 4, SIDE - 4);
  }
  brush.setLineDash([]);
};
const line = (brush, from, to, colour, width = 2) => {
  Object.assign(brush, { strokeStyle: colour, lineWidth: width });
  brush.beginPath();
  brush.moveTo(from[1] * SIDE, from[0] * SIDE);
  brush.lineTo(to[1] * SIDE, to[0] * SIDE);
  brush.stroke();
};
