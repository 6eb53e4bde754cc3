"""One row of a table from nothing: the pre-training that it builds on, then the probe, each run once."""

from usjepa.baseline import LazyRecipe, UNetRecipe
from usjepa.recipe import AnyRun, Pretraining, SegmentRecipe
from usjepa.training.baselines import run_lazy, train_unet
from usjepa.training.pretrain import pretrain
from usjepa.training.runs import Run, open_run
from usjepa.training.segment import train_segmenter
from usjepa.training.workspace import Workspace


def run(recipe: AnyRun, workspace: Workspace) -> Run:
    """Run what of this recipe is not done yet, in one process; the folder of its last run.

    Raises as `pretrain`, `train_segmenter` and `open_run` do.
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
        train_segmenter(recipe, workspace)
    return opened


def share(recipe: AnyRun, workspace: Workspace) -> None:
    """Run, in all processes of the workspace's world, the pre-training that this recipe needs: all they can share."""
    world = workspace.world
    with world.in_turn():
        opened = open_run(recipe, workspace)
    if world.all(opened.done):
        return
    if isinstance(recipe, Pretraining):
        pretrain(recipe, workspace)
    elif isinstance(recipe, SegmentRecipe) and isinstance(recipe.start, Pretraining):
        pretrain(recipe.start, workspace, waits=workspace.waits)
