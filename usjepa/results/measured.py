"""One contrast, or the mean of several, measured on committed results, with the rows that have to stand beside it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from usjepa.evaluation.statistics import ROW, Comparison, compare
from usjepa.results.collect import require_one_source
from usjepa.results.comparisons import videos_of
from usjepa.results.contrasts import Cell, Contrast, cells_of, controls_of, null_of
from usjepa.results.files import Results, read_results
from usjepa.results.plan import PLANS


class Measured(NamedTuple):
    """Contrasts averaged, what they came to, and what is known beside.

    `needs`: rows without a run; then there is no `effect`, and if controls alone lack, it `is_held_back`. `null`: the
    same of the null control, None where that was not run. `beside`: for contrasts with the localisation loss the mean
    score of the random encoder, of lambda 1 and of the detached control; by the stop rule there is no effect unless
    all three are there. `recipes`: hashes of the runs behind all of this.
    """

    effect: Comparison | None
    null: Comparison | None
    beside: dict[str, float]
    needs: tuple[str, ...]
    recipes: tuple[str, ...]
    is_held_back: bool = False


def all_results(folder: Path, profile: str) -> Results:
    """The lines of all plans' committed files, each run once, Table 1's rows named as Table 2 names the same recipe.

    Raises InputError as `read_results` does, and for runs of different data.
    """
    plans = [read_results(folder, plan, profile) for plan in PLANS]
    parts = [pd.concat([one for one in some if len(one)] or some[:1]) for some in zip(*plans, strict=True)]
    ends = {r"-lambda1$": "", r"-lambda0\.25$": "-ll"}
    runs, scores, videos = (part.assign(row=part["row"].replace(ends, regex=True)).fillna("") for part in parts)
    first = runs.sort_values("status", key=lambda status: status != "done", kind="stable")
    results = Results(
        first.drop_duplicates(["row", "recipe"]),
        scores.drop_duplicates(["row", "recipe", "split", "frames", "structure"]),
        videos.drop_duplicates(["row", "recipe", "frames", "metric"]),
    )
    require_one_source(results)
    return results


@dataclass(frozen=True, eq=False)
class Evidence:
    """Results, and what was already looked up and measured in them: claims share rows and differences."""

    results: Results
    scores: dict[tuple[Cell, str, str], pd.Series] = field(default_factory=dict)
    effects: dict[tuple[Contrast, ...], Comparison | None] = field(default_factory=dict)

    def of(self, cell: Cell, metric: str, split: str) -> pd.Series:
        """A row's scores by seed, patient and video; none if it has no run, or if this metric was not kept."""
        key = (cell, metric, split)
        if key not in self.scores:
            self.scores[key] = videos_of(self.results, *cell, split, metric=metric).set_index(ROW)[metric]
        return self.scores[key]

    def effect(self, contrasts: tuple[Contrast, ...]) -> Comparison | None:
        """The mean of contrasts of one metric and split; None if their rows share no seed.

        Each is drawn with the same generator's seed, so that reruns agree.
        """
        if contrasts not in self.effects:
            self.effects[contrasts] = _effect(self, contrasts)
        return self.effects[contrasts]


def measure(evidence: Evidence, contrasts: tuple[Contrast, ...]) -> Measured:
    """The mean of contrasts of one metric and split, what stands beside it, or what is missing."""
    metric, split = contrasts[0].metric, contrasts[0].split
    cells, nulls = [cell for one in contrasts for cell in cells_of(one)], tuple(null_of(one) for one in contrasts)
    controls: dict[str, list[Cell]] = {}
    for one in contrasts:
        for name, cell in controls_of(one).items():
            controls.setdefault(name, []).append(cell)
    scores = {cell: evidence.of(cell, metric, split) for some in (cells, *controls.values()) for cell in some}
    missing = [cell for cell, found in scores.items() if found.empty]
    lacking = [f"{row} at {fraction:.0%}" for row, fraction in missing]
    if not lacking and evidence.effect(contrasts) is None:
        lacking = ["scores on a seed in common"]
    if lacking:
        is_held_back = bool(missing) and not set(missing) & set(cells)
        return Measured(None, None, {}, tuple(lacking), _recipes(evidence.results, set(scores)), is_held_back)
    null = evidence.effect(nulls)
    beside = {name: float(np.mean([scores[cell].mean() for cell in some])) for name, some in controls.items()}
    behind = {*scores, *(cell for one in nulls if null for cell in cells_of(one))}
    return Measured(evidence.effect(contrasts), null, beside, (), _recipes(evidence.results, behind))


def _effect(evidence: Evidence, contrasts: tuple[Contrast, ...]) -> Comparison | None:
    """On seeds that all rows have, and patients with a score in each of them."""
    sides = [
        pd.concat([_side(evidence, one, row) for one in contrasts], axis=1, join="inner") for row in ("ours", "base")
    ]
    means = [side.mean(axis=1, skipna=False) for side in sides]
    pairs = pd.concat(means, axis=1, join="inner", keys=["ours", "base"]).dropna().reset_index()
    seeds = pairs.groupby("patient")["seed"].transform("nunique")
    pairs = pairs[seeds == pairs["seed"].nunique()].assign(structure="over structures")
    if pairs.empty:
        return None
    metric = contrasts[0].metric
    ours, base = (pairs.rename(columns={side: metric}) for side in ("ours", "base"))
    return compare(ours, base, np.random.default_rng(0), metric)


def _side(evidence: Evidence, contrast: Contrast, side: str) -> pd.Series:
    """Scores of one row of a contrast, less those at another share of the labels if it says so."""
    row: str = getattr(contrast, side)
    scores = evidence.of((row, contrast.fraction), contrast.metric, contrast.split)
    if contrast.less_at is None:
        return scores
    less = evidence.of((row, contrast.less_at), contrast.metric, contrast.split)
    return pd.concat([scores, -less], axis=1, join="inner").sum(axis=1, skipna=False)


def _recipes(results: Results, cells: set[Cell]) -> tuple[str, ...]:
    """Hashes of the finished runs of these rows, in the order of the files."""
    keys = {(row, f"{fraction:g}") for row, fraction in cells}
    done = results.runs[results.runs["status"] == "done"]
    is_behind = [key in keys for key in zip(done["row"], done["fraction"], strict=True)]
    return tuple(dict.fromkeys(done["recipe"][is_behind]))
