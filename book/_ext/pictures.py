"""Give each picture its size, so that no text jumps when it comes, and let wide ones scroll on a phone."""

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import imagesize
from docutils import nodes
from sphinx.application import Sphinx

SOURCE = r'src="(?:(?:\.\./)*_images/(?P<file>[^"]+\.(?:png|jpg))|data:image/png;base64,(?P<head>[^"]{64}))'
PICTURE = re.compile(rf"<img (?=[^>]*{SOURCE})")
# Wider than this in pixels, the words in a figure can't be read once it is scaled down to a phone.
WIDEST = 680


def with_sizes(app: Sphinx, page: str, template: str, context: dict[str, str], tree: nodes.document | None) -> None:
    """Called by Sphinx for each page, with its HTML in `context["body"]`."""
    sources = {name: Path(app.srcdir) / uri for uri, name in app.builder.images.items()}

    def sized(found: re.Match[str]) -> str:
        width, height = imagesize.get(sources[found["file"]] if found["file"] else BytesIO(b64decode(found["head"])))
        wide = 'class="wide" ' if width > WIDEST else ""
        return f'<img {wide}width="{width}" height="{height}" '

    if "body" in context:
        context["body"] = PICTURE.sub(sized, context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", with_sizes)
    return {"parallel_read_safe": True}
