"""Interactive figures as plain HTML: they work in a page without a kernel, from a file, and live in JupyterLab.

A figure brings everything along: style, pictures, data as JSON, and a script that touches nothing outside the figure
(`static/widget.js`, which all share, and one file of its own). Equal input gives equal bytes. Where scripts don't run,
as in a notebook that JupyterLab does not trust yet, the first picture stands there and a note says what to do.
"""

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from usjepa.errors import InputError

SIDE_PX = 24
"""Pixels of a token on the canvas that lies over a picture; `static/widget.js` has the same."""

NOTE = '<p class="note"><em>This is a still picture. In JupyterLab run the cell to make it live.</em></p>'


@dataclass(frozen=True, repr=False)
class Interactive:
    """A figure as HTML; a notebook shows it when it is the last value of a cell."""

    kind: str
    page: str
    description: str

    def _repr_html_(self) -> str:
        return self.page

    def __repr__(self) -> str:
        return f"{self.kind}({self.description})"


def interactive(kind: str, body: str, data: Mapping[str, object], *, alt: str, description: str) -> Interactive:
    """A figure of the kind whose script is `static/KIND.js`: `body` is its HTML, `data` what the script reads.

    Raises InputError if there is no `alt`, which tells what the figure shows to those who can't see it.
    """
    require_alt(alt)
    # In JSON this is the same sign; in HTML it could end the script.
    stored = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    digest = hashlib.sha256((kind + body + stored).encode()).hexdigest()[:12]
    script = _static("widget.js") + _static(f"{kind}.js")
    page = (
        f"<style>\n{_static('widget.css')}</style>\n"
        f'<figure class="usjepa-widget" id="{kind}-{digest}" role="group" aria-label="{html.escape(alt)}" '
        f'data-lm-suppress-shortcuts="true">\n{body}\n{NOTE}\n'
        f'<script type="application/json">{stored}</script>\n'
        f"<script>\n(() => {{\nconst figure = document.currentScript.closest('figure');\n{script}}})();\n</script>\n"
        "</figure>"
    )
    return Interactive(kind, page, description)


def panel(picture: str, alt: str, size_px: tuple[int, int], tokens: tuple[int, int], caption: str = "") -> str:
    """A picture of `size_px` (height, width) under a canvas of `tokens` (rows, columns); `caption` is HTML."""
    canvas = f'<canvas width="{SIDE_PX * tokens[1]}" height="{SIDE_PX * tokens[0]}" aria-hidden="true"></canvas>'
    image = f'<img src="{picture}" alt="{html.escape(alt)}" width="{size_px[1]}" height="{size_px[0]}" decoding="sync">'
    return f'<div class="panel"><div class="picture">{image}{canvas}</div>{caption}</div>'


def slider(name: str, label: str, count: int) -> str:
    """A slider over `count` values; the script puts the value in words beside it."""
    return (
        f'<label>{html.escape(label)} <input type="range" name="{name}" min="0" max="{count - 1}" value="0" step="1" '
        f'autocomplete="off" disabled><span class="value" aria-hidden="true"></span></label>'
    )


def radios(name: str, legend: str, options: Iterable[str]) -> str:
    """One choice among several; its value is the option's number."""
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{number}" autocomplete="off" disabled'
        f"{' checked' if number == 0 else ''}>{html.escape(option)}</label>"
        for number, option in enumerate(options)
    )
    return f'<fieldset aria-label="{html.escape(legend)}">{buttons}</fieldset>'


def png(image: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]) -> str:
    """An image as a data URI, so that the page asks for no other file."""
    memory = io.BytesIO()
    Image.fromarray(image).save(memory, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode()


def packed(values: UInt8[np.ndarray, "..."]) -> str:
    """Small whole numbers as a data URI, in raster order."""
    return "data:application/octet-stream;base64," + base64.b64encode(values.tobytes()).decode()


def require_slices(frames: np.ndarray, slices: int | None = None) -> None:
    """Raise InputError unless these are grey frames, one a time slice (`slices`, if it is known how many)."""
    expected = f"uint8 of shape ({'t' if slices is None else slices}, H, W), one frame a time slice"
    is_fit = frames.ndim == 3 and frames.dtype == np.uint8 and 0 not in frames.shape
    if not is_fit or slices not in (None, len(frames)):
        came = f"{frames.dtype} of shape {frames.shape}"
        raise InputError(f"frames: expected {expected}, got {came}. Take the first frame of each tubelet.")


def require_alt(alt: str) -> None:
    """Raise InputError if a figure comes without a description."""
    if not alt.strip():
        raise InputError("alt: expected a description of the figure, got none. Say what one sees.")


def require_named(field: str, named: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """The one shape that all arrays have. Raises InputError for none, or for another beside it."""
    shapes: Sequence[tuple[int, ...]] = list(dict.fromkeys(array.shape for array in named.values()))
    if len(shapes) != 1 or 0 in shapes[0]:
        raise InputError(f"{field}: expected named arrays of one shape, got shapes {shapes}. Give at least one.")
    return shapes[0]


def _static(name: str) -> str:
    return (files("usjepa.present") / "static" / name).read_text(encoding="utf-8")
