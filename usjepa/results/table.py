"""Results in print, as the paper's Tables 1 and 2: what is missing says so."""

import pandas as pd

from usjepa.results.files import NOT_YET_RUN, Results

COMPARED = ["row", "against", "fraction", "status", "points", "low_points", "high_points"]
COMPARED += ["p_patients", "p_holm", "p_clips", "seeds"]
"""What is printed of a comparison (`usjepa.results.comparisons`)."""
TESTED = ("table2",)
"""Plans whose tables show test patients; the others choose or explain, on validation patients."""


def split_of(plan: str) -> str:
    """Whose scores the plan's table shows."""
    return "test" if plan in TESTED else "validation"


def table(results: Results, split: str, metric: str = "dsc") -> pd.DataFrame:
    """A line a row, a column a share of the labels, or of Table 1's rows a share and a lambda.

    An entry is the mean over seeds, ± their standard deviation, in brackets that over patients (mean over seeds), and
    how many runs are not yet run or failed.
    """
    runs = results.runs
    scores = results.scores.query("split == @split and frames == 'all' and structure == 'over structures'")
    values = scores.set_index("recipe")[[metric, f"{metric}_sd"]].astype(float)
    names = runs["row"].str.partition("-lambda")
    placed = runs.join(values, on="recipe").assign(line=names[0], share=runs["fraction"].astype(float), weight=names[2])
    by = ["share", "weight"]
    columns = placed[by].drop_duplicates().sort_values(by, ascending=False).itertuples(index=False)
    entries = {place: _entry(some, metric) for place, some in placed.groupby(["line", *by])}
    return pd.DataFrame(
        {
            _head(share, weight): {line: entries.get((line, share, weight), "-") for line in placed["line"].unique()}
            for share, weight in columns
        }
    )


def _head(share: float, weight: str) -> str:
    """Of a column; lambda alone where all labels are used, as in Table 1."""
    return f"{share:.0%}" if not weight else f"lambda {weight}" + (f", {share:.0%}" if share < 1 else "")


def _entry(runs: pd.DataFrame, metric: str) -> str:
    """What stands at one place of the table, as `table` says."""
    done, failed = runs[runs["status"] == "done"], int((runs["status"] == "failed").sum())
    words = [f"{failed} failed"] if failed else []
    if missing := len(runs) - len(done) - failed:
        words.append(NOT_YET_RUN if missing == len(runs) else f"{missing} {NOT_YET_RUN}")
    if done.empty:
        return ", ".join(words)
    spread = f" ± {done[metric].std():.3f}" if len(done) > 1 else ""
    return ", ".join([f"{done[metric].mean():.3f}{spread} ({done[f'{metric}_sd'].mean():.3f})", *words])
