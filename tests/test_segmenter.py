from dataclasses import replace

import pytest
import torch
from einops import rearrange
from torch import nn

from usjepa.model.segmenter import Segmenter, Standardiser
from usjepa.model.tokens import untubelets
from usjepa.recipe import PretrainRecipe, SegmentRecipe
from usjepa.spec import ClipSpec, ModelSpec


@pytest.fixture
def segmenter(micro: SegmentRecipe) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(micro)


def test_every_pixel_of_every_frame_gets_a_logit_a_structure(segmenter: Segmenter) -> None:
    assert segmenter(torch.randn(2, 32, 24)).shape == (2, 4, 4, 16, 16)


@pytest.mark.parametrize(
    ("patch", "strides"), [(16, [(2, 4, 4), (1, 4, 4)]), (4, [(2, 2, 2), (1, 2, 2)]), (8, [(2, 4, 4), (1, 2, 2)])]
)
def test_two_transposed_convolutions_undo_the_tubelet(patch: int, strides: list[tuple[int, ...]]) -> None:
    model = ModelSpec(width=24, depth=1, heads=2, patch_px=patch, predictor_width=16)
    recipe = SegmentRecipe(start=PretrainRecipe(model=model), decoder_width=8)
    with torch.device("meta"):
        layers = [layer for layer in Segmenter(recipe).decoder.children() if isinstance(layer, nn.ConvTranspose3d)]
    assert [layer.stride for layer in layers] == [layer.kernel_size for layer in layers] == strides


@pytest.mark.parametrize("patch", [4, 8, 16])
def test_linear_maps_of_tokens_are_the_transposed_convolutions(patch: int, generator: torch.Generator) -> None:
    clip = ClipSpec(frames=4, size_px=3 * patch, channels=1)
    model = ModelSpec(width=24, depth=1, heads=2, patch_px=patch, predictor_width=16)
    segmenter = Segmenter(SegmentRecipe(start=PretrainRecipe(clip=clip, model=model), clip=clip, decoder_width=8))
    tokens = torch.randn(2, 18, 24, generator=generator)
    decoder = segmenter.decoder
    grid = rearrange(tokens, "b (t i j) d -> b d t i j", t=2, i=3, j=3)
    expected = decoder.second(nn.functional.gelu(decoder.first(grid)))
    logits = untubelets(rearrange(decoder(tokens), "b n s p -> b n (s p)"), segmenter.grid, segmenter.tubelet)
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=1e-5)


def test_the_probe_reads_other_places(segmenter: Segmenter) -> None:
    """Cross-attention: the answer at the first place has a gradient at the last token."""
    features = torch.randn(1, 32, 24, requires_grad=True)
    segmenter(features)[0, :, 0, 0, 0].square().sum().backward()
    assert features.grad is not None
    assert features.grad[0, 31].abs().max() > 0


def test_standardised_features_have_mean_0_and_deviation_1() -> None:
    features = 5 + 3 * torch.randn(10, 20, 4) * torch.tensor([1.0, 10.0, 0.1, 1.0])
    standardise = Standardiser(4)
    standardise.fit_(features)
    deviation, mean = torch.std_mean(standardise(features), dim=(0, 1))
    torch.testing.assert_close(mean, torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(4), atol=1e-4, rtol=0)


def test_a_dimension_that_never_varies_stays_finite() -> None:
    standardise = Standardiser(2)
    standardise.fit_(torch.ones(3, 4, 2))
    assert torch.isfinite(standardise(torch.ones(3, 4, 2))).all()


def test_the_statistics_are_stored_with_the_weights(segmenter: Segmenter, micro: SegmentRecipe) -> None:
    segmenter.standardise.fit_(torch.randn(3, 32, 24) + 2)
    other = Segmenter(replace(micro, seed=1))
    other.load_state_dict(segmenter.state_dict())
    features = torch.randn(1, 32, 24)
    assert torch.equal(other(features), segmenter(features))
