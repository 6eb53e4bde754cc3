"""How far apart two outlines lie, in mm, and how rough one is: what overlap does not tell."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from scipy.spatial import ConvexHull, KDTree

from usjepa.errors import InputError
from usjepa.evaluation.metrics import SCORED


class Distances(NamedTuple):
    """From each rim pixel of one mask to the nearest of the other, in mm; both empty if either mask is."""

    to_true: Float[np.ndarray, " P"]
    to_predicted: Float[np.ndarray, " Q"]


NOWHERE = Distances(np.empty(0), np.empty(0))


def surface_distances(
    predicted: Bool[np.ndarray, "H W"], true: Bool[np.ndarray, "h w"], spacing_mm: tuple[float, float] | None
) -> Distances:
    """Distances between the rims of two masks, spacing (rows, columns).

    A mask's rim are its pixels with one of their four neighbours outside it or outside the image; distances go from
    centre to centre. Raises InputError for masks of different shapes and for a video without calibration.
    """
    if predicted.shape != true.shape:
        raise InputError(f"masks: expected one shape, got {predicted.shape} and {true.shape}. Resize one.")
    if spacing_mm is None or not min(spacing_mm) > 0:
        raise InputError(f"spacing_mm: expected two lengths above 0, got {spacing_mm}. Leave the video out.")
    rims = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) * spacing_mm for mask in (predicted, true)]
    if not all(len(rim) for rim in rims):
        return NOWHERE
    there, here = (KDTree(to).query(of)[0] for of, to in (rims, reversed(rims)))
    return Distances(there, here)


def hausdorff_mm(distances: Distances, percentile: float = 95) -> float:
    """HD95: the larger of the two directions' percentiles (linear between ranks); at 100 the Hausdorff distance.

    Not the percentile of both directions together, in which the longer outline outweighs the shorter. NaN if a mask is
    empty: there is no distance to nothing.
    """
    if not len(distances.to_true):
        return float("nan")
    return float(max(np.percentile(direction, percentile) for direction in distances))


def mean_distance_mm(distances: Distances) -> float:
    """Mean surface distance: of the two directions' means the mean. NaN if a mask is empty."""
    if not len(distances.to_true):
        return float("nan")
    return float(np.mean([direction.mean() for direction in distances]))


def roughness(mask: Bool[np.ndarray, "H W"]) -> float:
    """Length of the outline over that of its convex hull: 1 for smooth convex shapes of any size, more for jagged ones.

    A number for section 4.3's "smoother boundaries". The cavities and the filled ventricle are nearly convex, so that
    what is longer than the hull is notches and steps; it needs neither scale nor threshold, whereas the curvature of an
    outline of pixels has to be smoothed first, by some amount. Of the largest piece, holes included; NaN without one.
    A ring's is only comparable with another ring's. Short by 4 % at a radius of 5 pixels, by 1 % at 50.
    """
    pieces, count = ndimage.label(mask)
    if not count:
        return float("nan")
    piece = np.pad(pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]), 1)
    return _length(piece) / float(ConvexHull(edges(piece, ~piece)).area)


def surface_table(
    predicted: UInt8[np.ndarray, "T H W"], true: UInt8[np.ndarray, "t h w"], spacing_mm: tuple[float, float] | None
) -> pd.DataFrame:
    """A row a frame (0 to T - 1) and structure of `SCORED` but the background.

    hd95_mm, mean_mm: `hausdorff_mm`, `mean_distance_mm`. roughness, true_roughness: of the prediction and of the label.
    A video's score is the mean over its frames; without calibration its distances are NaN. Raises InputError as
    `surface_distances`, for different lengths too.
    """
    if predicted.shape != true.shape:
        raise InputError(f"labels: expected maps of one shape, got {predicted.shape} and {true.shape}. Resize one.")
    rows = []
    for frame, maps in enumerate(zip(predicted, true, strict=True)):
        for structure, labels in list(SCORED.items())[1:]:
            called, drawn = (np.isin(one, labels) for one in maps)
            distances = surface_distances(called, drawn, spacing_mm) if spacing_mm else NOWHERE
            scores = {"hd95_mm": hausdorff_mm(distances), "mean_mm": mean_distance_mm(distances)}
            rough = {"roughness": roughness(called), "true_roughness": roughness(drawn)}
            rows.append({"frame": frame, "structure": structure} | scores | rough)
    return pd.DataFrame(rows)


def edges(inside: Bool[np.ndarray, "H W"], outside: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "E 2"]:
    """Middle of each pixel edge between an inside and an outside pixel, in pixels. The image's own border has none."""
    down = (inside[:-1] & outside[1:]) | (outside[:-1] & inside[1:])
    across = (inside[:, :-1] & outside[:, 1:]) | (outside[:, :-1] & inside[:, 1:])
    half = np.eye(2) / 2
    return np.concatenate((np.argwhere(down) + half[0], np.argwhere(across) + half[1]))


def _length(mask: Bool[np.ndarray, "H W"]) -> float:
    """Length of the outline in pixels by Crofton's formula: how often lines in four directions cross it.

    Counting steps along pixels would make every oblique line too long.
    """
    straight = sum(np.count_nonzero(np.diff(mask, axis=axis)) for axis in (0, 1))
    oblique = np.count_nonzero(mask[1:, 1:] != mask[:-1, :-1]) + np.count_nonzero(mask[1:, :-1] != mask[:-1, 1:])
    return float(np.pi / 8 * (straight + oblique / np.sqrt(2)))
