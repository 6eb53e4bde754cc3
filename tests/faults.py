"""The book's notebooks run with a fault in the package, for tests that ask where they stop."""

from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


class Stop(NamedTuple):
    """Where a notebook stopped: the cell's name, the kind of error and its message."""

    cell: str
    kind: str
    message: str


def faulty(name: str, fault: str) -> NotebookNode:
    """A notebook with the fault behind its imports."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    (setup,) = [cell for cell in notebook.cells if cell.id == "setup"]
    setup.source += fault
    return notebook


def execute(notebook: NotebookNode) -> None:
    """Run all cells in place. Raises CellExecutionError where one fails."""
    place = {"metadata": {"path": NOTEBOOKS}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()


def stop_of(notebook: NotebookNode) -> Stop:
    """Where the notebook stops, which it has to."""
    with pytest.raises(CellExecutionError):
        execute(notebook)
    outputs = [(cell.id, out) for cell in notebook.cells for out in cell.get("outputs", [])]
    (stop,) = [Stop(name, out.ename, out.evalue) for name, out in outputs if out.output_type == "error"]
    return stop
