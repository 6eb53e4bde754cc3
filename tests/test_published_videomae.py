"""Our VideoMAE against tensors that the official code wrote (tests/fixtures/README.md: how, and the tolerances)."""

from pathlib import Path

import pytest
import torch
from einops import rearrange

from usjepa.model.masking import tube
from usjepa.model.tokens import TokenGrid
from usjepa.weights.verify import Difference, verify

FIXTURES = Path(__file__).parent / "fixtures"
CHECKPOINT, EXPECTED = FIXTURES / "videomae_tiny_checkpoint.pt", FIXTURES / "videomae_tiny_expected.pt"


@pytest.fixture(scope="module")
def differences() -> list[Difference]:
    return verify(CHECKPOINT, EXPECTED)


@pytest.mark.parametrize(
    ("group", "tensors", "tolerance"),
    [
        ("encoder/", ["full_features", "patch_embed_only", "visible_features"], 1e-5),
        ("encoder_to_decoder", [""], 1e-5),
        ("decoder/", ["prediction"], 1e-5),
        ("target/", ["normalised_pixels"], 1e-5),
        ("loss/", ["normalised"], 1e-6),
        ("float64/", ["decoder/prediction_first_8_tokens", "encoder/full_features"], 1e-10),
        ("mask", [" (places hidden)"], 0),
    ],
)
def test_features_predictions_target_and_loss_are_the_published(
    differences: list[Difference], group: str, tensors: list[str], tolerance: float
) -> None:
    mine = sorted((one for one in differences if one.name.startswith(group)), key=lambda one: one.name)
    assert [one.name.removeprefix(group) for one in mine] == tensors
    for one in mine:
        assert one.tolerance == tolerance
        assert one.largest <= tolerance, one


def test_gradients_are_the_published(differences: list[Difference]) -> None:
    """The official attention has biases of query and value alone: thirds of ours."""
    named = {one.name.removeprefix("grad/"): one for one in differences if one.name.startswith("grad/")}
    assert set(named) == {
        "mask_token",
        "encoder.patch_embed.proj.bias",
        "encoder.blocks.0.attn.q_bias",
        "encoder.blocks.0.attn.v_bias",
        "encoder.norm.weight",
        "decoder.norm.bias",
        "decoder.head.bias",
    }
    assert all(one.largest <= max(1e-6, one.tolerance) and one.tolerance < 1e-4 for one in named.values())


def test_position_tables_are_the_published(differences: list[Difference]) -> None:
    tables = [one for one in differences if one.name.startswith("positions/")]
    assert len(tables) == 2 + 2 * 4
    for one in tables:
        assert one.tolerance == (1e-3 if one.name.endswith("sum") else 1e-6)
        assert one.held, one


def test_the_official_mask_is_a_tube_as_ours(generator: torch.Generator) -> None:
    expected = torch.load(EXPECTED, weights_only=True)
    grid = TokenGrid(*expected["config/grid"])
    theirs = rearrange(expected["mask"], "b (t k) -> t b k", t=grid.t)
    assert (theirs == theirs[0]).all()
    ours = tube(grid, expected["config/mask_ratio"], 2, generator)
    assert ours.target.shape == (2, grid.t * int(theirs[0, 0].sum()))
