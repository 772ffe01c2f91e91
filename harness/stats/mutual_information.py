"""Agreement of two clusterings of the same items, whatever their clusters are called. Pure.

Source:
    Vinh, Epps and Bailey, JMLR 11 (2010): adjusted for chance, with the arithmetic mean of the
    entropies as its maximum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln


def adjusted_mutual_information(one: ArrayLike, other: ArrayLike) -> float:
    """Compute how far two clusterings agree.

    Args:
        one: Cluster of each item, as whole numbers in any numbering.
        other: Cluster of each item, in the same order; at least one item.

    Returns:
        1 for equal clusterings, 0 on average for clusterings that are independent given the sizes
        of their clusters; negative below that.
    """
    first, second = (np.unique(np.asarray(each), return_inverse=True)[1] for each in (one, other))
    joint = np.zeros((first.max() + 1, second.max() + 1), dtype=np.int64)
    np.add.at(joint, (first, second), 1)
    rows, columns, items = joint.sum(axis=1), joint.sum(axis=0), len(first)
    if len(rows) == len(columns) and len(rows) in (1, items):  # nothing to know, or all alone
        return 1.0
    expected = _expected_information(rows, columns)
    most = (_entropy(rows) + _entropy(columns)) / 2
    return float((_information(joint, rows, columns) - expected) / (most - expected))


def _information(
    joint: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> float:
    row, column = joint.nonzero()
    counts, items = joint[row, column], rows.sum()
    return float(np.sum(counts * np.log(counts * items / (rows[row] * columns[column]))) / items)


def _entropy(sizes: NDArray[np.int64]) -> float:
    shares = sizes / sizes.sum()
    return float(-np.sum(shares * np.log(shares)))


def _expected_information(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> float:
    """Return the mean information of random clusterings with clusters of these sizes.

    Clusters of equal size are counted together. The overlap of two clusters is hypergeometric.
    """
    items = int(rows.sum())
    a, times_a = np.unique(rows, return_counts=True)
    b, times_b = np.unique(columns, return_counts=True)
    n = np.arange(1, min(a.max(), b.max()) + 1)
    a, b, n = a[:, None, None], b[None, :, None], n[None, None, :]
    is_possible = (n <= a) & (n <= b) & (n >= a + b - items)
    log_p = gammaln(a + 1) + gammaln(b + 1) + gammaln(items - a + 1) + gammaln(items - b + 1)
    log_p = log_p - gammaln(items + 1) - gammaln(n + 1)
    for left in (a - n, b - n, items - a - b + n):
        log_p = log_p - gammaln(np.maximum(left, 0) + 1)
    terms = n / items * np.log(n * items / (a * b)) * np.exp(log_p)
    weights = times_a[:, None, None] * times_b[None, :, None]
    return float(np.sum(np.where(is_possible, weights * terms, 0.0)))
