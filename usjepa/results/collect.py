"""From the folders of runs, and the lines already committed, to the lines of a table of results."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from usjepa.baseline import LazyRecipe, UNetRecipe
from usjepa.errors import InputError
from usjepa.estimate.plan import plan_of
from usjepa.evaluation.metrics import averages, score_table, video_scores
from usjepa.evaluation.orientation import shape_scores
from usjepa.recipe import AnyRecipe, AnyRun, Pretraining
from usjepa.recipe_file import recipe_hash
from usjepa.results.failures import failure_of
from usjepa.results.files import METRICS, NOT_YET_RUN, OF_VIDEOS, RIDGE, RUNS, SCORES, SURFACE, Results
from usjepa.results.plan import Cell
from usjepa.structures import STRUCTURES
from usjepa.training.environment import read_environment
from usjepa.training.runs import Run

DRAWS = 10
"""Batches of masks on which FLOPs are counted: their mean is known to some 2 %."""
PER_VIDEO = (
    ("all", "dsc", ("validation", "test")),
    ("annotated", "dsc", ("test",)),
    ("all", "ji", ("test",)),
    *(("all", metric, ("test",)) for metric in ("recall_less_ppv", "roughness", "size_error", "tilt_error_deg")),
)
"""Frames, score and splits of what is kept of each video, averaged over structures: what paired tests need."""


def build(cells: Sequence[Cell], root: Path, committed: Results) -> Results:
    """The lines of all cells in their order: of runs below `root`, else those committed, else *not yet run*.

    Raises InputError, naming two runs, if not all were made from the same data.
    """
    parts = [_lines(cell, root, committed) for cell in cells]
    results = Results(*(_stack(list(some)) for some in zip(*parts, strict=True)))
    require_one_source(results)
    return results


def require_one_source(results: Results) -> None:
    """Raise InputError, naming two runs, if not all runs were made from the same data."""
    known = results.runs[results.runs["data"] != ""].drop_duplicates("data")
    if len(known) > 1:
        first, other = (f"{line.row} seed {line.seed} ({line.recipe}) {line.data}" for line in known[:2].itertuples())
        raise InputError(f"data: expected one fingerprint in a table, got {first} and {other}. Run all on one store.")


def _lines(cell: Cell, root: Path, committed: Results) -> Results:
    """One cell's lines; what is found below `root` goes before what is committed."""
    run, failure = Run(root / cell.hash, cell.recipe), failure_of(cell, root)
    if run.done:
        return Results(_run_line(cell, run, "done"), *_score_lines(cell, run.table()))
    if failure is not None:
        return Results(_run_line(cell, run, "failed", failure.message), _none(SCORES), _none(OF_VIDEOS))
    kept = committed.of(cell.hash)
    if (kept.runs["status"] != NOT_YET_RUN).any():
        return kept
    return Results(_run_line(cell, run, NOT_YET_RUN), _none(SCORES), _none(OF_VIDEOS))


def _run_line(cell: Cell, run: Run, status: str, error: str = "") -> pd.DataFrame:
    """What is known of a run and its cost; of one that is not done, what its recipe says."""
    done = status == "done"
    known = read_environment(run.folder) if done else {}
    given = {"row": cell.name, "seed": str(cell.seed), "fraction": f"{cell.fraction:g}", "draw": str(cell.draw)}
    given |= {"status": status, "recipe": cell.hash, "error": " ".join(error.split())}
    given |= {name: str(known.get(name, "")) for name in ("source", "data", "commit", "device")}
    given |= {name: f"{run.facts()[name]:.6f}" for name in RIDGE if done and name in run.facts()}
    given |= _cost(run, "", measured=done)
    if not isinstance(cell.recipe, LazyRecipe | UNetRecipe):
        start = cell.recipe.start
        given["start"] = start.kind
        if isinstance(start, Pretraining):
            given["start"] = recipe_hash(start)
            given |= _cost(Run(run.folder.with_name(given["start"]), start), "start_", measured=done)
    return pd.DataFrame([{name: given.get(name, "") for name in RUNS}])


def _cost(run: Run, prefix: str, *, measured: bool) -> dict[str, str]:
    """Steps and FLOPs of a run as its recipe says, and if `measured` its seconds."""
    if isinstance(run.recipe, LazyRecipe):
        return {}
    cost = {"steps": str(run.recipe.steps), "flops": _flops(run.recipe)}
    if measured:
        cost["seconds"] = f"{run.facts()['seconds']:.1f}"
    return {prefix + name: value for name, value in cost.items()}


@lru_cache(maxsize=256)
def _flops(recipe: AnyRun) -> str:
    """Of all steps; of a U-Net they are not counted."""
    if isinstance(recipe, LazyRecipe | UNetRecipe):
        return ""
    counted: AnyRecipe = recipe
    return f"{recipe.steps * plan_of(counted, draws=DRAWS).step_flops:.3g}"


def _score_lines(cell: Cell, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lines of scores, and lines of videos, from a run's table of counts and distances."""
    given = {"row": cell.name, "seed": str(cell.seed), "fraction": f"{cell.fraction:g}", "recipe": cell.hash}
    scores = pd.concat([_scores(part).assign(split=split) for split, part in table.groupby("split", sort=False)])
    of = {"all": _by_video(table), "annotated": _by_video(table[table["annotated"]])}
    videos = [
        {**given, "frames": frames, "metric": metric}
        | of[frames].loc[of[frames]["split"].isin(splits), metric].map("{:.4f}".format).to_dict()
        for frames, metric, splits in PER_VIDEO
    ]
    return scores.assign(**given)[SCORES], pd.DataFrame(videos)


def _scores(table: pd.DataFrame) -> pd.DataFrame:
    """Each structure's and average's metrics side by side, as text; the background by itself is left out."""
    long = score_table(table)
    wide = long[long["metric"].isin(METRICS) & (long["structure"] != "background")].pivot(
        index=["frames", "structure"], columns="metric", values=["value", "sd_patients", "patients"]
    )
    named = {metric: wide["value", metric] for metric in METRICS}
    named |= {f"{metric}_sd": wide["sd_patients", metric] for metric in METRICS}
    scores = pd.DataFrame(named).join(_surfaces(table)).map("{:.6f}".format)
    return scores.assign(patients=wide["patients", "dsc"].astype(int).astype(str)).reset_index()


def _surfaces(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over videos of their frames' mean distances, of each structure and over structures."""
    parts = []
    for frames, part in (("all", table), ("annotated", table[table["annotated"]])):
        videos = part.groupby(["structure", "video"])[SURFACE].mean().reset_index()
        three = videos[videos["structure"].isin(STRUCTURES[1:])].groupby("video")[SURFACE].mean()
        parts.append(pd.concat([videos, three.assign(structure="over structures")]).assign(frames=frames))
    return pd.concat(parts).groupby(["frames", "structure"])[SURFACE].mean()


def _by_video(table: pd.DataFrame) -> pd.DataFrame:
    """Scores over structures, a row a video, called `split|patient|video`."""
    scores = averages(video_scores(table)).query("structure == 'over structures'")
    scores = scores.merge(shape_scores(table), on=["video", "patient"]).sort_values("video")
    split = scores["video"].map(table.drop_duplicates("video").set_index("video")["split"])
    return scores.assign(split=split).set_index(split + "|" + scores["patient"] + "|" + scores["video"])


def _none(names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns=names, dtype=str)


def _stack(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """All lines; what is not there, or not kept, is empty."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled or parts[:1], ignore_index=True).fillna("")
