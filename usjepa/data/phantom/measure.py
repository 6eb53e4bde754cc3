"""Contours to label maps and to volumes."""

import numpy as np
from jaxtyping import Float, UInt8

DISCS = 20
"""Discs of the biplane Simpson rule, as the CAMUS challenge counts them."""


def fill(polygon: Float[np.ndarray, "N 2"], *, rows: int, columns: int) -> UInt8[np.ndarray, "H W"]:
    """1 at each pixel whose centre lies inside the closed polygon (x, y in pixels, corner of the image at 0, 0).

    Even-odd rule: every edge toggles the pixels to the right of where it crosses a row of centres.
    """
    ends = np.roll(polygon, -1, axis=0)
    centres = np.arange(rows) + 0.5
    edge, row = np.nonzero((polygon[:, None, 1] <= centres) != (ends[:, None, 1] <= centres))
    start, end = polygon[edge], ends[edge]
    crossing = start[:, 0] + (centres[row] - start[:, 1]) * (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
    column = np.clip(np.ceil(crossing - 0.5), 0, columns).astype(np.int64)
    filled = np.zeros((rows, columns), np.uint8)
    if len(row):
        top, left = int(row.min()), int(column.min())
        toggles = np.zeros((int(row.max()) + 1 - top, int(column.max()) + 1 - left), np.uint8)
        np.bitwise_xor.at(toggles, (row - top, column - left), np.uint8(1))
        inside = np.bitwise_xor.accumulate(toggles, axis=1)[:, :-1]
        filled[top : top + len(inside), left : left + inside.shape[1]] = inside
    return filled


def volume_ml(two: Float[np.ndarray, "N 2"], four: Float[np.ndarray, "N 2"]) -> float:
    """Biplane Simpson volume of two endocardial contours in mm, each from hinge over apex to hinge."""
    widths, lengths = zip(*(_disc_widths(contour) for contour in (two, four)), strict=True)
    return float(np.pi / 4 * np.sum(widths[0] * widths[1]) * max(lengths) / DISCS / 1000)


def _disc_widths(contour: Float[np.ndarray, "N 2"]) -> tuple[Float[np.ndarray, " D"], float]:
    """Widths across the long axis (apex to the middle of the hinges) at the middle of each disc, and its length."""
    middle = (contour[0] + contour[-1]) / 2
    apex = int(np.argmax(np.linalg.norm(contour - middle, axis=1)))
    length = float(np.linalg.norm(contour[apex] - middle))
    axis = (middle - contour[apex]) / length
    along = (contour - contour[apex]) @ axis
    across = (contour - contour[apex]) @ np.array([axis[1], -axis[0]])
    heights = (np.arange(DISCS) + 0.5) / DISCS * length
    left = np.interp(heights, along[apex::-1], across[apex::-1])
    right = np.interp(heights, along[apex:], across[apex:])
    return np.abs(right - left), length
