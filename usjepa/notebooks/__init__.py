"""The book's notebooks: run with papermill, store in one normal form, check without running.

Needs the packages of the extra `book`. A stored notebook holds its outputs and, in its metadata, the fingerprints of
its own code and of the package that made them, so that stale outputs are found in milliseconds.
"""

from usjepa.notebooks.check import check_notebooks, fingerprints
from usjepa.notebooks.files import picture, read_notebook
from usjepa.notebooks.normal import normalise
from usjepa.notebooks.parameters import convert_parameters, default_parameters
from usjepa.notebooks.run import NotebookRun, batch, run_notebooks

__all__ = [
    "NotebookRun",
    "batch",
    "check_notebooks",
    "convert_parameters",
    "default_parameters",
    "fingerprints",
    "normalise",
    "picture",
    "read_notebook",
    "run_notebooks",
]
