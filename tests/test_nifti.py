import gzip
import struct

import numpy as np
import pytest
import SimpleITK

from usjepa.data.nifti import read_nifti
from usjepa.data.pixels import to_frames, to_labels
from usjepa.errors import InputError

SPACING = 0.308
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 12, 17)).astype(np.float32)


def write(path, array=FRAMES, spacing=(SPACING, 0.25)):
    image = SimpleITK.GetImageFromArray(array, isVector=False)
    image.SetSpacing((*spacing[::-1], 1.0, 1.0)[: array.ndim])
    SimpleITK.WriteImage(image, str(path))
    return path


def patched(path, offset, form, *values, into=None):
    """The file with header bytes overwritten, uncompressed contents otherwise unchanged."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(form, raw, offset, *values)
    (into or path).write_bytes(gzip.compress(bytes(raw)))
    return into or path


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "name with spaces é 心.nii.gz"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_pixels_and_spacing_come_back_exactly(tmp_path, name, kind):
    image = read_nifti(write(tmp_path / name, FRAMES.astype(kind)))
    assert np.array_equal(image.array, FRAMES)
    assert image.spacing_mm == pytest.approx((SPACING, 0.25), abs=1e-6)


def test_a_single_frame_and_singleton_axes_give_three_axes(tmp_path):
    assert read_nifti(write(tmp_path / "a.nii.gz", FRAMES[0])).array.shape == (1, 12, 17)
    assert read_nifti(write(tmp_path / "b.nii.gz", FRAMES[:1])).array.shape == (1, 12, 17)
    image = read_nifti(write(tmp_path / "c.nii.gz", FRAMES[:, None]))
    assert np.array_equal(image.array, FRAMES)


def test_four_real_axes_are_refused(tmp_path):
    with pytest.raises(InputError, match="one axis of time"):
        read_nifti(write(tmp_path / "a.nii.gz", np.stack((FRAMES, FRAMES))))


def test_slope_and_intercept_are_honoured(tmp_path):
    path = patched(write(tmp_path / "a.nii.gz", FRAMES.astype(np.int16)), 112, "<2f", 2.0, 1.0)
    assert np.array_equal(read_nifti(path).array, 2 * FRAMES + 1)


def test_big_endian_files_are_read(tmp_path):
    little = gzip.decompress(write(tmp_path / "a.nii.gz", FRAMES.astype(np.int16)).read_bytes())
    raw = bytearray(352)
    layout = [("i", 0), ("8h", 40), ("2h", 70), ("8f", 76), ("3f", 108), ("2h", 252), ("18f", 256)]
    for form, offset in layout:
        struct.pack_into(f">{form}", raw, offset, *struct.unpack_from(f"<{form}", little, offset))
    raw[123], raw[344:348] = little[123], b"n+1\0"
    (tmp_path / "b.nii").write_bytes(bytes(raw) + FRAMES.astype(">i2").tobytes())
    image = read_nifti(tmp_path / "b.nii")
    assert np.array_equal(image.array, FRAMES)
    assert image.spacing_mm == pytest.approx((SPACING, 0.25), abs=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.98, 0.999])
def test_a_truncated_file_is_refused_where_simpleitk_gives_zeros(tmp_path, share):
    path = write(tmp_path / "a.nii.gz")
    stored = path.read_bytes()
    path.write_bytes(stored[: int(share * len(stored))])
    with pytest.raises(InputError, match=r"a\.nii\.gz: truncated"):
        read_nifti(path)


def test_uncompressed_truncation_names_both_lengths(tmp_path):
    path = write(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:-40])
    length = 352 + FRAMES.nbytes
    with pytest.raises(InputError, match=rf"truncated \(expected {length} bytes, got {length - 40}\)"):
        read_nifti(path)


def test_a_wrong_checksum_and_a_flipped_byte_are_refused(tmp_path):
    path = write(tmp_path / "a.nii.gz")
    stored = bytearray(path.read_bytes())
    for position in (len(stored) - 6, len(stored) // 2):
        damaged = bytearray(stored)
        damaged[position] ^= 0x10
        path.write_bytes(bytes(damaged))
        with pytest.raises(InputError, match=r"a\.nii\.gz: "):
            read_nifti(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "got 0 bytes"),
        (b"<!DOCTYPE html><html>log in</html>", "web page"),
        (b"\x1f\x8b", "truncated"),
        (b"not a nifti file", "truncated"),
        (bytes(400), "NIfTI-1 header"),
        (b"PK\x03\x04" + bytes(500), "NIfTI-1 header"),
    ],
)
def test_what_is_no_nifti_is_told_apart(tmp_path, content, words):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_nifti(path)


def test_a_missing_file_and_gzip_under_a_plain_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="found none"):
        read_nifti(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii").write_bytes(write(tmp_path / "a.nii.gz").read_bytes())
    with pytest.raises(InputError, match=r"Rename it to b\.nii\.gz"):
        read_nifti(tmp_path / "b.nii")


@pytest.mark.parametrize("spacing", [float("nan"), 0.0, -0.3, float("inf"), 300.0])
def test_an_impossible_spacing_is_refused_where_simpleitk_gives_one(tmp_path, spacing):
    with pytest.raises(InputError, match="spacing of"):
        read_nifti(patched(write(tmp_path / "a.nii.gz"), 80, "<f", spacing))


def test_a_spacing_that_the_affine_contradicts_is_refused(tmp_path):
    path = patched(write(tmp_path / "a.nii.gz"), 254, "<h", 1)
    path = patched(path, 280, "<12f", -0.9, 0, 0, 0, 0, -0.308, 0, 0, 0, 0, 1, 0)
    with pytest.raises(InputError, match="affine"):
        read_nifti(path)


@pytest.mark.parametrize(
    ("offset", "form", "values", "words"),
    [
        (42, "<h", [30000], "sizes"),
        (46, "<h", [30000], "sizes"),
        (46, "<h", [2000], "truncated"),
        (46, "<h", [4], "got more"),
        (42, "<h", [-3], "sizes"),
        (40, "<h", [9], "sizes"),
        (70, "<h", [128], "type 128"),
        (108, "<f", [1e9], "byte 352"),
        (123, "<B", [1], "code 1"),
        (344, "<4s", [b"ni1\0"], "single-file"),
    ],
)
def test_headers_that_lie_are_refused_before_anything_is_allocated(tmp_path, offset, form, values, words):
    with pytest.raises(InputError, match=words):
        read_nifti(patched(write(tmp_path / "a.nii.gz"), offset, form, *values))


def test_pixels_that_are_not_finite_are_refused_where_simpleitk_gives_zeros(tmp_path):
    array = FRAMES.copy()
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    with pytest.raises(InputError, match="got 3 NaN"):
        read_nifti(write(tmp_path / "a.nii.gz", array))


def test_grey_levels_are_exact_or_refused():
    assert np.array_equal(to_frames("a", FRAMES), FRAMES.astype(np.uint8))
    for wrong, words in (
        (FRAMES - 1, "-1 to"),
        (FRAMES + 1, "256"),
        (FRAMES * 0, "not all equal"),
        (FRAMES * 0.7, "integers"),
    ):
        with pytest.raises(InputError, match=words):
            to_frames("a", wrong)


def test_labels_are_rounded_within_the_tolerance_only():
    labels = (FRAMES % 4).astype(np.float32)
    assert np.array_equal(to_labels("a", labels + 5e-4), labels.astype(np.uint8))
    for wrong, words in (
        (labels + 1, "0 to 3"),
        (labels / 2, "integers"),
        (labels * 0, "not all 0"),
        (-labels, "0 to 3"),
    ):
        with pytest.raises(InputError, match=words):
            to_labels("a", wrong)
