"""The figures that notebooks share: one style, colours that a colour-blind reader can tell apart.

Each function gives a figure of its own, outside pyplot's list of open ones: a notebook shows it as a cell's last value.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
# Background, LV endo, LV epi, LA: green, red and blue as in the paper's Figure 2, in the tones of Okabe and Ito.
COLOURS = np.array([(0, 0, 0), (0, 158, 115), (213, 94, 0), (86, 180, 233)], dtype=np.uint8)


class Drawn(NamedTuple):
    """A figure and what it shows in words, for those who can't see it."""

    figure: Figure
    alt: str

    def png(self) -> bytes:
        """The same bytes each time."""
        png = BytesIO()
        self.figure.savefig(png, format="png", metadata={"Software": None})
        return png.getvalue()

    def _repr_html_(self) -> str:
        """The figure as an image with its alternative text."""
        return f'<img src="data:image/png;base64,{b64encode(self.png()).decode()}" alt="{escape(self.alt)}">'


def overlay(
    frames: UInt8[np.ndarray, "T H W"], labels: UInt8[np.ndarray, "T H W"], strength: float = 0.45
) -> UInt8[np.ndarray, "T H W 3"]:
    """Grey frames with the structures of the label maps laid over them in colour."""
    grey = repeat(frames, "T H W -> T H W 3").astype(np.float32)
    shown = rearrange(labels > 0, "T H W -> T H W 1") * strength
    mixed: np.ndarray = (1 - shown) * grey + shown * COLOURS[labels]
    return mixed.round().astype(np.uint8)


def hide(frames: UInt8[np.ndarray, "T H W"], hidden: Bool[np.ndarray, "t i j"]) -> UInt8[np.ndarray, "T H W 3"]:
    """Frames with the hidden tokens painted a flat blue; the token grid must divide the frames."""
    depth, rows, columns = (pixels // tokens for pixels, tokens in zip(frames.shape, hidden.shape, strict=True))
    covered = repeat(hidden, "t i j -> (t a) (i b) (j c) 1", a=depth, b=rows, c=columns)
    return np.where(covered, np.array((66, 91, 140), np.uint8), repeat(frames, "T H W -> T H W 3"))


def feature_colours(features: Float[np.ndarray, "t i j d"], scale_px: int = 1) -> UInt8[np.ndarray, "t h w 3"]:
    """The three strongest principal components as red, green and blue: one basis and one scale for all frames."""
    flat = rearrange(features, "t i j d -> (t i j) d")
    centred = flat - flat.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    # A component's sign is arbitrary: fix it by the token where it is strongest, so that reruns agree.
    components = centred @ directions[:3].T
    strongest = components[np.abs(components).argmax(axis=0), np.arange(3)]
    low, high = np.percentile(components * np.sign(strongest), (2, 98), axis=0)
    colours = 255 * np.clip((components * np.sign(strongest) - low) / (high - low), 0, 1)
    shape = dict(zip("tij", features.shape[:3], strict=True))
    pixels = rearrange(colours.round().astype(np.uint8), "(t i j) c -> t i j c", **shape)
    return repeat(pixels, "t i j c -> t (i a) (j b) c", a=scale_px, b=scale_px)


def enlarge(frame: UInt8[np.ndarray, "H W"], size_px: int) -> UInt8[np.ndarray, "S S 3"]:
    """A square grey frame at `size_px` a side, smoothly, with three channels."""
    return np.asarray(Image.fromarray(frame).resize((size_px, size_px), Image.Resampling.BICUBIC).convert("RGB"))


def film_strip(frames: Sequence[np.ndarray], titles: Sequence[str], rows: int = 1) -> Figure:
    """Frames side by side without axes, each [H, W] or [H, W, 3] under its title."""
    columns = -(-len(frames) // rows)
    with rc_context(STYLE):
        figure = Figure(figsize=(1.5 * columns, 1.75 * rows))
        axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, frame, title in zip(axes.flat, frames, titles, strict=False):
        axis.imshow(frame, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(title, fontsize=9)
    return figure


def m_mode(trace: UInt8[np.ndarray, "W T"], marks: Mapping[str, Int[np.ndarray, " K"]], interval_s: float) -> Figure:
    """One line of pixels against time, and below it a row of dots a policy: where its frames were taken.

    Frames that a policy takes more than once are drawn larger.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4))
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    duration_ms = 1000 * interval_s * trace.shape[1]
    top.imshow(trace, cmap="gray", aspect="auto", extent=(0, duration_ms, trace.shape[0], 0), interpolation="nearest")
    top.set(ylabel="position, pixels")
    top.grid(visible=False)
    for row, indices in enumerate(marks.values()):
        taken, times = np.unique(indices, return_counts=True)
        below.scatter(1000 * interval_s * (taken + 0.5), np.full(len(taken), row), s=25 * times, color="#0072B2")
    below.set(yticks=range(len(marks)), yticklabels=list(marks), xlabel="time, ms", ylim=(len(marks) - 0.4, -0.6))
    return figure


def loss_curves(log: pd.DataFrame, source: str = "phantom") -> Figure:
    """Both terms of Eq. 4 against the step, and for Eq. 3 the chance level of the masks that were drawn."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3))
        left, right = figure.subplots(1, 2)
    left.plot(log["step"], log["prediction"], color="#0072B2")
    _label(left, f"{source}: prediction loss, Eq. 1", "mean absolute difference")
    right.semilogy(log["step"], log["localisation"], color="#D55E00", label="Eq. 3")
    right.semilogy(log["step"], log["chance"], color="#555555", linestyle="--", label="chance: always answer zero")
    _label(right, f"{source}: localisation loss, Eq. 3", "squared distance, extents²")
    right.legend(loc="center right")
    return figure


def _label(axis: Axes, title: str, quantity: str) -> None:
    axis.set(title=title, xlabel="step", ylabel=quantity)
