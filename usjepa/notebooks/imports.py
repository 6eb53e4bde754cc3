"""Which of the package's files an import runs, read from source alone: checking a notebook must not import torch.

A file is named as seen from the folder that holds the package, `usjepa/losses.py`; a dotted name may go on to
attributes, `usjepa.losses.prediction_loss`.
"""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import usjepa

CODE = {".py", ".pyi", ".pyc"}


def package_parent() -> Path:
    """The folder that holds the package."""
    return Path(usjepa.__path__[0]).parent


def closure(files: Iterable[str]) -> set[str]:
    """Modules, what these import, inside functions too, what that imports and so on, and the data files beside them."""
    waiting, found = list(files), set[str]()
    while waiting:
        if (file := waiting.pop()) not in found:
            found.add(file)
            source = (package_parent() / file).read_text(encoding="utf-8")
            waiting += [used for name in names_in(source, ".".join(Path(file).parent.parts)) for used in files_of(name)]
    return found.union(*(_data_of(folder) for folder in {(package_parent() / file).parent for file in found}))


def files_of(name: str) -> set[str]:
    """Modules that run when a dotted name of the package is imported or looked up."""
    place, files = package_parent(), set[Path]()
    for part in name.split("."):
        if (place / part / "__init__.py").is_file():
            place /= part
            files.add(place / "__init__.py")
        elif (place / f"{part}.py").is_file():
            return _named(files | {place / f"{part}.py"})
        else:
            return _named(files) | _of_attribute(place, part)
    return _named(files)


@cache
def names_in(source: str, package: str) -> set[str]:
    """Dotted names of the package that a text imports, or reaches through what it imports, as `uj.run` does.

    Where the package itself is handed on, as in `dir(uj)`, or all of it imported, `usjepa.*` is among them. Relative
    imports are seen from `package`.
    """
    tree = ast.parse(source)
    bound = _imports(tree, package)
    names, leading = set(bound.values()), set[ast.AST]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            leading.add(node.value)
            first, *attributes = _chain(node)
            if first in bound:
                names.add(".".join([bound[first], *attributes]))
    alone = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in leading)
    if any(bound.get(node.id) == "usjepa" for node in alone):
        names.add("usjepa.*")
    return {name for name in names if name.split(".")[0] == "usjepa"}


def _of_attribute(package: Path, name: str) -> set[str]:
    """Modules behind a name that its package loads on first use, as its stub says; a name that it lacks may be any."""
    stub = package / "__init__.pyi"
    if name.startswith("__") or not stub.is_file():
        return set()
    listed = _listed(stub.read_text(encoding="utf-8"), ".".join(package.relative_to(package_parent()).parts))
    return files_of(listed[name]) if name in listed else _named(package.rglob("*.py"))


@cache
def _listed(stub: str, package: str) -> dict[str, str]:
    return _imports(ast.parse(stub), package)


def _imports(tree: ast.AST, package: str) -> dict[str, str]:
    """What each name that an import binds stands for."""
    bound = dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                bound |= {alias.asname: alias.name} if alias.asname else {first: first, alias.name: alias.name}
        elif isinstance(node, ast.ImportFrom):
            above = [package.rsplit(".", node.level - 1)[0]] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            bound |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
    return bound


def _chain(node: ast.AST) -> list[str]:
    """`["uj", "results", "plan"]` of `uj.results.plan`; one empty name if it begins with something else."""
    names = list[str]()
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *names[::-1]] if isinstance(node, ast.Name) else [""]


def _data_of(folder: Path) -> set[str]:
    """Files of a package that are not code, in folders that are no packages too."""
    paths = list(folder.iterdir())
    inner = [path for path in paths if path.is_dir() and not (path / "__init__.py").exists()]
    return _named(path for path in paths if path.is_file() and path.suffix not in CODE).union(*map(_data_of, inner))


def _named(paths: Iterable[Path]) -> set[str]:
    return {path.relative_to(package_parent()).as_posix() for path in paths}
