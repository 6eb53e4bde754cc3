from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import sequences

from usjepa.data.prepare import prepare
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.model.jepa import JEPA
from usjepa.recipe import PretrainRecipe, SegmentRecipe
from usjepa.training import pretrain as loop
from usjepa.training.pretrain import draw_masks, new_jepa, pretrain
from usjepa.training.runs import open_run

CPU = torch.device("cpu")


def trained(recipe: PretrainRecipe, store: Store, root: Path) -> JEPA:
    run = open_run(recipe, root, fingerprint=store.fingerprint, device=CPU)
    return pretrain(recipe, store, run, CPU, shows_progress=False)


def equal(one: JEPA, other: JEPA) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


def test_losses_fall_and_every_part_but_positions_moves(micro: SegmentRecipe, squares: Store, root: Path) -> None:
    recipe = replace(micro.start, steps=60)
    before, after = new_jepa(recipe), trained(recipe, squares, root)
    moved = {name for name, tensor in after.state_dict().items() if not torch.equal(tensor, before.state_dict()[name])}
    assert set(after.state_dict()) - moved == {f"{part}.pos_embed" for part in ("encoder", "teacher", "predictor")}
    log = open_run(recipe, root, fingerprint=squares.fingerprint, device=CPU).log()
    assert log["prediction"].iloc[-1] < log["prediction"].iloc[0]
    assert log["localisation"].iloc[-1] < log["localisation"].iloc[0]


def test_the_same_recipe_gives_the_same_bits_and_another_seed_others(micro, squares, tmp_path: Path) -> None:
    one, two = (trained(micro.start, squares, tmp_path / name) for name in "ab")
    assert equal(one, two)
    assert not equal(one, trained(replace(micro.start, seed=1), squares, tmp_path / "c"))


@pytest.mark.parametrize("stop", [1, 5, 8, 11])
def test_a_stopped_run_goes_on_to_the_same_bits_and_the_same_log(
    micro: SegmentRecipe, squares: Store, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = trained(micro.start, squares, tmp_path / "unbroken")
    step = loop._step

    def stopping(jepa: JEPA, optimiser: torch.optim.Optimizer, at: int) -> None:
        if at == stop:
            raise KeyboardInterrupt
        step(jepa, optimiser, at)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            trained(micro.start, squares, tmp_path / "stopped")
    assert equal(unbroken, trained(micro.start, squares, tmp_path / "stopped"))
    logs = [
        open_run(micro.start, tmp_path / name, fingerprint=squares.fingerprint, device=CPU)
        .log()
        .drop(columns="seconds")
        for name in ("unbroken", "stopped")
    ]
    assert logs[0].equals(logs[1])


def test_a_finished_run_is_only_read(micro, squares, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = trained(micro.start, squares, root)
    monkeypatch.setattr(loop, "_step", None)
    assert equal(finished, trained(micro.start, squares, root))


def test_a_loss_that_is_not_finite_stops_before_the_step(micro, squares, root: Path, monkeypatch) -> None:
    draw = loop.training_clips
    monkeypatch.setattr(loop, "training_clips", lambda *given: draw(*given) * torch.nan)
    stepped = []
    monkeypatch.setattr(loop, "_step", lambda *given: stepped.append(given))
    with pytest.raises(FloatingPointError, match="step 0: not finite: .*Eq. 1"):
        trained(micro.start, squares, root)
    assert not stepped


def test_masks_depend_on_seed_and_step_alone(micro: SegmentRecipe) -> None:
    plain, with_ll = (new_jepa(replace(micro.start, prediction_weight=weight)) for weight in (1.0, 0.25))
    for one, other in zip(draw_masks(plain, 3), draw_masks(with_ll, 3), strict=True):
        assert torch.equal(one.target, other.target)
    assert not torch.equal(draw_masks(plain, 3)[0].target[:, :4], draw_masks(plain, 4)[0].target[:, :4])


def test_the_start_does_not_touch_the_global_generator(micro: SegmentRecipe) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    new_jepa(micro.start)
    assert torch.equal(torch.rand(1), expected)


def test_a_batch_larger_than_the_data_is_refused(micro: SegmentRecipe, squares: Store, root: Path) -> None:
    with pytest.raises(InputError, match="batch: expected at most the 6 clips of the store, got 7"):
        trained(replace(micro.start, batch=7), squares, root)


def test_masks_can_be_kept_inside_the_sector(micro: SegmentRecipe, squares: Store, root: Path, monkeypatch) -> None:
    seen = []
    multiblock = loop.multiblock

    def watched(*given):
        seen.append(given[-1])
        return multiblock(*given)

    monkeypatch.setattr(loop, "multiblock", watched)
    trained(replace(micro.start, sector_only=True, steps=3, warmup_steps=1), squares, root)
    assert len(seen) == 6
    assert all(within.shape == (3, 32) for within in seen)


def test_unlabelled_films_are_trained_on_and_test_films_never(micro, tmp_path: Path, monkeypatch) -> None:
    splits = ("train", "unlabelled", "validation", "test")
    films = [replace(one, split=splits[k % 4]) for k, one in enumerate(sequences())]
    store = prepare(films, tmp_path / "mixed", 16)
    seen = set()
    cut = loop.training_clips

    def watched(frames, entries, *given):
        seen.update(entry.split for entry in entries)
        return cut(frames, entries, *given)

    monkeypatch.setattr(loop, "training_clips", watched)
    trained(micro.start, store, tmp_path / "runs")
    assert seen == {"train", "unlabelled"}
