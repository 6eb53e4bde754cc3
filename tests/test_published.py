"""Our V-JEPA against tensors that the official code wrote (tests/fixtures/README.md: how, and the tolerances)."""

from pathlib import Path

import pytest
import torch

from usjepa.losses import prediction_loss
from usjepa.model.encoder import Encoder, position_codes
from usjepa.model.masking import Mask
from usjepa.model.predictor import Predictor
from usjepa.model.teacher import ema_momentum, ema_update_, target_features
from usjepa.model.tokens import TokenGrid, take
from usjepa.recipe import ClipSpec, ModelSpec
from usjepa.training.device import adamw
from usjepa.training.schedules import set_rates_

FIXTURES = Path(__file__).parent / "fixtures"
CHECKPOINT = torch.load(FIXTURES / "vjepa_tiny_checkpoint.pt", weights_only=True)
EXPECTED = torch.load(FIXTURES / "vjepa_tiny_expected.pt", weights_only=True)
MODEL = ModelSpec(width=48, depth=3, heads=3, patch_px=8, predictor_width=24, predictor_depth=2)
CLIP = ClipSpec(frames=8, size_px=32)
MASKS = [Mask(EXPECTED[f"mask_context/{i}"], EXPECTED[f"mask_target/{i}"]) for i in range(2)]


def weights(network: str) -> dict[str, torch.Tensor]:
    names = {name: name.removeprefix("module.backbone.").removeprefix("predictor_") for name in CHECKPOINT[network]}
    return {ours: CHECKPOINT[network][theirs] for theirs, ours in names.items()}


@pytest.fixture
def encoder() -> Encoder:
    encoder = Encoder(MODEL, CLIP)
    encoder.load_state_dict(weights("encoder"))
    return encoder


@pytest.fixture
def teacher() -> Encoder:
    teacher = Encoder(MODEL, CLIP)
    teacher.load_state_dict(weights("target_encoder"))
    return teacher.requires_grad_(False)


@pytest.fixture
def predictor() -> Predictor:
    predictor = Predictor(MODEL, TokenGrid(4, 4, 4), families=2)
    predictor.load_state_dict(weights("predictor"))
    return predictor


def close(ours: torch.Tensor, name: str, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, EXPECTED[name], atol=atol, rtol=0)


def loss_of(encoder: Encoder, teacher: Encoder, predictor: Predictor, clip: torch.Tensor) -> torch.Tensor:
    target = target_features(teacher, clip)
    families = [
        prediction_loss(predictor(encoder(clip, mask.context), mask, family), take(target, mask.target))
        for family, mask in enumerate(MASKS)
    ]
    return torch.stack(families).mean()


def test_encoder_with_all_and_with_kept_tokens(encoder: Encoder) -> None:
    close(encoder.patch_embed(EXPECTED["clip"]), "encoder/patch_embed_only")
    close(encoder(EXPECTED["clip"]), "encoder/features_full")
    for i, mask in enumerate(MASKS):
        close(encoder(EXPECTED["clip"], mask.context), f"encoder/features_context/{i}")


def test_targets_and_predictions(encoder: Encoder, teacher: Encoder, predictor: Predictor) -> None:
    target = target_features(teacher, EXPECTED["clip"])
    for i, mask in enumerate(MASKS):
        close(take(target, mask.target), f"target/{i}")
        close(predictor(EXPECTED[f"encoder/features_context/{i}"], mask, i), f"predictor/output/{i}")


def test_loss_and_gradients(encoder: Encoder, teacher: Encoder, predictor: Predictor) -> None:
    loss = loss_of(encoder, teacher, predictor, EXPECTED["clip"])
    close(loss, "loss/eq1", 1e-6)
    loss.backward()
    compared = 0
    for network, module in (("encoder", encoder), ("predictor", predictor)):
        ours = {name: weight.grad for name, weight in module.named_parameters()}
        prefix = f"grad/{network}/module.backbone."
        for name in (name for name in EXPECTED if name.startswith(prefix)):
            gradient = ours[name.removeprefix(prefix).removeprefix("predictor_")]
            torch.testing.assert_close(gradient, EXPECTED[name], atol=1e-6, rtol=1e-4)
            compared += 1
    assert compared == 49


def test_float64(encoder: Encoder, teacher: Encoder, predictor: Predictor) -> None:
    """Tells an epsilon of 1e-5 in the LayerNorms from 1e-6, which float32 hardly does."""
    for module in (encoder, teacher, predictor):
        module.double()
    clip = EXPECTED["clip"].double()
    close(encoder(clip), "float64/encoder/features_full", 1e-10)
    close(loss_of(encoder, teacher, predictor, clip), "float64/loss/eq1", 1e-10)


def test_five_training_steps(encoder: Encoder, teacher: Encoder, predictor: Predictor) -> None:
    """The official loop of 24 iterations with its schedules stretched by 1.25: 30 steps of momentum."""
    optimiser = adamw(encoder, predictor)
    for step, (loss_there, rate, decay) in enumerate(EXPECTED["train/loss_lr_wd_per_step"].tolist()):
        loss = loss_of(encoder, teacher, predictor, EXPECTED["clip"])
        assert loss.item() == pytest.approx(loss_there, abs=1e-5)
        optimiser.zero_grad()
        loss.backward()
        set_rates_(optimiser, rate=rate, weight_decay=decay)
        optimiser.step()
        ema_update_(teacher, encoder, ema_momentum(step, 30, 0.998, 1.0))
        if step == 0:
            close(encoder.blocks[0].attn.proj.weight, "train/after_step_1/encoder.blocks.0.attn.proj.weight", 1e-4)
    close(encoder.norm.weight, "train/after_step_5/encoder.norm.weight", 1e-4)
    close(teacher.norm.weight, "train/after_step_5/target_encoder.norm.weight", 1e-4)
    close(predictor.mask_tokens[0], "train/after_step_5/predictor.mask_tokens.0", 1e-4)
    close(encoder.blocks[0].mlp.fc2.weight[:4], "train/after_step_5/encoder.blocks.0.mlp.fc2.weight", 1e-4)


@pytest.mark.parametrize("table", ["own_encoder", "own_predictor", "truncated_64", "truncated_40"])
def test_position_tables(table: str) -> None:
    grid = TokenGrid(*EXPECTED[f"positions/{table}/grid"])
    close(position_codes(grid, EXPECTED[f"positions/{table}/dim"]), f"positions/{table}/table", 1e-6)


@pytest.mark.parametrize("table", ["vitl_8x14x14", "vitl_predictor_8x14x14"])
def test_position_tables_of_vit_l(table: str) -> None:
    codes = position_codes(TokenGrid(8, 14, 14), EXPECTED[f"positions/{table}/dim"])
    close(codes[EXPECTED[f"positions/{table}/rows"]], f"positions/{table}/row_values", 1e-6)
    assert codes.double().sum().item() == pytest.approx(EXPECTED[f"positions/{table}/sum"], abs=1e-3)
    assert codes.double().abs().sum().item() == pytest.approx(EXPECTED[f"positions/{table}/abs_sum"], abs=1e-3)
