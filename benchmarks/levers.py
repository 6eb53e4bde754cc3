"""Each way to make a step faster, alone: without and with it in turns, beside what arithmetic promises of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from ours import OurStep, flops_of, in_buckets, new_step, shapes_of
from published import PublishedStep, loop_ema_, losses, statistics
from timing import Pair, now_s, paired

from usjepa.model.teacher import ema_update_
from usjepa.training.device import autocast


@dataclass(frozen=True)
class Lever:
    """Milliseconds without and with it, their ratio, the ratio promised, and what that makes of a whole step."""

    name: str
    without_ms: float
    with_ms: float
    ratio: float
    predicted: float
    step_gain: float


def measure_levers(ours: OurStep, theirs: PublishedStep, repeats: int, step_ms: float) -> Iterator[Lever]:
    """All levers but compiling; `step_ms` is our whole step, from which a gain is reckoned."""
    for name, before, after, predicted in updates(ours, theirs):
        yield lever(name, paired(before, after, 4 * repeats, ours.device), predicted, step_ms)
    for make in (frozen_blocks, buckets, fused_attention, bfloat16):
        name, before, after, predicted = make(ours)
        yield lever(name, paired(before, after, repeats, ours.device), predicted, step_ms)


def lever(name: str, pair: Pair, predicted: float, step_ms: float) -> Lever:
    gain = (step_ms + pair.before_ms - pair.after_ms) / step_ms
    return Lever(name, pair.before_ms, pair.after_ms, pair.ratio, predicted, gain)


Choice = tuple[str, Callable[[], object], Callable[[], object], float]


def updates(ours: OurStep, theirs: PublishedStep) -> list[Choice]:
    """What comes after the gradients; promised by the bytes that each way moves a parameter.

    AdamW in ten passes 80, fused 28. EMA in three passes 28, in one 12. Clipping 12; statistics 4 of the gradient and
    12 of each moment's mean size, which the guard does without.
    """
    networks, jepa = theirs.networks, ours.jepa
    loop, together = (loop_ema_, networks.teacher, networks.encoder), (ema_update_, jepa.teacher, jepa.encoder)
    loss = torch.zeros((), device=ours.device)
    # Both have gradients to work on.
    losses(networks, ours.clip, ours.draws.masks)[0].backward()
    both_ways(ours)
    return [
        ("AdamW fused", theirs.optimiser.step, ours.update, 80 / 28),
        ("EMA of all tensors at once", partial(*loop, 0.998), partial(*together, 0.998), 28 / 12),
        ("a guard, no statistics", partial(measured, ours, theirs, loss), partial(ours.watch, loss), 40 / 12),
    ]


def measured(ours: OurStep, theirs: PublishedStep, loss: torch.Tensor) -> None:
    """The published numbers for the log, after the same clipping."""
    ours.watch(loss)
    statistics(theirs.networks, theirs.optimiser)


def frozen_blocks(ours: OurStep) -> Choice:
    """Half of the encoder frozen: gradients computed and thrown away, or not computed."""
    recipe = ours.jepa.recipe
    half = new_step(replace(recipe, frozen_blocks=recipe.model.depth // 2), ours.device)
    name = f"no backward through {recipe.model.depth // 2} frozen blocks"
    return name, partial(both_ways, ours), partial(both_ways, half), flops_of(ours) / flops_of(half)


def buckets(ours: OurStep) -> Choice:
    """Counts cut to multiples of four places of the frame: few shapes, so that compiled code is used again."""
    recipe = in_buckets(ours.jepa.recipe, 4 * ours.jepa.encoder.grid.t)
    step = new_step(recipe, ours.device)
    name = f"counts in buckets ({shapes_of(ours.jepa.recipe)} -> {shapes_of(recipe)} shapes in 100 steps)"
    return name, partial(both_ways, ours), partial(both_ways, step), flops_of(ours) / flops_of(step)


def fused_attention(ours: OurStep) -> Choice:
    """Attention in one call, or its two products and softmax: ten passes over scores that one call never stores."""
    recipe, grid = ours.jepa.recipe, ours.jepa.encoder.grid
    written_out = new_step(recipe, ours.device)
    for part in written_out.jepa.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False
    model, squares = recipe.model, [(grid.n**2, recipe.model.depth, 3)]
    for mask in ours.draws.masks:
        seen, hidden = (index.shape[1] for index in mask)
        squares += [(seen**2, model.depth, 10), ((seen + hidden) ** 2, model.predictor_depth, 10)]
    number_bytes = 2 if ours.device.type == "cuda" else 4
    moved = (
        number_bytes * recipe.batch * model.heads * sum(square * depth * passes for square, depth, passes in squares)
    )
    fused = partial(both_ways, ours)
    fused()
    start = now_s(ours.device)
    fused()
    promise = 1 + moved / bandwidth(ours.device) / (now_s(ours.device) - start)
    return "attention in one call", partial(both_ways, written_out), fused, promise


def bfloat16(ours: OurStep) -> Choice:
    """float32 or bfloat16 autocast; promised by one large product in both, on matrices already cast."""
    width = ours.jepa.recipe.model.width
    left, right = (torch.ones(rows, 4 * width, device=ours.device) for rows in (1024, width))
    full, half = (partial(torch.mm, left.to(to), right.T.to(to)) for to in (torch.float32, torch.bfloat16))
    promise = paired(full, half, 5, ours.device).ratio
    return "bfloat16 autocast", partial(both_ways, ours, False), partial(both_ways, ours, True), promise


def both_ways(step: OurStep, is_half: bool | None = None) -> None:
    """Forward and backward of one batch, by bfloat16 autocast if told so, else as in training."""
    kind, training = step.device.type, autocast(step.device)
    told = training if is_half is None else torch.autocast(kind, dtype=torch.bfloat16, enabled=is_half)
    with told:
        loss = step.jepa(step.clip, step.draws).combined
    step.optimiser.zero_grad()
    loss.backward()


def bandwidth(device: torch.device) -> float:
    """Bytes a second read and written by a copy that no cache holds."""
    source = torch.ones(32 * 2**20, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    start = now_s(device)
    target.copy_(source)
    return 2 * source.nbytes / (now_s(device) - start)
