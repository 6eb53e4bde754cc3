import numpy as np
import pytest
import SimpleITK

from usjepa.data.mha import read_mha
from usjepa.errors import InputError

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 12, 17)).astype(np.float32)


def write(path, array=FRAMES, *, is_compressed=False, is_vector=False):
    image = SimpleITK.GetImageFromArray(array, isVector=is_vector)
    image.SetSpacing((0.3, 0.25, 1.0)[: image.GetDimension()])
    SimpleITK.WriteImage(image, str(path), useCompression=is_compressed)
    return path


def edited(path, old, new):
    stored = path.read_bytes()
    assert old in stored
    path.write_bytes(stored.replace(old, new, 1))
    return path


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_pixels_and_spacing_come_back_exactly(tmp_path, kind, is_compressed):
    image = read_mha(write(tmp_path / "a b.mha", FRAMES.astype(kind), is_compressed=is_compressed))
    assert np.array_equal(image.array, FRAMES)
    assert image.spacing_mm == pytest.approx((0.25, 0.3))


def test_one_frame_and_a_header_without_spacing(tmp_path):
    assert read_mha(write(tmp_path / "a.mha", FRAMES[0])).array.shape == (1, 12, 17)
    path = edited(write(tmp_path / "b.mha"), b"ElementSpacing", b"ElementNothing")
    assert read_mha(path).spacing_mm is None


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_truncated_file_is_refused(tmp_path, share, is_compressed):
    path = write(tmp_path / "a.mha", is_compressed=is_compressed)
    stored = path.read_bytes()
    start = stored.index(b"LOCAL\n") + 6
    path.write_bytes(stored[: start + int(share * (len(stored) - start))])
    with pytest.raises(InputError, match=r"a\.mha: truncated or damaged \(expected 4080 bytes"):
        read_mha(path)


def test_a_flipped_bit_in_a_compressed_file_is_found(tmp_path):
    path = write(tmp_path / "a.mha", is_compressed=True)
    stored = bytearray(path.read_bytes())
    stored[-200] ^= 4
    path.write_bytes(bytes(stored))
    with pytest.raises(InputError, match=r"a\.mha: .*(undamaged|truncated or damaged)"):
        read_mha(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"LOCAL", b"/etc/hostname", r"in the same file \(LOCAL\), got '/etc/hostname'"),
        (b"DimSize = 17 12 5", b"DimSize = 17 12 99999", "2000 frames"),
        (b"DimSize = 17 12 5", b"DimSize = 17 12 6", "truncated"),
        (b"DimSize = 17 12 5", b"DimSize = 17 12 -5", "2 or 3 axes"),
        (b"NDims = 3", b"NDims = 2", "2 or 3 axes"),
        (b"MET_FLOAT", b"MET_LONG_LONG", "ElementType: expected one of"),
        (b"ElementSpacing = 0.29999999999999999", b"ElementSpacing = nan", "spacing of 0.01 to 5.0 mm"),
        (b"ElementSpacing = 0.29999999999999999", b"ElementSpacing = 0.3.1", "spacing of 0.01 to 5.0 mm"),
        (b"ElementSpacing = 0.29999999999999999", b"ElementSpacing = 0", "spacing of 0.01 to 5.0 mm"),
        (b"ElementSpacing = 0.29999999999999999", b"ElementSpacing = 3e4", "spacing of 0.01 to 5.0 mm"),
        (b"NDims = 3", b"HeaderSize = 40\nNDims = 3", "HeaderSize: expected 0"),
        (b"NDims = 3", b"NDims = 3\nNDims = 3", "each key of the header once"),
        (b"MSB = False", b"MSB = Flase", "BinaryDataByteOrderMSB: expected True or False"),
        (b"CompressedData = False", b"CompressedData = Flase", "CompressedData: expected True or False"),
        (b"ElementDataFile", b"ElementDatafile", "no ElementDataFile"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, old, new, words):
    with pytest.raises(InputError, match=rf"a\.mha: .*{words}"):
        read_mha(edited(write(tmp_path / "a.mha"), old, new))


def test_both_byte_orders_are_read(tmp_path):
    path = edited(write(tmp_path / "a.mha", FRAMES.astype(np.int16)), b"MSB = False", b"MSB = True")
    stored = path.read_bytes()
    path.write_bytes(stored[: -FRAMES.size * 2] + FRAMES.astype(">i2").tobytes())
    assert np.array_equal(read_mha(path).array, FRAMES)


def test_a_stream_that_simpleitk_gives_up_without_an_error_is_read_whole(tmp_path):
    path = write(tmp_path / "a.mha", is_compressed=True)
    size = path.read_bytes().split(b"CompressedDataSize = ")[1].split(b"\n")[0]
    edited(path, b"CompressedDataSize = " + size, b"CompressedDataSize = 9")
    assert np.array_equal(read_mha(path).array, FRAMES)
    assert not np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), FRAMES)


def test_colour_infinite_pixels_and_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"ElementNumberOfChannels: expected 1, got '3'"):
        read_mha(write(tmp_path / "a.mha", np.zeros((5, 12, 17, 3), np.uint8), is_vector=True))
    with pytest.raises(InputError, match="finite"):
        read_mha(write(tmp_path / "b.mha", np.where(FRAMES > 250, np.inf, FRAMES).astype(np.float32)))
    with pytest.raises(InputError, match="found none"):
        read_mha(tmp_path / "c.mha")
