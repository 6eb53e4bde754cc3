"""What our V-JEPA answers to a file of known answers (tests/fixtures/README.md says how each tensor was made)."""

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from usjepa.errors import InputError
from usjepa.losses import prediction_loss
from usjepa.model.encoder import Encoder, position_codes, tubelet_of
from usjepa.model.masking import Mask
from usjepa.model.predictor import Predictor
from usjepa.model.teacher import target_features
from usjepa.model.tokens import TokenGrid, Tubelet, take, token_grid
from usjepa.spec import ClipSpec, ModelSpec
from usjepa.weights.files import WeightsFile
from usjepa.weights.known import (
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
from usjepa.weights.load import load_into_, resize_table
from usjepa.weights.names import from_vjepa


class Case(NamedTuple):
    """The three networks with the file's weights, and the file's clips and masks."""

    encoder: Encoder
    teacher: Encoder
    predictor: Predictor
    clip: Float[Tensor, "b c T H W"]
    masks: tuple[Mask, ...]

    def losses(self) -> list[Float[Tensor, ""]]:
        """Eq. 1 of each mask family."""
        target = target_features(self.teacher, self.clip)
        return [
            prediction_loss(self.predictor(self.encoder(self.clip, mask.context), mask, i), take(target, mask.target))
            for i, mask in enumerate(self.masks)
        ]

    def loss(self) -> Float[Tensor, ""]:
        """Their mean."""
        return torch.stack(self.losses()).mean()


def read_case(known: Known, weights: WeightsFile) -> Case:
    """Networks of the file's sizes with these weights. Raises InputError for sizes or settings that aren't built."""
    known.require("config/uniform_power", True)
    side = known.whole("config/image")
    model = ModelSpec(
        width=known.whole("config/embed"),
        depth=known.whole("config/depth"),
        heads=known.whole("config/heads"),
        patch_px=known.whole("config/patch"),
        tubelet_frames=known.whole("config/tubelet"),
        predictor_width=known.whole("config/predictor_embed"),
        predictor_depth=known.whole("config/predictor_depth"),
    )
    grid = grid_of_clips(known, tubelet_of(model), side, side)
    masks = tuple(_mask(known, grid, i) for i in range(len(known.below("mask_context/"))))
    clip = ClipSpec(frames=known.whole("config/frames"), size_px=side)
    networks = (Encoder(model, clip), Encoder(model, clip), Predictor(model, grid, len(masks)))
    for part, network in zip(("encoder", "teacher", "predictor"), networks, strict=True):
        load_into_(network, weights.parts[weights.part(part)], f"{weights.path}: {part}")
    networks[1].requires_grad_(False)
    return Case(*networks, known.clip("clip"), masks)


def _mask(known: Known, grid: TokenGrid, family: int) -> Mask:
    mask = Mask(known.tensor(f"mask_context/{family}"), known.tensor(f"mask_target/{family}"))
    clips = len(known.clip("clip"))
    for index in mask:
        fits = index.dtype == torch.int64 and index.ndim == 2 and len(index) == clips and index.numel() > 0
        if not fits or not 0 <= int(index.min()) <= int(index.max()) < grid.n:
            raise InputError(
                f"{known.path}: masks of family {family}: expected ({clips}, k) token numbers below {grid.n}, got "
                f"{tuple(index.shape)} of {index.dtype}. Write the file again."
            )
    return mask


def vjepa_answers(known: Known, case: Case) -> Iterator[Answer]:
    """Ours and theirs of every tensor of the models, the loss, its gradients and the tables of positions."""
    yield from _forward(known, case)
    yield from _gradients(known, copy.deepcopy(case))
    yield from _other_sizes(known, case.encoder)
    yield from _float64(known, copy.deepcopy(case))
    for name in known.below("positions/"):
        table, _, part = name.partition("/")
        if part == "dim" and known.values.get(f"positions/{table}/uniform_power") is True:
            codes = position_codes(known.grid(f"positions/{table}/grid"), known.whole(f"positions/{name}"))
            yield from table_answers(known, f"positions/{table}/", codes)


@torch.no_grad()
def _forward(known: Known, case: Case) -> Iterator[Answer]:
    """Every stage of the forward pass, the predictor's from the official context."""
    encoder, teacher, predictor, clip, masks = case
    tokens, target = encoder.patch_embed(clip), target_features(teacher, clip)
    ours = {"encoder/patch_embed_only": tokens, "encoder/features_full": encoder(clip)}
    tokens = tokens + encoder.pos_embed
    for j, block in enumerate(encoder.blocks):
        tokens = block(tokens)
        ours[f"encoder/normed_block_output/{j}"] = encoder.norm(tokens)
    ours["target_encoder/features_full"] = teacher(clip)
    for i, mask in enumerate(masks):
        ours[f"encoder/features_context/{i}"] = encoder(clip, mask.context)
        ours[f"target/{i}"] = take(target, mask.target)
        ours[f"predictor/output/{i}"] = predictor(known.tensor(f"encoder/features_context/{i}"), mask, i)
    for name, tensor in ours.items():
        yield Answer(name, tensor, known.tensor(name), FEATURES)


def _gradients(known: Known, case: Case) -> Iterator[Answer]:
    """Eq. 1 and its gradients in both networks that are trained."""
    losses = case.losses()
    loss = torch.stack(losses).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    for name, of in {"eq1": loss, **{f"per_mask/{i}": of for i, of in enumerate(losses)}}.items():
        yield Answer(f"loss/{name}", of.detach(), known.tensor(f"loss/{name}"), LOSSES)
    for part, network in (("encoder", case.encoder), ("predictor", case.predictor)):
        moving = gradients(network)
        for name in known.below(f"grad/{part}/"):
            full = f"grad/{part}/{name}"
            (ours,) = from_vjepa({part: {name: known.tensor(full)}})[part]
            yield Answer(full, called(ours, moving, f"{known.path}: {full}"), known.tensor(full), GRADIENTS)
        norm = nn.utils.get_total_norm(moving.values())
        yield Answer(f"grad_norm/{part}", norm, known.tensor(f"grad_norm/{part}"), GRADIENTS)


@torch.no_grad()
def _other_sizes(known: Known, built: Encoder) -> Iterator[Answer]:
    """Clips of other sizes: the table of positions resized, and the features with it."""
    for name in known.below("interpolated/"):
        if name.endswith("/clip"):
            prefix = f"interpolated/{name.removesuffix('clip')}"
            clip, encoder = known.clip(f"interpolated/{name}"), copy.deepcopy(built)
            frames, height_px, width_px = clip.shape[2:]
            encoder.grid = token_grid(frames, height_px, width_px, Tubelet(*encoder.patch_embed.proj.kernel_size))
            encoder.pos_embed = resize_table(built.pos_embed, built.grid, encoder.grid)
            yield Answer(f"{prefix}pos_embed", encoder.pos_embed, known.tensor(f"{prefix}pos_embed"), TABLES)
            yield Answer(f"{prefix}features", encoder(clip), known.tensor(f"{prefix}features"), FEATURES)


@torch.no_grad()
def _float64(known: Known, case: Case) -> Iterator[Answer]:
    """The same in float64, which tells an epsilon of 1e-5 in the norms from one of 1e-6."""
    wide = Case(case.encoder.double(), case.teacher.double(), case.predictor.double(), case.clip.double(), case.masks)
    ours = {"encoder/features_full": wide.encoder(wide.clip), "loss/eq1": wide.loss()}
    for i, mask in enumerate(wide.masks):
        predicted = wide.predictor(wide.encoder(wide.clip, mask.context), mask, i)
        ours[f"predictor/output_first_8_tokens/{i}"] = predicted[:, :8]
    for name, tensor in ours.items():
        yield Answer(f"float64/{name}", tensor, known.tensor(f"float64/{name}"), FLOAT64)
