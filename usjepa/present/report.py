"""The figure of `usjepa data report`: what a tree of half sequences is made of, a panel a quantity."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from usjepa.files import replaced
from usjepa.present.figures import STYLE

VIEW_COLOURS = {"2CH": "#0072B2", "4CH": "#D55E00"}
PANELS = {
    "frames": ("Length", "frames of a half sequence", 1.0),
    "frame_rate_hz": ("Frame rate", "frames a second", 2.0),
    "ef_percent": ("Ejection fraction", "%", 5.0),
    "unevenness": ("Are the labels interpolated?", "unevenness of the contour's speed", 0.05),
}
"""Column of the table, title, quantity, width of a bar."""


def report_figure(sequences: pd.DataFrame, interpolated_below: float) -> Figure:
    """Histograms of the table of `usjepa.data.report.describe_camus`, a colour a view.

    Left of the line at `interpolated_below` the contours move too evenly for a heart: they were interpolated.
    """
    origin = "a phantom" if sequences["is_phantom"].all() else "CAMUS"
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 5.5))
        axes = figure.subplots(2, 2)
        figure.suptitle(f"{len(sequences)} half sequences of {origin}")
        for axis, (name, (title, quantity, width)) in zip(axes.flat, PANELS.items(), strict=True):
            axis.set(title=title, xlabel=quantity, ylabel="half sequences")
            _histogram(axis, sequences, name, width)
        axes[0, 0].legend()
        axes[1, 1].axvline(interpolated_below, color="#555555", linestyle="--", label="interpolated below")
        axes[1, 1].set_xlim(left=0)
        axes[1, 1].legend(handles=axes[1, 1].get_lines())
    return figure


def _histogram(axis: Axes, sequences: pd.DataFrame, name: str, width: float) -> None:
    """Both views' values of one column side by side, in bars centred on multiples of the width."""
    groups = {view: sequences.loc[sequences["view"] == view, name].dropna() for view in VIEW_COLOURS}
    values = np.concatenate([np.asarray(group, float) for group in groups.values()])
    if not values.size:
        axis.text(0.5, 0.5, "unknown", ha="center", transform=axis.transAxes)
        return
    edges = width * (np.arange(np.rint(values.min() / width), np.rint(values.max() / width) + 2) - 0.5)
    axis.hist(list(groups.values()), bins=list(edges), color=list(VIEW_COLOURS.values()), label=list(VIEW_COLOURS))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))


def write_figure(sequences: pd.DataFrame, interpolated_below: float, path: Path) -> Path:
    """Write `report_figure` as a PNG file, whole or not at all, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as beside:
        report_figure(sequences, interpolated_below).savefig(beside, format="png")
    return path
