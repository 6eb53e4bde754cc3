import gzip
import shutil

import numpy as np
import pytest
import SimpleITK

from usjepa.data.camus import read_camus
from usjepa.data.layout import SYNTHETIC_LICENCE, Info, find_tree, read_info
from usjepa.data.lists import read_splits
from usjepa.data.phantom import PhantomRecipe, write_phantom
from usjepa.data.phantom.beat import examine, render
from usjepa.data.prepare import prepare
from usjepa.errors import InputError

RECIPE = PhantomRecipe(patients=4, seed=5, rows=40)
LISTS = ("subgroup_training.txt", "subgroup_validation.txt", "subgroup_testing.txt")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return write_phantom(RECIPE, tmp_path_factory.mktemp("camus") / "tree", processes=1)


@pytest.fixture
def tree(finished, tmp_path):
    """A copy to damage."""
    return shutil.copytree(finished, tmp_path / "CAMUS_public")


def view(tree, ending, patient="patient0001", name="4CH"):
    return tree / "database_nifti" / patient / f"{patient}_{name}_{ending}"


def cfg(tree):
    return tree / "database_nifti" / "patient0001" / "Info_4CH.cfg"


def first(tree, name="patient0001_4CH"):
    return next(sequence for sequence in read_camus(tree) if sequence.name == name)


def store(path, array, spacing):
    image = SimpleITK.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing((spacing, spacing, 1.0)[: array.ndim])
    SimpleITK.WriteImage(image, str(path))


def test_what_was_rendered_comes_back_pixel_for_pixel_and_label_for_label(finished):
    sequences = list(read_camus(finished))
    assert [sequence.name for sequence in sequences] == [
        f"patient000{n}_{v}" for n in (1, 2, 3, 4) for v in ("2CH", "4CH")
    ]
    for sequence in sequences:
        examination = examine(RECIPE, int(sequence.patient[-4:]), sequence.view)
        frames, labels = render(RECIPE, examination, range(examination.systole_frames + 1))
        assert np.array_equal(sequence.frames, frames)
        assert np.array_equal(sequence.labels, labels)
        assert sequence.annotated == (0, examination.systole_frames)
        assert sequence.spacing_mm == pytest.approx((examination.spacing_mm,) * 2, rel=1e-6)
        assert sequence.interval_s == pytest.approx(examination.interval_s)
        assert sequence.quality == examination.quality.name
        assert sequence.licence == SYNTHETIC_LICENCE


def test_the_tree_is_found_from_its_parent_and_from_inside(tree):
    names = [loop.patient for loop in read_camus(tree).loops]
    for root in (tree.parent, tree / "database_nifti"):
        assert [loop.patient for loop in read_camus(root).loops] == names


def test_without_the_phantoms_marker_the_licence_is_that_of_camus(tree):
    (tree / "phantom.json").unlink()
    with pytest.warns(UserWarning, match="official 400 train, 50 validation, 50 test, got 2 train") as caught:
        assert "CC BY-NC-SA" in read_camus(tree)[0].licence
    assert len(caught) == 1


def test_splits_are_those_of_the_lists(finished):
    splits = read_splits(find_tree(finished))
    assert {sequence.patient: sequence.split for sequence in read_camus(finished)} == splits
    assert set(splits.values()) == {"train", "validation", "test"}


def test_a_missing_folder_says_what_to_do(tmp_path):
    for root in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError, match=r"usjepa data phantom"):
            read_camus(root)


def test_a_patient_in_two_lists_is_an_error_naming_both(tree):
    name = (tree / "database_split" / LISTS[0]).read_text().split()[0]
    with open(tree / "database_split" / LISTS[2], "a") as file:
        file.write(f"  {name}\r\n")
    with pytest.raises(InputError, match=rf"{name}: expected in one list.*{LISTS[2]} and {LISTS[0]}"):
        read_camus(tree)


def test_wrong_and_missing_lists_are_errors(tree):
    path = tree / "database_split" / LISTS[1]
    path.write_text("patient1\n")
    with pytest.raises(InputError, match="'patient1'"):
        read_camus(tree)
    path.unlink()
    with pytest.raises(InputError, match=LISTS[1]):
        read_camus(tree)


def test_lists_may_have_a_byte_order_mark_and_windows_line_ends(tree):
    path = tree / "database_split" / LISTS[0]
    before = read_splits(find_tree(tree))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b" \r\n\r\n"))
    assert read_splits(find_tree(tree)) == before


def test_unlisted_patients_are_left_out_with_a_warning_and_clutter_is_ignored(tree):
    home = tree / "database_nifti"
    shutil.copytree(home / "patient0001", home / "patient0099")
    (home / ".DS_Store").write_bytes(b"x")
    (home / "._patient0001").write_bytes(b"x")
    (home / "__MACOSX").mkdir()
    with pytest.warns(UserWarning, match="1 patients in no list are left out, first patient0099"):
        assert len(read_camus(tree)) == 8


def test_a_sequence_stored_from_systole_to_diastole_is_turned_round(tree):
    before = first(tree)
    length = len(before.frames)
    for ending, pixels in (("half_sequence", before.frames), ("half_sequence_gt", before.labels)):
        store(view(tree, f"{ending}.nii.gz"), pixels[::-1], before.spacing_mm[0])
    text = cfg(tree).read_text().replace("ED: 1\n", f"ED: {length}\n").replace(f"ES: {length}\n", "ES: 1\n")
    cfg(tree).write_text(text)
    after = first(tree)
    assert after.is_reversed
    assert not before.is_reversed
    assert after.annotated == before.annotated
    assert np.array_equal(after.frames, before.frames)
    assert np.array_equal(after.labels, before.labels)


@pytest.mark.parametrize(
    "text",
    [
        "ED: 1\nES: 18\nNbFrame: 18\nSex: F\nAge: 56\nImageQuality: Good\nEF: 54\nFrameRate: 48.4\n",
        "\ufeffED:1\r\n\r\nes : 18\r\nNBFRAME:18  \r\nImageQuality:Good\r\nFrameRate: 48.4\r\nLVef:54\r\nx\r\n",
    ],
)
def test_a_cfg_is_read_whatever_its_spacing_case_and_line_ends(tmp_path, text):
    path = tmp_path / "Info_4CH.cfg"
    path.write_bytes(text.encode())
    assert read_info(path) == Info(ed=1, es=18, frames=18, quality="Good", frame_rate=48.4, ef=54.0)


def test_optional_facts_may_be_missing_or_unreadable(tmp_path):
    path = tmp_path / "Info_4CH.cfg"
    path.write_text("ED: 1\nES: 18\nNbFrame: 18\nFrameRate: unknown\n")
    assert read_info(path) == Info(ed=1, es=18, frames=18, quality=None, frame_rate=None, ef=None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ES: 3\nNbFrame: 3\n", "ED: expected a whole number, got None"),
        ("ED: one\nES: 3\nNbFrame: 3\n", "got 'one'"),
        ("ED: 0\nES: 3\nNbFrame: 3\n", "got 0 and 3"),
        ("ED: 1\nES: 4\nNbFrame: 3\n", "got 1 and 4"),
        ("ED: 2\nES: 2\nNbFrame: 3\n", "got 2 and 2"),
    ],
)
def test_a_cfg_that_cannot_be_is_refused_with_its_name_and_values(tmp_path, text, words):
    path = tmp_path / "Info_4CH.cfg"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"Info_4CH\.cfg: .*{words}"):
        read_info(path)


def test_all_missing_files_are_in_one_message(tree):
    view(tree, "half_sequence.nii.gz").unlink()
    view(tree, "half_sequence_gt.nii.gz", "patient0002", "2CH").unlink()
    (tree / "database_nifti" / "patient0003" / "Info_2CH.cfg").unlink()
    with pytest.raises(InputError) as caught:
        read_camus(tree)
    for words in (
        "3 of 8 views",
        "patient0001_4CH_half_sequence.nii.gz",
        "patient0002_2CH_half_sequence_gt",
        "Info_2CH.cfg",
    ):
        assert words in str(caught.value)


def test_not_strict_leaves_views_out_with_a_warning_and_a_count(tree):
    view(tree, "half_sequence.nii.gz").unlink()
    with pytest.warns(UserWarning, match="1 views are left out"):
        sequences = read_camus(tree, strict=False)
    assert len(sequences) == 7
    path = view(tree, "half_sequence.nii.gz", "patient0002")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.warns(UserWarning, match=r"left out: patient0002_4CH_half_sequence\.nii\.gz: truncated"):
        assert len(list(sequences)) == 6


def test_strict_stops_at_the_first_damaged_image(tree):
    path = view(tree, "half_sequence.nii.gz", "patient0002")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"patient0002_4CH_half_sequence\.nii\.gz: truncated"):
        list(read_camus(tree))


def test_paths_with_links_spaces_and_signs_are_read(finished, tmp_path):
    strange = shutil.copytree(finished, tmp_path / "échographie 心 1")
    image = view(strange, "half_sequence.nii.gz")
    image.rename(tmp_path / "elsewhere.nii.gz")
    image.symlink_to(tmp_path / "elsewhere.nii.gz")
    link = tmp_path / "link"
    link.symlink_to(strange, target_is_directory=True)
    assert read_camus(link).keys() == read_camus(finished).keys()
    assert np.array_equal(first(link).frames, first(finished).frames)


def test_a_tree_in_a_folder_of_its_own_name_is_found(tree):
    inner = tree.parent / "outer" / "CAMUS_public" / "CAMUS_public"
    shutil.copytree(tree, inner)
    for root in (inner, inner.parent, inner.parent.parent):
        assert len(read_camus(root)) == 8


def test_a_listed_patient_without_a_folder_is_an_error(tree):
    shutil.rmtree(tree / "database_nifti" / "patient0002")
    with pytest.raises(InputError, match=r"2 of 8 views.*\n  patient0002: expected a folder, because a list names it"):
        read_camus(tree)


def test_a_file_of_another_patient_does_not_stand_in(tree):
    view(tree, "half_sequence.nii.gz").rename(tree / "database_nifti" / "patient0001" / "patient0002_4CH_ED.nii.gz")
    with pytest.raises(InputError, match=r"patient0001/patient0001_4CH_half_sequence\.nii\.gz: expected an image"):
        read_camus(tree)


def test_bytes_that_are_no_text_are_refused_where_they_matter(tree):
    cfg(tree).write_bytes(cfg(tree).read_bytes() + b"Note: caf\xe9\n")
    assert len(read_camus(tree)) == 8
    cfg(tree).write_bytes(cfg(tree).read_bytes().replace(b"ED: 1", b"ED: \xe9"))
    with pytest.raises(InputError, match=r"Info_4CH\.cfg: ED: expected a whole number"):
        read_camus(tree)
    (tree / "database_split" / LISTS[0]).write_bytes(b"patient000\xe9\n")
    with pytest.raises(InputError, match=rf"{LISTS[0]}: expected names as patient0001"):
        read_camus(tree)


def test_content_counts_and_not_the_ending(tree):
    before = first(tree)
    for ending in ("half_sequence.nii.gz", "half_sequence_gt.nii.gz"):
        path = view(tree, ending)
        path.write_bytes(gzip.decompress(path.read_bytes()))
    after = first(tree)
    assert np.array_equal(after.frames, before.frames)
    assert np.array_equal(after.labels, before.labels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.labels[:, :, :-1], "expected the image's"),
        (lambda s: s.labels.transpose(0, 2, 1), "transposed"),
        (lambda s: s.labels + np.float32(1), "0 to 3"),
        (lambda s: s.labels * 0.75, "integers"),
    ],
)
def test_labels_that_do_not_fit_the_image_are_refused(tree, change, words):
    sequence = first(tree)
    store(view(tree, "half_sequence_gt.nii.gz"), change(sequence), sequence.spacing_mm[0])
    with pytest.raises(InputError, match=rf"patient0001_4CH_half_sequence_gt\.nii\.gz: .*{words}"):
        first(tree)


def test_another_spacing_or_length_is_refused(tree):
    sequence = first(tree)
    store(view(tree, "half_sequence_gt.nii.gz"), sequence.labels, 2 * sequence.spacing_mm[0] / 3)
    with pytest.raises(InputError, match="mm, got"):
        first(tree)
    for ending, pixels in (("half_sequence", sequence.frames), ("half_sequence_gt", sequence.labels)):
        store(view(tree, f"{ending}.nii.gz"), pixels[:-1], sequence.spacing_mm[0])
    length = len(sequence.frames)
    with pytest.raises(InputError, match=rf"NbFrame {length} .*got {length - 1} frames"):
        first(tree)


def test_uncompressed_files_are_read_too(tree):
    before = first(tree)
    for ending, pixels in (("half_sequence", before.frames), ("half_sequence_gt", before.labels)):
        view(tree, f"{ending}.nii.gz").unlink()
        store(view(tree, f"{ending}.nii"), pixels, before.spacing_mm[0])
    assert np.array_equal(first(tree).frames, before.frames)


def test_a_store_is_prepared_from_a_tree_and_found_again_by_its_keys(tree, tmp_path):
    sequences = read_camus(tree)
    made = prepare(sequences, tmp_path / "store", 40)
    assert {entry.split for entry in made.entries} == {"train", "validation", "test"}
    stamp = (made.folder / "index.json").stat().st_mtime_ns
    assert prepare(read_camus(tree), tmp_path / "store", 40).fingerprint == made.fingerprint
    assert (made.folder / "index.json").stat().st_mtime_ns == stamp
    cfg(tree).write_text(cfg(tree).read_text() + "Note: corrected\n")
    assert prepare(read_camus(tree), tmp_path / "other", 40).fingerprint != made.fingerprint
