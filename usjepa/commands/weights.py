"""`usjepa weights`: describe a file of weights, fetch one, verify one, write a run's encoder as one."""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_verbs(weights: ArgumentParser) -> None:
    """The verbs below `usjepa weights`."""
    verbs = weights.add_subparsers(required=True, metavar="VERB")
    describe = verbs.add_parser("describe", help="say what a file of weights is, and compute a smoke feature")
    describe.add_argument("file", type=Path, metavar="FILE")
    describe.add_argument("--part", help="teacher or encoder; the teacher if there is one")
    describe.add_argument("--heads", type=int, help="of the attention, if its width is not a published one")
    describe.set_defaults(run=describe_weights)
    fetch = verbs.add_parser("fetch", help="download weights and check them; what broke off goes on")
    fetch.add_argument("address", metavar="URL")
    fetch.add_argument("--sha256", metavar="HEX", help="of the file, as its publisher says")
    fetch.add_argument("--out", type=Path, metavar="FILE")
    fetch.set_defaults(run=fetch_weights)
    verify = verbs.add_parser("verify", help="compute a file of known answers with our models, and compare")
    verify.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    verify.add_argument("expected", type=Path, metavar="EXPECTED", help="tensors that the official code wrote with it")
    verify.set_defaults(run=verify_weights)
    export = verbs.add_parser("export", help="write a run's encoder as safetensors, with its recipe and a card")
    export.add_argument("folder", type=Path, metavar="RUN")
    export.add_argument("--out", type=Path, required=True, metavar="FILE")
    export.set_defaults(run=export_weights)


def describe_weights(options: Namespace) -> int:
    """`usjepa weights describe FILE`."""
    from usjepa.weights.describe import describe, smoke_feature
    from usjepa.weights.files import read_weights
    from usjepa.weights.load import load_published

    weights = read_weights(options.file)
    print(describe(weights))
    encoder = load_published(options.file, part=options.part, heads=options.heads)
    smoke = smoke_feature(encoder)
    print(f"{'smoke':<10} mean {smoke.mean:.6f}, mean magnitude {smoke.magnitude:.6f} ({weights.part(options.part)})")
    return 0


def fetch_weights(options: Namespace) -> int:
    """`usjepa weights fetch URL --sha256 HEX`."""
    from usjepa.weights.fetch import fetch
    from usjepa.weights.licence import licence_of_address

    print(f"licence: {licence_of_address(options.address) or 'not known; ask the publisher'}")
    print(fetch(options.address, options.out, sha256=options.sha256))
    return 0


def verify_weights(options: Namespace) -> int:
    """`usjepa weights verify CHECKPOINT EXPECTED`: the table of differences; gives 1 if one is beyond tolerance."""
    from usjepa.weights.verify import verify

    differences = verify(options.checkpoint, options.expected)
    width = max(len(one.name) for one in differences)
    print(f"{'tensor':<{width}}  {'difference':>10}  {'tolerance':>9}  ok")
    for one in differences:
        print(f"{one.name:<{width}}  {one.largest:>10.1e}  {one.tolerance:>9.1e}  {'yes' if one.held else 'NO'}")
    beyond = sum(not one.held for one in differences)
    print(f"{len(differences)} tensors compared, {beyond} beyond tolerance")
    return 1 if beyond else 0


def export_weights(options: Namespace) -> int:
    """`usjepa weights export RUN --out FILE`."""
    from usjepa.weights.export import export

    print(export(options.folder, options.out))
    return 0
