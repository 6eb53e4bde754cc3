// Heat: how alike the feature of each token is to that of the chosen one, from -1 to 1, stored as 0 to 254.
const tables = data.similarities.map(bytes);
const grid = data.grid;
const [, rows, columns] = grid;
const tokens = grid[0] * rows * columns;
const at = [...data.start];
let query = [...at];

const number = ([t, i, j]) => (t * rows + i) * columns + j;
const named = ([t, i, j]) => `(${t},\u00a0${i},\u00a0${j})`;
const cosine = (one, other) => tables[+chosen("features")][number(one) * tokens + number(other)] / 127 - 1;

function heat(brush, value, i, j) {
  const colour = value < 0 ? "0,114,178" : "230,159,0";
  filled(brush, i, j, `rgba(${colour},${0.9 * Math.abs(value)})`);
  if (value < 0) line(brush, [i + 0.5, j + 0.3], [i + 0.5, j + 0.7], "#fff");
}

function show() {
  const nearest = [];
  all(".panel canvas").forEach((canvas, t) => {
    const brush = wiped(canvas);
    let best = null;
    for (let i = 0; i < rows; i += 1) {
      for (let j = 0; j < columns; j += 1) {
        const place = [t, i, j];
        heat(brush, cosine(query, place), i, j);
        if (number(place) !== number(query) && (!best || cosine(query, place) > cosine(query, best))) best = place;
      }
    }
    nearest.push(best);
    brush.beginPath();
    brush.arc((best[2] + 0.5) * SIDE, (best[1] + 0.5) * SIDE, SIDE / 4, 0, 7);
    Object.assign(brush, { fillStyle: "#fff", strokeStyle: "#000", lineWidth: 2 });
    brush.fill();
    brush.stroke();
    if (t === query[0]) framed(brush, query[1], query[2], "#fff");
    if (t === at[0]) framed(brush, at[1], at[2], "#e69f00", [4, 4]);
  });
  const most = nearest.map((place) => `${named(place)} ${signed(cosine(query, place), 2)}`).join(", ");
  say(`Chosen ${named(query)}. At ${named(at)}: cosine ${signed(cosine(query, at), 2)}. Most alike in each slice: ${most}.`);
}

picker({ at, grid, sliceOf: (panel) => panel, moved: show, picked: () => { query = [...at]; show(); } });
all('input[name^="features"]').forEach((input) => input.addEventListener("change", show));
show();
