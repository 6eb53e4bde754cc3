"""Recipes of the rows that a table of encoders is read beside: no transformer, nothing self-supervised."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pydantic import ConfigDict

from usjepa.spec import STRICT, ClipSpec, require

Lazy = Literal["mean mask", "grey and position"]


@dataclass(frozen=True, kw_only=True)
class LazyRecipe:
    """A prediction from counts: the most frequent structure at each place, for any film or for each grey level."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["lazy"] = "lazy"
    method: Lazy = "mean mask"
    clip: ClipSpec = ClipSpec()
    fraction: float = 1.0
    draw: int = 0

    def __post_init__(self) -> None:
        require(self.method in get_args(Lazy), "method", f"one of {get_args(Lazy)}", self.method)
        require(0 < self.fraction <= 1, "fraction", "a share in (0, 1]", self.fraction)


@dataclass(frozen=True, kw_only=True)
class UNetRecipe:
    """A U-Net of segmentation-models-pytorch, ResNet-18 from random, frame by frame, on the same labels.

    `batch`: clips a step, all of their trusted frames. `depth`: how often it halves the frame; the width doubles.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["unet"] = "unet"
    clip: ClipSpec = ClipSpec()
    fraction: float = 1.0
    draw: int = 0
    depth: int = 5
    batch: int = 4
    steps: int = 60_000
    rate_peak: float = 1e-3
    weight_decay: float = 0.01
    log_every: int = 50
    save_every: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("batch", "steps", "log_every", "save_every"):
            require(getattr(self, field) >= 1, field, "at least 1", getattr(self, field))
        require(0 < self.fraction <= 1, "fraction", "a share in (0, 1]", self.fraction)
        require(3 <= self.depth <= 5, "depth", "3 to 5", self.depth)
        halved = 2**self.depth
        require(self.clip.size_px % halved == 0, "clip.size_px", f"a multiple of {halved}", self.clip.size_px)
