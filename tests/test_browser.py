"""The built book as a reader meets it: in a browser, at two widths, with every other host shut. Needs `make html`."""

import os
import shutil
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from built_book import NAMES, SITE, require_built
from playwright.sync_api import Page, Request, Route, sync_playwright

pytestmark = pytest.mark.book

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDTHS = {"desktop": 1280, "phone": 390}
PLAYER = "notebooks/00-quickstart"
# What Chromium reports of moved content while a page loads; a page below 0.1 is called good (web.dev, CLS).
STILL = """
window.moved = 0;
new PerformanceObserver(list => { for (const entry of list.getEntries()) window.moved += entry.value; })
    .observe({type: 'layout-shift', buffered: true});
"""
MOST_MOVED = 0.1
# Lists as Sphinx writes those of the package's reference and of the bibliography: out of our hands.
AUDIT = """
axe.run({resultTypes: ['violations'], preload: false}).then(({violations}) => violations
    .filter(found => ['serious', 'critical'].includes(found.impact))
    .flatMap(found => found.nodes
        .filter(node => !(['definition-list', 'dlitem', 'aria-required-children'].includes(found.id)
            && document.querySelector(node.target[0]).closest('dl.py, .citation-list')))
        .map(node => `${found.id}: ${node.target} ${node.html.slice(0, 120)}`)))
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the browser's own record is what is tested."""


@pytest.fixture(scope="module")
def address():
    require_built()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium found; install it to test the pages in a browser (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield opened
        opened.close()


class Visit:
    """A browser page that may reach the book only, with a record of what went wrong."""

    def __init__(self, page: Page, allowed: str):
        self.page, self.allowed = page, allowed
        self.outside: list[str] = []
        self.faults: list[str] = []
        page.route("**/*", self.let_through)
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("requestfailed", self.failed)

    def let_through(self, route: Route) -> None:
        if route.request.url.startswith((self.allowed, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()

    def failed(self, request: Request) -> None:
        self.faults.append(f"request failed: {request.url}")


@pytest.fixture(params=WIDTHS)
def visit(request, browser, address):
    size = {"width": WIDTHS[request.param], "height": 844}
    context = browser.new_context(viewport=size, has_touch=request.param == "phone")
    yield Visit(context.new_page(), address)
    context.close()


@pytest.mark.parametrize("name", ["book/method", "book/ultrasound"])
def test_a_picture_that_comes_late_moves_nothing(visit, address, name):
    page = visit.page
    page.add_init_script(STILL)
    page.route("**/_images/*", lambda route: (time.sleep(0.5), route.continue_()))
    page.goto(f"{address}/{name}.html")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert page.evaluate("window.moved") < MOST_MOVED / 4


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_complete_quiet_still_no_wider_than_the_screen_and_open_to_all(visit, address, name):
    page = visit.page
    page.add_init_script(STILL)
    page.goto(f"{address}/{name}.html")
    formulas = page.locator("span.math, div.math").count()
    page.wait_for_function("n => document.querySelectorAll('mjx-container').length == n", arg=formulas, timeout=15_000)
    assert page.locator("mjx-merror").count() == 0
    broken = "[...document.images].filter(i => i.complete && i.src && !i.naturalWidth).map(i => i.src.slice(0, 99))"
    assert page.evaluate(broken) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.evaluate("window.moved") < MOST_MOVED
    page.evaluate(AXE_SCRIPT)
    assert page.evaluate(AUDIT) == []
    assert visit.faults == []


def test_a_table_of_prose_too_wide_for_a_phone_is_read_row_by_row(visit, address):
    page, is_phone = visit.page, visit.page.viewport_size["width"] == WIDTHS["phone"]
    page.goto(f"{address}/book/deviations.html")
    first, second = (page.locator("table.stacked td").nth(k) for k in (0, 1))
    assert (second.bounding_box()["y"] > first.bounding_box()["y"]) == is_phone
    assert second.get_attribute("data-name") == page.locator("table.stacked th").nth(1).text_content()
    wide = "[...document.querySelectorAll('table.stacked')].filter(t => t.scrollWidth > t.parentNode.clientWidth)"
    assert page.evaluate(f"{wide}.length") == 0


def test_figures_keep_their_shape_and_a_wide_one_its_size(visit, address):
    page = visit.page
    page.goto(f"{address}/{PLAYER}.html")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    figures = page.evaluate("""[...document.querySelectorAll('img[height]:not(.usjepa-player img)')]
        .map(i => [i.className, i.width, i.width / i.height, i.naturalWidth / i.naturalHeight])""")
    assert len(figures) == 3
    for name, width, shape, natural in figures:
        assert shape == pytest.approx(natural, rel=0.02)
        assert name != "wide" or width >= 600


def test_the_audit_finds_a_picture_without_words_and_the_watch_a_jump(visit, address):
    page = visit.page
    page.add_init_script(STILL)
    page.goto(f"{address}/{NAMES[0]}.html")
    page.evaluate("document.querySelector('article').prepend(new Image(300, 300))")
    page.wait_for_function("window.moved >= 0.1")
    page.evaluate(AXE_SCRIPT)
    assert any(line.startswith("image-alt: ") for line in page.evaluate(AUDIT))


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_player_plays_stops_and_obeys_keys(visit, address, scheme):
    visit.allowed = address if scheme == "http" else SITE.as_uri()
    page = visit.page
    page.goto(f"{visit.allowed}/{PLAYER}.html")
    players = page.locator(".usjepa-player")
    first, label = players.first, players.first.locator("output")
    button = first.get_by_role("button")
    press = button.tap if page.evaluate("'ontouchstart' in window") else button.click
    assert label.inner_text().startswith("frame 1 of ")
    press()
    page.wait_for_function(
        "t => document.querySelector('.usjepa-player output').textContent != t", arg=label.inner_text()
    )
    press()
    assert button.inner_text() == "Play"
    stopped = label.inner_text()
    page.wait_for_timeout(400)
    assert label.inner_text() == stopped
    first.get_by_role("slider").press("Home")
    first.get_by_role("slider").press("ArrowRight")
    assert label.inner_text().startswith("frame 2 of ")
    assert first.get_by_role("slider").get_attribute("aria-valuetext") == label.inner_text()
    assert first.locator("img").nth(1).is_visible()
    assert first.locator("img:visible").count() == 1
    for number in range(1, players.count()):
        assert players.nth(number).locator("output").inner_text().startswith("frame 1 of ")
    # A browser forbids a page in a file to read its neighbours, icon fonts among them, and says so in the console.
    assert visit.outside == [] if scheme == "file" else visit.faults == []


def test_search_finds_a_page(visit, address):
    visit.page.goto(f"{address}/search.html?q=notation")
    visit.page.wait_for_selector("ul.search li a")
    assert any(
        "notation" in link for link in visit.page.eval_on_selector_all("ul.search li a", "l => l.map(a => a.href)")
    )
    assert visit.faults == []
