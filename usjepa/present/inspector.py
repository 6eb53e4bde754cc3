"""Choose a token of a clip and see how alike its feature is to that of every other, through the beat."""

from collections.abc import Mapping

import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8

from usjepa.errors import InputError
from usjepa.present.widget import (
    Interactive,
    interactive,
    packed,
    panel,
    png,
    radios,
    require_named,
    require_slices,
)

MOST_TOKENS = 512
"""Similarities are stored for all pairs of tokens: 350 kB for as many."""

KEYS = "Choose a token: arrow keys move, Page Up and Page Down change the slice, Enter chooses"


def token_inspector(
    frames: UInt8[np.ndarray, "t H W"],
    features: Mapping[str, Float[np.ndarray, "t i j d"]],
    *,
    alt: str,
    start: tuple[int, int, int] = (0, 0, 0),
) -> Interactive:
    """A panel a time slice, under the cosine similarity of the chosen token's feature to each token's.

    frames: one grey frame a time slice. features: by name, to choose among; say *trained* and *untrained*. start: place
    (t, i, j) of the token that is chosen at first. Similarities are rounded to 1/127. Raises InputError for arrays that
    don't fit together, features of length 0 or not finite, more than 512 tokens, a start outside, or no description.
    """
    shape = require_named("features", features)
    if len(shape) != 4 or np.prod(shape[:3]) > MOST_TOKENS:
        raise InputError(
            f"features: expected shape (t, i, j, d) with at most {MOST_TOKENS} tokens, got {shape}. All pairs are "
            "stored: take fewer slices or a coarser grid."
        )
    grid = shape[:3]
    require_slices(frames, grid[0])
    if not all(0 <= place < extent for place, extent in zip(start, grid, strict=True)):
        raise InputError(f"start: expected a place (t, i, j) inside {grid}, got {start}. Count from 0.")
    similarities = [packed(_similarity(name, array)) for name, array in features.items()]
    pictures = [png(frame) for frame in frames]
    panels = "".join(
        panel(
            picture,
            f"slice {t + 1} of {grid[0]}",
            (frames.shape[1], frames.shape[2]),
            (grid[1], grid[2]),
            f'<span class="slice">slice t = {t}</span>',
        )
        for t, picture in enumerate(pictures)
    )
    body = (
        f"{radios('features', 'Features', features)}"
        f'<div class="panels pickable" tabindex="0" role="application" aria-label="{KEYS}" '
        f'style="grid-template-columns:repeat(auto-fit,minmax(150px,1fr))">{panels}</div>'
        '<div class="key"><span>blue with a minus: opposite</span><span>clear: 0</span><span>orange: alike</span>'
        "<span>white frame: chosen</span><span>white dot: most alike of its slice</span></div><output></output>"
    )
    data = {"similarities": similarities, "grid": grid, "start": start}
    description = f"{', '.join(features)} on {grid[0]} x {grid[1]} x {grid[2]} tokens"
    return interactive("token-inspector", body, data, alt=alt, description=description)


def _similarity(name: str, features: Float[np.ndarray, "t i j d"]) -> UInt8[np.ndarray, "n n"]:
    """Cosine similarity of all pairs, -1 to 1 stored as 0 to 254."""
    flat = rearrange(features, "t i j d -> (t i j) d").astype(np.float64)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise InputError(f"features: {name}: expected finite features other than 0, got one that isn't. Look at them.")
    unit = flat / lengths
    stored: UInt8[np.ndarray, "n n"] = np.rint(127 * (unit @ unit.T).clip(-1, 1) + 127).astype(np.uint8)
    return stored
