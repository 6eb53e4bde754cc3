import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from usjepa.errors import InputError
from usjepa.model.masking import block_size, draw_hidden, in_sector, multiblock, multiblock_raster, thin
from usjepa.model.tokens import TokenGrid, Tubelet, coordinates
from usjepa.spec import LONG_RANGE, SHORT_RANGE, MaskSpec

GRID = TokenGrid(8, 14, 14)
PUBLISHED = json.loads((Path(__file__).parent / "fixtures" / "vjepa_mask_statistics.json").read_text())
FAMILIES = [(SHORT_RANGE, "short_range"), (LONG_RANGE, "long_range")]


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


@pytest.mark.parametrize(("spec", "family"), FAMILIES)
def test_the_published_cut_starves_late_time_slices_as_published(
    spec: MaskSpec, family: str, generator: torch.Generator
) -> None:
    published = PUBLISHED[f"grid_8x14x14/batch_4/{family}"]["target_coverage_per_time_slice"]
    ours = coverage(multiblock_raster, spec, generator)
    assert ours.tolist() == pytest.approx([one / published[0] for one in published], abs=0.06)
    assert ours[-1] < 0.6


@pytest.mark.parametrize(("spec", "family"), FAMILIES)
def test_counts_are_those_of_the_published_generator(spec: MaskSpec, family: str, generator: torch.Generator) -> None:
    """Means over batches of 4 on 8 x 14 x 14, within four standard errors of both samples."""
    masks = [multiblock(GRID, spec, 4, generator) for _ in range(600)]
    for side in ("context", "target"):
        published = PUBLISHED[f"grid_8x14x14/batch_4/{family}"][f"{side}_tokens"]
        ours = torch.tensor([float(getattr(mask, side).shape[1]) for mask in masks])
        error = ours.std().item() * (1 / len(masks) + 1 / PUBLISHED["draws_of_batches"]) ** 0.5
        assert ours.mean().item() == pytest.approx(published["mean"], abs=4 * error)


def test_hidden_is_the_union_of_blocks_through_all_of_time(generator: torch.Generator) -> None:
    one = replace(LONG_RANGE, blocks=1)
    size_generator = torch.Generator().manual_seed(3)
    height, width = block_size(GRID, one, size_generator)
    inside = torch.ones(3, GRID.n, dtype=torch.bool)
    hidden = draw_hidden(GRID, one, inside, torch.Generator().manual_seed(3)).reshape(3, *GRID)
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
    inside = torch.ones(4, GRID.n, dtype=torch.bool)
    assert min(int((~draw_hidden(GRID, spec, inside, generator)).sum(dim=1).min()) for _ in range(50)) >= 300


def test_a_mask_that_leaves_no_context_is_refused(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="40 blocks of 90% leave fewer than 700 of 1568"):
        multiblock(GRID, MaskSpec(blocks=40, spatial_scale=0.9, least_context=700), 2, generator)


def test_tokens_that_are_black_throughout_lie_outside_the_sector() -> None:
    clip = torch.full((2, 1, 2, 4, 4), -0.85)
    clip[0, 0, 1, 3, 0] = -0.8
    clip[1, 0, :, :2, :2] = 0.5
    inside = in_sector(clip, Tubelet(1, 2, 2)).reshape(2, 2, 2, 2)
    assert inside[0].nonzero().tolist() == [[1, 1, 0]]
    assert inside[1].nonzero().tolist() == [[0, 0, 0], [1, 0, 0]]
    colours = torch.cat((clip, clip / 2 + 1, clip - 0.4), dim=1)
    assert torch.equal(in_sector(colours, Tubelet(1, 2, 2)).reshape(inside.shape), inside)


@pytest.mark.parametrize("spec", [SHORT_RANGE, LONG_RANGE])
def test_masks_within_a_sector_stay_in_it(spec: MaskSpec, generator: torch.Generator) -> None:
    place = coordinates(torch.arange(GRID.n), GRID)
    inside = (place[:, 2] - 6.5).abs() < place[:, 1]
    for _ in range(10):
        mask = multiblock(GRID, spec, 3, generator, inside.expand(3, -1))
        assert inside[mask.context].all()
        assert inside[mask.target].all()
