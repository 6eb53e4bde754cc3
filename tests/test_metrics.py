import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import contingency_table

from usjepa.errors import InputError
from usjepa.evaluation.metrics import Counts, confusion, counts, dsc, ji, ppv, recall, summary, video_scores


@pytest.fixture
def maps(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    predicted, true = torch.randint(0, 4, (2, 3, 2, 8, 9), generator=generator)
    return predicted, true


def test_the_table_of_counts_agrees_with_scikit_image(maps) -> None:
    predicted, true = maps
    table = confusion(predicted, true)
    for b in range(3):
        for t in range(2):
            expected = contingency_table(true[b, t].numpy(), predicted[b, t].numpy()).toarray()
            assert np.array_equal(table[b, t].numpy(), expected)


@pytest.mark.parametrize("structure", range(4))
def test_scores_are_the_set_formulas_of_section_3_2(maps, structure: int) -> None:
    predicted, true = maps
    of = counts(confusion(predicted, true))
    p, y = (set(map(tuple, (one[1, 0] == structure).nonzero().tolist())) for one in (predicted, true))
    expected = {
        dsc: 2 * len(p & y) / (len(p) + len(y)),
        ji: len(p & y) / len(p | y),
        ppv: len(p & y) / len(p),
        recall: len(p & y) / len(y),
    }
    for metric, value in expected.items():
        assert metric(of)[1, 0, structure].item() == pytest.approx(value, abs=1e-12)


def test_of_one_mask_ji_is_dsc_over_two_minus_dsc(maps) -> None:
    of = counts(confusion(*maps))
    torch.testing.assert_close(ji(of), dsc(of) / (2 - dsc(of)))


def test_a_structure_in_neither_map_has_no_score_and_one_in_a_single_map_scores_zero() -> None:
    of = Counts(torch.tensor([0, 0, 0]), torch.tensor([0, 5, 0]), torch.tensor([0, 0, 5]))
    for metric in (dsc, ji, ppv, recall):
        scores = metric(of)
        assert scores.isnan().tolist() == [True, False, False]
        assert scores[1:].tolist() == [0.0, 0.0]


def test_maps_of_different_size_and_labels_beyond_the_structures_are_refused() -> None:
    zeros = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    with pytest.raises(InputError, match="maps of one shape"):
        confusion(zeros, torch.zeros(1, 1, 4, 5, dtype=torch.int64))
    with pytest.raises(InputError, match="expected 0 to 3, got 7"):
        confusion(zeros + 7, zeros)


def rows(both: list[int], predicted: list[int], true: list[int]) -> pd.DataFrame:
    frames = {"frame": [0, 1] * 2, "structure": ["LV endo"] * 2 + ["background"] * 2}
    names = {"video": "a", "patient": "p", "view": "4CH"}
    return pd.DataFrame({**frames, "both": both, "predicted": predicted, "true": true}).assign(**names)


def test_a_videos_score_counts_the_pixels_of_all_its_frames() -> None:
    scores = video_scores(rows([1, 3, 9, 9], [2, 3, 9, 9], [1, 5, 9, 9])).set_index("structure")
    assert scores.loc["LV endo", "dsc"] == pytest.approx(2 * 4 / (5 + 6))
    assert scores.loc["background", "dsc"] == 1


def test_the_summary_leaves_the_background_out() -> None:
    means = summary(rows([1, 3, 9, 9], [2, 3, 9, 9], [1, 5, 9, 9]))
    assert list(means.index) == ["LV endo", "over structures"]
