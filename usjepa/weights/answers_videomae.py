"""What our VideoMAE answers to a file of known answers (tests/fixtures/README.md says how each tensor was made)."""

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from usjepa.errors import InputError
from usjepa.model.encoder import codes_of, raster_codes, tubelet_of
from usjepa.model.masking import Mask, thin, tube
from usjepa.model.tokens import TokenGrid
from usjepa.model.videomae import Decoder, VideoMAE
from usjepa.recipe import VideoMAERecipe
from usjepa.spec import ClipSpec, DecoderSpec, ModelSpec
from usjepa.weights.files import WeightsFile
from usjepa.weights.known import (
    EXACT,
    FEATURES,
    FLOAT64,
    GRADIENTS,
    LOSSES,
    TABLES,
    Answer,
    Known,
    called,
    gradients,
    grid_of_clips,
    table_answers,
)
from usjepa.weights.load import load_into_
from usjepa.weights.names import from_videomae

THIRDS = {"q_bias": 0, "v_bias": 2}
"""Which third of our `qkv.bias` the official biases are; the key has none."""


class Case(NamedTuple):
    """The model with the file's weights, and the file's clips and mask, as indices and as it is."""

    model: VideoMAE
    clip: Float[Tensor, "b c T H W"]
    mask: Mask
    hidden: Bool[Tensor, "b n"]


def read_case(known: Known, weights: WeightsFile) -> Case:
    """A model of the file's sizes with these weights. Raises InputError for sizes or settings that aren't built."""
    height_px, width_px = known.whole("config/image_height"), known.whole("config/image_width")
    recipe = _recipe(known)
    grid = grid_of_clips(known, tubelet_of(recipe.model), height_px, width_px)
    model = VideoMAE(recipe)
    model.encoder.grid, model.encoder.pos_embed = grid, codes_of(recipe.model, grid, recipe.model.width)
    model.decoder = Decoder(recipe, grid)
    for part, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        load_into_(network, weights.parts[weights.part(part)], f"{weights.path}: {part}")
    clip, hidden = known.clip("clip"), known.tensor("mask")
    fits = hidden.dtype == torch.bool and hidden.shape == (len(clip), grid.n)
    if not fits or not 0 < (counts := hidden.sum(dim=1)).min() == counts.max() < grid.n:
        raise InputError(
            f"{known.path}: mask: expected booleans {(len(clip), grid.n)}, as many True in each clip, not all; "
            f"got {tuple(hidden.shape)} of {hidden.dtype}. Write the file again."
        )
    order = torch.zeros(hidden.shape)
    return Case(model, clip, Mask(thin(~hidden, order), thin(hidden, order)), hidden)


def _recipe(known: Known) -> VideoMAERecipe:
    """Square clips as high as the file's: only their grid is put right afterwards."""
    return VideoMAERecipe(
        clip=ClipSpec(frames=known.whole("config/frames"), size_px=known.whole("config/image_height")),
        model=ModelSpec(
            width=known.whole("config/embed"),
            depth=known.whole("config/depth"),
            heads=known.whole("config/heads"),
            patch_px=known.whole("config/patch"),
            tubelet_frames=known.whole("config/tubelet"),
            positions="1d",
            predictor_width=known.whole("config/embed"),
        ),
        decoder=DecoderSpec(
            width=known.whole("config/decoder_embed"),
            depth=known.whole("config/decoder_depth"),
            heads=known.whole("config/decoder_heads"),
        ),
    )


def videomae_answers(known: Known, case: Case) -> Iterator[Answer]:
    """Ours and theirs of every tensor that both have; raw pixels as a target are not built here."""
    yield from _mask(known, case)
    yield from _forward(known, case)
    yield from _gradients(known, copy.deepcopy(case))
    yield from _float64(known, copy.deepcopy(case))
    yield from _tables(known, case)


def _mask(known: Known, case: Case) -> Iterator[Answer]:
    """Places hidden in any slice, and in all of them: one number if the mask is a tube, and that of our `tube`."""
    grid, ratio = case.model.encoder.grid, known.tensor("config/mask_ratio").item()
    drawn = torch.zeros_like(case.hidden)
    target = tube(grid, ratio, len(drawn), Generator().manual_seed(known.whole("config/seed"))).target
    ours, theirs = (_places(hidden, grid) for hidden in (drawn.scatter(1, target, True), case.hidden))
    yield Answer("mask (places hidden)", ours, theirs, EXACT)


def _places(hidden: Bool[Tensor, "b n"], grid: TokenGrid) -> Tensor:
    tubes = rearrange(hidden, "b (t k) -> b t k", t=grid.t)
    return torch.stack((tubes.any(dim=1).sum(dim=1), tubes.all(dim=1).sum(dim=1)))


@torch.no_grad()
def _forward(known: Known, case: Case) -> Iterator[Answer]:
    """Every stage of the forward pass."""
    encoder, decoder = case.model.encoder, case.model.decoder
    visible = encoder(case.clip, case.mask.context)
    ours = {
        "encoder/patch_embed_only": encoder.patch_embed(case.clip),
        "encoder/full_features": encoder(case.clip),
        "encoder/visible_features": visible,
        "encoder_to_decoder": decoder.embed(visible),
        "decoder/prediction": decoder(visible, case.mask),
    }
    for name, tensor in ours.items():
        yield Answer(name, tensor, known.tensor(name), FEATURES)


def _gradients(known: Known, case: Case) -> Iterator[Answer]:
    """The target, the loss and its gradients."""
    terms = case.model(case.clip, case.mask)
    yield Answer("target/normalised_pixels", terms.target, known.tensor("target/normalised_pixels"), FEATURES)
    yield Answer("loss/normalised", terms.combined.detach(), known.tensor("loss/normalised"), LOSSES)
    terms.combined.backward()
    moving = {"encoder": gradients(case.model.encoder), "decoder": gradients(case.model.decoder)}
    for name in known.below("grad/"):
        theirs, (stem, _, last) = known.tensor(f"grad/{name}"), name.rpartition(".")
        third = THIRDS.get(last)
        renamed = from_videomae({name if third is None else f"{stem}.qkv.bias": theirs}, str(known.path))
        for part, tensors in renamed.items():
            for ours in tensors:
                gradient = called(ours, moving[part], f"{known.path}: grad/{name}")
                compared = gradient if third is None else gradient.chunk(3)[third]
                yield Answer(f"grad/{name}", compared, theirs, GRADIENTS)


@torch.no_grad()
def _float64(known: Known, case: Case) -> Iterator[Answer]:
    """The same in float64, which tells an epsilon of 1e-5 in the norms from one of 1e-6."""
    model, clip = case.model.double(), case.clip.double()
    predicted = model.decoder(model.encoder(clip, case.mask.context), case.mask)
    ours = {"encoder/full_features": model.encoder(clip), "decoder/prediction_first_8_tokens": predicted[:, :8]}
    for name, tensor in ours.items():
        yield Answer(f"float64/{name}", tensor, known.tensor(f"float64/{name}"), FLOAT64)


def _tables(known: Known, case: Case) -> Iterator[Answer]:
    """The tables in use, and those of the published sizes, named after their width."""
    for part, module in (("encoder", case.model.encoder), ("decoder", case.model.decoder)):
        yield Answer(f"positions/{part}", module.pos_embed[0], known.tensor(f"positions/{part}"), TABLES)
    for name in known.below("positions/"):
        if name.endswith("/row_values"):
            prefix = f"positions/{name.removesuffix('row_values')}"
            width = known.tensor(f"positions/{name}").shape[1]
            yield from table_answers(known, prefix, raster_codes(TokenGrid(8, 14, 14), width))
