"""V-JEPA and VideoMAE as the training loop sees them: a random start, the random draws of a step, what follows it."""

from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from usjepa.data.clips import Augmentation, training_clips
from usjepa.data.store import Entry
from usjepa.model.encoder import Encoder, tubelet_of
from usjepa.model.jepa import JEPA, Draws
from usjepa.model.localiser import Pairs
from usjepa.model.masking import Mask, in_sector, tube
from usjepa.model.teacher import ema_momentum, ema_update_
from usjepa.model.videomae import VideoMAE
from usjepa.recipe import PretrainRecipe, Start, VideoMAERecipe
from usjepa.training.streams import Stream, batch_order, generator

Learner: TypeAlias = JEPA | VideoMAE


class Batch(NamedTuple):
    """What one step sees: clips, and V-JEPA's draws or VideoMAE's mask."""

    clip: Float[Tensor, "b c T H W"]
    draws: Draws | Mask


def new_learner(recipe: PretrainRecipe | VideoMAERecipe) -> Learner:
    """The model at its random start, decided by the recipe's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(recipe.seed, Stream.WEIGHTS).initial_seed())
        return JEPA(recipe) if isinstance(recipe, PretrainRecipe) else VideoMAE(recipe)


def new_encoder(start: Start) -> Encoder:
    """The encoder of a recipe's sizes at its random start: the same that its pre-training would begin with."""
    seed = 0 if start.kind == "published" else start.seed
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, Stream.WEIGHTS).initial_seed())
        return Encoder(start.model, start.clip)


def draw_step(learner: Learner, step: int, clip: Float[Tensor, "b c T H W"] | None = None) -> Draws | Mask:
    """The masks of a step's whole batch, and V-JEPA's pairs, on the CPU, from the recipe's seed and the step.

    `clip` is looked at only where masks are kept inside its sector (`sector_only`).
    """
    masks, pairs = (generator(learner.recipe.seed, stream, step) for stream in (Stream.MASKS, Stream.PAIRS))
    if isinstance(learner, VideoMAE):
        return tube(learner.encoder.grid, learner.recipe.mask_ratio, learner.recipe.batch, masks)
    within = None
    if learner.recipe.sector_only and clip is not None:
        within = in_sector(clip, tubelet_of(learner.recipe.model)).cpu()
    return learner.draw(masks, pairs, within)


def batch_of(learner: Learner, frames: Tensor, films: list[Entry], step: int, rows: slice) -> Batch:
    """One process's rows of a step's batch, on the learner's device.

    All of it is drawn, and then cut to the rows: what a clip gets does not depend on how many processes there are.
    """
    recipe, device = learner.recipe, learner.encoder.pos_embed.device
    entries = [films[k] for k in batch_order(recipe.seed, step, batch=recipe.batch, clips=len(films))]
    vary = Augmentation(recipe.crop_area, recipe.crop_aspect, recipe.flips)
    clip = training_clips(frames, entries, recipe.clip, vary, generator(recipe.seed, Stream.CLIPS, step))
    draws = draw_step(learner, step, clip)
    if isinstance(draws, Draws):
        masks = tuple(Mask(*_rows(mask, rows, device)) for mask in draws.masks)
        draws = Draws(masks, tuple(Pairs(*_rows(pairs, rows, device)) for pairs in draws.pairs))
    else:
        draws = Mask(*_rows(draws, rows, device))
    return Batch(clip[rows].to(device, non_blocking=True), draws)


def follow_(learner: Learner, step: int) -> None:
    """After a step: V-JEPA's teacher moves towards the student; VideoMAE has none."""
    if isinstance(learner, JEPA):
        recipe = learner.recipe
        ema_update_(learner.teacher, learner.encoder, ema_momentum(step, recipe.steps, *recipe.momentum))


def _rows(tensors: Mask | Pairs, rows: slice, device: torch.device) -> list[Tensor]:
    return [one[rows].to(device, non_blocking=True) for one in tensors]
