"""The command `usjepa`: what a user got wrong is printed without a traceback."""

import signal
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from usjepa.commands import data, estimate, infer, notebooks, results, run, weights
from usjepa.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 1 if a check failed, 2 for wrong input, 130 and 143 if stopped, else 0."""
    options = parser().parse_args(arguments)
    earlier = signal.signal(signal.SIGTERM, _stop)
    try:
        return int(options.run(options))
    except (InputError, FloatingPointError) as error:
        print(f"usjepa: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        told = "Give the same command again to go on: a run goes on from its last checkpoint."
        print(f"\nusjepa: stopped. {told}", file=sys.stderr)
        return 128 + int(stop.args[0] if stop.args else signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM, which batch systems send before they kill, ends a command as Ctrl-C (SIGINT) does."""
    raise KeyboardInterrupt(number)


def parser() -> ArgumentParser:
    """All verbs with their options; each sets `run` to its function."""
    top = ArgumentParser(prog="usjepa", description="Self-supervised ultrasound video (arXiv 2507.18424).")
    verbs = top.add_subparsers(required=True, metavar="VERB")
    data.add_verbs(verbs.add_parser("data", help="make a phantom, prepare data for training"))
    run.add_options(verbs.add_parser("run", help="pre-train, freeze, train the probe, print the scores"))
    estimate.add_options(verbs.add_parser("estimate", help="say what a recipe will run, and how long it will take"))
    results.add_verbs(verbs.add_parser("results", help="run whole tables, and make their files from the runs"))
    infer.add_encode(verbs.add_parser("encode", help="write the features that weights give of any film"))
    infer.add_segment(verbs.add_parser("segment", help="write a finished run's masks of any film"))
    weights.add_verbs(verbs.add_parser("weights", help="describe, fetch, verify and export weights"))
    notebooks.add_verbs(verbs.add_parser("notebooks", help="run, check or vary the book's notebooks"))
    return top
