from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import sequences

from usjepa.data.clips import (
    Augmentation,
    crop_box,
    frame_indices,
    frame_weights,
    latest_start,
    moving_tubelets,
    normalise,
    resident,
    training_clips,
    trusted_frames,
    whole_clips,
    whole_labels,
)
from usjepa.data.prepare import prepare
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.recipe import SegmentRecipe
from usjepa.spec import ClipSpec

PAPER = ClipSpec()
CPU = torch.device("cpu")
WHOLE = Augmentation((1.0, 1.0), (1.0, 1.0))


def test_a_half_beat_of_20_frames_gives_the_paper_five_distinct_ones() -> None:
    assert frame_indices(20, PAPER).tolist() == [0, 5, 10, 15] + 12 * [19]


def test_of_20_frames_under_the_paper_policy_5_weigh_and_2_of_8_tubelets_move() -> None:
    indices = frame_indices(20, PAPER)
    assert (indices == 19).sum() == 12
    assert frame_weights(indices).tolist() == [1, 1, 1, 1, 1] + 11 * [0]
    assert moving_tubelets(20, PAPER, 2) == 2


def test_a_frame_weighs_once_wherever_it_comes_again() -> None:
    assert frame_weights(np.array([4, 4, 2, 4, 2, 7])).tolist() == [1, 0, 1, 0, 0, 1]
    assert frame_weights(np.arange(16)).tolist() == 16 * [1]


@pytest.mark.parametrize(
    ("length", "spec", "moving"),
    [
        (20, replace(PAPER, policy="uniform"), 8),
        (1, PAPER, 0),
        (65, PAPER, 8),
        # Every frame two to four times, and always in a tubelet with itself; with 6, two tubelets straddle a change.
        (5, replace(PAPER, policy="uniform"), 0),
        (6, replace(PAPER, policy="uniform"), 2),
    ],
)
def test_tubelets_that_move_are_those_of_two_frames(length: int, spec: ClipSpec, moving: int) -> None:
    assert moving_tubelets(length, spec, 2) == moving
    assert moving_tubelets(length, spec, 1) == 0


def test_a_clip_of_no_whole_number_of_tubelets_is_refused() -> None:
    with pytest.raises(InputError, match="a multiple of 3, got 16"):
        moving_tubelets(20, PAPER, 3)


def test_repeats_and_frames_that_nobody_labelled_are_not_trusted(tmp_path, micro: SegmentRecipe) -> None:
    interpolated, traced, bare = list(sequences())[:3]
    labels = np.zeros_like(traced.labels)
    labels[[1, 4]] = traced.labels[[1, 4]]
    store = prepare(
        [
            interpolated,
            replace(traced, labels=labels, annotated=(4, 1)),
            replace(bare, labels=None, annotated=()),
        ],
        tmp_path / "store",
        16,
    )
    assert trusted_frames(store, store.entries, replace(micro.clip, frames=6)).tolist() == [
        [1, 1, 1, 1, 1, 1],
        [0, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    repeated = replace(micro.clip, frames=8, step_frames=2, policy="paper")
    assert frame_indices(6, repeated).tolist() == [0, 3, 5, 5, 5, 5, 5, 5]
    assert trusted_frames(store, store.entries[:1], repeated).tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]


def test_an_annotated_frame_without_a_structure_is_trusted(tmp_path, micro: SegmentRecipe) -> None:
    empty = replace(next(iter(sequences())), labels=np.zeros((6, 16, 16), np.uint8), annotated=(5,))
    store = prepare([empty], tmp_path / "store", 16)
    assert trusted_frames(store, store.entries, replace(micro.clip, frames=6)).tolist() == [[0, 0, 0, 0, 0, 1]]


def test_a_long_sequence_gives_16_frames_over_64() -> None:
    indices = frame_indices(200, PAPER, start=30)
    assert (indices[0], indices[-1], len(set(indices.tolist()))) == (30, 93, 16)
    assert set(np.diff(indices)) <= {4, 5}


@pytest.mark.parametrize("length", [1, 3, 4, 15, 63, 64, 65, 66, 500])
def test_the_paper_policy_stays_inside_any_sequence(length: int) -> None:
    for start in (0, latest_start(length, PAPER)):
        indices = frame_indices(length, PAPER, start)
        assert len(indices) == 16
        assert 0 <= indices.min() <= indices.max() < length


def test_uniform_takes_first_and_last_and_even_steps_between() -> None:
    assert frame_indices(21, ClipSpec(frames=6, policy="uniform")).tolist() == [0, 4, 8, 12, 16, 20]


def test_dense_keeps_its_step_where_the_sequence_is_long_enough() -> None:
    spec = ClipSpec(frames=6, step_frames=3, policy="dense")
    assert frame_indices(18, spec, start=2).tolist() == [2, 5, 8, 11, 14, 17]
    assert frame_indices(12, spec).tolist() == [0, 2, 4, 6, 8, 10]
    assert latest_start(18, spec) == 2


def test_sequences_that_are_too_short_and_starts_that_are_too_late_are_refused() -> None:
    spec = ClipSpec(frames=6, step_frames=1, policy="dense")
    with pytest.raises(InputError, match="at least 6 frames for 'dense', got 5"):
        frame_indices(5, spec)
    with pytest.raises(InputError, match="expected 0 to 2 in a sequence of 8 frames, got 3"):
        frame_indices(8, spec, start=3)
    with pytest.raises(InputError, match="at least 1 frame"):
        frame_indices(0, PAPER)


def test_whole_clips_are_the_stores_pixels(squares: Store, micro: SegmentRecipe) -> None:
    entries = squares.select("test")
    clip = whole_clips(squares, entries, micro.clip)
    labels = whole_labels(squares, entries, micro.clip)
    for k, entry in enumerate(entries):
        chosen = entry.first + frame_indices(entry.length, micro.clip)
        grey = clip[k, 0] * 0.20 + 0.17
        assert np.array_equal((grey * 255).round().numpy(), squares.frames[chosen])
        assert np.array_equal(labels[k].numpy(), squares.labels[chosen])


def test_an_uncropped_training_clip_is_a_window_of_the_sequence(
    squares: Store, micro: SegmentRecipe, generator
) -> None:
    entries = squares.select("train")[:4]
    clip = training_clips(resident(squares, CPU), entries, micro.start.clip, WHOLE, generator)
    for k, entry in enumerate(entries):
        windows = [
            normalise(torch.tensor(squares.frames[entry.first + start : entry.first + start + 4][None]).float(), 1)[0]
            for start in range(3)
        ]
        assert any(torch.allclose(clip[k], window, atol=1e-5) for window in windows)


def test_a_crop_has_the_asked_area_and_aspect(generator: torch.Generator) -> None:
    for _ in range(200):
        rows, columns = crop_box(100, (0.5, 1.0), (0.9, 1.1), generator=generator)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        assert 0 <= rows.start < rows.stop <= 100
        assert 0 <= columns.start < columns.stop <= 100
        assert 0.48 <= height * width / 1e4 <= 1.0
        assert 0.88 <= height / width <= 1.13


def test_three_channels_repeat_the_grey_level_with_imagenets_statistics() -> None:
    white = normalise(torch.full((1, 1, 1, 1), 255.0), 3)
    assert white.flatten().tolist() == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])


def test_a_store_of_another_size_is_refused(squares: Store, micro: SegmentRecipe) -> None:
    with pytest.raises(InputError, match="expected a store of 32 px, got 16"):
        whole_clips(squares, squares.entries, replace(micro.clip, size_px=32))


def test_half_of_the_clips_are_mirrored_if_asked_for(squares: Store, micro: SegmentRecipe) -> None:
    entries = squares.select("train")[:1] * 40
    spec = replace(micro.start.clip, policy="uniform")
    frames, plain = resident(squares, CPU), whole_clips(squares, entries, spec)
    clip = training_clips(frames, entries, spec, WHOLE._replace(flips=True), torch.Generator().manual_seed(0))
    mirrored = [torch.allclose(one, other.flip(-1), atol=1e-5) for one, other in zip(clip, plain, strict=True)]
    same = [torch.allclose(one, other, atol=1e-5) for one, other in zip(clip, plain, strict=True)]
    assert 10 < sum(mirrored) < 30
    assert sum(mirrored) + sum(same) == 40


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_clips_are_cut_where_the_frames_lie(squares: Store, micro: SegmentRecipe) -> None:
    vary, entries = Augmentation((0.5, 1.0), (0.9, 1.1)), squares.select("train")
    here, there = (
        training_clips(resident(squares, device), entries, micro.start.clip, vary, torch.Generator().manual_seed(0))
        for device in (CPU, torch.device("cuda"))
    )
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), here, atol=1e-3, rtol=0)
