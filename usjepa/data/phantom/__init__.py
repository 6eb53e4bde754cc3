"""A beating heart made of moving scatterers, with exact labels, written as a CAMUS tree."""

from usjepa.data.phantom.beat import PhantomRecipe, render_beat
from usjepa.data.phantom.tree import write_phantom

__all__ = ["PhantomRecipe", "render_beat", "write_phantom"]
