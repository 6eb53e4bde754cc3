"""One DICOM ultrasound loop: cropped to the scanned region, calibrated, grey, and nothing kept of who was imaged.

Regions and calibration: DICOM PS3.3 C.8.5.5 (US Region Calibration).
"""

import dataclasses
import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from jaxtyping import UInt8
from pydicom import Dataset, examples
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError

TISSUE, TWO_DIMENSIONAL, CENTIMETRES = 1, 1, 3
"""DICOM's codes of a region that shows tissue, as a 2D image, with a calibration in cm."""
CORNERS = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601: what the first channel of YBR holds."""


class Region(NamedTuple):
    """Rows and columns of the scanned area, and its (row, column) spacing or None."""

    rows: slice
    columns: slice
    spacing_mm: tuple[float, float] | None


def read_dicom(path: Path, *, patient: str | None = None, view: str = "unknown") -> UltrasoundSequence:
    """Read one loop or still, without labels. The patient is called after the file unless a name is given.

    Of the header only geometry and timing are kept; text outside the region is cropped away, text inside it isn't
    found. Raises InputError, the file first, for what is no ultrasound image of 8 bits.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a DICOM file, found none. Check the path.")
    stored = path.read_bytes()
    try:
        dataset = pydicom.dcmread(path)
        frames = _grey(path.name, dataset)
    except InputError:
        raise
    except (InvalidDicomError, AttributeError, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(
            f"{path.name}: expected a DICOM image, got: {error}. Export it again, uncompressed."
        ) from error
    region = _region(path.name, dataset, (frames.shape[1], frames.shape[2]))
    return UltrasoundSequence(
        frames=np.ascontiguousarray(frames[:, region.rows, region.columns]),
        patient=patient or path.stem,
        view=view,
        split="unlabelled",
        source=path.name,
        source_sha256=hashlib.sha256(stored).hexdigest(),
        licence="unknown",
        spacing_mm=region.spacing_mm,
        interval_s=_interval_s(dataset, len(frames)),
    )


def example_loop() -> UltrasoundSequence:
    """A real apical four-chamber loop of 30 frames, about one beat, that comes with pydicom (MIT licence)."""
    loop = read_dicom(Path(str(examples.get_path("ybr_color"))), patient="pydicom example", view="4CH")
    return dataclasses.replace(loop, licence="MIT (pydicom)")


def _grey(name: str, dataset: Dataset) -> UInt8[np.ndarray, "T H W"]:
    """Decoded grey levels of every frame, from any of the photometric forms that ultrasound comes in."""
    if dataset.get("Modality") != "US":
        raise InputError(f"{name}: expected modality US, got {dataset.get('Modality')!r}. Choose ultrasound files.")
    form = str(dataset.get("PhotometricInterpretation"))
    # Raw: YBR stays YBR, whose first channel is the grey level.
    pixels = pixel_array(dataset, raw=True)
    if pixels.dtype != np.uint8:
        raise InputError(f"{name}: expected 8 bits a sample, got {pixels.dtype}. Export it with 8 bits.")
    if form == "PALETTE COLOR":
        colours = apply_color_lut(pixels, dataset)
        pixels, form = (colours >> 8 if colours.dtype == np.uint16 else colours).astype(np.uint8), "RGB"
    if form == "RGB":
        pixels = np.rint(pixels @ np.array(LUMA)).astype(np.uint8)
    elif form.startswith("YBR"):
        pixels = pixels[..., 0]
    elif form == "MONOCHROME1":
        pixels = 255 - pixels
    elif form != "MONOCHROME2":
        raise InputError(f"{name}: expected grey, RGB, YBR or palette, got {form!r}. Export it as one of these.")
    return np.asarray(pixels if pixels.ndim == 3 else pixels[None])


def _region(name: str, dataset: Dataset, size: tuple[int, int]) -> Region:
    """The largest 2D tissue region, or all of the image without a calibration.

    Some exporters shrink the image and leave the region in the pixels of the original. A box that reaches beyond the
    image is therefore divided by the smallest whole number that makes it fit, and its spacing multiplied by it.
    """
    regions = [
        region
        for region in dataset.get("SequenceOfUltrasoundRegions", ())
        if region.get("RegionDataType") == TISSUE
        and region.get("RegionSpatialFormat") == TWO_DIMENSIONAL
        and all(corner in region for corner in CORNERS)
    ]
    if not regions:
        return Region(slice(size[0]), slice(size[1]), None)
    boxes = [_box(region) for region in regions]
    largest = max(range(len(boxes)), key=lambda index: _area(boxes[index]))
    left, top, right, bottom = boxes[largest]
    if left < 0 or top < 0 or right <= left or bottom <= top:
        raise InputError(f"{name}: expected a region with an extent, got {boxes[largest]}. Export it again.")
    shrunk = max(1, math.ceil((right + 1) / size[1]), math.ceil((bottom + 1) / size[0]))
    rows, columns = slice(top // shrunk, (bottom + 1) // shrunk), slice(left // shrunk, (right + 1) // shrunk)
    return Region(rows, columns, _spacing_mm(regions[largest], shrunk))


def _box(region: Dataset) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels, ends included."""
    left, top, right, bottom = (int(region[corner].value) for corner in CORNERS)
    return left, top, right, bottom


def _area(box: tuple[int, int, int, int]) -> int:
    """Pixels in a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def _spacing_mm(region: Dataset, shrunk: int) -> tuple[float, float] | None:
    """Millimetres a pixel of the image as stored, None unless calibrated in cm."""
    units = {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")}
    deltas = (region.get("PhysicalDeltaY"), region.get("PhysicalDeltaX"))
    if units != {CENTIMETRES} or not all(deltas):
        return None
    row, column = (abs(float(delta)) * 10 * shrunk for delta in deltas)
    return row, column


def _interval_s(dataset: Dataset, frames: int) -> float | None:
    """Seconds between frames, from FrameTime or the mean of FrameTimeVector or the cine rate."""
    if frames < 2:
        return None
    vector = dataset.get("FrameTimeVector")
    if dataset.get("FrameTime"):
        return float(dataset.FrameTime) / 1000
    if vector is not None and len(vector) == frames:
        return sum(float(value) for value in vector) / (frames - 1) / 1000
    rate = dataset.get("CineRate") or dataset.get("RecommendedDisplayFrameRate")
    return 1 / float(rate) if rate else None
