import pytest
import torch

from usjepa.model.masking import Mask
from usjepa.model.predictor import Predictor
from usjepa.model.tokens import TokenGrid
from usjepa.recipe import SegmentRecipe

GRID = TokenGrid(2, 4, 4)


@pytest.fixture
def predictor(micro: SegmentRecipe) -> Predictor:
    torch.manual_seed(0)
    predictor = Predictor(micro.start.model, GRID, families=2)
    with torch.no_grad():
        for token in predictor.mask_tokens:
            token.normal_()
    return predictor


def mask(context: list[int], target: list[int]) -> Mask:
    return Mask(torch.tensor([context, context]), torch.tensor([target, target]))


def test_one_prediction_a_target_in_the_order_of_the_targets(predictor: Predictor) -> None:
    context = torch.randn(2, 3, 24)
    forward = predictor(context, mask([0, 1, 2], [7, 20]), 0)
    backward = predictor(context, mask([0, 1, 2], [20, 7]), 0)
    assert forward.shape == (2, 2, 24)
    torch.testing.assert_close(forward, backward.flip(1))


def test_it_is_told_where_the_target_lies_and_of_which_family_it_is(predictor: Predictor) -> None:
    context = torch.randn(2, 3, 24)
    here, there = (predictor(context, mask([0, 1, 2], [place]), 0) for place in (7, 20))
    assert not torch.allclose(here, there, atol=1e-3)
    assert not torch.allclose(here, predictor(context, mask([0, 1, 2], [7]), 1), atol=1e-3)


def test_it_sees_the_context_and_where_it_lies(predictor: Predictor) -> None:
    context = torch.randn(2, 3, 24)
    prediction = predictor(context, mask([0, 1, 2], [7]), 0)
    assert not torch.allclose(prediction, predictor(context + 1, mask([0, 1, 2], [7]), 0), atol=1e-3)
    assert not torch.allclose(prediction, predictor(context, mask([3, 4, 5], [7]), 0), atol=1e-3)


def test_the_mask_tokens_start_at_zero_as_published(micro: SegmentRecipe) -> None:
    assert not any(token.any() for token in Predictor(micro.start.model, GRID, families=2).mask_tokens)
