"""The files of the built book: its pages, their links, and that they ask no other host. Needs `make html`."""

import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from built_book import NAMES, ROOT, SITE, Markup, require_built

import usjepa

pytestmark = pytest.mark.book

GENERATED = {"index", "search", "genindex", "py-modindex"}


@pytest.fixture(scope="module")
def pages() -> dict[Path, Markup]:
    require_built()
    return {path: Markup(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}


def test_the_book_has_the_pages_of_its_table_of_contents(pages):
    built = {path.relative_to(SITE).with_suffix("").as_posix() for path in pages}
    assert built - GENERATED == set(NAMES)


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
    shown = re.findall(r'<tr class="row-[^"]*"><td>(.*?)</td>', page.replace("\n", ""))
    assert [re.sub("<[^>]*>", "", cell) for cell in shown] == [letter.replace("`", "") for letter in letters]


def test_the_reference_has_every_module(pages):
    page = SITE / "book" / "api.html"
    modules = [path for path in (ROOT / "usjepa").rglob("*.py") if not path.name.startswith("__")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules if path.read_text().strip()}
    assert {f"module-{name}" for name in names} <= pages[page].anchors
