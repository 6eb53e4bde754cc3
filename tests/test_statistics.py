"""Paired statistics against scipy, brute force and simulation; the patient as unit; what a comparison refuses."""

from itertools import chain, combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from usjepa.errors import InputError
from usjepa.evaluation.metrics import averages, video_scores
from usjepa.evaluation.resampling import (
    crossed_interval,
    detection_power,
    holm,
    paired_t_p,
    sign_flip_p,
    smallest_effect,
)
from usjepa.evaluation.statistics import Comparison, compare, patient_means
from usjepa.structures import STRUCTURES


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def table(values: np.ndarray, views: int = 1) -> pd.DataFrame:
    """Scores of one structure [seeds, patients * views] as `video_scores` gives them."""
    k, n = values.shape
    rows = [
        (seed, f"patient{v // views:02}", f"patient{v // views:02}_{v % views}", "LA", values[seed, v])
        for seed in range(k)
        for v in range(n)
    ]
    return pd.DataFrame(rows, columns=["seed", "patient", "video", "structure", "dsc"])


@pytest.mark.parametrize("n", range(2, 14))
def test_the_exact_permutation_test_is_scipys(n: int, rng: np.random.Generator) -> None:
    for shift in (0.0, 0.5, 2.0):
        differences = (rng.normal(size=n) + shift).round(1)  # rounded, so that there are ties
        expected = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert sign_flip_p(differences, rng) == pytest.approx(expected.pvalue, abs=1e-12)


def test_the_drawn_permutation_test_agrees_with_scipys_over_all_signs(rng: np.random.Generator) -> None:
    differences = rng.normal(0.4, 1, size=18) + 0.25
    every = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert 0.02 < every < 0.3
    assert sign_flip_p(differences, rng, draws=40_000) == pytest.approx(every, abs=4 * (every / 40_000) ** 0.5)


def test_a_drawn_p_counts_the_observed_signs_and_is_never_zero(rng: np.random.Generator) -> None:
    assert sign_flip_p(np.full(50, 0.1), rng, draws=999) == 1 / 1000
    assert sign_flip_p(np.zeros(50), rng, draws=99) == 1.0


def test_five_patients_cannot_be_significant_and_six_can(rng: np.random.Generator) -> None:
    assert sign_flip_p(np.arange(1.0, 6.0), rng) == 2**-4 > 0.05
    assert sign_flip_p(np.arange(1.0, 7.0), rng) == 2**-5 < 0.05


def test_the_same_generator_gives_the_same_p_and_interval() -> None:
    differences = np.random.default_rng(5).normal(size=(3, 40))
    p = [sign_flip_p(differences[0], np.random.default_rng(1)) for _ in range(2)]
    assert p[0] == p[1]
    intervals = [crossed_interval(differences, np.random.default_rng(1), draws=99) for _ in range(2)]
    assert intervals[0] == intervals[1]


@pytest.mark.parametrize("n", [2, 5, 50, 300])
def test_the_paired_t_test_is_scipys(n: int, rng: np.random.Generator) -> None:
    differences = rng.normal(0.3, 1, size=n)
    assert paired_t_p(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-9)
    assert paired_t_p(np.zeros(n)) == 1.0


@pytest.mark.parametrize("of", [sign_flip_p, crossed_interval])
def test_one_unit_or_a_unit_without_a_number_is_refused(of, rng: np.random.Generator) -> None:
    for differences, message in (([0.1], "two units or more, got 1"), ([0.1, np.nan, 0.3], r"none for units \[1\]")):
        array = np.array(differences)
        with pytest.raises(InputError, match=message):
            of(array[None] if of is crossed_interval else array, rng)


def test_the_interval_of_one_seed_is_scipys_percentile_bootstrap_over_patients(rng: np.random.Generator) -> None:
    differences = rng.gamma(1.0, 0.03, size=50)
    ours = crossed_interval(differences[None], rng, draws=20_000)
    bootstrap = stats.bootstrap((differences,), np.mean, n_resamples=20_000, method="percentile", rng=rng)
    expected = bootstrap.confidence_interval
    assert ours == pytest.approx(tuple(expected), abs=0.04 * (expected.high - expected.low))


def test_the_interval_of_seeds_has_the_width_that_the_variances_of_seeds_and_patients_add_up_to() -> None:
    rng = np.random.default_rng(3)
    seeds, patients = rng.normal(0, 0.02, size=8), rng.normal(0, 0.05, size=60)
    low, high = crossed_interval(seeds[:, None] + patients, rng, draws=20_000)
    error = (seeds.var(ddof=1) / 8 + patients.var(ddof=0) / 60) ** 0.5
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.03)
    patients_only = crossed_interval((seeds[:, None] + patients).mean(axis=0)[None], rng)
    assert high - low > 1.2 * (patients_only[1] - patients_only[0])


@pytest.mark.parametrize(("seed_sd", "least", "most"), [(0.01, 0.90, 0.96), (0.02, 0.80, 0.88)])
def test_intervals_from_three_seeds_hold_the_truth_as_often_as_their_docstring_says(
    seed_sd: float, least: float, most: float
) -> None:
    rng, patient_sd, held = np.random.default_rng(1), 0.03 if seed_sd == 0.01 else 0.02, 0
    for _ in range(500):
        seeds, patients = rng.normal(0, seed_sd, (3, 1)), rng.normal(0, patient_sd, (1, 50))
        low, high = crossed_interval(seeds + patients + rng.normal(0, 0.02, (3, 50)), rng, draws=300)
        held += low <= 0 <= high
    assert least < held / 500 < most


def test_holm_is_bonferroni_on_every_subset_of_the_family_that_holds_the_test(rng: np.random.Generator) -> None:
    for _ in range(20):
        p = pd.Series(rng.beta(0.3, 3, size=6).round(3), index=list("abcdef"))
        adjusted = holm(p)
        for name in p.index:
            others = p.index.drop(name)
            subsets = chain.from_iterable(combinations(others, size) for size in range(6))
            closed = max(min(1.0, (len(s) + 1) * min(p[[name, *s]])) for s in subsets)
            assert adjusted[name] == pytest.approx(closed, abs=1e-12)
        assert list(adjusted.index) == list(p.index)


def test_holm_corrects_each_family_by_itself() -> None:
    tests = pd.DataFrame({"family": ["x", "y", "x", "y", "y"], "p": [0.01, 0.04, 0.04, 0.001, 0.03]})
    adjusted = tests.groupby("family")["p"].transform(holm)
    assert adjusted.tolist() == pytest.approx([0.02, 0.06, 0.04, 0.003, 0.06])


def test_holm_refuses_a_family_with_a_test_that_was_not_run() -> None:
    with pytest.raises(InputError, match=r"p of 'vjepa': expected a number in \[0, 1\], got nan"):
        holm(pd.Series({"videomae": 0.01, "vjepa": np.nan}))


@pytest.mark.parametrize(("effect", "sd", "n"), [(0.012, 0.03, 50), (0.01, 0.02, 10), (0.0, 1.0, 5)])
def test_the_power_of_the_t_test_is_that_of_a_simulation(effect: float, sd: float, n: int) -> None:
    runs = np.random.default_rng(2).normal(effect, sd, size=(20_000, n))
    found = float(np.mean(stats.ttest_1samp(runs, 0, axis=1).pvalue < 0.05))
    assert detection_power(effect, sd, n) == pytest.approx(found, abs=0.012)
    assert detection_power(-effect, sd, n) == pytest.approx(detection_power(effect, sd, n), abs=1e-12)


@pytest.mark.parametrize(("sd", "n", "effect"), [(0.02, 50, 0.008), (0.03, 50, 0.012), (0.04, 50, 0.016)])
def test_50_patients_show_an_effect_of_two_fifths_of_the_spread_with_80_percent(
    sd: float, n: int, effect: float
) -> None:
    smallest = smallest_effect(sd, n)
    assert smallest == pytest.approx(effect, abs=5e-4)
    assert detection_power(smallest, sd, n) == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize(("n", "power"), [(2, 0.8), (2, 0.99), (3, 0.06), (1000, 0.999)])
def test_the_smallest_effect_has_its_power_for_few_and_many_units(n: int, power: float) -> None:
    assert detection_power(smallest_effect(1.0, n, power), 1.0, n) == pytest.approx(power, abs=1e-9)


def test_power_without_spread_or_units_or_a_chance_is_refused() -> None:
    for sd, n in ((0.0, 50), (np.nan, 50), (0.03, 1)):
        with pytest.raises(InputError, match="2 units or more and an sd above 0"):
            detection_power(0.01, sd, n)
    with pytest.raises(InputError, match="power: expected a chance between"):
        smallest_effect(0.03, 50, power=1.0)


def test_means_go_over_a_patients_videos_and_leave_those_without_a_score_out() -> None:
    rows = [
        (0, "a", "a_2CH", "LA", 0.9),
        (0, "a", "a_3CH", "LA", 0.3),
        (0, "a", "a_4CH", "LA", 0.3),
        (0, "b", "b_2CH", "LA", 0.6),
        (0, "b", "b_4CH", "LA", np.nan),
    ]
    scores = pd.DataFrame(rows, columns=["seed", "patient", "video", "structure", "dsc"])
    assert patient_means(scores).loc[0].to_dict() == pytest.approx({"a": 0.5, "b": 0.6})


def test_a_patient_without_any_score_is_named() -> None:
    scores = table(np.array([[0.5, np.nan, 0.7]]))
    with pytest.raises(InputError, match="expected one of patient patient01 in seed 0, got none"):
        patient_means(scores)


def test_a_comparison_holds_the_effect_in_points_and_percent_and_by_seed(rng: np.random.Generator) -> None:
    base = np.full((3, 12), 0.6) + rng.normal(0, 0.1, 12)
    effects = np.array([0.01, 0.03, 0.05])[:, None]
    spread = rng.normal(0, 0.01, 12)
    result = compare(table(base + effects + spread - spread.mean(), 2), table(base, 2), rng)
    assert (result.structure, result.metric) == ("LA", "dsc")
    assert (result.patients, result.clips, result.seeds) == (6, 12, 3)
    assert result.points == pytest.approx(3.0)
    assert result.percent == pytest.approx(100 * (result.ours / result.base - 1))
    assert result.base == pytest.approx(base.mean())
    assert result.seed_points == pytest.approx((1.0, 3.0, 5.0))
    assert result.seed_sd_points == pytest.approx(2.0)
    by_patient = 100 * (spread - spread.mean()).reshape(6, 2).mean(axis=1)
    assert result.patient_sd_points == pytest.approx(by_patient.std(ddof=1))
    assert result.low_points < 2.0 < 4.0 < result.high_points, "as wide as the seeds differ"
    assert result.p_patients == 2**-5
    assert result.p_clips == pytest.approx(stats.ttest_1samp(0.03 + spread - spread.mean(), 0).pvalue, rel=1e-6)


def test_the_other_way_round_only_the_sign_changes() -> None:
    values = np.random.default_rng(4).uniform(0.4, 0.9, size=(2, 2, 10))
    there, back = (compare(table(one), table(other), np.random.default_rng(9)) for one, other in (values, values[::-1]))
    assert there.points == pytest.approx(-back.points)
    assert (there.low_points, there.high_points) == pytest.approx((-back.high_points, -back.low_points), rel=0.01)
    assert (there.p_patients, there.p_clips) == pytest.approx((back.p_patients, back.p_clips))


def test_a_method_compared_with_itself_differs_by_nothing(rng: np.random.Generator) -> None:
    scores = table(rng.uniform(0.4, 0.9, size=(2, 10)))
    result = compare(scores, scores, rng)
    assert (result.points, result.percent, result.low_points, result.high_points) == (0, 0, 0, 0)
    assert (result.p_patients, result.p_clips) == (1, 1)


def test_one_seed_has_no_spread_over_seeds_and_its_interval_is_of_patients(rng: np.random.Generator) -> None:
    ours, base = (table(rng.uniform(0.4, 0.9, size=(1, 20))) for _ in range(2))
    result = compare(ours, base, rng)
    assert (result.seeds, len(result.seed_points)) == (1, 1)
    assert np.isnan(result.seed_sd_points)
    assert result.low_points < result.points < result.high_points


def test_rows_in_another_order_compare_alike() -> None:
    ours, base = (table(np.random.default_rng(s).uniform(0.4, 0.9, size=(2, 20)), 2) for s in (0, 1))
    results = [compare(ours.sample(frac=1, random_state=s), base, np.random.default_rng(0)) for s in (1, 2)]
    assert results[0] == results[1] == compare(ours, base, np.random.default_rng(0))


def test_a_comparison_is_a_row_of_a_table(rng: np.random.Generator) -> None:
    scores = table(rng.uniform(size=(2, 6)))
    frame = pd.DataFrame([compare(scores, scores, rng)])
    assert list(frame) == list(Comparison._fields)


def test_a_video_without_a_score_in_one_method_is_left_out_of_both(rng: np.random.Generator) -> None:
    base = rng.uniform(0.4, 0.9, size=(1, 12))
    ours = base + 0.05
    ours[0, 3] = np.nan
    result = compare(table(ours, 2), table(base, 2), rng)
    assert (result.patients, result.clips) == (6, 11)
    assert result.points == pytest.approx(5.0)
    ours[0, 2] = np.nan
    with pytest.raises(InputError, match="patient patient01 in seed 0"):
        compare(table(ours, 2), table(base, 2), rng)


def test_patients_of_one_method_only_are_named(rng: np.random.Generator) -> None:
    ours, base = table(rng.uniform(size=(1, 5))), table(rng.uniform(size=(1, 7)))
    ours = ours[ours["patient"] != "patient02"]
    with pytest.raises(InputError, match="patient: .* got patient02, patient05, patient06 only in base"):
        compare(ours, base, rng)
    with pytest.raises(InputError, match="seed: .* got 1 only in ours"):
        compare(table(rng.uniform(size=(2, 5))), table(rng.uniform(size=(1, 5))), rng)


def test_two_structures_are_neither_averaged_silently_nor_compared(rng: np.random.Generator) -> None:
    scores = table(rng.uniform(size=(1, 5)))
    background = scores.assign(structure="background")
    with pytest.raises(InputError, match="structure: expected one, got LA, background"):
        compare(pd.concat([scores, background]), scores, rng)
    with pytest.raises(InputError, match="structure: .* got LA only in ours; background only in base"):
        compare(scores, background, rng)


def test_the_named_averages_of_counted_pixels_are_compared(rng: np.random.Generator) -> None:
    tables = []
    for _ in range(2):
        both = rng.integers(1, 50, size=(6, 2, 4))
        rows = [
            (f"p{p}_{v}", f"p{p}", v, 0, structure, both[p, v, s], both[p, v, s] + 5, both[p, v, s] + 9)
            for p in range(6)
            for v in range(2)
            for s, structure in enumerate(STRUCTURES)
        ]
        names = ["video", "patient", "view", "frame", "structure", "both", "predicted", "true"]
        tables.append(averages(video_scores(pd.DataFrame(rows, columns=names))).assign(seed=0))
    for average in tables[0]["structure"].unique():
        result = compare(*(one[one["structure"] == average] for one in tables), rng)
        assert (result.structure, result.patients, result.clips) == (average, 6, 12)
        means = [one.loc[one["structure"] == average, "dsc"].mean() for one in tables]
        assert (result.ours, result.base) == pytest.approx(means)


def test_a_row_of_one_table_only_is_named(rng: np.random.Generator) -> None:
    scores = table(rng.uniform(size=(2, 5)), 1)
    with pytest.raises(InputError, match="got seed 1, patient patient04, video patient04_0 in one only"):
        compare(scores, scores.iloc[:-1], rng)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda scores: scores.iloc[:0], "got no row"),
        (lambda scores: scores.drop(columns="seed"), "got no seed"),
        (
            lambda scores: pd.concat([scores, scores.iloc[[3]]]),
            "one row of seed 0, patient patient03, video patient03_0, got more",
        ),
        (lambda scores: scores[scores["patient"] == "patient00"], "two units or more, got 1. Score more patients"),
        (lambda scores: scores.assign(dsc=np.nan), "one of patient patient00, patient01, .* in seed 0, got none"),
    ],
)
def test_a_table_that_says_nothing_of_patients_is_refused(spoil, message: str, rng: np.random.Generator) -> None:
    spoilt = spoil(table(rng.uniform(size=(1, 5))))
    with pytest.raises(InputError, match=message):
        compare(spoilt, spoilt, rng)


def test_clips_as_units_find_effects_that_are_not_there_and_patients_do_not() -> None:
    """Both methods alike, 20 patients, two clips each whose differences go together: 0.05 should be found by chance."""
    rng = np.random.default_rng(7)
    runs = [np.repeat(rng.normal(0, 0.03, 20), 2) + rng.normal(0, 0.01, 40) for _ in range(400)]
    by_clips = np.mean([paired_t_p(run) < 0.05 for run in runs])
    by_patients = np.mean([sign_flip_p(run.reshape(20, 2).mean(axis=1), rng, draws=499) < 0.05 for run in runs])
    assert by_clips > 0.12
    assert by_patients < 0.08
