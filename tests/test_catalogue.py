from dataclasses import replace

import pytest

from usjepa.catalogue import CONTROLS, NAMES, TABLE_1, TABLE_2, named_recipe
from usjepa.errors import InputError
from usjepa.model.encoder import grid_of
from usjepa.profiles import PROFILES
from usjepa.recipe import PretrainRecipe, Published, SegmentRecipe, VideoMAERecipe
from usjepa.recipe_file import recipe_hash


def test_all_rows_differ_and_table_1_repeats_what_it_shares_with_table_2() -> None:
    hashes = {(name, profile): recipe_hash(named_recipe(name, profile)) for name in NAMES for profile in PROFILES}
    apart = {key: one for key, one in hashes.items() if key[0] not in TABLE_1}
    assert len(set(apart.values())) == len(apart)
    assert hashes["vjepa-lambda0.25", "tiny"] == hashes["vjepa-ll", "tiny"]
    assert len(TABLE_1) == 18
    assert len({hashes[name, "paper"] for name in TABLE_1}) == 18


def test_the_paper_profile_is_the_default_recipe_from_published_weights() -> None:
    published = PretrainRecipe(start=Published())
    assert named_recipe("vjepa-ll", "paper") == SegmentRecipe(start=published)
    start = named_recipe("videomae", "paper").start
    assert isinstance(start, VideoMAERecipe)
    assert isinstance(start.start, Published)
    assert start.start.family == "videomae"


@pytest.mark.parametrize("profile", ["tiny", "small"])
@pytest.mark.parametrize("name", ["vjepa-ll", "videomae"])
def test_small_and_tiny_start_from_the_same_method_on_scenes(name: str, profile: str) -> None:
    adapted = named_recipe(name, profile, seed=2).start
    assert adapted.scenes == 0
    assert type(adapted.start) is type(adapted)
    assert adapted.start.scenes > 0
    assert adapted.start == named_recipe(name, profile).start.start


@pytest.mark.parametrize(("profile", "blocks"), [("paper", (12, 16)), ("tiny", (2, 3))])
def test_twelve_and_sixteen_of_24_blocks_are_two_and_three_of_four(profile: str, blocks: tuple[int, int]) -> None:
    assert tuple(named_recipe(name, profile).start.frozen_blocks for name in ("vjepa-12b", "vjepa-16b")) == blocks


@pytest.mark.parametrize("name", [name for name in TABLE_2 if name.endswith("-ll")])
def test_ll_differs_from_its_baseline_by_lambda_alone(name: str) -> None:
    with_ll, without = named_recipe(name), named_recipe(name.removesuffix("-ll"))
    assert (with_ll.start.prediction_weight, without.start.prediction_weight) == (0.25, 1.0)
    assert replace(with_ll, start=replace(with_ll.start, prediction_weight=1.0)) == without


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_differs_from_its_row_by_one_thing(name: str) -> None:
    control = named_recipe(name).start
    row = named_recipe("vjepa-ll" if name.startswith("ll-") else "vjepa").start
    differ = [field for field in vars(row) if getattr(row, field) != getattr(control, field)]
    assert differ == ["masks", "sector_only"] if control.sector_only else len(differ) == 1, differ


def test_shares_of_the_labels_take_fewer_steps_and_the_same_pretraining() -> None:
    for profile in PROFILES:
        rows = [named_recipe("vjepa", profile, fraction=share) for share in (1.0, 0.5, 0.2, 0.1)]
        assert len({recipe_hash(row.start) for row in rows}) == 1
        assert sorted((row.steps for row in rows), reverse=True) == [row.steps for row in rows]
    with pytest.raises(InputError, match="fraction: expected one of 1.0, 0.5, 0.2, 0.1; got 0.3"):
        named_recipe("vjepa", fraction=0.3)


def test_the_supervised_row_trains_what_the_random_row_freezes() -> None:
    random, supervised = named_recipe("random"), named_recipe("supervised")
    assert random.start == supervised.start
    assert (random.trains_encoder, supervised.trains_encoder) == (False, True)


@pytest.mark.parametrize("profile", PROFILES)
def test_clips_divide_into_tubelets(profile: str) -> None:
    chosen = PROFILES[profile]
    assert grid_of(chosen.judge.clip, chosen.vjepa.model).n > 0


@pytest.mark.parametrize(("name", "profile"), [("vjepaa", "tiny"), ("vjepa", "huge")])
def test_unknown_names_list_the_known(name: str, profile: str) -> None:
    with pytest.raises(InputError, match=r"expected one of (random, vjepa-start|tiny, small, paper)"):
        named_recipe(name, profile)
