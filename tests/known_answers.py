"""Pairs of a checkpoint and its known answers as tests/fixtures has them, of other sizes, by our own models."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from usjepa.losses import prediction_loss
from usjepa.model.encoder import Encoder, codes_of
from usjepa.model.masking import Mask, tube
from usjepa.model.predictor import Predictor
from usjepa.model.teacher import target_features
from usjepa.model.tokens import TokenGrid, take
from usjepa.model.videomae import Decoder, VideoMAE
from usjepa.recipe import VideoMAERecipe
from usjepa.spec import ClipSpec, DecoderSpec, ModelSpec

MODEL = ModelSpec(width=32, depth=2, heads=2, patch_px=4, predictor_width=16, predictor_depth=1, init_std=None)
COMMON = {"embed": 32, "depth": 2, "heads": 2, "patch": 4, "tubelet": 2, "mlp_ratio": 4.0, "layernorm_eps": 1e-6}


def save(
    folder: Path, checkpoint: dict[str, Any], config: dict[str, Any], answers: dict[str, Any]
) -> tuple[Path, Path]:
    paths = folder / "checkpoint.pt", folder / "expected.pt"
    torch.save(checkpoint, paths[0])
    values = {f"config/{name}": value for name, value in (COMMON | config).items()}
    torch.save(values | {name: one.detach() for name, one in answers.items()}, paths[1])
    return paths


def own_vjepa(folder: Path) -> tuple[Path, Path]:
    """4 frames of 12 x 12, three families of masks with unequal counts; no training steps, tables or other clips."""
    torch.manual_seed(1)
    encoder, teacher = (Encoder(MODEL, ClipSpec(frames=4, size_px=12)) for _ in range(2))
    predictor = Predictor(MODEL, TokenGrid(2, 3, 3), families=3)
    checkpoint = {
        "encoder": {f"module.backbone.{name}": one for name, one in encoder.state_dict().items()},
        "target_encoder": {f"module.backbone.{name}": one for name, one in teacher.state_dict().items()},
        "predictor": {
            f"module.backbone.{'' if name.startswith('mask_tokens') else 'predictor_'}{name}": one
            for name, one in predictor.state_dict().items()
        },
    }
    clip, order = torch.randn(3, 3, 4, 12, 12), torch.rand(3, 3, 18).argsort(dim=2)
    masks = [Mask(of[:, : 3 + i], of[:, 5 + i :]) for i, of in enumerate(order)]
    target, context = target_features(teacher, clip), [encoder(clip, mask.context) for mask in masks]
    predicted = [predictor(context[i], mask, i) for i, mask in enumerate(masks)]
    losses = [prediction_loss(predicted[i], take(target, mask.target)) for i, mask in enumerate(masks)]
    torch.stack(losses).mean().backward()
    tokens = encoder.patch_embed(clip)
    answers = {
        "clip": clip,
        "encoder/patch_embed_only": tokens,
        "encoder/features_full": encoder(clip),
        "encoder/normed_block_output/0": encoder.norm(encoder.blocks[0](tokens + encoder.pos_embed)),
        "encoder/normed_block_output/1": encoder(clip),
        "target_encoder/features_full": teacher(clip),
        "loss/eq1": torch.stack(losses).mean(),
        "grad/encoder/module.backbone.norm.bias": encoder.norm.bias.grad,
        "grad/predictor/module.backbone.predictor_norm.bias": predictor.norm.bias.grad,
        "grad_norm/encoder": nn.utils.get_total_norm([one.grad for one in encoder.parameters()]),
        "grad_norm/predictor": nn.utils.get_total_norm([one.grad for one in predictor.parameters()]),
    }
    for i, mask in enumerate(masks):
        answers |= {f"mask_context/{i}": mask.context, f"mask_target/{i}": mask.target}
        answers |= {f"encoder/features_context/{i}": context[i], f"target/{i}": take(target, mask.target)}
        answers |= {f"predictor/output/{i}": predicted[i], f"loss/per_mask/{i}": losses[i]}
    wide, narrow, clip = encoder.double(), predictor.double(), clip.double()
    target = target_features(teacher.double(), clip)
    predicted = [narrow(wide(clip, mask.context), mask, i) for i, mask in enumerate(masks)]
    losses = [prediction_loss(predicted[i], take(target, mask.target)) for i, mask in enumerate(masks)]
    answers |= {"float64/encoder/features_full": wide(clip), "float64/loss/eq1": torch.stack(losses).mean()}
    answers |= {f"float64/predictor/output_first_8_tokens/{i}": one[:, :8] for i, one in enumerate(predicted)}
    config = {"image": 12, "frames": 4, "predictor_embed": 16, "predictor_depth": 1, "uniform_power": True}
    return save(folder, checkpoint, {**config, "grid": [2, 3, 3]}, answers)


def own_videomae(folder: Path) -> tuple[Path, Path]:
    """4 frames of 12 x 20, half of the places hidden; no gradients, no tables of other sizes."""
    torch.manual_seed(1)
    recipe = VideoMAERecipe(
        clip=ClipSpec(frames=4, size_px=12),
        model=ModelSpec(**{**vars(MODEL), "positions": "1d"}),
        decoder=DecoderSpec(width=16, depth=1, heads=4),
    )
    grid, model = TokenGrid(2, 3, 5), VideoMAE(recipe)
    model.encoder.grid, model.encoder.pos_embed = grid, codes_of(recipe.model, grid, 32)
    model.decoder = Decoder(recipe, grid)
    checkpoint = {}
    for name, one in model.state_dict().items():
        official = name.replace("decoder.mask_token", "mask_token").replace("decoder.embed", "encoder_to_decoder")
        if name.endswith("qkv.bias"):
            query, _, value = one.chunk(3)
            checkpoint |= {name.replace("qkv.bias", "q_bias"): query, name.replace("qkv.bias", "v_bias"): value}
        elif not name.endswith("pos_embed"):
            checkpoint[official] = one
    clip, mask = torch.rand(3, 3, 4, 12, 20), tube(grid, 0.5, 3, torch.Generator().manual_seed(7))
    terms, visible = model(clip, mask), model.encoder(clip, mask.context)
    wide = copy.deepcopy(model).double()
    answers = {
        "clip": clip,
        "mask": torch.zeros(3, grid.n, dtype=torch.bool).scatter(1, mask.target, True),
        "encoder/patch_embed_only": model.encoder.patch_embed(clip),
        "encoder/full_features": model.encoder(clip),
        "encoder/visible_features": visible,
        "encoder_to_decoder": model.decoder.embed(visible),
        "decoder/prediction": model.decoder(visible, mask),
        "target/normalised_pixels": terms.target,
        "loss/normalised": terms.combined,
        "float64/encoder/full_features": wide.encoder(clip.double()),
        "float64/decoder/prediction_first_8_tokens": wide.decoder(wide.encoder(clip.double(), mask.context), mask)[
            :, :8
        ],
        "positions/encoder": model.encoder.pos_embed[0],
        "positions/decoder": model.decoder.pos_embed[0],
    }
    config = {"seed": 9, "image_height": 12, "image_width": 20, "frames": 4, "mask_ratio": 0.5, "grid": [2, 3, 5]}
    return save(
        folder, {"model": checkpoint}, {**config, "decoder_embed": 16, "decoder_depth": 1, "decoder_heads": 4}, answers
    )
