"""A folder of one's own videos: DICOM, AVI, MP4, MOV, NIfTI, MHA and folders of PNG images, read one by one.

Nothing of a header but geometry and timing is kept. File names are: rename files that are called after somebody.
"""

import csv
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from usjepa.data.collection import Videos, hash_of, refuse_or_warn, visible
from usjepa.data.dicom import read_dicom
from usjepa.data.film import DEMUXERS, Film, read_film
from usjepa.data.mha import read_mha
from usjepa.data.nifti import read_nifti
from usjepa.data.pixels import to_frames
from usjepa.data.prepare import sequence_key
from usjepa.data.sequence import SPLITS, UltrasoundSequence
from usjepa.data.splits import check_leakage
from usjepa.data.stills import is_png_folder, read_png_folder
from usjepa.errors import InputError

PATIENTS = "patients.csv"
COLUMNS = ["file", "patient", "split"]
KINDS = "DICOM, AVI, MP4, MOV, NIfTI, MHA or a folder of nothing but PNG images"


@dataclass(frozen=True, kw_only=True)
class Video:
    """One file, or one folder of PNG images, and whom it belongs to."""

    path: Path
    patient: str
    view: str
    split: str

    @property
    def name(self) -> str:
        """Patient and view, as `UltrasoundSequence` joins them."""
        return f"{self.patient}_{self.view}"

    def read(self) -> UltrasoundSequence:
        """Decode it. Raises InputError, the file first."""
        film = reader_of(self.path)(self.path)
        return UltrasoundSequence(
            frames=film.frames,
            patient=self.patient,
            view=self.view,
            split=self.split,
            source=self.path.name,
            source_sha256=hash_of(self.path),
            licence="unknown",
            spacing_mm=film.spacing_mm,
            interval_s=film.interval_s,
        )

    def key(self) -> str:
        """Its `sequence_key`, without decoding it."""
        return sequence_key(name=self.name, split=self.split, source_sha256=hash_of(self.path))


def read_videos(folder: Path, *, strict: bool = True) -> Videos:
    """Find the videos of a folder, or take the one file that is named; pixels are read later, one by one.

    A patient is called after the file or the folder of images, view "unknown", split "unlabelled". `patients.csv`
    beside the videos, with the columns file, patient, split and a row a video, groups and splits them; their view is
    then the file's stem. Hidden files are ignored. Raises InputError, all in one message, for whatever is no video,
    is not listed, or would have another's name, and for a patient in two splits; with strict=False all but the last
    are left out, and a warning counts them.
    """
    if not folder.exists():
        raise InputError(f"{folder}: expected a folder of videos or a video, found nothing. Check the path.")
    if folder.is_file():
        reader_of(folder)
        return Videos((_video(folder, None),), strict)
    listed = read_patients(folder / PATIENTS) if (folder / PATIENTS).is_file() else None
    paths = [path for path in visible(folder) if path.name != PATIENTS]
    videos: list[Video] = []
    problems: list[str] = []
    names: Counter[str] = Counter()
    for path in paths:
        try:
            reader_of(path)
            video = _video(path, listed)
        except InputError as error:
            problems.append(str(error))
            continue
        names[video.name] += 1
        if names[video.name] > 1:
            problems.append(f"{path.name}: expected a name of its own, got {video.name} again. Rename the file.")
            continue
        videos.append(video)
    absent = sorted(set(listed or ()) - {path.name for path in paths})
    problems += [f"{PATIENTS}: expected files that exist, got {name!r}. Correct the row." for name in absent]
    refuse_or_warn(folder, problems, len(paths), is_strict=strict)
    if not videos:
        raise InputError(f"{folder}: expected {KINDS}, found no video. Check the path.")
    check_leakage(videos)
    return Videos(tuple(videos), strict)


def read_patients(path: Path) -> dict[str, tuple[str, str]]:
    """File name to patient and split, from a CSV file with the header file,patient,split.

    Raises InputError, the file and row first, for another header, an empty or unknown value, and a file listed twice.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name}: expected a CSV file in UTF-8, got: {error}. Save it again.") from error
    header = rows[0] if rows else []
    if header != COLUMNS:
        raise InputError(f"{path.name}: expected the header {','.join(COLUMNS)}, got {','.join(header)!r}. Correct it.")
    listed: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(COLUMNS) or not all(row) or row[2] not in SPLITS:
            expected = f"file, patient and one of {', '.join(SPLITS)}"
            raise InputError(f"{path.name}, row {number}: expected {expected}, got {row}. Correct the row.")
        if row[0] in listed:
            raise InputError(f"{path.name}, row {number}: expected each file once, got {row[0]!r} again. Remove one.")
        listed[row[0]] = (row[1], row[2])
    return listed


def reader_of(path: Path) -> Callable[[Path], Film]:
    """The function that reads this file or folder. Raises InputError if it is no video of a kind that is read."""
    reader: Callable[[Path], Film] | None
    if path.is_dir():
        reader = read_png_folder if is_png_folder(path) else None
    else:
        reader = READERS.get(_suffix(path)) or (_read_dicom if _is_dicom(path) else None)
    if reader is None:
        raise InputError(f"{path.name}: expected {KINDS}, got something else. Convert it or move it elsewhere.")
    return reader


def _video(path: Path, listed: Mapping[str, tuple[str, str]] | None) -> Video:
    """Whom a file or folder belongs to. Raises InputError if there is a list that leaves it out."""
    stem = path.name if path.is_dir() else path.name[: len(path.name) - len(_suffix(path))]
    if listed is None:
        return Video(path=path, patient=stem, view="unknown", split="unlabelled")
    if path.name not in listed:
        raise InputError(f"{path.name}: expected in {PATIENTS}, found no row. Add one, or move the file elsewhere.")
    patient, split = listed[path.name]
    return Video(path=path, patient=patient, view=stem, split=split)


def _suffix(path: Path) -> str:
    """The ending that tells the kind, in lower case; .nii.gz is one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def _is_dicom(path: Path) -> bool:
    """Whether DICOM's mark stands in its place; scanners often write names without an ending."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _read_dicom(path: Path) -> Film:
    loop = read_dicom(path)
    return Film(loop.frames, loop.spacing_mm, loop.interval_s)


def _read_nifti(path: Path) -> Film:
    image = read_nifti(path)
    return Film(to_frames(path.name, image.array), _known(image.spacing_mm))


def _read_mha(path: Path) -> Film:
    image = read_mha(path)
    return Film(to_frames(path.name, image.array), _known(image.spacing_mm))


def _known(spacing_mm: tuple[float, float] | None) -> tuple[float, float] | None:
    """1 mm by 1 mm is what programs write that know no spacing; no ultrasound image has it."""
    return None if spacing_mm == (1.0, 1.0) else spacing_mm


READERS: Mapping[str, Callable[[Path], Film]] = {
    **dict.fromkeys(DEMUXERS, read_film),
    ".dcm": _read_dicom,
    ".dicom": _read_dicom,
    ".nii": _read_nifti,
    ".nii.gz": _read_nifti,
    ".mha": _read_mha,
}
