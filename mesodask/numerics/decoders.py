"""Any scikit-learn classifier or pipeline as the decoder: one fit for every fold and label column.

Nothing is shared between label columns, so a score does not depend on the columns beside it, and costs what the
classifier costs.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesodask.errors import DataError, SettingsError
from mesodask.numerics import seeds
from mesodask.numerics.folds import Fold
from mesodask.numerics.scores import auc, balanced_accuracy

# the filters of warnings belong to the whole process: two threads that changed and restored them would undo each other
_WARNINGS = threading.RLock()


def check_decoder(decoder: Any, metric: str, C: float = 1.0) -> None:
    """Raise if an object cannot take the place of the decoder.

    Parameters
    ----------
    decoder : object
        A classifier or pipeline with the methods of scikit-learn: ``get_params``, ``set_params``, ``fit``, and what the
        metric needs.
    metric : {"auc", "accuracy"}
        ``"auc"`` needs ``decision_function`` or ``predict_proba``, ``"accuracy"`` needs ``predict``.
    C : float, default 1
        The penalty of the decoder that is replaced: it must be left at 1.

    Raises
    ------
    SettingsError
        The object is a class, has not these methods or cannot be cloned; or C is given too.

    Examples
    --------
    >>> check_decoder("svm", "auc")
    Traceback (most recent call last):
    mesodask.errors.SettingsError: decoder 'svm' has no method get_params; give a scikit-learn classifier or pipeline
    """
    from sklearn.base import clone

    if C != 1.0:
        raise SettingsError(
            f"C is {C} and a decoder is given; C is of the default decoder: set that of your classifier"
        )
    if isinstance(decoder, type):
        raise SettingsError(f"decoder {decoder.__name__} is a class; give an object: decoder={decoder.__name__}()")
    for method in ("get_params", "set_params", "fit"):
        if not hasattr(decoder, method):
            raise SettingsError(
                f"decoder {decoder!r} has no method {method}; give a scikit-learn classifier or pipeline"
            )
    needed = ("decision_function", "predict_proba") if metric == "auc" else ("predict",)
    if not any(hasattr(decoder, method) for method in needed):
        raise SettingsError(
            f"decoder {decoder!r} has no {' or '.join(needed)}, which metric {metric!r} needs; give a classifier that "
            f"has{', or take metric=' + repr('accuracy') if metric == 'auc' else ''}"
        )
    try:
        clone(decoder)
    except Exception as error:
        raise SettingsError(
            f"decoder {_name(decoder)} cannot be cloned ({error}); its __init__ must store every parameter as it is"
        ) from error


def decoder_scores(
    decoder: Any,
    activity: NDArray[np.floating],
    labels: NDArray[np.bool_],
    columns: NDArray[np.intp],
    fold: Fold,
    metric: str,
    key: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fit a fresh clone of the decoder to each label column of a fold, and score it on the test trials.

    Parameters
    ----------
    decoder : object
        Has passed :func:`check_decoder`; it is not changed.
    activity : float array (n_trials, n_neurons)
        Handed to the decoder as it is: what standardises is a step of the decoder.
    labels : bool array (n_labels, n_trials)
        All label columns.
    columns : int array (n_columns,)
        Those with both classes among the training and the test trials.
    fold : (train, test)
        Trial indices.
    metric : {"auc", "accuracy"}
        By ``decision_function``, or ``predict_proba`` where there is none; or by ``predict``.
    key : (int, int)
        Seed and number of the fold. Every parameter ``random_state`` that is None gets the seed
        ``seeds.integer_seed(seed, "decoder", fold, column, parameter)``.

    Returns
    -------
    scores : float64 array (n_columns,)
    converged : bool array (n_columns,)
        False where the fit gave a ``ConvergenceWarning``, which is not shown.

    Raises
    ------
    SettingsError
        The decoder refuses a parameter, or predicts something else than the labels.
    DataError
        The decoder failed on the trials of this fold.
    """
    train, test = fold
    scores, converged = np.empty(len(columns)), np.empty(len(columns), dtype=bool)
    for i, column in enumerate(columns):
        with _in_words(decoder, f"label column {column} of fold {key[1]}"):
            model = _seeded_clone(decoder, (key[0], "decoder", key[1], int(column)))
            # indexed anew for every fit: a decoder may standardise its input in place
            converged[i] = _fit(model, activity[train], labels[column, train].astype(np.int64))
            scores[i] = _score(model, activity[test], labels[column, test], metric)
    return scores, converged


class Decoded(NamedTuple):
    """What a decoder says of the trials of a session.

    Attributes
    ----------
    decisions : float64 array (n_trials,)
        Of its ``decision_function``, or ``predict_proba`` where there is none.
    called : bool array (n_trials,)
        Whether ``predict`` gives 1.
    """

    decisions: NDArray[np.float64]
    called: NDArray[np.bool_]


class DecoderFold(NamedTuple):
    """What a decoder fitted to one outer fold says at home and on other sessions.

    Attributes
    ----------
    home : Decoded
        On the test trials.
    abroad : tuple of Decoded
        One a session, in their order.
    converged : bool
        False where the fit gave a ``ConvergenceWarning``, which is not shown.
    """

    home: Decoded
    abroad: tuple[Decoded, ...]
    converged: bool


def fit_decoder_fold(
    X: ArrayLike,
    y: ArrayLike,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    decoder: Any,
    seed: int,
    abroad: Sequence[ArrayLike] = (),
) -> DecoderFold:
    """Fit a fresh clone of a user's decoder to an outer fold, and let it decide there and on other sessions.

    The fitted model itself is not kept: it could be stored as a pickle only.

    Parameters
    ----------
    X : array (n_trials, n_neurons)
        Activity of the home session, handed to the decoder as it is.
    y : array (n_trials,) of 0 and 1
        Its labels.
    train, test : int arrays (n_train,), (n_test,)
        The outer fold; an empty `test` decides nothing at home.
    decoder : object
        Has ``predict``, and ``decision_function`` or ``predict_proba``; it is not changed.
    seed : int
        Every parameter ``random_state`` that is None gets ``seeds.integer_seed(seed, "decoder", parameter)``.
    abroad : sequence of arrays (n_trials, n_neurons)
        Other sessions, the same neurons in the same order.

    Returns
    -------
    DecoderFold
        Decisions and predictions.

    Raises
    ------
    SettingsError
        The object is no classifier, refuses a parameter, or predicts something else than the labels.
    DataError
        The decoder failed, or decides NaN.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> X, y = np.arange(12.0)[:, None], np.arange(12) > 5
    >>> fold = fit_decoder_fold(X, y, np.arange(0, 12, 2), np.arange(1, 12, 2), GaussianNB(), 0, [X[::-1]])
    >>> fold.home.called.tolist(), fold.abroad[0].called.sum().item()
    ([False, False, False, True, True, True], 6)
    """
    check_decoder(decoder, "auc")
    check_decoder(decoder, "accuracy")
    home, labels = np.asarray(X), np.asarray(y).astype(np.int64)
    with _in_words(decoder, "the training trials of the home session"):
        model = _seeded_clone(decoder, (seed, "decoder"))
        converged = _fit(model, home[train], labels[train])
    with _in_words(decoder, "the test trials of the home session"):
        at_home = _decide(model, home[test])
    others = []
    for number, activity in enumerate(abroad):
        with _in_words(decoder, f"test session {number}"):
            others.append(_decide(model, np.asarray(activity)))
    return DecoderFold(at_home, tuple(others), converged)


def _decide(model: Any, activity: NDArray[np.floating]) -> Decoded:
    if not len(activity):
        return Decoded(np.empty(0), np.empty(0, dtype=bool))
    # a copy each: a decoder may standardise its input in place
    return Decoded(_decisions(model, activity.copy()).astype(np.float64), _predictions(model, activity.copy()))


def _seeded_clone(decoder: Any, key: tuple[int | str, ...]) -> Any:
    """Clone the decoder, and seed each part of it that would draw from the global generator."""
    from sklearn.base import clone

    model = clone(decoder)
    parameters = model.get_params(deep=True)
    unseeded = [name for name, value in parameters.items() if name.split("__")[-1] == "random_state" and value is None]
    if unseeded:
        model.set_params(**{name: seeds.integer_seed(*key, name) for name in unseeded})
    for name, value in parameters.items():
        # a splitter of folds (cv=) is no estimator, but clone has copied it
        if not hasattr(value, "get_params") and getattr(value, "random_state", 0) is None:
            value.random_state = seeds.integer_seed(*key, name)
    return model


def _fit(model: Any, activity: NDArray[np.floating], labels: NDArray[np.int64]) -> bool:
    """Fit, and tell whether it converged."""
    from sklearn.exceptions import ConvergenceWarning

    unconverged = False

    def note(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        nonlocal unconverged
        if issubclass(category, ConvergenceWarning):
            unconverged = True
        else:
            shown(message, category, *where, **more)

    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("always", ConvergenceWarning)
        shown = warnings.showwarning
        warnings.showwarning = note
        model.fit(activity, labels)
    return not unconverged


def _score(model: Any, activity: NDArray[np.floating], labels: NDArray[np.bool_], metric: str) -> float:
    if metric == "accuracy":
        called = _predictions(model, activity)
        return float(balanced_accuracy(np.where(called, 1.0, -1.0)[None], labels[None])[0])
    # ranks, since probabilities of 1e-9 and 1e-6 are no tie, as the float32 decisions of our own decoder would be
    ranks = np.unique(_decisions(model, activity), return_inverse=True)[1].astype(np.float64)
    return float(auc(ranks[None], labels[None])[0])


def _predictions(model: Any, activity: NDArray[np.floating]) -> NDArray[np.bool_]:
    predicted = _one_a_trial(model.predict(activity), "predict", len(activity))
    if not np.isin(predicted, (0, 1)).all():
        raise SettingsError(f"it predicts {predicted[~np.isin(predicted, (0, 1))][0]}, expected the labels 0 and 1")
    called: NDArray[np.bool_] = predicted == 1
    return called


def _decisions(model: Any, activity: NDArray[np.floating]) -> NDArray[np.floating]:
    if hasattr(model, "decision_function"):
        decisions = _one_a_trial(model.decision_function(activity), "decision_function", len(activity))
    else:
        decisions = _one_a_trial(np.asarray(model.predict_proba(activity))[:, 1], "predict_proba", len(activity))
    if np.isnan(decisions).any():
        raise DataError(f"{np.isnan(decisions).sum()} of its {len(activity)} decisions are NaN")
    return decisions


def _one_a_trial(values: Any, method: str, n_trials: int) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != (n_trials,):
        raise SettingsError(f"{method} gives shape {array.shape}, expected one value a trial, ({n_trials},)")
    return array


@contextlib.contextmanager
def _in_words(decoder: Any, where: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an error that names it, and where it happened."""
    try:
        yield
    except Exception as error:
        # scikit-learn's InvalidParameterError is a TypeError
        kind = SettingsError if isinstance(error, (SettingsError, TypeError)) else DataError
        raise kind(
            f"decoder {_name(decoder)} failed on {where}: "
            f"{type(error).__name__}: {error}; see that it takes X (n_trials, n_neurons) and labels 0 and 1"
        ) from error


def _name(decoder: Any) -> str:
    return " ".join(repr(decoder).split())
