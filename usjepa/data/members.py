"""The entries of a zip or tar archive, one by one, without trust in what the archive says of itself."""

import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from usjepa.errors import InputError

PADDING_BYTES, TAR_END_BYTES = 2**20, 1024
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    UnicodeDecodeError,
    NotImplementedError,
)
"""What Python's archive modules raise for damaged or unusual archives."""


class Member(NamedTuple):
    """One entry of an archive; kind is "file", "folder", or what it is instead ("a link", "an encrypted file")."""

    name: str
    kind: str
    size: int
    content: io.BufferedIOBase | IO[bytes] | None


def members(archive: Path) -> Iterator[Member]:
    """All entries in order, told apart by content and not by name; read each before asking for the next.

    Raises InputError for an archive that was cut or does not end, and one of `DAMAGE` for any other that is broken.
    """
    with open(archive, "rb") as file:
        magic = file.read(4)
    if magic[:2] == b"PK":
        yield from _zip_members(archive)
    elif magic[:2] == b"\x1f\x8b":
        with gzip.open(archive) as stream:
            yield from _tar_members(stream)
            # What follows the last member is some padding; reading to its end proves the checksum.
            if len(stream.read(PADDING_BYTES)) == PADDING_BYTES:
                raise InputError(f"{archive.name}: expected an end after the last file, got more. Get it again.")
    else:
        with open(archive, "rb") as plain:
            # Python reads a tar that was cut between two files as if it were whole.
            plain.seek(-min(TAR_END_BYTES, archive.stat().st_size), os.SEEK_END)
            if plain.read().strip(b"\0"):
                raise InputError(f"{archive.name}: truncated (expected two empty blocks, got none). Get it again.")
            plain.seek(0)
            yield from _tar_members(plain)


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = "folder" if info.is_dir() else "file"
            if stat.S_ISLNK(info.external_attr >> 16):
                kind = "a link"
            elif info.flag_bits & 1:
                kind = "an encrypted file"
            if kind == "file":
                with opened.open(info) as content:
                    yield Member(info.filename, kind, info.file_size, content)
            else:
                yield Member(info.filename, kind, 0, None)


def _tar_members(stream: io.BufferedIOBase) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|") as opened:
        for info in opened:
            kinds = {"file": info.isreg(), "folder": info.isdir(), "a link": info.issym() or info.islnk()}
            kind = next((name for name, held in kinds.items() if held), "a device")
            content = opened.extractfile(info) if kind == "file" else None
            yield Member(info.name, kind, info.size if kind == "file" else 0, content)
