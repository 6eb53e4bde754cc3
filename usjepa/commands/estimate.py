"""`usjepa estimate`: will this finish?"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from usjepa.commands.run import add_recipe, chosen_recipe

if TYPE_CHECKING:
    import torch

    from usjepa.estimate.plan import Plan


def add_options(estimate: ArgumentParser) -> None:
    """The options of `usjepa estimate`."""
    add_recipe(estimate)
    estimate.add_argument("--data", type=Path, metavar="STORE", help="whose labelled clips to count; else CAMUS's 1000")
    estimate.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where measured runs lie")
    estimate.add_argument("--device", default="auto", help="auto, cpu or cuda")
    estimate.set_defaults(run=print_estimate)


def print_estimate(options: Namespace) -> int:
    """`usjepa estimate NAME`: what will run, FLOPs, memory, traffic, and hours on the device found."""
    from usjepa.baseline import LazyRecipe, UNetRecipe
    from usjepa.data.store import open_store
    from usjepa.errors import InputError
    from usjepa.estimate.plan import CAMUS_CLIPS, plan_of
    from usjepa.estimate.report import describe_start, duration
    from usjepa.estimate.speed import EFFICIENCY
    from usjepa.recipe import AnyRecipe, Published, Untrained, chain
    from usjepa.training.device import choose_device

    recipe, device, clips = chosen_recipe(options), choose_device(options.device), CAMUS_CLIPS
    if isinstance(recipe, LazyRecipe | UNetRecipe):
        raise InputError(f"{options.name}: expected a recipe with a transformer, got {recipe.kind}. Just run it.")
    if options.data is not None:
        clips = sum(entry.is_labelled for entry in open_store(options.data).entries)
    seconds = 0.0
    for one in chain(recipe):
        if isinstance(one, AnyRecipe):
            seconds += print_plan(plan_of(one, clips), options.runs, device)
        elif isinstance(one, Published | Untrained):
            print(describe_start(one))
    print(f"all on {device.type}: about {duration(seconds)}, if a step keeps {EFFICIENCY:.0%} of one product's rate")
    return 0


def print_plan(plan: "Plan", runs: Path, device: "torch.device") -> float:
    """One run's lines, and beside the estimated time what was measured; the estimated seconds."""
    from usjepa.estimate.flops import tokens_of
    from usjepa.estimate.report import describe, duration, scaled, step_seconds
    from usjepa.estimate.speed import EFFICIENCY, product_rate
    from usjepa.recipe import SegmentRecipe
    from usjepa.recipe_file import recipe_hash
    from usjepa.training.runs import Run

    recipe = plan.recipe
    model = recipe.start.model if isinstance(recipe, SegmentRecipe) else recipe.model
    print(*describe(plan, is_half=device.type == "cuda"), sep="\n")
    rate = EFFICIENCY * product_rate(recipe.batch * tokens_of(recipe.clip, model), model.width, device)
    seconds, step_s = plan.flops / rate, plan.step_flops / rate
    print(f"  time: about {duration(seconds)}, {duration(step_s)} a step at {scaled(rate, 'FLOP/s')}")
    run = Run(runs / recipe_hash(recipe), recipe)
    if run.done:
        took_s = run.facts()["seconds"]
        print(f"  measured: {duration(took_s)}, {duration(took_s / recipe.steps)} a step")
    elif (each_s := step_seconds(run.log())) is not None:
        print(f"  measured so far: {duration(each_s)} a step, so {duration(recipe.steps * each_s)} in all")
    return seconds
