"""Our V-JEPA against tensors that the official code wrote (tests/fixtures/README.md: how, and the tolerances)."""

from pathlib import Path

import pytest

from usjepa.weights.verify import Difference, verify

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def differences() -> list[Difference]:
    return verify(FIXTURES / "vjepa_tiny_checkpoint.pt", FIXTURES / "vjepa_tiny_expected.pt")


def hold(differences: list[Difference], groups: tuple[str, ...], *, tensors: int, tolerance: float) -> None:
    """So many tensors have names that begin so, and all are within one tolerance."""
    mine = [one for one in differences if one.name.startswith(groups)]
    assert len(mine) == tensors
    for one in mine:
        assert one.tolerance == tolerance
        assert one.largest <= tolerance, one


def test_encoder_with_all_and_with_kept_tokens_block_by_block(differences: list[Difference]) -> None:
    hold(differences, ("encoder/", "target_encoder/"), tensors=2 + 2 + 3 + 1, tolerance=1e-5)


def test_targets_and_predictions(differences: list[Difference]) -> None:
    hold(differences, ("target/", "predictor/"), tensors=2 + 2, tolerance=1e-5)


def test_clips_of_other_sizes_with_resized_positions(differences: list[Difference]) -> None:
    for part, tolerance in (("features", 1e-5), ("pos_embed", 1e-6)):
        hold(differences, (f"interpolated/0/{part}", f"interpolated/1/{part}"), tensors=2, tolerance=tolerance)


def test_eq_1_of_both_families_and_of_each(differences: list[Difference]) -> None:
    hold(differences, ("loss/",), tensors=1 + 2, tolerance=1e-6)


def test_gradients(differences: list[Difference]) -> None:
    """Absolutely to 1e-6 or relatively to 1e-4, so that larger elements may be further off."""
    mine = [one for one in differences if one.name.startswith("grad")]
    assert len(mine) == 49 + 2
    for one in mine:
        assert 1e-6 <= one.tolerance < 1e-3
        assert one.largest <= one.tolerance, one


def test_float64(differences: list[Difference]) -> None:
    """Tells an epsilon of 1e-5 in the LayerNorms from 1e-6, which float32 hardly does."""
    hold(differences, ("float64/",), tensors=4, tolerance=1e-10)


def test_five_training_steps(differences: list[Difference]) -> None:
    """Our AdamW and teacher on the official masks, at the official rates."""
    hold(differences, ("train/loss_of_step_",), tensors=5, tolerance=1e-5)
    names = ("encoder.norm.weight", "target_encoder.norm.weight", "predictor.mask_tokens.0")
    of_last = tuple(f"train/after_step_5/{name}" for name in (*names, "encoder.blocks.0.mlp.fc2.weight"))
    hold(differences, of_last, tensors=4, tolerance=1e-4)
    first = "train/after_step_1/{}encoder.blocks.0.attn."
    hold(differences, (first.format("") + "proj.weight",), tensors=1, tolerance=1e-4)
    bias = tuple(
        f"{first.format(which)}qkv.bias ({third})" for which in ("", "target_") for third in ("query", "value")
    )
    hold(differences, bias, tensors=4, tolerance=1e-4)


def test_learning_rate_weight_decay_and_momentum_over_the_published_run(differences: list[Difference]) -> None:
    hold(differences, ("schedule/",), tensors=2 * 3, tolerance=1e-12)


def test_position_tables(differences: list[Difference]) -> None:
    whole = tuple(f"positions/{table}/" for table in ("own_encoder", "own_predictor", "truncated_64", "truncated_40"))
    hold(differences, whole, tensors=4, tolerance=1e-6)
    for table in ("vitl", "vitl_predictor"):
        prefix = f"positions/{table}_8x14x14/"
        hold(differences, (f"{prefix}row",), tensors=1, tolerance=1e-6)
        hold(differences, (f"{prefix}sum", f"{prefix}abs_sum", f"{prefix}cos_weighted_sum"), tensors=3, tolerance=1e-3)
