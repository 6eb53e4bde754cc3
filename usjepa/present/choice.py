"""A slider over finished runs; one that has not been run says so in its place."""

import html
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from usjepa.errors import InputError
from usjepa.present.widget import Interactive, interactive, png, require_named, slider

NOT_YET_RUN = "not yet run"
EMPTY = np.full((240, 480), 64, dtype=np.uint8)


class Choice(NamedTuple):
    """What a run gave: a picture (grey or in colour), and what it says in words, scores included."""

    picture: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]
    caption: str


def choice_slider(runs: Mapping[str, Choice | None], *, quantity: str, alt: str) -> Interactive:
    """A slider over the values of `quantity`, the keys of `runs` in their order; None is a run that is *not yet run*.

    All pictures have one shape, so that nothing moves. Raises InputError for pictures of several shapes or not uint8,
    no values, or no description.
    """
    if not runs or not quantity.strip():
        raise InputError(f"runs: expected values of a named quantity, got {len(runs)} of {quantity!r}. Name both.")
    pictures = {value: run.picture for value, run in runs.items() if run is not None}
    height, width = (require_named("pictures", pictures) if pictures else EMPTY.shape)[:2]
    if strange := [value for value, picture in pictures.items() if picture.dtype != np.uint8]:
        raise InputError(f"pictures: {strange[0]}: expected uint8, 0 to 255, got {pictures[strange[0]].dtype}.")
    choices = [
        {"value": value, "caption": NOT_YET_RUN, "picture": None}
        if run is None
        else {"value": value, "caption": run.caption, "picture": png(run.picture)}
        for value, run in runs.items()
    ]
    shown = next((choice["picture"] for choice in choices if choice["picture"]), None) or png(EMPTY)
    body = (
        f'<div class="picture" style="max-width:{width}px"><img src="{shown}" alt="{html.escape(alt)}" '
        f'width="{width}" height="{height}" decoding="sync"><div class="missing" hidden>{NOT_YET_RUN}</div></div>'
        f'<div class="bar" style="max-width:{width}px">{slider("choice", quantity, len(choices))}</div>'
        "<output></output>"
    )
    data = {"choices": choices, "quantity": quantity, "alt": alt}
    description = f"{quantity}: {len(pictures)} of {len(choices)} run"
    return interactive("choice-slider", body, data, alt=alt, description=description)
