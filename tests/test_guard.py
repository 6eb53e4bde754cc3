import pytest
import torch

from usjepa.errors import InputError
from usjepa.training.device import adamw, clip_, memory_enough
from usjepa.training.guard import Guard

CPU = torch.device("cpu")


def test_from_a_bad_step_on_no_step_is_taken_even_if_nobody_looks() -> None:
    """As on a GPU, where the flag is looked at only when a row is logged."""
    layer = torch.nn.Linear(3, 2)
    optimiser = adamw(layer)
    guard = Guard(optimiser, CPU)
    taken = []
    for step in range(5):
        optimiser.zero_grad()
        loss = layer(torch.full((1, 3), torch.nan if step == 2 else 1.0)).sum()
        loss.backward()
        guard.watch(step, {"loss": loss, "layer": clip_(layer, 1.0)})
        before = layer.weight.detach().clone()
        optimiser.step()
        taken.append(not torch.equal(before, layer.weight))
    assert taken == [True, True, False, False, False]
    assert torch.isfinite(layer.weight).all()
    with pytest.raises(FloatingPointError, match="step 2: not finite: loss nan, layer nan"):
        guard.check()


def test_a_finite_run_is_not_disturbed() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 2) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    optimisers = [adamw(layer) for layer in layers]
    guard = Guard(optimisers[0], CPU)
    for step in range(3):
        for layer, optimiser in zip(layers, optimisers, strict=True):
            optimiser.zero_grad()
            layer(torch.ones(1, 3)).square().sum().backward()
            if layer is layers[0]:
                guard.watch(step, {"layer": clip_(layer, None)})
                guard.check()
            optimiser.step()
    assert torch.equal(layers[0].weight, layers[1].weight)


def test_an_infinite_loss_is_found_though_gradients_are_finite() -> None:
    layer = torch.nn.Linear(1, 1)
    guard = Guard(adamw(layer), CPU)
    guard.watch(7, {"loss": torch.tensor(torch.inf), "layer": torch.tensor(0.0)})
    with pytest.raises(FloatingPointError, match="step 7: not finite: loss inf"):
        guard.check()


def test_a_gradient_is_scaled_to_the_norm_and_its_norm_before_is_told() -> None:
    layer = torch.nn.Linear(4, 1, bias=False)
    layer.weight.grad = torch.tensor([[3.0, 0.0, 4.0, 0.0]])
    assert clip_(layer, None) == 5
    assert clip_(layer, 10.0) == 5
    assert layer.weight.grad.norm() == 5
    assert clip_(layer, 1.0) == 5
    assert layer.weight.grad.norm().item() == pytest.approx(1, abs=1e-4)
    assert clip_(torch.nn.Linear(2, 2), 1.0) == 0


def test_where_memory_ends_the_field_to_lower_is_named() -> None:
    expected = r"batch: expected 64 clips a step.*Tried to allocate 9 GiB. Lower batch"
    with pytest.raises(InputError, match=expected), memory_enough(64):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has")
