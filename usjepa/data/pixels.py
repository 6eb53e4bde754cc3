"""What every reader of stored images shares: the pixels as they lie on the disk, limits, and exact integers."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from usjepa.errors import InputError
from usjepa.structures import STRUCTURES

LARGEST_SIDE, LONGEST, LARGEST_BYTES = 4096, 2000, 2**30
"""No ultrasound loop is larger; a header that says so is damaged, or meant to exhaust the memory."""
TOLERANCE = 1e-3
AGAIN = "Download or copy the file again."


class StoredImage(NamedTuple):
    """Pixels [T, H, W] with row 0 at the probe, and (row, column) spacing."""

    array: Float32[np.ndarray, "T H W"]
    spacing_mm: tuple[float, float]


def read_bytes(path: Path, kind: str) -> bytes:
    """The file as it lies on the disk, if it can hold an image of this kind ("NIfTI file") at all; or InputError."""
    if not path.is_file():
        raise InputError(f"{path}: expected a {kind}, found none. Check the path.")
    if path.stat().st_size > LARGEST_BYTES:
        raise InputError(
            f"{path.name}: expected at most {LARGEST_BYTES} bytes, got {path.stat().st_size}. Cut the loop."
        )
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name}: expected a readable file, got {error.strerror!r}. Check its rights.") from error
    if not stored:
        raise InputError(f"{path.name}: expected a {kind}, got 0 bytes. {AGAIN}")
    if stored[:512].lstrip()[:1] == b"<":
        raise InputError(f"{path.name}: expected a {kind}, got a web page. Log in at the source, then download again.")
    return stored


def check_sizes(name: str, shape: tuple[int, ...], pixel_bytes: int) -> None:
    """Raise InputError for sizes (columns, rows, ...) that no loop has, before anything is allocated."""
    if not shape or min(shape) < 1 or max(shape[:2]) > LARGEST_SIDE or math.prod(shape[2:]) > LONGEST:
        limits = f"{LARGEST_SIDE} x {LARGEST_SIDE} pixels and {LONGEST} frames"
        raise InputError(f"{name}: expected 1 to {limits}, got sizes {shape}. {AGAIN}")
    if math.prod(shape) * pixel_bytes > LARGEST_BYTES:
        raise InputError(f"{name}: expected at most {LARGEST_BYTES} bytes, got sizes {shape}. Cut the loop.")


def time_axis(name: str, shape: tuple[int, ...]) -> int:
    """Frames of an image with these sizes (columns, rows, ...), of which one beside the first two may be above 1."""
    long_axes = [size for size in shape[2:] if size > 1]
    if len(long_axes) > 1:
        raise InputError(f"{name}: expected one axis of time, got sizes {shape}. Export frames as 3 axes.")
    return long_axes[0] if long_axes else 1


def to_frames(name: str, array: Float32[np.ndarray, "T H W"]) -> UInt8[np.ndarray, "T H W"]:
    """Grey levels stored as floats, exactly. Raises InputError unless they are integers 0 to 255, not all equal."""
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 255 and low != high):
        raise InputError(f"{name}: expected grey levels in 0 to 255, not all equal, got {low:g} to {high:g}. {AGAIN}")
    return _rounded(name, array)


def to_labels(name: str, array: Float32[np.ndarray, "T H W"]) -> UInt8[np.ndarray, "T H W"]:
    """Labels stored as floats. Raises InputError for fractions, values outside `STRUCTURES`, and an empty map."""
    low, high = float(array.min()), float(array.max())
    if not (low >= -TOLERANCE and 0.5 <= high <= len(STRUCTURES) - 1 + TOLERANCE):
        expected = f"labels in 0 to {len(STRUCTURES) - 1}, not all 0"
        raise InputError(f"{name}: expected {expected}, got {low:g} to {high:g}. Check that it is a label file.")
    return _rounded(name, array)


def _rounded(name: str, array: Float32[np.ndarray, "T H W"]) -> UInt8[np.ndarray, "T H W"]:
    """Nearest integers, if none is further than `TOLERANCE`."""
    whole = np.rint(array)
    off = np.abs(array - whole) > TOLERANCE
    if off.any():
        got = f"{float(array[off][0]):g} and {int(off.sum())} such"
        raise InputError(f"{name}: expected integers, got {got}. It was interpolated: take the original.")
    return np.asarray(whole, np.uint8)
