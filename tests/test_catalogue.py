from dataclasses import replace

import pytest

from usjepa.catalogue import NAMES, PROFILES, named_recipe
from usjepa.errors import InputError
from usjepa.model.encoder import grid_of
from usjepa.recipe import SegmentRecipe
from usjepa.recipe_file import recipe_hash


def test_all_recipes_differ() -> None:
    hashes = [recipe_hash(named_recipe(name, profile)) for name in NAMES for profile in PROFILES]
    assert len(set(hashes)) == len(NAMES) * len(PROFILES)


def test_the_paper_profile_is_the_default_recipe() -> None:
    assert named_recipe("vjepa-ll", "paper") == SegmentRecipe()


@pytest.mark.parametrize(("profile", "blocks"), [("paper", (12, 16)), ("tiny", (2, 3))])
def test_twelve_and_sixteen_of_24_blocks_are_the_same_share_elsewhere(profile: str, blocks: tuple[int, int]) -> None:
    assert tuple(named_recipe(name, profile).start.frozen_blocks for name in ("vjepa-12b", "vjepa-16b")) == blocks


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-ll")])
def test_ll_differs_from_its_baseline_by_lambda_alone(name: str) -> None:
    with_ll, without = named_recipe(name), named_recipe(name.removesuffix("-ll"))
    assert (with_ll.start.prediction_weight, without.start.prediction_weight) == (0.25, 1.0)
    assert replace(with_ll, start=replace(with_ll.start, prediction_weight=1.0)) == without


@pytest.mark.parametrize("profile", PROFILES)
def test_clips_divide_into_tubelets(profile: str) -> None:
    chosen = PROFILES[profile]
    assert grid_of(chosen.clip, chosen.start.model).n > 0


@pytest.mark.parametrize(("name", "profile"), [("vjepaa", "tiny"), ("vjepa", "huge")])
def test_unknown_names_list_the_known(name: str, profile: str) -> None:
    with pytest.raises(InputError, match=r"expected one of (random, vjepa|tiny, paper)"):
        named_recipe(name, profile)
