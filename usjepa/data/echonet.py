"""EchoNet-Dynamic as released: four-chamber videos, with the left ventricle traced on two frames of each.

Layout: FileList.csv, VolumeTracings.csv and Videos/NAME.avi (Ouyang et al., Nature 2020). A tracing has a row a chord:
the first is the long axis, the others cross it, and their ends make the contour.
"""

import csv
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from usjepa.data.collection import Videos, hash_of, refuse_or_warn
from usjepa.data.film import read_film
from usjepa.data.prepare import sequence_key
from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError

FILE_LIST, TRACINGS = "FileList.csv", "VolumeTracings.csv"
TRACING_COLUMNS = ["FileName", "X1", "Y1", "X2", "Y2", "Frame"]
SPLIT_OF = {"TRAIN": "train", "VAL": "validation", "TEST": "test"}
ENDOCARDIUM = 1
FEWEST_CHORDS = 3
LICENCE = "Stanford research use agreement (EchoNet-Dynamic)"

Chords = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, kw_only=True)
class EchonetVideo:
    """One row of the file list, with its tracings by frame; no two videos share a patient."""

    path: Path
    split: str
    rate_hz: float | None
    tracings: Mapping[int, Chords]

    def read(self) -> UltrasoundSequence:
        """Decode it. Traced frames are `annotated`, the larger contour (end diastole) first; all others hold 0.

        Raises InputError for an unreadable video and a tracing outside it.
        """
        film = read_film(self.path)
        labels = np.zeros_like(film.frames)
        for frame, chords in self.tracings.items():
            where = f"{TRACINGS}: {self.path.name}, frame {frame}"
            if frame >= len(labels):
                raise InputError(f"{where}: expected 0 to {len(labels) - 1}. Download the video again.")
            labels[frame][inside(contour(chords), labels.shape[1:])] = ENDOCARDIUM
            if not labels[frame].any():
                raise InputError(f"{where}: expected a contour inside the image, got no pixel. Correct the rows.")
        return UltrasoundSequence(
            frames=film.frames,
            labels=labels if self.tracings else None,
            annotated=tuple(sorted(self.tracings, key=lambda frame: -int(labels[frame].sum()))),
            patient=self.path.stem,
            view="4CH",
            split=self.split,
            source=self.path.name,
            source_sha256=self._hash(),
            licence=LICENCE,
            interval_s=1 / self.rate_hz if self.rate_hz else film.interval_s,
        )

    def key(self) -> str:
        """Its `sequence_key`, without decoding it."""
        return sequence_key(name=f"{self.path.stem}_4CH", split=self.split, source_sha256=self._hash())

    def _hash(self) -> str:
        """SHA-256 over all that a sequence is made from: video, rate, tracings."""
        return hashlib.sha256(f"{hash_of(self.path)} {self.rate_hz} {self.tracings}".encode()).hexdigest()


def read_echonet(root: Path, *, strict: bool = True) -> Videos:
    """Find the listed videos of an EchoNet-Dynamic folder; pixels are read later, one by one.

    A video without a tracing, of which the release has a few, has no labels. Raises InputError for a missing list or
    a wrong row, and, all of them in one message, for listed videos that are absent; with strict=False these are left
    out, and a warning counts them.
    """
    tracings = _read_tracings(root / TRACINGS)
    rows = _read_file_list(root / FILE_LIST)
    videos: list[EchonetVideo] = []
    problems: list[str] = []
    for name, (split, rate_hz) in rows.items():
        path = root / "Videos" / f"{name}.avi"
        if path.is_file():
            videos.append(EchonetVideo(path=path, split=split, rate_hz=rate_hz, tracings=tracings.get(name, {})))
        else:
            problems.append(f"{path.name}: expected in Videos, because {FILE_LIST} names it, found no file.")
    refuse_or_warn(root, problems, len(rows), is_strict=strict)
    if not videos:
        raise InputError(f"{root / 'Videos'}: expected the videos of {FILE_LIST}, found none. Download them.")
    return Videos(tuple(videos), strict)


def contour(chords: Chords) -> Float[np.ndarray, "points 2"]:
    """(x, y) of a closed contour: down the first ends of all chords but the long axis, back up the second ones."""
    ends = np.array(chords[1:], dtype=np.float64)
    return np.concatenate((ends[:, :2], ends[::-1, 2:]))


def inside(points: Float[np.ndarray, "points 2"], size: tuple[int, ...]) -> Bool[np.ndarray, "H W"]:
    """Pixels whose centres, at whole numbers, lie inside a closed polygon of (x, y): its edges to the right are odd."""
    y, x = np.mgrid[: size[0], : size[1]]
    result = np.zeros(size, dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            result ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return result


def _read_file_list(path: Path) -> dict[str, tuple[str, float | None]]:
    """Name, without .avi, to split and frames a second."""
    listed: dict[str, tuple[str, float | None]] = {}
    for where, row in _rows(path, ("FileName", "FPS", "Split")):
        name, split = row["FileName"].removesuffix(".avi"), row["Split"].strip().upper()
        if split not in SPLIT_OF or not name or name in listed or "/" in name or "\\" in name:
            expected = f"a name of its own and a split of {', '.join(SPLIT_OF)}"
            raise InputError(f"{where}: expected {expected}, got {name!r} and {split!r}. Correct the row.")
        rate_hz = _number(where, "FPS", row["FPS"])
        listed[name] = (SPLIT_OF[split], rate_hz if rate_hz > 0 else None)
    return listed


def _read_tracings(path: Path) -> dict[str, dict[int, Chords]]:
    """Name, without .avi, to frame to chords (x1, y1, x2, y2), in the order of the file."""
    found: dict[str, dict[int, Chords]] = {}
    for where, row in _rows(path, TRACING_COLUMNS):
        if list(row) != TRACING_COLUMNS:
            raise InputError(f"{path.name}: expected the header {','.join(TRACING_COLUMNS)}, got {','.join(row)}.")
        x1, y1, x2, y2 = (_number(where, column, row[column]) for column in TRACING_COLUMNS[1:5])
        frame = _number(where, "Frame", row["Frame"])
        if frame < 0 or frame != int(frame):
            raise InputError(f"{where}: Frame: expected a whole number from 0, got {row['Frame']!r}. Correct the row.")
        frames = found.setdefault(row["FileName"].removesuffix(".avi"), {})
        frames[int(frame)] = (*frames.get(int(frame), ()), (x1, y1, x2, y2))
    for name, frames in found.items():
        for number, chords in frames.items():
            if len(chords) < FEWEST_CHORDS:
                expected = f"a long axis and at least {FEWEST_CHORDS - 1} chords"
                raise InputError(
                    f"{path.name}: {name}, frame {number}: expected {expected}, got {len(chords)} rows. Add them."
                )
    return found


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row stands, and its values by column. Raises InputError for missing files, columns and values."""
    if not path.is_file():
        raise InputError(f"{path}: expected a list of EchoNet-Dynamic, found none. It comes with the videos.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: expected a CSV file in UTF-8, got: {error}. Take the original.") from error
    reader = csv.DictReader(lines)
    if not set(columns) <= set(reader.fieldnames or ()):
        got = ",".join(reader.fieldnames or ())
        raise InputError(f"{path.name}: expected the columns {','.join(columns)}, got {got!r}. Take the original.")
    for row in reader:
        where = f"{path.name}, row {reader.line_num}"
        if None in row or None in row.values():
            raise InputError(f"{where}: expected {len(reader.fieldnames or ())} values, got others. Correct the row.")
        yield where, row


def _number(where: str, column: str, text: str) -> float:
    """A finite number, or InputError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {column}: expected a number, got {text!r}. Correct the row.")
    return value
