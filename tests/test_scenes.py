import dataclasses

import numpy as np
import pytest

from usjepa.cli import main
from usjepa.data.phantom import SceneRecipe, render_scene, scenes, write_scenes
from usjepa.data.store import open_store
from usjepa.errors import InputError

RECIPE = SceneRecipe(number=12, rows=48, frames=6)


@pytest.fixture(scope="module")
def loops():
    return list(RECIPE)


def test_scenes_are_unlabelled_and_for_training(loops):
    assert len(loops) == len(RECIPE) == 12
    assert len({loop.name for loop in loops}) == 12
    for loop in loops:
        assert loop.labels is None
        assert loop.annotated == ()
        assert loop.split == "train"
        assert loop.frames.shape[:2] == (6, 48)


def test_equal_seeds_give_equal_bytes_and_others_do_not(loops):
    more = dataclasses.replace(RECIPE, number=100)
    assert render_scene(more, 5).frames.tobytes() == loops[4].frames.tobytes()
    other = render_scene(dataclasses.replace(RECIPE, seed=1), 5)
    assert other.source_sha256 != loops[4].source_sha256
    assert other.frames.tobytes() != loops[4].frames.tobytes()


def test_scenes_move_smoothly(loops):
    steps = []
    for loop in loops:
        frames = loop.frames.astype(float)
        inside = (loop.frames > 0).all(axis=0)
        steps.append([np.abs(frames[k] - frames[0])[inside].mean() for k in (1, 2, 5)])
    one, two, five = np.mean(steps, axis=0)
    assert 2 < one < two < five


def test_scenes_lie_in_a_sector_as_hearts_do_and_are_as_bright(loops):
    for loop in loops:
        first = loop.frames[0]
        assert not first[-1, 0], "a corner"
        inside = first > 0
        assert 0.35 < inside.mean() < 0.8
        assert 45 < np.median(first[inside]) < 150


def test_no_two_scenes_show_the_same_parts(loops):
    means = [loop.frames[0][:, loop.frames.shape[2] // 2].astype(float) for loop in loops]
    apart = np.corrcoef(means) - np.eye(len(means))
    assert apart.max() < 0.9


def test_nothing_folds_over():
    x, y = np.meshgrid(np.arange(-90.0, 91, 3), np.arange(0.0, 190, 3), indexing="ij")
    folded = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        outline = scenes.Outline(44.9, 150.0)
        fields = scenes._fields(outline, x.ravel(), y.ravel(), rng)
        for weights in scenes._amplitudes(np.arange(0, 40, 5), rng):
            moved = np.einsum("k,kdp->dp", weights, fields).reshape(2, *x.shape) + np.stack((x, y))
            across, down = np.gradient(moved, 3.0, axis=1), np.gradient(moved, 3.0, axis=2)
            folded.append(np.mean(across[0] * down[1] - across[1] * down[0] <= 0))
    assert np.mean(folded) < 1e-3


def test_a_store_of_scenes_is_found_again_without_rendering(tmp_path, monkeypatch):
    store = write_scenes(dataclasses.replace(RECIPE, number=2), tmp_path / "store", 48)
    assert len(store.frames) == 12
    assert not any(entry.is_labelled for entry in store.select("train"))
    monkeypatch.setattr(scenes, "render_scene", None)
    again = write_scenes(dataclasses.replace(RECIPE, number=2), tmp_path / "store", 48)
    assert again.fingerprint == store.fingerprint


def test_the_command_writes_a_store(tmp_path, capsys):
    assert main(["data", "scenes", str(tmp_path / "store"), "--number", "2", "--size", "40"]) == 0
    assert str(tmp_path / "store") in capsys.readouterr().out
    assert len(open_store(tmp_path / "store").entries) == 2


@pytest.mark.parametrize("change", [{"number": 0}, {"frames": 1}, {"rows": 16}, {"seed": -1}])
def test_impossible_recipes_are_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        dataclasses.replace(RECIPE, **change)


def test_unknown_scenes_are_refused():
    with pytest.raises(InputError, match="1 to 12"):
        render_scene(RECIPE, 13)
