"""The assertions of notebooks 06 to 09 can fail: a named fault in the package stops each where it should."""

import pytest
from faults import faulty, stop_of

TEACHER_TOO_FAST = """
# Momentum weighs the student instead of the teacher's past.
true_update_ = uj.ema_update_
uj.ema_update_ = lambda teacher, student, momentum: true_update_(teacher, student, 1 - momentum)
"""
RAW_TARGETS = """
# Targets are not layer-normalised: they could shrink.
true_targets = uj.target_features
uj.target_features = lambda teacher, clip: true_targets(teacher, clip, normalises=False)
"""
SQUARED_DIFFERENCE = """
# Eq. 1 with squares in place of absolute differences.
uj.prediction_loss = lambda predicted, target: (predicted - target).square().mean()
"""
PLACES_UNTOLD = """
# All mask tokens of a clip carry the code of its first target.
true_forward = uj.Predictor.forward
def forward(self, context, mask, family):
    return true_forward(self, context, mask._replace(target=mask.target[:, :1].expand_as(mask.target)), family)
uj.Predictor.forward = forward
"""
TEACHER_AT_REST = """
# In the package's loop the teacher never follows.
import usjepa.training.pretrain as module
module.follow_ = lambda learner, step: None
"""
COLUMN_BEFORE_ROW = """
# Places come as (t, j, i): on a square grid no shape betrays it.
true_coordinates = uj.coordinates
uj.coordinates = lambda index, grid: true_coordinates(index, grid)[..., [0, 2, 1]]
"""
SECOND_MINUS_FIRST = """
# Eq. 2 with its sign turned.
true_offset = uj.relative_offset
uj.relative_offset = lambda first, second, grid: -true_offset(first, second, grid)
"""
CHANCE_OF_EQUAL_PAIRS = """
# The chance level counts pairs of a token with itself.
true_chance = uj.chance_level
uj.chance_level = lambda target, grid: true_chance(target, grid) * (target.shape[1] - 1) / target.shape[1]
"""
PAIRED_WITH_ITSELF = """
# A token may be paired with itself.
from usjepa.model.localiser import Pairs
def any_pairs(target, pairs, generator):
    return Pairs(*torch.randint(target.shape[1], (2, len(target), pairs), generator=generator))
uj.sample_pairs = any_pairs
"""
AVERAGED_SQUARES = """
# Eq. 3 averages over the three components, as a library's mean squared error does.
uj.localisation_loss = lambda predicted, offset: (predicted - offset).square().mean()
"""
LAMBDA_ON_THE_OTHER_TERM = """
# Lambda weighs the localisation.
uj.combined_loss = lambda prediction, localisation, weight: (1 - weight) * prediction + weight * localisation
"""
PAIRS_FROM_ELSEWHERE = """
# The model tells the head the offsets of other pairs than those whose features it shows.
import usjepa.model.jepa as module
true_offset = module.relative_offset
module.relative_offset = lambda first, second, grid: true_offset(first, second.flip(1), grid)
"""
FAULTS = {
    "teacher-too-fast": ("06-the-teacher", TEACHER_TOO_FAST, "ema"),
    "raw-targets": ("06-the-teacher", RAW_TARGETS, "target"),
    "squared-difference": ("07-predicting-features", SQUARED_DIFFERENCE, "eq1"),
    "places-untold": ("07-predicting-features", PLACES_UNTOLD, "predictor-equal"),
    "teacher-at-rest": ("07-predicting-features", TEACHER_AT_REST, "bits"),
    "column-before-row": ("08-relative-offset", COLUMN_BEFORE_ROW, "places"),
    "second-minus-first": ("08-relative-offset", SECOND_MINUS_FIRST, "offset"),
    "chance-of-equal-pairs": ("08-relative-offset", CHANCE_OF_EQUAL_PAIRS, "chance"),
    "paired-with-itself": ("08-relative-offset", PAIRED_WITH_ITSELF, "pairs"),
    "averaged-squares": ("09-learning-to-locate", AVERAGED_SQUARES, "eq3-equal"),
    "lambda-on-the-other-term": ("09-learning-to-locate", LAMBDA_ON_THE_OTHER_TERM, "eq4"),
    "pairs-from-elsewhere": ("09-learning-to-locate", PAIRS_FROM_ELSEWHERE, "by-parts"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fault", "cell"), FAULTS.values(), ids=FAULTS)
def test_a_named_fault_stops_the_notebook_at_its_check(name: str, fault: str, cell: str) -> None:
    assert stop_of(faulty(name, fault))[:2] == (cell, "AssertionError")
