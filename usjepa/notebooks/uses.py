"""Which files a notebook's outputs depend on, found in its code without running it, and their fingerprints.

Of the package: the modules that define the names which its cells use, what these import, and data files beside them.
Of the repository: what is named by a string that begins with `../`, such as a table of results.
"""

import ast
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usjepa.notebooks.imports import closure, files_of, names_in, package_parent

OUTSIDE = "../"
MAGIC = re.compile(r"^[ \t]*[%!].*$", re.M)
STARTS_COMMANDS = re.compile(r"^[ \t]*[%!].*\busjepa\b|\bsubprocess\b", re.M)


def fingerprints(notebook: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """SHA-256, its first 16 digits, of a notebook's code cells, and by name of each file behind its outputs.

    A name is `usjepa/...` for a file of the package, and `../...`, as seen from the notebook's `folder`, for another.
    """
    files = closure(used_modules(notebook)) | read_files(notebook, folder)
    return {"cells": sha_of_code(notebook), "files": {name: sha_of(name, folder) for name in sorted(files)}}


def sha_of_code(notebook: Mapping[str, Any]) -> str:
    """The fingerprint of a notebook's code cells."""
    return _short("\0".join(_sources(notebook)).encode())


def sha_of(name: str, folder: Path) -> str:
    """The fingerprint of one file today, empty if it is gone; line ends count as on Linux."""
    path = (folder if name.startswith(OUTSIDE) else package_parent()) / name
    return _short(path.read_bytes().replace(b"\r\n", b"\n")) if path.is_file() else ""


def used_modules(notebook: Mapping[str, Any]) -> set[str]:
    """The package's files that define what the cells name; all of them if a cell can start the command `usjepa`."""
    code = "\n".join(_sources(notebook))
    names = {"usjepa.*"} if STARTS_COMMANDS.search(code) else names_in(MAGIC.sub("", code), "")
    return {file for name in names for file in files_of(name)}


def read_files(notebook: Mapping[str, Any], folder: Path) -> set[str]:
    """Files outside the package that strings of the code name; of a folder all but its Markdown.

    A string that names nothing, because it has a placeholder or a run has yet to make the file, stands for the folder
    above: what appears there later changes the outputs too.
    """
    found = set[Path]()
    for path in (folder / text for text in _strings(notebook) if text.startswith(OUTSIDE) and text != OUTSIDE):
        top = path if path.exists() else path.parent
        found |= {top} if top.is_file() else {below for below in top.rglob("*") if below.is_file()}
    return {Path(os.path.relpath(path, folder)).as_posix() for path in found if path.suffix != ".md"}


def climbs(notebook: Mapping[str, Any]) -> bool:
    """Whether the code puts paths together from `..`, so that `read_files` can't see what they name."""
    return not _strings(notebook).isdisjoint({"..", OUTSIDE})


def _strings(notebook: Mapping[str, Any]) -> set[str]:
    tree = ast.parse(MAGIC.sub("", "\n".join(_sources(notebook))))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _sources(notebook: Mapping[str, Any]) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
