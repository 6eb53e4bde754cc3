"""How far one choice moves a score: `python benchmarks/sensitivity.py [--json FILE]`, some eight minutes of a core.

On the phantom, at `tiny`: an encoder, a probe, and one thing changed at a time. The same label maps are counted
otherwise; the same probe sees films that are turned; the probe is trained, or its encoder chosen, otherwise. Beside
them, how far another seed and other patients move the same score, and what resizing a label map and bringing it back
costs without any network.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from counting import Score, counted, mean_of, round_trip
from platformdirs import user_cache_path
from probe import Outcome, Way, features_of, maps_of, outcome_of
from record import record_of
from torch import Tensor

from usjepa.catalogue import named_recipe
from usjepa.data.camus import read_camus
from usjepa.data.clips import whole_clips
from usjepa.data.layout import VIEWS
from usjepa.data.phantom import PhantomRecipe, write_phantom
from usjepa.data.prepare import prepare
from usjepa.evaluation.metrics import video_scores
from usjepa.recipe import PretrainRecipe, SegmentRecipe, Untrained
from usjepa.structures import STRUCTURES
from usjepa.training.scoring import counts_table, training_entries
from usjepa.training.workspace import Workspace

SIZES = {"tiny": (80, 12), "micro": (8, 3)}
"""Patients of the phantom, and of the one at native size whose labels are resized."""
TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "left and right changed": lambda of: of.flip(-1),
    "upside down": lambda of: of.flip(-2),
    "rows and columns changed": lambda of: of.transpose(-1, -2),
}
"""Of films or maps; each undoes itself."""


def turned(outcome: Outcome, way: Way, space: Workspace) -> dict[str, Score]:
    """The same probe on films that are turned, its maps turned back."""
    store, clip, scores = space.store, way.recipe.clip, {}
    films = whole_clips(store, way.test, clip)
    for name, turn in TURNS.items():
        maps = turn(maps_of(outcome.segmenter, features_of(outcome.encoder, turn(films))))
        scores[name] = mean_of(video_scores(counts_table(maps, store, way.test, clip)))
    return scores


def others(way: Way, space: Workspace) -> dict[str, dict[str, Way]]:
    """Probes trained, encoders chosen and patients split in other ways."""
    recipe, steps = way.recipe, way.recipe.steps
    names = sorted({entry.patient for entry in space.store.entries})
    last = set(names[-len({entry.patient for entry in way.test}) :])
    by_name = [[one for one in space.store.entries if (one.patient in last) is is_test] for is_test in (False, True)]
    policies = {policy: replace(recipe.clip, policy=policy) for policy in ("paper", "dense")}
    start = recipe.start
    assert isinstance(start, PretrainRecipe)
    random = Untrained(clip=start.clip, model=start.model)
    return {
        "patients": {
            "the last by name tested": way._replace(train=by_name[0], test=by_name[1]),
        },
        "probe": {
            "half the steps": way._replace(recipe=replace(recipe, steps=steps // 2)),
            "twice the steps": way._replace(recipe=replace(recipe, steps=2 * steps)),
            "features not standardised": way._replace(standardises=False),
        },
        "clip": {f"policy {name}": way._replace(recipe=replace(recipe, clip=clip)) for name, clip in policies.items()},
        "encoder": {
            "the student": way._replace(recipe=replace(recipe, judges="student")),
            "bfloat16 features": way._replace(rounds=True),
            "weights it started from": way._replace(recipe=replace(recipe, start=start.start)),
            "random weights": way._replace(recipe=replace(recipe, start=random)),
        },
    }


def few_labels(way: Way, space: Workspace) -> list[dict[str, object]]:
    """A tenth of the labels, and the probe's steps."""
    rows: list[dict[str, object]] = []
    for factor in (0.25, 0.5, 1, 2):
        recipe = replace(way.recipe, fraction=0.1, steps=max(1, round(factor * way.recipe.steps)))
        few = way._replace(recipe=recipe, train=training_entries(recipe, space.store))
        rows.append({"10 % of the labels, steps": recipe.steps, "dsc": tried(few, space).dsc})
    return rows


def leaked(way: Way, space: Workspace) -> list[dict[str, object]]:
    """Four-chamber films tested; two-chamber films of the same patients put in the place of others in training."""
    other, tested = ([entry for entry in way.test if entry.view == view] for view in VIEWS)
    replaced = [entry for entry in way.train if entry.view == VIEWS[0]][: len(other)]
    mixed = [entry for entry in way.train if entry not in replaced] + other
    ways = {"none": way.train, f"{len(other)} of {len(mixed)} films": mixed}
    scores = {name: tried(way._replace(train=train, test=tested), space).dsc for name, train in ways.items()}
    return [{"in training, of the test patients": name, "dsc": score} for name, score in scores.items()]


def yardsticks(outcome: Outcome, way: Way, space: Workspace) -> list[dict[str, object]]:
    """Standard deviations of a DSC, in points, that no choice is behind."""
    seeded = [tried(way._replace(recipe=replace(way.recipe, seed=seed)), space).dsc for seed in (0, 1, 2)]
    videos = video_scores(outcome.table)
    patients = videos[videos["structure"].isin(STRUCTURES[1:])].groupby("patient")["dsc"].mean()
    return [
        {"yardstick": "the probe's seed, of three", "sd in points": 100 * statistics.stdev(seeded)},
        {"yardstick": "50 test patients against 50 others", "sd in points": 100 * patients.std() * (2 / 50) ** 0.5},
    ]


def tried(way: Way, space: Workspace) -> Score:
    """Score of a probe, counted as we do."""
    return mean_of(video_scores(outcome_of(way, space).table))


def table_of(groups: dict[str, dict[str, Score]], base: Score) -> list[dict[str, object]]:
    """A row a choice, with its distance from ours in points of DSC."""
    rows: list[dict[str, object]] = []
    for choice, scores in groups.items():
        for way, score in scores.items():
            points = round(100 * (score.dsc - base.dsc), 2)
            rows.append({"choice": choice, "made so": way, "dsc": score.dsc, "points": points, "ji": score.ji})
    return rows


def short(recipe: SegmentRecipe) -> SegmentRecipe:
    """Two steps of two films of each run, for tests."""
    start = recipe.start
    assert isinstance(start, PretrainRecipe)
    few: dict[str, Any] = {"steps": 2, "warmup_steps": 1, "batch": 2}
    scenes = replace(start, start=None, scenes=2, **few)
    return replace(recipe, start=replace(start, start=scenes, **few), steps=2, batch=2)


def measure(size: str, folder: Path) -> dict[str, object]:
    """The record."""
    patients, native_patients = SIZES[size]
    phantom = PhantomRecipe(patients=patients, seed=0, rows=80)
    tree = write_phantom(phantom, user_cache_path("usjepa") / phantom.hash(), processes=1)
    recipe = named_recipe("vjepa", "tiny") if size == "tiny" else short(named_recipe("vjepa", "tiny"))
    store = prepare(read_camus(tree), folder / "store", recipe.clip.size_px)
    space = Workspace(store, folder / "runs", torch.device("cpu"), shows_progress=False)
    way = Way(recipe, training_entries(recipe, store), list(store.select("test")))
    outcome = outcome_of(way, space)
    base = mean_of(video_scores(outcome.table))
    sequences = {one.name: one for one in read_camus(tree) if one.split == "test"}
    groups = {
        "ours": {"mean of three structures, of a film's frames together": base},
        "counting": counted(outcome, way, sequences),
        "test films": turned(outcome, way, space),
    }
    for choice, ways in others(way, space).items():
        groups[choice] = {name: tried(one, space) for name, one in ways.items()}
    return {
        "data": f"phantom, {patients} patients at 40 px",
        "encoder": "V-JEPA at tiny, seed 0",
        "labels": f"phantom, {native_patients} patients at native size",
        "torch": torch.__version__,
        "choices": table_of(groups, base),
        "yardsticks": yardsticks(outcome, way, space),
        "few": few_labels(way, space),
        "leaked": leaked(way, space),
        "labels resized": round_trip(native_patients),
    }


def rounded(value: object) -> object:
    """Floats to three decimals, all the way down."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    record_of(__doc__, SIZES, lambda size, folder: rounded(measure(size, folder)))
