"""One row of a table from nothing: the pre-training that it builds on, then the probe, each run once."""

from dataclasses import replace

from usjepa.baseline import LazyRecipe, UNetRecipe
from usjepa.recipe import AnyRun, Pretraining
from usjepa.training.baselines import run_lazy, train_unet
from usjepa.training.pretrain import pretrain
from usjepa.training.runs import Run, open_run
from usjepa.training.segment import train_segmenter
from usjepa.training.workspace import Workspace
from usjepa.training.world import World


def run(recipe: AnyRun, workspace: Workspace) -> Run:
    """Run what of this recipe is not done yet; the folder of its last run.

    Several processes share the steps of pre-training; the probe is the first one's. Raises as `pretrain`,
    `train_segmenter` and `open_run` do.
    """
    opened = open_run(recipe, workspace)
    if opened.done:
        return opened
    if isinstance(recipe, Pretraining):
        pretrain(recipe, workspace)
    elif isinstance(recipe, LazyRecipe):
        run_lazy(recipe, workspace)
    elif isinstance(recipe, UNetRecipe):
        train_unet(recipe, workspace)
    else:
        if isinstance(recipe.start, Pretraining):
            pretrain(recipe.start, workspace, waits=workspace.waits)
        if workspace.world.is_first:
            train_segmenter(recipe, replace(workspace, world=World()))
    return opened
