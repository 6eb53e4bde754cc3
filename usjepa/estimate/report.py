"""A plan in words and figures."""

from collections.abc import Sequence

import pandas as pd

from usjepa.estimate.flops import tokens_of
from usjepa.estimate.memory import memory, sizes, traffic
from usjepa.estimate.plan import Plan
from usjepa.recipe import Published, SegmentRecipe, Untrained
from usjepa.recipe_file import recipe_hash

TITLES = {"vjepa": "V-JEPA pre-training", "videomae": "VideoMAE pre-training", "segment": "probe and decoder"}
UNITS = ((86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """In the largest unit of which there is one and a half."""
    for length, unit in UNITS:
        if seconds >= 1.5 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{1000 * seconds:.3g} ms"


def scaled(number: float, unit: str) -> str:
    """With three digits and a decimal prefix, as 12 TFLOP or 1.3 GB."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if number < 999.5:
            return f"{number:.3g} {prefix}{unit}"
        number /= 1000
    return f"{number:.3g} E{unit}"


def describe_start(start: Published | Untrained) -> str:
    """What has not to be trained."""
    model = f"ViT of {start.model.depth} blocks, {start.model.width} wide"
    return f"{start.family} weights, published: {model}" if isinstance(start, Published) else f"random start: {model}"


def describe(plan: Plan, *, is_half: bool) -> list[str]:
    """Lines about one run: what it is, tokens, FLOPs by part, memory and traffic; `is_half` is bfloat16 autocast."""
    recipe = plan.recipe
    model = recipe.start.model if isinstance(recipe, SegmentRecipe) else recipe.model
    every = sum(part.parameters for part in sizes(recipe))
    trained = sum(part.trained for part in sizes(recipe))
    steps = f"{recipe.steps} steps of {recipe.batch} clips of {tokens_of(recipe.clip, model)} tokens"
    seen = [f"{family.context.mean():.0f} seen, {family.target.mean():.0f} predicted" for family in plan.families]
    return [
        f"{TITLES[recipe.kind]}, {recipe_hash(recipe)}: {steps}",
        f"  {every / 1e6:.4g} M parameters, {trained / 1e6:.4g} M of them trained",
        *(f"  mask family {k}: {tokens} on average" for k, tokens in enumerate(seen, start=1)),
        *table(plan),
        f"  run: {scaled(plan.flops, 'FLOP')}{extras(plan)}",
        f"  memory: {total_of(memory(recipe, plan.families, is_half=is_half))}",
        f"  moved a step, whatever the batch: {total_of(traffic(recipe, is_half=is_half))}",
    ]


def table(plan: Plan) -> Sequence[str]:
    """FLOPs of a step by part."""
    rows = [
        f"  {part.name:18s} {part.forward / 1e9:10.4g} {part.backward / 1e9:10.4g} "
        f"{(part.forward + part.backward) / plan.step_flops:6.1%}"
        for part in plan.parts
    ]
    return [f"  {'GFLOP a step':18s} {'forward':>10s} {'backward':>10s}  share", *rows]


def extras(plan: Plan) -> str:
    """What of a run's FLOPs is not in its steps."""
    if plan.once_flops:
        return f", {plan.once_flops / plan.flops:.1%} of it for features, computed once"
    return f", {plan.log_flops / plan.flops:.1%} of it for rows of the log" if plan.log_flops else ""


def total_of(kinds: dict[str, float]) -> str:
    """A sum of bytes and its parts."""
    parts = ", ".join(f"{name} {scaled(size, 'B')}" for name, size in kinds.items() if size)
    return f"{scaled(sum(kinds.values()), 'B')} ({parts})"


def step_seconds(log: pd.DataFrame) -> float | None:
    """Median time of a step, rows of the log included, from the log's `seconds`, which start again when a run goes on.

    None for a log that does not tell.
    """
    if "seconds" not in log:
        return None
    took, steps = log["seconds"].diff(), log["step"].diff()
    each = (took / steps)[(took > 0) & (steps > 0)]
    return float(each.median()) if len(each) else None
