"""Small films for tests, written with PyAV."""

from pathlib import Path

import av
import numpy as np

RATE_HZ = 50


def moving(length: int = 12, side: int = 112, seed: int = 0) -> np.ndarray:
    """Grey blocks of 8 pixels that move to the right: smooth enough for MJPEG, different on every frame."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (side // 8, side // 8)), np.ones((8, 8))).astype(np.uint8)
    return np.stack([np.roll(blocks, 3 * t, axis=1) for t in range(length)])


def write_film(path: Path, frames: np.ndarray, codec: str = "mjpeg", pixels: str = "yuvj420p") -> Path:
    """Encode grey [T, H, W] or RGB [T, H, W, 3] frames; MJPEG in AVI is how EchoNet-Dynamic is stored."""
    options = {"mjpeg": {"qscale": "1", "qmin": "1", "qmax": "1"}, "libx264": {"crf": "1"}}.get(codec, {})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE_HZ, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="gray" if frame.ndim == 2 else "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path
