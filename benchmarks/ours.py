"""The package's own training step, as its loop takes it, on one batch of noise that stays."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from timing import Laps

from usjepa.estimate.flops import Counts, StepPart, step_flops
from usjepa.losses import combined_loss, prediction_loss
from usjepa.model.jepa import JEPA, Draws
from usjepa.model.localiser import Pairs
from usjepa.model.masking import Mask
from usjepa.model.teacher import target_features
from usjepa.model.tokens import take
from usjepa.recipe import PretrainRecipe
from usjepa.training.device import adamw, autocast, clip_
from usjepa.training.guard import Guard
from usjepa.training.learners import draw_step, follow_, new_learner
from usjepa.training.schedules import set_schedule_
from usjepa.training.streams import Stream, generator


@dataclass
class OurStep:
    """One step after another; the learning rate is that of step 0, so that nothing leaves its range."""

    jepa: JEPA
    clip: torch.Tensor
    draws: Draws

    def __post_init__(self) -> None:
        self.device = self.clip.device
        self.optimiser = adamw(*self.jepa.trained.values())
        self.guard = Guard(self.optimiser, self.device)

    def __call__(self) -> None:
        with autocast(self.device):
            loss = self.jepa(self.clip, self.draws).combined
        self.optimiser.zero_grad()
        loss.backward()
        self.watch(loss)
        self.update()
        follow_(self.jepa, 0)

    def watch(self, loss: torch.Tensor) -> None:
        """Clip gradients, and look whether loss and norms are finite."""
        norms = {name: clip_(part, self.jepa.recipe.clip_norm) for name, part in self.jepa.trained.items()}
        self.guard.watch(0, {"loss": loss, **norms})
        if self.device.type == "cpu":
            self.guard.check()

    def update(self) -> None:
        set_schedule_(self.optimiser, self.jepa.recipe, 0)
        self.optimiser.step()

    def by_part(self, laps: Laps) -> torch.Tensor:
        """The same step with its forward pass written out, to time its parts; gives the loss."""
        jepa, families = self.jepa, []
        laps.start()
        with autocast(self.device):
            target = target_features(jepa.teacher, self.clip)
            laps.end("teacher")
            for family, (mask, pairs) in enumerate(zip(*self.draws, strict=True)):
                context = jepa.encoder(self.clip, mask.context)
                laps.end("student")
                predicted = jepa.predictor(context, mask, family)
                laps.end("predictor")
                apart = prediction_loss(predicted, take(target, mask.target))
                families.append(torch.stack((apart, jepa.localise(predicted, mask.target, pairs))))
                laps.end("losses, head")
            loss = combined_loss(*torch.stack(families).mean(dim=0), jepa.recipe.prediction_weight)
        self.optimiser.zero_grad()
        loss.backward()
        laps.end("backward")
        self.watch(loss)
        laps.end("clipping, guard")
        self.update()
        laps.end("AdamW")
        follow_(jepa, 0)
        laps.end("EMA")
        return loss.detach()


def new_step(recipe: PretrainRecipe, device: torch.device) -> OurStep:
    """A random model, and a batch with the masks of step 0."""
    jepa, of = new_learner(recipe).to(device), recipe.clip
    shape = (recipe.batch, of.channels, of.frames, of.size_px, of.size_px)
    masks, pairs = draw_step(jepa, 0)
    draws = Draws(
        tuple(Mask(*(index.to(device) for index in mask)) for mask in masks),
        tuple(Pairs(*(slots.to(device) for slots in pair)) for pair in pairs),
    )
    return OurStep(jepa, torch.randn(shape, generator=generator(0, Stream.CLIPS)).to(device), draws)


def parts_of(step: OurStep) -> dict[str, StepPart]:
    """FLOPs of this very batch by part."""
    counts = [Counts(*(np.array([index.shape[1]]) for index in mask)) for mask in step.draws.masks]
    return {part.name: part for part in step_flops(step.jepa.recipe, counts)}


def flops_of(step: OurStep) -> float:
    return sum(part.forward + part.backward for part in parts_of(step).values())


def in_buckets(recipe: PretrainRecipe, tokens: int) -> PretrainRecipe:
    """The recipe with both counts of each mask family cut to multiples of so many tokens."""
    masks = [replace(one, multiple=tokens, least_context=max(tokens, one.least_context)) for one in recipe.masks]
    return replace(recipe, masks=tuple(masks))


def shapes_of(recipe: PretrainRecipe, steps: int = 100) -> int:
    """How many different shapes of a batch's masks its first steps have."""
    with torch.device("meta"):
        jepa = new_learner(recipe)
    return len({tuple(index.shape for mask in draw_step(jepa, step).masks for index in mask) for step in range(steps)})
