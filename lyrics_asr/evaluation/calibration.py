"""Whether confidences are probabilities of being right: reliability, calibration error and area under the ROC curve.

Conventions
- A reliability diagram has ten bins of equal width; a confidence on a border is in the upper bin, and 1 in the last.
- The expected calibration error (ECE) is the mean distance between the confidence and the fraction that is right in
  each bin, weighted by the bin's size.
- The area under the ROC curve (AUC) is the probability that a right one has a higher confidence than a wrong one; ties
  count half. It is the same for any monotonic function of the confidence, so it says nothing about calibration.

Sources
- Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
- Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.
- Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve", Radiology
  143(1), 1982.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """What is in each bin of confidences. The last axis of each array are the bins, others are sets of songs.

    Args:
        counts: how many.
        confidences: sum of their confidences.
        right: how many of them are right.
    """

    counts: NDArray[np.float64]
    confidences: NDArray[np.float64]
    right: NDArray[np.float64]

    @property
    def expected_calibration_error(self) -> NDArray[np.float64]:
        """ECE of each set; NaN where it is empty."""
        distances = np.abs(self.confidences - self.right).sum(-1)
        with np.errstate(invalid="ignore"):
            return np.asarray(distances / self.counts.sum(-1))


def reliability(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> Reliability:
    """Sort confidences in 0..1 into bins."""
    bins = np.minimum((BINS * confidences).astype(int), BINS - 1)
    parts = (np.ones(len(bins)), confidences, right)
    return Reliability(*(np.bincount(bins, each, BINS).astype(np.float64) for each in parts))


def area_under_roc(
    confidences: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """AUC of each set; NaN where all are right or all are wrong.

    Args:
        confidences: any scores.
        right: whether each is right.
        weights: how often each (column) is in each set (row); None for one set of all.
    """
    weights = np.ones((1, len(right)), dtype=np.int64) if weights is None else weights
    order = np.argsort(confidences)
    confidences, right, weights = confidences[order], right[order], weights[:, order]
    starts = np.flatnonzero(np.diff(confidences, prepend=-np.inf))  # of runs of ties
    good, bad = (np.add.reduceat(weights * each, starts, axis=1).astype(np.float64) for each in (right, ~right))
    wins = (good * (bad.cumsum(1) - bad / 2)).sum(1)
    with np.errstate(invalid="ignore"):
        return np.asarray(wins / (good.sum(1) * bad.sum(1)))
