"""Tables of scores as pictures: ours on the left, the paper's apart on the right, since a phantom is not CAMUS.

Each function takes a tidy table and gives a `Drawn`, which a notebook shows with its alternative text. `source` names
the data that was scored.
"""

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from usjepa.errors import InputError
from usjepa.evaluation.audit import local_loss_effects
from usjepa.evaluation.paper import METHODS, PAIRS, paper_scores
from usjepa.present.figures import STYLE, Drawn

# By configuration, in the tones of Okabe and Ito; with the localisation loss filled and solid, without it hollow.
TONES = {"supervised": "#555555", "videomae": "#E69F00", "vjepa": "#0072B2", "vjepa-12b": "#009E73"}
TONES |= {"vjepa-16b": "#CC79A7", "random": "#000000", "vjepa-start": "#D55E00", "ll-detached": "#777777"}
TONES |= {"unet": "#56B4E9"}
MARKERS = dict(zip(TONES, "sDo^vx+*P", strict=True))
BESIDE = ("ll-detached", "random")

PAPER_APART = "Beside it, on axes of its own, what the paper prints for CAMUS."


def fraction_plot(points: pd.DataFrame, source: str = "phantom") -> Drawn:
    """Table 2: DSC against the share of the labels.

    points: a line a row and fraction with `mean`, `low` and `high`, as `usjepa.results.points.row_points` gives them.
    """
    paper = paper_scores().query("table == 2 and metric == 'dsc'").assign(row=lambda table: table["method"])
    figure, (ours, theirs) = _two("DSC, mean over patients and structures", source)
    for axis, table in ((ours, points), (theirs, paper)):
        rows = list(table["row"].unique())
        for row, line in table.groupby("row", sort=False):
            aside = 1 + 0.025 * (rows.index(row) - (len(rows) - 1) / 2)
            _line(axis, line.assign(fraction=line["fraction"] * aside).sort_values("fraction"), str(row), "fraction")
        _percents(axis)
    _legend(figure, ours, theirs)
    return Drawn(figure, f"DSC against the share of the labels, {source}: {_ends(points)}. {PAPER_APART}")


def lambda_plot(points: pd.DataFrame, source: str = "phantom") -> Drawn:
    """Table 1: DSC against lambda on validation patients, with bands; lambda 1 and 0 are not in the paper.

    points: as for `fraction_plot`, by `prediction_weight`; rows are the configurations' names without the loss.
    """
    names = {METHODS[improved]: base for base, improved in PAIRS.items()}
    paper = paper_scores().query("table == 1").assign(row=lambda table: table["label"].map(names))
    figure, (ours, theirs) = _two("DSC, validation", source)
    for axis, table in ((ours, points), (theirs, paper)):
        for row, line in table.groupby("row", sort=False):
            known = line.sort_values("prediction_weight")
            _line(axis, known, PAIRS[str(row)], "prediction_weight", is_band=True)
        axis.set(xlabel="λ, weight of the prediction loss", xlim=(1.04, -0.04))
    _legend(figure, ours, theirs)
    best = points.loc[points.groupby("row", sort=False)["mean"].idxmax()]
    values = zip(best["row"], best["mean"], best["prediction_weight"], strict=True)
    said = "; ".join(f"{METHODS[PAIRS[row]]} is best at {weight:g} with {mean:.3f}" for row, mean, weight in values)
    return Drawn(figure, f"Validation DSC against lambda, {source}: {said}. {PAPER_APART}")


def gain_plot(family: pd.DataFrame, source: str = "phantom") -> Drawn:
    """What the localisation loss changes against the share of the labels: paired differences with 95 % intervals.

    family: what `usjepa.results.points.gain_family` gives: beside the three gains over lambda 1 the detached control
    and the random encoder, each less V-JEPA. What is not yet run leaves a gap and is said in words. Raises InputError
    without these two rows: a gain by itself doesn't tell whether pre-training helped at all, or what noise would give.
    """
    if missing := [row for row in BESIDE if row not in set(family["row"])]:
        raise InputError(f"family: expected the rows {', '.join(BESIDE)} beside, got no {missing[0]}. Add them.")
    done = family[family["status"] == "done"].rename(columns={"low_points": "low", "high_points": "high"})
    paper = local_loss_effects().query("metric == 'dsc'").assign(row=lambda table: table["base"].map(PAIRS))
    paper["fraction"] = paper["percent"] / 100
    figure, (ours, theirs) = _two("gain in DSC, points", source)
    for axis, table in ((ours, done), (theirs, paper)):
        axis.axhline(0, color="#000000", linewidth=1)
        for shift, row in zip((0.93, 0.965, 1.0, 1.035, 1.07), (*PAIRS.values(), *BESIDE), strict=True):
            line = table[table["row"] == row].sort_values("fraction")
            if len(line):
                _line(axis, line.assign(mean=line["points"], fraction=line["fraction"] * shift), row, "fraction")
        _percents(axis)
    _legend(figure, ours, theirs)
    values = zip(done["row"], done["points"], done["fraction"], strict=True)
    said = [f"{name_of(row)} {points:+.1f} at {fraction:.0%}" for row, points, fraction in values]
    lacking = len(family) - len(done)
    said += [f"{lacking} of {len(family)} not yet run"] if lacking else []
    return Drawn(figure, f"Gain of the localisation loss in points of DSC, {source}: {', '.join(said)}. {PAPER_APART}")


def quality_plot(scores: pd.DataFrame, source: str = "phantom") -> Drawn:
    """DSC by structure (a panel each) and image quality, mean and 95 % interval over videos.

    scores: a line a video and structure with `row`, `structure`, `quality` (best first) and `dsc`.
    """
    structures, levels = scores["structure"].unique(), list(scores["quality"].unique())
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.4))
        axes = figure.subplots(1, len(structures), sharey=True, squeeze=False)[0]
    figure.suptitle(f"DSC by structure and image quality, {source}")
    rows = list(scores["row"].unique())
    for axis, structure in zip(axes, structures, strict=True):
        for row, line in scores[scores["structure"] == structure].groupby("row", sort=False):
            of = line.groupby("quality")["dsc"].agg(["mean", "sem"]).reindex(levels)
            place = np.arange(len(levels)) + 0.8 * ((rows.index(row) + 0.5) / len(rows) - 0.5)
            spread = {"low": of["mean"] - 1.96 * of["sem"], "high": of["mean"] + 1.96 * of["sem"]}
            _line(axis, pd.DataFrame({"place": place, "mean": of["mean"], **spread}), str(row), "place", links=False)
        axis.set(title=structure, xlabel="image quality", xticks=range(len(levels)), xticklabels=levels)
    axes[0].set_ylabel("DSC")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    means = scores.groupby(["row", "structure"], sort=False)["dsc"].mean().unstack()[structures]
    said = "; ".join(
        f"{name_of(str(row))}: " + ", ".join(f"{structure} {dsc:.2f}" for structure, dsc in of.items())
        for row, of in means.iterrows()
    )
    return Drawn(figure, f"DSC by structure and image quality ({', '.join(levels)}), {source}; means: {said}.")


def name_of(row: str) -> str:
    """As in the paper, but for the size of its network, which ours hasn't got."""
    return METHODS.get(row, row).removesuffix("-L")


def _two(quantity: str, source: str) -> tuple[Figure, tuple[Axes, Axes]]:
    """Two panels that share no axis: a phantom's scores are not to be read off against CAMUS's."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4.4))
        ours, theirs = figure.subplots(1, 2)
    ours.set(title=f"ours, {source}", ylabel=quantity)
    theirs.set(title="the paper, CAMUS")
    return figure, (ours, theirs)


def _line(axis: Axes, line: pd.DataFrame, row: str, x: str, *, is_band: bool = False, links: bool = True) -> None:
    """One row's means against a column, with its intervals if there are any."""
    base, has_loss = row.removesuffix("-ll"), row.endswith("-ll")
    colour, style = TONES.get(base, "#999999"), ("-" if has_loss else "--") if links else ""
    axis.plot(
        line[x],
        line["mean"],
        color=colour,
        marker=MARKERS.get(base, "."),
        markersize=6,
        markerfacecolor=colour if has_loss else "white",
        linestyle=style,
        label=name_of(row),
    )
    if "low" not in line:
        return
    if is_band:
        axis.fill_between(line[x], line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)
    else:
        axis.vlines(line[x], line["low"], line["high"], color=colour, linewidth=1.2)


def _percents(axis: Axes) -> None:
    """The share of the labels, on a scale on which its halves are alike."""
    axis.set(xlabel="share of the labels", xscale="log", xticks=(0.1, 0.2, 0.5, 1.0), xlim=(0.085, 1.18))
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.xaxis.set_minor_locator(NullLocator())


def _legend(figure: Figure, ours: Axes, theirs: Axes) -> None:
    """One for both panels, below them."""
    known = {
        label: line for axis in (theirs, ours) for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(known.values()), list(known), loc="outside lower center", ncols=4, frameon=False)


def _ends(points: pd.DataFrame) -> str:
    """In words, each row's score with the fewest and with the most labels."""
    said = []
    for row, line in points.groupby("row", sort=False):
        ends = line.sort_values("fraction").iloc[[0, -1]].drop_duplicates("fraction")
        values = (f"{mean:.2f} at {share:.0%}" for share, mean in zip(ends["fraction"], ends["mean"], strict=True))
        said.append(f"{name_of(str(row))} {' and '.join(values)}")
    return "; ".join(said)
