from dataclasses import replace

import pytest
import torch

from usjepa.errors import InputError
from usjepa.model.masking import block_size, draw_hidden, multiblock, multiblock_raster, thin
from usjepa.model.tokens import TokenGrid, coordinates
from usjepa.recipe import LONG_RANGE, SHORT_RANGE, MaskSpec

GRID = TokenGrid(8, 14, 14)


@pytest.mark.parametrize("spec", [SHORT_RANGE, LONG_RANGE])
@pytest.mark.parametrize("draw", [multiblock, multiblock_raster])
def test_context_and_target_are_disjoint_sorted_and_of_equal_counts(draw, spec: MaskSpec, generator) -> None:
    for _ in range(20):
        mask = draw(GRID, spec, 4, generator)
        assert len(mask.context) == len(mask.target) == 4
        for context, target in zip(mask.context.tolist(), mask.target.tolist(), strict=True):
            assert context == sorted(set(context))
            assert target == sorted(set(target))
            assert not set(context) & set(target)
            assert 0 <= min(context + target) <= max(context + target) < GRID.n


def coverage(draw, spec: MaskSpec, generator) -> torch.Tensor:
    """How often each time slice is a target, relative to the first."""
    seen = torch.zeros(GRID.t)
    for _ in range(200):
        slices = coordinates(draw(GRID, spec, 4, generator).target, GRID)[..., 0]
        seen += torch.bincount(slices.flatten(), minlength=GRID.t)
    return seen / seen[0]


def test_random_thinning_treats_all_time_slices_alike(generator: torch.Generator) -> None:
    assert (coverage(multiblock, SHORT_RANGE, generator) - 1).abs().max() < 0.02


def test_the_published_cut_starves_the_last_time_slice(generator: torch.Generator) -> None:
    """0.36 of the first slice's targets at batch 4, measured on the published generator."""
    assert coverage(multiblock_raster, SHORT_RANGE, generator)[-1].item() == pytest.approx(0.36, abs=0.06)


@pytest.mark.parametrize(("spec", "context", "target"), [(SHORT_RANGE, 463.9, 860.4), (LONG_RANGE, 183.6, 1166.3)])
def test_counts_are_those_of_the_published_generator(
    spec: MaskSpec, context: float, target: float, generator: torch.Generator
) -> None:
    """Means of the published generator over 2,000 batches of 4 on 8 x 14 x 14, within four standard errors of both."""
    masks = [multiblock(GRID, spec, 4, generator) for _ in range(600)]
    for side, published in (("context", context), ("target", target)):
        ours = torch.tensor([float(getattr(mask, side).shape[1]) for mask in masks])
        error = ours.std().item() * (1 / 600 + 1 / 2000) ** 0.5
        assert ours.mean().item() == pytest.approx(published, abs=4 * error)


def test_hidden_is_the_union_of_blocks_through_all_of_time(generator: torch.Generator) -> None:
    one = replace(LONG_RANGE, blocks=1)
    size_generator = torch.Generator().manual_seed(3)
    height, width = block_size(GRID, one, size_generator)
    hidden = draw_hidden(GRID, one, 3, torch.Generator().manual_seed(3)).reshape(3, *GRID)
    assert (hidden == hidden[:, :1]).all()
    for frame in hidden[:, 0]:
        assert (int(frame.any(dim=1).sum()), int(frame.any(dim=0).sum())) == (height, width)
        assert int(frame.sum()) == height * width


def test_the_block_has_the_asked_area_and_aspect(generator: torch.Generator) -> None:
    sizes = {block_size(GRID, SHORT_RANGE, generator) for _ in range(300)}
    assert sizes == {(6, 5), (5, 6), (5, 5), (7, 4), (6, 4)} | (sizes & {(4, 6)})


def test_thinning_keeps_the_lowest_order_of_each_rows_members() -> None:
    member = torch.tensor([[True, True, False, True], [False, True, True, False]])
    order = torch.tensor([[0.9, 0.1, 0.0, 0.5], [0.0, 0.2, 0.1, 0.3]])
    assert thin(member, order).tolist() == [[1, 3], [1, 2]]


def test_the_same_seed_gives_the_same_mask() -> None:
    first, second = (multiblock(GRID, SHORT_RANGE, 2, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.target, second.target)


def test_least_context_is_kept_by_drawing_again(generator: torch.Generator) -> None:
    spec = replace(LONG_RANGE, least_context=300)
    assert min(int((~draw_hidden(GRID, spec, 4, generator)).sum(dim=1).min()) for _ in range(50)) >= 300


def test_a_mask_that_leaves_no_context_is_refused(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="40 blocks of 90% leave fewer than 700 of 1568"):
        multiblock(GRID, MaskSpec(blocks=40, spatial_scale=0.9, least_context=700), 2, generator)
