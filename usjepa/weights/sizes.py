"""Sizes that weights betray by their shapes: width, depth, patch, and the token grid of a table of positions."""

import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from usjepa.errors import InputError
from usjepa.model.encoder import position_codes
from usjepa.model.tokens import TokenGrid
from usjepa.spec import ClipSpec, ModelSpec

PUBLISHED_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16}
"""By width: ViT-S, B, L and H of V-JEPA and VideoMAE. Only ViT-H's heads are not 64 wide."""
CODES_MATCH = 0.01
"""Tables kept in bfloat16 differ by less from ours; those of two grids differ by about 1."""


def depth_of(tensors: Mapping[str, Tensor]) -> int:
    """How many transformer blocks these weights have."""
    return len({found[1] for name in tensors if (found := re.match(r"blocks\.(\d+)\.", name))})


def sizes_in_words(tensors: Mapping[str, Tensor]) -> str:
    """Width, depth and, of an encoder, tubelet and channels, as far as these weights show them."""
    words = [f"depth {depth_of(tensors)}"]
    if "norm.weight" in tensors:
        words.insert(0, f"width {tensors['norm.weight'].shape[0]}")
    embedding = tensors.get("patch_embed.proj.weight")
    if embedding is not None and embedding.ndim == 5:
        channels, *tubelet = embedding.shape[1:]
        words.append(f"tubelets of {' x '.join(map(str, tubelet))} of {channels} channel{'s' * (channels > 1)}")
    return ", ".join(words)


def grid_of_table(table: Float[Tensor, "1 n d"]) -> TokenGrid | None:
    """The grid, square in space, whose position codes this table holds; None if it holds others.

    The number of tokens alone can't tell: 1568 is 8 x 14 x 14, but also 2 x 28 x 28 and 32 x 7 x 7.
    """
    tokens, width = table.shape[1:]
    for side in range(1, int(tokens**0.5) + 1):
        if tokens % side**2 == 0:
            grid = TokenGrid(tokens // side**2, side, side)
            if torch.allclose(position_codes(grid, width), table[0].cpu().float(), rtol=0, atol=CODES_MATCH):
                return grid
    return None


def specs_of(tensors: Mapping[str, Tensor], what: str, *, heads: int | None = None) -> tuple[ModelSpec, ClipSpec]:
    """The encoder that these weights are of, and the clips that it was made for.

    Heads leave no trace in the weights: they are those published for the width, unless given. Without a table of
    positions, as in VideoMAE's files, clips are taken to be the published 16 frames of 224 x 224. Raises InputError,
    after `what`, for weights of no video encoder, and for an unpublished width without `heads`.
    """
    embedding, table = tensors.get("patch_embed.proj.weight"), tensors.get("pos_embed")
    if embedding is None or embedding.ndim != 5:
        raise InputError(
            f"{what}: expected a video encoder with a patch_embed.proj.weight of rank 5, got none. Use one."
        )
    width, channels, tubelet_frames, patch_px, _ = embedding.shape
    known = heads or PUBLISHED_HEADS.get(width)
    if known is None:
        published = ", ".join(map(str, PUBLISHED_HEADS))
        raise InputError(f"{what}: expected a published width, {published}, got {width}. Say how many heads it has.")
    model = ModelSpec(
        width=width,
        depth=depth_of(tensors),
        heads=known,
        patch_px=patch_px,
        tubelet_frames=tubelet_frames,
        positions="1d" if table is None else "3d",
        predictor_width=width,
    )
    if table is None:
        return model, ClipSpec(channels=channels)
    grid = grid_of_table(table)
    if grid is None:
        raise InputError(
            f"{what}: expected V-JEPA's sine and cosine codes as pos_embed, got others. Name the clip's size."
        )
    return model, ClipSpec(frames=grid.t * tubelet_frames, size_px=grid.i * patch_px, channels=channels)
