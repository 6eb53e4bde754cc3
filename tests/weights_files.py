"""Files of weights as others write them, made of the fixtures' tensors; and what is no file of weights."""

import pickle
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"
VJEPA, VIDEOMAE = FIXTURES / "vjepa_tiny_checkpoint.pt", FIXTURES / "videomae_tiny_checkpoint.pt"
INSIDE = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


class Malicious:
    """What a pickle can be: reading it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.mark)!r}, 'w').close()",)


def expected(name: str) -> Mapping[str, Tensor]:
    """The official outputs that belong to a fixture: "vjepa" or "videomae"."""
    outputs: Mapping[str, Tensor] = torch.load(FIXTURES / f"{name}_tiny_expected.pt", weights_only=True)
    return outputs


def tensors_of_videomae() -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = torch.load(VIDEOMAE, weights_only=True)["model"]
    return tensors


def write_as_published(path: Path) -> Path:
    """VideoMAE's checkpoint with all that its pre-training script leaves in one."""
    arguments = Namespace(model="pretrain_videomae_tiny", mask_ratio=0.9, window_size=(8, 4, 4), device="cuda")
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 7}
    checkpoint = torch.load(VIDEOMAE, weights_only=True)
    torch.save(
        {**checkpoint, "optimizer": {"state": {}, "param_groups": []}, "scaler": scaler, "args": arguments}, path
    )
    return path


def write_hugging_face(path: Path, spelling: Mapping[str, str]) -> Path:
    """VideoMAE as Hugging Face's VideoMAEForPreTraining names it; `spelling` is that of query's and value's biases."""
    written: dict[str, Tensor] = {}
    for name, tensor in tensors_of_videomae().items():
        outside = (
            name.replace("encoder.blocks.", "videomae.encoder.layer.")
            .replace("decoder.blocks.", "decoder.decoder_layers.")
            .replace("encoder.patch_embed.proj.", "videomae.embeddings.patch_embeddings.projection.")
        )
        outside = re.sub(r"^encoder\.norm\.", "videomae.layernorm.", outside)
        for ours, theirs in INSIDE.items():
            outside = outside.replace(f".{ours}.", f".{theirs}.")
        if name.endswith("attn.qkv.weight"):
            for which, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                written[outside.replace("attn.qkv", f"attention.attention.{which}")] = part.contiguous()
        elif name.endswith(("q_bias", "v_bias")):
            which = name[-6:]
            written[outside.replace(f"attn.{which}", f"attention.attention.{spelling[which]}")] = tensor
        else:
            written[outside] = tensor
    save_file(written, path)
    return path


def write_vjepa2(path: Path) -> Path:
    """V-JEPA 2's own form: V-JEPA's names without the tables of positions."""
    checkpoint = torch.load(VJEPA, weights_only=True)
    networks = {part: checkpoint[part] for part in ("encoder", "predictor", "target_encoder")}
    for part, tensors in networks.items():
        networks[part] = {name: tensor for name, tensor in tensors.items() if "pos_embed" not in name}
    torch.save(networks, path)
    return path


def write_vjepa2_hugging_face(path: Path) -> Path:
    names = ("encoder.layer.0.attention.query.weight", "encoder.layernorm.weight", "predictor.proj.weight")
    save_file({name: torch.ones(2, 2) for name in names}, path)
    return path


def write_pickle(path: Path, mark: Path) -> Path:
    path.write_bytes(pickle.dumps({"encoder": Malicious(mark)}, protocol=2))
    return path
