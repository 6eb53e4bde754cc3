"""Sequences to a store: one square uint8 array of frames, one of labels, an index; memory-mapped ever after."""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sized
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from usjepa.data.sequence import UltrasoundSequence
from usjepa.data.store import FORMAT, Entry, Index, Store, open_store
from usjepa.errors import InputError

__all__ = ["Entry", "Store", "fingerprint", "open_store", "prepare", "sequence_key", "to_square", "written_beside"]


@runtime_checkable
class Keyed(Protocol):
    """A collection that knows its sequences' keys without decoding them, so that a finished store is found at once."""

    def keys(self) -> tuple[str, ...]:
        """`sequence_key` of each sequence, in order."""
        ...


def sequence_key(*, name: str, split: str, source_sha256: str) -> str:
    """The line by which a sequence enters a store's fingerprint."""
    return f"{name} {split} {source_sha256}"


def fingerprint(keys: Iterable[str], size_px: int) -> str:
    """SHA-256 hex of a store made of these sequences at this size."""
    return hashlib.sha256("\n".join([FORMAT, str(size_px), *keys]).encode()).hexdigest()


def to_square(image: UInt8[np.ndarray, "H W"], size_px: int, resample: Image.Resampling) -> UInt8[np.ndarray, "S S"]:
    """Pad to a centred square with zeros and resize; PIL's bilinear averages over all pixels that a new one covers."""
    rows, columns = image.shape
    side = max(rows, columns)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = image
    return np.asarray(Image.fromarray(square).resize((size_px, size_px), resample))


@contextlib.contextmanager
def written_beside(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `folder` when the block ends well, and vanishes when it doesn't.

    An older folder of that name is replaced: callers check first that it is theirs.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        content = scratch / "new"
        content.mkdir()
        yield content
        if folder.exists():
            folder.rename(scratch / "old")
        content.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def prepare(sequences: Iterable[UltrasoundSequence], folder: Path, size_px: int) -> Store:
    """Write the sequences as a store of `size_px` squares and open it; a store of the same fingerprint is kept.

    One sequence is in memory at a time. Raises InputError for no sequence at all, a name that comes twice, a patient
    in two splits, a size below 8, and a folder that exists and is another store or none.
    """
    if size_px < 8:
        raise InputError(f"size_px: expected at least 8, got {size_px}. Take a multiple of the model's patch.")
    present = open_store(folder) if folder.exists() else None
    if present and isinstance(sequences, Keyed):
        _require_same(present, fingerprint(sequences.keys(), size_px))
        return present
    with written_beside(folder) as scratch:
        made = _write(sequences, scratch, size_px)
        if present:
            _require_same(present, made)
    return open_store(folder)


def _require_same(present: Store, wanted: str) -> None:
    """Raise InputError if a store holds other sequences, or another size of them, than those to be prepared."""
    if present.fingerprint != wanted:
        raise InputError(
            f"{present.folder}: expected a store of these sequences and this size ({wanted[:12]}), found another "
            f"({present.fingerprint[:12]}). Give another folder, or delete this one if nothing needs it."
        )


def _write(sequences: Iterable[UltrasoundSequence], scratch: Path, size_px: int) -> str:
    """Fill `scratch`: both arrays frame by frame, their headers when the count is known, the index last.

    Returns the fingerprint.
    """
    entries: list[Entry] = []
    keys: list[str] = []
    total = len(sequences) if isinstance(sequences, Sized) else None
    with open(scratch / "frames.npy", "wb") as frames, open(scratch / "labels.npy", "wb") as labels:
        for file in (frames, labels):
            _write_header(file, 0, size_px)
        for sequence in tqdm(sequences, desc="prepare", unit="sequence", total=total, disable=None):
            entries.append(_entry(sequence, entries, size_px))
            keys.append(sequence_key(name=sequence.name, split=sequence.split, source_sha256=sequence.source_sha256))
            truth = np.zeros_like(sequence.frames) if sequence.labels is None else sequence.labels
            for frame, label in zip(sequence.frames, truth, strict=True):
                frames.write(to_square(frame, size_px, Image.Resampling.BILINEAR).tobytes())
                labels.write(to_square(label, size_px, Image.Resampling.NEAREST).tobytes())
        if not entries:
            raise InputError("sequences: expected at least one to prepare, got none. Check the data folder.")
        for file in (frames, labels):
            _write_header(file, entries[-1].first + entries[-1].length, size_px)
    index = Index(format=FORMAT, size_px=size_px, fingerprint=fingerprint(keys, size_px), entries=tuple(entries))
    (scratch / "index.json").write_text(json.dumps(asdict(index), indent=1) + "\n", encoding="utf-8")
    return index.fingerprint


def _write_header(file: BinaryIO, length: int, size_px: int) -> None:
    """Write or overwrite the .npy header; numpy pads it, so that it keeps its length as the first axis grows."""
    file.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (length, size_px, size_px)}
    np.lib.format.write_array_header_1_0(file, header)


def _entry(sequence: UltrasoundSequence, before: list[Entry], size_px: int) -> Entry:
    """The entry of the next sequence. Raises InputError for a repeated name or a patient in two splits."""
    for other in before:
        if other.name == sequence.name:
            raise InputError(
                f"{sequence.source}: expected a new name, got {other.name} twice. Rename or leave one out."
            )
        if other.patient == sequence.patient and other.split != sequence.split:
            splits = f"{other.split} and {sequence.split}"
            raise InputError(f"{sequence.patient}: expected one split a patient, got {splits}. Correct the lists.")
    rows, columns = sequence.frames.shape[1:]
    scale = max(rows, columns) / size_px
    spacing = sequence.spacing_mm
    return Entry(
        name=sequence.name,
        patient=sequence.patient,
        view=sequence.view,
        split=sequence.split,
        first=before[-1].first + before[-1].length if before else 0,
        length=len(sequence.frames),
        annotated=sequence.annotated,
        is_labelled=sequence.labels is not None,
        spacing_mm=None if spacing is None else (spacing[0] * scale, spacing[1] * scale),
        original_size=(rows, columns),
        interval_s=sequence.interval_s,
        quality=sequence.quality,
        licence=sequence.licence,
    )
