"""One notebook with many values of its parameters: one executed copy each, and one table of what came out."""

import csv
import hashlib
import io
import json
import os
import time
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import product
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from usjepa.errors import InputError
from usjepa.notebooks.files import read_notebook, write_text
from usjepa.notebooks.parameters import convert_parameters, default_parameters, tagged
from usjepa.notebooks.run import NotebookRun, execute, keep_failed, run_all, scratch_of
from usjepa.notebooks.uses import fingerprints

SCALARS = """\
# Added by `usjepa notebooks batch`: the numbers that variables hold at the end.
import json
import numbers

print(json.dumps({name: float(value) for name, value in list(globals().items())
                  if isinstance(value, numbers.Real) and not name.startswith("_")}))
"""


def batch(notebook: Path, out: Path, given: Iterable[tuple[str, str]]) -> Path:
    """Execute a notebook once for each combination of values, two at a time; gives the table, `OUT/NOTEBOOK.csv`.

    `given` are names with values as typed, a name several times for several values. The table has a line a
    combination: the executed copy's name, the parameters, seconds, and each number that a variable held at the end. A
    copy is named by the hash of its parameters, code, package files and results, so that what is done is not done
    again. Raises InputError, before anything runs, for a name that the notebook doesn't have; and at the end if one
    failed: the table then holds the others.
    """
    wanted = _combinations(read_notebook(notebook), list(given), notebook)
    copies = {out / f"{notebook.stem}-{_hash(notebook, values)}.ipynb": values for values in wanted}
    missing = {copy: values for copy, values in copies.items() if not copy.exists()}
    print(f"{len(copies)} combination(s), {len(copies) - len(missing)} done before", flush=True)
    runs = run_all([partial(_vary, notebook, copy, values) for copy, values in missing.items()])
    table = out / f"{notebook.stem}.csv"
    write_text(table, _table({copy: values for copy, values in copies.items() if copy.exists()}))
    if failures := [run.failure for run in runs if run.failure]:
        raise InputError("\n".join(failures))
    return table


def scalars(executed: NotebookNode) -> dict[str, float]:
    """The numbers that variables of a notebook held at the end of a batch's run, parameters left out."""
    (last,) = tagged(executed, "scalars")
    values: dict[str, float] = json.loads(last.outputs[0].text)
    return {name: value for name, value in values.items() if name not in default_parameters(executed)}


def _combinations(notebook: NotebookNode, given: list[tuple[str, str]], source: Path) -> list[dict[str, object]]:
    """Parameters with their values, the notebook's defaults where none was given."""
    names = list(dict.fromkeys(name for name, _ in given))
    choices = product(*([text for other, text in given if other == name] for name in names))
    typed = (dict(zip(names, texts, strict=True)) for texts in choices)
    return [default_parameters(notebook) | convert_parameters(notebook, texts, str(source)) for texts in typed]


def _hash(notebook: Path, values: Mapping[str, object]) -> str:
    made_by = {"parameters": values, **fingerprints(read_notebook(notebook), notebook.parent)}
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:12]


def _vary(path: Path, copy: Path, values: Mapping[str, object]) -> NotebookRun:
    """In a worker: execute with these values and one more cell."""
    print(f"         {copy.stem} starts: {', '.join(f'{name}={value}' for name, value in values.items())}", flush=True)
    notebook, scratch, start_s = read_notebook(path), scratch_of(copy), time.monotonic()
    notebook.cells.append(new_code_cell(SCALARS, metadata={"tags": ["scalars"]}))  # type: ignore[no-untyped-call]
    processor_s, failure = execute(path, notebook, scratch, values)
    if failure is None:
        os.replace(scratch, copy)
    else:
        failure += keep_failed(scratch, copy)
    return NotebookRun(copy.stem, round(time.monotonic() - start_s, 1), processor_s, failure)


def _table(copies: Mapping[Path, Mapping[str, object]]) -> str:
    """The copies as lines of CSV; a number that only some of them have is empty in the others."""
    lines = []
    for copy, values in copies.items():
        executed = read_notebook(copy)
        seconds = round(executed.metadata.papermill.duration, 1)
        lines.append({"notebook": copy.name, **values, "seconds": seconds, **scalars(executed)})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
