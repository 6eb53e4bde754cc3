"""`usjepa notebooks`: run, check or vary the book's notebooks."""

import argparse
from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_verbs(notebooks: ArgumentParser) -> None:
    """The verbs below `usjepa notebooks`."""
    verbs = notebooks.add_subparsers(required=True, metavar="VERB")
    run = verbs.add_parser("run", help="run notebooks, in place or to a folder, and store them normalised")
    run.add_argument("notebooks", type=Path, nargs="+", metavar="NOTEBOOK")
    run.add_argument("--out", type=Path, metavar="DIR", help="leave the originals untouched and write here")
    run.add_argument("--times", type=Path, default=Path("_build/notebook-times.json"), metavar="FILE")
    run.set_defaults(run=run_notebooks)
    check = verbs.add_parser("check", help="say what is wrong or stale, without running anything")
    check.add_argument("notebooks", type=Path, nargs="+", metavar="NOTEBOOK")
    check.set_defaults(run=check_notebooks)
    batch = verbs.add_parser("batch", help="run one notebook with other parameters, once a combination, and tabulate")
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
    """`usjepa notebooks batch NOTEBOOK --out DIR -p seed=0 -p seed=1`."""
    from usjepa.notebooks import batch

    print(batch(options.notebook, options.out, options.parameters))
    return 0


def write_picture(options: Namespace) -> int:
    """`usjepa notebooks picture NOTEBOOK CELL FILE`."""
    from usjepa.notebooks import picture, read_notebook

    options.file.write_bytes(picture(read_notebook(options.notebook), options.cell))
    return 0
