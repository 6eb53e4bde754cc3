"""One NIfTI file, read strictly: SimpleITK reads the pixels, after this module has checked header and stream.

SimpleITK alone returns zeros for the missing part of a truncated .nii.gz and a spacing of 1 for one that is NaN or 0.
Header fields: the NIfTI-1 standard, nifti1.h.
"""

import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK
from jaxtyping import Float32, UInt8

from usjepa.data.sequence import SPACING_LIMITS_MM
from usjepa.errors import InputError
from usjepa.structures import STRUCTURES

HEADER_BYTES = 348
PIXEL_KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
"""NIfTI's codes of the integer and floating types that are read."""
LARGEST_SIDE, LONGEST, LARGEST_BYTES = 4096, 2000, 2**30
"""No ultrasound loop is larger; a header that says so is damaged, or meant to exhaust the memory."""
TOLERANCE = 1e-3
AGAIN = "Download or copy the file again."


class NiftiImage(NamedTuple):
    """Pixels [T, H, W] with row 0 at the probe, and (row, column) spacing."""

    array: Float32[np.ndarray, "T H W"]
    spacing_mm: tuple[float, float]


class Header(NamedTuple):
    """What the raw header says: sizes (columns, rows, ...), spacing in that order, where pixels begin and end."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, float]
    kind: np.dtype[np.generic]
    start: int
    end: int


def read_nifti(path: Path) -> NiftiImage:
    """Read .nii or .nii.gz of two or three axes (further ones of length 1).

    Raises InputError, the file first, for anything but a complete, undamaged image with a plausible spacing.
    """
    stored = _stored_bytes(path)
    header = _check_stream(path, stored)
    try:
        image = SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat32)
    except RuntimeError as error:
        raise InputError(f"{path.name}: SimpleITK can't read it: {str(error).splitlines()[-1]}. {AGAIN}") from error
    array = SimpleITK.GetArrayFromImage(image)
    long_axes = [size for size in header.shape[2:] if size > 1]
    if len(long_axes) > 1:
        raise InputError(f"{path.name}: expected one axis of time, got sizes {header.shape}. Export frames as 3 axes.")
    array = array.reshape(long_axes[0] if long_axes else 1, *array.shape[-2:])
    if array.shape[1:] != header.shape[1::-1]:
        got = list(array.shape[1:])
        raise InputError(
            f"{path.name}: expected {header.shape[1]} x {header.shape[0]} pixels, SimpleITK gave {got}. {AGAIN}"
        )
    return NiftiImage(array, (header.spacing_mm[1], header.spacing_mm[0]))


def to_frames(name: str, array: Float32[np.ndarray, "T H W"]) -> UInt8[np.ndarray, "T H W"]:
    """Grey levels stored as floats, exactly. Raises InputError unless they are integers 0 to 255, not all equal."""
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 255 or low == high:
        raise InputError(f"{name}: expected grey levels in 0 to 255, not all equal, got {low:g} to {high:g}. {AGAIN}")
    return _rounded(name, array)


def to_labels(name: str, array: Float32[np.ndarray, "T H W"]) -> UInt8[np.ndarray, "T H W"]:
    """Labels stored as floats. Raises InputError for fractions, values outside `STRUCTURES`, and an empty map."""
    low, high = float(array.min()), float(array.max())
    if low < -TOLERANCE or high > len(STRUCTURES) - 1 + TOLERANCE or high < 0.5:
        expected = f"labels in 0 to {len(STRUCTURES) - 1}, not all 0"
        raise InputError(f"{name}: expected {expected}, got {low:g} to {high:g}. Check that it is a label file.")
    return _rounded(name, array)


def _rounded(name: str, array: Float32[np.ndarray, "T H W"]) -> UInt8[np.ndarray, "T H W"]:
    """Nearest integers, if none is further than `TOLERANCE`."""
    whole = np.rint(array)
    off = np.abs(array - whole) > TOLERANCE
    if off.any():
        example = float(array[off][0])
        raise InputError(
            f"{name}: expected integers, got {example:g} and {int(off.sum())} such. It was interpolated; {AGAIN}"
        )
    return np.asarray(whole, np.uint8)


def _stored_bytes(path: Path) -> bytes:
    """The file as it lies on the disk, if it can be a NIfTI file at all."""
    if not path.is_file():
        raise InputError(f"{path}: expected a NIfTI file, found none. Check the path.")
    if path.stat().st_size > LARGEST_BYTES:
        raise InputError(
            f"{path.name}: expected at most {LARGEST_BYTES} bytes, got {path.stat().st_size}. Cut the loop."
        )
    stored = path.read_bytes()
    if not stored:
        raise InputError(f"{path.name}: expected a NIfTI file, got 0 bytes. {AGAIN}")
    if stored.lstrip()[:1] == b"<":
        raise InputError(
            f"{path.name}: expected a NIfTI file, got a web page. Log in at the source, then download again."
        )
    if stored[:2] == b"\x1f\x8b" and path.suffix != ".gz":
        raise InputError(f"{path.name}: expected plain NIfTI, got gzip. Rename it to {path.name}.gz.")
    return stored


def _check_stream(path: Path, stored: bytes) -> Header:
    """Parse the header, then prove the length, the checksum, and that all pixels are finite."""
    if stored[:2] != b"\x1f\x8b":
        header, content = _parse_header(path.name, stored[:HEADER_BYTES]), stored
    else:
        header, content = _unpack(path.name, stored)
    if len(content) < header.end:
        raise InputError(f"{path.name}: truncated (expected {header.end} bytes, got {len(content)}). {AGAIN}")
    if len(content) > header.end:
        raise InputError(f"{path.name}: expected the {header.end} bytes that the header says, got more. {AGAIN}")
    # SimpleITK would turn them into 0.
    if header.kind.kind == "f":
        count = int((~np.isfinite(np.frombuffer(content, header.kind, offset=header.start))).sum())
        if count:
            raise InputError(f"{path.name}: expected finite pixels, got {count} NaN or infinite ones. {AGAIN}")
    return header


def _unpack(name: str, stored: bytes) -> tuple[Header, bytes]:
    """Decompress to the end, which proves the checksum, but no further than one byte beyond what the header says."""
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(stored, HEADER_BYTES)
        header = _parse_header(name, content)
        content += stream.decompress(stream.unconsumed_tail, header.end + 1 - len(content))
    except zlib.error as error:
        raise InputError(f"{name}: corrupt gzip stream ({error}). {AGAIN}") from error
    if not stream.eof and len(content) <= header.end:
        raise InputError(f"{name}: truncated (expected {header.end} bytes, got {len(content)} and no end). {AGAIN}")
    if stream.unused_data.strip(b"\0"):
        extra = len(stream.unused_data)
        raise InputError(f"{name}: expected the file to end with its gzip stream, got {extra} bytes more. {AGAIN}")
    return header, content


def _parse_header(name: str, raw: bytes) -> Header:
    """Sizes, spacing and length from the 348 bytes of a NIfTI-1 header, of either byte order."""
    if len(raw) < HEADER_BYTES:
        raise InputError(f"{name}: truncated (expected a header of {HEADER_BYTES} bytes, got {len(raw)}). {AGAIN}")
    order = "<" if struct.unpack_from("<i", raw)[0] == HEADER_BYTES else ">"
    if struct.unpack_from(order + "i", raw)[0] != HEADER_BYTES or raw[344:348] != b"n+1\0":
        raise InputError(f"{name}: expected a single-file NIfTI-1 header, got {raw[344:348]!r}. Convert it to .nii.gz.")
    axes, *sizes = struct.unpack_from(order + "8h", raw, 40)
    code = struct.unpack_from(order + "h", raw, 70)[0]
    spacing = struct.unpack_from(order + "8f", raw, 76)[1:3]
    start = struct.unpack_from(order + "f", raw, 108)[0]
    shape = tuple(sizes[: max(axes, 0)])
    if not 2 <= axes <= 7 or min(shape) < 1 or max(shape[:2]) > LARGEST_SIDE or math.prod(shape[2:]) > LONGEST:
        limits = f"{LARGEST_SIDE} x {LARGEST_SIDE} pixels and {LONGEST} frames"
        raise InputError(f"{name}: expected 1 to {limits}, got sizes {shape}. {AGAIN}")
    if code not in PIXEL_KINDS:
        raise InputError(
            f"{name}: expected grey levels (NIfTI type {sorted(PIXEL_KINDS)}), got type {code}. Convert it."
        )
    if not HEADER_BYTES <= start <= 2**20:
        raise InputError(f"{name}: expected pixels to start at byte 352, got {start}. {AGAIN}")
    _check_spacing(name, raw, order, spacing)
    kind = np.dtype(order + PIXEL_KINDS[code])
    end = int(start) + math.prod(shape) * kind.itemsize
    if end > LARGEST_BYTES:
        raise InputError(f"{name}: expected at most {LARGEST_BYTES} bytes, got sizes {shape}. Cut the loop.")
    return Header(shape, (spacing[0], spacing[1]), kind, int(start), end)


def _check_spacing(name: str, raw: bytes, order: str, spacing_mm: tuple[float, ...]) -> None:
    """The spacing is plausible, in mm, and the same in the affine matrix where there is one."""
    low, high = SPACING_LIMITS_MM
    if not all(low <= value <= high for value in spacing_mm):
        raise InputError(f"{name}: expected a spacing of {low} to {high} mm, got {spacing_mm}. Correct the header.")
    if raw[123] & 7 not in (0, 2):
        raise InputError(
            f"{name}: expected mm as unit of length (code 2), got code {raw[123] & 7}. Correct the header."
        )
    if struct.unpack_from(order + "h", raw, 254)[0] > 0:
        rows = [struct.unpack_from(order + "4f", raw, offset) for offset in (280, 296, 312)]
        lengths = tuple(math.sqrt(sum(row[axis] ** 2 for row in rows)) for axis in (0, 1))
        if not all(abs(a - b) <= TOLERANCE for a, b in zip(lengths, spacing_mm, strict=True)):
            raise InputError(
                f"{name}: expected one spacing, got {spacing_mm} and, in the affine matrix, {lengths} mm. {AGAIN}"
            )
