"""What must hold of a stored notebook, read from its file alone, without running it."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from nbformat import NotebookNode

import usjepa
from usjepa.notebooks.files import read_notebook
from usjepa.notebooks.parameters import tagged

LARGEST_BYTES = 1_000_000
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/-])/(home|work|root|tmp|Users)\b|site-packages")
ENCODED = re.compile(r"base64,[A-Za-z0-9+/=]+")


def check_notebooks(paths: Iterable[Path]) -> list[str]:
    """One line for each thing that is wrong with the stored notebooks, naming notebook and cell; empty if none is.

    Looked at: executed from the top (counts 1 to n), no error output unless the cell is tagged `raises-exception`, no
    stderr, no absolute path in outputs, kernel `python3`, file below 1 MB, a title, one cell tagged `parameters`, and
    fingerprints that equal the code of today. Raises InputError for a file that is no notebook.
    """
    return [f"{path}: {problem}" for path in paths for problem in _problems(path)]


def fingerprints(notebook: NotebookNode) -> dict[str, str]:
    """SHA-256 of the notebook's code cells and of the package's source, as stored in its metadata under `usjepa`."""
    cells = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    folder = Path(usjepa.__path__[0])
    sources = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py"))
    package = "\0".join(f"{name}\0{path.read_text(encoding='utf-8')}" for name, path in sources)
    return {"cells": _sha256(cells), "package": _sha256(package)}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _problems(path: Path) -> Iterator[str]:
    notebook = read_notebook(path)
    if (size := path.stat().st_size) > LARGEST_BYTES:
        yield f"{size:,} bytes, at most {LARGEST_BYTES:,} allowed; show fewer or smaller pictures"
    for rule in (_structure, _counts, _outputs, _freshness):
        yield from rule(notebook)


def _structure(notebook: NotebookNode) -> Iterator[str]:
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield f"kernel is {kernel!r}, expected 'python3'; run `make notebooks`"
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell is no title; begin it with `# `"
    if (number := len(tagged(notebook, "parameters"))) != 1:
        yield f"{number} cells tagged `parameters`, expected 1"


def _counts(notebook: NotebookNode) -> Iterator[str]:
    """A notebook that was never run passes nbval, so this is the test that it was."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield f"not executed once from the top: execution counts are {counts}; run `make notebooks`"


def _outputs(notebook: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                yield f"cell {number}: raised {output.ename}: {output.evalue}"
            if output.output_type == "stream" and output.name == "stderr":
                yield f"cell {number}: writes to stderr: {output.text.strip()[:80]!r}; silence it or print to stdout"
            if found := ABSOLUTE_PATH.search(_readable(output)):
                yield f"cell {number}: its output holds a path of one machine ({found.group()}); print a relative one"


def _readable(output: NotebookNode) -> str:
    """The text of an output without encoded pictures, in which any letters can occur by chance."""
    data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/p")}
    shown = [output.get("text", ""), *output.get("traceback", []), json.dumps(data)]
    return ENCODED.sub("", "\n".join(shown))


def _freshness(notebook: NotebookNode) -> Iterator[str]:
    stored = notebook.metadata.get("usjepa", {})
    meaning = {"cells": "its code cells changed", "package": "the package's source changed"}
    for part, now in fingerprints(notebook).items():
        if stored.get(part) != now:
            yield f"stale: {meaning[part]} since its outputs were made; run `make notebooks`"
