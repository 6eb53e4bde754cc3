"""Features of an encoder: of whole clips, of a store's entries, and kept on disk where a stale one can't be read."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from usjepa.data.clips import whole_clips
from usjepa.data.store import Entry, Store
from usjepa.model.encoder import Encoder
from usjepa.spec import ClipSpec
from usjepa.training.checkpoint import write_whole
from usjepa.training.device import autocast
from usjepa.training.workspace import Workspace


@torch.no_grad()
def features_of(encoder: Encoder, store: Store, entries: Sequence[Entry], clip: ClipSpec) -> Float[Tensor, "k n d"]:
    """The encoder's features of each entry's un-augmented clip, on its own device.

    One clip at a time: rounding depends on the size of a batch, and a clip's features must not depend on its company.
    """
    device = encoder.pos_embed.device
    with autocast(device):
        return torch.cat([encoder(whole_clips(store, [entry], clip).to(device)) for entry in entries])


def kept_features(
    encoder: Encoder, entries: Sequence[Entry], clip: ClipSpec, workspace: Workspace
) -> Float[Tensor, "k n d"]:
    """The same of entries of the workspace's store, computed once for all its labelled entries and kept on disk."""
    store = workspace.store
    if not workspace.caches:
        return features_of(encoder, store, entries, clip)
    labelled = [entry for entry in store.entries if entry.is_labelled]
    path = workspace.root / "features" / f"{_key(encoder, clip, store)}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {"features": features_of(encoder, store, labelled, clip).contiguous()}
        write_whole(path, partial(save_file, found))
    places = {entry.name: k for k, entry in enumerate(labelled)}
    return _read(path, [places[entry.name] for entry in entries]).to(encoder.pos_embed.device)


def _read(path: Path, rows: list[int]) -> Float[Tensor, "k n d"]:
    """Some rows of a kept file, which is mapped, not read whole."""
    with safe_open(path, framework="pt") as file:
        kept = file.get_slice("features")
        return torch.cat([kept[row : row + 1] for row in rows])


def _key(encoder: Encoder, clip: ClipSpec, store: Store) -> str:
    """Hash of all that decides the features: weights and heads, frames, data, and the arithmetic of the device."""
    known = f"{encoder.heads} {clip} {store.fingerprint} {encoder.pos_embed.device.type} {torch.__version__}"
    mark = hashlib.sha256(known.encode())
    for name, tensor in encoder.state_dict().items():
        mark.update(name.encode())
        mark.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return mark.hexdigest()[:24]
