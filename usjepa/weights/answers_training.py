"""What our optimiser, teacher and schedules answer to V-JEPA's own training steps and schedules."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from usjepa.model.teacher import ema_momentum, ema_update_
from usjepa.training.device import adamw
from usjepa.training.schedules import cosine, set_rates_, warmup_cosine
from usjepa.weights.answers_vjepa import Case
from usjepa.weights.known import (
    SCHEDULES,
    TRAINED_KEY_BIAS,
    TRAINED_LOSSES,
    TRAINED_WEIGHTS,
    Answer,
    Known,
    called,
)

# The official steps are the first of 4 x 6 iterations, whose schedules are stretched by 1.25 (the fixtures' README).
MOMENTUM_STEPS = 30
MOMENTUM = (0.998, 1.0)


def training_answers(known: Known, case: Case) -> Iterator[Answer]:
    """As many steps as the file has, if any, at the official rates. The networks are changed."""
    if "train/loss_lr_wd_per_step" not in known.values:
        return
    optimiser = adamw(case.encoder, case.predictor)
    for step, row in enumerate(known.tensor("train/loss_lr_wd_per_step")):
        loss, (official, rate, decay) = case.loss(), row
        yield Answer(f"train/loss_of_step_{step + 1}", loss.detach(), official, TRAINED_LOSSES)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        set_rates_(optimiser, rate=rate.item(), weight_decay=decay.item())
        optimiser.step()
        ema_update_(case.teacher, case.encoder, ema_momentum(step, MOMENTUM_STEPS, *MOMENTUM))
        yield from _weights(known, case, f"train/after_step_{step + 1}/")


def _weights(known: Known, case: Case, prefix: str) -> Iterator[Answer]:
    """The weights after a step that the file has; of a large matrix it has the first rows only."""
    networks = {"encoder": case.encoder, "target_encoder": case.teacher, "predictor": case.predictor}
    for part, network in networks.items():
        moved = dict(network.named_parameters())
        for name in known.below(f"{prefix}{part}."):
            full, ours = f"{prefix}{part}.{name}", name.removeprefix("predictor_")
            theirs = known.tensor(full)
            weight = called(ours, moved, f"{known.path}: {full}")[: len(theirs)].clone()
            if name.endswith("qkv.bias"):
                yield from _thirds(full, weight, theirs)
            else:
                yield Answer(full, weight, theirs, TRAINED_WEIGHTS)


def _thirds(name: str, ours: Float[Tensor, " k"], theirs: Float[Tensor, " k"]) -> Iterator[Answer]:
    """A key's bias has no gradient but rounding noise, which AdamW blows up."""
    tolerances = {"query": TRAINED_WEIGHTS, "key": TRAINED_KEY_BIAS, "value": TRAINED_WEIGHTS}
    for (third, tolerance), mine, other in zip(tolerances.items(), ours.chunk(3), theirs.chunk(3), strict=True):
        yield Answer(f"{name} ({third})", mine, other, tolerance)


def schedule_answers(known: Known) -> Iterator[Answer]:
    """The official schedules by our functions: their warm-up from above 0 is ours from 0, moved up."""
    for name in known.below("schedule/"):
        if name.endswith("/step"):
            yield from _schedule(known, f"schedule/{name.removesuffix('step')}")


def _schedule(known: Known, prefix: str) -> Iterator[Answer]:
    settings = ("start_lr", "lr", "final_lr", "weight_decay", "final_weight_decay", "ipe_scale")
    start, peak, final, decay, final_decay, stretch = (known.tensor(f"{prefix}{one}").item() for one in settings)
    ipe, warmup = known.whole(f"{prefix}ipe"), known.whole(f"{prefix}warmup_epochs")
    steps, momentum = int(ipe * known.whole(f"{prefix}epochs") * stretch), known.tensor(f"{prefix}ema").tolist()
    at = known.tensor(f"{prefix}step").long().tolist()
    raised = {"steps": steps, "warmup": warmup * ipe}
    ours = {
        "lr": [start + warmup_cosine(k, **raised, peak=peak - start, final=final - start) for k in at],
        "wd": [cosine((k + 1) / steps, start=decay, final=final_decay) for k in at],
        "momentum": [ema_momentum(k, steps, *momentum) for k in at],
    }
    for name, values in ours.items():
        theirs = known.tensor(f"{prefix}{name}_values")
        yield Answer(f"{prefix}{name}_values", torch.tensor(values, dtype=torch.float64), theirs, SCHEDULES)
