"""Each equation of the paper against a slow transcription with plain loops, and the constants of section 3.1."""

import pytest
import torch

from usjepa.losses import combined_loss, localisation_loss, prediction_loss, relative_offset
from usjepa.model.encoder import Encoder
from usjepa.model.localiser import chance_level
from usjepa.model.tokens import TokenGrid, token_grid
from usjepa.recipe import PretrainRecipe, SegmentRecipe
from usjepa.spec import ClipSpec, ModelSpec

SHAPES = [(2, 3, 4), (3, 5, 2), (4, 1, 7)]
GRIDS = [TokenGrid(8, 14, 14), TokenGrid(3, 10, 10), TokenGrid(2, 5, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_equation_1_is_the_mean_absolute_difference(shape: tuple[int, int, int], generator: torch.Generator) -> None:
    predicted, target = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    total, terms = 0.0, 0
    for b in range(shape[0]):
        for m in range(shape[1]):
            for d in range(shape[2]):
                total += abs(predicted[b, m, d].item() - target[b, m, d].item())
                terms += 1
    assert prediction_loss(predicted, target).item() == pytest.approx(total / terms, abs=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_equation_2_counts_tubelets_along_each_axis(grid: TokenGrid, generator: torch.Generator) -> None:
    first, second = torch.randint(grid.n, (2, 2, 50), generator=generator)
    offset = relative_offset(first, second, grid)
    places = [(t, i, j) for t in range(grid.t) for i in range(grid.i) for j in range(grid.j)]
    for b in range(2):
        for r in range(50):
            (t1, i1, j1), (t2, i2, j2) = places[first[b, r]], places[second[b, r]]
            expected = [(t1 - t2) / grid.t, (i1 - i2) / grid.i, (j1 - j2) / grid.j]
            assert offset[b, r].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_equation_2_is_antisymmetric_adds_along_a_chain_and_never_reaches_one(grid: TokenGrid) -> None:
    index = torch.arange(grid.n).expand(2, -1)
    there, back = (relative_offset(*pair, grid) for pair in ((index, index.flip(1)), (index.flip(1), index)))
    torch.testing.assert_close(there, -back)
    middle = index.roll(1, dims=1)
    chain = relative_offset(index, middle, grid) + relative_offset(middle, index.flip(1), grid)
    torch.testing.assert_close(chain, there)
    limits = torch.tensor([1 - 1 / extent for extent in grid])
    torch.testing.assert_close(there.abs().amax(dim=(0, 1)), limits)


@pytest.mark.parametrize("shape", SHAPES)
def test_equation_3_sums_over_components_and_averages_over_pairs(
    shape: tuple[int, int, int], generator: torch.Generator
) -> None:
    b, r = shape[:2]
    predicted, offset = torch.randn(2, b, r, 3, generator=generator, dtype=torch.float64)
    total = 0.0
    for clip in range(b):
        for pair in range(r):
            total += sum((predicted[clip, pair, k].item() - offset[clip, pair, k].item()) ** 2 for k in range(3))
    assert localisation_loss(predicted, offset).item() == pytest.approx(total / (r * b), abs=1e-12)


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 2.0), (0.25, 0.25 * 2 + 0.75 * 8), (0.0, 8.0)])
def test_equation_4_weighs_the_prediction_by_lambda(weight: float, expected: float) -> None:
    assert combined_loss(torch.tensor(2.0), torch.tensor(8.0), weight).item() == pytest.approx(expected)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_chance_level_is_the_loss_of_a_head_that_answers_zero(grid: TokenGrid) -> None:
    target = torch.stack([torch.randperm(grid.n)[: grid.n // 2].sort().values for _ in range(2)])
    total, pairs = 0.0, 0
    for clip in target:
        first, second = torch.cartesian_prod(clip, clip).unbind(dim=1)
        differ = first != second
        offset = relative_offset(first[differ].unsqueeze(0), second[differ].unsqueeze(0), grid)
        total += offset.double().square().sum().item()
        pairs += int(differ.sum())
    assert chance_level(target, grid) == pytest.approx(total / pairs, rel=1e-5)


def test_the_chance_level_of_all_tokens_is_that_of_independent_uniform_pairs() -> None:
    grid = TokenGrid(8, 14, 14)
    everything = torch.arange(grid.n).unsqueeze(0)
    with_itself = chance_level(everything, grid) * (grid.n - 1) / grid.n
    assert with_itself == pytest.approx(sum((1 - 1 / k**2) / 6 for k in grid), abs=1e-12)
    assert with_itself == pytest.approx(0.4957, abs=5e-5)


def test_the_paper_profile_is_section_3_1() -> None:
    clip, pretraining, downstream = ClipSpec(), PretrainRecipe(), SegmentRecipe()
    assert (clip.frames, clip.step_frames, clip.size_px) == (16, 4, 224)
    assert token_grid(clip.frames, clip.size_px, clip.size_px) == (8, 14, 14)
    assert (pretraining.batch, downstream.batch) == (4, 4)
    assert (pretraining.rate_peak, pretraining.rate_final) == (0.0002, 1e-6)
    assert pretraining.steps / pretraining.warmup_steps == 300 / 20
    assert (pretraining.pairs, pretraining.prediction_weight) == (100, 0.25)
    assert downstream.rate_peak == 1e-3


def test_vit_l_has_the_published_tensors_and_numbers() -> None:
    with torch.device("meta"):
        encoder = Encoder(ModelSpec(), ClipSpec())
    state = encoder.state_dict()
    assert len(state) == 293
    assert sum(tensor.numel() for tensor in state.values()) == 305_490_944
    assert sum(weight.numel() for weight in encoder.parameters()) == 303_885_312
