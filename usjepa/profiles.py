"""The three sizes at which every method of the catalogue runs.

`paper` is the protocol of section 3.1, from published weights. `small` and `tiny` are the same methods at a size that
one core trains in some twenty minutes or half a minute: 6 frames of 40 x 40 with patches of 4, so that a token is a
tenth of the width (the paper's is a fourteenth). They start from the same method trained on moving speckle that is no
heart, as the paper starts from natural videos.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from usjepa.baseline import UNetRecipe
from usjepa.recipe import PretrainRecipe, Published, SegmentRecipe, VideoMAERecipe
from usjepa.spec import LONG_RANGE, SHORT_RANGE, ClipSpec, DecoderSpec, ModelSpec


class Profile(NamedTuple):
    """Both pre-trainings with what they start from, the judge, and its steps at each share of the labels.

    `supervised_rate`: the peak when the encoder is trained from scratch with its probe.
    """

    vjepa: PretrainRecipe
    videomae: VideoMAERecipe
    judge: SegmentRecipe
    steps: dict[float, int]
    supervised_rate: float = 1e-3
    unet: UNetRecipe = UNetRecipe()


def _paper() -> Profile:
    """300 epochs at every share of the labels; VideoMAE with the positions that its weights were trained with."""
    flat = ModelSpec(positions="1d")
    return Profile(
        PretrainRecipe(start=Published(), prediction_weight=1.0),
        VideoMAERecipe(start=Published(family="videomae", model=flat), model=flat),
        SegmentRecipe(start=Published()),
        {1.0: 60_000, 0.5: 30_000, 0.2: 12_000, 0.1: 6_000},
    )


CLIP = ClipSpec(frames=6, step_frames=3, size_px=40, channels=1, policy="dense")
MODEL = ModelSpec(
    width=64, depth=4, heads=2, patch_px=4, predictor_width=48, predictor_depth=2, head_width=64, init_std=None
)


def _tiny() -> Profile:
    """Steps of 8 clips; the judge's learning rate and steps, at every share of the labels, suit a narrow model."""
    vjepa = PretrainRecipe(
        scenes=200,
        clip=CLIP,
        model=MODEL,
        masks=(replace(SHORT_RANGE, least_context=75), replace(LONG_RANGE, least_context=30)),
        prediction_weight=1.0,
        batch=8,
        steps=250,
        warmup_steps=20,
        rate_peak=5e-4,
        momentum=(0.99, 1.0),
        weight_decay=(0.05, 0.05),
        log_every=25,
        save_every=50,
    )
    videomae = VideoMAERecipe(
        scenes=200,
        clip=CLIP,
        model=MODEL,
        decoder=DecoderSpec(width=48, depth=2, heads=2),
        batch=8,
        steps=500,
        warmup_steps=40,
        rate_peak=1e-3,
        log_every=50,
        save_every=100,
    )
    judge = SegmentRecipe(
        start=vjepa,
        clip=replace(CLIP, policy="uniform"),
        decoder_width=32,
        rate_peak=4e-3,
        log_every=10,
        save_every=100,
    )
    unet = UNetRecipe(clip=judge.clip, depth=3, rate_peak=2e-3, steps=300, log_every=10, save_every=100)
    return _adapting(Profile(vjepa, videomae, judge, dict.fromkeys((1.0, 0.5, 0.2, 0.1), 300), unet=unet))


def _small() -> Profile:
    """48,000 clips a pre-training, with V-JEPA's own crops: each film is seen some sixty times."""
    tiny = _tiny()
    crops: dict[str, Any] = {"crop_area": (0.3, 1.0), "crop_aspect": (0.75, 1.35)}
    length: dict[str, Any] = {"batch": 16, "steps": 3_000, "warmup_steps": 200, "log_every": 100, "save_every": 250}
    start: dict[str, Any] = {"scenes": 1_000, "start": None, "steps": 2_000, "warmup_steps": 140}
    vjepa = replace(tiny.vjepa, scenes=0, start=None, momentum=(0.998, 1.0), **length, **crops)
    videomae = replace(tiny.videomae, scenes=0, start=None, **length, **crops)
    return Profile(
        replace(vjepa, start=replace(vjepa, **start)),
        replace(videomae, start=replace(videomae, **start)),
        replace(tiny.judge, batch=16, rate_peak=6e-3, decoded_share=1 / 3),
        {1.0: 800, 0.5: 600, 0.2: 500, 0.1: 400},
        unet=replace(tiny.unet, batch=16),
    )


def _adapting(scenes: Profile) -> Profile:
    """Pre-training on the store's films that starts from this pre-training on scenes."""
    return scenes._replace(
        vjepa=replace(scenes.vjepa, scenes=0, start=scenes.vjepa),
        videomae=replace(scenes.videomae, scenes=0, start=scenes.videomae),
    )


PROFILES = {"tiny": _tiny(), "small": _small(), "paper": _paper()}
