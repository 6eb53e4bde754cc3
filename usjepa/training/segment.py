"""The downstream loop: probe and decoder by cross-entropy, on a frozen encoder's features or together with it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW
from tqdm.auto import tqdm

from usjepa.data.clips import whole_clips
from usjepa.data.store import Entry, Store
from usjepa.evaluation.ridge import Tokens, class_fractions, ridge_r2
from usjepa.model.encoder import Encoder, tubelet_of
from usjepa.model.segmenter import Segmenter
from usjepa.model.tokens import take, tubelets
from usjepa.recipe import SegmentRecipe
from usjepa.spec import ClipSpec
from usjepa.training.device import adamw, autocast, clip_, memory_enough
from usjepa.training.features import features_of, kept_features
from usjepa.training.guard import Guard
from usjepa.training.learners import new_encoder
from usjepa.training.pretrain import parts_of
from usjepa.training.runs import Run, open_run
from usjepa.training.schedules import cosine, set_rates_
from usjepa.training.scoring import (
    Judged,
    Truth,
    finish_scored,
    scored_entries,
    segment_entries,
    training_entries,
    truth_of,
)
from usjepa.training.streams import Stream, batch_order, generator
from usjepa.training.workspace import Workspace
from usjepa.weights.load import load_into_


def judged_encoder(recipe: SegmentRecipe, workspace: Workspace) -> Encoder:
    """The encoder that this recipe judges, its start run first if it isn't done: frozen, unless it is trained too."""
    encoder = new_encoder(recipe.start)
    parts = parts_of(recipe.start, workspace)
    wanted = "teacher" if recipe.judges == "teacher" and "teacher" in parts else "encoder"
    load_into_(encoder, parts[wanted], f"{recipe.start.kind}, {wanted}")
    return encoder.requires_grad_(recipe.trains_encoder).to(workspace.device)


def new_segmenter(recipe: SegmentRecipe) -> Segmenter:
    """Probe and decoder at their random start, decided by the recipe's seed alone: the same for every encoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(recipe.seed, Stream.PROBE).initial_seed())
        return Segmenter(recipe)


def train_segmenter(recipe: SegmentRecipe, workspace: Workspace) -> Judged:
    """Train probe and decoder on labelled training videos; leave a table of validation and test videos in the run.

    A frozen encoder's features are computed once and kept below the workspace's root. A killed run goes on from its
    checkpoint, a finished one is only read. Raises InputError if the store has too few labelled videos.
    """
    run = open_run(recipe, workspace)
    encoder = judged_encoder(recipe, workspace)
    judged = Judged(encoder, new_segmenter(recipe).to(workspace.device))
    if run.done:
        _load_(judged, run.final(), recipe)
        return judged
    with run.locked(workspace.world), memory_enough(recipe.batch):
        seconds = _fit(judged, recipe, run, workspace)
        maps = segment_entries(judged, workspace.store, scored_entries(workspace.store), recipe.clip)
        facts = {} if recipe.trains_encoder else ridge_facts(judged.encoder, recipe, workspace)
        finish_scored(run, maps, workspace, recipe.clip, {"seconds": seconds, **facts})
    return judged


def ridge_facts(encoder: Encoder, recipe: SegmentRecipe, workspace: Workspace) -> dict[str, float]:
    """The closed-form score of the same features and labels, averaged over structures, by split."""
    store, tubelet = workspace.store, tubelet_of(recipe.start.model)
    entries = {"train": training_entries(recipe, store)}
    for entry in scored_entries(store):
        entries.setdefault(entry.split, []).append(entry)
    tokens = {
        split: Tokens(
            kept_features(encoder, of, recipe.clip, workspace).cpu(),
            class_fractions(*truth_of(store, of, recipe.clip), tubelet),
        )
        for split, of in entries.items()
    }
    return {
        f"ridge_{split}": float(ridge_r2(tokens["train"], asked)["over structures"])
        for split, asked in tokens.items()
        if split != "train"
    }


def _fit(judged: Judged, recipe: SegmentRecipe, run: Run, workspace: Workspace) -> float:
    """AdamW, the rate falling from its peak to 0 (section 3.1); the seconds it took, those before a kill too."""
    entries, device = training_entries(recipe, workspace.store), workspace.device
    truth = truth_of(workspace.store, entries, recipe.clip)
    features = _features(judged, recipe, entries, workspace)
    segmenter = judged.segmenter
    optimiser = adamw(segmenter.probe, segmenter.decoder, judged.encoder)
    done, before_s = _restore(judged, recipe, optimiser, run)
    guard, started = Guard(optimiser, device), time.perf_counter() - before_s
    steps = tqdm(range(done, recipe.steps), "segment", recipe.steps, initial=done, disable=not workspace.is_shown)
    for step in steps:
        is_last = step == recipe.steps - 1
        logs, saves = is_last or step % recipe.log_every == 0, is_last or (step + 1) % recipe.save_every == 0
        chosen = batch_order(recipe.seed, step, batch=recipe.batch, clips=len(entries))
        known = Truth(truth.labels[chosen].to(device), truth.trust[chosen].to(device))
        with autocast(device):
            loss = segmentation_loss(segmenter, features(chosen), known, recipe, step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norms = {"gradient": clip_(segmenter, None), "encoder's gradient": clip_(judged.encoder, None)}
        guard.watch(step, {"cross-entropy": loss, **norms})
        if logs or saves or device.type == "cpu":
            guard.check()
        set_rates_(
            optimiser,
            rate=cosine(step / recipe.steps, start=recipe.rate_peak, final=0.0),
            weight_decay=recipe.weight_decay,
        )
        optimiser.step()
        if logs:
            run.append({"step": step, "cross_entropy": float(loss.detach())})
        if saves:
            state = {"step": step + 1, "seconds": time.perf_counter() - started, **_state(judged, recipe)}
            run.save({**state, "optimiser": optimiser.state_dict()})
    return time.perf_counter() - started


def segmentation_loss(
    segmenter: Segmenter, features: Float[Tensor, "b n d"], truth: Truth, recipe: SegmentRecipe, step: int
) -> Float[Tensor, ""]:
    """Cross-entropy of trusted frames' pixels; of a random share of the tokens, if the recipe decodes no more."""
    tubelet = tubelet_of(recipe.start.model)
    trust = repeat(truth.trust, "b T -> b 1 T H W", H=recipe.clip.size_px, W=recipe.clip.size_px)
    known = tubelets(rearrange(truth.labels, "b T H W -> b 1 T H W"), tubelet)
    weight, places = tubelets(trust, tubelet), None
    if recipe.decoded_share < 1:
        order = torch.rand(known.shape[:2], generator=generator(recipe.seed, Stream.TOKENS, step)).argsort(dim=1)
        places = order[:, : round(recipe.decoded_share * known.shape[1])].to(features.device)
        known, weight = take(known, places), take(weight, places)
    logits = rearrange(segmenter.at(features, places), "b m s p -> b s m p")
    wrong = functional.cross_entropy(logits, known.long(), reduction="none")
    return (wrong * weight).sum() / weight.sum().clamp(min=1)


def _features(
    judged: Judged, recipe: SegmentRecipe, entries: Sequence[Entry], workspace: Workspace
) -> Callable[[list[int]], Tensor]:
    """From chosen entries' numbers to their features: kept, or computed at each step; sets the standardiser."""
    if recipe.trains_encoder:
        return partial(_live, judged.encoder, workspace.store, entries, recipe.clip)
    kept = kept_features(judged.encoder, entries, recipe.clip, workspace)
    judged.segmenter.standardise.fit_(kept)
    if workspace.caches:
        return kept.__getitem__
    return partial(_alone, judged.encoder, workspace.store, entries, recipe.clip)


def _restore(judged: Judged, recipe: SegmentRecipe, optimiser: AdamW, run: Run) -> tuple[int, float]:
    """Load the run's checkpoint, if it has one; the steps already done, and the seconds they took."""
    state = run.resume()
    if state is None:
        return 0, 0.0
    _load_(judged, state, recipe)
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), float(state["seconds"])


def _state(judged: Judged, recipe: SegmentRecipe) -> dict[str, dict[str, Tensor]]:
    """What a checkpoint keeps: a frozen encoder is in its own run."""
    kept = {"segmenter": judged.segmenter.state_dict()}
    return {**kept, "encoder": judged.encoder.state_dict()} if recipe.trains_encoder else kept


def _load_(judged: Judged, state: dict[str, Any], recipe: SegmentRecipe) -> None:
    judged.segmenter.load_state_dict(state["segmenter"])
    if recipe.trains_encoder:
        judged.encoder.load_state_dict(state["encoder"])


def _live(encoder: Encoder, store: Store, entries: Sequence[Entry], clip: ClipSpec, chosen: list[int]) -> Tensor:
    features: Tensor = encoder(whole_clips(store, [entries[k] for k in chosen], clip).to(encoder.pos_embed.device))
    return features


def _alone(encoder: Encoder, store: Store, entries: Sequence[Entry], clip: ClipSpec, chosen: list[int]) -> Tensor:
    return features_of(encoder, store, [entries[k] for k in chosen], clip)
