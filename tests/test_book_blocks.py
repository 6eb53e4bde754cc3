"""What the book's extension makes of committed results: each number is a file's, and what is missing says so."""

import shutil
import sys
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

from usjepa.results.claims import CLAIMS
from usjepa.results.files import read_results, write_results
from usjepa.results.ledger import NOT_RESOLVED, NOT_TESTABLE, REVERSED

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
sys.path.append(str(ROOT / "book" / "_ext"))
reference = import_module("usjepa_reference")


def lines_of(markdown: str) -> dict[str, list[str]]:
    """The cells of a table's lines by the first of them, without links."""
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("|")]
    return {row[0].partition(">")[2].partition("<")[0] or row[0]: row[1:] for row in rows}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the committed results of the smallest size."""
    for path in RESULTS.glob("*-tiny*.csv"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_scores_are_those_of_the_committed_file(folder: Path) -> None:
    shown = lines_of(reference.results("table2", "tiny", folder))
    scores = pd.read_csv(folder / "table2-tiny.csv")
    of_test = scores.query("split == 'test' and frames == 'all' and structure == 'over structures' and fraction == 1")
    for row, dsc in of_test.groupby("row")["dsc"]:
        assert shown[row][0].startswith(f"{dsc.mean():.3f}")
    assert len(of_test["row"].unique()) >= 8


def test_a_plan_without_a_file_and_a_row_without_a_run_are_not_yet_run(folder: Path) -> None:
    assert reference.results("table1", "paper", folder) == "*Not yet run*: `table1` at profile `paper`."
    found = read_results(folder, "table2", "tiny")
    is_random = found.runs["row"] == "random"
    done = (found.runs["status"] == "done").sum()
    lost = (found.runs[is_random]["status"] == "done").sum()
    assert lost
    runs = found.runs.assign(status=found.runs["status"].mask(is_random, "not yet run"))
    write_results(found._replace(runs=runs), folder, "table2", "tiny")
    page = reference.results("table2", "tiny", folder)
    assert set(lines_of(page)["random"]) == {"not yet run"}
    assert f"{done - lost} of {len(runs)} runs are done" in page


def test_the_cost_counts_a_shared_pretraining_once(folder: Path) -> None:
    runs = pd.read_csv(folder / "table2-tiny-runs.csv").query("status == 'done'")
    starts = runs.groupby("start")["start_seconds"].first()
    hours = (runs["seconds"].sum() + starts.sum()) / 3600
    assert f"in {hours:.1f} hours" in reference.results("table2", "tiny", folder)
    assert len(starts) < len(runs)


def test_every_claim_has_a_verdict_at_every_size_and_the_counts_add_up(folder: Path) -> None:
    shown = lines_of(reference.verdicts(folder))
    assert [key for key in shown if key in {claim.key for claim in CLAIMS}] == [claim.key for claim in CLAIMS]
    for claim in CLAIMS:
        missing = "not yet run" if claim.contrasts else NOT_TESTABLE
        assert shown[claim.key][1:] == [missing, missing]
    assert "smoother-boundaries</a> (below 0) |" in reference.verdicts(folder)
    assert "most-at-10</a> (above 0) |" in reference.verdicts(folder)
    counts = [row for name, row in shown.items() if name not in {claim.key for claim in CLAIMS} and row[0].isdigit()]
    assert [sum(map(int, column)) for column in zip(*counts, strict=True)] == [len(CLAIMS)] * 3


def test_a_verdict_comes_with_its_difference_and_from_the_ledger_alone(folder: Path) -> None:
    path = folder / "ledger-tiny.csv"
    ledger = pd.read_csv(path, dtype=str, keep_default_na=False)
    line = ledger[ledger["verdict"] == NOT_RESOLVED].iloc[0]
    before = lines_of(reference.verdicts(folder))
    assert before[line.key][0] == f"{NOT_RESOLVED} (1 of 3 seeds): {line.effect} [{line.low}, {line.high}] {line.unit}"
    ledger.loc[ledger["key"] == line.key, ["verdict", "effect"]] = [REVERSED, "-9.99"]
    ledger.to_csv(path, index=False)
    after = lines_of(reference.verdicts(folder))
    assert after[line.key][0].startswith(f"{REVERSED} (1 of 3 seeds): -9.99 [")
    assert int(after[REVERSED][0]) == int(before[REVERSED][0]) + 1


def test_a_block_that_nobody_makes_stops_the_build() -> None:
    with pytest.raises(KeyError, match="resluts"):
        reference.fill(None, "book/summary", ["<!-- resluts table2 small -->"])
    page = ["<!-- where Eq. 4 -->"]
    reference.fill(None, "book/method", page)
    assert "combined_loss" in page[0]
