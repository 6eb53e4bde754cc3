// Context shows the picture, a target is blue with one stroke, what is neither is orange with a cross.
const roles = data.roles.map(bytes);
const [, slices, rows, columns] = data.shape;
const state = { draw: 0, slice: 0 };

function mark(brush, role, i, j) {
  if (role === 0) return;
  filled(brush, i, j, role === 1 ? "rgba(0,114,178,.85)" : "#e69f00");
  const [top, left, low, right] = [i + 0.2, j + 0.2, i + 0.8, j + 0.8];
  line(brush, [low, left], [top, right], role === 1 ? "#fff" : "#000");
  if (role === 2) line(brush, [top, left], [low, right], "#000");
}

function show() {
  all(".panel").forEach((panel, number) => {
    const brush = wiped(panel.querySelector("canvas"));
    const counts = [0, 0, 0];
    const first = (state.draw * slices + state.slice) * rows * columns;
    roles[number].subarray(first, first + rows * columns).forEach((role, token) => {
      counts[role] += 1;
      mark(brush, role, Math.floor(token / columns), token % columns);
    });
    panel.querySelector("img").src = data.frames[state.slice];
    panel.querySelector(".numbers").textContent =
      `${counts[0]} context, ${counts[1]} target, ${counts[2]} neither`;
  });
}

all(".key canvas").forEach((canvas, role) => mark(wiped(canvas), role, 0, 0));
for (const name of ["draw", "slice"]) {
  const count = data.shape[name === "draw" ? 0 : 1];
  slider(name, (value) => `${value + 1} of ${count}`, (value) => { state[name] = value; show(); });
}
show();
