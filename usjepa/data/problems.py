"""A row of `usjepa data check`: what an InputError says, or what only a look at the contents shows."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from usjepa.data.layout import EF_LIMITS, RATE_LIMITS_HZ, Info, plausible, read_fields
from usjepa.errors import InputError
from usjepa.structures import STRUCTURES

QUALITIES = ("Good", "Medium", "Poor")


class Problem(NamedTuple):
    """File or patient, what was expected of it, what came, what to do."""

    file: str
    expected: str
    got: str
    action: str


def as_problem(error: InputError) -> Problem:
    """The four parts of a reader's message: "file: expected this, got that. Do this." and its variants."""
    file, _, rest = str(error).partition(": ")
    body, _, action = rest.rpartition(". ")
    parts = re.fullmatch(
        r"(?P<lead>.*?)(?P<open>\()?expected (?P<expected>.*), (?P<got>(got|found) .*?)(?(open)\))", body
    )
    if parts is None:
        return Problem(file, "", body, action)
    return Problem(file, parts["expected"], parts["lead"] + parts["got"].split(" ", 1)[1], action)


def absurd_facts(cfg: Path, info: Info) -> list[Problem]:
    """What a cfg says without sense, and training does without: EF, rate, quality; and ED and ES not at the ends."""
    fields, where = read_fields(cfg), f"{cfg.parent.name}/{cfg.name}"
    ef = "ef" if "ef" in fields else "lvef"
    numbers = [("EF", ef, EF_LIMITS, "%"), ("FrameRate", "framerate", RATE_LIMITS_HZ, "frames/s")]
    problems = [
        Problem(where, f"{name} of {low:g} to {high:g} {unit}", repr(fields[key]), "Correct it; it is read as unknown.")
        for name, key, (low, high), unit in numbers
        if key in fields and plausible(fields[key], (low, high)) is None
    ]
    if info.quality is not None and info.quality not in QUALITIES:
        problems.append(Problem(where, f"ImageQuality {', '.join(QUALITIES)}", repr(info.quality), "Correct it."))
    if {info.ed, info.es} != {1, info.frames}:
        expected, got = f"ED and ES at the ends, 1 and {info.frames}", f"{info.ed} and {info.es}"
        problems.append(Problem(where, expected, got, "Correct it, or look whether the sequence is whole."))
    return problems


def odd_labels(name: str, labels: UInt8[np.ndarray, "T H W"]) -> list[Problem]:
    """Structures that a frame lacks, and an image upside down: the atrium nearer to the probe than the ventricle."""
    problems = []
    for index, structure in enumerate(STRUCTURES[1:], start=1):
        absent = int((labels != index).all(axis=(1, 2)).sum())
        if absent:
            got = f"{absent} of {len(labels)} frames without"
            problems.append(
                Problem(name, f"{structure} ({index}) in each frame", got, "Look at it; it may be cut off.")
            )
    ventricle, atrium = (np.nonzero(labels == index)[1] for index in (1, 3))
    if ventricle.size and atrium.size and atrium.mean() <= ventricle.mean():
        got = f"mean rows {atrium.mean():.0f} and {ventricle.mean():.0f}"
        problems.append(Problem(name, "LA (3) below LV endo (1)", got, "Turn image and labels upside down."))
    return problems


def other_pixels(
    name: str, still: UInt8[np.ndarray, "T H W"], frame: UInt8[np.ndarray, "h w"], number: int
) -> list[Problem]:
    """A still that isn't the frame, counted from 1, of the half sequence that it was taken from."""
    expected, action = f"frame {number} of the half sequence", "Download both again."
    if still.shape != (1, *frame.shape):
        return [Problem(name, f"{expected}, {[1, *frame.shape]}", str(list(still.shape)), action)]
    count = int((still[0] != frame).sum())
    return [Problem(name, expected, f"{count} other pixels of {frame.size}", action)] if count else []


def strangers(folder: Path) -> list[Problem]:
    """Files in a patient's folder that are named after another patient."""
    found = [(path.name, re.match(r"(patient[0-9]{4})_", path.name)) for path in sorted(folder.iterdir())]
    return [
        Problem(f"{folder.name}/{name}", f"files of {folder.name}", f"one of {match[1]}", f"Move it to {match[1]}.")
        for name, match in found
        if match and match[1] != folder.name
    ]
