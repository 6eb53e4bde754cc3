"""The command `usjepa`: each verb is one function, and what a user got wrong is printed without a traceback."""

import argparse
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from usjepa.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code: 1 if a check failed, 2 for wrong input, 130 for Ctrl-C, else 0."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (InputError, FloatingPointError) as error:
        print(f"usjepa: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nusjepa: stopped. Given again, pre-training goes on and the rest starts over.", file=sys.stderr)
        return 130


def parser() -> ArgumentParser:
    """All verbs with their options; each sets `run` to its function."""
    top = ArgumentParser(prog="usjepa", description="Self-supervised ultrasound video (arXiv 2507.18424).")
    verbs = top.add_subparsers(required=True, metavar="VERB")
    _data_verbs(verbs.add_parser("data", help="make a phantom, prepare data for training"))
    _run_verb(verbs.add_parser("run", help="pre-train, freeze, train the probe, print the scores"))
    _notebook_verbs(verbs.add_parser("notebooks", help="run, check or vary the book's notebooks"))
    return top


def _data_verbs(data: ArgumentParser) -> None:
    verbs = data.add_subparsers(required=True, metavar="VERB")
    phantom = verbs.add_parser("phantom", help="write a phantom as a CAMUS tree")
    phantom.add_argument("folder", type=Path, metavar="DIR")
    phantom.add_argument("--patients", type=int, default=40)
    phantom.add_argument("--seed", type=int, default=0)
    phantom.add_argument("--rows", type=int, default=None, help="image rows; CAMUS's own 0.308 mm pixels if left out")
    phantom.set_defaults(run=write_phantom)
    scenes = verbs.add_parser("scenes", help="render moving speckle that is no heart into a store")
    scenes.add_argument("store", type=Path, metavar="STORE")
    scenes.add_argument("--number", type=int, default=200)
    scenes.add_argument("--size", type=int, default=224, help="side of the square frames in pixels")
    scenes.set_defaults(run=write_scenes)
    prepare = verbs.add_parser("prepare", help="read CAMUS, EchoNet-Dynamic or your own videos into a store")
    prepare.add_argument("source", type=Path, metavar="SOURCE", help="the folder of any of these, or one video")
    prepare.add_argument("store", type=Path, metavar="STORE")
    prepare.add_argument("--size", type=int, default=224, help="side of the square frames in pixels")
    prepare.set_defaults(run=prepare_store)
    check = verbs.add_parser("check", help="read a whole CAMUS tree and say all that is wrong with it")
    check.add_argument("folder", type=Path, metavar="DIR")
    check.set_defaults(run=check_data)
    report = verbs.add_parser("report", help="say what a CAMUS tree is made of")
    report.add_argument("folder", type=Path, metavar="DIR")
    report.add_argument("--figure", type=Path, metavar="FILE", help="write histograms to this PNG file")
    report.set_defaults(run=report_data)


def _run_verb(run: ArgumentParser) -> None:
    run.add_argument("name", metavar="NAME", help="a recipe of the catalogue, or a JSON file that holds one")
    run.add_argument("--profile", default="tiny", help="tiny or paper")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--data", type=Path, required=True, metavar="STORE")
    run.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda")
    run.set_defaults(run=run_recipe)


def _notebook_verbs(notebooks: ArgumentParser) -> None:
    verbs = notebooks.add_subparsers(required=True, metavar="VERB")
    run = verbs.add_parser("run", help="run notebooks, in place or to a folder, and store them normalised")
    run.add_argument("notebooks", type=Path, nargs="+", metavar="NOTEBOOK")
    run.add_argument("--out", type=Path, metavar="DIR", help="leave the originals untouched and write here")
    run.add_argument("--times", type=Path, default=Path("_build/notebook-times.json"), metavar="FILE")
    run.set_defaults(run=run_notebooks)
    check = verbs.add_parser("check", help="say what is wrong or stale, without running anything")
    check.add_argument("notebooks", type=Path, nargs="+", metavar="NOTEBOOK")
    check.set_defaults(run=check_notebooks)
    batch = verbs.add_parser("batch", help="run one notebook with other parameters")
    batch.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    batch.add_argument("--out", type=Path, required=True, metavar="DIR")
    batch.add_argument("-p", dest="parameters", type=_assignment, action="append", default=[], metavar="NAME=VALUE")
    batch.set_defaults(run=batch_notebook)
    picture = verbs.add_parser("picture", help="write the stored picture of one cell to a PNG file")
    picture.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    picture.add_argument("cell", metavar="CELL", help="the cell's id")
    picture.add_argument("file", type=Path, metavar="FILE")
    picture.set_defaults(run=write_picture)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def write_phantom(options: Namespace) -> int:
    """`usjepa data phantom DIR`."""
    from usjepa.data.phantom import PhantomRecipe, write_phantom

    recipe = PhantomRecipe(patients=options.patients, seed=options.seed, rows=options.rows)
    print(write_phantom(recipe, options.folder))
    return 0


def write_scenes(options: Namespace) -> int:
    """`usjepa data scenes STORE`."""
    from usjepa.data.phantom import SceneRecipe, write_scenes

    print(write_scenes(SceneRecipe(number=options.number, rows=options.size), options.store, options.size).folder)
    return 0


def prepare_store(options: Namespace) -> int:
    """`usjepa data prepare SOURCE STORE`."""
    from usjepa.data.archive import unpacked
    from usjepa.data.prepare import prepare
    from usjepa.data.sources import read_source

    with unpacked(options.source, options.store) as source:
        store = prepare(read_source(source), options.store, options.size)
    print(f"{store.folder}: {len(store.entries)} sequences, {len(store.frames)} frames of {store.size_px} px")
    return 0


def check_data(options: Namespace) -> int:
    """`usjepa data check DIR`."""
    from usjepa.data.check import print_check

    return print_check(options.folder)


def report_data(options: Namespace) -> int:
    """`usjepa data report DIR --figure FILE`."""
    from usjepa.data.report import INTERPOLATED_BELOW, describe_camus, summarise
    from usjepa.present.report import write_figure

    sequences = describe_camus(options.folder)
    print(summarise(sequences).to_string())
    if options.figure is not None:
        print(write_figure(sequences, INTERPOLATED_BELOW, options.figure))
    return 0


def run_recipe(options: Namespace) -> int:
    """`usjepa run NAME`: what is done is read, what is missing is run."""
    from usjepa.catalogue import named_recipe
    from usjepa.data.store import open_store
    from usjepa.recipe_file import read_recipe
    from usjepa.training.device import choose_device
    from usjepa.training.experiment import run

    is_file = options.name.endswith(".json")
    chosen = (
        read_recipe(Path(options.name)) if is_file else named_recipe(options.name, options.profile, seed=options.seed)
    )
    finished = run(chosen, open_store(options.data), options.runs, choose_device(options.device))
    print(finished.folder)
    if finished.has_table:
        from usjepa.evaluation.metrics import summary

        print(summary(finished.table()).to_string(float_format="{:.3f}".format))
    return 0


def run_notebooks(options: Namespace) -> int:
    """`usjepa notebooks run`."""
    from usjepa.notebooks import run_notebooks

    run_notebooks(options.notebooks, out=options.out, times=options.times)
    return 0


def check_notebooks(options: Namespace) -> int:
    """`usjepa notebooks check`."""
    from usjepa.notebooks import check_notebooks

    problems = check_notebooks(options.notebooks)
    print("\n".join(problems) if problems else f"{len(options.notebooks)} notebook(s) in order")
    return 1 if problems else 0


def batch_notebook(options: Namespace) -> int:
    """`usjepa notebooks batch NOTEBOOK --out DIR -p name=value`."""
    from usjepa.notebooks import batch

    print(batch(options.notebook, options.out, dict(options.parameters)))
    return 0


def write_picture(options: Namespace) -> int:
    """`usjepa notebooks picture NOTEBOOK CELL FILE`."""
    from usjepa.notebooks import picture, read_notebook

    options.file.write_bytes(picture(read_notebook(options.notebook), options.cell))
    return 0
