"""A folder of numbered PNG images, read as one video."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from usjepa.data.collection import visible
from usjepa.data.film import Film
from usjepa.data.pixels import LARGEST_BYTES, LARGEST_SIDE
from usjepa.errors import InputError

GREY_OR_COLOUR = ("1", "L", "P", "RGB", "RGBA")
AGAIN = "Copy the file again."


def is_png_folder(folder: Path) -> bool:
    """Whether it holds PNG images and nothing else that shows."""
    shown = visible(folder)
    return bool(shown) and all(path.suffix.lower() == ".png" and path.is_file() for path in shown)


def numbered(folder: Path) -> list[Path]:
    """The images in the order of the last number in their names, so that 10 comes after 9.

    Raises InputError for a name without a number, a number that comes twice, and a gap in otherwise even steps:
    frames that are missing would change the motion.
    """
    images: list[tuple[int, Path]] = []
    for path in visible(folder):
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise InputError(
                f"{folder.name}/{path.name}: expected a number in the name, found none. Number the frames."
            )
        images.append((int(digits[-1]), path))
    images.sort()
    steps = {later - earlier for (earlier, _), (later, _) in pairwise(images)}
    if len(steps) > 1 or 0 in steps:
        raise InputError(
            f"{folder.name}: expected evenly numbered frames, got steps of {sorted(steps)}. Add what is missing."
        )
    return [path for _, path in images]


def read_png_folder(folder: Path) -> Film:
    """All images of the folder; spacing and interval are never known. Colour becomes luma (ITU-R BT.601).

    Raises InputError, folder and file first, for a damaged image (checksums are verified), one of another size, of 16
    bits, or with transparent pixels, and as `numbered` does.
    """
    paths = numbered(folder)
    if not paths:
        raise InputError(f"{folder.name}: expected PNG images, found none. Export the frames again.")
    frames: list[UInt8[np.ndarray, "H W"]] = []
    for path in paths:
        frame = _read_png(f"{folder.name}/{path.name}", path)
        if frames and frame.shape != frames[0].shape:
            raise InputError(
                f"{folder.name}/{path.name}: expected {frames[0].shape} pixels as before, got {frame.shape}. Resize it."
            )
        if (len(frames) + 1) * frame.size > LARGEST_BYTES:
            raise InputError(f"{folder.name}: expected at most {LARGEST_BYTES} pixels in all, got more. Cut the loop.")
        frames.append(frame)
    return Film(np.stack(frames))


def _read_png(name: str, path: Path) -> UInt8[np.ndarray, "H W"]:
    """Grey levels of one image, its checksums verified first."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            size, mode = image.size, image.mode
            if max(size) > LARGEST_SIDE or mode not in GREY_OR_COLOUR:
                limits = f"8 bits and at most {LARGEST_SIDE} pixels a side"
                raise InputError(f"{name}: expected {limits}, got mode {mode} and {size}. Convert it.")
            image.verify()
        with Image.open(path, formats=("PNG",)) as image:
            if image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise InputError(f"{name}: expected no transparent pixel, got some. Lay the image on black.")
            return np.asarray(image.convert("RGB").convert("L"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: expected a whole PNG image, got: {error}. {AGAIN}") from error
