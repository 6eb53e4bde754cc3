"""Methods compared patient by patient, from the committed files alone."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from usjepa.evaluation.paper import PAIRS
from usjepa.evaluation.resampling import holm
from usjepa.evaluation.statistics import Comparison, compare
from usjepa.results.files import NOT_YET_RUN, OF_VIDEOS, Results

FRACTIONS = (1.0, 0.5, 0.2, 0.1)


def videos_of(
    results: Results, row: str, fraction: float, split: str, *, frames: str = "all", metric: str = "dsc"
) -> pd.DataFrame:
    """Scores of a row's videos, averaged over structures, as `usjepa.evaluation.statistics.compare` takes them.

    A row a seed and video of the given split ("validation" or "test"); none if the score was not kept, as
    `usjepa.results.collect.PER_VIDEO` says. `frames`: "all" or "annotated".
    """
    videos = results.videos
    is_wanted = (videos["row"] == row) & (videos["fraction"] == f"{fraction:g}")
    lines = videos[is_wanted & (videos["frames"] == frames) & (videos["metric"] == metric)]
    names = [name for name in videos.columns[len(OF_VIDEOS) :] if name.startswith(f"{split}|")]
    long = lines.melt(["seed"], names, var_name="name", value_name=metric)
    long = long[long[metric] != ""]
    parts = long.pop("name").str.split("|", expand=True)
    return long.assign(
        seed=long["seed"].astype(int),
        patient=parts.get(1, pd.Series(dtype=str)),
        video=parts.get(2, pd.Series(dtype=str)),
        structure="over structures",
        **{metric: long[metric].astype(float)},
    )


def comparisons(
    results: Results,
    split: str,
    *,
    pairs: Mapping[str, str] = PAIRS,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Each base of `pairs` against what improves it, at each share of the labels, on the seeds that both have.

    One line a comparison: row, against (its base), fraction, status, the fields of `Comparison`, and `p_holm`, which
    holds for the whole family and is there only when all of it has been run. All draw with generators of one `seed`.
    """
    keys = [(base, improved, fraction) for base, improved in pairs.items() for fraction in fractions]
    found = [_compared(results, key, split, np.random.default_rng(seed)) for key in keys]
    family = pd.DataFrame(keys, columns=["against", "row", "fraction"])
    family["status"] = ["done" if one else NOT_YET_RUN for one in found]
    nothing = (float("nan"),) * len(Comparison._fields)
    fields = pd.DataFrame([one or nothing for one in found], columns=Comparison._fields)
    p_holm = holm(fields["p_patients"]) if all(found) else float("nan")
    return pd.concat([family, fields], axis=1).assign(p_holm=p_holm)


def _compared(
    results: Results, key: tuple[str, str, float], split: str, generator: np.random.Generator
) -> Comparison | None:
    """None if base and improved row have no seed in common."""
    base, ours = (videos_of(results, row, key[2], split) for row in key[:2])
    seeds = set(ours["seed"]) & set(base["seed"])
    if not seeds:
        return None
    return compare(ours[ours["seed"].isin(seeds)], base[base["seed"].isin(seeds)], generator)
