"""Features and label maps of clips; and a finished run's encoder, probe and decoder, read from its folder."""

from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from usjepa.errors import InputError
from usjepa.inference.clips import clip_of
from usjepa.model.encoder import Encoder
from usjepa.recipe import PretrainRecipe, Published, SegmentRecipe, Untrained, VideoMAERecipe
from usjepa.recipe_file import read_recipe, recipe_hash
from usjepa.training.device import autocast
from usjepa.training.environment import read_environment
from usjepa.training.learners import new_encoder
from usjepa.training.runs import Run
from usjepa.training.scoring import Judged
from usjepa.training.segment import new_segmenter
from usjepa.weights.files import sha256_of
from usjepa.weights.load import load_into_, load_published


@torch.no_grad()
def encode(clip: Float[Tensor, "b c T H W"], encoder: Encoder) -> Float[Tensor, "b t i j d"]:
    """Features of every token of these clips, each in its place; float32, on the encoder's device.

    The clip is normalised, as `cut_film` gives it. Raises InputError for one of another size than the encoder's.
    """
    spec, device = clip_of(encoder), encoder.pos_embed.device
    expected = (spec.channels, spec.frames, spec.size_px, spec.size_px)
    if clip.shape[1:] != expected:
        raise InputError(
            f"clip: expected b clips of (c, T, H, W) = {expected}, got {tuple(clip.shape)}. Cut it by clip_of(encoder)."
        )
    with autocast(device):
        tokens = encoder(clip.to(device)).float()
    features: Tensor = rearrange(tokens, "b (t i j) d -> b t i j d", **encoder.grid._asdict())
    return features


@torch.no_grad()
def segment(clip: Float[Tensor, "b c T H W"], judged: Judged) -> UInt8[Tensor, "b T H W"]:
    """Label maps of these clips: the index into `STRUCTURES` that is likeliest at each pixel, on the encoder's device.

    Raises InputError as `encode`.
    """
    features = rearrange(encode(clip, judged.encoder), "b t i j d -> b (t i j) d")
    with autocast(features.device):
        logits: Tensor = judged.segmenter(features)
    return logits.argmax(dim=1).to(torch.uint8)


def segment_recipe(folder: Path) -> SegmentRecipe:
    """The recipe of a run that judges an encoder by a probe. Raises InputError for a folder of anything else."""
    recipe = read_recipe(folder / "recipe.json")
    if not isinstance(recipe, SegmentRecipe):
        raise InputError(
            f"{folder}: expected the run of a probe on an encoder, 'segment', got one of {recipe.kind!r}. "
            "Give the folder that `usjepa run` prints."
        )
    return recipe


def load_run(folder: Path, device: torch.device, weights: Path | None = None) -> Judged:
    """What a finished run has trained: probe, decoder and the encoder that they belong to. Nothing is written.

    A frozen encoder is in the run that it comes from, whose folder lies beside this one; `weights` is the file, where
    it is a published one. Raises InputError for a run or an encoder that is missing, unfinished, damaged or another.
    """
    recipe = segment_recipe(folder)
    state = Run(folder, recipe).final()
    segmenter = new_segmenter(recipe)
    segmenter.load_state_dict(state["segmenter"])
    if isinstance(recipe.start, Published) and not recipe.trains_encoder:
        encoder = _published(recipe.start, folder, weights)
    else:
        encoder = new_encoder(recipe.start)
        if recipe.trains_encoder:
            encoder.load_state_dict(state["encoder"])
        elif not isinstance(recipe.start, Untrained | Published):
            load_into_(encoder, _trained(recipe.start, recipe.judges, folder), f"{folder}: encoder")
    judged = Judged(encoder, segmenter)
    for part in judged:
        part.requires_grad_(False).eval().to(device)
    return judged


def _trained(start: PretrainRecipe | VideoMAERecipe, judges: str, folder: Path) -> dict[str, Tensor]:
    """The weights of the judged part of the pre-training's own run."""
    run = Run(folder.parent / recipe_hash(start), start)
    if not run.done:
        raise InputError(
            f"{run.folder}: expected the finished pre-training that {folder.name} takes its encoder from, found none. "
            f"Put that folder there; or delete {folder}, and make both anew with usjepa run."
        )
    prefix = "teacher." if judges == "teacher" and isinstance(start, PretrainRecipe) else "encoder."
    state: dict[str, Tensor] = run.final()["model"]
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _published(start: Published, folder: Path, weights: Path | None) -> Encoder:
    """The published encoder that the run was begun with."""
    if weights is None:
        raise InputError(
            f"{folder}: expected the file of published {start.family} weights that this run judges, got none. "
            "Name it with --weights FILE."
        )
    encoder = load_published(weights, clip=start.clip, heads=start.model.heads)
    began = read_environment(folder)["weights"]
    if (came := sha256_of(weights)) != began:
        raise InputError(
            f"{weights}: expected the file that {folder.name} began with, SHA-256 {began[:12]}, got {came[:12]}. "
            "Name that file."
        )
    return encoder
