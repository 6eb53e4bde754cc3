"""For phones: pictures that say their size, so that no text jumps when they come, and tables read row by row."""

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import imagesize
from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.application import Sphinx

SOURCE = r'src="(?:(?:\.\./)*_images/(?P<file>[^"]+\.(?:png|jpg))|data:image/png;base64,(?P<head>[^"]{64}))'
PICTURE = re.compile(rf"<img (?=[^>]*{SOURCE})")
# Wider than this in pixels, the words in a figure can't be read once it is scaled down to a phone.
WIDEST = 680
TABLE = re.compile(r'<table class="table".*?</table>', re.DOTALL)
# From so many columns on a table is read row by row on a phone.
MANY = 3


def for_phones(app: Sphinx, page: str, template: str, context: dict[str, str], tree: nodes.document | None) -> None:
    """Called by Sphinx for each page, with its HTML in `context["body"]`."""
    sources = {name: Path(app.srcdir) / uri for uri, name in app.builder.images.items()}

    def sized(found: re.Match[str]) -> str:
        width, height = imagesize.get(sources[found["file"]] if found["file"] else BytesIO(b64decode(found["head"])))
        wide = 'class="wide" ' if width > WIDEST else ""
        return f'<img {wide}width="{width}" height="{height}" '

    if "body" in context:
        context["body"] = TABLE.sub(with_names, PICTURE.sub(sized, context["body"]))


def with_names(found: re.Match[str]) -> str:
    """A table whose cells know their column's name, if it has many columns."""
    table = BeautifulSoup(found[0], "html.parser")
    names = [head.get_text() for head in table.select("thead th")]
    if len(names) < MANY:
        return found[0]
    table.table["class"].append("stacked")
    for row in table.select("tbody tr"):
        for name, cell in zip(names, row.select("td"), strict=True):
            cell["data-name"] = name
    return str(table)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", for_phones)
    return {"parallel_read_safe": True}
