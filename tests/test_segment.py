import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import sequences

from usjepa.data.clips import whole_clips, whole_labels
from usjepa.data.prepare import prepare
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.evaluation.metrics import summary
from usjepa.model.encoder import Encoder
from usjepa.recipe import SegmentRecipe
from usjepa.training import segment as loop
from usjepa.training.device import clip_
from usjepa.training.experiment import run
from usjepa.training.features import features_of, kept_features
from usjepa.training.pretrain import pretrain
from usjepa.training.runs import open_run
from usjepa.training.scoring import Judged, Truth, counts_table, segment_entries
from usjepa.training.segment import (
    judged_encoder,
    new_segmenter,
    segmentation_loss,
    train_segmenter,
    training_entries,
)
from usjepa.training.workspace import Workspace


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


def test_a_frozen_random_encoder_segments_a_square(random: SegmentRecipe, space: Workspace) -> None:
    table = run(replace(random, steps=150, rate_peak=3e-3), space).table()
    assert table.groupby("split")["video"].nunique().to_dict() == {"validation": 2, "test": 2}
    test = table[table["split"] == "test"]
    assert set(test["video"]) == {"patient0008_4CH", "patient0009_4CH"}
    assert len(test) == 2 * 4 * 5
    assert test.groupby("video")["annotated"].sum().tolist() == [10, 10]
    assert summary(test).loc["LV endo", "dsc"] > 0.6


def test_a_frozen_encoder_is_left_as_it_was(micro: SegmentRecipe, space: Workspace) -> None:
    before = judged_encoder(micro, space)
    judged = train_segmenter(micro, space)
    assert equal(judged.encoder, before)
    assert not any(weight.requires_grad for weight in judged.encoder.parameters())


def test_a_supervised_encoder_is_trained_from_its_random_start(random: SegmentRecipe, space: Workspace) -> None:
    supervised = replace(random, trains_encoder=True, steps=80, rate_peak=3e-3)
    before, judged = judged_encoder(supervised, space), train_segmenter(supervised, space)
    assert not equal(judged.encoder, before)
    assert equal(train_segmenter(supervised, space).encoder, judged.encoder)
    table = open_run(supervised, space).table()
    assert summary(table[table["split"] == "test"]).loc["LV endo", "dsc"] > 0.5


def test_a_finished_run_gives_the_same_segmenter_without_training(micro, space: Workspace, monkeypatch) -> None:
    first = train_segmenter(micro, space)
    monkeypatch.setattr(loop, "segmentation_loss", None)
    second = train_segmenter(micro, space)
    maps = [segment_entries(one, space.store, space.store.select("test"), micro.clip) for one in (first, second)]
    assert torch.equal(*maps)


@pytest.mark.parametrize("stop", [1, 4, 9])
@pytest.mark.parametrize("is_supervised", [False, True])
def test_a_stopped_probe_goes_on_to_the_same_bits_and_the_same_log(
    random: SegmentRecipe, space: Workspace, tmp_path: Path, is_supervised: bool, stop: int, monkeypatch
) -> None:
    recipe, other = replace(random, trains_encoder=is_supervised), replace(space, root=tmp_path / "stopped")
    unbroken = train_segmenter(recipe, space)
    loss = loop.segmentation_loss

    def stopping(*given):
        if given[-1] == stop:
            raise KeyboardInterrupt
        return loss(*given)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "segmentation_loss", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_segmenter(recipe, other)
    resumed = train_segmenter(recipe, other)
    assert equal(resumed.segmenter, unbroken.segmenter)
    assert equal(resumed.encoder, unbroken.encoder)
    logs, tables = ([of(open_run(recipe, where)) for where in (space, other)] for of in (log_of, table_of))
    assert logs[0].equals(logs[1])
    assert tables[0].equals(tables[1])


def log_of(opened):
    return opened.log()


def table_of(opened):
    return opened.table()


def test_kept_features_change_no_bit(micro: SegmentRecipe, space: Workspace, tmp_path: Path) -> None:
    kept = train_segmenter(micro, space)
    live = train_segmenter(micro, replace(space, root=tmp_path / "live", caches=False))
    assert equal(kept.segmenter, live.segmenter)
    assert len(list((space.root / "features").iterdir())) == 1
    assert not (tmp_path / "live" / "features").exists()


def test_features_are_kept_once_for_all_shares_and_seeds_and_never_for_another_encoder(
    micro: SegmentRecipe, random: SegmentRecipe, space: Workspace, monkeypatch
) -> None:
    train_segmenter(micro, space)
    with monkeypatch.context() as patched:
        patched.setattr("usjepa.training.features.save_file", None)
        train_segmenter(replace(micro, fraction=0.5, seed=1), space)
    train_segmenter(random, space)
    train_segmenter(replace(micro, clip=replace(micro.clip, policy="dense")), space)
    assert len(list((space.root / "features").iterdir())) == 3


def test_shares_of_the_labels_are_patients_nested_and_the_same_for_every_seed(micro, space: Workspace) -> None:
    patients = {
        (share, seed): {one.patient for one in training_entries(replace(micro, fraction=share, seed=seed), space.store)}
        for share in (1.0, 0.5)
        for seed in (0, 1)
    }
    assert len(patients[1.0, 0]) == 6
    assert len(patients[0.5, 0]) == 3
    assert patients[0.5, 0] == patients[0.5, 1] < patients[1.0, 0]
    others = [training_entries(replace(micro, fraction=0.5, draw=draw), space.store) for draw in range(4)]
    assert len({tuple(entry.patient for entry in one) for one in others}) > 1


def test_the_probe_starts_alike_for_every_encoder(micro: SegmentRecipe, random: SegmentRecipe) -> None:
    assert equal(new_segmenter(micro), new_segmenter(random))


def test_a_tokens_logits_do_not_depend_on_the_others_decoded(micro: SegmentRecipe, generator) -> None:
    features = torch.randn(2, 32, 24, generator=generator)
    truth = Truth(torch.randint(0, 4, (2, 4, 16, 16), generator=generator).to(torch.uint8), torch.ones(2, 4))
    segmenter, third = new_segmenter(micro), replace(micro, decoded_share=0.25)
    parts = torch.stack([segmentation_loss(segmenter, features, truth, third, step) for step in range(200)])
    whole = segmentation_loss(segmenter, features, truth, micro, 0)
    assert parts.std() > 0
    assert abs(parts.mean() - whole) < 3 * parts.std() / 200**0.5


def test_features_do_not_depend_on_the_batch(random: SegmentRecipe, space: Workspace) -> None:
    encoder, entries = judged_encoder(random, space), space.store.select("train")
    one_by_one = features_of(encoder, space.store, entries, random.clip)
    together = encoder(whole_clips(space.store, entries, random.clip))
    torch.testing.assert_close(one_by_one, together)


def test_teacher_or_student_is_judged_as_the_recipe_says(micro: SegmentRecipe, space: Workspace) -> None:
    learner = pretrain(micro.start, space)
    assert equal(judged_encoder(micro, space), learner.teacher)
    assert equal(judged_encoder(replace(micro, judges="student"), space), learner.encoder)


def test_the_random_row_is_the_pretrainings_own_start(micro, random: SegmentRecipe, space: Workspace) -> None:
    untrained, trained = judged_encoder(random, space), judged_encoder(micro, space)
    names = [name for name, _ in untrained.named_parameters()]
    assert not any(torch.equal(untrained.state_dict()[name], trained.state_dict()[name]) for name in names)


def test_a_perfect_prediction_scores_one(micro: SegmentRecipe, squares: Store) -> None:
    entries = squares.select("test")
    table = counts_table(whole_labels(squares, entries, micro.clip), squares, entries, micro.clip)
    assert summary(table)["dsc"].dropna().tolist() == [1.0, 1.0]


def test_repeated_frames_are_scored_once(micro: SegmentRecipe, squares: Store) -> None:
    paper = replace(micro.clip, policy="paper", step_frames=2)
    entries = squares.select("test")
    table = counts_table(whole_labels(squares, entries, paper), squares, entries, paper)
    assert table.groupby("video")["frame"].unique().map(list).tolist() == [[0, 3, 5], [0, 3, 5]]
    assert len(table) == 2 * 3 * 5


def test_labels_of_untrusted_frames_train_nothing(micro: SegmentRecipe, generator) -> None:
    labels = torch.randint(0, 4, (2, 4, 16, 16), generator=generator).to(torch.uint8)
    trust = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(2, -1)
    others = labels.clone()
    others[:, 1:3] = 0
    features, segmenter = torch.randn(2, 32, 24, generator=generator), new_segmenter(micro)
    first, second, third = (
        segmentation_loss(segmenter, features, Truth(maps, trust), micro, 0) for maps in (labels, others, 0 * labels)
    )
    assert first == second
    assert first != third


def test_frames_without_a_label_are_not_scored(random: SegmentRecipe, space: Workspace, tmp_path: Path) -> None:
    """As in EchoNet-Dynamic, where two frames of a video are traced."""
    traced = []
    for one in sequences():
        labels = np.zeros_like(one.labels)
        labels[[0, 5]] = one.labels[[0, 5]]
        traced.append(replace(one, labels=labels))
    table = run(random, replace(space, store=prepare(traced, tmp_path / "traced", 16))).table()
    assert table.groupby("video")["frame"].unique().map(list).tolist() == 4 * [[0, 5]]


def test_clips_that_miss_every_labelled_frame_are_refused(random, space: Workspace, tmp_path: Path) -> None:
    middle = [replace(one, labels=np.where(np.arange(6)[:, None, None] == 1, one.labels, 0)) for one in sequences()]
    store = prepare([replace(one, annotated=(1,)) for one in middle], tmp_path / "middle", 16)
    with pytest.raises(InputError, match="expected frames with labels, got none by ClipSpec"):
        run(random, replace(space, store=store))


def test_a_store_without_labels_is_refused(random: SegmentRecipe, space: Workspace, tmp_path: Path) -> None:
    bare = [replace(one, labels=None, annotated=()) for one in sequences()]
    with pytest.raises(InputError, match="at most the 0 labelled clips, got 3"):
        run(random, replace(space, store=prepare(bare, tmp_path / "bare", 16)))


def test_a_probe_that_is_not_finite_stops(random: SegmentRecipe, space: Workspace, monkeypatch) -> None:
    loss = loop.segmentation_loss
    monkeypatch.setattr(loop, "segmentation_loss", lambda *given: loss(*given) * (torch.nan if given[-1] == 5 else 1.0))
    with pytest.raises(FloatingPointError, match="step 5: not finite: cross-entropy nan"):
        train_segmenter(random, space)


def test_what_a_run_leaves_can_be_looked_at_and_recounted(random: SegmentRecipe, space: Workspace) -> None:
    opened = run(random, space)
    table, maps = opened.table(), opened.maps()
    entries = [entry for split in ("validation", "test") for entry in space.store.select(split)]
    assert list(maps) == [entry.name for entry in entries]
    again = counts_table(torch.from_numpy(np.stack(list(maps.values()))), space.store, entries, random.clip)
    assert table[list(again)].equals(again)
    drawn = table[(table["structure"] == "LV endo") & (table["true"] > 0) & (table["predicted"] > 0)]
    assert drawn[["hd95_mm", "mean_mm", "roughness"]].notna().all(axis=None)
    assert set(opened.facts()) == {"seconds", "ridge_validation", "ridge_test"}
    assert opened.facts()["ridge_test"] < 1


def test_a_judged_pair_is_what_segments(random: SegmentRecipe, space: Workspace) -> None:
    judged = train_segmenter(random, space)
    assert isinstance(judged, Judged)
    maps = segment_entries(judged, space.store, space.store.select("test"), random.clip)
    assert maps.shape == (2, 4, 16, 16)


def test_encoders_that_differ_in_heads_alone_have_features_of_their_own(micro: SegmentRecipe, space: Workspace) -> None:
    entries = space.store.select("test")
    torch.manual_seed(0)
    one = Encoder(micro.start.model, micro.clip)
    other = Encoder(replace(micro.start.model, heads=2 * micro.start.model.heads), micro.clip)
    other.load_state_dict(one.state_dict())
    kept = [kept_features(encoder, entries, micro.clip, space) for encoder in (one, other)]
    assert not torch.equal(*kept)


def test_a_trained_encoders_gradient_is_watched(micro: SegmentRecipe, space: Workspace, monkeypatch) -> None:
    supervised = replace(micro, trains_encoder=True)

    def spoiled(module, most):
        norm = clip_(module, most)
        return norm * math.nan if isinstance(module, Encoder) else norm

    monkeypatch.setattr(loop, "clip_", spoiled)
    with pytest.raises(FloatingPointError, match="encoder's gradient nan"):
        train_segmenter(supervised, space)
