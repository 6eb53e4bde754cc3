"""What frozen features tell of the structures, read off by a closed-form ridge regression: no training, no noise.

A segmenter's DSC measures its training too; this has one answer. Each token's features predict which share of its
tubelet every structure fills.
"""

from typing import NamedTuple

import pandas as pd
import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float, UInt8
from torch import Tensor

from usjepa.errors import InputError
from usjepa.structures import STRUCTURES

PENALTY = 1e-3
"""Added to the diagonal of the features' correlation matrix: fixed, so that neither data nor method chooses it."""


class Tokens(NamedTuple):
    """Frozen features of k clips and the shares of `class_fractions`."""

    features: Float[Tensor, "k n d"]
    fractions: Float[Tensor, "k n s"]


def class_fractions(
    labels: UInt8[Tensor, "k T H W"], trust: Float[Tensor, "k T"], tubelet: tuple[int, int, int]
) -> Float[Tensor, "k n s"]:
    """Share of each structure among a tubelet's (frames, rows, columns) pixels, over its frames with a trust of 1.

    Tokens are in raster order, time outermost. NaN for a tubelet without such a frame. Raises InputError if a side is
    no multiple of the tubelet's.
    """
    if any(side % of for side, of in zip(labels.shape[1:], tubelet, strict=True)):
        got = tuple(labels.shape[1:])
        raise InputError(f"labels: expected multiples of the tubelet's {tubelet}, got {got}. Take the encoder's clip.")
    frames, rows, columns = tubelet
    trusted = reduce(trust.double(), "k (t p) -> k t 1 1", "sum", p=frames)
    shares = []
    for structure in range(len(STRUCTURES)):
        pixels = reduce((labels == structure).float(), "k T (i h) (j w) -> k T i j", "sum", h=rows, w=columns)
        known = rearrange(trust, "k T -> k T 1 1").double() * pixels
        shares.append(reduce(known, "k (t p) i j -> k t i j", "sum", p=frames) / (trusted * rows * columns))
    return rearrange(shares, "s k t i j -> k (t i j) s")


def ridge_r2(train: Tokens, test: Tokens) -> "pd.Series[float]":
    """R2 on the test tokens a structure of the foreground, and their mean *over structures*; fitted on train alone.

    R2 = 1 - squared errors / squares about the test tokens' mean, summed over tokens: 1 is perfect, 0 as good as that
    mean. NaN, and left out of the mean, for a structure that fills the same share of all. Features are standardised a
    dimension by the training tokens, fractions centred; the weights W minimise mean |X W - Y|^2 + `PENALTY` |W|^2, in
    float64 on the features' device. Tokens without a fraction are left out. Raises InputError if none is left.
    """
    (x, y), (asked, true) = _known("train", train), _known("test", test)
    middle, scale = x.mean(dim=0), x.std(dim=0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    for part in (x, asked):  # In place: at the paper's scale each is 10 GB.
        part.sub_(middle).div_(scale)
    correlation = einsum(x, x, "k d, k e -> d e") / len(x) + PENALTY * torch.eye(
        x.shape[1], dtype=x.dtype, device=x.device
    )
    weights = torch.linalg.solve(correlation, einsum(x, y - y.mean(dim=0), "k d, k s -> d s") / len(x))
    errors = (true - y.mean(dim=0) - asked @ weights).square().sum(dim=0)
    spread = (true - true.mean(dim=0)).square().sum(dim=0)
    r2 = torch.where(spread > 0, 1 - errors / spread, torch.nan)[1:].tolist()
    scores: pd.Series[float] = pd.Series(dict(zip(STRUCTURES[1:], r2, strict=True)), name="r2")
    scores["over structures"] = scores.mean()
    return scores


def _known(name: str, tokens: Tokens) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k s"]]:
    """Features and fractions of the tokens that have both, in float64; or InputError."""
    known = ~tokens.fractions.isnan().any(dim=-1)
    if tokens.features.shape[:2] != known.shape or not known.any():
        got = f"{int(known.sum())} of {list(known.shape)} for features {list(tokens.features.shape)}"
        raise InputError(f"{name}: expected labelled tokens, a fraction for each feature, got {got}. Match the clips.")
    return tokens.features[known].double(), tokens.fractions[known].double()
