"""Are committed results those of the catalogue's recipes, and what the files of the runs say?"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from usjepa.errors import InputError
from usjepa.results.collect import build
from usjepa.results.files import OF_VIDEOS, Results, paths_of, read_results
from usjepa.results.plan import Cell, plan_cells


def planned_cells(plan: str, profile: str, results: Results, seeds: int | None) -> list[Cell]:
    """The cells of a plan with so many seeds, or with as many as its committed results have, at first three."""
    known = 1 + int(results.runs["seed"].astype(int).max()) if len(results.runs) else 3
    return plan_cells(plan, profile, seeds or known)


def check_results(cells: Sequence[Cell], root: Path, folder: Path, plan: str, profile: str) -> list[str]:
    """Everything that is wrong with a plan's committed files, a line each; none if they are in order.

    Runs below `root` are read again; of the others the committed lines are compared with the recipes. Raises InputError
    as `read_results` does.
    """
    paths, committed = paths_of(folder, plan, profile), read_results(folder, plan, profile)
    if committed.runs.empty:
        return [f"{paths[0]}: expected committed results, found none"]
    problems = [f"{paths[0]}: {one}" for one in (*_lost(cells, committed), *_leaks(committed), *_scoreless(committed))]
    problems += [f"{path}: {one}" for path, part in zip(paths, committed, strict=True) for one in _strange(cells, part)]
    if problems:
        return problems
    try:
        rebuilt = build(cells, root, committed)
    except InputError as error:
        return [f"{paths[0]}: {error}"]
    texts = (path.read_bytes().decode() for path in paths)
    return [
        f"{path}: {_difference(text, again)}"
        for path, text, again in zip(paths, texts, rebuilt.texts(), strict=True)
        if text != again
    ]


def _lost(cells: Sequence[Cell], committed: Results) -> list[str]:
    known = set(committed.runs["recipe"])
    return [f"{cell.label} ({cell.hash}): expected a row, found none" for cell in cells if cell.hash not in known]


def _strange(cells: Sequence[Cell], part: pd.DataFrame) -> list[str]:
    """Rows whose recipe is no cell's, or another cell's than they say."""
    named = {cell.hash: f"{cell.name}, seed {cell.seed}, fraction {cell.fraction:g}" for cell in cells}
    said = part["row"] + ", seed " + part["seed"] + ", fraction " + part["fraction"]
    rows = dict.fromkeys(zip(said, part["recipe"], strict=True))
    return [
        f"{row} ({recipe}): expected {named.get(recipe, 'a recipe of the catalogue, which has none of this hash')}"
        for row, recipe in rows
        if named.get(recipe) != row
    ]


def _scoreless(committed: Results) -> list[str]:
    """Runs that are done and have no scores or fewer than others, or have some and are not done."""
    done = set(committed.runs.loc[committed.runs["status"] == "done", "recipe"])
    lines = [part["recipe"].value_counts() for part in (committed.scores, committed.videos)]
    wrong = [(done ^ set(some.index)) | set(some.index[some < some.max()]) for some in lines]
    return [
        f"recipe {one}: expected scores of every run that is done, as many of each, and of no other"
        for some in wrong
        for one in sorted(some)
    ]


def _leaks(committed: Results) -> list[str]:
    """Patients in two splits."""
    videos = pd.DataFrame([name.split("|") for name in committed.videos.columns[len(OF_VIDEOS) :]])
    if videos.empty:
        return []
    splits = videos.groupby(1)[0].agg(lambda of: sorted(set(of)))
    return [
        f"{patient}: expected one split, got {' and '.join(some)}" for patient, some in splits.items() if len(some) > 1
    ]


def _difference(text: str, again: str) -> str:
    """The first line that differs."""
    old, new = text.splitlines(keepends=True), again.splitlines(keepends=True)
    for number, (one, other) in enumerate(zip(old, new, strict=False), start=1):
        if one != other:
            return f"line {number}: got {one[:120].strip()!r}, the runs give {other[:120].strip()!r}"
    return f"expected {len(new)} lines, got {len(old)}"
