"""Pictures from tidy tables: what they show, what they say in words, and that phantom and paper stay apart."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from results_cells import micro_cells, space_of

from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.evaluation.paper import METHODS, PAIRS, TABLE_1
from usjepa.evaluation.volumes import View, volumes
from usjepa.present.cases import Case, ejection_fractions, ejection_plot, example_frames, worst_cases
from usjepa.present.figures import Drawn
from usjepa.present.plots import fraction_plot, gain_plot, lambda_plot, quality_plot
from usjepa.recipe import SegmentRecipe
from usjepa.results.collect import build
from usjepa.results.files import empty_results
from usjepa.results.points import gain_family, lambda_points, row_points
from usjepa.results.sweep import sweep

mpl.use("agg")
FIGURE_1 = Path(__file__).parents[1] / "book" / "_static" / "figure1.svg"


def points_of(rows: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [(row, fraction, 0.5 + fraction / 10, 0.4, 0.7) for row in rows for fraction in (1.0, 0.5, 0.2, 0.1)],
        columns=["row", "fraction", "mean", "low", "high"],
    )


def heart(scale: float = 1.0, size: int = 96) -> np.ndarray:
    """A ventricle over an atrium: cavity open below, wall around it."""
    rows, columns = np.indices((size, size))
    half = 16 * scale
    labels = np.zeros((size, size), dtype=np.uint8)
    labels[(rows >= 14) & (rows < 60) & (abs(columns - 48) < half + 6)] = 2
    labels[(rows >= 20) & (rows < 60) & (abs(columns - 48) < half)] = 1
    labels[(rows >= 60) & (rows < 85) & (abs(columns - 48) < half)] = 3
    return labels


def case(patient: str, view: str, dsc: float, scale: float = 1.0) -> Case:
    true = np.stack([heart(), heart(0.9), heart(0.7)])
    predicted = np.stack([heart(scale), heart(0.9), heart(0.7)])
    frames = np.full(true.shape, 90, np.uint8)
    return Case(f"{patient}_{view}", patient, view, "Good", (0.8, 0.8), frames, true, predicted, dsc)


def said(drawn: Drawn) -> list[str]:
    """Titles, axis names and legend entries of a picture."""
    words = [axis.get_title() for axis in drawn.figure.axes]
    words += [name for axis in drawn.figure.axes for name in (axis.get_xlabel(), axis.get_ylabel())]
    return words + [text.get_text() for legend in drawn.figure.legends for text in legend.get_texts()]


def lines_of(axis: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): np.asarray(line.get_ydata(), float).tolist() for line in axis.get_lines()}


def test_table_2_has_its_eight_methods_on_both_sides_that_share_no_axis() -> None:
    drawn = fraction_plot(points_of(list(METHODS)))
    ours, theirs = drawn.figure.axes
    assert (ours.get_title(), theirs.get_title()) == ("ours, phantom", "the paper, CAMUS")
    assert not ours.get_shared_y_axes().joined(ours, theirs)
    names = {"Supervised ViT", *METHODS.values()} - {"Supervised ViT-L"}
    assert set(lines_of(ours)) == set(lines_of(theirs)) == names
    assert lines_of(theirs)["V-JEPA (16b) + LL"] == [0.751, 0.779, 0.824, 0.834]
    assert len(ours.collections) == 8
    assert not theirs.collections
    assert "V-JEPA + LL 0.51 at 10% and 0.60 at 100%" in drawn.alt
    assert "share of the labels" in said(drawn)
    assert names <= set(said(drawn))


def test_table_1_has_a_band_a_configuration_and_the_papers_points_apart() -> None:
    weights = (1.0, 0.9, 0.75, 0.5, 0.25, 0.0)
    points = pd.DataFrame(
        [(base, weight, 0.6 + (0.1 if weight == 0.5 else 0), 0.5, 0.7) for base in PAIRS for weight in weights],
        columns=["row", "prediction_weight", "mean", "low", "high"],
    )
    drawn = lambda_plot(points)
    ours, theirs = drawn.figure.axes
    assert len(ours.collections) == 3
    assert lines_of(theirs)["V-JEPA (12b) + LL"] == list(TABLE_1["vjepa-12b"])[::-1]
    assert drawn.alt.count("is best at 0.5 with 0.700") == 3


def test_gains_stand_beside_the_controls_and_what_is_not_yet_run_is_said() -> None:
    family = gain_family(empty_results(), "test")
    drawn = gain_plot(family)
    ours, theirs = drawn.figure.axes
    assert "20 of 20 not yet run" in drawn.alt
    assert len(ours.get_lines()) == 1
    assert lines_of(theirs)["V-JEPA (12b) + LL"] == [5.7, 2.3, 2.9, 2.7]
    known = {"status": "done", "points": 1.5, "low_points": 1.0, "high_points": 2.0}
    drawn = gain_plot(family.assign(**{name: [value] * len(family) for name, value in known.items()}))
    names = {*(METHODS[improved] for improved in PAIRS.values()), "ll-detached", "random"}
    assert names <= set(lines_of(drawn.figure.axes[0]))
    assert "random +1.5 at 10%" in drawn.alt
    with pytest.raises(InputError, match=r"expected the rows ll-detached, random beside, got no random"):
        gain_plot(family[family["row"] != "random"])


def test_quality_has_a_panel_a_structure_and_the_given_order_of_levels() -> None:
    scores = pd.DataFrame(
        [
            (row, structure, quality, 0.5 + k / 100)
            for quality in ("Good", "Medium", "Poor")
            for structure in ("LV endo", "LA")
            for row in ("vjepa", "vjepa-ll")
            for k in range(3)
        ],
        columns=["row", "structure", "quality", "dsc"],
    )
    drawn = quality_plot(scores)
    assert [axis.get_title() for axis in drawn.figure.axes] == ["LV endo", "LA"]
    assert [label.get_text() for label in drawn.figure.axes[0].get_xticklabels()] == ["Good", "Medium", "Poor"]
    assert lines_of(drawn.figure.axes[1])["V-JEPA + LL"] == pytest.approx([0.51] * 3)
    assert "V-JEPA + LL: LV endo 0.51, LA 0.51" in drawn.alt


def test_a_picture_in_a_notebook_carries_its_words_and_the_same_bytes() -> None:
    drawn = Drawn(fraction_plot(points_of(["vjepa"])).figure, 'less than "<1"')
    shown = drawn._repr_html_()
    assert shown == drawn._repr_html_()
    assert shown.startswith('<img src="data:image/png;base64,')
    assert 'alt="less than &quot;&lt;1&quot;"' in shown


def test_ejection_fractions_come_from_first_and_last_frame_of_both_views() -> None:
    cases = [case("a", "4CH", 0.9, 1.2), case("a", "2CH", 0.9, 1.2), case("b", "4CH", 0.9)]
    table = ejection_fractions(cases)
    view = {scale: View(heart(scale), (0.8, 0.8)) for scale in (1.0, 1.2, 0.7)}
    expected = [volumes((view[s], view[s]), (view[0.7], view[0.7])).ef_percent for s in (1.0, 1.2)]
    assert table["patient"].tolist() == ["a"]
    assert table.iloc[0, 1:].tolist() == pytest.approx(expected)
    assert expected[0] < expected[1]


def test_the_agreement_of_ejection_fractions_is_drawn_and_said() -> None:
    table = pd.DataFrame({"true_ef_percent": [50.0, 60.0, 55.0], "ef_percent": [52.0, 64.0, np.nan]})
    drawn = ejection_plot(table)
    assert drawn.figure.axes[0].collections[0].get_offsets().tolist() == [[51.0, 2.0], [62.0, 4.0]]
    assert "2 patients, mean difference +3.0 points, limits of agreement +0.2 to +5.8, +2.0 points below" in drawn.alt
    assert "the median true EF, +4.0 above; 1 without an EF" in drawn.alt
    assert "+2.0 points below the median true EF, +4.0 above" in drawn.figure.axes[0].get_title()
    with pytest.raises(InputError, match="expected two patients with an EF or more, got 1"):
        ejection_plot(table.iloc[:1])


def test_worst_cases_come_first() -> None:
    cases = [case("a", "4CH", 0.8), case("b", "4CH", 0.3), case("c", "4CH", 0.5)]
    drawn = worst_cases(cases, count=2)
    titles = [axis.get_title() for axis in drawn.figure.axes]
    assert [titles[0], titles[5]] == ["b_4CH\nDSC 0.30, Good", "c_4CH\nDSC 0.50, Good"]
    assert drawn.alt.index("b_4CH with a DSC of 0.30") < drawn.alt.index("c_4CH")
    assert "phantom" in drawn.alt
    image = drawn.figure.axes[1].images[0].get_array()
    assert image is not None
    assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) == 4


def test_example_frames_show_the_middle_one_of_the_same_videos() -> None:
    cases = [case("a", "4CH", 0.8), case("b", "4CH", 0.6)]
    drawn = example_frames({"100 %": {"V-JEPA": cases}, "10 %": {"V-JEPA": cases}})
    rows = np.reshape(drawn.figure.axes, (3, 4))
    assert [line[0].get_ylabel() for line in rows] == ["image", "truth", "V-JEPA"]
    titles = [[axis.get_title() for axis in line] for line in rows]
    assert titles[0] == [f"{name}_4CH\n{share} % of labels" for name in "ab" for share in (100, 10)]
    assert titles[2] == ["0.80", "0.80", "0.60", "0.60"]
    cases = [one._replace(frames=np.arange(3, dtype=np.uint8)[:, None, None] + 0 * one.frames) for one in cases]
    figure = example_frames({"100 %": {"V-JEPA": cases}}).figure
    image = figure.axes[0].images[0].get_array()
    assert image is not None
    assert figure.get_suptitle().startswith("Frame 2 of each clip's 3,")
    assert set(np.asarray(image).flat) == {1}
    assert "with 10 % of the labels V-JEPA 0.70" in drawn.alt
    with pytest.raises(InputError, match=r"V-JEPA \+ LL at 100 %: expected a_4CH, b_4CH, got b_4CH. Choose the same"):
        example_frames({"100 %": {"V-JEPA": cases, "V-JEPA + LL": cases[1:]}})


def test_points_come_from_real_runs(micro: SegmentRecipe, squares: Store, root: Path) -> None:
    cells = [cell for cell in micro_cells(micro, seeds=2) if cell.name == "random"]
    assert sweep(cells, space_of(squares.folder, root)) == []
    results = build(cells, root, empty_results())
    points = row_points(results, "test", ("random", "vjepa"), (1.0, 0.5))
    assert points["row"].tolist() == ["random", "random"]
    assert points["seeds"].tolist() == [2, 2]
    assert (points["low"] <= points["mean"]).all()
    assert (points["mean"] <= points["high"]).all()
    assert "random" in fraction_plot(points).alt
    assert lambda_points(empty_results()).empty


def test_figure_1_is_described_and_its_words_stand_on_dark_shapes_and_fit_a_phone() -> None:
    text = FIGURE_1.read_text(encoding="utf-8")
    tree = ET.fromstring(text)
    name = "{http://www.w3.org/2000/svg}"
    assert tree.get("role") == "img"
    assert [tree.find(f"{name}{part}").get("id") for part in ("title", "desc")] == tree.get("aria-labelledby").split()
    assert len(tree.find(f"{name}desc").text.split()) > 80
    assert all(f"Eq. {number}" in text for number in (1, 2, 3, 4))
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    width = float(tree.get("viewBox").split()[2])
    assert width <= 375
    assert min(float(size) for size in re.findall(r'font-size(?:="|: )(\d+)', text)) >= 11
    for colour in re.findall(r"\.(?:plain|learned|still|loss|first|second) \{ fill: #(\w{6})", text):
        assert contrast(colour, "ffffff") >= 4.5, colour
    assert all(contrast("808080", ground) >= 3 for ground in ("ffffff", "121212"))


def contrast(one: str, other: str) -> float:
    """Of two colours, by WCAG 2."""
    low, high = sorted(luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
