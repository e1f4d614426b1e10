"""Convert between the shapes of users' data and the engine's time-major arrays; forecasting pairs; scaling.

Add a helper here if it prepares sequences before training or restores their form afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from . import _files, _checks
from ._sklearn import Parametric, takes_parameters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ._types import FilePath, Int, TwoD

TWO_D = ("raise", "steps", "series")


def to_time_major(X: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return samples-first sequences as one time-major array (T, N, I), and their lengths (N,), intp.

    Parameters
    ----------
    X : array (N, T, I), or list of N arrays (T_n, I)
        Shorter sequences of a list are padded with zeros at their end. Labels or weights of steps, an array (N, T) or a
        list of (T_n,), become (T, N).

    Raises
    ------
    TypeError : X is neither an array nor a list, or only some column names of a DataFrame are strings.
    ValueError : X is an empty list or a masked array, or an item has another number of dimensions or features.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.sequences import to_time_major
    >>> X, lengths = to_time_major([np.zeros((5, 2)), np.zeros((3, 2))])
    >>> print(X.shape, lengths)
    (5, 2, 2) [5 3]
    """
    feature_names("X", X)
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype != object:
        _checks.refuse_masked("X", X)
        return X.T.copy("C"), np.full(X.shape[0], X.shape[1], np.intp)
    if isinstance(X, (list, tuple)) and len(X) and all(np.ndim(x) == 1 for x in X):
        _checks.refuse_masked("X", X)
        padded, lengths = _to_time_major([np.asarray(x)[:, None] for x in X], "X")
        return padded[..., 0].copy("C"), lengths
    return _to_time_major(X, "X")


def _to_time_major(X, name):
    """Return an array (N, T, I), or a list of (T_n, I), as a padded array (T, N, I) and the lengths (N,).

    `name` is for messages.
    """
    _checks.refuse_masked(name, X)
    if isinstance(X, np.ndarray) and X.ndim == 3:
        return X.swapaxes(0, 1).copy("C"), np.full(X.shape[0], X.shape[1], np.intp)
    if not isinstance(X, (list, tuple, np.ndarray)):
        raise TypeError(f"{name} must be an array (N, T, I) or a list of (T_n, I), got {type(X).__name__}; for one sequence "
                        f"(T, I), give [{name}]")
    sequences = [np.asarray(x) for x in X]
    if not sequences:
        raise ValueError(f"{name} is an empty list: give at least one sequence (T_n, I)")
    for n, x in enumerate(sequences):
        if x.ndim != 2 or sequences[0].ndim != 2 or x.shape[1] != sequences[0].shape[1]:
            raise ValueError(f"{name} must be an array (N, T, I) or a list of (T_n, I) with the same I; {name}[{n}] has "
                             f"shape {x.shape}, {name}[0] has shape {sequences[0].shape}")
    lengths = np.array([len(x) for x in sequences], np.intp)
    padded = np.zeros((lengths.max(), len(sequences), sequences[0].shape[1]), np.result_type(*sequences))
    for n, x in enumerate(sequences):
        padded[:len(x), n] = x
    return padded, lengths


def to_samples(X: ArrayLike, lengths: ArrayLike | None = None) -> Any:
    """Return time-major sequences (T, N, I) as an array (N, T, I), or as a list of arrays (T_n, I) if `lengths` is given.

    This is the inverse of `to_time_major`. The arrays are copies.

    Parameters
    ----------
    X : array (T, N, ...)
    lengths : array (N,) of integers from 0 to T, optional

    Raises
    ------
    ValueError : X has fewer than two dimensions, or lengths have another shape or are not from 0 to T.

    Examples
    --------
    >>> X = np.zeros((7, 2, 3))
    >>> sequences.to_samples(X).shape
    (2, 7, 3)
    >>> [x.shape for x in sequences.to_samples(X, [7, 4])]
    [(7, 3), (4, 3)]
    """
    X = np.asarray(X)
    if X.ndim < 2:
        raise ValueError(f"X must have shape (T, N, I), got {X.shape}")
    if lengths is None:
        return X.swapaxes(0, 1).copy("C")
    return [X[:length, n].copy() for n, length in enumerate(_checks.lengths(lengths, *X.shape[:2]))]


# ---------------------------------------------------------------------------------------------------------------------
# The input of estimators: sequences in any of four forms
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences as the engine reads them, and the form in which the user gave them.

    `padded` (T, N, I) is float32 or float64. `lengths` is (N,). `form` is "array" (N, T, I), "list" of (T_n, I), "steps"
    (N, I) or "series" (T, I). `name` is the name of the argument in error messages.
    """

    padded: np.ndarray
    lengths: np.ndarray
    form: str
    name: str = "X"

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices (t, n) of all M real steps, sequence by sequence: two arrays (M,)."""
        n = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return np.arange(len(n)) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths), n

    def last_steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices (t, n) of each sequence's last real step: two arrays (N,)."""
        return self.lengths - 1, np.arange(len(self.lengths))

    def restore(self, rows: np.ndarray) -> Any:
        """Return `rows` (M, ...), one for each of `steps()`, in the form in which the user gave the sequences."""
        if self.form == "array":
            return rows.reshape(len(self.lengths), -1, *rows.shape[1:])
        if self.form == "list":
            return [part.copy() for part in np.split(rows, np.cumsum(self.lengths)[:-1])]
        return rows

    def place(self, t: int, n: int) -> str:
        """Return the description of step t of sequence n for error messages, such as "row 3" or "sequence 3, step 0"."""
        return {"steps": f"row {n}", "series": f"step {t}"}.get(self.form, f"sequence {n}, step {t}")


def read(X: Any, two_d: TwoD, name: str = "X", features: int | None = None) -> Sequences:
    """Return X as Sequences.

    X is an array (N, T, I) or a list of (T_n, I); `two_d` says how to read two dimensions. A list of (T_n,) with unequal
    lengths has one feature. With equal lengths it has two dimensions. It is then a list of sequences only if two_d="raise" and
    `features`, the expected number of features, is 1.

    Raises
    ------
    TypeError : X does not hold numbers, or is sparse or a dict.
    ValueError : X has another number of dimensions, or no sequences, steps or features; it has two dimensions and
        two_d="raise"; it contains NaN or infinity; it is complex or masked.
    """
    _checks.choose("two_d", two_d, TWO_D)
    if hasattr(X, "tocsr"):
        raise TypeError(f"{name} is sparse; sequences must be dense: give {name}.toarray()")
    if isinstance(X, Mapping):
        raise TypeError(f"{name} must be an array (N, T, I) or a list of (T_n, I), got a {type(X).__name__}: give "
                        f"list({name}.values())")
    if is_list(X) or features == 1 and two_d == "raise" and _is_list_of_vectors(X):
        parts = [array_of_numbers(f"{name}[{n}]", x) for n, x in enumerate(X)]
        if all(part.ndim == 1 for part in parts):  # one feature
            parts = [part[:, None] for part in parts]
        padded, lengths = _to_time_major(parts, name)
        form = "list"
    else:
        X = array_of_numbers(name, X)
        _check_dimensions(X, two_d, name)
        padded, lengths = _to_time_major(X if X.ndim == 3 else X[:, None] if two_d == "steps" else X[None], name)
        form = "array" if X.ndim == 3 else two_d
    if padded.size == 0:
        T, N, I = padded.shape
        raise ValueError(f"{name} has no numbers: {N} sequence(s) of at most {T} step(s) and {I} feature(s)")
    sequences = Sequences(padded, lengths, form, name)
    _refuse_nonfinite(sequences)
    return sequences


def _check_dimensions(X, two_d, name):
    """Raise ValueError unless X has three dimensions, or two that `two_d` gives a meaning, and at least one feature."""
    if X.ndim not in (2, 3):
        raise ValueError(f"{name} must be an array (N, T, I) or a list of (T_n, I), got {X.ndim} dimension(s) with "
                         f"shape {X.shape}. Reshape your data: {name}[None, :, None] is one series of one feature")
    if X.ndim == 2 and two_d == "raise":
        raise ValueError(
            f"{name} has two dimensions, shape {X.shape}, which have three possible meanings. Give "
            'two_d="steps" for N sequences of one step (N, I), or two_d="series" for one sequence of T steps (T, I). '
            f"For N sequences of T steps of one feature, give {name}[:, :, None], or numpy.asarray({name})[:, :, None] if it "
            "is a list")
    if X.shape[-1] == 0:  # scikit-learn's estimator checks require this message
        raise ValueError(f"{name} has 0 feature(s) (shape={X.shape}) while a minimum of 1 is required.")


def _refuse_nonfinite(sequences):
    """Raise ValueError if a number of the Sequences is NaN or infinite. The message names the first such position.

    It is a position in the user's layout. `sequences` are not changed.
    """
    bad = ~np.isfinite(sequences.padded.swapaxes(0, 1))
    if bad.any():
        n, t, i = (int(k) for k in np.argwhere(bad)[0])
        what = "NaN" if np.isnan(sequences.padded[t, n, i]) else "infinity"
        raise ValueError(f"{sequences.name} contains {what}, first at {sequences.place(t, n)}, feature {i}")


def array_of_numbers(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array: float32 if it has this dtype, else float64.

    Raises
    ------
    TypeError : `value` does not hold numbers.
    ValueError : `value` is complex, masked or ragged.
    """
    if hasattr(value, "dtype") and getattr(value.dtype, "kind", "") == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {value.dtype}")
    if hasattr(value, "columns"):  # a DataFrame; columns with dtypes unknown to NumPy give an array of objects
        value = np.asarray(value)
    if getattr(value, "dtype", None) == object:
        try:
            value = np.asarray(value).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name} must be an array of numbers: {error}") from error
    dtype = np.float32 if getattr(value, "dtype", None) == np.float32 else np.float64
    return _checks.array(name, value, dtype)


def is_list(X: Any) -> bool:
    """Return whether X is a list of sequences and not a list of rows of numbers.

    The items of a list of sequences all have two dimensions, or all have one dimension and unequal lengths, or differ in their
    number of dimensions.
    """
    if isinstance(X, np.ndarray):
        return X.dtype == object and X.ndim == 1 and any(np.ndim(x) for x in X)
    if not isinstance(X, (list, tuple)) or not len(X):
        return False
    try:
        dimensions = {np.ndim(x) for x in X}
    except ValueError:  # an item is ragged itself: the message of `array_of_numbers` will name it
        return True
    if dimensions == {1}:
        return len({len(x) for x in X}) > 1
    return dimensions == {2} or len(dimensions) > 1


def _is_list_of_vectors(X):
    """Return whether X is a list or tuple whose items all have one dimension."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and all(np.ndim(x) == 1 for x in X)


def read_series(name: str, series: Any, features: int) -> Sequences:
    """Return `series` as Sequences of `features` features. Two dimensions are one series (T, I).

    A list of vectors with one common length L > 1 would be one series of L features. If one feature is expected, it is a list
    of series instead.
    """
    vectors = features == 1 and _is_list_of_vectors(series) and len(series[0]) > 1
    return read(series, "raise" if vectors else "series", name, features)


# ---------------------------------------------------------------------------------------------------------------------
# Forecasting
# ---------------------------------------------------------------------------------------------------------------------


def forecast_pairs(series: ArrayLike, horizon: Int, exogenous: ArrayLike | None = None) -> Any:
    """Return inputs and targets for forecasting `horizon` steps ahead: x[t] and x[t + horizon] for every step t.

    Parameters
    ----------
    series : array (N, T, I) or (T, I), or list of (T_n, I)
        A list of (T_n,) of unequal lengths has one feature.
    horizon : int, 1 <= horizon < T
    exogenous : array (N, T, E) or (T, E), or list of (T_n, E), optional
        Additional inputs that are known at step t. They are appended to the inputs of that step.

    Returns
    -------
    X, D : arrays (N, T − horizon, I + E) and (N, T − horizon, I), or without N
        D, and X without `exogenous`, are views of `series` if it is an array. A list gives lists of (T_n − horizon, ...).
        pandas DataFrames give DataFrames, so that `fit` learns their columns and `forecast` compares them. With `exogenous`, X
        is a DataFrame only if `exogenous` is one and the columns of both have names, or those of neither.

    Raises
    ------
    TypeError : horizon is not an int.
    ValueError : horizon, or the shape of `series` or `exogenous`, is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.sequences import forecast_pairs
    >>> X, D = forecast_pairs(np.arange(5.0)[:, None], horizon=2)
    >>> print(X.ravel(), D.ravel())
    [0. 1. 2.] [2. 3. 4.]
    """
    _checks.refuse_masked("series", series)
    _checks.refuse_masked("exogenous", exogenous)
    feature_names("series", series)
    feature_names("exogenous", exogenous)
    if is_list(series) or isinstance(series, (list, tuple)) and not series:
        return _list_of_pairs(series, horizon, exogenous)
    frame, series = series, np.asarray(series)
    if series.ndim not in (2, 3):
        hint = "; for one feature, give series[:, None]" if series.ndim == 1 else ""
        raise ValueError(f"series must have shape (N, T, I) or (T, I), got {series.shape}{hint}")
    T = series.shape[-2]
    if T < 2:
        raise ValueError(f"series must have at least 2 steps, got shape {series.shape}")
    horizon = _checks.size("horizon", horizon, smallest=-(2**31))
    if not 1 <= horizon < T:
        raise ValueError(f"horizon must be from 1 to {T - 1} for a series of {T} steps, got {horizon}")
    X = series if exogenous is None else append(series, exogenous, T)
    X, D = X[..., :T - horizon, :], series[..., horizon:, :]
    if not _is_pandas(frame):
        return X, D
    D = _frame_like(frame, D, slice(horizon, T), frame.columns)
    if exogenous is None:
        return _frame_like(frame, X, slice(T - horizon), frame.columns), D
    unnamed = _string_columns("series", frame) is None
    if _is_pandas(exogenous) and unnamed == (_string_columns("exogenous", exogenous) is None):
        X = _frame_like(frame, X, slice(T - horizon), [*frame.columns, *exogenous.columns])
    return X, D


def _is_pandas(value):
    """Return whether `value` is a DataFrame of pandas. Other DataFrames are read, but results are never converted to them."""
    return hasattr(value, "columns") and hasattr(value, "iloc")


def _frame_like(frame, rows, steps, columns):
    """Return the array `rows` as a DataFrame with these columns and the index of `frame` at `steps`, a slice.

    `forecast_pairs` gives users DataFrames for DataFrames.
    """
    from pandas import DataFrame

    return DataFrame(rows, index=frame.index[steps], columns=columns)


def _list_of_pairs(series, horizon, exogenous):
    """Return the lists of inputs and of targets of `forecast_pairs` for a list of series. Errors name the series."""
    if not len(series):
        raise ValueError("series is an empty list: give at least one series (T_n, I)")
    if isinstance(exogenous, memoryview):  # indexing a memoryview does not give arrays
        exogenous = np.asarray(exogenous)
    if exogenous is not None and len(exogenous) != len(series):
        raise ValueError(f"exogenous has {len(exogenous)} series, but series has {len(series)}")
    pairs = []
    if all(np.ndim(x) == 1 for x in series):  # one feature
        series = [np.asarray(x)[:, None] for x in series]
        if exogenous is not None:
            exogenous = [np.asarray(x)[:, None] if np.ndim(x) == 1 else x for x in exogenous]
    for n, x in enumerate(series):
        if np.ndim(x) != 2:
            raise ValueError(f"series[{n}] must have shape (T_n, I), got {np.shape(x)}")
        try:
            pairs.append(forecast_pairs(x if hasattr(x, "columns") else np.asarray(x), horizon,
                                        None if exogenous is None else exogenous[n]))
        except ValueError as error:
            raise ValueError(f"series[{n}]: {error}") from None
    return [X for X, _ in pairs], [D for _, D in pairs]


def append(series: np.ndarray, exogenous: ArrayLike, steps: int) -> np.ndarray:
    """Return (..., T, I + E): `series` (..., T, I) with T steps of `exogenous` (..., `steps` or more, E) as more features."""
    exogenous = np.asarray(exogenous)
    T = series.shape[-2]
    if exogenous.ndim != series.ndim or exogenous.shape[:-2] != series.shape[:-2] or exogenous.shape[-2] < steps:
        lead = "".join(f"{n}, " for n in series.shape[:-2])
        raise ValueError(f"exogenous must have shape ({lead}{steps}, E) for series of shape {series.shape}, got "
                         f"{exogenous.shape}")
    return np.concatenate([series, exogenous[..., :T, :]], axis=-1)


# ---------------------------------------------------------------------------------------------------------------------
# Scaling
# ---------------------------------------------------------------------------------------------------------------------


class SequenceScaler(Parametric):
    """Subtract the mean of each feature and divide by its standard deviation: (x − mean) / sd. The inverse is available.

    The scaler accepts the inputs of the estimators, an array (N, T, I) or a list of (T_n, I), and returns the same form.
    float32 stays float32; other dtypes become float64. It works in scikit-learn's Pipeline; scikit-learn's own scalers accept
    neither form.

    Parameters
    ----------
    per : "all" or "series"
        "all": one mean and one deviation per feature, over all steps of all sequences passed to `fit`. "series":
        `transform` uses the mean and deviation of each sequence. `inverse_transform` uses those of the sequences passed to
        `fit`, in their order, so that it applies to their forecasts.
    two_d : "raise", "steps" or "series"
        The meaning of two dimensions: an error, N sequences of one step (N, I), or one sequence (T, I).

    Attributes
    ----------
    mean_, scale_ : arrays (I,), or (N, I) with per="series", float64
        The scale is 1 for a feature that is constant up to rounding.
    n_features_in_ : int, I
    feature_names_in_ : array of str, if X was a DataFrame or a list of DataFrames
        `transform` and `inverse_transform` then refuse DataFrames with other columns, or the same in another order.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.sequences import SequenceScaler
    >>> X = np.array([[[1.0], [3.0]]])
    >>> scaler = SequenceScaler().fit(X)
    >>> print(scaler.mean_, scaler.scale_, scaler.transform(X).ravel())
    [2.] [1.] [-1.  1.]
    """

    @takes_parameters
    def __init__(self, *, per: Literal["all", "series"] = "all", two_d: TwoD = "raise") -> None:
        pass

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Compute the mean and the scale of each feature of X. y is not read. Returns self.

        Raises
        ------
        TypeError, ValueError : X is not a set of sequences, or contains NaN or infinity; or its deviation is not finite.

        Examples
        --------
        >>> X = np.arange(12.0).reshape(2, 3, 2)
        >>> scaler = SequenceScaler().fit(X)
        >>> scaler.mean_
        array([5., 6.])
        """
        _checks.choose("per", self.per, ("all", "series"))
        names, sequences = feature_names("X", X), read(X, self.two_d)
        mean, scale = self._statistics(sequences)
        self.mean_, self.scale_ = mean, scale
        self.n_features_in_ = sequences.padded.shape[2]
        self._set_names(names)
        return self

    def _set_names(self, names):
        """Set the attribute feature_names_in_, or remove it if `names` is None."""
        self.__dict__.pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = names

    def transform(self, X: ArrayLike) -> Any:
        """Return (X − mean) / scale in the form of X. X is not changed. `set_output` selects DataFrames.

        Raises
        ------
        NotFittedError : `fit` was not called.
        ValueError : X has another number of features or other columns than in `fit`, or contains NaN or infinity.

        Examples
        --------
        >>> X = np.arange(12.0).reshape(2, 3, 2)
        >>> scaler = SequenceScaler().fit(X)
        >>> scaler.transform(X).shape
        (2, 3, 2)
        """
        self._check_fitted("transform")
        sequences = self._read_as_fitted(X)
        mean, scale = self._statistics(sequences) if self.per == "series" else (self.mean_, self.scale_)
        return self._as_selected_output(self._apply_to_steps(sequences, lambda x: (x - mean) / scale), X)

    def inverse_transform(self, X: ArrayLike) -> Any:
        """Return X scale + mean in the form of X. With per="series", sequence n of X belongs to sequence n of `fit`.

        Forecasts of L quantile levels have one more axis, the last: (N, T, I, L), a list of (T_n, I, L), or (T, I, L).

        Raises
        ------
        NotFittedError : `fit` was not called.
        ValueError : X has another number of features or sequences, or contains NaN or infinity; or two_d="series" and the last
            two axes both have length I, so that X may be (N, T, I) or (T, I, L).

        Examples
        --------
        >>> X = np.arange(12.0).reshape(2, 3, 2)
        >>> scaler = SequenceScaler().fit(X)
        >>> bool(np.allclose(scaler.inverse_transform(scaler.transform(X)), X))
        True
        """
        self._check_fitted("inverse_transform")
        if self._has_levels(X):
            parts = [[x[..., level] for x in X] if isinstance(X, (list, tuple)) else X[..., level]
                     for level in range(np.shape(X[0] if isinstance(X, (list, tuple)) else X)[-1])]
            scaled = [self.inverse_transform(part) for part in parts]
            if isinstance(X, (list, tuple)):
                return [np.stack(levels, axis=-1) for levels in zip(*scaled)]
            return np.stack(scaled, axis=-1)
        sequences = self._read_as_fitted(X)
        if self.mean_.ndim == 2 and len(sequences.lengths) != len(self.mean_):
            raise ValueError(f'X has {len(sequences.lengths)} sequences, but with per="series" inverse_transform needs '
                             f"the {len(self.mean_)} that fit saw, in their order")
        return self._apply_to_steps(sequences, lambda x: x * self.scale_ + self.mean_)

    def fit_transform(self, X: ArrayLike, y: Any = None) -> Any:
        """Call `fit` and return the result of `transform`. y is not read.

        Examples
        --------
        >>> X = np.arange(12.0).reshape(2, 3, 2)
        >>> bool(np.isclose(SequenceScaler().fit_transform(X).mean(), 0))
        True
        """
        return self.fit(X).transform(X)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Return the names of the features (I,): those of `fit`, or "x0", "x1" and so on. scikit-learn calls this method.

        Raises
        ------
        NotFittedError : `fit` was not called.
        ValueError : `input_features` are not those of `fit`.

        Examples
        --------
        >>> X = np.arange(12.0).reshape(2, 3, 2)
        >>> scaler = SequenceScaler().fit(X)
        >>> scaler.get_feature_names_out().tolist()
        ['x0', 'x1']
        """
        self._check_fitted("get_feature_names_out")
        known = getattr(self, "feature_names_in_", None)
        if input_features is not None:
            names = np.asarray(input_features, dtype=object)
            if known is not None and not np.array_equal(names, known):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(names) != self.n_features_in_:
                raise ValueError(f"input_features should have length equal to number of features ({self.n_features_in_}), "
                                 f"got {len(names)}")
            return names
        return np.array([f"x{i}" for i in range(self.n_features_in_)], dtype=object) if known is None else known

    def set_output(self, *, transform: Literal["default", "pandas"] | None = None) -> Self:
        """Set the type that `transform` and `fit_transform` return, as in scikit-learn's transformers. Returns self.

        Parameters
        ----------
        transform : "default", "pandas" or None
            "default": arrays, or a list of them. "pandas": a DataFrame for two dimensions, a list of DataFrames for a list,
            with the index of the input; an array (N, T, I) then raises ValueError. None changes nothing. If `set_output` was
            never called, scikit-learn's `set_config(transform_output=...)` decides.

        Examples
        --------
        >>> import pandas as pd
        >>> frames = [pd.DataFrame({"load": [1.0, 2.0, 4.0]}), pd.DataFrame({"load": [3.0, 5.0]})]
        >>> scaler = SequenceScaler().fit(frames).set_output(transform="pandas")
        >>> list(scaler.transform(frames)[1].columns)
        ['load']
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": _checks.choose("transform", transform, ("default", "pandas"))}
        return self

    def _as_selected_output(self, made, X):
        """Return `made`, the result of `transform` for X: as it is, or as DataFrames.

        `set_output` or scikit-learn's configuration selects which.
        """
        given = getattr(self, "_sklearn_output_config", None)
        if given is None:
            sklearn = sys.modules.get("sklearn")
            given = {"transform": "default" if sklearn is None else sklearn.get_config()["transform_output"]}
        if _checks.choose("transform_output", given["transform"], ("default", "pandas")) == "default":
            return made
        if not isinstance(made, list) and made.ndim == 3:
            raise ValueError('X is an array (N, T, I), which cannot become a DataFrame: give a list of (T_n, I), or call '
                             'set_output(transform="default")')
        from pandas import DataFrame

        names = self.get_feature_names_out()
        if not isinstance(made, list):
            return DataFrame(made, index=getattr(X, "index", None), columns=names)
        return [DataFrame(part, index=getattr(x, "index", None) if hasattr(x, "columns") else None, columns=names)
                for part, x in zip(made, X)]

    def _read_as_fitted(self, X):
        """Return X as Sequences. Raise ValueError unless it has the features and columns of `fit`."""
        sequences = read(X, self.two_d, features=self.n_features_in_)
        self._check_features(sequences)
        check_names("X", feature_names("X", X), getattr(self, "feature_names_in_", None))
        return sequences

    def _has_levels(self, X):
        """Return whether X has an axis of quantile levels after the axis of features."""
        I = self.n_features_in_  # noqa: E741
        if isinstance(X, (list, tuple)):
            return len(X) > 0 and all(np.ndim(x) == 3 and np.shape(x)[1] == I for x in X)
        if not isinstance(X, np.ndarray) or X.ndim not in (3, 4):
            return False
        if X.ndim == 4:
            return X.shape[2] == I
        if self.two_d == "series" and X.shape[1:] == (I, I):
            raise ValueError(f"X has shape {X.shape}, which may be sequences (N, T, {I}) or forecasts (T, {I}, L) of L = {I} "
                             "levels: give a list of sequences for the former, X[None] for the latter")
        return X.shape[2] != I and X.shape[1] == I

    def _statistics(self, sequences):
        """Return mean and scale of the sequences: (I,), or (N, I) with per="series"."""
        t, n = sequences.steps()
        rows = sequences.padded[t, n]
        if self.per == "all":
            return _mean_and_scale(rows)
        parts = [_mean_and_scale(part) for part in np.split(rows, np.cumsum(sequences.lengths)[:-1])]
        return tuple(np.array(parts).swapaxes(0, 1))

    def _apply_to_steps(self, sequences, function):
        """Return function(padded) for the padded array (T, N, I) of the sequences, in the form and dtype of the user's X."""
        t, n = sequences.steps()
        return sequences.restore(function(sequences.padded)[t, n].astype(sequences.padded.dtype))

    def save(self, path: FilePath) -> None:
        """Write the scaler to one .npz file without pickles. `fastbptt.load` reads it.

        The file is replaced only when the new one is complete.

        Raises
        ------
        NotFittedError : `fit` was not called.

        Examples
        --------
        >>> X = np.arange(12.0).reshape(2, 3, 2)
        >>> scaler = SequenceScaler().fit(X)
        >>> scaler.save("scaler.npz")
        >>> load("scaler.npz").mean_
        array([5., 6.])
        """
        self._check_fitted("save")
        header, arrays = self._to_file()
        _files.write(path, header | {"kind": "SequenceScaler"}, arrays)

    def _to_file(self):
        """Return header and arrays. Their names cannot clash with those of a model in the same file. `per` is that of `fit`."""
        per = "all" if self.mean_.ndim == 1 else "series"
        names = {} if not hasattr(self, "feature_names_in_") else {"feature_names": self.feature_names_in_.tolist()}
        return {"scaler": self.get_params() | {"per": per} | names}, {"scaler.mean": self.mean_, "scaler.scale": self.scale_}

    @classmethod
    def _from_file(cls, header, arrays):
        """Return the scaler in a file's header and arrays. Raise ValueError if they are damaged."""
        params = header["scaler"]
        scaler = cls(**{name: _checks.choose(name, params[name], choices)
                        for name, choices in (("per", ("all", "series")), ("two_d", TWO_D))})
        mean, scale = (arrays[f"scaler.{name}"].astype(np.float64) for name in ("mean", "scale"))
        if mean.shape != scale.shape or mean.ndim != (1 if scaler.per == "all" else 2) or not mean.size:
            raise ValueError(f"its scaler has a mean of shape {mean.shape} and a scale of shape {scale.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError("its scaler's mean or scale is not finite, or a scale is not positive")
        names = params.get("feature_names")
        if names is not None and (not isinstance(names, list) or len(names) != mean.shape[-1]
                                  or not all(isinstance(name, str) for name in names)):
            raise ValueError(f"it does not name the {mean.shape[-1]} features of its scaler")
        scaler.mean_, scaler.scale_, scaler.n_features_in_ = mean, scale, mean.shape[-1]
        scaler._set_names(None if names is None else np.array(names, dtype=object))
        return scaler

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags(estimator_type="transformer", target_tags=TargetTags(required=False), input_tags=self._input_tags(),
                    transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]))


def _mean_and_scale(rows, weights=None, name="X"):
    """Return mean and scale (I,), float64, of rows (M, I) with weights (M,) > 0.

    The scale is the standard deviation. It is 1 if there are no rows, or if the rows are equal up to rounding in their dtype:
    dividing later inputs by a deviation of 1e-17, such as that of 0.3 and 0.1 + 0.2, would make them huge.
    """
    rounding, rows = 10 * np.finfo(rows.dtype).eps, rows.astype(np.float64)
    if not len(rows):
        return np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    low = rows.min(axis=0)
    constant = rows.max(axis=0) == low  # its deviation would be a rounding error, not 0
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(constant, low, np.average(rows, axis=0, weights=weights))
        scale = np.where(constant, 1.0, np.sqrt(np.average(np.square(rows - mean), axis=0, weights=weights)))
    if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
        raise ValueError(f"{name} is too large for its standard deviation to be finite")
    scale[scale <= rounding * np.abs(mean)] = 1.0  # also if the squares underflowed to 0
    return mean, scale


# ---------------------------------------------------------------------------------------------------------------------
# Names of features
# ---------------------------------------------------------------------------------------------------------------------


def feature_names(name: str, X: Any) -> np.ndarray | None:
    """Return the columns of a DataFrame, or of all DataFrames in a list, as an array; None if they are not strings.

    Raises
    ------
    TypeError : some column names are strings and others are not.
    ValueError : the DataFrames of a list have different columns, or the same ones in another order.
    """
    if not isinstance(X, (list, tuple)):
        return _string_columns(name, X)
    found, first = None, None
    for n, x in enumerate(X):
        names = _string_columns(f"{name}[{n}]", x)
        if names is None:
            continue
        if found is not None:
            check_names(f"{name}[{n}]", names, found, f"{name}[{first}]")
        else:
            found, first = names, n
    return found


def _string_columns(name, X):
    """Return the column names of a DataFrame, an array of str, or None for other objects and for names that are no strings.

    Raise TypeError if only some are strings. `name` is used in the message.
    """
    columns = getattr(X, "columns", None)
    if columns is None:
        return None
    strings = [isinstance(column, str) for column in columns]
    if not all(strings):
        if any(strings):
            raise TypeError(f"{name} has column names of several types, and all or none must be strings; got {list(columns)}")
        return None
    return np.array(list(columns), dtype=object)


def check_names(name: str, names: np.ndarray | None, known: np.ndarray | None, where: str = "fit") -> None:
    """Raise ValueError if `names` differ from `known`, in content or order. Do nothing if one of them is None.

    `name` is the argument whose columns `names` are, and `where` says whose columns `known` are, for the message.
    """
    if names is None or known is None or np.array_equal(names, known):
        return
    what = "target" if name == "y" else "feature"
    rule = (f"The {what} names should match those that were passed during fit." if where == "fit" else
            f"{name} must have the columns of {where}, in their order.")
    raise ValueError(f"{rule}\n{name} has {', '.join(names)}; {where} had {', '.join(known)}")
