"""The downstream loop: frozen features computed once, then probe and decoder by cross-entropy."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from einops import reduce
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from usjepa.data.clips import frame_indices, trusted_frames, whole_clips, whole_labels
from usjepa.data.store import Entry, Store
from usjepa.errors import InputError
from usjepa.evaluation.metrics import Counts, confusion, counts
from usjepa.model.encoder import Encoder
from usjepa.model.segmenter import Segmenter
from usjepa.recipe import ClipSpec, SegmentRecipe
from usjepa.structures import STRUCTURES
from usjepa.training.device import adamw, autocast
from usjepa.training.runs import Run
from usjepa.training.schedules import cosine, set_rates_
from usjepa.training.streams import Stream, batch_order, generator

FEATURE_BATCH = 16


class Truth(NamedTuple):
    """Label maps, and 1 for each frame whose map may train: 0 for a clip's repeats and for frames without a label."""

    labels: UInt8[Tensor, "k T H W"]
    trust: Float[Tensor, "k T"]


def new_segmenter(recipe: SegmentRecipe) -> Segmenter:
    """Probe and decoder at their random start, decided by the recipe's seed alone: the same for every encoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(recipe.seed, Stream.PROBE).initial_seed())
        return Segmenter(recipe)


def train_segmenter(
    recipe: SegmentRecipe, encoder: Encoder, store: Store, run: Run, *, shows_progress: bool = True
) -> Segmenter:
    """Train probe and decoder on the labelled training videos; leave a table of the test videos in the run.

    The encoder stays as it is: its features are computed once. A finished run is only read. Raises InputError if the
    store has no labelled training or test videos, or too few for a batch.
    """
    segmenter = new_segmenter(recipe).to(encoder.pos_embed.device)
    if run.done and (state := run.resume()) is not None:
        segmenter.load_state_dict(state["segmenter"])
        return segmenter
    labelled = [entry for entry in store.select("train") if entry.is_labelled]
    if len(labelled) < recipe.batch:
        raise InputError(f"batch: expected at most the {len(labelled)} labelled clips, got {recipe.batch}. Lower it.")
    features = features_of(encoder, store, labelled, recipe.clip)
    segmenter.standardise.fit_(features)
    run.resume()
    _fit(segmenter, recipe, features, truth_of(store, labelled, recipe.clip), run, shows_progress)
    run.save({"step": recipe.steps, "segmenter": segmenter.state_dict()})
    run.finish(evaluate(segmenter, encoder, store, store.select("test"), recipe.clip))
    return segmenter


def _fit(
    segmenter: Segmenter,
    recipe: SegmentRecipe,
    features: Float[Tensor, "k n d"],
    truth: Truth,
    run: Run,
    shows_progress: bool,
) -> None:
    """AdamW on the cross-entropy of trusted frames' pixels, the rate falling from its peak to 0 (section 3.1)."""
    device = features.device
    optimiser = adamw(segmenter.probe, segmenter.decoder)
    for step in tqdm(range(recipe.steps), desc="segment", disable=not shows_progress):
        chosen = batch_order(recipe.seed, step, batch=recipe.batch, clips=len(features))
        with autocast(device):
            labels, trust = truth.labels[chosen].long().to(device), truth.trust[chosen].to(device)
            wrong = functional.cross_entropy(segmenter(features[chosen]), labels, reduction="none")
            loss = (reduce(wrong, "k T H W -> k T", "mean") * trust).sum() / trust.sum().clamp(min=1)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if not torch.isfinite(loss):
            raise FloatingPointError(f"step {step}: the cross-entropy is {float(loss)}. Lower rate_peak.")
        rate = cosine(step / recipe.steps, start=recipe.rate_peak, final=0.0)
        set_rates_(optimiser, rate=rate, weight_decay=recipe.weight_decay)
        optimiser.step()
        if step % recipe.log_every == 0 or step == recipe.steps - 1:
            run.append({"step": step, "cross_entropy": float(loss.detach())})


@torch.no_grad()
def features_of(encoder: Encoder, store: Store, entries: Sequence[Entry], clip: ClipSpec) -> Float[Tensor, "k n d"]:
    """The frozen encoder's features of each entry's un-augmented clip, on its own device."""
    device = encoder.pos_embed.device
    with autocast(device):
        parts = [encoder(whole_clips(store, part, clip).to(device)) for part in _parts(entries)]
    return torch.cat(parts)


@torch.no_grad()
def segment_entries(
    segmenter: Segmenter, encoder: Encoder, store: Store, entries: Sequence[Entry], clip: ClipSpec
) -> UInt8[Tensor, "k T H W"]:
    """Predicted label maps of each entry's un-augmented clip, on the CPU."""
    with autocast(encoder.pos_embed.device):
        logits = [segmenter(features_of(encoder, store, part, clip)) for part in _parts(entries)]
    return torch.cat(logits).argmax(dim=1).to(torch.uint8).cpu()


def evaluate(
    segmenter: Segmenter, encoder: Encoder, store: Store, entries: Sequence[Entry], clip: ClipSpec
) -> pd.DataFrame:
    """Pixel counts of the labelled entries: a row a video, frame and structure, frames drawn by experts marked."""
    labelled = [entry for entry in entries if entry.is_labelled]
    if not labelled:
        raise InputError(f"{store.folder}: expected labelled videos to score, found none. Prepare a labelled split.")
    return counts_table(segment_entries(segmenter, encoder, store, labelled, clip), store, labelled, clip)


def truth_of(store: Store, entries: Sequence[Entry], clip: ClipSpec) -> Truth:
    """What is known of these entries' clips. Raises InputError if not one of their frames has a label."""
    truth = Truth(whole_labels(store, entries, clip), trusted_frames(store, entries, clip))
    if not truth.trust.any():
        raise InputError(f"clip: expected frames with labels, got none by {clip}. Take another policy or more frames.")
    return truth


def counts_table(
    predicted: UInt8[Tensor, "k T H W"], store: Store, entries: Sequence[Entry], clip: ClipSpec
) -> pd.DataFrame:
    """Counts of the four structures as rows, for predictions of any kind; frames that can't be trusted have none."""
    true, trust = truth_of(store, entries, clip)
    of = counts(confusion(predicted, true, len(STRUCTURES)))
    rows = [
        {"video": entry.name, "patient": entry.patient, "view": entry.view, "frame": frame}
        | {"annotated": frame in entry.annotated, "structure": structure}
        | {name: int(getattr(of, name)[k, slot, s]) for name in Counts._fields}
        for k, entry in enumerate(entries)
        for slot, frame in enumerate(frame_indices(entry.length, clip).tolist())
        if trust[k, slot]
        for s, structure in enumerate(STRUCTURES)
    ]
    return pd.DataFrame(rows)


def _parts(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    return (entries[k : k + FEATURE_BATCH] for k in range(0, len(entries), FEATURE_BATCH))
