"""Parameters, memory and memory traffic of a recipe."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from usjepa.estimate.flops import Counts, decoded_tokens, decoder_places, pixels_of, tokens_of, visible_tokens
from usjepa.recipe import AnyRecipe, PretrainRecipe, SegmentRecipe, VideoMAERecipe
from usjepa.spec import ClipSpec, ModelSpec
from usjepa.structures import STRUCTURES

# Bytes that a block keeps for its backward pass, a token and a unit of width: float32, and bfloat16 by autocast.
KEPT_FLOAT32, KEPT_BFLOAT16 = 64, 36


class Size(NamedTuple):
    """Parameters of one network: how many there are, and how many of them are trained."""

    name: str
    parameters: int
    trained: int


def blocks_size(width: int, depth: int) -> int:
    """Parameters of so many transformer blocks."""
    return depth * (12 * width**2 + 13 * width)


def encoder_size(clip: ClipSpec, model: ModelSpec, frozen_blocks: int = 0) -> Size:
    """Embedding, blocks and final norm; positions are fixed and not counted."""
    embedding, norm = (pixels_of(clip, model) + 1) * model.width, 2 * model.width
    every = embedding + blocks_size(model.width, model.depth) + norm
    still = embedding * (frozen_blocks > 0) + blocks_size(model.width, frozen_blocks)
    return Size("encoder", every, every - still - norm * (frozen_blocks == model.depth))


def sizes(recipe: AnyRecipe) -> list[Size]:
    """The networks that a step trains, and a frozen encoder if it runs; not the teacher, a copy of the encoder."""
    if isinstance(recipe, SegmentRecipe):
        return segment_sizes(recipe)
    model, width = recipe.model, recipe.model.width
    parts = [encoder_size(recipe.clip, model, recipe.frozen_blocks)]
    if isinstance(recipe, VideoMAERecipe):
        own, pixels = recipe.decoder.width, pixels_of(recipe.clip, model)
        of_decoder = width * own + own + blocks_size(own, recipe.decoder.depth) + 2 * own + (own + 1) * pixels
        return [*parts, Size("decoder", of_decoder, of_decoder)]
    own, hidden = model.predictor_width, model.head_width
    maps = width * own + own + own * width + width
    of_predictor = maps + len(recipe.masks) * own + blocks_size(own, model.predictor_depth) + 2 * own
    of_head = 2 * width * hidden + hidden + hidden**2 + hidden + 3 * hidden + 3
    return [*parts, Size("predictor", of_predictor, of_predictor), Size("localisation head", of_head, of_head)]


def segment_sizes(recipe: SegmentRecipe) -> list[Size]:
    """Encoder, trained or frozen, probe and decoder."""
    model, width, own = recipe.start.model, recipe.start.model.width, recipe.decoder_width
    of_encoder = encoder_size(recipe.clip, model)
    # A block with one more norm, and the learnt query of every place.
    of_probe = blocks_size(width, 1) + 2 * width + tokens_of(recipe.clip, model) * width
    places, pixels = decoder_places(model), model.tubelet_frames * model.patch_px**2
    of_decoder = own * (width * places + 1) + len(STRUCTURES) * (own * pixels // places + 1)
    trained = of_encoder.parameters * recipe.trains_encoder
    return [
        Size("encoder", of_encoder.parameters, trained),
        Size("probe", of_probe, of_probe),
        Size("decoder", of_decoder, of_decoder),
    ]


def memory(recipe: AnyRecipe, families: Sequence[Counts] = (), *, is_half: bool) -> dict[str, float]:
    """Bytes by kind on the device that trains, without the data, short-lived tensors and the allocator's reserve.

    `is_half` is bfloat16 by autocast: weights and moments stay float32, and each trained matrix is copied once.
    """
    parts = sizes(recipe)
    every, trained = (sum(getattr(part, field) for part in parts) for field in ("parameters", "trained"))
    teacher = parts[0].parameters if isinstance(recipe, PretrainRecipe) else 0
    return {
        "weights": 4.0 * every + 2 * trained * is_half,
        "gradients": 4.0 * trained,
        "moments": 8.0 * trained,
        "teacher": 4.0 * teacher,
        "activations": recipe.batch * kept(recipe, families, is_half=is_half),
    }


def kept(recipe: AnyRecipe, families: Sequence[Counts], *, is_half: bool) -> float:
    """Bytes a clip that the trained blocks keep until their backward pass, for the largest of the masks drawn."""
    of_block = KEPT_BFLOAT16 if is_half else KEPT_FLOAT32
    if isinstance(recipe, SegmentRecipe):
        return of_block * segment_units(recipe) + kept_of_pixels(recipe, is_half=is_half)
    model, moving = recipe.model, recipe.model.width * (recipe.model.depth - recipe.frozen_blocks)
    if isinstance(recipe, VideoMAERecipe):
        visible, every = visible_tokens(recipe), tokens_of(recipe.clip, model)
        return of_block * float(moving * visible + recipe.decoder.width * recipe.decoder.depth * every)
    guess = model.predictor_width * model.predictor_depth
    units = [moving * family.context + guess * (family.context + family.target) for family in families]
    return of_block * float(np.sum(units, axis=0).max())


def segment_units(recipe: SegmentRecipe) -> float:
    """Tokens times width, over the blocks that keep something: the probe, and the encoder if it is trained.

    A quarter of what the probe keeps is of all tokens (norm, keys, values), the rest of those that are decoded.
    """
    model, every = recipe.start.model, tokens_of(recipe.clip, recipe.start.model)
    probe = (every + 3 * decoded_tokens(recipe)) / 4
    return model.width * (probe + every * model.depth * recipe.trains_encoder)


def kept_of_pixels(recipe: SegmentRecipe, *, is_half: bool) -> float:
    """What the decoder keeps: both sides of its GELU, a float32 logit a structure and a label of 8 bytes a pixel."""
    model = recipe.start.model
    between, pixels = decoder_places(model), model.tubelet_frames * model.patch_px**2
    of_token = 2 * recipe.decoder_width * between * (2 if is_half else 4) + (4 * len(STRUCTURES) + 8) * pixels
    return float(decoded_tokens(recipe) * of_token)


def traffic(recipe: AnyRecipe, *, is_half: bool) -> dict[str, float]:
    """Bytes of weights that a step moves whatever its batch, by what moves them: the floor of small batches.

    Fused AdamW reads weight, gradient and two moments and writes three of them: 28 a parameter. A gradient is written
    (and cast), read for its norm, and scaled where it may be clipped (torch always multiplies); the teacher is read and
    written beside the student; each weight is cast for its pass.
    """
    parts, trained = sizes(recipe), sum(part.trained for part in sizes(recipe))
    every = trained if isinstance(recipe, SegmentRecipe) else sum(part.parameters for part in parts)
    has_teacher = isinstance(recipe, PretrainRecipe)
    clips = not isinstance(recipe, SegmentRecipe) and recipe.clip_norm is not None
    return {
        "AdamW": 28.0 * trained,
        "gradients": (8.0 if is_half else 4.0) * trained,
        "clipping": (12.0 if clips else 4.0) * trained,
        "EMA": 12.0 * parts[0].trained * has_teacher,
        "casts": 6.0 * (every + parts[0].parameters * has_teacher) * is_half,
    }
