"""Back from the prepared square to the video's own pixels, to be scored against the labels as they were drawn."""

import torch
from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

from usjepa.errors import InputError


def to_native(maps: Shaped[Tensor, "*b S s"], original_size: tuple[int, int]) -> Shaped[Tensor, "*b H W"]:
    """The nearest pixel of the square for each pixel of `original_size` (rows, columns), the padding cut off.

    A store's square is the image in the middle of max(rows, columns) squared, resized. Nearest is the pixel in which
    the other's centre lies, of two the later, reckoned in whole numbers: resizers round such ties either way. Any type,
    on the maps' device. Raises InputError for maps that aren't square and for a size below 1.
    """
    (rows, columns), (height, width) = original_size, maps.shape[-2:]
    if height != width or min(original_size) < 1:
        got = f"{[height, width]} and {original_size}"
        raise InputError(f"maps, original_size: expected a square and a size of 1 or more, got {got}. Check the store.")
    side = max(rows, columns)
    down, across = (
        (2 * (torch.arange(extent, device=maps.device) + (side - extent) // 2) + 1) * height // (2 * side)
        for extent in original_size
    )
    return maps[..., rearrange(down, "H -> H 1"), across]
