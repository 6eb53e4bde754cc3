import subprocess
import sys
from pathlib import Path

import pytest
import torch
from weights_files import VIDEOMAE, VJEPA

from usjepa.cli import main
from usjepa.weights.describe import smoke_feature
from usjepa.weights.files import read_weights
from usjepa.weights.load import load_published


def lines_of(output: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in output.splitlines())


def test_describe_says_form_parts_sizes_fingerprint_and_what_is_used(capsys) -> None:
    assert main(["weights", "describe", str(VJEPA), "--heads", "3"]) == 0
    lines = lines_of(capsys.readouterr().out)
    _, mean, _, _, magnitude, part = lines.pop("smoke").split()
    assert float(mean.rstrip(",")) == pytest.approx(0.011889, abs=1e-5)
    assert float(magnitude) == pytest.approx(0.813356, abs=1e-5)
    assert part == "(teacher)"
    assert lines == {
        "file": str(VJEPA),
        "form": "checkpoint of V-JEPA",
        "family": "vjepa",
        "sha256": read_weights(VJEPA).sha256,
        "encoder": "41 tensors, 106,464 numbers",
        "teacher": "41 tensors, 106,464 numbers",
        "predictor": "33 tensors, 18,456 numbers",
        "sizes": "width 48, depth 3, tubelets of 2 x 8 x 8 of 3 channels",
        "positions": "a table for 4 x 4 x 4 tokens, of 8 frames of 32 x 32",
        "used": "teacher, unless another part is named",
    }


def test_describe_says_what_can_be_said_before_it_asks_for_the_heads(capsys) -> None:
    assert main(["weights", "describe", str(VIDEOMAE)]) == 2
    said = capsys.readouterr()
    lines = lines_of(said.out)
    assert lines["form"] == "checkpoint of VideoMAE's pre-training"
    assert lines["positions"] == "none in the file: they are computed"
    assert "smoke" not in lines
    assert "expected a published width" in said.err


def test_the_part_can_be_named(capsys) -> None:
    assert main(["weights", "describe", str(VJEPA), "--heads", "3", "--part", "encoder"]) == 0
    assert lines_of(capsys.readouterr().out)["smoke"].endswith("(encoder)")
    assert main(["weights", "describe", str(VJEPA), "--heads", "3", "--part", "decoder"]) == 2
    assert "expected a part 'decoder', got encoder, teacher, predictor" in capsys.readouterr().err


def test_the_smoke_feature_is_the_same_each_time_and_tells_weights_and_heads_apart() -> None:
    encoder = load_published(VJEPA, heads=3)
    smoke = smoke_feature(encoder)
    assert smoke == smoke_feature(load_published(VJEPA, heads=3))
    others = [load_published(VJEPA, heads=4), load_published(VJEPA, part="encoder", heads=3)]
    with torch.no_grad():
        encoder.blocks[1].mlp.fc1.weight.mul_(1.01)
    for other in (*others, encoder):
        assert smoke_feature(other).magnitude != pytest.approx(smoke.magnitude, abs=1e-6)


def test_what_is_no_file_of_weights_is_one_line_and_exit_code_2(tmp_path: Path, capsys) -> None:
    (tmp_path / "vitl16.pth.tar").write_text("<!doctype html><title>Sign in</title>")
    assert main(["weights", "describe", str(tmp_path / "vitl16.pth.tar")]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert "a web page" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("verb", ["describe", "fetch", "export"])
def test_help_is_there_without_torch(verb: str) -> None:
    code = (
        f"import sys; sys.argv[1:] = ['weights', {verb!r}, '--help']\nfrom usjepa.cli import main\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"usage: usjepa weights {verb}" in done.stdout
