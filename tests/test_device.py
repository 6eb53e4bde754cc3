import pytest
import torch

from usjepa.errors import InputError
from usjepa.training.device import autocast, choose_device, clip_


def test_auto_takes_the_card_where_there_is_one() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_cuda_asked_for_and_absent_is_said() -> None:
    with pytest.raises(InputError, match="expected a CUDA GPU for 'cuda', found none"):
        choose_device("cuda")


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(InputError, match="got 'tpu'"):
        choose_device("tpu")


def test_the_cpu_computes_in_float32() -> None:
    with autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_cuda_computes_in_bfloat16() -> None:
    ones = torch.ones(2, 2, device="cuda")
    with autocast(ones.device):
        assert (ones @ ones).dtype == torch.bfloat16


def test_a_frozen_part_has_a_norm_of_zero_on_its_own_device() -> None:
    norm = clip_(torch.nn.Linear(2, 2, device="meta").requires_grad_(False), 1.0)
    assert (norm.device.type, norm.shape) == ("meta", ())
    assert clip_(torch.nn.Linear(2, 2).requires_grad_(False), 1.0) == 0
