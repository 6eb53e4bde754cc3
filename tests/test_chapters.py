"""The chapters without code of their own: their sums, their figures, their example, their glossary."""

import importlib.util
import re
from io import BytesIO
from math import isclose

import numpy as np
import pytest
from PIL import Image
from prose import ROOT

from usjepa.catalogue import CONTROLS, NAMES, Adaptation

BOOK = ROOT / "book"
WORDS = 1500


def page(name: str) -> str:
    return (BOOK / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["ultrasound", "jepas", "glossary", "contributing"])
def test_a_chapter_is_short(name: str) -> None:
    assert len(page(name).split()) < WORDS


def test_the_step_in_numbers_is_right() -> None:
    seen, hidden = np.array([4, 2]), np.array([3, 5])
    student, predictor, teacher = np.array([1.0, 0.0]), 0.5, np.array([0.5, 0.5])
    target, feature = teacher @ hidden, student @ seen
    assert (feature, predictor * feature, target) == (4, 2, 4)
    predictor, student = predictor + 0.1 * feature, student + 0.1 * predictor * seen
    assert np.allclose([predictor, *student, student @ seen], [0.9, 1.2, 0.1, 5])
    assert isclose(abs(predictor * (student @ seen) - target), 0.5)
    teacher = 0.9 * teacher + 0.1 * student
    assert np.allclose([*teacher, teacher @ hidden], [0.57, 0.46, 4.01])
    assert np.allclose([0.25 * 0.84, 0.75 * 0.36], [0.21, 0.27])
    for number in ("(1.2, 0.1)", "z = 4.5", "(0.57, 0.46)", "4.01", "0.21", "0.27", "0.48"):
        assert number in page("jepas")


def test_the_sums_of_the_chapter_on_ultrasound_are_right() -> None:
    assert f"{1e3 * 0.3 / 1540:.2f} ms" == "0.19 ms"
    assert f"{100 * (1 - 0.4 * 1.03**2):.1f} %" == "57.6 %"
    width_mm = 549 * 0.308
    assert [f"{width_mm:.0f}", f"{width_mm / 224:.2f}", f"{16 * width_mm / 224:.0f}"] == ["169", "0.75", "12"]
    for number in ("0.19 ms", "57.6 %", "169 mm", "0.75 mm", "12 mm"):
        assert number in page("ultrasound")


def test_the_figures_of_the_phantom_are_those_of_their_script() -> None:
    spec = importlib.util.spec_from_file_location("echo_figures", BOOK / "echo_figures.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, draw in script.FIGURES.items():
        again = BytesIO()
        script.write(draw(), again)
        stored, drawn = (np.asarray(Image.open(file)) for file in (script.STATIC / f"{name}.jpg", again))
        assert stored.shape == drawn.shape
        assert np.abs(stored.astype(float) - drawn).mean() < 1, f"{name}: run `python book/echo_figures.py`"


def test_the_row_that_the_reader_adds_is_new_and_differs_from_its_own_by_one_thing() -> None:
    ((name, weight, divisor),) = re.findall(
        r'^"([\w-]+)": Adaptation\(([\d.]+), rate_factor=1 / (\d)\),', page("contributing"), re.M
    )
    row = Adaptation(float(weight), rate_factor=1 / int(divisor))
    assert name not in NAMES
    assert row not in CONTROLS.values()
    assert row._replace(rate_factor=1.0) == Adaptation(0.25)


def entries() -> dict[str, str]:
    body = page("glossary").split(":::{glossary}\n")[1].split("\n:::")[0]
    return dict(re.findall(r"^(\S.*)\n((?:  .*\n?)+)", body, re.M))


def test_the_glossary_is_sorted_and_says_where_a_term_is_built() -> None:
    terms = [re.sub(r"[^a-z ]", "", term.lower()) for term in entries()]
    assert len(terms) > 60
    assert terms == sorted(terms)
    unlinked = {term for term, text in entries().items() if "{doc}" not in text}
    assert unlinked == set()


def test_a_term_is_explained_in_one_or_two_sentences() -> None:
    for term, text in entries().items():
        assert len(re.findall(r"(?<!Eq)\.(?=\s|$)", text)) <= 2, term
