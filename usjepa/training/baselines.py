"""Rows to compare with: predictions by place and grey level, and a U-Net on the same labels."""

import time

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from usjepa.baseline import LazyRecipe, UNetRecipe
from usjepa.data.clips import frame_indices, whole_clips
from usjepa.data.store import Entry, Store
from usjepa.errors import InputError
from usjepa.evaluation.shortcuts import Images, lazy_maps
from usjepa.spec import ClipSpec
from usjepa.structures import STRUCTURES
from usjepa.training.device import adamw, autocast, clip_, memory_enough
from usjepa.training.guard import Guard
from usjepa.training.runs import Run, open_run
from usjepa.training.schedules import cosine, set_rates_
from usjepa.training.scoring import Truth, finish_scored, scored_entries, training_entries, truth_of
from usjepa.training.streams import Stream, batch_order, generator
from usjepa.training.workspace import Workspace


def run_lazy(recipe: LazyRecipe, workspace: Workspace) -> Run:
    """Fit and score a prediction without a network; seconds."""
    run, store, clip = open_run(recipe, workspace), workspace.store, recipe.clip
    if not run.done:
        with run.locked(workspace.world):
            entries, scored = training_entries(recipe, store), scored_entries(store)
            truth = truth_of(store, entries, clip)
            trusted = truth.trust.numpy() > 0
            train = Images(_frames(store, entries, clip)[trusted][:, None], truth.labels.numpy()[trusted][:, None])
            maps = lazy_maps(train, _frames(store, scored, clip), sees_grey=recipe.method != "mean mask")
            finish_scored(run, torch.from_numpy(maps), workspace, clip, {})
    return run


def new_unet(recipe: UNetRecipe) -> nn.Module:
    """The U-Net at its random start. Raises InputError if its package isn't installed."""
    try:
        from segmentation_models_pytorch import Unet  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError("unet: expected the package segmentation-models-pytorch. Install usjepa[test].") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(recipe.seed, Stream.WEIGHTS).initial_seed())
        widths = tuple(16 * 2**k for k in reversed(range(recipe.depth)))
        network: nn.Module = Unet(
            "resnet18",
            encoder_depth=recipe.depth,
            encoder_weights=None,
            decoder_channels=widths,
            in_channels=recipe.clip.channels,
            classes=len(STRUCTURES),
        )
        return network


def train_unet(recipe: UNetRecipe, workspace: Workspace) -> nn.Module:
    """Train the U-Net on the labelled frames, as the probe is trained; leave its table in the run."""
    run, network = open_run(recipe, workspace), new_unet(recipe).to(workspace.device)
    if run.done:
        network.load_state_dict(run.final()["network"])
        return network.eval()
    with run.locked(workspace.world), memory_enough(recipe.batch):
        seconds = _fit(network, recipe, run, workspace)
        maps = segment_frames(network.eval(), workspace.store, scored_entries(workspace.store), recipe.clip)
        finish_scored(run, maps, workspace, recipe.clip, {"seconds": seconds})
    return network


@torch.no_grad()
def segment_frames(network: nn.Module, store: Store, entries: list[Entry], clip: ClipSpec) -> UInt8[Tensor, "k T H W"]:
    """The network's label maps of each entry's clip, on the CPU."""
    device = next(network.parameters()).device
    with autocast(device):
        logits = [_logits(network, whole_clips(store, [entry], clip).to(device)) for entry in entries]
    return torch.cat([one.argmax(dim=1).to(torch.uint8).cpu() for one in logits])


def _fit(network: nn.Module, recipe: UNetRecipe, run: Run, workspace: Workspace) -> float:
    """The seconds that training took, those before a kill too."""
    store, device = workspace.store, workspace.device
    entries = training_entries(recipe, store)
    truth, clips = truth_of(store, entries, recipe.clip), whole_clips(store, entries, recipe.clip)
    optimiser = adamw(network)
    state = run.resume()
    if state is not None:
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
    done, guard = state["step"] if state else 0, Guard(optimiser, device)
    started = time.perf_counter() - (state["seconds"] if state else 0.0)
    steps = tqdm(range(done, recipe.steps), "unet", recipe.steps, initial=done, disable=not workspace.is_shown)
    for step in steps:
        is_last = step == recipe.steps - 1
        logs, saves = is_last or step % recipe.log_every == 0, is_last or (step + 1) % recipe.save_every == 0
        chosen = batch_order(recipe.seed, step, batch=recipe.batch, clips=len(entries))
        known = Truth(truth.labels[chosen].to(device), truth.trust[chosen].to(device))
        with autocast(device):
            loss = frame_loss(_logits(network, clips[chosen].to(device)), known)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        guard.watch(step, {"cross-entropy": loss, "gradient": clip_(network, None)})
        if logs or saves or device.type == "cpu":
            guard.check()
        rate = cosine(step / recipe.steps, start=recipe.rate_peak, final=0.0)
        set_rates_(optimiser, rate=rate, weight_decay=recipe.weight_decay)
        optimiser.step()
        if logs:
            run.append({"step": step, "cross_entropy": float(loss.detach())})
        if saves:
            seconds = time.perf_counter() - started
            state = {"step": step + 1, "seconds": seconds, "network": network.state_dict()}
            run.save({**state, "optimiser": optimiser.state_dict()})
    return time.perf_counter() - started


def frame_loss(logits: Float[Tensor, "b s T H W"], truth: Truth) -> Float[Tensor, ""]:
    """Cross-entropy of trusted frames' pixels."""
    wrong = functional.cross_entropy(logits, truth.labels.long(), reduction="none").mean(dim=(2, 3))
    return (wrong * truth.trust).sum() / truth.trust.sum().clamp(min=1)


def _logits(network: nn.Module, clip: Float[Tensor, "b c T H W"]) -> Float[Tensor, "b s T H W"]:
    each: Tensor = network(rearrange(clip, "b c T H W -> (b T) c H W"))
    return rearrange(each, "(b T) s H W -> b s T H W", b=len(clip))


def _frames(store: Store, entries: list[Entry], clip: ClipSpec) -> UInt8[np.ndarray, "N T H W"]:
    return np.stack([store.frames[entry.first + frame_indices(entry.length, clip)] for entry in entries])
