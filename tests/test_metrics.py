from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.metrics import contingency_table

from usjepa.data.prepare import to_square
from usjepa.errors import InputError
from usjepa.evaluation.metrics import (
    SCORED,
    Counts,
    averages,
    confusion,
    counts,
    dsc,
    frame_scores,
    ji,
    ppv,
    recall,
    score_table,
    scored_counts,
    summary,
    video_scores,
)
from usjepa.evaluation.native import to_native
from usjepa.structures import STRUCTURES

METRICS = (dsc, ji, ppv, recall)


@pytest.fixture
def maps(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    predicted, true = torch.randint(0, 4, (2, 3, 2, 8, 9), generator=generator)
    return predicted, true


def set_scores(p: set, y: set) -> list[float]:
    """The formulas of section 3.2, word for word."""
    return [2 * len(p & y) / (len(p) + len(y)), len(p & y) / len(p | y), len(p & y) / len(p), len(p & y) / len(y)]


def pixels(maps: torch.Tensor, labels: list[int]) -> set:
    return set(map(tuple, np.argwhere(np.isin(maps.numpy(), labels)).tolist()))


# Counts and formulas


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
    expected = set_scores(pixels(predicted[1, 0], [structure]), pixels(true[1, 0], [structure]))
    for metric, value in zip(METRICS, expected, strict=True):
        assert metric(of)[1, 0, structure].item() == pytest.approx(value, abs=1e-12)


def test_the_filled_epicardium_is_ring_and_cavity_together(maps) -> None:
    predicted, true = maps
    of = scored_counts(confusion(predicted, true))
    for slot, labels in enumerate(SCORED.values()):
        expected = set_scores(pixels(predicted[2, 1], labels), pixels(true[2, 1], labels))
        assert [metric(of)[2, 1, slot].item() for metric in METRICS] == pytest.approx(expected, abs=1e-12)
    assert list(SCORED) == [*STRUCTURES, "LV epi filled"]


def test_cavity_called_ring_spoils_both_but_not_the_filled_epicardium() -> None:
    true = torch.tensor([[[[1, 1, 2, 2, 0, 3]]]])
    score = dict(zip(SCORED, dsc(scored_counts(confusion(true.where(true != 1, 2), true)))[0, 0].tolist(), strict=True))
    assert score == pytest.approx({"background": 1, "LV endo": 0, "LV epi": 2 / 3, "LA": 1, "LV epi filled": 1})


def test_of_one_mask_ji_is_dsc_over_two_minus_dsc(maps) -> None:
    of = counts(confusion(*maps))
    torch.testing.assert_close(ji(of), dsc(of) / (2 - dsc(of)))


def test_recall_is_above_ppv_exactly_where_more_is_called_than_is_true(maps) -> None:
    of = counts(confusion(*maps))
    torch.testing.assert_close(recall(of) / ppv(of), of.predicted.double() / of.true, atol=1e-12, rtol=0)


def test_a_structure_in_neither_map_has_no_score_and_one_in_a_single_map_scores_zero() -> None:
    of = Counts(torch.tensor([0, 0, 0]), torch.tensor([0, 5, 0]), torch.tensor([0, 0, 5]))
    for metric in METRICS:
        scores = metric(of)
        assert scores.isnan().tolist() == [True, False, False]
        assert scores[1:].tolist() == [0.0, 0.0]


def test_maps_of_different_size_and_labels_beyond_the_structures_are_refused() -> None:
    zeros = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    with pytest.raises(InputError, match="maps of one shape"):
        confusion(zeros, torch.zeros(1, 1, 4, 5, dtype=torch.int64))
    with pytest.raises(InputError, match="expected 0 to 3, got 7"):
        confusion(zeros + 7, zeros)
    with pytest.raises(InputError, match="expected 0 to 3, got -1"):
        confusion(zeros, zeros - 1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_maps_are_counted_where_they_lie(maps) -> None:
    there = confusion(*(of.to("cuda", torch.uint8) for of in maps))
    assert there.device.type == "cuda"
    assert torch.equal(there.cpu(), confusion(*maps))


# Frames, videos, patients, averages


@pytest.fixture
def table(maps) -> pd.DataFrame:
    """Two videos of patient p0 and one of p1, two frames each, the second annotated; no LA in the first video."""
    predicted, true = (of.clone() for of in maps)
    predicted[0][predicted[0] == 3] = true[0][true[0] == 3] = 0
    of = scored_counts(confusion(predicted, true))
    return pd.DataFrame(
        [
            {"video": f"v{k}", "patient": f"p{k // 2}", "view": "4CH", "frame": 7 * t, "annotated": t == 1}
            | {"structure": structure, **{name: int(getattr(of, name)[k, t, s]) for name in Counts._fields}}
            for k in range(3)
            for t in range(2)
            for s, structure in enumerate(SCORED)
        ]
    )


def test_a_frames_score_is_its_own_and_a_videos_counts_the_pixels_of_all_its_frames(maps, table) -> None:
    predicted, true = maps
    frames = frame_scores(table).set_index(["video", "frame", "structure"])
    videos = video_scores(table).set_index(["video", "structure"])
    for structure, labels in SCORED.items():
        for k, t in ((1, 0), (1, 1), (2, 0)):
            expected = set_scores(pixels(predicted[k, t], labels), pixels(true[k, t], labels))
            row = frames.loc[(f"v{k}", 7 * t, structure), ["dsc", "ji", "ppv", "recall"]]
            assert row.tolist() == pytest.approx(expected, abs=1e-12)
        # Pixels of both frames as one set: (frame, row, column).
        expected = set_scores(pixels(predicted[1], labels), pixels(true[1], labels))
        row = videos.loc[("v1", structure), ["dsc", "ji", "ppv", "recall"]]
        assert row.tolist() == pytest.approx(expected, abs=1e-12)


def test_each_average_is_what_its_name_says(table) -> None:
    scores = video_scores(table)
    named = averages(scores).set_index(["video", "structure"])
    for video, rows in scores.groupby("video"):
        rows = rows.set_index("structure")
        three, four = rows.loc[list(STRUCTURES[1:])], rows.loc[list(STRUCTURES)]
        both, predicted, true = three[["both", "predicted", "true"]].sum()
        for metric in ("dsc", "ji", "ppv", "recall"):
            assert named.loc[(video, "over structures"), metric] == pytest.approx(np.nanmean(three[metric]), abs=1e-12)
            assert named.loc[(video, "with background"), metric] == pytest.approx(np.nanmean(four[metric]), abs=1e-12)
        pooled = [2 * both / (predicted + true), both / (predicted + true - both), both / predicted, both / true]
        row = named.loc[(video, "pooled"), ["dsc", "ji", "ppv", "recall"]]
        assert row.tolist() == pytest.approx(pooled, abs=1e-12)


def test_the_three_averages_differ_and_each_frame_has_its_own(table) -> None:
    assert averages(video_scores(table)).query("video == 'v1'")["dsc"].nunique() == 3
    of_frames = averages(frame_scores(table))
    assert len(of_frames) == 3 * 3 * 2
    assert set(of_frames["frame"]) == {0, 7}


def test_an_average_over_structures_that_were_not_counted_is_refused(table) -> None:
    with pytest.raises(InputError, match=r"expected rows of background, LV endo, LV epi, LA, none of \['background'\]"):
        averages(video_scores(table[table["structure"] != "background"]))


@pytest.mark.parametrize("frames", ["all", "annotated"])
def test_deviations_are_over_videos_and_over_the_mean_of_each_patients_videos(table, frames: str) -> None:
    cells = score_table(table).set_index(["frames", "structure", "metric"])
    scores = video_scores(table if frames == "all" else table[table["annotated"]])
    scores = pd.concat([scores, averages(scores)]).set_index(["structure", "video"])
    for structure in (*SCORED, "over structures", "with background", "pooled"):
        for metric in ("dsc", "ji", "ppv", "recall"):
            cell = cells.loc[(frames, structure, metric)]
            first, second, third = scores.loc[structure, metric].reindex(["v0", "v1", "v2"]).tolist()
            patients = [np.nanmean([first, second]), third]
            known = [one for one in (first, second, third) if not np.isnan(one)]
            assert cell["value"] == pytest.approx(np.mean(known), abs=1e-12)
            assert cell["sd_videos"] == pytest.approx(np.std(known, ddof=1), abs=1e-12)
            assert cell["sd_patients"] == pytest.approx(np.std(patients, ddof=1), abs=1e-12)
            assert cell[["videos", "patients"]].tolist() == [len(known), 2]
    assert cells.loc[(frames, "LA", "dsc"), "videos"] == 2, "the video without an LA is left out and not counted"


def test_recall_less_ppv_is_averaged_over_videos_as_the_scores_are(table) -> None:
    cells = score_table(table).set_index(["frames", "structure", "metric"])["value"].unstack()
    expected = cells["recall"] - cells["ppv"]
    assert np.allclose(cells["recall_less_ppv"], expected, rtol=0, atol=1e-12)


def test_a_clip_without_annotated_frames_has_no_annotated_cells(table) -> None:
    assert set(score_table(table.assign(annotated=False))["frames"]) == {"all"}


def test_the_summary_is_of_the_foreground_and_its_average_over_structures(table) -> None:
    means = summary(table)
    assert list(means.index) == ["LA", "LV endo", "LV epi", "over structures"]
    cells = score_table(table).query("frames == 'all' and metric == 'dsc'").set_index("structure")["value"]
    assert means["dsc"].tolist() == cells[means.index].tolist()


# Native resolution


SIZES = [(37, 60), (60, 37), (41, 41), (90, 55), (1, 3)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("square", [16, 40, 64])
def test_native_maps_are_pillows_nearest_pixels_without_the_padding(square: int, size, generator) -> None:
    maps = torch.randint(0, 4, (2, square, square), generator=generator, dtype=torch.uint8)
    rows, columns = size
    side = max(size)
    top, left = (side - rows) // 2, (side - columns) // 2
    # Centres that fall on an edge between two pixels have two nearest ones: floating point chooses now this, now that.
    place = np.array([Fraction(2 * x + 1, 2) * Fraction(square, side) for x in range(side)])
    clear = place % 1 != 0
    assert clear.mean() > 0.6
    for got, one in zip(to_native(maps, size), maps, strict=True):
        whole = np.asarray(Image.fromarray(one.numpy()).resize((side, side), Image.Resampling.NEAREST))
        sure = np.ix_(clear[top : top + rows], clear[left : left + columns])
        assert np.array_equal(got.numpy()[sure], whole[top : top + rows, left : left + columns][sure])
        below = np.floor(place).astype(int)
        expected = one.numpy()[np.ix_(below[top : top + rows], below[left : left + columns])]
        assert np.array_equal(got.numpy(), expected)


@pytest.mark.parametrize("size", SIZES)
def test_labels_that_were_prepared_without_loss_come_back_as_they_were(size, generator) -> None:
    labels = torch.randint(0, 4, size, generator=generator, dtype=torch.uint8)
    square = to_square(labels.numpy(), 3 * max(size), Image.Resampling.NEAREST)
    assert torch.equal(to_native(torch.tensor(square), size), labels)


def test_maps_that_are_no_square_have_no_native_size() -> None:
    with pytest.raises(InputError, match="expected a square"):
        to_native(torch.zeros(2, 8, 9), (30, 40))
    with pytest.raises(InputError, match="a size of 1 or more"):
        to_native(torch.zeros(2, 8, 8), (0, 40))


def test_tables_of_two_runs_and_of_two_splits_are_not_scored_as_one(table) -> None:
    for score in (frame_scores, video_scores, summary):
        with pytest.raises(InputError, match="each frame and structure of a video once"):
            score(pd.concat([table, table]))
    with pytest.raises(InputError, match="one split, got test, train"):
        summary(table.assign(split=["train", *["test"] * (len(table) - 1)]))
