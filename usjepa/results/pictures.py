"""What the runs of Table 2 look like: outlines of all methods (Figure 2), the worst videos, image quality, EF.

Nothing is chosen by eye: the methods are those of `ROWS` that have finished, the videos those of highest, middle and
lowest DSC.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from usjepa.data.clips import frame_indices, whole_labels
from usjepa.data.problems import QUALITIES
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.evaluation.metrics import averages, video_scores
from usjepa.evaluation.paper import PROTOCOL
from usjepa.files import replaced
from usjepa.present.cases import Case, ejection_fractions, ejection_plot, example_frames, worst_cases
from usjepa.present.figures import Drawn
from usjepa.present.plots import name_of, quality_plot
from usjepa.results.plan import plan_cells
from usjepa.results.points import ROWS
from usjepa.structures import STRUCTURES
from usjepa.training.environment import read_environment
from usjepa.training.runs import Run

SHARES = tuple(percent / 100 for percent in PROTOCOL.qualitative_percents)
"""Of the labels, as in Figure 2."""
NAMES = ("examples", "worst", "quality", "ejection")
COLUMNS = ["picture", "runs", "alt"]

Runs: TypeAlias = dict[tuple[str, float], Run]
"""Finished runs by row and share of the labels."""


class Picture(NamedTuple):
    """A picture, its name, and the runs that it shows by their hashes."""

    name: str
    runs: list[str]
    drawn: Drawn


def finished(profile: str, root: Path, store: Store) -> Runs:
    """The finished runs of Table 2 below `root`, of seed 0.

    Raises InputError if no row has one with all and one with a tenth of the labels, or for runs on other data than the
    store.
    """
    runs = {(cell.name, cell.fraction): Run(root / cell.hash, cell.recipe) for cell in plan_cells("table2", profile, 1)}
    found = {key: run for key, run in runs.items() if run.done}
    for run in found.values():
        if (data := read_environment(run.folder)["data"]) != store.fingerprint:
            came = f"expected a run on {store.folder} ({store.fingerprint}), got one on other data ({data})"
            raise InputError(f"{run.folder}: {came}. Give the store that it was run on.")
    if not _whole_rows(found):
        came = f"{root}: expected a row of table2 at {profile} run with all and with 10 % of the labels, found none"
        raise InputError(f"{came}. Run: usjepa results run table2.")
    return found


def pictures(runs: Runs, store: Store) -> list[Picture]:
    """The four pictures of `finished` runs; the worst videos and ejection fractions are V-JEPA + LL's, if it is there.

    Without "ejection" where fewer than two patients have an ejection fraction.
    """
    rows = _whole_rows(runs)
    judged = "vjepa-ll" if "vjepa-ll" in rows else rows[0]
    cases = cases_of(runs[judged, 1.0], store)
    named = f"{name_of(judged)}, {store.source}"
    fractions = ejection_fractions(cases)
    drawn = {
        "examples": (rows, _examples(runs, rows, store)),
        "worst": ([judged], worst_cases(cases, source=named)),
        "quality": (rows, quality_plot(quality_table(runs, rows, store), store.source)),
    }
    if len(fractions.dropna()) >= 2:  # of squares, or at sizes at which a pixel of wall closes the mitral plane, none
        drawn["ejection"] = ([judged], ejection_plot(fractions, named))
    return [
        Picture(name, [runs[row, share].folder.name for row in of for share in SHARES], one)
        for name, (of, one) in drawn.items()
    ]


def write_pictures(made: Sequence[Picture], folder: Path, profile: str) -> list[Path]:
    """Write each picture as `PROFILE-NAME.png` and `PROFILE.csv` with their runs and words, each file whole.

    An older picture that can't be drawn from these runs is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in set(NAMES) - {picture.name for picture in made}:
        (folder / f"{profile}-{name}.png").unlink(missing_ok=True)
    paths = [folder / f"{profile}-{picture.name}.png" for picture in made]
    for path, picture in zip(paths, made, strict=True):
        with replaced(path) as beside:
            beside.write_bytes(picture.drawn.png())
    lines = [(picture.name, " ".join(picture.runs), picture.drawn.alt) for picture in made]
    with replaced(folder / f"{profile}.csv") as beside:
        pd.DataFrame(lines, columns=COLUMNS).to_csv(beside, index=False, lineterminator="\n")
    return [*paths, folder / f"{profile}.csv"]


def cases_of(run: Run, store: Store, split: str = "test", names: Sequence[str] = ()) -> list[Case]:
    """The videos of one split that a finished run has segmented: in the store's order, or those named in theirs.

    Raises as `Run.table` and `Run.maps`.
    """
    scores, maps, clip = _dsc(run, split), run.maps(), run.recipe.clip
    entries = {entry.name: entry for entry in store.select(split) if entry.name in scores}
    return [
        Case(
            name=entry.name,
            patient=entry.patient,
            view=entry.view,
            quality=entry.quality,
            spacing_mm=entry.spacing_mm,
            frames=np.array(store.frames[entry.first + frame_indices(entry.length, clip)]),
            true=whole_labels(store, [entry], clip)[0].numpy(),
            predicted=maps[entry.name],
            dsc=float(scores[entry.name]),
        )
        for entry in (entries[name] for name in names or entries)
    ]


def quality_table(runs: Runs, rows: Sequence[str], store: Store) -> pd.DataFrame:
    """`row`, `structure`, `quality` and `dsc` of each test video with all labels; the best quality comes first."""
    quality = {entry.name: entry.quality or "unknown" for entry in store.entries}
    parts = [video_scores(runs[row, 1.0].table().query("split == 'test'")).assign(row=row) for row in rows]
    table = pd.concat(parts).assign(quality=lambda table: table["video"].map(quality))
    order = {name: k for k, name in enumerate((*STRUCTURES[1:], *QUALITIES, "unknown"))}
    known = table[table["structure"].isin(STRUCTURES[1:])]
    by = ["structure", "quality"]
    return known.sort_values(by, key=lambda column: column.map(order), kind="stable")[["row", *by, "dsc"]]


def _examples(runs: Runs, rows: Sequence[str], store: Store) -> Drawn:
    """Three videos by their DSC with all labels, mean over the methods: the highest, the middle one, the lowest."""
    means = pd.concat([_dsc(runs[row, 1.0], "test") for row in rows], axis=1).mean(axis=1)
    ranked = means.sort_values(ascending=False, kind="stable").index
    names = list(dict.fromkeys(ranked[k] for k in (0, len(ranked) // 2, -1)))
    shown = {
        f"{share:.0%}": {name_of(row): cases_of(runs[row, share], store, names=names) for row in rows}
        for share in SHARES
    }
    return example_frames(shown, source=store.source)


def _whole_rows(runs: Runs) -> list[str]:
    """Rows that have been run at both shares of the labels."""
    return [row for row in ROWS if all((row, share) in runs for share in SHARES)]


def _dsc(run: Run, split: str) -> "pd.Series[float]":
    """Mean over structures of each video of one split, by name."""
    table = run.table()
    scores = averages(video_scores(table[table["split"] == split]))
    return scores[scores["structure"] == "over structures"].set_index("video")["dsc"]
