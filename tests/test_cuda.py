"""What a CUDA GPU changes and what it must not; cases that don't need one run on the CPU too."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_distributed import videomae_like
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from usjepa.estimate.masks import mask_counts
from usjepa.estimate.memory import memory
from usjepa.model.encoder import blocks_of
from usjepa.model.jepa import Draws
from usjepa.model.localiser import Pairs
from usjepa.model.masking import Mask
from usjepa.recipe import PretrainRecipe, SegmentRecipe, VideoMAERecipe
from usjepa.spec import ClipSpec, ModelSpec
from usjepa.training import pretrain as loop
from usjepa.training.device import adamw, autocast, clip_, compile_blocks_
from usjepa.training.guard import Guard
from usjepa.training.learners import Batch, Learner, batch_of, draw_step, follow_, new_learner
from usjepa.training.pretrain import pretrain
from usjepa.training.workspace import Workspace
from usjepa.training.world import World

NEEDS_GPU = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")]
EITHER_DEVICE = pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.lift_fresh")
"""To read a number from the device, to count what is found there, to bring a constant that Python holds."""


@pytest.fixture(params=["vjepa", "videomae"])
def either(request: pytest.FixtureRequest, micro: SegmentRecipe) -> PretrainRecipe | VideoMAERecipe:
    assert isinstance(micro.start, PretrainRecipe)
    return micro.start if request.param == "vjepa" else videomae_like(micro.start)


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sums on the GPU in one order, at a price that a run does not pay."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    with sdpa_kernel(SDPBackend.MATH):
        yield
    torch.use_deterministic_algorithms(False)


def first_batch(learner: Learner, space: Workspace) -> Batch:
    films, frames = loop._films(learner.recipe, space)
    return batch_of(learner, frames, films, 0, World().rows(learner.recipe.batch))


def tensors_of(batch: Batch) -> list[Tensor]:
    draws = (*batch.draws.masks, *batch.draws.pairs) if isinstance(batch.draws, Draws) else (batch.draws,)
    return [batch.clip, *(tensor for one in draws for tensor in one)]


def step_(learner: Learner, forward: nn.Module, batch: Batch, guard: Guard, optimiser: torch.optim.AdamW) -> None:
    """The part of a step that is the device's, as the loop has it where no row is logged."""
    with autocast(batch.clip.device):
        loss = forward(*batch).combined
    optimiser.zero_grad()
    loss.backward()
    norms = {name: clip_(part, learner.recipe.clip_norm) for name, part in learner.trained.items()}
    guard.watch(0, {"loss": World().mean(loss), **norms})
    optimiser.step()
    follow_(learner, 0)


@EITHER_DEVICE
def test_a_loss_and_its_gradient_in_bfloat16_are_those_of_float32(name: str, either, space: Workspace) -> None:
    device = torch.device(name)
    learner = new_learner(either).to(device)
    batch, found = first_batch(learner, replace(space, device=device)), []
    for is_half in (False, True):
        learner.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_half):
            loss = learner(*batch).combined
        loss.backward()
        moved = [weight.grad for weight in learner.parameters() if weight.grad is not None]
        found.append((loss.detach().float(), torch.cat([one.float().flatten() for one in moved])))
    (exact, gradient), (rounded, other) = found
    assert abs(rounded - exact) < 0.01 * exact
    assert torch.cosine_similarity(gradient, other, dim=0) > 0.99


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own
@EITHER_DEVICE
def test_a_compiled_block_computes_what_it_did(name: str) -> None:
    device = torch.device(name)
    if device.type == "cpu" and shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    (block,) = blocks_of(24, depth=1, heads=2).to(device)
    tokens = torch.randn(2, 9, 24, device=device, requires_grad=True)
    found = []
    for _ in range(2):
        with autocast(device):
            features = block(tokens)
        (gradient,) = torch.autograd.grad(features.float().square().mean(), tokens)
        found.append((features.float(), gradient))
        compile_blocks_(block)
    tolerance = 1e-5 if device.type == "cpu" else 2e-2
    for before, after in zip(*found, strict=True):
        torch.testing.assert_close(after, before, atol=tolerance, rtol=tolerance)


@pytest.mark.slow
@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_a_run_that_is_compiled_has_the_losses_of_one_that_is_not(either, space: Workspace) -> None:
    device = torch.device("cuda")
    learner = new_learner(either).to(device)
    batch = first_batch(learner, replace(space, device=device))
    with autocast(device):
        plain = learner(*batch).combined
        compiled = loop._prepared(learner, replace(space, device=device, compiles=True))(*batch).combined
    assert abs(compiled - plain) < 0.01 * plain


@EITHER_DEVICE
@pytest.mark.usefixtures("deterministic")
def test_a_stopped_run_goes_on_to_the_same_bits_on_either_device(
    name: str, either, space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(learner: Learner, step: int) -> None:
        if step == 6:
            raise KeyboardInterrupt
        follow_(learner, step)

    unbroken, broken = (replace(space, root=tmp_path / one, device=torch.device(name)) for one in ("whole", "broken"))
    expected = pretrain(either, unbroken).state_dict()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "follow_", stopping)
        with pytest.raises(KeyboardInterrupt):
            pretrain(either, broken)
    for key, tensor in pretrain(either, broken).state_dict().items():
        assert tensor.device.type == name
        assert torch.equal(tensor, expected[key]), key


class Waits(TorchDispatchMode):
    """Counts the operations for which a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, operation, types, given=(), named=None) -> object:  # type: ignore[no-untyped-def]
        if str(operation).startswith(WAITING):
            self.seen.append(str(operation))
        return operation(*given, **(named or {}))


def test_what_a_step_computes_asks_for_no_number_and_brings_none(either, space: Workspace) -> None:
    learner = new_learner(either)
    batch, optimiser = first_batch(learner, space), adamw(*learner.trained.values())
    guard = Guard(optimiser, space.device)
    step_(learner, learner, batch, guard, optimiser)
    with Waits() as waits:
        step_(learner, learner, batch, guard, optimiser)
    assert waits.seen == []
    with waits:
        guard.check()
    assert waits.seen == ["aten._local_scalar_dense.default"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_a_step_that_is_not_logged_waits_for_the_gpu_nowhere(either, space: Workspace, monkeypatch) -> None:
    recipe, seen = replace(either, steps=8, log_every=100, save_every=100), []

    def watched(learner: Learner, frames: Tensor, films: list, step: int, rows: slice) -> Batch:
        torch.cuda.set_sync_debug_mode("error" if 0 < step < recipe.steps - 1 else "default")
        batch = batch_of(learner, frames, films, step, rows)
        seen.append({frames.device.type, *(one.device.type for one in tensors_of(batch))})
        return batch

    monkeypatch.setattr(loop, "batch_of", watched)
    try:
        pretrain(recipe, replace(space, device=torch.device("cuda")))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert seen == recipe.steps * [{"cuda"}]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_step_of_a_small_vit_takes_the_memory_that_is_estimated() -> None:
    """Not counted by the estimate, hence the half more: the teacher's short-lived tensors, and cuBLAS's own space."""
    device, model = torch.device("cuda"), ModelSpec(width=384, depth=12, heads=6)
    recipe = PretrainRecipe(clip=ClipSpec(), model=model, batch=4)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    learner = new_learner(recipe).to(device)
    optimiser = adamw(*learner.trained.values(), betas=recipe.betas)
    guard, clip = Guard(optimiser, device), torch.randn(4, 3, 16, 224, 224, device=device)
    for step in range(3):
        drawn = draw_step(learner, step)
        assert isinstance(drawn, Draws)
        masks = tuple(Mask(*(one.to(device) for one in mask)) for mask in drawn.masks)
        pairs = tuple(Pairs(*(one.to(device) for one in pair)) for pair in drawn.pairs)
        step_(learner, learner, Batch(clip, Draws(masks, pairs)), guard, optimiser)
    guard.check()
    taken = torch.cuda.max_memory_allocated(device) - before
    expected = sum(memory(recipe, mask_counts(recipe, draws=3), is_half=True).values())
    assert 0.6 * expected < taken < 1.5 * expected
