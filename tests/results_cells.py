"""A table's cells at a size that runs in seconds, and a process that runs them."""

import os
import threading
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from tqdm import tqdm

from usjepa.data.store import open_store
from usjepa.recipe import AnyRun, PretrainRecipe, SegmentRecipe, Untrained
from usjepa.recipe_file import recipe_hash
from usjepa.results import sweep as sweeping
from usjepa.results.plan import Cell
from usjepa.training.experiment import run
from usjepa.training.runs import Run
from usjepa.training.workspace import Workspace


def micro_cells(micro: SegmentRecipe, seeds: int = 2) -> list[Cell]:
    """The random encoder, lambda 1 and 0.25, with all and half of the labels."""
    assert isinstance(micro.start, PretrainRecipe)
    start = replace(micro.start, rate_peak=1e-2, momentum=(0.5, 1.0))
    taught = replace(micro, steps=50, rate_peak=1e-2, save_every=20)
    return [
        Cell(name, seed, fraction, 0, replace(taught, start=one, seed=seed, fraction=fraction))
        for seed in range(seeds)
        for name, one in (
            ("random", Untrained(clip=start.clip, model=start.model, seed=seed)),
            ("vjepa", replace(start, prediction_weight=1.0, seed=seed)),
            ("vjepa-ll", replace(start, seed=seed)),
        )
        for fraction in (1.0, 0.5)
    ]


def space_of(store: Path, root: Path) -> Workspace:
    return Workspace(open_store(store), root, torch.device("cpu"), shows_progress=False)


def work(cells: list[Cell], store: Path, root: Path, together: Barrier | None, ran: Path) -> None:
    """What a process does: run the cells, and keep a list of the runs that it brought to their end."""
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its usual one is a semaphore that outlives a killed process
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def kept(recipe: AnyRun, workspace: Workspace) -> Run:
        finished = run(recipe, workspace)
        with ran.open("a") as file:
            file.write(f"{recipe_hash(recipe)}\n")
        return finished

    sweeping.run_recipe = kept  # type: ignore[attr-defined]
    if together is not None:
        together.wait()
    raise SystemExit(len(sweeping.sweep(cells, space_of(store, root))))
