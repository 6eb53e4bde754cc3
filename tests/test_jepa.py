from dataclasses import replace

import pytest
import torch

from usjepa.losses import combined_loss, prediction_loss
from usjepa.model.jepa import JEPA, Draws
from usjepa.model.localiser import chance_level, sample_pairs
from usjepa.model.masking import multiblock
from usjepa.model.teacher import target_features
from usjepa.model.tokens import take
from usjepa.recipe import SegmentRecipe


@pytest.fixture
def jepa(micro: SegmentRecipe) -> JEPA:
    torch.manual_seed(0)
    return JEPA(micro.start)


@pytest.fixture
def batch(jepa: JEPA, generator: torch.Generator) -> tuple[torch.Tensor, Draws]:
    return torch.randn(3, 1, 4, 16, 16, generator=generator), jepa.draw(generator, generator)


def test_the_prediction_term_is_eq_1_averaged_over_the_families(jepa, batch) -> None:
    clip, draws = batch
    target = target_features(jepa.teacher, clip)
    families = [
        prediction_loss(jepa.predictor(jepa.encoder(clip, mask.context), mask, family), take(target, mask.target))
        for family, mask in enumerate(draws.masks)
    ]
    terms = jepa(clip, draws)
    torch.testing.assert_close(terms.prediction, (families[0] + families[1]) / 2)
    torch.testing.assert_close(terms.combined, combined_loss(terms.prediction, terms.localisation, 0.25))


def test_the_gradient_reaches_all_but_the_teacher(jepa, batch) -> None:
    jepa(*batch).combined.backward()
    assert all(weight.grad is None for weight in jepa.teacher.parameters())
    for part in (jepa.encoder, jepa.predictor, jepa.head):
        assert all(weight.grad is not None for weight in part.parameters())


def test_at_lambda_1_the_head_is_not_trained_and_the_rest_is_plain_v_jepa(micro, batch) -> None:
    torch.manual_seed(0)
    plain = JEPA(replace(micro.start, prediction_weight=1.0))
    terms = plain(*batch)
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
        pairs = sample_pairs(mask.target, 20, generator)
        loss = jepa.localise(jepa.predictor(empty, mask, 0), mask.target, pairs)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item() / chance_level(mask.target, grid))
    assert losses[0] > 0.8
    assert sum(losses[-20:]) / 20 < 0.1


@pytest.mark.parametrize("localise", ["predicted", "detached", "zeroed", "context", "placeless"])
def test_who_can_answer_eq_3_and_whom_it_teaches(micro: SegmentRecipe, localise: str, generator) -> None:
    """Controls keep Eq. 3 from the encoder (detached), from the image (zeroed), or from the position codes."""
    torch.manual_seed(0)
    jepa = JEPA(replace(micro.start, localise=localise))
    clip, draws = torch.randn(3, 1, 4, 16, 16, generator=generator), jepa.draw(generator, generator)
    loss = jepa(clip, draws).localisation
    loss.backward()
    teaches = {
        name
        for name, part in jepa.trained.items()
        if any(w.grad is not None and w.grad.any() for w in part.parameters())
    }
    assert (
        teaches
        == {
            "predicted": {"encoder", "predictor", "head"},
            "detached": {"predictor", "head"},
            "zeroed": {"predictor", "head"},
            "context": {"encoder", "head"},
            "placeless": {"encoder", "head"},
        }[localise]
    )
    needs_image = jepa(torch.randn(3, 1, 4, 16, 16, generator=generator), draws).localisation != loss
    assert needs_image == (localise != "zeroed")
    jepa.encoder.pos_embed.zero_()
    needs_positions = jepa(clip, draws).localisation != loss
    assert needs_positions == (localise not in ("zeroed", "placeless"))


def test_eq_3_on_the_context_asks_for_the_contexts_places(micro: SegmentRecipe, generator) -> None:
    jepa = JEPA(replace(micro.start, localise="context"))
    draws = jepa.draw(generator, generator)
    for mask, pairs in zip(*draws, strict=True):
        assert pairs.first.max() < mask.context.shape[1]


def test_targets_are_layer_normalised_unless_the_recipe_says_no(micro: SegmentRecipe, batch) -> None:
    torch.manual_seed(0)
    plain = JEPA(replace(micro.start, normalises_target=False))
    assert torch.equal(plain(*batch).target, plain.teacher(batch[0]))


def test_the_published_cut_of_masks_is_a_recipe(micro: SegmentRecipe, generator) -> None:
    jepa = JEPA(replace(micro.start, thinning="raster", masks=(replace(micro.start.masks[0], spatial_scale=0.3),)))
    for _ in range(20):
        (mask,) = jepa.draw(generator, generator).masks
        kept = torch.cat((mask.context, mask.target), dim=1)
        if kept.shape[1] < 32:
            cut = [set(range(32)) - set(row.tolist()) for row in kept]
            assert max(min(one, default=0) for one in cut) > 0
            return
    raise AssertionError("no clip was cut")


def test_frozen_blocks_come_from_the_recipe(micro: SegmentRecipe) -> None:
    jepa = JEPA(replace(micro.start, frozen_blocks=2))
    assert [block.mlp.fc1.weight.requires_grad for block in jepa.encoder.blocks] == [False, False, True]
