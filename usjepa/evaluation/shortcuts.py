"""What can be scored without looking at shapes: baselines that a trained network has to leave far behind.

Each baseline gives every pixel a probability of every structure; a structure is where that passes the threshold that is
best for its DSC on the training images. So these are the best scores that its kind of evidence allows, or nearly.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from scipy.ndimage import binary_erosion

from usjepa.errors import InputError
from usjepa.structures import STRUCTURES

GREY_BIN = 8
"""Grey levels counted as one."""


class Images(NamedTuple):
    """Frames and label maps of N sequences with T frames each, all of one size; in `instant_accuracy` T is 2."""

    frames: UInt8[np.ndarray, "N T H W"]
    labels: UInt8[np.ndarray, "N T H W"]


def shortcut_scores(train: Images, test: Images) -> pd.DataFrame:
    """DSC of three baselines (rows) for each structure (columns) on test sequences, fitted on train.

    - mean mask: how often a pixel belongs to the structure, whatever it looks like;
    - grey level: how often pixels of this grey level do, wherever they lie;
    - grey level and position: both as if they were independent given the structure (naive Bayes).

    DSC is counted over the frames of a sequence and averaged over sequences. Raises InputError for sizes that differ.
    """
    if train.frames.shape[2:] != test.frames.shape[2:]:
        sizes = f"{train.frames.shape[2:]} and {test.frames.shape[2:]}"
        raise InputError(f"images: expected one size in train and test, got {sizes}. Resize one.")
    position, grey = _position(train), _grey(train)
    fitted = {
        "mean mask": (position[:, None], None),
        "grey level": (None, grey),
        "grey level and position": (position[:, None], grey),
    }
    rows = {}
    for name, (where, level) in fitted.items():
        on_train, on_test = (_posterior(images.frames, where, level) for images in (train, test))
        rows[name] = [
            _dsc(on_test[s] > _best_threshold(on_train[s], train.labels == s), test.labels == s)
            for s in range(1, len(STRUCTURES))
        ]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(STRUCTURES[1:]))
    table["over structures"] = table.mean(axis=1)
    return table


def lazy_maps(train: Images, frames: UInt8[np.ndarray, "N T H W"], *, sees_grey: bool) -> UInt8[np.ndarray, "N T H W"]:
    """Label maps of frames by place, or by place and grey level: the structure that passes its threshold by most.

    As in `shortcut_scores`, but one structure a pixel, so that the maps can be scored like a network's.
    """
    where, level = _position(train)[:, None], _grey(train) if sees_grey else None
    on_train = _posterior(train.frames, where, level)
    masks = [train.labels == s for s in range(1, len(STRUCTURES))]
    thresholds = [
        _best_threshold(chance, mask) if mask.any() else np.inf
        for chance, mask in zip(on_train[1:], masks, strict=True)
    ]
    passed = _posterior(frames, where, level)[1:] / np.reshape(thresholds, (-1, 1, 1, 1, 1))
    return np.where(passed.max(axis=0) > 1, passed.argmax(axis=0) + 1, 0).astype(np.uint8)


def _position(images: Images) -> Float[np.ndarray, "s H W"]:
    """How often each pixel belongs to each structure, never 0."""
    rows, columns = images.labels.shape[2:]
    maps = images.labels.reshape(-1, rows, columns)
    return np.stack([(np.sum(maps == s, axis=0) + 0.1) / (len(maps) + 0.4) for s in range(len(STRUCTURES))])


def _grey(images: Images) -> Float[np.ndarray, "s 32"]:
    """Shares of the grey levels in each structure, never 0."""
    bins = images.frames // GREY_BIN
    counts = [np.bincount(bins[images.labels == s], minlength=256 // GREY_BIN) + 1 for s in range(len(STRUCTURES))]
    return np.stack([count / count.sum() for count in counts])


def _posterior(
    frames: UInt8[np.ndarray, "N T H W"], where: Float[np.ndarray, "s 1 H W"] | None, level: np.ndarray | None
) -> Float[np.ndarray, "s N T H W"]:
    """Probability of each structure at each pixel, given its place, its grey level or both."""
    chance = np.ones((len(STRUCTURES), *frames.shape), np.float32)
    if where is not None:
        chance *= where[:, None].astype(np.float32)
    if level is not None:
        chance *= level[:, frames // GREY_BIN].astype(np.float32)
    return np.asarray(chance / chance.sum(axis=0))


def _best_threshold(chance: Float[np.ndarray, "N T H W"], truth: np.ndarray) -> float:
    """The threshold with the best DSC over all pixels together."""
    steps = np.linspace(0.02, 0.98, 97)
    place = np.digitize(chance.ravel(), steps)
    # Pixels above each threshold, of the structure and of all: sums from the top of two histograms.
    hits, called = (
        np.cumsum(np.bincount(place, weight, len(steps) + 1)[::-1])[::-1][1:] for weight in (truth.ravel(), None)
    )
    return float(steps[np.argmax(2 * hits / np.maximum(called + truth.sum(), 1))])


def _dsc(predicted: np.ndarray, true: np.ndarray) -> float:
    """DSC of two masks [N, T, H, W], counted a sequence, averaged over those with any pixel in either."""
    both, either = (part.sum(axis=(1, 2, 3)) for part in (predicted & true, predicted.astype(np.int64) + true))
    found = either > 0
    return float(np.mean(2 * both[found] / either[found])) if found.any() else float("nan")


def instant_accuracy(images: Images, folds: Int[np.ndarray, " N"], margin_px: int) -> float:
    """How often end diastole is told from end systole by grey level and texture alone; chance is 0.5.

    images: of each sequence the two instants, ED first. Only pixels are looked at that have one label in both, more
    than `margin_px` around them too: their mean, deviation and roughness a structure, judged by a ridge regression on
    the instant, fitted on the sequences of the other folds. Without a margin, the rims of the structures tell how far
    they have moved: papillary muscles come into the small cavity of systole. Give both views of a patient one fold.
    Raises InputError for T other than 2 or a single fold.
    """
    if images.frames.shape[1] != 2 or len(np.unique(folds)) < 2:
        got = f"{images.frames.shape[1]} and {len(np.unique(folds))}"
        raise InputError(f"images, folds: expected 2 instants a sequence and 2 folds or more, got {got}. Change it.")
    features = np.stack([_texture(*pair, margin_px) for pair in zip(*images, strict=True)])
    right = []
    for fold in np.unique(folds):
        known, asked = features[folds != fold], features[folds == fold]
        middle = known.mean(axis=(0, 1))
        scale = known.std(axis=(0, 1)) + 1e-9
        rows = ((known - middle) / scale).reshape(-1, features.shape[2])
        target = np.tile([-1.0, 1.0], len(known))
        slope = np.linalg.solve(rows.T @ rows + len(rows) * 0.1 * np.eye(rows.shape[1]), rows.T @ target)
        right.append(((((asked - middle) / scale) @ slope > 0) == np.array([False, True])).ravel())
    return float(np.mean(np.concatenate(right)))


def _texture(
    frames: UInt8[np.ndarray, "2 H W"], labels: UInt8[np.ndarray, "2 H W"], margin_px: int
) -> Float[np.ndarray, "2 F"]:
    """Mean, deviation, and root mean square steps to the next pixel down and across, a structure that both share."""
    grey = frames.astype(np.float64)
    features = []
    for s in range(len(STRUCTURES)):
        inside = (labels == s).all(axis=0) & (frames > 0).all(axis=0)
        if margin_px:
            inside = binary_erosion(inside, iterations=margin_px)
        down, across = inside[1:] & inside[:-1], inside[:, 1:] & inside[:, :-1]
        if not (down.any() and across.any()):
            features.append(np.zeros((2, 4)))
            continue
        steps = [np.diff(grey, axis=1)[:, down], np.diff(grey, axis=2)[:, across]]
        rough = [np.sqrt(np.mean(step**2, axis=1)) for step in steps]
        features.append(np.stack((grey[:, inside].mean(axis=1), grey[:, inside].std(axis=1), *rough), axis=1))
    return np.concatenate(features, axis=1)
