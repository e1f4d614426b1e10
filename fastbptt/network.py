"""RNN: a plain recurrent network, its parameters, its outputs, its error and the exact gradient of that."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import _core, _files, _checks, convert, diagnostics, initializers, optimizers, reference, training
from ._training import batches as _batches, checkpoint as _checkpoint, ranks as _ranks
from .backends import stack as _stack
from .backends.reference import ReferenceBackend
from .options import declaration as _options, for_backends as _for_backends, parametrizations as _maps, units as _units
from .options.checks import DTYPES, by_parameter as _by_parameter, hidden_size as _check_hidden_size  # noqa: F401
from .options.declaration import OUTPUTS, REDUCTIONS  # noqa: F401
from .options.shapes import shapes_of as _shapes_of, views_of as _views_of, widths_of as _widths_of
from .threads import policy as _threading
from ._states import NetworkStates

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from ._types import (
        Activation, Backend, Batch, Batches, Bool, Callback, Callbacks, FilePath, Float, HiddenSize, Initializer, Int,
        LeakForm, Loss, MemoryLimit, Names, Noise, OnNonfinite, OptimizerLike, Output, OutputActivation, Penalty,
        Reduction, ScheduleLike, Seed, Shuffle, Tbptt, Validation,
    )

_core.set_default_threads(_threading.default())

BACKENDS = ("core", "reference")
# Random streams; a new one goes to the end.
STREAMS = ("initialisation", "shuffling", "noise", "dropout", "validation", "batches", "generation")


class RNN:
    """A plain (Elman) recurrent network, S_t = g1(W_x X_t + W_s S_{t-1} + b_s), Y_t = g2(W_y S_t + b_y).

    Everything is time-major: inputs X (T, B, I), targets D and outputs Y (T, B, O), for T time steps, B sequences, I
    inputs, H hidden units, O outputs. Inputs are converted to the network's dtype and never modified; what a call
    returns is the caller's own.

    Parameters
    ----------
    input_size, output_size : int
        I and O.
    hidden_size : int or tuple of int
        H, or that of each layer: the states of a layer are the inputs of the next, and the output reads the highest.
    activation : str
        g1: "tanh", "relu", "sigmoid", "identity", "softplus" ln(1 + e^A), "leaky_relu", "elu" or "softsign" A / (1 + |A|).
        Where A <= 0, "leaky_relu" is 0.01 A and "elu" e^A − 1. At A = 0 the slope is that of the left: of "relu" 0.
    output_activation : str
        g2: "identity", "sigmoid", "tanh", "softmax" or "exp".
    loss : str or (str, number or numbers)
        e(Y, D), summed over outputs. With r = Y − D, which has gradient 0 where r = 0: "squared_error" r²; "absolute_error"
        |r|; "huber" or ("huber", threshold) ½ r² where |r| <= threshold, else threshold (|r| − ½ threshold), 1.0 by default;
        "quantile" or ("quantile", levels) −q r where r <= 0, else (1 − q) r, for the levels q, (0.1, 0.5, 0.9) by default.
        With L levels D is (T, B, O / L), and output l·O/L + k is level l of target k. As functions of Z:
        "binary_cross_entropy" (needs "sigmoid") ln(1 + e^Z) − D Z; "cross_entropy" (needs "softmax"; D holds integer labels
        (T, B) or distributions (T, B, O)) D (ln Σ e^Z − Z); "poisson" (needs "exp") e^Z − D Z, which leaves out ln D! and is
        infinite where e^Z is.
    reduction : "mean" or "sum"
        E = Σ m e / Σ m, or Σ m e, over all steps t and sequences b with their weights m.
    dtype : "float32" or "float64"
    initializer : str, (str, number), dict or callable
        What W_s starts from: "orthogonal", "glorot_uniform", "identity" or ("identity", scale), "normal" or ("normal",
        standard deviation), "sparse" or ("sparse", nonzeros a row), ("spectral_radius", radius); W_x and W_y are then
        Glorot-uniform, biases and S_0 zero. "torch" draws all of them from U(±1/√H). A dict gives each parameter its
        own, an array included; f(shape, rng) -> array stands wherever a name may.
    bias : bool
        Whether there are b_s (H,) and b_y (O,).
    learn_initial_state : bool
        Whether S_0 (H,), the state of every sequence that is given none, is a parameter; else it is zero.
    output : "sequence" or "last"
        Whether there is an output at each step, or one for each sequence, at its last step: outputs Y are then (B, O),
        targets D (B, O) or labels (B,), and weights and `losses` (B,), wherever this page has (T, B, ...).
    one_hot : bool
        Inputs X are ids (T, B), integers from 0 to I − 1, which stand for one-hot vectors: W_x's columns are looked up.
    bidirectional : bool
        Each layer has a second recurrence, which goes from each sequence's last step to its first, and its states are those
        of both side by side, (..., 2 H) (Schuster and Paliwal 1997). A reset parts two steps for both. output="last" reads
        the final state of both, that of the second being the one after the first step.
    l1, l2 : float or dict
        Penalties l1 Σ |w| and l2 Σ w², without ½ and not divided by anything, on W_x, W_s and W_y, or on each parameter
        that the dict names: {"W_s": 1e-4}. They belong to `loss_and_gradients` and to training, not to `evaluate`,
        `losses`, `backward` and `gradient_terms`. They fall on the effective parameters.
    rate_penalty : float
        Penalty rate_penalty · mean square of what W_s and W_y read, S (also with leak_form="rate") or g1(S) with
        leak_form="current", over all units (of all layers) and all steps that there are, those without weight included, whatever `reduction` is
        (Song, Yang and Wang 2016). It belongs where l1 and l2 do.
    omega : float
        Penalty omega · Ω, where Ω = mean of (‖∂E/∂S_t ∂S_t/∂S_{t−1}‖ / ‖∂E/∂S_t‖ − 1)² over the steps and sequences where
        there is a ∂E/∂S_t, summed over layers and directions: it keeps the gradient's norm on its way back (Pascanu,
        Mikolov and Bengio 2013, equations 9 and 10). As there, its gradient is the immediate one, by W_s with S_t and
        ∂E/∂S_t held fixed, and not that of the whole loss. It belongs where l1 and l2 do; there are no tbptt, leak and
        recurrent_dropout with it.
    connectivity : dict of arrays of 0 and 1, optional
        Which entries of a parameter are present: {"W_s": (H, H)}. The others are 0 for ever, whatever stands in their place.
    trainable : dict of bool, or arrays of bool, optional
        Which entries of a parameter training may change, {"W_x": False} or {"W_s": (H, H)}: the gradient of the others is 0,
        no optimiser moves them, and clipping does not see them.
    dale_ratio, dale_signs : float in (0, 1]; array (H,) of 1 and −1; optional, one of them
        Dale's law: all connections W_s that leave a unit have its sign. The first round(dale_ratio · H) units excite, the
        others inhibit; or each as dale_signs says. The effective W_s is |W_s| diag(signs).
    nonnegative : tuple of str
        Parameters whose effective value is their absolute one. Under Dale's law ("W_x", "W_y") makes inputs and readout
        excitatory, and connectivity={"W_y": ...} says which units are read.
    autapses : bool
        Whether a unit is connected to itself: else the diagonal of W_s is absent.
    leak : float in (0, 1], optional
        Of leaky units, whose state S_t is a running mean: S_t = (1 − leak) S_{t-1} + leak g1(A_t) in the rate form,
        (1 − leak) S_{t-1} + leak A_t in the current form, A_t being the pre-activation. 1, that is plain units, by default.
    dt, tau : float, optional, both in place of leak
        Time step and time constant, in one unit: leak = dt / tau.
    leak_form : "rate" or "current"
        Of what the state is a running mean. "rate": of rates g1(A_t); W_s and the output read the state (Yang et al. 2019,
        Nature Neuroscience 22:297). "current": of currents A_t; W_s and the output read the rate g1(S_t) (Song, Yang and
        Wang 2016, PLoS Computational Biology 12:e1004792).
        With several layers the next layer reads what the output would.
    noise_std, input_noise_std : float
        σ of the noise of states and of inputs: sqrt(2 / leak) σ ξ is added to each pre-activation, or to each input, ξ being
        standard normal and fresh at every step; in the current form the state so gets sqrt(2 leak) σ ξ. On in training, and
        elsewhere where a call is given `noise`.
    recurrent_dropout : float in [0, 1)
        With this probability what W_s reads of a unit is 0, else it is divided by one minus it, the same at all steps of a
        sequence (Gal and Ghahramani 2016). On in training, and elsewhere where a call is given `dropout`.
    random_state : None, int or numpy.random.Generator
        Seed of the network's random streams.

    Attributes
    ----------
    parameters : dict of writable views, W_x (H, I), W_s (H, H), b_s (H,), W_y (O, H), b_y (O,), S_0 (H,), as far as
        the network has them. Assigning copies: ``net.parameters["W_s"] = W``. Those of the backward direction end in
        ``_reverse``, those of layer l >= 1 in ``_l1``, ...: ``W_x_l1_reverse``. theta then has those of each recurrence
        (W_x W_s b_s S_0) together, layer by layer, forward before reverse, and W_y b_y last. They
        are what is trained, before connectivity, signs and the like: what the network computes with is
        `effective_parameters()`.
    theta : array (P,), all parameters in that order, copied out and in.
    history : training.History of the last `fit`, or None.
    unit_signs : array (H,) of 1 and −1, or None without Dale's law.
    dt : float or None, the time step that the network was created with. Only `diagnostics` uses it, for times and axes.
    stream_positions : dict of int, how much of each random stream training has used: orders of epochs ("shuffling"),
        generators given to `batches` ("batches"), and batches, steps or streams with noise or dropout ("noise"). The next
        `fit`, `train_step` or `stream` goes on from there. Copies and files have the same positions; `state_dict` has none.
        Assigning changes them: ``net.stream_positions = {"noise": 0}`` repeats the noise from the start.

    Notes
    -----
    Where there are several recurrences, by layers or directions, every state that is (B, H) on this page, given or returned,
    is a tuple of such arrays, layer by layer, forward before reverse, and so are `.S` and `.rates` of the states that `forward`
    returns. They are computed one after another by the same compiled recurrence; what lies between layers is kept. `fit` then
    runs the loop over batches in Python, which adds some 30 µs to an update, and there are no `gradient_terms`. With
    bidirectional=True there are no `step`, `generate`, `stream` and tbptt: they would need what comes later.

    References
    ----------
    Elman 1990, Cognitive Science 14:179. Werbos 1990, Proceedings of the IEEE 78:1550.
    """

    input_size: int
    hidden_size: int | tuple[int, ...]
    output_size: int
    target_size: int
    dtype: str
    output: str
    one_hot: bool
    bidirectional: bool
    parameters: dict[str, np.ndarray]
    history: training.History | None
    unit_signs: np.ndarray | None
    dt: float | None = None

    @_checks.refuses_unknown_options
    def __init__(self, input_size: Int, hidden_size: HiddenSize, output_size: Int, *, activation: Activation = "tanh",
                 output_activation: OutputActivation = "identity", loss: Loss = "squared_error",
                 reduction: Reduction = "mean", dtype: DTypeLike = "float32", initializer: Initializer = "orthogonal",
                 bias: Bool = True, learn_initial_state: Bool = False, output: Output = "sequence",
                 one_hot: Bool = False, bidirectional: Bool = False, l1: Penalty = 0.0, l2: Penalty = 0.0,
                 rate_penalty: Float = 0.0, omega: Float = 0.0, connectivity: Mapping[str, ArrayLike] | None = None,
                 trainable: Mapping[str, ArrayLike] | None = None, dale_ratio: Float | None = None,
                 dale_signs: ArrayLike | None = None, nonnegative: Names = (), autapses: Bool = True,
                 leak: Float | None = None, dt: Float | None = None, tau: Float | None = None,
                 leak_form: LeakForm = "rate", noise_std: Float = 0.0, input_noise_std: Float = 0.0,
                 recurrent_dropout: Float = 0.0, random_state: Seed = None) -> None:
        given = dict(locals())  # every argument by its name, as options/declaration.py lists them
        self._configure(_options.configuration(given), _entropy(random_state))
        self.dt = None if dt is None else float(dt)
        self.load_state_dict(initializers.draw(initializer, self.parameters, self._stream("initialisation"), self._maps))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "parameters" and name in self.__dict__:
            self.load_state_dict(value)
        elif name in self.__dict__.get("_config", ()):
            raise AttributeError(f"{name} of a network cannot be changed; make another RNN")
        else:
            super().__setattr__(name, value)

    def _configure(self, config, entropy):
        """Everything but the parameters' values, from checked options."""
        config = _options.completed(config)
        self.__dict__.update(config)
        loss, loss_parameter = _for_backends.loss_of(config)
        fused = reference.FUSED.get(loss, self.output_activation)
        if fused != self.output_activation:
            raise ValueError(f"loss={loss!r} needs output_activation={fused!r}, got {self.output_activation!r}")
        levels = len(loss_parameter) if loss == "quantile" else 1
        if self.output_size % levels:
            raise ValueError(f"output_size must be a multiple of the {levels} quantile levels, got {self.output_size}")
        self.target_size = _for_backends.target_size_of(config)
        self.history = None
        self._config, self._entropy, self._positions = config, entropy, _batches.Positions()
        I, H, O = self.input_size, self.hidden_size, self.output_size
        shapes = _shapes_of(config)
        self._widths = _widths_of(shapes)
        self._stacked = len(self._widths) > 1
        if self.input_noise_std and self.one_hot:
            raise ValueError("input_noise_std needs real inputs: ids have no noise (one_hot=True)")
        self._draws_something = any(config[name] for name in _units.DRAWN)
        self._leaky = self.leak < 1 or self.leak_form == "current"
        # Numbers a sequence and step that truncated training keeps: states, rates that they do not say, and the learnable S_0
        # of that time, which a reset brought.
        self._kept_parts = (["S"] + (["rates"] if self._leaky and self.leak_form == "rate" else [])
                            + (["S_0"] if self.learn_initial_state else []))
        self._kept_width = sum(self._widths) * len(self._kept_parts)
        size = sum(math.prod(shape) for shape in shapes.values())
        if size > 2**48:  # numbers, where a processor addresses so many bytes
            raise MemoryError(f"input_size={I}, hidden_size={H}, output_size={O} make {size} parameters")
        self._theta = _aligned(size, self.dtype)
        self.__dict__["parameters"] = _Parameters(_views_of(self._theta, shapes))
        for name in ("l1", "l2"):
            _by_parameter(name, config[name], shapes)
        if self._stacked and not (self.autapses and self.dale_ratio is None and self.dale_signs is None):
            raise ValueError("dale_ratio, dale_signs and autapses=False are of a network of one recurrence; for others name "
                             "each parameter in connectivity and nonnegative")
        if self.omega and (self._leaky or self.recurrent_dropout):
            raise ValueError(f"omega={self.omega} is of plain units, whose gradient goes back through W_s alone; got leak="
                             f"{self.leak}, leak_form={self.leak_form!r}, recurrent_dropout={self.recurrent_dropout}")
        self._maps, self.unit_signs = _maps.build(config, shapes)
        options = _for_backends.for_core(config, shapes, self._maps)
        self._held = None if options["maps"] is None else np.flatnonzero(options["maps"] & _maps.TRAINABLE == 0)
        self._engines = {
            "core": _stack.Stack(shapes, options) if self._stacked else _core.Engine(I=I, H=H, O=O, **options),
            "reference": ReferenceBackend(shapes, **_for_backends.for_reference(config, shapes, self._maps)),
        }
        self._at_once = _Unchecked() if self._stacked else self._engines["core"]

    def _stream(self, name):
        """The SeedSequence of one random stream: drawing from one never changes another."""
        return np.random.SeedSequence(self._entropy, spawn_key=(STREAMS.index(name),))

    def _draws(self, noise, dropout):
        """What a call's noise and dropout are made of, None where there is neither."""
        if not self._draws_something or noise is dropout is False:
            return None
        return self._keys(*(None if given is False else self._entropy if given is True else _entropy(given)
                            for given in (noise, dropout)))

    def _keys(self, noise, dropout):
        """Of the numbers that seed them, or None; None where the network has neither."""
        if not self._draws_something:
            return None
        return reference.Draws(*(None if entropy is None else _units.key(entropy, STREAMS.index(stream))
                                 for entropy, stream in ((noise, "noise"), (dropout, "dropout"))))

    # ---- Outputs, errors, gradients

    def forward(self, X: ArrayLike, initial_state: ArrayLike | None = None, *, lengths: ArrayLike | None = None,
                resets: ArrayLike | None = None, noise: Noise = False, dropout: Noise = False,
                return_states: Bool = False, n_threads: Int | None = None,
                backend: Backend = "core") -> tuple[Any, ...]:
        """Outputs Y (T, B, O) and the final state (B, H) for inputs X (T, B, I).

        Parameters
        ----------
        X : array (T, B, I)
        initial_state : array (B, H), optional
            By default the learnt S_0, else zero. The final state of one call is the initial state of the next.
        lengths : array (B,) of int, optional
            Here and wherever there is `lengths`: steps of each sequence, from 0 to T, in any order. What stands behind
            them is padding, which nothing reads (NaN is legal there) and no time is spent on; Y, S and gradients are 0
            there. The final state is that after the sequence's own last step; without any step it is the initial state.
        resets : array (T, B) of bool, optional
            Here and wherever there is `resets`: where one is True, the state before that step is the network's own first
            state (S_0 where it is learnt, else zero), whatever initial_state was given, and the gradient ends there.
        noise, dropout : False, or a seed: int, Generator, or True for the network's own; optional
            Here and wherever there is `noise`: whether noise_std and input_noise_std, or recurrent_dropout, act. What is drawn
            is a function of the seed, the sequence's place in the batch and the step: the same in another call with this
            seed, of True too, for any threads, lengths, memory limit and backend (in both to the bit, but for the last of
            float32).
        return_states : bool
            Return a third value: an object with `.S` (T+1, B, H), where S[0] is the initial state and S[t+1] the state after
            X[t], and `.rates` (T, B, H), g1 of the pre-activation, or of the state in the current form. Every network
            returns it in this form.
        n_threads : int, optional
            Here and in every other method: threads that divide the batch. By default what `FASTBPTT_NUM_THREADS`, else
            `OMP_NUM_THREADS` said at import; else 1 in a child process, else all cores that this process may use. The
            default is divided by the calls under way. Results have the same bits for any number. One sequence, or a
            batch of little work, is served by one thread, as is a child of fork.

        Returns
        -------
        Y : array (T, B, O), or (B, O) with output="last"
        final_state : array (B, H)
        states : NetworkStates, only with return_states=True

        Raises
        ------
        TypeError, ValueError : an argument is of the wrong kind, or of the wrong shape.
        """
        results = self._run(backend, n_threads, "forward", X, (), None, initial_state, lengths, resets, bool(return_states),
                            draws=None if noise is dropout is False else self._draws(noise, dropout))
        return (*results[:2], NetworkStates.of(*results[2:])) if return_states else results

    def step(self, x: ArrayLike, state: ArrayLike | None = None, *, out: tuple[Any, Any] | None = None,
             n_threads: Int | None = None, backend: Backend = "core") -> tuple[Any, Any]:
        """Output y (B, O) and new state (B, H) after one step with x (B, I), or ids (B,): `forward`, as the data come.

        Bits are those of `forward` over the same steps at once, whatever the batch, but for the kernel set "blas". Of a
        network with output="last" y is the output if this were the last step.

        Parameters
        ----------
        x : array (B, I), or ids (B,) with one_hot=True
        state : array (B, H), optional
            By default the learnt S_0, else zero. The new state of one call is the state of the next.
        out : tuple of arrays (y, state), (B, O) and (B, H), optional
            Where results are written, in place of fresh arrays; nothing is allocated then. C-contiguous, of the network's
            dtype. Its state may be the very array that is given as `state`; else nothing may overlap.

        Raises
        ------
        TypeError, ValueError : an argument is of the wrong kind or shape, or out is not as said; nothing is written.

        Notes
        -----
        Each call packs the weights anew, H (I + H + O) numbers, as parameters may have changed. With out= a warm step of
        (B, I, H, O) = (1, 4, 16, 1), (1, 16, 64, 4), (1, 16, 256, 4) takes 1.1, 3.1 and 28 µs, where a step of a long
        `forward` takes 0.05, 0.17 and 2.7 (float32, one thread, AMD Zen 4, 2026-11); about 1 µs is the call.
        """
        step, threads = self._engine(backend).step, 0 if n_threads is None else _threads(n_threads)
        if backend == "core":
            result = self._at_once.step(self._theta, x, state, out, threads)
            if result is not NotImplemented:
                return result
        self._refuse_reverse("step")
        x = self._check_step("x", x)
        if state is not None:
            state = self._check_state("state", state, len(x))
        if out is not None:
            self._check_out(out, x, state)
        if not self._stacked or out is None:
            return step(self._theta, x, state, out, threads)
        y, states = step(self._theta, x, state, None, threads)
        for array, result in zip((out[0], *out[1]), (y, *states)):
            array[...] = result
        return out

    def generate(self, steps: Int, *, prefix: ArrayLike | None = None, initial_state: ArrayLike | None = None,
                 temperature: Float = 1.0, random_state: Seed = None,
                 feed: Callable[[np.ndarray, np.random.Generator], ArrayLike] | None = None, return_state: Bool = False,
                 n_threads: Int | None = None, backend: Backend = "core") -> Any:
        """A closed loop: the sequence Y (steps, B, O) that goes on after the prefix, each output the next input.

        Y[0] is the output after the last step of the prefix, Y[k] that after Y[k - 1] was fed back. With one_hot=True,
        softmax and O = I ids are sampled and fed back, and the sequence is that of ids (steps, B).

        Parameters
        ----------
        steps : int, at least 1
        prefix : array (T, B, I), or ids (T, B), T >= 1
            What the network reads first. Needed: before there is an input there is no output to feed back.
        initial_state : array (B, H), optional
            The state before the prefix; as of `forward`.
        temperature : float
            Of sampled ids: they are drawn from p ∝ Y^(1 / temperature), that is softmax(Z / temperature). 0 stands for the
            most probable id.
        random_state : None, int or Generator
            Seed of the draws, and of feed's rng; by default the network's own. The same seed gives the same ids, so a call
            that is repeated without one does too; a Generator gives each call its own.
        feed : function, optional
            f(y, rng) -> x: the next input (B, I), or ids (B,), made of the output y (B, O), a copy; rng is a
            numpy.random.Generator. Y is then of outputs in any case. By default y itself, where O = I.
        return_state : bool
            Return (Y, state): the state (B, H) after steps − 1 outputs were fed back. The last one was not:
            ``generate(n, prefix=Y[-1:], initial_state=state)`` goes on from there.

        Raises
        ------
        TypeError, ValueError : an argument is of the wrong kind or shape, or there is nothing to be fed back without feed.
        FloatingPointError : an output is NaN; it names the step.
        KeyboardInterrupt : Ctrl-C.

        Notes
        -----
        A Python loop over `step`, which takes most of the time: with I = O = 1 and H = 16 it has 1.1 of 1.3 µs a step. Drawing
        ids adds about 12 µs to it, a function feed 9 and its own time (float32, B = 1, AMD Zen 4, 2026-11).
        """
        self._engine(backend)
        self._refuse_reverse("generate")
        steps, sampled = _checks.size("steps", steps), feed is None and self.one_hot
        temperature = _checks.number("temperature", temperature, 0, low_allowed=True)
        self._check_feedback(feed, temperature)
        if prefix is None:
            raise TypeError("generate needs a prefix: what is fed back is an output, and before the first input there is none")
        prefix, _, _, _ = self._check_inputs(prefix, initial_state, name="prefix")
        if len(prefix) == 0:
            raise ValueError(f"prefix must have at least one step, got shape {prefix.shape}")
        entropy = self._entropy if random_state is None else _entropy(random_state)
        rng = _batches.generator(entropy, STREAMS.index("generation"))

        read, state = self.forward(prefix, initial_state, n_threads=n_threads, backend=backend)
        B, O = read.shape[-2:]
        Y = np.empty((1 if sampled else steps, B, O), self.dtype)  # of ids none but the last are needed
        ids = np.empty((steps if sampled else 0, B), np.intp)
        Y[0] = read if self.output == "last" else read[-1]
        for k in range(steps):
            y = Y[0 if sampled else k]
            if k > 0:
                self.step(x, state, out=(y, state), n_threads=n_threads, backend=backend)
            if sampled:
                _refuse_nan(Y, k)
                x = ids[k] = reference.sample(y, temperature, rng.random(B))
            elif feed is None:
                x = y
            elif k + 1 < steps:
                _refuse_nan(Y[k:k + 1], k)
                x = self._check_step("what feed returned", feed(y.copy(), rng), B)
        if not sampled:
            _refuse_nan(Y)
        result = ids if sampled else Y
        return (result, state) if return_state else result

    def losses(self, X: ArrayLike, D: ArrayLike, *, initial_state: ArrayLike | None = None,
               weights: ArrayLike | None = None, lengths: ArrayLike | None = None, resets: ArrayLike | None = None,
               noise: Noise = False, dropout: Noise = False, n_threads: Int | None = None,
               backend: Backend = "core") -> np.ndarray:
        """Return the loss of each step and sequence, (T, B), or (B,) with output="last".

        Parameters
        ----------
        X, D, initial_state, lengths, resets : as of `loss_and_gradients`
        weights : as of `loss_and_gradients`, optional
            Without weights, the result is e(Y_tb, D_tb), summed over outputs: Σ_b of it is the source's E_t. With weights it
            is m_tb e(Y_tb, D_tb), or Σ_o m_tbo e_tbo for a weight of each output: what the step and sequence add to Σ m e.
            It is not divided by Σ m, whatever `reduction` is, and 0 where m is 0.
        """
        draws = None if noise is dropout is False else self._draws(noise, dropout)
        if weights is None:
            return self._run(backend, n_threads, "losses", X, D, None, initial_state, lengths, resets, draws=draws)
        self._engine(backend)
        checked, _, steps, _ = self._check_inputs(X, initial_state, lengths, resets)
        D, weights = self._check_targets(checked, D, weights, steps)
        is_read = weights != 0
        if steps is not None and self.output == "sequence":
            there = _is_step(*checked.shape[:2], steps)
            is_read &= there[..., None] if weights.ndim == 3 else there
        D = np.where(is_read if is_read.ndim >= D.ndim else is_read[..., None], D, D.dtype.type(0))  # else it is never read
        if weights.ndim == (1 if self.output == "last" else 2):
            e = self._run(backend, n_threads, "losses", X, D, None, initial_state, lengths, resets, draws=draws)
            return np.multiply(weights, e, out=np.zeros_like(e), where=is_read)
        Z = self._without_g2()._run(backend, n_threads, "forward", X, (), None, initial_state, lengths, resets, False,
                                    draws=draws)[0]
        options, weights, last = self._engines["reference"].options, np.where(is_read, weights, 0), self.output == "last"
        e = reference.weighted_losses(*((A[None] for A in (Z, D, weights)) if last else (Z, D, weights)), **{
            name: options[name] for name in ("output_activation", "loss", "loss_parameter")})
        return e[0] if last else e

    def evaluate(self, X: ArrayLike, D: ArrayLike, *, initial_state: ArrayLike | None = None,
                 weights: ArrayLike | None = None, lengths: ArrayLike | None = None, resets: ArrayLike | None = None,
                 noise: Noise = False, dropout: Noise = False, n_threads: Int | None = None,
                 backend: Backend = "core") -> float:
        """The reduced error E, a float: Σ m e / Σ m, or Σ m e with reduction="sum"."""
        return self._run(backend, n_threads, "evaluate", X, D, weights, initial_state, lengths, resets,
                         draws=None if noise is dropout is False else self._draws(noise, dropout))

    @_core.at_once
    def loss_and_gradients(self, X: ArrayLike, D: ArrayLike, *, initial_state: ArrayLike | None = None,
                           weights: ArrayLike | None = None, lengths: ArrayLike | None = None,
                           resets: ArrayLike | None = None, tbptt: Tbptt | None = None,
                           memory_limit: MemoryLimit | None = None, input_gradient: Bool = False,
                           initial_state_gradient: Bool = False, noise: Noise = False, dropout: Noise = False,
                           n_threads: Int | None = None,
                           backend: Backend = "core") -> tuple[float, dict[str, np.ndarray]]:
        """The reduced error E, penalties included, and its exact gradient, by back-propagation through time.

        Parameters
        ----------
        X : array (T, B, I)
        D : array (T, B, O) of targets; for cross_entropy also integer labels (T, B); for L quantiles (T, B, O / L)
        initial_state : array (B, H), optional
        weights : array (T, B), or of the shape of a real D, optional
            Non-negative weights m of the errors. Where m is 0, D is never read: NaN and label −1 are legal there. A
            weight below the least normal number of the dtype (float32: 1.2e-38) counts as 0. A weight for each output counts
            in Σ m with its mean over outputs. Steps without weight cost no output product.
        lengths, resets : as of `forward`; Σ m is over the steps that there are
        tbptt : (k1, k2), optional
            Truncated BPTT: after every k1 steps, and at the end, the errors since the last such moment go back through the
            last k2 steps; what is older is a constant (Williams and Peng 1990). The loss remains the whole one.
        memory_limit : int or "auto", optional
            Bytes that the workspace may take, or "auto" for as few as can be. Where that does not hold all states, only
            those at the ends of segments are kept, and each segment is computed again on the way back: the same bits, for
            about a third more time. A sequence of T steps then needs memory for about 2 √T of them (Chen et al. 2016). Of
            several layers all states are kept, as each is what the next reads; the limit is on the workspace beside them,
            which is that of one block.
        input_gradient, initial_state_gradient : bool
            Add "X" (T, B, I), which ids have not, and "initial_state" (B, H) to the gradients.
        noise, dropout : as of `forward`; the gradient is that of the network with this noise and these masks
        backend : "core" or "reference"

        Returns
        -------
        loss : float
        gradients : dict of fresh arrays with the names and shapes of `parameters`

        Notes
        -----
        2 T B H (H + I + O) flops forward and 2 T B H (2 H + I + 2 O) backward. The workspace holds T B' (H + O) numbers for
        each thread, whose shard of the batch has B' sequences, a block of time steps of about 256 KiB, the weights twice,
        and a gradient for each shard, 64 MiB in all at most. A NaN in X stays in the outputs of its own sequence.
        """
        return self._run(backend, n_threads, "loss_and_gradients", X, D, weights, initial_state, lengths, resets,
                         self._check_tbptt(tbptt, whole=self.omega), _check_memory_limit(memory_limit, tbptt),
                         bool(input_gradient), bool(initial_state_gradient),
                         draws=None if noise is dropout is False else self._draws(noise, dropout))

    def backward(self, X: ArrayLike, dY: ArrayLike, *, initial_state: ArrayLike | None = None,
                 lengths: ArrayLike | None = None, resets: ArrayLike | None = None, tbptt: Tbptt | None = None,
                 memory_limit: MemoryLimit | None = None, input_gradient: Bool = False,
                 initial_state_gradient: Bool = False, noise: Noise = False, dropout: Noise = False,
                 n_threads: Int | None = None, backend: Backend = "core") -> dict[str, np.ndarray]:
        """The gradients of any loss of one's own, given as dY = ∂E/∂Y (T, B, O): a dict as of `loss_and_gradients`.

        The outputs are computed again, as nothing is remembered between calls: it takes as long as
        `loss_and_gradients`.
        """
        return self._run(backend, n_threads, "backward", X, dY, None, initial_state, lengths, resets,
                         self._check_tbptt(tbptt), _check_memory_limit(memory_limit, tbptt), bool(input_gradient),
                         bool(initial_state_gradient),
                         draws=None if noise is dropout is False else self._draws(noise, dropout))

    def memory_estimate(self, T: Int, B: Int, *, lengths: ArrayLike | None = None, resets: Bool = False,
                        weights: Literal["step", "output"] | None = None, sparse: Bool = False,
                        tbptt: Tbptt | None = None, memory_limit: MemoryLimit | None = None, dropout: Bool = False,
                        n_threads: Int | None = None) -> int:
        """Return the bytes of workspace that `loss_and_gradients` of a (T, B) batch takes, beside the gradients it returns.

        Parameters
        ----------
        lengths, tbptt, memory_limit, n_threads : as of `loss_and_gradients`
        resets : bool
            Whether there will be any.
        weights : None, "step" or "output"
            Whether there will be weights (T, B), or of D's shape.
        sparse : bool
            Whether more than half of these weights will be zero; those of padding do not count. `loss_and_gradients` finds
            this by itself. It then computes outputs only for the steps that have a weight, which needs other buffers.
        dropout : bool
            Whether recurrent_dropout will act, as in `fit`.

        With a cross-entropy loss D is taken for labels. Of several layers it is the arrays that lie between them, and the
        largest workspace of one, which is what memory_limit bounds.
        """
        T, B = _checks.size("T", T, smallest=0), _checks.size("B", B, smallest=0)
        if lengths is not None:
            lengths = _checks.lengths(lengths, T, B)
        widths = {None: 0, "step": 1, "output": self.target_size}
        if weights not in widths:
            raise ValueError(f'weights must be None, "step" or "output", got {weights!r}')
        if _checks.flag("sparse", sparse) and weights is None:
            raise ValueError('sparse=True is of weights: it needs weights="step" or "output", got None')
        tbptt = self._check_tbptt(tbptt, whole=self.omega)
        return self._engines["core"].workspace(
            self._theta, T, B, lengths, _checks.flag("resets", resets), self._engines["reference"].loss == "cross_entropy",
            widths[weights], _checks.flag("sparse", sparse), tbptt, _check_memory_limit(memory_limit, tbptt),
            _threads(n_threads), _checks.flag("dropout", dropout))

    def gradient_terms(self, X: ArrayLike, D: ArrayLike, t: Int, *, initial_state: ArrayLike | None = None,
                       n_threads: Int | None = None, backend: Backend = "core") -> dict[str, np.ndarray]:
        """The gradient of E_t = Σ_b e(Y_tb, D_tb) taken apart by the step i <= t whose weights it went through.

        Parameters
        ----------
        D : as of `loss_and_gradients`; with output="last" the targets of step t
        t : int
            A Python index into Y: 0 is the first step, −1 the last.

        Returns
        -------
        dict of "W_s" (t+1, H, H) and "W_x" (t+1, H, I), the terms of the sum over i; "W_y" (O, H), which has one term;
        "S" (t+1, B, H), ∂E_t/∂S_i. Entry i belongs to X[i]. Unweighted and not divided: over all t they sum to the
        gradient of reduction="sum".

        Raises
        ------
        IndexError : t is outside −T ... T−1.
        """
        t = _checks.size("t", t, smallest=-(2**31))
        if self._stacked:
            raise ValueError(f"gradient_terms are of a network of one recurrence; this one has {len(self._widths)}")
        return self._run(backend, n_threads, "gradient_terms", X, D, None, initial_state, None, None, t)

    def gradcheck(self, X: ArrayLike | None = None, D: ArrayLike | None = None, *,
                  initial_state: ArrayLike | None = None, weights: ArrayLike | None = None, entries: Int = 100,
                  random_state: Seed = 0) -> diagnostics.GradientCheck:
        """Compare this network's gradients, reference and core, with complex-step derivatives.

        Parameters
        ----------
        X, D, initial_state, weights : as of `loss_and_gradients`; random ones of 12 steps and 3 sequences by default
        entries : int
            How many entries of each parameter are checked, drawn at random where it has more.

        Returns
        -------
        diagnostics.GradientCheck : the largest relative errors by parameter; `describe()` is a table of them.
        """
        return diagnostics.gradcheck(self, X, D, initial_state=initial_state, weights=weights, entries=entries,
                                     random_state=random_state)

    def _run(self, backend, n_threads, operation, X, D, weights, initial_state, lengths, resets, *rest, draws=None):
        """Run an operation: at once where the core finds its arguments in order, else after checks and conversions."""
        run = getattr(self._engine(backend), operation)
        threads = _threads(n_threads)
        if draws is not None:  # it comes after the threads
            rest, threads = (*rest, threads), draws
        if backend == "core" and not self._stacked:
            result = run(self._theta, X, D, weights, initial_state, lengths, resets, *rest, threads)
            if result is not NotImplemented:
                return result
        X, initial_state, lengths, resets = self._check_inputs(X, initial_state, lengths, resets)
        if operation == "backward":
            D = self._check_rows("dY", D, X, self.output_size, "O")
        elif operation != "forward":
            D, weights = self._check_targets(X, D, weights, lengths)
        if operation in ("loss_and_gradients", "backward") and rest[2] and self.one_hot:
            raise ValueError("input_gradient=True: ids have no gradient (one_hot=True)")
        if operation == "gradient_terms":
            t, T = rest[0], X.shape[0]
            if not -T <= t < T:
                raise IndexError(f"t={t} is out of range for {T} time steps")
            rest = (t % T,)
        return run(self._theta, X, D, weights, initial_state, lengths, resets, *rest, threads)

    def _loss_into(self, gradient, X, D, weights, initial_state, lengths, resets, threads, backend, memory_limit=0,
                   draws=None):
        """Data loss and penalty, their gradient written into `gradient` (P,): for arguments that are checked already.

        NotImplemented where the core finds them not in order.
        """
        return self._engines[backend].loss_into(self._theta, X, D, weights, initial_state, lengths, resets, gradient,
                                                memory_limit, threads, draws)

    def _window_into(self, gradient, X, D, weights, initial_state, lengths, resets, past, own_start, k2, S, threads, backend,
                     draws=None):
        """`_loss_into` for the last window of truncated BPTT, and its Σ m: see `window_into` of the core."""
        window_into, width = self._engines[backend].window_into, sum(self._widths)
        if self._kept_width == width:
            return window_into(self._theta, X, D, weights, initial_state, lengths, resets, past, own_start, k2, gradient, S,
                               threads, draws=draws)
        if initial_state is not None:
            initial_state = np.ascontiguousarray(initial_state[:, :width])
        n, parts = len(past), self._kept_parts
        kept = {name: np.ascontiguousarray(past[..., i * width:(i + 1) * width] if n else past[..., :width])
                for i, name in enumerate(parts)}  # a given initial state has states alone
        new = {"S": np.empty((*S.shape[:2], width), self.dtype), "rates": None}
        if "rates" in parts:
            new["rates"] = np.empty((*X.shape[:2], width), self.dtype)
        past_S_0 = np.ascontiguousarray(kept["S_0"][:, 0]) if n and "S_0" in parts and X.shape[1] else None
        found = window_into(self._theta, X, D, weights, initial_state, lengths, resets, kept["S"], own_start, k2, gradient,
                            new["S"], threads, kept.get("rates"), new["rates"], draws, past_S_0)
        S[...] = 0
        S[..., :width] = new["S"]
        if "rates" in parts:
            S[1:, :, width:2 * width] = new["rates"]
        if "S_0" in parts:
            S[1:n + 1, :, -width:] = kept["S_0"]
            S[n + 1:, :, -width:] = np.concatenate([value for name, value in self._named(self._theta).items()
                                                    if name.startswith("S_0")])  # `_summing` has no parameters of its own
        return found

    def _summing(self):
        """A network of these very parameters whose error is the plain sum, without penalties: a share of a larger batch's."""
        network = RNN.__new__(RNN)
        network._configure(self._config | {"reduction": "sum", "l1": 0.0, "l2": 0.0}, self._entropy)
        network._theta = self._theta
        return network

    def _without_g2(self):
        """A network of these very parameters whose outputs are Z, before g2."""
        network = RNN.__new__(RNN)
        network._configure(self._config | {"output_activation": "identity", "loss": "squared_error"}, self._entropy)
        network._theta = self._theta
        return network

    def _total_weight(self, X, D, weights, initial_state, lengths, resets):
        """Σ m, for arguments that are checked already."""
        return self._engines["core"].total_weight(self._theta, X, D, weights, initial_state, lengths, resets)

    def _engine(self, backend):
        try:
            return self._engines[backend]
        except (KeyError, TypeError):
            _checks.choose("backend", backend, BACKENDS)
            raise

    # ---- Checks

    def _check_inputs(self, X, initial_state, lengths=None, resets=None, name="X"):
        X = self._check_vectors_or_ids(name, X, "T, B")
        T, B = X.shape[:2]
        if initial_state is not None:
            initial_state = self._check_state("initial_state", initial_state, B, X)
        if lengths is not None:
            if np.ndim(lengths) == 1 and len(lengths) != B:
                _check_shape("lengths", _checks.array("lengths", lengths, np.intp), (B,), "(B,)", X)
            lengths = _checks.lengths(lengths, T, B)
        if self.output == "last":
            steps = np.full(B, T) if lengths is None else lengths
            if not steps.all():
                raise ValueError(f'sequence {steps.argmin()} has no steps, and with output="last" each needs one')
        if resets is not None:
            resets = _check_shape("resets", _checks.flags("resets", resets), (T, B), "(T, B)", X)
        if self.one_hot:
            self._check_range(name, X, _is_step(T, B, lengths), "tb")
        return X, initial_state, lengths, resets

    def _check_state(self, name, state, B, X=None):
        """A state (B, H) as the engines take it: of several recurrences one array, (B, H of all together).

        X is what B was read from, if it was a whole X.
        """
        if not self._stacked:
            return _check_shape(name, _checks.array(name, state, self.dtype), (B, self.hidden_size), "(B, H)", X)
        if not isinstance(state, (tuple, list)) or len(state) != len(self._widths):
            what = f"{len(state)} of them" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"{name} must be a tuple of {len(self._widths)} arrays (B, H), one for each recurrence, layer by "
                            f"layer{', forward before reverse' if self.bidirectional else ''}; got {what}")
        return np.concatenate([_check_shape(f"{name}[{n}]", _checks.array(f"{name}[{n}]", part, self.dtype), (B, H), "(B, H)", X)
                               for n, (part, H) in enumerate(zip(state, self._widths))], axis=1)

    def _as_given(self, states):
        """States as the engines take them as the caller has them."""
        if states is not None and states.shape[-1] > sum(self._widths):  # kept with rates
            states = np.ascontiguousarray(states[..., :sum(self._widths)])
        return _stack.split(states, self._widths) if self._stacked else states

    def _check_tbptt(self, tbptt, whole=False):
        """`whole`: whether the loss needs the whole gradient."""
        if tbptt is not None:
            self._refuse_reverse("truncated BPTT")
            if whole:
                raise ValueError(f"tbptt={tbptt} leaves omega={self.omega} without a meaning: there is a ∂E/∂S_t of each "
                                 "window, and Ω is of the whole one")
        return _check_tbptt(tbptt)

    def _refuse_reverse(self, what):
        if self.bidirectional:
            raise ValueError(f"{what} needs a network in one direction: with bidirectional=True each output hangs on all that "
                             "comes later")

    def _check_vectors_or_ids(self, name, X, axes):
        """X (*axes, I), or ids X (*axes) of the network's; axes are "T, B", or "B" of one step."""
        dtype, letters = (np.intp, axes) if self.one_hot else (self.dtype, f"{axes}, I")
        X, ndim = _checks.array(name, X, dtype), len(letters.split(","))
        letters = f"({letters},)" if ndim == 1 else f"({letters})"
        if X.ndim != ndim and self.one_hot:
            raise ValueError(f"{name} must be ids, {ndim}-D {letters}, as the network has one_hot=True; got {X.ndim}-D with "
                             f"shape {X.shape}")
        if X.ndim != ndim:
            hint = "" if ndim != 3 else ": time-major, as sequences.to_time_major makes it of sequences (T, I)"
            raise ValueError(f"{name} must be {ndim}-D {letters}, got {X.ndim}-D with shape {X.shape}{hint}")
        if not self.one_hot and X.shape[-1] != self.input_size:
            raise ValueError(f"{name} has {X.shape[-1]} features, but this network expects input_size={self.input_size}; "
                             f"shape {X.shape} was read as {letters}")
        return X

    def _check_range(self, name, ids, is_read, axes):
        bad = ((ids < 0) | (ids >= self.input_size)) & is_read
        if bad.any():
            place, words = _checks.first(bad, axes)
            raise ValueError(f"{name} has id {ids[place]} at {words}, but this network's ids are 0 to {self.input_size - 1} "
                             f"(input_size={self.input_size})")

    def _check_step(self, name, x, B=None):
        """Inputs (B, I), or ids (B,), of one step, and of so many sequences where B is given."""
        x = self._check_vectors_or_ids(name, x, "B")
        if B is not None and len(x) != B:
            raise ValueError(f"{name} has {len(x)} sequences, but the prefix has {B}; shape {x.shape}")
        if self.one_hot:
            self._check_range(name, x, True, "b")
        return x

    def _check_feedback(self, feed, temperature):
        """Raise where there is nothing to be fed back, or `temperature` has nothing to act upon."""
        if feed is not None and not callable(feed):
            raise TypeError(f"feed must be a function f(y, rng) -> x, got {type(feed).__name__}")
        if temperature != 1 and (feed is not None or not self.one_hot):
            raise TypeError(f"temperature={temperature} belongs to ids that are sampled, those of one_hot=True without feed")
        if feed is not None:
            return
        if self.target_size != self.output_size:
            raise ValueError(f"the outputs are {self.output_size // self.target_size} quantile levels each of "
                             f"{self.target_size} targets: give feed, which says what of them is fed back")
        if self.output_size != self.input_size:
            raise ValueError(f"output_size={self.output_size} outputs are no input of input_size={self.input_size}: give feed")
        if self.one_hot and self.output_activation != "softmax":
            raise ValueError("ids are sampled where output_activation='softmax', and this network has "
                             f"{self.output_activation!r}: give feed")

    def _check_out(self, out, x, state):
        """Raise where out is not (y, state) as `step` may write into them; x and state are those that it reads."""
        if not isinstance(out, tuple) or len(out) != 2:
            words = f"{len(out)} of them" if isinstance(out, tuple) else type(out).__name__
            raise TypeError(f"out must be a tuple of two arrays, (y, state), got {words}")
        y, new = out
        if self._stacked and (not isinstance(new, tuple) or len(new) != len(self._widths)):
            raise TypeError(f"out's state must be a tuple of {len(self._widths)} arrays, one for each recurrence, got "
                            f"{type(new).__name__}")
        states = {f"out's state[{n}]": array for n, array in enumerate(new)} if self._stacked else {"out's state": new}
        for name, array, width, letters in (("out's y", y, self.output_size, "(B, O)"),
                                            *((*named, H, "(B, H)") for named, H in zip(states.items(), self._widths))):
            if type(array) is not np.ndarray:
                raise TypeError(f"{name} must be a NumPy array to write into, got {type(array).__name__}")
            if array.dtype != self.dtype:
                raise TypeError(f"{name} must have the network's dtype, {self.dtype}, got {array.dtype}")
            _check_shape(name, array, (len(x), width), letters)
            if not array.flags.carray:
                raise ValueError(f"{name} must be C-contiguous, aligned and writable, got strides {array.strides}, "
                                 f"writable={array.flags.writeable}")
        if self._stacked:  # what is read is a copy of the caller's state, so that writing in place harms nothing
            arrays = {"out's y": y, **states}
            pairs = [(name, array, {**{other: arrays[other] for other in arrays if other > name}, "x": x,
                                    "the parameters": self._theta}) for name, array in arrays.items()]
        else:
            in_place = state is not None and new.ctypes.data == state.ctypes.data
            pairs = (("out's y", y, {"out's state": new, "x": x, "state": state, "the parameters": self._theta}),
                     ("out's state", new, {"x": x, "state, and is not that very array": None if in_place else state,
                                           "the parameters": self._theta}))
        for name, array, others in pairs:
            for words, other in others.items():
                if other is not None and np.may_share_memory(array, other):
                    raise ValueError(f"{name} overlaps {words}")

    def _check_rows(self, name, value, X, width, letter):
        """`value` as numbers (T, B, width), or (B, width) where outputs are those of the last steps."""
        shape, letters = ((X.shape[1], width), f"(B, {letter})") if self.output == "last" else (
            (*X.shape[:2], width), f"(T, B, {letter})")
        return _check_shape(name, _checks.array(name, value, self.dtype), shape, letters, X)

    def _check_targets(self, X, D, weights, lengths=None):
        last = self.output == "last"
        shape = X.shape[1:2] if last else X.shape[:2]
        steps, axes = "(B,)" if last else "(T, B)", "b" if last else "tb"
        is_step = None if last or lengths is None else _is_step(*shape, lengths)
        labels = self._engines["reference"].loss == "cross_entropy" and np.ndim(D) == len(shape)
        if labels:
            D = _check_shape("D", _checks.array("D", D, np.intp), shape, steps, X)
        else:
            D = self._check_rows("D", D, X, self.target_size, "O" if self.target_size == self.output_size else "O / levels")
        if weights is not None:
            weights = _checks.array("weights", weights, self.dtype)
            per_output = weights.ndim == len(shape) + 1 and self._engines["reference"].loss != "cross_entropy"
            _check_shape("weights", weights, (*shape, self.target_size) if per_output else shape,
                         "of D" if per_output else steps, X)
            read = weights if is_step is None else np.where(is_step[..., None] if per_output else is_step, weights, 0)
            _checks.finite("weights", read, axes + "o")
            if (read < 0).any():
                place, words = _checks.first(read < 0, axes + "o")
                raise ValueError(f"weights must not be negative, got {weights[place]} at {words}")
            with np.errstate(over="ignore"):
                if not np.isfinite(read.sum(dtype=np.float64)):
                    raise ValueError("weights must have a finite sum, got infinity")
        if labels:
            bad = (D < 0) | (D >= self.output_size)
            if weights is not None:
                bad &= read > 0
            if is_step is not None:
                bad &= is_step
            if bad.any():
                place, words = _checks.first(bad, axes)
                raise ValueError(f"D has label {D[place]} at {words}, but this network's labels are 0 to "
                                 f"{self.output_size - 1} (output_size={self.output_size})")
        return D, weights

    # ---- Training

    def fit(self, X: ArrayLike | None = None, D: ArrayLike | None = None, *, weights: ArrayLike | None = None,
            initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None, resets: ArrayLike | None = None,
            batches: Batches | None = None, validation: Validation | None = None, epochs: Int | None = None,
            updates: Int | None = None, min_updates: Int | None = None, updates_per_epoch: Int = 100, batch_size: Int = 32,
            optimizer: OptimizerLike = "adam", learning_rate: Float | None = None, schedule: ScheduleLike | None = None,
            max_grad_norm: Float | None = None, tbptt: Tbptt | None = None, patience: Int | None = None,
            min_improvement: Float = 0.0, shuffle: Shuffle = True, random_state: Seed = None, validation_every: Int = 1,
            time_limit: Float | None = None, on_nonfinite: OnNonfinite = "raise", checkpoint: FilePath | None = None,
            checkpoint_every: Float = 60, resume: Bool = False, overwrite: Bool = False, progress: Bool | None = None,
            callbacks: Callbacks = (), update_callbacks: Callbacks = (), memory_limit: MemoryLimit | None = None,
            n_threads: Int | None = None, backend: Backend = "core", communicator: Any = None) -> training.History:
        """Train on X, D, or on fresh batches, from the parameters as they are, with a new optimiser.

        Parameters
        ----------
        X, D, weights, initial_state, lengths, resets : as of `loss_and_gradients`; NaN and infinity are refused, but in
            padding and in D at weight 0
            Mini-batches are whole sequences of them. A 3-D X is always read as (T, B, I), time-major; `sequences.to_time_major`
            converts the samples-first layout of `batch_first=True` and of the estimators, which shapes alone do not betray.
        batches : function or iterator, in place of X and D
            f(batch_size, rng) -> X, D[, weights[, lengths[, resets]]] with X (T, B, I); an iterator gives the same. weights
            and lengths may be None; T and B may change. A function that returns another B than batch_size gets one warning.
        validation : (X, D[, weights[, lengths[, resets]]]) or float, optional
            Evaluated after each epoch. A number is the share of the sequences of X, D that is split off at random.
        epochs, updates : int, optional
            The run ends after so many epochs or updates, whichever comes first; 100 epochs by default.
        min_updates : int, optional
            Raises the number of epochs until at least so many updates are made, as few sequences make few updates an epoch.
        updates_per_epoch : int
            What an epoch is where batches are fresh: after it history, validation, schedule and callbacks have their turn.
        batch_size : int
            The last batch of an epoch may be smaller.
        optimizer : str or optimizers.Optimizer
            "adam", "sgd", "rmsprop", "adagrad", "adamw", or an object with numbers, or a rule, of its own.
        learning_rate : float, optional
            Of an optimiser given by name; 1e-3 by default.
        schedule : str, schedules.Schedule or function, optional
            Factor of the learning rate by epoch: "constant", "step", "exponential", "cosine", "invscaling", "plateau", an
            object with numbers of its own, or f(epoch) -> factor.
        max_grad_norm : float, optional
            The gradient is scaled down to this Euclidean norm where it exceeds it (Pascanu et al. 2013).
        tbptt : (k1, k2), optional
            Truncated BPTT: an update after every k1 steps of a mini-batch, and at its end, by the errors since the last
            one, which go back through the last k2 steps; the states are carried on. An epoch has as many times more
            updates. What goes back meets the states as they were computed, by the parameters of their time (a reset's S_0,
            too), with the present parameters (Williams and Peng 1990). A window in which no step has a weight makes no update.
        patience : int, optional
            Stop after this many epochs without an improvement: a validation loss that is lower by more than
            `min_improvement` than that of the last improvement. At the end, return to the parameters of the lowest
            validation loss, also if it was lower by less.
        min_improvement : float
            See `patience`, which it needs to have an effect. In the unit of the validation loss.
        shuffle : bool or "spread"
            Draw the sequences of an epoch in random order. "spread" does so within each of `batch_size` runs of consecutive
            sequences, and gives every batch one of each run: where sequences are sorted, by length or label, each batch has
            some of all; and each rank of a communicator has its part of every batch.
        random_state : None, int or Generator
            Seed of the order, of the split, of `batches`, and of noise and dropout, which act in updates and not in validation.
            By default the network's own streams go on after the last completed update of `fit`, `train_step` or `stream`: a
            second `fit` has new orders, batches and noise, and the same split. With a seed the run starts at the beginning
            of this seed's streams, and the network's own stay where they are, unless it is the network's own seed: then
            they move behind this run.
        validation_every : int
            Evaluate the validation set every so many epochs, and after the last.
        time_limit : float, optional
            Seconds after which the run ends, at the next whole update.
        on_nonfinite : "raise" or "skip"
            What happens where loss or gradient is infinite or NaN: FloatingPointError, or the next batch.
        checkpoint : path, optional
            Keep the run in this file: every `checkpoint_every` seconds, at its end, and when it is interrupted or fails.
            `fastbptt.load` reads it as the network of that moment. A file that is there already is replaced only if it is
            a checkpoint of this same run, from its start parameters, seed and `stream_positions`, and not of a longer one.
        resume : bool
            Go on from the checkpoint, where there is one: to the bit the run that was never interrupted, from the
            positions of the random streams at which it began. The other arguments must be the same, except those that say
            when the run ends and what is shown. The seed, the start parameters and `stream_positions` must be the same too;
            the network may also have the parameters of the checkpoint, and its streams may stand at 0, as in another process.
            A network that got its start parameters back after the run came to its end is refused: its next run is another
            one. A network whose random_state was not given begins with other parameters each time: it may go on with a run that was cut
            off, but not with one that came to its end. A run that is finished returns the finished network, and goes on
            if `epochs` or `updates` are larger than before. If a callback ended the run, the callbacks are called again for
            that moment, and the run goes on only if none of them returns True. With a larger number of epochs, a schedule
            over all epochs, such as "cosine", is that of the new number. Functions given as `batches` and callbacks cannot be compared: a run with others is taken for
            the same run, and a finished one returns its network without calling the new `batches`.
        overwrite : bool
            Replace whatever file `checkpoint` is, without a check.
        progress : bool, optional
            Report to standard error, by a bar where tqdm is installed; by default only on a terminal, if it takes long.
        memory_limit : as of `loss_and_gradients`, for each batch
        n_threads : as of `forward`
        callbacks, update_callbacks : functions of a training.Record (epoch, update, losses, gradient_norm, network)
            Called after each epoch, or each update; one that returns True ends the training. Where they are interrupted,
            or one raises, all of that moment are called again by the run that goes on from the checkpoint.
        backend : "core" or "reference"
        communicator : MPI communicator, such as ``mpi4py.MPI.COMM_WORLD``, optional
            Train one network on the data of several processes, which all call `fit` with the same arguments but for the
            data: X, D, validation and what goes with them are each rank's own part, of any number of sequences. The run is
            that of one process on the parts one after another, in the order of ranks, within rounding: `batch_size`,
            `shuffle`, a share as validation, Σ m and the losses are those of all. Parameters, at the beginning too, and the
            seed and `stream_positions` are those of rank 0, to the bit on all ranks, and so is the History. `batches` are
            asked for a share of batch_size, with an rng of each rank's own, ``rng.spawn(ranks)[rank]`` of the one process's.
            Callbacks are each rank's; one that returns True ends the run of all, and parameters that callbacks change become
            those of rank 0. Rank 0 alone reads and writes the checkpoint; of arrays it can be resumed by another number of ranks. Ctrl-C and
            exceptions end the run on all ranks; see docs/scaling.md.

        Returns
        -------
        training.History, also kept as the attribute `history`.

        Raises
        ------
        FloatingPointError : loss or gradient became infinite or NaN; it names epoch, batch, first bad time step and
            parameter, and the parameters are those before that update.
        KeyboardInterrupt : Ctrl-C; the parameters are those of the last whole update, `history.stopped` is
            "interrupted".
        ValueError : with resume=True the file is no checkpoint, or one of another network or run.
        FileExistsError : without `resume` and `overwrite` the file is anything but an earlier checkpoint of this run.
        RuntimeError : another rank of the communicator failed; it says which, and with which words.
        """
        self._engine(backend)
        with _ranks.over(communicator) as ranks:
            with ranks.settled():
                if (X is None and D is None) == (batches is None):
                    raise TypeError("give X and D, or batches" + ("" if batches is None else ", not both"))
                if random_state is None:
                    streams = self._entropy, self._positions
                else:
                    streams = _entropy(random_state), _batches.Positions()
                wanted = streams
                if ranks.rank == 0 and resume is True and checkpoint is not None:
                    streams = _checkpoint.streams(_checkpoint.path(checkpoint), *streams)
                share = validation if _is_share(validation) else None
                if batches is None:
                    data = self._check_data(X, D, weights, initial_state, lengths, resets)
                    if tbptt is not None and self.output == "last":
                        raise ValueError('tbptt of fit needs output="sequence": most windows have no last step, and so no '
                                         'error')
                else:
                    if any(given is not None for given in (weights, initial_state, lengths, resets)):
                        raise TypeError("weights, initial_state, lengths and resets belong to X and D; batches give their "
                                        "own")
                    if share is not None:
                        raise TypeError(f"validation={share!r} is a share of X and D, and batches have none: give (X, D)")
                    if tbptt is not None:
                        raise TypeError("tbptt belongs to X and D: batches of windows have no state to carry on; see `stream`")
                    data = None
                if share is None:
                    validation = self._check_validation(validation)
                settings = training.settings(
                    validation, optimizer=optimizer, learning_rate=learning_rate, schedule=schedule, epochs=epochs,
                    updates=updates, max_grad_norm=max_grad_norm, patience=patience, min_improvement=min_improvement,
                    validation_every=validation_every, time_limit=time_limit, on_nonfinite=on_nonfinite,
                    checkpoint=ranks.path(checkpoint), checkpoint_every=checkpoint_every, resume=resume,
                    overwrite=overwrite, seed=wanted[0], begin=wanted[1], progress=progress,
                    callbacks=callbacks, update_callbacks=update_callbacks, threads=_threads(n_threads), backend=backend,
                    memory_limit=_check_memory_limit(memory_limit, tbptt))
                tbptt = self._check_tbptt(tbptt, whole=self.omega)
            entropy, begin = ranks.meet(self, settings, streams, data, validation, batch_size=batch_size, shuffle=shuffle,
                                        tbptt=tbptt, updates_per_epoch=None if batches is None else updates_per_epoch,
                                        min_updates=min_updates)
            with ranks.settled():
                if batches is None:
                    first, total = ranks.place(data[0].shape[1])  # type: ignore[index]  # no batches, so there are data
                    if share is not None:
                        data, validation, first, total = self._split(data, share, first, total, entropy)
                    source = _batches.Arrays(data, self.output, batch_size, shuffle, entropy, STREAMS.index("shuffling"),
                                             first, total, begin)
                    if tbptt is not None:
                        source = _batches.Windows(source, *tbptt)
                else:
                    source = _batches.Function(batches, self._check_batch, batch_size, updates_per_epoch, entropy,
                                               STREAMS.index("batches"), ranks.rank, ranks.size, begin)
                settings = training.with_least_updates(settings, min_updates, source.updates_per_epoch)
            return ranks.fit(self, source, validation, settings, entropy)

    def train_step(self, X: ArrayLike, D: ArrayLike, optimizer: OptimizerLike = "adam", *,
                   learning_rate: Float | None = None, weights: ArrayLike | None = None,
                   initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
                   resets: ArrayLike | None = None, max_grad_norm: Float | None = None, n_threads: Int | None = None,
                   backend: Backend = "core") -> float:
        """One update by the gradient of this batch, for loops of one's own; the data loss before it.

        What the optimiser carries from step to step stays with the network, until an optimiser of another kind comes. Noise
        and dropout are new in each step.

        Parameters
        ----------
        X, D, weights, initial_state, lengths, resets : as of `loss_and_gradients`
        optimizer, learning_rate, max_grad_norm, n_threads : as of `fit`

        Raises
        ------
        FloatingPointError : loss, gradient or update are infinite or NaN; the parameters are those before the step.
        """
        self._engine(backend)
        optimizer = optimizers.make(optimizer, learning_rate)
        limit = math.inf if max_grad_norm is None else _checks.number("max_grad_norm", max_grad_norm, 0)
        X, *others = self._check_inputs(X, initial_state, lengths, resets)
        data = (X, *self._check_targets(X, D, weights, lengths), *others)
        stepper = self.__dict__.get("_stepper")
        if stepper is None or stepper.kind is not type(optimizer):
            stepper = self._stepper = training.Stepper(self, optimizer)
        return stepper.step(self, optimizer, data, limit, _threads(n_threads), backend)

    def stream(self, X: ArrayLike | Iterable[Batch], D: ArrayLike | None = None, *, tbptt: Tbptt,
               weights: ArrayLike | None = None, resets: ArrayLike | None = None,
               initial_state: ArrayLike | None = None, optimizer: OptimizerLike = "adam",
               learning_rate: Float | None = None, max_grad_norm: Float | None = None, callback: Callback | None = None,
               progress: Bool | None = None, n_threads: Int | None = None, backend: Backend = "core") -> Any:
        """Train on one pass over a series, or several at once, that may be far larger than memory, by truncated BPTT.

        Parameters
        ----------
        X, D, weights, resets : as of `loss_and_gradients`; memory maps are read a piece at a time
            Or X alone: an iterable of chunks (X, D[, weights[, resets]]) of any lengths T and one B, None where absent.
        tbptt : (k1, k2)
            An update after every k1 steps, and at the end, by the errors since the last one, which go back through the last
            k2 steps. States are carried on, also from chunk to chunk: how a series is cut into chunks changes no bit.
        initial_state : array (B, H), optional
        optimizer, learning_rate, max_grad_norm, progress, n_threads, backend : as of `fit`
            Noise and dropout differ from those of the last call.
        callback : function of a training.Record, called after each update; one that returns True ends the stream

        Returns
        -------
        training.StreamHistory : the losses of all updates, and the final state; also kept as the attribute `history`.

        Raises
        ------
        FloatingPointError, KeyboardInterrupt : the parameters are those of the last whole update.
        """
        self._engine(backend)
        self._refuse_reverse("stream")
        tbptt = self._check_tbptt(tbptt, whole=self.omega)
        if tbptt is None:
            raise TypeError("stream needs tbptt=(k1, k2)")
        if self.output == "last":
            raise ValueError('stream needs output="sequence": a stream has no last step')
        optimizer = optimizers.make(optimizer, learning_rate)
        limit = math.inf if max_grad_norm is None else _checks.number("max_grad_norm", max_grad_norm, 0)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be a function of a record, got {type(callback).__name__}")
        progress, windows = None if progress is None else _checks.flag("progress", progress), None
        if D is not None:
            chunks, windows = _batches.cut(X, D, weights, resets, tbptt[0]), -(-len(X) // tbptt[0]) if np.ndim(X) else None
        elif weights is not None or resets is not None:
            raise TypeError("weights and resets belong to X and D; chunks give their own")
        else:
            chunks = X
        if initial_state is not None and self._stacked:
            B = next((len(part) for part in initial_state if np.ndim(part) > 0), 0) if isinstance(initial_state, tuple) else 0
            initial_state = self._check_state("initial_state", initial_state, B)
        elif initial_state is not None:
            initial_state = _checks.array("initial_state", initial_state, self.dtype)
            if initial_state.ndim != 2 or initial_state.shape[1] != self.hidden_size:
                raise ValueError(f"initial_state must have shape (B, H) = (B, {self.hidden_size}), got {initial_state.shape}")
        if initial_state is not None:
            _checks.finite("initial_state", initial_state, "bh")
        chunks = self._checked_chunks(chunks, initial_state)
        return training.stream(self, chunks, *tbptt, initial_state, optimizer, limit, callback, _threads(n_threads), backend,
                               progress, windows)

    def _checked_chunks(self, chunks, initial_state):
        B = None if initial_state is None else len(initial_state)
        for n, chunk in enumerate(chunks):
            if not isinstance(chunk, (tuple, list)) or not 2 <= len(chunk) <= 4:
                raise TypeError(f"chunk {n} must be (X, D[, weights[, resets]]), got {type(chunk).__name__}")
            X, D, weights, resets = (*chunk, None, None)[:4]
            try:
                X, D, weights, _, _, resets = self._check_batch(X, D, weights, None, resets)
                _batches.refuse_nonfinite("", X, D, weights)
                if B is not None and X.shape[1] != B:
                    raise ValueError(f"X has {X.shape[1]} sequences, where the stream has {B}")
            except (TypeError, ValueError) as error:
                raise type(error)(f"chunk {n}: {error}") from None
            B = X.shape[1]
            yield X, D, weights, resets

    def _check_data(self, X, D, weights, initial_state, lengths, resets):
        X, initial_state, lengths, resets = self._check_inputs(X, initial_state, lengths, resets)
        return X, *self._check_targets(X, D, weights, lengths), initial_state, lengths, resets

    def _training_data(self, X, D, weights, initial_state, lengths, resets, validation, entropy):
        """Checked data and validation set; the latter split off where it is a share."""
        data = self._check_data(X, D, weights, initial_state, lengths, resets)
        if not _is_share(validation):
            return data, self._check_validation(validation)
        return self._split(data, validation, 0, data[0].shape[1], entropy)[:2]

    def _split(self, data, share, first, total, entropy):
        """Data, validation set, and the place of the former, where the latter is a share of `total` sequences.

        `data` are the sequences of it from number `first` on.
        """
        share, B = _checks.number("validation", share, 0, 1), data[0].shape[1]
        if data[3] is not None:
            raise TypeError("a share as validation cannot be judged from an initial_state: give validation=(X, D)")
        count = round(share * total)
        if not 0 < count < total:
            raise ValueError(f"validation={share} of {total} sequences leaves {total - count} to train and {count} to judge "
                             "by")
        order = _batches.generator(entropy, STREAMS.index("validation")).permutation(total)
        is_held = np.zeros(total, bool)
        is_held[order[:count]] = True
        place = int(np.count_nonzero(~is_held[:first])), total - count
        is_held = is_held[first:first + B]
        data, (X, D, weights, _, lengths, resets) = (_batches.take(data, np.flatnonzero(rows), self.output)
                                                     for rows in (~is_held, is_held))
        return data, (X, D, weights, lengths, resets), *place

    def _check_validation(self, validation):
        if validation is None:
            return None
        if not isinstance(validation, tuple) or not 2 <= len(validation) <= 5:
            raise TypeError("validation must be a tuple (X, D), (X, D, weights), (X, D, weights, lengths) or (X, D, weights, "
                            f"lengths, resets), or a share of X and D, got {type(validation).__name__}")
        try:
            X, D, weights, _, lengths, resets = self._check_batch(*validation)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation's {error}") from None
        return X, D, weights, lengths, resets

    def _check_batch(self, X, D, weights=None, lengths=None, resets=None):
        X, _, lengths, resets = self._check_inputs(X, None, lengths, resets)
        return X, *self._check_targets(X, D, weights, lengths), None, lengths, resets

    def objective(self, X: ArrayLike, D: ArrayLike, *, initial_state: ArrayLike | None = None,
                  weights: ArrayLike | None = None, lengths: ArrayLike | None = None, resets: ArrayLike | None = None,
                  n_threads: Int | None = None,
                  backend: Backend = "core") -> Callable[[ArrayLike], tuple[float, np.ndarray]]:
        """Return `fun(theta) -> (E, gradient)` for scipy.optimize with jac=True; the network stays as it is.

        E is a float and the gradient a float64 array, as SciPy needs them. They are computed in the network's dtype: with
        float32, theta is rounded to float32 first, and E and the gradient have float32 accuracy.

        >>> result = scipy.optimize.minimize(net.objective(X, D), net.theta, jac=True, method="L-BFGS-B")
        >>> net.theta = result.x
        """
        X, initial_state, lengths, resets = self._check_inputs(X, initial_state, lengths, resets)
        D, weights = self._check_targets(X, D, weights, lengths)
        engine = self._engine(backend)
        size, dtype, threads = self._theta.size, self.dtype, _threads(n_threads)

        def fun(theta):
            gradient = np.empty(size, dtype)
            theta = _check_shape("theta", _checks.array("theta", theta, dtype), (size,), "(P,)")
            loss, penalty = engine.loss_into(theta, X, D, weights, initial_state, lengths, resets, gradient, 0, threads)
            return loss + penalty, gradient.astype(np.float64)

        return fun

    # ---- Parameters in and out

    @property
    def theta(self) -> np.ndarray:
        return self._theta.copy()

    @theta.setter
    def theta(self, value: ArrayLike) -> None:
        value = _checks.array("theta", value, self.dtype)
        self._theta[...] = _check_shape("theta", value, self._theta.shape, "(P,)")

    @property
    def stream_positions(self) -> dict[str, int]:
        return self._positions._asdict()

    @stream_positions.setter
    def stream_positions(self, value: Mapping[str, Int]) -> None:
        if not isinstance(value, Mapping):
            raise TypeError(f"stream_positions must be a dict of ints, got {type(value).__name__}")
        for name in value:
            _checks.choose("stream of stream_positions", name, _batches.Positions._fields)
        self._positions = self._positions._replace(
            **{name: _checks.count(f"stream_positions[{name!r}]", number) for name, number in value.items()})

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of `parameters`."""
        return {name: value.copy() for name, value in self.parameters.items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Take over all parameters, or none: names and shapes must be exactly those of `parameters`."""
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a dict of parameters, got {type(state).__name__}")
        missing, unknown = [[name for name in a if name not in b] for a, b in ((self.parameters, state),
                                                                               (state, self.parameters))]
        if missing or unknown:
            raise ValueError(f"state has not the parameters of this network: missing {missing}, unknown {unknown}")
        checked = {}
        for name, view in self.parameters.items():
            checked[name] = _check_shape(name, _checks.array(name, state[name], self.dtype), view.shape, "")
            _checks.finite(name, checked[name], "ij")
        theta = np.concatenate([checked[name].ravel() for name in self.parameters])
        self._theta[...] = theta  # one copy: no interrupt leaves half of it

    def effective_parameters(self) -> dict[str, np.ndarray]:
        """Copies of the parameters that the network computes with: those to look at, of weights and eigenvalues.

        They differ from `parameters` where connections are absent (0 here) or signs are fixed (|w| times the sign).
        """
        return {name: np.array(value) for name, value in reference.effective(self.parameters, self._maps).items()}

    def copy(self) -> RNN:
        """Return an independent network with the same options, parameters, and random streams at the same positions."""
        return copy.copy(self)

    # ---- Networks of other packages

    def to_torch(self) -> dict[str, np.ndarray]:
        """A state dict for a PyTorch module that has ``torch.nn.RNN`` as `rnn` and ``torch.nn.Linear`` as `linear`.

        Keys are rnn.weight_ih_l0 (H, I), rnn.weight_hh_l0 (H, H), rnn.bias_ih_l0, rnn.bias_hh_l0 (H,), and so on for each
        layer and direction, linear.weight (O, H), linear.bias (O,); values are copies, in the network's dtype. PyTorch adds
        its two biases up: the first is b_s, the second zero. Learnt initial states are `h_0` (layers · directions, 1, H),
        which nn.RNN takes as an argument. The output activation is the module's business, and so are one-hot vectors for ids.

        Raises
        ------
        ValueError : nn.RNN cannot compute what this network does; it knows tanh and relu alone, and one hidden size.

        Examples
        --------
        ``module.load_state_dict({name: torch.from_numpy(value) for name, value in net.to_torch().items()})``
        """
        parameters = getattr(self, "effective_parameters", self.state_dict)()  # with absent entries and signs as they act
        return convert.to_torch(parameters, self._config)

    @classmethod
    def from_torch(cls, rnn: Any, linear: Any = None, **options: Any) -> RNN:
        """The network that computes what nn.RNN and nn.Linear of PyTorch do, time-major.

        Parameters
        ----------
        rnn : module or state dict
            torch.nn.RNN of any depth, in one direction or two, or a module that holds it and the nn.Linear. PyTorch is not
            imported: a state dict may as well hold NumPy arrays.
        linear : module or state dict, optional
            torch.nn.Linear. Without one, and without one in rnn, the outputs are the states: W_y is 1, b_y is 0.
        **options
            Of RNN: the loss, the output activation ... Sizes, depth, directions and biases are those of the arrays, and a
            module also says its activation; a state dict does not: give activation="relu" where it is not tanh. dtype is by
            default that of the arrays. A key `h_0` is taken as learnt initial states.

        Raises
        ------
        TypeError, ValueError : what was given is no such network, or an option contradicts it.
        """
        return cls._converted(convert.from_torch(rnn, linear), options)

    @classmethod
    def from_keras(cls, layers: Any, **options: Any) -> RNN:
        """The network that computes what SimpleRNN and Dense of Keras do, time-major.

        Parameters
        ----------
        layers : keras.Sequential, layer, list of layers, or list of arrays
            SimpleRNN, several with return_sequences=True between them, all or none in Bidirectional (concatenated), and a
            Dense. Without Dense the outputs are the states. Or `get_weights()` of them, where a Dense tells two directions
            from one. Keras is not imported.
        **options
            Of RNN, as for `from_torch`. Layers say their activations, and return_sequences=False is output="last".

        Raises
        ------
        TypeError, ValueError : what was given is no such network, or an option contradicts it. leaky_relu has another
            slope in Keras 3.
        """
        return cls._converted(convert.from_keras(layers), options)

    @classmethod
    def from_psychrnn(cls, file: FilePath | Mapping[str, Any], *, activation: Activation = "relu",
                      **options: Any) -> RNN:
        """The network that computes what a `Basic` of PsychRNN does, without its noise, time-major.

        S_t = (1 − leak) S_{t-1} + leak (W_s g1(S_{t-1}) + W_x X_t + b_s), Y_t = W_y g1(S_t) + b_y; S_0 is learnt.

        Parameters
        ----------
        file : path or dict
            What `save` of PsychRNN 1.0 wrote, or the dict of its `get_weights`. No pickle is read.
        activation : str
            PsychRNN's transfer_function: the file does not say. relu is its default.
        **options
            Of RNN. dt and tau, or leak = dt / tau, are needed, for the file does not have them; noise_std is PsychRNN's
            rec_noise. connectivity, dale_signs and nonnegative are the file's: with a dale_ratio also W_in cannot become
            negative, nor W_out, of which the inhibitory units' columns are absent or negative, as Dale_out says.

        Raises
        ------
        FileNotFoundError
        TypeError, ValueError : the file is not of a Basic network, or an option contradicts it.

        References
        ----------
        Ehrlich, Stone, Brandfonbrener, Atanasov and Murray 2021, eNeuro 8:ENEURO.0427-20.2020. Weights stand in the file as
        they act: zero where nothing is connected, with the signs of Dale's law.
        """
        if not {"leak", "tau"} & options.keys():
            raise TypeError("from_psychrnn needs dt and tau, or leak = dt / tau: the file does not have them")
        return cls._converted(convert.from_psychrnn(file), {"activation": activation, "leak_form": "current"} | options)

    @classmethod
    def _converted(cls, found, options):
        """A network of what was found, and of options that do not contradict it."""
        for name in options.keys() & found.options.keys():
            if isinstance(found.options[name], (dict, np.ndarray)) or options[name] != found.options[name]:
                raise ValueError(f"{name} is {found.options[name]!r} in what was given, got {name}={options[name]!r}")
        if "initializer" in options:
            raise TypeError("a converted network takes no initializer: its parameters are given")
        network = cls(**{"dtype": found.dtype} | found.options | options, initializer=lambda shape, rng: np.zeros(shape))
        network.load_state_dict(network.state_dict() | found.parameters)
        return network

    def save(self, path: FilePath) -> None:
        """Write the network to one .npz file, whole or not at all; `fastbptt.load` reads it. No pickle inside."""
        for name, value in self.parameters.items():
            _checks.finite(name, value, "ij")  # `load` would refuse it
        _files.write(path, self._header() | {"kind": "RNN"}, self._arrays(self._theta))

    def _header(self):
        return {"config": _maps.split(self._config)[0], "entropy": self._entropy, "dt": self.dt,
                "positions": self._positions._asdict()}

    def _arrays(self, theta):
        """What a file holds beside the header: the parameters, and the arrays among the options."""
        return self._named(theta) | _maps.split(self._config)[1]

    def _hold(self, theta):
        """Put back into an updated flat vector what is frozen or absent, which weight decay say has moved."""
        if self._held is not None:
            theta[self._held] = self._theta[self._held]

    def _named(self, theta):
        """Views of a flat vector under the names of the parameters."""
        return _views_of(theta, {name: value.shape for name, value in self.parameters.items()})

    @classmethod
    def _from_file(cls, header, arrays):
        network = cls._from_header(header, arrays)
        network.load_state_dict({name: array for name, array in arrays.items() if "." not in name})  # others: of a run
        return network

    @classmethod
    def _from_header(cls, header, arrays):
        """A network of zeros with the header's options; the arrays must be large enough for it."""
        config, entropy = _maps.join(header["config"], arrays), header["entropy"]
        loss = config["loss"]
        if isinstance(loss, list):  # JSON knows no tuples
            config["loss"] = (loss[0], tuple(loss[1]) if isinstance(loss[1], list) else loss[1])
        sizes = [_checks.size(name, config[name]) for name in ("input_size", "output_size")]
        if isinstance(config["hidden_size"], list):
            config["hidden_size"] = tuple(config["hidden_size"])
        config["hidden_size"] = _check_hidden_size("hidden_size", config["hidden_size"])
        if isinstance(config["hidden_size"], tuple) and len(config["hidden_size"]) > sum(
                array.size for array in arrays.values()):
            raise ValueError(f"its parameters are fewer than its {len(config['hidden_size'])} layers need")
        matrices = _shapes_of(config | {"bias": False, "learn_initial_state": False}).values()
        if sum(array.size for name, array in arrays.items() if "." not in name) < sum(map(math.prod, matrices)):
            raise ValueError(f"its parameters are fewer than its sizes {[sizes[0], config['hidden_size'], sizes[1]]} need")
        network = cls(**config, initializer=lambda shape, rng: np.zeros(shape), random_state=entropy)
        network.dt = None if header.get("dt") is None else _checks.number("dt", header["dt"], 0)
        network._positions = _batches.Positions.read(header.get("positions"))
        return network

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self._config, "entropy": self._entropy, "theta": self._theta.copy(), "dt": self.dt,
                "positions": self._positions._asdict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._configure(state["config"], state["entropy"])
        self._positions = _batches.Positions.read(state.get("positions"))
        self.theta = state["theta"]
        self.dt = state.get("dt")

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={_checks.short(value)}" for name, value in _options.shown(self._config).items())
        return f"RNN({options})"


def load(path: FilePath) -> Any:
    """The network, estimator, scaler or forecaster that `save` wrote to `path`; of a checkpoint, its network.

    Raises
    ------
    FileNotFoundError
    TypeError, ValueError, IsADirectoryError : path does not name a file.
    ValueError : not a model, a damaged one, or one of a later version. The file is read without trust.
    """
    path = _files.path_of(path)
    header, arrays = _files.read(path)
    try:
        kind = _KINDS[header["kind"]]
        return kind._from_file(header, arrays)
    except _checkpoint.DAMAGES as error:
        raise ValueError(f"{path!r} is not a model that this fastbptt knows: {error}") from error


_KINDS: dict[str, Any] = {"RNN": RNN, "Checkpoint": RNN}  # modules above this one add theirs


class _Parameters(dict):
    """Names and writable views of the parameters. Assigning copies into the view; names come and go by no means."""

    def __setitem__(self, name, value):
        if name not in self:
            raise KeyError(f"no parameter {name!r} in this network, which has {', '.join(self)}")
        view = self[name]
        view[...] = _check_shape(name, _checks.array(name, value, view.dtype), view.shape, "")

    def update(self, *args, **kwargs):
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other):  # type: ignore[misc]  # this | other is a plain dict
        self.update(other)
        return self

    def _refuse(self, *args):
        raise TypeError("the parameters of a network cannot be removed or added")

    __delitem__ = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self):  # what is unpickled or deeply copied belongs to no network: a plain dict of copies
        return dict, ({name: value.copy() for name, value in self.items()},)


class _Unchecked:
    """The face of an engine that no argument satisfies before it is checked: for those that do not check themselves."""

    def step(self, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        return NotImplemented


# ---- Options


def _threads(n_threads):
    """As the core takes it: 0 for what is its to say."""
    return 0 if n_threads is None else _checks.size("n_threads", n_threads)


def _is_share(validation):
    return isinstance(validation, numbers.Real) and not isinstance(validation, bool)


def _check_memory_limit(limit, tbptt=None):
    """As the core takes it: 0 for none, −1 for as little as can be."""
    if limit is None:
        return 0
    if tbptt is not None:
        raise ValueError("memory_limit has no effect on truncated BPTT: give tbptt or memory_limit, not both")
    return -1 if isinstance(limit, str) and _checks.choose("memory_limit", limit, ("auto",)) else _bytes(limit)


def _bytes(limit):
    if isinstance(limit, (bool, np.bool_)) or not isinstance(limit, numbers.Integral):
        raise TypeError(f'memory_limit must be a number of bytes, "auto" or None, got {type(limit).__name__} {limit!r}')
    if not 0 < limit < 2**62:
        raise ValueError(f"memory_limit must be a positive number of bytes, got {limit}")
    return int(limit)


def _check_tbptt(tbptt):
    if tbptt is None:
        return None
    if not isinstance(tbptt, tuple) or len(tbptt) != 2:
        raise TypeError("tbptt must be (k1, k2): every k1 steps, errors go back k2 steps; got "
                        f"{type(tbptt).__name__} {tbptt!r}")
    return _checks.size("k1 of tbptt", tbptt[0]), _checks.size("k2 of tbptt", tbptt[1])


def _is_step(T, B, lengths):
    """Where a sequence has a step, (T, B)."""
    return np.ones((T, B), bool) if lengths is None else np.arange(T)[:, None] < lengths


def _check_shape(name, value, shape, letters, X=None):
    """Return `value` if it has this shape; else raise ValueError, which says how X was read if the shape follows from it."""
    if value.shape != tuple(shape):
        expected = f"{letters} = {tuple(shape)}" if letters else tuple(shape)
        words = "" if X is None else _read_as(X.shape, value.shape, shape)
        raise ValueError(f"{name} must have shape {expected}, got {value.shape}{words}")
    return value


def _read_as(shape, found, expected):
    """Return the end of a message about an array that does not fit X: how X was read, and what to do if it is samples-first."""
    (T, B), letters = shape[:2], "(T, B, I)" if len(shape) == 3 else "(T, B)"
    words = f"; X of shape {shape} was read as {letters}, time-major: {T} time steps of {B} sequences"
    in_time = expected[:2] == (T, B)
    if not in_time and found[:2] == (T, B):  # with output="last"
        return words + '. With output="last" there is one for each sequence, not for each step'
    if T != B and (found[:2] == (B, T) if in_time else found[:1] == (T,)):
        words += f". {'One of the two' if in_time else 'X'} seems to be samples-first; sequences.to_time_major converts it"
    return words


def _refuse_nan(Y, t=0):
    """Raise FloatingPointError where outputs Y (n, B, O), generated from step t on, contain NaN."""
    if np.isnan(Y).any():
        n, b, o = np.argwhere(np.isnan(Y))[0].tolist()
        raise FloatingPointError(f"generated outputs contain NaN, first at (t, b, o) = {(n + t, b, o)}")


def _entropy(random_state):
    """The number that seeds every stream."""
    if isinstance(random_state, np.random.Generator):
        return _checks.DrawnSeed(random_state.integers(2**63))
    if random_state is None:
        return _checks.DrawnSeed(np.random.SeedSequence().entropy)
    return _checks.seed("random_state", random_state)


# ---- Storage


def _aligned(size, dtype):
    """Zeros (size,) whose memory begins at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    memory = np.zeros(size * dtype.itemsize + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    return memory[offset:offset + size * dtype.itemsize].view(dtype)
