"""What a file of weights is on disk: safetensors or torch's own; all else is refused, each with its reason."""

from argparse import Namespace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from usjepa.errors import InputError

HEAD_BYTES = 512


class Container(NamedTuple):
    """A file's contents, tensors in nested dictionaries, and the notes in a safetensors header."""

    contents: dict[str, Any]
    notes: dict[str, str]


def read_container(path: Path) -> Container:
    """Read a safetensors file, or a torch file with tensors, plain values and `argparse.Namespace` only.

    Tensors stay on disk until they are used, where the form allows. Raises InputError that says what else it is.
    """
    if path.is_dir():
        raise InputError(f"{path}: expected a file of weights, got a folder. Name the file in it.")
    if not path.is_file():
        raise InputError(f"{path}: expected a file of weights, found none. Check the path.")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path}: expected a file that may be read, got {error.strerror}. Permit it.") from error
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head.startswith(b"PK"):
        return Container(_read_torch(path), {})
    raise InputError(f"{path}: expected a file of weights, got {_guess(head)}")


def _guess(head: bytes) -> str:
    """What a file that is neither form may be, by its first bytes, and what to do."""
    text = head.lstrip().lower()
    if not head:
        return "an empty file. Fetch it again."
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page, saved in its place. Fetch the file itself, not the page that shows it."
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer. Fetch the file that it points to."
    if head.startswith(b"\x80"):
        return "a bare pickle, which can run code and is never loaded. Ask its publisher for safetensors."
    return f"something else, which begins with {head[:16]!r}. Name a .safetensors, .pt, .pth or .pth.tar file."


def _read_safetensors(path: Path) -> Container:
    try:
        with safe_open(path, framework="pt") as file:
            return Container({name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: expected whole safetensors, got a damaged file ({error}). Fetch it again."
        ) from error


def _read_torch(path: Path) -> dict[str, Any]:
    """The dictionary in a torch file. Training scripts leave their `argparse.Namespace` in; nothing else is allowed."""
    try:
        with torch.serialization.safe_globals([Namespace]):
            contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        raise InputError(
            f"{path}: expected tensors and plain values, got a pickle with other things in it, or half a file. That "
            "could run code and is not loaded. Fetch it again, or ask its publisher for safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(
            f"{path}: expected a whole torch file, got a damaged one ({first}). Fetch it again."
        ) from error
    if not isinstance(contents, dict):
        kind = type(contents).__name__
        raise InputError(f"{path}: expected a dictionary of weights, got {kind}. Save the model's state_dict().")
    return contents
