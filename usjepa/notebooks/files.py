"""Notebook files as text: read, written beside and renamed."""

import base64
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from usjepa.errors import InputError
from usjepa.files import replaced


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook file. Raises InputError if it is missing or no notebook."""
    try:
        return from_text(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: expected a notebook, found no readable file. Name an .ipynb file.") from error
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        raise InputError(f"{path}: expected a notebook, got something else ({error}). Name an .ipynb file.") from error


def from_text(text: str) -> NotebookNode:
    """The notebook that a file's text holds, in format 4."""
    notebook: NotebookNode = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def to_text(notebook: NotebookNode) -> str:
    """The notebook as the text of its file: keys sorted, one space of indentation, a newline at the end."""
    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"  # type: ignore[no-untyped-call]


def picture(notebook: NotebookNode, cell_id: str) -> bytes:
    """The first PNG among a cell's stored outputs. Raises InputError if there is no such cell or picture."""
    outputs = [output for cell in notebook.cells if cell.id == cell_id for output in cell.get("outputs", [])]
    for output in outputs:
        if "image/png" in output.get("data", {}):
            return base64.b64decode(output.data["image/png"])
    raise InputError(f"{cell_id}: expected a cell with a picture, found {len(outputs)} outputs without. Run it first.")


def write_text(path: Path, text: str) -> None:
    """Write a file, with its folder, that no reader ever finds half of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as beside:
        beside.write_text(text, encoding="utf-8")
