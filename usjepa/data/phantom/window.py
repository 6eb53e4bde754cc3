"""One examination's settings: the grid of the beams, the beam itself, clutter, noise, gain, and the screen.

Constants come from a phased array of some 3.4 MHz (wavelength 0.45 mm); levels were set against statistics of real
CAMUS images. `coarse` scales wavelength, pulse, beam and grid together for small images.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Complex64, Float, Float32, Int, Int32
from numpy.random import Generator
from scipy import fft, sparse
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import gaussian_filter, map_coordinates

VERSION = 2
"""Part of every recipe's hash: change it when the same recipe would give other pixels."""
WAVELENGTH_MM = 0.45
RANGE_STEP_MM = 0.25
ANGLE_STEP = np.radians(0.36)
NATIVE_SPACING_MM = 0.308
"""The pixel of every CAMUS image."""
SCATTERERS_A_CELL = 0.6
"""Of the grid; some ten in each cell that the beam resolves, enough for fully developed speckle."""
NEAR_FIELD_MM = 24
"""Beyond, nothing is left of the bands under the probe."""


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
    Quality(name="Good", side_lobe_db=-32.0, haze_db=-17.5, noise_db=-20.5, dropout_db=3.0, shadow_chance=0.2),
    Quality(name="Medium", side_lobe_db=-28.0, haze_db=-14.0, noise_db=-17.0, dropout_db=5.0, shadow_chance=0.45),
    Quality(name="Poor", side_lobe_db=-25.0, haze_db=-10.0, noise_db=-14.0, dropout_db=8.0, shadow_chance=0.8),
)


@runtime_checkable
class Sector(Protocol):
    """What is said of an image's outline."""

    @property
    def half_angle_deg(self) -> float:
        """From the middle to either side."""
        ...

    @property
    def depth_mm(self) -> float:
        """From the probe to the arc."""
        ...


class Grid(NamedTuple):
    """Sample points of the beam-space image: ranges in mm, angles in radians, how coarse against native."""

    radius: Float[np.ndarray, " R"]
    angle: Float[np.ndarray, " A"]
    coarse: float


class Screen(NamedTuple):
    """Scan conversion: grid samples to the sector's pixels, their places in the flat image, its (rows, columns)."""

    matrix: sparse.csr_array
    pixel: Int[np.ndarray, " P"]
    shape: tuple[int, int]


def coarseness(spacing_mm: float) -> float:
    """1 at native spacing, 1.8 at 128 rows, 2.4 at 64: quick for small images, yet finer than their pixels."""
    return float(max(1.0, (spacing_mm / NATIVE_SPACING_MM) ** 0.43))


def polar_grid(sector: Sector, spacing_mm: float) -> Grid:
    """A grid whose lengths have fast Fourier transforms."""
    coarse = coarseness(spacing_mm)
    half = np.radians(sector.half_angle_deg) + 2 * ANGLE_STEP * coarse
    radii = fft.next_fast_len(int(sector.depth_mm / (RANGE_STEP_MM * coarse)) + 6)
    angles = fft.next_fast_len(int(2 * half / (ANGLE_STEP * coarse)) + 1)
    return Grid(np.arange(radii) * RANGE_STEP_MM * coarse, np.linspace(-half, half, angles), coarse)


def beam(grid: Grid, quality: Quality, rng: Generator) -> Float[np.ndarray, "R A"]:
    """Two-way transfer over angular frequency: a triangle, blurred away from the focus, plus wide side lobes."""
    step = grid.angle[1] - grid.angle[0]
    frequency = np.abs(fft.fftfreq(len(grid.angle), step))[None]
    aperture = rng.uniform(15, 19)
    triangle = np.clip(1 - frequency * WAVELENGTH_MM * grid.coarse / (2 * aperture), 0, None)
    focus = rng.uniform(0.45, 0.65) * grid.radius[-1]
    # Width of the geometric cone away from the focus; the near field is limited to what real beams show there.
    radius = np.maximum(grid.radius[:, None], 12)
    blur = 0.19 * aperture * np.abs(1 / radius - 1 / focus)
    main = triangle * np.exp(-2 * (np.pi * np.minimum(blur, 0.035) * frequency) ** 2)
    lobes = np.exp(-2 * (np.pi * 0.1 * frequency) ** 2)
    scale = main.sum(axis=1, keepdims=True) / lobes.sum(axis=1, keepdims=True)
    return np.asarray(main + 10 ** (quality.side_lobe_db / 20) * scale * lobes)


def white(shape: tuple[int, int], sigma: tuple[float, float], rng: Generator) -> Complex64[np.ndarray, "R A"]:
    """Complex Gaussian noise of unit mean intensity, smoothed over `sigma` samples."""
    parts = rng.standard_normal((2, *shape), np.float32)
    smooth = gaussian_filter(parts, (0, *sigma), mode="wrap", truncate=3)
    noise = np.empty(shape, np.complex64)
    noise.real, noise.imag = smooth
    noise /= np.float32(np.sqrt(2) * smooth.std())
    return noise


def draw_clutter(grid: Grid, quality: Quality, rng: Generator) -> Complex64[np.ndarray, "R A"]:
    """Echoes that don't move: bands in the near field, and a haze of reverberations that fades with depth."""
    r = grid.radius[:, None].astype(np.float32)
    centres = (1.5, rng.uniform(6, 9), rng.uniform(10, 15))
    near = int(np.searchsorted(grid.radius, NEAR_FIELD_MM))
    bands = sum(
        level * np.exp(-(((r[:near] - c) / w) ** 2))
        for c, w, level in zip(centres, (2, 1.6, 2.2), (3.4, 1.4, 1.0), strict=True)
    )
    haze = np.float32(10 ** (quality.haze_db / 20) * 1.7) * np.exp(-r / 45)
    clutter = white((len(r), len(grid.angle)), (2.0, 1.6), rng) * haze
    clutter[:near] += white((near, len(grid.angle)), (1.3, 6.0), rng) * bands
    return clutter


def noise_level(grid: Grid, quality: Quality, gain: Float32[np.ndarray, "R A"]) -> Float32[np.ndarray, "R A"]:
    """The receiver's noise: 16 dB higher at the bottom, by the gain for depth; the other gains act on it by half."""
    depth = 10 ** (0.8 * (grid.radius[:, None] / grid.radius[-1]) ** 1.5)
    return np.asarray((10 ** (quality.noise_db / 20) * depth * np.sqrt(gain)).astype(np.float32))


def draw_gain(grid: Grid, quality: Quality, rng: Generator) -> Float32[np.ndarray, "R A"]:
    """Sliders of depth gain, loss to the sides, patches that drop out, shadows of ribs and lung."""
    r = np.linspace(0, 1, len(grid.radius))[:, None]
    a = np.linspace(-1, 1, len(grid.angle))[None]
    sliders = map_coordinates(rng.normal(0, 1.4, 9), [r * 8], order=3, mode="nearest")
    patches = RectBivariateSpline(np.arange(7), np.arange(7), rng.standard_normal((7, 7)))(6 * r[:, 0], 3 * a[0] + 3)
    level = sliders - quality.dropout_db * np.clip(patches, 0, None) - rng.uniform(2, 6) * np.abs(a) ** 4
    for side in (-1, 1):
        if rng.uniform() < quality.shadow_chance:
            edge = rng.uniform(0.5, 0.95)
            level = level - rng.uniform(10, 26) / (1 + np.exp((edge - side * a) / 0.06))
    return np.asarray((10 ** (level / 20)).astype(np.float32))


def scan_conversion(sector: Sector, grid: Grid, spacing_mm: float) -> Screen:
    """The matrix from grid samples to the sector's pixels.

    A pixel is one bilinear sample, or the mean of several spread over its area where it covers more of the grid.
    """
    rows = round(sector.depth_mm / spacing_mm)
    columns = round(2 * sector.depth_mm * np.sin(np.radians(sector.half_angle_deg)) / spacing_mm)
    y = (np.arange(rows) + 0.5)[:, None] * spacing_mm
    x = (np.arange(columns) + 0.5 - columns / 2)[None] * spacing_mm
    # The tangent is cheaper than the angle, and enough to tell the sector's pixels.
    inside = (x**2 + y**2 < sector.depth_mm**2) & (np.abs(x) < y * np.tan(np.radians(sector.half_angle_deg)))
    pixel = np.flatnonzero(inside)
    across, deep = x[0, pixel % columns].astype(np.float32), y[pixel // columns, 0].astype(np.float32)
    radius, angle = np.hypot(across, deep), np.arctan2(across, deep)
    angle_step = np.float32(grid.angle[1] - grid.angle[0])
    u, v = radius / np.float32(grid.radius[1]), (angle - np.float32(grid.angle[0])) / angle_step
    width_u, width_v = np.float32(spacing_mm / grid.radius[1]), np.float32(spacing_mm) / radius / angle_step
    taps = max(1, round(float(width_u) / 1.5))
    offsets = (np.arange(taps, dtype=np.float32) - np.float32((taps - 1) / 2)) / np.float32(taps)
    corners = [_bilinear(grid, u + i * width_u, v + j * width_v) for i in offsets for j in offsets]
    cells, weights = (np.concatenate(parts, axis=1) for parts in zip(*corners, strict=True))
    starts = np.arange(0, cells.size + 1, cells.shape[1], dtype=np.int32)
    size = (len(pixel), len(grid.radius) * len(grid.angle))
    matrix = sparse.csr_array((weights.ravel() / np.float32(taps**2), cells.ravel(), starts), shape=size)
    return Screen(matrix, pixel, (rows, columns))


def _bilinear(
    grid: Grid, u: Float32[np.ndarray, " P"], v: Float32[np.ndarray, " P"]
) -> tuple[Int32[np.ndarray, "P 4"], Float32[np.ndarray, "P 4"]]:
    """The four grid cells around each point (in samples) and their weights."""
    width = len(grid.angle)
    u, v = np.clip(u, 0, np.float32(len(grid.radius) - 1.001)), np.clip(v, 0, np.float32(width - 1.001))
    row, column = u.astype(np.int32), v.astype(np.int32)
    u, v = u - row.astype(np.float32), v - column.astype(np.float32)
    corner = row * np.int32(width) + column
    cells, weights = np.empty((len(u), 4), np.int32), np.empty((len(u), 4), np.float32)
    for k, step in enumerate((0, 1, width, width + 1)):
        np.add(corner, step, out=cells[:, k])
    lower, right = 1 - u, u * v
    weights[:, 1] = v - right
    weights[:, 0] = lower - weights[:, 1]
    weights[:, 2] = u - right
    weights[:, 3] = right
    return cells, weights
