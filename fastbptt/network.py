"""RNN: a plain recurrent network, its parameters, its outputs, its error and the exact gradient of that.

An operation of a network is a method here. The other methods are in base classes: `_network/` says which subject has which.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import _core, _files, _checks, diagnostics, initializers, reference, training
from ._network.arguments import Arguments, _check_memory_limit, _check_shape, _is_step, _refuse_nan, _threads
from ._network.conversion import Conversion
from ._network.dispatch import BACKENDS, Dispatch  # noqa: F401
from ._network.files import Stored
from ._network.fitting import Fitting
from ._network.parameters import _aligned, _Parameters
from ._network.streams import STREAMS, Streams, _entropy
from ._states import NetworkStates
from ._training import batches as _batches, checkpoint as _checkpoint
from .options import declaration as _options, for_backends as _for_backends, parametrizations as _maps, units as _units
from .options.checks import DTYPES, by_parameter as _by_parameter  # noqa: F401
from .options.declaration import OUTPUTS, REDUCTIONS  # noqa: F401
from .options.shapes import shapes_of as _shapes_of, views_of as _views_of, widths_of as _widths_of
from .threads import policy as _threading

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from ._types import (
        Activation, Backend, Bool, FilePath, Float, HiddenSize, Initializer, Int, LeakForm, Loss, MemoryLimit, Names, Noise,
        Output, OutputActivation, Penalty, Reduction, Seed, Tbptt,
    )

_core.set_default_threads(_threading.default())


class RNN(Dispatch, Arguments, Fitting, Conversion, Stored, Streams):
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
        leak_form="current", over all units (of all layers) and all steps that there are, those without weight included,
        whatever `reduction` is (Song, Yang and Wang 2016). It belongs where l1 and l2 do.
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
        """Set everything but the parameters' values, from checked options."""
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
        self._make_engines(shapes)

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

        With omega > 0, gradient and derivative both have the immediate part of Ω alone: by W_s, with all S_t and ∂E/∂S_t held
        fixed. It is not the derivative of the whole loss that `loss_and_gradients` returns.

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

    def _summing(self):
        """Return a network that shares these parameters, whose error is the sum without penalties: that of a part of a batch."""
        network = RNN.__new__(RNN)
        network._configure(self._config | {"reduction": "sum", "l1": 0.0, "l2": 0.0}, self._entropy)
        network._theta = self._theta
        return network

    def _without_g2(self):
        """Return a network that shares these parameters, whose outputs are Z, before g2."""
        network = RNN.__new__(RNN)
        network._configure(self._config | {"output_activation": "identity", "loss": "squared_error"}, self._entropy)
        network._theta = self._theta
        return network

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
        batch = self._check_data(X, D, weights, initial_state, lengths, resets)
        engine = self._engine(backend)
        size, dtype, threads = self._theta.size, self.dtype, _threads(n_threads)

        def fun(theta):
            gradient = np.empty(size, dtype)
            theta = _check_shape("theta", _checks.array("theta", theta, dtype), (size,), "(P,)")
            loss, penalty = engine.loss_into(theta, *batch, gradient, 0, threads)
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
        self._positions = self._positions.changed("stream_positions", value)

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

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={_checks.short(value)}" for name, value in _options.shown(self._config).items())
        return f"RNN({options})"


for _part in RNN.__bases__:  # so that help and Python's messages about arguments say RNN.fit, not Fitting.fit
    for _name, _method in vars(_part).items():
        if _method := getattr(_method, "__func__", _method if callable(_method) else None):
            _method.__module__, _method.__qualname__ = RNN.__module__, f"RNN.{_name}"

# Not `step`, `forward` and others that take one or two microseconds, of which the check would be a tenth.
_checks.names_our_arguments("fit", "stream", "train_step", "generate", "gradient_terms", "gradcheck", "objective")(RNN)


def load(path: FilePath) -> Any:
    """Return the network, population, estimator, scaler or forecaster that `save` wrote to `path`.

    Of a checkpoint of `fit` it returns the network alone, also where an estimator wrote the checkpoint: a checkpoint holds none
    of the estimator's arguments, classes or scaling. To go on, call the estimator's own ``fit(checkpoint=path, resume=True)``;
    to keep an estimator, call its `save`.

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
