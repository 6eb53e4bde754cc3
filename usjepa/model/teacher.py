"""The teacher: a copy of the encoder that follows it slowly and is never trained (section 2.1)."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from usjepa.model.encoder import Encoder


def make_teacher(student: Encoder) -> Encoder:
    """A copy without gradients, to be moved by `ema_update_` alone."""
    return copy.deepcopy(student).requires_grad_(False).eval()


def ema_momentum(step: int, steps: int, start: float, final: float) -> float:
    """The teacher's momentum at a step counted from 0: linear from `start` to `final` over the run."""
    return start + (final - start) * step / steps


@torch.no_grad()
def ema_update_(teacher: Encoder, student: Encoder, momentum: float) -> None:
    """teacher <- momentum teacher + (1 - momentum) student, for every parameter, frozen ones too, in place.

    A start's teacher lags behind its student; blocks above those frozen are trained on the student's.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


@torch.no_grad()
def target_features(
    teacher: Encoder, clip: Float[Tensor, "b c T H W"], *, normalises: bool = True
) -> Float[Tensor, "b n d"]:
    """sg(teacher(y)) of Eq. 1 for every token of the *whole* clip, layer-normalised over the width, as V-JEPA does.

    One pass serves every mask family; `take` picks the targets.
    """
    features: Tensor = teacher(clip)
    if not normalises:
        return features
    return functional.layer_norm(features, features.shape[-1:], eps=1e-5)
