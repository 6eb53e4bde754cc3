import os
import zlib

import numpy as np
import pytest
import SimpleITK
from camus_trees import LISTS, SPACING_MM, pixels, store, write_mhd_tree, write_nifti_tree

from usjepa.data.camus import read_camus
from usjepa.data.layout import find_tree
from usjepa.data.lists import read_splits
from usjepa.data.mhd import data_file, read_mhd
from usjepa.errors import InputError

FRAMES = pixels(1, "2CH")[0]


@pytest.fixture
def tree(tmp_path):
    return write_mhd_tree(tmp_path / "camus old é 心")


def write(folder, kind=np.uint8, name="a.mhd"):
    return store(folder / name, FRAMES, kind=kind)


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("name", ["a.mhd", "a_gt.mhd"])
def test_pixels_and_spacing_come_back_exactly_and_as_simpleitk_reads_them(tmp_path, kind, name):
    path = write(tmp_path, kind, name)
    image = read_mhd(path)
    assert data_file(path).suffix == (".zraw" if name == "a_gt.mhd" else ".raw")
    assert np.array_equal(image.array, FRAMES)
    assert np.array_equal(image.array, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))))
    assert image.spacing_mm == pytest.approx(SPACING_MM)


def test_a_still_of_two_or_three_axes_is_one_frame(tmp_path):
    for array in (FRAMES[0], FRAMES[:1]):
        assert np.array_equal(read_mhd(store(tmp_path / "a.mhd", array, kind=np.uint8)).array, FRAMES[:1])


def test_both_byte_orders_are_read_and_must_be_given(tmp_path):
    path = write(tmp_path, np.int16)
    (tmp_path / "a.raw").write_bytes(FRAMES.astype(">i2").tobytes())
    edited(path, "ByteOrderMSB = False", "ByteOrderMSB = True")
    assert np.array_equal(read_mhd(path).array, FRAMES)
    edited(path, "BinaryDataByteOrderMSB = True\n", "")
    with pytest.raises(InputError, match=r"a\.mhd: BinaryDataByteOrderMSB or .*expected True or False, got None"):
        read_mhd(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("a.raw", "LOCAL", r"expected a\.raw or a\.zraw beside it, got 'LOCAL'"),
        ("a.raw", "../a.raw", r"got '\.\./a\.raw'"),
        ("a.raw", "/etc/passwd", "got '/etc/passwd'"),
        ("a.raw", "b.raw", r"got 'b\.raw'"),
        ("a.raw", "a.zraw", r"a\.zraw: expected the pixels of a\.mhd, found no file"),
        ("18 12 7", "18 12 8", r"a\.raw: truncated \(expected 1728 bytes, got 1512\)"),
        ("18 12 7", "18 12 6", r"a\.raw: expected 1296 bytes as a\.mhd says, got more"),
        ("18 12 7", "18 12", "DimSize of 2 and ElementSpacing of 3"),
        ("18 12 7", "18 12 9999999", "DimSize: expected numbers"),
        ("18 12 7", "18 5000 7", "sizes"),
        ("18 12 7", "4096 4096 2000", "at most 1073741824 bytes"),
        ("18 12 7", "0 12 7", "sizes"),
        ("0.5 0.25 1", "nan 0.25 1", "spacing of"),
        ("0.5 0.25 1", "0 0.25 1", "spacing of"),
        ("0.5 0.25 1", "-0.5 0.25 1", "spacing of"),
        ("0.5 0.25 1", "e 0.25 1", "ElementSpacing: expected numbers"),
        ("ElementSpacing = 0.5 0.25 1\n", "", "ElementSpacing: expected numbers, got None"),
        ("MET_UCHAR", "MET_LONG", "ElementType: expected one of MET_UCHAR.*got 'MET_LONG'"),
        ("NDims = 3", "NDims = 9", "NDims"),
        ("BinaryData = True", "BinaryData = False", "BinaryData: expected True"),
        ("NDims = 3", "NDims = 3\nElementNumberOfChannels = 3", "ElementNumberOfChannels: expected 1"),
        ("NDims = 3", "NDims = 3\nHeaderSize = -1", "HeaderSize: expected 0"),
        ("NDims = 3", "NDims = 3\nNDims = 3", "'NDims' twice"),
        ("NDims = 3", "NDims 3", "Key = Value"),
        ("CompressedData = False", "CompressedData = Galse", "CompressedData: expected True or False, got Galse"),
        ("CompressedData = False", "CompressedData = True", r"a\.raw: expected an undamaged zlib stream"),
    ],
)
def test_headers_that_lie_or_reach_elsewhere_are_refused_by_name(tmp_path, old, new, words):
    with pytest.raises(InputError, match=rf"^a\.z?(mhd|raw): .*{words}|^{words}"):
        read_mhd(edited(write(tmp_path), old, new))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda stored: stored[:-9], "truncated|no end"),
        (lambda stored: stored[:-2], "to end after 1512 bytes, got no end"),
        (lambda stored: stored + b"more", "4 bytes more"),
        (lambda stored: stored[:50] + bytes([stored[50] ^ 1]) + stored[51:], "zlib stream|truncated"),
        (lambda stored: b"", "0 bytes"),
        (lambda stored: b"<html>log in</html>", "web page"),
        (lambda stored: zlib.compress(bytes(10**6)), "got more"),
    ],
)
def test_a_damaged_zraw_is_refused(tmp_path, change, words):
    path = write(tmp_path, name="a_gt.mhd")
    stored = tmp_path / "a_gt.zraw"
    stored.write_bytes(change(stored.read_bytes()))
    with pytest.raises(InputError, match=rf"a_gt\.zraw: .*({words})"):
        read_mhd(path)


def test_pixels_that_are_not_finite_are_refused(tmp_path):
    array = FRAMES.astype(np.float32)
    array[0, 0, :2] = np.nan, np.inf
    with pytest.raises(InputError, match=r"a\.raw: .*got 2 NaN"):
        read_mhd(store(tmp_path / "a.mhd", array))


def test_the_older_release_reads_as_the_newer_does(tree, tmp_path):
    old, new = read_camus(tree), read_camus(write_nifti_tree(tmp_path / "new"))
    assert [loop.patient for loop in old.loops] == [name for name in sorted(LISTS.values()) for _ in range(2)]
    for a, b in zip(old, new, strict=True):
        frames, labels = pixels(int(a.patient[-4:]), a.view)
        assert np.array_equal(a.frames, frames)
        assert np.array_equal(a.labels, labels)
        assert np.array_equal(a.frames, b.frames)
        assert (a.split, a.annotated, a.is_reversed, a.quality) == (b.split, b.annotated, b.is_reversed, b.quality)
        assert a.spacing_mm == pytest.approx(b.spacing_mm)
    assert [sequence.is_reversed for sequence in old] == [False, False, True, False, False, False]


def test_the_key_of_a_sequence_depends_on_its_data_file(tree):
    before = read_camus(tree).keys()
    path = tree / "training" / "patient0001" / "patient0001_2CH_sequence.raw"
    stored = bytearray(path.read_bytes())
    stored[0] ^= 1
    path.write_bytes(stored)
    after = read_camus(tree).keys()
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, True, True, True, True]


def test_a_fold_chooses_its_lists_and_a_missing_fold_says_so(tree):
    for part, name in zip(LISTS, reversed(LISTS.values()), strict=True):
        (tree / "listSubGroups" / f"subGroup2_{part}.txt").write_text(f"{name}\n")
    assert read_splits(find_tree(tree), 2) == {
        "patient0003": "train",
        "patient0002": "validation",
        "patient0001": "test",
    }
    assert read_camus(tree, fold=2)[0].split == "test"
    with pytest.raises(InputError, match=r"subGroup3_training\.txt: expected a list"):
        read_camus(tree, fold=3)
    with pytest.raises(InputError, match="fold: expected 1 to 10, got 11"):
        read_camus(tree, fold=11)


def test_without_lists_the_folders_are_the_splits_and_patients_without_labels_are_left_out(tree):
    for path in (tree / "listSubGroups").iterdir():
        path.unlink()
    (tree / "listSubGroups").rmdir()
    (tree / "testing").mkdir()
    for name in ("patient0002", "patient0003"):
        os.rename(tree / "training" / name, tree / "testing" / name)
    for path in (tree / "testing" / "patient0003").glob("*_gt*"):
        path.unlink()
    with pytest.warns(UserWarning, match="left out|splits") as caught:
        sequences = read_camus(tree)
    assert {loop.patient: loop.split for loop in sequences.loops} == {"patient0001": "train", "patient0002": "test"}
    said = [str(warning.message) for warning in caught]
    assert len(said) == 2
    assert "training/ and testing/ are the splits" in said[0]
    assert "1 patients in no list are left out, first patient0003" in said[1]


def test_a_patient_in_training_and_testing_is_an_error(tree):
    (tree / "testing" / "patient0001").mkdir(parents=True)
    with pytest.raises(InputError, match="patient0001: expected one folder, found it in training and testing"):
        read_camus(tree)


def test_headers_swapped_between_patients_are_refused(tree):
    home = tree / "training"
    one, two = (home / name / f"{name}_4CH_sequence.mhd" for name in ("patient0001", "patient0003"))
    texts = one.read_text(), two.read_text()
    one.write_text(texts[1])
    two.write_text(texts[0])
    with pytest.raises(InputError, match=r"patient0001_4CH_sequence\.mhd: ElementDataFile: .*patient0003"):
        list(read_camus(tree))
