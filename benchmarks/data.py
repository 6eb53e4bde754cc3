"""How fast phantom, files and store are: `python benchmarks/data.py [--json FILE]`, a minute on two cores.

Rates of one process count its own CPU time, so that other work on the machine changes them little; rates of several
processes need the wall clock. What is compared is measured in one run.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import SimpleITK
import torch
from PIL import Image
from record import keep

from usjepa.data.camus import read_camus
from usjepa.data.clips import frame_indices, normalise
from usjepa.data.layout import VIEWS
from usjepa.data.phantom import PhantomRecipe, SceneRecipe, render_scene, write_phantom
from usjepa.data.phantom.beat import examine, render
from usjepa.data.phantom.tree import write_patient
from usjepa.data.prepare import prepare, to_square
from usjepa.data.store import Entry, Store
from usjepa.spec import ClipSpec

PATIENTS = 6
CLIP = ClipSpec(frames=16, size_px=224, channels=3, policy="uniform")


def generate(recipe: PhantomRecipe, patient: int) -> int:
    """Render both half sequences of a patient; gives their frames."""
    count = 0
    for view in VIEWS:
        examination = examine(recipe, patient, view)
        count += len(render(recipe, examination, range(examination.systole_frames + 1))[0])
    return count


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of this process for one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def phantom_rates(rows: int | None) -> dict[str, float]:
    """Frames a second of CPU: generation alone, and writing alone (the time of both less that of generation)."""
    recipe = PhantomRecipe(patients=PATIENTS, rows=rows)
    patients = range(1, PATIENTS + 1)
    # The first call pays for what is loaded and planned once.
    generate(recipe, 1)
    start = time.process_time()
    frames = sum(generate(recipe, patient) for patient in patients)
    alone = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        both = cpu_s(lambda: [write_patient(recipe, patient, Path(folder)) for patient in patients])
    return {"generation": frames / alone, "writing": frames / max(both - alone, 1e-9), "both": frames / both}


def rate_of_processes(rows: int | None, processes: int) -> float:
    """Frames a second of the wall clock, generation alone, by warm processes."""
    recipe = PhantomRecipe(patients=4 * processes, rows=rows)
    numbers = list(range(1, recipe.patients + 1))
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(generate, [recipe] * processes, numbers[:processes]))
        start = time.perf_counter()
        frames = sum(pool.map(generate, [recipe] * len(numbers), numbers))
        return frames / (time.perf_counter() - start)


def scene_rate() -> float:
    """Frames a second of CPU for scenes of 64 rows."""
    recipe = SceneRecipe(number=8, rows=64)
    render_scene(recipe, 1)
    return 8 * recipe.frames / cpu_s(lambda: list(recipe))


def from_files(tree: Path, names: list[str]) -> np.ndarray:
    """Clips as one would read them without a store: whole files by SimpleITK, the clip's frames padded and resized."""
    clips = []
    for name in names:
        path = tree / "database_nifti" / name.split("_")[0] / f"{name}_half_sequence.nii.gz"
        frames = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(np.uint8)
        chosen = frames[frame_indices(len(frames), CLIP)]
        clips.append(np.stack([to_square(frame, CLIP.size_px, Image.Resampling.BILINEAR) for frame in chosen]))
    return np.stack(clips)


def from_store(store: Store, entries: tuple[Entry, ...]) -> np.ndarray:
    """The same clips out of the store's memory map."""
    return np.stack([store.frames[entry.first + frame_indices(entry.length, CLIP)] for entry in entries])


def clip_times(tree: Path, store: Store) -> dict[str, dict[str, float]]:
    """CPU milliseconds of a batch of four clips, medians of repetitions that alternate; both ways give equal clips.

    Grey levels are what a GPU gets; normalising to three float channels on the CPU costs the same on either way.
    """
    entries = store.entries[:4]
    names = [entry.name for entry in entries]
    if not np.array_equal(from_files(tree, names), from_store(store, entries)):
        raise AssertionError("the store holds other clips than the files")
    times = []
    for _ in range(7):
        grey = from_store(store, entries)
        times.append(
            [
                cpu_s(lambda: from_files(tree, names)),
                cpu_s(lambda: from_store(store, entries)),
                cpu_s(lambda grey=grey: normalise(torch.from_numpy(grey).float(), CLIP.channels)),
            ]
        )
    files, prepared, normalising = 1000 * np.median(times, axis=0)
    return {
        "grey levels": {"files": files, "store": prepared, "ratio": files / prepared},
        "and normalised": {
            "files": files + normalising,
            "store": prepared + normalising,
            "ratio": (files + normalising) / (prepared + normalising),
        },
    }


def megabytes(store: Store) -> dict[str, float]:
    """A thousand sequences in memory or on disk: frames, labels, and frames were they kept as three float channels."""
    frames = store.frames.nbytes / len(store.entries) / 1000
    return {"frames": frames, "labels": frames, "as 3 x float32": 12 * frames}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", type=Path, metavar="FILE")
    target = options.parse_args().json
    torch.set_num_threads(1)
    results: dict[str, dict[str, float]] = {}
    for name, rows in (("native", None), ("64 rows", 64)):
        results[f"phantom {name}, frames/s of CPU"] = phantom_rates(rows)
        wall = {f"{count} process{'es' * (count > 1)}": rate_of_processes(rows, count) for count in (1, 2)}
        results[f"phantom {name}, frames/s of the clock"] = wall
    results["scenes 64 rows, frames/s of CPU"] = {"generation": scene_rate()}
    with tempfile.TemporaryDirectory() as folder:
        tree = write_phantom(PhantomRecipe(patients=PATIENTS, rows=None), Path(folder) / "camus")
        store = prepare(read_camus(tree), Path(folder) / "store", CLIP.size_px)
        for name, times in clip_times(tree, store).items():
            results[f"4 clips of 16 at 224 px, {name}, ms"] = times
        results["1000 sequences at 224 px, MB"] = megabytes(store)
    for row, values in results.items():
        print(f"{row:42s}", "  ".join(f"{name} {value:8.1f}" for name, value in values.items()))
    keep(results, target)


if __name__ == "__main__":
    main()
