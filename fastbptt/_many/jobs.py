"""A job: one network, its checked data and the arguments of its run.

Add the check of a new argument of fit_many here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _checks, network as _network, optimizers, schedules
from .._training import batches as _batches, checkpoint as _checkpoint, settings as _settings
from ..backends.arguments import Batch
from ..network import RNN
from .arguments import AMBIGUOUS, _ambiguous

# Arguments of RNN.fit that fit_many has by name
NAMED = ("epochs", "min_updates", "batch_size", "optimizer", "learning_rate", "schedule", "max_grad_norm", "patience",
         "min_improvement", "shuffle", "random_state", "time_limit")
# Other arguments of RNN.fit. With any of them, networks run one at a time.
OTHERS = ("resets", "batches", "updates", "updates_per_epoch", "tbptt", "validation_every", "on_nonfinite", "memory_limit")


@dataclass(eq=False)
class _Job:
    """A network, its checked data and the arguments of its run."""

    k: int
    network: RNN
    data: Batch | None          # None with batches
    validation: tuple | None    # X, D, weights, lengths, resets
    seed: int
    optimizer: optimizers.Optimizer
    max_grad_norm: float | None
    settings: dict              # the other arguments of RNN.fit
    continues_streams: bool = True  # whether the network's own random streams continue; else those of `seed` begin

    @property
    def begin(self):
        """Return the positions of the random streams at which the run begins."""
        return self.network._positions if self.continues_streams else _batches.Positions()

    def used_streams(self):
        """Return Positions with 1 for each random stream on which the run depends, and 0 for the others."""
        batches = self.settings.get("batches")
        return _batches.used_streams(batches is None and self.settings["shuffle"], callable(batches),
                                     self.network._draws_something)


@dataclass(frozen=True, eq=False)
class GivenData:
    """The data arguments of fit_many, for all networks or one for each: see fit_many.

    For estimators, D is y and weights is sample_weight.
    """

    X: Any
    D: Any
    weights: Any = None
    initial_state: Any = None
    lengths: Any = None
    validation: Any = None


class Jobs:
    """The arguments of fit_many, checked. `make` turns them into one job for each RNN."""

    def __init__(self, networks, data, given, others, known=None):
        """Check the arguments that all networks share.

        Parameters
        ----------
        networks : list of RNN
        data : GivenData
        given : dict
            The arguments of NAMED.
        others : dict
            The arguments of OTHERS that were given.
        known : list of int or None, optional
            The seeds of resumed runs, as `Call.read` returns them.
        """
        n = self.n = len(networks)
        self.resumed_seeds = [None] * n if known is None else known
        self.networks, self.validation, self.others = networks, data.validation, dict(others)
        self.data = {name: getattr(data, name) for name in ("X", "D", "weights", "initial_state", "lengths")}
        self.data["resets"] = self.others.pop("resets", None)
        self.rates = _number_of_each_network("learning_rate", given["learning_rate"], n)
        self.norms = _number_of_each_network("max_grad_norm", given["max_grad_norm"], n)
        self.seeds = _check_seeds(given["random_state"], n)
        self.optimizer = optimizers.make(given["optimizer"], None if self.rates is not None else given["learning_rate"])
        self.max_grad_norm = None if self.norms is not None or given["max_grad_norm"] is None else _checks.number(
            "max_grad_norm", given["max_grad_norm"], 0)
        self.settings = _run_settings(given) | self.others
        updates = self.others.get("updates")
        updates = None if updates is None else _checks.size("updates", updates)
        self.min_updates = _settings.check_least(given["min_updates"], updates)
        if given["patience"] is not None and self.validation is None:
            raise ValueError("patience requires validation=(X, D): it watches the validation loss")
        self.converted, self.checked = {}, {}

    def make(self):
        """Return a list of _Job, one for each network, with checked data. Errors name the network."""
        jobs = []
        for k, net in enumerate(self.networks):
            seed = net._entropy if self.seeds is None else self.seeds[k]
            data = validation = None
            try:
                if "batches" not in self.others:
                    drawn = isinstance(seed, _checks.DrawnSeed) and self.resumed_seeds[k] is not None
                    data, validation = self._checked_data_of(k, net, self.resumed_seeds[k] if drawn else seed)
                elif any(value is not None for value in self.data.values()):
                    raise TypeError("give X and D, or batches, not both")
                else:
                    validation = net._check_validation(self.validation)
            except (TypeError, ValueError) as error:
                raise type(error)(f"network {k}: {error}") from None
            rule = self.optimizer if self.rates is None else dataclasses.replace(self.optimizer, learning_rate=self.rates[k])
            jobs.append(_Job(k, net, data, validation, seed, rule,
                             self.max_grad_norm if self.norms is None else self.norms[k], self._settings_of(data),
                             continues_streams=self.seeds is None))
        return jobs

    def _settings_of(self, data):
        """Return the settings of a network with these data. With min_updates, epochs depend on the number of sequences."""
        if self.min_updates is None:
            return self.settings
        if any(name in self.others for name in ("batches", "updates", "tbptt")):
            return self.settings | {"min_updates": self.min_updates}  # RNN.fit sets the epochs
        return self.settings | {"epochs": _settings.least_epochs(
            self.settings["epochs"], self.min_updates, -(-data.X.shape[1] // self.settings["batch_size"]))}

    def _checked_data_of(self, k, net, seed):
        """Return the data and the validation set of network k, the RNN `net`, both checked.

        `seed` splits off the validation set if it is a share. Data that several networks share are checked once, and stay one
        object.
        """
        if self.data["X"] is None or self.data["D"] is None:
            raise TypeError("give X and D, or batches")
        parts = {name: self._part_of_network(k, net, name, value, self.data["X"]) for name, value in self.data.items()}
        share = not isinstance(self.validation, tuple)
        V = () if share else self._validation_of(k, net)
        key = None
        if all(shared for _, shared in (*parts.values(), *V)):
            key = (net.input_size, net.hidden_size, net.output_size, net.target_size, net.dtype, net.loss, net.one_hot,
                   net.output, seed if share and self.validation is not None else None)
            if key in self.checked:
                return self.checked[key]
        given = Batch(**{name: value for name, (value, _) in parts.items()})
        found = net._training_data(given, self.validation if share else tuple(value for value, _ in V), seed)
        (X, D, weights, initial_state, lengths, _), held = found
        _batches.refuse_nonfinite("", X, D, weights, lengths)
        if initial_state is not None:
            _checks.finite("initial_state", initial_state, "bh")
        if X.shape[1] == 0:
            raise ValueError(f"X must have sequences to train on: shape {X.shape} was read as (T, B, I)")
        if held is not None:
            _batches.refuse_nonfinite("validation's ", *held[:4])
            if 0 in held[0].shape[:2]:
                raise ValueError(f"validation's X must have steps and sequences: shape {held[0].shape} was read as (T, B, I)")
        if key is not None:
            self.checked[key] = found
        return found

    def _validation_of(self, k, net):
        """Return pairs (array, whether all networks share it), one for each member of network k's validation set."""
        V = self.validation
        if not 2 <= len(V) <= 5:
            raise TypeError(f"validation must be (X, D[, weights[, lengths[, resets]]]), got a tuple of {len(V)}")
        return [self._part_of_network(k, net, name, value, V[0], "validation's ")
                for name, value in zip(("X", "D", "weights", "lengths", "resets"), V)]

    def _part_of_network(self, k, net, name, value, X, whose=""):
        """Return the part of the argument `name` that belongs to network k, the RNN `net`, and whether all networks share it.

        `X` is the X beside the argument, which tells an array (n, T, B) from (T, B, O). `whose` stands before the name in
        messages.
        """
        if value is None:
            return None, True
        rows = 1 if net.output == "last" else 2
        most = {"X": 2 if net.one_hot else 3, "D": rows + 1, "weights": rows + 1, "initial_state": 2, "lengths": 1,
                "resets": 2}
        if isinstance(value, list) and len(value) == self.n and np.ndim(value[0]) > 0:
            return value[k], False
        if name == "initial_state" and net._stacked:
            return value, False
        if isinstance(value, np.ndarray):
            least = rows if name in ("D", "weights") else most[name]  # labels, and weights per step
            if value.ndim > most[name] or (value.ndim == most[name] > least
                                           and self._is_one_per_network(net, name, value, X, whose)):
                if len(value) != self.n:
                    raise ValueError(f"{whose}{name} must have a first axis of {self.n}, one entry per network, got shape "
                                     f"{value.shape}")
                return value[k], False
        return self._converted_once(net, name, value), True

    def _is_one_per_network(self, net, name, value, X, whose):
        """Return whether the labels or weights `value` are (n, T, B), and not D or weights (T, B, O) of the network `net`.

        X is the X beside them, and `whose` stands before the name in messages. Raise ValueError if the shape fits both.
        """
        X = X[0] if isinstance(X, list) and len(X) == self.n and np.ndim(X[0]) > 0 else X
        shape = np.shape(X)[-3:-1] if not net.one_hot else np.shape(X)[-2:]
        rows = shape[1:] if net.output == "last" else shape
        is_labels = name == "D" and net.loss == "cross_entropy" and value.dtype.kind in "iu"
        if name == "D" and not is_labels or value.shape != (self.n, *rows):
            return False
        if value.shape == (*rows, net.target_size) and (is_labels or net.loss != "cross_entropy"):
            raise ValueError(_ambiguous(f"{whose}{name}", value.shape, rows, *AMBIGUOUS[name]))
        return True

    def _converted_once(self, net, name, value):
        """Return a shared array in the dtype of the network `net`. It is converted once for all networks of that dtype.

        Lengths, resets, labels and category indices keep their type.
        """
        if name in ("lengths", "resets") or name == "X" and net.one_hot:
            return value
        if name in ("X", "D") and isinstance(value, (list, tuple)):
            return value  # the network's own checks convert or refuse it
        key = id(value), net.dtype
        if key not in self.converted:
            array = np.asarray(value)
            integer = array.dtype.kind not in "f" and name == "D" and net.loss == "cross_entropy"
            self.converted[key] = value if integer or array.dtype.kind not in "fiub" else _checks.array(name, value, net.dtype)
        return self.converted[key]


def jobs_of_estimators(estimators, data, given, others, known):
    """Return fittings (of `Estimator._prepare_fit`) and jobs of estimators, from the arguments of fit_many.

    `data` is a GivenData, `given` has the arguments of NAMED, and `others` those of OTHERS. `known` has the seeds of resumed
    runs. Raise TypeError if an argument is given that belongs to the estimators' constructors.
    """
    defaults = {"batch_size": 32, "optimizer": "adam", "min_improvement": 0.0, "shuffle": True}
    for name, value in [*given.items(), ("initial_state", data.initial_state), ("lengths", data.lengths), *others.items()]:
        plain = isinstance(value, (bool, int, float, str)) and value == defaults.get(name)
        if name != "time_limit" and value is not None and not plain:
            raise TypeError(f"{name} must be given to the constructors of estimators, not to fit_many")
    n = len(estimators)
    sets = _data_sets(n, ("X", data.X), ("D", data.D), ("weights", data.weights))
    validation, V = data.validation, [None] * n
    if validation is not None:
        if not isinstance(validation, tuple) or len(validation) not in (2, 3):
            raise TypeError(f"validation must be a tuple (X, y) or (X, y, sample_weight), got {type(validation).__name__}")
        V = list(zip(*_data_sets(n, *zip(("validation's X", "validation's y", "validation's sample_weight"), validation))))
    return jobs_of_sets(estimators, *sets, V, given["time_limit"], known)


def jobs_of_sets(estimators, X, y, weights, validation, time_limit, known):
    """Return fittings and jobs of estimators. X, y, weights and validation are lists with an entry for each.

    Equal arrays become one object. `time_limit` is the argument of fit_many. `known` has the seeds of resumed runs, or None.
    Such a seed replaces one that the user did not give, because it splits off the validation share. A new seed would split
    the data in another way, and the run would count as another run.
    """
    fittings, jobs, same = [], [], {}
    for k, each in enumerate(estimators):
        try:
            fitting = each._prepare_fit(X[k], y[k], weights[k], validation[k], (), {}, known[k])
        except (TypeError, ValueError) as error:
            raise type(error)(f"estimator {k}: {error}") from None
        inputs, D, m, lengths = _share_equal_arrays(fitting.data, same)
        held = None if fitting.held is None else (*_share_equal_arrays(fitting.held, same), None)
        settings = _run_settings(fitting.settings | {"time_limit": time_limit})
        if fitting.settings["callbacks"]:  # early stopping by the training loss
            settings["callbacks"] = fitting.settings["callbacks"]
        network = fitting.network
        fittings.append(fitting)
        jobs.append(_Job(k, network, Batch(inputs, D, m, None, lengths), held, network._entropy,
                         fitting.settings["optimizer"], fitting.settings["max_grad_norm"], settings))
    return fittings, jobs


def _data_sets(n, *named):
    """Return X, y and weights as lists with an entry for each of n estimators.

    `named` are pairs (name, value), X first. Each estimator has its own data set if X is a list of n data sets, else the
    same.
    """
    _, X = named[0]
    if not (isinstance(X, list) and len(X) == n and all(map(_is_data_set, X))):
        return [[value] * n for _, value in named]
    for name, value in named:
        if value is not None and not (isinstance(value, list) and len(value) == n):
            raise ValueError(f"{name} must be a list of {n} like X, one entry per estimator, got {type(value).__name__}")
    return [[None] * n if value is None else value for _, value in named]


def _is_data_set(item):
    """Return whether a list's item is a data set of many sequences, not one sequence or a row of numbers."""
    if isinstance(item, np.ndarray):
        return item.ndim == 3
    return isinstance(item, list) and len(item) > 0 and all(getattr(part, "ndim", 0) == 2 for part in item)  # also data frames


def _share_equal_arrays(arrays, same):
    """Return the arrays, with the first of equal ones in place of the others, so that networks share them.

    The dict `same` holds the arrays seen so far, by fingerprint.
    """
    return tuple(None if array is None else same.setdefault(_checkpoint.digest([array]), array) for array in arrays)


def _run_settings(given):
    """Return the checked arguments of a run that hold no data and that RNN.fit takes by the same name.

    `given` is a dict that has them.
    """
    schedule = schedules.make(given["schedule"])
    schedule.factor(schedule.begin(), 0, 1)  # raises if a function returns no factor
    return {
        "epochs": None if given["epochs"] is None else _checks.size("epochs", given["epochs"], smallest=0),
        "batch_size": _checks.size("batch_size", given["batch_size"]),
        "schedule": schedule,
        "patience": None if given["patience"] is None else _checks.size("patience", given["patience"]),
        "min_improvement": _checks.number("min_improvement", given["min_improvement"], 0, low_allowed=True),
        "shuffle": _batches.check_shuffle(given["shuffle"]),
        "time_limit": None if given.get("time_limit") is None else _checks.number("time_limit", given["time_limit"], 0),
    }


def _number_of_each_network(name, value, n):
    """Return a list of n positive numbers, one for each network, or None if `value` is not an array of numbers."""
    if value is None or np.ndim(value) == 0:
        return None
    values = _network._check_shape(name, _checks.array(name, value, np.float64), (n,), "(n,)")
    return [_checks.number(f"{name}[{k}]", number, 0) for k, number in enumerate(values.tolist())]


def _check_seeds(value, n):
    """Return the argument random_state as a list of n seeds, or None."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) != n:
        raise TypeError(f"random_state must be None or a list of {n} seeds, got {_checks.short(value)}")
    return [_checks.seed(f"random_state[{k}]", seed) for k, seed in enumerate(value)]
