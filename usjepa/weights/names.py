"""Names of the weights: from V-JEPA's, VideoMAE's and Hugging Face's files to our own, and nothing left over."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from usjepa.errors import InputError

Parts = dict[str, dict[str, Tensor]]
VJEPA_PARTS = {"encoder": "encoder", "target_encoder": "teacher", "predictor": "predictor"}
HUGGING_FACE = (
    (r"^videomae\.embeddings\.patch_embeddings\.projection\.", "encoder.patch_embed.proj."),
    (r"^videomae\.encoder\.layer\.", "encoder.blocks."),
    (r"^videomae\.layernorm\.", "encoder.norm."),
    (r"^decoder\.decoder_layers\.", "decoder.blocks."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.attention\.attention\.query\.bias$", ".attn.q_bias"),
    (r"\.attention\.attention\.value\.bias$", ".attn.v_bias"),
    (r"\.attention\.attention\.", ".attn."),
)


def from_vjepa(checkpoint: Mapping[str, Mapping[str, Tensor]]) -> Parts:
    """The networks of a V-JEPA checkpoint: wrappers' prefixes and `predictor_` dropped, `target_encoder` a teacher."""
    return {
        ours: {
            name.removeprefix("module.").removeprefix("backbone.").removeprefix("predictor_"): tensor
            for name, tensor in checkpoint[theirs].items()
        }
        for theirs, ours in VJEPA_PARTS.items()
        if theirs in checkpoint
    }


def from_videomae(tensors: Mapping[str, Tensor], what: str) -> Parts:
    """Encoder and decoder of VideoMAE's pre-training, its separate biases joined into timm's `qkv.bias`.

    The key has no bias, so its third is zero. Raises InputError, after `what`, for names of no pre-training.
    """
    parts: Parts = {"encoder": {}, "decoder": {}}
    strange = []
    for name, tensor in tensors.items():
        top, _, rest = name.partition(".")
        if name == "mask_token":
            parts["decoder"][name] = tensor
        elif top == "encoder_to_decoder":
            parts["decoder"][f"embed.{rest}"] = tensor
        elif top in parts and rest:
            parts[top][rest] = tensor
        else:
            strange.append(name)
    if strange:
        raise InputError(
            f"{what}: expected the names of VideoMAE's pre-training, got also {', '.join(sorted(strange)[:6])} "
            f"({len(strange)} in all). Take the pre-trained file, not a fine-tuned one."
        )
    return {part: _join_biases(own) for part, own in parts.items() if own}


def from_hugging_face(tensors: Mapping[str, Tensor], what: str) -> Parts:
    """VideoMAE as Hugging Face names it, in both spellings of its biases. Raises InputError as `from_videomae` does."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        ours = name
        for pattern, replacement in HUGGING_FACE:
            ours = re.sub(pattern, replacement, ours)
        if ours in renamed:
            raise InputError(f"{what}: expected each bias in one spelling, got {name} too. Write the file again.")
        renamed[ours] = tensor
    return from_videomae(_join_maps(renamed), what)


def _join_biases(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    joined = dict(tensors)
    for name in tensors:
        stem = name.removesuffix("q_bias")
        if stem != name and f"{stem}v_bias" in tensors:
            query, value = joined.pop(name), joined.pop(f"{stem}v_bias")
            joined[f"{stem}qkv.bias"] = torch.cat((query, torch.zeros_like(query), value))
    return joined


def _join_maps(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    joined = dict(tensors)
    for name in tensors:
        stem = name.removesuffix("query.weight")
        names = [f"{stem}{one}.weight" for one in ("query", "key", "value")]
        if stem != name and all(one in tensors for one in names):
            joined[f"{stem}qkv.weight"] = torch.cat([joined.pop(one) for one in names])
    return joined
