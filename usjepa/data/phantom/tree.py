"""The phantom as a CAMUS tree: what reads the one reads the other (camus layout: NIfTI release, CAMUS_public)."""

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import numpy as np
import SimpleITK
from jaxtyping import UInt8
from numpy.random import default_rng
from tqdm import tqdm

from usjepa.data.layout import MARKER, VIEWS
from usjepa.data.phantom.beat import Examination, PhantomRecipe, examine, render, stream, volumes_ml
from usjepa.data.phantom.window import VERSION
from usjepa.data.prepare import written_beside
from usjepa.errors import InputError

REVERSED_SHARE = 0.02
"""Of CAMUS' half sequences some 2 % are stored from end systole to end diastole."""


def write_phantom(recipe: PhantomRecipe, folder: Path, processes: int = 2) -> Path:
    """Write the recipe's patients as the tree `folder` and return it; the same phantom, finished, is found again.

    Processes are spawned: a script that calls this with more than one needs `if __name__ == "__main__":`. Raises
    InputError for a folder that holds anything else, and for less than one process.
    """
    marker = json.dumps({**asdict(recipe), "version": VERSION}, indent=1) + "\n"
    if (folder / MARKER).is_file() and (folder / MARKER).read_text(encoding="utf-8") == marker:
        return folder
    if folder.exists():
        raise InputError(f"{folder}: expected no such folder, or this phantom; found another. Give another folder.")
    if processes < 1:
        raise InputError(f"processes: expected at least 1, got {processes}. Take 1 or 2.")
    with written_beside(folder) as scratch:
        numbers = _each_patient(recipe, scratch, min(processes, recipe.patients))
        for _ in tqdm(numbers, desc="phantom", unit="patient", total=recipe.patients, disable=None):
            pass
        _write_lists(recipe, scratch / "database_split")
        (scratch / MARKER).write_text(marker, encoding="utf-8")
    return folder


def split_patients(recipe: PhantomRecipe) -> dict[str, list[str]]:
    """Patient names of CAMUS' three lists: about 70, 10 and 20 %, each with one patient at least."""
    order = default_rng([recipe.seed, *b"splits"]).permutation(recipe.patients) + 1
    validation, test = max(1, round(0.1 * recipe.patients)), max(1, round(0.2 * recipe.patients))
    parts = {
        "validation": order[:validation],
        "testing": order[validation : validation + test],
        "training": order[validation + test :],
    }
    return {part: [patient_name(number) for number in sorted(numbers.tolist())] for part, numbers in parts.items()}


def patient_name(number: int) -> str:
    """As CAMUS writes it: patient0001."""
    return f"patient{number:04d}"


def is_reversed(recipe: PhantomRecipe, number: int, view: str) -> bool:
    """Whether this half sequence is stored from end systole to end diastole."""
    return bool(stream(recipe, number, f"order {view}").uniform() < REVERSED_SHARE)


def write_patient(recipe: PhantomRecipe, number: int, folder: Path) -> int:
    """Both views of one patient: six NIfTI files and one cfg each, in a folder of the patient's name."""
    home = folder / patient_name(number)
    home.mkdir(parents=True)
    volumes = volumes_ml(recipe, number)
    for view in VIEWS:
        examination = examine(recipe, number, view)
        last = examination.systole_frames
        frames, labels = render(recipe, examination, range(last + 1))
        # ED and ES are counted from 1 in the order in which the frames are stored.
        ed, es = (1, last + 1)
        if is_reversed(recipe, number, view):
            ed, es = es, ed
            frames, labels = frames[::-1], labels[::-1]
        prefix = home / f"{patient_name(number)}_{view}"
        for ending, pixels in (("", frames), ("_gt", labels)):
            _write_image(Path(f"{prefix}_half_sequence{ending}.nii.gz"), pixels, examination.spacing_mm)
            _write_image(Path(f"{prefix}_ED{ending}.nii.gz"), pixels[ed - 1], examination.spacing_mm)
            _write_image(Path(f"{prefix}_ES{ending}.nii.gz"), pixels[es - 1], examination.spacing_mm)
        text = _info(recipe, examination, (ed, es), volumes)
        (home / f"Info_{view}.cfg").write_text(text, encoding="utf-8")
    return number


def _each_patient(recipe: PhantomRecipe, scratch: Path, processes: int) -> Iterator[int]:
    """Write all patients, yielding each number when it is done."""
    home = scratch / "database_nifti"
    numbers = range(1, recipe.patients + 1)
    if processes == 1:
        for number in numbers:
            yield write_patient(recipe, number, home)
        return
    # Spawned, not forked: a forked copy of a process with threads (PyTorch's, a notebook's) can hang.
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        for done in as_completed([pool.submit(write_patient, recipe, number, home) for number in numbers]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write_image(path: Path, pixels: UInt8[np.ndarray, "*T H W"], spacing_mm: float) -> None:
    """As CAMUS stores it: float32, third spacing 1 (a frame, not a second)."""
    image = SimpleITK.GetImageFromArray(pixels.astype(np.float32))
    image.SetSpacing((spacing_mm, spacing_mm, 1.0)[: pixels.ndim])  # type: ignore[no-untyped-call]
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def _info(
    recipe: PhantomRecipe, examination: Examination, instants: tuple[int, int], volumes_ml: tuple[float, float]
) -> str:
    """The view's cfg; volumes are those of the geometry, with two decimals, so that EF can be recomputed."""
    person = stream(recipe, examination.patient, "person")
    diastolic, systolic = volumes_ml
    lines = {
        "ED": instants[0],
        "ES": instants[1],
        "NbFrame": examination.systole_frames + 1,
        "Sex": ("F", "M")[int(person.integers(2))],
        "Age": int(person.integers(25, 90)),
        "ImageQuality": examination.quality.name,
        "EF": round(100 * (diastolic - systolic) / diastolic),
        "FrameRate": round(1 / examination.interval_s, 1),
        "LVedv": round(diastolic, 2),
        "LVesv": round(systolic, 2),
    }
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


def _write_lists(recipe: PhantomRecipe, folder: Path) -> None:
    """The three lists and a word on what this is."""
    folder.mkdir()
    for part, names in split_patients(recipe).items():
        (folder / f"subgroup_{part}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    note = "Synthetic hearts made by usjepa in the layout of CAMUS. No patient was imaged.\n"
    (folder / "information.txt").write_text(note, encoding="utf-8")
