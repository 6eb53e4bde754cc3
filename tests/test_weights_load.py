from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from weights_files import VIDEOMAE, VJEPA, expected, write_hugging_face

from usjepa.errors import InputError
from usjepa.model.encoder import Encoder, position_codes
from usjepa.model.predictor import Predictor
from usjepa.model.tokens import TokenGrid
from usjepa.spec import ClipSpec, ModelSpec
from usjepa.weights.files import read_weights
from usjepa.weights.load import in_ranges, load_into_, load_published, resize_table
from usjepa.weights.sizes import PUBLISHED_HEADS, grid_of_table, specs_of

MODEL = ModelSpec(width=48, depth=3, heads=3, patch_px=8, predictor_width=24, predictor_depth=2)
CLIP = ClipSpec(frames=8, size_px=32)
TINY = TokenGrid(4, 4, 4)


@pytest.mark.parametrize(("part", "network"), [(None, "target_encoder"), ("encoder", "encoder")])
def test_a_vjepa_file_gives_the_official_features_of_teacher_or_student(part: str | None, network: str) -> None:
    outputs = expected("vjepa")
    encoder = load_published(VJEPA, part=part, heads=3)
    assert encoder.grid == TINY
    torch.testing.assert_close(encoder(outputs["clip"]), outputs[f"{network}/features_full"], atol=1e-5, rtol=0)
    assert not encoder.training
    assert not any(weight.requires_grad for weight in encoder.parameters())


def test_a_videomae_file_gives_the_official_features_in_both_containers(tmp_path: Path) -> None:
    outputs, clip = expected("videomae"), ClipSpec(frames=16, size_px=32)
    other = write_hugging_face(tmp_path / "model.safetensors", {"q_bias": "query.bias", "v_bias": "value.bias"})
    for path in (VIDEOMAE, other):
        features = load_published(path, clip=clip, heads=3)(outputs["clip"])
        torch.testing.assert_close(features, outputs["encoder/full_features"], atol=1e-5, rtol=0)


def test_loading_leaves_torchs_own_generator_alone() -> None:
    before = torch.random.get_rng_state()
    load_published(VJEPA, heads=3)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("number", [0, 1])
def test_the_table_of_positions_is_resized_as_the_official_encoder_does(number: int) -> None:
    outputs = expected("vjepa")
    table, clip = outputs[f"interpolated/{number}/pos_embed"], outputs[f"interpolated/{number}/clip"]
    grid = TokenGrid(clip.shape[2] // 2, clip.shape[3] // 8, clip.shape[4] // 8)
    own = read_weights(VJEPA).parts["encoder"]["pos_embed"]
    torch.testing.assert_close(resize_table(own, TINY, grid), table, atol=1e-6, rtol=0)


def test_features_of_fewer_frames_are_the_official_ones() -> None:
    outputs = expected("vjepa")
    encoder = load_published(VJEPA, part="encoder", clip=ClipSpec(frames=4, size_px=32), heads=3)
    features = encoder(outputs["interpolated/1/clip"])
    torch.testing.assert_close(features, outputs["interpolated/1/features"], atol=1e-5, rtol=0)


def test_the_predictors_table_is_resized_too() -> None:
    tensors, grid = read_weights(VJEPA).parts["predictor"], TokenGrid(2, 6, 6)
    predictor = Predictor(MODEL, grid, families=2)
    load_into_(predictor, tensors, "predictor")
    assert torch.equal(predictor.pos_embed, resize_table(tensors["pos_embed"], TINY, grid))


def test_a_table_of_the_same_grid_is_taken_bit_for_bit() -> None:
    tensors = dict(read_weights(VJEPA).parts["encoder"])
    tensors["pos_embed"] = tensors["pos_embed"] + 1e-4
    encoder = Encoder(MODEL, CLIP)
    load_into_(encoder, tensors, "encoder")
    assert torch.equal(encoder.pos_embed, tensors["pos_embed"])


def test_grids_with_equally_many_tokens_are_told_apart_by_their_codes() -> None:
    """8 x 14 x 14, 2 x 28 x 28 and 32 x 7 x 7 are all 1568 tokens."""
    for grid in (TokenGrid(8, 14, 14), TokenGrid(2, 28, 28), TokenGrid(32, 7, 7)):
        codes = position_codes(grid, 96).unsqueeze(0)
        assert grid_of_table(codes) == grid
        assert grid_of_table(codes.bfloat16()) == grid
    assert grid_of_table(torch.zeros(1, 64, 48)) is None
    long = Encoder(MODEL, ClipSpec(frames=2, size_px=64))
    assert long.grid == (1, 8, 8)
    load_into_(long, read_weights(VJEPA).parts["encoder"], "encoder")
    assert torch.equal(long.pos_embed, resize_table(read_weights(VJEPA).parts["encoder"]["pos_embed"], TINY, long.grid))


def test_nothing_may_be_missing_left_over_or_of_another_shape() -> None:
    tensors = dict(read_weights(VJEPA).parts["encoder"])
    del tensors["norm.bias"]
    tensors["head.weight"] = torch.ones(2)
    tensors["blocks.1.mlp.fc1.bias"] = torch.ones(190)
    encoder = Encoder(MODEL, CLIP)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(InputError) as refused:
        load_into_(encoder, tensors, "vitl16.pth.tar: encoder")
    message = str(refused.value)
    assert message.startswith("vitl16.pth.tar: encoder: expected weights for width 48, depth 3")
    assert "missing: norm.bias" in message
    assert "left over: head.weight" in message
    assert "blocks.1.mlp.fc1.bias (190,) for (192,)" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_another_depth_or_width_is_refused_with_the_sizes_of_both() -> None:
    tensors = read_weights(VJEPA).parts["teacher"]
    deeper = ModelSpec(width=48, depth=5, heads=3, patch_px=8)
    with pytest.raises(InputError, match=r"got width 48, depth 3.*missing:.*blocks\.3-4\.attn\.proj\.bias"):
        load_into_(Encoder(deeper, CLIP), tensors, "teacher")
    wider = ModelSpec(width=96, depth=3, heads=3, patch_px=16)
    with pytest.raises(InputError, match=r"width 96.*2 x 16 x 16.*width 48.*2 x 8 x 8.*pos_embed \(1, 64, 48\) for"):
        load_into_(Encoder(wider, CLIP), tensors, "teacher")


def test_grey_clips_do_not_fit_weights_of_three_channels() -> None:
    with pytest.raises(InputError, match="of another shape: patch_embed"):
        load_published(VJEPA, clip=ClipSpec(frames=8, size_px=32, channels=1), heads=3)


def test_hugging_faces_classifier_without_a_final_norm_is_refused(tmp_path: Path) -> None:
    path = write_hugging_face(tmp_path / "model.safetensors", {"q_bias": "q_bias", "v_bias": "v_bias"})
    tensors = {name: tensor for name, tensor in load_file(path).items() if not name.startswith("videomae.layernorm")}
    save_file(tensors, path)
    with pytest.raises(InputError, match=r"encoder: expected weights for .* missing: norm\.bias, norm\.weight\."):
        load_published(path, clip=ClipSpec(frames=16, size_px=32), heads=3)


def test_heads_are_the_published_ones_or_have_to_be_given() -> None:
    with pytest.raises(InputError, match="expected a published width, 384, 768, 1024, 1280, got 48"):
        load_published(VJEPA)
    with pytest.raises(InputError, match=r"model\.width: expected a multiple of twice the 5 heads"):
        load_published(VJEPA, heads=5)


@pytest.mark.parametrize(("width", "depth", "heads"), [(384, 12, 6), (768, 12, 12), (1024, 24, 16), (1280, 32, 16)])
def test_published_sizes_are_read_off_the_shapes(width: int, depth: int, heads: int) -> None:
    """ViT-H's heads are 80 wide, so that dividing the width by 64 would load it and compute something else."""
    assert PUBLISHED_HEADS[width] == heads
    with torch.device("meta"):
        there = Encoder(ModelSpec(width=width, depth=depth, heads=heads), ClipSpec())
    tensors = {**there.state_dict(), "pos_embed": position_codes(TokenGrid(8, 14, 14), width).unsqueeze(0)}
    model, clip = specs_of(tensors, "file")
    assert (model.width, model.depth, model.heads, model.patch_px) == (width, depth, heads, 16)
    assert clip == ClipSpec()
    del tensors["pos_embed"]
    assert specs_of(tensors, "file")[0].positions == "1d"


def test_what_is_no_encoder_is_refused() -> None:
    with pytest.raises(InputError, match=r"predictor: expected a video encoder with a patch_embed\.proj\.weight"):
        load_published(VJEPA, part="predictor")
    with pytest.raises(InputError, match=r"patch_embed\.proj\.weight of rank 5"):
        specs_of({"patch_embed.proj.weight": torch.ones(48, 3, 8, 8)}, "image model")


def test_names_are_listed_in_ranges() -> None:
    names = ["blocks.3.a", "blocks.4.a", "blocks.5.a", "blocks.1.b", "blocks.7.b", "x.2", "norm.bias", "{}"]
    assert in_ranges(names) == "norm.bias, {}, blocks.1,7.b, blocks.3-5.a, x.2"


def test_weights_in_bfloat16_are_widened() -> None:
    tensors = {name: tensor.bfloat16() for name, tensor in read_weights(VJEPA).parts["teacher"].items()}
    encoder = Encoder(MODEL, CLIP)
    load_into_(encoder, tensors, "teacher")
    assert encoder.norm.weight.dtype == torch.float32
    assert torch.equal(encoder.norm.weight, tensors["norm.weight"].float())
