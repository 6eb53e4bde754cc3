"""Files that are whole or not there: written beside and renamed; a checkpoint is read only if it is this recipe's."""

import json
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError

from usjepa.errors import InputError
from usjepa.files import replaced
from usjepa.recipe import AnyRun
from usjepa.recipe_file import to_json

MOST_SHOWN = 6


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then put it in its place.

    Raises InputError if it can't be written; the old file stays.
    """
    try:
        with replaced(path) as beside:
            write(beside)
    except (OSError, RuntimeError, SafetensorError) as error:  # the latter two from torch.save and save_file
        raise unwritten(path, error) from error


def unwritten(path: Path, error: Exception) -> InputError:
    """What to tell the user about a full or forbidden disk."""
    came = str(error).partition("\n")[0]
    return InputError(
        f"{path}: expected to write this file, got {type(error).__name__}: {came}. "
        "Free space or permit writing, and run it again: it goes on from the last checkpoint."
    )


def write_checkpoint(path: Path, state: dict[str, Any], recipe: AnyRun) -> None:
    """Replace a checkpoint by tensors and plain values, signed by their recipe. Raises as `write_whole`."""
    write_whole(path, lambda beside: torch.save({**state, "recipe": to_json(recipe)}, beside))


def read_checkpoint(path: Path, recipe: AnyRun) -> dict[str, Any]:
    """What `write_checkpoint` wrote, on the CPU, no code unpickled.

    Raises InputError for a file that is cut, changed in any byte, no checkpoint, or another recipe's.
    """
    state: object = None
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not compare the checksums
        came = f"a damaged one ({damaged})" if damaged else "another file"
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except (BadZipFile, UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        came = f"what can't be read as one ({type(error).__name__})"
    if not isinstance(state, dict) or not isinstance(state.get("recipe"), str):
        raise InputError(f"{path}: expected a checkpoint of this run, got {came}. Delete the folder and run it again.")
    require_same(path, recipe, state["recipe"])
    return state


def require_same(path: Path, recipe: AnyRun, found: str) -> None:
    """Raise InputError with the fields that differ, unless the recipe found in a file is this one."""
    try:
        here, there = _fields(json.loads(to_json(recipe))), _fields(json.loads(found))
    except ValueError as error:
        raise InputError(
            f"{path}: expected a recipe, got {found[:40]!r}. Delete the folder and run it again."
        ) from error
    names = [name for name in {**here, **there} if here.get(name, "absent") != there.get(name, "absent")]
    names.sort(key=lambda name: name not in here or name not in there)  # what both have tells the most
    if names:
        shown = [f"{one}: {here.get(one, 'absent')} here, {there.get(one, 'absent')} there" for one in names]
        rest = f"; and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
        raise InputError(
            f"{path}: expected this run's own recipe, got another ({'; '.join(shown[:MOST_SHOWN])}{rest}). "
            "Put this run's own file back, or delete the folder and run it again."
        )


def _fields(value: Any, name: str = "") -> dict[str, Any]:
    """Nested JSON as one level of dotted names."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner:
        return {name: value}
    return {one: leaf for key, part in inner for one, leaf in _fields(part, f"{name}.{key}".strip(".")).items()}
