"""Files of both estimators: their arguments and fitted attributes.

A new fitted attribute is written and read here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .. import _checks, _files, optimizers, schedules, training
from ..network import RNN
from ..options.checks import dtype as _check_dtype
from .data import Scaling
from .rows import ColumnNames

if TYPE_CHECKING:
    from .._types import FilePath


class Saved:
    """Base class that writes an estimator to a file, and reads it."""

    def save(self, path: FilePath) -> None:
        """Write the estimator to one .npz file, without pickle. `fastbptt.load` reads it.

        The file is written whole or not at all. The loaded estimator predicts the same bits. The state of `partial_fit`'s
        optimiser is not saved.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        TypeError
            If an argument of the constructor is a function, a generator or an object that the file cannot hold.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a parameter of the network is not finite.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((6, 20, 2))
        >>> model = RNNRegressor(4, max_iter=3, random_state=0)
        >>> model.fit(X, X[..., :1]).save("model.npz")
        >>> load("model.npz").predict(X).shape
        (6, 20, 1)
        """
        self._check_fitted("save")
        for name, value in self.network_.parameters.items():
            _checks.finite(name, value, "ij")  # `load` refuses such values
        header, arrays = self._to_file()
        _files.write(path, header | {"kind": type(self).__name__}, arrays)

    def _to_file(self):
        """Return header and arrays of the model file. Those of SequenceScaler._to_file fit into the same file."""
        names = self._column_names()
        fitted = {
            "coding": self._coding_to_file(),
            "feature_names": None if names.features is None else names.features.tolist(),
            "target_names": None if names.targets is None else names.targets.tolist(),
            "loss_curve": self.loss_curve_,
            "validation_loss_curve": self.validation_loss_curve_,
            "history": None if self.history_ is None else dataclasses.asdict(self.history_),
        }
        params = {name: _pack(name, value) for name, value in self.get_params().items()}
        arrays = {} if self.scaling_ is None else {
            f"scaling.{name}": value for name, value in vars(self.scaling_).items() if value is not None}
        return self.network_._header() | {"params": params, "fitted": fitted}, (
            self.network_._arrays(self.network_._theta) | arrays)

    @classmethod
    def _from_file(cls, header, arrays):
        """Return the estimator in a file's header and arrays. Raise ValueError if the header is damaged."""
        try:
            output = header["params"]["output"]
            # Files of the first versions have `output` only here. It differs if the user changed it after `fit`.
            config = {"output": output, **header["config"]}
            return cls._from_header(header, RNN._from_file({**header, "config": config}, arrays), arrays)
        except (AttributeError, OverflowError, RecursionError) as error:  # a made-up header can cause these
            raise ValueError(f"its header is not one of an estimator: {error}") from None

    @classmethod
    def _from_header(cls, header, network, arrays):
        """Return the estimator of a header, with this network. `arrays` has the statistics of the scaling."""
        params, fitted = header["params"], header["fitted"]
        # Files of the first versions have no `scale`: their networks read unscaled data.
        estimator = cls(**{"scale": None} | {name: _unpack(value) for name, value in params.items()})
        coding = estimator._coding_from_file(fitted["coding"], network)
        columns = 1 if cls._ONE_COLUMN else network.target_size  # of y
        names = ColumnNames(_names_from_file(fitted["feature_names"], network.input_size, "features of its network"),
                            _names_from_file(fitted.get("target_names"), columns, "target(s) of its network"))
        estimator._set_fitted_attributes(network, coding, names, estimator._scaling_from_file(network, arrays))
        curves = ([float(loss) for loss in fitted[name]] for name in ("loss_curve", "validation_loss_curve"))
        estimator._set_curves(*curves, None if fitted["history"] is None else training.History(**fitted["history"]))
        return estimator

    def _scaling_from_file(self, network, arrays):
        """Return the Scaling in the arrays of a file, or None without one.

        Raise ValueError if it does not fit the network.
        """
        found = {name: arrays[f"scaling.{name}"].astype(np.float64) for name in ("X_mean", "X_scale", "y_mean", "y_scale")
                 if f"scaling.{name}" in arrays}
        if not found:
            return None
        shapes = {"X": (network.input_size,), "y": (network.target_size,)}
        if any(value.shape != shapes[name[0]] or not np.isfinite(value).all()
               or name.endswith("scale") and not (value > 0).all()
               for name, value in found.items()) or len(found) not in (2, 4) or not {"X_mean", "X_scale"} <= set(found):
            raise ValueError("its scaling does not belong to its network, or is not finite and positive")
        if len(found) == 4 and not self._scales_targets(network):
            raise ValueError("it has a scaling of targets, which its network cannot have")
        return Scaling(**found)


def _names_from_file(names, count, what):
    """Return the column names of a header as an array of `count` str, or None. `what` describes the columns in the error."""
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(f"it does not name the {count} {what}")
    return np.array(names, dtype=object)


def _pack(name, value, depth=0):
    """Return a constructor argument in a form that JSON holds and `_unpack` reads. `depth` limits nested lists and dicts.

    Raise TypeError with the argument's name if there is no such form.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if name == "dtype" and value is not None:
        return _check_dtype("dtype", value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and depth < 3:
        return {type(value).__name__: [_pack(name, item, depth + 1) for item in value]}
    if isinstance(value, Mapping) and depth < 3:
        if all(isinstance(key, str) for key in value):
            return {"dict": {str(key): _pack(name, item, depth + 1) for key, item in value.items()}}
        return {"pairs": [[_pack(name, part, depth + 1) for part in pair] for pair in value.items()]}  # JSON's keys are str
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"array": value.tolist()}
    if type(value) in _DESCRIBED.values():
        return {type(value).__name__: dataclasses.asdict(value)}
    raise TypeError(f"{name}={value!r} cannot be saved: a model file holds numbers, strings, optimizers and schedules, "
                    f"no {type(value).__name__}; set_params({name}=...) to something else before save")


def _unpack(value):
    """Return the constructor argument that `_pack` turned into `value`, which JSON holds."""
    if not isinstance(value, dict):
        return value
    (kind, content), = value.items()
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](_unpack(item) for item in content)
    if kind == "dict":
        return {key: _unpack(item) for key, item in content.items()}
    if kind == "pairs":
        return {_unpack(key): _unpack(item) for key, item in content}
    if kind == "array":
        return np.array(content, np.float64)
    return _DESCRIBED[kind](**content)


_DESCRIBED = {kind.__name__: kind for kind in (*optimizers.OPTIMIZERS.values(), *schedules.SCHEDULES.values())}
