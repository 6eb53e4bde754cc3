"""Label maps counted in other ways, and what it costs to resize one."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image
from probe import Outcome, Way
from torch import Tensor

from usjepa.data.clips import frame_indices
from usjepa.data.layout import VIEWS
from usjepa.data.phantom import PhantomRecipe
from usjepa.data.phantom.beat import examine, render
from usjepa.data.prepare import to_square
from usjepa.data.sequence import UltrasoundSequence
from usjepa.evaluation.metrics import SCORED, averages, confusion, dsc, frame_scores, ji, scored_counts, video_scores
from usjepa.evaluation.native import to_native
from usjepa.structures import STRUCTURES

FILLED = ("LV endo", "LV epi filled", "LA")


class Score(NamedTuple):
    """Means over structures and videos."""

    dsc: float
    ji: float


def mean_of(scores: pd.DataFrame, structures: tuple[str, ...] = STRUCTURES[1:]) -> Score:
    """Over structures (or averages), then over videos."""
    rows = scores[scores["structure"].isin(structures)].groupby("video")[["dsc", "ji"]].mean()
    return Score(*rows.mean())


def counted(outcome: Outcome, way: Way, sequences: dict[str, UltrasoundSequence]) -> dict[str, Score]:
    """The same maps, counted in other ways."""
    table, drawn = outcome.table, outcome.table["annotated"]
    frames = table["video"] + table["frame"].astype(str)
    videos, together = video_scores(table), table.assign(frame=frames, video="all", patient="all", view="all")
    return {
        "ED and ES alone": mean_of(video_scores(table[drawn])),
        "each frame by itself": mean_of(frame_scores(table)),
        "all films' pixels together": mean_of(video_scores(together)),
        "three structures pooled": mean_of(averages(videos), ("pooled",)),
        "with background": mean_of(averages(videos), ("with background",)),
        "epicardium filled, not the ring": mean_of(videos, FILLED),
        "at the film's own pixels": native(outcome.maps, way, sequences),
    }


def native(maps: Tensor, way: Way, sequences: dict[str, UltrasoundSequence]) -> Score:
    """Maps brought back to each film's own size, against the labels as they were drawn."""
    scores = []
    for entry, own in zip(way.test, maps, strict=True):
        frames = np.unique(frame_indices(entry.length, way.recipe.clip), return_index=True)
        labels = sequences[entry.name].labels
        assert labels is not None
        true = torch.from_numpy(labels[frames[0]])
        of = scored_counts(confusion(to_native(own[frames[1]], entry.original_size)[None], true[None]).sum(dim=1))
        scores.append([float(metric(of)[0, 1:4].nanmean()) for metric in (dsc, ji)])
    return Score(*np.mean(scores, axis=0))


def kept(true: UInt8[np.ndarray, "H W"], size: int, resample: Image.Resampling) -> Tensor:
    """DSC of a label map with itself after a square of `size`, in the order of `SCORED`."""
    square = torch.from_numpy(to_square(true, size, resample).copy())
    pair = (to_native(square, true.shape), torch.from_numpy(true))
    return dsc(scored_counts(confusion(*(rearrange(one, "h w -> 1 1 h w") for one in pair))))[0, 0]


def round_trip(patients: int) -> list[dict[str, object]]:
    """DSC of label maps at native size with themselves, resized to a square and brought back."""
    phantom, maps = PhantomRecipe(patients=patients, rows=None), []
    for patient in range(1, patients + 1):
        for view in VIEWS:
            examination = examine(phantom, patient, view)
            systole = examination.systole_frames
            maps += list(render(phantom, examination, range(0, systole + 1, systole))[1])
    rows = []
    for size in (224, 112, 40):
        for name, resample in (("nearest", Image.Resampling.NEAREST), ("linear", Image.Resampling.BILINEAR)):
            scores = [kept(true, size, resample) for true in maps]
            means = torch.stack(scores).nanmean(dim=0).tolist()
            rows.append({"native labels through": f"{size} px, {name}", **dict(zip(SCORED, means, strict=True))})
    return rows
