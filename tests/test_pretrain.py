from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import sequences

from usjepa.data.prepare import prepare
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.recipe import PretrainRecipe, SegmentRecipe, Untrained, VideoMAERecipe
from usjepa.spec import DecoderSpec
from usjepa.training import learners
from usjepa.training import pretrain as loop
from usjepa.training.learners import Learner, draw_step, new_encoder, new_learner
from usjepa.training.pretrain import pretrain
from usjepa.training.runs import open_run
from usjepa.training.workspace import Workspace


@pytest.fixture(scope="session")
def recipe(micro: SegmentRecipe) -> PretrainRecipe:
    assert isinstance(micro.start, PretrainRecipe)
    return micro.start


@pytest.fixture(scope="session")
def pixels(recipe: PretrainRecipe) -> VideoMAERecipe:
    """VideoMAE of the same sizes, with a mask that suits 4 x 4 places."""
    return VideoMAERecipe(
        clip=recipe.clip,
        model=recipe.model,
        decoder=DecoderSpec(width=16, depth=1, heads=2),
        mask_ratio=0.75,
        batch=3,
        steps=12,
        warmup_steps=2,
        rate_peak=1e-3,
        log_every=2,
        save_every=4,
    )


@pytest.fixture(params=["vjepa", "videomae"])
def either(request: pytest.FixtureRequest, recipe: PretrainRecipe, pixels: VideoMAERecipe) -> object:
    return recipe if request.param == "vjepa" else pixels


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


def test_losses_fall_and_every_part_but_positions_moves(recipe, space: Workspace) -> None:
    long = replace(recipe, steps=60, warmup_steps=5, rate_peak=3e-3, log_every=1)
    before, after = new_learner(long), pretrain(long, space)
    fixed = {name for name, _ in after.named_buffers()}
    for name, tensor in after.state_dict().items():
        assert torch.equal(tensor, before.state_dict()[name]) == (name in fixed), name
    log = open_run(long, space).log()
    assert log["localisation"].iloc[-5:].mean() < 0.2 * log["chance"].mean()
    assert log["prediction"].iloc[-5:].mean() < log["prediction"].iloc[0]


def test_videomae_learns_the_pixels_it_can_not_see(pixels, space: Workspace) -> None:
    long = replace(pixels, steps=60, warmup_steps=5, rate_peak=3e-3, log_every=1)
    before, after = new_learner(long), pretrain(long, space)
    assert all(not torch.equal(one, before.get_parameter(name)) for name, one in after.named_parameters())
    log = open_run(long, space).log()
    assert log["pixels"].iloc[-5:].mean() < 0.95 * log["pixels"].iloc[0]
    assert (log["pixels_at_decoder"] > 0).all()


def test_frozen_blocks_stay_as_they_were(recipe, space: Workspace) -> None:
    frozen = replace(recipe, frozen_blocks=2)
    before, after = new_learner(frozen), pretrain(frozen, space)
    for name, tensor in after.encoder.named_parameters():
        stays = name.startswith(("patch_embed", "blocks.0", "blocks.1"))
        assert torch.equal(tensor, before.encoder.get_parameter(name)) == stays, name


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(either, space: Workspace, tmp_path: Path) -> None:
    one, two = (pretrain(either, replace(space, root=tmp_path / name)) for name in "ab")
    assert equal(one, two)
    assert not equal(one, pretrain(replace(either, seed=1), space))


@pytest.mark.parametrize("stop", [1, 5, 8, 11])
def test_a_stopped_run_goes_on_to_the_same_bits_and_the_same_log(
    either, space: Workspace, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(space, root=tmp_path / "stopped")
    unbroken = pretrain(either, space)
    follow_ = loop.follow_

    def stopping(learner: Learner, at: int) -> None:
        if at == stop:
            raise KeyboardInterrupt
        follow_(learner, at)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "follow_", stopping)
        with pytest.raises(KeyboardInterrupt):
            pretrain(either, other)
    assert equal(unbroken, pretrain(either, other))
    logs = [open_run(either, where).log() for where in (space, other)]
    kept = [name for name in logs[0] if not name.startswith(("ms_", "seconds"))]
    assert logs[0][kept].equals(logs[1][kept])


def test_logging_more_often_changes_no_weight(either, space: Workspace) -> None:
    seldom = replace(either, log_every=100)
    assert equal(pretrain(either, space), pretrain(seldom, space))


def test_a_finished_run_is_only_read(either, space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = pretrain(either, space)
    monkeypatch.setattr(loop, "batch_of", None)
    assert equal(finished, pretrain(either, space))


def test_a_loss_that_is_not_finite_stops_before_the_step(either, space: Workspace, monkeypatch) -> None:
    draw = learners.training_clips
    followed = []
    monkeypatch.setattr(loop, "follow_", lambda learner, step: followed.append(step))
    monkeypatch.setattr(
        learners, "training_clips", lambda *given: draw(*given) * (torch.nan if len(followed) == 6 else 1.0)
    )
    with pytest.raises(FloatingPointError, match="step 6: not finite: loss nan, encoder nan"):
        pretrain(either, space)
    state = open_run(either, space).resume()
    assert state is not None
    assert state["step"] == 4
    assert all(torch.isfinite(tensor).all() for tensor in state["model"].values())


def test_what_it_starts_from_is_run_first_and_taken_over(either, space: Workspace, monkeypatch) -> None:
    start = pretrain(either, space)
    second = replace(either, start=either, rate_peak=1e-4)
    begun = new_learner(second)
    loop.begin_(begun, space)
    fresh = {name for name in start.state_dict() if name.startswith("head.")}
    for name, tensor in begun.state_dict().items():
        assert name in fresh or torch.equal(tensor, start.state_dict()[name]), name
    assert not equal(pretrain(second, space), start)


def test_an_encoder_without_a_teacher_becomes_its_own(recipe, pixels, space: Workspace) -> None:
    learner = new_learner(replace(recipe, start=pixels))
    loop.begin_(learner, space)
    for name, tensor in pretrain(pixels, space).encoder.state_dict().items():
        assert torch.equal(learner.encoder.state_dict()[name], tensor)
        assert torch.equal(learner.teacher.state_dict()[name], tensor)


def test_an_untrained_encoder_is_the_one_that_pretraining_begins_with(either) -> None:
    random = new_encoder(Untrained(clip=either.clip, model=either.model, seed=either.seed))
    assert equal(random, new_learner(either).encoder)


def test_scenes_are_rendered_where_a_recipe_asks_for_them(recipe, space: Workspace) -> None:
    small = replace(recipe.clip, frames=4, size_px=16)
    on_scenes = replace(recipe, clip=small, scenes=3, steps=2, warmup_steps=1)
    pretrain(on_scenes, space)
    assert (space.root / "scenes-3-16px" / "index.json").is_file()
    assert space.films(on_scenes).fingerprint != space.films(recipe).fingerprint


def test_masks_depend_on_seed_and_step_alone(recipe: PretrainRecipe) -> None:
    plain, with_ll = (new_learner(replace(recipe, prediction_weight=weight)) for weight in (1.0, 0.25))
    for one, other in zip(draw_step(plain, 3).masks, draw_step(with_ll, 3).masks, strict=True):
        assert torch.equal(one.target, other.target)
    third, fourth = (draw_step(plain, step).masks[0].target[:, :4] for step in (3, 4))
    assert not torch.equal(third, fourth)


def test_the_start_does_not_touch_the_global_generator(either) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    new_learner(either)
    assert torch.equal(torch.rand(1), expected)


def test_a_batch_larger_than_the_data_is_refused(either, space: Workspace) -> None:
    with pytest.raises(InputError, match="batch: expected at most the 6 clips of the store, got 7"):
        pretrain(replace(either, batch=7), space)


def test_masks_can_be_kept_inside_the_sector(recipe, space: Workspace, monkeypatch) -> None:
    seen = []
    in_sector = learners.in_sector
    monkeypatch.setattr(learners, "in_sector", lambda *given: seen.append(in_sector(*given)) or seen[-1])
    pretrain(replace(recipe, sector_only=True, steps=3, warmup_steps=1), space)
    assert [within.shape for within in seen] == 3 * [(3, 32)]


def test_unlabelled_films_are_trained_on_and_test_films_never(recipe, space: Workspace, tmp_path, monkeypatch) -> None:
    splits = ("train", "unlabelled", "validation", "test")
    films = [replace(one, split=splits[k % 4]) for k, one in enumerate(sequences())]
    store: Store = prepare(films, tmp_path / "mixed", 16)
    seen = set()
    cut = learners.training_clips

    def watched(frames, entries, *given):
        seen.update(entry.split for entry in entries)
        return cut(frames, entries, *given)

    monkeypatch.setattr(learners, "training_clips", watched)
    pretrain(recipe, replace(space, store=store))
    assert seen == {"train", "unlabelled"}
