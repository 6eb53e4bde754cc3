"""Fill pages from the package and from committed files, and let pages link to a notebook's cell.

A comment `<!-- NAME WORDS -->` on a page stands for what the function NAME of `BLOCKS` makes of the words.
"""

import json
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pandas as pd
from docutils import nodes
from paper_map import from_code, from_paper, row_link, table, where
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

import usjepa
from usjepa.profiles import PROFILES
from usjepa.results import table as results_table
from usjepa.results.claims import CLAIMS, Claim
from usjepa.results.files import NOT_YET_RUN, read_results
from usjepa.results.ledger import HELD_BACK, LEAST_SEEDS, NOT_RESOLVED, NOT_TESTABLE, REPRODUCED, REVERSED

ROOT = Path(usjepa.__file__).parents[1]
RECORDS, RESULTS, PICTURES = ROOT / "benchmarks" / "records", ROOT / "results", ROOT / "book" / "pictures"
BLOCK = re.compile(r"<!-- (\w+)((?: [^\s>]+)*) -->")
ROOMS = [info.name for info in pkgutil.iter_modules(usjepa.__path__, "usjepa.") if info.ispkg]
CODE = re.compile(r"(``[^`]+``|`[^`]+`)")
SECTION = """
{heading}

```{{eval-rst}}
.. automodule:: {name}
   :members:
```
"""


def names_of_modules(room: str) -> list[str]:
    """Names of one room's modules, or of those beside the rooms, that say what they are for, in alphabetical order."""
    names = sorted(info.name for info in pkgutil.walk_packages(usjepa.__path__, "usjepa.") if info.name[-2:] != "__")
    return [name for name in names if room_of(name) == room and import_module(name).__doc__]


def room_of(name: str) -> str:
    """The package that a module is or is in; empty for one that stands beside them."""
    return name.split(".")[1] if name in ROOMS or name.count(".") > 1 else ""


def modules(room: str = "") -> str:
    """The reference of a room: a section a module."""
    names = names_of_modules(room)
    return "".join(SECTION.format(name=name, heading="" if name in ROOMS else f"## {name}") for name in names)


def rooms() -> str:
    """A line a room with what it is for."""
    said = {name.split(".")[1]: (import_module(name).__doc__ or "").partition("\n")[0] for name in ROOMS}
    return "\n".join(f"- {{doc}}`usjepa.{room} <api-{room}>`: {words}" for room, words in said.items())


def notation() -> str:
    """The table in the package's docstring, which is a table of Markdown too."""
    return "\n".join(line for line in (usjepa.__doc__ or "").splitlines() if line.startswith("|"))


def benchmark(name: str) -> str:
    """Tables of one record: settings and single figures first, then each list as a numbered table of its own."""
    record = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    single = {key: value for key, value in record.items() if not isinstance(value, list) and value is not None}
    first = table([{"setting": key.replace("_", " "), "value": value} for key, value in single.items()])
    lists = [(key.replace("_", " "), value) for key, value in record.items() if isinstance(value, list)]
    numbered = [f"*Table {k}: {key}*\n\n{table(rows)}" for k, (key, rows) in enumerate(lists, start=1)]
    return "\n\n".join([first, *numbered])


def results(plan: str, profile: str, folder: Path = RESULTS) -> str:
    """The committed results of a plan as a table, and what they cost; or that there are none."""
    found = read_results(folder, plan, profile)
    runs, done = found.runs, found.runs[found.runs["status"] == "done"]
    if done.empty:
        return f"*{NOT_YET_RUN.capitalize()}*: `{plan}` at profile `{profile}`."
    split = results_table.split_of(plan)
    begun = found._replace(runs=runs[runs["seed"].isin(done["seed"])])
    seeds = f"{done['seed'].nunique()} of {runs['seed'].nunique()}"
    rows = results_table.table(begun, split).rename_axis("row").reset_index().to_dict("records")
    seconds = pd.concat([done["seconds"], done.drop_duplicates("start")["start_seconds"]])
    hours = pd.to_numeric(seconds, errors="coerce").sum() / 3600
    scored = found.scores.query("split == @split and frames == 'all'")
    films = f"the {found.source}" if found.source == "phantom" else found.source
    caption = (
        f"*`{plan}` at `{profile}`: mean DSC of LV endo, LV epi and LA on all frames of a film's clip, of "
        f"{scored['patients'].max()} **{split}** patients of {films}. ± the standard deviation over seeds, in brackets "
        "that over patients.*"
    )
    cost = (
        f"{len(done)} of {len(runs)} runs are done (seeds: {seeds}), in {hours:.1f} hours of "
        f"pre-training and judging on {', '.join(done['device'].unique())}."
    )
    return f"{caption}\n\n{table(rows)}\n\n{cost}"


def picture(profile: str, name: str) -> str:
    """A committed picture of a plan's runs with its words."""
    words = pd.read_csv(PICTURES / f"{profile}.csv").set_index("picture").loc[name, "alt"]
    return f"![{words}](pictures/{profile}-{name}.png)"


def verdicts(folder: Path = RESULTS) -> str:
    """How many claims of the paper have which verdict, and a line a claim; of both a column a profile and its films."""
    found = {profile: _ledger(folder / f"ledger-{profile}.csv") for profile in PROFILES}
    ledgers = {", ".join((profile, *of["source"].unique())): of for profile, of in found.items()}
    names = (REPRODUCED, REVERSED, NOT_RESOLVED, HELD_BACK, NOT_YET_RUN, NOT_TESTABLE)
    counts = [
        {"verdict": name} | {size: str(list(of["verdict"]).count(name)) for size, of in ledgers.items()}
        for name in names
    ]
    claims = [
        {"claim": _claimed(claim)} | {size: _verdict(of.loc[claim.key]) for size, of in ledgers.items()}
        for claim in CLAIMS
    ]
    return f"{table(counts)}\n\n{table(claims)}"


def _ledger(path: Path) -> pd.DataFrame:
    """The committed lines by key; without a file every claim that could be tested is not yet run."""
    if path.exists():
        return pd.read_csv(path, dtype=str, keep_default_na=False).set_index("key")
    verdict = {claim.key: NOT_YET_RUN if claim.contrasts else NOT_TESTABLE for claim in CLAIMS}
    return pd.DataFrame({"verdict": verdict, "source": "nothing yet"})


def _verdict(line: "pd.Series[str]") -> str:
    """With its difference and interval, if all that it rests on was run; with its seeds, if these are too few.

    Of a difference that settles a claim also what it is of, and of several how many were resolved either way.
    """
    if line["verdict"] in (HELD_BACK, NOT_YET_RUN, NOT_TESTABLE):
        return line["verdict"]
    few = f" ({line['seeds']} of {LEAST_SEEDS} seeds)" if int(line["seeds"]) < LEAST_SEEDS else ""
    what = f" ({line['contrast']})" if line["verdict"] in (REPRODUCED, REVERSED) else ""
    each = f"; of {line['of']}: {line['held']} as claimed, {line['reversed']} reversed" if int(line["of"]) > 1 else ""
    return f"{line['verdict']}{few}: {line['effect']} [{line['low']}, {line['high']}] {line['unit']}{what}{each}"


def _claimed(claim: Claim) -> str:
    """A link to the claim's words, and on which side of 0 its differences are claimed to lie."""
    sides = {"above" if contrast.sign > 0 else "below" for contrast in claim.contrasts}
    return row_link(claim.key) + "".join(f" ({side} 0)" for side in sides)


# What may stand in a comment of a page.
BLOCKS = {
    "modules": modules,
    "rooms": rooms,
    "notation": notation,
    "benchmark": benchmark,
    "results": results,
    "picture": picture,
    "verdicts": verdicts,
    "from_paper": from_paper,
    "from_code": from_code,
    "where": where,
}


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put what the package and the committed files say into the places that the pages leave for it."""
    if docname.startswith("book/"):
        source[0] = BLOCK.sub(lambda found: BLOCKS[found[1]](*found[2].split()), source[0])


class CellLabels(SphinxTransform):
    """Each code cell of a notebook is a target for links: `07-predicting-features#eq1` is its cell with the id eq1."""

    default_priority = 700  # before labels are collected

    def apply(self) -> None:
        """Called by Sphinx for each page."""
        path = Path(self.env.doc2path(self.env.docname))
        if path.suffix != ".ipynb":
            return
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for node in self.document.findall(nodes.container):
            if node.get("nb_element") == "cell_code":
                name = cells[node["cell_index"]]["id"]
                node["ids"].append(f"cell-{name}")
                node["names"].append(f"{path.stem}#{name}".lower())
                self.document.note_explicit_target(node)


def as_written(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks: keep bars and stars, which Sphinx would take for its markup.

    Of an attribute what stands before a colon is no type, and a tuple's own words about its fields say nothing.
    """
    pieces = CODE.split("\n".join(lines))
    pieces[0::2] = [re.sub(r"(?<!\n)([|*])", r"\\\1", piece) for piece in pieces[0::2]]
    pieces[1::2] = [f"``{piece.strip('`')}``" for piece in pieces[1::2]]
    lines[:] = "".join(pieces).split("\n")
    if what == "attribute":
        lines[:] = [] if lines[0].startswith("Alias for field number") else ["", *lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx. Docstrings are taken before the extension that reads their sections, at 500, sees them."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", as_written, priority=400)
    app.add_transform(CellLabels)
    return {"parallel_read_safe": True}
