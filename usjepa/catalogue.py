"""Which runs exist: a name, a profile, a seed and a share of the labels give a recipe."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from usjepa.baseline import Lazy, LazyRecipe, UNetRecipe
from usjepa.errors import InputError
from usjepa.profiles import PROFILES, Profile
from usjepa.recipe import Localise, PretrainRecipe, SegmentRecipe, Start, Untrained

LAMBDAS = (1.0, 0.9, 0.75, 0.5, 0.25, 0.0)
"""Of Eq. 4: the four of Table 1, and both ends, which it leaves out."""
FROZEN = {"": 0.0, "-12b": 12 / 24, "-16b": 16 / 24}
"""Share of the encoder's blocks that is frozen: 12 and 16 of 24, at another depth the same share, rounded."""


class Adaptation(NamedTuple):
    """V-JEPA's pre-training on ultrasound as a row of a table: what differs from the profile's own."""

    prediction_weight: float
    frozen_share: float = 0.0
    localise: Localise = "predicted"
    rate_factor: float = 1.0
    sector_only: bool = False


TABLE_1 = {
    f"vjepa{name}-lambda{weight:g}": Adaptation(weight, share) for name, share in FROZEN.items() for weight in LAMBDAS
}
TABLE_2 = {
    f"vjepa{name}{ending}": Adaptation(weight, share)
    for name, share in FROZEN.items()
    for ending, weight in (("", 1.0), ("-ll", 0.25))
}
# Where does the answer to Eq. 3 come from, and what does its gradient do? As vjepa-ll but for one thing each.
CONTROLS = {
    "ll-frozen": Adaptation(0.25, 1.0),
    "ll-zeroed": Adaptation(0.25, localise="zeroed"),
    "ll-detached": Adaptation(0.25, localise="detached"),
    "ll-context": Adaptation(0.25, localise="context"),
    "ll-placeless": Adaptation(0.25, localise="placeless"),
    "vjepa-slow": Adaptation(1.0, rate_factor=1 / 3),
    "vjepa-sector": Adaptation(1.0, sector_only=True),
    "ll-sector": Adaptation(0.25, sector_only=True),
}
ADAPTATIONS = {**TABLE_2, **TABLE_1, **CONTROLS}
# Rows without pre-training on ultrasound: the frozen random encoder, the start encoders as they are, and a ViT trained
# from scratch together with its probe.
UNADAPTED = ("random", "vjepa-start", "videomae-start", "supervised")
NAMES = (*UNADAPTED, "videomae", *ADAPTATIONS)
BASELINES = ("mean-mask", "grey-and-position", "unet")


def named_recipe(
    name: str, profile: str = "tiny", *, seed: int = 0, fraction: float = 1.0, draw: int = 0
) -> SegmentRecipe:
    """A row of Table 1 or 2, of the controls, or one without pre-training on ultrasound, with all it builds on.

    Seeds are paired: runs of one seed share data order, masks and probe; all share one start. Raises InputError, with
    what there is, for an unknown name, profile or share of the labels.
    """
    _require_known(name, NAMES, "recipe")
    _require_known(profile, PROFILES, "profile")
    chosen = PROFILES[profile]
    _require_known(fraction, chosen.steps, "fraction")
    shared = replace(chosen.judge, steps=chosen.steps[fraction], fraction=fraction, draw=draw, seed=seed)
    judge = replace(shared, start=_start(name, chosen, seed))
    return judge if name != "supervised" else replace(judge, trains_encoder=True, rate_peak=chosen.supervised_rate)


def named_baseline(
    name: str, profile: str = "tiny", *, seed: int = 0, fraction: float = 1.0, draw: int = 0
) -> LazyRecipe | UNetRecipe:
    """A row without a transformer, on the same clips and the same patients' labels. Raises as `named_recipe`."""
    _require_known(name, BASELINES, "baseline")
    judge = named_recipe("random", profile, fraction=fraction, draw=draw)
    if name == "unet":
        unet = PROFILES[profile].unet
        return replace(unet, clip=judge.clip, fraction=fraction, draw=draw, seed=seed, steps=judge.steps)
    method: Lazy = "mean mask" if name == "mean-mask" else "grey and position"
    return LazyRecipe(method=method, clip=judge.clip, fraction=fraction, draw=draw)


def _start(name: str, profile: Profile, seed: int) -> Start:
    """Where the encoder of this row comes from."""
    if name in ("random", "supervised"):
        return Untrained(clip=profile.judge.start.clip, model=profile.vjepa.model, seed=seed)
    if name == "videomae":
        return replace(profile.videomae, seed=seed)
    if name in ADAPTATIONS:
        return _adapted(profile.vjepa, ADAPTATIONS[name], seed)
    start = (profile.vjepa if name == "vjepa-start" else profile.videomae).start
    assert start is not None
    return start


def _adapted(vjepa: PretrainRecipe, row: Adaptation, seed: int) -> PretrainRecipe:
    """Inside the sector, some six tenths of the frame, as much less context is asked for."""
    share = 0.6 if row.sector_only else 1.0
    masks = tuple(
        replace(mask, least_context=max(mask.multiple, round(share * mask.least_context))) for mask in vjepa.masks
    )
    return replace(
        vjepa,
        masks=masks,
        prediction_weight=row.prediction_weight,
        frozen_blocks=round(row.frozen_share * vjepa.model.depth),
        localise=row.localise,
        rate_peak=row.rate_factor * vjepa.rate_peak,
        sector_only=row.sector_only,
        seed=seed,
    )


def _require_known(given: str | float, known: Iterable[str | float], what: str) -> None:
    if given not in known:
        raise InputError(f"{what}: expected one of {', '.join(map(str, known))}; got {given!r}. Choose one of these.")
