"""What a film became, as files: features of all films in one, masks and pictures in a folder a film."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK
import torch
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from usjepa.data.layout import SYNTHETIC_LICENCE
from usjepa.data.prepare import written_beside
from usjepa.data.sequence import UltrasoundSequence
from usjepa.errors import InputError
from usjepa.files import replaced
from usjepa.present.figures import COLOURS, film_strip, overlay
from usjepa.structures import STRUCTURES

RECORD = "segmentation.json"
MOST_SHOWN, LEAST_WIDTH_INCHES = 8, 4
USUAL_INTERVAL_S = 0.04
"""Of a film that does not say its own: 25 frames a second."""


class Encoded(NamedTuple):
    """One film's features, which of its frames they are of, and its `origin_of`."""

    origin: dict[str, Any]
    indices: Int[np.ndarray, " T"]
    features: Float[Tensor, "t i j d"]


def write_features(path: Path, films: list[Encoded], notes: Mapping[str, object]) -> Path:
    """Write `features` [k t i j d], float32, and `frames` [k T] as safetensors; an older file is replaced at once.

    One note in the header, `features`, is JSON: these notes, and of each film its name, source and SHA-256. Raises
    InputError if it can't be written.
    """
    tensors = {
        "features": torch.stack([film.features.cpu() for film in films]),
        "frames": torch.from_numpy(np.stack([film.indices for film in films])),
    }
    note = {**notes, "axes": "k t i j d", "films": [film.origin for film in films]}
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as beside:
            save_file(tensors, beside, {"features": json.dumps(note)})
    return path


def write_masks(
    out: Path,
    sequence: UltrasoundSequence,
    indices: Int[np.ndarray, " T"],
    labels: UInt8[np.ndarray, "T H W"],
    notes: Mapping[str, object],
) -> str:
    """Write label maps of these frames, in the film's own size, to `out`/NAME, and say in a line what is there.

    `labels.nii.gz` and, for a viewer to lay it over, `frames.nii.gz`: each frame once, if a short film's clip repeats
    one, with the film's spacing, or 1 mm where it is unknown. `overlay.gif` at the film's pace, `strip.png`, and
    `segmentation.json`: these notes and which frames they are. A folder that this has written is replaced at once.
    Raises InputError for one of anything else, and if it can't be written.
    """
    folder = out / sequence.name
    if folder.parent != out or (folder.exists() and not (folder / RECORD).is_file()):
        raise InputError(f"{folder}: expected a new folder, or one of masks, got another. Give another --out.")
    times, once = np.unique(indices, return_index=True)
    frames, maps = sequence.frames[times], labels[once]
    record = {**notes, **origin_of(sequence), "frames": times.tolist(), "film_frames": len(sequence.frames)}
    with _told(folder), written_beside(folder) as scratch:
        _write_nifti(scratch / "frames.nii.gz", frames, sequence.spacing_mm)
        _write_nifti(scratch / "labels.nii.gz", maps, sequence.spacing_mm)
        first, *rest = map(Image.fromarray, overlay(frames, maps))
        duration = durations_ms(times, sequence.interval_s)
        first.save(scratch / "overlay.gif", save_all=True, append_images=rest, duration=duration, loop=0)
        strip_of(sequence, times, maps).savefig(scratch / "strip.png", dpi=200)
        (scratch / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    size = f"{frames.shape[1]} x {frames.shape[2]}"
    return f"{folder}: {len(times)} of {len(sequence.frames)} frames, {times[0]} to {times[-1]}, of {size}"


def origin_of(sequence: UltrasoundSequence) -> dict[str, Any]:
    """Where a film came from, and its units, as JSON takes it. A film stored backwards was turned round."""
    fields = ("name", "source", "source_sha256", "licence", "spacing_mm", "interval_s", "is_reversed")
    return {field: getattr(sequence, field) for field in fields}


def durations_ms(times: Int[np.ndarray, " k"], interval_s: float | None) -> list[int]:
    """How long each of these frames stands in a GIF, which counts in 10 ms and plays less than 20 as 100."""
    gaps = np.diff(times, append=2 * times[-1] - times[-2]) if len(times) > 1 else np.ones(1)
    each: list[int] = (10 * np.rint(100 * gaps * (interval_s or USUAL_INTERVAL_S)).astype(int)).tolist()
    return [max(20, one) for one in each]


def strip_of(sequence: UltrasoundSequence, times: Int[np.ndarray, " k"], labels: UInt8[np.ndarray, "k H W"]) -> Figure:
    """At most `MOST_SHOWN` of these frames of a film, evenly chosen, and the same below with their structures."""
    chosen = np.unique(np.linspace(0, len(times) - 1, min(MOST_SHOWN, len(times))).round().astype(int))
    frames = sequence.frames[times[chosen]]
    titles = [*(f"frame {time}" for time in times[chosen]), *[""] * len(chosen)]
    figure = film_strip([*frames, *overlay(frames, labels[chosen])], titles, rows=2)
    figure.set_figwidth(max(figure.get_figwidth(), LEAST_WIDTH_INCHES))
    is_phantom = sequence.licence == SYNTHETIC_LICENCE
    figure.suptitle(f"{sequence.name}, a phantom" if is_phantom else sequence.name, fontsize=10)
    named = zip(COLOURS[1:] / 255, STRUCTURES[1:], strict=True)
    figure.legend(
        handles=[Patch(color=colour, label=name) for colour, name in named],
        loc="outside lower center",
        ncols=len(STRUCTURES) - 1,
        fontsize=9,
    )
    return figure


def _write_nifti(path: Path, pixels: UInt8[np.ndarray, "k H W"], spacing_mm: tuple[float, float] | None) -> None:
    """As CAMUS stores it: the third spacing is 1, a frame."""
    row, column = spacing_mm or (1.0, 1.0)
    image = SimpleITK.GetImageFromArray(pixels)
    image.SetSpacing((column, row, 1.0))  # type: ignore[no-untyped-call]
    SimpleITK.WriteImage(image, str(path), useCompression=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A disk that is full or may not be written, as an InputError, whichever library finds it."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        came = str(error).strip().rpartition("\n")[2]
        raise InputError(
            f"{path}: expected to write this, got {type(error).__name__}: {came}. Free space, or name another --out."
        ) from error
