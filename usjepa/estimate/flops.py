"""Floating-point operations of one step, part by part: matrix products only, a multiplication and an addition two.

Softmax, norms, GELU, losses and the optimiser are left out, as is what a fused attention computes again backward.
Backward is twice forward, less what no gradient is asked for: frozen blocks, and the input of a first layer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int

from usjepa.recipe import AnyRecipe, PretrainRecipe, SegmentRecipe, VideoMAERecipe
from usjepa.spec import ClipSpec, ModelSpec, require
from usjepa.structures import STRUCTURES

Number: TypeAlias = int | float | Int[np.ndarray, " draws"]


class Counts(NamedTuple):
    """Tokens a clip of one mask family, a number a batch drawn: attention grows with the square, so means mislead."""

    context: Int[np.ndarray, " draws"]
    target: Int[np.ndarray, " draws"]


class StepPart(NamedTuple):
    """FLOPs of one part of a step, of its whole batch."""

    name: str
    forward: float
    backward: float


class Products(NamedTuple):
    """FLOPs of one pass of a network a clip: of its first layer, and of all the rest that is trained or frozen."""

    first: Number
    frozen: Number
    rest: Number

    def part(self, name: str, passes: int, *, input_moves: bool = False, is_trained: bool = True) -> StepPart:
        """As a part of a step with so many clips; `input_moves`: the first layer hands a gradient further down."""
        forward = self.first + self.frozen + self.rest
        first = 0 if np.any(self.frozen) else self.first * (1 + input_moves)
        backward = first + 2 * self.rest if is_trained else 0.0
        return StepPart(name, passes * float(np.mean(forward)), passes * float(np.mean(backward)))


def tokens_of(clip: ClipSpec, model: ModelSpec) -> int:
    """All tokens of a clip: t i j. Raises InputError if a side does not divide."""
    for field, side, of in (("frames", clip.frames, model.tubelet_frames), ("size_px", clip.size_px, model.patch_px)):
        require(side % of == 0, f"clip.{field}", f"a multiple of the tubelet's {of}", side)
    return clip.frames // model.tubelet_frames * (clip.size_px // model.patch_px) ** 2


def pixels_of(clip: ClipSpec, model: ModelSpec) -> int:
    """Numbers in one tubelet, all channels."""
    return clip.channels * model.tubelet_frames * model.patch_px**2


def visible_tokens(recipe: VideoMAERecipe) -> int:
    """Tokens a clip outside VideoMAE's tubes; each time slice hides the same whole number."""
    cells = (recipe.clip.size_px // recipe.model.patch_px) ** 2
    return tokens_of(recipe.clip, recipe.model) // cells * (cells - int(recipe.mask_ratio * cells))


def decoded_tokens(recipe: SegmentRecipe) -> int:
    """Tokens a clip and step that the probe reads and the decoder turns into pixels."""
    return round(recipe.decoded_share * tokens_of(recipe.clip, recipe.start.model))


def decoder_places(model: ModelSpec) -> int:
    """Places that the first transposed convolution makes of one token (`usjepa.model.segmenter`)."""
    return model.tubelet_frames * int(4 ** math.ceil(math.log2(model.patch_px) / 2))


def block(width: int, tokens: Number) -> Number:
    """One transformer block: 8 d^2 n in the attention's maps, 16 d^2 n in the MLP, 4 d n^2 in the attention."""
    return 24 * width**2 * tokens + 4 * width * tokens**2


def encoder(clip: ClipSpec, model: ModelSpec, tokens: Number, frozen_blocks: int = 0) -> Products:
    """A pass over `tokens` of a clip's tokens; all of them are embedded before the others are dropped."""
    embedding = 2 * pixels_of(clip, model) * model.width * tokens_of(clip, model)
    one = block(model.width, tokens)
    return Products(embedding, frozen_blocks * one, (model.depth - frozen_blocks) * one)


def predictor(model: ModelSpec, family: Counts) -> Products:
    """A pass over one family's context and targets; only the targets are mapped back to the encoder's width."""
    width, tokens = model.predictor_width, family.context + family.target
    one_map = 2 * model.width * width
    rest = model.predictor_depth * block(width, tokens) + one_map * family.target
    return Products(one_map * family.context, 0, rest)


def offset_head(recipe: PretrainRecipe) -> Products:
    """Three fully connected layers on every pair."""
    width, hidden = recipe.model.width, recipe.model.head_width
    return Products(0, 0, 2 * recipe.pairs * (2 * width * hidden + hidden**2 + 3 * hidden))


def vjepa(recipe: PretrainRecipe, families: Sequence[Counts]) -> list[StepPart]:
    """Parts of V-JEPA's step: one teacher pass, then student, predictor and head once a mask family.

    Controls of the localisation loss run the predictor or the student once more a family (`usjepa.model.jepa`).
    """
    clip, model, batch = recipe.clip, recipe.model, recipe.batch
    parts = [encoder(clip, model, tokens_of(clip, model)).part("teacher", batch, is_trained=False)]
    moves = recipe.frozen_blocks < model.depth
    for family in families:
        student = encoder(clip, model, family.context, recipe.frozen_blocks)
        guess = predictor(model, family)
        parts += [student.part("student", batch)] * (1 + (recipe.localise == "placeless"))
        parts.append(guess.part("predictor", batch, input_moves=moves))
        if recipe.localise in ("detached", "zeroed"):
            parts.append(guess.part("predictor", batch))
        parts.append(offset_head(recipe).part("localisation head", batch))
    return merge(parts)


def videomae(recipe: VideoMAERecipe) -> list[StepPart]:
    """Parts of VideoMAE's step: the encoder on visible tokens, the decoder on all, pixels of the hidden ones."""
    clip, model, width = recipe.clip, recipe.model, recipe.decoder.width
    every, visible = tokens_of(clip, model), visible_tokens(recipe)
    pixels = 2 * width * pixels_of(clip, model) * (every - visible)
    decoder = Products(2 * model.width * width * visible, 0, recipe.decoder.depth * block(width, every) + pixels)
    return [
        encoder(clip, model, visible, recipe.frozen_blocks).part("encoder", recipe.batch),
        decoder.part("decoder", recipe.batch, input_moves=recipe.frozen_blocks < model.depth),
    ]


def segment(recipe: SegmentRecipe) -> list[StepPart]:
    """Parts of the probe's step: cross-attention, two transposed convolutions, and the encoder if it is trained."""
    clip, model, width = recipe.clip, recipe.start.model, recipe.start.model.width
    every, read = tokens_of(clip, model), decoded_tokens(recipe)
    keys = Products(0, 0, 4 * width**2 * every)
    queries = Products(0, 0, 20 * width**2 * read + 4 * width * every * read)
    pixels = model.tubelet_frames * model.patch_px**2
    maps = 2 * recipe.decoder_width * (width * decoder_places(model) + len(STRUCTURES) * pixels)
    decoder = Products(0, 0, read * maps)
    parts = [encoder(clip, model, every).part("encoder", recipe.batch)] if recipe.trains_encoder else []
    probe = (keys.part("probe", recipe.batch), queries.part("probe", recipe.batch))
    return merge([*parts, *probe, decoder.part("decoder", recipe.batch)])


def step_flops(recipe: AnyRecipe, families: Sequence[Counts] = ()) -> list[StepPart]:
    """FLOPs of one step by part; V-JEPA's need the tokens of its mask families (`mask_counts`)."""
    if isinstance(recipe, PretrainRecipe):
        return vjepa(recipe, families)
    return videomae(recipe) if isinstance(recipe, VideoMAERecipe) else segment(recipe)


def merge(parts: Sequence[StepPart]) -> list[StepPart]:
    """Parts of one name added up, in the order of their first."""
    names = dict.fromkeys(part.name for part in parts)
    same = ([part for part in parts if part.name == name] for name in names)
    return [
        StepPart(some[0].name, sum(one.forward for one in some), sum(one.backward for one in some)) for some in same
    ]
