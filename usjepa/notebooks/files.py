"""Notebook files as text: read, written beside and renamed."""

import os
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from usjepa.errors import InputError


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


def write_text(path: Path, text: str) -> None:
    """Write beside and rename, so that a reader never finds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
