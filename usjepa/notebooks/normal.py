"""One normal form for a stored notebook: two runs of the same notebook give the same bytes."""

import copy
import json
import re
from collections.abc import Mapping

from nbformat import NotebookNode

from usjepa.notebooks.files import from_text, to_text

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
RANDOM_ID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){0,3}(-?[0-9a-f]{12})?")
MODEL_ID = re.compile(r"[0-9a-f]{32}")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PROGRESS = re.compile(r"\d+%\|")
VOLATILE = ("execution", "papermill")


def normalise(notebook: NotebookNode) -> NotebookNode:
    """A copy of the notebook without anything that differs between two equal runs.

    Timings, papermill's records and progress bars go, the kernel is `python3`, pieces of one output stream are joined,
    random cell ids become `cell-01`, `cell-02`, ... (chosen ids stay) and widget models are numbered in order of
    appearance. Normalising twice changes nothing more. Other outputs that hold a time are the notebook's own affair.
    """
    result = copy.deepcopy(notebook)
    kept = {key: value for key, value in result.metadata.items() if key not in VOLATILE}
    result.metadata = kept | {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    result.nbformat, result.nbformat_minor = 4, 5
    for cell in result.cells:
        _clean_cell(cell)
    _name_cells(result.cells)
    return _number_widgets(result)


def _clean_cell(cell: NotebookNode) -> None:
    empty = [key for key, value in cell.metadata.items() if key in VOLATILE or value in ([], {})]
    for key in empty:
        del cell.metadata[key]
    if cell.cell_type == "code":
        cell.outputs = _joined_streams([output for output in cell.outputs if not _is_progress(output)])


def _is_progress(output: NotebookNode) -> bool:
    """Whether an output is the widget of a progress bar, which tqdm describes as `name:  40%|...`."""
    data = output.get("data", {})
    return WIDGET_VIEW in data and bool(PROGRESS.search(data.get("text/plain", "")))


def _joined_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """A kernel may send one print in one or in several pieces: join neighbours of the same stream."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == "stream" == joined[-1].output_type and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _name_cells(cells: list[NotebookNode]) -> None:
    """Give each cell without a chosen, unique id the first free number."""
    taken: set[str] = set()
    unnamed = []
    for cell in cells:
        if "id" not in cell or RANDOM_ID.fullmatch(cell.id) or cell.id in taken:
            unnamed.append(cell)
        else:
            taken.add(cell.id)
    free = (name for number in range(1, 2 * len(cells) + 1) if (name := f"cell-{number:02d}") not in taken)
    for cell, name in zip(unnamed, free, strict=False):
        cell.id = name


def _number_widgets(notebook: NotebookNode) -> NotebookNode:
    """Rename the random ids of widget models, and forget the models that no output shows any more."""
    saved = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {})
    order = _order_of_appearance(notebook, saved.get("state", {}))
    if not order:
        notebook.metadata.pop("widgets", None)
        return notebook
    saved["state"] = {model: saved["state"][model] for model in order}
    names = {old: f"{number:032x}" for number, old in enumerate(order, start=1)}
    text = MODEL_ID.sub(lambda match: names.get(match.group(), match.group()), to_text(notebook))
    return from_text(text)


def _order_of_appearance(notebook: NotebookNode, widgets: Mapping[str, object]) -> list[str]:
    """Ids as the outputs show them, each followed by the models it refers to; then the links between these."""
    refers = {model: MODEL_ID.findall(json.dumps(state, sort_keys=True)) for model, state in widgets.items()}
    waiting = MODEL_ID.findall(json.dumps([cell.get("outputs", []) for cell in notebook.cells]))
    order: dict[str, None] = {}
    while waiting:
        model = waiting.pop(0)
        if model in refers and model not in order:
            order[model] = None
            waiting = refers[model] + waiting
    links = [model for model in refers if refers[model] and model not in order and order.keys() >= {*refers[model]}]
    place = list(order)
    return place + sorted(links, key=lambda link: [place.index(end) for end in refers[link]])
