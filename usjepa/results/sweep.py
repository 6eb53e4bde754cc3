"""Run what is missing of a table, in any number of processes at once: each run is one process's at a time."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from usjepa.errors import InputError
from usjepa.evaluation.metrics import summary
from usjepa.recipe import Pretraining, Published, SegmentRecipe
from usjepa.recipe_file import recipe_hash
from usjepa.results.failures import failure_of, forget_failures, record_failure
from usjepa.results.plan import Cell, runs_of
from usjepa.training.experiment import run as run_recipe
from usjepa.training.runs import Run, open_run
from usjepa.training.workspace import Workspace

State: TypeAlias = Literal["done", "failed", "busy"]
PAUSE_S = 1.0
"""Between two looks, when other processes are at all that is left."""


def sweep(cells: Sequence[Cell], workspace: Workspace, *, retries: bool = False) -> list[Cell]:
    """Run each cell that is not done, the first free one at a time; the cells that failed.

    A cell that another process is at, or whose pre-training it is at, is come back to. One that fails is recorded in
    its run's folder, and tried again only if this `retries`. A kill loses no more than the steps since the last
    checkpoint. Raises InputError, before anything is run, for runs of other data or weights that are not given.
    """
    space = replace(workspace, waits=False)
    _prepare(cells, space)
    if retries:
        forget_failures(cells, space.root)
    waiting, failed = [cell for cell in cells if not _is_done(cell, space)], list[Cell]()
    done = len(cells) - len(waiting)
    with tqdm(total=len(cells), initial=done, desc="cells", disable=not space.is_shown) as bar:
        while waiting:
            cell, state, seconds = _next(waiting, space)
            if state == "busy":
                time.sleep(PAUSE_S)
                continue
            waiting.remove(cell)
            bar.update()
            if state == "failed":
                failed.append(cell)
            bar.write(
                f"{len(cells) - len(waiting)} of {len(cells)}  {cell.label}: {_said(cell, space)}, {seconds:.0f} s"
            )
    return failed


def _next(waiting: Sequence[Cell], workspace: Workspace) -> tuple[Cell, State, float]:
    """Run the first cell that is free, or say that none is: cell, state, and seconds spent on it here."""
    for cell in waiting:
        began = time.perf_counter()
        state = _attempt(cell, workspace)
        if state != "busy":
            return cell, state, time.perf_counter() - began
    return waiting[0], "busy", 0.0


def _attempt(cell: Cell, workspace: Workspace) -> State:
    """Run what of a cell is not done, the oldest run first, until another process is found at one of them."""
    if failure_of(cell, workspace.root):
        return "failed"
    for recipe in runs_of(cell.recipe):
        run = Run(workspace.root / recipe_hash(recipe), recipe)
        state: State = "done" if run.done else "busy" if _is_held(run) else _run(run, workspace)
        if state != "done":
            return state
    return "done"


def _run(run: Run, workspace: Workspace) -> State:
    """Run one recipe whose ancestors are done; a failure is written down.

    Another process may take the run, or look whether it is free, just before this one does. So an InputError counts
    only if it comes twice while nobody holds the run.
    """
    for _ in range(2):
        try:
            run_recipe(run.recipe, workspace)
        except FloatingPointError as error:
            failure: InputError | FloatingPointError = error
            break
        except InputError as error:
            if _is_held(run):
                return "busy"
            failure = error
        else:
            return "done"
    record_failure(run, failure, workspace)
    return "failed"


def _is_held(run: Run) -> bool:
    """Whether another process trains this run now."""
    if not run.folder.is_dir():
        return False
    try:
        FileLock(run.folder / ".lock", timeout=0).acquire().lock.release()
    except Timeout:
        return True
    return False


def _is_done(cell: Cell, workspace: Workspace) -> bool:
    return Run(workspace.root / cell.hash, cell.recipe).done


def _prepare(cells: Sequence[Cell], workspace: Workspace) -> None:
    """What would fail for all cells alike fails here; scenes, which many share, are rendered first."""
    runs = {one for cell in cells for one in runs_of(cell.recipe)}
    starts = {one.start for one in runs if isinstance(one, Pretraining | SegmentRecipe)}
    for published in (start for start in starts if isinstance(start, Published)):
        workspace.weights_of(published)
    for one in runs:
        if isinstance(one, Pretraining) and one.scenes:
            workspace.films(one)
    for cell in cells:
        if (workspace.root / cell.hash / "environment.json").exists():
            open_run(cell.recipe, workspace)


def _said(cell: Cell, workspace: Workspace) -> str:
    """The score on validation patients, which is no secret while a sweep goes on; or why there is none."""
    if failure := failure_of(cell, workspace.root):
        return f"failed: {failure.message}"
    table = Run(workspace.root / cell.hash, cell.recipe).table()
    known = table[table["split"] == "validation"]
    return f"validation DSC {summary(known)['dsc'].get('over structures', float('nan')):.3f}" if len(known) else "done"
