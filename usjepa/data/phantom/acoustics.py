"""From moved scatterers to grey levels.

Echoes are complex (baseband) and summed on a grid of range and angle; pulse and beam filter them there by FFT. Clutter,
gain and noise follow, then logarithm, scan conversion, persistence and the display's curve.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex64, Float, Float32, UInt8
from numpy.random import Generator
from scipy import fft, sparse

from usjepa.data.phantom.anatomy import Anatomy
from usjepa.data.phantom.tissue import Scatterers
from usjepa.data.phantom.window import (
    RANGE_STEP_MM,
    WAVELENGTH_MM,
    Grid,
    Quality,
    beam,
    draw_clutter,
    draw_gain,
    noise_level,
    polar_grid,
    scan_conversion,
    white,
)

PERSISTENCE = 0.25
"""Share of the last frame in the shown one."""
RANGE_DB = 69
"""Dynamic range from black to white."""


class Scanner(NamedTuple):
    """All that stays the same over a loop of one view."""

    grid: Grid
    lateral: Float32[np.ndarray, "R A"]
    axial: Float32[np.ndarray, "R 1"]
    clutter: Complex64[np.ndarray, "R A"]
    noise: Complex64[np.ndarray, "R A"]
    gain: Float32[np.ndarray, "R A"]
    rise: Float32[np.ndarray, "R A"]
    middle: float
    gamma: float
    screen: sparse.csr_array
    shape: tuple[int, int]


def draw_scanner(anatomy: Anatomy, quality: Quality, spacing_mm: float, density: float, rng: Generator) -> Scanner:
    """Settings of one examination. `density`: scatterers a grid cell. 0 dB lies at `middle` of the dynamic range."""
    # What doesn't depend on the grid is drawn first: an examination looks alike at every size.
    middle, gamma, pulse_mm = rng.uniform(0.585, 0.655), rng.uniform(1.35, 1.65), rng.uniform(0.23, 0.3)
    grid = polar_grid(anatomy, spacing_mm)
    lateral = beam(grid, quality, rng)
    axial = np.exp(-0.5 * (2 * np.pi * fft.fftfreq(len(grid.radius)) * pulse_mm / RANGE_STEP_MM) ** 2)
    # Parseval: with this scale, a tissue of unit scatterers has mean intensity 1 at every depth.
    power = density * np.mean(axial**2) * np.mean(lateral**2, axis=1, keepdims=True)
    screen, shape = scan_conversion(anatomy, grid, spacing_mm)
    gain = draw_gain(grid, quality, rng)
    return Scanner(
        grid=grid,
        lateral=(lateral / np.sqrt(power)).astype(np.float32),
        axial=axial[:, None].astype(np.float32),
        clutter=draw_clutter(grid, quality, rng),
        noise=white((len(grid.radius), len(grid.angle)), (0.8, 1.1), rng),
        gain=gain,
        rise=noise_level(grid, quality, gain),
        middle=middle,
        gamma=gamma,
        screen=screen,
        shape=shape,
    )


def echo(
    scanner: Scanner, scatterers: Scatterers, amplitude: Float[np.ndarray, " K"], slide: float
) -> Complex64[np.ndarray, "R A"]:
    """Baseband echo of all scatterers, moved by `amplitude` times their fields, phases drifted by `slide`."""
    grid = scanner.grid
    shift = np.tensordot(amplitude.astype(np.float32), scatterers.fields, axes=1)
    across, deep = scatterers.points + shift
    radius = np.sqrt(across**2 + deep**2)
    angle = np.arctan2(across, deep)
    turned = scatterers.phase + np.float32(slide) * scatterers.drift
    turned += np.float32(4 * np.pi / (WAVELENGTH_MM * grid.coarse)) * radius
    row = np.rint(radius / np.float32(grid.radius[1])).astype(np.int32)
    start, step = np.float32(grid.angle[0]), np.float32(grid.angle[1] - grid.angle[0])
    column = np.rint((angle - start) / step).astype(np.int32)
    seen = (row < len(grid.radius)) & (column >= 0) & (column < len(grid.angle))
    cell = np.where(seen, row * len(grid.angle) + column, 0)
    strength = scatterers.strength * seen
    size = len(grid.radius) * len(grid.angle)
    field = np.empty(size, np.complex64)
    field.real = np.bincount(cell, strength * np.cos(turned), size)
    field.imag = np.bincount(cell, strength * np.sin(turned), size)
    spectrum = fft.fft(field.reshape(len(grid.radius), len(grid.angle)), axis=1)
    spectrum *= scanner.lateral
    spectrum = fft.fft(spectrum, axis=0, overwrite_x=True)
    spectrum *= scanner.axial
    return np.asarray(fft.ifft2(spectrum, overwrite_x=True))


def brightness(scanner: Scanner, field: Complex64[np.ndarray, "R A"], rng: Generator) -> Float32[np.ndarray, "H W"]:
    """One frame before persistence: clutter, gain, noise, log compression to shares of `RANGE_DB`, on the screen."""
    noise = np.roll(scanner.noise, int(rng.integers(scanner.noise.size)))
    total = (field + scanner.clutter) * scanner.gain + noise * scanner.rise
    intensity = total.real**2 + total.imag**2
    level = np.log(intensity + np.float32(1e-9)) * np.float32(10 / np.log(10) / RANGE_DB) + np.float32(scanner.middle)
    return np.asarray((scanner.screen @ level.ravel()).reshape(scanner.shape))


def grey(scanner: Scanner, level: Float32[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Grey levels as displayed: black at or below 0, white at or above 1."""
    shade = 255 * np.clip(level, 0, 1) ** np.float32(scanner.gamma)
    return np.asarray(np.rint(shade).astype(np.uint8))
