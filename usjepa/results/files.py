"""The three files of a table of results: one line a run, one line a score, one line a run's scores of each video.

Every value is text, as it stands in the file, so that a file read and written again has the same bytes.
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from usjepa.errors import InputError
from usjepa.files import replaced

OF_RUN = ["row", "seed", "fraction", "draw", "status", "recipe", "start", "source", "data", "commit", "device"]
COST = ["steps", "seconds", "flops", "start_steps", "start_seconds", "start_flops"]
RIDGE = ["ridge_validation", "ridge_test"]
RUNS = [*OF_RUN, *COST, *RIDGE, "error"]
METRICS = ["dsc", "ji", "ppv", "recall"]
OF_SCORE = ["row", "seed", "fraction", "recipe", "split", "frames", "structure", "patients"]
SURFACE = ["hd95_mm", "mean_mm"]
SCORES = [*OF_SCORE, *METRICS, *(f"{metric}_sd" for metric in METRICS), *SURFACE]
OF_VIDEOS = ["row", "seed", "fraction", "recipe", "frames", "metric"]
NOT_YET_RUN = "not yet run"


class Results(NamedTuple):
    """Lines of `NAME-runs.csv`, `NAME.csv` and `NAME-videos.csv`; `results/README.md` explains their columns."""

    runs: pd.DataFrame
    scores: pd.DataFrame
    videos: pd.DataFrame

    def of(self, recipe: str) -> "Results":
        """The lines of one run, by its recipe's hash."""
        return Results(*(part[part["recipe"] == recipe] for part in self))

    @property
    def source(self) -> str:
        """What the runs that are done were scored on, "phantom" or "CAMUS"; "nothing yet" if none is done."""
        return " and ".join(sorted(set(self.runs["source"]) - {""})) or "nothing yet"

    def texts(self) -> list[str]:
        """Each file's content."""
        return [part.to_csv(index=False, lineterminator="\n") for part in self]


def paths_of(folder: Path, plan: str, profile: str) -> list[Path]:
    """The three files of a plan and profile."""
    return [folder / f"{plan}-{profile}{ending}.csv" for ending in ("-runs", "", "-videos")]


def empty_results() -> Results:
    """No line yet."""
    return Results(*(pd.DataFrame(columns=names, dtype=str) for names in (RUNS, SCORES, OF_VIDEOS)))


def read_results(folder: Path, plan: str, profile: str) -> Results:
    """The files as they are, all of them or none. Raises InputError for a file that is missing or has other columns."""
    paths = paths_of(folder, plan, profile)
    if not any(path.exists() for path in paths):
        return empty_results()
    parts = []
    for path, names in zip(paths, (RUNS, SCORES, OF_VIDEOS), strict=True):
        if not path.exists():
            raise InputError(f"{path}: expected it beside {paths[0].name}, found none. Get all three files back.")
        part = pd.read_csv(path, dtype=str, keep_default_na=False)
        if list(part.columns[: len(names)]) != names:
            raise InputError(f"{path}: expected the columns {', '.join(names)}. Build it again: usjepa results table.")
        parts.append(part)
    return Results(*parts)


def write_results(results: Results, folder: Path, plan: str, profile: str) -> list[Path]:
    """Write the three files, each whole."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = paths_of(folder, plan, profile)
    for path, text in zip(paths, results.texts(), strict=True):
        with replaced(path) as beside:
            beside.write_text(text, encoding="utf-8", newline="")
    return paths
