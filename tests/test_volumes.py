from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.ndimage import binary_dilation

from usjepa.data.phantom import PhantomRecipe
from usjepa.data.phantom.beat import examine, label_maps, volumes_ml
from usjepa.data.phantom.motion import SYSTOLE
from usjepa.errors import InputError
from usjepa.evaluation.volumes import View, discs, volume_ml, volumes

LENGTH_MM = 80.0


def ellipse(q: np.ndarray) -> np.ndarray:
    """Half width of half an ellipse at a share q of the axis from the apex."""
    return np.sqrt(1 - (1 - q) ** 2)


def paraboloid(q: np.ndarray) -> np.ndarray:
    return np.sqrt(q)


def pear(q: np.ndarray) -> np.ndarray:
    """Widest at two thirds, narrower at the annulus, as hearts are."""
    return np.sqrt(q) * (1.6 - q)


def drawn(
    profile, half_width_mm: float, *, spacing_mm=(0.25, 0.25), tilt_deg: float = 0.0, length_mm: float = LENGTH_MM
) -> View:
    """A cavity of this profile below its apex, a wall of 9 mm around it that is open at the base, an atrium below."""
    rows, columns = (round(extent / step) for extent, step in zip((150, 150), spacing_mm, strict=True))
    down = ((np.arange(rows) + 0.5) * spacing_mm[0] - 30)[:, None]
    across = ((np.arange(columns) + 0.5) * spacing_mm[1] - 75)[None]
    sine, cosine = np.sin(np.radians(tilt_deg)), np.cos(np.radians(tilt_deg))
    z, x = cosine * down + sine * across, cosine * across - sine * down
    labels = np.zeros((rows, columns), np.uint8)
    outer = (half_width_mm + 9) * ellipse(np.clip((z + 9) / (length_mm + 9), 0, 1))
    labels[(z > -9) & (z < length_mm) & (abs(x) < outer)] = 2
    labels[(z > 0) & (z < length_mm) & (abs(x) < half_width_mm * profile(np.clip(z / length_mm, 0, 1)))] = 1
    labels[(z >= length_mm) & (z < length_mm + 25) & (abs(x) < 0.9 * half_width_mm * profile(1.0))] = 3
    return View(labels, spacing_mm)


# Against solids


@pytest.mark.parametrize("tilt_deg", [0.0, 7.0, -20.0])
def test_half_an_ellipsoid_has_two_thirds_pi_abc(tilt_deg: float) -> None:
    two, four = drawn(ellipse, 20.0, tilt_deg=tilt_deg), drawn(ellipse, 26.0, tilt_deg=-tilt_deg)
    assert volume_ml(two, four) == pytest.approx(2 / 3 * np.pi * 20 * 26 * LENGTH_MM / 1000, rel=5e-3)


@pytest.mark.parametrize("profile", [ellipse, paraboloid, pear])
def test_a_body_of_revolution_has_its_integrals_volume(profile) -> None:
    view = drawn(profile, 22.0)
    expected = quad(lambda z: np.pi * (22 * profile(z / LENGTH_MM)) ** 2, 0, LENGTH_MM)[0] / 1000
    assert volume_ml(view, view) == pytest.approx(expected, rel=5e-3)


def test_the_error_is_that_of_twenty_discs_and_of_pixels() -> None:
    """As pixels shrink, the rule's own error is left: a disc of the mean width holds less than its slice."""
    heights = np.linspace(0, LENGTH_MM, 21)
    means = [quad(lambda z: 22 * ellipse(z / LENGTH_MM), a, b)[0] / (b - a) for a, b in pairwise(heights)]
    rule = np.pi * np.sum(np.square(means)) * LENGTH_MM / 20 / 1000
    errors = []
    for spacing in (2.0, 0.5, 0.125):
        view = drawn(ellipse, 22.0, spacing_mm=(spacing, spacing))
        errors.append(abs(volume_ml(view, view) / rule - 1))
    assert errors[0] < 0.05
    assert errors[1] < 0.01
    assert errors[2] < 1e-3


def test_pixels_may_be_taller_than_wide() -> None:
    square, tall = (drawn(pear, 22.0, spacing_mm=spacing, tilt_deg=10.0) for spacing in ((0.25, 0.25), (0.4, 0.2)))
    assert volume_ml(tall, tall) == pytest.approx(volume_ml(square, square), rel=2e-3)


def test_length_and_widths_are_those_drawn_though_a_pixel_is_as_thick_as_a_disc() -> None:
    cut = discs(drawn(ellipse, 24.0, spacing_mm=(4.0, 4.0), tilt_deg=5.0))
    assert cut.length_mm == pytest.approx(LENGTH_MM, abs=2)
    assert cut.widths_mm.sum() / 20 * cut.length_mm == pytest.approx(np.pi / 2 * 24 * LENGTH_MM, rel=0.02)
    assert np.all(np.diff(cut.widths_mm[:-1]) > -4), "no disc is starved of pixels by its neighbour"


def test_the_longer_view_gives_the_height_of_the_discs_and_the_order_of_views_does_not_matter() -> None:
    short, long = drawn(ellipse, 20.0, length_mm=70.0), drawn(ellipse, 20.0, length_mm=84.0)
    assert volume_ml(short, long) == volume_ml(long, short)
    assert volume_ml(short, long) == pytest.approx(volume_ml(long, long), rel=3e-3)


def test_ejection_fraction_is_the_share_of_the_diastolic_volume_that_leaves() -> None:
    diastole = drawn(ellipse, 25.0), drawn(ellipse, 24.0)
    systole = drawn(ellipse, 17.0, length_mm=70.0), drawn(ellipse, 18.0, length_mm=70.0)
    measured = volumes(diastole, systole)
    expected = 100 * (1 - (17 * 18 * 70) / (25 * 24 * 80))
    assert measured.ef_percent == pytest.approx(expected, abs=0.3)
    assert measured.edv_ml > measured.esv_ml


# Against the phantom's geometry


@pytest.mark.parametrize(("rows", "points"), [(None, 0.2), (128, 1.0)])
def test_the_phantoms_labels_give_the_ejection_fraction_of_its_geometry(rows: int | None, points: float) -> None:
    recipe = PhantomRecipe(patients=3, seed=3, rows=rows)
    for patient in (1, 2, 3):
        views = []
        for view in ("2CH", "4CH"):
            seen = examine(recipe, patient, view)
            depth = round(seen.anatomy.depth_mm / seen.spacing_mm)
            maps = label_maps(seen, np.array([0, SYSTOLE]), (depth, 2 * depth))
            views.append([View(one, (seen.spacing_mm, seen.spacing_mm)) for one in maps])
        measured = volumes((views[0][0], views[1][0]), (views[0][1], views[1][1]))
        edv, esv = volumes_ml(recipe, patient)
        assert measured.ef_percent == pytest.approx(100 * (1 - esv / edv), abs=points)
        assert (measured.edv_ml, measured.esv_ml) == pytest.approx((edv, esv), rel=points / 50)


# Maps that a network may give


def test_gaps_in_the_wall_or_between_the_chambers_do_not_turn_the_heart() -> None:
    whole = drawn(pear, 22.0, tilt_deg=8.0)
    apical = np.where((whole.labels == 2) & (np.arange(600) < 170)[:, None], np.uint8(0), whole.labels)
    lateral = whole.labels.copy()
    lateral[250:330, 300:][lateral[250:330, 300:] == 2] = 0
    apart = np.where((whole.labels == 3) & binary_dilation(whole.labels == 1, iterations=5), np.uint8(0), whole.labels)
    for broken in (apical, lateral, apart):
        assert (broken != whole.labels).any()
        assert volume_ml(View(broken, whole.spacing_mm), whole) == pytest.approx(volume_ml(whole, whole), rel=2e-3)


def test_a_heart_at_the_images_border_is_measured_as_one_inside() -> None:
    whole = drawn(ellipse, 22.0)
    rows, columns = np.nonzero(whole.labels == 1)
    below, between = whole.labels[rows.min() :], whole.labels[:, columns.min() : columns.max() + 1]
    assert volume_ml(View(below, whole.spacing_mm), whole) == volume_ml(whole, whole)
    # Here the image ends at the hinges, and no wall beside them tells where the plane ends.
    assert volume_ml(View(between, whole.spacing_mm), whole) == pytest.approx(volume_ml(whole, whole), rel=0.01)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_without_cavity_wall_or_atrium_there_is_no_volume(missing: int) -> None:
    whole = drawn(ellipse, 22.0)
    broken = View(np.where(whole.labels == missing, np.uint8(0), whole.labels), whole.spacing_mm)
    assert np.isnan(volume_ml(whole, broken))
    assert np.isnan(volumes((whole, whole), (whole, broken)).ef_percent)
    assert np.isnan(volumes((whole, broken), (whole, whole)).ef_percent)


def test_a_wall_all_around_leaves_no_mitral_plane() -> None:
    whole = drawn(ellipse, 22.0)
    ring = binary_dilation(whole.labels == 1, iterations=3) & (whole.labels != 1)
    closed = View(np.where(ring, np.uint8(2), whole.labels), whole.spacing_mm)
    assert (closed.labels == 3).any()
    assert np.isnan(volume_ml(closed, whole))


def test_a_view_without_calibration_has_no_volume() -> None:
    whole = drawn(ellipse, 22.0)
    with pytest.raises(InputError, match="spacing_mm: expected two lengths above 0, got None"):
        volume_ml(whole, View(whole.labels, None))
