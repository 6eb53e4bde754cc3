"""Give each picture its size, so that no text jumps when it comes, and let wide ones scroll on a phone."""

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.images import get_image_size

PICTURE = re.compile(r'<img (?=[^>]*src="(?:\.\./)*_images/([^"]+\.(?:png|jpg))")')
# Wider than this in pixels, the words in a figure can't be read once it is scaled down to a phone.
WIDEST = 680


def with_sizes(app: Sphinx, page: str, template: str, context: dict[str, str], tree: nodes.document | None) -> None:
    """Called by Sphinx for each page, with its HTML in `context["body"]`."""
    sources = {name: uri for uri, name in app.builder.images.items()}

    def sized(found: re.Match[str]) -> str:
        width, height = get_image_size(Path(app.srcdir) / sources[found[1]])
        wide = 'class="wide" ' if width > WIDEST else ""
        return f'<img {wide}width="{width}" height="{height}" '

    if "body" in context:
        context["body"] = PICTURE.sub(sized, context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", with_sizes)
    return {"parallel_read_safe": True}
