"""`usjepa encode` and `usjepa segment`: trained models on any film."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

ONE_CLIP = (
    "One clip a film is taken, from its first frame on, padded to a square and resized. Its frames: `paper` spreads "
    "them over frames x step, and repeats the last one of a shorter film; `uniform` spreads them over the whole film; "
    "`dense` takes every step-th, or closer ones of a short film, and needs as many as the clip has. A film that can't "
    "be read or cut is named and left out, and the exit code is then 1. What was written before is replaced."
)
FILM = "a film (DICOM, AVI, MP4, MOV, NIfTI, MHA), a folder of films, EchoNet-Dynamic, or CAMUS in either release"


def add_encode(encode: ArgumentParser) -> None:
    """The options of `usjepa encode`."""
    encode.description = f"Write every token's features, [k t i j d] for k films, as safetensors. {ONE_CLIP}"
    encode.add_argument("source", type=Path, metavar="INPUT", help=FILM)
    encode.add_argument(
        "--weights", type=Path, required=True, metavar="FILE", help="as `usjepa weights describe` reads"
    )
    encode.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .safetensors file")
    encode.add_argument("--policy", choices=("paper", "uniform", "dense"), help="the weights' own recipe's, or paper")
    encode.add_argument("--device", default="auto", help="auto, cpu or cuda")
    encode.set_defaults(run=encode_films)


def add_segment(segment: ArgumentParser) -> None:
    """The options of `usjepa segment`."""
    segment.description = (
        f"Write masks of the clip's frames in the film's own size, and pictures, to a folder a film below DIR. "
        f"For research and teaching, not for diagnosis. {ONE_CLIP}"
    )
    segment.add_argument("source", type=Path, metavar="INPUT", help=FILM)
    segment.add_argument(
        "--run", dest="folder", type=Path, required=True, metavar="RUN", help="a finished run's folder"
    )
    segment.add_argument("--out", type=Path, required=True, metavar="DIR")
    segment.add_argument("--weights", type=Path, metavar="FILE", help="published weights, if the run judges these")
    segment.add_argument("--device", default="auto", help="auto, cpu or cuda")
    segment.set_defaults(run=segment_films)


def encode_films(options: Namespace) -> int:
    """`usjepa encode INPUT --weights FILE --out FILE`."""
    from dataclasses import asdict, replace

    from usjepa.data.sources import read_source
    from usjepa.inference.apply import encode
    from usjepa.inference.clips import clip_of, cut_films
    from usjepa.inference.write import Encoded, origin_of, write_features
    from usjepa.recipe_file import recipe_hash
    from usjepa.training.device import choose_device
    from usjepa.weights.files import read_weights
    from usjepa.weights.load import load_published

    source, device = read_source(options.source), choose_device(options.device)
    weights = read_weights(options.weights)
    encoder = load_published(options.weights).to(device)
    spec = weights.recipe.clip if weights.recipe else clip_of(encoder)
    spec = replace(spec, policy=options.policy or spec.policy)
    films = [
        Encoded(origin_of(sequence), cut.indices, encode(cut.clip, encoder)[0].cpu())
        for sequence, cut in cut_films(source, spec, "encode")
    ]
    notes = {
        "weights": weights.path.name,
        "weights_sha256": weights.sha256,
        "weights_form": f"{weights.form}, {weights.part()}",
        "recipe": recipe_hash(weights.recipe) if weights.recipe else None,
        "clip": asdict(spec),
    }
    written = write_features(options.out, films, notes)
    sizes = " x ".join(map(str, (len(films), *films[0].features.shape)))
    print(f"{written}: features {sizes} (films, t, i, j, width) of {spec.frames} frames a film, float32")
    return 0 if len(films) == len(source) else 1


def segment_films(options: Namespace) -> int:
    """`usjepa segment INPUT --run RUN --out DIR`."""
    from tqdm.auto import tqdm

    from usjepa.data.sources import read_source
    from usjepa.evaluation.native import to_native
    from usjepa.inference.apply import load_run, segment, segment_recipe
    from usjepa.inference.clips import cut_films
    from usjepa.inference.write import write_masks
    from usjepa.recipe_file import recipe_hash
    from usjepa.structures import STRUCTURES
    from usjepa.training.device import choose_device

    source, recipe = read_source(options.source), segment_recipe(options.folder)
    judged = load_run(options.folder, choose_device(options.device), options.weights)
    notes = {"labels": STRUCTURES, "recipe": recipe_hash(recipe)}
    done = 0
    for sequence, cut in cut_films(source, recipe.clip, "segment"):
        rows, columns = sequence.frames.shape[1:]
        labels = to_native(segment(cut.clip, judged)[0].cpu(), (rows, columns)).numpy()
        tqdm.write(write_masks(options.out, sequence, cut.indices, labels, notes))
        done += 1
    return 0 if done == len(source) else 1
