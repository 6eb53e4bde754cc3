"""What a run needs besides its recipe: data, a folder for runs, a device, and published weights if it starts there."""

from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from usjepa.data.phantom import SceneRecipe, write_scenes
from usjepa.data.store import Store
from usjepa.errors import InputError
from usjepa.recipe import AnyRun, Pretraining, Published, chain
from usjepa.training.world import World
from usjepa.weights.files import WeightsFile, read_weights


@dataclass(frozen=True, eq=False)
class Workspace:
    """The store, the folder `root` of all runs, the device, files of published weights, and the processes at work.

    `compiles` the transformer's blocks; `caches` a frozen encoder's features on disk; `waits` for a process that trains
    what a run starts from, where an error would be raised. Only the data and the weights
    change what a recipe means: their fingerprints are kept with each run.
    """

    store: Store
    root: Path
    device: torch.device
    weights: tuple[Path, ...] = ()
    world: World = World()
    compiles: bool = False
    caches: bool = True
    waits: bool = True
    shows_progress: bool = True

    @property
    def is_shown(self) -> bool:
        """Whether this process draws progress bars."""
        return self.shows_progress and self.world.is_first

    def films(self, recipe: AnyRun) -> Store:
        """The data of one run: the store, or the rendered scenes that the recipe asks for, made when first needed."""
        if isinstance(recipe, Pretraining) and recipe.scenes:
            return self._scenes(recipe.scenes, recipe.clip.size_px)
        return self.store

    def weights_of(self, published: Published) -> WeightsFile:
        """The given file of this family. Raises InputError if none was given, naming the option that gives it."""
        for path in self.weights:
            if (found := read_weights(path)).family == published.family:
                return found
        raise InputError(
            f"weights: expected a file of published {published.family} weights, got {len(self.weights)} other file(s). "
            "Name it with --weights FILE."
        )

    def weights_sha256(self, recipe: AnyRun) -> str:
        """SHA-256 of the published file that a run goes back to; empty if it goes back to none."""
        first = chain(recipe)[0]
        return self.weights_of(first).sha256 if isinstance(first, Published) else ""

    def _scenes(self, number: int, size_px: int) -> Store:
        """Scenes rendered twice as fine as they are used, where frames are small, as phantoms of hearts are."""
        scenes = SceneRecipe(number=number, rows=max(80, min(2 * size_px, 256)))
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / ".scenes.lock"):
            return write_scenes(scenes, self.root / f"scenes-{number}-{size_px}px", size_px)
