import dataclasses

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from usjepa.data.dicom import example_loop, read_dicom
from usjepa.data.prepare import prepare
from usjepa.errors import InputError

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 30, 40), dtype=np.uint8)


def ultrasound(frames=FRAMES, form="MONOCHROME2"):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = "US"
    dataset.PatientName = "Doe^Jane"
    dataset.PatientID = "4711"
    dataset.PatientBirthDate = "19600101"
    dataset.PhotometricInterpretation = form
    dataset.SamplesPerPixel = frames.shape[3] if frames.ndim == 4 else 1
    if frames.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    dataset.BitsAllocated = dataset.BitsStored = 8 * frames.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.FrameTime = "20"
    dataset.PixelData = frames.tobytes()
    return dataset


def region(*, box, kind=1, delta_cm=0.05):
    item = Dataset()
    item.RegionDataType, item.RegionSpatialFormat = kind, 1
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = delta_cm
    return item


def written(dataset, tmp_path, name="loop.dcm"):
    dataset.save_as(tmp_path / name, enforce_file_format=True)
    return tmp_path / name


def test_the_real_loop_is_cropped_calibrated_and_timed():
    loop = example_loop()
    # Region (84, 31)-(595, 414) of a 640 x 480 original stored at half its size; 0.051 cm a pixel of the original.
    assert loop.frames.shape == (30, 192, 256)
    assert loop.spacing_mm == pytest.approx((1.021, 1.021), abs=1e-3)
    assert loop.interval_s == pytest.approx(1 / 30, rel=1e-3)
    assert loop.frames.shape[1] * loop.spacing_mm[0] == pytest.approx(196, abs=1), "19.6 cm deep"
    assert (loop.view, loop.split, loop.labels, loop.annotated) == ("4CH", "unlabelled", None, ())


def test_the_real_loop_shows_a_moving_sector():
    frames = example_loop().frames.astype(float)
    rows, columns = frames.shape[1:]
    assert frames[:, rows // 2, columns // 3 : 2 * columns // 3].mean() > 5
    assert frames[:, -10:, :10].mean() < 2, "the corner lies outside the sector"
    assert np.abs(np.diff(frames, axis=0)).mean() > 0.5


def test_nothing_that_identifies_is_kept(tmp_path):
    loop = read_dicom(written(ultrasound(), tmp_path))
    text = repr([value for field, value in vars(loop).items() if field not in ("frames", "labels")])
    assert not any(word in text for word in ("Doe", "Jane", "4711", "1960", str(tmp_path)))
    assert loop.patient == "loop"
    assert read_dicom(tmp_path / "loop.dcm", patient="volunteer 1").patient == "volunteer 1"


def test_an_uncalibrated_loop_is_read_whole(tmp_path):
    loop = read_dicom(written(ultrasound(), tmp_path))
    assert np.array_equal(loop.frames, FRAMES)
    assert loop.spacing_mm is None
    assert loop.interval_s == pytest.approx(0.02)


def test_the_largest_tissue_region_is_cropped(tmp_path):
    dataset = ultrasound()
    boxes = [region(box=(0, 0, 39, 29), kind=3), region(box=(1, 1, 4, 4)), region(box=(10, 5, 29, 24))]
    dataset.SequenceOfUltrasoundRegions = boxes
    loop = read_dicom(written(dataset, tmp_path))
    assert np.array_equal(loop.frames, FRAMES[:, 5:25, 10:30])
    assert loop.spacing_mm == pytest.approx((0.5, 0.5))


def test_a_region_in_pixels_of_a_larger_original_is_scaled(tmp_path):
    dataset = ultrasound()
    dataset.SequenceOfUltrasoundRegions = [region(box=(20, 10, 79, 59))]
    loop = read_dicom(written(dataset, tmp_path))
    assert np.array_equal(loop.frames, FRAMES[:, 5:30, 10:40])
    assert loop.spacing_mm == pytest.approx((1.0, 1.0))


def test_colour_forms_become_grey(tmp_path):
    grey = np.repeat(FRAMES[..., None], 3, axis=3)
    assert np.array_equal(read_dicom(written(ultrasound(grey, "RGB"), tmp_path)).frames, FRAMES)
    luma = np.stack((FRAMES, np.full_like(FRAMES, 128), np.full_like(FRAMES, 128)), axis=3)
    assert np.array_equal(read_dicom(written(ultrasound(luma, "YBR_FULL"), tmp_path)).frames, FRAMES)
    assert np.array_equal(read_dicom(written(ultrasound(form="MONOCHROME1"), tmp_path)).frames, 255 - FRAMES)


def test_a_still_has_one_frame_and_no_interval(tmp_path):
    dataset = ultrasound(FRAMES[:1])
    del dataset.NumberOfFrames
    still = read_dicom(written(dataset, tmp_path))
    assert np.array_equal(still.frames, FRAMES[:1])
    assert still.interval_s is None


@pytest.mark.parametrize(("field", "value"), [("FrameTimeVector", ["0", "40", "40", "40"]), ("CineRate", "25")])
def test_other_statements_of_time_are_understood(tmp_path, field, value):
    dataset = ultrasound()
    del dataset.FrameTime
    setattr(dataset, field, value)
    assert read_dicom(written(dataset, tmp_path)).interval_s == pytest.approx(0.04)


def test_palette_images_are_read():
    path = pydicom.examples.get_path("palette_color")
    image = read_dicom(path)
    assert image.frames.shape[0] == 1
    assert len(np.unique(image.frames)) > 20


def without_pixels(dataset):
    del dataset.PixelData


def as_ct(dataset):
    dataset.Modality = "CT"


def short(dataset):
    dataset.PixelData = dataset.PixelData[:-1000]


def inside_out(dataset):
    dataset.SequenceOfUltrasoundRegions = [region(box=(20, 20, 10, 10))]


@pytest.mark.parametrize(
    ("damage", "words"),
    [(without_pixels, "DICOM image"), (as_ct, "modality US, got 'CT'"), (short, "DICOM image"), (inside_out, "region")],
)
def test_what_is_no_ultrasound_loop_is_refused(tmp_path, damage, words):
    dataset = ultrasound()
    damage(dataset)
    with pytest.raises(InputError, match=rf"loop\.dcm: .*{words}"):
        read_dicom(written(dataset, tmp_path))


def test_sixteen_bits_text_and_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="8 bits"):
        read_dicom(written(ultrasound(FRAMES.astype(np.uint16)), tmp_path))
    (tmp_path / "note.dcm").write_text("no dicom")
    with pytest.raises(InputError, match=r"note\.dcm: expected a DICOM image"):
        read_dicom(tmp_path / "note.dcm")
    with pytest.raises(InputError, match="found none"):
        read_dicom(tmp_path / "absent.dcm")


def test_the_real_loop_goes_through_the_store(tmp_path):
    loop = example_loop()
    store = prepare([loop, dataclasses.replace(loop, patient="again")], tmp_path / "store", 64)
    assert store.frames.shape == (60, 64, 64)
    assert store.select("unlabelled")[0].spacing_mm == pytest.approx((1.021 * 4,) * 2, rel=1e-3)
