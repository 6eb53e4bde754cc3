"""What curves are drawn from: each row's mean with its interval."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from usjepa.catalogue import ADAPTATIONS
from usjepa.evaluation.paper import METHODS, PAIRS
from usjepa.evaluation.resampling import crossed_interval
from usjepa.evaluation.statistics import patient_means
from usjepa.results.comparisons import FRACTIONS, comparisons, videos_of
from usjepa.results.files import Results

POINT = ["row", "fraction", "mean", "low", "high", "seeds", "patients"]

ROWS = (*METHODS, "random", "vjepa-start", "unet")
"""The paper's methods, the rows that each of them has to leave behind, and a network that needs no pre-training."""


def row_points(
    results: Results, split: str, rows: Iterable[str] = ROWS, fractions: Iterable[float] = FRACTIONS
) -> pd.DataFrame:
    """Each row's mean DSC over seeds and patients with its 95 % interval; rows that are not yet run have no line."""
    points = []
    for row in rows:
        for fraction in fractions:
            scores = videos_of(results, row, fraction, split)
            if len(scores):
                table = patient_means(scores).to_numpy()
                interval = crossed_interval(table, np.random.default_rng(0))
                points.append((row, fraction, float(table.mean()), *interval, *table.shape))
    return pd.DataFrame(points, columns=POINT)


def lambda_points(results: Results) -> pd.DataFrame:
    """The same of the plan "table1" on validation patients, with `prediction_weight`; `row` is the configuration."""
    points = [
        row_points(results, "validation", (row,), (1.0,)).assign(
            row=base, prediction_weight=adaptation.prediction_weight
        )
        for base in PAIRS
        for row, adaptation in ADAPTATIONS.items()
        if row.startswith(f"{base}-lambda")
    ]
    return pd.concat([some for some in points if len(some)] or points[:1], ignore_index=True)


def gain_family(results: Results, split: str) -> pd.DataFrame:
    """Lines of `comparisons`: the localisation loss in each configuration, and its controls, each less V-JEPA.

    results: of all plans (`usjepa.results.measured.all_results`), since the controls are in another than Table 2.
    """
    pairs: tuple[Mapping[str, str], ...] = (PAIRS, {"vjepa": "ll-detached"}, {"vjepa": "random"})
    return pd.concat([comparisons(results, split, pairs=some) for some in pairs], ignore_index=True)
