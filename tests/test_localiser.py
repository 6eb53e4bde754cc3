import pytest
import torch

from usjepa.errors import InputError
from usjepa.model.localiser import OffsetHead, chance_level, sample_pairs
from usjepa.model.tokens import TokenGrid


def test_pairs_are_two_different_targets_each_drawn_uniformly(generator: torch.Generator) -> None:
    target = torch.arange(5).expand(3, -1)
    pairs = sample_pairs(target, 20_000, generator)
    assert pairs.first.shape == pairs.second.shape == (3, 20_000)
    assert (pairs.first != pairs.second).all()
    cells = torch.bincount((pairs.first * 5 + pairs.second).flatten(), minlength=25).reshape(5, 5)
    share = cells.double() / cells.sum()
    assert not share.diagonal().any()
    assert (share[~torch.eye(5, dtype=torch.bool)] - 1 / 20).abs().max() < 0.003


def test_one_target_makes_no_pair(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="at least 2 targets to pair, got 1"):
        sample_pairs(torch.zeros(2, 1, dtype=torch.int64), 4, generator)


def test_a_pair_of_neighbours_has_the_chance_level_of_their_distance() -> None:
    assert chance_level(torch.tensor([[0, 1]]), TokenGrid(1, 1, 4)) == pytest.approx(1 / 16)


def test_the_head_has_three_fully_connected_layers_and_reads_both_embeddings() -> None:
    head = OffsetHead(8, 16)
    linear = [layer for layer in head.layers if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(16, 16), (16, 16), (16, 3)]
    first, second = torch.randn(2, 2, 5, 8)
    answer = head(first, second)
    assert answer.shape == (2, 5, 3)
    assert not torch.allclose(answer, head(second, first))
