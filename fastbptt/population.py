"""Populations: n networks of one shape, trained side by side. `Population` does what `RNN` does, for each of them.

`_many/` checks its arguments, and has its lanes and the loop behind its `fit`. Add a new operation on all networks here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from . import _checks, _files, network as _network, optimizers, _population, schedules
from ._many.arguments import _Arguments, NETWORKS_FIRST, _seeds_of_networks
from ._many.lanes import (
    MOST_BYTES, MOST_IDS, OWN, _fits_lanes, most_hidden, most_sequences, _number_of_threads, numbers_per_unit,
    _options_without_lanes, _penalty_and_gradient, row_name, _shape_key,
)
from ._many.population_fit import Fit, FitSettings, PopulationHistory
from ._states import NetworkStates, stack
from ._training import batches as _batches, settings as _settings
from .backends.arguments import Batch
from .network import RNN
from .options import checks as _option_checks, parametrizations as _maps

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ._types import Bool, FilePath, Float, HiddenSize, Int, Seed, Shuffle
    from ._training.types import OptimizerLike, ScheduleLike
    from .options.signature import PopulationOptions


@_checks.names_our_arguments("fit")
class Population(_Arguments):
    """n recurrent networks of one shape, trained side by side in a fraction of the time.

    Each network is an `RNN`. Networks with few hidden units are computed in the lanes of a vector, eight to thirty-two at
    once. All others run one at a time, with the same results. `describe` says which way applies. Each network's results
    equal those of the network alone, within rounding. They have the same bits whatever the other networks are, and for any
    number of threads.

    Parameters
    ----------
    n : int
        The number of networks.
    input_size, hidden_size, output_size, and every option of `RNN` by name
        The options of all networks.
    l1, l2 : as in `RNN`, or a list of n such values
        Penalties of all networks, or of each.
    random_state : None, int, Generator, or sequence of n ints
        One seed, from which each network gets its own, or a seed for each. Network k equals
        ``RNN(..., random_state=population.seeds[k])``.

    Attributes
    ----------
    parameters : dict of writable views (n, ...)
        W_x (n, H, I), W_s (n, H, H), and so on.
    theta : array (n, P)
        All parameters. Reading and assigning copy.
    seeds : list of n ints
    stream_positions : list of n dicts
        How much of each random stream the training of each network has used, as in `RNN`. Assign a list of n dicts, or one
        dict for all networks. Copies and files keep the positions.
    history : PopulationHistory or None
        The record of the last `fit`.

    Notes
    -----
    Methods take X (T, B, I), D (T, B, O), weights (T, B) or (T, B, O), initial_state (B, H) and lengths (B,) as in RNN. All
    networks then share one array. An array with a first axis of n, or a list of n arrays, gives each network its own. If
    the shape of weights or labels fits both (n, T, B) and (T, B, O), an array is refused. A list of n always gives each
    network its own. With several layers or two directions, states are tuples of such arrays, one for each recurrence, as in
    RNN.

    Examples
    --------
    >>> population = Population(8, 1, 4, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 1)), np.ones((5, 3, 1))
    >>> losses, gradients = population.loss_and_gradients(X, D)
    >>> losses.shape, gradients["W_s"].shape
    ((8,), (8, 4, 4))
    """

    _more_options = tuple(inspect.signature(RNN).parameters)

    @_checks.refuses_unknown_options
    def __init__(self, n: Int, input_size: Int, hidden_size: HiddenSize, output_size: Int, *,
                 random_state: Seed | Sequence[Int] | np.ndarray | None = None,
                 **options: Unpack[PopulationOptions]) -> None:
        self.n = _checks.size("n", n)
        self.seeds = _seeds_of_networks(self.n, random_state)
        own = {name: options.pop(name)  # type: ignore[misc]  # OWN holds the names, not literals
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
        """Set all attributes except the parameters' values.

        `first` is a network with the options of all networks, and `own` has the penalties of each.
        """
        for name in OWN:
            for each in own:
                if isinstance(each[name], dict):
                    _option_checks.by_parameter(name, each[name], first.parameters)
        if all(each == own[0] for each in own):
            first._configure(first._config | own[0], first._entropy)
            own = None
        self._like, self._own_options, self.history = first, own, None
        self._lanes, L = None, _population.lanes(first.dtype)
        if L and _fits_lanes(first):
            loss, parameter = first.loss if isinstance(first.loss, tuple) else (first.loss, None)
            offsets, begin = {}, 0
            for name, value in first.parameters.items():
                offsets[name], begin = begin, begin + value.size
            self._lanes = _population.Lanes(
                dtype=first.dtype, I=first.input_size, H=first.hidden_size, O=first.output_size, K=first.target_size,
                cell=row_name(first), activation=first.activation, output_activation=first.output_activation, loss=loss,
                loss_parameter=parameter, mean=first.reduction == "mean", offsets=offsets, P=begin)
        self._theta = np.zeros((len(first._theta), -(-self.n // max(L, 1)) * max(L, 1)), first.dtype)
        views, begin = {}, 0
        for name, value in first.parameters.items():
            rows = self._theta[begin:begin + value.size, :self.n]
            views[name] = np.moveaxis(rows.reshape(*value.shape, self.n), -1, 0)
            begin += value.size
        self.parameters = _network._Parameters(views)

    @classmethod
    def from_networks(cls, networks: Iterable[RNN]) -> Population:
        """Return a population with copies of the parameters of these RNNs.

        The RNNs must have the same options, except for penalties and seeds.

        Raises
        ------
        TypeError
            If one of them is no RNN.
        ValueError
            If there is none, or if one has other options than the first.

        Examples
        --------
        >>> population = Population.from_networks([RNN(2, 8, 1, random_state=seed) for seed in range(3)])
        >>> population.n
        3
        """
        networks = list(networks)
        first = None
        for k, net in enumerate(networks):
            if not isinstance(net, RNN):
                raise TypeError(f"networks[{k}] must be an RNN, got {type(net).__name__}")
            first = _shape_key(net) if k == 0 else first
            if _shape_key(net) != first:
                raise ValueError(f"networks[{k}] must have the options and dt of networks[0]: got {net!r}, not "
                                 f"{networks[0]!r}")
        if not networks:
            raise ValueError("networks must hold at least one network, got none")
        return cls._of_one_shape(networks)

    @classmethod
    def _of_one_shape(cls, networks):
        """Return a population of networks that have one `_shape_key`, without the checks of `from_networks`."""
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
        """Return a copy of network k as an RNN."""
        if not -self.n <= k < self.n:
            raise IndexError(f"k must be from {-self.n} to {self.n - 1}, got {k}")
        net = self._like.copy()
        net._configure(net._config | (self._own_options[k] if self._own_options else {}), self.seeds[k])
        net._positions = self._positions[k]
        net.theta = self._theta[:, k % self.n]
        return net

    def __iter__(self) -> Iterator[RNN]:
        """Yield a copy of each network as an RNN."""
        return (self[k] for k in range(self.n))

    @property
    def theta(self) -> np.ndarray:
        """Return a copy of all parameters, (n, P)."""
        return self._theta[:, :self.n].T.copy()

    @theta.setter
    def theta(self, value: ArrayLike) -> None:
        value = _checks.array("theta", value, self._like.dtype)
        self._theta[:, :self.n] = _network._check_shape("theta", value, (self.n, len(self._theta)), "(n, P)").T

    @property
    def stream_positions(self) -> list[dict[str, int]]:
        """Return the positions of each network's random streams, a list of n dicts."""
        return [each._asdict() for each in self._positions]

    @stream_positions.setter
    def stream_positions(self, value: Mapping[str, Int] | Sequence[Mapping[str, Int]]) -> None:
        if isinstance(value, Mapping):
            self._positions = [each.changed("stream_positions", value) for each in self._positions]
            return
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"stream_positions must be a dict, or a list of {self.n} dicts, got {type(value).__name__}")
        if len(value) != self.n:
            raise ValueError(f"stream_positions must be a dict, or a list of {self.n} dicts, got a list of {len(value)}")
        self._positions = [own.changed(f"stream_positions[{k}]", each)
                           for k, (own, each) in enumerate(zip(self._positions, value))]

    def describe(self) -> str:
        """Return a sentence that says how the networks are computed, and why.

        Examples
        --------
        >>> population = Population(3, 2, 8, 1, random_state=0)
        >>> print(population.describe())  # doctest: +ELLIPSIS
        3 networks...
        """
        net, L = self._like, _population.lanes(self._like.dtype)
        if self._lanes is not None:
            return (f"{self.n} networks in groups of {L}, one a vector lane; batches of more than {most_sequences(net)} "
                    "sequences run network by network")
        if not L:
            return f"{self.n} networks, one at a time: the kernel set of this process has no lanes"
        beside = ", ".join([*(f"{name}={_checks.short(net._config[name])}" for name in _options_without_lanes(net)),
                            *([f"more than {MOST_IDS} ids"] if net.one_hot and net.input_size > MOST_IDS else [])])
        return (f"{self.n} networks, one at a time: lanes serve up to {most_hidden(net)} hidden units of one layer (here "
                f"{net.hidden_size})" + (f", and not {beside}" if beside else ""))

    def __repr__(self) -> str:
        return f"Population({self.n}, {self._like!r})"

    # ---- Outputs, errors, gradients

    def forward(self, X: ArrayLike, initial_state: ArrayLike | None = None, *, lengths: ArrayLike | None = None,
                return_states: Bool = False, n_threads: Int | None = None) -> tuple[Any, ...]:
        """Return outputs Y (n, T, B, O) and final states (n, B, H).

        With return_states=True there is a third value, that of `RNN.forward`: `.S` (n, T+1, B, H) and `.rates` (n, T, B,
        H). With several layers or two directions, the final states, `.S` and `.rates` are tuples of such arrays, one for
        each recurrence.

        Examples
        --------
        >>> population = Population(3, 2, 8, 1, random_state=0)
        >>> population.forward(np.zeros((5, 4, 2)))[0].shape
        (3, 5, 4, 1)
        """
        data = self._check(X, None, None, initial_state, lengths, targets=False)
        X, _, _, initial_state, lengths = data
        if self._lanes is None or not self._lanes_are_faster(data):
            results = [net.forward(self._own_part(k, X, 2 if net.one_hot else 3), self._own_part(k, initial_state, 2),
                                   lengths=self._own_part(k, lengths, 1), return_states=return_states, n_threads=n_threads)
                       for k, net in enumerate(self._networks())]
            Y, final_states, *states = zip(*results)
            return (np.stack(Y), stack(final_states), *(NetworkStates.stack(self._like.cell, each) for each in states))
        X, _, weights, lengths = self._for_lanes(X, None, None, lengths)
        batch = Batch(X, initial_state=initial_state, lengths=lengths)
        results = self._lanes.forward(self.n, self._theta, batch, bool(return_states), _number_of_threads(n_threads))
        if self._like.output == "last":
            results = self._at_last_steps(results[0], X, lengths), *results[1:]
        return (*results[:2], NetworkStates.of(self._like.cell, results[2], results[2][:, 1:])) if return_states else results

    def losses(self, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
               initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
               n_threads: Int | None = None) -> np.ndarray:
        """Return the loss of each network, step and sequence, (n, T, B), as `RNN.losses` does, with or without weights.

        Examples
        --------
        >>> population = Population(3, 2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 4, 2)), np.ones((5, 4, 1))
        >>> population.losses(X, D).shape
        (3, 5, 4)
        """
        data = self._check(X, D, weights, initial_state, lengths)
        X, D, weights, initial_state, lengths = data
        if self._lanes is None or not self._lanes_are_faster(data) or weights is not None and weights.shape[-1] > 1:
            return np.stack([net.losses(*self._own_data(k, X, D), weights=self._own_weights(k, weights),
                                        initial_state=self._own_part(k, initial_state, 2),
                                        lengths=self._own_part(k, lengths, 1), n_threads=n_threads)
                             for k, net in enumerate(self._networks())])
        X, D, inner, lengths = self._for_lanes(X, D, weights, lengths)
        e = self._lanes.losses(self.n, self._theta, Batch(X, D, inner, initial_state, lengths), _number_of_threads(n_threads))
        if self._like.output == "last":
            e, inner = self._at_last_steps(e, X, lengths), weights
        if weights is None:
            return e
        return np.multiply(inner[..., 0], e, out=np.zeros_like(e), where=inner[..., 0] != 0)

    def evaluate(self, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
                 initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
                 n_threads: Int | None = None) -> np.ndarray:
        """Return the reduced error of each network, float64 (n,), without penalties.

        Examples
        --------
        >>> population = Population(3, 2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 4, 2)), np.ones((5, 4, 1))
        >>> population.evaluate(X, D).shape
        (3,)
        """
        return self._losses_and_gradients(X, D, weights, initial_state, lengths, False, n_threads)[0]

    def loss_and_gradients(self, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
                           initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
                           n_threads: Int | None = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the reduced errors with penalties, float64 (n,), and a dict of gradients (n, ...) by parameter.

        The gradients are new arrays. As in `parameters`, the axis of networks is the innermost one in memory.

        Examples
        --------
        >>> population = Population(3, 2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 4, 2)), np.ones((5, 4, 1))
        >>> E, gradients = population.loss_and_gradients(X, D)
        >>> E.shape, gradients["W_s"].shape
        ((3,), (3, 8, 8))
        """
        losses, flat, in_lanes = self._losses_and_gradients(X, D, weights, initial_state, lengths, True, n_threads)
        gradients, begin = {}, 0
        for name, value in self._like.parameters.items():
            rows = flat[begin:begin + value.size]
            if value.ndim > 1:
                rows = rows.reshape(*value.shape, -1)
            gradients[name] = rows.transpose(NETWORKS_FIRST[value.ndim])[:self.n]
            begin += value.size
        if in_lanes and self._has_penalties():  # single networks have added their own
            for k, net in enumerate(self._networks()):
                penalty, more = _penalty_and_gradient(net)
                losses[k] += penalty
                for name, value in more.items():
                    gradients[name][k] += value
        return losses, gradients

    def _losses_and_gradients(self, X, D, weights, initial_state, lengths, gradient, n_threads):
        """Return losses (n,), gradients (P, N) or None unless `gradient`, and whether lanes computed them.

        Lanes add no penalties. N is n rounded up to whole groups of lanes, as in `_theta`.
        """
        if not (weights is initial_state is lengths is None and self._is_ready_for_lanes(X, D)):
            X, D, weights, initial_state, lengths = self._check(X, D, weights, initial_state, lengths)
        if self._lanes is None or not self._lanes_are_faster((X,)):
            losses, flat = np.empty(self.n), np.empty_like(self._theta) if gradient else None
            for k, net in enumerate(self._networks()):
                given = {"weights": self._own_weights(k, weights), "initial_state": self._own_part(k, initial_state, 2),
                         "lengths": self._own_part(k, lengths, 1), "n_threads": n_threads}
                if not gradient:
                    losses[k] = net.evaluate(*self._own_data(k, X, D), **given)
                    continue
                losses[k], found = net.loss_and_gradients(*self._own_data(k, X, D), **given)
                flat[:, k] = np.concatenate([value.ravel() for value in found.values()])
            return losses, flat, False
        X, D, weights, lengths = self._for_lanes(X, D, weights, lengths)
        losses, flat = self._lanes.loss_and_gradient(self.n, self._theta, Batch(X, D, weights, initial_state, lengths),
                                                     gradient, _number_of_threads(n_threads))
        return losses, flat, True

    # ---- Training

    def fit(self, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
            initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
            validation: tuple[ArrayLike | None, ...] | None = None, epochs: Int | None = None,
            min_updates: Int | None = None, batch_size: Int = 32,
            optimizer: OptimizerLike = "adam", learning_rate: ArrayLike | None = None,
            schedule: ScheduleLike | None = None, max_grad_norm: ArrayLike | None = None, patience: Int | None = None,
            min_improvement: Float = 0.0, shuffle: Shuffle = True,
            random_state: Seed | Sequence[Int] | np.ndarray = None, time_limit: Float | None = None,
            progress: Bool | None = None,
            callbacks: Callable[[int, Population], object] | Iterable[Callable[[int, Population], object]] = (),
            n_threads: Int | None = None) -> PopulationHistory:
        """Train every network on its X and D, from its current parameters, as `RNN.fit` would train it alone.

        A second call has other orders than the first, as in `RNN.fit`.

        Parameters
        ----------
        X, D, weights, initial_state, lengths : as in `RNN.fit`
            One array that all networks share. Or an array with a first axis of n, or a list of n arrays: one for each network.
        validation : (X, D[, weights[, lengths]]), optional
        learning_rate, max_grad_norm : float or array (n,), optional
        patience : int, optional
            A network stops after this many epochs without an improvement, as in `RNN.fit`, and returns to its best
            parameters. The others continue.
        epochs, min_updates, batch_size, optimizer, schedule, min_improvement, shuffle, time_limit : as in `RNN.fit`
        random_state : None, int, Generator, or sequence of n ints
            Seeds of the orders, and of noise and dropout: one for each network, or one from which each network gets its
            own, as in the constructor. By default each network's streams continue. With seeds, the run starts at the
            beginning of their streams, and `stream_positions` stay unchanged. If a network gets its own seed, its positions
            change.
        progress : bool, optional
            As in `RNN.fit`. The bar counts networks.
        callbacks : functions of (epoch, population)
            Functions to call after each epoch. If one returns True, the training of all networks ends. Without callbacks,
            compiled code runs epochs, validation and early stopping.
        n_threads : int, optional
            The number of threads that share the networks.

        Returns
        -------
        PopulationHistory
            The attribute `history` keeps it too. If the loss or gradient of a network becomes infinite or NaN, this network
            stops and nothing is raised.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C, between stretches of a twentieth of a second. Each network has its last completed update.

        Examples
        --------
        >>> population = Population(3, 2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 4, 2)), np.ones((5, 4, 1))
        >>> history = population.fit(X, D, epochs=2)
        >>> history.train_loss.shape
        (3, 2)
        """
        data = self._check(X, D, weights, initial_state, lengths, finite=True)
        if validation is not None:
            if not isinstance(validation, tuple) or not 2 <= len(validation) <= 4:
                raise TypeError("validation must be a tuple (X, D), (X, D, weights) or (X, D, weights, lengths), got "
                                f"{type(validation).__name__}")
            V = (*validation, None, None)[:4]
            validation = self._check(V[0], V[1], V[2], None, V[3], finite=True, name="validation's ")
        elif patience is not None:
            raise ValueError("patience requires validation=(X, D): it watches the validation loss")
        rates = self._check_numbers("learning_rate", learning_rate)
        optimizer = optimizers.make(optimizer, None if rates is not None else learning_rate)  # type: ignore[arg-type]
        rates = np.full(self.n, optimizer.learning_rate) if rates is None else rates
        norms = self._check_numbers("max_grad_norm", max_grad_norm)
        if norms is None:
            norms = np.full(self.n, math.inf if max_grad_norm is None else _checks.number("max_grad_norm", max_grad_norm, 0))
        schedule = schedules.make(schedule)
        schedule.factor(schedule.begin(), 0, 1)  # raises if a function returns no factor
        batch_size = _checks.size("batch_size", batch_size)
        epochs = _settings.least_epochs(None if epochs is None else _checks.size("epochs", epochs, smallest=0), min_updates,
                                       -(-data[0].shape[-1 if self._like.one_hot else -2] // batch_size))
        settings = FitSettings(
            optimizer=optimizer, rates=rates, max_norms=norms, schedule=schedule, epochs=epochs, batch_size=batch_size,
            patience=None if patience is None else _checks.size("patience", patience),
            min_improvement=_checks.number("min_improvement", min_improvement, 0, low_allowed=True),
            shuffle=_batches.check_shuffle(shuffle),
            time_limit=math.inf if time_limit is None else _checks.number("time_limit", time_limit, 0),
            callbacks=_settings.functions("callbacks", callbacks, "(epoch, population)"), threads=_number_of_threads(n_threads),
            seeds=None if random_state is None else _seeds_of_networks(self.n, random_state))
        run = Fit(self, data, validation, settings, None if progress is None else _checks.flag("progress", progress))
        try:
            self.history = run.train_networks()
        finally:
            run.progress.close()
        return self.history

    def _check_numbers(self, name, value):
        """Return the argument `name` as an array of n positive numbers, or None if `value` is not an array of numbers."""
        if value is None or np.ndim(value) == 0:
            return None
        values = _network._check_shape(name, _checks.array(name, value, np.float64), (self.n,), "(n,)")
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"{name} must be positive, got {values.min()}")
        return values

    # ---- Storage

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return a copy of `parameters`.

        Examples
        --------
        >>> population = Population(3, 2, 8, 1, random_state=0)
        >>> population.state_dict()["W_s"].shape
        (3, 8, 8)
        """
        return {name: value.copy() for name, value in self.parameters.items()}

    def copy(self) -> Population:
        """Return an independent population of the same networks, with the same positions of their random streams.

        Examples
        --------
        >>> population = Population(3, 2, 8, 1, random_state=0)
        >>> other = population.copy()
        >>> bool((other.theta == population.theta).all())
        True
        """
        return Population.from_networks(self)

    def save(self, path: FilePath) -> None:
        """Write the population to one .npz file, completely or not at all. `fastbptt.load` reads the file.

        Raises
        ------
        ValueError
            If a parameter is NaN or infinite.

        Examples
        --------
        >>> population = Population(3, 2, 8, 1, random_state=0)
        >>> population.save("population.npz")
        >>> load("population.npz").n
        3
        """
        for name, value in self.parameters.items():
            _checks.finite(name, value, "nij")
        _files.write(path, self._like._header() | {"kind": "Population", "seeds": self.seeds, "own": self._own_options,
                                                   "positions_of_each": [each._asdict() for each in self._positions]},
                     {"theta": self.theta} | _maps.split(self._like._config)[1])

    @classmethod
    def _from_file(cls, header, arrays):
        """Return the population in a file's header and arrays. Raise ValueError if they do not belong together."""
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
        """Return what a pickle holds: options, seeds, parameters, penalties and stream positions."""
        return {"like": self._like, "seeds": self.seeds, "theta": self.theta, "own": self._own_options,
                "positions": [each._asdict() for each in self._positions]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a population from the state of `__getstate__`; older pickles have no positions."""
        self.n, self.seeds, like = len(state["seeds"]), state["seeds"], state["like"]
        self._positions = [_batches.Positions.read(each) for each in state.get("positions") or [None] * self.n]
        self._configure(like, state["own"] or [{name: like._config[name] for name in OWN}] * self.n)
        self.theta = state["theta"]

    # ---- Checks and layouts


    def _networks(self):
        """Yield the networks as RNNs, one after another.

        Copying a network takes long, so each step may yield the same object. It is valid until the next step.
        """
        net = self._like.copy()
        for k in range(self.n):
            if self._own_options is not None:
                net = self[k]
            net._theta[...] = self._theta[:, k]
            yield net

    def _lanes_are_faster(self, data, batch_size=math.inf):
        """Return whether lanes are faster for a batch of the data's shape, and a group of networks fits into memory.

        `data` is a tuple with X first. `batch_size` limits the number of sequences of a batch.
        """
        net = self._like
        T, B = data[0].shape[-2:] if net.one_hot else data[0].shape[-3:-1]
        size = _population.lanes(net.dtype) * np.dtype(net.dtype).itemsize
        numbers = (T + 1) * B * (net.input_size + numbers_per_unit(net) * net.hidden_size + 2 * net.output_size)
        return min(B, batch_size) <= most_sequences(net) and numbers * size <= MOST_BYTES

    def _has_penalties(self):
        """Return whether any network has an l1 or l2 penalty."""
        return self._own_options is not None or any(self._like._engines["reference"].options[name] for name in OWN)


_network._KINDS["Population"] = Population

PopulationHistory.__module__ = __name__  # pickles refer to it by this module
