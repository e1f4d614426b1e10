"""Check arguments, and raise errors that name the argument, what came and what is allowed.

Checks that several modules need belong here, and so do the names by which other packages call our options and arguments.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
from collections.abc import Callable
from typing import TypeVar

import numpy as np

_Init = TypeVar("_Init", bound=Callable[..., None])
_Kind = TypeVar("_Kind", bound=type)


LEAK_OR_PENALTY = "use leak for the leak of a unit, l2 for the penalty on weights"
LAYERS = "use hidden_size=(H, H), a tuple with the size of each layer"
INITIALIZER = 'use initializer="orthogonal", or a dict by parameter such as initializer={"W_s": ..., "b_s": ...}'
PENALTY = 'use l1 or l2, or a dict by parameter such as l2={"W_s": 1e-4}'
RUN = "it is an argument of fit"
SIZES_OF_DATA = "fit takes it from the data"

# Options of PyTorch, Keras, scikit-learn, PsychRNN and others that have another name here: {their name: hint}. If a hint is a
# pair, the first is for networks (RNN, Population), the second for estimators. Tests check the names in the hints.
FOREIGN = {
    "alpha": LEAK_OR_PENALTY,
    **dict.fromkeys(("units", "n_units", "num_units", "n_hidden", "num_hidden", "hidden_dim", "hidden_units",
                     "hidden_layer_sizes", "hidden_sizes", "hidden", "N_rec"), "use hidden_size"),
    **dict.fromkeys(("num_layers", "n_layers", "layers", "num_hidden_layers", "n_hidden_layers"), LAYERS),
    **dict.fromkeys(("input_dim", "n_inputs", "num_inputs", "in_features", "N_in", "input_shape"),
                    ("use input_size", SIZES_OF_DATA)),
    **dict.fromkeys(("output_dim", "n_outputs", "num_outputs", "out_features", "num_classes", "n_classes", "N_out"),
                    ("use output_size", SIZES_OF_DATA)),
    **dict.fromkeys(("nonlinearity", "act", "activation_function", "transfer_function", "hidden_activation"), "use activation"),
    **dict.fromkeys(("out_activation", "out_activation_", "final_activation"), "use output_activation"),
    **dict.fromkeys(("batch_first", "time_major"), (
        "X is always time-major, (T, B, I); fastbptt.sequences.to_time_major makes it from (N, T, I) or from a list",
        "X is always samples-first, (N, T, I) or a list of (T_n, I)")),
    **dict.fromkeys(("return_sequences", "return_sequence", "many_to_one"), 'use output="sequence" or output="last"'),
    "return_state": ("forward always returns the final state", "network_.forward returns the final state"),
    "stateful": ("a call returns the final state; give it to the next call as initial_state",
                 "network_.forward returns the final state, and takes initial_state"),
    "go_backwards": "use bidirectional=True for both directions, or reverse X",
    **dict.fromkeys(("h0", "h_0", "hx", "init_state", "initial_states"), (
        "initial_state is an argument of each call; use learn_initial_state=True to train it",
        "use learn_initial_state=True to train the initial state")),
    "dropout": "use recurrent_dropout, which acts on the states that W_s reads; there is no dropout of inputs",
    **dict.fromkeys(("use_bias", "fit_intercept"), "use bias"),
    **dict.fromkeys(("kernel_initializer", "recurrent_initializer", "bias_initializer", "init", "weight_init", "W_init"),
                    INITIALIZER),
    **dict.fromkeys(("kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "regularization", "l2_reg", "L2_in",
                     "L2_rec", "L2_out"), PENALTY),
    "weight_decay": ('use l2 for a penalty, or fit(optimizer="adamw")', 'use l2 for a penalty, or solver="adamw"'),
    "activity_regularizer": "use rate_penalty",
    "spectral_radius": 'use initializer=("spectral_radius", radius)',
    **dict.fromkeys(("criterion", "loss_fn", "loss_function", "objective"), "use loss"),
    **dict.fromkeys(("mask", "sparsity_mask", "connectivity_mask"), (
        "use connectivity for absent weights; weights of steps and lengths are arguments of each call",
        "use connectivity for absent weights; sample_weight weighs steps")),
    **dict.fromkeys(("rec_noise", "sigma_rec", "noise", "recurrent_noise"), "use noise_std"),
    **dict.fromkeys(("input_noise", "sigma_in", "sigma_input"), "use input_noise_std"),
    **dict.fromkeys(("ei_ratio", "dale", "exc_ratio"), "use dale_ratio"),
    **dict.fromkeys(("precision", "float_type"), "use dtype"),
    **dict.fromkeys(("seed", "rng", "random_seed"), "use random_state"),
    **dict.fromkeys(("lr", "eta", "step_size"), ("learning_rate is an argument of fit", "use learning_rate_init")),
    **dict.fromkeys(("learning_rate", "batch_size", "max_grad_norm", "shuffle", "validation"), RUN),
    "schedule": (RUN, "use learning_rate, which names the schedule"),
    "momentum": "use fit(optimizer=optimizers.SGD(momentum=0.9))",
    "optimizer": (RUN, "use solver"),
    "solver": ("optimizer is an argument of fit", RUN),
    **dict.fromkeys(("epochs", "n_epochs", "num_epochs", "n_iter", "max_epochs", "iterations"), (
        "epochs is an argument of fit", "use max_iter")),
    "max_iter": ("epochs is an argument of fit", RUN),
    **dict.fromkeys(("clip_norm", "clipnorm", "clip", "grad_clip", "gradient_clip", "max_norm", "clip_grad_norm"), (
        "max_grad_norm is an argument of fit", "use max_grad_norm")),
    "patience": ("it is an argument of fit", "use n_iter_no_change"),
    **dict.fromkeys(("verbose", "progress"), ("progress is an argument of fit", "use verbose")),
    **dict.fromkeys(("n_jobs", "num_threads", "threads", "workers", "n_threads"), (
        "n_threads is an argument of each call", "n_threads is an argument of fit")),
    "device": "all computation is on the CPU",
}


# Values of options that other packages name differently: {option: {their value: ours, or (ours, what else to give)}}. Their
# values are in lower case, with "_" in place of "-" and " ". A value that differs only in "_" needs no row. A hint is
# given only if our value is one of the choices.
SIGMOID, SOFTMAX = 'with output_activation="sigmoid"', 'with output_activation="softmax"'
FOREIGN_VALUES = {
    "activation": {
        **dict.fromkeys(("linear", "none", "id", "purelin"), "identity"),
        **dict.fromkeys(("logistic", "logsig", "sigm"), "sigmoid"),
        **dict.fromkeys(("tansig", "hyperbolic_tangent"), "tanh"),
        **dict.fromkeys(("rectified_linear", "rectify", "rect", "poslin", "rect_tanh"), "relu"),
        "lrelu": "leaky_relu",
        **dict.fromkeys(("swish", "sigmoid_linear_unit"), "silu"),
        **dict.fromkeys(("gaussian_error_linear_unit", "gelu_exact"), "gelu"),
    },
    "output_activation": {
        **dict.fromkeys(("linear", "none", "id", "purelin"), "identity"),
        **dict.fromkeys(("logistic", "logsig", "sigm"), "sigmoid"),
        **dict.fromkeys(("log_softmax", "logsoftmax"), "softmax"),
        "exponential": "exp",
    },
    "loss": {
        **dict.fromkeys(("mse", "l2", "mean_squared_error", "meansquarederror", "mse_loss", "squared_loss", "quadratic",
                         "squared"), "squared_error"),
        **dict.fromkeys(("mae", "l1", "mean_absolute_error", "meanabsoluteerror", "l1_loss", "absolute"), "absolute_error"),
        **dict.fromkeys(("smooth_l1", "huber_loss", "smooth_l1_loss"), "huber"),
        **dict.fromkeys(("pinball", "pinball_loss", "quantile_loss"), "quantile"),
        **dict.fromkeys(("bce", "bce_loss", "binary_crossentropy", "bce_with_logits", "bcewithlogits",
                         "bcewithlogitsloss"), ("binary_cross_entropy", SIGMOID)),
        **dict.fromkeys(("ce", "crossentropy", "cross_entropy_loss", "crossentropyloss", "categorical_crossentropy",
                         "sparse_categorical_crossentropy", "softmax_cross_entropy", "log_loss", "logloss", "nll", "nll_loss",
                         "nllloss"), ("cross_entropy", SOFTMAX)),
        **dict.fromkeys(("poisson_nll", "poisson_nll_loss", "poisson_loss"), ("poisson", 'with output_activation="exp"')),
    },
    "optimizer": {
        **dict.fromkeys(("gd", "gradient_descent", "steepest_descent"), "sgd"),
        **dict.fromkeys(("momentum", "sgd_momentum", "nesterov", "nag"), ("sgd", "with a momentum")),
    },
    "initializer": {
        **dict.fromkeys(("xavier", "xavier_uniform", "glorot"), "glorot_uniform"),
        **dict.fromkeys(("gaussian", "random_normal", "randn"), "normal"),
        **dict.fromkeys(("ortho", "orthonormal"), "orthogonal"),
        **dict.fromkeys(("eye", "irnn"), "identity"),
        **dict.fromkeys(("pytorch", "default", "uniform", "random_uniform"), "torch"),
        **dict.fromkeys(("esn", "reservoir"), "spectral_radius"),
    },
    "schedule": {
        **dict.fromkeys(("steplr", "step_lr"), "step"),
        **dict.fromkeys(("exponentiallr", "exponential_decay"), "exponential"),
        **dict.fromkeys(("cosineannealing", "cosine_annealing", "cosineannealinglr", "cosine_decay"), "cosine"),
        **dict.fromkeys(("reduce_on_plateau", "reducelronplateau", "adaptive"), "plateau"),
        **dict.fromkeys(("inv_scaling", "inverse_time_decay"), "invscaling"),
    },
    "reduction": dict.fromkeys(("average", "avg", "elementwise_mean"), "mean"),
    "output": {**dict.fromkeys(("final", "many_to_one"), "last"), **dict.fromkeys(("all", "many_to_many"), "sequence")},
}
FOREIGN_VALUES["solver"], FOREIGN_VALUES["learning_rate"] = FOREIGN_VALUES["optimizer"], FOREIGN_VALUES["schedule"]

# Arguments of methods that other packages name differently: {their name: ours}. The message names the first of ours that the
# method has.
FOREIGN_ARGUMENTS = {
    **dict.fromkeys(("x", "input", "inputs", "data"), ("X",)),
    **dict.fromkeys(("y", "Y", "target", "targets", "labels", "outputs"), ("D", "y")),
    "D": ("y",),
    **dict.fromkeys(("sample_weight", "sample_weights", "mask", "weight"), ("weights", "sample_weight")),
    "weights": ("sample_weight",),
    **dict.fromkeys(("h0", "h_0", "hx", "h", "state", "init_state", "initial_states", "S_0"), ("initial_state",)),
    **dict.fromkeys(("seq_len", "seq_lens", "seq_lengths", "sequence_length", "sequence_lengths"), ("lengths",)),
    **dict.fromkeys(("return_sequences", "return_state"), ("return_states",)),
    **dict.fromkeys(("lr", "eta", "step_size", "learning_rate_init"), ("learning_rate",)),
    **dict.fromkeys(("n_epochs", "num_epochs", "n_iter", "max_epochs", "max_iter", "iterations", "nb_epoch"), ("epochs",)),
    **dict.fromkeys(("n_updates", "steps", "n_steps", "max_steps", "steps_per_epoch"), ("updates", "steps")),
    "batchsize": ("batch_size",),
    **dict.fromkeys(("optim", "solver", "algorithm"), ("optimizer",)),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_schedule"), ("schedule",)),
    **dict.fromkeys(("clip_norm", "clipnorm", "clip", "grad_clip", "gradient_clip", "max_norm", "clip_grad_norm",
                     "gradient_clip_val"), ("max_grad_norm",)),
    **dict.fromkeys(("validation_data", "validation_split", "validation_fraction", "val", "val_data", "X_val", "eval_set"),
                    ("validation",)),
    **dict.fromkeys(("early_stopping", "n_iter_no_change"), ("patience",)),
    **dict.fromkeys(("tol", "min_delta"), ("min_improvement",)),
    **dict.fromkeys(("verbose", "show_progress"), ("progress",)),
    **dict.fromkeys(("callback", "hooks"), ("callbacks",)),
    "callbacks": ("callback",),
    **dict.fromkeys(("seed", "rng", "random_seed"), ("random_state",)),
    **dict.fromkeys(("n_jobs", "num_threads", "threads", "workers"), ("n_threads",)),
    **dict.fromkeys(("comm", "mpi_comm"), ("communicator",)),
    **dict.fromkeys(("bptt", "truncation", "truncated_bptt"), ("tbptt",)),
    "output": ("out",),
}


# Names in FOREIGN whose hints also suit a method that is called with such an argument
OF_CONSTRUCTORS = ("alpha", "weight_decay", "momentum", "batch_first", "time_major", "stateful")


def foreign(owner, name, estimator=False):
    """Return the error message for an option that other packages call `name`, or None if FOREIGN does not have the name.

    `owner` is the name of the class. `estimator` selects the hint for estimators.
    """
    hint = FOREIGN.get(name)
    if hint is None:
        return None
    return f"{owner} takes no {name}: {hint[estimator] if isinstance(hint, tuple) else hint}"


def unknown_option(owner, name, options):
    """Return the message for an option that `owner`, the name of a network class, does not have. `options` are its options."""
    near = difflib.get_close_matches(name, options, n=1)
    return foreign(owner, name) or f"{owner} takes no {name!r}" + (
        f"; did you mean {near[0]!r}?" if near else f", only {', '.join(options)}")


def refuses_unknown_options(init: _Init) -> _Init:
    """Return a network's constructor `init` that first raises TypeError for unknown options.

    Python would report missing ones before unknown ones.
    """
    names = [name for name, parameter in inspect.signature(init).parameters.items()
             if parameter.kind is not parameter.VAR_KEYWORD][1:]

    @functools.wraps(init)
    def checked(self, *args, **options):
        """Call the constructor if it takes all names in `options`, by its signature or the class's `_more_options`."""
        known = names + list(getattr(self, "_more_options", ()))
        for name in options:
            if name not in known:
                raise TypeError(unknown_option(type(self).__name__, name, known))
        init(self, *args, **options)

    return checked  # type: ignore[return-value]  # functools.wraps keeps init's signature


def names_our_arguments(*methods: str) -> Callable[[_Kind], _Kind]:
    """Return a class decorator for these methods: a call with another package's argument name raises TypeError and names ours.

    Exceptions of the method itself pass through. An unknown name that has no hint gets Python's own message.
    """
    def decorate(kind: _Kind) -> _Kind:
        """Return the class with the check added to each of the methods."""
        for name in methods:
            setattr(kind, name, names_our_argument(getattr(kind, name), f"{kind.__name__}.{name}", kind))
        return kind

    return decorate


def names_our_argument(function, owner, kind=None):
    """Return the function with a check that raises TypeError for another package's argument name, and names ours.

    `owner` is the name of the function in messages. `kind` is its class, or None.
    """
    known = frozenset(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args, **given):
        """Call the function after the names of its arguments are checked."""
        if not given.keys() <= known:
            for name in given:
                if name not in known and (message := unknown_argument(owner, name, known, kind)):
                    raise TypeError(message)
        return function(*args, **given)

    return checked


def unknown_argument(owner, name, known, kind=None):
    """Return the message for an argument that the method `owner` of the class `kind` does not have.

    `known` are the arguments of the method. Return None if no hint fits and no argument has a similar name.
    """
    ours = [each for each in FOREIGN_ARGUMENTS.get(name, ()) if each in known]
    if ours:
        return f"{owner} takes no {name}: use {ours[0]}"
    if name in OF_CONSTRUCTORS and (hint := foreign(owner, name, "get_params" in dir(kind))):
        return hint
    if kind is not None and name in (*inspect.signature(kind).parameters, *getattr(kind, "_more_options", ())):
        return f"{owner} takes no {name}: it is an option of {kind.__name__}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"{owner} takes no {name!r}; did you mean {near[0]!r}?" if near else None


def choose(name, value, choices):
    """Return `value` if it is one of the strings `choices`. Raise ValueError with the nearest choices if it is not.

    `name` is the name of the argument. Values that other packages use for it (FOREIGN_VALUES) get a hint.
    """
    if isinstance(value, str) and value in choices:
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, one of {', '.join(choices)}; got {type(value).__name__}")
    spelled = value.lower().replace("-", "_").replace(" ", "_")
    known = {ours.replace("_", ""): ours for ours in choices}
    known = {spelled: known.get(spelled.replace("_", ""), spelled)} | FOREIGN_VALUES.get(name, {})
    ours, *more = np.atleast_1d(known[spelled]).tolist()
    if ours in choices:
        raise ValueError(f"unknown {name} {value!r}; use {ours!r}{''.join(f' {words}' for words in more)}; choose from "
                         f"{', '.join(choices)}")
    near = [] if spelled in FOREIGN_VALUES.get(name, {}) else difflib.get_close_matches(value, choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"unknown {name} {value!r}; {hint}choose from {', '.join(choices)}")


def size(name, value, smallest=1):
    """Return `value` as an int, for numbers of things. Raise TypeError for other types, ValueError if it is out of range.

    The range is from `smallest` to 2**31 - 1, which C code can hold.
    """
    if type(value) is not int and (isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral)):
        raise TypeError(f"{name} must be an int, got {type(value).__name__} {value!r}")
    if not smallest <= value <= 2**31 - 1:
        raise ValueError(f"{name} must be from {smallest} to {2**31 - 1}, got {value}")
    return int(value)


def counted(number, word):
    """Return the text of a number with its noun `word`, such as "1 epoch" or "3 epochs"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def reasons(stopped):
    """Return a text with the number of networks per reason in the list `stopped`, such as "3 'epochs', 1 'patience'"."""
    return ", ".join(f"{stopped.count(reason)} {reason!r}" for reason in dict.fromkeys(stopped))


def count(name, value):
    """Return `value` as an int, for positions of random streams. Raise TypeError for other types, ValueError if out of range.

    The range is from 0 to 2**63 - 1.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an int, got {type(value).__name__} {value!r}")
    if not 0 <= value < 2**63:
        raise ValueError(f"{name} must be from 0 to 2**63 - 1, got {value}")
    return int(value)


def flag(name, value):
    """Return `value` as a bool. Raise TypeError for other types."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__} {value!r}")
    return bool(value)


def number(name, value, low, high=np.inf, low_allowed=False):
    """Return `value` as a float. Raise ValueError unless low < value < high, or value == low if `low_allowed`.

    Infinity and NaN are always refused. Raise TypeError for values that are not real numbers.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__} {value!r}")
    try:
        value = float(value)
    except OverflowError:  # an int of 400 digits, for example
        value = np.inf if value > 0 else -np.inf
    if not (low < value < high or (low_allowed and value == low)):
        raise ValueError(f"{name} must be finite and {'>=' if low_allowed else '>'} {low}"
                         f"{'' if high == np.inf else f' and < {high}'}, got {value}")
    return value


MOST = 2**31 - 1  # of a dimension


def array(name, value, dtype):
    """Return `value` as a C-contiguous, aligned array of `dtype` in native byte order. Copy only if it is not one already.

    Integers and booleans are converted to a floating `dtype`. Raise TypeError if `value` does not hold numbers, and ValueError
    for complex numbers, masked arrays and ragged lists.
    """
    if (type(value) is np.ndarray and value.dtype == dtype and value.flags.carray and value.dtype.kind in "fi"
            and max(value.shape, default=0) <= MOST):
        return value  # nothing to convert: the rest takes 2 us, and a call of a small network 20
    refuse_masked(name, value)
    if value is None or isinstance(value, (str, bytes, dict)):
        raise TypeError(f"{name} must be an array of numbers, got {type(value).__name__}")
    try:
        converted = np.asarray(value)
    except ValueError as error:
        refuse_ragged(name, value)
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    if converted.dtype.kind == "O":
        refuse_ragged(name, value)
    if converted.dtype.kind == "c":
        raise ValueError(f"{name} is complex; complex input is supported only by fastbptt.reference")
    if max(converted.shape, default=0) > MOST:  # before a copy: it may be a huge broadcast view
        raise ValueError(f"{name} has shape {converted.shape}; a dimension above {MOST} exceeds what BLAS counts")
    if converted.dtype.kind not in "buif":
        raise TypeError(f"{name} must be an array of numbers, got dtype {converted.dtype}")
    if np.dtype(dtype).kind == "i" and converted.dtype.kind == "f":
        raise TypeError(f"{name} must hold integers, got dtype {converted.dtype}")
    return np.require(converted, dtype, ["C_CONTIGUOUS", "ALIGNED"])


def flags(name, value):
    """Return `value` as a C-contiguous, aligned array of bool. Other dtypes raise TypeError; they are not converted."""
    refuse_masked(name, value)
    try:
        converted = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of True and False: {error}") from error
    if converted.dtype != bool:
        raise TypeError(f"{name} must hold True and False, got dtype {converted.dtype}")
    return np.require(converted, bool, ["C_CONTIGUOUS", "ALIGNED"])


OVER_TIME = ("X", "D", "dY", "prefix", "weights", "resets")  # arguments whose first axis is time


def refuse_ragged(name, value):
    """Raise ValueError if `value` holds sequences of different lengths, for an argument `name` whose first axis is time.

    The message names `to_time_major`. Other arguments and other values pass.
    """
    if name.split()[-1] not in OVER_TIME or not isinstance(value, (list, tuple, np.ndarray)):
        return
    steps = sorted({len(item) for item in value if hasattr(item, "__len__") and not isinstance(item, (str, bytes, dict))})
    if len(steps) > 1:
        letter = name.split()[-1]
        raise ValueError(f"{name} holds {len(value)} sequences of different lengths, from {steps[0]} to {steps[-1]}: convert "
                         f"them by {letter}, lengths = fastbptt.sequences.to_time_major({letter}), and give lengths=lengths")


def refuse_list_of_sequences(name, value, ndim):
    """Raise ValueError for a list of arrays that NumPy would stack to an array of `ndim` dimensions, with time as the first.

    Such a list usually holds sequences (T, I), but stacking treats its items as time steps (B, I). Nested lists of numbers are
    not ambiguous: they are written like the array that they stand for.
    """
    if isinstance(value, (list, tuple)) and any(getattr(item, "ndim", 0) == ndim - 1 for item in value):
        refuse_masked(name, value)
        refuse_ragged(name, value)
        letter = name.split()[-1]
        rest = "," if ndim == 2 else ", O" if letter == "D" else ", I"
        raise ValueError(f"{name} is a {type(value).__name__} of {len(value)} arrays, and networks take one array with time as "
                         f"its first axis: if each is a sequence (T{rest}), convert them by {letter}, lengths = "
                         f"fastbptt.sequences.to_time_major({letter}); if each is a time step (B{rest}), give "
                         f"np.stack({letter})")


def unconverted(name, value, dtype):
    """Raise if an operation that reads the user's own array at each call would have to convert it first."""
    if type(value) is not np.ndarray:
        raise TypeError(f"{name} must be a NumPy array, because each call reads it again, got {type(value).__name__}")
    if value.dtype != dtype or not value.dtype.isnative:
        raise TypeError(f"{name} must have dtype {np.dtype(dtype)}, because each call reads it again, got {value.dtype}")
    if not (value.flags.c_contiguous and value.flags.aligned):
        raise ValueError(f"{name} must be C-contiguous and aligned, because each call reads it again, got strides "
                         f"{value.strides} with shape {value.shape}")


def refuse_masked(name, value):
    """Raise ValueError for a masked array, or a list that has one, because NumPy's conversions silently drop the mask."""
    if isinstance(value, (list, tuple)):
        for n, item in enumerate(value):
            if isinstance(item, np.ma.MaskedArray):
                refuse_masked(f"{name}[{n}]", item)
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array, which is not supported: fill it, and give weights of 0 instead")


def first(bad, axes):
    """Return the index of the first True in the bool array `bad`, and its description such as "(t, b) = (3, 0)".

    `axes` has a letter for each axis.
    """
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    return place, f"({', '.join(axes[:len(place)])}) = {place}"


def finite(name, value, axes, skip=None):
    """Raise ValueError if `value` is NaN or infinite where `skip` is not True. The message names the first such index.

    `axes` has a letter for each axis of the array, such as "tbi".
    """
    bad = ~np.isfinite(value)
    if skip is not None:
        bad &= ~skip
    if bad.any():
        place, words = first(bad, axes)
        raise ValueError(f"{name} contains {'NaN' if np.isnan(value[place]) else 'infinity'}, first at {words}")


def lengths(value, T, B):
    """Return `value` as an intp array (B,). Raise ValueError for another shape, or a length that is not from 0 to T."""
    found = array("lengths", value, np.intp)
    if found.shape != (B,):
        raise ValueError(f"lengths must have shape (B,) = {(B,)}, got {found.shape}")
    bad = (found < 0) | (found > T)
    if bad.any():
        raise ValueError(f"lengths must be from 0 to T = {T}, got {found[bad][0]} for sequence {bad.argmax()}")
    return found


class DrawnSeed(int):
    """A seed that the operating system or a Generator drew, not the user: the next run of a script draws another."""


def seed(name, value):
    """Return `value` as a non-negative int of any size. A DrawnSeed stays a DrawnSeed."""
    if isinstance(value, DrawnSeed):
        return value
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be None, an int or a numpy.random.Generator, got {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return int(value)


def short(value):
    """Return repr(value), but with the shape of an array in place of its numbers, also inside a dict."""
    if isinstance(value, np.ndarray):
        return f"<array {value.shape}>"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {short(each)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple) and any(isinstance(each, np.ndarray) for each in value):
        return f"({', '.join(map(short, value))})"
    return repr(value)
