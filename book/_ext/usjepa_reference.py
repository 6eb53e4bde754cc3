"""Fill pages from the package: its modules, the table of its notation, and the records of its benchmarks."""

import json
import pkgutil
import re
from importlib import import_module
from pathlib import Path

from sphinx.application import Sphinx

import usjepa

RECORDS = Path(usjepa.__file__).parents[1] / "benchmarks" / "records"
BENCHMARK = re.compile(r"<!-- benchmark ([\w-]+) -->")
CODE = re.compile(r"(``[^`]+``|`[^`]+`)")
SECTION = """
## {name}

```{{eval-rst}}
.. automodule:: {name}
   :members:
```
"""


def modules() -> list[str]:
    """Names of the package's modules that say what they are for, in alphabetical order."""
    names = [info.name for info in pkgutil.walk_packages(usjepa.__path__, "usjepa.") if not info.name.endswith("__")]
    return [name for name in sorted(names) if import_module(name).__doc__]


def notation() -> str:
    """The table in the package's docstring, which is a table of Markdown too."""
    return "\n".join(line for line in (usjepa.__doc__ or "").splitlines() if line.startswith("|"))


def benchmark(name: str) -> str:
    """Tables of one record: single figures first, then each list as a table of its own."""
    record = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    single = {key: value for key, value in record.items() if not isinstance(value, list) and value is not None}
    tables = [table([{"figure": key.replace("_", " "), "value": value} for key, value in single.items()])]
    return "\n\n".join(tables + [table(value) for value in record.values() if isinstance(value, list)])


def table(rows: list[dict[str, object]]) -> str:
    """Rows of equal keys as a Markdown table; numbers with three significant digits."""
    heads = [str(key).replace("_", " ") for key in rows[0]]
    cells = [[f"{one:.3g}" if isinstance(one, float) else str(one) for one in row.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *cells))


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put what the package says into the places that the pages leave for it."""
    if docname == "book/api":
        source[0] = source[0].replace("<!-- modules -->", "".join(SECTION.format(name=name) for name in modules()))
    source[0] = BENCHMARK.sub(lambda found: benchmark(found.group(1)), source[0])
    if docname == "book/notation":
        source[0] = source[0].replace("<!-- notation -->", notation())


def as_written(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks: keep bars and stars, which Sphinx would take for its markup."""
    pieces = CODE.split("\n".join(lines))
    pieces[0::2] = [re.sub(r"(?<!\n)([|*])", r"\\\1", piece) for piece in pieces[0::2]]
    pieces[1::2] = [f"``{piece.strip('`')}``" for piece in pieces[1::2]]
    lines[:] = "".join(pieces).split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx. Docstrings are taken before the extension that reads their sections, at 500, sees them."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", as_written, priority=400)
    return {"parallel_read_safe": True}
