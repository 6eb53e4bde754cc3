"""DSC, JI, PPV and recall (section 3.2), from one table of counts, with the averaging named."""

from typing import NamedTuple

import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from usjepa.errors import InputError


class Counts(NamedTuple):
    """Pixels of each structure: in both maps, in the prediction, in the truth."""

    both: Int[Tensor, "... s"]
    predicted: Int[Tensor, "... s"]
    true: Int[Tensor, "... s"]


def confusion(
    predicted: Shaped[Tensor, "b T h w"], true: Shaped[Tensor, "b T H W"], structures: int = 4
) -> Int[Tensor, "b T s z"]:
    """Pixels of true structure s that were called z, a frame, in one pass on the maps' device.

    Raises InputError for maps of different shapes or labels beyond the structures.
    """
    if predicted.shape != true.shape:
        raise InputError(f"labels: expected maps of one shape, got {predicted.shape} and {true.shape}. Resize one.")
    highest = max(int(predicted.max()), int(true.max()))
    if highest >= structures:
        raise InputError(f"labels: expected 0 to {structures - 1}, got {highest}. Check the label map.")
    b, t = true.shape[:2]
    frame = rearrange(torch.arange(b * t, device=true.device), "(b T) -> b T 1 1", b=b)
    cell = (frame * structures + true) * structures + predicted
    table = torch.bincount(cell.flatten(), minlength=b * t * structures**2)
    return rearrange(table, "(b T s z) -> b T s z", b=b, T=t, s=structures)


def counts(table: Int[Tensor, "... s z"]) -> Counts:
    """The three counts of each structure from a confusion table."""
    return Counts(table.diagonal(dim1=-2, dim2=-1), table.sum(dim=-2), table.sum(dim=-1))


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


def video_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of each video and structure, its pixels counted over all its rows' frames.

    `table` has a row a video, frame and structure with the columns both, predicted, true. Average the background out
    or in by choosing rows: the mean over structures, then over videos, is what the book calls *over structures*.
    """
    keys = ["video", "patient", "view", "structure"]
    summed = table.groupby(keys, sort=True, as_index=False)[["both", "predicted", "true"]].sum()
    of = Counts(*(torch.tensor(summed[name].to_numpy()) for name in Counts._fields))
    return summed.assign(**{metric.__name__: metric(of).numpy() for metric in (dsc, ji, ppv, recall)})


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over videos of each score, a row a structure without the background, and their mean *over structures*."""
    scores = video_scores(table[table["structure"] != "background"])
    means = scores.groupby("structure", sort=False)[["dsc", "ji", "ppv", "recall"]].mean()
    return pd.concat([means, means.mean().to_frame("over structures").T])
