import math

import pytest
import torch

from usjepa.errors import InputError
from usjepa.model.encoder import Encoder, grid_of, initialise_, position_codes
from usjepa.model.tokens import TokenGrid, take
from usjepa.recipe import SegmentRecipe


@pytest.fixture
def encoder(micro: SegmentRecipe) -> Encoder:
    return Encoder(micro.start.model, micro.clip)


@pytest.fixture
def clip(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(2, 1, 4, 16, 16, generator=generator)


@pytest.mark.parametrize(
    ("grid", "width"), [(TokenGrid(8, 14, 14), 1024), (TokenGrid(3, 4, 5), 64), (TokenGrid(2, 2, 2), 36)]
)
def test_position_codes_are_sines_then_cosines_of_each_axis_in_turn(grid: TokenGrid, width: int) -> None:
    codes = position_codes(grid, width)
    share = 2 * math.ceil(width / 6)
    for n in (0, 1, grid.j, grid.n - 1):
        place = (n // (grid.i * grid.j), n // grid.j % grid.i, n % grid.j)
        row = []
        for position in place:
            angles = [position * 10_000 ** (-k / (share / 2)) for k in range(share // 2)]
            row += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert codes[n].tolist() == pytest.approx(row[:width], abs=1e-6)


def test_keeping_all_tokens_is_no_mask(encoder: Encoder, clip: torch.Tensor) -> None:
    everything = torch.arange(encoder.grid.n).expand(2, -1)
    torch.testing.assert_close(encoder(clip, everything), encoder(clip))


def test_dropped_tokens_are_never_seen(encoder: Encoder, clip: torch.Tensor) -> None:
    keep = torch.arange(0, 16).expand(2, -1)
    changed = clip.clone()
    changed[:, :, 2:] = 100.0
    assert torch.equal(encoder(clip, keep), encoder(changed, keep))


def test_dropping_before_attention_differs_from_dropping_after_it(encoder: Encoder, clip: torch.Tensor) -> None:
    keep = torch.arange(0, 32, 2).expand(2, -1)
    assert not torch.allclose(encoder(clip, keep), take(encoder(clip), keep), atol=1e-3)
    encoder.blocks = torch.nn.ModuleList()
    torch.testing.assert_close(encoder(clip, keep), take(encoder(clip), keep))


def test_frozen_blocks_and_the_embedding_get_no_gradient(encoder: Encoder, clip: torch.Tensor) -> None:
    encoder.freeze_(2)
    encoder(clip).square().sum().backward()
    reached = {name for name, weight in encoder.named_parameters() if weight.grad is not None}
    assert {name for name in reached if name.startswith("blocks")} == {
        name for name, _ in encoder.named_parameters() if name.startswith("blocks.2")
    }
    assert reached - {name for name in reached if name.startswith("blocks")} == {"norm.weight", "norm.bias"}


def test_freezing_all_blocks_freezes_all_and_none_nothing(encoder: Encoder) -> None:
    encoder.freeze_(0)
    assert all(weight.requires_grad for weight in encoder.parameters())
    encoder.freeze_(3)
    assert not any(weight.requires_grad for weight in encoder.parameters())


def test_more_frozen_blocks_than_blocks_are_refused(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="frozen_blocks: expected 0 to 3, got 4"):
        encoder.freeze_(4)


def test_a_clip_of_another_grid_is_refused(encoder: Encoder) -> None:
    with pytest.raises(InputError, match=r"expected 32 tokens, .*; got 64"):
        encoder(torch.zeros(1, 1, 8, 16, 16))


def test_the_start_follows_the_width_or_the_published_deviation(micro: SegmentRecipe) -> None:
    layer = torch.nn.Linear(300, 100)
    initialise_(layer, None)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.05)
    initialise_(layer, 0.02)
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not layer.bias.any()


def test_the_grid_of_a_recipe(micro: SegmentRecipe) -> None:
    assert grid_of(micro.clip, micro.start.model) == (2, 4, 4)
