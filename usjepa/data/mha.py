"""One MetaImage (.mha), read strictly, without SimpleITK, which ignores a stream that it could not decompress.

Format: the MetaIO documentation of ITK. Pixels must lie in the same file, so that no header can point to another one.
"""

import math
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from usjepa.data.mhd import BYTE_ORDER, FIXED, PIXEL_KINDS
from usjepa.data.pixels import AGAIN, LARGEST_BYTES, LARGEST_SIDE, LONGEST, read_bytes
from usjepa.data.sequence import SPACING_LIMITS_MM
from usjepa.errors import InputError

LONGEST_HEADER = 65_536


class MetaImage(NamedTuple):
    """Pixels [T, H, W] and (row, column) spacing, None where the header has none."""

    array: Float32[np.ndarray, "T H W"]
    spacing_mm: tuple[float, float] | None


def read_mha(path: Path) -> MetaImage:
    """Read a grey .mha of two or three axes. Raises InputError, the file first, unless it is complete and plausible."""
    fields, stored = _split(path.name, read_bytes(path, "MetaImage file"))
    sizes, kind = _sizes(path.name, fields), _kind(path.name, fields)
    spacing = _spacing(path.name, fields, len(sizes))
    pixels = _unpack(path.name, fields, stored, math.prod(sizes) * kind.itemsize)
    array = np.frombuffer(pixels, kind).astype(np.float32).reshape(-1, *sizes[1::-1])
    if not np.isfinite(array).all():
        raise InputError(f"{path.name}: expected finite pixels, got NaN or infinite ones. {AGAIN}")
    return MetaImage(array, spacing)


def _split(name: str, stored: bytes) -> tuple[dict[str, str], bytes]:
    """Header fields, and the bytes after it."""
    end = re.search(rb"^ElementDataFile *= *([^\r\n]*)\r?\n", stored[:LONGEST_HEADER], re.MULTILINE)
    if end is None:
        raise InputError(f"{name}: expected a MetaImage header, found no ElementDataFile. {AGAIN}")
    if end[1].strip() != b"LOCAL":
        got = end[1].decode("ascii", "replace")
        raise InputError(f"{name}: expected pixels in the same file (LOCAL), got {got!r}. Save it as one .mha.")
    lines = stored[: end.start()].decode("ascii", "replace").splitlines()
    pairs = [(key.strip(), value.strip()) for key, _, value in (line.partition("=") for line in lines)]
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InputError(f"{name}: expected each key of the header once, got one twice. {AGAIN}")
    return fields, stored[end.end() :]


def _kind(name: str, fields: dict[str, str]) -> np.dtype[np.generic]:
    """The type of a pixel, whose byte order must be given where it matters."""
    for key, value in FIXED.items():
        if fields.get(key, value) != value:
            raise InputError(f"{name}: {key}: expected {value}, got {fields[key]!r}. Write it as a plain grey image.")
    given = fields.get("ElementType")
    if given not in PIXEL_KINDS:
        known = ", ".join(PIXEL_KINDS)
        raise InputError(f"{name}: ElementType: expected one of {known}, got {given!r}. Convert it.")
    kind = np.dtype(PIXEL_KINDS[given])
    orders = {fields[key] for key in BYTE_ORDER if key in fields}
    if kind.itemsize > 1 and orders not in ({"True"}, {"False"}):
        raise InputError(f"{name}: {BYTE_ORDER[0]}: expected True or False, got {sorted(orders)}. {AGAIN}")
    return kind.newbyteorder(">" if orders == {"True"} else "<")


def _sizes(name: str, fields: dict[str, str]) -> tuple[int, ...]:
    """Columns, rows and frames."""
    text = fields.get("DimSize", "")
    sizes = tuple(int(size) for size in text.split()) if re.fullmatch(r"[\d ]+", text) else ()
    fits = len(sizes) in (2, 3) and min(sizes) >= 1 and max(sizes[:2]) <= LARGEST_SIDE and (*sizes, 1)[2] <= LONGEST
    if not fits or fields.get("NDims") != str(len(sizes)):
        limits = f"2 or 3 axes (NDims) of 1 to {LARGEST_SIDE} pixels and {LONGEST} frames"
        raise InputError(f"{name}: expected {limits}, got NDims {fields.get('NDims')}, DimSize {text!r}. {AGAIN}")
    return sizes


def _spacing(name: str, fields: dict[str, str], axes: int) -> tuple[float, float] | None:
    """ElementSpacing as (row, column) mm; a header may lack it."""
    text = fields.get("ElementSpacing")
    if text is None:
        return None
    is_number = all(re.fullmatch(r"\d+(\.\d*)?(e-?\d+)?", value) for value in text.split())
    values = [float(value) for value in text.split()] if is_number else []
    low, high = SPACING_LIMITS_MM
    if len(values) != axes or not all(low <= value <= high for value in values[:2]):
        raise InputError(f"{name}: expected a spacing of {low} to {high} mm, got {text!r}. Correct the header.")
    return values[1], values[0]


def _unpack(name: str, fields: dict[str, str], stored: bytes, expected: int) -> bytes:
    """The pixels, all there and, if compressed, proved by their checksum."""
    if expected > LARGEST_BYTES:
        raise InputError(f"{name}: expected at most {LARGEST_BYTES} bytes, got DimSize {fields['DimSize']}. Cut it.")
    packing = fields.get("CompressedData", "False")
    if packing not in ("True", "False"):
        raise InputError(f"{name}: CompressedData: expected True or False, got {packing!r}. {AGAIN}")
    pixels, is_whole = stored, True
    if packing == "True":
        unpacker = zlib.decompressobj()
        try:
            pixels = unpacker.decompress(stored, expected + 1)
        except zlib.error as error:
            raise InputError(f"{name}: expected an undamaged zlib stream, got: {error}. {AGAIN}") from error
        is_whole = unpacker.eof and not unpacker.unused_data
    if len(pixels) != expected or not is_whole:
        got = f"{len(pixels)}{'' if is_whole else ', and not the end of the stream'}"
        raise InputError(f"{name}: truncated or damaged (expected {expected} bytes of pixels, got {got}). {AGAIN}")
    return pixels
