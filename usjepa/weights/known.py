"""A file of known answers: tensors that the official code wrote, read by name, and how close ours must come to each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from usjepa.errors import InputError
from usjepa.model.tokens import TokenGrid, Tubelet, token_grid


class Tolerance(NamedTuple):
    """How far an element may be off: `absolute`, or `relative` times what is expected, whichever is larger."""

    absolute: float
    relative: float = 0.0


# Source: the table of tolerances in tests/fixtures/README.md, and what it measured behind it.
FEATURES = Tolerance(1e-5)
LOSSES = Tolerance(1e-6)
GRADIENTS = Tolerance(1e-6, 1e-4)
TRAINED_LOSSES = Tolerance(1e-5)
TRAINED_WEIGHTS = Tolerance(1e-4)
TRAINED_KEY_BIAS = Tolerance(1e-3)
FLOAT64 = Tolerance(1e-10)
TABLES = Tolerance(1e-6)
TABLE_SUMS = Tolerance(1e-3)
SCHEDULES = Tolerance(1e-12)
EXACT = Tolerance(0.0)


class Answer(NamedTuple):
    """Our tensor, the official one, and how close they must be."""

    name: str
    ours: Shaped[Tensor, "..."]
    theirs: Shaped[Tensor, "..."]
    tolerance: Tolerance


@dataclass(frozen=True)
class Known:
    """The tensors and numbers of one file of expected values. Every look-up raises InputError for what is not there."""

    path: Path
    values: dict[str, Any]

    def tensor(self, name: str) -> Tensor:
        """A tensor, or a plain number or list as one."""
        value = self._value(name)
        if not isinstance(value, Tensor | float | int | list):
            raise InputError(f"{self.path}: {name}: expected a tensor, got {type(value).__name__}. Write it again.")
        return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)

    def clip(self, name: str) -> Float[Tensor, "b c T H W"]:
        """A batch of clips of three channels in float32."""
        clip = self.tensor(name)
        if clip.ndim != 5 or clip.shape[1] != 3 or clip.dtype != torch.float32:
            got = f"{tuple(clip.shape)} of {clip.dtype}"
            raise InputError(f"{self.path}: {name}: expected (b, 3, T, H, W) of float32, got {got}. Write it again.")
        return clip

    def whole(self, name: str) -> int:
        """A whole number, such as a size."""
        value = self._value(name)
        if not isinstance(value, int):
            raise InputError(f"{self.path}: {name}: expected a whole number, got {value!r}. Write it again.")
        return value

    def grid(self, name: str) -> TokenGrid:
        """A token grid: a list of three whole numbers."""
        value = self._value(name)
        if not (isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(one, int) for one in value)):
            raise InputError(f"{self.path}: {name}: expected three whole numbers, got {value!r}. Write it again.")
        return TokenGrid(*value)

    def below(self, prefix: str) -> list[str]:
        """Names that begin so, without the beginning, in the file's order."""
        return [name.removeprefix(prefix) for name in self.values if name.startswith(prefix)]

    def require(self, name: str, built: object) -> None:
        """Raise InputError unless a setting is the only one that is built here."""
        if self._value(name) != built:
            raise InputError(f"{self.path}: {name}: expected {built}, got {self._value(name)}. No other is built here.")

    def _value(self, name: str) -> Any:
        if name not in self.values:
            has = ", ".join(list(self.values)[:4])
            raise InputError(
                f"{self.path}: expected {name!r}, found none; it begins with {has}. "
                "Give a file in the layout that tests/fixtures/README.md describes."
            )
        return self.values[name]


def grid_of_clips(known: Known, tubelet: Tubelet, height_px: int, width_px: int) -> TokenGrid:
    """The grid of the file's clips. Raises InputError if these, or its settings, are others than we expect."""
    clip, frames = known.clip("clip"), known.whole("config/frames")
    grid = token_grid(frames, height_px, width_px, tubelet)
    if clip.shape[2:] != (frames, height_px, width_px):
        sides, got = f"{frames} x {height_px} x {width_px}", " x ".join(map(str, clip.shape[2:]))
        raise InputError(f"{known.path}: clip: expected {sides}, as its config has it, got {got}. Write it again.")
    known.require("config/grid", list(grid))
    known.require("config/mlp_ratio", 4.0)
    known.require("config/layernorm_eps", 1e-6)
    return grid


def table_answers(known: Known, prefix: str, codes: Float[Tensor, "n d"]) -> Iterator[Answer]:
    """A table of position codes against what the file has of it: all of it, some rows, or its sums."""
    wide = codes.double()
    weights = torch.arange(wide.numel(), dtype=torch.float64).cos()
    sums = {"sum": wide.sum(), "abs_sum": wide.abs().sum(), "cos_weighted_sum": (wide.flatten() * weights).sum()}
    for part in known.below(prefix):
        name = f"{prefix}{part}"
        if part == "table":
            yield Answer(name, codes, known.tensor(name), TABLES)
        elif part == "row_values":
            yield Answer(name, codes[known.tensor(f"{prefix}rows").long()], known.tensor(name), TABLES)
        elif part in sums:
            yield Answer(name, sums[part], known.tensor(name), TABLE_SUMS)


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """The gradients of a network by the names of its parameters."""
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


def called(name: str, tensors: Mapping[str, Tensor], what: str) -> Tensor:
    """One of our tensors by its name. Raises InputError, after `what`, if there is none of that name."""
    if name not in tensors:
        raise InputError(f"{what}: expected the name of a trained parameter, got {name!r}. Write the file again.")
    return tensors[name].detach()
