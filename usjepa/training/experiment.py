"""One row of a table from nothing: the pre-training that it builds on, then the probe, each run once."""

from pathlib import Path

import torch

from usjepa.data.store import Store
from usjepa.model.encoder import Encoder
from usjepa.model.teacher import make_teacher
from usjepa.recipe import AnyRecipe, PretrainRecipe, SegmentRecipe
from usjepa.training.pretrain import new_jepa, pretrain
from usjepa.training.runs import Run, open_run
from usjepa.training.segment import train_segmenter


def run(recipe: AnyRecipe, store: Store, root: Path, device: torch.device) -> Run:
    """Run what of this recipe is not done yet below `root`; the folder of its last run.

    Raises as `pretrain`, `train_segmenter` and `open_run` do.
    """
    opened = open_run(recipe, root, fingerprint=store.fingerprint, device=device)
    if isinstance(recipe, PretrainRecipe):
        pretrain(recipe, store, opened, device)
    elif not opened.done:
        train_segmenter(recipe, judged_encoder(recipe, store, root, device), store, opened)
    return opened


def judged_encoder(recipe: SegmentRecipe, store: Store, root: Path, device: torch.device) -> Encoder:
    """The frozen encoder that this recipe judges: the pre-training's teacher, or its start if `is_random`."""
    if recipe.is_random:
        return make_teacher(new_jepa(recipe.start).encoder).to(device)
    opened = open_run(recipe.start, root, fingerprint=store.fingerprint, device=device)
    return pretrain(recipe.start, store, opened, device).teacher
