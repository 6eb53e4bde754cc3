import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from usjepa.data.clips import resident
from usjepa.model.teacher import ema_momentum
from usjepa.recipe import SegmentRecipe
from usjepa.training.learners import batch_of
from usjepa.training.pretrain import pretrain
from usjepa.training.schedules import set_rates_
from usjepa.training.workspace import Workspace
from usjepa.weights.answers_vjepa import read_case
from usjepa.weights.files import read_weights
from usjepa.weights.known import TRAINED_LOSSES, Known

HERE = Path(__file__).parent
BENCHMARKS = HERE.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _beside_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def results_of(name: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What a benchmark writes at the smallest size, run as from the command line."""
    arguments = [name, "--size", "micro", "--repeats", "1", "--device", "cpu", "--json", str(target)]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    return json.loads(target.read_text())


def test_the_baseline_step_gives_the_losses_of_the_published_code() -> None:
    """Five training steps of facebookresearch/jepa on the same weights, clips, masks and rates."""
    published = runpy.run_path(str(BENCHMARKS / "published.py"))
    expected = HERE / "fixtures" / "vjepa_tiny_expected.pt"
    known = Known(expected, torch.load(expected, weights_only=True))
    case = read_case(known, read_weights(HERE / "fixtures" / "vjepa_tiny_checkpoint.pt"))
    step = published["PublishedStep"](case, clip_norm=None)
    for k, (official, rate, decay) in enumerate(known.tensor("train/loss_lr_wd_per_step").tolist()):
        set_rates_(step.optimiser, rate=rate, weight_decay=decay)
        loss = step(case.clip, case.masks, momentum=ema_momentum(k, 30, 0.998, 1.0))
        assert loss == pytest.approx(official, abs=TRAINED_LOSSES.absolute)
        assert len(published["statistics"](case, step.optimiser)) > 100


def test_our_step_written_out_by_part_is_the_packages_own() -> None:
    ours = runpy.run_path(str(BENCHMARKS / "ours.py"))
    recipe = runpy.run_path(str(BENCHMARKS / "step.py"))["SIZES"]["micro"]
    one, other = (ours["new_step"](recipe, torch.device("cpu")) for _ in range(2))
    from timing import Laps

    loss = one.jepa(one.clip, one.draws).combined
    assert one.by_part(Laps(one.device)) == loss
    other()
    for left, right in zip(one.jepa.parameters(), other.jepa.parameters(), strict=True):
        assert torch.equal(left, right)


def test_our_step_is_the_one_that_the_training_loop_takes(space: Workspace, micro: SegmentRecipe) -> None:
    ours = runpy.run_path(str(BENCHMARKS / "ours.py"))
    recipe = replace(micro.start, steps=1, warmup_steps=0)
    step = ours["new_step"](recipe, space.device)
    films = [entry for entry in space.store.entries if entry.split in ("train", "unlabelled")]
    batch = batch_of(step.jepa, resident(space.store, space.device), films, 0, slice(0, recipe.batch))
    step.clip, step.draws = batch
    step()
    trained = pretrain(recipe, space)
    for left, right in zip(step.jepa.parameters(), trained.parameters(), strict=True):
        assert torch.equal(left, right)


def test_the_step_benchmark_writes_headline_parts_and_levers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = results_of("step", tmp_path / "step.json", monkeypatch)
    assert results["speedup"] > 0
    assert 0.9 < results["flop_ratio"] < 1
    parts = {row["part"]: row for row in results["parts"]}
    assert set(parts) >= {"clips", "teacher", "student", "predictor", "backward", "AdamW", "EMA", "all"}
    assert parts["all"]["share"] == 1
    assert parts["teacher"]["gflop"] > 0 < parts["AdamW"]["mb"]
    assert len(results["levers"]) == 7
    for lever in results["levers"]:
        assert min(lever["without_ms"], lever["with_ms"], lever["ratio"], lever["predicted"]) > 0


def test_the_downstream_benchmark_finds_equal_weights_and_both_ratios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = results_of("downstream", tmp_path / "downstream.json", monkeypatch)
    assert results["largest_difference_of_weights"] == 0
    for ending in ("", "_third", "_both"):
        assert results[f"speedup{ending}"] > 0
        assert results[f"flop_ratio{ending}"] > 1
