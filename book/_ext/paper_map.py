"""The map between the paper and the code, from `book/map.csv`: a line is an item of the paper and one name of the code.

Columns: `kind` (a key of `KINDS`), `item`, `place` and `says` (given once an item; a claim's are those of
`usjepa.results.claims`), `code` (a dotted name), `cell` (NOTEBOOK#ID) and `test` (FILE::NAME).
"""

import csv
import re
from collections.abc import Iterable
from inspect import isclass, isfunction
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

from usjepa.results.claims import CLAIMS
from usjepa.results.ledger import REFUTED

FILE = Path(__file__).parents[1] / "map.csv"
KINDS = {
    "equation": "Equations",
    "part": "Parts of the method",
    "setting": "Settings",
    "score": "Scores",
    "table": "Tables",
    "figure": "Figures",
    "claim": "Claims",
}


class Line(NamedTuple):
    """A line of the file."""

    kind: str
    item: str
    place: str
    says: str
    code: str
    cell: str
    test: str


def lines() -> list[Line]:
    """The file's lines, each with its item's place and what it says."""
    said = {claim.key: (claim.place, claim.says) for claim in CLAIMS}
    with FILE.open(encoding="utf-8", newline="") as file:
        read = [Line(**row) for row in csv.DictReader(file)]
    for line in read:
        said.setdefault(line.item, (line.place, line.says))
    return [line._replace(place=said[line.item][0], says=said[line.item][1]) for line in read]


def from_paper() -> str:
    """A table a kind, a row an item."""
    parts = []
    for kind, title in KINDS.items():
        rows = [
            {"in the paper": _described(group[0]), "code, notebook, test": _joined(map(_place, group))}
            for group in _groups((line for line in lines() if line.kind == kind), "item")
        ]
        parts.append(f"### {title}\n\n{table(rows)}")
    return "\n\n".join(parts)


def from_code() -> str:
    """One table, a row a name of the code."""
    return table(
        [
            {"code": code_link(group[0].code), "in the paper, notebook, test": _joined(map(_use, group))}
            for group in _groups(sorted(lines(), key=attrgetter("code")), "code")
        ]
    )


def where(*words: str) -> str:
    """A line for each function and field of some items, parted by commas, with its cell and test."""
    groups = {group[0].item: group for group in _groups(lines(), "item")}
    return _joined(_place(line) for item in " ".join(words).split(", ") for line in groups[item])


def code_link(name: str) -> str:
    """A name with a link to where the reference explains it; a field is explained with its class."""
    thing = resolve_name(name)
    if not (isclass(thing) or isfunction(thing)):
        thing = resolve_name(name.rpartition(".")[0])
    return f"{{py:obj}}`{name} <{thing.__module__}.{thing.__qualname__}>`"


def row_link(item: str) -> str:
    """An item of the paper with a link to its row on the map's page."""
    return f'<a href="map.html#{_anchor(item)}">{item}</a>'


def _place(line: Line) -> str:
    return f"{code_link(line.code)} · {_cell_link(line.cell)} · {_test_in_words(line.test)}"


def _use(line: Line) -> str:
    return f"{row_link(line.item)} · {_cell_link(line.cell)} · {_test_in_words(line.test)}"


def _described(line: Line) -> str:
    """An item, what it is, and where in the paper it stands; of a claim its test too, and what would refute it."""
    said = f'<span id="{_anchor(line.item)}"></span>**{line.item}**: {line.says} ({line.place})'
    tests = {claim.key: f"<br>*Test*: {claim.test} *Refuted if* {REFUTED[claim.kind]}." for claim in CLAIMS}
    return said + tests.get(line.item, "")


def _cell_link(cell: str) -> str:
    notebook, _, name = cell.partition("#")
    return f"{{ref}}`{notebook[:2]} {name} <{cell}>`"


def _test_in_words(test: str) -> str:
    """The name of a test is a sentence."""
    file, _, name = test.partition("::")
    return f"`{Path(file).name}`: *{name.removeprefix('test_').replace('_', ' ')}*"


def _anchor(item: str) -> str:
    return "map-" + re.sub(r"[^\w.]+", "-", item.lower())


def _groups(some: Iterable[Line], field: str) -> list[list[Line]]:
    """Lines that follow each other with the same value."""
    return [list(group) for _, group in groupby(some, attrgetter(field))]


def _joined(texts: Iterable[str]) -> str:
    """Below each other."""
    return "<br>".join(texts)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of equal keys as a Markdown table."""
    heads = [str(key).replace("_", " ") for key in rows[0]]
    cells = [[_text(one) for one in row.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *cells))


def _text(value: Any) -> str:
    """Three significant digits of a number; a bar would end the cell."""
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", r"\|")
