"""How the phantom's images compare with real ones: statistics of grey levels and texture, and CAMUS' own values.

The real values are medians and quartiles over 288 four-chamber images of CAMUS at end diastole, quality Good, published
by the project DanielOpazoD/echotwin-tte (src/clinical/reference-values, each statistic's definition in src/clinical).
The same definitions are written out below. No image of a patient is part of them.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import binary_erosion, map_coordinates, uniform_filter

from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError

CAMUS = {
    "cavity grey": (56, 46, 69),
    "myocardium grey": (97, 84, 112),
    "atrium grey": (91, 70, 117),
    "contrast": (40, 33, 47),
    "myocardium local deviation": (9.96, 9.27, 10.83),
    "speckle cell across, mm": (2.09, 1.87, 2.31),
    "speckle cell down, mm": (1.91, 1.68, 2.22),
    "grey P5": (39, 30, 50),
    "grey P25": (59, 48, 72),
    "grey P50": (83, 70, 97),
    "grey P75": (119, 103, 142),
    "grey P95": (184, 161, 207),
    "local deviation": (7.87, 7.34, 8.52),
    "detrended deviation": (15.8, 14.5, 17.7),
    "radial correlation 1 mm": (0.23, 0.194, 0.262),
    "radial correlation 2 mm": (-0.082, -0.116, -0.045),
    "tangential correlation 1 mm": (0.707, 0.669, 0.75),
    "tangential correlation 2 mm": (0.388, 0.325, 0.442),
    "tangential correlation 4 mm": (0.143, 0.096, 0.187),
    "grey 0-2 cm": (105, 84, 124),
    "grey 2-4 cm": (78, 59, 99),
    "grey 4-6 cm": (67, 55, 83),
    "grey 6-8 cm": (67, 55, 81),
    "grey 8-10 cm": (75, 60, 96),
    "grey 10-12 cm": (90, 67, 115),
    "apex depth, mm": (27.4, 23.4, 31.7),
}
"""Of each statistic: median, lower and upper quartile over CAMUS' images."""


def realism(sequences: Iterable[UltrasoundSequence]) -> pd.DataFrame:
    """The statistics of each sequence's first frame: their medians, a row each, beside CAMUS' median and quartiles.

    Columns: phantom, camus, low, high, is_inside (of the quartiles), ratio (phantom to CAMUS' median). Meant for
    four-chamber views at end diastole of quality Good and 0.308 mm a pixel. Raises InputError for no sequence.
    """
    rows = [statistics(sequence) for sequence in sequences]
    if not rows:
        raise InputError("sequences: expected at least one four-chamber view, got none. Render some.")
    phantom = pd.DataFrame(rows).median()
    table = pd.DataFrame.from_dict(CAMUS, orient="index", columns=["camus", "low", "high"])
    table.insert(0, "phantom", phantom)
    table["is_inside"] = table["phantom"].between(table["low"], table["high"])
    table["ratio"] = table["phantom"] / table["camus"]
    return table


def statistics(sequence: UltrasoundSequence) -> dict[str, float]:
    """The statistics of one labelled sequence's first frame. Raises InputError if it has no labels or spacing."""
    if sequence.labels is None or sequence.spacing_mm is None:
        raise InputError(f"{sequence.source}: expected labels and a spacing, got none. Take another sequence.")
    grey, labels = sequence.frames[0].astype(np.float64), sequence.labels[0]
    spacing = sequence.spacing_mm[0]
    return {
        **_regions(grey, labels, spacing),
        **_sector(grey, spacing),
        # The cavity's shallowest pixel.
        "apex depth, mm": float(np.nonzero(labels == 1)[0].min() * spacing),
    }


def _regions(grey: Float[np.ndarray, "H W"], labels: UInt8[np.ndarray, "H W"], spacing_mm: float) -> dict[str, float]:
    """Medians of the regions less a rim of two pixels; of the wall, deviation in windows of 5 x 5 and speckle cells."""
    inner = {label: binary_erosion(labels == label, np.ones((5, 5))) for label in (1, 2, 3)}
    cavity, muscle, atrium = (float(np.median(grey[inner[label]])) for label in (1, 2, 3))
    whole = binary_erosion(inner[2], np.ones((5, 5)))
    return {
        "cavity grey": cavity,
        "myocardium grey": muscle,
        "atrium grey": atrium,
        "contrast": muscle - cavity,
        "myocardium local deviation": float(np.median(_deviation(grey, 5)[whole])),
        "speckle cell across, mm": speckle_cell(grey, inner[2]) * spacing_mm,
        "speckle cell down, mm": speckle_cell(grey.T, inner[2].T) * spacing_mm,
    }


def speckle_cell(grey: Float[np.ndarray, "H W"], inside: Bool[np.ndarray, "H W"]) -> float:
    """Twice the lag, in pixels along rows, at which the autocorrelation falls to a half; NaN if it never does.

    Runs of at least 12 pixels inside, each less its mean and over its variance, averaged; up to a lag of 12.
    """
    curves = []
    for row, mask in zip(grey, inside, strict=True):
        bounds = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
        for start, end in bounds.reshape(-1, 2):
            run = row[start:end] - row[start:end].mean()
            if len(run) >= 12 and run.any():
                products = np.correlate(run, run, "full")[len(run) - 1 :][:12]
                curves.append(products / (len(run) - np.arange(12)) / run.var())
    curve = np.mean(curves, axis=0) if curves else np.ones(1)
    below = np.flatnonzero(curve <= 0.5)
    if not len(below):
        return float("nan")
    k = int(below[0])
    return float(2 * (k - 1 + (curve[k - 1] - 0.5) / (curve[k - 1] - curve[k])))


def _sector(grey: Float[np.ndarray, "H W"], spacing_mm: float) -> dict[str, float]:
    """Statistics of all pixels between the outermost lit ones of each row; texture is taken 3 mm away from the rim."""
    lit = grey > 0
    inside = np.logical_or.accumulate(lit, axis=1) & np.logical_or.accumulate(lit[:, ::-1], axis=1)[:, ::-1]
    interior = binary_erosion(inside, np.ones((_odd(6.0, spacing_mm), 1)))
    interior = binary_erosion(interior, np.ones((1, _odd(6.0, spacing_mm))))
    first = float(np.argmax(inside.sum(axis=1) > 2))
    middle = float(np.flatnonzero(inside[int(first)]).mean())
    rows, columns = np.indices(grey.shape)
    depth_mm = np.hypot(rows - first, columns - middle) * spacing_mm
    detrended = grey - _mean(grey, inside, _odd(8.0, spacing_mm))
    values = {f"grey P{share}": float(np.percentile(grey[inside], share)) for share in (5, 25, 50, 75, 95)}
    values["local deviation"] = float(np.median(_deviation(grey, _odd(1.5, spacing_mm))[interior]))
    values["detrended deviation"] = float(np.sqrt(np.mean(detrended[interior] ** 2)))
    for near in range(0, 12, 2):
        band = inside & (depth_mm >= 10 * near) & (depth_mm < 10 * near + 20)
        values[f"grey {near}-{near + 2} cm"] = float(np.median(grey[band])) if band.any() else float("nan")
    return {**values, **_correlations(grey, inside, interior, (first, middle), spacing_mm)}


def _correlations(
    grey: Float[np.ndarray, "H W"],
    inside: Bool[np.ndarray, "H W"],
    interior: Bool[np.ndarray, "H W"],
    apex: tuple[float, float],
    spacing_mm: float,
) -> dict[str, float]:
    """Grey levels less their mean over 6 mm, against themselves some mm along the beam and across it."""
    texture = grey - _mean(grey, inside, _odd(6.0, spacing_mm))
    points = np.stack(np.nonzero(interior)).astype(np.float64)
    points = points[:, :: max(1, round((1 / spacing_mm) ** 2))]
    beam = points - np.array(apex)[:, None]
    beam /= np.linalg.norm(beam, axis=0)
    start = texture[tuple(points.astype(np.int64))]
    values = {}
    for name, along, lags_mm in (("radial", beam, (1, 2)), ("tangential", beam[::-1] * [[1], [-1]], (1, 2, 4))):
        for lag_mm in lags_mm:
            there = points + along * lag_mm / spacing_mm
            held = map_coordinates(inside.astype(np.float64), there, order=1) > 0.999
            end = map_coordinates(texture, there[:, held], order=1)
            norm = np.sqrt(np.sum(start[held] ** 2) * np.sum(end**2))
            values[f"{name} correlation {lag_mm} mm"] = float(np.sum(start[held] * end) / norm)
    return values


def _odd(length_mm: float, spacing_mm: float) -> int:
    """Pixels of a centred window of about this length."""
    return 2 * max(1, round(length_mm / 2 / spacing_mm)) + 1


def _mean(values: Float[np.ndarray, "H W"], inside: Bool[np.ndarray, "H W"], size: int) -> Float[np.ndarray, "H W"]:
    """Mean over a window, of the pixels inside only."""
    share = uniform_filter(inside.astype(np.float64), size, mode="constant")
    total = uniform_filter(values * inside, size, mode="constant")
    return np.asarray(total / np.maximum(share, 1e-9))


def _deviation(values: Float[np.ndarray, "H W"], size: int) -> Float[np.ndarray, "H W"]:
    """Standard deviation in a window around each pixel."""
    mean, square = (uniform_filter(part, size) for part in (values, values**2))
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)))
