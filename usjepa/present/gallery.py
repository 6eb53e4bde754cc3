"""Draws of masks to step through: which tokens are context, which are targets, and which are neither."""

import html
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from usjepa.errors import InputError
from usjepa.present.widget import Interactive, interactive, packed, panel, png, require_named, require_slices, slider

ROLES = ("context: the picture", "target: blue, one stroke", "neither: orange, a cross")


def mask_gallery(
    frames: UInt8[np.ndarray, "t H W"], roles: Mapping[str, UInt8[np.ndarray, "k t i j"]], *, alt: str
) -> Interactive:
    """A panel for each name of `roles`, with one slider over `k` draws and one over the time slices.

    frames: one grey frame a time slice. roles: of each token in each draw 0 for context, 1 for target, 2 for neither.
    Colour and strokes tell these apart, and below each panel they are counted. Raises InputError for arrays that don't
    fit together, another role, or no description.
    """
    shape = require_named("roles", roles)
    if len(shape) != 4 or max(array.max() for array in roles.values()) > 2:
        largest = max(array.max() for array in roles.values())
        raise InputError(
            f"roles: expected shape (draws, t, i, j) and 0 context, 1 target or 2 neither; got {shape} with values up "
            f"to {largest}. Fill an array with 2, then set the places of context and target."
        )
    draws, slices, rows, columns = shape
    require_slices(frames, slices)
    pictures = [png(frame) for frame in frames]
    panels = "".join(_panel(name, pictures[0], frames.shape[1:], (rows, columns)) for name in roles)
    key = "".join(f'<span><canvas width="24" height="24" aria-hidden="true"></canvas>{role}</span>' for role in ROLES)
    body = (
        f'<div class="panels" style="grid-template-columns:1fr 1fr;max-width:600px">{panels}</div>'
        f'<div class="key">{key}</div><div class="bar">{slider("draw", "Draw", draws)}'
        f"{slider('slice', 'Time slice', slices)}</div>"
    )
    data = {"frames": pictures, "roles": [packed(array) for array in roles.values()], "shape": shape}
    size = f"{len(roles)} x {draws} draws on {slices} x {rows} x {columns} tokens"
    return interactive("mask-gallery", body, data, alt=alt, description=size)


def _panel(name: str, picture: str, size_px: tuple[int, ...], tokens: tuple[int, int]) -> str:
    counts = f'<span class="count">{html.escape(name)}<br><span class="numbers" aria-live="polite"></span></span>'
    return panel(picture, name, (size_px[0], size_px[1]), tokens, counts)
