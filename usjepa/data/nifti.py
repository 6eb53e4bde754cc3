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

from usjepa.data.pixels import AGAIN, TOLERANCE, StoredImage, check_sizes, read_bytes, time_axis
from usjepa.data.sequence import SPACING_LIMITS_MM
from usjepa.errors import InputError

HEADER_BYTES = 348
PIXEL_KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
"""NIfTI's codes of the integer and floating types that are read."""
GZIP = b"\x1f\x8b"


class Header(NamedTuple):
    """What the raw header says: sizes (columns, rows, ...), spacing in that order, where pixels begin and end."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, float]
    kind: np.dtype[np.generic]
    start: int
    end: int


def read_nifti(path: Path) -> StoredImage:
    """Read .nii or .nii.gz of two or three axes (further ones of length 1).

    Raises InputError, the file first, for anything but a complete, undamaged image with a plausible spacing.
    """
    stored = read_bytes(path, "NIfTI file")
    if stored[:2] == GZIP and path.suffix != ".gz":
        raise InputError(f"{path.name}: expected plain NIfTI, got gzip. Rename it to {path.name}.gz.")
    header = _check_stream(path, stored)
    frames = time_axis(path.name, header.shape)
    try:
        image = SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat32)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path.name}: expected an image for SimpleITK, got its error {reason!r}. {AGAIN}") from error
    array = SimpleITK.GetArrayFromImage(image)
    array = array.reshape(frames, *array.shape[-2:])
    if array.shape[1:] != header.shape[1::-1]:
        got = list(array.shape[1:])
        raise InputError(f"{path.name}: expected {list(header.shape[1::-1])} pixels, got {got} by SimpleITK. {AGAIN}")
    return StoredImage(array, (header.spacing_mm[1], header.spacing_mm[0]))


def _check_stream(path: Path, stored: bytes) -> Header:
    """Parse the header, then prove the length, the checksum, and that all pixels are finite."""
    if stored[:2] != GZIP:
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
        raise InputError(f"{name}: expected an undamaged gzip stream, got {str(error)!r}. {AGAIN}") from error
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
    code, bits = struct.unpack_from(order + "2h", raw, 70)
    spacing = struct.unpack_from(order + "8f", raw, 76)[1:3]
    start = struct.unpack_from(order + "f", raw, 108)[0]
    shape = tuple(sizes[: max(axes, 0)])
    if not 2 <= axes <= 7:
        raise InputError(f"{name}: expected 2 to 7 axes, got sizes of {axes}. {AGAIN}")
    if code not in PIXEL_KINDS:
        raise InputError(
            f"{name}: expected grey levels (NIfTI type {sorted(PIXEL_KINDS)}), got type {code}. Convert it."
        )
    kind = np.dtype(order + PIXEL_KINDS[code])
    check_sizes(name, shape, kind.itemsize)
    if bits != 8 * kind.itemsize:
        raise InputError(f"{name}: expected {8 * kind.itemsize} bits a pixel of type {code}, got {bits}. {AGAIN}")
    _check_scale(name, kind, struct.unpack_from(order + "2f", raw, 112))
    if not (HEADER_BYTES <= start <= 2**20 and start == int(start)):
        raise InputError(f"{name}: expected pixels to start at byte 352, got {start}. {AGAIN}")
    _check_spacing(name, raw, order, spacing)
    end = int(start) + math.prod(shape) * kind.itemsize
    return Header(shape, (spacing[0], spacing[1]), kind, int(start), end)


def _check_scale(name: str, kind: np.dtype[np.generic], scale: tuple[float, ...]) -> None:
    """Slope and intercept are finite, and only integers have them: a scale on CAMUS's floats is damage."""
    if not all(map(math.isfinite, scale)):
        raise InputError(f"{name}: expected a finite slope and intercept, got {scale}. {AGAIN}")
    if kind.kind == "f" and scale[0] != 0 and scale != (1, 0):
        raise InputError(f"{name}: expected floating pixels without slope and intercept, got {scale}. {AGAIN}")


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
