// Eq. 2 for a chain of three tokens A, B, C: counted in whole tokens, so that sums are exact.
const { grid, frames } = data;
const places = data.start;
const names = ["A", "B", "C"];
const at = [...places[0]];
const words = [["slice", "later", "earlier"], ["row", "lower", "higher"], ["column", "to the right", "to the left"]];

const minus = (one, other) => one.map((x, axis) => x - other[axis]);
const plus = (one, other) => one.map((x, axis) => x + other[axis]);
const active = () => +chosen("token");
const radio = (k) => all('input[name^="token"]')[k];

function described(offset) {
  const parts = offset.map((steps, axis) => {
    const [unit, more, less] = words[axis];
    const size = Math.abs(steps);
    return steps === 0 ? `in the same ${unit}` : `${size} ${unit}${size > 1 ? "s" : ""} ${steps > 0 ? more : less}`;
  });
  return `A lies ${parts.join(", ")}, seen from B.`;
}

function arrow(brush, from, to) {
  const [a, b] = [from, to].map(([, i, j]) => [i + 0.5, j + 0.5]);
  const turn = Math.atan2(b[0] - a[0], b[1] - a[1]);
  if (a[0] === b[0] && a[1] === b[1]) return;
  const tip = [b[0] - 0.5 * Math.sin(turn), b[1] - 0.5 * Math.cos(turn)];
  for (const [colour, width] of [["#000", 6], ["#fff", 3]]) {
    line(brush, a, tip, colour, width);
    for (const side of [-0.5, 0.5]) {
      line(brush, [tip[0] - 0.5 * Math.sin(turn + side), tip[1] - 0.5 * Math.cos(turn + side)], tip, colour, width);
    }
  }
}

function drawn() {
  const brush = wiped(one(".panel canvas"));
  arrow(brush, places[1], places[0]);
  arrow(brush, places[2], places[1]);
  places.forEach(([t, i, j], k) => {
    const here = t === at[0];
    filled(brush, i, j, here ? "#fff" : "rgba(0,0,0,.6)");
    framed(brush, i, j, ["#e69f00", "#56b4e9", "#cc79a7"][k], here ? [] : [4, 4]);
    Object.assign(brush, { fillStyle: here ? "#000" : "#fff", font: "bold 15px sans-serif" });
    Object.assign(brush, { textAlign: "center", textBaseline: "middle" });
    brush.fillText(names[k], (j + 0.5) * SIDE, (i + 0.55) * SIDE);
  });
  framed(brush, at[1], at[2], "#e69f00", [3, 3]);
}

function show() {
  one(".panel img").src = frames[at[0]];
  toSlice(at[0]);
  drawn();
  const [ab, bc] = [minus(places[0], places[1]), minus(places[1], places[2])];
  [ab, bc, plus(ab, bc), minus(places[0], places[2])].forEach((offset, row) => {
    all(`tbody tr:nth-child(${row + 1}) td`).forEach((cell, axis) => {
      cell.innerHTML = `${signed(offset[axis], 0)}/${grid[axis]}<br>${signed(offset[axis] / grid[axis], 3)}`;
    });
  });
  names.forEach((name, k) => { one(`.place-${name}`).textContent = `${name} (${places[k].join(", ")})`; });
  say(`${described(ab)} Next click or Enter, at (${at.join(", ")}), places ${names[active()]}.`);
}

const toSlice = slider("slice", (t) => `${t + 1} of ${grid[0]}`, (t) => { at[0] = t; show(); });
picker({
  at,
  grid,
  sliceOf: () => at[0],
  moved: show,
  picked: () => {
    places[active()] = [...at];
    radio((active() + 1) % 3).checked = true;
    show();
  },
});
all('input[name^="token"]').forEach((input) => input.addEventListener("change", () => {
  at.splice(0, 3, ...places[active()]);
  show();
}));
show();
