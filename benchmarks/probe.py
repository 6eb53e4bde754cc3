"""A probe on frozen features in memory: how it is trained, and what it gives."""

from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from usjepa.data.clips import whole_clips
from usjepa.data.store import Entry
from usjepa.model.encoder import Encoder
from usjepa.model.segmenter import Segmenter
from usjepa.recipe import SegmentRecipe
from usjepa.training.device import adamw
from usjepa.training.schedules import cosine, set_rates_
from usjepa.training.scoring import Truth, counts_table, truth_of
from usjepa.training.segment import judged_encoder, new_segmenter, segmentation_loss
from usjepa.training.streams import batch_order
from usjepa.training.workspace import Workspace


class Way(NamedTuple):
    """How a probe is trained and tried."""

    recipe: SegmentRecipe
    train: list[Entry]
    test: list[Entry]
    standardises: bool = True
    rounds: bool = False


class Outcome(NamedTuple):
    """The encoder, the trained probe, its label maps of the test films, and their counts."""

    encoder: Encoder
    segmenter: Segmenter
    maps: Tensor
    table: pd.DataFrame


@torch.no_grad()
def features_of(encoder: Encoder, clips: Tensor, *, rounds: bool = False) -> Tensor:
    """Features of clips, one at a time; in bfloat16 if `rounds`."""
    with torch.autocast("cpu", torch.bfloat16, enabled=rounds):
        return torch.cat([encoder(clip[None]).float() for clip in clips])


@torch.no_grad()
def maps_of(segmenter: Segmenter, features: Tensor) -> Tensor:
    """Label maps, one film at a time."""
    return torch.cat([segmenter(one[None]).argmax(dim=1).to(torch.uint8) for one in features])


def fitted(way: Way, features: Tensor, truth: Truth) -> Segmenter:
    """`usjepa.train_segmenter` on frozen features without its run: the same weights, to the last bit."""
    recipe, segmenter = way.recipe, new_segmenter(way.recipe)
    if way.standardises:
        segmenter.standardise.fit_(features)
    optimiser = adamw(segmenter.probe, segmenter.decoder)
    for step in range(recipe.steps):
        chosen = batch_order(recipe.seed, step, batch=recipe.batch, clips=len(features))
        known = Truth(truth.labels[chosen], truth.trust[chosen])
        optimiser.zero_grad()
        segmentation_loss(segmenter, features[chosen], known, recipe, step).backward()
        rate = cosine(step / recipe.steps, start=recipe.rate_peak, final=0.0)
        set_rates_(optimiser, rate=rate, weight_decay=recipe.weight_decay)
        optimiser.step()
    return segmenter


def outcome_of(way: Way, space: Workspace) -> Outcome:
    """Train and try a probe."""
    store, clip = space.store, way.recipe.clip
    encoder = judged_encoder(way.recipe, space)
    train, test = (
        features_of(encoder, whole_clips(store, films, clip), rounds=way.rounds) for films in (way.train, way.test)
    )
    segmenter = fitted(way, train, truth_of(store, way.train, clip))
    maps = maps_of(segmenter, test)
    return Outcome(encoder, segmenter, maps, counts_table(maps, store, way.test, clip))
