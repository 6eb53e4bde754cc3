"""From one film to the one clip that an encoder sees: the pixels that a prepared store would hold, without a store."""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from usjepa.data.camus import CamusTree
from usjepa.data.clips import frame_indices, normalise
from usjepa.data.collection import Videos
from usjepa.data.prepare import to_square
from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError
from usjepa.model.encoder import Encoder
from usjepa.spec import ClipSpec


class Cut(NamedTuple):
    """Which frames of a film make its clip, counted from 0 in the order of time, and the clip."""

    indices: Int[np.ndarray, " T"]
    clip: Float[Tensor, "1 c T H W"]


def clip_of(encoder: Encoder) -> ClipSpec:
    """The clips that fit an encoder, with the paper's step and policy: weights do not show theirs."""
    embedding = encoder.patch_embed.proj
    frames, rows, _ = (places * extent for places, extent in zip(encoder.grid, embedding.kernel_size, strict=True))
    return ClipSpec(frames=frames, size_px=rows, channels=embedding.in_channels)


def cut_film(sequence: UltrasoundSequence, spec: ClipSpec) -> Cut:
    """One clip of a film, from its first frame on, cut by the spec's policy (`usjepa.data.clips.frame_indices`).

    Frames are padded to a centred square and resized: bit for bit the clip that `whole_clips` gives after `prepare`.
    Raises InputError, the film first, if the policy can't cut so short a film.
    """
    try:
        indices = frame_indices(len(sequence.frames), spec)
    except InputError as error:
        raise InputError(f"{sequence.source}: {error}") from error
    squares = [to_square(sequence.frames[index], spec.size_px, Image.Resampling.BILINEAR) for index in indices]
    frames = rearrange(torch.from_numpy(np.stack(squares)).float(), "T H W -> 1 T H W")
    return Cut(indices, normalise(frames, spec.channels))


def cut_films(source: CamusTree | Videos, spec: ClipSpec, title: str) -> Iterator[tuple[UltrasoundSequence, Cut]]:
    """Each film of a source with its clip, under a progress bar; those that can't be read or cut are told and passed.

    One film is in memory at a time. Raises InputError, at the end, if not one could be cut.
    """
    is_empty = True
    for number in tqdm(range(len(source)), title, unit="film", disable=None):
        try:
            sequence = source[number]
            cut = cut_film(sequence, spec)
        except InputError as error:
            tqdm.write(f"usjepa: left out: {error}", file=sys.stderr)
            continue
        is_empty = False
        yield sequence, cut
    if is_empty:
        raise InputError(f"films: expected one or more that can be read, got none of {len(source)}. See above.")
