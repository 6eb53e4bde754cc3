"""Place tokens in the grid and read their relative offset, Eq. (2), and how offsets add up along a chain."""

import numpy as np
from jaxtyping import UInt8

from usjepa.errors import InputError
from usjepa.present.widget import Interactive, interactive, panel, png, radios, require_slices, slider

KEYS = "Place a token: arrow keys move, Page Up and Page Down change the slice, Enter places"
ROWS = ("A − B", "B − C", "their sum", "A − C")
NAMES = ("A", "B", "C")
STARTS = ((3, 3, 3), (1, 1, 1), (2, 3, 1))
"""Places of A, B and C at first, in quarters of each extent."""


def pair_explorer(frames: UInt8[np.ndarray, "t H W"], grid: tuple[int, int, int], *, alt: str) -> Interactive:
    """Three tokens A, B, C on the frames, to be placed anywhere, and beside them the offsets of Eq. (2).

    frames: one grey frame a time slice. grid: tokens along time, rows and columns. Each component is shown in whole
    tokens of its extent and as a decimal fraction; A - B and B - C add up to A - C. Raises InputError for a grid whose
    slices are not the frames', a grid without tokens, or no description.
    """
    if min(grid) < 1:
        raise InputError(f"grid: expected at least one token along (t, i, j), got {grid}. Give the clip's grid.")
    require_slices(frames, grid[0])
    pictures = [png(frame) for frame in frames]
    size_px = (frames.shape[1], frames.shape[2])
    extents = "".join(
        f"<th>{axis}<br>up to ±{extent - 1}/{extent}</th>"
        for axis, extent in zip(("time", "rows", "columns"), grid, strict=True)
    )
    rows = "".join(f'<tr><th scope="row">{name}</th><td></td><td></td><td></td></tr>' for name in ROWS)
    places = "".join(f'<span class="place-{name}"></span>' for name in NAMES)
    body = (
        f"{radios('token', 'Token to place', (f'place {name}' for name in NAMES))}"
        f'<div class="panels pickable" tabindex="0" role="application" aria-label="{KEYS}" style="max-width:420px">'
        f"{panel(pictures[0], 'frame of the chosen time slice', size_px, (grid[1], grid[2]))}</div>"
        f'<div class="bar" style="max-width:420px">{slider("slice", "Time slice", grid[0])}</div>'
        f'<div class="key">{places}<span>dashed: in another slice</span></div><output></output>'
        f"<table><thead><tr><th>offset</th>{extents}</tr></thead><tbody>{rows}</tbody></table>"
    )
    start = [[extent * share // 4 for extent, share in zip(grid, one, strict=True)] for one in STARTS]
    data = {"frames": pictures, "grid": grid, "start": start}
    return interactive("pair-explorer", body, data, alt=alt, description=f"{grid[0]} x {grid[1]} x {grid[2]} tokens")
