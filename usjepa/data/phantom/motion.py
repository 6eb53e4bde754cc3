"""How the heart moves: displacement fields, each times a number that changes through the beat.

Position = start + sum over k of amplitude[k](phase) * field[k](start). Scatterers and label contours go through the
same two functions, so the labels are exact on every frame.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from scipy.interpolate import PchipInterpolator

from usjepa.data.phantom.anatomy import Anatomy, half_width, turn

SYSTOLE = 0.37
"""Share of the beat from end diastole to end systole, at some 65 beats a minute."""
LEVELS = (0.15, 0.5, 0.85)
"""Heights of the apical, middle and basal segments along the ventricle."""
REACH_MM = 9.0
"""How far outside the endocardium its inward motion falls to 1 / e: the wall thickens by some 40 %."""

# Phase of the beat and state: 0 relaxed, 1 contracted; filling comes in two waves with a rest between.
_CONTRACTION = PchipInterpolator(
    (0, 0.06, 0.2, SYSTOLE, 0.43, 0.58, 0.68, 0.82, 0.93, 1), (0, 0.06, 0.62, 1, 0.93, 0.27, 0.2, 0.18, 0.03, 0)
)
_VALVE = PchipInterpolator(
    (0, 0.01, SYSTOLE + 0.03, 0.5, 0.56, 0.7, 0.8, 0.88, 0.97, 1), (0, 0, 0, 0.95, 1, 0.35, 0.3, 0.75, 0.1, 0)
)


@dataclass(frozen=True, kw_only=True)
class Kinetics:
    """How one view's heart moves.

    contraction: share by which the cavity's half width shrinks. excursion_mm: how far the annulus descends.
    regional: factor of each segment, (left, right) x `LEVELS`. filling: share by which the atrium widens.
    swing_deg and shift_mm: rotation and translation of the whole heart at end systole.
    """

    contraction: float
    excursion_mm: float
    regional: tuple[tuple[float, float, float], tuple[float, float, float]]
    filling: float
    swing_deg: float
    shift_mm: tuple[float, float]


def draw_kinetics(dilation: float, patient: Generator, imaging: Generator) -> Kinetics:
    """Motion that fits the heart's dilation: large hearts contract less. Both views share contraction and excursion.

    A third of the patients have one segment that hardly moves.
    """
    contraction = patient.uniform(0.12, 0.42) * (1 - 0.3 * dilation)
    excursion = 4 + 30 * (contraction - 0.06)
    is_faulty, weakness = patient.uniform() < 0.35, patient.uniform(0.1, 0.45)
    regional = imaging.uniform(0.78, 1.05, (2, 3))
    segment = imaging.integers(2), imaging.integers(3)
    if is_faulty:
        regional[segment] *= weakness
    left, right = ((float(a), float(b), float(c)) for a, b, c in regional)
    return Kinetics(
        contraction=contraction,
        excursion_mm=excursion,
        regional=(left, right),
        filling=imaging.uniform(0.08, 0.2),
        swing_deg=imaging.uniform(-3, 3),
        shift_mm=(imaging.uniform(-1.5, 1.5), imaging.uniform(-1.5, 1.5)),
    )


def amplitudes(kinetics: Kinetics, phases: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T K"]:
    """What each field of `displacement_fields` is multiplied by, at phases of the beat (0 end diastole, 1 the next)."""
    phases = phases % 1
    state = _CONTRACTION(phases)
    return np.stack(
        (state * kinetics.contraction, state * kinetics.excursion_mm, state * kinetics.filling, state), axis=1
    )


def valve_opening(phases: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """How far the mitral valve is open, 0 to 1."""
    return np.asarray(_VALVE(phases % 1))


def displacement_fields(
    anatomy: Anatomy, kinetics: Kinetics, points: Float[np.ndarray, "P 2"]
) -> Float[np.ndarray, "K P 2"]:
    """Contraction, descent, atrial filling and swing at points in ventricle coordinates, along the image's axes.

    The first and third are in mm a unit of strain, the second in mm a mm of excursion, the last in mm.
    """
    x, z = points[:, 0], points[:, 1]
    still = np.zeros_like(x)
    swing = np.radians(kinetics.swing_deg) * np.stack((0.6 * anatomy.length_mm - z, x), axis=1)
    fields = np.stack(
        (
            _contraction(anatomy, kinetics, x, z),
            np.stack((still, -_descent(anatomy, x, z)), axis=1),
            np.stack((_widening(anatomy, x, z), still), axis=1),
            swing + np.array(kinetics.shift_mm),
        )
    )
    return turn(anatomy, fields)


def _contraction(
    anatomy: Anatomy, kinetics: Kinetics, x: Float[np.ndarray, " P"], z: Float[np.ndarray, " P"]
) -> Float[np.ndarray, "P 2"]:
    """Towards the axis: in proportion inside the cavity, fading outside; the apex sinks as its wall thickens."""
    width = np.where(x < 0, half_width(anatomy, z, 0), half_width(anatomy, z, 1))
    outside = np.maximum(np.abs(x) - width, 0)
    inward = -np.sign(x) * np.minimum(np.abs(x), width) * np.exp(-outside / REACH_MM)
    # Left and right segments blend across the cavity, so that blood near the axis moves smoothly.
    share = np.clip(x / np.maximum(width, 1) / 2 + 0.5, 0, 1)
    share = share**2 * (3 - 2 * share)
    q = z / anatomy.length_mm
    left, right = (np.interp(q, LEVELS, side) for side in kinetics.regional)
    regional = (1 - share) * left + share * right
    sinking = 9 * np.exp(-(x**2 + (z - 2) ** 2) / 14**2)
    # The right ventricle's free wall closes in on the septum.
    free = np.maximum(-x - width - anatomy.walls_mm[0], 0) * (anatomy.ventricle_mm > 0)
    closing = 0.6 * free * np.exp(-((free / 45) ** 2)) * np.clip(2 * q, 0, 1) * (z < 1.6 * anatomy.length_mm)
    return np.stack((regional * inward + closing, regional * sinking), axis=1)


def _descent(anatomy: Anatomy, x: Float[np.ndarray, " P"], z: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """0 at the apex, 1 at the annulus, 0 at the atrial roof and far to the sides: lung and chest wall stay."""
    rising = np.clip(z / anatomy.length_mm, 0, 1) ** 1.15
    below = np.clip((z - anatomy.length_mm) / anatomy.atrium_mm[0], 0, 1)
    return rising * (1 - below) / (1 + (x / 75) ** 6)


def _widening(anatomy: Anatomy, x: Float[np.ndarray, " P"], z: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """The atrium widens while the ventricle contracts, most at its middle."""
    below = np.clip((z - anatomy.length_mm) / anatomy.atrium_mm[0], 0, 1)
    half = anatomy.atrium_mm[1]
    outside = np.maximum(np.abs(x) - half, 0)
    return np.asarray(np.sign(x) * np.minimum(np.abs(x), half) * np.exp(-outside / REACH_MM) * np.sin(np.pi * below))
