"""Population: many networks of one shape at once, each with parameters, targets, weights and a training of its own."""

from __future__ import annotations

import dataclasses
import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from . import _core, _files, _population, _checks, network as _network, optimizers, reference, schedules, training
from ._training import batches as _batches
from .options import checks as _option_checks, declaration as _options, parametrizations as _maps
from ._training.progress import Progress
from ._states import NetworkStates, stack
from .network import RNN, STREAMS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ._types import (
        Bool, FilePath, Float, HiddenSize, Int, OptimizerLike, PopulationOptions, ScheduleLike, Seed, Shuffle,
    )

# Up to this many hidden units, and up to this H² B, networks stand side by side in a vector's lanes; wider ones and larger
# batches fill vectors by themselves and run one at a time. Time of 64 networks in lanes over one at a time, one core, T = 100,
# B = 1, float32 (AMD Zen 4, 2026-11): H = 4: 0.08, 8: 0.15, 16: 0.5, 32: 1.1. With T = 30, I = 4, O = 2 (Intel, AVX-512):
#   float32, B = 1, 4, 16, 64    H = 4: 0.10, 0.20, 0.42, 0.63   8: 0.18, 0.32, 0.73, 1.10   16: 0.28, 0.78, 1.14, 2.06
#   float64                      H = 4: 0.17, 0.31, 0.87, 1.10   8: 0.18, 0.56, 0.99, 1.61   16: 0.39, 0.98, 1.22, 2.38
MOST_HIDDEN = 16
MOST_WORK = {"float32": 3072, "float64": 1024}
MOST_BYTES = 2**28  # of a group's workspace
AIR = 0.05  # seconds of training between two looks at what else there is
NETWORKS_FIRST = {1: (1, 0), 2: (2, 0, 1)}  # the order of axes of which the last are the networks
CUT_OFF = ("nonfinite", "interrupted", "error")  # ends after which a network does not return to its best parameters
OWN = _options.names(lambda option: option.each)  # options that each network of a population may have of its own
# What an array may be whose shape fits both, and how to say which
AMBIGUOUS = {
    "D": ("labels of each network, or distributions that all share", "give distributions as floats, or labels as a list of"),
    "weights": ("weights of each network, or weights of each output that all share",
                "repeat the latter to (n, T, B, O), or give the former as a list of"),
}
SERVED = _options.names(lambda option: option.lanes)


@dataclass(repr=False)
class PopulationHistory:
    """What a training of a population left behind: arrays with a row for each network, NaN after a network's end.

    Attributes
    ----------
    train_loss, validation_loss, penalty, gradient_norm : arrays (n, epochs)
        As of `History`, for each network; validation_loss has no columns without a validation set.
    seconds : list of float, by epoch, since the beginning, of all together
    stopped : list of str
        Why each network ended, in the words of `History`: "epochs", "patience", "nonfinite" (its parameters are those before
        that update), "callback", "time", "interrupted" or "error".
    best_epoch : array (n,) of int
        The epoch of the lowest validation loss, from 0; −1 without one.
    """

    train_loss: np.ndarray
    validation_loss: np.ndarray
    penalty: np.ndarray
    gradient_norm: np.ndarray
    seconds: list[float] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    best_epoch: np.ndarray | None = None

    def __repr__(self) -> str:
        n, epochs = self.train_loss.shape
        seconds = "".join(f", {last:.3g} s" for last in self.seconds[-1:])
        return (f"PopulationHistory({_checks.counted(n, 'network')}, at most {_checks.counted(epochs, 'epoch')}, stopped: "
                f"{_checks.reasons(self.stopped)}{seconds})")

    def rows(self) -> dict[str, Any]:
        """A dict of columns, a row for each network: ``pandas.DataFrame(history.rows())``."""
        n, last = len(self.train_loss), np.isfinite(self.train_loss).sum(axis=1)
        final = [self.train_loss[k, last[k] - 1] if last[k] else math.nan for k in range(n)]
        columns = {"network": np.arange(n), "epochs": last, "train_loss": np.array(final), "stopped": list(self.stopped)}
        if self.validation_loss.shape[1]:
            columns |= {"best_epoch": self.best_epoch, "validation_loss": np.array(
                [self.validation_loss[k, e] if e >= 0 else math.nan
                 for k, e in enumerate(self.best_epoch)])}  # type: ignore[arg-type]
        return columns


class Population:
    """n recurrent networks of one shape, trained side by side: `RNN` for each, at a fraction of the time.

    Networks of few hidden units are computed one a vector lane, eight to thirty-two at once (`describe` says whether); all
    others run one at a time, with the same results. Each network's numbers are those that it would have alone, to rounding,
    and to the bit the same whatever networks stand beside it and for any number of threads.

    Parameters
    ----------
    n : int
        Networks.
    input_size, hidden_size, output_size, and every option of `RNN` by name
        What all of them are.
    l1, l2 : as of `RNN`, or a list of n such
        Penalties of all, or of each network.
    random_state : None, int, Generator, or sequence of n ints
        Seed of all, from which each gets its own, or a seed for each. Network k is what
        ``RNN(..., random_state=population.seeds[k])`` makes.

    Wherever a method takes X (T, B, I), D (T, B, O), weights (T, B) or (T, B, O), initial_state (B, H) or lengths (B,), as
    RNN's, one of it is shared by all networks, and with a first axis of n, or as a list of n, each has its own. An array of
    weights or labels whose shape fits both (n, T, B) and (T, B, O) is refused; a list of n is always of each network's own.
    With several layers or two directions, states are tuples of such arrays, one for each recurrence, as RNN's are.

    Attributes
    ----------
    parameters : dict of writable views (n, ...): W_x (n, H, I), W_s (n, H, H), ...
    theta : array (n, P), all parameters, copied out and in.
    seeds : list of n ints
    history : PopulationHistory of the last `fit`, or None
    """

    _more_options = tuple(inspect.signature(RNN).parameters)

    @_checks.refuses_unknown_options
    def __init__(self, n: Int, input_size: Int, hidden_size: HiddenSize, output_size: Int, *,
                 random_state: Seed | Sequence[Int] | np.ndarray | None = None,
                 **options: Unpack[PopulationOptions]) -> None:
        self.n = _checks.size("n", n)
        if isinstance(random_state, (list, tuple, np.ndarray)):
            if len(random_state) != self.n:
                raise ValueError(f"random_state must hold {self.n} seeds, got {len(random_state)}")
            self.seeds = [_checks.seed(f"random_state[{k}]", seed) for k, seed in enumerate(random_state)]
        else:
            words = np.random.SeedSequence(_network._entropy(random_state)).generate_state(2 * self.n).tolist()
            self.seeds = [high * 2**32 + low for high, low in zip(words[::2], words[1::2])]
        own = {name: options.pop(name)  # type: ignore[misc]  # which OWN names, no literal
               for name in OWN if isinstance(options.get(name), (list, tuple, np.ndarray))}
        for name, values in own.items():
            if len(values) != self.n:
                raise ValueError(f"{name} must be one for all, or a list of {self.n}, got {len(values)}")
            own[name] = [_option_checks.penalty(f"{name}[{k}]", value) for k, value in enumerate(values)]
        nets = [RNN(input_size, hidden_size, output_size, random_state=seed, **options,  # type: ignore[arg-type]
                    **{name: values[k] for name, values in own.items()}) for k, seed in enumerate(self.seeds)]
        self._positions = [net._positions for net in nets]
        self._configure(nets[0].copy(), [{name: net._config[name] for name in OWN} for net in nets])
        for k, net in enumerate(nets):
            self._theta[:, k] = net.theta

    def _configure(self, first, own):
        """Everything but the parameters' values, from a network like all of them, and the penalties of each."""
        for name in OWN:
            for each in own:
                if isinstance(each[name], dict):
                    _option_checks.by_parameter(name, each[name], first.parameters)
        if all(each == own[0] for each in own):
            first._configure(first._config | own[0], first._entropy)
            own = None
        self._like, self._own_options, self.history = first, own, None
        self._lanes, L = None, _population.lanes(first.dtype)
        if L and _fits(first):
            loss, parameter = first.loss if isinstance(first.loss, tuple) else (first.loss, None)
            offsets, begin = {}, 0
            for name, value in first.parameters.items():
                offsets[name], begin = begin, begin + value.size
            self._lanes = _population.Lanes(first.dtype, first.input_size, first.hidden_size, first.output_size,
                                            first.target_size, first.activation, first.output_activation, loss, parameter,
                                            first.reduction == "mean", offsets, begin)
        self._theta = np.zeros((len(first._theta), -(-self.n // max(L, 1)) * max(L, 1)), first.dtype)
        views, begin = {}, 0
        for name, value in first.parameters.items():
            rows = self._theta[begin:begin + value.size, :self.n]
            views[name] = np.moveaxis(rows.reshape(*value.shape, self.n), -1, 0)
            begin += value.size
        self.parameters = _network._Parameters(views)

    @classmethod
    def from_networks(cls, networks: Iterable[RNN]) -> Population:
        """A population of RNNs of one configuration but for penalties and seeds, with copies of their parameters."""
        networks = list(networks)
        first = None
        for k, net in enumerate(networks):
            if not isinstance(net, RNN):
                raise TypeError(f"networks[{k}] must be an RNN, got {type(net).__name__}")
            first = _key(net) if k == 0 else first
            if _key(net) != first:
                raise ValueError(f"networks[{k}] has other options than networks[0]: {net!r}, {networks[0]!r}")
        if not networks:
            raise ValueError("a population needs at least one network, got none")
        return cls._made_of(networks)

    @classmethod
    def _made_of(cls, networks):
        """`from_networks` of networks that have one `_key`."""
        self = cls.__new__(cls)
        self.n, self.seeds = len(networks), [net._entropy for net in networks]
        self._positions = [net._positions for net in networks]
        self._configure(networks[0].copy(), [{name: net._config[name] for name in OWN} for net in networks])
        for k, net in enumerate(networks):
            self._theta[:, k] = net._theta
        return self

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, k: Int) -> RNN:
        """Network k as an RNN of its own, a copy."""
        if not -self.n <= k < self.n:
            raise IndexError(f"network {k} of {self.n}")
        net = self._like.copy()
        net._configure(net._config | (self._own_options[k] if self._own_options else {}), self.seeds[k])
        net._positions = self._positions[k]
        net.theta = self._theta[:, k % self.n]
        return net

    def __iter__(self) -> Iterator[RNN]:
        return (self[k] for k in range(self.n))

    @property
    def theta(self) -> np.ndarray:
        return self._theta[:, :self.n].T.copy()

    @theta.setter
    def theta(self, value: ArrayLike) -> None:
        value = _checks.array("theta", value, self._like.dtype)
        self._theta[:, :self.n] = _network._check_shape("theta", value, (self.n, len(self._theta)), "(n, P)").T

    def describe(self) -> str:
        """Which way the networks are computed, and why."""
        net, L = self._like, _population.lanes(self._like.dtype)
        if self._lanes is not None:
            return (f"{self.n} networks in groups of {L}, one a vector lane; batches of more than {_most_sequences(net)} "
                    "sequences run network by network")
        if not L:
            return f"{self.n} networks, one at a time: the kernel set of this process has no lanes"
        beside = ", ".join(f"{name}={_checks.short(net._config[name])}" for name in _beside(net))
        return (f"{self.n} networks, one at a time: lanes serve up to {MOST_HIDDEN} hidden units of one layer (here "
                f"{net.hidden_size})" + (f", and not {beside}" if beside else ""))

    def __repr__(self) -> str:
        return f"Population({self.n}, {self._like!r})"

    # ---- Outputs, errors, gradients

    def forward(self, X: ArrayLike, initial_state: ArrayLike | None = None, *, lengths: ArrayLike | None = None,
                return_states: Bool = False, n_threads: Int | None = None) -> tuple[Any, ...]:
        """Return outputs Y (n, T, B, O) and final states (n, B, H), and with return_states=True a third value.

        The third value is that of `RNN.forward`: `.S` (n, T+1, B, H) and `.rates` (n, T, B, H). With several layers or two
        directions, the final states, `.S` and `.rates` are tuples of such arrays, one for each recurrence.
        """
        data = self._check(X, None, None, initial_state, lengths, targets=False)
        X, _, _, initial_state, lengths = data
        if self._lanes is None or not self._small(data):
            results = [net.forward(self._of(k, X, 2 if net.one_hot else 3), self._of(k, initial_state, 2),
                                   lengths=self._of(k, lengths, 1), return_states=return_states, n_threads=n_threads)
                       for k, net in enumerate(self._each())]
            Y, final_states, *states = zip(*results)
            return (np.stack(Y), stack(final_states), *map(NetworkStates.stack, states))
        X, _, weights, lengths = self._without_padding(X, None, None, lengths)
        results = self._lanes.forward(self.n, self._theta, X, initial_state, lengths, bool(return_states), _threads(n_threads))
        return (*results[:2], NetworkStates(results[2], results[2][:, 1:])) if return_states else results

    def losses(self, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
               initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
               n_threads: Int | None = None) -> np.ndarray:
        """Return the loss of each network, step and sequence, (n, T, B), with or without weights as `RNN.losses` does."""
        data = self._check(X, D, weights, initial_state, lengths)
        X, D, weights, initial_state, lengths = data
        if self._lanes is None or not self._small(data) or weights is not None and weights.shape[-1] > 1:
            return np.stack([net.losses(*self._pair(k, X, D), weights=self._weights_of(k, weights),
                                        initial_state=self._of(k, initial_state, 2), lengths=self._of(k, lengths, 1),
                                        n_threads=n_threads) for k, net in enumerate(self._each())])
        X, D, inner, lengths = self._without_padding(X, self._distributions(D), weights, lengths)
        e = self._lanes.losses(self.n, self._theta, X, D, inner, initial_state, lengths, _threads(n_threads))
        if weights is None:
            return e
        return np.multiply(inner[..., 0], e, out=np.zeros_like(e), where=inner[..., 0] != 0)

    def evaluate(self, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
                 initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
                 n_threads: Int | None = None) -> np.ndarray:
        """The reduced error of each network, (n,), float64."""
        return self._reduced(X, D, weights, initial_state, lengths, False, n_threads)[0]

    def loss_and_gradients(self, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
                           initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
                           n_threads: Int | None = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The reduced errors (n,), float64, penalties included, and a dict of gradients (n, ...) by parameter.

        The gradients are fresh, and like `parameters` have the network as their innermost number in memory.
        """
        losses, flat, in_lanes = self._reduced(X, D, weights, initial_state, lengths, True, n_threads)
        gradients, begin = {}, 0
        for name, value in self._like.parameters.items():
            rows = flat[begin:begin + value.size]
            if value.ndim > 1:
                rows = rows.reshape(*value.shape, -1)
            gradients[name] = rows.transpose(NETWORKS_FIRST[value.ndim])[:self.n]
            begin += value.size
        if in_lanes and self._penalised():  # a network alone has added its own
            for k, net in enumerate(self._each()):
                penalty, more = _penalty(net)
                losses[k] += penalty
                for name, value in more.items():
                    gradients[name][k] += value
        return losses, gradients

    def _reduced(self, X, D, weights, initial_state, lengths, gradient, n_threads):
        """Losses (n,), gradients (P, N) or None, and whether lanes computed them: these add no penalties."""
        if not (weights is initial_state is lengths is None and self._ready(X, D)):
            X, D, weights, initial_state, lengths = self._check(X, D, weights, initial_state, lengths)
        if self._lanes is None or not self._small((X,)):
            losses, flat = np.empty(self.n), np.empty_like(self._theta) if gradient else None
            for k, net in enumerate(self._each()):
                given = {"weights": self._weights_of(k, weights), "initial_state": self._of(k, initial_state, 2),
                         "lengths": self._of(k, lengths, 1), "n_threads": n_threads}
                if not gradient:
                    losses[k] = net.evaluate(*self._pair(k, X, D), **given)
                    continue
                losses[k], found = net.loss_and_gradients(*self._pair(k, X, D), **given)
                flat[:, k] = np.concatenate([value.ravel() for value in found.values()])
            return losses, flat, False
        X, D, weights, lengths = self._without_padding(X, self._distributions(D), weights, lengths)
        losses, flat = self._lanes.loss_and_gradient(self.n, self._theta, X, D, weights, initial_state, lengths, gradient,
                                                     _threads(n_threads))
        return losses, flat, True

    # ---- Training

    def fit(self, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
            initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
            validation: tuple[ArrayLike | None, ...] | None = None, epochs: Int | None = None, batch_size: Int = 32,
            optimizer: OptimizerLike = "adam", learning_rate: ArrayLike | None = None,
            schedule: ScheduleLike | None = None, max_grad_norm: ArrayLike | None = None, patience: Int | None = None,
            min_improvement: Float = 0.0, shuffle: Shuffle = True, time_limit: Float | None = None,
            progress: Bool | None = None,
            callbacks: Callable[[int, Population], object] | Iterable[Callable[[int, Population], object]] = (),
            n_threads: Int | None = None) -> PopulationHistory:
        """Train every network on its X and D, from the parameters as they are, each as `RNN.fit` would alone.

        The orders of a second call differ from those of the first, as with `RNN.fit`.

        Parameters
        ----------
        X, D, weights, initial_state, lengths : as said above
        validation : (X, D[, weights[, lengths]]), optional
        learning_rate, max_grad_norm : float or (n,), optional
        patience : int, optional
            A network stops after so many epochs without an improvement, as of `RNN.fit`, and returns to its best parameters.
            The others go on.
        epochs, batch_size, optimizer, schedule, min_improvement, shuffle, time_limit : as of `RNN.fit`
        progress : bool, optional
            As of `RNN.fit`; the bar counts networks.
        callbacks : functions of (epoch, population)
            Called after each epoch; one that returns True ends the training of all. Without them epochs, validation and early
            stopping follow one another in compiled code.
        n_threads : int, optional
            Threads that divide the networks.

        Returns
        -------
        PopulationHistory, also kept as the attribute `history`. A network whose loss or gradient becomes infinite or NaN stops
        by itself: nothing is raised.

        Raises
        ------
        KeyboardInterrupt : Ctrl-C, between stretches of a twentieth of a second; each network has its last whole update.
        """
        data = self._check(X, D, weights, initial_state, lengths, finite=True)
        if validation is not None:
            if not isinstance(validation, tuple) or not 2 <= len(validation) <= 4:
                raise TypeError("validation must be a tuple (X, D), (X, D, weights) or (X, D, weights, lengths), got "
                                f"{type(validation).__name__}")
            V = (*validation, None, None)[:4]
            validation = self._check(V[0], V[1], V[2], None, V[3], finite=True, name="validation's ")
        elif patience is not None:
            raise ValueError("patience needs validation=(X, D), whose loss it watches")
        rates = self._numbers("learning_rate", learning_rate)
        optimizer = optimizers.make(optimizer, None if rates is not None else learning_rate)  # type: ignore[arg-type]
        rates = np.full(self.n, optimizer.learning_rate) if rates is None else rates
        norms = self._numbers("max_grad_norm", max_grad_norm)
        if norms is None:
            norms = np.full(self.n, math.inf if max_grad_norm is None else _checks.number("max_grad_norm", max_grad_norm, 0))
        schedule = schedules.make(schedule)
        schedule.factor(schedule.begin(), 0, 1)  # a function that returns no factor says so here
        run = _Fit(self, data, validation, optimizer, rates, schedule,
                   100 if epochs is None else _checks.size("epochs", epochs, smallest=0), _checks.size("batch_size", batch_size),
                   norms, None if patience is None else _checks.size("patience", patience),
                   _checks.number("min_improvement", min_improvement, 0, low_allowed=True), _batches.check_shuffle(shuffle),
                   math.inf if time_limit is None else _checks.number("time_limit", time_limit, 0),
                   None if progress is None else _checks.flag("progress", progress),
                   training._functions("callbacks", callbacks, "(epoch, population)"), _threads(n_threads))
        try:
            self.history = run.go()
        finally:
            run.progress.close()
        return self.history

    def _numbers(self, name, value):
        """A positive number for each network, None where `value` is not an array of them."""
        if value is None or np.ndim(value) == 0:
            return None
        values = _network._check_shape(name, _checks.array(name, value, np.float64), (self.n,), "(n,)")
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"{name} must be positive, got {values.min()}")
        return values

    # ---- Storage

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of `parameters`."""
        return {name: value.copy() for name, value in self.parameters.items()}

    def copy(self) -> Population:
        """Return an independent population of the same networks, with their random streams at the same positions."""
        return Population.from_networks(self)

    def save(self, path: FilePath) -> None:
        """Write the population to one .npz file, whole or not at all; `fastbptt.load` reads it."""
        for name, value in self.parameters.items():
            _checks.finite(name, value, "nij")
        _files.write(path, self._like._header() | {"kind": "Population", "seeds": self.seeds, "own": self._own_options,
                                                   "positions_of_each": [each._asdict() for each in self._positions]},
                     {"theta": self.theta} | _maps.split(self._like._config)[1])

    @classmethod
    def _from_file(cls, header, arrays):
        theta = arrays["theta"]
        first = RNN._from_header(header, arrays)
        if theta.ndim != 2 or theta.shape != (len(header["seeds"]), len(first._theta)) or not len(theta):
            raise ValueError(f"its theta has shape {theta.shape}, for {len(header['seeds'])} seeds")
        self = cls.__new__(cls)
        self.n, self.seeds = len(theta), [_checks.seed("a seed", seed) for seed in header["seeds"]]
        positions = header.get("positions_of_each") or [None] * self.n
        if len(positions) != self.n:
            raise ValueError(f"it has positions of the streams of {len(positions)} networks, for {self.n}")
        self._positions = [_batches.Positions.read(each) for each in positions]
        own = header.get("own") or [{name: first._config[name] for name in OWN}] * self.n
        if len(own) != self.n:
            raise ValueError(f"it has penalties of {len(own)} networks, for {self.n}")
        self._configure(first, [{name: _option_checks.penalty(name, each[name]) for name in OWN} for each in own])
        self.theta = theta
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"like": self._like, "seeds": self.seeds, "theta": self.theta, "own": self._own_options,
                "positions": [each._asdict() for each in self._positions]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.n, self.seeds, like = len(state["seeds"]), state["seeds"], state["like"]
        self._positions = [_batches.Positions.read(each) for each in state.get("positions") or [None] * self.n]
        self._configure(like, state["own"] or [{name: like._config[name] for name in OWN}] * self.n)
        self.theta = state["theta"]

    # ---- Checks and layouts

    def _check(self, X, D, weights, initial_state, lengths, finite=False, name="", targets=True):
        """The arguments as arrays of the network's dtype, those of each network's own with a first axis n."""
        net, n = self._like, self.n
        if D is None and targets:
            raise TypeError(f"{name}D must be an array of numbers, got NoneType")
        X = self._array(f"{name}X", X, np.intp if net.one_hot else net.dtype)
        own_X = X.ndim == (3 if net.one_hot else 4)
        self._own(f"{name}X", X, own_X)
        one = X[0] if own_X else X
        net._check_inputs(one, None, None, None, name=f"{name}X")
        T, B = one.shape[:2]
        if lengths is not None:
            lengths = self._array(f"{name}lengths", lengths, np.intp)
            own = self._own(f"{name}lengths", lengths, lengths.ndim == 2)
            fine = ((lengths >= 0) & (lengths <= T)).all()
            for k in range(n if own and not fine else 1):
                _checks.lengths(lengths[k] if own else lengths, T, B)
        if initial_state is not None:
            initial_state = self._check_states(initial_state, B)
        if D is not None:
            rows = (B,) if net.output == "last" else (T, B)
            is_cross_entropy = net._engines["reference"].loss == "cross_entropy"
            is_labels = is_cross_entropy and np.asarray(D[0] if isinstance(D, (list, tuple)) else D).dtype.kind in "iu"
            given = D
            D = self._array(f"{name}D", D, np.intp if is_labels else net.dtype)
            own = self._own(f"{name}D", D, D.ndim == len(rows) + (1 if is_labels else 2))
            if own and is_labels and not _is_list(given, n) and D.shape == (*rows, net.target_size):
                raise ValueError(_ambiguous(f"{name}D", D.shape, rows, *AMBIGUOUS["D"]))
            if weights is not None:
                is_list, weights = _is_list(weights, n), self._array(f"{name}weights", weights, net.dtype)
                per_output = () if is_cross_entropy else ((*rows, net.target_size),)
                shapes = {s: o for o in (False, True) for s in (((n, *each) if o else each) for each in (rows, *per_output))}
                if weights.shape not in shapes:
                    each = "T, B" if len(rows) == 2 else "B"
                    forms = [f"({each})", f"({each}, O)", f"(n, {each})", f"(n, {each}, O)"][::1 if per_output else 2]
                    raise ValueError(f"{name}weights must have shape {', '.join(forms[:-1])} or {forms[-1]} for T, B = {T}, "
                                     f"{B}, O = {net.target_size}, n = {n}; got {weights.shape}")
                own_weights = shapes[weights.shape]
                if own_weights and not is_list and weights.shape in per_output:
                    raise ValueError(_ambiguous(f"{name}weights", weights.shape, rows, *AMBIGUOUS["weights"]))
                per_output = weights.ndim - (1 if own_weights else 0) > len(rows)
                if not own_weights:
                    weights = weights[None]
                if not per_output:
                    weights = weights[..., None]
            fine = weights is None or (weights >= 0).all() and np.isfinite(weights.sum(dtype=np.float64))
            fine = fine and (not is_labels or ((D >= 0) & (D < net.output_size)).all())
            for k in range(1 if fine else n):  # where all values are, the shapes of one are those of all
                own_lengths = lengths is not None and lengths.ndim == 2
                net._check_targets(one, D[k] if own else D, self._weights_of(k, weights),
                                   lengths[k] if own_lengths else lengths)
        if finite and not all(array.dtype.kind == "i" or np.isfinite(array).all() for array in (X, D)):
            for k in range(n):  # where D has no weight, or in padding, it is legal
                x, d = self._pair(k, X, D)
                _batches.refuse_nonfinite(name, x, d, self._weights_of(k, weights), self._of(k, lengths, 1))
        return X, D, weights, initial_state, lengths

    def _ready(self, X, D):
        """Whether X and D are arrays that need neither words nor conversion: a small population takes 10 µs, `_check` 25."""
        net = self._like
        return (type(X) is type(D) is np.ndarray and X.dtype == D.dtype == net._theta.dtype and X.flags.carray and D.flags.carray
                and self._lanes is not None and X.shape[-3:-1] == D.shape[-3:-1] and X.shape[-1] == net.input_size
                and D.shape[-1] == net.target_size and X.shape[:-3] in ((), (self.n,)) and D.shape[:-3] in ((), (self.n,))
                and X.ndim > 2 and D.ndim > 2)

    def _array(self, name, value, dtype):
        if _is_list(value, self.n):
            parts = [_checks.array(f"{name}[{k}]", part, dtype) for k, part in enumerate(value)]
            shapes = {part.shape for part in parts}
            if len(shapes) > 1:
                raise ValueError(f"{name} holds arrays of different shapes, {' and '.join(map(str, sorted(shapes)[:2]))}: pad "
                                 "them, as fastbptt.sequences.to_time_major does, and give lengths (n, B)")
            return np.stack(parts)
        return _checks.array(name, value, dtype)

    def _own(self, name, array, own):
        """Whether the array is of each network; then it must have n."""
        if own and len(array) != self.n:
            raise ValueError(f"{name} has shape {array.shape}: its first axis must be that of the {self.n} networks")
        return own

    def _check_states(self, given, B):
        """States (B, H) or (n, B, H), or of several recurrences a tuple of such arrays."""
        net = self._like
        if not net._stacked:
            return self._check_state("initial_state", given, B, net.hidden_size)
        if not isinstance(given, (tuple, list)) or len(given) != len(net._widths):
            what = f"{len(given)} of them" if isinstance(given, (tuple, list)) else type(given).__name__
            raise TypeError(f"initial_state must be a tuple of {len(net._widths)} arrays (B, H) or (n, B, H), one for each "
                            f"recurrence, layer by layer{', forward before reverse' if net.bidirectional else ''}; got {what}")
        return tuple(self._check_state(f"initial_state[{n}]", part, B, H) for n, (part, H) in enumerate(zip(given, net._widths)))

    def _check_state(self, name, given, B, H):
        state = self._array(name, given, self._like.dtype)
        own = self._own(name, state, state.ndim == 3)
        _network._check_shape(name, state[0] if own else state, (B, H), "(B, H)")
        return state

    def _of(self, k, array, ndim):
        """Network k's part."""
        if isinstance(array, tuple):  # states of several recurrences
            return tuple(self._of(k, each, ndim) for each in array)
        return array if array is None or array.ndim == ndim else array[k]

    def _weights_of(self, k, weights):
        if weights is None:
            return None
        of = weights[min(k, len(weights) - 1)]
        return of[..., 0] if of.shape[-1] == 1 else of

    def _pair(self, k, X, D):
        rows = 1 if self._like.output == "last" else 2
        of_D = D if D.ndim == rows + (0 if D.dtype.kind == "i" else 1) else D[k]
        return self._of(k, X, 2 if self._like.one_hot else 3), of_D

    def _distributions(self, D):
        """Labels as distributions; what stands for none is nowhere read."""
        if D.dtype.kind != "i":
            return D
        return np.eye(self._like.output_size, dtype=self._like.dtype)[np.clip(D, 0, self._like.output_size - 1)]

    def _without_padding(self, X, D, weights, lengths):
        """Padding as zeros, and weights that are 0 there, where there are lengths."""
        if lengths is None:
            return X, D, weights, lengths
        T, B = X.shape[-3:-1]
        there = np.arange(T)[:, None] < (lengths if lengths.ndim == 1 else lengths[:, None])  # (T, B) or (n, T, B)
        if X.ndim == 3 and there.ndim == 3 and not np.isfinite(X).all():
            X = np.broadcast_to(X, (self.n, *X.shape))
        if X.ndim == 4 or there.ndim == 2:
            X = np.where(there[..., None], X, X.dtype.type(0))
        weights = np.ones((1, T, B, 1), X.dtype) if weights is None else weights
        weights = np.where((there if there.ndim == 3 else there[None])[..., None], weights, X.dtype.type(0))
        return X, D, weights, lengths

    def _each(self):
        """The networks one after another, for a moment each: a copy of one takes long, so it is the same object."""
        net = self._like.copy()
        for k in range(self.n):
            if self._own_options is not None:
                net = self[k]
            net._theta[...] = self._theta[:, k]
            yield net

    def _small(self, data, batch_size=math.inf):
        """Whether lanes pay for such a batch, and a group of networks goes into memory at once."""
        net, (T, B) = self._like, data[0].shape[-3:-1]
        size = _population.lanes(net.dtype) * np.dtype(net.dtype).itemsize
        numbers = (T + 1) * B * (net.input_size + 2 * net.hidden_size + 2 * net.output_size)
        return min(B, batch_size) <= _most_sequences(net) and numbers * size <= MOST_BYTES

    def _penalised(self):
        return self._own_options is not None or any(self._like._engines["reference"].options[name] for name in OWN)


class _Fit:
    """One call of Population.fit."""

    def __init__(self, population: Population, data: tuple[Any, ...], validation: tuple[Any, ...] | None,
                 optimizer: optimizers.Optimizer, rates: np.ndarray, schedule: schedules.Schedule, epochs: int,
                 batch_size: int, max_norms: np.ndarray, patience: int | None, min_improvement: float, shuffle: Shuffle,
                 time_limit: float, progress: Any, callbacks: tuple[Any, ...], threads: int) -> None:
        self.population, self.data, self.validation = population, data, validation
        self.optimizer, self.rates = optimizer, rates
        self.schedule, self.epochs, self.batch_size, self.max_norms = schedule, epochs, batch_size, max_norms
        self.patience, self.min_improvement, self.shuffle, self.time_limit = patience, min_improvement, shuffle, time_limit
        self.callbacks, self.threads = callbacks, threads
        self.progress = progress if isinstance(progress, Progress) else Progress(epochs, population.n, progress, "network")

    def go(self):
        return self.in_lanes() if self.fits_lanes() else self.one_at_a_time()

    def fits_lanes(self):
        p = self.population
        return (p._lanes is not None and p._small(self.data, self.batch_size)
                and type(self.optimizer) in optimizers.OPTIMIZERS.values()
                and self.schedule.begin() == ()  # what a schedule carries is each network's own
                and (self.data[3] is None or self.batch_size >= self.data[0].shape[-2]))

    def one_at_a_time(self):
        p, (X, D, weights, initial_state, lengths) = self.population, self.data
        fields = ("train_loss", "validation_loss", "penalty", "gradient_norm")
        columns = {name: np.full((p.n, self.epochs), np.nan) for name in fields}
        history, begin = PopulationHistory(**columns, best_epoch=np.full(p.n, -1)), time.monotonic()
        history.stopped = ["interrupted"] * p.n
        p.history = history
        for k in range(p.n):
            net, validation = p[k], None
            if self.validation is not None:
                V = self.validation
                validation = (*p._pair(k, V[0], V[1]), p._weights_of(k, V[2]), p._of(k, V[4], 1))
            try:
                found = net.fit(*p._pair(k, X, D), weights=p._weights_of(k, weights), lengths=p._of(k, lengths, 1),
                                initial_state=p._of(k, initial_state, 2), validation=validation, epochs=self.epochs,
                                batch_size=self.batch_size, schedule=self.schedule, shuffle=self.shuffle,
                                optimizer=dataclasses.replace(self.optimizer, learning_rate=float(self.rates[k])),
                                max_grad_norm=None if self.max_norms[k] == math.inf else float(self.max_norms[k]),
                                patience=self.patience,
                                min_improvement=self.min_improvement, progress=False,
                                callbacks=[lambda record, f=f: f(record.epoch, p) for f in self.callbacks],
                                time_limit=None if self.time_limit == math.inf else self.time_limit,
                                n_threads=self.threads)
                history.stopped[k] = found.stopped
            except FloatingPointError:
                found = net.history
                history.stopped[k] = "nonfinite"
            except BaseException as error:
                p._theta[:, k], p._positions[k] = net.theta, net._positions
                if not isinstance(error, KeyboardInterrupt):
                    history.stopped[k:] = ["error"] * (p.n - k)
                raise
            p._theta[:, k], p._positions[k] = net.theta, net._positions
            self.progress.network(found)
            for name in fields:
                values = getattr(found, name)
                columns[name][k, :len(values)] = values
            history.best_epoch[k] = -1 if found.best_epoch is None else found.best_epoch
        history.seconds = [time.monotonic() - begin]
        if self.validation is None:
            history.validation_loss = history.validation_loss[:, :0]
        return history

    def in_lanes(self):
        p, n = self.population, self.population.n
        X, D, weights, initial_state, lengths = self.data
        X, D, weights, lengths = p._without_padding(X, p._distributions(D), weights, lengths)
        self.arrays = X, D, weights, initial_state, lengths
        if self.validation is not None:
            V = self.validation
            self.judged = p._without_padding(V[0], p._distributions(V[1]), V[2], V[4])
        # Of the networks that still learn, their places in the population and what is theirs, one a column
        N = p._theta.shape[1]
        self.places, self.theta = np.arange(n), p._theta
        self.slots = [np.zeros_like(p._theta) for _ in self.optimizer.slots(p._theta[:, 0])]
        self.penalties = _flat_penalties(p)
        self.going = np.zeros(N, p._theta.dtype)
        self.going[:n] = 1
        self.best, self.target = np.full(N, np.inf), np.full(N, np.inf)
        self.best_epoch, self.target_epoch = np.full(N, -1, np.intp), np.zeros(N, np.intp)
        self.best_theta = p._theta.copy()
        self.history = PopulationHistory(*(np.full((n, 0), np.nan) for _ in range(4)), best_epoch=np.full(n, -1))
        self.history.stopped = ["epochs"] * n
        p.history = self.history
        self.returned = p._theta.copy()  # the parameters that each ends with, where there is patience
        self.updates, self.columns, self.begun = 0, [[], [], [], []], None
        self.out_of_patience = []  # in the last epoch: what else ends a run after it comes first
        begin, epoch, stretch, why = time.monotonic(), 0, 1, ""
        try:
            while epoch < self.epochs and self.going.any() and not why:
                self.make_room()
                count = 1 if self.callbacks else min(stretch, self.epochs - epoch)
                before = time.monotonic()
                losses, validation = self.train(epoch, count)
                if time.monotonic() - before < AIR / 2:
                    stretch *= 2
                epoch += count
                self.history.seconds += [time.monotonic() - begin] * count
                self.show(epoch, losses, validation)
                answers = [function(epoch - 1, p) for function in self.callbacks]
                if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
                    why = "callback"
                elif time.monotonic() - begin >= self.time_limit:
                    why = "time"
                if self.callbacks and self.theta is not p._theta:  # they may have changed parameters
                    self.theta[:, :len(self.places)] = p._theta[:, self.places]
        except BaseException as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else "error"
            raise
        finally:
            for k in [*self.places[self.going[:len(self.places)] > 0], *self.out_of_patience] if why else ():
                self.history.stopped[k] = why
            self.move_streams()
            self.leave()
            if self.patience is not None:
                p._theta[:, :n] = self.returned[:, :n]
            self.write_history()
        return self.history

    def move_streams(self):
        """Move the streams of the networks behind the epochs that the last call of compiled code has begun."""
        begun, self.begun = self.begun, None
        for k, epochs in zip(*begun) if begun else ():
            # An epoch that failed counts too, as in RNN.fit
            self.population._positions[k] = self.population._positions[k].moved(
                _batches.Positions(shuffling=int(epochs) if epochs >= 0 else int(-epochs)))

    def leave(self):
        """Write down what the networks at hand have come to; those that were cut off do not return to their best."""
        n = len(self.places)
        self.history.best_epoch[self.places] = self.best_epoch[:n]
        is_whole = np.array([self.history.stopped[k] not in CUT_OFF for k in self.places], bool)
        self.returned[:, self.places] = np.where(np.isfinite(self.best[:n]) & is_whole, self.best_theta[:, :n],
                                                 self.theta[:, :n])

    def make_room(self):
        """Leave the lanes of networks that have stopped to others, as soon as that empties a quarter of the groups."""
        L, n = _population.lanes(self.population._like.dtype), len(self.places)
        kept = np.flatnonzero(self.going[:n])
        if -(-len(kept) // L) > 0.75 * -(-n // L):
            return
        self.leave()
        self.places = self.places[kept]
        columns = np.zeros(-(-len(kept) // L) * L, np.intp)  # those behind the last are empty
        columns[:len(kept)] = kept
        self.theta, self.best_theta, *self.slots = (
            array.take(columns, axis=1) for array in (self.theta, self.best_theta, *self.slots))
        self.penalties = [None if array is None else array.take(columns, axis=1) for array in self.penalties]
        for array in (self.theta, *self.slots):
            array[:, len(kept):] = 0
        for name in ("best", "target", "best_epoch", "target_epoch"):
            setattr(self, name, getattr(self, name).take(columns))
        self.going = (np.arange(len(columns)) < len(kept)).astype(self.going.dtype)
        self.arrays = [_keep(array, kept, ndim) for array, ndim in zip(self.arrays, (4, 4, None, 3, 2))]
        if self.validation is not None:
            self.judged = [_keep(array, kept, ndim) for array, ndim in zip(self.judged, (4, 4, None, 2))]

    def train(self, epoch, count):
        """So many epochs of updates, each judged by the validation set; losses (n, count) of both, None without one."""
        p, (X, D, weights, initial_state, lengths) = self.population, self.arrays
        B, n, N = X.shape[-2], len(self.places), self.theta.shape[1]
        self.out_of_patience = []
        order, held, judge = None, None, None
        if self.shuffle and self.batch_size < B:
            # A network that learns no more has an order too, which nobody reads
            order = np.stack([[_batches.order(self.shuffle, B, self.batch_size, _batches.generator(
                p.seeds[k], STREAMS.index("shuffling"), p._positions[k].shuffling + e)) for e in range(count)]
                for k in self.places])
        rates, max_norms, ended = np.zeros(N), np.full(N, np.inf), np.zeros(N, np.intp)
        rates[:n], max_norms[:n] = self.rates[self.places], self.max_norms[self.places]
        factors = np.array([self.schedule.factor((), epoch + e, self.epochs) for e in range(count)], np.float64)
        if self.validation is not None:
            held = tuple(self.judged)
            judge = (self.best, self.target, self.best_epoch, self.target_epoch, self.best_theta, epoch, self.patience or 0,
                     self.min_improvement)
        went = self.going[:n] > 0
        self.begun = self.places, ended
        found = p._lanes.train(
            n, self.theta, self.slots, X, D, weights, initial_state, lengths, self.optimizer.rule, vars(self.optimizer), rates,
            factors, self.going, ended, *self.penalties, max_norms, self.batch_size, order, self.updates, held, judge,
            self.threads)
        losses, penalties, norms, judged = found
        self.move_streams()
        self.updates += count * -(-B // self.batch_size)
        if self.theta is not p._theta:
            p._theta[:, self.places] = self.theta[:, :n]
        stopped, ended = went & (self.going[:n] == 0), ended[:n]
        for k in np.flatnonzero(stopped):
            if ended[k] < 0:
                self.history.stopped[self.places[k]] = "nonfinite"
                continue
            if ended[k] == count:
                self.out_of_patience.append(self.places[k])
            self.history.stopped[self.places[k]] = "epochs" if epoch + ended[k] == self.epochs else "patience"
        whole = np.arange(count) < np.where(ended < 0, -1 - ended, ended)[:, None]
        for column, values in zip(self.columns, (losses, judged, penalties, norms)):
            column.append(np.full((p.n, count), np.nan))
            if values is not None:
                column[-1][self.places] = np.where(whole, values, np.nan)
        return self.columns[0][-1], None if judged is None else self.columns[1][-1]

    def show(self, epoch, losses, validation):
        """Report so many epochs: a network that goes on counts as the part of it that is done."""
        going = int(np.count_nonzero(self.going))
        self.progress.reach(self.population.n - going * (1 - epoch / self.epochs))
        self.progress.epoch(epoch - 1, _mean(losses[:, -1]), None if validation is None else _mean(validation[:, -1]))

    def write_history(self):
        history, names = self.history, ("train_loss", "validation_loss", "penalty", "gradient_norm")
        for name, column in zip(names, self.columns):
            if column and not (name == "validation_loss" and self.validation is None):
                setattr(history, name, np.concatenate(column, axis=1))


def _is_list(value, n):
    """Whether `value` is a list of n arrays, one for each network."""
    return isinstance(value, (list, tuple)) and len(value) == n and n > 0 and np.ndim(value[0]) > 0


def _ambiguous(name, shape, rows, readings, remedy):
    """The error message for an array whose shape fits that of each network's own, and that of one for all."""
    each = "T, B" if len(rows) == 2 else "B"
    return (f"{name} has shape {shape}, which fits both (n, {each}) and ({each}, O): {readings}. To say which, {remedy} n "
            f"arrays ({each})")


def _fits(net):
    """Whether networks like this one can stand in lanes: they have none but the options that lanes serve."""
    return not isinstance(net.hidden_size, tuple) and net.hidden_size <= MOST_HIDDEN and not _beside(net)


def _most_sequences(net):
    """Sequences of a batch up to which lanes pay."""
    return MOST_WORK[net.dtype] // net.hidden_size**2


def _beside(net):
    """The options that are not RNN's defaults and that lanes do not serve; a new option is one of them."""
    return [name for name, value in net._config.items() if name not in SERVED and not _options.is_default(name, value)]


def _key(net):
    """What networks of one population share: all options but penalties, and dt; hashable, with the bytes of arrays."""
    options = net.dt, *(value for name, value in net._config.items() if name not in OWN and type(value) is not dict)
    if not any(type(value) is dict and value for name, value in net._config.items() if name not in OWN) and _hashable(options):
        return options
    config, arrays = _maps.split({name: value for name, value in net._config.items() if name not in OWN})
    return net.dt, repr(sorted(config.items())), tuple((name, array.shape, array.tobytes()) for name, array in sorted(arrays.items()))


def _hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _threads(n_threads):
    return _core.threads() if n_threads is None else _checks.size("n_threads", n_threads)


def _penalty(net):
    options = net._engines["reference"].options
    p = {name: value.astype(np.float64) for name, value in net.parameters.items()}
    return float(reference.penalty(p, options["l1"], options["l2"])), reference.d_penalty(p, options["l1"], options["l2"])


def _flat_penalties(population):
    """l1 and l2 of every parameter and network, as theta (P, N) has them; None where there is none."""
    flat, shapes = [], {name: value.shape for name, value in population._like.parameters.items()}
    for name in OWN:
        values, given = np.zeros_like(population._theta), population._own_options or [population._like._config]
        for k, options in enumerate(given):
            numbers, begin = _option_checks.by_parameter(name, options[name], shapes), 0
            for key, shape in shapes.items():
                columns = slice(k, k + 1) if population._own_options else slice(population.n)
                values[begin:begin + math.prod(shape), columns] = numbers.get(key, 0)
                begin += math.prod(shape)
        flat.append(values if values.any() else None)
    return flat


def _keep(array, networks, ndim):
    """Of an array whose first axis is that of networks, where it has `ndim` dimensions, the rows of these; else as it is.

    Weights have four in any case, and a first axis of 1 where they are shared.
    """
    if array is None or ndim is not None and array.ndim != ndim or ndim is None and len(array) == 1:
        return array
    return array[networks]


def _mean(values):
    """Of those that are finite, NaN where none is."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan


_network._KINDS["Population"] = Population
