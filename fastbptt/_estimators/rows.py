"""X and y of the estimators as rows, one per target, with their steps, sequences and weights.

A new form that X or y may have is read here.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from .. import _checks
from .._training import batches as _batches
from ..backends.arguments import Batch
from ..sequences import Sequences


class ColumnNames(NamedTuple):
    """Names of the columns of X and y: arrays of str, or None if they are not data frames."""

    features: np.ndarray | None
    targets: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """The training data as given: sequences, targets (M, ...), weights (M,) or None, column names."""

    inputs: Sequences
    targets: np.ndarray
    weights: np.ndarray | None
    names: ColumnNames


def _steps_of_targets(inputs, output):
    """Return step and sequence (t, n) of every target, as two arrays (M,): all real steps, or the last of each sequence.

    `inputs` are the Sequences of X. `output` is the estimator's option, "sequence" or "last".
    """
    return inputs.steps() if output == "sequence" else inputs.last_steps()


def _rows_per_target(name, value, inputs, output):
    """Return the user's y or sample_weight as rows (M, ...), one per target, in the order of `_steps_of_targets`.

    `value` is an array (N, T, ...), a list of (T_n, ...), or (M, ...). `inputs` are the Sequences of X, and `output` is the
    estimator's option. Raise ValueError if they do not match.
    """
    _checks.refuse_masked(name, value)
    if not isinstance(value, (list, tuple)):
        value = np.asarray(value)
    if output == "last" or inputs.form in ("steps", "series"):
        return _rows_without_steps(name, value, len(_steps_of_targets(inputs, output)[0]), output)
    N, T = len(inputs.lengths), len(inputs.padded)
    got = f"shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray) and value.ndim == 0 or len(value) != N:
        raise ValueError(f"{name} must have {N} sequences, as X has, got {got}")
    if entries_are_single(value):
        raise ValueError(f"{name} must have an entry for each step of each sequence, ({N}, T) or a list of (T_n,), got "
                         f'{got}; one for each sequence needs output="last"')
    if isinstance(value, np.ndarray) and value.dtype != object and (inputs.lengths == T).all() and value.shape[1] == T:
        return value.reshape(N * T, *value.shape[2:])
    parts = [np.asarray(part) for part in value]
    for n, (part, length) in enumerate(zip(parts, inputs.lengths)):
        if part.ndim == 0 or len(part) != length:
            raise ValueError(f"{name}[{n}] must have {length} entries, one for each step of X[{n}], got shape "
                             f"{part.shape}")
    parts = [part for part in parts if len(part)]
    if len({part.shape[1:] for part in parts}) > 1:
        raise ValueError(f"{name} must have entries of one shape, got {sorted({part.shape[1:] for part in parts})}")
    return np.concatenate(parts)


def _rows_without_steps(name, value, M, output):
    """Return `value`, which has M entries, one per sequence or per row of X, as an array (M, ...). `name` is used in messages.

    `output` is the estimator's option.
    """
    each = "sequence" if output == "last" else "row of X"
    try:
        rows = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must have one entry of one shape for each {each}: {error}") from None
    if rows.ndim == 0 or len(rows) != M:
        raise ValueError(f"{name} must have {M} entries, one for each {each}, got shape {rows.shape}")
    return rows


def entries_are_single(value):
    """Return whether the entries of a list or array are numbers or labels, not sequences of them."""
    value = value if isinstance(value, (list, tuple)) else np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.ndim == 1
    return all(np.ndim(entry) == 0 for entry in value)


def _take_sequences(data, sequences, output):
    """Return X, D, weights and lengths of the sequences with these indices. `data` and `output` are as in `batches.take`."""
    X, D, weights, _, lengths, _ = _batches.take(Batch(*data[:3], None, data[3]), sequences, output)
    return X, D, weights, lengths


def without_weightless_sequences(data, output):
    """Return X, D, weights and lengths, the tuple `data`, without the sequences that have no weight at all.

    `output` is the estimator's option.
    """
    weights = data[2]
    if weights is None:
        return data
    kept = weights > 0 if output == "last" else weights.any(axis=0)
    return data if kept.all() else _take_sequences(data, np.flatnonzero(kept), output)


def _cast_array(name, value, dtype):
    """Return the finite array `value` in `dtype`, in C order. Raise ValueError if the conversion makes it infinite."""
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(value, dtype)
    if cast.dtype != value.dtype and not np.isfinite(cast).all():
        raise ValueError(f"{name} contains a number too large for {np.dtype(dtype).name}, in which it becomes infinity")
    return cast


def _scale_array(name, A, mean, scale, dtype, unread):
    """Return (A − mean) / scale in `dtype`, 0 where `unread`. Computes in float64, block by block to save memory.

    `mean` and `scale` are (I,). `unread` is a bool array of the steps and sequences that are not read, or None.
    """
    made = np.empty(A.shape, dtype)
    block = max(1, 2**18 // max(1, A[:1].size))
    for begin in range(0, len(A), block):
        part = slice(begin, begin + block)
        with np.errstate(over="ignore", invalid="ignore"):
            value = (A[part] - mean) / scale
            if unread is not None:
                value[unread[part]] = 0
            made[part] = value
    if not np.isfinite(made).all():
        raise ValueError(f"{name} contains a number that is too large for {np.dtype(dtype).name} after scaling")
    return made


def is_column(value):
    """Return whether sample weights are data frames with one column."""
    return hasattr(value[0] if isinstance(value, (list, tuple)) and len(value) else value, "columns")


def training_weights(data):
    """Return the float64 weights of the targets, 0 in padding, (T, N) or with output="last" (N,).

    `data` is (X, D, weights, lengths), time-major.
    """
    X, D, m, lengths = data
    per_sequence = D.ndim == (2 if D.dtype.kind == "f" else 1)
    shape = X.shape[1:2] if per_sequence else X.shape[:2]
    w = np.ones(shape) if m is None else m.astype(np.float64)
    return w if lengths is None or per_sequence else np.where(np.arange(len(X))[:, None] < lengths, w, 0)


def _total_steps(data):
    """Return the number of steps of all sequences together. `data` is (X, D, weights, lengths), time-major."""
    X, lengths = data[0], data[3]
    return X.shape[0] * X.shape[1] if lengths is None else int(lengths.sum())


def _parts_of_sequences(data, output):
    """Yield the data in parts of some sequences each, so that the network's outputs for a part need little memory.

    `data` and each part are (X, D, weights, lengths). `output` is the estimator's option.
    """
    X = data[0]
    N, each = X.shape[1], max(1, 2**20 // max(1, len(X)))
    for begin in range(0, N, each):
        yield data if N <= each else _take_sequences(data, np.arange(begin, min(begin + each, N)), output)


def weighted_quantile(rows, w, level):
    """Return the quantile `level` of each column of rows (M, O), with weights w (M, 1), as an array (O,).

    It is the smallest value up to which the share of the weights is `level`.
    """
    found = []
    for column in rows.T:
        order = np.argsort(column)
        share = np.cumsum(w[order, 0]) / w.sum()
        found.append(column[order][min(np.searchsorted(share, level), len(order) - 1)])
    return np.array(found)
