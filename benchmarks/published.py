"""The structure of V-JEPA's published training step, on our networks, to time ours against.

As in facebookresearch/jepa (app/vjepa/train.py, src/utils/logging.py): student and predictor once a mask family, a
variance term weighed by 0, torch's default AdamW, gradients clipped apart, the teacher moved tensor by tensor, and for
the log a number of every gradient matrix and of both moments of every parameter, each waited for. `tests` hold its
losses to those that the published code gave.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from usjepa.model.encoder import Encoder
from usjepa.model.masking import Mask
from usjepa.model.predictor import Predictor
from usjepa.model.tokens import take
from usjepa.training.device import adamw, autocast


class Networks(Protocol):
    """Student, teacher and predictor."""

    encoder: Encoder
    teacher: Encoder
    predictor: Predictor


class PublishedStep:
    """One training step after another, each called with its clips and masks; gives the loss as a number."""

    def __init__(self, networks: Networks, clip_norm: float | None) -> None:
        self.networks, self.clip_norm = networks, clip_norm
        self.device = networks.encoder.pos_embed.device
        self.optimiser = plain_adamw(networks.encoder, networks.predictor)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")

    def __call__(self, clip: Tensor, masks: Sequence[Mask], *, momentum: float) -> float:
        networks = self.networks
        with autocast(self.device):
            loss, variance = losses(networks, clip, masks)
            loss = loss + 0.0 * variance
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        if self.clip_norm is not None:
            for part in (networks.encoder, networks.predictor):
                nn.utils.clip_grad_norm_(part.parameters(), self.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        statistics(networks, self.optimiser)
        self.optimiser.zero_grad()
        loop_ema_(networks.teacher, networks.encoder, momentum)
        return float(loss.detach()) + 0.0 * float(variance.detach())


def losses(networks: Networks, clip: Tensor, masks: Sequence[Mask]) -> tuple[Tensor, Tensor]:
    """Eq. 1, every family counting the same, and the variance term."""
    with torch.no_grad():
        features = networks.teacher(clip)
        features = functional.layer_norm(features, features.shape[-1:])
        targets = [take(features, mask.target) for mask in masks]
    contexts = [networks.encoder(clip, mask.context) for mask in masks]
    predicted = [networks.predictor(contexts[k], mask, k) for k, mask in enumerate(masks)]
    apart = [(guess - target).abs().mean() for guess, target in zip(predicted, targets, strict=True)]
    deviation = sum(((guess.var(dim=1) + 1e-4).sqrt() for guess in predicted), torch.zeros((), device=clip.device))
    return torch.stack(apart).mean(), functional.relu(1 - deviation / len(masks)).mean()


def plain_adamw(*modules: nn.Module) -> AdamW:
    """As torch gives it unless asked: a loop over tensors on a CPU, lists of tensors on a GPU; fused on neither."""
    groups = [{key: group[key] for key in ("params", "decays")} for group in adamw(*modules).param_groups]
    return AdamW(groups)


@torch.no_grad()
def loop_ema_(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """The teacher follows, one tensor after the other."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.data.mul_(momentum).add_((1.0 - momentum) * fast.detach().data)


def statistics(networks: Networks, optimiser: AdamW) -> list[float]:
    """The norm of each gradient matrix and the mean size of each moment, every one waited for."""
    found = []
    for part in (networks.encoder, networks.predictor):
        for weight in part.parameters():
            if weight.grad is not None and weight.ndim > 1:
                found.append(float(torch.norm(weight.grad.data)))
    for state in optimiser.state.values():
        found += [float(state[moment].abs().mean()) for moment in ("exp_avg", "exp_avg_sq")]
    return found
