from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import sequences

from usjepa.data.prepare import prepare
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.evaluation.metrics import summary
from usjepa.recipe import SegmentRecipe
from usjepa.training.experiment import judged_encoder, run
from usjepa.training.runs import open_run
from usjepa.training.segment import counts_table, features_of, new_segmenter, segment_entries, train_segmenter

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
    from usjepa.data.clips import whole_labels

    entries = squares.select("test")
    labels = whole_labels(squares, entries, micro.clip)
    assert summary(counts_table(labels, labels, entries, micro.clip))["dsc"].dropna().tolist() == [1.0, 1.0]


def test_a_store_without_labels_is_refused(judged: SegmentRecipe, tmp_path: Path) -> None:
    bare = [replace(one, labels=None, annotated=()) for one in sequences()]
    store = prepare(bare, tmp_path / "bare", 16)
    with pytest.raises(InputError, match="at most the 0 labelled clips, got 3"):
        run(judged, store, tmp_path / "runs", CPU)
