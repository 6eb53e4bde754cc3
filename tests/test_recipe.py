from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from usjepa.errors import InputError
from usjepa.recipe import PretrainRecipe, Published, SegmentRecipe, Untrained, VideoMAERecipe
from usjepa.recipe_file import from_json, read_recipe, recipe_hash, to_json
from usjepa.spec import ClipSpec, MaskSpec, ModelSpec


@pytest.mark.parametrize(
    "recipe",
    [
        PretrainRecipe(),
        PretrainRecipe(start=PretrainRecipe(scenes=7)),
        VideoMAERecipe(start=Untrained(seed=2)),
        SegmentRecipe(),
        SegmentRecipe(start=Untrained(seed=3), seed=3),
        SegmentRecipe(start=Published()),
    ],
)
def test_json_gives_the_recipe_back(recipe: PretrainRecipe | VideoMAERecipe | SegmentRecipe) -> None:
    assert from_json(to_json(recipe)) == recipe


def test_the_hash_is_of_the_values_not_of_how_they_were_written() -> None:
    one = PretrainRecipe(prediction_weight=1.0)
    other = from_json(to_json(one).replace('"prediction_weight": 1.0', '"prediction_weight": 1'))
    assert recipe_hash(one) == recipe_hash(other)
    assert recipe_hash(one) != recipe_hash(PretrainRecipe(prediction_weight=0.9))
    assert recipe_hash(SegmentRecipe()) != recipe_hash(SegmentRecipe(start=replace(PretrainRecipe(), seed=1)))


def test_an_unknown_field_is_named() -> None:
    text = to_json(SegmentRecipe()).replace('"pairs"', '"pears"')
    with pytest.raises(InputError, match=r"mine.json: .*start\.vjepa\.pears"):
        from_json(text, "mine.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "vjepa", "steps": "many"}', "<html>"])
def test_text_that_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="mine.json: expected a recipe"):
        from_json(text, "mine.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.json: expected a recipe file, found none"):
        read_recipe(tmp_path / "nowhere.json")


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(to_json(PretrainRecipe(seed=5)))
    assert read_recipe(tmp_path / "one.json") == PretrainRecipe(seed=5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PretrainRecipe(prediction_weight=1.5), r"lambda of Eq. 4.*\[0, 1\], got 1.5"),
        (lambda: PretrainRecipe(prediction_weight=-0.1), "got -0.1"),
        (lambda: PretrainRecipe(frozen_blocks=25), "frozen_blocks: expected 0 to 24, .* got 25"),
        (lambda: PretrainRecipe(masks=()), "at least one family"),
        (lambda: PretrainRecipe(warmup_steps=60_000), "warmup_steps: expected 0 to 59999"),
        (lambda: PretrainRecipe(crop_area=(0.5, 1.1)), "crop_area"),
        (lambda: PretrainRecipe(batch=0), "batch: expected at least 1"),
        (lambda: ClipSpec(channels=2), "clip.channels: expected 1 or 3"),
        (lambda: from_json(to_json(PretrainRecipe()).replace('"paper"', '"all"')), "clip.policy: .*'paper', 'uniform'"),
        (lambda: ClipSpec(frames=0), "clip.frames: expected at least 1"),
        (lambda: MaskSpec(blocks=0, spatial_scale=0.1), "masks.blocks"),
        (lambda: MaskSpec(blocks=1, spatial_scale=1.0), "masks.spatial_scale"),
        (lambda: ModelSpec(width=100), "model.width: expected a multiple of twice the 16 heads, got 100"),
        (lambda: ModelSpec(patch_px=14), "model.patch_px: expected a power of two"),
        (
            lambda: MaskSpec(blocks=1, spatial_scale=0.1, multiple=8),
            "masks.least_context: expected at least .*8, got 1",
        ),
        (lambda: SegmentRecipe(clip=ClipSpec(frames=8)), "clip: expected the start's"),
        (lambda: SegmentRecipe(start=Untrained(), judges="student"), "judges: expected 'teacher'"),
        (lambda: SegmentRecipe(fraction=0.0), "fraction: expected a share"),
        (lambda: PretrainRecipe(start=Untrained(model=ModelSpec(depth=12))), "model: expected the start's own"),
        (lambda: PretrainRecipe(sector_only=True, thinning="raster"), "thinning: expected 'random'"),
        (lambda: VideoMAERecipe(mask_ratio=1.0), "mask_ratio: expected a share"),
        (lambda: Published(family="videomae"), "model.positions: expected '1d' for videomae"),
        (lambda: SegmentRecipe(steps=0), "steps: expected at least 1"),
    ],
)
def test_values_out_of_range_say_field_expectation_and_value(build: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()
