"""What a file of weights is, in words; and a smoke feature: does it compute here what it did elsewhere?"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from usjepa.model.encoder import Encoder
from usjepa.weights.files import WeightsFile
from usjepa.weights.sizes import grid_of_table, sizes_in_words

MOST_TOKENS = 64


class Smoke(NamedTuple):
    """Mean and mean magnitude of features. Those of a LayerNorm at its start have mean 0 whatever the weights."""

    mean: float
    magnitude: float


def describe(weights: WeightsFile) -> str:
    """The file's form, family, fingerprint, parts and sizes, a line each."""
    used = weights.part()
    tensors = weights.parts[used]
    lines = {
        "file": weights.path,
        "form": weights.form,
        "family": weights.family,
        "sha256": weights.sha256,
        **{part: _count(weights, part) for part in weights.parts},
        "sizes": sizes_in_words(tensors),
        "positions": _positions(tensors),
        "used": f"{used}, unless another part is named",
    }
    return "\n".join(f"{name:<10} {text}" for name, text in lines.items())


@torch.no_grad()
def smoke_feature(encoder: Encoder) -> Smoke:
    """Mean of an encoder's output on a clip of noise from a fixed generator; at most 64 tokens, spread evenly."""
    embedding = encoder.patch_embed.proj
    sides = [places * extent for places, extent in zip(encoder.grid, embedding.kernel_size, strict=True)]
    clip = torch.randn(1, embedding.in_channels, *sides, generator=Generator().manual_seed(0))
    tokens = encoder.grid.n
    keep = torch.linspace(0, tokens - 1, min(tokens, MOST_TOKENS)).long().unsqueeze(0)
    features = encoder(clip, keep).double()
    return Smoke(float(features.mean()), float(features.abs().mean()))


def _count(weights: WeightsFile, part: str) -> str:
    tensors = weights.parts[part].values()
    return f"{len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors):,} numbers"


def _positions(tensors: Mapping[str, Tensor]) -> str:
    table = tensors.get("pos_embed")
    if table is None:
        return "none in the file: they are computed"
    grid = grid_of_table(table)
    if grid is None:
        return "a table of codes unknown here"
    sides = [places * extent for places, extent in zip(grid, tensors["patch_embed.proj.weight"].shape[2:], strict=True)]
    return "a table for {} x {} x {} tokens, of ".format(*grid) + "{} frames of {} x {}".format(*sides)
