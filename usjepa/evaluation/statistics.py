"""Two methods compared on the same patients: the patient is the unit, and seeds are a second source of spread.

Tables have a row a seed and video: one structure, or one average that has a name, of `usjepa.evaluation.metrics`, as in
`averages(video_scores(counts)).query("structure == 'over structures'").assign(seed=0)`. A method's mean is over each
patient's videos, then patients, then seeds.

A structure in neither map has no score (NaN). A video without a score in one method is left out of both.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from usjepa.errors import InputError
from usjepa.evaluation.resampling import crossed_interval, paired_t_p, sign_flip_p

ROW = ["seed", "patient", "video"]


class Comparison(NamedTuple):
    """How much better `ours` scores than `base`, all of one comparison for a table of results.

    Means are in the score's unit, [0, 1]; `points` are hundredths of it; `percent` is relative to the base, as the
    paper quotes gains (NaN for a base of 0). `low_points`, `high_points`: 95 % interval over patients and seeds
    together. `p_patients`: sign flips of each patient's mean difference over seeds, so it speaks for patients, given
    these seeds. `p_clips`: paired t-test with each video as a unit, as the paper's probably is. `seed_points`: the
    effect of each seed; `seed_sd_points`: their standard deviation, NaN for a single seed. `patient_sd_points`: that of
    the paired differences over patients, which `usjepa.evaluation.resampling.smallest_effect` takes.
    """

    metric: str
    structure: str
    ours: float
    base: float
    points: float
    percent: float
    low_points: float
    high_points: float
    p_patients: float
    p_clips: float
    seed_points: tuple[float, ...]
    seed_sd_points: float
    patient_sd_points: float
    patients: int
    clips: int
    seeds: int


def patient_means(scores: pd.DataFrame, metric: str = "dsc") -> pd.DataFrame:
    """Mean over each patient's videos: a row a seed, a column a patient.

    Raises InputError for an empty table, a column that is missing, more than one structure, a video that is given
    twice, and a patient without any score in some seed.
    """
    return _by_patient(_by_video(scores, metric))


def compare(ours: pd.DataFrame, base: pd.DataFrame, generator: np.random.Generator, metric: str = "dsc") -> Comparison:
    """Compare two methods, seed by seed, patient by patient, video by video.

    One seed is enough, but then nothing is known of seeds. Raises InputError, with their names, for structures, seeds,
    patients or videos that only one of the two has; for fewer than two patients; for what `patient_means` refuses.
    """
    videos = [_by_video(scores, metric) for scores in (ours, base)]
    _require_paired(ours, base)
    kept = videos[0].notna() & videos[1].notna()
    improved, basis = (_by_patient(one.where(kept)) for one in videos)
    differences = (improved - basis).to_numpy()
    points = 100 * differences
    clips = (videos[0] - videos[1])[kept].groupby(["patient", "video"]).mean().to_numpy()
    effect, start = float(differences.mean()), float(basis.to_numpy().mean())
    low, high = crossed_interval(points, generator)
    seeds = points.mean(axis=1)
    return Comparison(
        metric=metric,
        structure=ours["structure"].iloc[0],
        ours=float(improved.to_numpy().mean()),
        base=start,
        points=100 * effect,
        percent=100 * effect / start if start > 0 else float("nan"),
        low_points=low,
        high_points=high,
        p_patients=sign_flip_p(differences.mean(axis=0), generator),
        p_clips=paired_t_p(clips),
        seed_points=tuple(seeds.tolist()),
        seed_sd_points=float(seeds.std(ddof=1)) if len(seeds) > 1 else float("nan"),
        patient_sd_points=float(points.mean(axis=0).std(ddof=1)),
        patients=differences.shape[1],
        clips=len(clips),
        seeds=len(seeds),
    )


def _by_video(scores: pd.DataFrame, metric: str) -> pd.Series:
    """Each video's score, by seed, patient and video in order, after the checks of `patient_means`."""
    missing = [name for name in (*ROW, "structure", metric) if name not in scores]
    if missing or scores.empty:
        got = f"no {', '.join(missing)}" if missing else "no row"
        raise InputError(f"scores: expected a row a seed and video, got {got}. Give it the scores of the videos.")
    structures = sorted(scores["structure"].unique())
    if len(structures) > 1:
        raise InputError(f"structure: expected one, got {', '.join(structures)}. Choose one, or one of `averages`.")
    twice = scores.duplicated(ROW)
    if twice.any():
        what = ", ".join(f"{name} {scores.loc[twice, name].iloc[0]}" for name in ROW)
        raise InputError(f"scores: expected one row of {what}, got more. Choose one method, fraction and frames.")
    return scores.set_index(ROW)[metric].sort_index()


def _by_patient(videos: pd.Series) -> pd.DataFrame:
    """Scores of videos averaged over each patient: a row a seed, a column a patient, no cell empty."""
    table = videos.groupby(["seed", "patient"]).mean().unstack("patient")
    for seed, row in table.iterrows():
        lost = row.index[row.isna()].tolist()
        if lost:
            names = ", ".join(map(str, lost))
            raise InputError(f"scores: expected one of patient {names} in seed {seed}, got none. Leave it out.")
    return table


def _require_paired(ours: pd.DataFrame, base: pd.DataFrame) -> None:
    """Raise the InputError that names structures, seeds, patients or videos that only one of the two tables has."""
    for level in ("structure", *ROW):
        first, second = set(ours[level]), set(base[level])
        alone = {"ours": first - second, "base": second - first}
        got = "; ".join(
            f"{', '.join(sorted(map(str, names)))} only in {side}" for side, names in alone.items() if names
        )
        if got:
            raise InputError(f"{level}: expected the same in both tables, got {got}. Score both on the same {level}s.")
    rows = [pd.MultiIndex.from_frame(table[ROW]) for table in (ours, base)]
    differ = rows[0].symmetric_difference(rows[1])
    if len(differ):
        what = ", ".join(f"{name} {value}" for name, value in zip(ROW, differ[0], strict=True))
        raise InputError(f"scores: expected the same rows in both tables, got {what} in one only. Score both.")
