"""The paper's tables as data, and what its own numbers imply."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import linprog

from usjepa.catalogue import ADAPTATIONS, NAMES
from usjepa.evaluation.audit import (
    dsc_against_ji,
    implied_deviations,
    impossible_deviations,
    local_loss_effects,
    quoted_gains,
)
from usjepa.evaluation.paper import GAINS, METHODS, PAIRS, PROTOCOL, TABLE_1, TABLE_1_LAMBDAS, TABLE_2, paper_scores
from usjepa.recipe import PretrainRecipe, SegmentRecipe

# Table 2 read a second time, by columns: the last three digits of each mean, from 100 % down to 10 %.
COLUMNS = {
    "dsc": "681 665 635 605 708 652 643 590 747 729 681 644 755 747 678 692 "
    "795 775 751 683 822 804 774 740 828 803 780 734 834 824 779 751",
    "ji": "641 607 571 551 665 615 603 560 679 669 608 574 674 659 593 600 "
    "736 705 678 609 761 743 706 671 779 747 707 661 778 765 704 668",
    "ppv": "794 766 740 724 797 762 749 714 814 799 753 721 800 761 757 745 "
    "862 846 810 756 874 856 829 812 880 861 834 812 882 870 827 811",
    "recall": "746 715 679 653 783 738 725 677 788 788 727 698 793 814 714 729 "
    "826 797 792 731 850 845 819 782 868 844 814 765 863 859 814 778",
}
DEVIATIONS = {
    "dsc": "076 080 089 089 076 077 073 080 067 069 088 094 075 078 081 092 "
    "053 058 035 082 048 050 062 069 044 051 068 079 046 046 071 077",
    "ji": "116 114 136 138 103 117 119 138 093 097 117 125 097 097 103 110 "
    "074 077 040 107 072 074 089 967 064 073 092 107 068 068 092 099",
    "ppv": "123 131 148 162 113 133 138 160 100 104 134 147 107 111 127 130 "
    "077 085 050 125 069 076 093 101 064 073 094 110 063 067 098 104",
    "recall": "117 119 146 152 112 128 130 155 094 099 123 142 095 093 115 123 "
    "072 078 053 118 068 070 091 105 067 074 089 117 065 068 094 105",
}


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return paper_scores()


@pytest.mark.parametrize("metric", COLUMNS)
def test_table_2_agrees_with_a_second_reading_by_columns(scores: pd.DataFrame, metric: str) -> None:
    column = scores.query("table == 2 and metric == @metric")
    assert [f"{mean:.3f}"[2:] for mean in column["mean"]] == COLUMNS[metric].split()
    assert [f"{sd:.3f}"[2:] for sd in column["sd"]] == DEVIATIONS[metric].split()


def test_every_number_of_both_tables_has_its_own_place(scores: pd.DataFrame) -> None:
    assert len(scores) == 3 * 4 + 8 * 4 * 4
    assert not scores.duplicated(["table", "row", "column"]).any()
    assert not scores.duplicated(["split", "method", "prediction_weight", "fraction", "metric"]).any()
    last = scores.iloc[-1]
    assert (last["table"], last["row"], last["column"], last["label"]) == (2, 32, "Recall", "V-JEPA (16b) + LL")
    assert (last["mean"], last["sd"], last["fraction"]) == (0.778, 0.105, 0.1)
    assert list(METHODS) == list(dict.fromkeys(row.method for row in TABLE_2))


def test_every_row_is_a_recipe_of_the_catalogue_with_its_lambda_and_frozen_blocks(scores: pd.DataFrame) -> None:
    assert set(scores["method"]) <= set(NAMES)
    frozen = dict(zip(PAIRS, (0, *PROTOCOL.frozen_blocks), strict=True))
    for row in scores.dropna(subset="prediction_weight").itertuples():
        adaptation = ADAPTATIONS[str(row.method)]
        assert adaptation.prediction_weight == row.prediction_weight
        base = str(row.method).split("-lambda")[0].removesuffix("-ll")
        assert adaptation.frozen_share * 24 == frozen[base]
    assert set(scores.loc[scores["prediction_weight"].isna(), "method"]) == {"supervised", "videomae"}


def test_table_1_has_its_best_at_the_smallest_lambda_and_no_lambda_of_one(scores: pd.DataFrame) -> None:
    assert sum(TABLE_1["vjepa"]) == pytest.approx(2.816)
    assert sum(TABLE_1["vjepa-12b"]) == pytest.approx(3.154)
    assert sum(TABLE_1["vjepa-16b"]) == pytest.approx(3.257)
    for row in TABLE_1.values():
        assert TABLE_1_LAMBDAS[int(np.argmax(row))] == min(TABLE_1_LAMBDAS) == PretrainRecipe().prediction_weight
    assert 1.0 not in TABLE_1_LAMBDAS
    on_validation = scores.query("split == 'validation'")
    assert set(on_validation["label"]) == {METHODS[improved] for improved in PAIRS.values()}


def test_the_quoted_gains_are_relative_and_not_points() -> None:
    gains = quoted_gains()
    quoted = gains["quoted_percent"].astype(float)
    digits = [len(text.partition(".")[2]) for text in gains["quoted_percent"]]
    assert quoted.between(gains["least_percent"], gains["most_percent"]).all()
    rounded = [round(exact, n) for exact, n in zip(gains["relative_percent"], digits, strict=True)]
    assert rounded[:-1] == quoted.tolist()[:-1]
    assert (rounded[-1], quoted.iloc[-1]) == (2.32, 2.31)  # within what the table's rounding leaves open
    as_points = (gains["points"] - quoted).abs() < 0.1 + 1e-9
    assert gains.loc[as_points, "improved"].tolist() == ["vjepa-16b-ll"], "0.6 points, quoted as 0.7 %"


def test_the_localisation_loss_makes_dsc_worse_at_20_percent_in_two_of_three_configurations() -> None:
    effects = local_loss_effects().query("metric == 'dsc'")
    worse = effects[effects["points"] < 0]
    assert worse[["base", "percent", "points"]].values.tolist() == [["vjepa", 20, -0.3], ["vjepa-16b", 20, -0.1]]
    assert worse["relative_percent"].round(1).tolist() == [-0.4, -0.1]
    largest = effects.loc[effects.groupby("base")["points"].idxmax()].set_index("base")["percent"]
    assert largest.to_dict() == {"vjepa": 10, "vjepa-12b": 10, "vjepa-16b": 50}


def test_ji_does_not_follow_dsc_where_the_localisation_loss_is_added_with_all_samples() -> None:
    effects = local_loss_effects().query("percent == 100").pivot(index="base", columns="metric", values="points")
    assert (effects["dsc"] > 0).all()
    assert effects["ji"].to_dict() == {"vjepa": -0.5, "vjepa-12b": 2.5, "vjepa-16b": -0.1}


def test_every_v_jepa_outperforms_the_baselines_in_dsc_but_not_in_every_other_metric(scores: pd.DataFrame) -> None:
    table = scores.query("table == 2").pivot(index=["metric", "fraction"], columns="method", values="mean")
    ours = [name for name in METHODS if name.startswith("vjepa")]
    behind = table[ours].min(axis=1) <= table[["supervised", "videomae"]].max(axis=1)
    assert not behind.loc["dsc"].any()
    assert behind[behind].index.tolist() == [("ji", 0.2), ("ppv", 0.1), ("ppv", 0.5), ("recall", 0.2)]


def test_ji_lies_above_that_of_the_mean_dsc_by_more_than_the_spread_of_scores_explains() -> None:
    table = dsc_against_ji()
    assert table["excess"].between(0.06, 0.145).all()
    first = table.iloc[0]
    assert (first["dsc"], first["ji"]) == (0.681, 0.641)
    assert first["ji_of_mean_dsc"] == pytest.approx(0.516, abs=5e-4)
    assert (table["least_sd"] > 2.8 * table["printed_sd"]).all()
    assert table["least_sd"].between(0.23, 0.44).all()
    assert table["background_ji"].between(0.81, 1.02).all()


@pytest.mark.parametrize("row", [0, 7, 14, 28])
def test_the_least_spread_of_dsc_for_both_means_is_that_of_a_linear_programme_over_all_distributions(row: int) -> None:
    table = dsc_against_ji().iloc[row]
    values = np.linspace(0, 1, 4001)
    conditions = np.stack([np.ones_like(values), values, values / (2 - values)])
    solved = linprog(values**2, A_eq=conditions, b_eq=[1, table["dsc"], table["ji"]], bounds=(0, 1))
    assert table["least_sd"] == pytest.approx((solved.fun - table["dsc"] ** 2) ** 0.5, abs=1e-4)


def test_one_standard_deviation_is_impossible_for_a_score_between_0_and_1() -> None:
    impossible = impossible_deviations()
    assert impossible[["method", "fraction", "metric", "mean", "sd"]].values.tolist() == [
        ["vjepa-12b-ll", 0.1, "ji", 0.671, 0.967]
    ]
    zeros_and_ones = np.repeat([0.0, 1.0], [329, 671])
    assert impossible["largest_sd"].item() == pytest.approx(zeros_and_ones.std()) == pytest.approx(0.47, abs=1e-3)


# Base, percent, points, t with 100 units, SD of differences with 100, 300 and 1600 units.
IMPLIED = [
    ("vjepa", 100, 0.8, 2.5, 0.032, 0.057, 0.131),
    ("vjepa-12b", 100, 2.7, 11.3, 0.024, 0.048, 0.118),
    ("vjepa-16b", 100, 0.6, 2.9, 0.021, 0.036, 0.084),
    ("vjepa", 10, 4.8, 12.2, 0.039, 0.081, 0.199),
    ("vjepa-12b", 10, 5.7, 17.1, 0.033, 0.075, 0.192),
    ("vjepa-16b", 10, 1.7, 6.0, 0.028, 0.052, 0.122),
]


def test_the_p_values_imply_plausible_deviations_for_100_clips_and_none_for_1600_frames() -> None:
    table = implied_deviations()
    columns = ["base", "percent", "points", "t_100", "sd_100", "sd_300", "sd_1600"]
    digits = {"points": 1, "t_100": 1, "sd_100": 3, "sd_300": 3, "sd_1600": 3}
    assert [tuple(row) for row in table[columns].round(digits).to_numpy()] == IMPLIED
    assert (table["sd_100"] < table["most_sd"] / 2).all()
    assert (table["sd_300"] < table["most_sd"]).all()
    assert table.loc[table["sd_1600"] > table["most_sd"], "base"].tolist() == ["vjepa-12b", "vjepa", "vjepa-12b"]


@pytest.mark.parametrize("row", range(6))
def test_differences_of_the_implied_deviation_give_the_quoted_p_in_scipys_t_test(row: int) -> None:
    implied = implied_deviations().iloc[row]
    differences = np.random.default_rng(row).normal(size=100)
    differences = (differences - differences.mean()) / differences.std(ddof=1) * implied["sd_100"]
    p = stats.ttest_1samp(differences + implied["points"] / 100, 0).pvalue
    assert p == pytest.approx(implied["p"], rel=1e-6)


def test_a_wilcoxon_or_sign_flip_test_of_100_clips_cannot_give_the_smallest_quoted_p() -> None:
    smallest = stats.wilcoxon(np.arange(1.0, 101.0), method="approx").pvalue
    assert smallest == pytest.approx(3.9e-18, rel=0.01)
    quoted = sorted(gain.p for gain in GAINS if gain.p is not None)
    assert [p < smallest for p in quoted] == [True, True, True, False, False, False]
    assert quoted[0] < 2.0**-99 < quoted[1]  # exact: all signs alike, one of 2^100, on either side
    assert max(quoted) < PROTOCOL.level


def test_the_protocols_epochs_are_the_recipes_steps() -> None:
    steps_an_epoch = 400 * 2 / PretrainRecipe().batch
    assert PretrainRecipe().steps == PROTOCOL.pretraining_epochs * steps_an_epoch
    assert PretrainRecipe().warmup_steps == PROTOCOL.warmup_epochs * steps_an_epoch
    assert SegmentRecipe().steps == PROTOCOL.downstream_epochs * steps_an_epoch
    assert max(PROTOCOL.frozen_blocks) < PretrainRecipe().model.depth
