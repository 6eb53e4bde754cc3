"""What a step of V-JEPA costs, and what each way of making it faster gives: `python benchmarks/step.py [--json FILE]`.

A minute on two cores: a ViT-S (384 wide, 12 blocks, 6 heads) with a predictor of 192 x 6 on two clips of 8 x 112 x 112;
the published predictor, 384 x 12, would be most of such a step. `--size paper` is the paper's ViT-L at batch 4. The
baseline is the published step's structure on the same masks (published.py). One thread, its CPU time; with a GPU the
clock.
"""

import argparse
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from levers import measure_levers
from ours import OurStep, flops_of, new_step, parts_of
from published import PublishedStep
from record import keep
from timing import Laps, paired, peak_mb

from usjepa.data.clips import Augmentation, training_clips
from usjepa.data.store import Entry
from usjepa.estimate.flops import tokens_of
from usjepa.estimate.memory import traffic
from usjepa.recipe import PretrainRecipe
from usjepa.spec import ClipSpec, ModelSpec
from usjepa.training.device import choose_device, compile_blocks_
from usjepa.training.streams import Stream, generator

VIT_S = ModelSpec(width=384, depth=12, heads=6, predictor_width=192, predictor_depth=6, head_width=192)
MICRO = ModelSpec(width=32, depth=2, heads=2, predictor_width=16, predictor_depth=1, head_width=16, init_std=None)
SIZES = {
    "micro": PretrainRecipe(clip=ClipSpec(frames=4, size_px=64), model=MICRO, batch=2, prediction_weight=1.0),
    "small": PretrainRecipe(clip=ClipSpec(frames=8, size_px=112), model=VIT_S, batch=2, prediction_weight=1.0),
    "paper": PretrainRecipe(prediction_weight=1.0),
}
NOISE = Entry(
    name="noise",
    patient="noise",
    view="",
    split="train",
    first=0,
    length=80,
    annotated=(),
    is_labelled=False,
    spacing_mm=None,
    original_size=(1, 1),
    interval_s=None,
    quality=None,
    licence="",
)


def cut_clips(recipe: PretrainRecipe, frames: torch.Tensor) -> torch.Tensor:
    """A batch cut, cropped, resized and normalised from frames that lie on the device."""
    vary = Augmentation(recipe.crop_area, recipe.crop_aspect, recipe.flips)
    return training_clips(frames, [NOISE] * recipe.batch, recipe.clip, vary, generator(0, Stream.CLIPS))


def part_times(step: OurStep, repeats: int) -> dict[str, float]:
    """Median seconds of each part of a step, the first of which cuts the clips."""
    side, rounds = step.jepa.recipe.clip.size_px, []
    frames = torch.zeros(NOISE.length, side, side, dtype=torch.uint8, device=step.device)
    for _ in range(repeats):
        laps = Laps(step.device)
        laps.start()
        cut_clips(step.jepa.recipe, frames)
        laps.end("clips")
        step.by_part(laps)
        rounds.append(laps.seconds)
    return {name: float(np.median([one[name] for one in rounds])) for name in rounds[0]}


def product_rate(step: OurStep) -> float:
    """FLOP/s of the teacher's largest product alone, in the precision of training, by the same clock as the parts."""
    recipe, dtype = step.jepa.recipe, torch.bfloat16 if step.device.type == "cuda" else torch.float32
    rows, width = recipe.batch * tokens_of(recipe.clip, recipe.model), recipe.model.width
    left, right = (torch.ones(*shape, width, dtype=dtype, device=step.device) for shape in ((rows,), (4 * width,)))
    product = partial(torch.mm, left, right.T)
    return 8 * rows * width**2 / (paired(product, product, 10, step.device).after_ms / 1000)


def floor(step: OurStep, repeats: int) -> list[dict[str, str | float]]:
    """Time and share of each part beside its FLOPs, their share of what one product reaches (MFU), and its bytes."""
    recipe, device, parts = step.jepa.recipe, step.device, parts_of(step)
    flops = {name: part.forward for name, part in parts.items()}
    flops["losses, head"] = flops.pop("localisation head")
    flops["backward"] = sum(part.backward for part in parts.values())
    moved = traffic(recipe, is_half=device.type == "cuda")
    moved["clipping, guard"] = moved.pop("clipping")
    seconds = part_times(step, repeats)
    seconds["all"], flops["all"], moved["all"] = sum(seconds.values()), sum(flops.values()), sum(moved.values())
    rate = product_rate(step)
    rows: list[dict[str, str | float]] = []
    for name, took in seconds.items():
        work = flops.get(name, 0.0)
        row = {"ms": 1e3 * took, "share": took / seconds["all"], "gflop": work / 1e9, "mfu": work / took / rate}
        rows.append({"part": name, **row, "mb": moved.get(name, 0.0) / 1e6})
    return rows


def measure(size: str, device: torch.device, repeats: int, *, compiles: bool) -> dict[str, object]:
    """All figures at one size: headline, parts, levers, and if asked for the compiled step."""
    recipe = SIZES[size]
    ours, theirs = new_step(recipe, device), PublishedStep(new_step(recipe, device).jepa, recipe.clip_norm)
    published = partial(theirs, ours.clip, ours.draws.masks, momentum=recipe.momentum[0])
    both = paired(published, ours, repeats, device)
    # The published step has no localisation head; ours runs it, weighed by 0.
    head = parts_of(ours)["localisation head"]
    results: dict[str, object] = {
        "size": size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu, one thread",
        "torch": torch.__version__,
        "published_ms": both.before_ms,
        "ours_ms": both.after_ms,
        "speedup": both.ratio,
        "flop_ratio": 1 - (head.forward + head.backward) / flops_of(ours),
        "published_peak_mb": peak_mb(published, device),
        "ours_peak_mb": peak_mb(ours, device),
        "parts": floor(ours, repeats),
        "levers": [asdict(one) for one in measure_levers(ours, theirs, repeats, both.after_ms)],
    }
    if compiles:
        compile_blocks_(ours.jepa)
        start = time.perf_counter()
        ours()
        first_s = time.perf_counter() - start
        compiled = paired(published, ours, repeats, device)
        results |= {"compiling_s": first_s, "compiled_ms": compiled.after_ms, "speedup_compiled": compiled.ratio}
    return results


def print_tables(results: dict[str, object]) -> None:
    for name, value in results.items():
        if not isinstance(value, list):
            print(f"{name:20s} {value:10.3f}" if isinstance(value, float) else f"{name:20s} {value}")
    print(f"\n{'part':18s} {'ms':>9s} {'share':>7s} {'GFLOP':>9s} {'MFU':>6s} {'MB':>9s}")
    for row in results["parts"]:
        print("{part:18s} {ms:9.2f} {share:7.1%} {gflop:9.2f} {mfu:6.0%} {mb:9.1f}".format(**row))
    print(f"\n{'lever':58s} {'without':>9s} {'with, ms':>9s} {'ratio':>6s} {'promised':>9s} {'of a step':>9s}")
    row = "{name:58s} {without_ms:9.2f} {with_ms:9.2f} {ratio:6.2f} {predicted:9.2f} {step_gain:9.3f}"
    for one in results["levers"]:
        print(row.format(**one))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--size", choices=SIZES, default="small")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--compile", action="store_true", help="time the compiled step too: minutes on a CPU")
    options.add_argument("--json", type=Path, metavar="FILE")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    results = measure(chosen.size, choose_device(chosen.device), chosen.repeats, compiles=chosen.compile)
    print_tables(results)
    keep(results, chosen.json)


if __name__ == "__main__":
    main()
