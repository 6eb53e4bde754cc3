"""One set of packages, said in several places that must agree."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ASKED_FOR = {
    "jupyterlab",
    "papermill",
    "nbval",
    "torch",
    "timm",
    "simpleitk",
    "matplotlib",
    "ipywidgets",
    "jupyter-book",
}


def requirements() -> list[Requirement]:
    return [Requirement(line) for line in [*PROJECT["dependencies"], *EXTRAS["book"], *EXTRAS["test"]]]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(name): pinned for name, pinned in pairs}


def test_environment_yml_leaves_every_version_to_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, from_pip = environment["dependencies"]
    assert pip == "pip"
    assert from_pip == {"pip": ["-e .[book,test]"]}
    assert python.split("=")[1] in SpecifierSet(PROJECT["requires-python"])
    assert {"book", "test"} <= EXTRAS.keys()


def test_what_the_book_promises_is_installed_by_the_two_extras():
    assert {canonicalize_name(requirement.name) for requirement in requirements()} >= ASKED_FOR


def test_jupyter_book_stays_below_2_everywhere():
    (asked,) = [requirement for requirement in requirements() if requirement.name == "jupyter-book"]
    assert "1.0.4.post1" in asked.specifier
    assert "2.0.0" not in asked.specifier
    assert constraints()["jupyter-book"].startswith("1.")
    assert version("jupyter-book").startswith("1.")
    for path in [ROOT / "README.md", ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / "book").glob("*.md")]:
        assert not re.search(r"pip3? install[^\n]*jupyter-book(?!<2)", path.read_text()), path


def test_constraints_satisfy_pyproject():
    pins = constraints()
    for requirement in requirements():
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_papers_citation_can_be_read():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    preferred = citation["preferred-citation"]
    assert preferred["authors"][0]["family-names"] == "Ellis"
    assert preferred["url"].endswith("/2507.18424")


def test_no_address_is_invented():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    switches = config["html"]
    if not config["repository"]["url"]:
        assert not any(switches[key] for key in switches if key.endswith("_button"))
        assert config["launch_buttons"] == {"thebe": False}
        assert "urls" not in PROJECT


def test_help_lists_every_verb():
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.search(r"^\.PHONY: (.+)$", makefile, re.M)[1].split())
    command = ["make", "--no-print-directory", "help"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == verbs
    assert verbs == {"env", "book", "test", "html", "lab", "notebooks", "clean", "help"}


def test_ci_runs_what_the_readme_tells():
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script
    assert "make test" in (ROOT / "README.md").read_text()


def test_this_python_is_allowed():
    assert ".".join(map(str, sys.version_info[:3])) in SpecifierSet(PROJECT["requires-python"])
