"""The parameters of a notebook: the plain assignments in its cell tagged `parameters`."""

import ast
from collections.abc import Mapping

from nbformat import NotebookNode

from usjepa.errors import InputError


def default_parameters(notebook: NotebookNode) -> dict[str, object]:
    """Names and default values, in the order of the cell; empty if no cell is tagged `parameters`."""
    defaults: dict[str, object] = {}
    for cell in tagged(notebook, "parameters"):
        for statement in ast.parse(cell.source).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                defaults[statement.targets[0].id] = _literal(ast.unparse(statement.value))
            elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
                defaults[statement.target.id] = _literal(ast.unparse(statement.value))
    return defaults


def convert_parameters(notebook: NotebookNode, given: Mapping[str, str], source: str) -> dict[str, object]:
    """Values typed as text, as Python values of the same type as the notebook's defaults.

    Raises InputError, naming `source`, for a name that the notebook doesn't have (papermill itself would only warn and
    run with the default) and for a value of another type.
    """
    defaults = default_parameters(notebook)
    values: dict[str, object] = {}
    for name, text in given.items():
        if name not in defaults:
            known = ", ".join(f"{key} = {value!r}" for key, value in defaults.items()) or "none"
            raise InputError(f"{source}: has no parameter {name!r}. Its parameters and defaults: {known}.")
        values[name] = text if isinstance(defaults[name], str) else _literal(text)
        if not _fits(values[name], defaults[name]):
            expected = f"{type(defaults[name]).__name__}, as its default {defaults[name]!r} is"
            raise InputError(f"{source}: parameter {name}: expected {expected}, got {text!r}. Give such a value.")
    return values


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    """The code cells that carry a tag."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and tag in cell.metadata.get("tags", [])]


def _fits(value: object, default: object) -> bool:
    """A whole number may stand for a decimal one; where the default is None any value is allowed."""
    as_default = float(value) if type(value) is int and isinstance(default, float) else value
    return default is None or type(as_default) is type(default)


def _literal(text: str) -> object:
    """The Python value that the text denotes, or the text itself where it denotes none (`cuda:0`, `tiny`)."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
