import numpy as np
import pytest
import torch
from scipy.linalg import lstsq
from torch import Tensor

from usjepa.errors import InputError
from usjepa.evaluation.ridge import PENALTY, Tokens, class_fractions, ridge_r2
from usjepa.structures import STRUCTURES


def draw(clips: int, generator: torch.Generator) -> Tokens:
    """Fractions that depend on 7 of 12 features, with noise; features of very different scale, one constant."""
    features = torch.randn(clips, 30, 12, generator=generator) * torch.logspace(-3, 3, 12) + 5
    features[..., 4] = 2.5
    weights = torch.randn(7, 4, generator=torch.Generator().manual_seed(9))
    signal = ((features[..., 5:] - 5) / torch.logspace(-3, 3, 12)[5:]) @ weights
    return Tokens(features, (signal + torch.randn(clips, 30, 4, generator=generator) / 2).softmax(dim=-1).double())


def flat(tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
    return tuple(of.double().flatten(0, 1).numpy() for of in tokens)


def by_least_squares(train: Tokens, test: Tokens) -> np.ndarray:
    """The same problem as a plain least squares: the penalty as further rows, the intercept as a free column."""
    (x, y), (asked, true) = flat(train), flat(test)
    scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    middle = x.mean(axis=0)
    x, asked = (x - middle) / scale, (asked - middle) / scale
    penalty = np.sqrt(len(x) * PENALTY) * np.eye(x.shape[1])
    rows = np.block([[x, np.ones((len(x), 1))], [penalty, np.zeros((x.shape[1], 1))]])
    weights = lstsq(rows, np.vstack((y, np.zeros((x.shape[1], y.shape[1])))))[0]
    errors = true - asked @ weights[:-1] - weights[-1]
    return 1 - (errors**2).sum(axis=0) / ((true - true.mean(axis=0)) ** 2).sum(axis=0)


def test_the_score_is_that_of_scipys_least_squares_with_the_penalty_as_further_rows(generator) -> None:
    train, test = draw(6, generator), draw(3, generator)
    scores = ridge_r2(train, test)
    assert list(scores.index) == [*STRUCTURES[1:], "over structures"]
    expected = by_least_squares(train, test)[1:]
    assert scores.tolist()[:-1] == pytest.approx(expected, abs=1e-12)
    assert scores["over structures"] == pytest.approx(expected.mean(), abs=1e-12)
    assert 0.3 < scores["over structures"] < 0.9


def test_features_that_know_nothing_score_nothing_and_those_that_know_all_score_one(generator) -> None:
    train, test = draw(40, generator), draw(20, generator)
    blind = [Tokens(torch.randn(of.features.shape, generator=generator), of.fractions) for of in (train, test)]
    assert ridge_r2(*blind).abs().max() < 0.05
    knowing = [Tokens(of.fractions.float(), of.fractions) for of in (train, test)]
    assert ridge_r2(*knowing).min() > 0.999


def test_shifting_or_scaling_a_feature_changes_nothing(generator) -> None:
    train, test = draw(6, generator), draw(3, generator)
    moved = [Tokens(of.features.double() * torch.linspace(0.1, 9, 12) - 3, of.fractions) for of in (train, test)]
    assert ridge_r2(*moved).tolist() == pytest.approx(ridge_r2(train, test).tolist(), abs=1e-9)


def test_nothing_of_the_test_clips_enters_the_fit(generator) -> None:
    """Scored one at a time, the test clips' errors add up to those of all: no other clip shifts or scales one."""
    train, test = draw(6, generator), draw(3, generator)
    spread = [((one - one.mean(dim=0)) ** 2).sum(dim=0)[1:].numpy() for one in test.fractions]
    singles = [ridge_r2(train, Tokens(test.features[k : k + 1], test.fractions[k : k + 1])) for k in range(3)]
    errors = sum((1 - score.to_numpy()[:-1]) * share for score, share in zip(singles, spread, strict=True))
    every = test.fractions.flatten(0, 1)
    total = ((every - every.mean(dim=0)) ** 2).sum(dim=0)[1:].numpy()
    assert ridge_r2(train, test).to_numpy()[:-1] == pytest.approx(1 - errors / total, abs=1e-10)


def test_the_score_leaves_its_tokens_as_they_were(generator) -> None:
    train = Tokens(*(of.double() for of in draw(4, generator)))
    before = train.features.clone()
    ridge_r2(train, train)
    assert torch.equal(train.features, before)


def test_tokens_without_a_label_are_left_out(generator) -> None:
    train, test = draw(6, generator), draw(3, generator)
    hidden = Tokens(train.features.clone(), train.fractions.clone())
    hidden.features[:3], hidden.fractions[:3] = 1e6, torch.nan
    known = Tokens(train.features[3:], train.fractions[3:])
    assert ridge_r2(hidden, test).tolist() == pytest.approx(ridge_r2(known, test).tolist(), abs=1e-12)
    with pytest.raises(InputError, match="test: expected labelled tokens"):
        ridge_r2(train, Tokens(test.features, test.fractions * torch.nan))
    with pytest.raises(InputError, match="a fraction for each feature"):
        ridge_r2(Tokens(train.features[:, 1:], train.fractions), test)


def test_a_structure_that_no_tubelet_holds_has_no_score(generator) -> None:
    train, test = draw(6, generator), draw(3, generator)
    for tokens in (train, test):
        tokens.fractions[..., 3] = 0
    scores = ridge_r2(train, test)
    assert scores.isna().tolist() == [False, False, True, False]
    assert scores["over structures"] == pytest.approx(scores.tolist()[0] / 2 + scores.tolist()[1] / 2)


# Fractions


def counted(labels: Tensor, trust: Tensor, tubelet: tuple[int, int, int]) -> np.ndarray:
    """Shares by loops over tubelets, pixel by pixel."""
    (frames, rows, columns), out = tubelet, []
    for clip, sure in zip(labels.numpy(), trust.numpy(), strict=True):
        for t, i, j in np.ndindex(*(side // of for side, of in zip(clip.shape, tubelet, strict=True))):
            time = [f for f in range(t * frames, (t + 1) * frames) if sure[f]]
            block = clip[time, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            out.append([(block == s).mean() if time else np.nan for s in range(4)])
    return np.array(out).reshape(len(labels), -1, 4)


@pytest.mark.parametrize("tubelet", [(2, 4, 4), (1, 3, 5), (3, 6, 10)])
def test_fractions_are_counted_over_the_trusted_frames_of_each_tubelet(tubelet, generator) -> None:
    frames, rows, columns = (2 * side for side in tubelet)
    labels = torch.randint(0, 4, (3, frames, rows, columns), generator=generator, dtype=torch.uint8)
    trust = torch.ones(3, frames)
    trust[1, 0] = 0
    trust[2, : tubelet[0]] = 0
    fractions = class_fractions(labels, trust, tubelet)
    assert np.allclose(fractions.numpy(), counted(labels, trust, tubelet), rtol=0, atol=1e-12, equal_nan=True)
    assert fractions[2, :4].isnan().all()
    assert fractions[~fractions.isnan()].view(-1, 4).sum(dim=1).sub(1).abs().max() < 1e-12


def test_tokens_of_fractions_are_in_the_order_of_the_encoders() -> None:
    labels = torch.zeros(1, 4, 6, 6, dtype=torch.uint8)
    labels[0, 2:, :3, 3:] = 1
    fractions = class_fractions(labels, torch.ones(1, 4), (2, 3, 3))
    # Token (t, i, j) = (1, 0, 1) of a 2 x 2 x 2 grid: 1 * 4 + 0 * 2 + 1.
    assert fractions[0, :, 1].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]


def test_labels_that_no_tubelets_fill_are_refused() -> None:
    with pytest.raises(InputError, match=r"multiples of the tubelet's \(2, 4, 4\), got \(4, 8, 9\)"):
        class_fractions(torch.zeros(1, 4, 8, 9, dtype=torch.uint8), torch.ones(1, 4), (2, 4, 4))
