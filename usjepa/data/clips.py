"""From the prepared store to a batch: which frames, which part of them, and how bright."""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor
from torch.nn import functional

from usjepa.data.store import Entry, Store
from usjepa.errors import InputError
from usjepa.spec import ClipSpec

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


def frame_weights(indices: Int[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """1 where a frame comes for the first time in a clip and 0 where it is repeated, so that scores count it once."""
    weights = np.zeros(len(indices))
    weights[np.unique(indices, return_index=True)[1]] = 1
    return weights


def moving_tubelets(length: int, spec: ClipSpec, tubelet_frames: int) -> int:
    """How many of a whole clip's spec.frames / tubelet_frames tubelets hold more than one distinct frame.

    In all others nothing can move. Raises InputError if the clip is no whole number of tubelets.
    """
    if tubelet_frames < 1 or spec.frames % tubelet_frames:
        raise InputError(f"clip.frames: expected a multiple of {tubelet_frames}, got {spec.frames}. Change one.")
    held = rearrange(frame_indices(length, spec), "(t p) -> t p", p=tubelet_frames)
    return int((held != held[:, :1]).any(axis=1).sum())


def trusted_frames(store: Store, entries: Sequence[Entry], spec: ClipSpec) -> Float[Tensor, "b T"]:
    """1 for each frame of `whole_labels` that may train or be scored, else 0: a clip's repeats and unlabelled frames.

    A label map of an unannotated frame that is 0 everywhere was never made, as in EchoNet-Dynamic, where two frames
    of a video are traced; maps interpolated between annotated ones are not empty, and count.
    """
    has_label = reduce(whole_labels(store, entries, spec) > 0, "b T H W -> b T", "max").numpy()
    chosen = [frame_indices(entry.length, spec) for entry in entries]
    drawn = np.stack([np.isin(k, entry.annotated) for k, entry in zip(chosen, entries, strict=True)])
    return torch.from_numpy((has_label | drawn) * np.stack([frame_weights(k) for k in chosen])).float()


class Augmentation(NamedTuple):
    """How training clips are varied: a crop's share of the area and its aspect (height / width), mirrored or not."""

    area: tuple[float, float]
    aspect: tuple[float, float]
    flips: bool = False


def resident(store: Store, device: torch.device) -> UInt8[Tensor, "F S S"]:
    """All frames as a tensor: in the GPU's memory if they take at most half of what is free, else still mapped.

    CAMUS at 224 px is about 1 GB. Clips of a resident store are cut, resized and normalised where they lie.
    """
    with warnings.catch_warnings():
        # torch warns that a read-only map must not be written to; nothing here writes.
        warnings.simplefilter("ignore", UserWarning)
        frames = torch.from_numpy(np.asarray(store.frames))
    if device.type != "cuda" or frames.numel() > torch.cuda.mem_get_info(device)[0] // 2:
        return frames
    return frames.to(device)


def training_clips(
    frames: UInt8[Tensor, "F S S"], entries: Sequence[Entry], spec: ClipSpec, vary: Augmentation, generator: Generator
) -> Float[Tensor, "b c T H W"]:
    """One augmented clip an entry, on the frames' device: a random start, one random crop for all of its frames."""
    clips = []
    for entry in entries:
        start = int(torch.randint(latest_start(entry.length, spec) + 1, (), generator=generator))
        indices = torch.from_numpy(entry.first + frame_indices(entry.length, spec, start)).to(
            frames.device, non_blocking=True
        )
        rows, columns = crop_box(frames.shape[1], vary.area, vary.aspect, generator=generator)
        cut = rearrange(frames[indices][:, rows, columns].float(), "T h w -> T 1 h w")
        if vary.flips and torch.rand((), generator=generator) < 0.5:
            cut = cut.flip(-1)
        clips.append(functional.interpolate(cut, (spec.size_px, spec.size_px), mode="bilinear", antialias=True))
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
    """Grey levels 0 to 255, repeated over the channels, less `MEAN` and over `DEVIATION`: one product and sum."""
    mean, deviation = (torch.tensor(of[channels]).to(frames.device, non_blocking=True) for of in (MEAN, DEVIATION))
    scale, shift = (rearrange(one, "c -> c 1 1 1") for one in (1 / (255 * deviation), -mean / deviation))
    return torch.addcmul(shift, rearrange(frames, "b T H W -> b 1 T H W"), scale)


def _frames(of: UInt8[np.ndarray, "F S S"], entry: Entry, indices: Int[np.ndarray, " T"]) -> UInt8[Tensor, "T S S"]:
    """Some frames of one sequence, copied out of the memory map."""
    return torch.from_numpy(np.array(of[entry.first + indices]))


def _require_size(store: Store, spec: ClipSpec) -> None:
    """Un-augmented clips are the store's own pixels."""
    if store.size_px != spec.size_px:
        raise InputError(
            f"{store.folder}: expected a store of {spec.size_px} px, got {store.size_px}. Prepare it anew."
        )
