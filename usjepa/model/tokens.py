"""Tubelet tokens: a clip cut into blocks of 2 x 16 x 16, numbered in raster order with time outermost (section 2.2)."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Int, Shaped
from torch import Tensor

from usjepa.errors import InputError


class Tubelet(NamedTuple):
    """Extent of one token: frames, rows and columns; the paper's is 2 x 16 x 16."""

    frames: int = 2
    rows: int = 16
    columns: int = 16


PAPER_TUBELET = Tubelet()


class TokenGrid(NamedTuple):
    """How many tubelets a clip has along time, rows and columns (*t*, *i*, *j*); the paper's is 8 x 14 x 14."""

    t: int
    i: int
    j: int

    @property
    def n(self) -> int:
        """All tokens: t i j, 1568 in the paper."""
        return self.t * self.i * self.j


def token_grid(frames: int, height_px: int, width_px: int, tubelet: Tubelet = PAPER_TUBELET) -> TokenGrid:
    """The grid of a clip of this size. Raises InputError with the remainder if a side does not divide."""
    sides = {"frames": frames, "height_px": height_px, "width_px": width_px}
    for (side, extent), of in zip(sides.items(), tubelet, strict=True):
        if extent < of or extent % of:
            raise InputError(
                f"{side}: expected a multiple of the tubelet's {of}, got {extent} (remainder {extent % of}). "
                f"Crop or resize the clip to {max(of, extent - extent % of)}."
            )
    return TokenGrid(frames // tubelet.frames, height_px // tubelet.rows, width_px // tubelet.columns)


def tubelets(clip: Shaped[Tensor, "b c T H W"], tubelet: Tubelet = PAPER_TUBELET) -> Shaped[Tensor, "b n p"]:
    """Cut a clip into tokens, bit for bit; `p` runs over channel, frame, row, column. Inverse: `untubelets`."""
    token_grid(clip.shape[2], clip.shape[3], clip.shape[4], tubelet)
    pattern = "b c (t pt) (i ph) (j pw) -> b (t i j) (c pt ph pw)"
    return rearrange(clip, pattern, pt=tubelet.frames, ph=tubelet.rows, pw=tubelet.columns)


def untubelets(
    tokens: Shaped[Tensor, "b n p"], grid: TokenGrid, tubelet: Tubelet = PAPER_TUBELET
) -> Shaped[Tensor, "b c T H W"]:
    """Put the tokens of `tubelets` back into a clip, bit for bit."""
    pattern = "b (t i j) (c pt ph pw) -> b c (t pt) (i ph) (j pw)"
    sizes = {"pt": tubelet.frames, "ph": tubelet.rows, "pw": tubelet.columns, "t": grid.t, "i": grid.i, "j": grid.j}
    return rearrange(tokens, pattern, **sizes)


def coordinates(index: Int[Tensor, "*k"], grid: TokenGrid) -> Int[Tensor, "*k 3"]:
    """Place (t, i, j) of each token index, as whole tubelets."""
    return torch.stack((index // (grid.i * grid.j), index // grid.j % grid.i, index % grid.j), dim=-1)


def take(tokens: Shaped[Tensor, "b n d"], index: Int[Tensor, "b k"]) -> Shaped[Tensor, "b k d"]:
    """The tokens at `index`, clip by clip: the only gather of the package."""
    return torch.take_along_dim(tokens, rearrange(index, "b k -> b k 1"), dim=1)
