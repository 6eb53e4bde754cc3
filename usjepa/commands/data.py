"""`usjepa data`: make a phantom, prepare, check and describe data."""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_verbs(data: ArgumentParser) -> None:
    """The verbs below `usjepa data`."""
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
