"""That the known-answer test compares what it says, finds what is wrong, and refuses what it can't read."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from known_answers import own_videomae, own_vjepa
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from usjepa.cli import main
from usjepa.errors import InputError
from usjepa.model.tokens import Tubelet
from usjepa.model.videomae import normalised_pixels
from usjepa.weights.verify import verify

FIXTURES = Path(__file__).parent / "fixtures"
FAMILIES = ["vjepa", "videomae"]


def pair(family: str) -> tuple[Path, Path]:
    return FIXTURES / f"{family}_tiny_checkpoint.pt", FIXTURES / f"{family}_tiny_expected.pt"


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """Writes a copy of a file with changed values."""

    def write(source: Path, change: Callable[[dict[str, Any]], None]) -> Path:
        values = torch.load(source, weights_only=True)
        change(values)
        torch.save(values, tmp_path / source.name)
        return tmp_path / source.name

    return write


def beyond(checkpoint: Path, expected: Path) -> set[str]:
    return {one.name for one in verify(checkpoint, expected) if not one.held}


def file_name(row: str) -> str:
    """Name in the file of what a row of the table compares."""
    if row.startswith("train/loss_of"):
        return "train/loss_lr_wd_per_step"
    return row.partition(" (")[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_row_is_a_tensor_of_the_file_and_one_wrong_number_in_it_is_found(
    family: str, changed: Callable[..., Path]
) -> None:
    """All compared tensors are changed at their last element, inputs of other rows once more apart."""
    checkpoint, expected = pair(family)
    inputs = {"mask", "encoder/features_context/0", "encoder/features_context/1", "train/loss_lr_wd_per_step"}
    rows = [row for row in verify(checkpoint, expected) if file_name(row.name) not in inputs]

    def spoil(values: dict[str, Any]) -> None:
        for name in {file_name(row.name) for row in rows}:
            if isinstance(values[name], Tensor):
                last = values[name].flatten()[-1]
                values[name].flatten()[-1:].copy_(last + 0.01 * (1 + last.abs()))
            else:
                values[name] += 0.01

    assert beyond(checkpoint, changed(expected, spoil)) >= {row.name for row in rows if "qkv.bias (" not in row.name}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_weights_are_found_in_every_row_that_depends_on_them(family: str, changed: Callable[..., Path]) -> None:
    checkpoint, expected = pair(family)

    def spoil(values: dict[str, Any]) -> None:
        for part in [values[name] for name in ("encoder", "target_encoder", "predictor", "model") if name in values]:
            for name in part:
                if "pos_embed" not in name:
                    part[name] = part[name] + 0.02 * torch.randn(part[name].shape)

    torch.manual_seed(0)
    rows = {row.name for row in verify(checkpoint, expected)}
    without = (
        "positions/",
        "schedule/",
        "mask",
        "target/normalised_pixels",
        "interpolated/0/pos",
        "interpolated/1/pos",
    )
    assert beyond(changed(checkpoint, spoil), expected) >= {name for name in rows if not name.startswith(without)} - {
        name for name in rows if name.endswith("(key)")
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_an_epsilon_of_1e_5_is_found_in_float64(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usjepa.model.encoder.LayerNorm", partial(nn.LayerNorm, eps=1e-5))
    found = beyond(*pair(family))
    assert "float64/encoder/features_full" in found or "float64/encoder/full_features" in found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tanh_form_of_gelu_is_found_in_features_and_predictions(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usjepa.model.encoder.Block", partial(Block, act_layer=partial(nn.GELU, approximate="tanh")))
    found = {name.partition("/")[0] for name in beyond(*pair(family))}
    assert {"encoder", "float64", "loss", "predictor" if family == "vjepa" else "decoder"} <= found


def test_an_optimiser_that_decays_the_biases_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def rates(optimiser: torch.optim.Optimizer, *, rate: float, weight_decay: float) -> None:
        for group in optimiser.param_groups:
            group["lr"], group["weight_decay"] = rate, 100 * weight_decay

    monkeypatch.setattr("usjepa.weights.answers_training.set_rates_", rates)
    found = beyond(*pair("vjepa"))
    assert found
    assert all(name.startswith("train/") for name in found)


def test_pixels_normalised_over_all_colours_at_once_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def together(clip: Tensor, tubelet: Tubelet) -> Tensor:
        pixels = normalised_pixels(clip, tubelet)
        return (pixels - pixels.mean(dim=2, keepdim=True)) / pixels.std(dim=2, keepdim=True)

    monkeypatch.setattr("usjepa.model.videomae.normalised_pixels", together)
    assert "target/normalised_pixels" in beyond(*pair("videomae"))


def test_a_vjepa_of_other_sizes_with_three_mask_families(tmp_path: Path) -> None:
    checkpoint, expected = own_vjepa(tmp_path)
    differences = verify(checkpoint, expected)
    assert len(differences) == 2 + 2 + 1 + 3 * 3 + 1 + 3 + 2 + 2 + 2 + 3
    assert max(one.largest for one in differences) < 1e-9


def test_a_videomae_of_other_sizes_on_clips_that_are_not_square(tmp_path: Path) -> None:
    checkpoint, expected = own_videomae(tmp_path)
    differences = verify(checkpoint, expected)
    assert len(differences) == 1 + 5 + 2 + 2 + 2
    assert max(one.largest for one in differences) < 1e-9


def test_a_mask_that_is_no_tube_or_hides_another_share_is_found(changed: Callable[..., Path]) -> None:
    checkpoint, expected = pair("videomae")
    assert beyond(checkpoint, changed(expected, lambda values: values.update({"config/mask_ratio": 0.8}))) == {
        "mask (places hidden)"
    }

    def move_first_slice(values: dict[str, Any]) -> None:
        values["mask"][:, :16] = values["mask"][:, :16].roll(1, dims=1)

    assert "mask (places hidden)" in beyond(checkpoint, changed(expected, move_first_slice))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_command_prints_every_tensor_and_gives_0(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "verify", *map(str, pair(family))]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = verify(*pair(family))
    assert len(lines) == len(rows) + 2
    for line, row in zip(lines[1:], rows, strict=False):
        assert line.startswith(row.name)
        assert line.endswith("yes")
    assert lines[-1] == f"{len(rows)} tensors compared, 0 beyond tolerance"


def test_the_command_gives_1_beyond_tolerance_and_names_the_tensor(
    changed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, expected = pair("videomae")

    def spoil(values: dict[str, Any]) -> None:
        values["encoder/full_features"][0, 0, 0] = math.nan

    assert main(["weights", "verify", str(checkpoint), str(changed(expected, spoil))]) == 1
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.endswith("NO")] == ["encoder/full_features"]
    assert out.splitlines()[-1] == "27 tensors compared, 1 beyond tolerance"


def without(name: str) -> Callable[[dict[str, Any]], None]:
    def drop(values: dict[str, Any]) -> None:
        del values[name]

    return drop


def having(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda values: values.update({name: value})


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("vjepa", without("config/predictor_embed"), "expected 'config/predictor_embed', found none; it begins with"),
        ("vjepa", without("clip"), "expected 'clip', found none"),
        ("vjepa", without("mask_target/1"), "expected 'mask_target/1', found none"),
        ("vjepa", without("encoder/features_full"), "expected 'encoder/features_full', found none"),
        ("videomae", without("loss/normalised"), "expected 'loss/normalised', found none"),
        ("vjepa", having("config/depth", "three"), "config/depth: expected a whole number, got 'three'"),
        ("vjepa", having("config/uniform_power", False), "config/uniform_power: expected True, got False"),
        ("videomae", having("config/layernorm_eps", 1e-5), "config/layernorm_eps: expected 1e-06, got 1e-05"),
        ("videomae", having("config/grid", [8, 2, 8]), r"config/grid: expected \[8, 4, 4\], got \[8, 2, 8\]"),
        ("vjepa", having("config/image", 36), "expected a multiple of the tubelet's 8, got 36"),
        ("vjepa", having("config/frames", 4), "clip: expected 4 x 32 x 32, as its config has it, got 8 x 32 x 32"),
        ("vjepa", having("clip", torch.zeros(2, 1, 8, 32, 32)), r"clip: expected \(b, 3, T, H, W\) of float32"),
        ("vjepa", having("mask_context/0", torch.full((2, 3), 64)), "masks of family 0: expected .* below 64"),
        ("videomae", having("mask", torch.ones(2, 128).bool().triu(1)), "mask: expected booleans"),
        ("videomae", having("encoder/full_features", torch.zeros(3)), r"expected \(2, 128, 48\) of these sizes, got"),
        ("videomae", having("clip", "a film"), "clip: expected a tensor, got str"),
        ("vjepa", having("grad/encoder/module.backbone.cls", torch.zeros(3)), "trained parameter, got 'cls'"),
        ("vjepa", having("config/embed", 60), "expected weights for width 60, depth 3"),
    ],
)
def test_files_in_another_layout_are_refused_with_what_is_wrong(
    family: str, change: Callable[[dict[str, Any]], None], message: str, changed: Callable[..., Path]
) -> None:
    checkpoint, expected = pair(family)
    with pytest.raises(InputError, match=message):
        verify(checkpoint, changed(expected, change))


@pytest.mark.parametrize("swapped", [("vjepa", "videomae"), ("videomae", "vjepa")])
def test_weights_of_the_other_family_give_2(swapped: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    (checkpoint, _), (_, expected) = map(pair, swapped)
    assert main(["weights", "verify", str(checkpoint), str(expected)]) == 2
    assert f"expected weights of {swapped[1]}" in capsys.readouterr().err


def test_two_checkpoints_give_2_with_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, _ = pair("vjepa")
    assert main(["weights", "verify", str(checkpoint), str(checkpoint)]) == 2
    assert "expected 'config/predictor_embed', found none; it begins with encoder" in capsys.readouterr().err
