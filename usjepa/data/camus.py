"""CAMUS in either release, and the phantom, which has its layout: one `UltrasoundSequence` a patient and view."""

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from usjepa.data.layout import (
    CAMUS_LICENCE,
    MARKER,
    SYNTHETIC_LICENCE,
    VIEWS,
    Info,
    Loop,
    find_loop,
    find_tree,
)
from usjepa.data.lists import read_splits
from usjepa.data.mhd import data_file, read_mhd
from usjepa.data.nifti import read_nifti
from usjepa.data.pixels import StoredImage, to_frames, to_labels
from usjepa.data.prepare import sequence_key
from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError

SHOWN_PROBLEMS = 10


@dataclass(frozen=True)
class CamusTree:
    """The sequences of a tree, each read when asked for. Iterating skips unreadable views if not `is_strict`."""

    loops: tuple[Loop, ...]
    is_strict: bool

    def __len__(self) -> int:
        return len(self.loops)

    def __getitem__(self, index: int) -> UltrasoundSequence:
        return read_loop(self.loops[index])

    def __iter__(self) -> Iterator[UltrasoundSequence]:
        for loop in self.loops:
            try:
                sequence = read_loop(loop)
            except InputError as error:
                if self.is_strict:
                    raise
                warnings.warn(f"left out: {error}", stacklevel=2)
                continue
            yield sequence

    def keys(self) -> tuple[str, ...]:
        """As `usjepa.data.prepare` asks: names, splits and hashes, without decoding an image."""
        return tuple(
            sequence_key(name=f"{loop.patient}_{loop.view}", split=loop.split, source_sha256=_hash(loop))
            for loop in self.loops
        )


def read_camus(root: Path, *, strict: bool = True, fold: int = 1) -> CamusTree:
    """Find the sequences below CAMUS_public, its parent, database_nifti, or the older release; pixels are read later.

    fold is that of the older release's ten. Warns once of lists that aren't of the official sizes. Raises InputError
    for a folder without CAMUS, missing lists, a patient in two lists, and, all of them in one message, for every
    missing file and wrong cfg; with strict=False such views are left out, and a warning counts them.
    """
    tree = find_tree(root)
    home, splits = tree.home, read_splits(tree, fold)
    licence = SYNTHETIC_LICENCE if (home.parent / MARKER).is_file() else CAMUS_LICENCE
    loops: list[Loop] = []
    problems: list[str] = []
    for patient, split in sorted(splits.items()):
        for view in VIEWS:
            try:
                loops.append(find_loop(tree.folders.get(patient, home / patient), view, split, licence))
            except InputError as error:
                problems.append(str(error))
    unlisted = sorted(tree.folders.keys() - splits.keys())
    if unlisted:
        warnings.warn(
            f"{home.name}: {len(unlisted)} patients in no list are left out, first {unlisted[0]}", stacklevel=2
        )
    if problems and (strict or not loops):
        shown = "\n  ".join(problems[:SHOWN_PROBLEMS])
        raise InputError(f"{home}: {len(problems)} of {len(splits) * len(VIEWS)} views can't be read:\n  {shown}")
    if problems:
        warnings.warn(f"{home.name}: {len(problems)} views are left out, first: {problems[0]}", stacklevel=2)
    return CamusTree(tuple(loops), strict)


def read_image(path: Path) -> StoredImage:
    """Read one stored image of either release. Raises InputError, the file first."""
    return read_mhd(path) if path.suffix == ".mhd" else read_nifti(path)


def require_same(name: str, image: StoredImage, truth: StoredImage) -> None:
    """Raise InputError, with the labels' name, unless they have the image's frames, pixels and spacing."""
    shape, got = image.array.shape, truth.array.shape
    if got != shape:
        hint = "It is transposed: swap its axes." if got[:0:-1] == shape[1:] else "Download both again."
        raise InputError(f"{name}: expected the image's {shape}, got {got}. {hint}")
    if not np.allclose(image.spacing_mm, truth.spacing_mm, rtol=0, atol=1e-3):
        raise InputError(
            f"{name}: expected the image's {image.spacing_mm} mm, got {truth.spacing_mm}. Download both again."
        )


def require_length(name: str, length: int, cfg: str, info: Info) -> None:
    """Raise InputError, with the image's name, unless it has as many frames as its cfg says."""
    if info.frames != length:
        raise InputError(f"{name}: expected NbFrame {info.frames} of {cfg}, got {length} frames. Correct one.")


def read_loop(loop: Loop) -> UltrasoundSequence:
    """Read image and labels, turned round where stored from systole to diastole. Raises InputError, the file first."""
    image, truth = read_image(loop.image), read_image(loop.labels)
    frames, labels = to_frames(loop.image.name, image.array), to_labels(loop.labels.name, truth.array)
    info, length = loop.info, len(frames)
    require_same(loop.labels.name, image, truth)
    require_length(loop.image.name, length, loop.cfg.name, info)
    is_reversed = info.ed > info.es
    annotated = (length - info.ed, length - info.es) if is_reversed else (info.ed - 1, info.es - 1)
    return UltrasoundSequence(
        frames=np.ascontiguousarray(frames[::-1]) if is_reversed else frames,
        labels=np.ascontiguousarray(labels[::-1]) if is_reversed else labels,
        patient=loop.patient,
        view=loop.view,
        split=loop.split,
        source=loop.image.name,
        source_sha256=_hash(loop),
        licence=loop.licence,
        spacing_mm=image.spacing_mm,
        interval_s=1 / info.frame_rate if info.frame_rate else None,
        annotated=annotated,
        is_reversed=is_reversed,
        quality=info.quality,
    )


def _hash(loop: Loop) -> str:
    """SHA-256 over all that a sequence is made from: image, labels, cfg, and what an .mhd points to."""
    digest = hashlib.sha256()
    for path in (loop.image, loop.labels, loop.cfg):
        for part in (path, data_file(path)) if path.suffix == ".mhd" else (path,):
            digest.update(hashlib.sha256(part.read_bytes()).digest())
    return digest.hexdigest()
