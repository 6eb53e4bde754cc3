from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import sequences

from usjepa.data.clips import whole_labels
from usjepa.data.prepare import prepare
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.evaluation.metrics import summary
from usjepa.recipe import SegmentRecipe
from usjepa.training.experiment import judged_encoder, run
from usjepa.training.runs import open_run
from usjepa.training.segment import (
    Truth,
    _fit,
    counts_table,
    features_of,
    new_segmenter,
    segment_entries,
    train_segmenter,
)

CPU = torch.device("cpu")


@pytest.fixture
def judged(micro: SegmentRecipe) -> SegmentRecipe:
    return replace(micro, is_random=True, steps=150, rate_peak=3e-3)


def test_a_frozen_random_encoder_segments_a_square(judged: SegmentRecipe, squares: Store, root: Path) -> None:
    finished = run(judged, squares, root, CPU)
    table = finished.table()
    assert set(table["video"]) == {"patient0008_4CH", "patient0009_4CH"}
    assert len(table) == 2 * 4 * 4
    assert table.groupby("video")["annotated"].sum().tolist() == [8, 8]
    assert summary(table).loc["LV endo", "dsc"] > 0.6


def test_the_encoder_is_left_as_it_was(micro: SegmentRecipe, squares: Store, root: Path) -> None:
    encoder = judged_encoder(micro, squares, root, CPU)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    opened = open_run(micro, root, fingerprint=squares.fingerprint, device=CPU)
    train_segmenter(micro, encoder, squares, opened, shows_progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert not encoder.training


def test_a_finished_run_gives_the_same_segmenter_without_training(micro, squares: Store, root: Path) -> None:
    encoder = judged_encoder(micro, squares, root, CPU)
    opened = open_run(micro, root, fingerprint=squares.fingerprint, device=CPU)
    first = train_segmenter(micro, encoder, squares, opened, shows_progress=False)
    second = train_segmenter(micro, encoder, squares, opened, shows_progress=False)
    entries = squares.select("test")
    maps = [segment_entries(one, encoder, squares, entries, micro.clip) for one in (first, second)]
    assert torch.equal(*maps)


def test_an_interrupted_probe_begins_again_and_leaves_one_log(micro, squares: Store, root: Path) -> None:
    encoder = judged_encoder(micro, squares, root, CPU)
    opened = open_run(micro, root, fingerprint=squares.fingerprint, device=CPU)
    opened.append({"step": 0, "cross_entropy": 9.0})
    train_segmenter(micro, encoder, squares, opened, shows_progress=False)
    assert opened.log()["step"].tolist() == [0, 2, 4, 6, 8, 9]
    assert opened.log()["cross_entropy"].max() < 9


def test_the_probe_starts_alike_for_every_encoder(micro: SegmentRecipe) -> None:
    one, other = new_segmenter(micro), new_segmenter(replace(micro, is_random=True))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_features_do_not_depend_on_the_batch(micro: SegmentRecipe, squares: Store, root: Path) -> None:
    encoder = judged_encoder(replace(micro, is_random=True), squares, root, CPU)
    entries = squares.select("train")
    together = features_of(encoder, squares, entries, micro.clip)
    alone = torch.cat([features_of(encoder, squares, [entry], micro.clip) for entry in entries])
    torch.testing.assert_close(together, alone)


def test_the_random_row_is_the_pretrainings_own_start(micro: SegmentRecipe, squares: Store, root: Path) -> None:
    random = judged_encoder(replace(micro, is_random=True), squares, root, CPU)
    trained = judged_encoder(micro, squares, root, CPU)
    names = [name for name, _ in random.named_parameters()]
    assert not any(torch.equal(random.state_dict()[name], trained.state_dict()[name]) for name in names)


def test_a_perfect_prediction_scores_one(micro: SegmentRecipe, squares: Store) -> None:
    entries = squares.select("test")
    table = counts_table(whole_labels(squares, entries, micro.clip), squares, entries, micro.clip)
    assert summary(table)["dsc"].dropna().tolist() == [1.0, 1.0]


def test_repeated_frames_are_scored_once(micro: SegmentRecipe, squares: Store) -> None:
    paper = replace(micro.clip, policy="paper", step_frames=2)
    entries = squares.select("test")
    table = counts_table(whole_labels(squares, entries, paper), squares, entries, paper)
    assert table.groupby("video")["frame"].unique().map(list).tolist() == [[0, 3, 5], [0, 3, 5]]
    assert len(table) == 2 * 3 * 4


def test_labels_of_untrusted_frames_train_nothing(micro: SegmentRecipe, squares: Store, root: Path, generator) -> None:
    labels = torch.randint(0, 4, (6, 4, 16, 16), generator=generator).to(torch.uint8)
    trust = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(6, -1)
    others = labels.clone()
    others[:, 1:3] = 0
    features = torch.randn(6, 32, 24, generator=generator)
    trained = []
    for k, maps in enumerate((labels, others, 0 * labels)):
        trained.append(new_segmenter(micro))
        opened = open_run(replace(micro, seed=k), root, fingerprint=squares.fingerprint, device=CPU)
        _fit(trained[k], micro, features, Truth(maps, trust), opened, False)
    first, second, third = (torch.nn.utils.parameters_to_vector(one.parameters()) for one in trained)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_frames_without_a_label_are_not_scored(micro: SegmentRecipe, tmp_path: Path, root: Path) -> None:
    """As in EchoNet-Dynamic, where two frames of a video are traced."""
    traced = []
    for one in sequences():
        labels = np.zeros_like(one.labels)
        labels[[0, 5]] = one.labels[[0, 5]]
        traced.append(replace(one, labels=labels))
    store = prepare(traced, tmp_path / "traced", 16)
    table = run(replace(micro, is_random=True), store, root, CPU).table()
    assert table.groupby("video")["frame"].unique().map(list).tolist() == [[0, 5], [0, 5]]


def test_clips_that_miss_every_labelled_frame_are_refused(micro: SegmentRecipe, tmp_path: Path, root: Path) -> None:
    middle = [replace(one, labels=np.where(np.arange(6)[:, None, None] == 1, one.labels, 0)) for one in sequences()]
    store = prepare([replace(one, annotated=(1,)) for one in middle], tmp_path / "middle", 16)
    with pytest.raises(InputError, match="expected frames with labels, got none by ClipSpec"):
        run(replace(micro, is_random=True), store, root, CPU)


def test_a_store_without_labels_is_refused(judged: SegmentRecipe, tmp_path: Path) -> None:
    bare = [replace(one, labels=None, annotated=()) for one in sequences()]
    store = prepare(bare, tmp_path / "bare", 16)
    with pytest.raises(InputError, match="at most the 0 labelled clips, got 3"):
        run(judged, store, tmp_path / "runs", CPU)
