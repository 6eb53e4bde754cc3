"""Learning rate, weight decay and momentum as pure functions of the step."""

import math

from torch.optim import Optimizer

from usjepa.recipe import Pretraining


def warmup_cosine(step: int, *, steps: int, warmup: int, peak: float, final: float) -> float:
    """Linear from 0 to `peak` over the warm-up, then half a cosine to `final` (section 3.1).

    Step counts from 0 and takes the value at its end, so that the first step already moves.
    """
    done = step + 1
    if done < warmup:
        return peak * done / warmup
    return cosine((done - warmup) / max(1, steps - warmup), start=peak, final=final)


def cosine(progress: float, *, start: float, final: float) -> float:
    """Half a cosine from `start` at progress 0 to `final` at progress 1."""
    return final + (start - final) * 0.5 * (1 + math.cos(math.pi * progress))


def set_rates_(optimiser: Optimizer, *, rate: float, weight_decay: float) -> None:
    """Give every group the learning rate, and the groups that decay the weight decay."""
    for group in optimiser.param_groups:
        group["lr"] = rate
        group["weight_decay"] = weight_decay if group["decays"] else 0.0


def set_schedule_(optimiser: Optimizer, recipe: Pretraining, step: int) -> None:
    """A pre-training step's learning rate and weight decay."""
    rate = warmup_cosine(
        step, steps=recipe.steps, warmup=recipe.warmup_steps, peak=recipe.rate_peak, final=recipe.rate_final
    )
    decay = cosine((step + 1) / recipe.steps, start=recipe.weight_decay[0], final=recipe.weight_decay[1])
    set_rates_(optimiser, rate=rate, weight_decay=decay)
