import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from usjepa.present.figures import COLOURS, feature_colours, film_strip, hide, loss_curves, m_mode, overlay

mpl.use("agg")


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 8, 8)).astype(np.uint8)


def test_an_overlay_colours_the_structures_and_nothing_else(frames: np.ndarray) -> None:
    labels = np.zeros_like(frames)
    labels[:, 2:4, 2:4] = 3
    shown = overlay(frames, labels, strength=1.0)
    assert (shown[:, 2:4, 2:4] == COLOURS[3]).all()
    assert (shown[:, 4:] == frames[:, 4:, :, None]).all()


def test_hidden_tokens_are_flat_and_the_others_untouched(frames: np.ndarray) -> None:
    hidden = np.zeros((2, 2, 2), dtype=bool)
    hidden[1, 0, 1] = True
    shown = hide(frames, hidden)
    assert len(np.unique(shown[2:, :4, 4:].reshape(-1, 3), axis=0)) == 1
    assert (shown[:2] == frames[:2, ..., None]).all()


def test_equal_features_get_equal_colours_whatever_the_sign_of_the_basis() -> None:
    features = np.random.default_rng(1).normal(size=(2, 3, 3, 5)).astype(np.float32)
    features[1, 2, 2] = features[0, 0, 0]
    colours = feature_colours(features, scale_px=2)
    assert colours.shape == (2, 6, 6, 3)
    assert (colours[1, 5, 5] == colours[0, 0, 0]).all()
    assert (feature_colours(features, scale_px=2) == colours).all()
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 17


def test_a_strip_has_one_picture_a_frame(frames: np.ndarray) -> None:
    figure = film_strip(list(frames[:3]), ["a", "b", "c"], rows=2)
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 1, 0]
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", ""]


def test_the_curves_show_the_chance_level() -> None:
    log = pd.DataFrame({"step": [0, 1], "prediction": [1, 0.5], "localisation": [0.4, 0.1], "chance": [0.4, 0.41]})
    left, right = loss_curves(log).axes
    assert len(left.lines) == 1
    assert [line.get_label() for line in right.lines] == ["Eq. 3", "chance: always answer zero"]


def test_a_policy_has_a_dot_a_distinct_frame_larger_where_it_repeats(frames: np.ndarray) -> None:
    policies = {"paper": np.array([0, 2, 3, 3, 3]), "uniform": np.array([0, 1, 2, 3])}
    top, below = m_mode(frames[:, :, 4].T, policies, interval_s=0.02).axes
    assert top.get_ylabel() == "position, pixels"
    dots = below.collections[0]
    assert dots.get_offsets()[:, 0].tolist() == [10.0, 50.0, 70.0]
    assert dots.get_sizes().tolist() == [25, 25, 75]
    assert [label.get_text() for label in below.get_yticklabels()] == ["paper", "uniform"]
