"""From runs to committed files, tables and comparisons, and what a check of the files finds."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from results_cells import micro_cells, space_of

from usjepa.catalogue import BASELINES, NAMES
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.evaluation.metrics import averages, video_scores
from usjepa.evaluation.orientation import shape_scores
from usjepa.evaluation.statistics import compare
from usjepa.recipe import SegmentRecipe
from usjepa.results.check import check_results, planned_cells
from usjepa.results.collect import build
from usjepa.results.comparisons import comparisons, videos_of
from usjepa.results.files import NOT_YET_RUN, Results, empty_results, paths_of, read_results, write_results
from usjepa.results.plan import LENGTHS, PLANS, Cell, plan_cells, runs_of
from usjepa.results.sweep import sweep
from usjepa.results.table import table
from usjepa.training.runs import Run

NOWHERE = Path("no-runs-here")
Edit = Callable[[str], str]


@pytest.fixture(scope="module")
def cells(micro: SegmentRecipe) -> list[Cell]:
    return micro_cells(micro)


@pytest.fixture(scope="module")
def ran(cells: list[Cell], squares: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of all cells."""
    root = tmp_path_factory.mktemp("table") / "runs"
    assert sweep(cells, space_of(squares.folder, root)) == []
    return root


@pytest.fixture(scope="module")
def results(cells: list[Cell], ran: Path) -> Results:
    return build(cells, ran, empty_results())


@pytest.fixture
def folder(results: Results, tmp_path: Path) -> Path:
    """The files as they would be committed."""
    write_results(results, tmp_path / "results", "micro", "tiny")
    return tmp_path / "results"


def test_every_recipe_of_the_catalogue_is_in_a_plan_and_plans_hold_no_run_twice() -> None:
    plans = {name: plan_cells(name, "tiny", 3) for name in PLANS}
    assert {cell.name for cells in plans.values() for cell in cells} == {*NAMES, *BASELINES, *LENGTHS}
    for cells in plans.values():
        assert len({cell.hash for cell in cells}) == len(cells)
    lazy = [cell for cell in plans["table2"] if cell.name == "mean-mask"]
    assert [(cell.fraction, cell.draw) for cell in lazy if cell.fraction in (1.0, 0.1)] == [
        (1, 0),
        (0.1, 0),
        (0.1, 1),
        (0.1, 2),
    ]
    assert len(plans["table2"]) == len(PLANS["table2"].names) * 4 * 3 - 2 * 2
    assert len(plans["table1"]) == 18 * 3


def test_a_plan_goes_seed_by_seed_and_a_smaller_share_draws_its_own_patients() -> None:
    cells = plan_cells("table2", "tiny", 2)
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert [cell.fraction for cell in cells[:4]] == [1.0, 0.1, 0.5, 0.2]
    assert {(cell.seed, cell.fraction < 1, cell.draw) for cell in cells} == {
        (0, False, 0),
        (0, True, 0),
        (1, False, 0),
        (1, True, 1),
    }
    alone = plan_cells("table2", "tiny", 1)
    assert cells[: len(alone)] == alone


def test_the_scaling_rows_are_the_catalogues_but_for_their_steps() -> None:
    rows = {cell.name: cell.recipe.start for cell in plan_cells("scaling", "small", 1)}
    whole, part = rows["vjepa"], rows["vjepa-steps/4"]
    assert (part.steps, part.warmup_steps) == (whole.steps // 4, whole.warmup_steps // 4)
    assert replace(part, steps=whole.steps, warmup_steps=whole.warmup_steps) == whole
    assert [type(one).__name__ for one in runs_of(plan_cells("scaling", "small", 1)[6].recipe)][-1] == "SegmentRecipe"


@pytest.mark.parametrize(
    ("name", "seeds", "said"), [("table3", 3, "expected one of table2"), ("table1", 0, "1 or more")]
)
def test_unknown_plans_and_no_seed_are_refused(name: str, seeds: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan_cells(name, "tiny", seeds)


def test_scores_are_those_of_the_runs_tables(cells: list[Cell], ran: Path, results: Results) -> None:
    counts = Run(ran / cells[3].hash, cells[3].recipe).table()
    part = counts[(counts["split"] == "test") & counts["annotated"]]
    scores = averages(video_scores(part)).query("structure == 'over structures'")
    line = results.of(cells[3].hash).scores.query(
        "split == 'test' and frames == 'annotated' and structure == 'over structures'"
    )
    assert line["dsc"].tolist() == [f"{scores['dsc'].mean():.6f}"]
    assert line["dsc_sd"].tolist() == [f"{scores['dsc'].std():.6f}"]
    assert line["patients"].tolist() == ["2"]
    endo = part[part["structure"] == "LV endo"].groupby("video")["hd95_mm"].mean()
    assert f"{endo.mean():.6f}" in results.of(cells[3].hash).scores.query("frames == 'annotated'")["hd95_mm"].tolist()
    assert set(results.scores["split"]) == {"validation", "test"}


def test_a_row_tells_its_recipe_start_data_device_and_cost(cells: list[Cell], squares: Store, results: Results) -> None:
    runs = results.runs.set_index("recipe")
    random, vjepa = runs.loc[cells[0].hash], runs.loc[cells[2].hash]
    assert (random["start"], random["start_steps"]) == ("untrained", "")
    assert vjepa["start"] == runs.loc[cells[3].hash, "start"] != runs.loc[cells[4].hash, "start"]
    assert (vjepa["steps"], vjepa["start_steps"]) == ("50", "12")
    assert set(runs["data"]) == {squares.fingerprint}
    assert set(runs["status"]) == {"done"}
    assert min(float(one) for one in (random["seconds"], vjepa["seconds"], vjepa["start_seconds"])) > 0
    assert min(float(vjepa["start_flops"]), float(vjepa["flops"])) > 1e8
    assert vjepa["device"].startswith("cpu")
    assert float(vjepa["ridge_test"]) < 1


def test_files_read_and_built_again_have_the_same_bytes(cells: list[Cell], ran: Path, folder: Path) -> None:
    committed = read_results(folder, "micro", "tiny")
    texts = [path.read_bytes().decode() for path in paths_of(folder, "micro", "tiny")]
    for root in (ran, NOWHERE):
        assert build(cells, root, committed).texts() == texts
        assert check_results(cells, root, folder, "micro", "tiny") == []


def test_a_table_says_what_is_not_yet_run_and_what_lacks(cells: list[Cell], ran: Path, tmp_path: Path) -> None:
    for cell in (*cells[:2], cells[6]):
        shutil.copytree(ran / cell.hash, tmp_path / cell.hash)
    results = build(cells, tmp_path, empty_results())
    assert results.runs["status"].value_counts()[NOT_YET_RUN] == 9
    shown = table(results, "test")
    assert shown.columns.tolist() == ["100%", "50%"]
    assert shown.loc["vjepa"].tolist() == [NOT_YET_RUN] * 2
    assert "±" in shown.loc["random", "100%"]
    assert shown.loc["random", "50%"].endswith(f"), 1 {NOT_YET_RUN}")
    assert set(results.scores["row"]) == {"random"}


def test_a_table_has_the_mean_over_seeds_and_both_deviations(results: Results) -> None:
    known = results.scores.query("structure == 'over structures' and frames == 'all' and split == 'validation'")
    of = known[(known["row"] == "vjepa") & (known["fraction"] == "0.5")][["dsc", "dsc_sd"]].astype(float)
    shown = table(results, "validation").loc["vjepa", "50%"]
    assert shown == f"{of['dsc'].mean():.3f} ± {of['dsc'].std():.3f} ({of['dsc_sd'].mean():.3f})"


def test_rows_of_table_1_are_placed_by_freezing_and_lambda() -> None:
    results = build(plan_cells("table1", "tiny", 1), NOWHERE, empty_results())
    shown = table(results, "validation")
    assert shown.index.tolist() == ["vjepa", "vjepa-12b", "vjepa-16b"]
    weights = [f"lambda {weight}" for weight in ("1", "0.9", "0.75", "0.5", "0.25", "0")]
    assert shown.columns.tolist() == weights
    assert (shown == NOT_YET_RUN).all(axis=None)
    fewer = table(build(plan_cells("table1-fewer", "tiny", 1), NOWHERE, empty_results()), "validation")
    assert fewer.columns.tolist() == [f"{weight}, {share}%" for share in (50, 20, 10) for weight in weights]
    assert (fewer == NOT_YET_RUN).all(axis=None)


def test_comparisons_come_from_the_files_alone_and_agree_with_the_runs(
    cells: list[Cell], ran: Path, folder: Path
) -> None:
    committed = read_results(folder, "micro", "tiny")
    family = comparisons(committed, "test", pairs={"vjepa": "vjepa-ll"}, fractions=(1.0, 0.5))
    sides = []
    for name in ("vjepa-ll", "vjepa"):
        chosen = [cell for cell in cells if cell.name == name and cell.fraction == 0.5]
        tables = {cell.seed: Run(ran / cell.hash, cell.recipe).table().query("split == 'test'") for cell in chosen}
        scores = pd.concat([averages(video_scores(one)).assign(seed=seed) for seed, one in tables.items()])
        sides.append(scores.query("structure == 'over structures'"))
    expected = compare(sides[0], sides[1], np.random.default_rng(0))
    line = family.iloc[1]
    assert (line["status"], line["seeds"], line["patients"]) == ("done", 2, 2)
    assert line["points"] == pytest.approx(expected.points, abs=0.01)
    assert line["ours"] == pytest.approx(expected.ours, abs=1e-4)
    assert (family["p_holm"] >= family["p_patients"]).all()


def test_shapes_are_kept_of_test_videos_alone(cells: list[Cell], ran: Path, results: Results) -> None:
    counts = Run(ran / cells[4].hash, cells[4].recipe).table().query("split == 'test'")
    kept = videos_of(results, "vjepa-ll", 1.0, "test", metric="roughness").query("seed == 0").set_index("video")
    known = shape_scores(counts).set_index("video")["roughness"]
    assert kept["roughness"].to_dict() == pytest.approx(known.to_dict(), abs=1e-4)
    assert len(videos_of(results, "vjepa-ll", 1.0, "validation")) == 4
    assert videos_of(results, "vjepa-ll", 1.0, "validation", metric="roughness").empty
    assert videos_of(results, "no such row", 1.0, "test").empty


def test_a_family_that_is_not_complete_has_no_adjusted_p(results: Results) -> None:
    family = comparisons(results, "test", pairs={"vjepa": "vjepa-ll", "vjepa-12b": "vjepa-12b-ll"}, fractions=(1.0,))
    assert family["status"].tolist() == ["done", NOT_YET_RUN]
    assert family["p_holm"].isna().all()


def without_line(text: str) -> str:
    return text[: text.rstrip("\n").rfind("\n") + 1]


def swapped(old: str, new: str) -> Edit:
    return lambda text: text.replace(old, new)


def first_fraction(text: str) -> str:
    return text.replace(",0,1,", ",0,0.2,", 1)


@pytest.mark.parametrize(
    ("file", "edit", "said"),
    [
        (0, without_line, r"vjepa-ll, seed 1, 50% of the labels \([0-9a-f]{12}\): expected a row, found none"),
        (0, first_fraction, r"random, seed 0, fraction 0.2 \(.*\): expected random, seed 0, fraction 1"),
        (
            0,
            swapped(",done,", ",running,"),
            "expected scores of every run that is done, as many of each, and of no other",
        ),
        (1, swapped("vjepa,0,1,", "vjepa,0,1,f"), "expected a recipe of the catalogue, which has none of this hash"),
        (1, swapped(",test,all,LV endo,2,0", ",test,all,LV endo,2,1"), r"line \d+: got .* the runs give "),
        (1, lambda text: text.replace("\n", "\r\n"), "line 1: got "),
        (
            2,
            swapped("test|patient0008|", "test|patient0006|"),
            "patient0006: expected one split, got test and validation",
        ),
        (2, without_line, "expected scores of every run that is done, as many of each"),
    ],
)
def test_a_check_names_what_was_changed_in_a_file(
    cells: list[Cell], ran: Path, folder: Path, file: int, edit: Edit, said: str
) -> None:
    path = paths_of(folder, "micro", "tiny")[file]
    text = path.read_text()
    assert edit(text) != text
    path.write_bytes(edit(text).encode())
    problems = check_results(cells, ran, folder, "micro", "tiny")
    assert problems
    assert any(pd.Series(problems).str.contains(said)), problems
    assert all(str(folder) in problem for problem in problems)


def test_a_check_finds_data_of_two_kinds_in_one_table(cells: list[Cell], folder: Path, squares: Store) -> None:
    path = paths_of(folder, "micro", "tiny")[0]
    path.write_text(path.read_text().replace(squares.fingerprint, "0" * 64, 1))
    (problem,) = check_results(cells, NOWHERE, folder, "micro", "tiny")
    assert "expected one fingerprint in a table, got random seed 0" in problem


def test_a_check_finds_results_of_recipes_that_the_catalogue_has_left(
    micro: SegmentRecipe, ran: Path, folder: Path
) -> None:
    changed = micro_cells(replace(micro, decoder_width=9))
    problems = check_results(changed, ran, folder, "micro", "tiny")
    assert sum("expected a row, found none" in one for one in problems) == 12
    assert sum("which has none of this hash" in one for one in problems) == 36
    paths_of(folder, "micro", "tiny")[2].unlink()
    with pytest.raises(InputError, match="expected it beside micro-tiny-runs.csv, found none"):
        check_results(changed, ran, folder, "micro", "tiny")


def test_a_plan_has_the_seeds_of_its_committed_files(results: Results, tmp_path: Path) -> None:
    assert len(planned_cells("table1", "tiny", empty_results(), None)) == 18 * 3
    assert len(planned_cells("table1", "tiny", results, None)) == 18 * 2
    assert len(planned_cells("table1", "tiny", results, 1)) == 18
    (problem,) = check_results([], NOWHERE, tmp_path, "table1", "tiny")
    assert "expected committed results, found none" in problem
