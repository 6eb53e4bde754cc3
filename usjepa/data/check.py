"""Every file of a CAMUS tree read, and all that is wrong with it in one table: file, expected, got, what to do."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from tqdm import tqdm

from usjepa.data.camus import read_image, require_length, require_same
from usjepa.data.layout import VIEWS, find_image, find_info, find_tree
from usjepa.data.lists import scan_splits
from usjepa.data.pixels import StoredImage, to_frames, to_labels
from usjepa.data.problems import Problem, absurd_facts, as_problem, odd_labels, other_pixels, strangers
from usjepa.errors import InputError

T = TypeVar("T")


class Checked(NamedTuple):
    """What was read, what is wrong with it, and what is merely unusual."""

    patients: int
    sequences: int
    frames: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def table(self) -> pd.DataFrame:
        """The problems, a row each, with columns file, expected, got, what to do."""
        return pd.DataFrame(self.problems, columns=["file", "expected", "got", "what to do"])

    def summary(self) -> str:
        """Counts in a line."""
        found = f"{len(self.problems)} problems" if self.problems else "no problem found"
        return f"{self.patients} patients, {self.sequences} half sequences, {self.frames} frames: {found}"


class Part(NamedTuple):
    """One image or label file of a view, as stored and as exact integers."""

    path: Path
    stored: StoredImage
    pixels: UInt8[np.ndarray, "T H W"]


def check_camus(root: Path) -> Checked:
    """Read lists, cfg files, half sequences, labels and stills of either release. Raises InputError without a tree."""
    tree = find_tree(root)
    splits = scan_splits(tree)
    problems = [as_problem(error) for error in splits.problems]
    if splits.of:
        action = "Add it to one list; it isn't read."
        unlisted = sorted(tree.folders.keys() - splits.of.keys())
        problems += [Problem(name, "a patient in a list", "one in none", action) for name in unlisted]
    names = sorted(splits.of.keys() | tree.folders.keys())
    lengths: list[int] = []
    seen: dict[bytes, str] = {}
    for name in tqdm(names, desc="check", unit="patient", disable=None):
        folder = tree.folders.get(name, tree.home / name)
        if not folder.is_dir():
            problems.append(Problem(name, "a folder, because a list names it", "none", "Copy it, or correct the list."))
            continue
        problems += strangers(folder)
        for view in VIEWS:
            found, frames = check_view(folder, view)
            problems += found
            if frames is not None:
                lengths.append(len(frames))
                problems += _twins(f"{name}_{view}", frames, seen)
    return Checked(len(names), len(lengths), sum(lengths), tuple(problems), splits.notes)


def check_view(folder: Path, view: str) -> tuple[list[Problem], UInt8[np.ndarray, "T H W"] | None]:
    """All problems of one view's seven files, and its frames where they could be read."""
    problems: list[Problem] = []
    info = _attempt(partial(find_info, folder, view), problems)
    image = _attempt(partial(_read_part, folder, view, "half_sequence", to_frames), problems)
    truth = _attempt(partial(_read_part, folder, view, "half_sequence_gt", to_labels), problems)
    if info is not None:
        problems += absurd_facts(folder / f"Info_{view}.cfg", info)
    if truth is not None:
        problems += odd_labels(truth.path.name, truth.pixels)
    if image is not None and truth is not None:
        _attempt(partial(require_same, truth.path.name, image.stored, truth.stored), problems)
    if image is not None and info is not None:
        cfg = f"Info_{view}.cfg"
        _attempt(partial(require_length, image.path.name, len(image.pixels), cfg, info), problems)
    for whole, ending, exact in ((image, "", to_frames), (truth, "_gt", to_labels)):
        for instant in ("ED", "ES"):
            still = _attempt(partial(_read_part, folder, view, f"{instant}{ending}", exact), problems)
            if still is not None and whole is not None and info is not None:
                problems += _compare(still, whole, info.ed if instant == "ED" else info.es)
    return problems, None if image is None else image.pixels


def _read_part(folder: Path, view: str, part: str, exact: Callable[[str, np.ndarray], np.ndarray]) -> Part:
    """Read one file of a view, or raise InputError."""
    path = find_image(folder, view, part)
    stored = read_image(path)
    return Part(path, stored, exact(path.name, stored.array))


def _compare(still: Part, whole: Part, number: int) -> list[Problem]:
    """A still beside its frame, counted from 1; a frame beyond the end is the length's problem."""
    if number > len(whole.pixels):
        return []
    return other_pixels(still.path.name, still.pixels, whole.pixels[number - 1], number)


def _attempt(step: Callable[[], T], problems: list[Problem]) -> T | None:
    """What the step gives, or None and one problem more."""
    try:
        return step()
    except InputError as error:
        problems.append(as_problem(error))
        return None


def _twins(name: str, frames: UInt8[np.ndarray, "T H W"], seen: dict[bytes, str]) -> list[Problem]:
    """The same frames under two names would be in training and test at once."""
    first = seen.setdefault(hashlib.sha256(frames.tobytes()).digest(), name)
    return [] if first == name else [Problem(name, "frames of its own", f"those of {first}", "Download both again.")]


def print_check(root: Path) -> int:
    """`usjepa data check DIR`: the table and a summary; gives 1 if there is any problem, else 0."""
    checked = check_camus(root)
    if checked.problems:
        table = checked.table().apply(lambda column: column.str.ljust(column.str.len().max()))
        print(table.to_string(index=False, justify="left", max_colwidth=None))
    for note in checked.notes:
        print(f"note: {note}")
    print(f"{root}: {checked.summary()}")
    return 1 if checked.problems else 0
