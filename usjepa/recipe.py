"""What a run is: frozen dataclasses, validated. Their form in a file is in `usjepa.recipe_file`.

A recipe decides a run's numbers, given the data and, for a published start, its file; its hash names the run's
folder. A recipe holds the recipes that it builds on. Defaults are the paper's protocol. No torch here.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias, get_args

from pydantic import ConfigDict, Field

from usjepa.baseline import LazyRecipe, UNetRecipe
from usjepa.spec import LONG_RANGE, SHORT_RANGE, STRICT, ClipSpec, DecoderSpec, MaskSpec, ModelSpec, require

Family = Literal["vjepa", "videomae"]
Localise = Literal["predicted", "detached", "zeroed", "context", "placeless"]
Thinning = Literal["random", "raster"]
Judged = Literal["teacher", "student"]


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights from a file that the authors of V-JEPA or VideoMAE publish; which file is said when it is run."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["published"] = "published"
    family: Family = "vjepa"
    clip: ClipSpec = ClipSpec()
    model: ModelSpec = ModelSpec()

    def __post_init__(self) -> None:
        expected = "3d" if self.family == "vjepa" else "1d"
        require(self.model.positions == expected, "model.positions", f"{expected!r} for {self.family}", self.model)


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """An encoder at its random start: the row that every table of frozen encoders needs."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["untrained"] = "untrained"
    clip: ClipSpec = ClipSpec()
    model: ModelSpec = ModelSpec()
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What V-JEPA's and VideoMAE's pre-training have in common (section 3.1).

    `start`: whose weights they begin with; None is random. `scenes`: how many rendered not-heart films to train on, 0
    for the store's. Steps: 300 epochs, 20 of them warm-up, of 200 steps (400 patients, two views, batches of 4); the
    paper's rate is taken to be the peak. Crops are V-JEPA's made milder, without flips: left and right are anatomy.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    start: "Start | None" = None
    scenes: int = 0
    clip: ClipSpec = ClipSpec()
    model: ModelSpec = ModelSpec()
    frozen_blocks: int = 0
    batch: int = 4
    steps: int = 60_000
    warmup_steps: int = 4_000
    rate_peak: float = 2e-4
    rate_final: float = 1e-6
    weight_decay: tuple[float, float] = (0.04, 0.4)
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = 10.0
    crop_area: tuple[float, float] = (0.5, 1.0)
    crop_aspect: tuple[float, float] = (0.9, 1.1)
    flips: bool = False
    log_every: int = 50
    save_every: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        blocks, frozen = self.model.depth, self.frozen_blocks
        require(0 <= frozen <= blocks, "frozen_blocks", f"0 to {blocks}, the encoder's blocks", frozen)
        for field in ("batch", "steps", "log_every", "save_every"):
            require(getattr(self, field) >= 1, field, "at least 1", getattr(self, field))
        require(0 <= self.warmup_steps < self.steps, "warmup_steps", f"0 to {self.steps - 1}", self.warmup_steps)
        require(0 <= self.scenes <= 9999, "scenes", "0 to 9999 films", self.scenes)
        area = self.crop_area
        require(0 < area[0] <= area[1] <= 1, "crop_area", "a rising pair in (0, 1]", area)
        if self.start is not None:
            for field in ("clip", "model"):
                of_start = getattr(self.start, field)
                require(getattr(self, field) == of_start, field, f"the start's own {of_start}", getattr(self, field))


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe(Pretraining):
    """V-JEPA's pre-training with the localisation loss (sections 2.1-2.3).

    `prediction_weight` is lambda of Eq. 4: 0.25, the paper's best, gives three quarters to localisation. `localise`
    says what Eq. 3 sees (`usjepa.model.jepa`): the paper's predicted tokens, or a control. `sector_only` keeps masks
    and context inside the ultrasound sector: black corners are free targets. Where the paper is silent, V-JEPA's
    momentum, weight decay, clipping and normalised targets; schedules run over the run's own length, not stretched.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["vjepa"] = "vjepa"
    masks: tuple[MaskSpec, ...] = (SHORT_RANGE, LONG_RANGE)
    thinning: Thinning = "random"
    sector_only: bool = False
    prediction_weight: float = 0.25
    pairs: int = 100
    localise: Localise = "predicted"
    normalises_target: bool = True
    momentum: tuple[float, float] = (0.998, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        weight = self.prediction_weight
        require(0 <= weight <= 1, "prediction_weight (lambda of Eq. 4)", "a number in [0, 1]", weight)
        require(len(self.masks) >= 1, "masks", "at least one family", self.masks)
        require(self.pairs >= 1, "pairs", "at least 1", self.pairs)
        require(self.localise in get_args(Localise), "localise", f"one of {get_args(Localise)}", self.localise)
        cut = self.thinning == "random" or not self.sector_only
        require(cut, "thinning", "'random' with sector_only", self.thinning)


@dataclass(frozen=True, kw_only=True)
class VideoMAERecipe(Pretraining):
    """VideoMAE's pre-training: pixels of the tubes that are hidden, normalised a token (MCG-NJU/VideoMAE).

    Betas, weight decay and the missing clipping are its own; rate and steps are the paper's, as for V-JEPA.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["videomae"] = "videomae"
    mask_ratio: float = 0.9
    decoder: DecoderSpec = DecoderSpec()
    weight_decay: tuple[float, float] = (0.05, 0.05)
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.mask_ratio < 1, "mask_ratio", "a share between 0 and 1", self.mask_ratio)


Start: TypeAlias = Annotated[PretrainRecipe | VideoMAERecipe | Published | Untrained, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class SegmentRecipe:
    """An encoder judged: attentive probe and two transposed convolutions, cross-entropy (section 3.1).

    `start` is where the encoder comes from; it is frozen unless `trains_encoder`, as in the supervised row. `judges`:
    V-JEPA's teacher or student. `fraction` of the training patients, `draw` of three. Silent in the paper: warm-up and
    weight decay (V-JEPA's probe: none, 0.01). `clip` may have another frame policy. `decoded_share`: of the tokens a
    step; the decoder is local, so that a token's logits don't depend on the others decoded.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["segment"] = "segment"
    start: Start = PretrainRecipe()
    judges: Judged = "teacher"
    trains_encoder: bool = False
    clip: ClipSpec = ClipSpec()
    fraction: float = 1.0
    draw: int = 0
    decoder_width: int = 256
    decoded_share: float = 1.0
    batch: int = 4
    steps: int = 60_000
    rate_peak: float = 1e-3
    weight_decay: float = 0.01
    log_every: int = 50
    save_every: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("decoder_width", "batch", "steps", "log_every", "save_every"):
            require(getattr(self, field) >= 1, field, "at least 1", getattr(self, field))
        for field in ("fraction", "decoded_share"):
            require(0 < getattr(self, field) <= 1, field, "a share in (0, 1]", getattr(self, field))
        require(self.draw >= 0, "draw", "0 or more", self.draw)
        of_start = dataclasses.replace(self.start.clip, policy=self.clip.policy, step_frames=self.clip.step_frames)
        require(self.clip == of_start, "clip", f"the start's frames, size and channels {of_start}", self.clip)
        kept = self.judges == "teacher" or isinstance(self.start, PretrainRecipe)
        require(kept, "judges", "'teacher' unless the start is V-JEPA pre-training", self.judges)


Scored: TypeAlias = SegmentRecipe | LazyRecipe | UNetRecipe
AnyRecipe: TypeAlias = PretrainRecipe | VideoMAERecipe | SegmentRecipe
AnyRun: TypeAlias = AnyRecipe | LazyRecipe | UNetRecipe


def chain(recipe: AnyRun | Published | Untrained) -> list[AnyRun | Published | Untrained]:
    """The recipe and all that it builds on, the oldest first."""
    if isinstance(recipe, Published | Untrained | LazyRecipe | UNetRecipe) or recipe.start is None:
        return [recipe]
    return [*chain(recipe.start), recipe]
