import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import directed_hausdorff
from skimage.measure import find_contours, perimeter_crofton
from skimage.metrics import hausdorff_distance
from skimage.morphology import convex_hull_image
from skimage.segmentation import find_boundaries

from usjepa.errors import InputError
from usjepa.evaluation.surface import (
    edges,
    hausdorff_mm,
    mean_distance_mm,
    roughness,
    surface_distances,
    surface_table,
)

SPACINGS = [(1.0, 1.0), (0.3, 0.7)]


def blob(
    radius: float, *, ripple: float = 0.0, waves: int = 12, centre: tuple[float, float] = (0.3, 0.1)
) -> np.ndarray:
    """A disc whose radius swings by a share `ripple`, as a mask."""
    side = int(3 * radius) + 8
    y, x = np.mgrid[:side, :side] - side / 2.0 - np.array(centre)[:, None, None]
    return np.hypot(x, y) < radius * (1 + ripple * np.cos(waves * np.arctan2(y, x)))


@pytest.fixture(params=range(3))
def masks(request) -> tuple[np.ndarray, np.ndarray]:
    """Two different outlines on one field; the second reaches over its border."""
    one = blob(20, ripple=0.1, waves=3 + request.param)
    other = np.roll(blob(20, ripple=0.2, waves=5, centre=(3, -4)), (request.param, 15), (0, 1))
    return one, other


def rim(mask: np.ndarray) -> np.ndarray:
    """Pixels inside with a neighbour outside, by scikit-image; the image's border counts as outside."""
    return find_boundaries(np.pad(mask, 1), connectivity=1, mode="inner")[1:-1, 1:-1]


# Distances


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_distances_are_those_of_scipys_distance_transform(masks, spacing_mm) -> None:
    got = surface_distances(*masks, spacing_mm)
    first, second = (rim(mask) for mask in masks)
    assert got.to_true == pytest.approx(distance_transform_edt(~second, sampling=spacing_mm)[first], abs=1e-12)
    assert got.to_predicted == pytest.approx(distance_transform_edt(~first, sampling=spacing_mm)[second], abs=1e-12)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_hd95_is_the_larger_of_the_two_directions_percentiles(masks, spacing_mm) -> None:
    first, second = (rim(mask) for mask in masks)
    there = distance_transform_edt(~second, sampling=spacing_mm)[first]
    back = distance_transform_edt(~first, sampling=spacing_mm)[second]
    distances = surface_distances(*masks, spacing_mm)
    expected = max(np.percentile(there, 95), np.percentile(back, 95))
    assert hausdorff_mm(distances) == pytest.approx(expected, abs=1e-12)
    assert mean_distance_mm(distances) == pytest.approx((there.mean() + back.mean()) / 2, abs=1e-12)
    assert hausdorff_mm(distances) != pytest.approx(np.percentile(np.concatenate((there, back)), 95), abs=1e-3)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_the_hundredth_percentile_is_the_hausdorff_distance(masks, spacing_mm) -> None:
    first, second = (np.argwhere(rim(mask)) * spacing_mm for mask in masks)
    expected = max(directed_hausdorff(first, second)[0], directed_hausdorff(second, first)[0])
    assert hausdorff_mm(surface_distances(*masks, spacing_mm), 100.0) == pytest.approx(expected, abs=1e-12)
    if spacing_mm == (1.0, 1.0):
        assert expected == pytest.approx(hausdorff_distance(*(rim(mask) for mask in masks)), abs=1e-12)


def test_spacing_is_rows_then_columns() -> None:
    one = np.zeros((20, 30), bool)
    one[5:10, 5:10] = True
    lower, right = np.roll(one, 4, axis=0), np.roll(one, 4, axis=1)
    assert hausdorff_mm(surface_distances(one, lower, (0.5, 2.0)), 100.0) == pytest.approx(2)
    assert hausdorff_mm(surface_distances(one, right, (0.5, 2.0)), 100.0) == pytest.approx(8)


def test_the_same_mask_twice_is_no_distance_apart_and_none_at_all_has_no_distance(masks) -> None:
    same = surface_distances(masks[0], masks[0], (1.0, 1.0))
    assert hausdorff_mm(same) == mean_distance_mm(same) == 0
    nothing = np.zeros_like(masks[0])
    for pair in ((nothing, masks[0]), (masks[0], nothing), (nothing, nothing)):
        distances = surface_distances(*pair, (1.0, 1.0))
        assert np.isnan([hausdorff_mm(distances), mean_distance_mm(distances)]).all()


def test_masks_of_other_shapes_and_videos_without_calibration_have_no_millimetres(masks) -> None:
    with pytest.raises(InputError, match="expected one shape"):
        surface_distances(masks[0], masks[1][1:], (1.0, 1.0))
    for spacing in (None, (0.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(InputError, match="spacing_mm: expected two lengths above 0"):
            surface_distances(*masks, spacing)


# Roughness


@pytest.mark.parametrize("radius", [5, 10, 20, 50, 150])
def test_a_smooth_disc_has_a_roughness_of_one_at_any_size(radius: int) -> None:
    values = [roughness(blob(radius, centre=centre)) for centre in ((0.0, 0.0), (0.3, 0.1), (0.5, 0.25))]
    # What pixels leave open: 4.5 % at 5 pixels, 1.4 % at 50.
    assert values == pytest.approx([1.0] * 3, abs=0.1 / np.sqrt(radius))


@pytest.mark.parametrize("radius", [30, 60, 120])
def test_a_jagged_disc_is_rougher_the_more_it_is_jagged_and_as_rough_at_any_size(radius: int) -> None:
    angle = np.linspace(0, 2 * np.pi, 4001)
    values = []
    for ripple in (0.0, 0.05, 0.1, 0.15):
        # The curve itself: its length, and that of the hull, which is nearly the circle through its crests.
        curve = (1 + ripple * np.cos(12 * angle))[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
        length = np.linalg.norm(np.diff(curve, axis=0), axis=1).sum()
        crests = 24 * (1 + ripple) * np.sin(np.pi / 12)
        values.append(roughness(blob(radius, ripple=ripple)))
        if ripple >= 0.1:
            assert values[-1] == pytest.approx(length / crests, rel=0.03)
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.3


def test_an_outline_made_of_blocks_is_rougher_than_the_disc_that_it_stands_for() -> None:
    fine = blob(50)
    for block in (4, 8):
        coarse = np.kron(fine[::block, ::block], np.ones((block, block), bool))
        assert roughness(coarse) > roughness(fine) + 0.08


@pytest.mark.parametrize("ripple", [0.0, 0.1, 0.3])
def test_roughness_is_the_outlines_length_over_its_hulls(ripple: float) -> None:
    mask = blob(40, ripple=ripple)
    hull = perimeter_crofton(convex_hull_image(mask), directions=4)
    assert roughness(mask) == pytest.approx(perimeter_crofton(mask, directions=4) / hull, rel=0.01)
    (outline,) = find_contours(np.pad(mask, 1).astype(float), 0.5)
    traced = np.linalg.norm(np.diff(outline, axis=0), axis=1).sum()
    # A chain of pixel steps is some 5 % longer than the curve that it follows.
    assert traced / hull == pytest.approx(1.05 * roughness(mask), rel=0.04)


def test_edges_are_the_corners_of_scikit_images_contour() -> None:
    mask = blob(15, ripple=0.2, waves=5)
    (outline,) = find_contours(mask.astype(float), 0.5)
    assert {tuple(point) for point in edges(mask, ~mask)} == {tuple(point) for point in outline}


def test_without_calibration_there_is_a_roughness_and_no_distance() -> None:
    maps = np.stack([blob(12)] * 2).astype(np.uint8)
    table = surface_table(maps, maps, None).query("structure == 'LV endo'")
    assert table[["hd95_mm", "mean_mm"]].isna().all(axis=None)
    assert table["roughness"].tolist() == surface_table(maps, maps, (1.0, 1.0))["roughness"].dropna().tolist()[:1] * 2


def test_islands_count_for_nothing_and_holes_for_much() -> None:
    mask = np.pad(blob(30), 20)
    island, hole = mask.copy(), mask.copy()
    island[2:6, 2:6] = True
    hole[60:70, 60:70] = False
    assert roughness(island) == roughness(mask)
    assert roughness(hole) > roughness(mask) + 0.1
    assert np.isnan(roughness(np.zeros_like(mask)))


# Tables


def test_the_table_has_a_row_a_frame_and_structure_and_fills_the_epicardium() -> None:
    heart = np.where(blob(30), np.uint8(2), np.uint8(0))
    heart[10:78, 10:78][blob(20)] = 1
    true = np.stack((heart, heart))
    predicted = true.copy()
    predicted[1][predicted[1] == 1] = 2
    rows = surface_table(predicted, true, (0.5, 0.5)).set_index(["frame", "structure"])
    assert len(rows) == 2 * 4
    same = rows.loc[0].drop("LA")
    assert same[["hd95_mm", "mean_mm"]].eq(0).all(axis=None)
    assert same["roughness"].equals(same["true_roughness"])
    assert rows.loc[(1, "LV epi filled"), "hd95_mm"] == 0
    assert rows.loc[(1, "LV epi"), "hd95_mm"] > 1
    assert np.isnan(rows.loc[(1, "LV endo"), "hd95_mm"])
    assert np.isnan(rows.loc[(0, "LA"), ["hd95_mm", "mean_mm", "roughness"]].astype(float)).all()
    with pytest.raises(InputError, match="maps of one shape"):
        surface_table(predicted[:1], true, (0.5, 0.5))
