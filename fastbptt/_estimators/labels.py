"""Checks of a classifier's labels."""

from __future__ import annotations

import numpy as np

LABEL_DTYPES = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
                 *(f"float{bits}" for bits in (16, 32, 64)))


def unique(labels):
    """Return the sorted classes that occur in an array of labels. Raise TypeError if they cannot be sorted."""
    check_labels(labels)
    try:
        return np.unique(labels)
    except TypeError as error:
        raise TypeError(f"y has labels that cannot be sorted, so the classes have no order: {error}") from None


def check_labels(labels):
    """Raise ValueError if an array of labels has values that are none: NaN, None, infinity, numbers with a fraction."""
    if labels.dtype.kind == "O":
        missing = np.array([label is None or label != label for label in labels], bool)
    else:
        missing = np.isnan(labels) if labels.dtype.kind == "f" else np.zeros(0, bool)
    if missing.any():
        raise ValueError(f"y contains {labels[np.argmax(missing)]}, which is not a label")
    if labels.dtype.kind == "c" or labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():
        raise ValueError("Unknown label type: continuous. y of a classifier holds labels, not numbers with a fraction")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("y contains infinity, which is not a label")
