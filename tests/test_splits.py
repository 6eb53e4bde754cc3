from dataclasses import dataclass

import pytest

from usjepa.data.splits import check_leakage, nested_fractions
from usjepa.data.store import Store
from usjepa.errors import InputError

PATIENTS = [f"patient{number:04d}" for number in range(1, 401)]


@dataclass(frozen=True)
class Row:
    patient: str
    split: str


def test_sizes_are_those_of_table_2():
    sizes = {fraction: len(names) for fraction, names in nested_fractions(PATIENTS, draw=0, seed=0).items()}
    assert sizes == {1.0: 400, 0.5: 200, 0.2: 80, 0.1: 40}


@pytest.mark.parametrize("draw", [0, 1, 2])
def test_smaller_fractions_lie_inside_larger_ones(draw):
    of = nested_fractions(PATIENTS, draw=draw, seed=3)
    assert set(of[0.1]) < set(of[0.2]) < set(of[0.5]) < set(of[1.0]) == set(PATIENTS)


def test_a_draw_is_decided_by_seed_and_draw_alone():
    once = nested_fractions(PATIENTS, draw=1, seed=0)
    assert nested_fractions(2 * PATIENTS[::-1], draw=1, seed=0) == once
    others = [nested_fractions(PATIENTS, draw=draw, seed=seed) for draw, seed in ((0, 0), (2, 0), (1, 1), (0, 1))]
    tenths = {names[0.1] for names in (once, *others)}
    assert len(tenths) == 5


def test_every_patient_is_drawn_about_equally_often():
    drawn = [name for draw in range(200) for name in nested_fractions(PATIENTS[:20], draw=draw, seed=0)[0.1]]
    counts = [drawn.count(name) for name in PATIENTS[:20]]
    # 400 drawn over 20 patients: 20 each, with a binomial deviation of 4.2.
    assert min(counts) > 20 - 4 * 4.2
    assert max(counts) < 20 + 4 * 4.2


def test_a_fraction_of_few_patients_has_at_least_one():
    of = nested_fractions(PATIENTS[:3], draw=0, seed=0)
    assert [len(names) for names in of.values()] == [3, 2, 1, 1]


def test_nothing_to_draw_from_and_impossible_fractions_are_refused():
    with pytest.raises(InputError, match="patients: expected at least one"):
        nested_fractions([], draw=0, seed=0)
    for wrong in ((), (0.0,), (0.5, 1.2)):
        with pytest.raises(InputError, match="fractions: expected shares"):
            nested_fractions(PATIENTS, draw=0, seed=0, fractions=wrong)
    with pytest.raises(InputError, match="draw, seed"):
        nested_fractions(PATIENTS, draw=-1, seed=0)


def test_a_patient_in_two_splits_is_named_with_both(squares: Store):
    check_leakage(squares.entries)
    check_leakage([Row("a", "train"), Row("b", "test"), Row("a", "train")])
    with pytest.raises(InputError, match="b: expected one split a patient, got test and train"):
        check_leakage([Row("a", "train"), Row("b", "test"), Row("b", "train")])
