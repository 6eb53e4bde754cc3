"""What lies where in a CAMUS tree: folders, names and cfg files, without a look at pixels.

Layout and its quirks: Leclerc et al., IEEE TMI 2019, and the release "CAMUS_public": `database_nifti/patientNNNN` with
a half sequence, its labels and an `Info_VIEW.cfg` a view. The older release has `training/patientNNNN` and
`testing/patientNNNN` with `_sequence.mhd` and `_sequence_gt.mhd`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from usjepa.errors import InputError

VIEWS = ("2CH", "4CH")
CAMUS_LICENCE = "CC BY-NC-SA 4.0 (CAMUS)"
SYNTHETIC_LICENCE = "synthetic, made by usjepa"
MARKER = "phantom.json"
"""The file that tells a phantom from CAMUS; it holds the phantom's recipe."""
PATIENT = re.compile(r"patient[0-9]{4}")
PARTS = ("training", "testing")
RATE_LIMITS_HZ = (5.0, 1000.0)
EF_LIMITS = (0.0, 100.0)
"""Echocardiography is recorded at some tens to some hundreds of frames a second."""
ADVICE = "Get CAMUS at https://www.creatis.insa-lyon.fr/Challenge/camus, or write a phantom: usjepa data phantom DIR."


class Info(NamedTuple):
    """What is used of an `Info_VIEW.cfg`; `ed` and `es` count from 1 in the order in which the frames are stored.

    frame_rate (Hz) and ef (%) are None where the file gives none or an absurd one.
    """

    ed: int
    es: int
    frames: int
    quality: str | None
    frame_rate: float | None
    ef: float | None


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


class Tree(NamedTuple):
    """Where the patients are: `home` holds their folders, or training/ and testing/, which hold them (`is_parted`).

    lists is the older release's folder of folds, where there is one.
    """

    home: Path
    folders: dict[str, Path]
    is_parted: bool
    lists: Path | None


def read_info(path: Path) -> Info:
    """Read an `Info_VIEW.cfg`: a key and a value a line, keys in any case, unknown ones ignored.

    Raises InputError for missing or impossible ED, ES and NbFrame.
    """
    fields, where = read_fields(path), f"{path.parent.name}/{path.name}"
    ed, es, frames = (_integer(where, key, fields.get(key.lower())) for key in ("ED", "ES", "NbFrame"))
    if not (1 <= ed <= frames and 1 <= es <= frames and ed != es):
        raise InputError(
            f"{where}: expected ED and ES different in 1 to NbFrame {frames}, got {ed} and {es}. Correct it."
        )
    rate = plausible(fields.get("framerate"), RATE_LIMITS_HZ)
    ef = plausible(fields.get("ef", fields.get("lvef")), EF_LIMITS)
    return Info(ed, es, frames, fields.get("imagequality") or None, rate, ef)


def read_fields(path: Path) -> dict[str, str]:
    """Keys, in lower case, and values of a cfg, split at the first colon; other lines are ignored."""
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip().lower(): value.strip() for key, value in pairs}


def plausible(text: str | None, limits: tuple[float, float]) -> float | None:
    """The number that a cfg gives, or None where it gives none within the limits."""
    if text is None or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,20})?", text):
        return None
    return float(text) if limits[0] <= float(text) <= limits[1] else None


def find_tree(root: Path) -> Tree:
    """The patients' folders, given CAMUS_public, its parent, the folder itself, or the older release; or InputError."""
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder with CAMUS, found none. {ADVICE}")
    public = root / "CAMUS_public"
    for home in (root / "database_nifti", public / "database_nifti", public / public.name / "database_nifti", root):
        parts = [home / part for part in PARTS if (home / part).is_dir()]
        inside = [path for part in parts or [home] if part.is_dir() for path in sorted(part.iterdir())]
        folders = [path for path in inside if PATIENT.fullmatch(path.name)]
        names = [path.name for path in folders]
        if len(names) > len(set(names)):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{twice}: expected one folder, found it in training and testing. Remove one.")
        if folders:
            lists = [place / "listSubGroups" for place in (home, home.parent) if (place / "listSubGroups").is_dir()]
            return Tree(home, {path.name: path for path in folders}, bool(parts), lists[0] if lists else None)
    raise InputError(f"{root}: expected database_nifti/patient0001 and so on, found no patient. {ADVICE}")


def find_loop(folder: Path, view: str, split: str, licence: str) -> Loop:
    """The three files of one view, named after their folder. Raises InputError for one that is missing or wrong."""
    if not folder.is_dir():
        raise InputError(f"{folder.name}: expected a folder, because a list names it, found none. {ADVICE}")
    info = find_info(folder, view)
    image, labels = (find_image(folder, view, part) for part in ("half_sequence", "half_sequence_gt"))
    return Loop(
        patient=folder.name,
        view=view,
        split=split,
        image=image,
        labels=labels,
        cfg=folder / f"Info_{view}.cfg",
        info=info,
        licence=licence,
    )


def find_info(folder: Path, view: str) -> Info:
    """The cfg of one view, read; or InputError."""
    cfg = folder / f"Info_{view}.cfg"
    if not cfg.is_file():
        raise InputError(f"{folder.name}/{cfg.name}: expected the view's facts, found no file. Copy it again.")
    return read_info(cfg)


def find_image(folder: Path, view: str, part: str) -> Path:
    """The file of one part ("half_sequence", "ED_gt"), in any form; or InputError."""
    stem = f"{folder.name}_{view}_{part}"
    for name in (f"{stem}.nii.gz", f"{stem}.nii", f"{stem.replace('half_sequence', 'sequence')}.mhd"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder.name}/{stem}.nii.gz: expected an image, found no file. Copy it again.")


def _integer(where: str, key: str, value: str | None) -> int:
    """A required whole number of a cfg."""
    if value is None or not re.fullmatch(r"[0-9]{1,9}", value):
        raise InputError(f"{where}: {key}: expected a whole number, got {value!r}. Correct the file.")
    return int(value)
