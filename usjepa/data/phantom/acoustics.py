"""From moved scatterers to grey levels.

Echoes are complex (baseband) and summed on a grid of range and angle; pulse and beam filter them there by FFT. Clutter,
gain and noise follow, then logarithm, scan conversion, persistence and the display's curve.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex64, Float, Float32, UInt8
from numpy.random import Generator
from scipy import fft

from usjepa.data.phantom.tissue import Scatterers
from usjepa.data.phantom.window import (
    RANGE_STEP_MM,
    WAVELENGTH_MM,
    Grid,
    Quality,
    Screen,
    Sector,
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
RANGE_DB = 68
"""Dynamic range from black to white."""
SHADES = 4096
"""Steps of the display's curve, fine enough that none is seen."""


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
    screen: Screen


def draw_scanner(sector: Sector, quality: Quality, spacing_mm: float, density: float, rng: Generator) -> Scanner:
    """Settings of one examination. `density`: scatterers a grid cell. 0 dB lies at `middle` of the dynamic range."""
    # What doesn't depend on the grid is drawn first: an examination looks alike at every size.
    middle, gamma, pulse_mm = rng.uniform(0.605, 0.675), rng.uniform(1.45, 1.75), rng.uniform(0.52, 0.64)
    grid = polar_grid(sector, spacing_mm)
    lateral = beam(grid, quality, rng)
    axial = np.exp(-0.5 * (2 * np.pi * fft.fftfreq(len(grid.radius)) * pulse_mm / RANGE_STEP_MM) ** 2)
    # Parseval: with this scale, a tissue of unit scatterers has mean intensity 1 at every depth.
    power = density * np.mean(axial**2) * np.mean(lateral**2, axis=1, keepdims=True)
    screen = scan_conversion(sector, grid, spacing_mm)
    gain = draw_gain(grid, quality, rng)
    return Scanner(
        grid=grid,
        lateral=(lateral / np.sqrt(power)).astype(np.float32),
        axial=axial[:, None].astype(np.float32),
        clutter=draw_clutter(grid, quality, rng),
        noise=white((len(grid.radius), len(grid.angle)), (1.8, 0.8), rng),
        gain=gain,
        rise=noise_level(grid, quality, gain),
        middle=middle,
        gamma=gamma,
        screen=screen,
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
    row = (radius * np.float32(1 / grid.radius[1]) + np.float32(0.5)).astype(np.int32)
    start, step = np.float32(grid.angle[0]), np.float32(grid.angle[1] - grid.angle[0])
    column = ((angle - start) / step + np.float32(0.5)).astype(np.int32)
    rows, columns = scanner.lateral.shape
    seen = (row < rows) & (column >= 0) & (column < columns)
    # What lies beside the grid is counted in one more cell, and that is dropped.
    cell = np.where(seen, row * columns + column, rows * columns)
    field = np.empty(rows * columns, np.complex64)
    field.real = np.bincount(cell, scatterers.strength * np.cos(turned), rows * columns + 1)[:-1]
    field.imag = np.bincount(cell, scatterers.strength * np.sin(turned), rows * columns + 1)[:-1]
    spectrum = fft.fft(field.reshape(rows, columns), axis=1, overwrite_x=True)
    spectrum *= scanner.lateral
    spectrum = fft.fft(spectrum, axis=0, overwrite_x=True)
    spectrum *= scanner.axial
    return np.asarray(fft.ifft2(spectrum, overwrite_x=True))


def brightness(scanner: Scanner, field: Complex64[np.ndarray, "R A"], rng: Generator) -> Float32[np.ndarray, " P"]:
    """The sector's pixels before persistence: clutter, gain, noise, log compression to shares of `RANGE_DB`."""
    # The same noise from another place on: its patches must not stand still.
    cut = int(rng.integers(scanner.noise.size))
    noise = np.concatenate((scanner.noise.ravel()[cut:], scanner.noise.ravel()[:cut])).reshape(field.shape)
    noise *= scanner.rise
    total = field + scanner.clutter
    total *= scanner.gain
    total += noise
    level = np.log(total.real**2 + total.imag**2 + np.float32(1e-9))
    level *= np.float32(10 / np.log(10) / RANGE_DB)
    level += np.float32(scanner.middle)
    return np.asarray(scanner.screen.matrix @ smoothed(level).ravel())


def smoothed(level: Float32[np.ndarray, "R A"]) -> Float32[np.ndarray, "R A"]:
    """The display's smoothing of speckle: weights 1 2 1 along the beam and across it, rims repeated."""
    level = np.pad(level, ((1, 1), (1, 1)), mode="edge")
    for _ in range(2):
        level = level[1:] + level[:-1]
    for _ in range(2):
        level = level[:, 1:] + level[:, :-1]
    return level * np.float32(1 / 16)


def film(
    scanner: Scanner,
    scatterers: Scatterers,
    weights: Float[np.ndarray, "N K"],
    slides: Float[np.ndarray, " N"],
    rng: Generator,
) -> UInt8[np.ndarray, "T H W"]:
    """A loop at amplitudes of the scatterers' fields and slides of their phases.

    The first of them only warms the persistence up: without it, the first frame would be noisier than the others.
    """
    last, frames = None, []
    for weight, slide in zip(weights, slides, strict=True):
        level = brightness(scanner, echo(scanner, scatterers, weight, float(slide)), rng)
        last = level if last is None else last + np.float32(1 - PERSISTENCE) * (level - last)
        frames.append(grey(scanner, last))
    return np.stack(frames[1:])


def grey(scanner: Scanner, level: Float32[np.ndarray, " P"]) -> UInt8[np.ndarray, "H W"]:
    """Grey levels as displayed: black at or below 0, white at or above 1, black outside the sector."""
    curve = np.rint(255 * np.linspace(0, 1, SHADES) ** scanner.gamma).astype(np.uint8)
    shade = curve[(np.clip(level, 0, 1) * np.float32(SHADES - 1)).astype(np.uint16)]
    frame = np.zeros(scanner.screen.shape, np.uint8)
    frame.ravel()[scanner.screen.pixel] = shade
    return frame
