import numpy as np
import pandas as pd
import pytest
from camus_trees import pixels, store, write_mhd_tree, write_nifti_tree
from PIL import Image

from usjepa.cli import main
from usjepa.data.phantom import PhantomRecipe, write_phantom
from usjepa.data.report import INTERPOLATED_BELOW, describe_camus, speed_unevenness, summarise
from usjepa.errors import InputError
from usjepa.present.report import report_figure


@pytest.fixture
def tree(tmp_path):
    return write_nifti_tree(tmp_path / "tree")


def discs(course: np.ndarray, largest_px: float = 60.0, smallest_px: float = 45.0) -> np.ndarray:
    """An ellipse that shrinks and sinks along `course`, from 0 to 1, as a contour does whose points move linearly."""
    rows, columns = np.mgrid[:160, :160]
    masks = []
    for share in course:
        radius = largest_px + share * (smallest_px - largest_px)
        masks.append(((rows - 80 - 3 * share) / radius) ** 2 + ((columns - 80) / (0.7 * radius)) ** 2 < 1)
    return np.stack(masks)


@pytest.mark.parametrize("length", [10, 15, 21, 33])
def test_linear_interpolation_is_told_from_a_heartbeat(length):
    time = np.linspace(0, 1, length)
    assert speed_unevenness(discs(time)) < 0.1
    beat = speed_unevenness(discs((1 - np.cos(np.pi * time)) / 2))
    assert beat == pytest.approx(0.45, abs=0.06)
    assert beat > INTERPOLATED_BELOW > 0.1


def test_what_can_not_be_measured_is_not_given():
    time = np.linspace(0, 1, 20)
    assert np.isnan(speed_unevenness(discs(time)[:5]))
    assert np.isnan(speed_unevenness(discs(time, 60, 59)))
    empty = discs(time)
    empty[3] = False
    assert np.isnan(speed_unevenness(empty))


def test_direction_of_time_does_not_matter():
    beat = discs(np.linspace(0, 1, 21) ** 2)
    assert speed_unevenness(beat) == pytest.approx(speed_unevenness(beat[::-1]))


def test_both_releases_give_the_same_table(tree, tmp_path):
    new, old = describe_camus(tree), describe_camus(write_mhd_tree(tmp_path / "old"))
    assert new["is_phantom"].all()
    assert not old["is_phantom"].any()
    pd.testing.assert_frame_equal(new.drop(columns="is_phantom"), old.drop(columns="is_phantom"))


def test_the_summary_counts_what_the_tree_holds(tree):
    path = tree / "database_nifti" / "patient0002" / "Info_2CH.cfg"
    path.write_text(path.read_text().replace("Good", "Poor").replace("EF: 54", "EF: high").replace("48.4", "60"))
    for number in (1, 3):
        path = tree / "database_nifti" / f"patient000{number}" / "Info_2CH.cfg"
        path.write_text(path.read_text().replace("EF: 54", "EF: 45" if number == 1 else "EF: 55.5"))
    summary = summarise(describe_camus(tree))
    assert list(summary.columns) == ["2CH", "4CH", "both"]
    expected = {
        "half sequences": ("3", "3", "6"),
        "patients": ("3", "3", "3"),
        "frames": ("7 / 7 / 7 / 7 / 7",) * 3,
        "stored ES to ED": ("1 (33.3 %)", "0 (0.0 %)", "1 (16.7 %)"),
        "quality Good": ("2 (66.7 %)", "3 (100.0 %)", "5 (83.3 %)"),
        "quality Poor": ("1 (33.3 %)", "0 (0.0 %)", "1 (16.7 %)"),
        "EF at most 45 %": ("1 (50.0 %)", "0 (0.0 %)", "1 (20.0 %)"),
        "EF between 45 and 55 %": ("0 (0.0 %)", "3 (100.0 %)", "3 (60.0 %)"),
        "EF at least 55 %": ("1 (50.0 %)", "0 (0.0 %)", "1 (20.0 %)"),
        "EF unknown": ("1 (33.3 %)", "0 (0.0 %)", "1 (16.7 %)"),
        "spacing, mm": ("0.25 x 0.5",) * 3,
        "rows": ("12 / 12 / 12 / 12 / 12", "18 / 18 / 18 / 18 / 18", "12 / 12 / 15 / 18 / 18"),
    }
    for row, cells in expected.items():
        assert tuple(summary.loc[row]) == cells, row
    assert summary.loc["frame rate, Hz", "2CH"] == "48.4 / 48.4 / 48.4 / 54.2 / 60"


def test_many_spacings_are_counted(tree):
    for number, spacing in ((1, 0.2), (2, 0.3), (3, 0.4)):
        for ending, array in zip(("", "_gt"), pixels(number, "4CH"), strict=True):
            path = (
                tree / "database_nifti" / f"patient000{number}" / f"patient000{number}_4CH_half_sequence{ending}.nii.gz"
            )
            store(path, array, spacing_mm=(spacing, spacing))
    assert summarise(describe_camus(tree)).loc["spacing, mm", "4CH"] == "3 different, 0.2 to 0.4"


def test_unreadable_sequences_are_left_out_and_none_is_an_error(tree):
    paths = sorted(tree.rglob("*half_sequence.nii.gz"))
    paths[0].write_bytes(paths[0].read_bytes()[:-9])
    with pytest.warns(UserWarning, match=r"left out: patient0001_2CH_half_sequence\.nii\.gz: truncated"):
        assert len(describe_camus(tree)) == 5
    for path in paths:
        path.write_bytes(b"x")
    with pytest.warns(UserWarning, match="left out"), pytest.raises(InputError, match="Run: usjepa data check"):
        describe_camus(tree)


def test_the_labels_of_the_phantom_are_not_interpolated_and_the_figure_says_phantom(tmp_path, capsys):
    folder = write_phantom(PhantomRecipe(patients=3, seed=1, rows=160), tmp_path / "phantom", processes=1)
    picture = tmp_path / "new" / "report.png"
    assert main(["data", "report", str(folder), "--figure", str(picture)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == str(picture)
    assert [path.name for path in picture.parent.iterdir()] == ["report.png"]
    assert np.asarray(Image.open(picture).convert("L")).std() > 10
    table = describe_camus(folder)
    measured = table["unevenness"].dropna()
    assert len(measured) >= 4
    assert (measured > INTERPOLATED_BELOW).all()
    figure = report_figure(table, INTERPOLATED_BELOW)
    assert figure.get_suptitle() == "6 half sequences of a phantom"
    assert figure.axes[0].get_title() == "Length"
    bars = [patch.get_height() for patch in figure.axes[0].patches]
    assert sum(bars) == len(table)


def test_the_figure_says_where_nothing_is_known(tree):
    table = describe_camus(tree).assign(frame_rate_hz=np.nan, is_phantom=False)
    figure = report_figure(table, INTERPOLATED_BELOW)
    assert figure.get_suptitle().endswith("of CAMUS")
    assert [text.get_text() for text in figure.axes[1].texts] == ["unknown"]
