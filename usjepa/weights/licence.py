"""Whose licence weights are under, where that is sure."""

from urllib.parse import urlsplit

from usjepa.recipe import AnyRecipe, Published, chain

PUBLISHED = "CC BY-NC 4.0"
"""Of V-JEPA's (facebookresearch/jepa) and of VideoMAE's (MCG-NJU/VideoMAE) weights: no commercial use."""
OURS = "Apache-2.0"
PUBLISHERS = {"dl.fbaipublicfiles.com": "/jepa/", "huggingface.co": "/MCG-NJU/videomae"}
AUTHORS = {"vjepa": "the authors of V-JEPA (Meta)", "videomae": "the authors of VideoMAE (MCG-NJU)"}


def licence_of_address(address: str) -> str | None:
    """The licence of the weights at a web address of V-JEPA's or VideoMAE's authors; None of any other."""
    parts = urlsplit(address)
    folder = PUBLISHERS.get(parts.hostname or "")
    return PUBLISHED if folder is not None and parts.path.startswith(folder) else None


def licence_of_run(recipe: AnyRecipe) -> str:
    """The licence of a run's weights in a sentence: ours, unless it goes back to published weights."""
    first = chain(recipe)[0]
    if isinstance(first, Published):
        return f"{PUBLISHED}, not for commercial use: derived from weights of {AUTHORS[first.family]}."
    return f"{OURS}: trained from random weights."
