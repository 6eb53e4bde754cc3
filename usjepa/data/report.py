"""What a CAMUS tree is made of: lengths, rates, sizes, quality, EF, and whether its labels were interpolated."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from tqdm import tqdm

from usjepa.data.camus import read_camus, read_loop
from usjepa.data.layout import SYNTHETIC_LICENCE, VIEWS, Loop
from usjepa.data.problems import QUALITIES
from usjepa.errors import InputError
from usjepa.structures import STRUCTURES

PARTS = 5
"""Parts of a half sequence in which the contour's speed is measured: fewer blur its course, more drown in pixels."""
SMALLEST_STEP_PX = 0.75
"""A contour that moves less in a part is lost in the rounding to pixels; its unevenness is then not given."""
INTERPOLATED_BELOW = 0.25
"""Rasterised contours moved at an even speed give 0.003 to 0.12, a speed that rises and falls as half a sine 0.46."""
SHOWN_SPACINGS = 2
EF_EDGES = (45, 55)
"""The bins by which the older release's folds were balanced."""


def speed_unevenness(cavity: Bool[np.ndarray, "T H W"]) -> float:
    """How unevenly a contour moves from the first frame to the last: 0 for contours interpolated linearly.

    The speed between two frames is the area in which their masks differ over the length of the contour (edges between
    pixels times pi / 4, the mean of both frames), a frame passed: the mean distance that the contour moved, in pixels.
    It is taken over `PARTS` equal parts; the result is their standard deviation over their mean. A heart speeds up and
    slows down again (half a sine: 0.46); linear interpolation between the ends keeps every point's speed. NaN for
    fewer than `PARTS` + 1 frames, a mask that is empty, and a contour that moves less than `SMALLEST_STEP_PX` a part.
    """
    if len(cavity) <= PARTS or not cavity.any(axis=(1, 2)).all():
        return float("nan")
    instants = np.rint(np.linspace(0, len(cavity) - 1, PARTS + 1)).astype(int)
    steps = _contour_steps_px(cavity[instants])
    speeds = steps / np.diff(instants)
    return float(speeds.std() / speeds.mean()) if steps.mean() >= SMALLEST_STEP_PX else float("nan")


def describe(loop: Loop) -> dict[str, object]:
    """One row of the report's table. Raises InputError for a file that can't be read."""
    sequence = read_loop(loop)
    assert sequence.labels is not None
    assert sequence.spacing_mm is not None
    return {
        "patient": sequence.patient,
        "view": sequence.view,
        "split": sequence.split,
        "is_phantom": loop.licence == SYNTHETIC_LICENCE,
        "frames": len(sequence.frames),
        "frame_rate_hz": loop.info.frame_rate,
        "is_reversed": sequence.is_reversed,
        "quality": sequence.quality,
        "ef_percent": loop.info.ef,
        "rows": sequence.frames.shape[1],
        "columns": sequence.frames.shape[2],
        "row_mm": round(sequence.spacing_mm[0], 4),
        "column_mm": round(sequence.spacing_mm[1], 4),
        "unevenness": speed_unevenness(sequence.labels == STRUCTURES.index("LV endo")),
    }


def describe_camus(root: Path) -> pd.DataFrame:
    """A row a half sequence, see `describe`; unreadable ones are left out with a warning each.

    Raises InputError for a folder without CAMUS, and where nothing can be read.
    """
    rows = []
    for loop in tqdm(read_camus(root, strict=False).loops, desc="report", unit="sequence", disable=None):
        try:
            rows.append(describe(loop))
        except InputError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    if not rows:
        raise InputError(f"{root}: expected a half sequence that can be read, got none. Run: usjepa data check {root}")
    table = pd.DataFrame(rows)
    numbers = ["frame_rate_hz", "ef_percent", "unevenness"]
    return table.assign(**{name: pd.to_numeric(table[name]) for name in numbers})


def summarise(sequences: pd.DataFrame) -> pd.DataFrame:
    """The table of `describe_camus` as text, a column for each view and one for both.

    Numbers stand as smallest / first quartile / median / third quartile / largest; shares as count and percentage.
    """
    groups = {view: sequences[sequences["view"] == view] for view in VIEWS} | {"both": sequences}
    return pd.DataFrame({name: _column(group) for name, group in groups.items() if len(group)})


def _column(group: pd.DataFrame) -> pd.Series:
    """One column of the summary."""
    measured = group["unevenness"].dropna()
    known, (low, high) = group["ef_percent"].dropna(), EF_EDGES
    return pd.Series(
        {
            "half sequences": str(len(group)),
            "patients": str(group["patient"].nunique()),
            "frames": _spread(group["frames"]),
            "frame rate, Hz": _spread(group["frame_rate_hz"].dropna()),
            "stored ES to ED": _share(group["is_reversed"]),
            **{f"quality {name}": _share(group["quality"] == name) for name in QUALITIES},
            f"EF at most {low} %": _share(known <= low),
            f"EF between {low} and {high} %": _share((known > low) & (known < high)),
            f"EF at least {high} %": _share(known >= high),
            "EF unknown": _share(group["ef_percent"].isna()),
            "spacing, mm": _spacings(group),
            "rows": _spread(group["rows"]),
            "columns": _spread(group["columns"]),
            "label speed, unevenness": _spread(measured),
            "label speed, measurable": _share(group["unevenness"].notna()),
            "labels interpolated": _share(measured < INTERPOLATED_BELOW),
        }
    )


def _spread(values: pd.Series) -> str:
    """Smallest, the three quartiles, largest."""
    return (
        " / ".join(f"{value:.4g}" for value in values.quantile([0, 0.25, 0.5, 0.75, 1])) if len(values) else "unknown"
    )


def _spacings(group: pd.DataFrame) -> str:
    """The different spacings, or how many there are and between which they lie."""
    found = sorted(set(zip(group["row_mm"], group["column_mm"], strict=True)))
    if len(found) <= SHOWN_SPACINGS:
        return "; ".join(f"{row:g} x {column:g}" for row, column in found)
    return f"{len(found)} different, {min(map(min, found)):g} to {max(map(max, found)):g}"


def _share(held: pd.Series) -> str:
    """A count and its percentage."""
    return f"{held.sum()} ({100 * held.mean():.1f} %)" if len(held) else "unknown"


def _contour_steps_px(cavity: Bool[np.ndarray, "n H W"]) -> Float[np.ndarray, " n-1"]:
    """Mean distance between the contours of neighbouring masks."""
    changed = (cavity[1:] != cavity[:-1]).sum(axis=(1, 2))
    edges = sum((np.diff(cavity, axis=axis) != 0).sum(axis=(1, 2)) for axis in (1, 2))
    length = np.pi / 4 * np.asarray(edges, float)
    return np.asarray(2 * changed / (length[1:] + length[:-1]))
