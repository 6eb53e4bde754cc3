"""Many sequences that are read one by one, with what can't be read named or counted."""

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError

SHOWN_PROBLEMS = 10
JUNK = ("Thumbs.db", "desktop.ini", "__MACOSX")
"""What Windows and macOS leave in folders, beside hidden files."""


@runtime_checkable
class Readable(Protocol):
    """One video that is not read yet."""

    def read(self) -> UltrasoundSequence:
        """Decode it. Raises InputError, the file first."""
        ...

    def key(self) -> str:
        """Its `usjepa.data.prepare.sequence_key`, without decoding it."""
        ...


@dataclass(frozen=True)
class Videos:
    """Sequences, each read when asked for; if not `is_strict`, iterating leaves out unreadable ones and counts them."""

    items: tuple[Readable, ...]
    is_strict: bool

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> UltrasoundSequence:
        return self.items[index].read()

    def __iter__(self) -> Iterator[UltrasoundSequence]:
        problems: list[str] = []
        for item in self.items:
            try:
                sequence = item.read()
            except InputError as error:
                if self.is_strict:
                    raise
                problems.append(str(error))
                continue
            yield sequence
        warn_left_out(problems, len(self.items))

    def keys(self) -> tuple[str, ...]:
        """As `usjepa.data.prepare` asks: names, splits and hashes, without decoding an image."""
        return tuple(item.key() for item in self.items)


def refuse_or_warn(where: Path, problems: list[str], total: int, *, is_strict: bool) -> None:
    """Raise InputError with the problems, or warn with their count; nothing without any."""
    if problems and is_strict:
        shown = "\n  ".join(problems[:SHOWN_PROBLEMS])
        raise InputError(f"{where}: {len(problems)} problem(s) among {total} video(s):\n  {shown}")
    warn_left_out(problems, total)


def warn_left_out(problems: list[str], total: int) -> None:
    """Warn how many are left out, and why the first one is."""
    if problems:
        warnings.warn(f"{len(problems)} of {total} videos are left out, first: {problems[0]}", stacklevel=3)


def hash_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    parts = (f"{part.name} {hash_of(part)}" for part in visible(path))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without hidden files and `JUNK`."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in JUNK)
