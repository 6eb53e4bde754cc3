"""Which runs exist: a name and a profile give a recipe.

`paper` is the protocol of section 3.1, from a random start: published weights can't be loaded yet. `tiny` is the same
method at a size that one core trains in half a minute: 6 frames of 40 x 40, patches of 4, so that a token is a tenth of
the width (the paper's is a fourteenth).
"""

from dataclasses import replace

from usjepa.errors import InputError
from usjepa.recipe import LONG_RANGE, SHORT_RANGE, ClipSpec, ModelSpec, PretrainRecipe, SegmentRecipe

PAPER = SegmentRecipe()

TINY_CLIP = ClipSpec(frames=6, step_frames=3, size_px=40, channels=1, policy="dense")
TINY = SegmentRecipe(
    start=PretrainRecipe(
        clip=TINY_CLIP,
        model=ModelSpec(
            width=64,
            depth=4,
            heads=2,
            patch_px=4,
            predictor_width=48,
            predictor_depth=2,
            head_width=64,
            init_std=None,
        ),
        masks=(replace(SHORT_RANGE, least_context=75), replace(LONG_RANGE, least_context=30)),
        batch=8,
        steps=250,
        warmup_steps=20,
        rate_peak=5e-4,
        momentum=(0.99, 1.0),
        weight_decay=(0.05, 0.05),
        log_every=10,
        save_every=50,
    ),
    clip=replace(TINY_CLIP, policy="uniform"),
    decoder_width=32,
    batch=4,
    steps=300,
    rate_peak=4e-3,
    log_every=10,
)

PROFILES = {"tiny": TINY, "paper": PAPER}
# Name: lambda of Eq. 4, the share of the encoder's blocks that is frozen, and whether pre-training is left out.
NAMES = {
    "random": (0.25, 0.0, True),
    "vjepa": (1.0, 0.0, False),
    "vjepa-ll": (0.25, 0.0, False),
    "vjepa-12b": (1.0, 12 / 24, False),
    "vjepa-12b-ll": (0.25, 12 / 24, False),
    "vjepa-16b": (1.0, 16 / 24, False),
    "vjepa-16b-ll": (0.25, 16 / 24, False),
}


def named_recipe(name: str, profile: str = "tiny", *, seed: int = 0) -> SegmentRecipe:
    """A row of Table 2, or the frozen random encoder, with the pre-training that it builds on.

    12b and 16b freeze 12 and 16 of 24 blocks, and at another depth the same share, rounded. Raises InputError, with
    the names there are, for an unknown name or profile.
    """
    for given, known, what in ((name, NAMES, "recipe"), (profile, PROFILES, "profile")):
        if given not in known:
            raise InputError(f"{what}: expected one of {', '.join(known)}; got {given!r}. Choose one of these.")
    prediction_weight, frozen_share, is_random = NAMES[name]
    chosen = PROFILES[profile]
    frozen = round(frozen_share * chosen.start.model.depth)
    start = replace(chosen.start, prediction_weight=prediction_weight, frozen_blocks=frozen, seed=seed)
    return replace(chosen, start=start, is_random=is_random, seed=seed)
