import hashlib
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from weights_files import (
    VIDEOMAE,
    VJEPA,
    Malicious,
    tensors_of_videomae,
    write_as_published,
    write_hugging_face,
    write_pickle,
    write_vjepa2,
    write_vjepa2_hugging_face,
)

from usjepa.errors import InputError
from usjepa.weights.files import Parts, read_weights

PUBLISHED_SPELLING = {"q_bias": "q_bias", "v_bias": "v_bias"}
LATER_SPELLING = {"q_bias": "query.bias", "v_bias": "value.bias"}


def same(parts: Parts, others: Parts) -> bool:
    return parts.keys() == others.keys() and all(
        parts[part].keys() == others[part].keys()
        and all(torch.equal(tensor, others[part][name]) for name, tensor in parts[part].items())
        for part in parts
    )


def refusal(path: Path) -> str:
    """The message with which a file is refused; it names the file and has one line."""
    with pytest.raises(InputError) as refused:
        read_weights(path)
    message = str(refused.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_a_vjepa_checkpoint_has_student_teacher_and_predictor_in_our_names() -> None:
    weights = read_weights(VJEPA)
    assert (weights.family, weights.form) == ("vjepa", "checkpoint of V-JEPA")
    assert {part: len(tensors) for part, tensors in weights.parts.items()} == {
        "encoder": 41,
        "teacher": 41,
        "predictor": 33,
    }
    assert weights.part() == "teacher"
    assert {"embed.weight", "mask_tokens.1", "blocks.1.mlp.fc2.bias", "norm.bias", "proj.weight", "pos_embed"} <= (
        weights.parts["predictor"].keys()
    )
    theirs = torch.load(VJEPA, weights_only=True)["target_encoder"]["module.backbone.norm.bias"]
    assert torch.equal(weights.parts["teacher"]["norm.bias"], theirs)
    assert not torch.equal(weights.parts["encoder"]["norm.bias"], theirs)


def test_a_checkpoint_without_a_teacher_gives_its_encoder_and_says_so(tmp_path: Path) -> None:
    torch.save({"encoder": torch.load(VJEPA, weights_only=True)["encoder"]}, tmp_path / "student.pt")
    weights = read_weights(tmp_path / "student.pt")
    assert weights.part() == "encoder"
    with pytest.raises(InputError, match="expected a part 'teacher', got encoder"):
        weights.part("teacher")


def test_videomaes_biases_become_one_with_zeros_for_the_key() -> None:
    weights, theirs = read_weights(VIDEOMAE), tensors_of_videomae()
    assert (weights.family, weights.part()) == ("videomae", "encoder")
    query, key, value = weights.parts["encoder"]["blocks.2.attn.qkv.bias"].chunk(3)
    assert torch.equal(query, theirs["encoder.blocks.2.attn.q_bias"])
    assert torch.equal(value, theirs["encoder.blocks.2.attn.v_bias"])
    assert torch.equal(key, torch.zeros_like(key))
    decoder = weights.parts["decoder"]
    assert torch.equal(decoder["embed.weight"], theirs["encoder_to_decoder.weight"])
    assert torch.equal(decoder["mask_token"], theirs["mask_token"])
    assert {name.split(".")[0] for name in decoder} == {"embed", "mask_token", "blocks", "norm", "head"}


def test_the_arguments_that_videomaes_script_leaves_in_its_file_are_no_obstacle(tmp_path: Path) -> None:
    assert same(read_weights(write_as_published(tmp_path / "checkpoint.pth")).parts, read_weights(VIDEOMAE).parts)


@pytest.mark.parametrize("spelling", [PUBLISHED_SPELLING, LATER_SPELLING])
def test_hugging_faces_names_give_the_same_weights_in_both_spellings(tmp_path: Path, spelling: dict[str, str]) -> None:
    weights = read_weights(write_hugging_face(tmp_path / "model.safetensors", spelling))
    assert weights.form == "VideoMAE in Hugging Face's naming"
    assert same(weights.parts, read_weights(VIDEOMAE).parts)


def test_hugging_faces_older_container_is_read_too(tmp_path: Path) -> None:
    torch.save(load_file(write_hugging_face(tmp_path / "model", PUBLISHED_SPELLING)), tmp_path / "pytorch_model.bin")
    assert same(read_weights(tmp_path / "pytorch_model.bin").parts, read_weights(VIDEOMAE).parts)


def test_biases_in_both_spellings_at_once_are_refused(tmp_path: Path) -> None:
    names = ("q_bias", "query.bias")
    save_file(
        {f"videomae.encoder.layer.0.attention.attention.{name}": torch.ones(2) for name in names}, tmp_path / "model"
    )
    assert "expected each bias in one spelling" in refusal(tmp_path / "model")


@pytest.mark.parametrize("write", [write_vjepa2, write_vjepa2_hugging_face])
def test_vjepa_2_is_refused_because_of_its_rotary_positions(tmp_path: Path, write) -> None:
    message = refusal(write(tmp_path / "vjepa2"))
    assert "V-JEPA 2" in message
    assert "rotary" in message


def test_a_fine_tuned_videomae_is_refused_with_its_names(tmp_path: Path) -> None:
    torch.save({"model": {"blocks.0.norm1.bias": torch.ones(2), "fc_norm.weight": torch.ones(2)}}, tmp_path / "tuned")
    message = refusal(tmp_path / "tuned")
    assert "fc_norm.weight" in message
    assert "not a fine-tuned one" in message


def test_a_runs_own_checkpoint_is_sent_to_export(tmp_path: Path) -> None:
    torch.save({"step": 3, "model": {"encoder.norm.bias": torch.ones(2)}}, tmp_path / "last.pt")
    assert "`usjepa weights export`" in refusal(tmp_path / "last.pt")


def test_a_file_of_something_else_is_refused_with_what_is_in_it(tmp_path: Path) -> None:
    torch.save({"classifier": {"linear.bias": torch.ones(2)}, "lr": 0.1}, tmp_path / "probe")
    assert "got classifier, lr (2 names)" in refusal(tmp_path / "probe")
    torch.save([torch.ones(2)], tmp_path / "list")
    assert "expected a dictionary of weights, got list" in refusal(tmp_path / "list")
    torch.save({"encoder": torch.ones(2)}, tmp_path / "tensor")
    assert "encoder: expected tensors by name" in refusal(tmp_path / "tensor")
    torch.save({"encoder": {"norm.bias": "many"}}, tmp_path / "text")
    assert "encoder: expected tensors by name" in refusal(tmp_path / "text")
    torch.save({}, tmp_path / "empty")
    assert "got none (0 names)" in refusal(tmp_path / "empty")


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({"encoder": Malicious(mark)}, tmp_path / "evil.pt")
    assert "could run code" in refusal(tmp_path / "evil.pt")
    assert "a bare pickle, which can run code" in refusal(write_pickle(tmp_path / "evil.pkl", mark))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title>", "a web page"),
        (b"<html>404</html>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n", "a Git LFS pointer"),
        (b"hello", "begins with b'hello'"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "vitl16.pth.tar").write_bytes(content)
    assert said in refusal(tmp_path / "vitl16.pth.tar")


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    assert "got a folder" in refusal(tmp_path)
    assert "found none" in refusal(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("form", ["vjepa", "safetensors"])
def test_half_a_file_is_refused_wherever_it_is_cut(tmp_path: Path, form: str) -> None:
    whole = VJEPA if form == "vjepa" else write_hugging_face(tmp_path / "whole", LATER_SPELLING)
    content = whole.read_bytes()
    for share in (0.0001, 0.01, 0.5, 0.99, 0.9999):
        (tmp_path / "half").write_bytes(content[: int(share * len(content))])
        assert "Fetch it again" in refusal(tmp_path / "half")


def test_damage_anywhere_never_ends_in_another_error(tmp_path: Path) -> None:
    sources = [VJEPA, VIDEOMAE, write_hugging_face(tmp_path / "model.safetensors", LATER_SPELLING)]
    dice, refused = random.Random(0), 0
    for content in (source.read_bytes() for source in sources):
        for _ in range(25):
            damaged = bytearray(content)
            for _ in range(20):
                place = dice.choice([dice.randrange(2000), len(content) - 1 - dice.randrange(2000)])
                damaged[place] = dice.randrange(256)
            (tmp_path / "damaged").write_bytes(damaged)
            try:
                read_weights(tmp_path / "damaged")
            except InputError:
                refused += 1
    assert refused > 50


def test_the_fingerprint_is_that_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    path = write_as_published(tmp_path / "checkpoint.pth")
    assert read_weights(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(VJEPA.read_bytes())
    assert read_weights(path).sha256 == hashlib.sha256(VJEPA.read_bytes()).hexdigest()
