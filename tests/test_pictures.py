"""Pictures of finished runs: whose they are, which videos they show and why, and what is written for the book."""

import dataclasses
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from results_cells import micro_cells, space_of

from usjepa.cli import main
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.evaluation.metrics import averages, video_scores
from usjepa.recipe import SegmentRecipe
from usjepa.results import pictures as drawing
from usjepa.results.files import read_results
from usjepa.results.pictures import Runs, cases_of, finished, pictures, quality_table, write_pictures
from usjepa.results.plan import Cell
from usjepa.results.points import ROWS
from usjepa.results.sweep import sweep
from usjepa.training.runs import Run

mpl.use("agg")
ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book" / "pictures"


@pytest.fixture(scope="module")
def cells(micro: SegmentRecipe) -> list[Cell]:
    """Three rows with all and half of the labels; half stands in for a tenth."""
    return [cell._replace(fraction=1.0 if cell.fraction == 1 else 0.1) for cell in micro_cells(micro, seeds=1)]


@pytest.fixture(scope="module")
def ran(cells: list[Cell], squares: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ran")
    assert sweep(cells, space_of(squares.folder, root)) == []
    return root


@pytest.fixture
def runs(cells: list[Cell], ran: Path) -> Runs:
    return {(cell.name, cell.fraction): Run(ran / cell.hash, cell.recipe) for cell in cells}


def test_every_picture_is_of_the_finished_runs_and_says_what_it_shows(runs: Runs, squares: Store) -> None:
    made = {picture.name: picture for picture in pictures(runs, squares)}
    assert list(made) == ["examples", "worst", "quality"]  # a square has no mitral plane, and so no ejection fraction
    of = {row: [runs[row, share].folder.name for share in (1.0, 0.1)] for row in ("vjepa", "vjepa-ll", "random")}
    assert made["examples"].runs == made["quality"].runs == of["vjepa"] + of["vjepa-ll"] + of["random"]
    assert made["worst"].runs == of["vjepa-ll"]
    assert "2 videos by 3 methods" in made["examples"].drawn.alt
    assert f"{squares.source}: patient000" in made["worst"].drawn.alt


def test_the_examples_go_from_the_best_video_to_the_worst(runs: Runs, squares: Store) -> None:
    scores = []
    for row in ("vjepa", "vjepa-ll", "random"):
        found = averages(video_scores(runs[row, 1.0].table().query("split == 'test'")))
        scores.append(found.query("structure == 'over structures'").set_index("video")["dsc"])
    best = pd.concat(scores, axis=1).mean(axis=1).sort_values(ascending=False)
    shown = pictures(runs, squares)[0].drawn.figure.axes
    assert shown[0].get_title() == f"{best.index[0]}\n100% of labels"
    assert shown[2].get_title() == f"{best.index[1]}\n100% of labels"


def test_cases_hold_what_the_run_segmented_in_the_order_asked_for(runs: Runs, squares: Store) -> None:
    run = runs["random", 1.0]
    cases = cases_of(run, squares)
    assert [case.patient for case in cases] == ["patient0008", "patient0009"]
    assert {case.frames.shape for case in cases} == {case.true.shape for case in cases} == {(4, 16, 16)}
    for case in cases:
        np.testing.assert_array_equal(case.predicted, run.maps()[case.name])
        of = [(case.true == k, case.predicted == k) for k in (1, 2, 3)]
        parts = [2 * (one & other).sum() / (one.sum() + other.sum()) for one, other in of if (one | other).any()]
        assert case.dsc == pytest.approx(np.mean(parts), abs=1e-9)
    turned = cases_of(run, squares, names=[case.name for case in cases[::-1]])
    assert [case.name for case in turned] == [case.name for case in cases[::-1]]


def test_quality_goes_from_good_to_unknown(runs: Runs, squares: Store) -> None:
    first, second = [entry.name for entry in squares.select("test")]
    assert set(quality_table(runs, ["random"], squares)["quality"]) == {"unknown"}
    for grades in ({first: "Poor", second: "Good"}, {first: None, second: "Poor"}):
        entries = [dataclasses.replace(entry, quality=grades.get(entry.name)) for entry in squares.entries]
        table = quality_table(runs, ["random"], dataclasses.replace(squares, entries=tuple(entries)))
        assert table["structure"].unique().tolist() == ["LV endo", "LV epi", "LA"]
        assert table["quality"].tolist() == [grades[second], grades[first] or "unknown"] * 3


def test_without_the_localisation_loss_the_first_row_is_judged_and_two_ejection_fractions_are_drawn(
    runs: Runs, squares: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = pd.DataFrame({"true_ef_percent": [50.0, 60.0], "ef_percent": [52.0, 64.0]})
    monkeypatch.setattr(drawing, "ejection_fractions", lambda cases: known)
    made = pictures({key: run for key, run in runs.items() if key[0] == "random"}, squares)
    assert [picture.name for picture in made] == ["examples", "worst", "quality", "ejection"]
    assert made[-1].runs == [runs["random", share].folder.name for share in (1.0, 0.1)]
    assert f"random, {squares.source}: 2 patients" in made[-1].drawn.alt


def test_the_command_writes_pictures_and_their_words(
    cells: list[Cell],
    ran: Path,
    squares: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(drawing, "plan_cells", lambda name, profile, seeds: cells)
    command = ["results", "pictures", "--data", str(squares.folder), "--runs", str(ran), "--out", str(tmp_path)]
    assert main(command) == 0
    names = ["tiny-examples.png", "tiny-worst.png", "tiny-quality.png", "tiny.csv"]
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in names]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    table = pd.read_csv(tmp_path / "tiny.csv")
    assert table["picture"].tolist() == ["examples", "worst", "quality"]
    (tmp_path / "tiny-ejection.png").write_bytes(b"of other runs")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name in names}
    write_pictures(pictures(finished("tiny", ran, squares), squares), tmp_path, "tiny")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_runs_on_other_films_and_no_runs_are_refused(
    cells: list[Cell], ran: Path, squares: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "plan_cells", lambda name, profile, seeds: cells)
    with pytest.raises(InputError, match="got one on other data"):
        finished("tiny", ran, dataclasses.replace(squares, fingerprint="other"))
    with pytest.raises(InputError, match=f"{tmp_path}: expected a row of table2 at tiny run with all and with 10 %"):
        finished("tiny", tmp_path, squares)


def test_a_stores_source_tells_phantom_from_camus(squares: Store) -> None:
    def of(*licences: str) -> str:
        entries = [dataclasses.replace(squares.entries[0], licence=licence) for licence in licences]
        return dataclasses.replace(squares, entries=tuple(entries)).source

    assert of("synthetic, made by usjepa") == "phantom"
    assert of("CC BY-NC-SA 4.0 (CAMUS)") == "CAMUS"
    assert of("CC BY-NC-SA 4.0 (CAMUS)", "CC0", "MIT") == "CAMUS and other films"


def test_the_books_pictures_are_of_the_runs_that_the_tables_have() -> None:
    table = pd.read_csv(BOOK / "small.csv")
    runs = read_results(ROOT / "results", "table2", "small").runs
    done = runs[(runs["status"] == "done") & (runs["seed"] == "0") & runs["row"].isin(ROWS)]
    whole = done[done["fraction"].isin(["1", "0.1"])].groupby("row").filter(lambda of: len(of) == 2)
    examples = table.set_index("picture")["runs"]["examples"].split()
    assert sorted(examples) == sorted(whole["recipe"]), (
        "run: usjepa results pictures --profile small --out book/pictures"
    )
    assert {f"small-{name}.png" for name in table["picture"]} == {path.name for path in BOOK.glob("*.png")}
    page = (BOOK.parent / "pictures.md").read_text(encoding="utf-8")
    assert all(f"<!-- picture small {name} -->" in page for name in table["picture"])


def test_a_run_records_what_was_scanned(runs: Runs, squares: Store) -> None:
    record = json.loads((runs["random", 1.0].folder / "environment.json").read_text())
    assert record["source"] == squares.source
