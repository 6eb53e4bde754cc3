"""Decisions of the design, held: which module may import which, what no module does, and that nothing lies idle."""

import ast
import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest
import torch

import usjepa
from usjepa import spec as specs
from usjepa.data import clips
from usjepa.model.jepa import JEPA
from usjepa.model.segmenter import Segmenter
from usjepa.recipe import PretrainRecipe, Published, SegmentRecipe, Untrained, VideoMAERecipe
from usjepa.spec import ClipSpec, DecoderSpec, MaskSpec, ModelSpec

PACKAGE = Path(usjepa.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
ALLOWED = {
    "usjepa.errors": (),
    "usjepa.structures": (),
    "usjepa.files": (),
    "usjepa.spec": ("usjepa.errors",),
    "usjepa.baseline": ("usjepa.spec",),
    "usjepa.recipe": ("usjepa.errors", "usjepa.spec", "usjepa.baseline"),
    "usjepa.recipe_file": ("usjepa.errors", "usjepa.recipe", "usjepa.baseline"),
    "usjepa.profiles": ("usjepa.spec", "usjepa.recipe", "usjepa.baseline"),
    "usjepa.catalogue": ("usjepa.errors", "usjepa.recipe", "usjepa.baseline", "usjepa.profiles"),
    "usjepa.losses": ("usjepa.model.tokens",),
    "usjepa.data": ("usjepa.errors", "usjepa.structures", "usjepa.files", "usjepa.spec", "usjepa.data"),
    "usjepa.model": (
        "usjepa.errors",
        "usjepa.structures",
        "usjepa.spec",
        "usjepa.recipe",
        "usjepa.losses",
        "usjepa.model",
    ),
    "usjepa.weights": (
        "usjepa.errors",
        "usjepa.files",
        "usjepa.spec",
        "usjepa.recipe",
        "usjepa.recipe_file",
        "usjepa.losses",
        "usjepa.model",
        "usjepa.weights",
        "usjepa.training.device",
        "usjepa.training.schedules",
    ),
    "usjepa.estimate": (
        "usjepa.errors",
        "usjepa.structures",
        "usjepa.spec",
        "usjepa.recipe",
        "usjepa.recipe_file",
        "usjepa.model",
        "usjepa.training",
        "usjepa.estimate",
    ),
    "usjepa.results": (
        "usjepa.errors",
        "usjepa.structures",
        "usjepa.files",
        "usjepa.baseline",
        "usjepa.recipe",
        "usjepa.recipe_file",
        "usjepa.catalogue",
        "usjepa.profiles",
        "usjepa.data",
        "usjepa.estimate.plan",
        "usjepa.evaluation",
        "usjepa.present",
        "usjepa.training",
        "usjepa.results",
    ),
    "usjepa.evaluation": ("usjepa.errors", "usjepa.structures", "usjepa.recipe", "usjepa.evaluation"),
    "usjepa.present": (
        "usjepa.errors",
        "usjepa.structures",
        "usjepa.files",
        "usjepa.recipe",
        "usjepa.evaluation",
        "usjepa.present",
    ),
}


def imports(name: str) -> set[str]:
    """Our own modules that a module imports anywhere in it."""
    nodes = list(ast.walk(TREES[name]))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    given = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {module for module in plain | given if module.split(".")[0] == "usjepa"}


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_follow_the_arrows(room: str) -> None:
    members = [name for name in MODULES if name == room or name.startswith(room + ".")]
    assert members
    for name in members:
        known = tuple(f"{to}." for to in ALLOWED[room])
        strange = {one for one in imports(name) if not f"{one}.".startswith(known)}
        assert not strange, f"{name} imports {strange}"


def test_recipes_and_the_commands_help_need_no_torch() -> None:
    light = ("spec", "baseline", "recipe", "recipe_file", "profiles", "catalogue", "cli", "errors")
    commands = [name for name in MODULES if name.startswith("usjepa.commands")]
    for name in (*(f"usjepa.{one}" for one in light), *commands):
        top = [node for node in TREES[name].body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
        assert not {one for one in names if one.split(".")[0] in ("torch", "timm", "SimpleITK")}, name


@pytest.mark.parametrize("name", MODULES)
def test_nothing_banned(name: str) -> None:
    tree, text = TREES[name], MODULES[name].read_text(encoding="utf-8")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.args.kwarg is None, f"{name}.{node.name} takes **kwargs"
            arguments = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert len(set(arguments) - {"self", "cls"}) <= 6, f"{name}.{node.name} takes {len(arguments)} arguments"
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{name}.{node.name} is too long"
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            assert caught not in ("everything", "Exception", "BaseException"), f"{name} catches {caught}"
    assert text.count("\n") <= 200, f"{name} has {text.count(chr(10))} lines"
    assert not re.search(r"\bglobal \w|allow_pickle=True|weights_only=False|pickle\.load|TODO|FIXME", text), name


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_importing_seeds_nothing_and_opens_nothing(name: str) -> None:
    effects = {"manual_seed", "seed", "open", "mkdir", "print", "set_num_threads", "write_text"}
    for statement in TREES[name].body:
        if isinstance(statement, ast.Expr | ast.Assign):
            called = {
                getattr(node.func, "attr", getattr(node.func, "id", ""))
                for node in ast.walk(statement)
                if isinstance(node, ast.Call)
            }
            assert not called & effects, f"{name} calls {called & effects} when imported"


@pytest.mark.parametrize(
    "kind", [ClipSpec, DecoderSpec, ModelSpec, Published, Untrained, PretrainRecipe, VideoMAERecipe, SegmentRecipe]
)
def test_every_constructor_works_with_its_defaults(kind: type) -> None:
    assert dataclasses.is_dataclass(kind())


def test_every_model_is_built_from_the_default_recipes() -> None:
    with torch.device("meta"):
        jepa, segmenter = JEPA(PretrainRecipe()), Segmenter(SegmentRecipe())
    assert len(jepa.encoder.blocks) == len(jepa.teacher.blocks) == 24
    assert segmenter.grid == (8, 14, 14)


@pytest.mark.parametrize(
    "kind",
    [ClipSpec, DecoderSpec, MaskSpec, ModelSpec, Published, Untrained, PretrainRecipe, VideoMAERecipe, SegmentRecipe],
)
def test_every_field_of_a_recipe_is_read(kind: type) -> None:
    """A knob that turns nothing is a lie. Reading it in its own validation does not count."""
    readers = MODULES.keys() - {"usjepa.spec", "usjepa.recipe", "usjepa.profiles", "usjepa.catalogue"}
    reading = "\n".join(MODULES[name].read_text(encoding="utf-8") for name in readers)
    for field in dataclasses.fields(kind):
        if field.name != "kind":
            assert re.search(rf"\.{field.name}\b", reading), f"{kind.__name__}.{field.name} is read nowhere"


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_one_function_an_equation_in_the_papers_order(number: int) -> None:
    from usjepa import losses

    functions = [node for node in TREES["usjepa.losses"].body if isinstance(node, ast.FunctionDef)]
    assert len(functions) == 4
    function = functions[number - 1]
    assert (ast.get_docstring(function) or "").startswith(f"Eq. ({number}).")
    code = inspect.getsource(getattr(losses, function.name)).split('"""')[-1]
    assert len(code.strip().splitlines()) <= 15


def test_the_public_names_exist_and_are_documented() -> None:
    assert len(usjepa.__all__) > 40
    for name in usjepa.__all__:
        thing = getattr(usjepa, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert inspect.getdoc(thing), name
    shadowed = {name.split(".")[1] for name in MODULES if "." in name} & set(usjepa.__all__)
    assert not shadowed, f"importing the module would hide the name: {shadowed}"
    stub = (PACKAGE / "__init__.pyi").read_text(encoding="utf-8")
    for module in re.findall(r"from \.([\w.]+) import", stub):
        importlib.import_module(f"usjepa.{module}")


def test_the_policies_of_the_recipe_are_those_that_are_built() -> None:
    for policy in specs.Policy.__args__:
        assert len(clips.frame_indices(80, ClipSpec(policy=policy))) == 16
