import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.recipe import AnyRecipe, PretrainRecipe, SegmentRecipe
from usjepa.recipe_file import read_recipe, recipe_hash, to_json
from usjepa.training import environment
from usjepa.training.checkpoint import write_whole
from usjepa.training.environment import read_environment
from usjepa.training.runs import Run, open_run
from usjepa.training.workspace import Workspace
from usjepa.training.world import World

ALONE = World()
HOLD = """
import sys, time
from pathlib import Path
from usjepa.recipe import PretrainRecipe
from usjepa.training.checkpoint import write_whole
from usjepa.training.runs import Run
from usjepa.training.world import World
with Run(Path(sys.argv[1]), PretrainRecipe()).locked(World()):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def workspace(squares: Store, root: Path) -> Workspace:
    return Workspace(squares, root, torch.device("cpu"))


@pytest.fixture
def run(workspace: Workspace) -> Run:
    return open_run(PretrainRecipe(), workspace)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full, as far as a process can tell: no file may grow beyond this many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(run: Run) -> list[str]:
    return sorted(path.name for path in run.folder.iterdir())


def test_the_folder_is_named_by_the_recipes_hash_and_holds_it(run: Run, root: Path, squares: Store) -> None:
    assert run.folder == root / recipe_hash(PretrainRecipe())
    assert read_recipe(run.folder / "recipe.json") == PretrainRecipe()
    environment = pd.read_json(run.folder / "environment.json", typ="series")
    assert {"weights", "torch", "python", "commit", "device"} <= set(environment.index)
    assert environment["data"] == squares.fingerprint


def test_opening_twice_is_one_run_and_another_recipe_another(run: Run, workspace: Workspace) -> None:
    assert open_run(PretrainRecipe(), workspace) == run
    assert open_run(PretrainRecipe(seed=1), workspace).folder != run.folder


def test_other_data_are_refused(run: Run, workspace: Workspace, squares: Store) -> None:
    other = replace(workspace, store=replace(squares, fingerprint="xyz"))
    with pytest.raises(InputError, match=rf"data that this run began with \({squares.fingerprint[:12]}\), got xyz"):
        open_run(PretrainRecipe(), other)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (to_json(PretrainRecipe(rate_peak=1e-3)), r"got another \(rate_peak: 0.0002 here, 0.001 there\)"),
        (to_json(SegmentRecipe()), r"there; and \d+ more\)"),
        ("{}", "start: None here, absent there; scenes: 0 here, absent there"),
        ("<html>", "expected a recipe, got '<html>'"),
    ],
)
def test_a_changed_recipe_file_is_refused_with_the_difference(
    run: Run, workspace: Workspace, found: str, said: str
) -> None:
    (run.folder / "recipe.json").write_text(found)
    with pytest.raises(InputError, match=f"recipe.json: .*{said}.*[Dd]elete the folder and run it again"):
        open_run(PretrainRecipe(), workspace)


def test_a_folder_that_cannot_be_made_is_said(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/.*: expected to write this file, got NotADirectoryError"):
        open_run(PretrainRecipe(), replace(workspace, root=tmp_path / "file"))


def test_the_log_has_named_columns_and_exact_numbers(run: Run) -> None:
    run.append({"step": 0, "loss": 1 / 3})
    run.append({"step": 1, "loss": 0.1 + 0.2})
    assert run.log().to_dict("list") == {"step": [0, 1], "loss": [1 / 3, 0.1 + 0.2]}


def test_a_row_cut_short_is_left_out_and_written_over(run: Run) -> None:
    for step in range(3):
        run.append({"step": step, "loss": step / 7})
    run.save({"step": 2})
    path = run.folder / "log.csv"
    whole = path.read_text()
    path.write_text(whole + "3,0.12")
    assert run.log()["step"].tolist() == [0, 1, 2]
    run.resume()
    run.append({"step": 2, "loss": 2 / 7})
    assert path.read_text() == whole


@pytest.mark.parametrize("text", ["", "st", "step,lo", "step,loss\n", "step,loss\n0,0."])
def test_a_log_cut_in_its_first_lines_is_begun_anew(run: Run, text: str) -> None:
    run.save({"step": 1})
    (run.folder / "log.csv").write_text(text)
    assert run.log().empty
    run.resume()
    run.append({"step": 1, "loss": 0.5})
    assert run.log().to_dict("list") == {"step": [1], "loss": [0.5]}


def test_resume_gives_the_last_checkpoint_and_cuts_the_log_to_it(run: Run) -> None:
    assert run.resume() is None
    for step in range(4):
        run.append({"step": step})
    run.save({"step": 2, "weights": torch.arange(3)})
    state = run.resume()
    assert state is not None
    assert torch.equal(state["weights"], torch.arange(3))
    assert run.log()["step"].tolist() == [0, 1]


def test_a_run_without_a_checkpoint_begins_its_log_anew(run: Run) -> None:
    run.append({"step": 0})
    run.resume()
    assert run.log().empty


def test_only_a_finished_run_has_final_weights_and_reading_them_changes_nothing(run: Run) -> None:
    run.save({"step": 2})
    with pytest.raises(InputError, match="expected a finished run, got an unfinished one"):
        run.final()
    run.append({"step": 2})
    run.finish()
    assert run.final()["step"] == 2
    assert run.log()["step"].tolist() == [2]


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 cut"])
def test_a_broken_checkpoint_is_named(run: Run, content: bytes) -> None:
    (run.folder / "last.pt").write_bytes(content)
    with pytest.raises(InputError, match="last.pt: expected a checkpoint of this run, got what can't be read"):
        run.resume()


def test_a_checkpoint_cut_anywhere_or_changed_in_its_weights_is_named(run: Run) -> None:
    run.save({"step": 2, "weights": torch.zeros(1000)})
    path = run.folder / "last.pt"
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="last.pt: expected a checkpoint"):
            run.resume()
    middle = whole.index(bytes(4000)) + 2000
    path.write_bytes(whole[:middle] + b"\x40" + whole[middle + 1 :])
    assert torch.load(path)["weights"].count_nonzero() == 1, "torch notices by itself now"
    with pytest.raises(InputError, match="last.pt: expected a checkpoint of this run, got a damaged one"):
        run.resume()


@pytest.mark.parametrize("foreign", [torch.zeros(3), {"model": torch.zeros(3)}, {"step": 3, "recipe": 4}])
def test_tensors_that_are_no_checkpoint_are_named(run: Run, foreign: object) -> None:
    torch.save(foreign, run.folder / "last.pt")
    with pytest.raises(InputError, match="last.pt: expected a checkpoint of this run, got another file"):
        run.resume()


def test_code_in_a_checkpoint_is_never_run(run: Run) -> None:
    torch.save({"step": 0, "harm": Path}, run.folder / "last.pt")
    with pytest.raises(InputError, match="last.pt: expected a checkpoint"):
        run.resume()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (PretrainRecipe(rate_peak=5e-4, betas=(0.9, 0.95)), "rate_peak: 0.0002 here, 0.0005 there; betas.1: 0.999"),
        (SegmentRecipe(), "rate_peak: 0.0002 here, 0.001 there; kind: vjepa here, segment there; "),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_with_the_difference(
    run: Run, workspace: Workspace, other: AnyRecipe, said: str
) -> None:
    stranger = open_run(other, workspace)
    stranger.save({"step": 2})
    (stranger.folder / "last.pt").rename(run.folder / "last.pt")
    with pytest.raises(InputError, match=f"last.pt: expected this run's own recipe, got another .*{said}"):
        run.resume()


@pytest.mark.parametrize("size", [0, 100, 3_000, 40_000])
def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(run: Run, size: int) -> None:
    run.save({"step": 1, "weights": torch.ones(10_000)})
    before = names(run)
    with files_of_at_most(size), pytest.raises(InputError, match=r"last.pt: expected to write .*Free space"):
        run.save({"step": 2, "weights": torch.ones(10_000)})
    assert names(run) == before
    state = run.resume()
    assert state is not None
    assert state["step"] == 1


def test_a_full_disk_is_said_by_the_log_and_at_the_end(run: Run) -> None:
    run.append({"step": 0, "loss": 0.25})
    with files_of_at_most(18), pytest.raises(InputError, match=r"log.csv: expected to write .*File too large.*Free"):
        run.append({"step": 1, "loss": 1 / 3})
    assert run.log()["step"].tolist() == [0]
    table = pd.DataFrame({"video": ["a"] * 1000})
    with files_of_at_most(100), pytest.raises(InputError, match=r"videos.parquet: expected to write .*Free space"):
        run.finish(table)
    assert not run.done
    assert not run.has_table
    with files_of_at_most(0), pytest.raises(InputError, match=r"done.json: expected to write .*Free space"):
        run.finish()
    assert not run.done
    run.finish(table)
    assert len(run.table()) == 1000


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save(torch.ones(10_000), path),
        lambda path: save_file({"features": torch.ones(10_000)}, path),
        lambda path: pd.DataFrame({"video": range(10_000)}).to_parquet(path),
        lambda path: path.write_bytes(bytes(10_000)),
    ],
    ids=["torch", "safetensors", "parquet", "bytes"],
)
def test_every_library_that_writes_is_stopped_by_a_full_disk_with_one_message(tmp_path: Path, write) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"earlier")
    with (
        files_of_at_most(5_000),
        pytest.raises(InputError, match=r"kept: expected to write this file, got .*Free space"),
    ):
        write_whole(path, write)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_in_training_is_not_trained_twice_but_read(run: Run) -> None:
    with run.locked(ALONE):
        run.append({"step": 0})
        with pytest.raises(InputError, match=f"{run.folder.name}: .* process {os.getpid()} on .* is training"):
            run.locked(ALONE).__enter__()
        assert run.log()["step"].tolist() == [0]
    with run.locked(ALONE):
        pass


def test_who_waits_says_for_whom_and_goes_on_when_that_is_killed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run.folder)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == b"locked\n"
        timer = threading.Timer(0.3, holder.kill)
        timer.start()
        with run.locked(ALONE, waits=True):
            assert holder.wait() == -signal.SIGKILL
    assert f"{run.folder}: waiting for process {holder.pid} on " in capsys.readouterr().err


def test_only_the_first_of_several_processes_needs_the_lock(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(World, "wait", lambda world: waited.append(world.rank))
    with run.locked(World(0, 2)), run.locked(World(1, 2)):
        assert waited == [0, 1]


def test_an_error_in_training_frees_the_run(run: Run) -> None:
    with pytest.raises(FloatingPointError), run.locked(ALONE):
        raise FloatingPointError
    with run.locked(ALONE):
        pass


def test_a_killed_process_frees_the_run_and_its_leavings_are_removed(run: Run) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run.folder)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(InputError, match=f"process {holder.pid} on .* is training"):
            run.locked(ALONE).__enter__()
        holder.kill()
        holder.wait()
    before = names(run)
    for name in ("last.pt", "log.csv", "videos.parquet", "done.json"):
        (run.folder / f".{name}.{holder.pid}").write_bytes(b"half")
    with run.locked(ALONE):
        assert names(run) == before


def test_a_lock_that_cannot_be_made_is_said(run: Run) -> None:
    (run.folder / ".lock").mkdir()
    with pytest.raises(InputError, match=r"\.lock: expected to write this file, got IsADirectoryError"):
        run.locked(ALONE).__enter__()


def test_a_finished_run_has_its_table(run: Run) -> None:
    with pytest.raises(InputError, match="found none. Run it to its end"):
        run.table()
    run.finish(pd.DataFrame({"video": ["a"], "both": [3]}))
    assert run.done
    assert run.table()["both"].tolist() == [3]
    table = run.folder / "videos.parquet"
    table.write_bytes(table.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"videos\.parquet: expected a finished run's table, found a damaged one"):
        run.table()


def test_a_record_without_what_was_scanned_gets_it_and_a_missing_one_is_named(run: Run, workspace: Workspace) -> None:
    path = run.folder / "environment.json"
    record = read_environment(run.folder)
    source = record.pop("source")
    path.write_text(json.dumps(record))
    open_run(PretrainRecipe(), workspace)
    assert read_environment(run.folder) == record | {"source": source}
    for damage in ("[]", '{"data": "a"}', "{"):
        path.write_text(damage)
        with pytest.raises(InputError, match=r"environment\.json: expected the record of a run, got none"):
            read_environment(run.folder)


def test_label_maps_that_are_missing_or_damaged_are_named(run: Run) -> None:
    with pytest.raises(InputError, match=r"maps\.npz: expected the label maps of a scored run, got none"):
        run.maps()
    run.keep_maps(np.zeros((1, 2, 3, 3), np.uint8), ["a"])
    assert run.maps()["a"].shape == (2, 3, 3)
    whole = (run.folder / "maps.npz").read_bytes()
    for damaged in (b"", b"no label maps", whole[:-40]):
        (run.folder / "maps.npz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"maps\.npz: expected the label maps"):
            run.maps()


def test_a_run_that_goes_on_elsewhere_says_so_until_it_is_over(run: Run, workspace: Workspace, monkeypatch) -> None:
    path, here = run.folder / "environment.json", json.loads((run.folder / "environment.json").read_text())
    monkeypatch.setattr(
        environment, "describe_environment", lambda device: {"device": "cuda: H100", "torch": here["torch"]}
    )
    for _ in range(2):
        open_run(PretrainRecipe(), workspace)
        there = json.loads(path.read_text())
        assert there["device"] == f"{here['device']} then cuda: H100"
        assert there["torch"] == here["torch"]
    (run.folder / "done.json").write_text("{}")
    monkeypatch.setattr(environment, "describe_environment", lambda device: {"device": "tpu", "torch": "9"})
    open_run(PretrainRecipe(), workspace)
    assert json.loads(path.read_text()) == there
