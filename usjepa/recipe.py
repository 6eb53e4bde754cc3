"""What a run is: frozen dataclasses, validated. Their form in a file is in `usjepa.recipe_file`.

A recipe decides a run's numbers, given the data; its hash names the run's folder. Defaults are the paper's numbers
(section 3.1) or, where it is silent, V-JEPA's (facebookresearch/jepa, configs/pretrain/vitl16.yaml). No torch here.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pydantic import ConfigDict

from usjepa.errors import InputError

Policy = Literal["paper", "uniform", "dense"]
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
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    blocks: int
    spatial_scale: float
    aspect: tuple[float, float] = (0.75, 1.5)
    least_context: int = 1

    def __post_init__(self) -> None:
        require(self.blocks >= 1, "masks.blocks", "at least 1", self.blocks)
        require(0 < self.spatial_scale < 1, "masks.spatial_scale", "a share between 0 and 1", self.spatial_scale)
        require(0 < self.aspect[0] <= self.aspect[1], "masks.aspect", "a rising pair above 0", self.aspect)
        require(self.least_context >= 1, "masks.least_context", "at least 1 token", self.least_context)


SHORT_RANGE = MaskSpec(blocks=8, spatial_scale=0.15)
LONG_RANGE = MaskSpec(blocks=2, spatial_scale=0.7)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Sizes of encoder, predictor and localisation head: ViT-L/16 and V-JEPA's predictor.

    `init_std`: deviation of every linear layer's start; None scales it to the layer (Xavier), as narrow ones need.
    The predictor has as many heads as the encoder, as published.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch_px: int = 16
    tubelet_frames: int = 2
    predictor_width: int = 384
    predictor_depth: int = 12
    head_width: int = 512
    init_std: float | None = 0.02

    def __post_init__(self) -> None:
        for field in ("depth", "heads", "patch_px", "tubelet_frames", "predictor_depth", "head_width"):
            require(getattr(self, field) >= 1, f"model.{field}", "at least 1", getattr(self, field))
        require(self.patch_px & (self.patch_px - 1) == 0, "model.patch_px", "a power of two", self.patch_px)
        for field in ("width", "predictor_width"):
            divides = getattr(self, field) % (2 * self.heads) == 0
            require(divides, f"model.{field}", f"a multiple of twice the {self.heads} heads", getattr(self, field))


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe:
    """V-JEPA pre-training from a random start with the localisation loss (sections 2.1-2.3, 3.1).

    `prediction_weight` is lambda of Eq. 4: 0.25, the paper's best, gives three quarters to localisation. Steps: 300
    epochs, 20 of them warm-up, of 200 steps (400 patients, two views, batches of 4). Where the paper is silent,
    V-JEPA's momentum, weight decay and clipping; its crop made milder, and no flip: left and right are anatomy.
    `sector_only` keeps masks and context inside the ultrasound sector: black corners are free targets.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["pretrain"] = "pretrain"
    clip: ClipSpec = ClipSpec()
    model: ModelSpec = ModelSpec()
    masks: tuple[MaskSpec, ...] = (SHORT_RANGE, LONG_RANGE)
    prediction_weight: float = 0.25
    pairs: int = 100
    frozen_blocks: int = 0
    batch: int = 4
    steps: int = 60_000
    warmup_steps: int = 4_000
    rate_peak: float = 2e-4
    rate_final: float = 1e-6
    momentum: tuple[float, float] = (0.998, 1.0)
    weight_decay: tuple[float, float] = (0.04, 0.4)
    clip_norm: float = 10.0
    sector_only: bool = False
    crop_area: tuple[float, float] = (0.5, 1.0)
    crop_aspect: tuple[float, float] = (0.9, 1.1)
    flips: bool = False
    log_every: int = 50
    save_every: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        weight = self.prediction_weight
        require(0 <= weight <= 1, "prediction_weight (lambda of Eq. 4)", "a number in [0, 1]", weight)
        blocks, frozen = self.model.depth, self.frozen_blocks
        require(0 <= frozen <= blocks, "frozen_blocks", f"0 to {blocks}, the encoder's blocks", frozen)
        require(len(self.masks) >= 1, "masks", "at least one family", self.masks)
        for field in ("pairs", "batch", "steps", "log_every", "save_every"):
            require(getattr(self, field) >= 1, field, "at least 1", getattr(self, field))
        require(0 <= self.warmup_steps < self.steps, "warmup_steps", f"0 to {self.steps - 1}", self.warmup_steps)
        area = self.crop_area
        require(0 < area[0] <= area[1] <= 1, "crop_area", "a rising pair in (0, 1]", area)


@dataclass(frozen=True, kw_only=True)
class SegmentRecipe:
    """The frozen encoder judged: attentive probe and two transposed convolutions, cross-entropy (section 3.1).

    `start` is the pre-training whose teacher is frozen; `is_random` takes that encoder before its first step instead.
    Silent in the paper: warm-up and weight decay (V-JEPA's probe: none, 0.01). `clip` may have another frame policy.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["segment"] = "segment"
    start: PretrainRecipe = PretrainRecipe()
    is_random: bool = False
    clip: ClipSpec = ClipSpec()
    decoder_width: int = 256
    batch: int = 4
    steps: int = 60_000
    rate_peak: float = 1e-3
    weight_decay: float = 0.01
    log_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("decoder_width", "batch", "steps", "log_every"):
            require(getattr(self, field) >= 1, field, "at least 1", getattr(self, field))
        of_start = dataclasses.replace(self.start.clip, policy=self.clip.policy, step_frames=self.clip.step_frames)
        require(self.clip == of_start, "clip", f"the pre-training's frames, size and channels {of_start}", self.clip)


AnyRecipe = PretrainRecipe | SegmentRecipe
