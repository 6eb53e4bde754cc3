"""Processes stopped at random moments of both loops, and a disk that fills: nothing is lost, to the bit.

Five are killed outright; `USJEPA_KILLS=20 pytest tests/test_killed.py -s` kills as many as it says and tells where.
"""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tqdm import tqdm

from usjepa.cli import main
from usjepa.data.store import Store
from usjepa.recipe import AnyRun, PretrainRecipe, Published, SegmentRecipe, Untrained
from usjepa.recipe_file import recipe_hash, to_json

KILLS = int(os.environ.get("USJEPA_KILLS", "5"))
STEPS = max(60, 4 * KILLS)
LONGEST_S = 120
# Processes of their own, forked from one that has the package loaded: that takes longer than these runs.
LOADED = multiprocessing.get_context("forkserver")
LOADED.set_forkserver_preload(["usjepa.cli", "usjepa.evaluation.metrics", "usjepa.training.experiment"])


@dataclass(frozen=True)
class Command:
    """`usjepa run` of one recipe, and what it has done so far in its folder of runs."""

    recipe: SegmentRecipe
    data: Path
    runs: Path

    @property
    def arguments(self) -> list[str]:
        """Of `usjepa` for both runs."""
        return self.arguments_of(self.recipe)

    def arguments_of(self, recipe: AnyRun) -> list[str]:
        """Of `usjepa` for this run and those that it builds on."""
        path = self.runs.with_name(f"{recipe_hash(recipe)}.json")
        path.write_text(to_json(recipe))
        return ["run", str(path), "--data", str(self.data), "--runs", str(self.runs), "--device", "cpu"]

    def start(self, most_bytes: int = resource.RLIM_INFINITY) -> BaseProcess:
        """A process that can't write files larger than this."""
        return started(self.arguments, self.said, most_bytes)

    @property
    def said(self) -> Path:
        """What the last process said on stderr."""
        return self.runs.with_suffix(".said")

    @property
    def folders(self) -> tuple[Path, Path]:
        """The pre-training's and the probe's."""
        return self.runs / recipe_hash(self.recipe.start), self.runs / recipe_hash(self.recipe)

    def logged(self) -> int:
        """Steps that both logs tell of."""
        return sum(steps_of(folder / "log.csv") for folder in self.folders)


def steps_of(log: Path) -> int:
    rows = log.read_text().splitlines()[1:] if log.exists() else []
    return int(rows[-1].split(",")[0]) + 1 if rows else 0


def go(arguments: list[str], said: Path, most_bytes: int) -> None:
    """What a process does."""
    with said.open("w") as file:
        os.dup2(file.fileno(), 2)
    sys.dont_write_bytecode = True  # Python would keep half of a module that the limit cuts
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its usual one is a semaphore that outlives a killed process
    sys.exit(main(arguments))


def started(arguments: list[str], said: Path, most_bytes: int = resource.RLIM_INFINITY) -> BaseProcess:
    process = LOADED.Process(target=go, args=(arguments, said, most_bytes))
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    """The exit code, minus the signal's number if that ended it."""
    process.join(LONGEST_S)
    assert process.exitcode is not None
    return process.exitcode


def reaches(command: Command, process: BaseProcess, step: int) -> bool:
    """Wait until the process itself has logged this step; whether it did before it ended."""
    wanted, deadline = max(step, command.logged() + 1), time.monotonic() + LONGEST_S
    while command.logged() < wanted and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return process.is_alive()


@pytest.fixture(scope="module")
def recipe(micro: SegmentRecipe) -> SegmentRecipe:
    start = micro.start
    assert isinstance(start, PretrainRecipe)
    often = replace(start, steps=STEPS, log_every=2, save_every=7)
    return replace(micro, start=often, steps=STEPS, log_every=2, save_every=7)


@pytest.fixture
def commands(recipe: SegmentRecipe, squares: Store, tmp_path: Path) -> tuple[Command, Command]:
    """The same recipe and data in two folders of runs."""
    return Command(recipe, squares.folder, tmp_path / "unbroken"), Command(recipe, squares.folder, tmp_path / "broken")


def stop(command: Command, process: BaseProcess, sign: signal.Signals) -> None:
    """Send the signal; SIGTERM and SIGINT are answered by a message."""
    os.kill(process.pid or 0, sign)
    code, said = ended(process), command.said.read_text()
    if sign == signal.SIGKILL:
        assert code == -sign
    else:
        assert code == 128 + sign
        assert "Give the same command again to go on" in said
        assert "Traceback" not in said
        assert not leftovers(command)


def leftovers(command: Command) -> list[Path]:
    """Files beside those that they were to replace."""
    return [left for folder in command.folders for left in folder.glob(".*.[0-9]*")]


def fill(command: Command) -> None:
    """Go on where the log and every other small file can be written, and no checkpoint."""
    code, said = ended(command.start(most_bytes=20_000)), command.said.read_text()
    folder = next(folder for folder in command.folders if not (folder / "done.json").exists())
    assert code == 2
    assert f"{folder / 'last.pt'}: expected to write this file" in said
    assert "Free space" in said
    assert not leftovers(command)


def same(one: object, other: object) -> bool:
    """Whether two checkpoints hold the same bits."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def untimed(log: Path) -> pd.DataFrame:
    """The log's digits without the columns of time."""
    rows = pd.read_csv(log, dtype=str)
    return rows.loc[:, [not name.startswith(("ms_", "seconds")) for name in rows.columns]]


def untimed_state(checkpoint: Path) -> dict[str, object]:
    """All of a checkpoint but the seconds that it took."""
    return {name: value for name, value in torch.load(checkpoint).items() if name != "seconds"}


def require_equal(command: Command, unbroken: Command) -> None:
    for folder, whole in zip(command.folders, unbroken.folders, strict=True):
        assert same(*(untimed_state(one / "last.pt") for one in (folder, whole)))
        log = untimed(folder / "log.csv")
        assert len(log) == STEPS // 2 + 1
        assert log.shape[1] >= 2
        pd.testing.assert_frame_equal(log, untimed(whole / "log.csv"))
    maps = [dict(np.load(one.folders[1] / "maps.npz")) for one in (command, unbroken)]
    assert maps[0].keys() == maps[1].keys()
    assert all(np.array_equal(maps[0][name], maps[1][name]) for name in maps[0])
    tables = [pd.read_parquet(one.folders[1] / "videos.parquet") for one in (command, unbroken)]
    pd.testing.assert_frame_equal(*tables)


def test_a_run_stopped_at_random_moments_ends_as_an_unbroken_one_to_the_bit(commands: tuple[Command, Command]) -> None:
    unbroken, broken = commands
    whole = [sys.executable, "-m", "usjepa", *unbroken.arguments]
    subprocess.run(whole, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    chance = np.random.default_rng(KILLS)
    signs = [signal.SIGKILL] * KILLS
    signs.insert(KILLS // 4, signal.SIGTERM)
    signs.insert(KILLS - KILLS // 4 + 1, signal.SIGINT)
    edges = np.linspace(0, 2 * STEPS - 20, len(signs) + 1)
    for k, sign in enumerate(signs):
        process = broken.start()
        assert reaches(broken, process, int(chance.uniform(edges[k], edges[k + 1]))), f"ended before stop {k}"
        if k in (1, len(signs) - 1):
            second_leaves(broken, process)
        time.sleep(chance.uniform(0, 0.02))
        stop(broken, process, sign)
        print(f"{sign.name} after step {broken.logged() - 1}, half-written: {[one.name for one in leftovers(broken)]}")
        if k in (1, len(signs) - 1):
            fill(broken)
    assert ended(broken.start()) == 0
    assert not leftovers(broken)
    require_equal(broken, unbroken)
    for file in (
        broken.folders[0] / "done.json",
        broken.folders[1] / "done.json",
        broken.folders[1] / "videos.parquet",
    ):
        file.unlink()  # as after a kill between the last checkpoint and the end
    assert ended(broken.start()) == 0
    require_equal(broken, unbroken)


def second_leaves(command: Command, process: BaseProcess) -> None:
    """While one process trains, here held still so that it surely does, another that is to train the same leaves."""
    trained = next(folder for folder in command.folders if not (folder / "done.json").exists())
    recipe = command.recipe if trained == command.folders[1] else command.recipe.start
    assert not isinstance(recipe, Published | Untrained)
    said = command.runs.with_name("second.said")
    os.kill(process.pid or 0, signal.SIGSTOP)
    try:
        assert ended(started(command.arguments_of(recipe), said)) == 2
    finally:
        os.kill(process.pid or 0, signal.SIGCONT)
    assert f"{trained}: expected a run that nobody trains, got one that process {process.pid} on" in said.read_text()
