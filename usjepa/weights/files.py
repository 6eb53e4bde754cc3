"""Files of weights, told apart by what is in them and read without running code.

Read are V-JEPA's checkpoints, VideoMAE's, VideoMAE's in Hugging Face's naming, and our own that `export` writes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from usjepa.errors import InputError
from usjepa.recipe import Family, PretrainRecipe, VideoMAERecipe
from usjepa.recipe_file import from_json
from usjepa.weights.containers import read_container
from usjepa.weights.names import VJEPA_PARTS, Parts, from_hugging_face, from_videomae, from_vjepa

OWN_NOTE = "usjepa"
"""The note in the header of our own files: `recipe` and `card` in one JSON, because headers keep no order of notes."""
ROTARY = (
    "expected V-JEPA's encoder with its table of positions, got one without, as V-JEPA 2 has: it turns queries and "
    "keys by their positions (rotary), which this encoder does not do, so that its weights would compute something "
    "else. Use V-JEPA's own."
)


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """Weights in our own names, with the file that they came from; `form` says in words what kind of file it is.

    `parts` has, as far as the file has them, of V-JEPA `encoder` (the student), `teacher` and `predictor`, and of
    VideoMAE `encoder` and `decoder`. `recipe` is that of the run, in our own files only.
    """

    path: Path
    sha256: str
    form: str
    family: Family
    parts: Parts
    recipe: PretrainRecipe | VideoMAERecipe | None = None

    def part(self, name: str | None = None) -> str:
        """`name` if the file has it; if None, the teacher, or the encoder where there is no teacher.

        Raises InputError, listing the file's parts, if it isn't there.
        """
        chosen = name or ("teacher" if "teacher" in self.parts else "encoder")
        if chosen not in self.parts:
            raise InputError(f"{self.path}: expected a part {chosen!r}, got {', '.join(self.parts)}. Name one of them.")
        return chosen


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights, whatever its form, without running code from it.

    Raises InputError for anything else: V-JEPA 2, a fine-tuned model, a pickle, a web page, half a file, a folder.
    """
    contents, notes = read_container(path)
    if OWN_NOTE in notes:
        form, family, parts, recipe = _read_own(path, contents, notes)
        return WeightsFile(path, sha256_of(path), form, family, parts, recipe)
    form, family, parts = _translate(path, contents)
    return WeightsFile(path, sha256_of(path), form, family, parts)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes in hex; the file is read again only if its size or time of change is another."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@lru_cache
def _sha256(path: Path, size_bytes: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_own(
    path: Path, tensors: dict[str, Tensor], notes: Mapping[str, str]
) -> tuple[str, Family, Parts, PretrainRecipe | VideoMAERecipe]:
    """Our own file: the judged encoder of the run whose recipe is in its notes."""
    note = json.loads(notes[OWN_NOTE])
    recipe = from_json(json.dumps(note["recipe"]), f"{path}: recipe")
    if isinstance(recipe, PretrainRecipe):
        return "safetensors of a V-JEPA run", "vjepa", {"teacher": tensors}, recipe
    if isinstance(recipe, VideoMAERecipe):
        trained = {name: tensor for name, tensor in tensors.items() if name != "pos_embed"}
        return "safetensors of a VideoMAE run", "videomae", {"encoder": trained}, recipe
    raise InputError(
        f"{path}: expected the recipe of a pre-training, got one of {recipe.kind!r}. Export the run again."
    )


def _translate(path: Path, contents: dict[str, Any]) -> tuple[str, Family, Parts]:
    """Which of the others' forms the file has, and its weights in our names."""
    names = sorted(map(str, contents))
    if "encoder" in contents or "target_encoder" in contents:
        networks = from_vjepa({name: _tensors(path, contents[name], name) for name in VJEPA_PARTS if name in contents})
        if any("pos_embed" not in networks[part] for part in ("encoder", "teacher") if part in networks):
            raise InputError(f"{path}: {ROTARY}")
        return "checkpoint of V-JEPA", "vjepa", networks
    if "model" in contents and "step" in contents:
        raise InputError(
            f"{path}: expected weights, got a run's checkpoint. Give its folder to `usjepa weights export`."
        )
    if "model" in contents:
        tensors = _tensors(path, contents["model"], "model")
        return "checkpoint of VideoMAE's pre-training", "videomae", from_videomae(tensors, str(path))
    if any(name.startswith("videomae.") for name in names):
        tensors = _tensors(path, contents, "contents")
        return "VideoMAE in Hugging Face's naming", "videomae", from_hugging_face(tensors, str(path))
    if any(".attention.query." in name for name in names):
        raise InputError(f"{path}: {ROTARY}")
    raise InputError(
        f"{path}: expected weights of V-JEPA or VideoMAE, got {', '.join(names[:6]) or 'none'} ({len(names)} names). "
        "Take a file that their authors or `usjepa weights export` wrote."
    )


def _tensors(path: Path, found: object, name: str) -> dict[str, Tensor]:
    """One dictionary of named tensors of a checkpoint."""
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise InputError(
            f"{path}: {name}: expected tensors by name, got something else. Save the model's state_dict()."
        )
    return found
