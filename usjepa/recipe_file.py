"""Recipes as text: JSON out and in, and the hash that names a run's folder. Imports no torch."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from usjepa.errors import InputError
from usjepa.recipe import AnyRun

RECIPE: TypeAdapter[AnyRun] = TypeAdapter(Annotated[AnyRun, Field(discriminator="kind")])


def to_json(recipe: AnyRun) -> str:
    """The recipe as indented JSON in the order of its fields; equal recipes give equal bytes."""
    return RECIPE.dump_json(RECIPE.validate_python(dataclasses.asdict(recipe)), indent=1).decode()


def recipe_hash(recipe: AnyRun) -> str:
    """Twelve hex digits that name the recipe and its run's folder."""
    return hashlib.sha256(to_json(recipe).encode()).hexdigest()[:12]


def from_json(text: str, source: str = "recipe") -> AnyRun:
    """Read what `to_json` wrote. Raises InputError, naming `source` and each wrong field, for anything else."""
    try:
        return RECIPE.validate_json(text)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'text'}: {one['msg']}" for one in error.errors())
        raise InputError(f"{source}: expected a recipe as to_json writes it; {wrong}. Correct it.") from error


def read_recipe(path: Path) -> AnyRun:
    """Read a recipe file. Raises InputError if it is missing or no recipe."""
    if not path.is_file():
        raise InputError(f"{path}: expected a recipe file, found none. Name a JSON file or one of the catalogue.")
    return from_json(path.read_text(encoding="utf-8"), str(path))
