"""The 3D localisation task of section 2.2: pairs of masked tokens, and the head that tells how they lie."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from usjepa.errors import InputError
from usjepa.model.tokens import TokenGrid, coordinates


class Pairs(NamedTuple):
    """Slots of paired targets: row k of `first` and `second` are two different places in the list of targets."""

    first: Int[Tensor, "b r"]
    second: Int[Tensor, "b r"]


def sample_pairs(target: Int[Tensor, "b m"], pairs: int, generator: Generator) -> Pairs:
    """R_100 of section 2.2: pairs of two different targets a clip, drawn uniformly, with replacement.

    Raises InputError if there is only one target.
    """
    batch, targets = target.shape
    if targets < 2:
        raise InputError(f"masks: expected at least 2 targets to pair, got {targets}. Raise spatial_scale or blocks.")
    first = torch.randint(targets, (batch, pairs), generator=generator)
    shift = torch.randint(1, targets, (batch, pairs), generator=generator)
    return Pairs(first.to(target.device), ((first + shift) % targets).to(target.device))


def chance_level(target: Int[Tensor, "b m"], grid: TokenGrid) -> float:
    """Eq. 3 of a head that always answers zero, for pairs of these targets: the line that any curve has to leave.

    Twice the variance of the targets' places, summed over (t, i, j), with m / (m - 1) because a pair never repeats a
    token. It is another for each mask family; for all tokens of 8 x 14 x 14 it is 0.4960 (0.4957
    if a token might be paired with itself).
    """
    places = coordinates(target, grid).double() / torch.tensor(grid, device=target.device)
    return float(2 * places.var(dim=1, correction=1).sum(dim=-1).mean())


class OffsetHead(nn.Module):
    """F of Eq. 3: three fully connected layers on two concatenated embeddings."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 3)
        )

    def forward(self, first: Float[Tensor, "b r d"], second: Float[Tensor, "b r d"]) -> Float[Tensor, "b r 3"]:
        """Predicted offset of the first from the second, as `usjepa.losses.relative_offset` has it."""
        offset: Tensor = self.layers(torch.cat((first, second), dim=-1))
        return offset
