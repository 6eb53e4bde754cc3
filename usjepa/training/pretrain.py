"""The pre-training loop: random masks of random clips, one step of AdamW, the teacher following the student."""

import math
import time

from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW
from tqdm.auto import tqdm

from usjepa.data.clips import resident
from usjepa.data.store import Entry
from usjepa.errors import InputError
from usjepa.model.jepa import JEPA
from usjepa.recipe import PretrainRecipe, Published, Start, Untrained, VideoMAERecipe
from usjepa.training.device import adamw, autocast, clip_, compile_blocks_, memory_enough
from usjepa.training.guard import Guard
from usjepa.training.journal import Stopwatch, announce_collapse, row_of
from usjepa.training.learners import Learner, batch_of, follow_, new_encoder, new_learner
from usjepa.training.runs import Run, open_run
from usjepa.training.schedules import set_schedule_
from usjepa.training.workspace import Workspace
from usjepa.weights.load import load_into_


def pretrain(recipe: PretrainRecipe | VideoMAERecipe, workspace: Workspace, *, waits: bool = False) -> Learner:
    """Train on train and unlabelled films to the recipe's last step, from the run's checkpoint on if there is one.

    What the recipe starts from is run first, if it isn't done. A finished run is only read. The log is explained at
    `usjepa.training.journal.row_of`. `waits` for another process that trains this run, or raises InputError; which is
    also raised for a store that can't fill a batch. FloatingPointError comes *before* a step whose gradient is not
    finite, and leaves the last checkpoint intact.
    """
    with workspace.world.in_turn():
        run = open_run(recipe, workspace)
    learner = new_learner(recipe).to(workspace.device)
    if workspace.world.all(run.done):
        learner.load_state_dict(run.final()["model"])
        return learner
    with run.locked(workspace.world, waits=waits), memory_enough(recipe.batch):
        seconds = _train(learner, run, workspace)
        if workspace.world.is_first:
            run.finish(facts={"seconds": seconds})
    workspace.world.wait()
    return learner


def parts_of(start: Start, workspace: Workspace) -> dict[str, dict[str, Tensor]]:
    """Weights to begin with, by part (encoder, teacher, predictor, decoder): trained, published, or random."""
    if isinstance(start, Published):
        return workspace.weights_of(start).parts
    if isinstance(start, Untrained):
        return {"encoder": new_encoder(start).state_dict()}
    learner = pretrain(start, workspace, waits=workspace.waits)
    parts = {**learner.trained, "teacher": learner.teacher} if isinstance(learner, JEPA) else learner.trained
    return {name: part.state_dict() for name, part in parts.items()}


def begin_(learner: Learner, workspace: Workspace) -> None:
    """Give a learner the weights of its recipe's start; the localisation head always begins at random.

    An encoder from another method, or from none, is its own teacher, and predictor or decoder begin at random. Raises
    InputError for a published file without one of the parts.
    """
    start = learner.recipe.start
    if start is None:
        return
    parts = parts_of(start, workspace)
    taken = [name for name in ("encoder", "teacher", "predictor", "decoder") if hasattr(learner, name)]
    if isinstance(start, Published) and (missing := [name for name in taken if name not in parts]):
        raise InputError(
            f"weights: expected {', '.join(taken)}, found no {', '.join(missing)}. Use a whole checkpoint."
        )
    for name in taken:
        given = parts.get(name) or (parts["encoder"] if name == "teacher" else None)
        if given is not None:
            load_into_(learner.get_submodule(name), given, f"{start.kind} start, {name}")


def _train(learner: Learner, run: Run, workspace: Workspace) -> float:
    """The loop; the seconds it took, those before a kill too.

    Losses and gradients are looked at before each step, and waited for only where a row is logged.
    """
    recipe, device, world = learner.recipe, workspace.device, workspace.world
    rows = world.rows(recipe.batch)
    films, frames = _films(recipe, workspace)
    optimiser = adamw(*learner.trained.values(), betas=recipe.betas)
    done, before_s = _restore(learner, optimiser, run, workspace)
    guard, forward = Guard(optimiser, device), _prepared(learner, workspace)
    steps = tqdm(range(done, recipe.steps), "pretrain", recipe.steps, initial=done, disable=not workspace.is_shown)
    started, spread = time.perf_counter() - before_s, math.inf
    for step in steps:
        is_last = step == recipe.steps - 1
        logs, saves = is_last or step % recipe.log_every == 0, is_last or (step + 1) % recipe.save_every == 0
        watch = Stopwatch(device, is_on=logs)
        batch = batch_of(learner, frames, films, step, rows)
        watch.lap("data")
        with autocast(device):
            loss = forward(*batch).combined
        watch.lap("forward")
        optimiser.zero_grad()
        loss.backward()
        watch.lap("backward")
        norms = {name: clip_(part, recipe.clip_norm) for name, part in learner.trained.items()}
        guard.watch(step, {"loss": world.mean(loss), **norms})
        if logs or saves or device.type == "cpu":
            guard.check()
        row = {}
        if logs and world.is_first:
            with autocast(device):
                row = row_of(learner, batch)
            if isinstance(learner, JEPA) and learner.recipe.normalises_target:
                announce_collapse(step, row["spread"], spread)
            spread = row["spread"]
        watch.lap("log")
        set_schedule_(optimiser, recipe, step)
        optimiser.step()
        follow_(learner, step)
        watch.lap("update")
        if row:
            run.append({"step": step, **row, **watch.laps, "seconds": time.perf_counter() - started})
        if saves and world.is_first:
            state = {"step": step + 1, "seconds": time.perf_counter() - started, "model": learner.state_dict()}
            run.save({**state, "optimiser": optimiser.state_dict()})
    return time.perf_counter() - started


def _films(recipe: PretrainRecipe | VideoMAERecipe, workspace: Workspace) -> tuple[list[Entry], UInt8[Tensor, "F S S"]]:
    """The films that may be trained on, and all frames, in the device's memory if they fit."""
    store = workspace.films(recipe)
    films = [entry for entry in store.entries if entry.split in ("train", "unlabelled")]
    if len(films) < recipe.batch:
        raise InputError(f"batch: expected at most the {len(films)} clips of the store, got {recipe.batch}. Lower it.")
    return films, resident(store, workspace.device)


def _prepared(learner: Learner, workspace: Workspace) -> nn.Module:
    """The learner's forward, compiled if asked for, and averaging gradients over all processes if there are several."""
    if workspace.compiles:
        compile_blocks_(learner)
    if workspace.world.size == 1:
        return learner
    shared = DistributedDataParallel(learner, gradient_as_bucket_view=True)
    shared.broadcast_buffers = False  # position codes, which never change
    return shared


def _restore(learner: Learner, optimiser: AdamW, run: Run, workspace: Workspace) -> tuple[int, float]:
    """Load the run's checkpoint, or the start if there is none yet; the steps already done, and their seconds."""
    with workspace.world.in_turn():
        state = run.resume()
    if state is None:
        begin_(learner, workspace)
        return 0, 0.0
    learner.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), float(state["seconds"])
