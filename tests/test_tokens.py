import pytest
import torch
from torch.nn import functional

from usjepa.errors import InputError
from usjepa.model.tokens import TokenGrid, Tubelet, coordinates, take, token_grid, tubelets, untubelets


@pytest.mark.parametrize(
    ("size", "tubelet"), [((4, 32, 48), Tubelet()), ((6, 8, 12), Tubelet(3, 4, 4)), ((2, 6, 6), Tubelet(1, 2, 3))]
)
def test_untubelets_undoes_tubelets_bit_for_bit(size: tuple[int, int, int], tubelet: Tubelet) -> None:
    clip = torch.randn(2, 3, *size)
    tokens = tubelets(clip, tubelet)
    grid = token_grid(*size, tubelet)
    assert tokens.shape == (2, grid.n, 3 * tubelet.frames * tubelet.rows * tubelet.columns)
    assert torch.equal(untubelets(tokens, grid, tubelet), clip)


def test_a_tubelet_holds_the_pixels_of_its_place() -> None:
    clip = torch.arange(4 * 32 * 48).reshape(1, 1, 4, 32, 48)
    grid = token_grid(4, 32, 48)
    for index, token in enumerate(tubelets(clip)[0]):
        t, i, j = coordinates(torch.tensor(index), grid).tolist()
        block = clip[0, 0, 2 * t : 2 * t + 2, 16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
        assert torch.equal(token, block.flatten())


def test_a_linear_map_of_tubelets_is_a_strided_convolution() -> None:
    clip, weight = torch.randn(2, 3, 4, 32, 32), torch.randn(5, 3, 2, 16, 16)
    convolved = functional.conv3d(clip, weight, stride=(2, 16, 16)).flatten(2).mT
    torch.testing.assert_close(tubelets(clip) @ weight.flatten(1).T, convolved, atol=1e-4, rtol=1e-5)


def test_coordinates_run_in_raster_order_with_time_outermost() -> None:
    grid = TokenGrid(2, 3, 4)
    expected = [[t, i, j] for t in range(2) for i in range(3) for j in range(4)]
    assert coordinates(torch.arange(grid.n), grid).tolist() == expected


def test_take_gathers_each_clip_by_its_own_index() -> None:
    tokens = torch.randn(2, 5, 3)
    index = torch.tensor([[4, 0], [1, 1]])
    assert torch.equal(take(tokens, index), torch.stack([tokens[0, [4, 0]], tokens[1, [1, 1]]]))


@pytest.mark.parametrize(
    ("size", "message"),
    [((5, 32, 32), r"frames: .* 2, got 5 \(remainder 1\).* 4"), ((4, 33, 32), "height_px: .* 16, got 33"),
     ((4, 32, 8), r"width_px: .*got 8.* resize the clip to 16")],
)  # fmt: skip
def test_a_clip_that_does_not_divide_says_which_side_and_what_is_left(size: tuple[int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        token_grid(*size)
    with pytest.raises(InputError, match=message):
        tubelets(torch.zeros(1, 1, *size))
