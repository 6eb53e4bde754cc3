"""V-JEPA's multi-block masks: which tokens the student sees, and which it has to predict (section 2.1)."""

import math
from typing import NamedTuple

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from usjepa.errors import InputError
from usjepa.model.tokens import TokenGrid, Tubelet, tubelets
from usjepa.recipe import PretrainRecipe
from usjepa.spec import MaskSpec

MOST_DRAWS = 100


class Mask(NamedTuple):
    """Token indices of a batch, rising along each row: `context` is seen, `target` is predicted; they never meet.

    Every clip of a batch has equal counts, so a few tokens may be in neither list.
    """

    context: Int[Tensor, "b v"]
    target: Int[Tensor, "b m"]


def multiblock(
    grid: TokenGrid, spec: MaskSpec, batch: int, generator: Generator, within: Bool[Tensor, "b n"] | None = None
) -> Mask:
    """Draw one family's masks for a batch; counts are made equal by *random* thinning.

    Tokens outside `within`, if it is given, are in neither list. V-JEPA's own cut, `multiblock_raster`, starves late
    time slices. Raises InputError if `least_context` can't be met.
    """
    inside = torch.ones(batch, grid.n, dtype=torch.bool) if within is None else within
    hidden = draw_hidden(grid, spec, inside, generator)
    order = torch.rand(hidden.shape, generator=generator)
    return Mask(thin(~hidden & inside, order, spec.multiple), thin(hidden & inside, order, spec.multiple))


def drawn_masks(
    recipe: PretrainRecipe, grid: TokenGrid, generator: Generator, within: Bool[Tensor, "b n"] | None = None
) -> tuple[Mask, ...]:
    """One batch's masks of each of a recipe's families, thinned as it says."""
    if recipe.thinning == "random":
        return tuple(multiblock(grid, family, recipe.batch, generator, within) for family in recipe.masks)
    return tuple(multiblock_raster(grid, family, recipe.batch, generator) for family in recipe.masks)


def multiblock_raster(grid: TokenGrid, spec: MaskSpec, batch: int, generator: Generator) -> Mask:
    """As `multiblock`, with counts made equal as published: each clip keeps its first tokens in raster order.

    Time is outermost, so what is thrown away are the last time slices (facebookresearch/jepa, multiblock3d.py).
    """
    hidden = draw_hidden(grid, spec, torch.ones(batch, grid.n, dtype=torch.bool), generator)
    order = repeat(torch.arange(grid.n) / grid.n, "n -> b n", b=batch)
    return Mask(thin(~hidden, order, spec.multiple), thin(hidden, order, spec.multiple))


def tube(grid: TokenGrid, ratio: float, batch: int, generator: Generator) -> Mask:
    """VideoMAE's masks: in each clip int(ratio i j) places are hidden, drawn at random, the same in all time slices.

    Raises InputError for a ratio that hides none of a slice's places, or all.
    """
    places = grid.i * grid.j
    count = int(ratio * places)
    if not 0 < count < places:
        raise InputError(f"mask_ratio: expected to hide some of {places} places, not all; got {ratio}. Change it.")
    drawn = torch.rand(batch, places, generator=generator).argsort(dim=1) < count
    hidden = repeat(drawn, "b k -> b (t k)", t=grid.t)
    order = torch.zeros(hidden.shape)
    return Mask(thin(~hidden, order), thin(hidden, order))


def in_sector(clip: Float[Tensor, "b c T H W"], tubelet: Tubelet) -> Bool[Tensor, "b n"]:
    """Which tokens hold more than the black around the sector, taken to be the lowest value of the first channel.

    The other channels hold the same picture on other scales.
    """
    grey = clip[:, :1]
    return tubelets(grey, tubelet).amax(dim=2) > reduce(grey, "b 1 T H W -> b 1", "min")


def block_size(grid: TokenGrid, spec: MaskSpec, generator: Generator) -> tuple[int, int]:
    """Height and width in tokens of the blocks of one batch: the area is the spec's, the aspect is drawn."""
    low, high = spec.aspect
    aspect = low + (high - low) * torch.rand((), generator=generator).item()
    area = int(grid.i * grid.j * spec.spatial_scale)
    return max(1, min(grid.i, round(math.sqrt(area * aspect)))), max(1, min(grid.j, round(math.sqrt(area / aspect))))


def draw_hidden(
    grid: TokenGrid, spec: MaskSpec, inside: Bool[Tensor, "b n"], generator: Generator
) -> Bool[Tensor, "b n"]:
    """The union of the blocks of each clip, before counts are made equal; True is hidden, through all of time."""
    size = block_size(grid, spec, generator)
    return torch.stack([_draw_clip(grid, spec, size, tokens, generator) for tokens in inside])


def _draw_clip(
    grid: TokenGrid, spec: MaskSpec, size: tuple[int, int], inside: Bool[Tensor, " n"], generator: Generator
) -> Bool[Tensor, " n"]:
    """One clip's hidden tokens, drawn again while too little context is left."""
    height, width = size
    for _ in range(MOST_DRAWS):
        tops = torch.randint(0, grid.i - height + 1, (spec.blocks, 1), generator=generator)
        lefts = torch.randint(0, grid.j - width + 1, (spec.blocks, 1), generator=generator)
        rows, columns = torch.arange(grid.i), torch.arange(grid.j)
        in_rows = rearrange((rows >= tops) & (rows < tops + height), "k i -> k i 1")
        in_columns = rearrange((columns >= lefts) & (columns < lefts + width), "k j -> k 1 j")
        hidden = repeat((in_rows & in_columns).any(dim=0), "i j -> (t i j)", t=grid.t)
        if (~hidden & inside).sum() >= spec.least_context and (hidden & inside).sum() >= spec.multiple:
            return hidden
    raise InputError(
        f"masks: {spec.blocks} blocks of {spec.spatial_scale:.0%} leave fewer than {spec.least_context} of "
        f"{int(inside.sum())} tokens as context in {MOST_DRAWS} draws. Lower spatial_scale or least_context."
    )


def thin(member: Bool[Tensor, "b n"], order: Float[Tensor, "b n"], multiple: int = 1) -> Int[Tensor, "b k"]:
    """Indices of each row's members, all rows cut to the shortest by keeping the lowest `order` in [0, 1).

    The count is then cut to a multiple of `multiple`.
    """
    shortest = int(member.sum(dim=1).min())
    count = shortest - shortest % multiple
    kept = order.masked_fill(~member, 2.0).argsort(dim=1)[:, :count]
    return kept.sort(dim=1).values
