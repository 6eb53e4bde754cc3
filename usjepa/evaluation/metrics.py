"""DSC, JI, PPV and recall (section 3.2), from one table of counts, with the averaging named.

A structure in neither map has no score: NaN, left out of every mean and of its count. One in a single map scores 0 in
all four: a method that never calls a structure must gain nothing by its PPV being 0 / 0.
"""

from typing import NamedTuple

import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, Int, Integer
from torch import Tensor

from usjepa.errors import InputError
from usjepa.structures import STRUCTURES

SCORED = {**{name: [label] for label, name in enumerate(STRUCTURES)}, "LV epi filled": [1, 2]}
"""What is scored, and the labels that it is made of: "LV epi" is the ring that CAMUS stores, papers often fill it."""
METRICS = ("dsc", "ji", "ppv", "recall")
COLUMNS = (*METRICS, "recall_less_ppv")


class Counts(NamedTuple):
    """Pixels of each structure: in both maps, in the prediction, in the truth."""

    both: Int[Tensor, "... s"]
    predicted: Int[Tensor, "... s"]
    true: Int[Tensor, "... s"]


def confusion(
    predicted: Integer[Tensor, "b T h w"], true: Integer[Tensor, "b T H W"], structures: int = 4
) -> Int[Tensor, "b T s z"]:
    """Pixels of true structure s that were called z, a frame, in one pass on the maps' device.

    Raises InputError for maps of different shapes or labels beyond the structures.
    """
    if predicted.shape != true.shape:
        raise InputError(f"labels: expected maps of one shape, got {predicted.shape} and {true.shape}. Resize one.")
    for extreme in (int(of) for maps in (predicted, true) for of in maps.aminmax()):
        if not 0 <= extreme < structures:
            raise InputError(f"labels: expected 0 to {structures - 1}, got {extreme}. Check the label map.")
    b, t = true.shape[:2]
    frame = rearrange(torch.arange(b * t, device=true.device), "(b T) -> b T 1 1", b=b)
    cell = (frame * structures + true) * structures + predicted
    table = torch.bincount(cell.flatten(), minlength=b * t * structures**2)
    return rearrange(table, "(b T s z) -> b T s z", b=b, T=t, s=structures)


def counts(table: Int[Tensor, "... s z"]) -> Counts:
    """The three counts of each structure from a confusion table."""
    return Counts(table.diagonal(dim1=-2, dim2=-1), table.sum(dim=-2), table.sum(dim=-1))


def scored_counts(table: Int[Tensor, "... s z"]) -> Counts:
    """The three counts of everything in `SCORED`, in its order, from a confusion table of the four structures.

    Ring called cavity is a mistake of both but none of the filled epicardium: the confusion table tells that, the
    structures' own counts don't.
    """
    rows, columns = table.sum(dim=-1), table.sum(dim=-2)
    parts = [
        Counts(
            table[..., labels, :][..., labels].sum(dim=(-2, -1)), *(of[..., labels].sum(-1) for of in (columns, rows))
        )
        for labels in SCORED.values()
    ]
    return Counts(*(torch.stack(part, dim=-1) for part in zip(*parts, strict=True)))


def dsc(of: Counts) -> Float[Tensor, "... s"]:
    """Dice similarity coefficient, 2 |both| / (|predicted| + |true|) (section 3.2)."""
    return _ratio(2 * of.both, of.predicted + of.true, of)


def ji(of: Counts) -> Float[Tensor, "... s"]:
    """Jaccard index, |both| / |either| (section 3.2)."""
    return _ratio(of.both, of.predicted + of.true - of.both, of)


def ppv(of: Counts) -> Float[Tensor, "... s"]:
    """Precision, |both| / |predicted| (section 3.2)."""
    return _ratio(of.both, of.predicted, of)


def recall(of: Counts) -> Float[Tensor, "... s"]:
    """Recall, |both| / |true| (section 3.2)."""
    return _ratio(of.both, of.true, of)


def _ratio(part: Int[Tensor, "... s"], whole: Int[Tensor, "... s"], of: Counts) -> Float[Tensor, "... s"]:
    """A structure in neither map has no score (NaN, left out of means); one in a single map scores 0."""
    score = part.double() / whole.clamp(min=1)
    return score.masked_fill(of.predicted + of.true == 0, torch.nan)


def frame_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of each frame and structure: `table` has a row each with the columns both, predicted, true.

    Raises InputError if a frame comes twice, as in the tables of two runs put together.
    """
    return _scored(_each_once(table), ["video", "patient", "view", "frame"])


def video_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of each video and structure, its pixels counted over all its rows' frames; `table` as `frame_scores`."""
    return _scored(_each_once(table), ["video", "patient", "view"])


def averages(scores: pd.DataFrame) -> pd.DataFrame:
    """The averages of each frame or video, named in the column `structure`, from `frame_scores` or `video_scores`.

    - over structures: the mean of the scores of LV endo, LV epi (the ring) and LA;
    - with background: the mean of these and the background's, which is how Table 2's JI goes with its DSC;
    - pooled: one score of the pixels of the three counted together, so that a large structure weighs more.

    Raises InputError unless all four structures have rows.
    """
    missing = sorted(set(STRUCTURES) - set(scores["structure"]))
    if missing and len(scores):
        raise InputError(f"structure: expected rows of {', '.join(STRUCTURES)}, none of {missing}. Count them too.")
    keys = [key for key in ("video", "patient", "view", "frame") if key in scores]
    three, four = (scores[scores["structure"].isin(names)] for names in (STRUCTURES[1:], STRUCTURES))
    means = {"over structures": three, "with background": four}
    named = {name: of.groupby(keys, as_index=False)[list(COLUMNS)].mean() for name, of in means.items()}
    named["pooled"] = _scored(three.assign(structure="pooled"), keys)
    return pd.concat([of.assign(structure=name) for name, of in named.items()])[[*keys, "structure", *COLUMNS]]


def score_table(table: pd.DataFrame) -> pd.DataFrame:
    """Every score of a table of counts: a row for which frames, structure or average, and metric.

    frames: "annotated" (of CAMUS ED and ES, the only ones that experts drew) or "all". value: the mean over videos.
    sd_videos and sd_patients: standard deviations (n - 1) over videos, and over patients of the mean of their videos;
    two views of one heart are not independent. videos, patients: how many have a score. recall_less_ppv: above 0
    exactly where more pixels are called than are true, because recall / PPV = |predicted| / |true| (section 4.2).
    """
    parts = {"annotated": table[table["annotated"]], "all": table}
    return pd.concat([_spread(part).assign(frames=name) for name, part in parts.items()], ignore_index=True)[
        ["frames", "structure", "metric", "value", "sd_videos", "sd_patients", "videos", "patients"]
    ]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over videos of each score, a row a structure of the foreground, and their average *over structures*.

    Raises InputError as `frame_scores`, and for a table of several splits.
    """
    if "split" in table and (splits := sorted(table["split"].unique()))[1:]:
        raise InputError(f"table: expected the rows of one split, got {', '.join(splits)}. Choose one.")
    scores = video_scores(table)
    means = pd.concat([scores, averages(scores)]).groupby("structure", sort=False)[list(METRICS)].mean()
    return means[means.index.isin([*STRUCTURES[1:], "over structures"])]


def _each_once(table: pd.DataFrame) -> pd.DataFrame:
    if table.duplicated(["video", "frame", "structure"]).any():
        raise InputError("table: expected each frame and structure of a video once, got some twice. Score runs apart.")
    return table


def _scored(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Counts summed over the rows that share keys and structure, and their scores."""
    summed = table.groupby([*keys, "structure"], as_index=False)[list(Counts._fields)].sum()
    of = Counts(*(torch.tensor(summed[name].to_numpy()) for name in Counts._fields))
    scores = summed.assign(**{metric.__name__: metric(of).numpy() for metric in (dsc, ji, ppv, recall)})
    return scores.assign(recall_less_ppv=scores["recall"] - scores["ppv"])


def _spread(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and deviations of the videos' scores, a row a structure or average and metric."""
    scores = video_scores(table)
    long = pd.concat([scores, averages(scores)]).melt(["patient", "structure"], list(COLUMNS), var_name="metric")
    videos = long.groupby(["structure", "metric"], sort=False)["value"]
    of_patients = long.groupby(["structure", "metric", "patient"], sort=False)["value"].mean()
    patients = of_patients.groupby(["structure", "metric"], sort=False)
    columns = {"value": videos.mean(), "sd_videos": videos.std(), "sd_patients": patients.std()}
    return pd.DataFrame({**columns, "videos": videos.count(), "patients": patients.count()}).reset_index()
