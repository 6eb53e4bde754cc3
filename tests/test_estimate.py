import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from usjepa.baseline import UNetRecipe
from usjepa.catalogue import named_recipe
from usjepa.cli import main
from usjepa.errors import InputError
from usjepa.estimate.flops import Counts, step_flops
from usjepa.estimate.masks import mask_counts
from usjepa.estimate.memory import kept, memory, sizes, traffic
from usjepa.estimate.plan import plan_of
from usjepa.estimate.report import duration, scaled, step_seconds
from usjepa.estimate.speed import product_rate
from usjepa.model.encoder import Encoder
from usjepa.model.jepa import JEPA
from usjepa.model.masking import tube
from usjepa.model.segmenter import Segmenter
from usjepa.model.videomae import VideoMAE
from usjepa.recipe import AnyRecipe, PretrainRecipe, Published, SegmentRecipe, VideoMAERecipe, chain
from usjepa.recipe_file import recipe_hash, to_json
from usjepa.spec import ClipSpec, DecoderSpec, ModelSpec
from usjepa.training.runs import Run
from usjepa.training.segment import train_segmenter
from usjepa.training.streams import Stream, generator
from usjepa.training.workspace import Workspace

SPEC = ClipSpec(frames=4, size_px=32, channels=3)
MODEL = ModelSpec(
    width=48, depth=3, heads=2, patch_px=4, predictor_width=24, predictor_depth=2, head_width=20, init_std=None
)
JEPA_RECIPE = PretrainRecipe(clip=SPEC, model=MODEL, batch=2, pairs=7)
MAE_RECIPE = VideoMAERecipe(clip=SPEC, model=MODEL, batch=2, decoder=DecoderSpec(width=24, depth=2, heads=2))
PROBE_RECIPE = SegmentRecipe(start=JEPA_RECIPE, clip=SPEC, batch=2, decoder_width=12)
# Tokens seen and predicted at the paper's batch of 4: means of 4000 draws of V-JEPA's published generator.
PAPER_FAMILIES = [Counts(np.array([466]), np.array([862])), Counts(np.array([179]), np.array([1168]))]


def gigaflops_a_clip(recipe: AnyRecipe) -> dict[str, tuple[float, float]]:
    parts = step_flops(recipe, PAPER_FAMILIES)
    return {part.name: (part.forward / recipe.batch / 1e9, part.backward / recipe.batch / 1e9) for part in parts}


def total(recipe: AnyRecipe, families: list[Counts] = PAPER_FAMILIES) -> float:
    return sum(part.forward + part.backward for part in step_flops(recipe, families))


def test_the_papers_v_jepa_step_is_twelve_teraflop() -> None:
    """Against a tabulation made for ViT-L by other code, its counts averaged before the attention's square is taken."""
    parts = gigaflops_a_clip(PretrainRecipe())
    assert parts["teacher"] == (pytest.approx(1193.7, abs=0.05), 0)
    assert parts["student"] == (pytest.approx(424.8, rel=0.005), pytest.approx(839.7, rel=0.005))
    assert parts["predictor"] == (pytest.approx(182.0, rel=0.005), pytest.approx(363.9, rel=0.005))
    assert total(PretrainRecipe()) / 4e9 == pytest.approx(3004, rel=0.005)
    assert total(PretrainRecipe(frozen_blocks=12)) / 1e12 == pytest.approx(10.3, abs=0.05)
    assert total(PretrainRecipe(frozen_blocks=16)) / 1e12 == pytest.approx(9.8, abs=0.05)


def test_the_papers_probe_and_supervised_row() -> None:
    probe = gigaflops_a_clip(SegmentRecipe())
    assert probe["probe"][0] == pytest.approx(49.5, abs=0.05)
    assert probe["decoder"][0] == pytest.approx(28.0, abs=0.05)
    assert total(SegmentRecipe()) / 4e9 == pytest.approx(232, abs=0.5)
    supervised = gigaflops_a_clip(SegmentRecipe(trains_encoder=True))
    # Three passes' worth, but for the embedding, whose input takes no gradient.
    assert sum(supervised["encoder"]) == pytest.approx(3 * 1193.665 - 4.932, abs=0.01)


def test_the_masks_counted_are_those_that_are_drawn() -> None:
    counts = mask_counts(JEPA_RECIPE, draws=5)
    jepa = JEPA(JEPA_RECIPE)
    for step in range(5):
        drawn = jepa.draw(generator(0, Stream.MASKS, step), generator(0, Stream.PAIRS, step)).masks
        for family, mask in zip(counts, drawn, strict=True):
            assert family.context[step] == mask.context.shape[1]
            assert family.target[step] == mask.target.shape[1]
    means = [(family.context.mean(), family.target.mean()) for family in mask_counts(PretrainRecipe(), draws=100)]
    assert np.ravel(means) == pytest.approx([466, 862, 179, 1168], abs=30)


@pytest.mark.parametrize("recipe", [MAE_RECIPE, PROBE_RECIPE])
def test_only_v_jepa_has_mask_families(recipe: AnyRecipe) -> None:
    assert mask_counts(recipe) == []


def networks(recipe: AnyRecipe) -> dict[str, nn.Module]:
    if isinstance(recipe, SegmentRecipe):
        segmenter = Segmenter(recipe)
        encoder = Encoder(recipe.start.model, recipe.clip).requires_grad_(recipe.trains_encoder)
        return {"encoder": encoder, "probe": segmenter.probe, "decoder": segmenter.decoder}
    learner = JEPA(recipe) if isinstance(recipe, PretrainRecipe) else VideoMAE(recipe)
    return {"localisation head" if name == "head" else name: part for name, part in learner.trained.items()}


@pytest.mark.parametrize(
    "recipe",
    [
        PretrainRecipe(),
        PretrainRecipe(frozen_blocks=12),
        PretrainRecipe(frozen_blocks=24),
        VideoMAERecipe(model=ModelSpec(positions="1d")),
        SegmentRecipe(),
        SegmentRecipe(trains_encoder=True),
        JEPA_RECIPE,
        MAE_RECIPE,
        PROBE_RECIPE,
    ],
)
def test_parameters_are_those_of_the_modules(recipe: AnyRecipe) -> None:
    with torch.device("meta"):
        parts = networks(recipe)
    assert [size.name for size in sizes(recipe)] == list(parts)
    for size, module in zip(sizes(recipe), parts.values(), strict=True):
        weights = list(module.parameters())
        assert size.parameters == sum(weight.numel() for weight in weights), size.name
        assert size.trained == sum(weight.numel() for weight in weights if weight.requires_grad), size.name


def loss_of(recipe: AnyRecipe) -> tuple[nn.Module, Tensor]:
    """A network and its loss for the masks of step 0."""
    clip = torch.zeros(recipe.batch, SPEC.channels, SPEC.frames, SPEC.size_px, SPEC.size_px)
    if isinstance(recipe, PretrainRecipe):
        jepa = JEPA(recipe)
        return jepa, jepa(clip, jepa.draw(generator(0, Stream.MASKS, 0), generator(0, Stream.PAIRS, 0))).combined
    if isinstance(recipe, VideoMAERecipe):
        mae = VideoMAE(recipe)
        return mae, mae(
            clip, tube(mae.encoder.grid, recipe.mask_ratio, recipe.batch, generator(0, Stream.MASKS))
        ).combined
    segmenter, encoder = Segmenter(recipe), Encoder(recipe.start.model, recipe.clip)
    places = torch.arange(round(recipe.decoded_share * segmenter.grid.n)).expand(recipe.batch, -1)
    features = encoder(clip) if recipe.trains_encoder else torch.zeros(recipe.batch, segmenter.grid.n, MODEL.width)
    return segmenter, segmenter.at(features, places).sum()


@pytest.mark.parametrize(
    "recipe",
    [
        JEPA_RECIPE,
        *(replace(JEPA_RECIPE, frozen_blocks=blocks) for blocks in (1, 3)),
        *(replace(JEPA_RECIPE, localise=what) for what in ("detached", "zeroed", "context", "placeless")),
        MAE_RECIPE,
        *(replace(MAE_RECIPE, frozen_blocks=blocks) for blocks in (2, 3)),
        PROBE_RECIPE,
        replace(PROBE_RECIPE, decoded_share=0.3),
        replace(PROBE_RECIPE, trains_encoder=True),
    ],
)
def test_flops_are_those_that_torch_counts_in_the_real_step(recipe: AnyRecipe) -> None:
    """To the last one. Torch's counter sees matrix products and convolutions, and attention if it is written out."""
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        _, loss = loss_of(recipe)
        loss.backward()
    assert counter.get_total_flops() == round(total(recipe, mask_counts(recipe, draws=1)))


def kept_by_autograd(recipe: AnyRecipe, *, is_half: bool) -> int:
    """Bytes of the storages that a step's graph holds, but for weights, their casts and their forms as matrices."""
    held: dict[int, int] = {}
    every = [weight for module in networks(recipe).values() for weight in module.parameters()]
    weights = {
        tuple(sorted(one.shape))
        for weight in every
        for one in (weight, weight.flatten(1) if weight.ndim > 1 else weight)
    }

    def pack(tensor: Tensor) -> Tensor:
        if tuple(sorted(tensor.shape)) not in weights:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_half):
        _network, loss = loss_of(recipe)
        assert loss.requires_grad
        return sum(held.values())


DEEP = replace(MODEL, depth=12, predictor_depth=8)
DEEP_JEPA = replace(JEPA_RECIPE, model=DEEP)
DEEP_MAE = replace(MAE_RECIPE, model=DEEP, decoder=DecoderSpec(width=48, depth=8, heads=2))


@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize(
    "recipe",
    [DEEP_JEPA, replace(DEEP_JEPA, frozen_blocks=6), DEEP_MAE, PROBE_RECIPE, replace(PROBE_RECIPE, decoded_share=0.3)],
)
def test_activations_are_what_autograd_keeps_but_for_a_quarter(recipe: AnyRecipe, is_half: bool) -> None:
    """Left out of the estimate: indices, masks' gathers, final norms and the narrow layers between the networks."""
    estimate = recipe.batch * kept(recipe, mask_counts(recipe, draws=1), is_half=is_half)
    measured = kept_by_autograd(recipe, is_half=is_half)
    assert 1 <= measured / estimate < 1.25


def test_memory_and_traffic_of_the_paper() -> None:
    """12.5 GB and 23.1 GB for ViT-L at batch 4 by bfloat16 autocast; by hand from bytes a parameter."""
    recipe, trained, encoder = PretrainRecipe(), 327_281_539, 303_885_312
    bytes_of = memory(recipe, PAPER_FAMILIES, is_half=True)
    assert bytes_of["weights"] + bytes_of["gradients"] + bytes_of["moments"] == 18 * trained
    assert bytes_of["teacher"] == 4 * encoder
    assert bytes_of["activations"] == 4 * 36 * (645 * 1024 * 24 + 2675 * 384 * 12)
    assert sum(traffic(recipe, is_half=True).values()) == 54 * trained + 18 * encoder
    frozen = PretrainRecipe(frozen_blocks=12)
    still = 1537 * 1024 + 12 * (12 * 1024**2 + 13 * 1024)
    moved = 48 * (trained - still) + 12 * (encoder - still) + 6 * (trained + encoder)
    assert sum(traffic(frozen, is_half=True).values()) == moved
    assert sum(traffic(SegmentRecipe(), is_half=False).values()) == 36 * (14_203_904 + 8_405_252)


def test_a_clip_that_tubelets_do_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="clip.size_px: expected a multiple of the tubelet's 16, got 100"):
        step_flops(VideoMAERecipe(clip=ClipSpec(size_px=100)))


def test_all_ancestors_are_named_oldest_first() -> None:
    start = Published()
    middle = PretrainRecipe(start=start)
    judge = SegmentRecipe(start=PretrainRecipe(start=middle))
    assert chain(judge) == [start, middle, judge.start, judge]


def test_a_plan_adds_up_steps_log_and_features() -> None:
    recipe = replace(JEPA_RECIPE, steps=100, warmup_steps=1, log_every=10)
    plan = plan_of(recipe, draws=5)
    forward, backward = sum(part.forward for part in plan.parts), sum(part.backward for part in plan.parts)
    assert plan.flops == pytest.approx(100 * (forward + backward) + 11 * (forward + 2 * backward))
    cached = plan_of(replace(PROBE_RECIPE, steps=10), clips=50)
    assert cached.flops == pytest.approx(10 * cached.step_flops + 25 * plan.parts[0].forward)
    assert plan_of(replace(PROBE_RECIPE, trains_encoder=True)).once_flops == 0


def test_a_log_tells_the_time_of_a_step_whatever_was_interrupted() -> None:
    log = pd.DataFrame({"step": [0, 10, 20, 30, 40], "seconds": [1.0, 3.0, 5.0, 0.5, 2.5]})
    assert step_seconds(log) == pytest.approx(0.2)
    assert step_seconds(pd.DataFrame()) is None
    assert step_seconds(log[:1]) is None


def test_figures_are_printed_in_their_units() -> None:
    assert [duration(s) for s in (0.0123, 2.0, 100.0, 7200.0, 864_000.0)] == [
        "12.3 ms",
        "2 s",
        "1.67 min",
        "2 h",
        "10 days",
    ]
    assert [scaled(x, "FLOP") for x in (12.0, 3e9, 7.2e17, 9.999e5, 2e18)] == [
        "12 FLOP",
        "3 GFLOP",
        "720 PFLOP",
        "1 MFLOP",
        "2 EFLOP",
    ]


def test_the_product_that_time_is_measured_by_counts_its_work() -> None:
    rate = product_rate(64, 64, torch.device("cpu"), seconds=0.02)
    assert 1e7 < rate < 1e13


def test_estimating_needs_no_torch_until_masks_are_drawn() -> None:
    code = "import sys, usjepa.estimate.plan, usjepa.estimate.report; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_names_what_runs_how_long_and_what_was_measured(
    space: Workspace, random: SegmentRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "micro.json").write_text(to_json(random))
    recipe = named_recipe("vjepa-ll")
    folder = space.root / recipe_hash(recipe.start)
    folder.mkdir(parents=True)
    pd.DataFrame({"step": [0, 10, 20], "seconds": [0.1, 1.1, 2.1]}).to_csv(folder / "log.csv", index=False)
    assert main(["estimate", "vjepa-ll", "--runs", str(space.root), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert all(recipe_hash(one) in said for one in chain(recipe))
    assert said.count("  time: about") == 3
    assert said.count("measured so far: 100 ms a step, so 25 s in all") == said.count("measured") == 1
    train_segmenter(random, space)
    seconds = Run(space.root / recipe_hash(random), random).facts()["seconds"]
    store = ["--data", str(space.store.folder)]
    assert main(["estimate", str(tmp_path / "micro.json"), *store, "--runs", str(space.root)]) == 0
    said = capsys.readouterr().out
    assert f"  measured: {duration(seconds)}, {duration(seconds / random.steps)} a step" in said
    assert "random start: ViT of 3 blocks" in said


def test_a_row_without_a_transformer_has_no_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "unet.json").write_text(to_json(UNetRecipe()))
    assert main(["estimate", str(tmp_path / "unet.json")]) == 2
    assert "expected a recipe with a transformer, got unet" in capsys.readouterr().err
