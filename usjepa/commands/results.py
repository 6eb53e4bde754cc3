"""`usjepa results`: the runs of whole tables, and the files and tables that come of them."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from usjepa.errors import InputError
from usjepa.results.plan import PLANS

if TYPE_CHECKING:
    from usjepa.results.files import Results
    from usjepa.results.plan import Cell


def add_verbs(results: ArgumentParser) -> None:
    """The verbs below `usjepa results`."""
    verbs = results.add_subparsers(required=True, metavar="VERB")
    run = verbs.add_parser("run", help="run what is missing of a table, beside any number of other processes")
    run.add_argument("name", metavar="NAME", help=f"one of {', '.join(PLANS)}")
    run.add_argument("--data", type=Path, required=True, metavar="STORE")
    run.add_argument("--only", nargs="+", default=[], metavar="ROW", help="these rows alone")
    run.add_argument("--seeds", type=int, default=3, metavar="N")
    run.add_argument("--beyond", type=Path, metavar="DIR", help="leave out runs that these results already have")
    run.add_argument("--weights", type=Path, action="append", default=[], metavar="FILE", help="published weights")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda")
    run.add_argument("--retry", action="store_true", help="try again what failed before")
    run.set_defaults(run=run_plan)
    table = verbs.add_parser("table", help="write results as CSV files and print them, or check those that are there")
    table.add_argument("names", nargs="*", default=list(PLANS), metavar="NAME", help=f"of {', '.join(PLANS)}; or all")
    table.add_argument("--out", type=Path, default=Path("results"), metavar="DIR")
    table.add_argument("--seeds", type=int, default=None, metavar="N", help="as many as in the files, or 3")
    table.add_argument("--check", action="store_true", help="write nothing; say what is wrong with the files")
    table.set_defaults(run=make_tables)
    pictures = verbs.add_parser("pictures", help="draw what the runs of table2 look like: outlines, worst videos, EF")
    pictures.add_argument("--data", type=Path, required=True, metavar="STORE")
    pictures.add_argument("--out", type=Path, default=Path("pictures"), metavar="DIR")
    pictures.set_defaults(run=draw_pictures)
    for verb in (run, table, pictures):
        verb.add_argument("--profile", default="tiny", help="tiny, small or paper")
        verb.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")


def run_plan(options: Namespace) -> int:
    """`usjepa results run NAME`: exit code 1 if a run failed."""
    import sys

    from usjepa.data.store import open_store
    from usjepa.results.files import read_results
    from usjepa.results.plan import plan_cells
    from usjepa.results.sweep import sweep
    from usjepa.training.device import choose_device
    from usjepa.training.workspace import Workspace

    cells = plan_cells(options.name, options.profile, options.seeds)
    rows = {cell.name for cell in cells}
    if strange := sorted(set(options.only) - rows):
        raise InputError(f"--only: expected rows of {options.name}, got {', '.join(strange)}. It has {sorted(rows)}.")
    workspace = Workspace(
        open_store(options.data),
        options.runs,
        choose_device(options.device),
        weights=tuple(options.weights),
        shows_progress=sys.stderr.isatty(),
    )
    chosen = [cell for cell in cells if not options.only or cell.name in options.only]
    if options.beyond:
        runs = read_results(options.beyond, options.name, options.profile).runs
        known = set(runs.loc[runs["status"] == "done", "recipe"])
        chosen = [cell for cell in chosen if cell.hash not in known]
    failed = sweep(chosen, workspace, retries=options.retry)
    advice = ": see failed.json in their folders, and try them again with --retry" if failed else ""
    print(f"{len(chosen) - len(failed)} of {len(chosen)} done, {len(failed)} failed{advice}")
    return 1 if failed else 0


def make_tables(options: Namespace) -> int:
    """`usjepa results table`: exit code 1 if a check found something wrong."""
    from usjepa.results.check import check_results, planned_cells
    from usjepa.results.files import read_results
    from usjepa.results.ledger import check_ledger, write_ledger

    problems: list[str] = []
    for name in options.names:
        committed = read_results(options.out, name, options.profile)
        cells = planned_cells(name, options.profile, committed, options.seeds)
        if options.check:
            problems += check_results(cells, options.runs, options.out, name, options.profile)
        else:
            make_table(name, cells, committed, options)
    if options.check:
        problems += check_ledger(options.out, options.profile)
        print("\n".join(problems) or "in order")
    else:
        print(write_ledger(options.out, options.profile))
    return 1 if problems else 0


def make_table(name: str, cells: "list[Cell]", committed: "Results", options: Namespace) -> None:
    """Write the files of one plan and print its table."""
    from usjepa.results.collect import build
    from usjepa.results.comparisons import comparisons
    from usjepa.results.files import write_results
    from usjepa.results.table import COMPARED, split_of, table

    results = build(cells, options.runs, committed)
    paths = write_results(results, options.out, name, options.profile)
    split = split_of(name)
    print(*paths, sep="\n")
    if left := set(committed.runs["recipe"]) - {cell.hash for cell in cells}:
        print(f"left out, since the plan has no such recipe any more: {', '.join(sorted(left))}")
    print(
        f"{name}, {options.profile}: DSC over structures of {split} patients; mean over seeds ± SD (SD over patients)"
    )
    print(table(results, split).to_string(), end="\n\n")
    if name == "table2":
        family = comparisons(results, split)[COMPARED]
        print(family.to_string(index=False, na_rep="-", float_format="{:.3g}".format), end="\n\n")


def draw_pictures(options: Namespace) -> int:
    """`usjepa results pictures`."""
    from usjepa.data.store import open_store
    from usjepa.results.pictures import finished, pictures, write_pictures

    store = open_store(options.data)
    made = pictures(finished(options.profile, options.runs, store), store)
    print(*write_pictures(made, options.out, options.profile), sep="\n")
    return 0
