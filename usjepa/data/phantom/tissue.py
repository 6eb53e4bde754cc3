"""What echoes: point scatterers drawn once at end diastole, each with a strength that depends on where it lies.

Strengths are in dB above the middle of the heart's muscle. Blood holds no scatterers: what is seen in a cavity is haze.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from usjepa.data.phantom.anatomy import Anatomy, Contours, from_image, half_width, locate, to_image, turn
from usjepa.data.phantom.motion import Kinetics, displacement_fields
from usjepa.data.phantom.texture import texture

BLOOD_DB = -80.0
SILENT_DB = -52.0
"""Weaker scatterers are left out: they lie below the noise in every setting."""


class Scatterers(NamedTuple):
    """Positions at end diastole in mm (across, deep); fields as in `motion`, and a last one that opens the valve.

    Coordinates come before points here, because every frame adds up long rows of each.
    """

    points: Float[np.ndarray, "2 P"]
    fields: Float[np.ndarray, "K 2 P"]
    strength: Float[np.ndarray, " P"]
    phase: Float[np.ndarray, " P"]
    drift: Float[np.ndarray, " P"]


def draw_scatterers(anatomy: Anatomy, kinetics: Kinetics, contours: Contours, count: int, rng: Generator) -> Scatterers:
    """About `count` scatterers, equally many a cell of range and angle, plus those of the mitral valve."""
    # Two streams: the tissue looks the same however many scatterers sample it.
    points_rng, rng = rng.spawn(2)
    reach = np.radians(anatomy.half_angle_deg + 4)
    # In order of depth, every frame finds its cells of the grid one after another, which is quicker.
    radius = np.sort(points_rng.uniform(1, anatomy.depth_mm + 3, count))
    angle = points_rng.uniform(-reach, reach, count)
    points = np.stack((radius * np.sin(angle), radius * np.cos(angle)), axis=1)
    level = _surroundings(anatomy, radius, angle, rng)
    # The slice is some mm thick: borders are fuzzy over about one.
    level = _heart(anatomy, contours, points, level, points_rng.normal(0, 0.6, count), rng)
    loud = level > SILENT_DB
    local = from_image(anatomy, points[loud])
    closed, opening, valve_level = _valve(anatomy, contours, count // 350, rng)
    every = np.concatenate((local, closed))
    still = np.zeros((len(local), 2))
    fields = displacement_fields(anatomy, kinetics, every)
    fields = np.concatenate((fields, turn(anatomy, np.concatenate((still, opening)))[None]))
    level = np.concatenate((level[loud], valve_level))
    return Scatterers(
        points=np.ascontiguousarray(to_image(anatomy, every).T, np.float32),
        fields=np.ascontiguousarray(fields.swapaxes(1, 2), np.float32),
        strength=(10 ** (level / 20)).astype(np.float32),
        phase=rng.uniform(0, 2 * np.pi, len(every)).astype(np.float32),
        # Tissue slides through the plane of the image: each echo's phase drifts at its own rate.
        drift=rng.standard_normal(len(every)).astype(np.float32),
    )


def _surroundings(
    anatomy: Anatomy, radius: Float[np.ndarray, " P"], angle: Float[np.ndarray, " P"], rng: Generator
) -> Float[np.ndarray, " P"]:
    """Patches, grain, and streaks across the beam; deep tissue is brighter, because the gain for depth overdoes it."""
    level = rng.uniform(-6, -1) + rng.uniform(3, 10) * (radius / anatomy.depth_mm) ** 2
    level += 7.5 * texture(rng, radius / 24, angle / 0.3) + 2.5 * texture(rng, radius / 6, angle / 0.05)
    return level + 4.4 * texture(rng, radius / 2.8, angle / 0.13)


def _heart(
    anatomy: Anatomy,
    contours: Contours,
    points: Float[np.ndarray, "P 2"],
    level: Float[np.ndarray, " P"],
    blur_mm: Float[np.ndarray, " P"],
    rng: Generator,
) -> Float[np.ndarray, " P"]:
    """The level with the heart's parts in place of the surroundings, the later over the earlier."""
    local = from_image(anatomy, points)
    x, z = local[:, 0], local[:, 1]
    place = locate(contours, local)
    depth = np.minimum(place.distance_mm + blur_mm, 99)
    wall = contours.wall_mm[place.node]
    beam = points / np.linalg.norm(points, axis=1, keepdims=True)
    facing = np.abs(np.einsum("pd,pd->p", turn(anatomy, contours.outward[place.node]), beam))
    grain = 3.2 * texture(rng, x / 5, z / 5) + 2.5 * texture(rng, x / 14, z / 14) + 4.0 * texture(rng, x / 3.6, z / 3.6)
    parallel = -8 * (1 - facing**0.7)
    above = z < anatomy.length_mm
    if anatomy.ventricle_mm:
        level = _right_heart(anatomy, x, z + blur_mm, level, grain)
    level = _left_atrium(anatomy, x + blur_mm, z, level, grain)
    fraction = depth / wall
    lateral = x > 0
    rim = (fraction > 0.95) & (fraction < 0.95 + 2.5 / wall) & above & (lateral | (z < 0.2 * anatomy.length_mm))
    level = np.where(rim, 5 + 12 * (facing - 0.4) + grain, level)
    muscle = 2 + parallel + grain - 2.2 * (2 * fraction - 1) ** 2 + np.where(lateral, -1, 2.5)
    level = np.where((fraction >= 0) & (fraction < 1) & above, muscle, level)
    level = np.where((fraction < 0) & above, _cavity(anatomy, x, z, depth, rng), level)
    for hinge in (contours.endo[0], contours.endo[-1]):
        ring = np.hypot(x - hinge[0] * 1.1, (z - hinge[1]) * 1.2) < 4
        level = np.where(ring, 7 + grain, level)
    return level


def _cavity(
    anatomy: Anatomy,
    x: Float[np.ndarray, " P"],
    z: Float[np.ndarray, " P"],
    depth: Float[np.ndarray, " P"],
    rng: Generator,
) -> Float[np.ndarray, " P"]:
    """Blood, but for trabeculae along the border and two papillary muscles: experts count both as cavity."""
    level = np.full(len(x), BLOOD_DB)
    ridges = texture(rng, x / 3, z / 5)
    level = np.where((depth > -3.5) & (ridges > 0.5 - 0.15 * depth), -8 + 3 * ridges, level)
    for sign, side in ((-1, 0), (1, 1)):
        top = rng.uniform(0.3, 0.42) * anatomy.length_mm
        bottom = rng.uniform(0.52, 0.62) * anatomy.length_mm
        along = (z - top) / (bottom - top)
        centre = sign * half_width(anatomy, z, side) * (0.95 - 0.3 * np.clip(along, 0, 1))
        body = (along > 0) & (along < 1) & (np.abs(x - centre) < 3.2 * np.sin(np.pi * np.clip(along, 0, 1)) ** 0.5)
        level = np.where(body, rng.uniform(-14, -5) + 2 * ridges, level)
    return level


def _left_atrium(
    anatomy: Anatomy,
    x: Float[np.ndarray, " P"],
    z: Float[np.ndarray, " P"],
    level: Float[np.ndarray, " P"],
    grain: Float[np.ndarray, " P"],
) -> Float[np.ndarray, " P"]:
    """Blood inside, thin side walls that hardly reflect, a roof that faces the beam and does."""
    length, half = anatomy.atrium_mm
    middle = (
        half_width(anatomy, np.array([anatomy.length_mm]), 1) - half_width(anatomy, np.array([anatomy.length_mm]), 0)
    ) / 2
    p = (z - anatomy.length_mm) / length
    rim = np.hypot((x - middle) / half, (p - 0.38) / 0.62)
    shell = (rim >= 1) & (rim < 1 + 3.0 / half) & (p > 0)
    roof = np.clip((p - 0.6) / 0.3, 0, 1)
    level = np.where(shell, -7 + 10 * roof + grain, level)
    return np.where((rim < 1) & (p > 0), BLOOD_DB, level)


def _right_heart(
    anatomy: Anatomy,
    x: Float[np.ndarray, " P"],
    z: Float[np.ndarray, " P"],
    level: Float[np.ndarray, " P"],
    grain: Float[np.ndarray, " P"],
) -> Float[np.ndarray, " P"]:
    """Right ventricle beside the septum, right atrium below it, the tricuspid line between, thin walls around."""
    valve_mm = anatomy.length_mm - 6  # the tricuspid valve sits nearer to the apex than the mitral
    septum = -half_width(anatomy, z, 0) - anatomy.walls_mm[0]
    top = anatomy.ventricle_apex * anatomy.length_mm
    rise = np.clip((z - top) / (valve_mm - top), 0, 1)
    width = anatomy.ventricle_mm * np.sqrt(1 - (1 - rise) ** 2)
    beyond = septum - x
    in_ventricle = (beyond > 0) & (beyond < width) & (z < valve_mm)
    level = np.where((beyond >= width) & (beyond < width + 4) & (z < valve_mm) & (rise > 0), -2 + grain, level)
    half = 0.55 * anatomy.ventricle_mm
    centre = -half_width(anatomy, np.full(1, anatomy.length_mm), 0) - 3 - half
    rim = np.hypot((x - centre) / half, (z - valve_mm - 0.4 * anatomy.atrium_mm[0]) / (0.45 * anatomy.atrium_mm[0]))
    level = np.where((rim < 1.14) & (z > valve_mm), -5 + grain, level)
    level = np.where(in_ventricle | ((rim < 1) & (z > valve_mm)), BLOOD_DB, level)
    line = (np.abs(z - valve_mm) < 1.2) & (beyond > -2) & (beyond < width)
    return np.where(line, grain, level)


def _valve(
    anatomy: Anatomy, contours: Contours, count: int, rng: Generator
) -> tuple[Float[np.ndarray, "V 2"], Float[np.ndarray, "V 2"], Float[np.ndarray, " V"]]:
    """Two mitral leaflets of `count` scatterers each: closed, the way to open, and a patchy level."""
    left, right = contours.endo[0], contours.endo[-1]
    tip = left + np.array([0.58 * (right[0] - left[0]), -rng.uniform(3, 7)])
    closed, opening, level = [], [], []
    for hinge, sign in ((left, 1), (right, -1)):
        u = rng.uniform(0, 1, (count, 1))
        bow = np.array([0, 1.5]) * np.sin(np.pi * u)
        shut = hinge + u * (tip - hinge) + bow
        length = np.linalg.norm(tip - hinge)
        angle = np.radians(rng.uniform(66, 78))
        wide = hinge + u * length * np.array([sign * np.cos(angle), -np.sin(angle)])
        jitter = rng.normal(0, 0.35, (count, 2))
        closed.append(shut + jitter)
        opening.append(wide - shut)
        level.append(-1 + 5 * texture(rng, 8 * u[:, 0], np.zeros(count)))
    return np.concatenate(closed), np.concatenate(opening), np.concatenate(level)
