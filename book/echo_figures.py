"""Draw the two figures of the chapter on ultrasound from the phantom: `python book/echo_figures.py`.

A frame is unrolled into its beams from its shape alone: it is as high as the sector is deep, and twice the depth times
the sine of half the opening angle wide.
"""

from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import map_coordinates

import usjepa as uj
from usjepa.present.figures import overlay

STATIC = Path(__file__).parent / "_static"
PHANTOM = uj.PhantomRecipe(patients=80, seed=0, rows=384)
CLEAR, CLOUDED = 26, 30
"""Patients whose four-chamber views are graded Good and Poor."""
SIDE_CM = 2
PIECES_CM = ((4, 8), (4, 15))
"""Places, across and deep, of two pieces of tissue beside the heart."""


@cache
def beat_of(patient: int, view: str) -> uj.UltrasoundSequence:
    """One beat of the phantom."""
    return uj.render_beat(PHANTOM, patient, view)


def beams(frame: np.ndarray, spacing_mm: float) -> tuple[np.ndarray, float, float]:
    """A frame [H, W] by depth and angle, [H, A]; its depth in cm; half its opening angle in degrees."""
    rows, columns = frame.shape
    half = np.arcsin(columns / (2 * rows))
    radius, angle = np.meshgrid(np.arange(rows), np.linspace(-half, half, columns), indexing="ij")
    places = (radius * np.cos(angle), radius * np.sin(angle) + (columns - 1) / 2)
    return map_coordinates(frame, places, order=1), rows * spacing_mm / 10, np.degrees(half)


def show(axis: Axes, frame: np.ndarray, title: str, spacing_mm: float) -> None:
    """A frame [H, W] or [H, W, 3] in its sector, in cm."""
    height, width = (spacing_mm * pixels / 10 for pixels in frame.shape[:2])
    axis.imshow(frame, cmap="gray", vmin=0, vmax=255, extent=(-width / 2, width / 2, height, 0))
    axis.set_title(f"phantom: {title}", fontsize=11, loc="left")
    axis.set(xlabel="across, cm", ylabel="depth, cm", xticks=(-10, -5, 0, 5, 10), yticks=(0, 5, 10, 15))
    axis.set(xlim=(-width / 2, width / 2), ylim=(height, 0))


def image_figure() -> Figure:
    """Beams, the same beams in their sector, and two pieces of it at one scale, near the probe and far from it."""
    beat = beat_of(CLEAR, "4CH")
    frame, spacing_mm = beat.frames[0], beat.spacing_mm[0]
    unrolled, depth_cm, half_deg = beams(frame, spacing_mm)
    figure = Figure(figsize=(6.4, 6), layout="constrained")
    (left, right), below = figure.subplots(2, 2)
    left.imshow(unrolled, cmap="gray", vmin=0, vmax=255, extent=(-half_deg, half_deg, depth_cm, 0), aspect="auto")
    left.set_title("phantom: the beams", fontsize=11, loc="left")
    left.set(xlabel="angle of the beam, degrees", ylabel="depth, cm", yticks=(0, 5, 10, 15))
    show(right, frame, "in their sector", spacing_mm)
    for axis, (across_cm, deep_cm) in zip(below, PIECES_CM, strict=True):
        show(axis, frame, f"{deep_cm} cm deep", spacing_mm)
        axis.set(xticks=range(20), xlim=(across_cm - SIDE_CM / 2, across_cm + SIDE_CM / 2))
        axis.set(yticks=range(20), ylim=(deep_cm + SIDE_CM / 2, deep_cm - SIDE_CM / 2))
    return figure


def views_figure() -> Figure:
    """Both views at end diastole and end systole, outlined, and a good window beside a poor one."""
    figure = Figure(figsize=(6.4, 8.4), layout="constrained")
    *outlined, windows = figure.subplots(3, 2)
    for row, view in zip(outlined, ("4CH", "2CH"), strict=True):
        beat = beat_of(CLEAR, view)
        for axis, index, instant in zip(row, beat.annotated, ("ED", "ES"), strict=True):
            frame = overlay(beat.frames[index : index + 1], beat.labels[index : index + 1], strength=0.3)[0]
            show(axis, frame, f"{view}, {instant}", beat.spacing_mm[0])
    for axis, patient in zip(windows, (CLEAR, CLOUDED), strict=True):
        beat = beat_of(patient, "4CH")
        show(axis, beat.frames[0], f"quality {beat.quality}", beat.spacing_mm[0])
    return figure


FIGURES = {"echo-image": image_figure, "echo-views": views_figure}


def write(figure: Figure, file: Path | BinaryIO) -> None:
    """A figure as JPEG: speckle doesn't compress without loss."""
    figure.savefig(file, format="jpeg", dpi=130, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    for name, draw in FIGURES.items():
        write(draw(), STATIC / f"{name}.jpg")
