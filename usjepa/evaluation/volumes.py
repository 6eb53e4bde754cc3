"""From label maps of two views to EDV, ESV and ejection fraction by biplane Simpson (the modified Simpson's rule).

Lang et al., J Am Soc Echocardiogr 2015; 20 discs as on CAMUS. Each disc is an ellipse across the long axis, which goes
from the middle of the mitral plane to the apex; its diameters are the cavity's mean widths within the disc in the two
views, its height a twentieth of the longer view's axis. Leclerc et al., IEEE TMI 2019 score CAMUS so.
"""

from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from usjepa.errors import InputError
from usjepa.evaluation.surface import edges
from usjepa.structures import STRUCTURES

DISCS = 20
PARTS = 4
"""Pixels are cut into 4 x 4 parts before they are dealt out to discs: a coarse map's pixel is thicker than a disc."""
CAVITY, WALL, ATRIUM = (STRUCTURES.index(name) for name in ("LV endo", "LV epi", "LA"))


class View(NamedTuple):
    """One view's label map and its spacing (rows, columns)."""

    labels: UInt8[np.ndarray, "H W"]
    spacing_mm: tuple[float, float] | None


class Volumes(NamedTuple):
    """Left ventricle at end diastole and end systole."""

    edv_ml: float
    esv_ml: float

    @property
    def ef_percent(self) -> float:
        """Ejection fraction: the share of the end-diastolic volume that leaves. NaN without a volume."""
        return 100 * (1 - self.esv_ml / self.edv_ml) if self.edv_ml > 0 else float("nan")


class Discs(NamedTuple):
    """Length of the long axis and the cavity's mean width in each twentieth of it, from the apex."""

    length_mm: float
    widths_mm: Float[np.ndarray, " D"]


def volumes(diastole: tuple[View, View], systole: tuple[View, View]) -> Volumes:
    """EDV, ESV and EF from two views (2CH, 4CH, in either order) at both instants. As `volume_ml` for bad maps."""
    return Volumes(volume_ml(*diastole), volume_ml(*systole))


def volume_ml(one: View, other: View) -> float:
    """Biplane Simpson volume of the cavity in ml. NaN if a view lacks cavity, wall, atrium or the mitral plane.

    Raises InputError for a view without calibration.
    """
    found = [discs(view) for view in (one, other)]
    widths = [of.widths_mm for of in found]
    height_mm = max(of.length_mm for of in found) / DISCS
    return float(np.pi / 4 * height_mm * np.sum(widths[0] * widths[1]) / 1000)


def discs(view: View) -> Discs:
    """Cut one view's cavity into `DISCS` across its long axis; NaN where there is no axis. Raises as `volume_ml`.

    The mitral plane is the part of the cavity's rim that lies nearer to the atrium than to the wall: a gap in the wall
    or between the chambers does not move it. The apex is the point of the rim farthest from the plane's middle. Both
    lie between pixels, so that a coarse map doesn't shorten the heart.
    """
    if view.spacing_mm is None or not min(view.spacing_mm) > 0:
        raise InputError(f"spacing_mm: expected two lengths above 0, got {view.spacing_mm}. Leave the video out.")
    labels, spacing = np.pad(view.labels, 1), np.array(view.spacing_mm)
    cavity = labels == CAVITY
    opening = _mitral_plane(labels)
    if not opening.any():
        return Discs(float("nan"), np.full(DISCS, np.nan))
    middle = (edges(opening, ~cavity) * spacing).mean(axis=0)
    rim = edges(cavity, ~cavity) * spacing
    apex = rim[np.argmax(np.linalg.norm(rim - middle, axis=1))]
    length = float(np.linalg.norm(middle - apex))
    inside = (np.indices((PARTS, PARTS)) + 0.5) / PARTS - 0.5
    parts = rearrange(np.argwhere(cavity), "p a -> p 1 a") + rearrange(inside, "a h w -> (h w) a")
    along = (parts * spacing - apex) @ (middle - apex) / length
    # What bulges beyond the middle of a slanting plane belongs to the last disc: no area is lost.
    disc = np.clip(along / length * DISCS, 0, DISCS - 1).astype(np.int64)
    area = np.bincount(disc.ravel(), minlength=DISCS) * spacing.prod() / PARTS**2
    return Discs(length, area / (length / DISCS))


def _mitral_plane(labels: UInt8[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Rim pixels of the cavity that lie nearer to the atrium than to the wall; none unless there are both."""
    cavity = labels == CAVITY
    if not ((labels == WALL).any() and (labels == ATRIUM).any()):
        return np.zeros_like(cavity)
    wall, atrium = (ndimage.distance_transform_edt(labels != structure) for structure in (WALL, ATRIUM))
    return np.asarray(cavity & ~ndimage.binary_erosion(cavity) & (atrium < wall))
