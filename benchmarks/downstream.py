"""What cached features and decoding fewer tokens give downstream: `python benchmarks/downstream.py [--json FILE]`.

Half a minute on two cores: a frozen ViT-S (384 wide, 12 blocks) on two clips of 8 x 112 x 112, the paper's decoder.
`--size paper` is ViT-L at batch 4. Each ratio stands beside that of FLOPs. First, two short runs by the package's own
loop, with and without the cache, must end with equal weights, to the last bit on a CPU. One thread; CPU time on a CPU.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from record import keep
from timing import paired, peak_mb

from usjepa.data.clips import whole_clips
from usjepa.data.prepare import prepare
from usjepa.data.sequence import UltrasoundSequence
from usjepa.data.store import Store
from usjepa.estimate.flops import encoder as encoder_products
from usjepa.estimate.flops import step_flops, tokens_of
from usjepa.recipe import SegmentRecipe, Untrained
from usjepa.spec import ClipSpec, ModelSpec
from usjepa.training.device import adamw, autocast, choose_device, clip_
from usjepa.training.features import features_of
from usjepa.training.guard import Guard
from usjepa.training.scoring import Judged, Truth, truth_of
from usjepa.training.segment import judged_encoder, new_segmenter, segmentation_loss, train_segmenter
from usjepa.training.workspace import Workspace


def recipe_of(clip: ClipSpec, model: ModelSpec, batch: int) -> SegmentRecipe:
    start = Untrained(clip=clip, model=model)
    return SegmentRecipe(start=start, clip=clip, batch=batch, steps=4, log_every=4, save_every=4)


VIT_S = ModelSpec(width=384, depth=12, heads=6)
MICRO = ModelSpec(width=32, depth=2, heads=2, patch_px=8, init_std=None)
SIZES = {
    "micro": recipe_of(ClipSpec(frames=4, size_px=32, policy="uniform"), MICRO, 2),
    "small": recipe_of(ClipSpec(frames=8, size_px=112, policy="uniform"), VIT_S, 2),
    "paper": recipe_of(ClipSpec(policy="uniform"), ModelSpec(), 4),
}


def noise(recipe: SegmentRecipe) -> Iterator[UltrasoundSequence]:
    """Labelled sequences of noise: enough for two batches to train on, one to validate and one to test."""
    train, frames, side = 2 * recipe.batch, recipe.clip.frames, recipe.clip.size_px
    for patient in range(train + 2):
        rng = np.random.default_rng(patient)
        yield UltrasoundSequence(
            frames=rng.integers(0, 256, (frames, side, side), dtype=np.uint8),
            labels=rng.integers(0, 4, (frames, side, side), dtype=np.uint8),
            annotated=(0, frames - 1),
            patient=f"noise{patient}",
            view="4CH",
            split="train" if patient < train else "validation" if patient == train else "test",
            source=f"noise{patient}",
            source_sha256=f"{patient:064d}",
            licence="made for a benchmark",
            spacing_mm=(1.0, 1.0),
        )


@dataclass
class ProbeStep:
    """One step of probe and decoder after another, on one batch, as the training loop takes them."""

    judged: Judged
    recipe: SegmentRecipe
    truth: Truth
    features: Callable[[], torch.Tensor]

    def __post_init__(self) -> None:
        self.device = self.judged.encoder.pos_embed.device
        self.optimiser = adamw(self.judged.segmenter.probe, self.judged.segmenter.decoder)
        self.guard = Guard(self.optimiser, self.device)

    def __call__(self) -> None:
        segmenter = self.judged.segmenter
        with autocast(self.device):
            loss = segmentation_loss(segmenter, self.features(), self.truth, self.recipe, 0)
        self.optimiser.zero_grad()
        loss.backward()
        self.guard.watch(0, {"loss": loss, "gradient": clip_(segmenter, None)})
        if self.device.type == "cpu":
            self.guard.check()
        self.optimiser.step()


def encode(judged: Judged, store: Store, recipe: SegmentRecipe) -> torch.Tensor:
    """The batch's features, computed in one pass."""
    device = judged.encoder.pos_embed.device
    with torch.no_grad(), autocast(device):
        clips = whole_clips(store, store.select("train")[: recipe.batch], recipe.clip)
        features: torch.Tensor = judged.encoder(clips.to(device))
    return features


def largest_difference(recipe: SegmentRecipe, workspace: Workspace) -> float:
    """Between the weights that the package's loop gives with the cache and without. Raises if a CPU's differ at all."""
    runs = [
        train_segmenter(recipe, replace(workspace, root=workspace.root / str(caches), caches=caches))
        for caches in (True, False)
    ]
    cached, live = (judged.segmenter.state_dict() for judged in runs)
    apart = max(float((cached[name] - live[name]).abs().max()) for name in cached)
    if apart and workspace.device.type == "cpu":
        raise AssertionError(f"cached features gave other weights: {apart}")
    return apart


def flops(recipe: SegmentRecipe, *, encodes: bool) -> float:
    """FLOPs of a step, with a pass of the frozen encoder or without."""
    of, model = recipe.clip, recipe.start.model
    once = encoder_products(of, model, tokens_of(of, model)).part("encoder", recipe.batch, is_trained=False).forward
    return sum(part.forward + part.backward for part in step_flops(recipe)) + once * encodes


def measure(size: str, device: torch.device, repeats: int) -> dict[str, object]:
    """All figures at one size."""
    recipe, third = SIZES[size], replace(SIZES[size], decoded_share=1 / 3)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(prepare(noise(recipe), Path(folder) / "store", recipe.clip.size_px), Path(folder), device)
        workspace = replace(workspace, shows_progress=False)
        apart = largest_difference(recipe, workspace)
        store, chosen = workspace.store, workspace.store.select("train")[: recipe.batch]
        judged = Judged(judged_encoder(recipe, workspace), new_segmenter(recipe).to(device))
        kept = features_of(judged.encoder, store, chosen, recipe.clip)
        truth = Truth(*(known.to(device) for known in truth_of(store, chosen, recipe.clip)))
        live = ProbeStep(judged, recipe, truth, partial(encode, judged, store, recipe))
        cached, fewer = (ProbeStep(judged, one, truth, kept.clone) for one in (recipe, third))
        results: dict[str, object] = {
            "size": size,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu, one thread",
            "torch": torch.__version__,
            "largest_difference_of_weights": apart,
            "live_peak_mb": peak_mb(live, device),
            "cached_peak_mb": peak_mb(cached, device),
        }
        pairs = {"": (live, cached), "_third": (cached, fewer), "_both": (live, fewer)}
        times = {name: paired(*steps, repeats, device) for name, steps in pairs.items()}
    every, few = flops(recipe, encodes=False), flops(third, encodes=False)
    work = {"": flops(recipe, encodes=True) / every, "_third": every / few, "_both": flops(recipe, encodes=True) / few}
    results |= {"live_ms": times[""].before_ms, "cached_ms": times[""].after_ms, "third_ms": times["_both"].after_ms}
    for name, pair in times.items():
        ratios = {"speedup": pair.ratio, "flop_ratio": work[name], "share_of_flop_ratio": pair.ratio / work[name]}
        results |= {f"{kind}{name}": ratio for kind, ratio in ratios.items()}
    return results


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--size", choices=SIZES, default="small")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--json", type=Path, metavar="FILE")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    results = measure(chosen.size, choose_device(chosen.device), chosen.repeats)
    for name, value in results.items():
        print(f"{name:32s} {value:10.3f}" if isinstance(value, float) else f"{name:32s} {value}")
    keep(results, chosen.json)


if __name__ == "__main__":
    main()
