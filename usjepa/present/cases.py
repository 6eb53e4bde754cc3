"""Predicted label maps as pictures: example frames beside the truth (Figure 2), worst cases first, and their EF."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib import rc_context
from matplotlib.figure import Figure

from usjepa.errors import InputError
from usjepa.evaluation.volumes import View, volumes
from usjepa.present.figures import STYLE, Drawn, overlay

COLOURS_SAID = "LV endo is green, LV epi orange, LA blue"
Panel = tuple[str, UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"] | None]


class Case(NamedTuple):
    """A scored video: its clip, true and predicted label maps, and its DSC (mean over structures)."""

    name: str
    patient: str
    view: str
    quality: str | None
    spacing_mm: tuple[float, float] | None
    frames: UInt8[np.ndarray, "T H W"]
    true: UInt8[np.ndarray, "T H W"]
    predicted: UInt8[np.ndarray, "T H W"]
    dsc: float


def ejection_fractions(cases: Sequence[Case]) -> pd.DataFrame:
    """`patient`, `true_ef_percent` and `ef_percent` of each patient with both views, from first and last frame.

    For clips of half a beat by the policy "uniform": they begin at end diastole and end at end systole. Patients with
    one view, or a video without calibration, are left out; NaN where a map lacks a structure.
    """
    rows = []
    calibrated = sorted((case for case in cases if case.spacing_mm), key=lambda case: (case.patient, case.view))
    for patient, some in groupby(calibrated, key=lambda case: case.patient):
        views = list(some)
        if [case.view for case in views] == ["2CH", "4CH"]:
            row: dict[str, str | float] = {"patient": patient}
            for name, maps in (
                ("true_ef_percent", [case.true for case in views]),
                ("ef_percent", [case.predicted for case in views]),
            ):
                pairs = list(zip(maps, views, strict=True))
                first, last = (
                    tuple(View(labels[frame], case.spacing_mm) for labels, case in pairs) for frame in (0, -1)
                )
                row[name] = volumes((first[0], first[1]), (last[0], last[1])).ef_percent
            rows.append(row)
    return pd.DataFrame(rows, columns=["patient", "true_ef_percent", "ef_percent"])


def ejection_plot(table: pd.DataFrame, source: str = "phantom") -> Drawn:
    """Bland-Altman plot of ejection fractions, a point a patient, from `true_ef_percent` and `ef_percent`.

    The shaded band is the mean difference ± 1.96 standard deviations. Raises InputError for fewer than two patients
    with both.
    """
    known = table.dropna(subset=["true_ef_percent", "ef_percent"])
    if len(known) < 2:
        raise InputError(f"table: expected two patients with an EF or more, got {len(known)}. Score larger maps.")
    difference = known["ef_percent"] - known["true_ef_percent"]
    bias, deviation = float(difference.mean()), float(difference.std())
    is_low = known["true_ef_percent"] < known["true_ef_percent"].median()
    halves = (
        f"{difference[is_low].mean():+.1f} points below the median true EF, {difference[~is_low].mean():+.1f} above"
    )
    low, high = bias - 1.96 * deviation, bias + 1.96 * deviation
    with rc_context(STYLE):
        figure = Figure(figsize=(6, 3.6))
        axis = figure.subplots()
    axis.axhspan(low, high, color="#0072B2", alpha=0.12)
    for height, style in ((0.0, "-"), (bias, "--")):
        axis.axhline(height, color="#555555", linestyle=style, linewidth=1)
    axis.scatter((known["ef_percent"] + known["true_ef_percent"]) / 2, difference, s=18, color="#0072B2")
    axis.set_title(f"Ejection fraction, biplane Simpson, {source}\n{halves}", fontsize=10)
    axis.set_xlabel("mean of predicted and true EF, %")
    axis.set_ylabel("predicted less true EF, points")
    said = f"{len(known)} patients, mean difference {bias:+.1f} points, limits of agreement {low:+.1f} to {high:+.1f}"
    said += f", {halves}"
    lost = len(table) - len(known)
    said += f"; {lost} without an EF, since a view lacks a structure" if lost else ""
    return Drawn(figure, f"Bland-Altman plot of ejection fractions, {source}: {said}.")


def worst_cases(cases: Sequence[Case], count: int = 5, source: str = "phantom") -> Drawn:
    """The videos with the lowest DSC, a row each, the worst on top: first and last frame, truth beside prediction."""
    worst = sorted(cases, key=lambda case: (case.dsc, case.name))[:count]
    panels = [
        _panels(case, title)
        for case in worst
        for title in (f"{case.name}\nDSC {case.dsc:.2f}, {case.quality or 'quality unknown'}",)
    ]
    figure = _grid(panels, f"Worst of {len(cases)} videos first, {source}")
    said = "; ".join(f"{case.name} with a DSC of {case.dsc:.2f}" for case in worst)
    return Drawn(figure, f"First and last frame with true and predicted outlines, {source}: {said}. {COLOURS_SAID}.")


def example_frames(shown: Mapping[str, Mapping[str, Sequence[Case]]], source: str = "phantom") -> Drawn:
    """Figure 2 with our methods: a row a method, a column a video and share of the labels.

    Drawn is frame T // 2 + 1 of T, of 16 the ninth, as in the paper. shown: by share of the labels ("100 %"), then by
    method, the same videos in the same order. Raises InputError if videos differ.
    """
    methods = next(iter(shown.values()))
    first = next(iter(methods.values()))
    for share, some in shown.items():
        for method, cases in some.items():
            _require_same(first, cases, f"{method} at {share}")
    at = len(first[0].frames) // 2
    columns = [(share, k) for k in range(len(first)) for share in shown]
    rows = {
        "image": [(f"{first[k].name}\n{share} of labels", first[k].frames[at], None) for share, k in columns],
        "truth": [("", first[k].frames[at], first[k].true[at]) for _, k in columns],
    }
    for method in methods:
        of = [shown[share][method][k] for share, k in columns]
        rows[method] = [(f"{case.dsc:.2f}", case.frames[at], case.predicted[at]) for case in of]
    title = f"Frame {at + 1} of each clip's {len(first[0].frames)}, above it the DSC of the clip, {source}"
    figure = _grid(list(rows.values()), title, list(rows))
    said = "; ".join(
        f"with {share} of the labels "
        + ", ".join(f"{name} {np.mean([case.dsc for case in cases]):.2f}" for name, cases in some.items())
        for share, some in shown.items()
    )
    return Drawn(
        figure, f"Outlines of {len(first)} videos by {len(methods)} methods, {source}; mean DSC {said}. {COLOURS_SAID}."
    )


def _require_same(expected: Sequence[Case], cases: Sequence[Case], of: str) -> None:
    """Raise InputError unless both are the same videos in the same order."""
    names, got = (", ".join(case.name for case in some) for some in (expected, cases))
    if got != names:
        raise InputError(f"{of}: expected {names}, got {got}. Choose the same videos.")


def _panels(case: Case, title: str) -> list[Panel]:
    """First and last frame, each plain, with the truth, and with the prediction."""
    first, last = case.frames[0], case.frames[-1]
    return [
        (title, first, None),
        ("ED, truth", first, case.true[0]),
        ("ED, predicted", first, case.predicted[0]),
        ("ES, truth", last, case.true[-1]),
        ("ES, predicted", last, case.predicted[-1]),
    ]


def _grid(rows: Sequence[Sequence[Panel]], title: str, names: Sequence[str] = ()) -> Figure:
    """Frames in rows and columns, each under its name; names stand before the rows."""
    with rc_context(STYLE):
        figure = Figure(figsize=(1.55 * len(rows[0]), (1.65 if names else 1.85) * len(rows) + 0.6))
        axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    figure.suptitle(title)
    for line, row in zip(axes, rows, strict=True):
        for axis, (name, frame, labels) in zip(line, row, strict=True):
            picture = frame if labels is None else overlay(frame[None], labels[None])[0]
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axis.set_title(name, fontsize=8)
            axis.set(xticks=(), yticks=())
            axis.spines[:].set_visible(False)
    for line, name in zip(axes, names, strict=False):
        line[0].set_ylabel(name, fontsize=8)
    return figure
