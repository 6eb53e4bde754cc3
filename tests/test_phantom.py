import dataclasses
import itertools

import numpy as np
import pytest
import SimpleITK

from usjepa.data.camus import read_camus
from usjepa.data.phantom import PhantomRecipe, render_beat, tree, write_phantom
from usjepa.data.phantom.acoustics import draw_scanner, echo
from usjepa.data.phantom.anatomy import draw_contours, from_image, to_image
from usjepa.data.phantom.beat import contours_over, examine, label_maps, render, volumes_ml
from usjepa.data.phantom.measure import fill, volume_ml
from usjepa.data.phantom.motion import SYSTOLE, amplitudes, displacement_fields
from usjepa.data.phantom.tissue import Scatterers, draw_scatterers
from usjepa.errors import InputError

RECIPE = PhantomRecipe(patients=20, seed=1, rows=64)
PHASES = np.linspace(0, 1, 9)


@pytest.fixture(scope="module")
def beat():
    return render_beat(RECIPE, 3, "4CH")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_phantom(
        dataclasses.replace(RECIPE, patients=3), tmp_path_factory.mktemp("phantom") / "tree", processes=1
    )


def half(recipe, patient, view="4CH"):
    examination = examine(recipe, patient, view)
    return render(recipe, examination, range(examination.systole_frames + 1))


# Geometry


def test_a_pixel_is_filled_when_its_centre_lies_inside():
    rng = np.random.default_rng(0)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 40))
    radius = rng.uniform(3, 11, 40)
    polygon = np.stack((12 + radius * np.cos(angle), 9 + radius * np.sin(angle)), axis=1)
    expected = np.zeros((18, 25), np.uint8)
    for row, column in np.ndindex(18, 25):
        x, y, inside = column + 0.5, row + 0.5, False
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
                inside = not inside
        expected[row, column] = inside
    assert np.array_equal(fill(polygon, rows=18, columns=25), expected)


def test_a_polygon_may_reach_beyond_the_image():
    square = np.array([[-5.0, -5.0], [3.0, -5.0], [3.0, 40.0], [-5.0, 40.0]])
    filled = fill(square, rows=6, columns=8)
    assert filled[:, :3].all()
    assert not filled[:, 3:].any()


def test_biplane_simpson_gives_the_volume_of_half_an_ellipsoid():
    height = np.concatenate((np.linspace(80, 0, 400), np.linspace(0, 80, 400)[1:]))
    side = np.sign(np.arange(len(height)) - 399.0)
    two, four = (np.stack((side * a * np.sqrt(1 - (1 - height / 80) ** 2), height), axis=1) for a in (20.0, 25.0))
    assert volume_ml(two, four) == pytest.approx(2 / 3 * np.pi * 20 * 25 * 80 / 1000, rel=2e-3)


def test_image_coordinates_have_an_inverse():
    anatomy = examine(RECIPE, 1, "4CH").anatomy
    points = np.random.default_rng(0).uniform(-60, 130, (50, 2))
    assert np.allclose(from_image(anatomy, to_image(anatomy, points)), points)


def test_both_views_cut_the_same_heart():
    for patient in range(1, 11):
        two, four = (examine(RECIPE, patient, view) for view in ("2CH", "4CH"))
        assert two.anatomy.length_mm == pytest.approx(four.anatomy.length_mm, rel=0.04)
        assert two.anatomy.half_width_mm == pytest.approx(four.anatomy.half_width_mm, rel=0.15)
        assert two.anatomy.atrium_mm == four.anatomy.atrium_mm
        assert two.kinetics.contraction == four.kinetics.contraction
        assert two.anatomy.ventricle_mm == 0 < four.anatomy.ventricle_mm


def test_hearts_have_the_volumes_and_ejection_fractions_of_patients():
    recipe = PhantomRecipe(patients=120, rows=64)
    volumes = np.array([volumes_ml(recipe, patient) for patient in range(1, 121)])
    fraction = 100 * (1 - volumes[:, 1] / volumes[:, 0])
    assert 95 < np.median(volumes[:, 0]) < 140
    assert fraction.min() > 20
    assert fraction.max() < 75
    # CAMUS: 49 % of patients at or below 45 %, 20 % at or above 55 %.
    assert 0.35 < np.mean(fraction <= 45) < 0.65
    assert 0.1 < np.mean(fraction >= 55) < 0.35


# Motion and labels


@pytest.mark.parametrize(("patient", "view"), [(p, v) for p in (1, 2, 3, 4) for v in ("2CH", "4CH")])
def test_labels_are_exact_on_every_frame_because_contours_move_with_the_scatterers(patient, view):
    # Pixels of some 0.6 mm: an error of a tenth of the motion would show.
    examination = examine(dataclasses.replace(RECIPE, rows=256), patient, view)
    anatomy, kinetics = examination.anatomy, examination.kinetics
    length = examination.systole_frames + 1
    steps = np.arange(length) * SYSTOLE / examination.systole_frames
    rows, columns = 256, 420
    labels = label_maps(examination, steps, (rows, columns))
    rng = np.random.default_rng(0)
    # Points are classed by the label of the first frame if they lie a pixel away from every border ...
    points = rng.uniform((0, 0), (columns, rows), (20_000, 2))
    around = [points + np.array(step) for step in itertools.product((-1.0, 0.0, 1.0), repeat=2)]
    classes = np.stack([sampled(labels[0], place) for place in around])
    points, classes = points[(classes == classes[0]).all(axis=0)], classes[0, (classes == classes[0]).all(axis=0)]
    # ... moved as scatterers are, and looked up in the labels of every other frame.
    millimetres = (points - np.array([columns / 2, 0])) * examination.spacing_mm
    fields = displacement_fields(anatomy, kinetics, from_image(anatomy, millimetres))
    moved = millimetres + np.einsum("tk,kpd->tpd", amplitudes(kinetics, steps), fields)
    pixels = moved / examination.spacing_mm + np.array([columns / 2, 0])
    for frame in range(length):
        known = (classes > 0) & (sampled(labels[frame], pixels[frame]) < 9)
        assert known.sum() > 1000
        # A label is drawn by pixel centres: a border lies up to half a pixel's diagonal from where it is drawn.
        nearest = np.stack([sampled(labels[frame], pixels[frame] + np.array(step)) for step in NEIGHBOURS])
        assert (nearest == classes).any(axis=0)[known].all()
        assert np.mean(nearest[4][known] == classes[known]) > 0.99


NEIGHBOURS = tuple(itertools.product((-0.75, 0.0, 0.75), repeat=2))


def sampled(label, points):
    """The label at points (x, y) in pixels; 9 outside the image."""
    column, row = np.floor(points.T).astype(int)
    inside = (row >= 0) & (row < label.shape[0]) & (column >= 0) & (column < label.shape[1])
    return np.where(inside, label[np.clip(row, 0, label.shape[0] - 1), np.clip(column, 0, label.shape[1] - 1)], 9)


def test_labels_that_did_not_move_would_be_far_off(beat):
    systole = beat.annotated[1]
    cavity = beat.labels == 1
    overlap = 2 * (cavity[0] & cavity[systole]).sum() / (cavity[0].sum() + cavity[systole].sum())
    assert overlap < 0.92


def test_the_cavity_is_largest_at_diastole_and_smallest_at_systole():
    recipe = dataclasses.replace(RECIPE, rows=200)
    for patient in (1, 2, 3):
        examination = examine(recipe, patient, "4CH")
        steps = np.arange(round(examination.systole_frames / SYSTOLE)) * SYSTOLE / examination.systole_frames
        endo = contours_over(examination, steps)[0]
        x, y = endo[..., 0], endo[..., 1]
        area = np.abs(np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1)) / 2
        assert int(np.argmax(area)) == 0
        assert int(np.argmin(area)) == examination.systole_frames


def test_a_beat_closes_and_no_tissue_folds_over():
    for patient, view in itertools.product(range(1, 11), ("2CH", "4CH")):
        examination = examine(RECIPE, patient, view)
        anatomy, kinetics = examination.anatomy, examination.kinetics
        endo, epi, _ = contours_over(examination, PHASES)
        assert np.allclose(endo[0], endo[-1])
        x, z = np.meshgrid(np.arange(-70.0, 70), np.arange(-10.0, 140), indexing="ij")
        points = np.stack((x.ravel(), z.ravel()), axis=1)
        fields = displacement_fields(anatomy, kinetics, points)
        moved = to_image(anatomy, points) + np.einsum("k,kpd->pd", amplitudes(kinetics, np.array([SYSTOLE]))[0], fields)
        moved = moved.reshape(*x.shape, 2)
        across, down = np.gradient(moved, axis=0), np.gradient(moved, axis=1)
        assert np.mean(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0] <= 0) < 1e-3
        wall = np.linalg.norm(epi - endo, axis=2)
        assert wall.min() > 4, "the wall never vanishes"


def test_every_class_is_in_every_frame(beat):
    for label in beat.labels:
        assert set(np.unique(label)) == {0, 1, 2, 3}


def test_labels_lie_as_anatomy_does():
    for patient in range(1, 6):
        frames, labels = half(RECIPE, patient)
        row = [np.nonzero(labels[0] == k)[0].mean() for k in (1, 3)]
        assert row[0] < row[1], "the atrium lies below the ventricle"
        contours = draw_contours(examine(RECIPE, patient, "4CH").anatomy)
        assert contours.wall_mm.min() > 5
        assert frames.shape == labels.shape


def test_the_wall_is_open_at_the_base():
    for patient, view in itertools.product(range(1, 21), ("2CH", "4CH")):
        examination = examine(dataclasses.replace(RECIPE, rows=256), patient, view)
        endo = contours_over(examination, PHASES[:5])[0]
        labels = label_maps(examination, PHASES[:5], (256, 420))
        for label, contour in zip(labels, endo, strict=True):
            row, column = np.nonzero(label == 2)
            place = np.stack((column + 0.5 - 210, row + 0.5), axis=1) * examination.spacing_mm - contour[0]
            chord = contour[-1] - contour[0]
            along = place @ chord / (chord @ chord)
            below = chord[0] * place[:, 1] - chord[1] * place[:, 0]
            assert not np.any((along > 0) & (along < 1) & (below > 0)), "muscle in the mitral plane"


# Echoes


def homogeneous(scanner, anatomy, density, rng):
    """Unit scatterers everywhere, `density` a cell of the grid."""
    grid = scanner.grid
    count = int(density * len(grid.radius) * len(grid.angle))
    radius, angle = rng.uniform(0, grid.radius[-1], count), rng.uniform(grid.angle[0], grid.angle[-1], count)
    points = np.stack((radius * np.sin(angle), radius * np.cos(angle))).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
    still = np.zeros((5, 2, count), np.float32)
    return Scatterers(points, still, np.ones(count, np.float32), phase, np.zeros(count, np.float32))


@pytest.mark.parametrize("rows", [64, None])
def test_speckle_of_homogeneous_tissue_follows_rayleigh(rows):
    recipe = dataclasses.replace(RECIPE, rows=rows)
    examination = examine(recipe, 1, "4CH")
    rng = np.random.default_rng(0)
    fields = []
    for _ in range(10 if rows else 2):
        scanner = draw_scanner(examination.anatomy, examination.quality, examination.spacing_mm, 0.65, rng)
        scatterers = homogeneous(scanner, examination.anatomy, 0.65, rng)
        fields.append(echo(scanner, scatterers, np.zeros(5), 0.0))
    envelope = np.abs(np.stack([field[: min(map(len, fields))] for field in fields]))
    third = envelope.shape[1] // 3
    for depth in (slice(third // 2, third), slice(third, 2 * third), slice(2 * third, -5)):
        values = envelope[:, depth]
        # Rayleigh: mean over deviation 1.91, normalised second moment of the intensity 2; intensity set to 1.
        assert values.mean() / values.std() == pytest.approx(1.91, abs=0.1)
        assert np.mean(values**4) / np.mean(values**2) ** 2 == pytest.approx(2, abs=0.2)
        assert np.mean(values**2) == pytest.approx(1, abs=0.12)


def test_grey_levels_are_those_of_real_images():
    recipe = PhantomRecipe(patients=60, rows=128)
    rows = []
    for patient in range(1, 41):
        examination = examine(recipe, patient, "4CH")
        if examination.quality.name == "Good" and len(rows) < 10:
            frames, labels = render(recipe, examination, range(1))
            sector = frames[0] > 0
            means = [np.median(frames[0][(labels[0] == k) & sector]) for k in (1, 2, 3)]
            rows.append((*means, means[1] - means[0], *np.percentile(frames[0][sector], (0.5, 50))))
    cavity, muscle, atrium, contrast, darkest, middle = np.median(rows, axis=0)
    # Medians over 288 CAMUS images, end diastole, good (DanielOpazoD/echotwin-tte): 56, 97, 91, contrast 40, sector 83.
    assert 46 < cavity < 69
    assert 84 < muscle < 112
    assert 65 < atrium < 117
    assert 30 < contrast < 50
    assert 70 < middle < 100
    assert darkest > 15, "no pixel of the sector is black"


def test_poor_windows_show_less_contrast():
    recipe = PhantomRecipe(patients=60, rows=64)
    contrast: dict[str, list[float]] = {"Good": [], "Medium": [], "Poor": []}
    for patient, view in itertools.product(range(1, 41), ("2CH", "4CH")):
        examination = examine(recipe, patient, view)
        frames, labels = render(recipe, examination, range(1))
        contrast[examination.quality.name].append(frames[labels == 2].mean() - frames[labels == 1].mean())
    assert np.mean(contrast["Good"]) > np.mean(contrast["Medium"]) > np.mean(contrast["Poor"])


def test_the_first_frame_is_as_smooth_as_the_others():
    # Persistence starts on a frame before the first; a noisier first frame would tell diastole from systole.
    roughness = []
    for patient in range(1, 9):
        frames, labels = half(RECIPE, patient)
        fine = np.diff(frames.astype(float), axis=1)[:6, :, :]
        cavity = (labels == 1).all(axis=0)[1:]
        roughness.append(fine[:, cavity].std(axis=1))
    first, *others = np.mean(roughness, axis=0)
    assert first / np.mean(others) == pytest.approx(1, abs=0.06)


def test_echoes_lose_coherence_as_tissue_slides_through_the_plane():
    examination = examine(RECIPE, 1, "4CH")
    anatomy, rng = examination.anatomy, np.random.default_rng(0)
    scanner = draw_scanner(anatomy, examination.quality, examination.spacing_mm, 0.65, rng)
    scatterers = draw_scatterers(anatomy, examination.kinetics, draw_contours(anatomy), 80_000, rng)
    # Equal strengths, so that no bright patch outweighs the others.
    scatterers = scatterers._replace(strength=np.ones_like(scatterers.strength))
    before, soon, later = (echo(scanner, scatterers, np.zeros(5), slide) for slide in (0.0, 0.1, 1.1))
    for after, slide in ((soon, 0.1), (later, 1.1)):
        coherence = np.abs(np.vdot(before, after)) / np.linalg.norm(before) / np.linalg.norm(after)
        # Normal rates of phase: the mean of exp(j slide rate).
        assert coherence == pytest.approx(np.exp(-(slide**2) / 2), abs=0.06)


def test_speckle_moves_and_changes(beat):
    sector = (beat.frames > 0).all(axis=0) & (beat.labels == 2).all(axis=0)
    assert sector.sum() > 30
    values = beat.frames[:, sector].astype(float)
    near, far = np.corrcoef(values[0], values[1])[0, 1], np.corrcoef(values[0], values[beat.annotated[1]])[0, 1]
    assert near > 0.75
    assert far < near - 0.2


# Recipes and trees


def test_equal_seeds_give_equal_bytes_and_others_do_not():
    first, again = half(RECIPE, 2), half(RECIPE, 2)
    assert first[1].tobytes() == again[1].tobytes()
    assert first[0].tobytes() == again[0].tobytes()
    other = half(dataclasses.replace(RECIPE, seed=2), 2)
    assert first[1].tobytes() != other[1].tobytes()


def test_a_patient_does_not_depend_on_how_many_there_are():
    assert half(RECIPE, 3)[1].tobytes() == half(dataclasses.replace(RECIPE, patients=7), 3)[1].tobytes()


def test_half_sequences_have_15_to_21_frames_at_some_50_a_second():
    examinations = [examine(RECIPE, patient, view) for patient in range(1, 21) for view in ("2CH", "4CH")]
    lengths = {examination.systole_frames + 1 for examination in examinations}
    assert lengths <= set(range(15, 22))
    assert len(lengths) > 4
    assert all(1 / 56 <= examination.interval_s <= 1 / 44 for examination in examinations)


def test_native_images_have_the_pixels_of_camus():
    native = examine(PhantomRecipe(patients=3, rows=None), 1, "4CH")
    frames, labels = render(PhantomRecipe(patients=3, rows=None), native, range(1))
    assert native.spacing_mm == 0.308
    assert 350 < frames.shape[1] < 620
    small = half(PhantomRecipe(patients=3, rows=64), 1)[1][0]
    share = [np.mean(labels == k) / np.mean(small == k) for k in (1, 2, 3)]
    assert share == pytest.approx([1, 1, 1], abs=0.05), "the same heart at either size"


def test_a_beat_says_where_it_comes_from(beat):
    assert beat.split == "unlabelled"
    assert beat.annotated == (0, examine(RECIPE, 3, "4CH").systole_frames)
    assert RECIPE.hash() in beat.source
    assert len(beat.frames) == round(beat.annotated[1] / SYSTOLE)


@pytest.mark.parametrize("change", [{"patients": 2}, {"patients": 10_000}, {"rows": 16}, {"rows": 5000}, {"seed": -1}])
def test_impossible_recipes_are_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        dataclasses.replace(RECIPE, **change)


@pytest.mark.parametrize(
    ("patient", "view", "words"), [(0, "4CH", "1 to 20"), (21, "4CH", "1 to 20"), (1, "PLAX", "2CH")]
)
def test_unknown_patients_and_views_are_refused(patient, view, words):
    with pytest.raises(InputError, match=words):
        examine(RECIPE, patient, view)


def test_the_tree_is_that_of_camus(written):
    home = written / "database_nifti"
    assert sorted(path.name for path in home.iterdir()) == ["patient0001", "patient0002", "patient0003"]
    endings = [f"{kind}{gt}.nii.gz" for kind in ("ED", "ES", "half_sequence") for gt in ("", "_gt")]
    expected = {f"patient0001_{view}_{ending}" for view in ("2CH", "4CH") for ending in endings}
    assert {path.name for path in (home / "patient0001").iterdir()} == expected | {"Info_2CH.cfg", "Info_4CH.cfg"}
    image = SimpleITK.ReadImage(str(home / "patient0001" / "patient0001_4CH_half_sequence_gt.nii.gz"))
    assert image.GetPixelID() == SimpleITK.sitkFloat32
    assert image.GetDimension() == 3
    assert image.GetSpacing()[2] == 1
    still = SimpleITK.ReadImage(str(home / "patient0001" / "patient0001_4CH_ED.nii.gz"))
    assert still.GetDimension() == 2


def test_the_cfg_holds_what_the_geometry_gives(written):
    diastolic, systolic = volumes_ml(dataclasses.replace(RECIPE, patients=3), 2)
    text = (written / "database_nifti" / "patient0002" / "Info_2CH.cfg").read_text()
    fields = dict(line.split(": ") for line in text.splitlines())
    assert float(fields["LVedv"]) == pytest.approx(diastolic, abs=0.01)
    assert float(fields["LVesv"]) == pytest.approx(systolic, abs=0.01)
    assert int(fields["EF"]) == round(100 * (1 - systolic / diastolic))
    assert list(fields)[:3] == ["ED", "ES", "NbFrame"]


@pytest.mark.parametrize("patients", [3, 4, 7, 10, 40, 100])
def test_every_list_has_a_patient_and_none_is_in_two(patients):
    parts = tree.split_patients(PhantomRecipe(patients=patients))
    together = sorted(itertools.chain(*parts.values()))
    assert together == [f"patient{number:04d}" for number in range(1, patients + 1)]
    assert all(parts.values())
    if patients >= 40:
        assert [len(parts[p]) / patients for p in ("training", "validation", "testing")] == pytest.approx(
            [0.7, 0.1, 0.2]
        )


def test_some_two_percent_are_stored_from_systole_and_read_the_right_way_round(tmp_path):
    many = PhantomRecipe(patients=1000)
    share = np.mean([tree.is_reversed(many, patient, "4CH") for patient in range(1, 1001)])
    assert 0.01 < share < 0.035
    recipe = next(
        recipe
        for seed in range(200)
        if tree.is_reversed(recipe := PhantomRecipe(patients=3, seed=seed, rows=40), 1, "4CH")
    )
    folder = write_phantom(recipe, tmp_path / "tree", processes=1)
    sequence = next(sequence for sequence in read_camus(folder) if sequence.name == "patient0001_4CH")
    assert sequence.is_reversed
    assert np.array_equal(sequence.labels, half(recipe, 1)[1])
    stored = folder / "database_nifti" / "patient0001" / "patient0001_4CH_ED.nii.gz"
    assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(stored))), sequence.frames[0])


def test_a_finished_phantom_is_found_again_by_its_recipe(written, monkeypatch):
    monkeypatch.setattr(tree, "write_patient", None)
    assert write_phantom(dataclasses.replace(RECIPE, patients=3), written) == written
    assert dataclasses.replace(RECIPE, seed=9).hash() != RECIPE.hash()


def test_two_processes_write_the_same_bytes(written, tmp_path):
    twin = write_phantom(dataclasses.replace(RECIPE, patients=3), tmp_path / "twin", processes=2)
    files = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(twin) for path in twin.rglob("*") if path.is_file())
    assert len(files) == 3 * 14 + 5
    assert all((written / path).read_bytes() == (twin / path).read_bytes() for path in files)


def test_an_interrupted_phantom_leaves_nothing(tmp_path, monkeypatch):
    whole = tree.write_patient

    def interrupted(recipe, number, folder):
        if number == 2:
            raise KeyboardInterrupt
        return whole(recipe, number, folder)

    monkeypatch.setattr(tree, "write_patient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_phantom(PhantomRecipe(patients=3, rows=40), tmp_path / "tree", processes=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_anything_else_is_left_alone(tmp_path, written):
    recipe = PhantomRecipe(patients=3, rows=40)
    for folder in (tmp_path, written):
        before = sorted(folder.rglob("*"))
        with pytest.raises(InputError, match="found another. Give another folder"):
            write_phantom(dataclasses.replace(recipe, seed=77), folder)
        assert sorted(folder.rglob("*")) == before
    with pytest.raises(InputError, match="processes"):
        write_phantom(recipe, tmp_path / "other", processes=0)
