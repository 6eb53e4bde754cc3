"""Weights into modules: every name and shape has to fit, and tables of positions are resized to the clip's grid."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from usjepa.errors import InputError
from usjepa.model.encoder import Encoder, codes_of
from usjepa.model.tokens import TokenGrid
from usjepa.spec import ClipSpec
from usjepa.weights.files import read_weights
from usjepa.weights.sizes import grid_of_table, sizes_in_words, specs_of


def load_published(
    path: Path, *, part: str | None = None, clip: ClipSpec | None = None, heads: int | None = None
) -> Encoder:
    """The encoder of a file that `read_weights` reads, in eval mode and without gradients, for clips like `clip`.

    `part` is "teacher" or "encoder", V-JEPA's student; None is the teacher if there is one, as V-JEPA's own evaluation
    has it. Without `clip`, it takes the clips that it was made for: the table of positions tells them, VideoMAE's files
    have none and are taken to be for 16 frames of 224 x 224. Our own files say all sizes in their recipe; of others,
    the shapes tell all but the heads, which are the published ones for the width unless `heads` gives them.
    Raises InputError as `read_weights` and `load_into_` do.
    """
    weights = read_weights(path)
    chosen = weights.part(part)
    tensors, what = weights.parts[chosen], f"{path}: {chosen}"
    if weights.recipe is not None:
        model, made_for = weights.recipe.model, weights.recipe.clip
    else:
        model, made_for = specs_of(tensors, what, heads=heads)
    with torch.device("meta"):  # no numbers are drawn only to be overwritten: ViT-L takes 10 s to start at random
        encoder = Encoder(model, clip or made_for)
    encoder.to_empty(device="cpu")
    encoder.pos_embed.copy_(codes_of(model, encoder.grid, model.width))
    load_into_(encoder, tensors, what)
    return encoder.requires_grad_(False).eval()


def load_into_(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Fill a module with weights in our names; nothing may be missing, left over or of another shape.

    `pos_embed` alone may be another grid's, and is resized, or missing, and is kept as computed. Raises one InputError,
    after `what`, that lists all that does not fit, and the sizes that the weights have; the module is then as it was.
    """
    expected, given = module.state_dict(), dict(tensors)
    if "pos_embed" in expected:
        given["pos_embed"] = _fitting(given.get("pos_embed"), expected["pos_embed"])
    reshaped = [
        f"{name} {tuple(given[name].shape)} for {tuple(expected[name].shape)}"
        for name in expected.keys() & given.keys()
        if given[name].shape != expected[name].shape
    ]
    wrong = {
        "missing": in_ranges(expected.keys() - given.keys()),
        "left over": in_ranges(given.keys() - expected.keys()),
        "of another shape": in_ranges(reshaped),
    }
    if any(wrong.values()):
        found = "; ".join(f"{kind}: {names}" for kind, names in wrong.items() if names)
        raise InputError(
            f"{what}: expected weights for {sizes_in_words(expected)}, got {sizes_in_words(tensors)}. {found}. "
            "Set the recipe's model and clip to the file's sizes, or take another file."
        )
    module.load_state_dict(given)


def resize_table(table: Float[Tensor, "1 n d"], old: TokenGrid, new: TokenGrid) -> Float[Tensor, "1 k d"]:
    """A table of positions of one grid stretched to another, trilinearly over (t, i, j), as V-JEPA's encoder does."""
    volume = rearrange(table, "1 (t i j) d -> 1 d t i j", t=old.t, i=old.i, j=old.j)
    resized = functional.interpolate(volume, size=tuple(new), mode="trilinear", align_corners=False)
    return rearrange(resized, "1 d t i j -> 1 (t i j) d")


def in_ranges(names: Iterable[str]) -> str:
    """Names in one line, those that differ in their number only written once: `blocks.12-23.norm1.bias`."""
    numbers: dict[tuple[str, str], list[int]] = {}
    plain = []
    for name in sorted(names):
        if found := re.search(r"\d+", name):
            numbers.setdefault((name[: found.start()], name[found.end() :]), []).append(int(found[0]))
        else:
            plain.append(name)
    return ", ".join([*plain, *(f"{before}{_range(some)}{after}" for (before, after), some in numbers.items())])


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    if high - low == len(numbers) - 1 > 0:
        return f"{low}-{high}"
    return ",".join(map(str, sorted(numbers)))


def _fitting(table: Tensor | None, computed: Tensor) -> Tensor:
    """The file's table, resized where its grid is not that of the computed one; the latter if the file has none."""
    if table is None:
        return computed
    old, new = grid_of_table(table), grid_of_table(computed)
    if old is None or new is None or old == new or table.shape[2] != computed.shape[2]:
        return table
    return resize_table(table, old, new)
