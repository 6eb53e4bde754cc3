"""Which edit makes which notebook stale: on a small package and small notebooks, then the record of a real import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_notebooks import save, stored

import usjepa
from usjepa.notebooks import check_notebooks, fingerprints
from usjepa.notebooks.imports import closure
from usjepa.notebooks.uses import used_modules

ROOT = Path(__file__).parents[1]
FILES = {
    "__init__.py": "import lazy_loader\n__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)\n",
    "__init__.pyi": "from .losses import loss as loss\nfrom .data.films import film as film\n",
    "losses.py": "from usjepa.tokens import take\n\ndef loss():\n    from usjepa.late import later\n",
    "tokens.py": "take = 1\n",
    "late.py": "import usjepa.errors\nlater = 1\n",
    "errors.py": "",
    "data/__init__.py": "",
    "data/films.py": "from .cut import cut\nfilm = 1\n",
    "data/cut.py": "cut = 1\n",
    "present/__init__.py": "",
    "present/player.py": "player = 1\n",
    "present/static/player.js": "play()\n",
    "unused.py": "import usjepa.losses\n",
}


@pytest.fixture
def book(tmp_path, monkeypatch) -> Path:
    """A folder with a package, a table of results and a folder for notebooks."""
    for name, text in FILES.items():
        path = tmp_path / "usjepa" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table-tiny.csv").write_text("a\n1\n")
    (tmp_path / "results" / "README.md").write_text("What it is\n")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(usjepa, "__path__", [str(tmp_path / "usjepa")])
    return tmp_path


def put(book: Path, code: str) -> Path:
    """A fresh notebook with one cell more, in its place."""
    return save(stored(code, book / "notebooks"), book / "notebooks" / "small.ipynb")


USES = {
    "import usjepa as uj\nuj.loss()": {"__init__.py", "losses.py", "tokens.py", "late.py", "errors.py"},
    "from usjepa import loss": {"__init__.py", "losses.py", "tokens.py", "late.py", "errors.py"},
    "import usjepa as uj\nshown = [uj.film]": {"__init__.py", "data/__init__.py", "data/films.py", "data/cut.py"},
    "def f():\n    from usjepa.data import cut": {"__init__.py", "data/__init__.py", "data/cut.py"},
    "import usjepa.data.cut as c": {"__init__.py", "data/__init__.py", "data/cut.py"},
    "import usjepa.data\nusjepa.data.cut.cut": {"__init__.py", "data/__init__.py", "data/cut.py"},
    "from usjepa.tokens import take": {"__init__.py", "tokens.py"},
    "from usjepa.present.player import player": {
        "__init__.py",
        "present/__init__.py",
        "present/player.py",
        "present/static/player.js",
    },
    "print('usjepa.losses')": set(),
    "%matplotlib inline\nimport usjepa\nusjepa.__doc__": {"__init__.py"},
}
WHOLE = [
    "import usjepa as uj\ngetattr(uj, name)",
    "from usjepa import *",
    "import usjepa as uj\nuj.not_in_the_stub",
    "!usjepa data phantom tree",
    "import subprocess",
]


@pytest.mark.parametrize("code", USES)
def test_a_notebook_uses_what_its_names_need_and_nothing_else(book, code):
    files = fingerprints(stored(code, book), book / "notebooks")["files"]
    assert set(files) == {f"usjepa/{name}" for name in USES[code]}


@pytest.mark.parametrize("code", WHOLE)
def test_where_the_names_cannot_be_seen_it_uses_all(book, code):
    files = fingerprints(stored(code, book), book / "notebooks")["files"]
    assert set(files) == {f"usjepa/{name}" for name in FILES if not name.endswith(".pyi")}


@pytest.mark.parametrize("name", ["losses.py", "tokens.py", "late.py"])
def test_an_edit_of_a_used_module_makes_it_stale_with_the_modules_name(book, name):
    path = put(book, "import usjepa as uj\nuj.loss()")
    assert check_notebooks([path]) == []
    (book / "usjepa" / name).write_text(FILES[name] + "more = 2\n")
    (problem,) = check_notebooks([path])
    assert f"stale: of the package usjepa/{name} changed since its outputs were made; run `usjepa notebooks" in problem


@pytest.mark.parametrize("name", ["unused.py", "data/films.py", "present/static/player.js", "__init__.pyi"])
def test_an_edit_of_an_unused_file_leaves_it_fresh(book, name):
    path = put(book, "import usjepa as uj\nuj.loss()")
    with (book / "usjepa" / name).open("a") as file:
        file.write("\nfrom .unused import other as other\n")
    assert check_notebooks([path]) == []


def test_an_edit_of_the_packages_javascript_makes_what_shows_it_stale(book):
    path = put(book, "from usjepa.present.player import player")
    (book / "usjepa" / "present" / "static" / "player.js").write_text("stop()\n")
    (problem,) = check_notebooks([path])
    assert "stale: of the package usjepa/present/static/player.js changed" in problem


def test_a_name_that_comes_from_another_module_now_makes_it_stale(book):
    path = put(book, "import usjepa as uj\nuj.loss()")
    stub = book / "usjepa" / "__init__.pyi"
    stub.write_text(stub.read_text().replace(".losses", ".unused"))
    assert "stale: of the package usjepa/unused.py changed" in check_notebooks([path])[0]


def test_a_module_that_is_gone_makes_it_stale(book):
    path = put(book, "import usjepa as uj\nuj.loss()")
    (book / "usjepa" / "late.py").unlink()
    assert "stale: of the package usjepa/late.py changed" in check_notebooks([path])[0]


def test_many_changes_are_counted(book):
    path = put(book, "import usjepa as uj\nuj.loss()")
    for file in (book / "usjepa").glob("*.py"):
        file.write_text(file.read_text() + "\n# more\n")
    (problem,) = check_notebooks([path])
    assert "usjepa/__init__.py, usjepa/errors.py, usjepa/late.py and 2 more changed" in problem


READS = [
    "open('../results/table-tiny.csv')",
    "folder = '../results'",
    "open(f'../results/table-{profile}.csv')",
    "open('../results/not-yet-run.csv')",
]


@pytest.mark.parametrize("code", READS)
def test_an_edit_of_results_that_it_reads_makes_it_stale(book, code):
    path = put(book, code)
    assert check_notebooks([path]) == []
    (book / "results" / "table-tiny.csv").write_text("a\n2\n")
    (problem,) = check_notebooks([path])
    assert "stale: of results ../results/table-tiny.csv changed since its outputs were made" in problem


@pytest.mark.parametrize("code", READS[1:])
def test_results_that_were_not_there_make_it_stale(book, code):
    path = put(book, code)
    (book / "results" / "not-yet-run.csv").write_text("a\n2\n")
    (problem,) = check_notebooks([path])
    assert "stale: of results ../results/not-yet-run.csv changed" in problem


@pytest.mark.parametrize("code", ["open('results.csv')", *READS])
def test_an_edit_of_what_it_does_not_read_leaves_it_fresh(book, code):
    path = put(book, code)
    (book / "results" / "README.md").write_text("What else it is\n")
    (book / "benchmarks.csv").write_text("a\n")
    assert check_notebooks([path]) == []


def test_a_path_that_hides_what_is_read_is_refused(book):
    path = put(book, "from pathlib import Path\nopen(Path('..') / 'results' / 'table-tiny.csv')")
    (problem,) = check_notebooks([path])
    assert "a path is put together from '..'; write it as one string, '../results/...'" in problem


def test_line_ends_of_another_system_are_no_change(book):
    path = put(book, "import usjepa as uj\nuj.loss()")
    file = book / "usjepa" / "tokens.py"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert check_notebooks([path]) == []


IMPORTS = "from usjepa.present import figures\nfrom usjepa.results.ledger import ledger\nimport usjepa as uj\n"
NAMES = "uj.run, uj.read_camus, uj.quoted_gains, uj.segment"


def test_python_imports_no_module_that_was_not_found(tmp_path):
    """The static reading against the real thing: what is loaded after these imports is among what was found."""
    listing = "\nimport sys, json\nprint(json.dumps([m for m in sys.modules if m.split('.')[0] == 'usjepa']))"
    shown = subprocess.run(
        [sys.executable, "-c", IMPORTS + NAMES + listing], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(shown.stdout))
    found = closure(used_modules(stored(IMPORTS + NAMES)))
    names = {file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in found}
    assert len(loaded) > 50
    assert loaded <= names
    assert "usjepa.notebooks.run" not in names


def test_a_check_of_all_notebooks_imports_nothing_that_takes_seconds():
    code = (
        "import sys\nfrom pathlib import Path\nfrom usjepa.notebooks import check_notebooks\n"
        "check_notebooks(sorted(Path('notebooks').glob('*.ipynb')))\n"
        "print({'numpy', 'pandas', 'torch', 'nbformat', 'papermill'} & {*sys.modules})"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
