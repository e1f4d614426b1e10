"""The interface that scikit-learn requires of an estimator, without importing it: parameters, repr, tags, an exception.

Add here what scikit-learn calls and both the estimators and SequenceScaler need.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Self, TypeVar

from . import _checks

_Init = TypeVar("_Init", bound=Callable[..., None])


class NotFittedError(ValueError, AttributeError):
    """Raised if a method requires a call of `fit` first. If scikit-learn is imported, its NotFittedError is raised instead."""


def takes_parameters(init: _Init) -> _Init:
    """Return a constructor that stores its arguments as attributes without checks. `init` has no body; `fit` checks values.

    clone, GridSearchCV and set_params require the signature, and a constructor that does nothing else.
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def keep(self, *args, **kwargs):
        """Store the arguments. Raise TypeError for other names, with a hint for those of other packages."""
        for name in kwargs:
            if message := foreign(type(self), name):
                raise TypeError(message)
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        bound.apply_defaults()
        for name in list(signature.parameters)[1:]:
            setattr(self, name, bound.arguments[name])

    return keep  # type: ignore[return-value]  # functools.wraps keeps init's signature


def foreign(kind, name):
    """Return the error message for an option that other packages call `name`, or None if there is no hint for it.

    `kind` is the class. A class without networks, such as the scaler, has no hints.
    """
    options = kind._defaults()
    return None if name in options or "hidden_size" not in options else _checks.foreign(kind.__name__, name, estimator=True)


class Parametric:
    """Base class with the methods that scikit-learn's clone, Pipeline and GridSearchCV call."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name. None of them is an estimator, so `deep` has no effect."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: Any) -> Self:
        """Set constructor arguments by name. `fit` checks the values. Returns self.

        Raises
        ------
        TypeError : another package has an option of this name; the message says ours.
        ValueError : the constructor does not have an argument.
        """
        names = self._defaults()
        for name in params:
            if message := foreign(type(self), name):
                raise TypeError(message)
            if name not in names:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: "
                                 f"{list(names)!r}.")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    @classmethod
    def _defaults(cls):
        """Return the constructor's arguments with their defaults, a dict by name."""
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}

    def __repr__(self) -> str:
        """Return the constructor's call with the arguments that differ from their defaults."""
        changed = [f"{name}={_checks.short(getattr(self, name))}" for name, default in self._defaults().items()
                   if repr(getattr(self, name)) != repr(default)]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether `fit` was called. scikit-learn calls this method."""
        return hasattr(self, "n_features_in_")

    def _check_fitted(self, method):
        """Raise NotFittedError if `fit` was not called, with the name of the public method that needs it."""
        if not self.__sklearn_is_fitted__():
            # without an import of scikit-learn, no caller can expect its class
            kind = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", NotFittedError)
            raise kind(f"This {type(self).__name__} is not fitted yet: call fit before {method}")

    def _check_features(self, sequences):
        """Raise ValueError unless the Sequences `sequences` have as many features as those of `fit`."""
        found = sequences.padded.shape[2]
        if found != self.n_features_in_:
            T, N, _ = sequences.padded.shape
            raise ValueError(f"X has {found} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                             f"features as input; it was read as {N} sequence(s) of at most {T} step(s)")

    def _input_tags(self):
        """Return scikit-learn's InputTags: X has three dimensions, or two if two_d gives them a meaning."""
        from sklearn.utils import InputTags

        return InputTags(two_d_array=self.two_d != "raise", three_d_array=True)

    _weighted: tuple[str, ...] = ()  # methods that take sample_weight

    def _get_metadata_request(self):
        """Return the requests of this object, for scikit-learn's metadata routing if it is enabled."""
        from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

        if hasattr(self, "_metadata_request"):
            return get_routing_for_object(self._metadata_request)
        request = MetadataRequest(owner=self)
        for method in self._weighted:
            getattr(request, method).add_request(param="sample_weight", alias=None)
        return request

    def get_metadata_routing(self) -> Any:
        """Return the requests of this object, for scikit-learn's metadata routing if it is enabled."""
        return self._get_metadata_request()
