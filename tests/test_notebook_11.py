"""Notebook 11 is right with no, some and all results, and a named fault in the package stops it where it should."""

import re
from pathlib import Path

import pandas as pd
import pytest
from faults import execute, faulty, stop_of
from nbformat import NotebookNode

from usjepa.catalogue import ADAPTATIONS
from usjepa.results.files import Results, read_results, write_results
from usjepa.results.plan import plan_cells

ROOT = Path(__file__).parents[1]
NAME = "11-lambda-ablation"
LIVE = ("store", "live", "compare")
MISSING = "not yet run"
GAIN = 0.02
"""DSC between lambda 1 and 0 in the results that are made up here, in equal steps."""


def some_results(folder: Path) -> None:
    """Table 2 alone: six of Table 1's cells, and no control."""
    write_results(read_results(ROOT / "results", "table2", "tiny"), folder, "table2", "tiny")


def all_results(folder: Path) -> None:
    """Every cell with three seeds: the scores of one V-JEPA run, with lambda's gain added to each video."""
    known = read_results(ROOT / "results", "table2", "tiny")
    runs = known.runs[(known.runs["row"] == "vjepa") & (known.runs["seed"] == "0")].set_index("fraction")["recipe"]
    for plan in ("table1", "controls"):
        parts: list[tuple[pd.DataFrame, ...]] = []
        for cell in plan_cells(plan, "tiny", 3):
            like = known.of(runs[f"{cell.fraction:g}"])
            lines, scores, videos = (one.assign(row=cell.name, seed=str(cell.seed), recipe=cell.hash) for one in like)
            parts.append((lines, scores, raised(videos, gain_of(cell.name))))
        write_results(Results(*(pd.concat(some) for some in zip(*parts, strict=True))), folder, plan, "tiny")


def gain_of(row: str) -> float:
    is_plain = row not in ADAPTATIONS or (row.startswith("ll-") or row == "vjepa-slow")
    return 0.0 if is_plain else GAIN * (1 - ADAPTATIONS[row].prediction_weight)


def raised(videos: pd.DataFrame, gain: float) -> pd.DataFrame:
    """The same lines with so much added to each score that is kept."""
    names = [name for name in videos if "|" in name]
    return videos.assign(**videos[names].map(lambda text: f"{float(text) + gain:.4f}" if text else ""))


def on_results(results: Path, fault: str = "", *, is_live: bool = False) -> NotebookNode:
    """The notebook on other results, with a fault behind its imports; with the live run only if asked for."""
    notebook = faulty(NAME, fault)
    notebook.cells = [cell for cell in notebook.cells if is_live or cell.id not in LIVE]
    for cell in notebook.cells:
        cell.source = cell.source.replace('"../results"', repr(str(results)))
    return notebook


def executed(results: Path) -> NotebookNode:
    """The notebook run to its end on other results."""
    notebook = on_results(results)
    execute(notebook)
    return notebook


def shown(notebook: NotebookNode, name: str) -> str:
    """What a cell printed and showed, as text."""
    (cell,) = [cell for cell in notebook.cells if cell.id == name]
    return "".join(out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in cell.outputs)


@pytest.mark.slow
def test_without_results_every_cell_says_not_yet_run(tmp_path: Path) -> None:
    notebook = executed(tmp_path)
    assert shown(notebook, "of-table-1").strip() == "54 runs planned, 3 seed(s): {'not yet run': 54}"
    assert shown(notebook, "table").count(MISSING) == 18
    assert shown(notebook, "figure").endswith(repr(MISSING))
    assert shown(notebook, "best").count(MISSING) == 15
    assert f"{MISSING}    15" in shown(notebook, "verdict")
    assert shown(notebook, "controls").count(MISSING) == 14
    assert shown(notebook, "as-much").count(MISSING) == 2
    assert shown(notebook, "pair").startswith(f"{MISSING}: an invented example instead")


@pytest.mark.slow
def test_six_runs_of_table_2_are_found_by_their_hash_and_no_gain_is_shown_without_controls(tmp_path: Path) -> None:
    some_results(tmp_path)
    notebook = executed(tmp_path)
    assert re.search(r"'done': (\d+)", shown(notebook, "of-table-1"))
    assert shown(notebook, "table").count(f" {MISSING}") >= 12
    assert "'vjepa': 2, 'vjepa-12b': 2, 'vjepa-16b': 2" in shown(notebook, "figure")
    assert shown(notebook, "best").count(MISSING) == 15
    assert "ll-detached at 100%" in shown(notebook, "verdict")


@pytest.mark.slow
def test_with_all_results_gains_are_those_put_in_and_nothing_is_missing(tmp_path: Path) -> None:
    all_results(tmp_path)
    notebook = executed(tmp_path)
    for name in ("of-table-1", "table", "figure", "best", "verdict", "controls", "as-much", "our-seeds"):
        assert MISSING not in shown(notebook, name)
    for gain in ("+1.5", "+1.3", "+1.0", "+0.5", "-0.5"):
        assert shown(notebook, "best").count(f"{gain} [{gain}, {gain}]") == 3
    assert shown(notebook, "controls").count("+1.5 [+1.5, +1.5]") == 2
    assert shown(notebook, "controls").count("+0.0 [+0.0, +0.0]") == 12


ROUNDED_DOWN = """
# The share of blocks that is frozen is rounded down: 2 of 4 where 16 of 24 are meant.
true_plan = uj.plan_cells
def plan_cells(*given):
    cells = true_plan(*given)
    starts = [replace(c.recipe.start, frozen_blocks=c.recipe.start.frozen_blocks // 2 * 2) for c in cells]
    return [c._replace(recipe=replace(c.recipe, start=one)) for c, one in zip(cells, starts)]
uj.plan_cells = plan_cells
"""
RATE_NOT_HASHED = """
# Runs that differ in their learning rate share a folder.
import usjepa.results.plan as module
true_hash = module.recipe_hash
module.recipe_hash = lambda recipe: true_hash(replace(recipe, rate_peak=1.0))
"""
MASKS_OF_ITS_OWN = """
# Each lambda draws masks of its own: seeds are no longer paired.
true_draw = uj.draw_step
uj.draw_step = lambda learner, step: true_draw(learner, step + round(100 * learner.recipe.prediction_weight))
"""
ONE_SIDED = """
# Only differences of the sign that was seen count.
true_p = uj.sign_flip_p
uj.sign_flip_p = lambda differences, generator: true_p(differences, generator) / 2
"""
PATIENTS_KEPT = """
# The interval draws seeds alone: as if the patients were all that there are.
def interval(differences, generator, draws=9999):
    seeds = generator.integers(len(differences), size=(draws, max(len(differences) - 1, 1)))
    return np.quantile(differences[seeds].mean(axis=(1, 2)), [0.025, 0.975])
uj.crossed_interval = interval
"""
SPREAD_KNOWN = """
# Power as if the spread were known and not estimated from the same few units.
def power(gain, sd, n, level=0.05):
    shift, critical = abs(gain) * n**0.5 / sd, stats.norm.isf(level / 2)
    return stats.norm.sf(critical - shift) + stats.norm.sf(critical + shift)
uj.detection_power = power
"""
ROWS_EXCHANGED = """
# In the files the runs with and without localisation loss bear each other's names.
import usjepa.results.measured as module
true_results = module.all_results
def exchanged(folder, profile):
    names = {"vjepa": "vjepa-ll", "vjepa-ll": "vjepa"}
    return uj.Results(*(part.assign(row=part["row"].replace(names)) for part in true_results(folder, profile)))
module.all_results = exchanged
"""
BLANK = """
# A row that is missing leaves a blank.
import usjepa.results.table as module
module.NOT_YET_RUN = ""
"""
NO_CONTROL_ASKED = """
# A gain is shown although no control was run.
import usjepa.results.measured as module
module.controls_of = lambda contrast: {}
"""
SHUFFLED_LABELS = """
# Each training film gets another film's outlines.
import usjepa.training.scoring as scoring
true_labels = scoring.whole_labels
def shuffled(store, entries, clip):
    labels = true_labels(store, entries, clip)
    is_training = entries[0].split == "train"
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))] if is_training else labels
scoring.whole_labels = shuffled
"""
FAULTS = {
    "rounded-down": (ROUNDED_DOWN, "check-sweep"),
    "rate-not-hashed": (RATE_NOT_HASHED, "hashes"),
    "masks-of-its-own": (MASKS_OF_ITS_OWN, "check-seeds"),
    "one-sided": (ONE_SIDED, "flips"),
    "patients-kept": (PATIENTS_KEPT, "check-interval"),
    "spread-known": (SPREAD_KNOWN, "power"),
    "rows-exchanged": (ROWS_EXCHANGED, "table"),
    "blank": (BLANK, "table"),
    "no-control-asked": (NO_CONTROL_ASKED, "best"),
    "shuffled-labels": (SHUFFLED_LABELS, "live"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "cell"), FAULTS.values(), ids=FAULTS)
def test_a_named_fault_stops_the_notebook_at_its_check(fault: str, cell: str, tmp_path: Path) -> None:
    some_results(tmp_path)
    assert stop_of(on_results(tmp_path, fault, is_live=cell in LIVE))[:2] == (cell, "AssertionError")
