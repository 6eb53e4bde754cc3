import pytest
import torch

from usjepa.evaluation.health import content_spread, effective_rank, spread


def test_a_collapsed_representation_has_no_spread_and_rank_at_most_one() -> None:
    collapsed = torch.ones(5, 10, 8)
    assert spread(collapsed) == content_spread(collapsed) == 0
    assert effective_rank(collapsed) <= 1


def test_features_that_tell_the_place_alone_have_no_content() -> None:
    positions = torch.randn(1, 10, 8).expand(5, -1, -1)
    assert spread(positions) > 0.5
    assert content_spread(positions) < 1e-6


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_equal_directions_count_fully(rank: int, generator: torch.Generator) -> None:
    tokens = torch.randn(200, rank, generator=generator)
    directions = torch.linalg.qr(tokens - tokens.mean(dim=0)).Q
    features = (directions @ torch.eye(rank, 8)).unflatten(0, (10, 20))
    assert effective_rank(features) == pytest.approx(rank, rel=1e-3)


def test_spread_is_the_mean_deviation_of_the_dimensions(generator: torch.Generator) -> None:
    features = torch.randn(100, 200, 2, generator=generator) * torch.tensor([1.0, 3.0]) + 7
    assert spread(features) == pytest.approx(2.0, rel=0.02)
