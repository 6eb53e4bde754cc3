"""Sweeps: killed, beside each other, and with runs that fail."""

import json
import multiprocessing
import os
import re
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from results_cells import micro_cells, work

from usjepa.baseline import LazyRecipe, UNetRecipe
from usjepa.cli import main
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.recipe import AnyRun, PretrainRecipe, SegmentRecipe
from usjepa.recipe_file import recipe_hash
from usjepa.results import sweep as sweeping
from usjepa.results.collect import build
from usjepa.results.files import NOT_YET_RUN, empty_results
from usjepa.results.plan import Cell, runs_of
from usjepa.results.sweep import sweep
from usjepa.training.runs import Run
from usjepa.training.workspace import Workspace

LOADED = multiprocessing.get_context("forkserver")
LOADED.set_forkserver_preload(["usjepa.results.sweep"])
LONGEST_S = 120


@pytest.fixture
def cells(micro: SegmentRecipe) -> list[Cell]:
    return micro_cells(micro, seeds=1)


def texts(cells: list[Cell], root: Path) -> list[str]:
    """The files' contents, without the seconds."""
    results = build(cells, root, empty_results())
    return results._replace(runs=results.runs.drop(columns=["seconds", "start_seconds"])).texts()


def hashes(cells: list[Cell]) -> set[str]:
    return {recipe_hash(recipe) for cell in cells for recipe in runs_of(cell.recipe)}


def test_a_sweep_stopped_and_resumed_gives_the_bytes_of_an_unbroken_one(
    cells: list[Cell], space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle, then a process killed outright, then the rest."""
    whole, root = replace(space, root=tmp_path / "whole"), space.root
    assert sweep(cells, whole) == []
    run, begun = sweeping.run_recipe, list[AnyRun]()

    def stops(recipe: AnyRun, workspace: Workspace) -> Run:
        begun.append(recipe)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return run(recipe, workspace)

    monkeypatch.setattr(sweeping, "run_recipe", stops)
    with pytest.raises(KeyboardInterrupt):
        sweep(cells, space)
    monkeypatch.undo()
    assert [line.split(",")[4] for line in texts(cells, root)[0].splitlines()[1:]] == ["done"] * 2 + [NOT_YET_RUN] * 4
    process = LOADED.Process(target=work, args=(cells, space.store.folder, root, None, tmp_path / "ran"))
    process.start()
    log, deadline = root / recipe_hash(cells[2].recipe.start) / "log.csv", time.monotonic() + LONGEST_S
    while not (log.exists() and log.read_text().count("\n") > 2):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(LONGEST_S)
    assert process.exitcode == -signal.SIGKILL
    assert not (log.parent / "done.json").exists()
    assert sweep(cells, space) == []
    assert texts(cells, root) == texts(cells, whole.root)
    assert sweep(cells, space) == []


def test_two_processes_share_the_cells_and_run_each_once(micro: SegmentRecipe, squares: Store, tmp_path: Path) -> None:
    cells, together = micro_cells(micro), LOADED.Barrier(2)
    ran = [tmp_path / "first", tmp_path / "second"]
    arguments = [(cells, squares.folder, tmp_path / "runs", together, path) for path in ran]
    processes = [LOADED.Process(target=work, args=one) for one in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONGEST_S)
        assert process.exitcode == 0
    lists = [path.read_text().split() for path in ran]
    assert Counter(lists[0] + lists[1]) == Counter(hashes(cells))
    assert all(lists)


def test_a_failing_pretraining_fails_its_cells_once_and_no_other(
    cells: list[Cell], space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    start = cells[2].recipe.start
    assert isinstance(start, PretrainRecipe)
    wild = replace(start, rate_peak=1e30)
    cells[2:4] = [cell._replace(recipe=replace(cell.recipe, start=wild)) for cell in cells[2:4]]
    assert sweep(cells, space) == cells[2:4]
    said = capsys.readouterr().out
    assert said.count("not finite") == 2
    assert "1 of 6  random, seed 0, 100% of the labels: validation DSC 0." in said
    path = space.root / recipe_hash(wild) / "failed.json"
    failure = json.loads(path.read_text())
    assert "not finite" in failure["message"]
    assert 0 <= failure["step"] < start.steps
    assert failure["time"].endswith("+00:00")
    results = build(cells, space.root, empty_results())
    assert results.runs["status"].tolist() == ["done"] * 2 + ["failed"] * 2 + ["done"] * 2
    assert results.runs["error"].str.contains("not finite").tolist() == [False] * 2 + [True] * 2 + [False] * 2


def test_a_failed_cell_is_tried_again_only_when_asked(cells: list[Cell], space: Workspace) -> None:
    greedy = cells[0]._replace(recipe=replace(cells[0].recipe, batch=7))
    path = space.root / greedy.hash / "failed.json"
    assert sweep([greedy], space) == [greedy]
    assert "at most the 6 labelled clips, got 7" in path.read_text()
    path.write_text(path.read_text().replace("labelled", "marked"))
    assert sweep([greedy], space) == [greedy]
    assert "marked" in path.read_text()
    assert sweep([greedy], space, retries=True) == [greedy]
    assert "marked" not in path.read_text()


def test_rows_without_a_transformer_are_run_and_stand_in_the_same_files(micro: SegmentRecipe, space: Workspace) -> None:
    unet = UNetRecipe(clip=micro.clip, depth=3, batch=3, steps=5)
    cells = [Cell("mean-mask", 0, 1.0, 0, LazyRecipe(clip=micro.clip)), Cell("unet", 0, 1.0, 0, unet)]
    assert sweep(cells, space) == []
    results = build(cells, space.root, empty_results())
    runs = results.runs
    assert runs[["status", "start", "flops"]].to_numpy().tolist() == [["done", "", ""]] * 2
    assert (runs.loc[0, "seconds"], runs.loc[0, "steps"], runs.loc[1, "steps"]) == ("", "", "5")
    assert float(runs.loc[1, "seconds"]) > 0
    assert results.scores["row"].value_counts().nunique() == 1


def test_runs_of_other_data_stop_a_sweep_before_it_begins(cells: list[Cell], space: Workspace) -> None:
    assert sweep(cells[:1], space) == []
    other = replace(space, store=replace(space.store, fingerprint="xyz"))
    with pytest.raises(InputError, match="expected the data that this run began with"):
        sweep(cells, other)
    assert not list(space.root.glob("*/failed.json"))


def test_the_command_says_what_failed_leaves_out_what_is_committed_and_tables_show_it(
    squares: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames of 16 pixels where the recipe wants 40."""
    places = ["--profile", "tiny", "--runs", str(tmp_path / "runs")]
    run = ["results", "run", "table2", "--data", str(squares.folder), "--seeds", "1", "--only", "random"]
    assert main([*run, *places]) == 1
    assert "0 of 4 done, 4 failed" in capsys.readouterr().out
    table = ["results", "table", "table2", "--out", str(tmp_path / "out"), "--seeds", "1", *places]
    assert main(table) == 0
    shown = capsys.readouterr().out
    assert shown.count("1 failed") == 4
    assert len(re.findall(r"vjepa-16b-ll +vjepa-16b +[\d.]+ +not yet run +- ", shown)) == 4
    runs = tmp_path / "out" / "table2-tiny-runs.csv"
    text = runs.read_text()
    assert str(tmp_path) not in text
    assert main([*table, "--check"]) == 0
    runs.write_text(
        text.replace(",failed,", ",done,", 1) + "vjepa-old,0,1,0,not yet run,0123456789ab" + 13 * "," + "\n"
    )
    assert main([*run, *places, "--beyond", str(tmp_path / "out")]) == 1
    assert "0 of 3 done, 3 failed" in capsys.readouterr().out
    assert main([*table, "--check"]) == 1
    assert "vjepa-old, seed 0, fraction 1 (0123456789ab): expected a recipe of the catal" in capsys.readouterr().out
    assert main(table) == 0
    assert "no such recipe any more: 0123456789ab" in capsys.readouterr().out
    assert runs.read_text() == text
    assert main([*run, *places, "--only", "vjepa-lll"]) == 2
    assert "expected rows of table2, got vjepa-lll" in capsys.readouterr().err
