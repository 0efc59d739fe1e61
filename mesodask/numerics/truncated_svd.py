"""The largest singular values of a matrix that comes in blocks of rows and never lies in memory as a whole."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Blocks = Callable[[], Iterable[NDArray[np.float32]]]

N_POWER_ITERATIONS = 5
N_OVERSAMPLES = 10  # columns of the sketch beyond the components asked for


def truncated_svd(
    blocks: Blocks, shape: tuple[int, int], n_components: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    r"""Find the leading singular vectors of a matrix, reading it seven or eight times in blocks of rows.

    Randomised range finder with power iterations (Halko, Martinsson & Tropp 2011, SIAM Rev. 53:217, algorithms 4.4 and
    5.1). With a Gaussian matrix :math:`\Omega` on the shorter side of A,

    .. math:: Q_0 = \Omega \;\text{or}\; A^\top \Omega, \qquad Q_{i+1} = \mathrm{orth}(A^\top A\, Q_i)

    and the SVD within what the last Q spans. A pass over the blocks :math:`A_b` gives both products,
    :math:`(A Q)_b = A_b Q` and :math:`A^\top A Q = \sum_b A_b^\top (A_b Q)`.

    Sketch, iterations, seed and signs are those of scikit-learn's ``TruncatedSVD(random_state=0)`` on the whole matrix:
    even within flat noise, where any randomised SVD only approximates the components, both give the same.

    Parameters
    ----------
    blocks : callable
        Gives an iterable of consecutive blocks of rows, (n_in_block, n_columns) float32, finite; called for each pass.
    shape : tuple of int
        (n_rows, n_columns) of the whole matrix.
    n_components : int
        How many components, k; fewer come back if the rank, in single precision, is lower.

    Returns
    -------
    Usv : numpy.ndarray, (n_rows, k) float32
        Left singular vectors times singular values, the largest first.
    Vsv : numpy.ndarray, (n_columns, k) float32
        Right singular vectors times singular values. The entry of largest magnitude in each column is positive.

    Examples
    --------
    >>> A = np.diag([3, 1, 2, 0]).astype(np.float32)
    >>> Usv, Vsv = truncated_svd(lambda: (A[:3], A[3:]), A.shape, 2)
    >>> np.linalg.norm(Usv, axis=0).round(5).tolist()
    [3.0, 2.0]
    """
    n_rows, n_columns = shape
    width = min(n_components + N_OVERSAMPLES, n_rows, n_columns)
    wide = n_rows < n_columns
    # scikit-learn's stream, not one of numerics.seeds: see above
    sketch = np.random.RandomState(0).normal(size=(min(shape), width)).astype(np.float32)
    Z: NDArray[np.floating] = _transposed_product(blocks, sketch, n_columns) if wide else sketch
    for _ in range(N_POWER_ITERATIONS):
        Z = _products(blocks, _orthonormal(Z), shape)[1]
    Q = _orthonormal(Z)
    AQ, AtAQ = _products(blocks, Q, shape)
    _, values, Wt = np.linalg.svd(AQ, full_matrices=False)
    W = Wt[values > _rounding(values, shape)].T
    # for a tall matrix half an iteration more, as there: what A^T makes of the left vectors of A Q
    V = Q @ W if wide else np.linalg.svd(AtAQ @ (W / values[: W.shape[1]]), full_matrices=False)[0]
    V = V[:, :n_components]
    V = V * np.sign(np.take_along_axis(V, np.abs(V).argmax(axis=0)[None], axis=0))
    Usv, AtUsv = _products(blocks, V.astype(np.float32), shape)
    return Usv.astype(np.float32), (AtUsv / np.linalg.norm(Usv, axis=0)).astype(np.float32)


def _rounding(values: NDArray[np.float64], shape: tuple[int, int]) -> float:
    """Below which a singular value may be nothing but the rounding of single-precision products."""
    return float(4 * np.finfo(np.float32).eps * np.sqrt(max(shape)) * values[0])


def _orthonormal(Z: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.linalg.qr(Z)[0].astype(np.float32)


def _products(
    blocks: Blocks, Q: NDArray[np.float32], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Multiply A Q, (n_rows, k), and A^T A Q, (n_columns, k), in one pass; sums over blocks in double precision."""
    AQ, QtAtA = np.empty((shape[0], Q.shape[1])), np.zeros((Q.shape[1], shape[1]))
    start = 0
    for block in blocks():
        product = block @ Q
        AQ[start : start + len(block)] = product
        QtAtA += product.T @ block  # a fifth faster than its transpose
        start += len(block)
    return AQ, QtAtA.T


def _transposed_product(blocks: Blocks, R: NDArray[np.float32], n_columns: int) -> NDArray[np.float64]:
    """Multiply A^T R, (n_columns, k)."""
    total = np.zeros((R.shape[1], n_columns))
    start = 0
    for block in blocks():
        total += R[start : start + len(block)].T @ block
        start += len(block)
    return total.T
