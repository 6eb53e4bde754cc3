"""Which way the ventricle lies, and how large a structure is drawn: what section 4.3 reads off three example frames."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8

from usjepa.errors import InputError
from usjepa.evaluation.metrics import SCORED

VENTRICLE = "LV epi filled"
"""Cavity and wall together: its axis doesn't turn when a pixel of wall is taken for cavity."""


def axis_deg(mask: Bool[np.ndarray, "H W"], spacing_mm: tuple[float, float]) -> float:
    """Direction of a mask's long axis, of spacing (rows, columns): 0 is down the image, 90 to the right; in [0, 180).

    The eigenvector of the second central moments with the larger eigenvalue. NaN for fewer than two pixels. Of a shape
    nearly as wide as long it is a matter of chance.
    """
    places = np.argwhere(mask) * spacing_mm
    if len(places) < 2:
        return float("nan")
    down, right = np.linalg.eigh(np.cov(places.T))[1][:, -1]
    return float(np.degrees(np.arctan2(right, down)) % 180)


def orientation_table(
    predicted: UInt8[np.ndarray, "T H W"], true: UInt8[np.ndarray, "t h w"], spacing_mm: tuple[float, float] | None
) -> pd.DataFrame:
    """A row a frame (0 to T - 1), for the structure `VENTRICLE`: `tilt_error_deg`, between the two axes, 0 to 90.

    Of a ventricle that was not called it is 90, the worst; NaN if there is none. Without calibration pixels are taken
    to be square. Raises InputError for maps of different shapes.
    """
    if predicted.shape != true.shape:
        raise InputError(f"labels: expected maps of one shape, got {predicted.shape} and {true.shape}. Resize one.")
    called, drawn = (
        np.array([axis_deg(np.isin(one, SCORED[VENTRICLE]), spacing_mm or (1.0, 1.0)) for one in maps])
        for maps in (predicted, true)
    )
    turned = np.abs(called - drawn)
    error = np.where(np.isnan(called) & ~np.isnan(drawn), 90.0, np.minimum(turned, 180 - turned))
    return pd.DataFrame({"frame": range(len(error)), "structure": VENTRICLE, "tilt_error_deg": error})


def shape_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Three errors of shape, a row a video of a run's table, each the less the better.

    `roughness`: mean over its frames and structures of `usjepa.evaluation.surface.roughness`. `size_error`: mean over
    structures of |ln(predicted / true pixels)|, counted over the frames; one pixel at least is reckoned, so that a
    structure that was never called costs something. `tilt_error_deg`: mean over frames; NaN where it was not measured.
    """
    keys = ["video", "patient"]
    single = table[table["structure"].isin(["LV endo", "LV epi", "LA"])]
    pixels = single.groupby([*keys, "structure"])[["predicted", "true"]].sum()
    drawn = pixels[pixels["true"] > 0]
    ratio = drawn["predicted"].clip(lower=1) / drawn["true"]
    size = pd.Series(np.log(ratio)).abs().groupby(keys).mean()
    rough = single.groupby(keys)["roughness"].mean()
    ventricle = table[table["structure"] == VENTRICLE].reindex(columns=[*keys, "tilt_error_deg"])
    tilt = ventricle.groupby(keys)["tilt_error_deg"].mean()
    return pd.DataFrame({"roughness": rough, "size_error": size, "tilt_error_deg": tilt}).reset_index()
