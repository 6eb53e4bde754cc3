import numpy as np
import pytest
from PIL import Image

from usjepa.data.phantom import PhantomRecipe
from usjepa.data.phantom.beat import examine, render
from usjepa.data.prepare import to_square
from usjepa.errors import InputError
from usjepa.evaluation.shortcuts import Images, instant_accuracy, shortcut_scores

SIDE = 40


def instants(patients):
    """Both views of these patients at end diastole and end systole."""
    recipe = PhantomRecipe(patients=40, rows=64)
    frames, labels = [], []
    for patient in patients:
        for view in ("2CH", "4CH"):
            examination = examine(recipe, patient, view)
            film, truth = render(recipe, examination, range(examination.systole_frames + 1))
            frames.append([to_square(film[k], SIDE, Image.Resampling.BILINEAR) for k in (0, -1)])
            labels.append([to_square(truth[k], SIDE, Image.Resampling.NEAREST) for k in (0, -1)])
    return Images(np.array(frames), np.array(labels))


@pytest.fixture(scope="module")
def hearts():
    return instants(range(1, 41))


def part(images, keep):
    return Images(images.frames[keep], images.labels[keep])


def squares(*, count, brightness, shifts, seed=0):
    """A square of label 1 at shifted places, brighter or not."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((count, 2, 24, 24), np.uint8)
    for loop in labels:
        top, left = 8 + rng.integers(-shifts, shifts + 1, 2) if shifts else (8, 8)
        loop[:, top : top + 8, left : left + 8] = 1
    frames = rng.integers(60, 100, labels.shape) + brightness * (labels == 1)
    return Images(frames.astype(np.uint8), labels)


def test_each_baseline_finds_what_its_evidence_holds():
    still = squares(count=20, brightness=0, shifts=0)
    moving = squares(count=20, brightness=0, shifts=8)
    bright = squares(count=20, brightness=100, shifts=8)
    scores = {
        name: shortcut_scores(part(images, slice(0, 12)), part(images, slice(12, 20)))["LV endo"]
        for name, images in (("still", still), ("moving", moving), ("bright", bright))
    }
    assert scores["still"]["mean mask"] == pytest.approx(1)
    assert scores["still"]["grey level"] < 0.3
    assert scores["moving"]["mean mask"] < 0.6
    assert scores["moving"]["grey level"] < 0.3
    assert scores["bright"]["grey level"] == pytest.approx(1)
    assert scores["bright"]["grey level and position"] == pytest.approx(1)


def test_the_phantom_cant_be_solved_by_its_shortcuts(hearts):
    patient = np.repeat(np.arange(40), 2)
    scores = shortcut_scores(part(hearts, patient < 28), part(hearts, patient >= 28))
    assert scores.loc["grey level", "over structures"] < 0.45, scores.to_string()
    assert scores.loc["mean mask", "over structures"] < 0.75, scores.to_string()
    assert scores.loc["grey level and position", "over structures"] < 0.8, scores.to_string()
    # Better than chance: what it is told must be of some use to it.
    assert scores.loc["mean mask"].min() > 0.3


def test_texture_alone_hardly_tells_diastole_from_systole(hearts):
    folds = np.repeat(np.arange(40), 2) % 8
    accuracy = instant_accuracy(hearts, folds, margin_px=2)
    assert 0.35 < accuracy < 0.65, accuracy
    # The rims do tell: papillary muscles and the fuzzy border come in. That is shape, seen through the texture.
    assert instant_accuracy(hearts, folds, margin_px=0) > 0.85


def test_a_difference_of_texture_would_be_noticed(hearts):
    noisy = hearts.frames.copy()
    grain = np.random.default_rng(0).normal(0, 12, noisy[:, 1].shape)
    noisy[:, 1] = np.where(noisy[:, 1] > 0, (noisy[:, 1] + grain).clip(1, 255), 0)
    assert instant_accuracy(hearts._replace(frames=noisy), np.repeat(np.arange(40), 2) % 8, margin_px=2) > 0.9


def test_shape_alone_is_not_looked_at():
    rng = np.random.default_rng(0)
    labels = np.zeros((30, 2, 24, 24), np.uint8)
    labels[:, 0, 4:20, 4:20] = labels[:, 1, 8:16, 8:16] = 1
    images = Images(rng.integers(60, 100, labels.shape).astype(np.uint8), labels)
    assert 0.3 < instant_accuracy(images, np.arange(30) % 5, margin_px=0) < 0.7


def test_images_that_do_not_fit_are_refused():
    images = squares(count=4, brightness=0, shifts=0)
    with pytest.raises(InputError, match="one size"):
        shortcut_scores(images, Images(images.frames[..., :20], images.labels[..., :20]))
    with pytest.raises(InputError, match="2 instants"):
        instant_accuracy(Images(images.frames[:, :1], images.labels[:, :1]), np.arange(4), margin_px=0)
    with pytest.raises(InputError, match="2 folds"):
        instant_accuracy(images, np.zeros(4, np.int64), margin_px=0)
