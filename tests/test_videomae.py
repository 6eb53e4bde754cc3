from dataclasses import replace

import pytest
import torch

from usjepa.errors import InputError
from usjepa.model.encoder import Encoder, position_codes, raster_codes
from usjepa.model.masking import Mask, tube
from usjepa.model.tokens import TokenGrid, Tubelet, tubelets
from usjepa.model.videomae import VideoMAE, normalised_pixels
from usjepa.recipe import SegmentRecipe, VideoMAERecipe
from usjepa.spec import DecoderSpec

GRID = TokenGrid(8, 14, 14)


@pytest.fixture
def recipe(micro: SegmentRecipe) -> VideoMAERecipe:
    start = micro.start
    model = replace(start.model, positions="1d")
    return VideoMAERecipe(clip=start.clip, model=model, decoder=DecoderSpec(width=16, depth=2, heads=2), steps=9_000)


@pytest.fixture
def videomae(recipe: VideoMAERecipe) -> VideoMAE:
    torch.manual_seed(0)
    return VideoMAE(recipe)


@pytest.fixture
def clip(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(2, 1, 4, 16, 16, generator=generator)


@pytest.fixture
def mask(generator: torch.Generator) -> Mask:
    return tube(TokenGrid(2, 4, 4), 0.75, 2, generator)


@pytest.mark.parametrize(("grid", "ratio", "hidden"), [(GRID, 0.9, 176), (TokenGrid(3, 2, 5), 0.5, 5)])
def test_a_tube_hides_the_same_places_in_every_slice_and_the_rest_is_context(
    grid: TokenGrid, ratio: float, hidden: int, generator: torch.Generator
) -> None:
    mask, places = tube(grid, ratio, 4, generator), grid.i * grid.j
    for context, target in zip(mask.context.tolist(), mask.target.tolist(), strict=True):
        assert sorted(context + target) == list(range(grid.n))
        assert (context, target) == (sorted(context), sorted(target))
        slices = [{k % places for k in target if k // places == t} for t in range(grid.t)]
        assert all(one == slices[0] for one in slices)
        assert len(slices[0]) == hidden


def test_tubes_are_drawn_for_each_clip_anew_and_all_places_alike(generator: torch.Generator) -> None:
    target = tube(TokenGrid(1, 4, 4), 0.5, 4_000, generator).target
    assert len({tuple(one) for one in target.tolist()}) > 3_000
    share = torch.bincount(target.flatten()) / 4_000
    assert (share - 0.5).abs().max() < 5 * (0.25 / 4_000) ** 0.5


def test_the_same_seed_gives_the_same_tubes() -> None:
    first, second = (tube(GRID, 0.9, 3, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.target, second.target)


@pytest.mark.parametrize("ratio", [0.0, 0.05, 1.0])
def test_a_tube_that_hides_nothing_or_all_is_refused(ratio: float, generator: torch.Generator) -> None:
    with pytest.raises(InputError, match=f"mask_ratio: expected to hide some of 16 places, not all; got {ratio}"):
        tube(TokenGrid(2, 4, 4), ratio, 2, generator)


def test_pixels_of_each_token_and_colour_have_mean_0_and_deviation_1_in_the_published_order() -> None:
    clip = torch.rand(2, 3, 4, 8, 8) * torch.tensor([1.0, 5.0, 0.2]).reshape(3, 1, 1, 1)
    pixels = normalised_pixels(clip, Tubelet(2, 4, 4)).reshape(2, 8, 2, 4, 4, 3)
    of_colour = pixels.movedim(-1, 2).flatten(3)
    torch.testing.assert_close(of_colour.mean(dim=3), torch.zeros(2, 8, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(of_colour.std(dim=3), torch.ones(2, 8, 3), atol=1e-3, rtol=0)
    block = clip[1, 2, 2:4, 4:8, 0:4]
    torch.testing.assert_close(pixels[1, 6, ..., 2], (block - block.mean()) / block.std(), atol=1e-3, rtol=0)


def test_the_scale_of_a_clip_cancels_and_black_stays_finite() -> None:
    clip = torch.rand(1, 1, 2, 8, 8)
    tubelet = Tubelet(2, 4, 4)
    torch.testing.assert_close(
        normalised_pixels(3 * clip - 1, tubelet), normalised_pixels(clip, tubelet), atol=1e-4, rtol=0
    )
    assert not normalised_pixels(torch.full((1, 1, 2, 8, 8), -0.85), tubelet).any()


def test_one_row_of_pixels_a_hidden_token_in_the_order_of_the_targets(
    videomae: VideoMAE, clip: torch.Tensor, mask: Mask
) -> None:
    context = videomae.encoder(clip, mask.context)
    forward = videomae.decoder(context, mask)
    backward = videomae.decoder(context, Mask(mask.context, mask.target.flip(1)))
    assert forward.shape == (2, 24, 2 * 4 * 4)
    torch.testing.assert_close(forward, backward.flip(1))


def test_the_decoder_sees_the_context_and_where_all_tokens_lie(
    videomae: VideoMAE, clip: torch.Tensor, mask: Mask
) -> None:
    context = videomae.encoder(clip, mask.context)
    pixels = videomae.decoder(context, mask)
    assert not torch.allclose(pixels[:, 0], pixels[:, 1], atol=1e-3)
    assert not torch.allclose(pixels, videomae.decoder(context.flip(0), mask), atol=1e-3)
    assert not torch.allclose(pixels, videomae.decoder(context, Mask(mask.context.flip(1), mask.target)), atol=1e-3)


def test_the_loss_is_the_mean_square_over_hidden_tokens_alone(
    videomae: VideoMAE, clip: torch.Tensor, mask: Mask
) -> None:
    terms = videomae(clip, mask)
    predicted = videomae.decoder(videomae.encoder(clip, mask.context), mask)
    assert terms.target.shape == (2, 24, 32)
    assert terms.combined.item() == pytest.approx((predicted - terms.target).square().mean().item(), rel=1e-6)
    tokens = tubelets(clip, Tubelet(2, 4, 4))
    first = tokens[0, mask.target[0, 0]]
    torch.testing.assert_close(terms.target[0, 0], (first - first.mean()) / first.std(), atol=1e-4, rtol=0)


def test_hidden_pixels_never_reach_the_encoder(videomae: VideoMAE, clip: torch.Tensor) -> None:
    mask = Mask(torch.arange(16).expand(2, -1), torch.arange(16, 32).expand(2, -1))
    changed = clip.clone()
    changed[:, :, 2:] = 100.0
    predictions = [videomae.decoder(videomae.encoder(one, mask.context), mask) for one in (clip, changed)]
    assert torch.equal(*predictions)


def test_training_learns_the_pixels_of_a_batch(videomae: VideoMAE, clip: torch.Tensor, mask: Mask) -> None:
    optimiser = torch.optim.AdamW(videomae.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        loss = videomae(clip, mask).combined
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.9
    assert losses[-1] < 0.3 * losses[0]


def test_frozen_blocks_get_no_gradient_and_the_decoder_does(
    recipe: VideoMAERecipe, clip: torch.Tensor, mask: Mask
) -> None:
    videomae = VideoMAE(replace(recipe, frozen_blocks=2))
    videomae(clip, mask).combined.backward()
    still = {name.split(".")[1] for name, weight in videomae.encoder.named_parameters() if weight.grad is None} - {
        "proj"
    }
    assert still == {"0", "1"}
    assert all(weight.grad is not None for weight in videomae.decoder.parameters())


def test_the_mask_token_starts_drawn_with_the_published_deviation() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        recipe = VideoMAERecipe()
        token = VideoMAE(replace(recipe, model=replace(recipe.model, width=64, depth=1, heads=2))).decoder.mask_token
    assert token.std().item() == pytest.approx(0.02, rel=0.15)


def test_the_published_recipe_has_the_published_sizes() -> None:
    """478 tensors, two biases of each attention joined in one here; published are all but our key biases."""
    recipe = VideoMAERecipe()
    with torch.device("meta"):
        videomae = VideoMAE(replace(recipe, model=replace(recipe.model, positions="1d")))
    tensors = dict(videomae.named_parameters())
    assert len(tensors) == 478 - (24 + 12)
    assert sum(one.numel() for one in tensors.values()) - 24 * 1024 - 12 * 512 == 342_996_992
    assert videomae.decoder.head.weight.shape == (1536, 512)
    assert videomae.decoder.embed.bias is None


def test_the_recipe_chooses_the_codes_of_encoder_and_decoder(recipe: VideoMAERecipe) -> None:
    grid = TokenGrid(2, 4, 4)
    flat, three = VideoMAE(recipe), VideoMAE(replace(recipe, model=replace(recipe.model, positions="3d")))
    for of, codes in ((flat, raster_codes), (three, position_codes)):
        assert torch.equal(of.encoder.pos_embed[0], codes(grid, 24))
        assert torch.equal(of.decoder.pos_embed[0], codes(grid, 16))
    assert not torch.allclose(flat.encoder.pos_embed, three.encoder.pos_embed, atol=0.1)


def test_encoders_of_both_kinds_of_codes_exchange_weights_but_for_the_table(recipe: VideoMAERecipe) -> None:
    names = [set(Encoder(replace(recipe.model, positions=one), recipe.clip).state_dict()) for one in ("1d", "3d")]
    assert names[0] == names[1]
