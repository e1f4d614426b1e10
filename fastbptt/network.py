"""RNN: a plain recurrent network with its parameters, its outputs, its error and the exact gradient of the error.

Each operation of a network is a method of `RNN`. Methods on other subjects are in base classes;
`_network/__init__.py` lists them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import _core, _files, _checks, diagnostics, initializers, reference, training
from ._network.arguments import Arguments, _check_memory_limit, _check_shape, _is_step, _threads
from ._network.conversion import Conversion
from ._network.dispatch import BACKENDS, Dispatch  # noqa: F401
from ._network.files import Stored
from ._network.fitting import Fitting
from ._network.generation import Generation
from ._network.parameters import _aligned, _Parameters
from ._network.streams import STREAMS, Streams, _entropy  # noqa: F401
from ._states import NetworkStates
from ._training import batches as _batches, checkpoint as _checkpoint
from .backends.arguments import Batch as _Batch, CallOptions as _CallOptions, CallShape as _CallShape
from .options import (
    cells as _cells, declaration as _options, for_backends as _for_backends, parametrizations as _maps, units as _units,
)
from .options.checks import DTYPES, by_parameter as _by_parameter  # noqa: F401
from .options.declaration import OUTPUTS, REDUCTIONS  # noqa: F401
from .options.shapes import (
    save_widths_of as _save_widths_of, shapes_of as _shapes_of, state_widths_of as _state_widths_of, views_of as _views_of,
)
from .threads import policy as _threading

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from ._types import (
        Activation, Backend, Bool, Cell, FilePath, Float, HiddenSize, Initializer, Int, LeakForm, Loss, MemoryLimit, Names,
        Noise, Output, OutputActivation, Penalty, PerUnit, Rank, Reduction, Seed, Tbptt,
    )

_core.set_default_threads(_threading.default())


class RNN(Dispatch, Arguments, Fitting, Generation, Conversion, Stored, Streams):
    """A plain (Elman) recurrent network, S_t = g1(W_x X_t + W_s S_{t-1} + b_s), Y_t = g2(W_y S_t + b_y).

    Arrays are time-major: inputs X (T, B, I), targets D (T, B, O) and outputs Y (T, B, O). T is the number of time steps, B
    of sequences, I of inputs, H of hidden units and O of outputs. A_t = W_x X_t + W_s S_{t-1} + b_s is the pre-activation,
    and Z is the argument of g2. Methods convert inputs to the network's dtype and never modify them. The caller owns the
    arrays that a method returns.

    Parameters
    ----------
    input_size, output_size : int
        I and O.
    hidden_size : int or tuple of int
        H, or a tuple with the H of each layer. A layer reads the states of the layer below. The output reads the top layer.
    cell : "plain", "gru" or "lstm"
        What a unit computes. σ is the sigmoid, ∘ the elementwise product, and W_x,g the rows of W_x of gate g. "plain": the
        units above, with or without a leak. "gru" (Cho et al. 2014), gates r, z, n:

        - r = σ(W_x,r x + W_s,r h + b_s,r), and z likewise
        - n = g1(W_x,n x + b_s,n + r ∘ (W_s,n h + b_n))
        - h' = (1 − z) ∘ n + z ∘ h

        "lstm" (Hochreiter and Schmidhuber 1997; Gers et al. 2000), gates i, f, g, o, without peephole connections:

        - i = σ(W_x,i x + W_s,i h + b_s,i), f and o likewise, and g likewise with g1
        - c' = f ∘ c + i ∘ g, h' = o ∘ g1(c')

        The output, W_s and the next layer read h. The state of an LSTM is [h | c], so (B, 2 H) stands for (B, H) wherever this
        page has a state. Gated cells refuse leak, dt, tau, leak_form, noise_std, omega, dale_ratio, dale_signs and
        autapses=False. recurrent_dropout drops h before W_s, with one mask for all gates.
    reset_after : bool
        Whether the reset gate of a GRU acts after the product with W_s, as in PyTorch and Keras. If False,
        n = g1(W_x,n x + b_s,n + W_s,n (r ∘ h)), and there is no b_n.
    forget_bias : float
        Initial value of the rows of b_s of gate f of an LSTM. It has no effect if `initializer` sets b_s.
    activation : str, optional
        g1. The default is "tanh". A is the pre-activation:

        - "tanh", "relu", "sigmoid", "identity"
        - "softplus": ln(1 + e^A)
        - "leaky_relu": A where A > 0, else 0.01 A
        - "elu": A where A > 0, else e^A − 1
        - "softsign": A / (1 + |A|)
        - "silu": A σ(A), with the sigmoid σ; also called swish
        - "gelu": A Φ(A), with the distribution function Φ of the normal distribution. It is the exact function, which PyTorch
          computes by default, and no approximation by tanh.

        The derivatives of "silu" and "gelu" are functions of A. A network with them keeps A of every step, so a gradient
        takes more memory.

        At A = 0 the derivative is the one from the left. It is 0 for "relu".
    output_activation : str
        g2: "identity", "sigmoid", "tanh", "softmax" or "exp".
    loss : str or (str, number or numbers)
        e(Y, D), summed over outputs. With r = Y − D:

        - "squared_error": r²
        - "absolute_error": |r|
        - "huber" or ("huber", threshold): ½ r² where |r| <= threshold, else threshold (|r| − ½ threshold). The default
          threshold is 1.0.
        - "quantile" or ("quantile", levels): −q r where r <= 0, else (1 − q) r, for each level q. The default levels are
          (0.1, 0.5, 0.9). With L levels D is (T, B, O / L), and output l·O/L + k is level l of target k.
        - "binary_cross_entropy": ln(1 + e^Z) − D Z. It requires output_activation="sigmoid".
        - "cross_entropy": D (ln Σ e^Z − Z). It requires output_activation="softmax". D holds integer labels (T, B) or
          distributions (T, B, O).
        - "poisson": e^Z − D Z. It requires output_activation="exp". It leaves out ln D!, and is infinite where e^Z is.

        The gradient of the losses in r is 0 where r = 0.
    reduction : "mean" or "sum"
        E = Σ m e / Σ m, or Σ m e. The sums run over all steps t and sequences b, with their weights m.
    dtype : "float32" or "float64"
    initializer : str, (str, number), dict or callable, optional
        The initial value of W_s, for each gate's (H, H) block separately. The default is "orthogonal":

        - "orthogonal", "glorot_uniform"
        - "identity" or ("identity", scale)
        - "normal" or ("normal", standard deviation)
        - "sparse" or ("sparse", nonzero entries per row)
        - ("spectral_radius", radius)

        With these, W_x and W_y are Glorot-uniform, and biases and S_0 are zero. "torch" draws all parameters from U(±1/√H).
        A dict gives each parameter its own initializer or array. A function f(shape, rng) -> array may replace any name.
    rank : int or tuple of int, optional
        R, from 1 to H. W_s is the product M Nᵀ of two parameters, M (G·H, R) and N (H, R), and has at most this rank
        (Mastrogiuseppe and Ostojic 2018, Neuron 99:609; Dubreuil et al. 2022, Nature Neuroscience 25:783; Valente, Pillow and
        Ostojic 2022, NeurIPS). It applies to each recurrence; a tuple has one int for each layer. The default is a W_s of full
        rank. A named initializer draws an (R, R) matrix K for each gate, in place of W_s, and orthonormal columns Q (H, R):
        M = Q K and N = Q. Beside zeros, W_s then has the eigenvalues and singular values of K. The standard deviation of
        ("normal", s) is scaled by √(H/R), so that the eigenvalues are as large as those of a full matrix. The independent
        vectors of those papers are ``initializer={"M": ("normal", H**-0.5), "N": ("normal", H**-0.5)}``. With a rank,
        dale_ratio, dale_signs, autapses=False, and W_s in connectivity, trainable or nonnegative are refused. These three may
        name M and N. A number for l1 or l2 includes M and N.
    bias : bool
        Whether the network has b_s (H,) and b_y (O,).
    learn_initial_state : bool
        Whether S_0 (H,) is a parameter. S_0 is the initial state of every sequence for which a call gives no initial_state. If
        False, that state is zero.
    output : "sequence" or "last"
        "sequence": one output per step. "last": one output per sequence, at its last step. With "last", outputs Y are (B, O),
        targets D are (B, O) or labels (B,), and weights and `losses` are (B,), wherever this page has (T, B, ...).
    one_hot : bool
        Whether inputs X are token ids (T, B), integers from 0 to I − 1, in place of one-hot vectors. The network looks up
        columns of W_x.
    bidirectional : bool
        Whether each layer has a second recurrence, from each sequence's last step to its first (Schuster and Paliwal 1997).
        The layer's states are those of both directions, concatenated: (..., 2 H). A reset separates two steps in both
        directions. With output="last" the output reads the final states of both. The reverse direction's final state is the
        one after the first step.
    l1, l2 : float or dict
        Penalties l1 Σ |w| and l2 Σ w² on W_x, W_s (or M, N) and W_y. A dict names other parameters: {"W_s": 1e-4}. There is no
        factor ½ and no division by a count. The penalties act on the effective parameters. `loss_and_gradients` and training
        include them; `evaluate`, `losses`, `backward` and `gradient_terms` do not.
    rate_penalty : float
        Penalty rate_penalty · mean square of what W_s and W_y read (Song, Yang and Wang 2016). They read S, or g1(S) with
        leak_form="current". The mean runs over all units of all layers and over all steps within `lengths`, including steps
        without weight. It does not depend on `reduction`. The same methods as for l1 and l2 include it.
    omega : float
        Penalty omega · Ω, which keeps the norm of the gradient on its way back (Pascanu, Mikolov and Bengio 2013, equations
        9 and 10). Ω = mean of (‖∂E/∂S_t ∂S_t/∂S_{t−1}‖ / ‖∂E/∂S_t‖ − 1)². The mean runs over the steps and sequences whose
        ∂E/∂S_t is not zero. Ω is summed over layers and directions. As in that paper, its gradient is only the immediate
        one: with respect to W_s, with S_t and ∂E/∂S_t held fixed. It is not the gradient of the whole loss. The same methods
        as for l1 and l2 include it. It excludes tbptt, leak and recurrent_dropout.
    connectivity : dict of arrays of 0 and 1, optional
        Which entries of a parameter are present: {"W_s": (H, H)}. Absent entries act as 0, whatever value is stored for them.
    trainable : dict of bool, or arrays of bool, optional
        Which entries of a parameter training may change: {"W_x": False} or {"W_s": (H, H)}. The gradient of the other entries
        is 0, no optimiser changes them, and clipping does not count them. {"leak": True}, or {"leak": (H,)} for some units,
        adds the parameter leak_logit (H,) and trains the leaks: see leak.
    dale_ratio : float in (0, 1], optional
        Dale's law: all connections W_s from a unit have the sign of this unit. The first round(dale_ratio · H) units excite,
        the others inhibit. The effective W_s is |W_s| diag(signs).
    dale_signs : array (H,) of 1 and −1, optional
        Dale's law with the sign of each unit. Give dale_ratio or dale_signs, not both.
    nonnegative : tuple of str
        Parameters whose effective value is their absolute value. Under Dale's law, ("W_x", "W_y") makes inputs and readout
        excitatory, and connectivity={"W_y": ...} selects the units that the output reads.
    autapses : bool
        Whether units connect to themselves. If False, the diagonal of W_s is absent.
    leak : float in (0, 1], array (H,) or tuple, optional
        Makes leaky units, whose state is a running mean. In the rate form S_t = (1 − leak) S_{t-1} + leak g1(A_t). In the
        current form S_t = (1 − leak) S_{t-1} + leak A_t. The default is 1: plain units. An array (H,) has a leak for each unit,
        also if all are 1. With several layers it holds for each layer, and a tuple has a number or an array (H,) for each
        layer. Both directions of a layer have the same leaks. With trainable={"leak": True}, training also changes the leaks
        (Quax, D'Asaro and van Gerven 2020; Perez-Nieves et al. 2021): leak = sigmoid(leak_logit), and leak_logit (H,) of each
        recurrence starts at the given leak, which must be below 1. The attribute `leak` stays the given one; `unit_leaks` has
        the present ones.
    dt, tau : float, optional
        Time step and time constant, in the same unit. They replace leak: leak = dt / tau. tau may also be an array (H,) or a
        tuple, as leak.
    leak_form : "rate" or "current"
        What the state averages. "rate": rates g1(A_t); W_s and the output read the state (Yang et al. 2019, Nature
        Neuroscience 22:297). "current": currents A_t; W_s and the output read the rate g1(S_t) (Song, Yang and Wang 2016,
        PLoS Computational Biology 12:e1004792). With several layers, the next layer reads the same as the output would.
    noise_std, input_noise_std : float
        σ of the noise on states and on inputs. sqrt(2 / leak) σ ξ is added to each pre-activation, or to each input. ξ is
        standard normal, and new at every step. In the current form the state thus receives sqrt(2 leak) σ ξ. The noise acts in
        training, and in calls with the argument `noise`. The noise of a unit has the unit's own leak, also a trained one. That
        of inputs has the mean of the leaks given for the first layer.
    recurrent_dropout : float in [0, 1)
        Probability p that W_s reads 0 in place of a unit's value (Gal and Ghahramani 2016). Other values are divided by 1 − p.
        A sequence has the same mask at all steps. The dropout acts in training, and in calls with the argument `dropout`.
    random_state : None, int or numpy.random.Generator
        Seed of the network's random streams.

    Attributes
    ----------
    parameters : dict of writable views
        W_x (H, I), W_s (H, H), b_s (H,), W_y (O, H), b_y (O,), S_0 (H,), as far as the network has them. With G gates W_x is
        (G·H, I), W_s (G·H, H) and b_s (G·H,); a GRU also has b_n (H,), and S_0 of an LSTM is (2 H,). With rank=R, M (G·H, R)
        and N (H, R) replace W_s. Trained leaks add leak_logit (H,) after b_s and b_n. Assignment copies:
        ``net.parameters["W_s"] = W``. Names of the reverse direction end in ``_reverse``. Names of layer l >= 1 end in
        ``_l1``, and so on: ``W_x_l1_reverse``. These are the trained values, before connectivity and signs act. The network
        computes with `effective_parameters()`.
    theta : array (P,)
        All parameters, in the order of `parameters`. Reading and assigning copy. With several recurrences, W_x W_s b_s S_0 of
        each recurrence are together, layer by layer, forward before reverse. W_y b_y are last.
    history : training.History or None
        The record of the last `fit`.
    unit_signs : array (H,) of 1 and −1, or None
        The signs of Dale's law; None without it.
    unit_leaks : array (H,)
        The leaks of the units as they are now, float64, after training if leak_logit is a parameter; 1 for units without a
        leak. ``net.dt / net.unit_leaks`` are the time constants. A tuple of arrays if there are several recurrences.
    dt : float or None
        The time step given to the constructor. Only `diagnostics` uses it, for times and axes.
    stream_positions : dict of int
        How much of each random stream training has used: "shuffling" counts orders of epochs, "batches" counts generators
        given to `batches`, and "noise" counts batches, steps or streams with noise or dropout. The next `fit`, `train_step`
        or `stream` continues there. Copies and files keep the positions; `state_dict` does not. Assignment changes them:
        ``net.stream_positions = {"noise": 0}`` repeats the noise from the start.

    Notes
    -----
    A network with several layers or two directions has several recurrences. Every state that this page gives as (B, H) is
    then a tuple of such arrays, layer by layer, forward before reverse. This holds for arguments and results, and for `.S`
    and `.rates` of the states that `forward` returns. The same compiled recurrence computes them one after another; the
    arrays between layers are kept. `fit` then runs the loop over batches in Python, which adds about 30 µs per update.
    `gradient_terms` is not available. With bidirectional=True, `step`, `generate`, `stream` and tbptt are not available,
    because they would need future inputs.

    References
    ----------
    Elman 1990, Cognitive Science 14:179. Werbos 1990, Proceedings of the IEEE 78:1550. Time constants of units: Quax, D'Asaro
    and van Gerven 2020, Neural Computation 32:1033; Perez-Nieves et al. 2021, Nature Communications 12:5791.

    Examples
    --------
    >>> net = RNN(input_size=1, hidden_size=16, output_size=1, random_state=0)
    >>> Y, final_state = net.forward(np.zeros((10, 3, 1)))
    >>> Y.shape, final_state.shape
    ((10, 3, 1), (3, 16))
    """

    input_size: int
    hidden_size: int | tuple[int, ...]
    output_size: int
    target_size: int
    dtype: str
    cell: str
    reset_after: bool
    forget_bias: float
    activation: str
    output: str
    one_hot: bool
    bidirectional: bool
    parameters: dict[str, np.ndarray]
    history: training.History | None
    unit_signs: np.ndarray | None
    dt: float | None = None

    @_checks.refuses_unknown_options
    def __init__(self, input_size: Int, hidden_size: HiddenSize, output_size: Int, *, cell: Cell = "plain",
                 reset_after: Bool = True, forget_bias: Float = 1.0, activation: Activation | None = None,
                 output_activation: OutputActivation = "identity", loss: Loss = "squared_error",
                 reduction: Reduction = "mean", dtype: DTypeLike = "float32", initializer: Initializer | None = None,
                 rank: Rank | None = None, bias: Bool = True, learn_initial_state: Bool = False,
                 output: Output = "sequence", one_hot: Bool = False, bidirectional: Bool = False, l1: Penalty = 0.0,
                 l2: Penalty = 0.0, rate_penalty: Float = 0.0, omega: Float = 0.0,
                 connectivity: Mapping[str, ArrayLike] | None = None, trainable: Mapping[str, ArrayLike] | None = None,
                 dale_ratio: Float | None = None, dale_signs: ArrayLike | None = None, nonnegative: Names = (),
                 autapses: Bool = True, leak: PerUnit | None = None, dt: Float | None = None, tau: PerUnit | None = None,
                 leak_form: LeakForm = "rate", noise_std: Float = 0.0, input_noise_std: Float = 0.0,
                 recurrent_dropout: Float = 0.0, random_state: Seed = None) -> None:
        given = dict(locals())  # by name, as in options/declaration.py
        self._configure(_options.configuration(given), _entropy(random_state))
        self.dt = None if dt is None else float(dt)
        logits = _units.first_logits(self._config, {name: value.shape for name, value in self.parameters.items()})
        parameters, maps = ({name: value for name, value in each.items() if name not in logits}
                            for each in (self.parameters, self._maps))
        self.load_state_dict(initializers.draw(initializer, parameters, self._stream("initialisation"), maps,
                                               self.forget_bias if _cells.owns(self._config, "forget_bias") else None) | logits)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "parameters" and name in self.__dict__:
            self.load_state_dict(value)
        elif name in self.__dict__.get("_config", ()):
            raise AttributeError(f"{name} of a network cannot be changed; make another RNN")
        else:
            super().__setattr__(name, value)

    def _configure(self, config, entropy):
        """Set all attributes from checked options, except the parameters' values."""
        config = _options.completed(config)
        self.__dict__.update(config)
        loss, loss_parameter = _for_backends.loss_of(config)
        fused = reference.FUSED.get(loss, self.output_activation)
        if fused != self.output_activation:
            raise ValueError(f"loss={loss!r} requires output_activation={fused!r}, got {self.output_activation!r}")
        levels = len(loss_parameter) if loss == "quantile" else 1
        if self.output_size % levels:
            raise ValueError(f"output_size must be a multiple of the {levels} quantile levels, got {self.output_size}")
        self.target_size = _for_backends.target_size_of(config)
        self.history = None
        self._config, self._entropy, self._positions = config, entropy, _batches.Positions()
        I, H, O = self.input_size, self.hidden_size, self.output_size
        shapes = _shapes_of(config)
        self._widths = _state_widths_of(shapes, _cells.of(config))
        self._stacked = len(self._widths) > 1
        if self.input_noise_std and self.one_hot:
            raise ValueError("input_noise_std requires one_hot=False: token ids cannot have noise")
        self._draws_something = any(config[name] for name in _units.DRAWN)
        self._leaky = _cells.is_leaky(config)
        # What truncated training keeps per sequence and step, and its width. The states do not determine the rates of the rate
        # form, nor the gates, nor the pre-activations that the derivative of some activations reads. A reset may have brought
        # an older value of the learnable S_0.
        self._kept_parts = {"S": sum(self._widths)}
        if self.leak_form == "rate" and _cells.of(config).saves:
            self._kept_parts["rates"] = sum(_save_widths_of(shapes, _cells.of(config)))
        if self.learn_initial_state:
            self._kept_parts["S_0"] = sum(self._widths)
        self._kept_width = sum(self._kept_parts.values())
        size = sum(math.prod(shape) for shape in shapes.values())
        if size > 2**48:  # a processor addresses 2**48 bytes
            raise MemoryError(f"input_size={I}, hidden_size={H}, output_size={O} make {size} parameters")
        self._theta = _aligned(size, self.dtype)
        self.__dict__["parameters"] = _Parameters(_views_of(self._theta, shapes))
        for name in ("l1", "l2"):
            _by_parameter(name, config[name], shapes)
        if self._stacked and not (self.autapses and self.dale_ratio is None and self.dale_signs is None):
            raise ValueError("dale_ratio, dale_signs and autapses=False require a network with one recurrence; for others "
                             "name each parameter in connectivity and nonnegative")
        if self.omega and (self._leaky or self.recurrent_dropout):
            raise ValueError(f"omega={self.omega} requires plain units, whose gradient goes back only through W_s; got "
                             f"leak={_checks.short(self.leak)}, leak_form={self.leak_form!r}, "
                             f"recurrent_dropout={self.recurrent_dropout}")
        self._maps, self.unit_signs = _maps.build(config, shapes)
        self._make_engines(shapes)

    # ---- Outputs, errors, gradients

    def forward(self, X: ArrayLike, initial_state: ArrayLike | None = None, *, lengths: ArrayLike | None = None,
                resets: ArrayLike | None = None, noise: Noise = False, dropout: Noise = False,
                return_states: Bool = False, n_threads: Int | None = None,
                backend: Backend = "core") -> tuple[Any, ...]:
        """Return outputs Y (T, B, O) and the final state (B, H) for inputs X (T, B, I).

        Parameters
        ----------
        X : array (T, B, I)
        initial_state : array (B, H), optional
            The default is S_0 if the network learns it, else zero. To continue a sequence, give the final state of the last
            call.
        lengths : array (B,) of int, optional
            The number of steps of each sequence, from 0 to T, in any order. Steps beyond it are padding. Padding is never
            read, may contain NaN, and costs no time. Y, S and gradients are 0 there. The final state is the state after the
            sequence's own last step; a sequence of length 0 keeps its initial state. All methods use `lengths` in this way.
        resets : array (T, B) of bool, optional
            Where it is True, the sequence restarts before that step: the state becomes the network's own initial state, S_0 or
            zero, whatever initial_state the call gives. The gradient stops there. All methods use `resets` in this way.
        noise, dropout : False, True, int or Generator, optional
            Whether noise_std and input_noise_std, or recurrent_dropout, act, and their seed. True stands for the network's own
            seed. Draws depend only on the seed, the sequence's place in the batch and the step. The same seed, including True,
            therefore gives the same draws in another call, and for any n_threads, lengths, memory limit and backend. The two
            backends draw the same bits, except for the last bit of float32. All methods use these arguments in this way.
        return_states : bool
            Whether to return a third value with all states.
        n_threads : int, optional
            The number of threads that share the batch. The default is `FASTBPTT_NUM_THREADS`, else `OMP_NUM_THREADS`, both
            read at import. Without them it is 1 in a child process, else the number of cores that this process may use.
            Calls that run at the same time share the default. Results have the same bits for any number of threads. One
            sequence, a batch of little work and a forked child use one thread. All methods use `n_threads` in this way.
        backend : "core" or "reference"
            Compiled code, or the NumPy specification in `fastbptt.reference`. All methods use `backend` in this way.

        Returns
        -------
        Y : array (T, B, O), or (B, O) with output="last"
        final_state : array (B, H)
        states : NetworkStates, only with return_states=True
            `.S` (T+1, B, H): S[0] is the initial state and S[t+1] the state after X[t]. `.rates` (T, B, H): g1 of the
            pre-activation, or g1 of the state in the current form. Gated cells have `.h` and, for an LSTM, `.c` (T+1, B, H)
            in place of `.rates`.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> Y, final_state, states = net.forward(X, return_states=True)
        >>> Y.shape, final_state.shape, states.S.shape
        ((5, 3, 1), (3, 8), (6, 3, 8))
        """
        options = self._call_options(n_threads, noise, dropout)
        results = self._run(backend, "forward", _Batch(X, None, None, initial_state, lengths, resets), options,
                            bool(return_states))
        return (*results[:2], NetworkStates.of(self.cell, *results[2:])) if return_states else results

    def step(self, x: ArrayLike, state: ArrayLike | None = None, *, out: tuple[Any, Any] | None = None,
             n_threads: Int | None = None, backend: Backend = "core") -> tuple[Any, Any]:
        """Return the output y (B, O) and the new state (B, H) after one step with inputs x (B, I), or token ids (B,).

        `step` serves data that arrive one step at a time. Its results have the bits of `forward` over all these steps, for
        any batch. The kernel set "blas" is the exception. With output="last", y is the output if this step were the last.

        Parameters
        ----------
        x : array (B, I), or token ids (B,) with one_hot=True
        state : array (B, H), optional
            The default is S_0 if the network learns it, else zero. Give the new state of one call to the next call.
        out : tuple of arrays (y, state), (B, O) and (B, H), optional
            Arrays to write the results into. The call then allocates no memory. They must be C-contiguous and have the
            network's dtype. out's state may be the array given as `state`. Apart from that, no arrays may overlap.
        n_threads, backend : as in `forward`

        Returns
        -------
        y : array (B, O)
        state : array (B, H)

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, or if `out` does not meet its conditions. Nothing is written.

        Notes
        -----
        Each call packs the weights again, H (I + H + O) numbers, because the parameters may have changed. The table has the
        time of a warm step with out=, and that of one step of a long `forward` (float32, one thread, AMD Zen 4, 2026-11).
        The call itself takes about 1 µs.

        ================  =====  ===============
        (B, I, H, O)      step   within forward
        ================  =====  ===============
        (1, 4, 16, 1)     1.1    0.05 µs
        (1, 16, 64, 4)    3.1    0.17 µs
        (1, 16, 256, 4)   28     2.7 µs
        ================  =====  ===============

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> y, state = net.step(np.zeros((1, 2)))
        >>> y, state = net.step(np.ones((1, 2)), state)
        >>> y.shape, state.shape
        ((1, 1), (1, 8))
        """
        threads = 0 if n_threads is None else _threads(n_threads)
        if type(backend) is str and backend == "core":
            result = self._at_once.step(self._theta, x, state, out, threads)
            if result is not NotImplemented:
                return result
        step = self._engine(backend).step
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

    def losses(self, X: ArrayLike, D: ArrayLike, *, initial_state: ArrayLike | None = None,
               weights: ArrayLike | None = None, lengths: ArrayLike | None = None, resets: ArrayLike | None = None,
               noise: Noise = False, dropout: Noise = False, n_threads: Int | None = None,
               backend: Backend = "core") -> np.ndarray:
        """Return the loss of each step and sequence, (T, B), or (B,) with output="last".

        Parameters
        ----------
        X, D, initial_state, lengths, resets : as in `loss_and_gradients`
        weights : as in `loss_and_gradients`, optional
            Without weights, the result is e(Y_tb, D_tb), summed over outputs. Its sum over b is E_t. With weights (T, B),
            the result is m_tb e(Y_tb, D_tb); with one weight per output it is Σ_o m_tbo e_tbo. This is the term of the step
            and sequence in Σ m e. It is never divided by Σ m, whatever `reduction` is. It is 0 where m is 0.
        noise, dropout, n_threads, backend : as in `forward`

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> net.losses(X, D).shape
        (5, 3)
        """
        options = self._call_options(n_threads, noise, dropout)
        batch = _Batch(X, D, None, initial_state, lengths, resets)
        if weights is None:
            return self._run(backend, "losses", batch, options)
        self._engine(backend)
        checked, _, steps, _ = self._check_inputs(X, initial_state, lengths, resets)
        D, weights = self._check_targets(checked, D, weights, steps)
        is_read = weights != 0
        if steps is not None and self.output == "sequence":
            there = _is_step(*checked.shape[:2], steps)
            is_read &= there[..., None] if weights.ndim == 3 else there
        D = np.where(is_read if is_read.ndim >= D.ndim else is_read[..., None], D, D.dtype.type(0))  # others are not read
        if weights.ndim == (1 if self.output == "last" else 2):
            e = self._run(backend, "losses", batch.replace(D=D), options)
            return np.multiply(weights, e, out=np.zeros_like(e), where=is_read)
        Z = self._without_g2()._run(backend, "forward", batch, options, False)[0]
        g2_and_loss, weights, last = self._engines["reference"].options, np.where(is_read, weights, 0), self.output == "last"
        e = reference.weighted_losses(*((A[None] for A in (Z, D, weights)) if last else (Z, D, weights)), **{
            name: g2_and_loss[name] for name in ("output_activation", "loss", "loss_parameter")})
        return e[0] if last else e

    def evaluate(self, X: ArrayLike, D: ArrayLike, *, initial_state: ArrayLike | None = None,
                 weights: ArrayLike | None = None, lengths: ArrayLike | None = None, resets: ArrayLike | None = None,
                 noise: Noise = False, dropout: Noise = False, n_threads: Int | None = None,
                 backend: Backend = "core") -> float:
        """Return the reduced error E, a float: Σ m e / Σ m, or Σ m e with reduction="sum".

        Penalties are not included. The arguments are those of `loss_and_gradients`.

        Returns
        -------
        float

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> bool(np.isclose(net.evaluate(X, D), net.losses(X, D).mean()))
        True
        """
        options = self._call_options(n_threads, noise, dropout)
        return self._run(backend, "evaluate", _Batch(X, D, weights, initial_state, lengths, resets), options)

    @_core.at_once
    def loss_and_gradients(self, X: ArrayLike, D: ArrayLike, *, initial_state: ArrayLike | None = None,
                           weights: ArrayLike | None = None, lengths: ArrayLike | None = None,
                           resets: ArrayLike | None = None, tbptt: Tbptt | None = None,
                           memory_limit: MemoryLimit | None = None, input_gradient: Bool = False,
                           initial_state_gradient: Bool = False, noise: Noise = False, dropout: Noise = False,
                           n_threads: Int | None = None,
                           backend: Backend = "core") -> tuple[float, dict[str, np.ndarray]]:
        """Return the reduced error E with penalties, and its exact gradient by back-propagation through time.

        Parameters
        ----------
        X : array (T, B, I)
        D : array (T, B, O)
            Targets. For "cross_entropy" also integer labels (T, B). For L quantile levels (T, B, O / L).
        initial_state : array (B, H), optional
        weights : array (T, B), or of the shape of a real D, optional
            Non-negative weights m of the errors. Where m is 0, D is never read, and may contain NaN or the label −1. A
            subnormal weight (float32: below 1.2e-38) counts as 0. If each output has a weight, Σ m counts their mean over
            outputs. A step without weight costs no output product.
        lengths, resets : as in `forward`
            Σ m runs over the steps within `lengths`.
        tbptt : (k1, k2), optional
            Truncated BPTT (Williams and Peng 1990). After every k1 steps, and at the end, the errors of the steps since the
            last such point go back through the last k2 steps. States before them are constants. The loss is still that of
            all steps.
        memory_limit : int or "auto", optional
            The most bytes that the workspace may take, or "auto" for as few as possible. If all states do not fit, the core
            keeps only those at the ends of segments, and recomputes each segment in the backward pass (Chen et al. 2016).
            Results have the same bits, and the call takes about a third longer. A sequence of T steps then needs memory for
            about 2 √T of them. With several layers, all states are kept, because the next layer reads them. The limit then
            applies to the rest of the workspace, that of one block.
        input_gradient, initial_state_gradient : bool
            Whether to add "X" (T, B, I) and "initial_state" (B, H) to the gradients. Token ids have no gradient.
        noise, dropout : as in `forward`
            The gradient is that of the network with this noise and these masks.
        n_threads, backend : as in `forward`

        Returns
        -------
        loss : float
        gradients : dict of new arrays with the names and shapes of `parameters`

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, or excludes another one.

        Notes
        -----
        The forward pass takes 2 T B H (H + I + O) flops, the backward pass 2 T B H (2 H + I + 2 O). The workspace holds:

        - T B' (H + O) numbers per thread, for the B' sequences of its shard of the batch;
        - a block of time steps of about 256 KiB;
        - the weights twice;
        - a gradient per shard, at most 64 MiB in all.

        NaN in X affects only the outputs of its own sequence.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> loss, gradients = net.loss_and_gradients(np.zeros((5, 3, 2)), np.ones((5, 3, 1)))
        >>> gradients["W_x"].shape
        (8, 2)
        """
        tbptt = self._check_tbptt(tbptt, whole=self.omega)
        options = _CallOptions(_threads(n_threads), _check_memory_limit(memory_limit, tbptt),
                               None if noise is dropout is False else self._draws(noise, dropout), tbptt, bool(input_gradient),
                               bool(initial_state_gradient))
        return self._run(backend, "loss_and_gradients", _Batch(X, D, weights, initial_state, lengths, resets), options)

    def backward(self, X: ArrayLike, dY: ArrayLike, *, initial_state: ArrayLike | None = None,
                 lengths: ArrayLike | None = None, resets: ArrayLike | None = None, tbptt: Tbptt | None = None,
                 memory_limit: MemoryLimit | None = None, input_gradient: Bool = False,
                 initial_state_gradient: Bool = False, noise: Noise = False, dropout: Noise = False,
                 n_threads: Int | None = None, backend: Backend = "core") -> dict[str, np.ndarray]:
        """Return the gradients of any other loss, given dY = ∂E/∂Y (T, B, O), as a dict like that of `loss_and_gradients`.

        The network keeps nothing between calls, so `backward` computes the outputs again. It takes as long as
        `loss_and_gradients`. The other arguments are those of `loss_and_gradients`.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> Y = net.forward(X)[0]
        >>> gradients = net.backward(X, 2 * (Y - D) / 15)
        >>> bool(np.allclose(gradients["W_s"], net.loss_and_gradients(X, D)[1]["W_s"]))
        True
        """
        tbptt = self._check_tbptt(tbptt)
        options = _CallOptions(_threads(n_threads), _check_memory_limit(memory_limit, tbptt),
                               None if noise is dropout is False else self._draws(noise, dropout), tbptt, bool(input_gradient),
                               bool(initial_state_gradient))
        return self._run(backend, "backward", _Batch(X, dY, None, initial_state, lengths, resets), options)

    def memory_estimate(self, T: Int, B: Int, *, lengths: ArrayLike | None = None, resets: Bool = False,
                        weights: Literal["step", "output"] | None = None, sparse: Bool = False,
                        tbptt: Tbptt | None = None, memory_limit: MemoryLimit | None = None, dropout: Bool = False,
                        n_threads: Int | None = None) -> int:
        """Return the bytes of workspace that `loss_and_gradients` of a (T, B) batch takes, without the gradients.

        Parameters
        ----------
        T, B : int
        lengths, tbptt, memory_limit, n_threads : as in `loss_and_gradients`
        resets : bool
            Whether the call will have resets.
        weights : None, "step" or "output"
            Whether the call will have weights (T, B), or weights of D's shape.
        sparse : bool
            Whether more than half of these weights will be zero, not counting padding. `loss_and_gradients` detects this
            itself. It then computes outputs only for the steps that have a weight, which needs other buffers.
        dropout : bool
            Whether recurrent_dropout will act, as in `fit`.

        Notes
        -----
        With a cross-entropy loss, D is assumed to hold labels. With several layers, the result counts the arrays between
        layers and the largest workspace of one layer. memory_limit bounds only that workspace.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> net.memory_estimate(1000, 10) > net.memory_estimate(1000, 10, memory_limit="auto")
        True
        """
        T, B = _checks.size("T", T, smallest=0), _checks.size("B", B, smallest=0)
        if lengths is not None:
            lengths = _checks.lengths(lengths, T, B)
        widths = {None: 0, "step": 1, "output": self.target_size}
        if weights not in widths:
            raise ValueError(f'weights must be None, "step" or "output", got {weights!r}')
        if _checks.flag("sparse", sparse) and weights is None:
            raise ValueError('sparse=True requires weights="step" or "output", got None')
        tbptt = self._check_tbptt(tbptt, whole=self.omega)
        labels = self._engines["reference"].loss == "cross_entropy"
        shape = _CallShape(T, B, lengths, _checks.flag("resets", resets), labels, widths[weights],
                           _checks.flag("sparse", sparse), _checks.flag("dropout", dropout))
        options = _CallOptions(_threads(n_threads), _check_memory_limit(memory_limit, tbptt), tbptt=tbptt)
        return self._engines["core"].workspace(self._theta, shape, options)

    def gradient_terms(self, X: ArrayLike, D: ArrayLike, t: Int, *, initial_state: ArrayLike | None = None,
                       n_threads: Int | None = None, backend: Backend = "core") -> dict[str, np.ndarray]:
        """Return the gradient of E_t = Σ_b e(Y_tb, D_tb), split by the step i <= t at which it reached the weights.

        Parameters
        ----------
        X, initial_state, n_threads, backend : as in `loss_and_gradients`
        D : as in `loss_and_gradients`; with output="last" the targets of step t
        t : int
            An index into Y, as in Python: 0 is the first step, −1 the last.

        Returns
        -------
        dict of arrays
            "W_s" (t+1, H, H) and "W_x" (t+1, H, I) hold the terms of the sum over i. "W_y" (O, H) has one term. "S" (t+1,
            B, H) is ∂E_t/∂S_i. Entry i belongs to X[i]. The terms are without weights and not divided: summed over all t,
            they give the gradient of reduction="sum".

        Raises
        ------
        IndexError
            If t is outside −T ... T−1.
        ValueError
            If the network has several layers or two directions.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> terms = net.gradient_terms(X, D, 4)
        >>> terms["W_s"].shape
        (5, 8, 8)
        """
        t = _checks.size("t", t, smallest=-(2**31))
        if self._stacked:
            raise ValueError(f"gradient_terms requires a network with one recurrence, got one with {len(self._widths)}")
        options = self._call_options(n_threads, False, False)
        return self._run(backend, "gradient_terms", _Batch(X, D, initial_state=initial_state), options, t)

    def gradcheck(self, X: ArrayLike | None = None, D: ArrayLike | None = None, *,
                  initial_state: ArrayLike | None = None, weights: ArrayLike | None = None, entries: Int = 100,
                  random_state: Seed = 0) -> diagnostics.GradientCheck:
        """Compare this network's gradients, from the reference and from the core, with complex-step derivatives.

        With omega > 0, both contain only the immediate part of Ω: with respect to W_s, with all S_t and ∂E/∂S_t held fixed.
        They are then not the derivative of the whole loss that `loss_and_gradients` returns.

        Parameters
        ----------
        X, D, initial_state, weights : as in `loss_and_gradients`
            The default is random data of 12 steps and 3 sequences.
        entries : int
            How many entries of each parameter to check. If it has more, they are drawn at random.
        random_state : None, int or Generator
            Seed of the random data and entries.

        Returns
        -------
        diagnostics.GradientCheck
            The largest relative error of each parameter. `describe()` returns them as a table.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> net.gradcheck(X, D).passed
        True
        """
        return diagnostics.gradcheck(self, X, D, initial_state=initial_state, weights=weights, entries=entries,
                                     random_state=random_state)

    def _summing(self):
        """Return a network with these parameters whose error is the sum without penalties: the share of a part of a batch."""
        network = RNN.__new__(RNN)
        network._configure(self._config | {"reduction": "sum", "l1": 0.0, "l2": 0.0}, self._entropy)
        network._theta = self._theta
        return network

    def _without_g2(self):
        """Return a network with these parameters whose outputs are Z, before g2."""
        network = RNN.__new__(RNN)
        network._configure(self._config | {"output_activation": "identity", "loss": "squared_error"}, self._entropy)
        network._theta = self._theta
        return network

    def objective(self, X: ArrayLike, D: ArrayLike, *, initial_state: ArrayLike | None = None,
                  weights: ArrayLike | None = None, lengths: ArrayLike | None = None, resets: ArrayLike | None = None,
                  n_threads: Int | None = None,
                  backend: Backend = "core") -> Callable[[ArrayLike], tuple[float, np.ndarray]]:
        """Return `fun(theta) -> (E, gradient)` for scipy.optimize with jac=True.

        fun does not change the network. E is a float and the gradient a float64 array, as SciPy requires. fun computes them
        in the network's dtype. With float32 it rounds theta to float32 first, and E and the gradient have float32 accuracy.

        The arguments are those of `loss_and_gradients`.

        Examples
        --------
        >>> import scipy.optimize
        >>> net = RNN(1, 4, 1, dtype="float64", random_state=0)
        >>> X, D = np.zeros((5, 3, 1)), np.ones((5, 3, 1))
        >>> result = scipy.optimize.minimize(net.objective(X, D), net.theta, jac=True, method="L-BFGS-B")
        >>> net.theta = result.x
        >>> net.evaluate(X, D) < 1e-6
        True
        """
        batch = self._check_data(X, D, weights, initial_state, lengths, resets)
        engine = self._engine(backend)
        size, dtype, options = self._theta.size, self.dtype, _CallOptions(_threads(n_threads))

        def fun(theta):
            gradient = np.empty(size, dtype)
            theta = _check_shape("theta", _checks.array("theta", theta, dtype), (size,), "(P,)")
            loss, penalty = engine.loss_into(theta, batch, options, gradient)
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
    def unit_leaks(self) -> Any:
        leaks = _units.present_leaks(self._config, self.parameters)
        return tuple(leaks) if self._stacked else leaks[0]

    @property
    def stream_positions(self) -> dict[str, int]:
        return self._positions._asdict()

    @stream_positions.setter
    def stream_positions(self, value: Mapping[str, Int]) -> None:
        self._positions = self._positions.changed("stream_positions", value)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return a copy of `parameters`.

        Examples
        --------
        >>> list(RNN(2, 8, 1, random_state=0).state_dict())
        ['W_x', 'W_s', 'b_s', 'W_y', 'b_y']
        """
        return {name: value.copy() for name, value in self.parameters.items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Copy all parameters from `state`, or none of them.

        Raises
        ------
        TypeError
            If state is not a dict.
        ValueError
            If its names or shapes differ from those of `parameters`, or if a value is NaN or infinite.

        Examples
        --------
        >>> net, other = RNN(2, 8, 1, random_state=0), RNN(2, 8, 1, random_state=1)
        >>> other.load_state_dict(net.state_dict())
        >>> bool((other.theta == net.theta).all())
        True
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a dict of parameters, got {type(state).__name__}")
        missing, unknown = [[name for name in a if name not in b] for a, b in ((self.parameters, state),
                                                                               (state, self.parameters))]
        if missing or unknown:
            raise ValueError(f"state must have the parameters of this network: missing {missing}, unknown {unknown}")
        checked = {}
        for name, view in self.parameters.items():
            checked[name] = _check_shape(name, _checks.array(name, state[name], self.dtype), view.shape, "")
            _checks.finite(name, checked[name], "ij")
        theta = np.concatenate([checked[name].ravel() for name in self.parameters])
        self._theta[...] = theta  # one copy, so that an interrupt cannot leave half of it

    def effective_parameters(self) -> dict[str, np.ndarray]:
        """Return copies of the parameters that the network computes with.

        They differ from `parameters` where connections are absent (0 here) or signs are fixed (|w| times the sign). With
        rank=R, W_s = M Nᵀ takes the place of M and N: these are the parameters of the same network without a rank. Use them
        to inspect weights and eigenvalues.

        Examples
        --------
        >>> net = RNN(2, 8, 1, dale_ratio=0.75, activation="relu", random_state=0)
        >>> bool((net.effective_parameters()["W_s"][:, :6] >= 0).all())
        True
        """
        effective, found = reference.effective(self.parameters, self._maps), {}
        for name in self.parameters:
            if name.startswith("M"):
                found["W_s" + name[1:]] = np.array(effective["W_s" + name[1:]])
            elif not name.startswith("N"):
                found[name] = np.array(effective[name])
        return found

    def copy(self) -> RNN:
        """Return an independent network with the same options and parameters, and the same positions of its random streams.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> other = net.copy()
        >>> other.parameters["W_x"][0, 0] += 1
        >>> bool((other.theta == net.theta).all())
        False
        """
        return copy.copy(self)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={_checks.short(value)}" for name, value in _options.shown(self._config).items())
        return f"RNN({options})"


for _part in RNN.__bases__:  # help and Python's messages about arguments then say RNN.fit, not Fitting.fit
    for _name, _method in vars(_part).items():
        if _method := getattr(_method, "__func__", _method if callable(_method) else None):
            _method.__module__, _method.__qualname__ = RNN.__module__, f"RNN.{_name}"

# `step`, `forward` and others are left out: they take one or two microseconds, and the check would add a tenth.
_checks.names_our_arguments("fit", "stream", "train_step", "generate", "gradient_terms", "gradcheck", "objective")(RNN)


def load(path: FilePath) -> Any:
    """Return the network, population, estimator, scaler or forecaster that `save` wrote to `path`.

    From a checkpoint of `fit` it returns only the network, even if an estimator wrote the checkpoint. A checkpoint holds
    none of the estimator's arguments, classes or scaling. To continue the training, call the estimator's own
    ``fit(checkpoint=path, resume=True)``. To keep an estimator, call its `save`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError, IsADirectoryError
        If path does not name a file.
    ValueError
        If the file is no model, is damaged, or comes from a later version. `load` does not trust the file's contents.

    Examples
    --------
    >>> RNN(2, 8, 1, random_state=0).save("network.npz")
    >>> load("network.npz").hidden_size
    8
    """
    path = _files.path_of(path)
    header, arrays = _files.read(path)
    try:
        kind = _KINDS[header["kind"]]
        return kind._from_file(header, arrays)
    except _checkpoint.DAMAGES as error:
        raise ValueError(f"{path!r} is not a model that this fastbptt knows: {error}") from error


_KINDS: dict[str, Any] = {"RNN": RNN, "Checkpoint": RNN}  # modules above this one add theirs
