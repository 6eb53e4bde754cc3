"""Files that are whole whenever they are there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to: it takes the place of `path` when the block ends, and is gone if it fails.

    A kill leaves at most the file beside, `.NAME.PID`.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())  # a network disk says only here that it is full; a power cut finds a whole file
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
