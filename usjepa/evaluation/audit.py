"""What the paper's own numbers imply: which gains are relative, and which figures can't all be right.

Points are hundredths of a score; percent are of the base's score.
"""

import numpy as np
import pandas as pd
from scipy import stats

from usjepa.evaluation.paper import GAINS, PAIRS, TABLE_2, Row, paper_scores

METRICS = ("dsc", "ji", "ppv", "recall")
HALF_DIGIT = 0.0005
"""Table 2 has three digits, so a printed score is this far at most from what was rounded."""


def quoted_gains() -> pd.DataFrame:
    """Each gain of section 4.2 recomputed from Table 2, a row a gain: `points`, and `percent` of the base.

    `least_percent` and `most_percent` are what the rounding of Table 2 leaves open.
    """
    table = []
    for gain in GAINS:
        base, improved = _row(gain.base, gain.percent).dsc[0], _row(gain.improved, gain.percent).dsc[0]
        table.append(
            gain._asdict()
            | {"base_dsc": base, "improved_dsc": improved, "points": 100 * (improved - base)}
            | {"relative_percent": 100 * (improved / base - 1)}
            | {"least_percent": 100 * ((improved - HALF_DIGIT) / (base + HALF_DIGIT) - 1)}
            | {"most_percent": 100 * ((improved + HALF_DIGIT) / (base - HALF_DIGIT) - 1)}
        )
    return pd.DataFrame(table)


def local_loss_effects() -> pd.DataFrame:
    """What the localisation loss changes in Table 2: a row a configuration, percent of samples and metric."""
    effects = [
        (base, percent, metric, *(getattr(_row(name, percent), metric)[0] for name in (base, improved)))
        for base, improved in PAIRS.items()
        for percent in (100, 50, 20, 10)
        for metric in METRICS
    ]
    table = pd.DataFrame(effects, columns=["base", "percent", "metric", "without", "with"])
    points = (100 * (table["with"] - table["without"])).round(1)  # three printed digits
    return table.assign(points=points, relative_percent=100 * (table["with"] / table["without"] - 1))


def dsc_against_ji() -> pd.DataFrame:
    """Whether Table 2's DSC and JI can be means over the same masks: a row of the table each.

    Of one mask JI = DSC / (2 - DSC), a convex function, so a mean JI is above that of the mean DSC (Jensen); `excess`
    is by how much. How far it can be depends on the spread: `least_sd` is the smallest standard deviation of DSC over
    masks with which the two means are possible (some at DSC = 1, all others at one lower value; no other scores in
    [0, 1] do with less), beside the printed one, which is over videos. `background_ji` is the most that the
    background's JI can be if JI, but not DSC, was averaged over it and the three structures; the table would fit.
    """
    table = []
    for row in TABLE_2:
        (dsc, sd), ji = row.dsc, row.ji[0]
        of_mean = dsc / (2 - dsc)
        lower = 2 - 2 * (1 - dsc) / (1 - ji)
        table.append(
            {"method": row.method, "percent": row.percent, "dsc": dsc, "ji": ji, "ji_of_mean_dsc": of_mean}
            | {"excess": ji - of_mean, "printed_sd": sd, "least_sd": float(np.sqrt((dsc - lower) * (1 - dsc)))}
            | {"background_ji": 4 * ji - 3 * of_mean}
        )
    return pd.DataFrame(table)


def impossible_deviations() -> pd.DataFrame:
    """Rows of `paper_scores` whose standard deviation no scores in [0, 1] can have: above sqrt(mean (1 - mean))."""
    scores = paper_scores()
    largest = np.sqrt(scores["mean"] * (1 - scores["mean"]))
    return scores.assign(largest_sd=largest)[scores["sd"] > largest + HALF_DIGIT]


def implied_deviations(units: tuple[int, ...] = (100, 300, 1600)) -> pd.DataFrame:
    """Standard deviation of paired differences that each quoted p implies if it comes from a paired t-test.

    A column `t_N` and `sd_N` for each number of units N: 100 are the test clips (50 patients, two views), 300 clips
    times structures, 1600 frames. `most_sd` is the sum of the two printed deviations, more than which differences of
    videos can't have. The test is a guess: the paper names none.
    """
    table = []
    for gain in GAINS:
        if gain.p is not None:
            (base, base_sd), (improved, improved_sd) = (_row(n, gain.percent).dsc for n in (gain.base, gain.improved))
            row = {"base": gain.base, "percent": gain.percent, "points": 100 * (improved - base), "p": gain.p}
            for n in units:
                t = float(stats.t.isf(gain.p / 2, n - 1))
                row |= {f"t_{n}": t, f"sd_{n}": (improved - base) * n**0.5 / t}
            table.append(row | {"most_sd": base_sd + improved_sd})
    return pd.DataFrame(table)


def _row(method: str, percent: int) -> Row:
    """The row of Table 2 of a method and percent of samples."""
    return next(row for row in TABLE_2 if (row.method, row.percent) == (method, percent))
