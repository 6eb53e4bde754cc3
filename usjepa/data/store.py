"""A prepared store on disk: what it holds, and how it is opened and checked."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydantic import TypeAdapter, ValidationError

from usjepa.data.layout import CAMUS_LICENCE, SYNTHETIC_LICENCE
from usjepa.errors import InputError

SOURCES = {SYNTHETIC_LICENCE: "phantom", CAMUS_LICENCE: "CAMUS"}
FORMAT = "usjepa store 1: frames bilinear antialiased, labels nearest, centred square"
"""Part of every fingerprint: change it when the same sequences would give other arrays."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where one sequence lies in the store: frames `first` to `first + length`, and what is known of it.

    spacing_mm is that of the resized frames, original_size the (rows, columns) before padding and resizing.
    """

    name: str
    patient: str
    view: str
    split: str
    first: int
    length: int
    annotated: tuple[int, ...]
    is_labelled: bool
    spacing_mm: tuple[float, float] | None
    original_size: tuple[int, int]
    interval_s: float | None
    quality: str | None
    licence: str


@dataclass(frozen=True, kw_only=True)
class Index:
    """What `index.json` holds."""

    format: str
    size_px: int
    fingerprint: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """A prepared data set: frames and labels uint8 [F, S, S], read-only and memory-mapped.

    The fingerprint hashes sources, splits, size and format; it does not depend on the folder.
    """

    folder: Path
    size_px: int
    frames: UInt8[np.ndarray, "F S S"]
    labels: UInt8[np.ndarray, "F S S"]
    entries: tuple[Entry, ...]
    fingerprint: str

    @property
    def source(self) -> str:
        """What the films show, for tables and titles: "phantom", "CAMUS", "other films", or several of these."""
        return " and ".join(sorted({SOURCES.get(entry.licence, "other films") for entry in self.entries}))

    def select(self, split: str) -> tuple[Entry, ...]:
        """The entries of one split. Raises InputError, listing the splits present, if there is none."""
        chosen = tuple(entry for entry in self.entries if entry.split == split)
        if not chosen:
            present = ", ".join(sorted({entry.split for entry in self.entries}))
            raise InputError(
                f"{self.folder}: expected entries of split {split!r}, found only {present}. Choose one of these."
            )
        return chosen


def open_store(folder: Path) -> Store:
    """Memory-map a store. Raises InputError for a folder that is missing, half-written or something else."""
    advice = "Make it with: usjepa data prepare DATA STORE."
    if not (folder / "index.json").is_file():
        raise InputError(f"{folder}: expected a prepared store, found no index.json. {advice}")
    try:
        index = TypeAdapter(Index).validate_json((folder / "index.json").read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{folder}/index.json: {'.'.join(map(str, first['loc']))}: {first['msg']}. {advice}"
        ) from error
    if index.format != FORMAT:
        raise InputError(f"{folder}: expected format {FORMAT!r}, got {index.format!r}. {advice}")
    length = sum(entry.length for entry in index.entries)
    arrays = [
        _open_array(folder / name, (length, index.size_px, index.size_px)) for name in ("frames.npy", "labels.npy")
    ]
    return Store(
        folder=folder,
        size_px=index.size_px,
        frames=arrays[0],
        labels=arrays[1],
        entries=index.entries,
        fingerprint=index.fingerprint,
    )


def _open_array(path: Path, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "F S S"]:
    """Memory-map one array of known shape, or raise InputError."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}. Make the store again with: usjepa data prepare DATA STORE.") from error
    if array.shape != shape or array.dtype != np.uint8:
        got = f"{array.dtype} {list(array.shape)}"
        raise InputError(f"{path}: expected uint8 {list(shape)}, got {got}. Run: usjepa data prepare DATA STORE.")
    return array
