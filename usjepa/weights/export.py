"""The encoder of a run as a safetensors file that carries its recipe and a card."""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from safetensors.torch import save_file

from usjepa.errors import InputError
from usjepa.files import replaced
from usjepa.model.encoder import Encoder
from usjepa.recipe import PretrainRecipe, VideoMAERecipe
from usjepa.recipe_file import read_recipe, to_json
from usjepa.weights.containers import read_container
from usjepa.weights.files import OWN_NOTE
from usjepa.weights.licence import licence_of_run
from usjepa.weights.load import load_into_

CARD = """# {title}

A video vision transformer for ultrasound: width {model.width}, depth {model.depth}, {model.heads} heads, tubelets of \
{model.tubelet_frames} x {model.patch_px} x {model.patch_px}, clips of {clip.frames} frames of {clip.size_px} x \
{clip.size_px}, channels: {clip.channels}. It is the {judged} after {step} of {steps} steps.

- **Data**: fingerprint `{data}`{weights}.
- **Meant for**: teaching and research on segmentation of ultrasound video, on the phantom and on data that is \
described as openly. **Not for diagnosis**, nor for any decision about a patient.
- **Known limits**: trained on the films of that fingerprint only; nothing is known of other probes, views or diseases.
- **Licence**: {licence}
- **Paper**: arXiv 2507.18424.

```python
from pathlib import Path
from usjepa import load_published
encoder = load_published(Path("{name}"))
```
"""


def export(folder: Path, out: Path) -> Path:
    """Write the encoder that a pre-training run's folder is judged by, V-JEPA's teacher or VideoMAE's encoder.

    Names are timm's for each block, the table of positions is included, the header holds the recipe and a model card;
    equal runs give equal bytes. Raises InputError for a folder that holds no pre-training, or a damaged one.
    """
    recipe = read_recipe(folder / "recipe.json")
    if not isinstance(recipe, PretrainRecipe | VideoMAERecipe):
        raise InputError(
            f"{folder}: expected the run of a pre-training, got one of {recipe.kind!r}. Export the run it starts from."
        )
    state = _read_state(folder / "last.pt")
    prefix = f"{_judged(recipe)}."
    own = {name.removeprefix(prefix): tensor for name, tensor in state["model"].items() if name.startswith(prefix)}
    encoder = Encoder(recipe.model, recipe.clip)
    load_into_(encoder, own, f"{folder / 'last.pt'}: {_judged(recipe)}")
    note = {"recipe": json.loads(to_json(recipe)), "card": write_card(recipe, folder, state["step"], out.name)}
    out.parent.mkdir(parents=True, exist_ok=True)
    with replaced(out) as beside:
        save_file(encoder.state_dict(), beside, {OWN_NOTE: json.dumps(note)})
    return out


def write_card(recipe: PretrainRecipe | VideoMAERecipe, folder: Path, step: int, name: str) -> str:
    """The model card in Markdown, from the recipe and the run's record. Raises InputError if the record is missing."""
    path = folder / "environment.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        data, weights = record["data"], record["weights"]
    except (OSError, ValueError, LookupError) as error:
        raise InputError(
            f"{path}: expected the record of a run, got none ({error}). Give a run's whole folder."
        ) from error
    return CARD.format(
        title=f"Ultrasound video encoder, {_method(recipe)}",
        model=recipe.model,
        clip=recipe.clip,
        judged=_judged(recipe),
        step=step,
        steps=recipe.steps,
        data=data,
        weights=f", begun from published weights `{weights}`" if weights else "",
        licence=licence_of_run(recipe),
        name=name,
    )


def _judged(recipe: PretrainRecipe | VideoMAERecipe) -> str:
    return "teacher" if isinstance(recipe, PretrainRecipe) else "encoder"


def _method(recipe: PretrainRecipe | VideoMAERecipe) -> str:
    if isinstance(recipe, VideoMAERecipe):
        return "VideoMAE"
    return "V-JEPA with the localisation loss" if recipe.prediction_weight < 1 else "V-JEPA"


def _read_state(path: Path) -> dict[str, Any]:
    """A run's checkpoint, every byte compared with the checksums in it."""
    contents = read_container(path).contents
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()
    except (BadZipFile, OSError) as error:
        raise InputError(f"{path}: expected a run's checkpoint, got another file ({error}). Run it again.") from error
    if damaged or not isinstance(contents.get("model"), dict) or "step" not in contents:
        came = f"damage in {damaged}" if damaged else "another file"
        raise InputError(f"{path}: expected a run's checkpoint, got {came}. Run it again.")
    return contents
