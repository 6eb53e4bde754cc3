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
from usjepa.present.figures import STYLE, overlay
from usjepa.present.plots import Drawn

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
    low, high = bias - 1.96 * deviation, bias + 1.96 * deviation
    with rc_context(STYLE):
        figure = Figure(figsize=(6, 3.6))
        axis = figure.subplots()
    axis.axhspan(low, high, color="#0072B2", alpha=0.12)
    for height, style in ((0.0, "-"), (bias, "--")):
        axis.axhline(height, color="#555555", linestyle=style, linewidth=1)
    axis.scatter((known["ef_percent"] + known["true_ef_percent"]) / 2, difference, s=18, color="#0072B2")
    axis.set(title=f"Ejection fraction, biplane Simpson, {source}", xlabel="mean of predicted and true EF, %")
    axis.set_ylabel("predicted less true EF, points")
    said = f"{len(known)} patients, mean difference {bias:+.1f} points, limits of agreement {low:+.1f} to {high:+.1f}"
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


def example_frames(
    shown: Mapping[str, Mapping[str, Sequence[Case]]], frame: int | None = None, source: str = "phantom"
) -> Drawn:
    """Figure 2 with our methods: a row an example and share of the labels, a column a method.

    shown: by share of the labels ("100 %"), then by method, the same videos in the same order. frame: which of the
    clip, the middle one if not said. Raises InputError if videos differ.
    """
    first = next(iter(next(iter(shown.values())).values()))
    names = [case.name for case in first]
    rows = []
    for share, methods in shown.items():
        for method, cases in methods.items():
            if [case.name for case in cases] != names:
                got = ", ".join(case.name for case in cases)
                raise InputError(
                    f"{method} at {share}: expected {', '.join(names)}, got {got}. Choose the same videos."
                )
        for k, case in enumerate(first):
            at = len(case.frames) // 2 if frame is None else frame
            row: list[Panel] = [
                (f"{case.name}, {share}", case.frames[at], None),
                ("truth", case.frames[at], case.true[at]),
            ]
            row += [(f"{name} {of[k].dsc:.2f}", case.frames[at], of[k].predicted[at]) for name, of in methods.items()]
            rows.append(row)
    methods = next(iter(shown.values()))
    figure = _grid(rows, f"One frame, DSC of the whole clip behind each name, {source}")
    said = "; ".join(
        f"with {share} of the labels "
        + ", ".join(f"{name} {np.mean([case.dsc for case in cases]):.2f}" for name, cases in some.items())
        for share, some in shown.items()
    )
    return Drawn(
        figure, f"Outlines of {len(names)} videos by {len(methods)} methods, {source}; mean DSC {said}. {COLOURS_SAID}."
    )


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


def _grid(rows: Sequence[Sequence[Panel]], title: str) -> Figure:
    """Frames in rows and columns, each under its name."""
    with rc_context(STYLE):
        figure = Figure(figsize=(1.55 * len(rows[0]), 1.85 * len(rows) + 0.4))
        axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    figure.suptitle(title)
    for line, row in zip(axes, rows, strict=True):
        for axis, (name, frame, labels) in zip(line, row, strict=True):
            picture = frame if labels is None else overlay(frame[None], labels[None])[0]
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set_title(name, fontsize=8)
            axis.set_axis_off()
    return figure
