"""One loop of the phantom: who, which view, which instants; frames and exact labels."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from numpy.random import Generator, default_rng

from usjepa.data.layout import SYNTHETIC_LICENCE, VIEWS
from usjepa.data.phantom import acoustics
from usjepa.data.phantom.anatomy import Anatomy, draw_anatomy, draw_contours, to_image
from usjepa.data.phantom.measure import fill, volume_ml
from usjepa.data.phantom.motion import (
    SYSTOLE,
    Kinetics,
    amplitudes,
    displacement_fields,
    draw_kinetics,
    valve_opening,
)
from usjepa.data.phantom.tissue import draw_scatterers
from usjepa.data.phantom.window import (
    NATIVE_SPACING_MM,
    QUALITIES,
    SCATTERERS_A_CELL,
    VERSION,
    Quality,
    polar_grid,
)
from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PhantomRecipe:
    """How many patients, from which seed, how many rows; rows None gives CAMUS' own pixel of 0.308 mm.

    A patient's heart depends on the seed and its number only, not on how many there are. Raises InputError for less
    than 3 patients, because each split needs one, and for fewer than 40 rows.
    """

    patients: int
    seed: int = 0
    rows: int | None = 128

    def __post_init__(self) -> None:
        if not 3 <= self.patients <= 9999:
            raise InputError(f"patients: expected 3 to 9999, one for each split, got {self.patients}. Change it.")
        if self.seed < 0:
            raise InputError(f"seed: expected 0 or more, got {self.seed}. Change it.")
        if self.rows is not None and not 40 <= self.rows <= 1024:
            raise InputError(f"rows: expected 40 to 1024, or None for 0.308 mm a pixel, got {self.rows}. Change it.")

    def hash(self) -> str:
        """Twelve hex digits that name the recipe and this version of the phantom."""
        text = json.dumps({**asdict(self), "version": VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class Examination(NamedTuple):
    """One view of one patient, drawn but not yet rendered. `systole_frames`: steps from end diastole to end systole."""

    patient: int
    view: str
    anatomy: Anatomy
    kinetics: Kinetics
    quality: Quality
    spacing_mm: float
    systole_frames: int
    interval_s: float


def examine(recipe: PhantomRecipe, patient: int, view: str) -> Examination:
    """Draw a patient's heart, motion, image quality and timing. Raises InputError for an unknown number or view."""
    if not 1 <= patient <= recipe.patients:
        raise InputError(f"patient: expected 1 to {recipe.patients}, got {patient}. Take one of these.")
    if view not in VIEWS:
        raise InputError(f"view: expected {' or '.join(VIEWS)}, got {view!r}. Take one of these.")
    anatomy = draw_anatomy(view, stream(recipe, patient, "anatomy"), stream(recipe, patient, f"anatomy {view}"))
    kinetics = draw_kinetics(
        anatomy.dilation, stream(recipe, patient, "motion"), stream(recipe, patient, f"motion {view}")
    )
    timing = stream(recipe, patient, f"timing {view}")
    window = 0.7 * stream(recipe, patient, "window").standard_normal() + 0.7 * timing.standard_normal()
    spacing = NATIVE_SPACING_MM if recipe.rows is None else anatomy.depth_mm / recipe.rows
    return Examination(
        patient=patient,
        view=view,
        anatomy=anatomy,
        kinetics=kinetics,
        # CAMUS: about half of the views good, a third medium, the rest poor.
        quality=QUALITIES[int(np.searchsorted((0.05, 1.2), window))],
        spacing_mm=spacing,
        systole_frames=int(timing.integers(14, 21)),
        interval_s=1 / round(timing.uniform(44, 56), 1),
    )


def render(
    recipe: PhantomRecipe, examination: Examination, steps: range
) -> tuple[UInt8[np.ndarray, "T H W"], UInt8[np.ndarray, "T H W"]]:
    """Frames and labels at steps of the examination's interval, 0 at end diastole."""
    phases = np.array(steps) * SYSTOLE / examination.systole_frames
    rng = stream(recipe, examination.patient, f"echoes {examination.view}")
    frames = _frames(examination, phases, rng)
    labels = label_maps(examination, phases, (frames.shape[1], frames.shape[2]))
    return frames, labels


def render_beat(recipe: PhantomRecipe, patient_number: int, view: str) -> UltrasoundSequence:
    """A whole beat of one patient (from 1); `annotated` are its frames of end diastole, the first, and end systole."""
    examination = examine(recipe, patient_number, view)
    length = round(examination.systole_frames / SYSTOLE)
    frames, labels = render(recipe, examination, range(length))
    return UltrasoundSequence(
        frames=frames,
        labels=labels,
        patient=f"patient{patient_number:04d}",
        view=view,
        split="unlabelled",
        source=f"phantom {recipe.hash()} beat",
        source_sha256=hashlib.sha256(frames.tobytes() + labels.tobytes()).hexdigest(),
        licence=SYNTHETIC_LICENCE,
        spacing_mm=(examination.spacing_mm, examination.spacing_mm),
        interval_s=examination.interval_s,
        annotated=(0, examination.systole_frames),
        quality=examination.quality.name,
    )


def volumes_ml(recipe: PhantomRecipe, patient: int) -> tuple[float, float]:
    """Biplane Simpson volumes at end diastole and end systole, from the contours themselves."""
    two, four = (contours_over(examine(recipe, patient, view), np.array([0, SYSTOLE]))[0] for view in VIEWS)
    return volume_ml(two[0], four[0]), volume_ml(two[1], four[1])


def contours_over(
    examination: Examination, phases: Float[np.ndarray, " T"]
) -> tuple[Float[np.ndarray, "T N 2"], Float[np.ndarray, "T N 2"], Float[np.ndarray, "T A 2"]]:
    """Endocardium, epicardium and atrium at phases of the beat, in mm (across, deep) under the probe."""
    anatomy, kinetics = examination.anatomy, examination.kinetics
    contours = draw_contours(anatomy)
    weights = amplitudes(kinetics, phases)
    endo, epi, atrium = (
        to_image(anatomy, curve) + np.einsum("tk,knd->tnd", weights, displacement_fields(anatomy, kinetics, curve))
        for curve in (contours.endo, contours.epi, contours.atrium)
    )
    return endo, epi, atrium


def label_maps(
    examination: Examination, phases: Float[np.ndarray, " T"], shape: tuple[int, int]
) -> UInt8[np.ndarray, "T H W"]:
    """Labels of images of (rows, columns) at phases of the beat."""
    moved = contours_over(examination, phases)
    return np.stack(
        [_label(examination.spacing_mm, shape, *(curves[t] for curves in moved)) for t in range(len(phases))]
    )


def _frames(examination: Examination, phases: Float[np.ndarray, " T"], rng: Generator) -> UInt8[np.ndarray, "T H W"]:
    """Rendered grey levels, the first frame after one that warms the persistence up."""
    anatomy, kinetics = examination.anatomy, examination.kinetics
    grid = polar_grid(anatomy, examination.spacing_mm)
    count = int(SCATTERERS_A_CELL * len(grid.radius) * len(grid.angle))
    scatterers = draw_scatterers(anatomy, kinetics, draw_contours(anatomy), count, rng)
    scanner = acoustics.draw_scanner(anatomy, examination.quality, examination.spacing_mm, SCATTERERS_A_CELL, rng)
    step = SYSTOLE / examination.systole_frames
    warm = np.concatenate(([phases[0] - step], phases))
    weights = np.concatenate((amplitudes(kinetics, warm), valve_opening(warm)[:, None]), axis=1)
    return acoustics.film(scanner, scatterers, weights, 1.1 * weights[:, 3], rng)


def _label(
    spacing_mm: float,
    shape: tuple[int, int],
    endo: Float[np.ndarray, "N 2"],
    epi: Float[np.ndarray, "N 2"],
    atrium: Float[np.ndarray, "A 2"],
) -> UInt8[np.ndarray, "H W"]:
    """Contours in mm to a label map: atrium, over it the wall, over it the cavity.

    The wall is the area between its two contours, a U open at the base: nothing of it lies in the mitral plane.
    """
    rows, columns = shape
    inner, wall, low = (
        fill(curve / spacing_mm + np.array([columns / 2, 0]), rows=rows, columns=columns)
        for curve in (endo, np.concatenate((epi, endo[::-1])), atrium)
    )
    ring = np.where(wall == 1, np.uint8(2), low * np.uint8(3))
    return np.where(inner == 1, np.uint8(1), ring)


def stream(recipe: PhantomRecipe, patient: int, purpose: str) -> Generator:
    """A generator for one purpose: what one part draws never shifts another's numbers."""
    return default_rng([recipe.seed, patient, *purpose.encode()])
