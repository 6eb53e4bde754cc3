"""Two processes that share each batch: equal to one, restarted after a kill, and of one voice when something is wrong.

Most cases are processes forked from one that has the package loaded, which is what takes torchrun its ten seconds.
"""

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from test_killed import LOADED, same, steps_of, untimed
from torch import Tensor
from torch.distributed import TCPStore
from tqdm import tqdm

import usjepa.model.jepa
from usjepa.cli import main
from usjepa.data.store import Store, open_store
from usjepa.errors import InputError
from usjepa.model.jepa import Draws
from usjepa.recipe import Pretraining, PretrainRecipe, SegmentRecipe, VideoMAERecipe
from usjepa.recipe_file import recipe_hash, to_json
from usjepa.spec import DecoderSpec
from usjepa.training import pretrain as loop
from usjepa.training.learners import Batch, Learner, batch_of, new_learner
from usjepa.training.pretrain import pretrain
from usjepa.training.runs import open_run
from usjepa.training.workspace import Workspace
from usjepa.training.world import World, joined

CPU = torch.device("cpu")
LONGEST_S = 120
STOP = 3
KINDS = ("vjepa", "videomae")
Recipes = dict[str, PretrainRecipe | VideoMAERecipe]


class Ended(NamedTuple):
    """A process's exit code, and all that it said."""

    code: int | None
    said: str


def together(folder: Path, work: Callable[..., int], *given: object) -> list[Ended]:
    """Let two processes do this work as torchrun would, over a store at a free port, and wait until both have ended."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    files = [folder / f"said-by-{rank}" for rank in range(2)]
    processes = [
        LOADED.Process(target=enter, args=(rank, store.port, file, work, given)) for rank, file in enumerate(files)
    ]
    deadline = time.monotonic() + LONGEST_S
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(max(0, deadline - time.monotonic()))
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
    return [Ended(process.exitcode, file.read_text()) for process, file in zip(processes, files, strict=True)]


def enter(rank: int, port: int, said: Path, work: Callable[..., int], given: tuple[object, ...]) -> None:
    """What a process does."""
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())
    sys.exit(work(*given))


def command(arguments: list[str]) -> int:
    """`usjepa`; the second process is not able to write a byte to any file, be it what it says."""
    if os.environ["RANK"] != "0":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return main(arguments)


def command_with_an_infinite_loss(arguments: list[str]) -> int:
    """The same, but the loss of the second process's clips is infinite at step 7, without a trace in its gradient.

    The first process saves after this step: without word from the second it would save what must not be.
    """
    combined, seen = usjepa.model.jepa.combined_loss, []

    def infinite(*given: object) -> Tensor:
        seen.append(given)
        return combined(*given) + (torch.inf if len(seen) == 8 else 0.0)

    if os.environ["RANK"] != "0":
        usjepa.model.jepa.combined_loss = infinite
    return main(arguments)


def study(store: Path, recipes: Recipes, folder: Path) -> int:
    """Each process writes down what it has trained."""
    with joined(CPU) as world:
        space = Workspace(open_store(store), folder, CPU, world=world, shows_progress=False)
        for kind, recipe in recipes.items():
            found = {
                "gradient": gradient(recipe, space),
                "trained": pretrain(recipe, space).state_dict(),
                "trained silently": pretrain(replace(recipe, log_every=100), space).state_dict(),
            }
            with pytest.MonkeyPatch.context() as patch:
                compute_in_double(patch)
                found["double"] = pretrain(recipe, replace(space, root=folder / "double")).state_dict()
                stop(recipe, replace(space, root=folder / "stopped by two"))
                found["gone on"] = pretrain(recipe, replace(space, root=folder / "stopped by one")).state_dict()
            torch.save(found, folder / f"{kind}-{world.rank}.pt")
    return 0


def gradient(recipe: PretrainRecipe | VideoMAERecipe, space: Workspace) -> dict[str, Tensor]:
    """Of the loss of the first batch, as the loop computes it."""
    learner = new_learner(recipe)
    films, frames = loop._films(recipe, space)
    batch = batch_of(learner, frames, films, 0, space.world.rows(recipe.batch))
    forward = loop._prepared(learner, space)
    forward(*batch).combined.backward()
    return {name: weight.grad.clone() for name, weight in learner.named_parameters() if weight.grad is not None}


def compute_in_double(patch: pytest.MonkeyPatch) -> None:
    """The loop itself, with weights and clips in float64, where sums in another order differ by 1e-15."""
    patch.setattr(loop, "new_learner", lambda recipe: new_learner(recipe).double())
    patch.setattr(loop, "batch_of", lambda *given: in_double(batch_of(*given)))


def in_double(batch: Batch) -> Batch:
    return batch._replace(clip=batch.clip.double())


def stop(recipe: PretrainRecipe | VideoMAERecipe, space: Workspace) -> None:
    """Train until a step that no checkpoint holds."""

    def stopping(learner: Learner, step: int) -> None:
        if step == STOP:
            raise KeyboardInterrupt
        follow_(learner, step)

    follow_ = loop.follow_
    with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(loop, "follow_", stopping)
        pretrain(recipe, space)
    assert not open_run(recipe, replace(space, world=World())).done


def farthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of all numbers."""
    assert one.keys() == other.keys()
    return max(float((tensor - other[name]).abs().max()) for name, tensor in one.items())


def flat(batch: Batch) -> list[Tensor]:
    draws = (*batch.draws.masks, *batch.draws.pairs) if isinstance(batch.draws, Draws) else (batch.draws,)
    return [batch.clip, *(tensor for one in draws for tensor in one)]


def videomae_like(vjepa: PretrainRecipe) -> VideoMAERecipe:
    """VideoMAE with the clips, the encoder and the steps of this recipe, and a mask that suits 4 x 4 places."""
    shared = {field.name: getattr(vjepa, field.name) for field in fields(Pretraining)}
    return VideoMAERecipe(**shared, decoder=DecoderSpec(width=16, depth=1, heads=2), mask_ratio=0.75)


@pytest.fixture(scope="module")
def recipes(micro: SegmentRecipe) -> Recipes:
    """Five steps of four clips."""
    assert isinstance(micro.start, PretrainRecipe)
    vjepa = replace(micro.start, batch=4, steps=5, log_every=1, save_every=2)
    return {"vjepa": vjepa, "videomae": videomae_like(vjepa)}


@pytest.fixture(scope="module")
def alone(squares: Store, recipes: Recipes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict]]:
    """One process: its gradient, its weights, and, in the folder of two, runs that it has stopped."""
    folder = tmp_path_factory.mktemp("alone")
    space = Workspace(squares, folder, CPU, shows_progress=False)
    found = {}
    for kind, recipe in recipes.items():
        with pytest.MonkeyPatch.context() as patch:
            found[kind] = {"gradient": gradient(recipe, space)}
            compute_in_double(patch)
            found[kind]["double"] = pretrain(recipe, space).state_dict()
    return found


@pytest.fixture(scope="module")
def folder(squares: Store, recipes: Recipes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have left; some of their runs one process had begun."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        compute_in_double(patch)
        for recipe in recipes.values():
            stop(recipe, Workspace(squares, folder / "stopped by one", CPU, shows_progress=False))
    ended = together(folder, study, squares.folder, recipes, folder)
    assert [one.code for one in ended] == [0, 0], ended
    return folder


@pytest.fixture(scope="module")
def two(folder: Path) -> dict[str, list[dict[str, dict[str, Tensor]]]]:
    """What each of the two has found, by method."""
    return {kind: [torch.load(folder / f"{kind}-{rank}.pt") for rank in range(2)] for kind in KINDS}


@pytest.mark.parametrize("kind", [*KINDS, "sector"])
def test_the_rows_of_a_process_are_rows_of_the_whole_batch(kind: str, recipes: Recipes, squares: Store) -> None:
    recipe = replace(recipes["vjepa"], sector_only=True) if kind == "sector" else recipes[kind]
    films, frames = loop._films(recipe, Workspace(squares, Path(), CPU))
    learner = new_learner(recipe)
    whole = batch_of(learner, frames, films, 3, World().rows(4))
    halves = [flat(batch_of(learner, frames, films, 3, World(rank, 2).rows(4))) for rank in range(2)]
    for expected, *found in zip(flat(whole), *halves, strict=True):
        assert [len(one) for one in found] == [2, 2]
        assert torch.equal(torch.cat(found), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_find_the_gradient_of_one(kind: str, alone, two) -> None:
    for found in two[kind]:
        for name, expected in alone[kind]["gradient"].items():
            gap = (found["gradient"][name] - expected).norm() / expected.norm().clamp(min=1e-6)
            assert gap < 1e-5, name


@pytest.mark.parametrize("kind", KINDS)
def test_after_five_steps_in_double_two_processes_have_the_weights_of_one(kind: str, alone, two) -> None:
    for found in two[kind]:
        assert farthest(found["double"], alone[kind]["double"]) < 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_student_and_teacher_are_the_same_bits_in_all_processes(kind: str, two) -> None:
    first, second = two[kind]
    assert same(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_the_log_leaves_the_exchange_of_gradients_alone(kind: str, two) -> None:
    assert same(two[kind][0]["trained"], two[kind][0]["trained silently"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_two_processes_began_one_ends_and_the_reverse(
    kind: str, alone, two, folder: Path, squares: Store, recipes: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_in_double(monkeypatch)
    space = Workspace(squares, folder / "stopped by two", CPU, shows_progress=False)
    begun = open_run(recipes[kind], space).resume()
    assert begun is not None
    assert begun["step"] == 2
    assert farthest(pretrain(recipes[kind], space).state_dict(), alone[kind]["double"]) < 1e-10
    assert farthest(two[kind][0]["gone on"], alone[kind]["double"]) < 1e-10


class Told(NamedTuple):
    """A recipe that builds on two others, in a file, and its command without a folder of runs."""

    recipe: SegmentRecipe
    arguments: list[str]


@pytest.fixture(scope="module")
def told(recipes: Recipes, micro: SegmentRecipe, squares: Store, tmp_path_factory: pytest.TempPathFactory) -> Told:
    vjepa = recipes["vjepa"]
    scenes = replace(vjepa, scenes=2, batch=2, steps=4)
    recipe = replace(micro, start=replace(vjepa, start=scenes, steps=24, log_every=2, save_every=4))
    path = tmp_path_factory.mktemp("told") / "recipe.json"
    path.write_text(to_json(recipe))
    return Told(recipe, ["run", str(path), "--data", str(squares.folder), "--device", "cpu"])


@pytest.fixture(scope="module")
def unbroken(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of the command in two processes, the second of which can't write."""
    folder = tmp_path_factory.mktemp("unbroken")
    first, second = together(folder, command, [*told.arguments, "--runs", str(folder)])
    assert (first.code, second.code) == (0, 0), first.said
    assert first.said.count(f"{folder / recipe_hash(told.recipe)}\n") == 1
    assert first.said.count("over structures") == 1
    return folder


def folders(told: Told, runs: Path) -> list[Path]:
    """Of the scenes, of what builds on them, of the probe."""
    start = told.recipe.start
    assert isinstance(start, PretrainRecipe)
    assert isinstance(start.start, PretrainRecipe)
    return [runs / recipe_hash(recipe) for recipe in (start.start, start, told.recipe)]


def test_the_first_process_alone_writes_and_speaks(told: Told, unbroken: Path) -> None:
    for run in folders(told, unbroken):
        assert (run / "done.json").is_file()
    assert (unbroken / "scenes-2-16px" / "index.json").is_file()
    assert len(pd.read_csv(folders(told, unbroken)[1] / "log.csv")) == 13


def workers(launcher: int) -> dict[str, int]:
    """Process numbers of torchrun's children by their rank."""
    found = {}
    with suppress(OSError):
        for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            found |= {one[5:].decode(): int(child) for one in variables if one.startswith(b"RANK=")}
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="finds torchrun's children in /proc")
def test_torchrun_restarts_both_processes_after_one_was_killed_to_the_same_bits(
    told: Told, unbroken: Path, tmp_path: Path
) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    runs, said, spoken = tmp_path / "runs", tmp_path / "said", tmp_path / "spoken"
    with said.open("w") as errors, spoken.open("w") as output:
        launcher = subprocess.Popen(
            [*torchrun, "-m", "usjepa", *told.arguments, "--runs", str(runs)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=errors,
        )
    begun: dict[str, int] = {}
    try:
        begun |= workers_of_run(launcher, folders(told, runs)[1] / "log.csv")
        assert "1" in begun, said.read_text()
        os.kill(begun["1"], signal.SIGKILL)
        assert launcher.wait(LONGEST_S) == 0, said.read_text()
    finally:
        end(launcher, begun)
    assert re.search(r" (4|8|12|16|20)/24 \[00:00<\?", said.read_text()), "went on from no checkpoint"
    assert spoken.read_text().count(f"{runs / recipe_hash(told.recipe)}\n") == 1
    for run, whole in zip(folders(told, runs), folders(told, unbroken), strict=True):
        assert same(*(torch.load(of / "last.pt") | {"seconds": 0} for of in (run, whole)))
        pd.testing.assert_frame_equal(untimed(run / "log.csv"), untimed(whole / "log.csv"))
    tables = [pd.read_parquet(folders(told, of)[2] / "videos.parquet") for of in (runs, unbroken)]
    pd.testing.assert_frame_equal(*tables)


def workers_of_run(launcher: subprocess.Popen[bytes], log: Path) -> dict[str, int]:
    """Wait until the run is past its first checkpoint; its processes."""
    deadline = time.monotonic() + LONGEST_S
    while steps_of(log) < 7 and launcher.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return workers(launcher.pid)


def end(launcher: subprocess.Popen[bytes], known: dict[str, int]) -> None:
    """Whatever happened, leave no process: torchrun's are in sessions of their own, and outlive it if it is killed."""
    if launcher.poll() is None:
        left = {*known.values(), *workers(launcher.pid).values()}
        launcher.kill()
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        launcher.wait()


def only_one_says(ended: Sequence[Ended], message: str) -> None:
    assert [one.code for one in ended] == [2, 2]
    said = ended[0].said + ended[1].said
    assert said.count("usjepa:") == said.count(message) == 1, said
    assert "Traceback" not in said


def written(recipe: PretrainRecipe, store: Store, folder: Path) -> list[str]:
    """The command of this recipe."""
    path = folder / "recipe.json"
    path.write_text(to_json(recipe))
    return ["run", str(path), "--data", str(store.folder), "--runs", str(folder / "runs"), "--device", "cpu"]


def test_a_batch_that_cannot_be_shared_is_said_once(recipes: Recipes, squares: Store, tmp_path: Path) -> None:
    arguments = written(replace(recipes["vjepa"], batch=3), squares, tmp_path)
    only_one_says(together(tmp_path, main, arguments), "batch: expected a multiple of the 2 processes, got 3. Change")


def test_a_run_that_another_process_trains_is_said_once(recipes: Recipes, squares: Store, tmp_path: Path) -> None:
    arguments = written(recipes["vjepa"], squares, tmp_path)
    run = open_run(recipes["vjepa"], Workspace(squares, tmp_path / "runs", CPU))
    with run.locked(World()):
        ended = together(tmp_path, main, arguments)
    only_one_says(ended, f"{run.folder}: expected a run that nobody trains, got one that process {os.getpid()} on")


def test_a_loss_that_is_not_finite_in_one_process_stops_both(recipes: Recipes, squares: Store, tmp_path: Path) -> None:
    recipe = replace(recipes["vjepa"], steps=12, log_every=100, save_every=4)
    ended = together(tmp_path, command_with_an_infinite_loss, written(recipe, squares, tmp_path))
    only_one_says(ended, "step 7: not finite: loss inf. The step was not taken")
    state = open_run(recipe, Workspace(squares, tmp_path / "runs", CPU)).resume()
    assert state is not None
    assert state["step"] == 4


def test_a_numbered_gpu_is_refused_where_each_process_takes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="expected 'cuda', since torchrun gives each process its own, got 'cuda:0'"):
        joined(torch.device("cuda:0")).__enter__()
