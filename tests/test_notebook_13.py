"""Notebook 13: its stored logs are whole, and a named fault stops it at the cell that should notice."""

from pathlib import Path

import pandas as pd
import pytest
from faults import faulty, stop_of

ROOT = Path(__file__).parents[1]

RANK_OF_VARIANCES = """
# Effective rank shares out variances where the paper shares out singular values.
def of_variances(features):
    tokens = features.flatten(0, 1)
    share = torch.linalg.svdvals(tokens - tokens.mean(dim=0)).square()
    return float(torch.exp(torch.special.entr(share / share.sum()).sum()))
uj.effective_rank = of_variances
"""
TEACHER_AT_REST = """
# In the package's loop the teacher never follows.
import usjepa.training.pretrain as module
module.follow_ = lambda learner, step: None
"""
OTHER_RECIPE = """
# The profile has changed since the logs were made.
true_recipe = uj.named_recipe
uj.named_recipe = lambda *given: replace(true_recipe(*given), start=replace(true_recipe(*given).start, clip_norm=1.0))
"""
EXCHANGED_LOGS = """
# The file of seed 0 has the curves of two conditions exchanged, under the right names and recipes.
true_read = pd.read_csv
def exchanged(path):
    table = true_read(path)
    if "condition" in table and table.seed[0] == 0:
        one, other = (table.index[table.condition == name] for name in ("healthy", "rate too high"))
        curves = list(table.columns[4:])
        table.loc[[*one, *other], curves] = table.loc[[*other, *one], curves].to_numpy()
    return table
pd.read_csv = exchanged
"""
RANK_NOT_MEASURED = """
# The held-out logs repeat the rank of their first row.
true_read = pd.read_csv
def repeated(path):
    table = true_read(path)
    if "condition" in table and table.seed[0] in (3, 4, 5):
        table["rank"] = table["rank"][0]
    return table
pd.read_csv = repeated
"""
FORGOTTEN_ROOT = """
# The distance in the two closed logs is squared.
true_read = pd.read_csv
def squared(path):
    table = true_read(path)
    if "condition" in table and table.seed[0] > 5:
        table["distance"] **= 2
    return table
pd.read_csv = squared
"""
JUDGED_BY_RANK = """
# The exercise is answered by rank.
true_min = min
min = lambda names, key=None: true_min(names, key=key and (lambda name: signs(anonymous[name])["rank"]))
"""
FAULTS = {
    "rank-of-variances": (RANK_OF_VARIANCES, "rank"),
    "teacher-at-rest": (TEACHER_AT_REST, "loop-equal"),
    "other-recipe": (OTHER_RECIPE, "hashes"),
    "exchanged-logs": (EXCHANGED_LOGS, "replay"),
    "rank-not-measured": (RANK_NOT_MEASURED, "held-out"),
    "forgotten-root": (FORGOTTEN_ROOT, "fresh"),
    "judged-by-rank": (JUDGED_BY_RANK, "check-exercise"),
}


@pytest.mark.parametrize("seed", range(8))
def test_a_log_holds_every_condition_whole(seed: int) -> None:
    log = pd.read_csv(ROOT / "results" / "curves" / f"seed-{seed}.csv")
    names = ["healthy", "rate too high", "EMA too fast", "collapsed", "rate too low"]
    assert list(log.condition.unique()) == names
    assert (log.seed == seed).all()
    assert log.groupby("condition").recipe.nunique().eq(1).all()
    assert log.recipe.nunique() == len(names)
    for _, run in log.groupby("condition"):
        assert list(run.step) == list(range(0, 60, 6))
    assert log.notna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "cell"), FAULTS.values(), ids=FAULTS)
def test_a_named_fault_stops_the_notebook_at_its_check(fault: str, cell: str) -> None:
    assert stop_of(faulty("13-reading-a-curve", fault))[:2] == (cell, "AssertionError")
