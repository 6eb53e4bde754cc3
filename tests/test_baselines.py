from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from usjepa.baseline import LazyRecipe, UNetRecipe
from usjepa.catalogue import BASELINES, named_baseline
from usjepa.data.clips import frame_indices
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.evaluation.metrics import summary
from usjepa.evaluation.shortcuts import Images, lazy_maps, shortcut_scores
from usjepa.profiles import PROFILES
from usjepa.recipe import SegmentRecipe
from usjepa.recipe_file import from_json, to_json
from usjepa.spec import ClipSpec
from usjepa.training import baselines
from usjepa.training.experiment import run
from usjepa.training.workspace import Workspace


@pytest.fixture
def unet(micro: SegmentRecipe) -> UNetRecipe:
    return UNetRecipe(clip=micro.clip, depth=3, batch=3, steps=40, rate_peak=3e-3, log_every=10, save_every=10)


def dsc_of(opened) -> float:
    table = opened.table()
    return float(summary(table[table["split"] == "test"]).loc["LV endo", "dsc"])


def test_a_unet_learns_what_a_square_is(unet: UNetRecipe, space: Workspace) -> None:
    assert dsc_of(run(unet, space)) > 0.8


def test_a_stopped_unet_goes_on_to_the_same_bits(unet, space: Workspace, tmp_path: Path, monkeypatch) -> None:
    whole, loss, seen = baselines.train_unet(unet, space), baselines.frame_loss, []

    def stopping(*given):
        seen.append(given)
        if len(seen) == 25:
            raise KeyboardInterrupt
        return loss(*given)

    other = replace(space, root=tmp_path / "stopped")
    monkeypatch.setattr(baselines, "frame_loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        baselines.train_unet(unet, other)
    resumed = baselines.train_unet(unet, other)
    assert len(seen) == 25 + 20
    state = resumed.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())


def test_grey_tells_a_bright_square_and_the_mean_mask_does_not(micro: SegmentRecipe, space: Workspace) -> None:
    lazy = {method: LazyRecipe(method=method, clip=micro.clip) for method in ("mean mask", "grey and position")}
    scores = {method: dsc_of(run(recipe, space)) for method, recipe in lazy.items()}
    assert scores["grey and position"] > 0.9
    assert scores["mean mask"] < scores["grey and position"] - 0.2


def test_maps_by_place_and_grey_score_nearly_what_each_structures_own_threshold_does(squares: Store) -> None:
    picks = {split: [e.first + np.arange(4) for e in squares.select(split)] for split in ("train", "test")}
    images = {split: Images(squares.frames[of], squares.labels[of]) for split, of in picks.items()}
    maps = lazy_maps(images["train"], images["test"].frames, sees_grey=True)
    own = shortcut_scores(images["train"], images["test"]).loc["grey level and position", "LV endo"]
    both = 2 * np.sum((maps == 1) & (images["test"].labels == 1))
    assert both / (np.sum(maps == 1) + np.sum(images["test"].labels == 1)) == pytest.approx(own, abs=0.02)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_in_the_catalogue_at_every_profile(name: str) -> None:
    for profile, chosen in PROFILES.items():
        recipe = named_baseline(name, profile, fraction=0.1)
        assert recipe.clip == chosen.judge.clip
        assert recipe.fraction == 0.1
        assert from_json(to_json(recipe)) == recipe


def test_frames_that_can_not_be_halved_are_refused(micro: SegmentRecipe) -> None:
    with pytest.raises(InputError, match="clip.size_px: expected a multiple of 32, got 16"):
        UNetRecipe(clip=micro.clip, depth=5)


def test_a_lazy_baseline_learns_nothing_from_repeats(micro: SegmentRecipe, space: Workspace, monkeypatch) -> None:
    """Of a film of 6 frames a clip of 8 by the policy "paper" holds its last frame several times."""
    seen, fit = [], baselines.lazy_maps
    clip = ClipSpec(frames=8, step_frames=2, size_px=16, channels=1, policy="paper")
    monkeypatch.setattr(
        baselines, "lazy_maps", lambda train, *args, **kw: seen.append(train) or fit(train, *args, **kw)
    )
    run(LazyRecipe(method="mean mask", clip=clip), space)
    distinct = len(set(frame_indices(6, clip).tolist()))
    assert distinct < 8
    assert len(seen[0].frames) == distinct * len(space.store.select("train"))
