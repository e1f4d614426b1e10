"""What scikit-learn asks of an object, without scikit-learn: parameters by name, a repr, tags, an exception."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Self, TypeVar

from . import _checks

_Init = TypeVar("_Init", bound=Callable[..., None])


class NotFittedError(ValueError, AttributeError):
    """Raised where something must be fitted first; scikit-learn's own of that name where scikit-learn is imported."""


def takes_parameters(init: _Init) -> _Init:
    """Make `init`, which has no body, keep its arguments as attributes, unchecked: `fit` checks them.

    clone, GridSearchCV and set_params need the signature, and that nothing else happens here.
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def keep(self, *args, **kwargs):
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

    return keep  # type: ignore[return-value]  # what functools.wraps makes has init's signature


def foreign(kind, name):
    """The message for an option of an estimator of networks that other packages spell so; None if there is none."""
    options = kind._defaults()
    return None if name in options or "hidden_size" not in options else _checks.foreign(kind.__name__, name, estimator=True)


class Parametric:
    """Parameters by name, and what fitted means: what scikit-learn's clone, Pipeline and GridSearchCV look for."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name. None of them is an estimator, so `deep` changes nothing."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: Any) -> Self:
        """Set constructor arguments by name; they are checked by `fit`. Returns self."""
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
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}

    def __repr__(self) -> str:
        changed = [f"{name}={_checks.short(getattr(self, name))}" for name, default in self._defaults().items()
                   if repr(getattr(self, name)) != repr(default)]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def _check_fitted(self, method):
        if not self.__sklearn_is_fitted__():
            # where scikit-learn is not imported, nobody can expect its class
            kind = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", NotFittedError)
            raise kind(f"This {type(self).__name__} is not fitted yet: call fit before {method}")

    def _check_features(self, sequences):
        found = sequences.padded.shape[2]
        if found != self.n_features_in_:
            T, N, _ = sequences.padded.shape
            raise ValueError(f"X has {found} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                             f"features as input; it was read as {N} sequence(s) of at most {T} step(s)")

    def _input_tags(self):
        from sklearn.utils import InputTags

        return InputTags(two_d_array=self.two_d != "raise", three_d_array=True)

    _weighted: tuple[str, ...] = ()  # methods that take sample_weight

    def _get_metadata_request(self):
        """What scikit-learn's metadata routing, where it is switched on, asks for."""
        from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

        if hasattr(self, "_metadata_request"):
            return get_routing_for_object(self._metadata_request)
        request = MetadataRequest(owner=self)
        for method in self._weighted:
            getattr(request, method).add_request(param="sample_weight", alias=None)
        return request

    def get_metadata_routing(self) -> Any:
        """What scikit-learn's metadata routing, where it is switched on, asks for."""
        return self._get_metadata_request()
