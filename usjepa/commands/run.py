"""`usjepa run`: one row of a table from nothing."""

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

from usjepa.recipe import AnyRun


def add_options(run: ArgumentParser) -> None:
    """The options of `usjepa run`."""
    add_recipe(run)
    run.add_argument("--data", type=Path, required=True, metavar="STORE")
    run.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    run.add_argument("--weights", type=Path, action="append", default=[], metavar="FILE", help="published weights")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda")
    run.add_argument("--compile", action="store_true", help="compile the transformer's blocks first: slow, then faster")
    run.add_argument("--no-cache", action="store_true", help="run a frozen encoder at every step, to the same numbers")
    run.set_defaults(run=run_recipe)


def add_recipe(verb: ArgumentParser) -> None:
    """The arguments that name a recipe, read by `chosen_recipe`."""
    from usjepa.catalogue import BASELINES, NAMES

    known = ", ".join((*BASELINES, *NAMES))
    verb.add_argument("name", metavar="NAME", help=f"a JSON file that holds a recipe, or one of {known}")
    verb.add_argument("--profile", default="tiny", help="tiny, small or paper")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--fraction", type=float, default=1.0, help="share of the labelled patients: 1, 0.5, 0.2 or 0.1")
    verb.add_argument("--draw", type=int, default=0, help="which draw of these patients; tables take the seed's number")


def chosen_recipe(options: Namespace) -> AnyRun:
    """The recipe that the arguments of `add_recipe` name."""
    from usjepa.catalogue import BASELINES, named_baseline, named_recipe
    from usjepa.recipe_file import read_recipe

    if options.name.endswith(".json"):
        return read_recipe(Path(options.name))
    named = named_baseline if options.name in BASELINES else named_recipe
    return named(options.name, options.profile, seed=options.seed, fraction=options.fraction, draw=options.draw)


def run_recipe(options: Namespace) -> int:
    """`usjepa run NAME`: what is done is read, what is missing is run; several processes share pre-training."""
    from usjepa.data.store import open_store
    from usjepa.evaluation.metrics import summary
    from usjepa.results.failures import instability_recorded
    from usjepa.training.device import choose_device
    from usjepa.training.experiment import run, share
    from usjepa.training.workspace import Workspace
    from usjepa.training.world import joined

    device = choose_device(options.device)
    with joined(device) as world:
        recipe = chosen_recipe(options)
        workspace = Workspace(
            open_store(options.data),
            options.runs,
            device,
            weights=tuple(options.weights),
            compiles=options.compile,
            caches=not options.no_cache,
        )
        shared = replace(workspace, world=world)
        with instability_recorded(recipe, shared):
            share(recipe, shared)
    if world.is_first:
        with instability_recorded(recipe, workspace):
            finished = run(recipe, workspace)
        print(finished.folder)
        if finished.has_table:
            table = finished.table()
            print(summary(table[table["split"] == "test"]).to_string(float_format="{:.3f}".format))
    return 0
