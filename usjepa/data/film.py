"""AVI, MP4 and MOV through PyAV, in grey and in full: a file that breaks off gives an error, never fewer frames."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from jaxtyping import UInt8

from usjepa.data.pixels import LARGEST_BYTES, LARGEST_SIDE
from usjepa.errors import InputError

DEMUXERS = {".avi": "avi", ".mp4": "mov", ".mov": "mov"}
"""FFmpeg would guess from the content, and follow a play list that calls itself an AVI to other files."""
AGAIN = "Copy the file again, or export it anew."


class Film(NamedTuple):
    """Grey levels [T, H, W], the (row, column) spacing and the time between frames, both None where unknown."""

    frames: UInt8[np.ndarray, "T H W"]
    spacing_mm: tuple[float, float] | None = None
    interval_s: float | None = None


def read_film(path: Path) -> Film:
    """Decode all frames of the first video stream; the spacing is never known.

    Grey is the luma (ITU-R BT.601 for RGB), spread to 0 to 255 where it was stored as 16 to 235. An edit list, which
    hides frames from a player, is ignored. The interval is the mean, or None where frames are spaced unevenly.
    Raises InputError, the file first, for what is missing, no video, cut short, damaged as far as its codec can tell
    (most have no checksum), turned by a flag, or larger than any loop.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a video file, found none. Check the path.")
    if path.stat().st_size > LARGEST_BYTES:
        raise InputError(f"{path.name}: expected at most {LARGEST_BYTES} bytes, got more. Cut the loop.")
    try:
        with av.open(
            io.BytesIO(path.read_bytes()),
            mode="r",
            format=DEMUXERS[path.suffix.lower()],
            options={"ignore_editlist": "1"},
        ) as container:
            return _decode(path.name, container)
    except (FFmpegError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: expected a whole video, got: {error}. {AGAIN}") from error


def _decode(name: str, container: InputContainer) -> Film:
    """All frames, counted against the header, and their instants."""
    stream = container.streams.video[0] if container.streams.video else None
    # A codec that FFmpeg doesn't know leaves no context.
    if stream is None or stream.codec_context is None:
        raise InputError(f"{name}: expected a video stream of a known codec, found none. {AGAIN}")
    stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
    stream.codec_context.thread_count = 1
    pairs = list(_frames(name, container, stream))
    if not pairs or stream.frames not in (0, len(pairs)):
        raise InputError(f"{name}: expected {stream.frames or 'some'} frames, got {len(pairs)}. {AGAIN}")
    frames = np.stack([grey for grey, _ in pairs])
    steps = np.diff([instant for _, instant in pairs if instant is not None])
    is_even = len(steps) == len(pairs) - 1 > 0 and steps.max() < 2 * steps.min()
    base = stream.time_base
    return Film(frames, interval_s=float(steps.mean() * base) if is_even and base is not None else None)


def _frames(
    name: str, container: InputContainer, stream: VideoStream
) -> Iterator[tuple[UInt8[np.ndarray, "H W"], int | None]]:
    """Each frame's grey levels and its instant in the stream's time base."""
    size, pixels = (stream.height, stream.width), 0
    if max(size) > LARGEST_SIDE:
        raise InputError(f"{name}: expected at most {LARGEST_SIDE} pixels a side, got {size}. Shrink the video.")
    for frame in container.decode(stream):
        if frame.is_corrupt or (frame.height, frame.width) != size:
            got = f"a damaged frame or one of {frame.height} x {frame.width}"
            raise InputError(f"{name}: expected whole frames of {size[0]} x {size[1]}, got {got}. {AGAIN}")
        if frame.rotation:
            raise InputError(f"{name}: expected upright frames, got a turn by {frame.rotation} degrees. Turn them.")
        pixels += frame.height * frame.width
        if pixels > LARGEST_BYTES:
            raise InputError(f"{name}: expected at most {LARGEST_BYTES} pixels in all, got more. Cut the loop.")
        yield frame.to_ndarray(format="gray"), frame.pts
