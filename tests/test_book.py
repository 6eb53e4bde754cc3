"""The files of the built book: its pages, their links, and that they ask no other host. Needs `make html`."""

import csv
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from built_book import NAMES, ROOT, SITE, Markup, require_built

import usjepa

pytestmark = pytest.mark.book

GENERATED = {"index", "search", "genindex", "py-modindex"}
LARGEST_PAGE_BYTES = 3_000_000
LARGEST_SITE_BYTES = 60_000_000


@pytest.fixture(scope="module")
def pages() -> dict[Path, Markup]:
    require_built()
    return {path: Markup(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}


def test_the_book_has_the_pages_of_its_table_of_contents(pages):
    built = {path.relative_to(SITE).with_suffix("").as_posix() for path in pages}
    assert built - GENERATED == set(NAMES)


def test_pages_and_site_are_small(pages):
    sizes = {path.relative_to(SITE).as_posix(): path.stat().st_size for path in pages}
    assert {name: size for name, size in sizes.items() if size > LARGEST_PAGE_BYTES} == {}
    assert sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file()) <= LARGEST_SITE_BYTES


def test_no_page_loads_anything_from_another_host(pages):
    outside = {(path.name, url) for path, markup in pages.items() for url in markup.loaded if urlparse(url).netloc}
    assert outside == set()


def test_no_stylesheet_loads_anything_from_another_host(pages):
    styles = [path for path in (SITE / "_static").rglob("*.css") if "mathjax" not in path.parts]
    assert styles
    for path in styles:
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path


def test_every_internal_link_and_anchor_leads_somewhere(pages):
    links = [(path, url) for path, markup in pages.items() for url in markup.links if not urlparse(url).scheme]
    assert len(links) > len(pages)
    broken = []
    for path, url in links:
        file, anchor = urldefrag(url)
        target = (path.parent / unquote(file)).resolve() if file else path
        is_known = unquote(anchor) in pages[target].anchors if target in pages else target.is_file() and not anchor
        if not is_known:
            broken.append(f"{path.relative_to(SITE)}: {url}")
    assert broken == []


def test_the_notation_page_is_the_packages_own_table(pages):
    letters = re.findall(r"^\| `([^|]*)` \|", usjepa.__doc__ or "", re.M)
    assert len(letters) >= 8
    page = (SITE / "book" / "notation.html").read_text(encoding="utf-8")
    shown = re.findall(r'<tr class="row-[^"]*"><td[^>]*>(.*?)</td>', page.replace("\n", ""))
    assert [re.sub("<[^>]*>", "", cell) for cell in shown] == [letter.replace("`", "") for letter in letters]


def test_the_reference_has_every_module(pages):
    modules = [path for path in (ROOT / "usjepa").rglob("*.py") if not path.name.startswith("__")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules if path.read_text().strip()}
    assert {f"module-{name}" for name in names} <= {
        anchor for page, of in pages.items() if page.name.startswith("api") for anchor in of.anchors
    }


def test_every_name_and_cell_of_the_map_is_a_link(pages):
    links = set(pages[SITE / "book" / "map.html"].links)
    for line in csv.DictReader((ROOT / "book" / "map.csv").read_text(encoding="utf-8").splitlines()):
        notebook, _, cell = line["cell"].partition("#")
        assert f"../notebooks/{notebook}.html#cell-{cell}" in links
        name = line["code"].rpartition(".")[2]
        owner = line["code"].split(".")[-2]
        place = re.compile(rf"^api[-\w]*\.html#usjepa\.[\w.]*\b({name}|{owner})$")
        assert any(map(place.search, links)), line["code"]
