"""A run that failed leaves `failed.json` in its folder: a failure is a result too, and is not tried again unasked."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from usjepa.errors import InputError
from usjepa.recipe import AnyRun
from usjepa.recipe_file import recipe_hash
from usjepa.results.plan import Cell, runs_of
from usjepa.training.checkpoint import write_whole
from usjepa.training.runs import Run
from usjepa.training.workspace import Workspace


class Failure(NamedTuple):
    """What was said, the last step that the log tells of (-1: none), and when (UTC)."""

    message: str
    step: int
    time: str


def record_failure(run: Run, error: InputError | FloatingPointError, workspace: Workspace) -> None:
    """Write down why a run failed, whole or not at all; folders of this machine by their last name alone."""
    log, message = run.log(), str(error)
    for folder in (workspace.root, workspace.store.folder):
        message = message.replace(str(folder), folder.name)
    step = int(log["step"].max()) if len(log) else -1
    failure = Failure(message, step, datetime.now(UTC).isoformat(timespec="seconds"))
    run.folder.mkdir(parents=True, exist_ok=True)
    write_whole(
        run.folder / "failed.json", lambda path: path.write_text(json.dumps(failure._asdict(), indent=1) + "\n")
    )


@contextmanager
def instability_recorded(recipe: AnyRun, workspace: Workspace) -> Iterator[None]:
    """Write down a loss that was not finite, which in a table is a row, and let the error go on its way."""
    try:
        yield
    except FloatingPointError as error:
        if workspace.world.is_first:
            record_failure(Run(workspace.root / recipe_hash(recipe), recipe), error, workspace)
        raise


def failure_of(cell: Cell, root: Path) -> Failure | None:
    """Why this cell can't be had: its own run has failed, or one that it builds on."""
    for recipe in runs_of(cell.recipe):
        folder = root / recipe_hash(recipe)
        path = folder / "failed.json"
        if path.exists() and not Run(folder, recipe).done:
            return Failure(**json.loads(path.read_text(encoding="utf-8")))
    return None


def forget_failures(cells: Iterable[Cell], root: Path) -> None:
    """Let what failed be tried again."""
    for folder in {root / recipe_hash(recipe) for cell in cells for recipe in runs_of(cell.recipe)}:
        (folder / "failed.json").unlink(missing_ok=True)
