"""The parts of a recipe: how a clip is cut, how tokens are masked, how large the networks are. No torch here.

Defaults are the paper's numbers (section 3.1) or, where it is silent, V-JEPA's (facebookresearch/jepa,
configs/pretrain/vitl16.yaml) and VideoMAE's (MCG-NJU/VideoMAE, scripts of the ViT-L).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pydantic import ConfigDict

from usjepa.errors import InputError

Policy = Literal["paper", "uniform", "dense"]
Positions = Literal["3d", "1d"]
STRICT = ConfigDict(extra="forbid")


def require(held: bool, field: str, expected: str, got: object) -> None:
    """Raise the InputError of a recipe's field unless its condition held."""
    if not held:
        raise InputError(f"{field}: expected {expected}, got {got!r}. Change it in the recipe.")


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """How a clip is cut from a sequence: 16 frames, step 4, 224 x 224 (section 3.1).

    `policy` is explained at `usjepa.data.clips.frame_indices`. Published weights need three channels, all grey.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    frames: int = 16
    step_frames: int = 4
    size_px: int = 224
    channels: int = 3
    policy: Policy = "paper"

    def __post_init__(self) -> None:
        for field in ("frames", "step_frames", "size_px"):
            require(getattr(self, field) >= 1, f"clip.{field}", "at least 1", getattr(self, field))
        require(self.channels in (1, 3), "clip.channels", "1 or 3", self.channels)
        policies = get_args(Policy)
        require(self.policy in policies, "clip.policy", f"one of {', '.join(policies)}", self.policy)


@dataclass(frozen=True, kw_only=True)
class MaskSpec:
    """One family of V-JEPA's multi-block masks: the union of `blocks` blocks, each through all of the clip's time.

    `spatial_scale`: a block's share of the frame; `aspect`: range of its height / width; `least_context`: in tokens.
    `multiple`: both counts are cut to a multiple of it, so that few shapes occur and compiled code is used again.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    blocks: int
    spatial_scale: float
    aspect: tuple[float, float] = (0.75, 1.5)
    least_context: int = 1
    multiple: int = 1

    def __post_init__(self) -> None:
        require(self.blocks >= 1, "masks.blocks", "at least 1", self.blocks)
        require(0 < self.spatial_scale < 1, "masks.spatial_scale", "a share between 0 and 1", self.spatial_scale)
        require(0 < self.aspect[0] <= self.aspect[1], "masks.aspect", "a rising pair above 0", self.aspect)
        require(self.multiple >= 1, "masks.multiple", "at least 1 token", self.multiple)
        least = self.least_context
        require(least >= self.multiple, "masks.least_context", f"at least masks.multiple, {self.multiple}", least)


SHORT_RANGE = MaskSpec(blocks=8, spatial_scale=0.15)
LONG_RANGE = MaskSpec(blocks=2, spatial_scale=0.7)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Sizes of encoder, predictor and localisation head: ViT-L/16 and V-JEPA's predictor.

    `init_std`: deviation of every linear layer's start; None scales it to the layer (Xavier), as narrow ones need.
    `positions`: codes of (t, i, j), as V-JEPA's weights expect, or of the token's number, as VideoMAE's do.
    The predictor has as many heads as the encoder, as published.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch_px: int = 16
    tubelet_frames: int = 2
    positions: Positions = "3d"
    predictor_width: int = 384
    predictor_depth: int = 12
    head_width: int = 512
    init_std: float | None = 0.02

    def __post_init__(self) -> None:
        for field in ("depth", "heads", "patch_px", "tubelet_frames", "predictor_depth", "head_width"):
            require(getattr(self, field) >= 1, f"model.{field}", "at least 1", getattr(self, field))
        require(self.patch_px & (self.patch_px - 1) == 0, "model.patch_px", "a power of two", self.patch_px)
        require(self.positions in get_args(Positions), "model.positions", "3d or 1d", self.positions)
        for field in ("width", "predictor_width"):
            divides = getattr(self, field) % (2 * self.heads) == 0
            require(divides, f"model.{field}", f"a multiple of twice the {self.heads} heads", getattr(self, field))


@dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """Sizes of VideoMAE's decoder: those of the published ViT-L."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    width: int = 512
    depth: int = 12
    heads: int = 8

    def __post_init__(self) -> None:
        for field in ("depth", "heads"):
            require(getattr(self, field) >= 1, f"decoder.{field}", "at least 1", getattr(self, field))
        require(self.width % (2 * self.heads) == 0, "decoder.width", f"a multiple of {2 * self.heads}", self.width)
