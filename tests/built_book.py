"""Where the built book lies, which pages it must have, and what a page refers to."""

from html.parser import HTMLParser
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
CHAPTERS = [chapter for part in TOC["parts"] for chapter in part["chapters"]]
NAMES = [TOC["root"], *(page["file"] for chapter in CHAPTERS for page in (chapter, *chapter.get("sections", ())))]
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class Markup(HTMLParser):
    """What a page loads, links to, and can be linked at."""

    def __init__(self, path: Path):
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.anchors.add(found.get("id", ""))
        if found.get(LOADED.get(tag, "")):
            self.loaded.append(found[LOADED[tag]])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])


def require_built() -> None:
    """A test of the built book says what to do instead of passing on nothing."""
    assert (SITE / "index.html").is_file(), "the book is not built: run `make html` first"
