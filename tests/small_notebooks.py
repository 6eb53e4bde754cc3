"""Notebooks made on the spot, for the tests of what runs and checks them."""

from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from usjepa.notebooks import fingerprints, normalise
from usjepa.notebooks.files import to_text

PARAMETERS = "seed: int = 0  # random seed\nprofile = 'tiny'\nrate = 0.5\ndata = None"


def fresh(*sources: str):
    """A notebook as an author writes it: title, parameters, further code, nothing executed."""
    first = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    return new_notebook(cells=[new_markdown_cell("# A title"), first, *map(new_code_cell, sources)])


def stored(source: str = "print(seed)", folder: Path = Path()):
    """A notebook as it should be stored in `folder`, without the time that a run takes."""
    notebook = normalise(fresh(source))
    notebook.cells[1].execution_count, notebook.cells[2].execution_count = 1, 2
    notebook.cells[2].outputs = [new_output("stream", name="stdout", text="0\n")]
    notebook.metadata["usjepa"] = fingerprints(notebook, folder)
    return notebook


def save(notebook, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_text(notebook))
    return path
