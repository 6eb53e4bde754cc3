import shutil

import numpy as np
import pytest
from camus_trees import pixels, recompressed, store, write_mhd_tree, write_nifti_tree

from usjepa.cli import main
from usjepa.data.check import check_camus
from usjepa.data.phantom import PhantomRecipe, write_phantom
from usjepa.data.problems import Problem, as_problem
from usjepa.errors import InputError


@pytest.fixture(params=["nifti", "mhd"])
def both(request, tmp_path):
    """The same tree in each release."""
    return (write_nifti_tree if request.param == "nifti" else write_mhd_tree)(tmp_path / "tree")


@pytest.fixture
def tree(tmp_path):
    return write_nifti_tree(tmp_path / "tree")


def view(tree, ending, patient="patient0001", name="4CH"):
    return tree / "database_nifti" / patient / f"{patient}_{name}_{ending}.nii.gz"


def cfg(tree, patient="patient0001", name="4CH"):
    return tree / "database_nifti" / patient / f"Info_{name}.cfg"


def only(tree) -> Problem:
    """The one problem of the tree."""
    problems = check_camus(tree).problems
    assert len(problems) == 1, problems
    return problems[0]


def test_a_whole_tree_of_either_release_has_no_problem(both):
    checked = check_camus(both)
    assert checked.problems == ()
    assert (checked.patients, checked.sequences, checked.frames) == (3, 6, 42)


def test_a_phantom_has_no_problem(tmp_path, capsys):
    folder = write_phantom(PhantomRecipe(patients=3, seed=1, rows=64), tmp_path / "phantom", processes=1)
    assert main(["data", "check", str(folder)]) == 0
    assert "3 patients, 6 half sequences" in capsys.readouterr().out
    assert main(["data", "check", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("no problem found\n")


def test_all_problems_are_in_one_table_and_the_exit_code_is_1(tree, capsys):
    path = view(tree, "half_sequence")
    path.write_bytes(path.read_bytes()[:-50])
    view(tree, "half_sequence_gt", "patient0002").write_bytes(b"<html>log in</html>")
    view(tree, "ES_gt", "patient0002").unlink()
    cfg(tree, "patient0003", "2CH").unlink()
    cfg(tree, "patient0003").write_text("ED: 1\nNbFrame: 7\n")
    shutil.rmtree(tree / "database_nifti" / "patient0002" / "none", ignore_errors=True)
    (tree / "database_split" / "subgroup_training.txt").write_text("patient0001\npatient0009\npatient1\n")
    assert main(["data", "check", str(tree)]) == 1
    out = capsys.readouterr().out
    for file, got in (
        ("patient0001_4CH_half_sequence.nii.gz", "truncated"),
        ("patient0002_4CH_half_sequence_gt.nii.gz", "a web page"),
        ("patient0002/patient0002_4CH_ES_gt.nii.gz", "no file"),
        ("patient0003/Info_2CH.cfg", "no file"),
        ("patient0003/Info_4CH.cfg", "ES: None"),
        ("patient0009", "none"),
        ("subgroup_training.txt", "'patient1'"),
    ):
        assert any(line.strip().startswith(file) and got in line for line in out.splitlines()), file
    assert "7 problems" in out.splitlines()[-1]
    table = check_camus(tree).table()
    assert list(table.columns) == ["file", "expected", "got", "what to do"]
    assert len(table) == 7
    assert not (table == "").any().any()


def test_a_folder_without_camus_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path)]) == 2
    assert "expected database_nifti/patient0001" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "expected", "got"),
    [
        ("EF: 54", "EF: high", "EF of 0 to 100 %", "'high'"),
        ("EF: 54", "EF: 540", "EF of 0 to 100 %", "'540'"),
        ("EF: 54", "LVef: -5", "EF of 0 to 100 %", "'-5'"),
        ("FrameRate: 48.4", "FrameRate: 0.02", "FrameRate of 5 to 1000 frames/s", "'0.02'"),
        ("Good", "good?", "ImageQuality Good, Medium, Poor", "'good?'"),
        ("ED: 1", "ED: 2", "ED and ES at the ends, 1 and 7", "2 and 7"),
    ],
)
def test_absurd_facts_are_rows_and_no_error_when_read(tree, old, new, expected, got):
    from usjepa.data.camus import read_camus

    cfg(tree).write_text(cfg(tree).read_text().replace(old, new))
    rows = [problem for problem in check_camus(tree).problems if problem.file == "patient0001/Info_4CH.cfg"]
    assert [(row.expected, row.got) for row in rows] == [(expected, got)]
    assert len(list(read_camus(tree))) == 6


def test_a_still_that_is_not_the_frame_is_a_row_with_the_count_of_pixels(tree):
    frames, labels = pixels(1, "4CH")
    still = frames[0].copy()
    still[:2, 0] ^= 1
    store(view(tree, "ED"), still)
    problem = only(tree)
    assert problem.file == "patient0001_4CH_ED.nii.gz"
    assert problem.expected == "frame 1 of the half sequence"
    assert problem.got == "2 other pixels of 216"
    store(view(tree, "ED"), frames[0])
    store(view(tree, "ES_gt"), labels[-1].T)
    assert only(tree)[:3] == (
        "patient0001_4CH_ES_gt.nii.gz",
        "frame 7 of the half sequence, [1, 18, 12]",
        "[1, 12, 18]",
    )


def test_half_sequences_of_both_views_swapped_are_noticed_by_their_stills(tree):
    paths = [view(tree, f"half_sequence{ending}", name=name) for ending in ("", "_gt") for name in ("2CH", "4CH")]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, [contents[1], contents[0], contents[3], contents[2]], strict=True):
        path.write_bytes(content)
    files = {problem.file for problem in check_camus(tree).problems}
    assert files == {
        f"patient0001_{name}_{part}.nii.gz" for name in ("2CH", "4CH") for part in ("ED", "ES", "ED_gt", "ES_gt")
    }


def test_a_missing_structure_and_an_image_upside_down_are_rows(tree):
    frames, labels = pixels(1, "4CH")
    without = labels.copy()
    without[2:4][without[2:4] == 3] = 0
    store(view(tree, "half_sequence_gt"), without)
    assert only(tree)[:3] == (
        "patient0001_4CH_half_sequence_gt.nii.gz",
        "LA (3) in each frame",
        "2 of 7 frames without",
    )
    for ending, array in (("", frames), ("_gt", labels)):
        store(view(tree, f"half_sequence{ending}"), array[:, ::-1])
        store(view(tree, f"ED{ending}"), array[0, ::-1])
        store(view(tree, f"ES{ending}"), array[-1, ::-1])
    problem = only(tree)
    assert problem.expected == "LA (3) below LV endo (1)"
    assert problem.action == "Turn image and labels upside down."


def test_the_same_frames_under_two_names_and_files_of_another_patient_are_rows(tree):
    for part in ("half_sequence", "half_sequence_gt", "ED", "ED_gt", "ES", "ES_gt"):
        shutil.copy(view(tree, part), view(tree, part, "patient0003"))
    problem = only(tree)
    assert problem[:3] == ("patient0003_4CH", "frames of its own", "those of patient0001_4CH")
    shutil.copy(view(tree, "ED"), tree / "database_nifti" / "patient0003" / "patient0001_4CH_ED.nii.gz")
    assert ("patient0003/patient0001_4CH_ED.nii.gz", "files of patient0003", "one of patient0001") in [
        problem[:3] for problem in check_camus(tree).problems
    ]


def test_labels_and_lengths_that_do_not_fit_are_rows_beside_the_stills(tree):
    _, labels = pixels(1, "4CH")
    store(view(tree, "half_sequence_gt"), labels.transpose(0, 2, 1))
    cfg(tree).write_text(cfg(tree).read_text().replace("NbFrame: 7", "NbFrame: 8"))
    problems = {(problem.file.split(".")[0], problem.got) for problem in check_camus(tree).problems}
    assert ("patient0001_4CH_half_sequence_gt", "(7, 12, 18)") in problems
    assert ("patient0001_4CH_half_sequence", "7 frames") in problems
    assert ("patient0001/Info_4CH", "1 and 7") in problems


def test_other_list_sizes_are_a_note_and_no_problem(tree, capsys):
    (tree / "phantom.json").unlink()
    assert main(["data", "check", str(tree)]) == 0
    assert "note: database_split: expected the official 400 train, 50 validation, 50 test" in capsys.readouterr().out


def test_patients_in_no_list_or_without_a_list_are_rows(tree):
    (tree / "database_split" / "subgroup_testing.txt").write_text("")
    assert only(tree) == Problem(
        "patient0003", "a patient in a list", "one in none", "Add it to one list; it isn't read."
    )
    shutil.rmtree(tree / "database_split")
    problems = check_camus(tree).problems
    assert [problem.got for problem in problems] == ["none"] * 3


def test_clutter_and_partial_files_are_ignored(tree):
    for folder in (tree / "database_nifti", tree / "database_nifti" / "patient0001"):
        for name in (".DS_Store", "Thumbs.db", "._patient0001", "half.nii.gz.part"):
            (folder / name).write_bytes(b"x")
    (tree / "database_nifti" / "__MACOSX").mkdir()
    assert check_camus(tree).problems == ()


def test_stored_scales_on_floats_and_wrong_bits_are_rows(tree):
    recompressed(view(tree, "ED"), lambda raw: raw[:72] + b"\x10\x00" + raw[74:])
    recompressed(view(tree, "ES"), lambda raw: raw[:116] + np.float32(2).tobytes() + raw[120:])
    assert [(problem.expected, problem.got) for problem in check_camus(tree).problems] == [
        ("32 bits a pixel of type 16", "16"),
        ("floating pixels without slope and intercept", "(1.0, 2.0)"),
    ]


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("a.gz: truncated (expected 8 bytes, got 5). Get it.", ("a.gz", "8 bytes", "truncated 5", "Get it.")),
        ("a.cfg: ED: expected a number, got None. Do.", ("a.cfg", "a number", "ED: None", "Do.")),
        (
            "p: expected a folder, because of x, found none. Do it, now.",
            ("p", "a folder, because of x", "none", "Do it, now."),
        ),
        ("p: something else. Do.", ("p", "", "something else", "Do.")),
    ],
)
def test_a_message_is_taken_apart(message, parts):
    assert as_problem(InputError(message)) == Problem(*parts)
