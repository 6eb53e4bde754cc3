"""The paper's four equations, in its order, one function each, and nothing else."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from usjepa.model.tokens import TokenGrid, coordinates


def prediction_loss(predicted: Float[Tensor, "b m d"], target: Float[Tensor, "b m d"]) -> Float[Tensor, ""]:
    """Eq. (1). Mean absolute difference of predicted features and the teacher's.

    Written as a norm in the paper; V-JEPA's code takes the mean, without which Eq. 4 could not weigh anything.
    """
    return (predicted - target).abs().mean()


def relative_offset(first: Int[Tensor, "b r"], second: Int[Tensor, "b r"], grid: TokenGrid) -> Float[Tensor, "b r 3"]:
    """Eq. (2). Place of the first token minus place of the second, (t, i, j), in fractions of the grid's extent.

    Divided by the extent, not by extent - 1: a component never reaches 1 (at most 7/8 in time, 13/14 in space).
    """
    difference = coordinates(first, grid) - coordinates(second, grid)
    return torch.stack([axis / extent for axis, extent in zip(difference.unbind(-1), grid, strict=True)], dim=-1)


def localisation_loss(predicted: Float[Tensor, "b r 3"], offset: Float[Tensor, "b r 3"]) -> Float[Tensor, ""]:
    """Eq. (3). Squared distance of predicted and true offset, averaged over pairs and clips.

    The squares of the three components are *summed*, as the formula has it; the text's "mean squared error" would be
    a third of this.
    """
    return (predicted - offset).square().sum(dim=-1).mean()


def combined_loss(
    prediction: Float[Tensor, ""], localisation: Float[Tensor, ""], prediction_weight: float
) -> Float[Tensor, ""]:
    """Eq. (4). lambda times Eq. 1 plus (1 - lambda) times Eq. 3: lambda weighs the *prediction* term."""
    return prediction_weight * prediction + (1 - prediction_weight) * localisation
