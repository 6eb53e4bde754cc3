"""The benchmarks behind the pages on the localisation loss and on scores, and their records."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from conftest import sequences

from usjepa.data.clips import whole_labels
from usjepa.evaluation.metrics import video_scores
from usjepa.recipe import SegmentRecipe
from usjepa.training.features import features_of
from usjepa.training.scoring import counts_table, training_entries, truth_of
from usjepa.training.segment import judged_encoder, train_segmenter
from usjepa.training.workspace import Workspace

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def _beside_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def module(name: str) -> dict[str, object]:
    """A benchmark's names."""
    return runpy.run_path(str(BENCHMARKS / f"{name}.py"))


def written(name: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, object]]]:
    """What a benchmark writes at the smallest size, run as from the command line."""
    monkeypatch.setattr(sys, "argv", [name, "--size", "micro", "--json", str(target)])
    runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    return json.loads(target.read_text())


def record(name: str) -> dict[str, list[dict[str, object]]]:
    """A committed record."""
    return json.loads((BENCHMARKS / "records" / f"{name}.json").read_text())


def shape(of: dict[str, list[dict[str, object]]]) -> dict[str, list[str]]:
    """The lists of a record and the columns of each."""
    return {name: list(rows[0]) for name, rows in of.items() if isinstance(rows, list)}


@pytest.mark.parametrize("standardises", [True, False])
def test_a_probe_in_memory_is_the_packages_own_if_it_standardises(
    random: SegmentRecipe, space: Workspace, standardises: bool
) -> None:
    probe, films = module("probe"), training_entries(random, space.store)
    features = features_of(judged_encoder(random, space), space.store, films, random.clip)
    way = probe["Way"](random, films, [], standardises=standardises)
    ours = probe["fitted"](way, features, truth_of(space.store, films, random.clip)).state_dict()
    package = train_segmenter(random, space).segmenter.state_dict()
    assert all(torch.equal(ours[name], package[name]) for name in package) is standardises


def test_maps_without_a_mistake_score_one_however_they_are_counted(random: SegmentRecipe, space: Workspace) -> None:
    counting, films = module("counting"), list(space.store.select("test"))
    maps = whole_labels(space.store, films, random.clip)
    table = counts_table(maps, space.store, films, random.clip)
    outcome, way = module("probe")["Outcome"](None, None, maps, table), module("probe")["Way"](random, [], films)
    drawn = {film.name: film for film in sequences()}
    assert set(counting["counted"](outcome, way, drawn).values()) == {(1.0, 1.0)}
    assert counting["mean_of"](video_scores(table)) == (1.0, 1.0)


def test_a_film_turned_twice_is_the_film(generator: torch.Generator) -> None:
    film = torch.rand(2, 1, 4, 16, 16, generator=generator)
    for turn in module("sensitivity")["TURNS"].values():
        assert not torch.equal(turn(film), film)
        assert torch.equal(turn(turn(film)), film)


def test_the_record_of_choices_is_what_the_benchmark_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, kept = written("sensitivity", tmp_path / "record.json", monkeypatch), record("sensitivity")
    assert shape(found) == shape(kept)
    assert [(row["choice"], row["made so"]) for row in found["choices"]] == [
        (row["choice"], row["made so"]) for row in kept["choices"]
    ]
    for one in (found, kept):
        ours, *others = one["choices"]
        assert ours["points"] == 0
        assert all(abs(row["points"] - 100 * (row["dsc"] - ours["dsc"])) < 0.11 for row in others)


def test_the_record_of_the_shortcut_is_what_the_benchmark_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, kept = written("shortcut", tmp_path / "record.json", monkeypatch), record("shortcut")
    assert {name: columns for name, columns in shape(found).items() if name != "curves"} == {
        name: columns for name, columns in shape(kept).items() if name != "curves"
    }
    for row, other in zip(found["curves"], kept["curves"], strict=True):
        assert row["Eq. 3, of chance, at step"] == other["Eq. 3, of chance, at step"]
        assert row["0"] == pytest.approx(other["0"], abs=0.1)
    for row, other in zip(found["chance"], kept["chance"], strict=True):
        assert row["all tokens"] == other["all tokens"]
        assert row["hidden"] == pytest.approx(other["hidden"], abs=0.1)


def test_the_record_of_the_shortcut_says_what_the_page_says() -> None:
    kept = record("shortcut")
    *solved, placeless = (list(row.values())[-1] for row in kept["curves"])
    assert max(solved) < 0.05
    assert placeless > 0.5
    pulls = [row["Eq. 3 at encoder"] for row in kept["ledger"]]
    assert pulls[0] > 10 * pulls[-1]
    untrained, papers, without_codes, alone = kept["places"]
    assert min(untrained[axis] for axis in "tij") > 0.95
    for axis in ("t", "i", "j", "t, no codes", "i, no codes", "j, no codes"):
        assert papers[axis] == pytest.approx(alone[axis], abs=0.03)
    for axis in ("i, no codes", "j, no codes"):
        assert without_codes[axis] > max(untrained[axis], papers[axis], alone[axis])


def test_the_record_of_choices_says_what_the_page_says() -> None:
    kept = record("sensitivity")
    points = {row["made so"]: row["points"] for row in kept["choices"]}
    seeds, patients = (row["sd in points"] for row in kept["yardsticks"])
    encoders = [row["points"] for row in kept["choices"] if row["choice"] == "encoder"]
    assert max(map(abs, encoders)) < min(patients, 2 * seeds)
    for name in ("with background", "epicardium filled, not the ring", "half the steps", "features not standardised"):
        assert abs(points[name]) > 3 * patients
    assert points["half the steps"] < 0 < points["twice the steps"]
    assert points["upside down"] < points["left and right changed"] < -patients
    by_steps = [row["dsc"] for row in kept["few"]]
    assert by_steps == sorted(by_steps)
    clean, leaked = (row["dsc"] for row in kept["leaked"])
    assert leaked <= clean + seeds / 100
