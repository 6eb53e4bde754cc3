from dataclasses import replace

import pytest
import torch

from usjepa.losses import combined_loss, prediction_loss
from usjepa.model.jepa import JEPA
from usjepa.model.localiser import chance_level
from usjepa.model.masking import Mask, multiblock
from usjepa.model.teacher import target_features
from usjepa.model.tokens import take
from usjepa.recipe import SegmentRecipe


@pytest.fixture
def jepa(micro: SegmentRecipe) -> JEPA:
    torch.manual_seed(0)
    return JEPA(micro.start)


@pytest.fixture
def batch(jepa: JEPA, generator: torch.Generator) -> tuple[torch.Tensor, list[Mask]]:
    clip = torch.randn(3, 1, 4, 16, 16, generator=generator)
    return clip, [multiblock(jepa.encoder.grid, spec, 3, generator) for spec in jepa.recipe.masks]


def test_the_prediction_term_is_eq_1_averaged_over_the_families(jepa, batch, generator) -> None:
    clip, masks = batch
    target = target_features(jepa.teacher, clip)
    families = [
        prediction_loss(jepa.predictor(jepa.encoder(clip, mask.context), mask, family), take(target, mask.target))
        for family, mask in enumerate(masks)
    ]
    terms = jepa(clip, masks, generator)
    torch.testing.assert_close(terms.prediction, (families[0] + families[1]) / 2)
    torch.testing.assert_close(terms.combined, combined_loss(terms.prediction, terms.localisation, 0.25))


def test_the_gradient_reaches_all_but_the_teacher(jepa, batch, generator) -> None:
    jepa(*batch, generator).combined.backward()
    assert all(weight.grad is None for weight in jepa.teacher.parameters())
    for part in (jepa.encoder, jepa.predictor, jepa.head):
        assert all(weight.grad is not None for weight in part.parameters())


def test_at_lambda_1_the_head_is_not_trained_and_the_rest_is_plain_v_jepa(micro, batch, generator) -> None:
    torch.manual_seed(0)
    plain = JEPA(replace(micro.start, prediction_weight=1.0))
    terms = plain(*batch, generator)
    assert terms.combined.item() == terms.prediction.item()
    terms.combined.backward()
    assert not any(weight.grad.any() for weight in plain.head.parameters())


def test_localisation_needs_no_image(jepa, generator) -> None:
    """What Eq. 3 asks for is in the mask tokens' position codes: predictor and head learn it from an empty context."""
    grid, spec = jepa.encoder.grid, jepa.recipe.masks[1]
    optimiser = torch.optim.AdamW([*jepa.predictor.parameters(), *jepa.head.parameters()], lr=3e-3)
    losses = []
    for _ in range(300):
        mask = multiblock(grid, spec, 8, generator)
        empty = torch.zeros(8, mask.context.shape[1], 24)
        loss = jepa.localise(jepa.predictor(empty, mask, 0), mask, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item() / chance_level(mask.target, grid))
    assert losses[0] > 0.8
    assert sum(losses[-20:]) / 20 < 0.1


def test_frozen_blocks_come_from_the_recipe(micro: SegmentRecipe) -> None:
    jepa = JEPA(replace(micro.start, frozen_blocks=2))
    assert [block.mlp.fc1.weight.requires_grad for block in jepa.encoder.blocks] == [False, False, True]
