"""The one form in which every ultrasound video travels: frames, calibration, labels, where it came from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from usjepa.errors import InputError
from usjepa.structures import STRUCTURES

SPLITS = ("train", "validation", "test", "unlabelled")
SPACING_LIMITS_MM = (0.01, 5.0)
"""A pixel of diagnostic ultrasound is some tenths of a millimetre; outside these limits the unit was mistaken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UltrasoundSequence:
    """One view of one patient, in order of time.

    frames: grey levels [T, H, W], row 0 at the probe. spacing_mm: (row, column), None where uncalibrated.
    interval_s: time between frames, None where unknown. labels [T, H, W]: the index into `STRUCTURES`, where 2 is the
    ring of myocardium as CAMUS stores it; None without labels. annotated: the frames that experts drew, in CAMUS the
    first (end diastole) and the last (end systole); the labels between them are interpolated there.
    is_reversed: stored from systole to diastole and turned round here. source is a file name, source_sha256 the hash
    of what was read. Raises InputError, the source first, for anything else.
    """

    frames: UInt8[np.ndarray, "T H W"]
    patient: str
    view: str
    split: str
    source: str
    source_sha256: str
    licence: str
    spacing_mm: tuple[float, float] | None = None
    interval_s: float | None = None
    labels: UInt8[np.ndarray, "T H W"] | None = None
    annotated: tuple[int, ...] = ()
    is_reversed: bool = False
    quality: str | None = None

    def __post_init__(self) -> None:
        _check_pixels(self)
        length = len(self.frames)
        _require(
            all(0 <= index < length for index in self.annotated) and len(set(self.annotated)) == len(self.annotated),
            self.source,
            f"annotated: different frames between 0 and {length - 1}, got {self.annotated}",
        )
        _require(self.split in SPLITS, self.source, f"split: one of {', '.join(SPLITS)}, got {self.split!r}")
        _require("/" not in self.source and "\\" not in self.source, self.source, "source: a file name without folders")
        for field in ("patient", "view", "source", "source_sha256", "licence"):
            _require(bool(getattr(self, field)), self.source, f"{field}: some text, got none")
        if self.spacing_mm is not None:
            low, high = SPACING_LIMITS_MM
            held = all(low <= value <= high for value in self.spacing_mm)
            _require(held, self.source, f"spacing_mm: {low} to {high} mm, got {self.spacing_mm}")
        if self.interval_s is not None:
            held = 0 < self.interval_s < 60
            _require(held, self.source, f"interval_s: above 0 and below 60 s, got {self.interval_s}")

    @property
    def name(self) -> str:
        """Patient and view, as in "patient0001_4CH"."""
        return f"{self.patient}_{self.view}"


def _require(held: bool, source: str, expected: str) -> None:
    """Raise the InputError of a field unless its condition held."""
    if not held:
        raise InputError(f"{source}: expected {expected}. Correct the data or leave the sequence out.")


def _check_pixels(sequence: UltrasoundSequence) -> None:
    """Shapes, types and label values; raises InputError."""
    frames, labels, source = sequence.frames, sequence.labels, sequence.source
    held = frames.ndim == 3 and frames.dtype == np.uint8 and frames.size > 0
    _require(held, source, f"frames: uint8 [T, H, W], none of them 0, got {frames.dtype} {list(frames.shape)}")
    if labels is None:
        _require(not sequence.annotated, source, f"annotated: no frame without labels, got {sequence.annotated}")
        return
    held = labels.dtype == np.uint8 and labels.shape == frames.shape
    _require(held, source, f"labels: uint8 {list(frames.shape)}, got {labels.dtype} {list(labels.shape)}")
    highest = int(labels.max())
    _require(highest < len(STRUCTURES), source, f"labels: 0 to {len(STRUCTURES) - 1}, got {highest}")
