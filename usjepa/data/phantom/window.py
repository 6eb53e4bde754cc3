"""One examination's settings: the grid of the beams, the beam itself, clutter, noise, gain, and the screen.

Constants come from a phased array of some 3.4 MHz (wavelength 0.45 mm); levels were set against statistics of real
CAMUS images. `coarse` scales wavelength, pulse, beam and grid together for small images.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex64, Float, Float32, Int32
from numpy.random import Generator
from scipy import fft, sparse
from scipy.ndimage import gaussian_filter, map_coordinates

from usjepa.data.phantom.anatomy import Anatomy

WAVELENGTH_MM = 0.45
RANGE_STEP_MM = 0.22
ANGLE_STEP = np.radians(0.30)
SMOOTHING = (0.7, 1.0)
"""Deviation of the display's smoothing of speckle, in samples of range and angle."""
NATIVE_SPACING_MM = 0.308
"""The pixel of every CAMUS image."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What a poor window does, in dB: side lobes, haze and noise against muscle, and how deep parts drop out."""

    name: str
    side_lobe_db: float
    haze_db: float
    noise_db: float
    dropout_db: float
    shadow_chance: float


QUALITIES = (
    Quality(name="Good", side_lobe_db=-32.0, haze_db=-17.0, noise_db=-20.5, dropout_db=3.0, shadow_chance=0.2),
    Quality(name="Medium", side_lobe_db=-28.0, haze_db=-14.0, noise_db=-17.0, dropout_db=5.0, shadow_chance=0.45),
    Quality(name="Poor", side_lobe_db=-25.0, haze_db=-10.0, noise_db=-14.0, dropout_db=8.0, shadow_chance=0.8),
)


class Grid(NamedTuple):
    """Sample points of the beam-space image: ranges in mm, angles in radians, how coarse against native."""

    radius: Float[np.ndarray, " R"]
    angle: Float[np.ndarray, " A"]
    coarse: float


def coarseness(spacing_mm: float) -> float:
    """1 at native spacing, 1.8 at 128 rows, 2.4 at 64: quick for small images, yet finer than their pixels."""
    return float(max(1.0, (spacing_mm / NATIVE_SPACING_MM) ** 0.43))


def polar_grid(anatomy: Anatomy, spacing_mm: float) -> Grid:
    """A grid whose lengths have fast Fourier transforms."""
    coarse = coarseness(spacing_mm)
    half = np.radians(anatomy.half_angle_deg) + 2 * ANGLE_STEP * coarse
    radii = fft.next_fast_len(int(anatomy.depth_mm / (RANGE_STEP_MM * coarse)) + 6)
    angles = fft.next_fast_len(int(2 * half / (ANGLE_STEP * coarse)) + 1)
    return Grid(np.arange(radii) * RANGE_STEP_MM * coarse, np.linspace(-half, half, angles), coarse)


def beam(grid: Grid, quality: Quality, rng: Generator) -> Float[np.ndarray, "R A"]:
    """Two-way transfer over angular frequency: a triangle, blurred away from the focus, plus wide side lobes."""
    step = grid.angle[1] - grid.angle[0]
    frequency = np.abs(fft.fftfreq(len(grid.angle), step))[None]
    aperture = rng.uniform(12.5, 16.5)
    triangle = np.clip(1 - frequency * WAVELENGTH_MM * grid.coarse / (2 * aperture), 0, None)
    focus = rng.uniform(0.45, 0.65) * grid.radius[-1]
    # Width of the geometric cone away from the focus; the near field is limited to what real beams show there.
    radius = np.maximum(grid.radius[:, None], 12)
    blur = 0.32 * aperture * np.abs(1 / radius - 1 / focus)
    main = triangle * np.exp(-2 * (np.pi * np.minimum(blur, 0.035) * frequency) ** 2)
    lobes = np.exp(-2 * (np.pi * 0.1 * frequency) ** 2)
    scale = main.sum(axis=1, keepdims=True) / lobes.sum(axis=1, keepdims=True)
    return np.asarray(main + 10 ** (quality.side_lobe_db / 20) * scale * lobes)


def white(shape: tuple[int, int], sigma: tuple[float, float], rng: Generator) -> Complex64[np.ndarray, "R A"]:
    """Complex Gaussian noise of unit mean intensity, smoothed over `sigma` samples."""
    parts = rng.standard_normal((2, *shape), np.float32)
    smooth = gaussian_filter(parts, (0, *sigma), mode="wrap")
    return np.asarray(((smooth[0] + 1j * smooth[1]) / np.sqrt(2) / smooth.std()).astype(np.complex64))


def draw_clutter(grid: Grid, quality: Quality, rng: Generator) -> Complex64[np.ndarray, "R A"]:
    """Echoes that don't move: bands in the near field, and a haze of reverberations that fades with depth."""
    shape = (len(grid.radius), len(grid.angle))
    r = grid.radius[:, None]
    centres = (1.5, rng.uniform(6, 9), rng.uniform(10, 15))
    bands = sum(
        level * np.exp(-(((r - c) / w) ** 2))
        for c, w, level in zip(centres, (2, 1.6, 2.2), (3.4, 1.4, 1.0), strict=True)
    )
    haze = 10 ** (quality.haze_db / 20) * 1.7 * np.exp(-r / 45)
    near = white(shape, (1.3, 6.0), rng) * bands
    return (near + white(shape, (1.3, 3.0), rng) * haze).astype(np.complex64)


def noise_level(grid: Grid, quality: Quality, gain: Float32[np.ndarray, "R A"]) -> Float32[np.ndarray, "R A"]:
    """The receiver's noise: 16 dB higher at the bottom, by the gain for depth; the other gains act on it by half."""
    depth = 10 ** (0.8 * (grid.radius[:, None] / grid.radius[-1]) ** 1.5)
    return np.asarray((10 ** (quality.noise_db / 20) * depth * np.sqrt(gain)).astype(np.float32))


def draw_gain(grid: Grid, quality: Quality, rng: Generator) -> Float32[np.ndarray, "R A"]:
    """Sliders of depth gain, loss to the sides, patches that drop out, shadows of ribs and lung."""
    r = np.linspace(0, 1, len(grid.radius))[:, None]
    a = np.linspace(-1, 1, len(grid.angle))[None]
    sliders = map_coordinates(rng.normal(0, 1.4, 9), [r * 8], order=3, mode="nearest")
    patches = map_coordinates(rng.standard_normal((7, 7)), [r * 6 + 0 * a, a * 3 + 3 + 0 * r], order=3, mode="nearest")
    level = sliders - quality.dropout_db * np.clip(patches, 0, None) - rng.uniform(2, 6) * np.abs(a) ** 4
    for side in (-1, 1):
        if rng.uniform() < quality.shadow_chance:
            edge = rng.uniform(0.5, 0.95)
            level = level - rng.uniform(10, 26) / (1 + np.exp((edge - side * a) / 0.06))
    return np.asarray((10 ** (level / 20)).astype(np.float32))


def scan_conversion(anatomy: Anatomy, grid: Grid, spacing_mm: float) -> tuple[sparse.csr_array, tuple[int, int]]:
    """The matrix from grid samples to pixels; its rows are empty outside the sector.

    A pixel is the mean of 2 x 2 bilinear samples, or more where it covers more of the grid, spread over its area and
    at least over `SMOOTHING`. On coarse grids that grows with the root of the coarseness: then the texture of small
    images is that of native ones made small.
    """
    rows = round(anatomy.depth_mm / spacing_mm)
    columns = round(2 * anatomy.depth_mm * np.sin(np.radians(anatomy.half_angle_deg)) / spacing_mm)
    y = (np.arange(rows) + 0.5)[:, None] * spacing_mm
    x = (np.arange(columns) + 0.5 - columns / 2)[None] * spacing_mm
    radius, angle = np.hypot(x, y).ravel(), np.arctan2(x, y).ravel()
    inside = (radius < anatomy.depth_mm) & (np.abs(angle) < np.radians(anatomy.half_angle_deg))
    angle_step = grid.angle[1] - grid.angle[0]
    u, v = radius[inside] / grid.radius[1], (angle[inside] - grid.angle[0]) / angle_step
    width_u, width_v = spacing_mm / grid.radius[1], spacing_mm / radius[inside] / angle_step
    taps = max(2, round(width_u / 1.5))
    least = 2 * np.sqrt(grid.coarse) / (taps - 1)
    down, right = max(SMOOTHING[0] * least, width_u / taps), np.maximum(SMOOTHING[1] * least, width_v / taps)
    offsets = np.arange(taps) - (taps - 1) / 2
    corners = [_bilinear(grid, u + i * down, v + j * right) for i in offsets for j in offsets]
    cells, weights = (np.concatenate(parts, axis=1) for parts in zip(*corners, strict=True))
    starts = np.concatenate(([0], np.cumsum(cells.shape[1] * inside)))
    size = (len(radius), len(grid.radius) * len(grid.angle))
    return sparse.csr_array((weights.ravel() / np.float32(taps**2), cells.ravel(), starts), shape=size), (rows, columns)


def _bilinear(
    grid: Grid, u: Float[np.ndarray, " P"], v: Float[np.ndarray, " P"]
) -> tuple[Int32[np.ndarray, "P 4"], Float32[np.ndarray, "P 4"]]:
    """The four grid cells around each point (in samples) and their weights."""
    width = len(grid.angle)
    u, v = np.clip(u, 0, len(grid.radius) - 1.001), np.clip(v, 0, width - 1.001)
    row, column = u.astype(np.int32), v.astype(np.int32)
    u, v = u - row, v - column
    corner = row * width + column
    cells = np.stack((corner, corner + 1, corner + width, corner + width + 1), axis=1)
    weights = np.stack(((1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v), axis=1)
    return cells.astype(np.int32), weights.astype(np.float32)
