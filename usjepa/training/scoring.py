"""Predicted label maps beside the true ones: what may train and be scored, and the table of counts."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from usjepa.baseline import LazyRecipe
from usjepa.data.clips import frame_indices, trusted_frames, whole_labels
from usjepa.data.splits import nested_fractions
from usjepa.data.store import Entry, Store
from usjepa.errors import InputError
from usjepa.evaluation.metrics import SCORED, Counts, confusion, scored_counts
from usjepa.evaluation.orientation import orientation_table
from usjepa.evaluation.surface import surface_table
from usjepa.model.encoder import Encoder
from usjepa.model.segmenter import Segmenter
from usjepa.recipe import Scored
from usjepa.spec import ClipSpec
from usjepa.training.device import autocast
from usjepa.training.features import features_of
from usjepa.training.runs import Run
from usjepa.training.workspace import Workspace


class Judged(NamedTuple):
    """An encoder, and the probe and decoder that judge it."""

    encoder: Encoder
    segmenter: Segmenter


class Truth(NamedTuple):
    """Label maps, and 1 for each frame whose map may train: 0 for a clip's repeats and for frames without a label."""

    labels: UInt8[Tensor, "k T H W"]
    trust: Float[Tensor, "k T"]


@torch.no_grad()
def segment_entries(judged: Judged, store: Store, entries: Sequence[Entry], clip: ClipSpec) -> UInt8[Tensor, "k T H W"]:
    """Predicted label maps of each entry's un-augmented clip, on the CPU."""
    maps = []
    for entry in entries:
        features = features_of(judged.encoder, store, [entry], clip)
        with autocast(features.device):
            maps.append(judged.segmenter(features).argmax(dim=1).to(torch.uint8).cpu())
    return torch.cat(maps)


def shapes_of(
    predicted: UInt8[np.ndarray, "T H W"], true: UInt8[np.ndarray, "T H W"], spacing_mm: tuple[float, float] | None
) -> pd.DataFrame:
    """Distances, smoothness and orientation of one video: a row a frame and structure."""
    tables = (of(predicted, true, spacing_mm) for of in (surface_table, orientation_table))
    return reduce(partial(pd.merge, on=["frame", "structure"], how="left"), tables)


def training_entries(recipe: Scored, store: Store) -> list[Entry]:
    """The labelled training videos of the recipe's share of the patients.

    A share's patients depend on `draw`, not on the seed, so that seeds
    are paired. Raises InputError if they can't fill a batch.
    """
    labelled = [entry for entry in store.select("train") if entry.is_labelled]
    chosen = labelled
    if labelled:
        patients = [entry.patient for entry in labelled]
        shares = nested_fractions(patients, draw=recipe.draw, seed=0, fractions=(recipe.fraction,))
        chosen = [entry for entry in labelled if entry.patient in shares[recipe.fraction]]
    if not isinstance(recipe, LazyRecipe) and len(chosen) < recipe.batch:
        raise InputError(f"batch: expected at most the {len(chosen)} labelled clips, got {recipe.batch}. Lower it.")
    return chosen


def truth_of(store: Store, entries: Sequence[Entry], clip: ClipSpec) -> Truth:
    """What is known of these entries' clips. Raises InputError if not one of their frames has a label."""
    truth = Truth(whole_labels(store, entries, clip), trusted_frames(store, entries, clip))
    if not truth.trust.any():
        raise InputError(f"clip: expected frames with labels, got none by {clip}. Take another policy or more frames.")
    return truth


def scored_entries(store: Store) -> list[Entry]:
    """The labelled validation and test videos. Raises InputError if there is no test video."""
    labelled = {
        split: [entry for entry in store.entries if entry.split == split and entry.is_labelled]
        for split in ("validation", "test")
    }
    if not labelled["test"]:
        raise InputError(f"{store.folder}: expected labelled test videos, found none. Prepare a labelled split.")
    return [*labelled["validation"], *labelled["test"]]


def finish_scored(
    run: Run, maps: UInt8[Tensor, "k T H W"], workspace: Workspace, clip: ClipSpec, facts: dict[str, float]
) -> None:
    """Close a run with label maps of `scored_entries`: the maps, and a table of their counts and surface distances."""
    store, entries = workspace.store, scored_entries(workspace.store)
    table = counts_table(maps, store, entries, clip)
    true = whole_labels(store, entries, clip).numpy()
    surfaces = [
        shapes_of(maps[k].numpy(), true[k], entry.spacing_mm).assign(
            video=entry.name, frame=np.repeat(frame_indices(entry.length, clip), len(SCORED) - 1)
        )
        for k, entry in enumerate(entries)
    ]
    keys = ["video", "frame", "structure"]
    run.keep_maps(maps.numpy(), [entry.name for entry in entries])
    run.finish(table.merge(pd.concat(surfaces).drop_duplicates(keys), on=keys, how="left"), facts)


def counts_table(
    predicted: UInt8[Tensor, "k T H W"], store: Store, entries: Sequence[Entry], clip: ClipSpec
) -> pd.DataFrame:
    """Counts of all that is `SCORED` as rows, for predictions of any kind; frames that can't be trusted have none."""
    true, trust = truth_of(store, entries, clip)
    of = scored_counts(confusion(predicted, true))
    rows = [
        {"video": entry.name, "patient": entry.patient, "view": entry.view, "split": entry.split, "frame": frame}
        | {"annotated": frame in entry.annotated, "structure": structure}
        | {name: int(getattr(of, name)[k, slot, s]) for name in Counts._fields}
        for k, entry in enumerate(entries)
        for slot, frame in enumerate(frame_indices(entry.length, clip).tolist())
        if trust[k, slot]
        for s, structure in enumerate(SCORED)
    ]
    return pd.DataFrame(rows)
