"""Small CAMUS trees in both releases, made for tests: other sizes in each view, labels of all structures, stills."""

import gzip
from pathlib import Path

import numpy as np
import SimpleITK

SIZES = {"2CH": (7, 12, 18), "4CH": (7, 18, 12)}
LISTS = {"training": "patient0001", "validation": "patient0002", "testing": "patient0003"}
SPACING_MM = (0.25, 0.5)


def pixels(patient: int, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames and labels uint8 [T, H, W]: noise, a ventricle whose wall moves, an atrium below it."""
    length, rows, columns = SIZES[view]
    rng = np.random.default_rng([patient, len(view), rows])
    frames = rng.integers(0, 250, (length, rows, columns), dtype=np.uint8)
    labels = np.zeros_like(frames)
    for t in range(length):
        labels[t, 1 + t // 3 : rows // 2, 2:-2] = 2
        labels[t, 2 + t // 3 : rows // 2, 3:-3] = 1
        labels[t, rows // 2 :, 3:-3] = 3
    return frames, labels


def store(path: Path, array: np.ndarray, *, kind: type = np.float32, spacing_mm: tuple[float, float] = SPACING_MM):
    """Write one image, compressed if the name is that of an .nii.gz or if an .mhd is to have a .zraw."""
    image = SimpleITK.GetImageFromArray(array.astype(kind), isVector=False)
    image.SetSpacing((*spacing_mm[::-1], 1.0)[: array.ndim])
    SimpleITK.WriteImage(image, str(path), useCompression=path.name.endswith((".gz", "gt.mhd")))
    return path


def write_nifti_tree(root: Path) -> Path:
    """Three patients as in CAMUS_public; 2CH of the second is stored from systole to diastole."""
    home = root / "database_nifti"
    for number in (1, 2, 3):
        write_patient(home / f"patient{number:04d}", number, "half_sequence", ".nii.gz", np.float32)
    (root / "database_split").mkdir()
    for part, name in LISTS.items():
        (root / "database_split" / f"subgroup_{part}.txt").write_text(f"{name}\n")
    (root / "phantom.json").write_text("{}\n")
    return root


def write_mhd_tree(root: Path) -> Path:
    """The same three patients in the older release, with the lists of one fold; images .raw, labels .zraw."""
    for number in (1, 2, 3):
        write_patient(root / "training" / f"patient{number:04d}", number, "sequence", ".mhd", np.uint8)
    (root / "listSubGroups").mkdir()
    for part, name in LISTS.items():
        (root / "listSubGroups" / f"subGroup1_{part}.txt").write_text(f"{name}\n")
    return root


def write_patient(folder: Path, number: int, whole: str, ending: str, kind: type) -> None:
    folder.mkdir(parents=True)
    for view in SIZES:
        frames, labels = pixels(number, view)
        instants = {"ED": 0, "ES": -1}
        ed, es = 1, len(frames)
        if (number, view) == (2, "2CH"):
            frames, labels, instants, (ed, es) = frames[::-1], labels[::-1], {"ED": -1, "ES": 0}, (es, ed)
        for suffix, array in (("", frames), ("_gt", labels)):
            store(folder / f"{folder.name}_{view}_{whole}{suffix}{ending}", array, kind=kind)
            for name, index in instants.items():
                still = array[index] if ending == ".nii.gz" else array[[index]]
                store(folder / f"{folder.name}_{view}_{name}{suffix}{ending}", still, kind=kind)
        text = f"ED: {ed}\nES: {es}\nNbFrame: {len(frames)}\nImageQuality: Good\nEF: 54\nFrameRate: 48.4\n"
        (folder / f"Info_{view}.cfg").write_text(text)


def recompressed(path: Path, change) -> None:
    """Change the uncompressed bytes of a .gz file and store them with a checksum that fits."""
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes())), mtime=0))
