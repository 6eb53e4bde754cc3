"""The interactive figures: what they refuse, and in a browser by mouse, touch and keys, alone and in the built book."""

import re
from itertools import pairwise

import numpy as np
import pytest
import test_browser
import torch
from playwright.sync_api import Locator, Page
from test_browser import WIDTHS

import usjepa as uj
from usjepa.errors import InputError

address, browser, visit = test_browser.address, test_browser.browser, test_browser.visit
RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (2, 30, 40), dtype=np.uint8)
GRID = uj.TokenGrid(2, 3, 4)
ROLES = {name: RNG.integers(0, 3, (5, *GRID), dtype=np.uint8) for name in ("short range", "long range")}
FEATURES = {name: RNG.normal(size=(*GRID, 8)).astype(np.float32) for name in ("trained", "untrained")}
RUNS = {"1": None, "0.25": uj.Choice(FRAMES[0], "DSC 0.73"), "0": uj.Choice(FRAMES[1], "DSC 0.71")}
FIGURES = {
    "mask-gallery": uj.mask_gallery(FRAMES, ROLES, alt="masks"),
    "token-inspector": uj.token_inspector(FRAMES, FEATURES, alt="similarity", start=(0, 1, 1)),
    "pair-explorer": uj.pair_explorer(FRAMES, GRID, alt="pairs"),
    "choice-slider": uj.choice_slider(RUNS, quantity="λ", alt="overlay"),
}
PAGES = {
    "mask-gallery": "04-masking",
    "token-inspector": "07-predicting-features",
    "pair-explorer": "08-relative-offset",
    "choice-slider": "12-few-labels",
}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uj.mask_gallery(FRAMES, {}, alt="masks"), "roles: expected named arrays"),
        (lambda: uj.mask_gallery(FRAMES, {"one": ROLES["short range"] + 1}, alt="masks"), "roles: .*up to 3"),
        (lambda: uj.mask_gallery(FRAMES, ROLES, alt=" "), "alt: expected a description"),
        (lambda: uj.token_inspector(FRAMES, {"flat": 0 * FEATURES["trained"]}, alt="a"), "features: flat: .*finite"),
        (lambda: uj.token_inspector(FRAMES, {"many": np.ones((2, 17, 17, 1))}, alt="a"), "at most 512 tokens"),
        (lambda: uj.token_inspector(FRAMES, FEATURES, alt="a", start=(0, 3, 0)), r"start: .*inside \(2, 3, 4\)"),
        (lambda: uj.pair_explorer(FRAMES, (3, 3, 4), alt="pairs"), r"frames: .*\(3, H, W\).*got uint8.*\(2, 30, 40\)"),
        (lambda: uj.pair_explorer(FRAMES, (2, 0, 4), alt="pairs"), "grid: expected at least one token"),
        (lambda: uj.choice_slider({}, quantity="λ", alt="overlay"), "runs: expected values"),
        (
            lambda: uj.choice_slider({"0": RUNS["0"], "1": uj.Choice(FRAMES[0, 1:], "")}, quantity="λ", alt="overlay"),
            r"pictures: .*\[\(30, 40\), \(29, 40\)\]",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused_with_what_to_do(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("kind", FIGURES)
def test_a_figure_is_one_small_file_that_fetches_nothing(kind):
    page = FIGURES[kind].page
    assert not re.search(r"https?://|src=\"(?!data:)|@import|url\(", page)
    assert sum(map(len, re.findall(r"<script>.*?</script>", page, re.S))) < 10_000
    assert f'<figure class="usjepa-widget" id="{kind}-' in page


def test_equal_input_gives_equal_bytes_and_no_name_ends_the_script():
    evil = {'</script><b>"': FEATURES["trained"]}
    first, again = (uj.token_inspector(FRAMES, evil, alt="</script>") for _ in range(2))
    assert first.page == again.page
    assert first.page.count("</script>") == 2


@pytest.fixture(params=WIDTHS)
def page(request, browser):
    size = {"width": WIDTHS[request.param], "height": 844}
    context = browser.new_context(viewport=size, has_touch=request.param == "phone")
    opened, faults = context.new_page(), []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    yield opened
    context.close()
    assert faults == []


def shown(page: Page, kind: str) -> Locator:
    page.set_content(f"<!doctype html><html><body>{FIGURES[kind].page}</body></html>")
    return page.locator("figure")


def press_at(figure: Locator, panel: int, i: int, j: int) -> None:
    """Click a token with the mouse, or tap it where the screen is a touch screen."""
    canvas = figure.locator(".panel canvas").nth(panel)
    box = canvas.bounding_box()
    place = {"x": (j + 0.5) / GRID.j * box["width"], "y": (i + 0.5) / GRID.i * box["height"]}
    is_touch = figure.page.evaluate("'ontouchstart' in window")
    (canvas.tap if is_touch else canvas.click)(position=place)


def words(figure: Locator) -> str:
    return figure.locator("output").inner_text().replace("\u2212", "-").replace("\u00a0", " ")


def test_the_gallery_counts_and_paints_the_masks_it_was_given(page):
    figure = shown(page, "mask-gallery")
    figure.locator("[name=draw]").press("End")
    figure.locator("[name=slice]").press("ArrowRight")
    assert figure.locator("[name=draw]").get_attribute("aria-valuetext") == "5 of 5"
    is_painted = "(canvas, [x, y]) => canvas.getContext('2d').getImageData(x, y, 1, 1).data[3] > 0"
    for number, role in enumerate(ROLES.values()):
        now = role[4, 1]
        panel = figure.locator(".panel").nth(number)
        counts = [int((now == one).sum()) for one in range(3)]
        expected = "{} context, {} target, {} neither".format(*counts)
        assert panel.locator(".numbers").inner_text() == expected
        for (i, j), one in np.ndenumerate(now):
            assert panel.locator("canvas").evaluate(is_painted, [24 * j + 2, 24 * i + 2]) == (one > 0)


def test_the_roles_differ_without_colour(page):
    """The lower left corner of a stroke's mark, its upper left corner and the field between."""
    figure = shown(page, "mask-gallery")
    at = "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3).join()"
    keys = figure.locator(".key canvas").all()
    looks = [[key.evaluate(at, place) for place in ([3, 12], [8, 16], [8, 8])] for key in keys]
    strokes = [[one != field for one in marks] for field, *marks in looks]
    assert strokes == [[False, False], [True, False], [True, True]]


@pytest.mark.parametrize("by", ["pointer", "keys"])
def test_the_inspector_tells_the_cosine_of_the_features(page, by):
    figure = shown(page, "token-inspector")
    figure.get_by_label("untrained", exact=True).check()
    flat = FEATURES["untrained"].reshape(GRID.n, -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    if by == "pointer":
        press_at(figure, 1, 2, 3)
    else:
        for key in ("PageDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
            figure.locator(".pickable").press(key)
    cosines = flat @ flat[GRID.n - 1]
    said = words(figure)
    assert said.startswith("Chosen (1, 2, 3). At (1, 2, 3): cosine +1.00. ")
    most = [int(cosines[:12].argmax()), 12 + int(cosines[12:-1].argmax())]
    for token in most:
        place = uj.coordinates(torch.tensor(token), GRID).tolist()
        told = re.search(rf"\({place[0]}, {place[1]}, {place[2]}\) ([+-]?\d\.\d+)", said.split("Most alike")[1])
        assert abs(float(told[1]) - cosines[token]) < 0.01


@pytest.mark.parametrize("by", ["pointer", "keys"])
def test_the_explorer_agrees_with_eq_2_and_chains_add_up(page, by):
    figure = shown(page, "pair-explorer")
    places = [(1, 2, 0), (0, 0, 3), (1, 1, 1)]
    for name, (t, i, j) in zip("ABC", places, strict=True):
        figure.get_by_label(f"place {name}", exact=True).check()
        if by == "pointer":
            figure.locator("[name=slice]").press("End" if t else "Home")
            press_at(figure, 0, i, j)
        else:
            for key in ("PageUp", *["ArrowUp"] * 3, *["ArrowLeft"] * 3, *["PageDown"] * t, *["ArrowDown"] * i):
                figure.locator(".pickable").press(key)
            for key in (*["ArrowRight"] * j, "Enter"):
                figure.locator(".pickable").press(key)
    rows = [row.inner_text().replace("\u2212", "-") for row in figure.locator("tbody tr").all()]
    told = torch.tensor([[float(x) for x in re.findall(r"[+-]?\d\.\d+", row)] for row in rows])
    tokens = torch.tensor([(t * GRID.i + i) * GRID.j + j for t, i, j in places])
    links = [uj.relative_offset(a[None, None], b[None, None], GRID)[0, 0] for a, b in pairwise(tokens)]
    whole = uj.relative_offset(tokens[None, :1], tokens[None, 2:], GRID)[0, 0]
    assert torch.allclose(told, torch.stack([*links, sum(links), whole]), atol=6e-4)
    assert words(figure).startswith("A lies 1 slice later, 2 rows lower, 3 columns to the left, seen from B.")


def test_a_missing_run_is_said_to_be_not_yet_run(page):
    figure = shown(page, "choice-slider")
    stop, missing = figure.get_by_role("slider"), figure.locator(".missing")
    assert (words(figure), missing.is_visible()) == ("λ = 1: not yet run", True)
    stop.press("ArrowRight")
    assert (words(figure), missing.is_visible()) == ("λ = 0.25: DSC 0.73", False)
    stop.press("End")
    assert figure.locator("img").get_attribute("alt") == "overlay, λ = 0: DSC 0.71"


@pytest.mark.book
@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_the_book_a_figure_obeys_keys_and_keeps_its_height(visit, address, kind, scheme):
    page = visit.page
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{address}/notebooks/{PAGES[kind]}.html")
    figure = page.locator(f"figure[id^={kind}]")
    before, height = figure.inner_text(), figure.bounding_box()["height"]
    control = figure.locator(".pickable, [name=draw], [name=choice]").first
    control.press("ArrowRight")
    assert figure.inner_text() != before
    assert figure.bounding_box()["height"] == height
    assert control.evaluate("x => getComputedStyle(x).outlineStyle") == "solid"
    back = "x => getComputedStyle(x.closest('.text_html')).backgroundColor"
    assert figure.evaluate(back) == "rgba(0, 0, 0, 0)"
    assert figure.evaluate("x => getComputedStyle(x).color") == page.evaluate("getComputedStyle(document.body).color")
    assert visit.faults == []
