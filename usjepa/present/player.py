"""A video player made of plain HTML: it works in a page without a kernel, from a file, and live in JupyterLab.

Every handler finds its own player from the element that was touched, so that any number of players share a page.
Nothing in the page depends on a clock or a counter: equal frames give equal bytes.
"""

import base64
import hashlib
import html
import io
from dataclasses import dataclass
from string import Template

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from usjepa.errors import InputError

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
p.querySelectorAll('img').forEach((f,i)=>{f.style.display=i===k?'':'none'});\
const t='frame '+(k+1)+' of $count, '+(k*$interval_ms).toFixed(0)+' ms';\
p.querySelector('output').textContent=t;this.setAttribute('aria-valuetext',t)">
<output aria-live="off">$label</output></div>
</figure>"""
)


@dataclass(frozen=True, repr=False)
class FramePlayer:
    """A player as HTML; a notebook shows it when it is the last value of a cell."""

    page: str
    description: str

    def _repr_html_(self) -> str:
        return self.page

    def __repr__(self) -> str:
        return f"FramePlayer({self.description})"


def frame_player(
    frames: UInt8[np.ndarray, "T H W"] | UInt8[np.ndarray, "T H W 3"],
    *,
    interval_s: float,
    alt: str,
    width_px: int = 480,
    slowdown: float = 1.0,
    quality: int | None = None,
) -> FramePlayer:
    """A player of grey `T H W` or colour `T H W 3` frames, 0 to 255, that are `interval_s` seconds apart.

    `alt` describes the video to those who can't see it. The player is as wide as its place, up to `width_px`, and
    plays `slowdown` times slower than real time; its label shows real time. Frames are stored as WebP: exactly, or
    with `quality` from 1 to 100, which makes speckle several times smaller. Raises InputError for frames of another
    shape or type, no frames, no description, or an interval that is not positive.
    """
    _refuse_bad(frames, interval_s * slowdown, alt)
    sources = [_webp(frame, quality) for frame in frames]
    images = "".join(
        f'<img src="{source}" alt="{html.escape(alt)}, frame {number} of {len(sources)}" '
        f'width="{frames.shape[2]}" height="{frames.shape[1]}" decoding="sync"{"" if number == 1 else HIDDEN}>'
        for number, source in enumerate(sources, start=1)
    )
    settings = {
        "images": images,
        "count": len(sources),
        "last": len(sources) - 1,
        "interval_ms": f"{1000 * interval_s:g}",
        "wait_ms": f"{1000 * interval_s * slowdown:.0f}",
        "width_px": width_px,
        "label": f"frame 1 of {len(sources)}, 0 ms",
    }
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
    size = f"{len(sources)} frames of {frames.shape[1]} x {frames.shape[2]}, {1000 * interval_s:g} ms apart"
    return FramePlayer(PAGE.substitute(settings, digest=digest), size)


def _refuse_bad(frames: np.ndarray, wait_s: float, alt: str) -> None:
    is_video = frames.ndim == 3 or (frames.ndim == 4 and frames.shape[3] == 3)
    if not is_video or frames.dtype != np.uint8 or 0 in frames.shape:
        came = f"{frames.dtype} of shape {frames.shape}"
        raise InputError(f"frames: expected uint8 of shape (T, H, W) or (T, H, W, 3), got {came}. Convert them first.")
    if not wait_s > 0:
        raise InputError(f"interval_s x slowdown: expected more than 0 s, got {wait_s}. Give the time between frames.")
    if not alt.strip():
        raise InputError("alt: expected a description of the video, got none. Say what one sees.")


def _webp(frame: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"], quality: int | None) -> str:
    """One frame as a data URI, so that the page asks for no other file."""
    memory = io.BytesIO()
    exact = quality is None
    Image.fromarray(frame).save(memory, "WEBP", lossless=exact, quality=100 if quality is None else quality)
    return "data:image/webp;base64," + base64.b64encode(memory.getvalue()).decode()
