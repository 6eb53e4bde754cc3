"""A student's JupyterLab: its server is started, a notebook opened in Chromium, run from the menu, a slider moved."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import test_browser
from playwright.sync_api import Page, expect
from small_notebooks import fresh, save

from usjepa.notebooks import normalise

ROOT = Path(__file__).parents[1]
BOOK = "01-the-claim.ipynb"
LIVE = "live.ipynb"
STORED = "stored.ipynb"
SLIDER = """\
from ipywidgets import IntSlider, interactive_output
from IPython.display import display
k = IntSlider(value=1, min=1, max=9, description="k")
display(k, interactive_output(lambda k: print(f"{k} squared is {k * k}"), {"k": k}))
"""
PATIENCE_S = 300
PATIENCE_MS = 1000 * PATIENCE_S

browser = test_browser.browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The address of a JupyterLab of its own and the folder it serves: one notebook of the book, one with a slider."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "notebooks" / BOOK, folder)
    masking = nbformat.read(ROOT / "notebooks" / "04-masking.ipynb", as_version=4)
    masking.cells = [cell for cell in masking.cells if "uj.mask_gallery(" in cell.source]
    save(masking, folder / STORED)
    save(normalise(fresh(SLIDER)), folder / LIVE)
    no_news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    settings = folder / ".config" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(no_news))
    own = {f"JUPYTER_{kind}_DIR": str(folder / f".{kind.lower()}") for kind in ("RUNTIME", "CONFIG", "DATA")}
    options = ["--no-browser", "--allow-root", "--IdentityProvider.token=", "--ServerApp.port=0"]
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={folder}"]
    trust = [sys.executable, "-m", "jupyter", "trust", STORED]  # as `make lab` does
    subprocess.run(trust, cwd=folder, env=os.environ | own, check=True, capture_output=True)
    with open(folder / ".log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=os.environ | own, stdout=log, stderr=log)
    try:
        yield address_of(server, folder), folder
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=PATIENCE_S)


def address_of(server: subprocess.Popen[bytes], folder: Path) -> str:
    """Where the server listens, once it says so."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s and server.poll() is None:
        for record in (folder / ".runtime").glob("jpserver-*.json"):
            if text := record.read_text():
                return json.loads(text)["url"]
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{(folder / '.log').read_text()}")


@pytest.fixture
def page(browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def visit(page: Page, address: str, name: str) -> None:
    """Open a notebook as a link would, and wait for its kernel."""
    page.goto(f"{address}lab/tree/{name}?reset")
    # The kernel's name in the toolbar comes earlier; what runs before the kernel answers is lost.
    ready = page.get_by_role("button", name="Python 3 (ipykernel) | Idle")
    expect(ready).to_be_visible(timeout=PATIENCE_MS)


def run_all(page: Page, address: str, name: str) -> None:
    """Run a notebook as a student would: by the menu."""
    visit(page, address, name)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def saved(page: Page, path: Path) -> list[nbformat.NotebookNode]:
    """The code cells of a notebook that has run to its end, from the file that the student saves."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1000)
        if not (text := path.read_text()):  # Lab is writing it
            continue
        cells = [cell for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]
        if [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)):
            return cells
    raise AssertionError(f"{path.name}: not run to its end:\n{path.read_text()}")


def test_a_moved_slider_changes_the_output(lab, page):
    address, _ = lab
    run_all(page, address, LIVE)
    shown = page.locator(".jp-OutputArea pre", has_text="squared is")
    expect(shown).to_have_text("1 squared is 1", timeout=PATIENCE_MS)
    handle, track = page.locator(".widget-slider .noUi-handle"), page.locator(".widget-slider .noUi-base")
    start, end = handle.bounding_box(), track.bounding_box()
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] + end["width"], start["y"] + start["height"] / 2, steps=5)
    page.mouse.up()
    expect(shown).to_have_text("9 squared is 81", timeout=PATIENCE_MS)


def test_a_notebook_of_the_book_runs_to_its_end(lab, page):
    address, folder = lab
    path = folder / BOOK
    unrun = nbformat.read(path, as_version=4)
    for cell in unrun.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = None, []
    save(unrun, path)
    run_all(page, address, BOOK)
    outputs = [output for cell in saved(page, path) for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert page.locator(".jp-OutputArea-output img").first.is_visible()


def test_a_stored_figure_of_a_trusted_notebook_works_before_anything_is_run(lab, page):
    address, _ = lab
    visit(page, address, STORED)
    slider = page.locator(".jp-RenderedHTML input[name=slice]")
    expect(slider).to_have_attribute("aria-valuetext", "1 of 8", timeout=PATIENCE_MS)
    slider.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "2 of 8")
