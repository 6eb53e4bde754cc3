"""A row of the log: losses, who pulls where, and whether the representation is alive."""

import time
import warnings
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from usjepa.evaluation.health import content_spread, effective_rank, spread
from usjepa.model.jepa import JEPA, Draws
from usjepa.model.localiser import chance_level
from usjepa.model.masking import Mask
from usjepa.model.tokens import take
from usjepa.model.videomae import VideoMAE
from usjepa.training.learners import Batch, Learner

LEAST_SPREAD = 0.15
"""Between the runs that live (0.3 and more) and those that have collapsed (0.1 and less); normalised targets only."""


class Terms(NamedTuple):
    """A loss and its gradient's norm at each part, before clipping."""

    loss: float
    norms: dict[str, float]


class Stopwatch:
    """Milliseconds of the parts of one step, the device waited for after each; does nothing unless it is on."""

    def __init__(self, device: torch.device, *, is_on: bool) -> None:
        self.device, self.is_on, self.laps = device, is_on, dict[str, float]()
        self._last = self._now() if is_on else 0.0

    def lap(self, part: str) -> None:
        """The part that ends now."""
        if self.is_on:
            now = self._now()
            self.laps[f"ms_{part}"], self._last = 1000 * (now - self._last), now

    def _now(self) -> float:
        """Seconds, once the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def row_of(learner: Learner, batch: Batch) -> dict[str, float]:
    """What is logged of a step, measured before it is taken, in a pass of its own that changes no number of training.

    V-JEPA: Eq. 1 and 3, chance for the latter, the gradient's norm of each at encoder, predictor and head, spread,
    content spread and effective rank of the teacher's features, cosine of prediction and target, and how far the
    student is from the teacher. VideoMAE: its loss, norms, and the same three measures of its encoder. Of several
    processes the first measures its own share of the batch.
    """
    if isinstance(learner, JEPA) and isinstance(batch.draws, Draws):
        return _jepa_row(learner, batch.clip, batch.draws)
    assert isinstance(learner, VideoMAE)
    assert isinstance(batch.draws, Mask)
    pixels = norms_of(learner(batch.clip, batch.draws).combined, learner.trained)
    with torch.no_grad():
        features = learner.encoder(batch.clip)
    named = {f"pixels_at_{part}": norm for part, norm in pixels.norms.items()}
    return {"pixels": pixels.loss, **named, **_aliveness(functional.layer_norm(features, features.shape[-1:]))}


def announce_collapse(step: int, spread_now: float, spread_before: float) -> None:
    """Warn when a teacher's features have become nearly the same everywhere since the last row.

    VideoMAE's target is fixed, and can't collapse: its features may lie close together and still tell pixels apart.
    """
    if spread_now < LEAST_SPREAD <= spread_before:
        warnings.warn(
            f"step {step}: the features have collapsed: spread {spread_now:.2f}, healthy runs keep 0.3 and more. "
            "Slow the teacher (momentum) or lower rate_peak.",
            stacklevel=2,
        )


def norms_of(loss: Float[Tensor, ""], trained: dict[str, nn.Module]) -> Terms:
    """The loss's gradient at each part; nothing is accumulated."""
    moved = {name: [one for one in part.parameters() if one.requires_grad] for name, part in trained.items()}
    flat = [one for part in moved.values() for one in part]
    gradients = iter(torch.autograd.grad(loss, flat, retain_graph=True, materialize_grads=True))
    norms = {name: [next(gradients).norm() for _ in part] for name, part in moved.items()}
    total = {name: float(torch.stack(part).norm()) if part else 0.0 for name, part in norms.items()}
    return Terms(float(loss.detach()), total)


@torch.no_grad()
def distance(teacher: nn.Module, student: nn.Module) -> float:
    """Length of the difference of all weights over the length of the student's."""
    pairs = zip(teacher.parameters(), student.parameters(), strict=True)
    squares = [((slow - fast).square().sum(), fast.square().sum()) for slow, fast in pairs]
    apart, whole = (torch.stack(side).sum() for side in zip(*squares, strict=True))
    return float((apart / whole).sqrt())


def _jepa_row(jepa: JEPA, clip: Float[Tensor, "b c T H W"], draws: Draws) -> dict[str, float]:
    found = jepa(clip, draws)
    terms = {
        "prediction": norms_of(found.prediction, jepa.trained),
        "localisation": norms_of(found.localisation, jepa.trained),
    }
    seen = [mask.context if jepa.recipe.localise in ("context", "placeless") else mask.target for mask in draws.masks]
    pairs = zip(found.predicted, draws.masks, strict=True)
    cosines = [
        functional.cosine_similarity(guess.detach(), take(found.target, mask.target), dim=-1) for guess, mask in pairs
    ]
    return {
        **{name: term.loss for name, term in terms.items()},
        "chance": sum(chance_level(index, jepa.encoder.grid) for index in seen) / len(seen),
        **{f"{name}_at_{part}": norm for name, term in terms.items() for part, norm in term.norms.items()},
        **_aliveness(found.target),
        "cosine": sum(float(one.mean()) for one in cosines) / len(cosines),
        "distance": distance(jepa.teacher, jepa.encoder),
    }


def _aliveness(features: Float[Tensor, "b n d"]) -> dict[str, float]:
    return {
        "spread": spread(features),
        "content_spread": content_spread(features),
        "rank": effective_rank(features),
    }
