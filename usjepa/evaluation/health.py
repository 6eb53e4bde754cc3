"""Three numbers that tell a representation from a collapsed one."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def spread(features: Float[Tensor, "b n d"]) -> float:
    """Standard deviation over all tokens, averaged over the dimensions: 0 if every token has the same feature."""
    return float(rearrange(features, "b n d -> (b n) d").float().std(dim=0).mean())


def content_spread(features: Float[Tensor, "b n d"]) -> float:
    """The same after each place's mean over the clips is taken off: 0 if features tell the place and nothing else."""
    return spread(features - features.float().mean(dim=0))


def effective_rank(features: Float[Tensor, "b n d"]) -> float:
    """How many directions the tokens fill, 1 to d: exponential of the entropy of the centred singular values.

    Roy and Vetterli 2007, "The effective rank"; used on representations as RankMe.
    """
    tokens = rearrange(features, "b n d -> (b n) d").float()
    singular = torch.linalg.svdvals(tokens - tokens.mean(dim=0))
    share = singular / singular.sum().clamp(min=torch.finfo(torch.float32).tiny)
    return float(torch.exp(torch.special.entr(share).sum()))
