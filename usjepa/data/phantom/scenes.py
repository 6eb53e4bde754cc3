"""Moving speckle that is no heart: layers, blobs and vessels in random tissue, moved by random smooth motions.

Rendered, cut and displayed as the heart phantom is, but without labels: what stands in for "other videos" when an
encoder is pre-trained on one kind of data and adapted to another.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.random import Generator, default_rng

from usjepa.data.layout import SYNTHETIC_LICENCE
from usjepa.data.phantom import acoustics
from usjepa.data.phantom.texture import texture
from usjepa.data.phantom.tissue import BLOOD_DB, SILENT_DB, Scatterers
from usjepa.data.phantom.window import NATIVE_SPACING_MM, QUALITIES, SCATTERERS_A_CELL, VERSION, polar_grid
from usjepa.data.prepare import prepare, sequence_key
from usjepa.data.sequence import UltrasoundSequence
from usjepa.data.store import Store
from usjepa.errors import InputError

INTERVAL_S = 0.02
"""As hearts are filmed, some 50 times a second."""


@dataclass(frozen=True, kw_only=True)
class SceneRecipe:
    """How many scenes of how many frames; iterating renders them. rows as in `PhantomRecipe`.

    A scene depends on seed, frames and rows and on its number only. Raises InputError for values below the least.
    """

    number: int
    seed: int = 0
    rows: int | None = 128
    frames: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 9999:
            raise InputError(f"number: expected 1 to 9999, got {self.number}. Change it.")
        if self.seed < 0:
            raise InputError(f"seed: expected 0 or more, got {self.seed}. Change it.")
        if self.frames < 2:
            raise InputError(f"frames: expected at least 2, got {self.frames}. Change it.")
        if self.rows is not None and not 40 <= self.rows <= 1024:
            raise InputError(f"rows: expected 40 to 1024, or None for 0.308 mm a pixel, got {self.rows}. Change it.")

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[UltrasoundSequence]:
        return (render_scene(self, number) for number in range(1, self.number + 1))

    def keys(self) -> tuple[str, ...]:
        """As `usjepa.data.prepare` asks: a finished store is found again without rendering anything."""
        return tuple(
            sequence_key(name=f"scene{number:04d}_scene", split="train", source_sha256=_hash(self, number))
            for number in range(1, self.number + 1)
        )


class Outline(NamedTuple):
    """The sector of one scene."""

    half_angle_deg: float
    depth_mm: float


def write_scenes(recipe: SceneRecipe, folder: Path, size_px: int) -> Store:
    """Render all scenes into a prepared store of `size_px` squares; the same store, finished, is found again."""
    return prepare(recipe, folder, size_px)


def render_scene(recipe: SceneRecipe, number: int) -> UltrasoundSequence:
    """One scene (from 1): an unlabelled sequence of split "train". Raises InputError for an unknown number."""
    if not 1 <= number <= recipe.number:
        raise InputError(f"number: expected 1 to {recipe.number}, got {number}. Take one of these.")
    rng, points_rng, motion, window = default_rng([recipe.seed, number, *b"scene"]).spawn(4)
    outline = Outline(float(window.choice((37.4, 44.9))), float(window.uniform(110, 190)))
    quality = QUALITIES[int(window.choice(3, p=(0.5, 0.35, 0.15)))]
    spacing_mm = NATIVE_SPACING_MM if recipe.rows is None else outline.depth_mm / recipe.rows
    grid = polar_grid(outline, spacing_mm)
    count = int(SCATTERERS_A_CELL * len(grid.radius) * len(grid.angle))
    weights = _amplitudes(np.arange(-1, recipe.frames), motion)
    frames = acoustics.film(
        acoustics.draw_scanner(outline, quality, spacing_mm, SCATTERERS_A_CELL, window),
        _draw(outline, count, rng, points_rng),
        weights,
        # Out of the plane as far as in it, at most a little more than in a beat.
        1.1 * np.tanh(weights[:, 0] / 4),
        window,
    )
    return UltrasoundSequence(
        frames=frames,
        patient=f"scene{number:04d}",
        view="scene",
        split="train",
        source=f"scene {number}",
        source_sha256=_hash(recipe, number),
        licence=SYNTHETIC_LICENCE,
        spacing_mm=(spacing_mm, spacing_mm),
        interval_s=INTERVAL_S,
        quality=quality.name,
    )


def _hash(recipe: SceneRecipe, number: int) -> str:
    """SHA-256 hex of all that decides one scene's pixels."""
    kept = {key: value for key, value in asdict(recipe).items() if key != "number"}
    return hashlib.sha256(json.dumps({**kept, "scene": number, "version": VERSION}).encode()).hexdigest()


def _draw(outline: Outline, count: int, rng: Generator, points_rng: Generator) -> Scatterers:
    """Scatterers of one scene; `points_rng` places them, `rng` decides what is there and how it may move."""
    reach = np.radians(outline.half_angle_deg + 4)
    radius = np.sort(points_rng.uniform(1, outline.depth_mm + 3, count))
    angle = points_rng.uniform(-reach, reach, count)
    x, y = radius * np.sin(angle), radius * np.cos(angle)
    level = _level(outline, x, y, rng)
    loud = level > SILENT_DB
    x, y = x[loud], y[loud]
    return Scatterers(
        points=np.stack((x, y)).astype(np.float32),
        fields=_fields(outline, x, y, rng).astype(np.float32),
        strength=(10 ** (level[loud] / 20)).astype(np.float32),
        phase=points_rng.uniform(0, 2 * np.pi, len(x)).astype(np.float32),
        drift=points_rng.standard_normal(len(x)).astype(np.float32),
    )


def _level(
    outline: Outline, x: Float[np.ndarray, " P"], y: Float[np.ndarray, " P"], rng: Generator
) -> Float[np.ndarray, " P"]:
    """Grainy tissue, then bright layers across the beam, dark or bright blobs, and dark vessels with bright walls."""
    tilt = rng.uniform(-0.6, 0.6)
    u, v = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    grain = 3.5 * texture(rng, v / 2.8, u / 8)
    level = rng.uniform(-8, 2) + 6 * texture(rng, v / 25, u / 35) + 3 * texture(rng, v / 7, u / 9) + grain
    for _ in range(rng.integers(1, 5)):
        height = rng.uniform(0.15, 0.95) * outline.depth_mm + rng.uniform(-0.3, 0.3) * x
        height += rng.uniform(1, 6) * np.sin(x / rng.uniform(9, 25) + rng.uniform(0, 6))
        level = np.where(np.abs(y - height) < rng.uniform(0.6, 2.5), rng.uniform(3, 10) + grain, level)
    for _ in range(rng.integers(2, 7)):
        radius = rng.uniform(5, 24)
        across = (x - rng.uniform(-0.6, 0.6) * outline.depth_mm) / radius
        rim = np.hypot(across, (y - rng.uniform(0.15, 0.95) * outline.depth_mm) / (radius * rng.uniform(0.5, 1)))
        inside = rng.choice((BLOOD_DB, -12.0, 5.0))
        level = np.where(rim < 1, inside + grain, np.where(rim < 1 + rng.uniform(0, 3) / radius, 4 + grain, level))
    for _ in range(rng.integers(1, 4)):
        middle = rng.uniform(0.1, 0.9) * outline.depth_mm + rng.uniform(-1.2, 1.2) * x
        middle += rng.uniform(0, 8) * np.sin(x / rng.uniform(10, 30))
        away, half = np.abs(y - middle), rng.uniform(2, 7)
        level = np.where(away < half, BLOOD_DB, np.where(away < half + 1.2, 2 + grain, level))
    return np.asarray(level)


def _fields(
    outline: Outline, x: Float[np.ndarray, " P"], y: Float[np.ndarray, " P"], rng: Generator
) -> Float[np.ndarray, "K 2 P"]:
    """Shifts across and along, a turn, a swelling, and a wave: each moves its points by some mm at amplitude 1 mm."""
    right, down = x - rng.uniform(-20, 20), y - rng.uniform(0.3, 0.8) * outline.depth_mm
    near = np.exp(-(right**2 + down**2) / 35**2) / 20
    heading, length = rng.uniform(0, 2 * np.pi), rng.uniform(60, 110)
    wave = np.sin(2 * np.pi * (x * np.sin(heading) + y * np.cos(heading)) / length + rng.uniform(0, 6))
    still, unit = np.zeros_like(x), np.ones_like(x)
    moves = ((unit, still), (still, unit), (down / 60, -right / 60), (right * near, down * near))
    return np.stack([np.stack(pair) for pair in (*moves, (wave * np.cos(heading), -wave * np.sin(heading)))])


def _amplitudes(steps: np.ndarray, rng: Generator) -> Float[np.ndarray, "T K"]:
    """Of each field, two slow swings of random periods, in mm."""
    periods, starts = rng.uniform(14, 60, (2, 5)), rng.uniform(0, 2 * np.pi, (2, 5))
    swings = np.sin(2 * np.pi * steps[:, None, None] / periods + starts)
    return np.asarray((swings * rng.uniform(0.5, (1.5, 1.5, 3, 4, 2.5), (2, 5))).sum(axis=1))
