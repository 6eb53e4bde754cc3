"""A video player made of plain HTML: it works in a page without a kernel, from a file, and live in JupyterLab.

Every handler finds its own player from the element that was touched, so that any number of players share a page.
Nothing in the page depends on a clock or a counter: equal frames give equal bytes.
"""

import base64
import hashlib
import html
import io
from collections.abc import Mapping
from string import Template

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from usjepa.errors import InputError
from usjepa.present.widget import Interactive, require_alt, require_named

# Themes put a pale plate behind pictures in dark mode; frames are dark themselves.
STYLE = """<style>
.usjepa-player{margin:0 0 1em;color:inherit;background:none}
.usjepa-player .frames{background:#000;line-height:0}
.usjepa-player img{width:100%;height:auto;margin:0;padding:0!important;border-radius:0!important;\
background:none!important;filter:none!important}
.usjepa-player .bar{display:flex;flex-wrap:wrap;align-items:center;gap:0 .75em}
.usjepa-player button{min-width:5.5em;min-height:44px;font:inherit;cursor:pointer;color:inherit;background:none;\
border:1px solid currentcolor;border-radius:4px;margin:4px 0}
.usjepa-player input{flex:1 1 8em;min-width:6em;height:44px;margin:0;cursor:pointer;accent-color:#2a7fb8}
.usjepa-player output{flex-basis:100%;font-variant-numeric:tabular-nums}
</style>"""

# Of the ways to hide a frame JupyterLab leaves this one in a notebook that it doesn't trust yet.
HIDDEN = ' style="display:none"'

# JupyterLab takes the arrow keys for itself: as shortcuts, except below the attribute data-lm-suppress-shortcuts, and
# once more around the notebook, where they must not arrive.
PAGE = Template(
    STYLE
    + """<figure class="usjepa-player" id="player-$digest" data-lm-suppress-shortcuts="true" \
onkeydown="if(event.key.startsWith('Arrow'))event.stopPropagation()" style="max-width:${width_px}px">
<div class="frames">$images</div>
<div class="bar"><button type="button" onclick="const p=this.closest('figure'),s=p.querySelector('input');\
if(p.timer){clearInterval(p.timer);p.timer=0}else{p.timer=setInterval(()=>{if(!p.isConnected){clearInterval(p.timer);\
return}s.value=(+s.value+1)%$count;s.dispatchEvent(new Event('input'))},$wait_ms)}\
this.textContent=p.timer?'Pause':'Play'">Play</button>
<input type="range" min="0" max="$last" value="0" step="1" aria-label="Frame" aria-valuetext="$label" \
oninput="const p=this.closest('figure'),k=+this.value;\
f=p.querySelectorAll('img');f.forEach((g,i)=>{g.style.display=i===k?'':'none'});\
p.querySelector('output').textContent=f[k].dataset.label;this.setAttribute('aria-valuetext',f[k].dataset.label)">
<output aria-live="off">$label</output></div>
</figure>"""
)


def frame_player(
    frames: UInt8[np.ndarray, "T H W"] | UInt8[np.ndarray, "T H W 3"] | Mapping[str, np.ndarray],
    *,
    interval_s: float,
    alt: str,
    width_px: int = 480,
    slowdown: float = 1.0,
    quality: int | None = None,
) -> Interactive:
    """A player of grey `T H W` or colour `T H W 3` frames, 0 to 255, that are `interval_s` seconds apart.

    Below stands the frame's time, or its label, with a unit if it has one, where `frames` is a mapping from label to
    frame. `alt` describes the video to those who can't see it. The player is as wide as its place, up to `width_px`,
    and plays `slowdown` times slower than real time; its label shows real time. Frames are stored as WebP: exactly, or
    with `quality` from 1 to 100, which makes speckle several times smaller. Raises InputError for frames of another
    shape or type, of several shapes, no frames, no description, or an interval that is not positive.
    """
    film = _stacked(frames) if isinstance(frames, Mapping) else frames
    _refuse_bad(film, interval_s * slowdown, alt)
    times = (f"{1000 * interval_s * k:.0f} ms" for k in range(len(film)))
    said = [html.escape(text) for text in (frames if isinstance(frames, Mapping) else times)]
    labels = [f"frame {number} of {len(film)}, {text}" for number, text in enumerate(said, start=1)]
    images = "".join(
        f'<img src="{_webp(frame, quality)}" alt="{html.escape(alt)}, {label}" data-label="{label}" '
        f'width="{film.shape[2]}" height="{film.shape[1]}" decoding="sync"{"" if label == labels[0] else HIDDEN}>'
        for frame, label in zip(film, labels, strict=True)
    )
    settings = {
        "images": images,
        "count": len(film),
        "last": len(film) - 1,
        "wait_ms": f"{1000 * interval_s * slowdown:.0f}",
        "width_px": width_px,
        "label": labels[0],
    }
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
    size = f"{len(film)} frames of {film.shape[1]} x {film.shape[2]}, {1000 * interval_s:g} ms apart"
    return Interactive("FramePlayer", PAGE.substitute(settings, digest=digest), size)


def _stacked(frames: Mapping[str, np.ndarray]) -> np.ndarray:
    require_named("frames", frames)
    return np.stack(list(frames.values()))


def _refuse_bad(frames: np.ndarray, wait_s: float, alt: str) -> None:
    is_video = frames.ndim == 3 or (frames.ndim == 4 and frames.shape[3] == 3)
    if not is_video or frames.dtype != np.uint8 or 0 in frames.shape:
        came = f"{frames.dtype} of shape {frames.shape}"
        raise InputError(f"frames: expected uint8 of shape (T, H, W) or (T, H, W, 3), got {came}. Convert them first.")
    if not wait_s > 0:
        raise InputError(f"interval_s x slowdown: expected more than 0 s, got {wait_s}. Give the time between frames.")
    require_alt(alt)


def _webp(frame: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"], quality: int | None) -> str:
    """One frame as a data URI, so that the page asks for no other file."""
    memory = io.BytesIO()
    exact = quality is None
    Image.fromarray(frame).save(memory, "WEBP", lossless=exact, quality=100 if quality is None else quality)
    return "data:image/webp;base64," + base64.b64encode(memory.getvalue()).decode()
