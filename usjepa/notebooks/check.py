"""What must hold of a stored notebook, read from its file alone, without running it."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from usjepa.errors import InputError
from usjepa.notebooks.uses import OUTSIDE, climbs, read_files, sha_of, sha_of_code, used_modules

LARGEST_BYTES = 1_000_000
SHOWN = 3
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/-])/(home|work|root|tmp|Users)\b|site-packages")
ENCODED = re.compile(r"base64,[A-Za-z0-9+/=]+")

Notebook = dict[str, Any]


def check_notebooks(paths: Iterable[Path]) -> list[str]:
    """One line for each thing that is wrong with the stored notebooks, naming notebook and cell; empty if none is.

    Looked at: executed from the top to the end, no error output unless the cell is tagged `raises-exception`, no
    stderr, no absolute path in outputs, kernel `python3`, file below 1 MB, a title, one cell tagged `parameters`, and
    outputs made by today's cells, package files and results. Raises InputError for a file that is no notebook.
    """
    return [f"{path}: {problem}" for path in paths for problem in _problems(path)]


def _problems(path: Path) -> Iterator[str]:
    notebook = _read(path)
    if (size := path.stat().st_size) > LARGEST_BYTES:
        yield f"{size:,} bytes, at most {LARGEST_BYTES:,} allowed; show fewer or smaller pictures"
    for rule in (_structure, _counts, _outputs):
        yield from rule(notebook)
    yield from _freshness(notebook, path)


def _read(path: Path) -> Notebook:
    """The file as plain JSON with each cell's source joined: nbformat takes seconds to import."""
    try:
        notebook: Notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
    except OSError as error:
        raise InputError(f"{path}: expected a notebook, found no readable file. Name an .ipynb file.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: expected a notebook, got something else ({error}). Name an .ipynb file.") from error
    return notebook


def _structure(notebook: Notebook) -> Iterator[str]:
    kernel = notebook["metadata"].get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield f"kernel is {kernel!r}, expected 'python3'; run `make notebooks`"
    first = notebook["cells"][0] if notebook["cells"] else None
    if first is None or first["cell_type"] != "markdown" or not first["source"].startswith("# "):
        yield "the first cell is no title; begin it with `# `"
    if (number := sum("parameters" in _tags(cell) for cell in notebook["cells"])) != 1:
        yield f"{number} cells tagged `parameters`, expected 1"
    if climbs(notebook):
        yield "a path is put together from '..'; write it as one string, '../results/...', to show what is read"


def _counts(notebook: Notebook) -> Iterator[str]:
    """A notebook that was never run passes nbval, so this is the test that it was."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and cell["source"].strip()]
    counts = [cell.get("execution_count") for cell in code]
    done = next((number for number, count in enumerate(counts) if count != number + 1), len(counts))
    if done < len(counts) and not any(counts[done:]):
        yield f"{'half run' if done else 'never run'}: {done} of {len(counts)} code cells; run `make notebooks`"
    elif done < len(counts):
        yield f"not executed once from the top: execution counts are {counts}; run `make notebooks`"


def _outputs(notebook: Notebook) -> Iterator[str]:
    for number, cell in enumerate(notebook["cells"], start=1):
        for output in cell.get("outputs", []):
            kind, text = output["output_type"], "".join(output.get("text", ""))
            if kind == "error" and "raises-exception" not in _tags(cell):
                yield f"cell {number}: raised {output['ename']}: {output['evalue']}"
            if kind == "stream" and output["name"] == "stderr":
                yield f"cell {number}: writes to stderr: {text.strip()[:80]!r}; silence it or print to stdout"
            if found := ABSOLUTE_PATH.search(_readable(output)):
                yield f"cell {number}: its output holds a path of one machine ({found.group()}); print a relative one"


def _tags(cell: dict[str, Any]) -> list[str]:
    tags: list[str] = cell["metadata"].get("tags", [])
    return tags


def _readable(output: dict[str, Any]) -> str:
    """The text of an output without encoded pictures, in which any letters can occur by chance."""
    data = [value for kind, value in output.get("data", {}).items() if not kind.startswith("image/p")]
    shown = [json.dumps(value) if isinstance(value, dict) else "".join(value) for value in data]
    return ENCODED.sub("", "\n".join(["".join(output.get("text", "")), *output.get("traceback", []), *shown]))


def _freshness(notebook: Notebook, path: Path) -> Iterator[str]:
    """What a file imports can change only with the file, so that of the package only files on record are looked at.

    But the name that a cell uses may come from another module since, and other results may lie beside those read.
    """
    stored = notebook["metadata"].get("usjepa", {})
    files: dict[str, str] = stored.get("files", {})
    folder, remedy = path.parent, f"since its outputs were made; run `usjepa notebooks run {path}`"
    now = used_modules(notebook) | read_files(notebook, folder)
    if stored.get("cells") != sha_of_code(notebook):
        yield f"stale: its code cells changed {remedy}"
    changed = [name for name in sorted(now | files.keys()) if files.get(name) != sha_of(name, folder)]
    for what, names in (
        ("the package", [name for name in changed if not name.startswith(OUTSIDE)]),
        ("results", [name for name in changed if name.startswith(OUTSIDE)]),
    ):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield f"stale: of {what} {', '.join(names[:SHOWN])}{more} changed {remedy}"
