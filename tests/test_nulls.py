"""What each null must preserve, and that a shuffle does not depend on the others (3 s)."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesodask.errors import DataError, SettingsError
from mesodask.numerics.labels import binary_labels
from mesodask.numerics.nulls import MAX_ATTEMPTS, PseudoSession, max_shuffles, null_labels
from mesodask.numerics.taskmodel import Observer, draw_choices, draw_trials, fit_observer

KEY = (0, "null", "eid", "choice")
LABELS = st.lists(st.integers(0, 1), min_size=2, max_size=40).map(np.array)
N_TRIALS, N_UNBIASED = 500, 90
MOUSE = Observer()


def session(seed=0, n_trials=N_TRIALS, n_unbiased=N_UNBIASED, observer=MOUSE):
    """ALF trial columns of a simulated session, and what the task showed."""
    rng = np.random.default_rng(seed)
    shown = draw_trials(n_trials, rng, n_unbiased)
    columns = {
        "choice": np.where(draw_choices(observer, shown, rng), -1.0, 1.0),
        "contrastLeft": np.where(shown.side < 0, shown.contrast, np.nan),
        "contrastRight": np.where(shown.side > 0, shown.contrast, np.nan),
        "probabilityLeft": shown.probability_left,
    }
    return columns, shown


def pseudo_null(target, n_shuffles, kept=None, folds=None, **options):
    columns, _ = session(**options)
    kept = np.arange(len(columns["choice"])) if kept is None else kept
    pseudo = PseudoSession.fit(columns, target, kept, folds)
    y = np.arange(len(kept)) % 2
    return null_labels("pseudosession", y, range(n_shuffles), key=KEY, pseudo=pseudo)


def arguments(kind, y):
    """What a null needs besides the labels; blocks of 7 trials hold both labels."""
    if kind == "blockwise":
        return {"blocks": np.arange(len(y)) // 7}
    if kind == "pseudosession":
        return {"pseudo": PseudoSession.fit(session()[0], "choice", np.arange(100, 100 + len(y)))}
    return {}


@pytest.mark.parametrize("kind", ["permute", "circular", "blockwise", "pseudosession"])
def test_a_shuffle_does_not_depend_on_the_others(kind):
    y = np.random.default_rng(2).integers(0, 2, 60)
    options = arguments(kind, y)
    asked = [4, 0, 30, 7]
    together = null_labels(kind, y, range(40), key=KEY, **options)
    assert together.shape == (60, 40)
    np.testing.assert_array_equal(null_labels(kind, y, asked, key=KEY, **options), together[:, asked])
    for s in asked:
        np.testing.assert_array_equal(null_labels(kind, y, [s], key=KEY, **options)[:, 0], together[:, s])
    assert len(np.unique(together, axis=1).T) > 30
    assert not np.array_equal(null_labels(kind, y, range(40), key=(1, *KEY[1:]), **options), together)
    assert null_labels(kind, y, [], key=KEY, **options).shape == (60, 0)


@settings(deadline=None)
@given(y=LABELS)
def test_permuted_labels_keep_the_classes(y):
    null = null_labels("permute", y, range(5), key=KEY)
    np.testing.assert_array_equal(null.sum(axis=0), np.full(5, y.sum()))


def test_every_permutation_is_as_likely():
    null = null_labels("permute", [0, 0, 1, 1], range(6000), key=KEY)
    _, counts = np.unique(null, axis=1, return_counts=True)
    assert len(counts) == 6
    # chi-square of 6 equally likely patterns, 5 degrees of freedom: 20.5 at p = .001
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5


@settings(deadline=None)
@given(y=LABELS)
def test_circular_labels_are_all_shifts_but_none(y):
    n = len(y)
    null = null_labels("circular", y, range(n - 1), key=KEY)
    shifted = [tuple(np.concatenate([y[-d:], y[:-d]])) for d in range(1, n)]
    assert sorted(map(tuple, null.T.tolist())) == sorted(shifted)
    spectrum = np.abs(np.fft.fft(y)) ** 2
    np.testing.assert_allclose(
        np.abs(np.fft.fft(null, axis=0)) ** 2, spectrum[:, None].repeat(n - 1, axis=1), atol=1e-9
    )


def test_shifts_are_not_in_order():
    y = np.zeros(200, dtype=int)
    y[0] = 1
    shifts = null_labels("circular", y, range(199), key=KEY).argmax(axis=0)
    assert sorted(shifts) == list(range(1, 200))
    assert np.abs(np.corrcoef(shifts, np.arange(199))[0, 1]) < 0.3


@settings(deadline=None)
@given(y=LABELS, seed=st.integers(0, 100))
def test_blockwise_labels_keep_the_count_of_every_block(y, seed):
    blocks = np.repeat([0.2, 0.8, 0.2, 0.5], 10)[: len(y)]
    runs = np.arange(len(y)) // 10
    mixed = any(0 < y[runs == run].mean() < 1 for run in np.unique(runs))
    if not mixed:
        with pytest.raises(DataError, match="every block"):
            null_labels("blockwise", y, [0], key=(seed,), blocks=blocks)
        return
    null = null_labels("blockwise", y, range(4), key=(seed,), blocks=blocks)
    for run in np.unique(runs):
        np.testing.assert_array_equal(null[runs == run].sum(axis=0), np.full(4, y[runs == run].sum()))


def test_blockwise_labels_are_permuted_within_the_block():
    y = np.array([1, 0, 0, 1, 1, 0])
    blocks = [0, 0, 0, 1, 1, 1]
    null = null_labels("blockwise", y, range(3000), key=KEY, blocks=blocks)
    np.testing.assert_allclose(null.mean(axis=1), np.repeat([1 / 3, 2 / 3], 3), atol=0.05)


def test_blockwise_of_the_block_itself_is_refused():
    columns, _ = session()
    biased = columns["probabilityLeft"][N_UNBIASED:]
    with pytest.raises(DataError, match="another null"):
        null_labels("blockwise", biased > 0.5, range(3), key=KEY, blocks=biased)


@pytest.mark.parametrize("target", ["choice", "feedback", "stimulus", "block"])
def test_pseudo_labels_mean_what_labels_of_the_data_mean(target):
    kept = np.arange(N_UNBIASED, N_TRIALS, 2)
    labels = PseudoSession.fit(session()[0], target, kept).draw(np.random.default_rng(5))
    # the same stream, read as ALF columns of the observer fitted to the same session
    columns, shown = session(5, observer=PseudoSession.fit(session()[0], target, kept).observer)
    correct = (columns["choice"] == -1) == (shown.side > 0)
    expected = binary_labels(columns | {"feedbackType": np.where(correct, 1, -1)}, target)
    if target == "stimulus":
        at_zero = shown.contrast == 0
        assert np.isnan(expected[at_zero]).all()
        expected[at_zero] = shown.side[at_zero] > 0
    np.testing.assert_array_equal(labels, expected[kept])


def test_pseudo_blocks_are_blocks_of_the_task():
    kept = np.arange(N_UNBIASED, N_TRIALS)
    null = pseudo_null("block", 100, kept)
    for labels in null.T:
        switches = np.flatnonzero(np.diff(labels))
        lengths = np.diff(switches)
        assert 1 + switches[0] <= 100
        assert np.all((lengths >= 20) & (lengths <= 100))
    assert null[0].mean() == pytest.approx(0.5, abs=0.2)


def test_the_unbiased_start_is_as_long_as_the_session_s():
    null = pseudo_null("block", 100, np.arange(40, 340), n_trials=340, n_unbiased=40)
    # the first block begins at the first decoded trial: it is a whole one
    first_lengths = [np.flatnonzero(np.diff(labels))[0] + 1 for labels in null.T]
    assert 20 <= min(first_lengths) < 30
    assert null[0].mean() == pytest.approx(0.5, abs=0.2)
    with pytest.raises(DataError, match="rows 40"):
        PseudoSession.fit(session()[0], "block", np.arange(40, 340))


def test_pseudo_stimulus_has_a_side_at_zero_contrast_and_follows_the_block():
    null = pseudo_null("stimulus", 200)
    assert null[:N_UNBIASED].mean() == pytest.approx(0.5, abs=0.02)
    # within a block of 20 trials or more neighbours share the probability .8 or .2, so that they agree with
    # probability .68; the block changes on few trials
    agree = (null[N_UNBIASED:-1] == null[N_UNBIASED + 1 :]).mean()
    assert 0.65 < agree < 0.69


@pytest.mark.parametrize(("bias", "left_is_rare"), [(1.5, True), (-1.5, False)])
def test_pseudo_choice_is_that_of_the_fitted_observer(bias, left_is_rare):
    mouse = Observer(bias=bias, gain=3.0, prior_weight=0.2)
    columns, _ = session(seed=3, n_trials=2000, observer=mouse)
    pseudo = PseudoSession.fit(columns, "choice", np.arange(2000))
    rng = np.random.default_rng(0)
    simulated = np.mean([pseudo.draw(rng).mean() for _ in range(50)])
    # label 1 is choice +1, the report of left
    assert simulated == pytest.approx((columns["choice"] == 1).mean(), abs=0.05)
    assert (simulated < 0.5) == left_is_rare


def test_a_mouse_that_makes_no_errors_has_no_pseudo_feedback():
    folds = np.zeros((0, 1000), dtype=bool)
    perfect = Observer(gain=1e6, lapse_left=0.0, lapse_right=0.0)
    pseudo = PseudoSession(perfect, "feedback", 1000, 90, np.arange(1000), folds)
    with pytest.raises(DataError, match="100 times the smaller class"):
        null_labels("pseudosession", np.arange(1000) % 2, [0], key=KEY, pseudo=pseudo)


def test_the_smaller_class_holds_two_fifths():
    # few blocks fall in 120 trials: most draws are lopsided and are drawn again
    null = pseudo_null("block", 60, np.arange(90, 210), n_trials=210)
    share = null.mean(axis=0)
    assert np.all((share >= 0.4) & (share <= 0.6))
    assert null[0].min() != null[0].max()


def test_every_fold_has_both_classes():
    kept = np.arange(N_UNBIASED, N_TRIALS)
    folds = np.arange(len(kept)) * 8 // len(kept) == np.arange(8)[:, None]
    free, bound = pseudo_null("block", 60, kept), pseudo_null("block", 60, kept, folds)
    constant = [[np.ptp(null[fold], axis=0) == 0 for fold in folds] for null in (free, bound)]
    assert np.any(constant[0])
    assert not np.any(constant[1])


def test_impossible_folds_are_reported():
    kept = np.arange(N_UNBIASED, N_TRIALS)
    with pytest.raises(DataError, match=rf"{MAX_ATTEMPTS} simulated sessions .* a fold held only one class"):
        pseudo_null("block", 1, kept, (np.arange(len(kept)) == 5)[None])


def test_the_observer_is_fitted_to_trials_with_choice_contrast_and_block():
    columns, shown = session()
    expected = fit_observer(shown.signed_contrast, shown.probability_left, columns["choice"] == -1)
    spoilt = {name: np.concatenate([column, column[-3:]]) for name, column in columns.items()}
    spoilt["choice"][-3] = 0
    spoilt["contrastLeft"][-2] = spoilt["contrastRight"][-2] = np.nan
    spoilt["probabilityLeft"][-1] = np.nan
    pseudo = PseudoSession.fit(spoilt, "choice", np.arange(10))
    assert pseudo.n_trials == N_TRIALS + 3
    assert pseudo.observer == expected


def test_blocks_begin_with_the_first_that_is_known():
    columns, _ = session()
    columns["probabilityLeft"] = columns["probabilityLeft"].copy()
    columns["probabilityLeft"][0] = np.nan
    assert PseudoSession.fit(columns, "choice", np.arange(10)).n_unbiased == N_UNBIASED


def test_most_shuffles():
    assert max_shuffles("circular", 400) == 399
    assert max_shuffles("circular", 0) == 0
    assert max_shuffles("permute", 3) == sys.maxsize
    with pytest.raises(SettingsError, match="shuffle 3"):
        null_labels("circular", [0, 1, 1, 0], [0, 3], key=KEY)


@pytest.mark.parametrize(
    ("kind", "y", "options", "error", "message"),
    [
        ("rotate", [0, 1], {}, SettingsError, "null is 'rotate'"),
        ("permute", [0.0, np.nan], {}, DataError, "0 or 1 a trial"),
        ("permute", [[0, 1]], {}, DataError, "0 or 1 a trial"),
        ("permute", [0, 1], {"shuffles": [-1]}, SettingsError, "shuffle -1"),
        ("blockwise", [0, 1], {}, SettingsError, "blocks="),
        ("blockwise", [0, 1], {"blocks": [1]}, DataError, "blocks have shape"),
        ("pseudosession", [0, 1], {}, SettingsError, "pseudo="),
    ],
)
def test_nulls_that_cannot_be(kind, y, options, error, message):
    with pytest.raises(error, match=message):
        null_labels(kind, y, **({"shuffles": [0], "key": KEY} | options))


def test_pseudo_sessions_that_do_not_fit():
    columns, _ = session()
    with pytest.raises(DataError, match="contrastLeft"):
        PseudoSession.fit({"choice": [1]}, "choice", [0])
    with pytest.raises(SettingsError, match="mood"):
        PseudoSession.fit(columns, "mood", [0])
    with pytest.raises(DataError, match="rows 0 to 500"):
        PseudoSession.fit(columns, "choice", [0, 500])
    with pytest.raises(DataError, match="folds have shape"):
        PseudoSession.fit(columns, "choice", [0, 1], [[True]])
    with pytest.raises(DataError, match="keeps 3 trials"):
        null_labels("pseudosession", [0, 1], [0], key=KEY, pseudo=PseudoSession.fit(columns, "choice", [0, 1, 2]))
