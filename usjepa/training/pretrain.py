"""The pre-training loop: Eq. 4 on random masks of random clips, the teacher following the student."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from tqdm.auto import tqdm

from usjepa.data.clips import Augmentation, resident, training_clips
from usjepa.data.prepare import Store
from usjepa.errors import InputError
from usjepa.evaluation.health import content_spread, effective_rank, spread
from usjepa.model.encoder import tubelet_of
from usjepa.model.jepa import JEPA, LossTerms
from usjepa.model.localiser import chance_level
from usjepa.model.masking import Mask, in_sector, multiblock
from usjepa.model.teacher import ema_momentum, ema_update_
from usjepa.recipe import PretrainRecipe
from usjepa.training.device import adamw, autocast
from usjepa.training.runs import Run
from usjepa.training.schedules import cosine, set_rates_, warmup_cosine
from usjepa.training.streams import Stream, batch_order, generator


@dataclass(frozen=True)
class Norms:
    """Gradient norms of one step before clipping."""

    encoder: float
    predictor: float
    head: float


def new_jepa(recipe: PretrainRecipe) -> JEPA:
    """The model at its random start, decided by the recipe's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(recipe.seed, Stream.WEIGHTS).initial_seed())
        return JEPA(recipe)


def pretrain(
    recipe: PretrainRecipe, store: Store, run: Run, device: torch.device, *, shows_progress: bool = True
) -> JEPA:
    """Train on train and unlabelled films to the recipe's last step, or from the run's checkpoint on.

    A finished run is only read. The log holds, every `log_every` steps, both loss terms, the chance level of Eq. 3
    for the masks drawn, gradient norms, and spread, content spread and effective rank of the teacher's normalised
    features. Raises InputError for a store that can't fill a batch, and FloatingPointError *before* a step whose loss
    or gradient is not finite, with the last checkpoint left intact.
    """
    clips = [entry for entry in store.entries if entry.split in ("train", "unlabelled")]
    if len(clips) < recipe.batch:
        raise InputError(f"batch: expected at most the {len(clips)} clips of the store, got {recipe.batch}. Lower it.")
    jepa = new_jepa(recipe).to(device)
    optimiser = adamw(jepa.encoder, jepa.predictor, jepa.head)
    done = _restore(jepa, optimiser, run)
    quiet = run.done or not shows_progress
    steps = tqdm(range(done, recipe.steps), "pretrain", total=recipe.steps, initial=done, disable=quiet)
    frames, vary = resident(store, device), Augmentation(recipe.crop_area, recipe.crop_aspect, recipe.flips)
    started = time.perf_counter()
    for step in steps:
        entries = [clips[k] for k in batch_order(recipe.seed, step, batch=recipe.batch, clips=len(clips))]
        clip = training_clips(frames, entries, recipe.clip, vary, generator(recipe.seed, Stream.CLIPS, step))
        within = in_sector(clip, tubelet_of(recipe.model)).cpu() if recipe.sector_only else None
        masks = draw_masks(jepa, step, within)
        with autocast(device):
            terms = jepa(clip.to(device), _to(masks, device), generator(recipe.seed, Stream.PAIRS, step))
        optimiser.zero_grad()
        terms.combined.backward()
        norms = _clip_gradients(jepa, recipe.clip_norm)
        _require_finite(step, terms, norms)
        _step(jepa, optimiser, step)
        if step % recipe.log_every == 0 or step == recipe.steps - 1:
            run.append({"step": step, **_row(terms, norms, masks, jepa), "seconds": time.perf_counter() - started})
        if (step + 1) % recipe.save_every == 0 or step == recipe.steps - 1:
            run.save({"step": step + 1, "jepa": jepa.state_dict(), "optimiser": optimiser.state_dict()})
    if not run.done:
        run.finish()
    return jepa


def draw_masks(jepa: JEPA, step: int, within: Bool[Tensor, "b n"] | None = None) -> list[Mask]:
    """One mask a family for the batch of a step, from the recipe's seed, of the tokens `within` or of all."""
    recipe, of_step = jepa.recipe, generator(jepa.recipe.seed, Stream.MASKS, step)
    return [multiblock(jepa.encoder.grid, family, recipe.batch, of_step, within) for family in recipe.masks]


def _to(masks: list[Mask], device: torch.device) -> list[Mask]:
    return [Mask(mask.context.to(device), mask.target.to(device)) for mask in masks]


def _restore(jepa: JEPA, optimiser: torch.optim.Optimizer, run: Run) -> int:
    """Load the run's checkpoint, if it has one; the number of steps already done."""
    state: dict[str, Any] | None = run.resume()
    if state is None:
        return 0
    jepa.load_state_dict(state["jepa"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _clip_gradients(jepa: JEPA, most: float) -> Norms:
    """Clip encoder and predictor apart, as V-JEPA does, and the head; their norms before."""
    parts: tuple[nn.Module, ...] = (jepa.encoder, jepa.predictor, jepa.head)
    return Norms(*(float(nn.utils.clip_grad_norm_(part.parameters(), most)) for part in parts))


def _require_finite(step: int, terms: LossTerms, norms: Norms) -> None:
    values = {"Eq. 1": float(terms.prediction.detach()), "Eq. 3": float(terms.localisation.detach()), **vars(norms)}
    if wrong := {name: value for name, value in values.items() if not math.isfinite(value)}:
        raise FloatingPointError(f"step {step}: not finite: {wrong}. The last checkpoint is intact; lower rate_peak.")


def _step(jepa: JEPA, optimiser: torch.optim.Optimizer, step: int) -> None:
    """One step of AdamW and of the teacher, at the step's scheduled rates."""
    recipe = jepa.recipe
    rate = warmup_cosine(
        step, steps=recipe.steps, warmup=recipe.warmup_steps, peak=recipe.rate_peak, final=recipe.rate_final
    )
    decay = cosine(step / recipe.steps, start=recipe.weight_decay[0], final=recipe.weight_decay[1])
    set_rates_(optimiser, rate=rate, weight_decay=decay)
    optimiser.step()
    ema_update_(jepa.teacher, jepa.encoder, ema_momentum(step, recipe.steps, *recipe.momentum))


def _row(terms: LossTerms, norms: Norms, masks: list[Mask], jepa: JEPA) -> dict[str, int | float]:
    """What is logged of a step, all of it measured before the step was taken."""
    return {
        "prediction": float(terms.prediction.detach()),
        "localisation": float(terms.localisation.detach()),
        "chance": sum(chance_level(mask.target, jepa.encoder.grid) for mask in masks) / len(masks),
        **{f"gradient_{name}": value for name, value in vars(norms).items()},
        "spread": spread(terms.target),
        "content_spread": content_spread(terms.target),
        "rank": effective_rank(terms.target),
    }
