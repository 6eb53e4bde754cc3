"""The left heart at end diastole: its sizes, its contours, where a point lies in it.

Coordinates are those of the ventricle, in mm: X across (left of the image negative), Z along the long axis from the
endocardial apex (0) to the mitral plane (`length_mm`) and on into the atrium. `to_image` places them under the probe.
Ranges follow adult hearts; position and tilt follow the medians of 288 CAMUS four-chamber images of good quality
(published by the project DanielOpazoD/echotwin-tte): apex 27 mm deep, tilted by 6 degrees.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator
from scipy.spatial import KDTree

NODES_A_SIDE = 100


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One view of one heart; lengths in mm, pairs are (left, right) in the image.

    widest: where along the axis the cavity is widest, 0 to 1. annulus: its half width over the widest. walls_mm: left,
    apex, right. ventricle_mm: width of the right ventricle, 0 in the two-chamber view, which doesn't cut it.
    apex_mm: (across, deep) under the probe.
    """

    length_mm: float
    half_width_mm: float
    dilation: float
    widest: float
    annulus: float
    sides: tuple[float, float]
    walls_mm: tuple[float, float, float]
    bow_mm: float
    atrium_mm: tuple[float, float]
    ventricle_mm: float
    ventricle_apex: float
    apex_mm: tuple[float, float]
    tilt_deg: float
    half_angle_deg: float
    depth_mm: float


class Contours(NamedTuple):
    """Open curves in ventricle coordinates: hinge, apex, hinge; the atrium from hinge over its roof to hinge.

    `outward` is the unit normal of the endocardium and `wall_mm` the thickness of the wall along it.
    """

    endo: Float[np.ndarray, "N 2"]
    outward: Float[np.ndarray, "N 2"]
    wall_mm: Float[np.ndarray, " N"]
    epi: Float[np.ndarray, "N 2"]
    atrium: Float[np.ndarray, "A 2"]


class Place(NamedTuple):
    """Where points lie: the nearest node of the endocardium, and the signed distance from it (inside negative)."""

    node: Int[np.ndarray, " P"]
    distance_mm: Float[np.ndarray, " P"]


def draw_anatomy(view: str, patient: Generator, imaging: Generator) -> Anatomy:
    """A heart from the patient's generator, cut and placed as `view` ("2CH" or "4CH") by the imaging generator.

    Both views of a patient must get equal patient generators: then length, width and walls agree between them.
    """
    four = view == "4CH"
    dilation = patient.beta(1.1, 2.0)
    length = patient.uniform(76, 95) + 6 * dilation
    half_width = patient.uniform(20.5, 24.5) + 9 * dilation**2
    septal, lateral, apical = patient.uniform(8.5, 12), patient.uniform(8, 11.5), patient.uniform(5.5, 8)
    atrium = (patient.uniform(38, 56), patient.uniform(17, 25))
    right = patient.uniform(22, 34)
    apex = (imaging.normal(-1 if four else -7, 4.5), float(np.clip(imaging.normal(27, 4.5), 15, 40)))
    depth = apex[1] + length + atrium[0] + imaging.uniform(-3, 16)
    return Anatomy(
        length_mm=length * imaging.uniform(0.97, 1),
        half_width_mm=half_width * (imaging.uniform(0.97, 1.03) if four else imaging.uniform(0.92, 1.04)),
        dilation=dilation,
        widest=imaging.uniform(0.52, 0.66),
        annulus=imaging.uniform(0.74, 0.84),
        sides=(0.93, 1.07),
        walls_mm=(septal, apical, lateral) if four else (0.5 * (septal + lateral), apical, lateral),
        bow_mm=imaging.uniform(-1, 5),
        atrium_mm=atrium,
        ventricle_mm=right if four else 0.0,
        ventricle_apex=imaging.uniform(0.18, 0.34),
        apex_mm=apex,
        tilt_deg=imaging.normal(4.5 if four else 7, 4.5),
        half_angle_deg=float(imaging.choice((37.4, 44.9))),
        depth_mm=float(np.clip(depth, 110, 190)),
    )


def half_width(anatomy: Anatomy, z_mm: Float[np.ndarray, "*P"], side: int) -> Float[np.ndarray, "*P"]:
    """Endocardial half width at height Z on one side (0 left, 1 right): 0 above the apex, fading below the annulus."""
    q = np.clip(z_mm / anatomy.length_mm, 0, 1)
    exponent = (2.45, 2.05)[side]
    last = (1 - anatomy.annulus**2) ** (1 / exponent)
    t = np.where(q < anatomy.widest, 1 - q / anatomy.widest, last * (q - anatomy.widest) / (1 - anatomy.widest))
    beyond = np.maximum(z_mm - anatomy.length_mm, 0)
    return anatomy.sides[side] * anatomy.half_width_mm * np.sqrt(1 - t**exponent) * np.exp(-((beyond / 14) ** 2))


def draw_contours(anatomy: Anatomy) -> Contours:
    """Endocardium, epicardium at the wall's thickness along the normals, and the atrium."""
    # Nodes crowd at the apex, where the outline turns; equal steps of arc follow from there.
    dense = anatomy.length_mm * np.sin(np.linspace(0, np.pi / 2, 600)) ** 4
    left, right = (_even_arc(np.stack((sign * half_width(anatomy, dense, side), dense), axis=1))
                   for side, sign in ((0, -1), (1, 1)))  # fmt: skip
    endo = np.concatenate((left[::-1], right[1:]))
    tangent = np.gradient(endo, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    outward = np.stack((tangent[:, 1], -tangent[:, 0]), axis=1)
    rise = np.clip(endo[:, 1] / (0.45 * anatomy.length_mm), 0, 1)
    base = np.where(np.arange(len(endo)) < NODES_A_SIDE, anatomy.walls_mm[0], anatomy.walls_mm[2])
    wall = anatomy.walls_mm[1] + (base - anatomy.walls_mm[1]) * rise**2 * (3 - 2 * rise)
    return Contours(endo, outward, wall, endo + outward * wall[:, None], _atrium(anatomy, endo))


def _even_arc(curve: Float[np.ndarray, "M 2"]) -> Float[np.ndarray, "N 2"]:
    """The same curve with nodes at equal steps of its length."""
    arc = np.concatenate(([0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))))
    even = np.linspace(0, arc[-1], NODES_A_SIDE + 1)
    return np.stack([np.interp(even, arc, curve[:, axis]) for axis in (0, 1)], axis=1)


def _atrium(anatomy: Anatomy, endo: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "A 2"]:
    """A closed superellipse cut off by the mitral plane where it is 0.92 as wide as the annulus."""
    length, half = anatomy.atrium_mm
    centre, opening = (endo[0, 0] + endo[-1, 0]) / 2, 0.92 * (endo[-1, 0] - endo[0, 0]) / 2
    half = max(half, 1.02 * opening)
    first = np.arccos((opening / half) ** (2 / 1.8))
    angle = np.linspace(-first, np.pi + first, 2 * NODES_A_SIDE)
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.9
    down = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 0.9
    down = (down - down[0]) / (down.max() - down[0])
    return np.stack((centre - half * across, anatomy.length_mm + length * down), axis=1)


def locate(contours: Contours, points: Float[np.ndarray, "P 2"]) -> Place:
    """The nearest endocardial node of each point and the distance along its normal, infinite far from the ventricle."""
    low, high = contours.endo.min(axis=0) - 16, contours.endo.max(axis=0) + 16
    near = np.flatnonzero(np.all((points > low) & (points < high), axis=1))
    node, distance = np.zeros(len(points), np.int64), np.full(len(points), np.inf)
    node[near] = KDTree(contours.endo).query(points[near])[1]
    offset = points[near] - contours.endo[node[near]]
    distance[near] = np.einsum("pd,pd->p", offset, contours.outward[node[near]])
    return Place(node, distance)


def turn(anatomy: Anatomy, vectors: Float[np.ndarray, "*P 2"]) -> Float[np.ndarray, "*P 2"]:
    """Directions of the ventricle's axes to the image's (across, deep); a tilt above 0 has the base to the right."""
    sine, cosine = np.sin(np.radians(anatomy.tilt_deg)), np.cos(np.radians(anatomy.tilt_deg))
    return np.asarray(vectors @ np.array([[cosine, -sine], [sine, cosine]]))


def _bow(anatomy: Anatomy, z_mm: Float[np.ndarray, "*P"]) -> Float[np.ndarray, "*P"]:
    """How far the axis of ventricle and atrium bends to the left, 0 at the apex and at the atrial roof."""
    total = anatomy.length_mm + anatomy.atrium_mm[0]
    return -anatomy.bow_mm * np.sin(np.pi * np.clip(z_mm / total, 0, 1))


def to_image(anatomy: Anatomy, points: Float[np.ndarray, "*P 2"]) -> Float[np.ndarray, "*P 2"]:
    """Ventricle coordinates to mm (across, deep) under the probe."""
    bent = points + np.stack((_bow(anatomy, points[..., 1]), np.zeros(points.shape[:-1])), axis=-1)
    return np.asarray(turn(anatomy, bent) + np.array(anatomy.apex_mm))


def from_image(anatomy: Anatomy, points: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, "P 2"]:
    """The inverse of `to_image`."""
    sine, cosine = np.sin(np.radians(anatomy.tilt_deg)), np.cos(np.radians(anatomy.tilt_deg))
    bent = (points - np.array(anatomy.apex_mm)) @ np.array([[cosine, sine], [-sine, cosine]])
    return np.asarray(bent - np.stack((_bow(anatomy, bent[:, 1]), np.zeros(len(bent))), axis=1))
