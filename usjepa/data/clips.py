"""From the prepared store to a batch: which frames, which part of them, and how bright."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor
from torch.nn import functional

from usjepa.data.store import Entry, Store
from usjepa.errors import InputError
from usjepa.recipe import ClipSpec

# By number of channels, for grey levels in [0, 1]. Three: ImageNet's colours, which published weights expect.
# One: all pixels of the phantom, of which half are black; off-centre input would bury the image under its mean.
MEAN = {3: (0.485, 0.456, 0.406), 1: (0.17,)}
DEVIATION = {3: (0.229, 0.224, 0.225), 1: (0.20,)}


def frame_indices(length: int, spec: ClipSpec, start: int = 0) -> Int[np.ndarray, " T"]:
    """Which `spec.frames` frames of a sequence of `length` make a clip.

    - `paper`: V-JEPA's loader (facebookresearch/jepa, video_dataset.py): `frames` instants spread over frames x step
      frames from `start`; a sequence that is not longer than that gives every `step_frames`-th frame it has, and then
      its last frame again and again;
    - `uniform`: evenly over the whole sequence, first and last included;
    - `dense`: every `step_frames`-th from `start`, with the step lowered until the sequence is long enough.

    Raises InputError if the sequence is empty or, for `dense`, shorter than the clip, or if `start` lies too late.
    """
    latest = latest_start(length, spec)
    if not 0 <= start <= latest:
        raise InputError(f"start: expected 0 to {latest} in a sequence of {length} frames, got {start}. Lower it.")
    if spec.policy == "uniform":
        return np.rint(np.linspace(0, length - 1, spec.frames)).astype(np.int64)
    if spec.policy == "dense":
        return start + dense_step(length, spec) * np.arange(spec.frames)
    span = spec.frames * spec.step_frames
    distinct = spec.frames if length > span else min(spec.frames, length // spec.step_frames)
    moving = np.linspace(0, min(span, length), distinct)
    held = np.full(spec.frames - distinct, length)
    instants: np.ndarray = np.concatenate((moving, held)).clip(0, min(span, length) - 1)
    return start + instants.astype(np.int64)


def latest_start(length: int, spec: ClipSpec) -> int:
    """The last frame at which a clip may start: 0 if it has to start at the first. Raises as `frame_indices`."""
    if length < 1:
        raise InputError(f"clip: expected a sequence of at least 1 frame, got {length}. Leave it out.")
    if spec.policy == "uniform":
        return 0
    if spec.policy == "dense":
        return length - 1 - dense_step(length, spec) * (spec.frames - 1)
    return max(0, length - spec.frames * spec.step_frames)


def dense_step(length: int, spec: ClipSpec) -> int:
    """The spec's step, or the longest that fits into a short sequence. Raises InputError if not even 1 fits."""
    if length < spec.frames:
        raise InputError(f"clip: expected at least {spec.frames} frames for 'dense', got {length}. Use 'uniform'.")
    return min(spec.step_frames, (length - 1) // max(1, spec.frames - 1))


def training_clips(
    store: Store,
    entries: Sequence[Entry],
    spec: ClipSpec,
    crop: tuple[tuple[float, float], tuple[float, float]],
    generator: Generator,
) -> Float[Tensor, "b c T H W"]:
    """One augmented clip an entry: a random start, and one random crop (area, aspect) for all of its frames."""
    clips = []
    for entry in entries:
        start = int(torch.randint(latest_start(entry.length, spec) + 1, (), generator=generator))
        frames = _frames(store.frames, entry, frame_indices(entry.length, spec, start))
        rows, columns = crop_box(store.size_px, *crop, generator=generator)
        cut = rearrange(frames[:, rows, columns].float(), "T h w -> T 1 h w")
        size = (spec.size_px, spec.size_px)
        clips.append(functional.interpolate(cut, size, mode="bilinear", antialias=True))
    return normalise(rearrange(torch.stack(clips), "b T 1 H W -> b T H W"), spec.channels)


def whole_clips(store: Store, entries: Sequence[Entry], spec: ClipSpec) -> Float[Tensor, "b c T H W"]:
    """The un-augmented clip of each entry, from its first frame. Raises InputError if the store has another size."""
    _require_size(store, spec)
    frames = [_frames(store.frames, entry, frame_indices(entry.length, spec)) for entry in entries]
    return normalise(torch.stack(frames).float(), spec.channels)


def whole_labels(store: Store, entries: Sequence[Entry], spec: ClipSpec) -> UInt8[Tensor, "b T H W"]:
    """The label maps of the same frames as `whole_clips`."""
    _require_size(store, spec)
    return torch.stack([_frames(store.labels, entry, frame_indices(entry.length, spec)) for entry in entries])


def crop_box(
    size_px: int, area: tuple[float, float], aspect: tuple[float, float], *, generator: Generator
) -> tuple[slice, slice]:
    """Rows and columns of a random crop: its share of the area uniform, its aspect (height / width) log-uniform."""
    share, shape, down, right = torch.rand(4, generator=generator).tolist()
    pixels = size_px**2 * (area[0] + (area[1] - area[0]) * share)
    ratio = math.exp(math.log(aspect[0]) + math.log(aspect[1] / aspect[0]) * shape)
    height, width = (min(size_px, round(math.sqrt(pixels * factor))) for factor in (ratio, 1 / ratio))
    top, left = round(down * (size_px - height)), round(right * (size_px - width))
    return slice(top, top + height), slice(left, left + width)


def normalise(frames: Float[Tensor, "b T H W"], channels: int) -> Float[Tensor, "b c T H W"]:
    """Grey levels 0 to 255, repeated over the channels, less `MEAN` and over `DEVIATION`."""
    mean, deviation = (rearrange(torch.tensor(of[channels]), "c -> c 1 1 1") for of in (MEAN, DEVIATION))
    return (repeat(frames / 255, "b T H W -> b c T H W", c=channels) - mean) / deviation


def _frames(of: UInt8[np.ndarray, "F S S"], entry: Entry, indices: Int[np.ndarray, " T"]) -> UInt8[Tensor, "T S S"]:
    """Some frames of one sequence, copied out of the memory map."""
    return torch.from_numpy(np.array(of[entry.first + indices]))


def _require_size(store: Store, spec: ClipSpec) -> None:
    """Un-augmented clips are the store's own pixels."""
    if store.size_px != spec.size_px:
        raise InputError(
            f"{store.folder}: expected a store of {spec.size_px} px, got {store.size_px}. Prepare it anew."
        )
