"""The decoder as a scikit-learn classifier, for pipelines, grid searches and comparisons."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from mesodask.errors import SettingsError
from mesodask.numerics.logistic import fit_logistic
from mesodask.numerics.threads import ONE_BLAS_THREAD


class BatchedLogisticRegression(ClassifierMixin, BaseEstimator):
    r"""L2 logistic regression by the solver of :mod:`mesodask.numerics.logistic`.

    .. math:: \min_w \tfrac12 w \cdot w + C \sum_i \log(1 + \exp(-s_i\, (x_i, 1) \cdot w))

    as in liblinear: the intercept is the weight of a unit feature, and penalised. Several classes are fitted one
    against the rest, all in one batch. Neurons are not standardised here: put a ``StandardScaler`` before it.

    Parameters
    ----------
    C : float, default 1
        Inverse strength of the penalty.

    Attributes
    ----------
    classes_ : array (n_classes,)
        The labels seen.
    coef_ : float64 array (1 or n_classes, n_neurons)
        Weights; one row for two classes, as in scikit-learn.
    intercept_ : float64 array (1 or n_classes,)
        Weights of the unit feature.
    converged_ : bool array (1 or n_classes,)
        Whether each fit satisfies the first-order condition to 3e-4 of its start.
    n_features_in_ : int
        Neurons seen.

    Examples
    --------
    >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> BatchedLogisticRegression().fit(X, ["left", "left", "right", "right"]).predict([[3.0]]).tolist()
    ['right']
    """

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the classifier.

        Parameters
        ----------
        X : array (n_trials, n_neurons)
            Activity.
        y : array (n_trials,)
            Class labels, two or more different ones.

        Raises
        ------
        SettingsError
            If C is not a positive number.
        ValueError
            If X or y is not valid (scikit-learn's checks), or y has a single class.
        """
        if not (np.isfinite(self.C) and self.C > 0):
            raise SettingsError(f"C is {self.C}, expected a positive number")
        activity, labels = validate_data(self, X, y)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class, {self.classes_[0]!r}: a classifier needs at least two")
        rows = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        scale = np.sqrt(self.C)
        features = scale * np.column_stack((activity, np.ones(len(activity))))
        with ONE_BLAS_THREAD:
            fits = fit_logistic(features.astype(np.float32), np.array([codes == row for row in rows]))
        weights = scale * fits.weights.astype(np.float64)
        self.coef_, self.intercept_ = weights[:, :-1], weights[:, -1]
        self.converged_ = fits.converged
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return decisions ``X @ coef_.T + intercept_``: (n_trials,) for two classes, else (n_trials, n_classes)."""
        check_is_fitted(self)
        activity = validate_data(self, X, reset=False)
        decisions = activity @ self.coef_.T + self.intercept_
        return decisions[:, 0] if decisions.shape[1] == 1 else decisions

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most likely class of every trial, (n_trials,)."""
        decisions = self.decision_function(X)
        codes = (decisions > 0).astype(np.intp) if decisions.ndim == 1 else decisions.argmax(axis=1)
        return self.classes_[codes]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of every class, (n_trials, n_classes); one against the rest, scaled to a sum of 1."""
        decisions = self.decision_function(X)
        if decisions.ndim == 1:
            return np.column_stack((expit(-decisions), expit(decisions)))
        likely = expit(decisions)
        return likely / likely.sum(axis=1, keepdims=True)
