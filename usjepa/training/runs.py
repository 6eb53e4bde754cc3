"""A run's folder: named by its recipe's hash, written so that a kill at any moment loses nothing.

It holds `recipe.json`, `environment.json` (versions, device, commit, the data's fingerprint), `log.csv` (named
columns), `last.pt` (written beside and renamed), a downstream run's `videos.parquet`, and `done.json`, written last.
"""

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pandas as pd
import torch

from usjepa.errors import InputError
from usjepa.recipe import AnyRecipe
from usjepa.recipe_file import recipe_hash, to_json


@dataclass(frozen=True)
class Run:
    """One run's folder, open for writing. Made by `open_run`."""

    folder: Path

    @property
    def done(self) -> bool:
        """Whether the run has ended; then nothing in its folder changes any more."""
        return (self.folder / "done.json").is_file()

    @property
    def has_table(self) -> bool:
        """Whether the run has ended and left a table of videos."""
        return (self.folder / "videos.parquet").is_file()

    def append(self, row: dict[str, int | float]) -> None:
        """Add one row, a value a name, to the log."""
        path = self.folder / "log.csv"
        pd.DataFrame([row]).to_csv(path, mode="a", header=not path.exists(), index=False)

    def log(self) -> pd.DataFrame:
        """The log so far, a row a logged step."""
        path = self.folder / "log.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame()

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by this one, or leave the old one whole."""
        _replace(self.folder / "last.pt", lambda path: torch.save(state, path))

    def resume(self) -> dict[str, Any] | None:
        """The last checkpoint, or None before the first; rows of the log beyond it are cut. Never unpickles code.

        Raises InputError for a checkpoint that can't be read.
        """
        path = self.folder / "last.pt"
        if not path.exists():
            (self.folder / "log.csv").unlink(missing_ok=True)
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
            came = f"{path}: expected a checkpoint of plain tensors, got something else ({type(error).__name__})."
            raise InputError(f"{came} Delete the run's folder and run it again.") from error
        log = self.log()
        if len(log):
            kept = log[log["step"] < state["step"]]
            _replace(self.folder / "log.csv", lambda path: kept.to_csv(path, index=False))
        return state

    def finish(self, table: pd.DataFrame | None = None) -> None:
        """Close the run: its table, a row a video, frame and structure, if there is one, then `done.json`."""
        if table is not None:
            _replace(self.folder / "videos.parquet", lambda path: table.to_parquet(path, index=False))
        _replace(self.folder / "done.json", lambda path: path.write_text("{}\n"))

    def table(self) -> pd.DataFrame:
        """The finished run's table. Raises InputError if the run has none yet."""
        path = self.folder / "videos.parquet"
        if not self.has_table:
            raise InputError(f"{path}: expected the table of a finished run, found none. Run it to its end first.")
        return pd.read_parquet(path)


def open_run(recipe: AnyRecipe, root: Path, *, fingerprint: str, device: torch.device) -> Run:
    """The folder of this recipe's run below `root`, made if it isn't there, ready to go on if it is.

    Raises InputError if the folder holds another recipe or was run on other data.
    """
    folder = root / recipe_hash(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"data": fingerprint, **describe_environment(device)}
    _claim(folder / "recipe.json", to_json(recipe), "Move the folder away.")
    if (path := folder / "environment.json").exists():
        earlier = json.loads(path.read_text())["data"]
        if earlier != fingerprint:
            raise InputError(
                f"{folder}: expected the data that this run began with ({earlier[:12]}), got {fingerprint[:12]}. "
                "Give that store, or another folder of runs."
            )
    else:
        _replace(path, lambda path: path.write_text(json.dumps(environment, indent=1) + "\n"))
    return Run(folder)


def describe_environment(device: torch.device) -> dict[str, str]:
    """Versions, processor or card, and the commit, for the record."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": f"{device.type}: {name}",
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "timm", "numpy", "usjepa")},
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of the source, `-dirty` if changed since; empty outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _claim(path: Path, text: str, remedy: str) -> None:
    """Write a file that must never change, or check that it already says this."""
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(f"{path}: expected this run's own recipe, got another. {remedy}")
    _replace(path, lambda path: path.write_text(text, encoding="utf-8"))


def _replace(path: Path, write: Any) -> None:
    """Write beside and rename, so that the file is whole whenever it is there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
