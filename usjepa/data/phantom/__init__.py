"""A beating heart of moving scatterers with exact labels, written as a CAMUS tree; and scenes that are no heart."""

from usjepa.data.phantom.beat import PhantomRecipe, render_beat
from usjepa.data.phantom.scenes import SceneRecipe, render_scene, write_scenes
from usjepa.data.phantom.statistics import realism
from usjepa.data.phantom.tree import write_phantom

__all__ = ["PhantomRecipe", "SceneRecipe", "realism", "render_beat", "render_scene", "write_phantom", "write_scenes"]
