"""Who is in which split: the lists that come with CAMUS, in both releases.

The NIfTI release has three lists (400, 50 and 50 patients), the older MHD release ten folds of three in
`listSubGroups`; both name a patient a line.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

from usjepa.data.layout import MARKER, PATIENT, Tree
from usjepa.errors import InputError

LISTS = {"subgroup_training.txt": "train", "subgroup_validation.txt": "validation", "subgroup_testing.txt": "test"}
OFFICIAL_SIZES = {"train": 400, "validation": 50, "test": 50}
FOLDS = 10
FOLDERS = {"training": "train", "testing": "test"}
"""The older release's two folders, for copies that came without its lists."""


class Splits(NamedTuple):
    """Patient to split, everything that is wrong with the lists, and what is merely unusual."""

    of: dict[str, str]
    problems: tuple[InputError, ...]
    notes: tuple[str, ...]


def read_splits(tree: Tree, fold: int = 1) -> dict[str, str]:
    """Patient to split; warns once of unusual sizes. Raises InputError for the first thing wrong with the lists."""
    splits = scan_splits(tree, fold)
    if splits.problems:
        raise splits.problems[0]
    for note in splits.notes:
        warnings.warn(note, stacklevel=3)
    return splits.of


def scan_splits(tree: Tree, fold: int = 1) -> Splits:
    """As `read_splits`, but with all problems collected. Raises InputError for a fold outside 1 to 10."""
    if not 1 <= fold <= FOLDS:
        raise InputError(f"fold: expected 1 to {FOLDS}, got {fold}. Choose one of these.")
    official, folds = tree.home.parent / "database_split", tree.lists
    if folds is not None:
        parts = ("training", "train"), ("validation", "validation"), ("testing", "test")
        return _scan({folds / f"subGroup{fold}_{part}.txt": split for part, split in parts})
    if not official.is_dir() and tree.is_parted:
        # The older release kept the labels of testing/ to itself; what has none is in no split.
        folders = {name: folder for name, folder in tree.folders.items() if any(folder.glob("*_gt.mhd"))}
        found = {name: FOLDERS[folder.parent.name] for name, folder in folders.items()}
        note = f"{tree.home.name}: expected lists of patients, found none: training/ and testing/ are the splits"
        return Splits(found, (), (note,))
    splits = _scan({official / name: split for name, split in LISTS.items()})
    sizes = {split: list(splits.of.values()).count(split) for split in OFFICIAL_SIZES}
    if splits.problems or sizes == OFFICIAL_SIZES or (tree.home.parent / MARKER).is_file():
        return splits
    expected, got = (", ".join(f"{count} {split}" for split, count in part.items()) for part in (OFFICIAL_SIZES, sizes))
    note = f"{official.name}: expected the official {expected}, got {got}: scores compare with no published ones"
    return splits._replace(notes=(note,))


def _scan(files: dict[Path, str]) -> Splits:
    """Read lists of names, a later mention of a patient being a problem."""
    lists: dict[str, str] = {}
    splits: dict[str, str] = {}
    problems: list[InputError] = []
    for path, split in files.items():
        if not path.is_file():
            message = "expected a list of patients, found none. It comes with CAMUS; copy it there."
            problems.append(InputError(f"{path}: {message}"))
            continue
        # A byte that is no text can't be part of a name, so that it is reported as a wrong name.
        for patient in path.read_text(encoding="utf-8-sig", errors="replace").split():
            if not PATIENT.fullmatch(patient):
                message = f"expected names as patient0001, got {patient!r}. Correct the list."
                problems.append(InputError(f"{path.name}: {message}"))
            elif patient in splits:
                both = " and ".join(sorted({lists[patient], path.name}))
                message = f"expected in one list once, got it again: {both}. Correct them."
                problems.append(InputError(f"{patient}: {message}"))
            else:
                splits[patient], lists[patient] = split, path.name
    return Splits(splits, tuple(problems), ())
