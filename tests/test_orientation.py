import numpy as np
import pandas as pd
import pytest
from skimage.draw import ellipse
from skimage.measure import label, regionprops

from usjepa.errors import InputError
from usjepa.evaluation.orientation import axis_deg, orientation_table, shape_scores


def tilted(degrees: float, size: int = 96) -> np.ndarray:
    """An ellipse whose long axis is turned by so much from straight down towards the right."""
    mask = np.zeros((size, size), dtype=bool)
    # skimage turns anticlockwise, against the angle from down to right in an image whose rows go down.
    rows, columns = ellipse(size / 2, size / 2, 30, 14, rotation=np.radians(degrees))
    mask[rows, columns] = True
    return mask


@pytest.mark.parametrize("degrees", [0, 20, 45, 90, 135, 170])
def test_the_axis_is_that_of_the_ellipse_and_of_scikit_image(degrees: float) -> None:
    mask = tilted(degrees)
    angle = axis_deg(mask, (1.0, 1.0))
    assert min(abs(angle - degrees), 180 - abs(angle - degrees)) < 0.5
    of = regionprops(label(mask))[0].orientation
    turned = abs(angle - np.degrees(of)) % 180
    assert min(turned, 180 - turned) < 1e-6


def test_the_axis_lies_in_millimetres() -> None:
    assert axis_deg(np.eye(40, dtype=bool), (1.0, 1.0)) == pytest.approx(45)
    assert axis_deg(np.eye(40, dtype=bool), (1.0, 3.0)) == pytest.approx(np.degrees(np.arctan(3)))
    assert np.isnan(axis_deg(np.zeros((4, 4), dtype=bool), (1.0, 1.0)))


def test_the_error_is_the_smaller_angle_between_axes_and_a_ventricle_that_was_not_called_costs_most() -> None:
    empty = np.zeros((96, 96), dtype=bool)
    true = np.stack([tilted(175), tilted(10), tilted(10), empty]).astype(np.uint8)
    called = np.stack([tilted(5), tilted(100), empty, tilted(10)]).astype(np.uint8)
    table = orientation_table(called, true, None)
    assert table["frame"].tolist() == [0, 1, 2, 3]
    assert table["tilt_error_deg"].tolist() == pytest.approx([10, 90, 90, np.nan], abs=1, nan_ok=True)
    with pytest.raises(InputError, match=r"expected maps of one shape"):
        orientation_table(called, true[:2], None)


def test_wall_and_cavity_are_one_ventricle() -> None:
    true = tilted(30).astype(np.uint8)
    swapped = np.where(np.arange(96)[:, None] < 48, 2 * true, true).astype(np.uint8)
    assert orientation_table(swapped[None], true[None], (0.5, 0.5))["tilt_error_deg"].iloc[0] == pytest.approx(
        0, abs=1e-9
    )


def table_of(video: str, predicted: dict[str, int]) -> pd.DataFrame:
    rows = [
        {"video": video, "patient": "p", "structure": name, "predicted": pixels, "true": 100, "roughness": 1.2}
        for name, pixels in predicted.items()
    ]
    return pd.DataFrame(rows)


def test_errors_of_shape_are_means_over_structures_and_symmetric_in_size() -> None:
    full = {"background": 5, "LV endo": 200, "LV epi": 50, "LA": 100, "LV epi filled": 250}
    scores = shape_scores(pd.concat([table_of("a", full), table_of("b", {**full, "LA": 0})])).set_index("video")
    assert scores.loc["a", "size_error"] == pytest.approx(2 * np.log(2) / 3)
    assert scores.loc["b", "size_error"] == pytest.approx((2 * np.log(2) + np.log(100)) / 3)
    assert scores.loc["a", "roughness"] == pytest.approx(1.2)
    assert scores["tilt_error_deg"].isna().all()
    measured = table_of("a", full).assign(tilt_error_deg=[np.nan, np.nan, np.nan, np.nan, 12.0])
    assert shape_scores(measured)["tilt_error_deg"].tolist() == [12.0]
