"""What the paper prints, as data: Tables 1 and 2, the gains and p-values of its text, the rest of its protocol.

A number stands here once, with its place, unless it is the default of a recipe: those of sections 2.2 and 3.1 (clip,
tokens, batch, rates, pairs, the chosen lambda) stand in `usjepa.spec` and `usjepa.recipe`. Nothing is corrected here;
`usjepa.evaluation.audit` looks for what can't be right. The formulas of the scores are in `usjepa.evaluation.metrics`.
"""

from typing import NamedTuple, TypeAlias

import pandas as pd

MeanSD: TypeAlias = tuple[float, float]
"""A mean over the videos of the test set and its standard deviation, of a score in [0, 1]."""

METHODS = {
    "supervised": "Supervised ViT-L",
    "videomae": "VideoMAE",
    "vjepa": "V-JEPA",
    "vjepa-ll": "V-JEPA + LL",
    "vjepa-12b": "V-JEPA (12b)",
    "vjepa-12b-ll": "V-JEPA (12b) + LL",
    "vjepa-16b": "V-JEPA (16b)",
    "vjepa-16b-ll": "V-JEPA (16b) + LL",
}
"""The rows of Table 2 by our names, in its order; the paper also writes V-Jepa, and "(ours)" behind LL."""

PAIRS = {"vjepa": "vjepa-ll", "vjepa-12b": "vjepa-12b-ll", "vjepa-16b": "vjepa-16b-ll"}
"""Each configuration without the localisation loss, and the same with it."""


class Row(NamedTuple):
    """A row of Table 2: a method of `METHODS`, the percent of training samples, four scores."""

    method: str
    percent: int
    dsc: MeanSD
    ji: MeanSD
    ppv: MeanSD
    recall: MeanSD


class Gain(NamedTuple):
    """An improvement that section 4.2 quotes, with the two rows of Table 2 (DSC) that it compares, and its p-value.

    `quoted_percent` is text, since its digits say how far it was rounded. No test is named for p, and no unit.
    """

    base: str
    improved: str
    percent: int
    quoted_percent: str
    p: float | None = None


class Protocol(NamedTuple):
    """Numbers of the paper that are no recipe's default, with their sections."""

    patients: int = 500  # section 3, all of CAMUS
    pretraining_epochs: int = 300  # section 3.1
    warmup_epochs: int = 20  # section 3.1
    downstream_epochs: int = 300  # section 3.1
    downstream_rate_final: float = 0.0  # section 3.1
    frozen_blocks: tuple[int, int] = (12, 16)  # section 4, of 24
    level: float = 0.05  # section 4.2, of p
    qualitative_frame: int = 9  # Figure 2
    qualitative_percents: tuple[int, int] = (100, 10)  # Figure 2
    device: str = "NVIDIA L40S 48GB"  # section 3.1


PROTOCOL = Protocol()

TABLE_1_LAMBDAS = (0.9, 0.75, 0.5, 0.25)
"""Columns of Table 1: the weight of the *prediction* term (Eq. 4)."""

TABLE_1 = {
    "vjepa": (0.696, 0.658, 0.708, 0.754),
    "vjepa-12b": (0.782, 0.787, 0.780, 0.805),
    "vjepa-16b": (0.810, 0.812, 0.817, 0.818),
}
"""Table 1: DSC on the validation set with all training samples and LL, a column of `TABLE_1_LAMBDAS` each."""

TABLE_2 = (
    # method, percent, DSC, JI, PPV, recall
    Row("supervised", 100, (0.681, 0.076), (0.641, 0.116), (0.794, 0.123), (0.746, 0.117)),
    Row("supervised", 50, (0.665, 0.080), (0.607, 0.114), (0.766, 0.131), (0.715, 0.119)),
    Row("supervised", 20, (0.635, 0.089), (0.571, 0.136), (0.740, 0.148), (0.679, 0.146)),
    Row("supervised", 10, (0.605, 0.089), (0.551, 0.138), (0.724, 0.162), (0.653, 0.152)),
    Row("videomae", 100, (0.708, 0.076), (0.665, 0.103), (0.797, 0.113), (0.783, 0.112)),
    Row("videomae", 50, (0.652, 0.077), (0.615, 0.117), (0.762, 0.133), (0.738, 0.128)),
    Row("videomae", 20, (0.643, 0.073), (0.603, 0.119), (0.749, 0.138), (0.725, 0.130)),
    Row("videomae", 10, (0.590, 0.080), (0.560, 0.138), (0.714, 0.160), (0.677, 0.155)),
    Row("vjepa", 100, (0.747, 0.067), (0.679, 0.093), (0.814, 0.100), (0.788, 0.094)),
    Row("vjepa", 50, (0.729, 0.069), (0.669, 0.097), (0.799, 0.104), (0.788, 0.099)),
    Row("vjepa", 20, (0.681, 0.088), (0.608, 0.117), (0.753, 0.134), (0.727, 0.123)),
    Row("vjepa", 10, (0.644, 0.094), (0.574, 0.125), (0.721, 0.147), (0.698, 0.142)),
    Row("vjepa-ll", 100, (0.755, 0.075), (0.674, 0.097), (0.800, 0.107), (0.793, 0.095)),
    Row("vjepa-ll", 50, (0.747, 0.078), (0.659, 0.097), (0.761, 0.111), (0.814, 0.093)),
    Row("vjepa-ll", 20, (0.678, 0.081), (0.593, 0.103), (0.757, 0.127), (0.714, 0.115)),
    Row("vjepa-ll", 10, (0.692, 0.092), (0.600, 0.110), (0.745, 0.130), (0.729, 0.123)),
    Row("vjepa-12b", 100, (0.795, 0.053), (0.736, 0.074), (0.862, 0.077), (0.826, 0.072)),
    Row("vjepa-12b", 50, (0.775, 0.058), (0.705, 0.077), (0.846, 0.085), (0.797, 0.078)),
    Row("vjepa-12b", 20, (0.751, 0.035), (0.678, 0.040), (0.810, 0.050), (0.792, 0.053)),
    Row("vjepa-12b", 10, (0.683, 0.082), (0.609, 0.107), (0.756, 0.125), (0.731, 0.118)),
    Row("vjepa-12b-ll", 100, (0.822, 0.048), (0.761, 0.072), (0.874, 0.069), (0.850, 0.068)),
    Row("vjepa-12b-ll", 50, (0.804, 0.050), (0.743, 0.074), (0.856, 0.076), (0.845, 0.070)),
    Row("vjepa-12b-ll", 20, (0.774, 0.062), (0.706, 0.089), (0.829, 0.093), (0.819, 0.091)),
    Row("vjepa-12b-ll", 10, (0.740, 0.069), (0.671, 0.967), (0.812, 0.101), (0.782, 0.105)),
    Row("vjepa-16b", 100, (0.828, 0.044), (0.779, 0.064), (0.880, 0.064), (0.868, 0.067)),
    Row("vjepa-16b", 50, (0.803, 0.051), (0.747, 0.073), (0.861, 0.073), (0.844, 0.074)),
    Row("vjepa-16b", 20, (0.780, 0.068), (0.707, 0.092), (0.834, 0.094), (0.814, 0.089)),
    Row("vjepa-16b", 10, (0.734, 0.079), (0.661, 0.107), (0.812, 0.110), (0.765, 0.117)),
    Row("vjepa-16b-ll", 100, (0.834, 0.046), (0.778, 0.068), (0.882, 0.063), (0.863, 0.065)),
    Row("vjepa-16b-ll", 50, (0.824, 0.046), (0.765, 0.068), (0.870, 0.067), (0.859, 0.068)),
    Row("vjepa-16b-ll", 20, (0.779, 0.071), (0.704, 0.092), (0.827, 0.098), (0.814, 0.094)),
    Row("vjepa-16b-ll", 10, (0.751, 0.077), (0.668, 0.099), (0.811, 0.104), (0.778, 0.105)),
)
"""Table 2: scores over all videos of the test set."""

GAINS = (
    # More frozen blocks (section 4.2).
    Gain("vjepa", "vjepa-16b", 100, "10.8"),
    Gain("vjepa", "vjepa-16b", 10, "14"),
    # The localisation loss (section 4.2; the abstract repeats 3.4 and 8.35).
    Gain("vjepa", "vjepa-ll", 100, "1.07", 1.5e-2),
    Gain("vjepa-12b", "vjepa-12b-ll", 100, "3.40", 2e-19),
    Gain("vjepa-16b", "vjepa-16b-ll", 100, "0.7", 4.4e-3),
    Gain("vjepa", "vjepa-ll", 10, "7.45", 2.2e-21),
    Gain("vjepa-12b", "vjepa-12b-ll", 10, "8.35", 2.9e-31),
    Gain("vjepa-16b", "vjepa-16b-ll", 10, "2.31", 3.2e-8),
)


def paper_scores() -> pd.DataFrame:
    """Every number of Tables 1 and 2 in long form, a row a number with its standard deviation.

    Its place: `table`, `row` (from 1) and `column` (as printed). What it is: `method` (its name in the catalogue),
    `label` (for people), `prediction_weight` (lambda; NaN where there is no Eq. 1), `fraction` of the training samples,
    `split`, `metric`. Its value: `mean` and `sd` in [0, 1]; Table 1 prints no `sd` (NaN).
    """
    first = [
        (row, f"{weight:g}", f"{base}-lambda{weight:g}", METHODS[PAIRS[base]], weight, 1.0, "dsc", mean, float("nan"))
        for row, (base, scores) in enumerate(TABLE_1.items(), start=1)
        for weight, mean in zip(TABLE_1_LAMBDAS, scores, strict=True)
    ]
    second = [
        (
            row,
            column,
            one.method,
            METHODS[one.method],
            _weight(one.method),
            one.percent / 100,
            metric,
            *getattr(one, metric),
        )
        for row, one in enumerate(TABLE_2, start=1)
        for metric, column in (("dsc", "DSC"), ("ji", "JI"), ("ppv", "PPV"), ("recall", "Recall"))
    ]
    names = ["row", "column", "method", "label", "prediction_weight", "fraction", "metric", "mean", "sd"]
    scores = pd.DataFrame(first + second, columns=names)
    scores.insert(0, "table", [1] * len(first) + [2] * len(second))
    scores.insert(7, "split", ["validation"] * len(first) + ["test"] * len(second))
    return scores


def _weight(method: str) -> float:
    """Lambda of Table 2's rows: the best of Table 1 with the localisation loss (section 4.1), 1 without."""
    if method in PAIRS.values():
        return min(TABLE_1_LAMBDAS)
    return 1.0 if method in PAIRS else float("nan")
