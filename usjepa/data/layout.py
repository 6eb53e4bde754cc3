"""What lies where in a CAMUS tree: lists, folders, names and cfg files, without a look at pixels.

Layout and its quirks: Leclerc et al., IEEE TMI 2019, and the release "CAMUS_public": `database_nifti/patientNNNN` with
a half sequence, its labels and an `Info_VIEW.cfg` a view, `database_split/subgroup_*.txt` with a name a line.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from usjepa.errors import InputError

LISTS = {"subgroup_training.txt": "train", "subgroup_validation.txt": "validation", "subgroup_testing.txt": "test"}
VIEWS = ("2CH", "4CH")
CAMUS_LICENCE = "CC BY-NC-SA 4.0 (CAMUS)"
SYNTHETIC_LICENCE = "synthetic, made by usjepa"
MARKER = "phantom.json"
"""The file that tells a phantom from CAMUS; it holds the phantom's recipe."""
PATIENT = re.compile(r"patient\d{4}")
ADVICE = "Get CAMUS at https://www.creatis.insa-lyon.fr/Challenge/camus, or write a phantom: usjepa data phantom DIR."


class Info(NamedTuple):
    """What is used of an `Info_VIEW.cfg`; `ed` and `es` count from 1 in the order in which the frames are stored."""

    ed: int
    es: int
    frames: int
    quality: str | None
    frame_rate: float | None


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One patient's view on the disk, its cfg already read."""

    patient: str
    view: str
    split: str
    image: Path
    labels: Path
    cfg: Path
    info: Info
    licence: str


def read_lists(folder: Path) -> dict[str, str]:
    """Patient to split, from the three lists. Raises InputError for a missing list, a wrong name, a patient in two."""
    splits: dict[str, str] = {}
    for name, split in LISTS.items():
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name}: expected a list of patients, found none. It comes with CAMUS; copy it there."
            )
        for patient in (folder / name).read_text(encoding="utf-8-sig").split():
            if not PATIENT.fullmatch(patient):
                raise InputError(f"{name}: expected names as patient0001, got {patient!r}. Correct the list.")
            if patient in splits:
                lists = sorted({other for other, part in LISTS.items() if part == splits[patient]} | {name})
                raise InputError(
                    f"{patient}: expected in one list once, got it again: {' and '.join(lists)}. Correct them."
                )
            splits[patient] = split
    return splits


def read_info(path: Path) -> Info:
    """Read an `Info_VIEW.cfg`: a key and a value a line, keys in any case, unknown ones ignored.

    Raises InputError for missing or impossible ED, ES and NbFrame.
    """
    lines = (line.split(":", 1) for line in path.read_text(encoding="utf-8-sig").splitlines() if ":" in line)
    fields = {key.strip().lower(): value.strip() for key, value in lines}
    where = f"{path.parent.name}/{path.name}"
    ed, es, frames = (_integer(where, key, fields.get(key.lower())) for key in ("ED", "ES", "NbFrame"))
    if not (1 <= ed <= frames and 1 <= es <= frames and ed != es):
        raise InputError(
            f"{where}: expected ED and ES different in 1 to NbFrame {frames}, got {ed} and {es}. Correct it."
        )
    rate = fields.get("framerate", "")
    is_rate = re.fullmatch(r"\d+(\.\d+)?", rate) is not None and float(rate) > 0
    return Info(ed, es, frames, fields.get("imagequality") or None, float(rate) if is_rate else None)


def find_home(root: Path) -> Path:
    """The folder with the patients' folders, given CAMUS_public, its parent or the folder itself; or InputError."""
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder with CAMUS, found none. {ADVICE}")
    for home in (root / "database_nifti", root / "CAMUS_public" / "database_nifti", root):
        if home.is_dir() and any(PATIENT.fullmatch(path.name) for path in home.iterdir()):
            return home
    raise InputError(f"{root}: expected database_nifti/patient0001 and so on, found no patient. {ADVICE}")


def find_loop(folder: Path, view: str, split: str, licence: str) -> Loop:
    """The three files of one view, named after their folder. Raises InputError for one that is missing or wrong."""
    if not folder.is_dir():
        raise InputError(f"{folder.name}: expected a folder, because a list names it, found none. {ADVICE}")
    cfg = folder / f"Info_{view}.cfg"
    if not cfg.is_file():
        raise InputError(f"{folder.name}/{cfg.name}: expected the view's facts, found no file. Copy it again.")
    image, labels = (_find_image(folder, f"{folder.name}_{view}_half_sequence{ending}") for ending in ("", "_gt"))
    return Loop(
        patient=folder.name,
        view=view,
        split=split,
        image=image,
        labels=labels,
        cfg=cfg,
        info=read_info(cfg),
        licence=licence,
    )


def _find_image(folder: Path, stem: str) -> Path:
    """The file with this stem, compressed or not."""
    for path in (folder / f"{stem}.nii.gz", folder / f"{stem}.nii"):
        if path.is_file():
            return path
    raise InputError(f"{folder.name}/{stem}.nii.gz: expected an image, found no file. Copy it again.")


def _integer(where: str, key: str, value: str | None) -> int:
    """A required whole number of a cfg."""
    if value is None or not re.fullmatch(r"\d+", value):
        raise InputError(f"{where}: {key}: expected a whole number, got {value!r}. Correct the file.")
    return int(value)
