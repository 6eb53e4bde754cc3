"""A run's folder: named by its recipe's hash, written so that a kill at any moment loses nothing.

It holds `recipe.json`, `environment.json` (versions, device, commit, the data's fingerprint), `log.csv` (named
columns), `last.pt`, a downstream run's `videos.parquet`, and `done.json`, written last. All but the log, which grows
by whole rows, are written beside and renamed. Who trains holds `Run.locked()`; to read a run needs no lock.
"""

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from jaxtyping import UInt8
from pyarrow import ArrowException

from usjepa.errors import InputError
from usjepa.recipe import AnyRun
from usjepa.recipe_file import recipe_hash, to_json
from usjepa.training.checkpoint import read_checkpoint, require_same, unwritten, write_checkpoint, write_whole
from usjepa.training.environment import keep_environment
from usjepa.training.workspace import Workspace
from usjepa.training.world import World


@dataclass(frozen=True)
class Run:
    """One run's folder. Made by `open_run`; call `resume`, `append`, `save` and `finish` while it is `locked`.

    All that write raise InputError, naming the file, if the disk is full; what is there stays whole.
    """

    folder: Path
    recipe: AnyRun

    @property
    def done(self) -> bool:
        """Whether the run has ended; then nothing in its folder changes any more."""
        return (self.folder / "done.json").is_file()

    @property
    def has_table(self) -> bool:
        """Whether the run has left a table of videos."""
        return (self.folder / "videos.parquet").is_file()

    @contextmanager
    def locked(self, world: World, *, waits: bool = False) -> Iterator[None]:
        """While this lasts, no other process trains this run; the kernel frees the lock of a process that is killed.

        Of several processes the first holds it, for all. What killed processes left half-written is removed.
        If another process trains this run, says so and waits until it has, or raises InputError.
        """
        with self._lock(waits) if world.is_first else nullcontext():
            world.wait()
            yield

    def append(self, row: dict[str, int | float]) -> None:
        """Add one row, a value a name, to the log."""
        path = self.folder / "log.csv"
        try:
            pd.DataFrame([row]).to_csv(path, mode="a", header=not path.exists(), index=False)
        except OSError as error:
            raise unwritten(path, error) from error

    def log(self) -> pd.DataFrame:
        """The log so far, a row a logged step, without a last row that a kill cut short."""
        return pd.read_csv(StringIO(rows)) if (rows := self._whole_rows()) else pd.DataFrame()

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by this one, which holds its `step`, or leave the old one whole."""
        write_checkpoint(self.folder / "last.pt", state, self.recipe)

    def resume(self) -> dict[str, Any] | None:
        """The last checkpoint, or None before the first; rows of the log from its step on are cut.

        Raises InputError for a checkpoint that is damaged or another recipe's.
        """
        path = self.folder / "last.pt"
        state = read_checkpoint(path, self.recipe) if path.exists() else None
        self._cut_log(state["step"] if state else 0)
        return state

    def final(self) -> dict[str, Any]:
        """The checkpoint of a finished run. Raises InputError as `resume` does, and for a run that has not ended."""
        if not self.done:
            raise InputError(f"{self.folder}: expected a finished run, got an unfinished one. Run it to its end first.")
        return read_checkpoint(self.folder / "last.pt", self.recipe)

    def keep_maps(self, maps: UInt8[np.ndarray, "k T H W"], names: Sequence[str]) -> None:
        """Keep the label maps that a scored run predicts, a name a video."""
        write_whole(self.folder / "maps.npz", partial(_write_maps, maps, list(names)))

    def maps(self) -> dict[str, UInt8[np.ndarray, "T H W"]]:
        """What `keep_maps` kept, by name. Raises InputError if nothing was kept, or the file is damaged."""
        path = self.folder / "maps.npz"
        try:
            with path.open("rb") as file, np.load(file) as kept:
                return dict(zip(kept["names"].tolist(), kept["maps"], strict=True))
        except (OSError, EOFError, ValueError, BadZipFile) as error:
            came = f"{path}: expected the label maps of a scored run, got none ({error})"
            raise InputError(f"{came}. Remove the folder and run it again.") from error

    def finish(self, table: pd.DataFrame | None = None, facts: Mapping[str, float] = MappingProxyType({})) -> None:
        """Close the run: its table, a row a video, frame and structure, if there is one, then `done.json`."""
        if table is not None:
            write_whole(self.folder / "videos.parquet", lambda path: table.to_parquet(path, index=False))
        write_whole(self.folder / "done.json", lambda path: path.write_text(json.dumps(dict(facts), indent=1) + "\n"))

    def facts(self) -> dict[str, float]:
        """What `finish` was told beside the table: seconds of training, and the ridge score of frozen features."""
        facts: dict[str, float] = json.loads((self.folder / "done.json").read_text())
        return facts

    def table(self) -> pd.DataFrame:
        """The finished run's table. Raises InputError if the run has none yet, or a damaged one."""
        path = self.folder / "videos.parquet"
        try:
            return pd.read_parquet(path)
        except (ArrowException, OSError) as error:
            found = "a damaged one. Remove its folder" if self.has_table else "none"
            raise InputError(f"{path}: expected a finished run's table, found {found}. Run it to its end.") from error

    @contextmanager
    def _lock(self, waits: bool) -> Iterator[None]:
        with self._taken(waits, holder := self.folder / ".holder"):
            for name in ("log.csv", "last.pt", "maps.npz", "videos.parquet", "done.json", ".holder"):
                for left in self.folder.glob(f".{name}.*"):
                    left.unlink()
            write_whole(holder, lambda path: path.write_text(f"process {os.getpid()} on {platform.node()}"))
            yield

    def _taken(self, waits: bool, holder: Path) -> AbstractContextManager[object]:
        lock = FileLock(self.folder / ".lock")
        try:
            return lock.acquire(timeout=0)
        except Timeout as error:
            who = holder.read_text() if holder.exists() else "another process"
            if waits:
                print(f"{self.folder}: waiting for {who}, which is training this.", file=sys.stderr)
                return lock.acquire(timeout=-1)
            came = f"{self.folder}: expected a run that nobody trains, got one that {who} is training."
            raise InputError(f"{came} Wait for it, or stop it and give the same command again.") from error
        except OSError as error:
            raise unwritten(self.folder / ".lock", error) from error

    def _whole_rows(self) -> str:
        path = self.folder / "log.csv"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return text[: text.rfind("\n") + 1]

    def _cut_log(self, step: int) -> None:
        """Keep the whole rows of steps before this one, digit for digit."""
        path, head, *rows = self.folder / "log.csv", *(self._whole_rows() or "step\n").splitlines(keepends=True)
        place = head.rstrip().split(",").index("step")
        kept = [row for row in rows if int(row.split(",")[place]) < step]
        if kept:
            write_whole(path, lambda path: path.write_text(head + "".join(kept)))
        else:
            path.unlink(missing_ok=True)


def _write_maps(maps: UInt8[np.ndarray, "k T H W"], names: list[str], path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, maps=maps, names=np.array(names))


def open_run(recipe: AnyRun, workspace: Workspace) -> Run:
    """The folder of this recipe's run below the workspace's root, made if it isn't there, ready to go on if it is.

    Raises InputError if the folder holds another recipe, or was begun with other data or other published weights, or
    can't be made.
    """
    folder = workspace.root / recipe_hash(recipe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritten(folder, error) from error
    films = workspace.films(recipe)
    given = {"data": films.fingerprint, "weights": workspace.weights_sha256(recipe)}
    path = folder / "recipe.json"
    if path.exists():
        require_same(path, recipe, path.read_text(encoding="utf-8"))
    else:
        write_whole(path, lambda path: path.write_text(to_json(recipe), encoding="utf-8"))
    run = Run(folder, recipe)
    keep_environment(folder / "environment.json", given, films.source, workspace.device, is_over=run.done)
    return run
