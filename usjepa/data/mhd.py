"""One MetaImage (.mhd with .raw or .zraw beside it), read strictly: the form of the older CAMUS release.

Keys: ITK's MetaIO, https://docs.itk.org (MetaImage). Unknown keys are ignored; none of them changes a pixel.
"""

import math
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from usjepa.data.pixels import (
    AGAIN,
    StoredImage,
    check_sizes,
    read_bytes,
    time_axis,
)
from usjepa.data.sequence import SPACING_LIMITS_MM
from usjepa.errors import InputError

LONGEST_TEXT = 10_000
PIXEL_KINDS = {
    "MET_UCHAR": "u1",
    "MET_CHAR": "i1",
    "MET_USHORT": "u2",
    "MET_SHORT": "i2",
    "MET_UINT": "u4",
    "MET_INT": "i4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MetaIO's names of the integer and floating types that are read."""
FIXED = {"BinaryData": "True", "ElementNumberOfChannels": "1", "HeaderSize": "0", "ObjectType": "Image"}
"""Keys that may be missing, and the only value under which the bytes mean what this module takes them for."""

BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")


class Header(NamedTuple):
    """What the text says: sizes (columns, rows, ...), spacing in that order, the type of a pixel, where pixels lie."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    kind: np.dtype[np.generic]
    is_compressed: bool
    data: Path


def read_mhd(path: Path) -> StoredImage:
    """Read an .mhd of two or three axes (further ones of length 1) with its data file.

    Raises InputError, the file first, for anything but a complete image with a plausible spacing, whose data file has
    its name and lies in its folder.
    """
    header = _read_header(path)
    frames = time_axis(path.name, header.shape)
    stored = read_bytes(header.data, "data file")
    size = math.prod(header.shape) * header.kind.itemsize
    content = _unpack(header.data.name, stored, size) if header.is_compressed else stored
    if len(content) < size:
        raise InputError(f"{header.data.name}: truncated (expected {size} bytes, got {len(content)}). {AGAIN}")
    if len(content) > size:
        raise InputError(f"{header.data.name}: expected {size} bytes as {path.name} says, got more. {AGAIN}")
    array = np.frombuffer(content, header.kind).astype(np.float32).reshape(frames, *header.shape[1::-1])
    count = int((~np.isfinite(array)).sum())
    if count:
        raise InputError(f"{header.data.name}: expected finite pixels, got {count} NaN or infinite ones. {AGAIN}")
    return StoredImage(array, (header.spacing_mm[1], header.spacing_mm[0]))


def data_file(path: Path) -> Path:
    """The file with the pixels of an .mhd. Raises InputError unless it exists under its name in its folder."""
    return _read_header(path).data


def _read_header(path: Path) -> Header:
    """Parse the text, then check every field that decides how the bytes are read."""
    name, fields = path.name, _fields(path)
    for key, value in FIXED.items():
        if fields.get(key, value) != value:
            raise InputError(f"{name}: {key}: expected {value}, got {fields[key]!r}. Write it as a plain image.")
    axes = _numbers(name, "NDims", fields, r"[2-7]")[0]
    shape = tuple(int(size) for size in _numbers(name, "DimSize", fields, r"[0-9]{1,6}"))
    spacing = _numbers(name, "ElementSpacing", fields, r"[-+0-9.eE]{1,40}|nan|inf")
    if len(shape) != axes or len(spacing) != axes:
        got = f"DimSize of {len(shape)} and ElementSpacing of {len(spacing)}"
        raise InputError(f"{name}: expected {axes:g} values as NDims says, got {got}. {AGAIN}")
    low, high = SPACING_LIMITS_MM
    if not all(low <= value <= high for value in spacing[:2]):
        raise InputError(f"{name}: expected a spacing of {low} to {high} mm, got {spacing[:2]}. Correct the header.")
    kind = _kind(name, fields)
    check_sizes(name, shape, kind.itemsize)
    return Header(shape, spacing, kind, _flag(name, ("CompressedData",), fields, "False"), _data_file(path, fields))


def _fields(path: Path) -> dict[str, str]:
    """Keys and values of the header, each key once."""
    text = read_bytes(path, "MetaImage header")[:LONGEST_TEXT].decode("utf-8-sig", errors="replace")
    fields: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or key in fields:
            got = f"{key!r} twice" if equals else repr(line[:40])
            raise InputError(f"{path.name}: expected lines as Key = Value, each key once, got {got}. {AGAIN}")
        fields[key] = value
    return fields


def _numbers(name: str, key: str, fields: dict[str, str], form: str) -> tuple[float, ...]:
    """The numbers of a required field, each of this form."""
    words = fields.get(key, "").split()
    try:
        if words and all(re.fullmatch(form, word, re.IGNORECASE) for word in words):
            return tuple(map(float, words))
    except ValueError:
        pass
    raise InputError(f"{name}: {key}: expected numbers, got {fields.get(key)!r}. {AGAIN}")


def _flag(name: str, keys: tuple[str, ...], fields: dict[str, str], otherwise: str | None) -> bool:
    """True or False under the keys that are present, which must agree; nothing that only looks like it."""
    values: set[str | None] = {fields[key] for key in keys if key in fields} or {otherwise}
    if values not in ({"True"}, {"False"}):
        got = " and ".join(sorted(map(str, values)))
        raise InputError(f"{name}: {' or '.join(keys)}: expected True or False, got {got}. {AGAIN}")
    return values == {"True"}


def _kind(name: str, fields: dict[str, str]) -> np.dtype[np.generic]:
    """The type of a pixel; its byte order must be given where it matters."""
    given = fields.get("ElementType", "")
    if given not in PIXEL_KINDS:
        known = ", ".join(PIXEL_KINDS)
        raise InputError(f"{name}: ElementType: expected one of {known}, got {given!r}. Convert it.")
    kind = np.dtype(PIXEL_KINDS[given])
    is_big = _flag(name, BYTE_ORDER, fields, "False" if kind.itemsize == 1 else None)
    return kind.newbyteorder(">" if is_big else "<")


def _data_file(path: Path, fields: dict[str, str]) -> Path:
    """The data file: beside the header and of its name, so that a header can't reach into other folders or patients."""
    given = fields.get("ElementDataFile")
    names = (f"{path.stem}.raw", f"{path.stem}.zraw")
    if given not in names:
        raise InputError(
            f"{path.name}: ElementDataFile: expected {' or '.join(names)} beside it, got {given!r}. {AGAIN}"
        )
    if not (path.parent / given).is_file():
        raise InputError(f"{given}: expected the pixels of {path.name}, found no file. Copy it there.")
    return path.parent / given


def _unpack(name: str, stored: bytes, size: int) -> bytes:
    """Decompress to the end, which proves the checksum, but no further than one byte beyond what the header says."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(stored, size + 1)
    except zlib.error as error:
        raise InputError(f"{name}: expected an undamaged zlib stream, got {str(error)!r}. {AGAIN}") from error
    if len(content) == size and not stream.eof:
        raise InputError(f"{name}: expected the stream to end after {size} bytes, got no end. {AGAIN}")
    if stream.unused_data:
        extra = len(stream.unused_data)
        raise InputError(f"{name}: expected the file to end with its stream, got {extra} bytes more. {AGAIN}")
    return content
