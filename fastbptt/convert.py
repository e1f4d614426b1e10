"""Convert parameters to PyTorch, and from PyTorch, Keras and PsychRNN. None of the three packages is imported.

Modules and layers are recognised by their methods, and NumPy converts their tensors. Each `from_*` function returns a `Found`:
the options that the other network states, its parameters under our names, and their dtype. A converter for another package is
one such function here and one method in `_network/conversion.py`.

Names of parameters of layer k >= 1 end in `_l{k}`. Those of the reverse direction also end in `_reverse`. The gates have
PyTorch's order. A GRU of both packages has two biases, and the reset gate multiplies the one of n: it is b_n, and b_s is the
sum of the others.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _files, _checks, reference
from .options import cells

if TYPE_CHECKING:
    from ._types import FilePath, Parameters


class Found(NamedTuple):
    """A network of another package."""

    options: dict  # options of RNN that the other network states, such as its sizes; a user may not contradict them
    parameters: dict  # by name; missing ones are zero
    dtype: str


# ---- PyTorch

_TORCH_MODULES = {"plain": "nn.RNN", "gru": "nn.GRU", "lstm": "nn.LSTM"}
_RECURRENT = re.compile(r"((?:.*\.)?)(weight|bias)_(ih|hh)_l(\d+)(_reverse)?")


def to_torch(parameters: Parameters, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the state dict of a module with nn.RNN, nn.GRU or nn.LSTM as `rnn` and nn.Linear as `linear`, in new arrays.

    PyTorch adds two biases: bias_ih is b_s, bias_hh is zero except for b_n. Learnable initial states are `h_0` (layers ·
    directions, 1, H) and, of an LSTM, `c_0`, which the module takes as arguments.

    Parameters
    ----------
    parameters : dict of arrays by name, as `RNN.parameters`
    options : dict with "activation" and, if the network has them, "cell", "reset_after", "leak" and "leak_form"

    Raises
    ------
    ValueError : the module does not have the activation, the reset gate before the product, the leak, or hidden sizes that
        differ between layers.
    """
    cell = options.get("cell", cells.PLAIN)
    if cell not in _TORCH_MODULES:
        raise ValueError(f"cell must be {', '.join(map(repr, _TORCH_MODULES))} for a module of PyTorch, got {cell!r}")
    module = _TORCH_MODULES[cell]
    if cell == cells.PLAIN and options["activation"] not in ("tanh", "relu"):
        raise ValueError(f"activation must be 'tanh' or 'relu' for nn.RNN, got {options['activation']!r}")
    if cell != cells.PLAIN and options["activation"] != "tanh":
        raise ValueError(f"activation must be 'tanh' for {module}, got {options['activation']!r}")
    if not options.get("reset_after", True):
        raise ValueError("reset_after must be True for nn.GRU, which has no other form; got False")
    if reference.has_leak(options.get("leak", 1)) or options.get("leak_form", "rate") != "rate":
        raise ValueError("leak must be 1 in the rate form for nn.RNN, which has no leak; got "
                         f"leak={_checks.short(options['leak'])} in the {options['leak_form']} form")
    suffixes = [name.removeprefix("W_s") for name in parameters if name.startswith("W_s")]
    sizes = {parameters["W_s" + suffix].shape[1] for suffix in suffixes}
    if len(sizes) > 1:
        raise ValueError(f"hidden_size must be the same for all layers for {module}, got {sorted(sizes)}")
    state = {}
    for suffix in suffixes:
        theirs = suffix if suffix.startswith("_l") else "_l0" + suffix
        state[f"rnn.weight_ih{theirs}"] = parameters["W_x" + suffix].copy()
        state[f"rnn.weight_hh{theirs}"] = parameters["W_s" + suffix].copy()
        if "b_s" + suffix in parameters:
            state[f"rnn.bias_ih{theirs}"] = parameters["b_s" + suffix].copy()
            state[f"rnn.bias_hh{theirs}"] = np.zeros_like(parameters["b_s" + suffix])
        if "b_n" + suffix in parameters:
            state[f"rnn.bias_hh{theirs}"][-len(parameters["b_n" + suffix]):] = parameters["b_n" + suffix]
    state["linear.weight"] = parameters["W_y"].copy()
    if "b_y" in parameters:
        state["linear.bias"] = parameters["b_y"].copy()
    if "S_0" in parameters:
        S_0 = np.stack([parameters["S_0" + suffix] for suffix in suffixes])[:, None]
        state |= zip(("h_0", "c_0"), (part.copy() for part in np.split(S_0, len(reference.cell_of(cell).states), axis=-1)))
    return state


def from_torch(rnn: Any, linear: Any = None) -> Found:
    """Return the network in PyTorch modules or state dicts. `RNN.from_torch` documents the arguments and the errors."""
    state = _torch_state("rnn", rnn)
    matches = {name: match for name in state if (match := _RECURRENT.fullmatch(name))}
    prefixes = sorted({match[1] for match in matches.values()})
    if len(prefixes) != 1:
        raise ValueError("rnn must hold one nn.RNN, nn.GRU or nn.LSTM, with keys such as weight_ih_l0; it holds "
                         f"{len(prefixes)}, and its keys are {', '.join(map(repr, state)) or 'none'}")
    projections = [name for name in state if "weight_hr_l" in name]
    if projections:
        raise ValueError(f"rnn must be an nn.LSTM without projections (proj_size=0), got {projections[0]!r}")
    parameters: dict[str, Any] = {}
    biases: dict[str, Any] = {}
    for name, (_, kind, side, layer, reverse) in ((name, match.groups("")) for name, match in matches.items()):
        suffix = (f"_l{layer}" if int(layer) else "") + reverse
        if kind == "bias":
            biases.setdefault(suffix, {})[side] = state[name]
        else:
            parameters[("W_x" if side == "ih" else "W_s") + suffix] = state[name]
    others = {name: value for name, value in state.items() if name not in matches}
    initial, memory = others.pop("h_0", None), others.pop("c_0", None)
    head = _torch_head("rnn", others) if linear is None else _torch_head("linear", _torch_state("linear", linear))
    if linear is not None and others:
        raise ValueError(f"rnn must hold only an nn.RNN if linear is given; it also has {', '.join(map(repr, others))}")
    options = _sizes(parameters, head, "weight_ih_l0 of rnn")
    cell = options.get("cell", cells.PLAIN)
    if cell != cells.PLAIN:
        options |= {"activation": "tanh"} | ({"reset_after": True} if cell == "gru" else {})
    for suffix, of in biases.items():
        parameters |= _merged(cell, suffix, *(of.get(side, np.zeros_like(next(iter(of.values())))) for side in ("ih", "hh")),
                              f"the biases of layer {suffix or '_l0'} of rnn")
    if (memory is None) != (cell != "lstm" or initial is None):
        raise ValueError("h_0 and c_0 must be given together for nn.LSTM, and h_0 alone for others; got "
                         f"{', '.join(name for name in ('h_0', 'c_0') if name in state)}")
    if initial is not None:
        suffixes = [name.removeprefix("W_s") for name in _recurrent_names(parameters)]
        if initial.shape[:-1] != (len(suffixes), 1):
            raise ValueError(f"h_0 must have shape (layers · directions, 1, H) = ({len(suffixes)}, 1, H), got {initial.shape}")
        if memory is not None:
            if memory.shape != initial.shape:
                raise ValueError(f"c_0 must have the shape of h_0, {initial.shape}, got {memory.shape}")
            initial = np.concatenate([initial, memory], axis=-1)
        parameters |= {"S_0" + suffix: S_0 for suffix, S_0 in zip(suffixes, initial[:, 0])}
        options["learn_initial_state"] = True
    said = {module.nonlinearity for module in _modules(rnn) if hasattr(module, "nonlinearity")}
    if len(said) == 1:
        options["activation"] = said.pop()
    return _found(options, parameters)


def _torch_state(name, given):
    """Return the arrays of a module or a state dict by name."""
    state = given.state_dict() if hasattr(given, "state_dict") else given
    if not isinstance(state, Mapping):
        raise TypeError(f"{name} must be a module or a state dict, got {type(given).__name__}")
    return {str(key): _array(f"{name}[{key!r}]", value) for key, value in state.items()}


def _merged(cell, suffix, of_inputs, of_states, name):
    """Return b_s, and b_n of a GRU, from the biases of another package: those beside W_x, and those beside W_s."""
    if of_inputs.shape != of_states.shape or of_inputs.ndim != 1 or (cell == "gru" and len(of_inputs) % 3):
        raise ValueError(f"{name} must have the same shape (G·H,), got {of_inputs.shape} and {of_states.shape}")
    if cell != "gru":
        return {"b_s" + suffix: of_inputs + of_states}
    H = len(of_inputs) // 3
    b_s = of_inputs.copy()
    b_s[:2 * H] += of_states[:2 * H]
    return {"b_s" + suffix: b_s, "b_n" + suffix: of_states[2 * H:].copy()}


def _torch_head(name, state):
    """Return a list of the weight and the bias of the single nn.Linear in a state dict, or an empty list without one."""
    weights = [key for key in state if key.rpartition(".")[2] == "weight"]
    prefix = weights[0].removesuffix("weight") if weights else ""
    if set(state) - {prefix + "weight", prefix + "bias"}:
        raise ValueError(f"{name} must hold one nn.Linear, with weight and bias, got {', '.join(map(repr, state))}")
    return [state[key] for key in (prefix + "weight", prefix + "bias") if key in state]


def _modules(given):
    return given.modules() if hasattr(given, "modules") else [given]


# ---- Keras

# Keras has the same functions by the same names, but for these. Its leaky_relu has another slope. Its gelu is the exact one
# unless a layer says otherwise.
_KERAS_NAMES = {name: name for name in (*reference.ACTIVATIONS, *reference.OUTPUT_ACTIVATIONS)
                if name not in ("identity", "exp", "leaky_relu")} | {
                    "linear": "identity", "exponential": "exp", "swish": "silu"}
_KERAS_ACTIVATIONS = {name: ours for name, ours in _KERAS_NAMES.items() if ours in reference.ACTIVATIONS}
_KERAS_OUTPUTS = {name: ours for name, ours in _KERAS_NAMES.items() if ours in reference.OUTPUT_ACTIVATIONS}
_KERAS_CELLS = {"SimpleRNN": cells.PLAIN, "GRU": "gru", "LSTM": "lstm"}
_KERAS_SKIPPED = ("InputLayer", "Dropout", "SpatialDropout1D")  # without effect on predictions


def from_keras(layers: Any) -> Found:
    """Return the network in a Keras Sequential, layers, or the list of their weights. `RNN.from_keras` documents the errors."""
    if isinstance(layers, (list, tuple)) and not any(hasattr(layer, "get_weights") for layer in layers):
        return _from_keras_weights([_array(f"layers[{n}]", array) for n, array in enumerate(layers)])
    if _is(layers, "Sequential"):
        layers = layers.layers
    elif not isinstance(layers, (list, tuple)):
        layers = [layers]
    layers = [layer for layer in layers if not any(_is(layer, name) for name in _KERAS_SKIPPED)]
    head = []
    options = {}
    if layers and _is(layers[-1], "TimeDistributed"):
        layers = [*layers[:-1], layers[-1].layer]
    if layers and _is(layers[-1], "Dense"):
        *layers, dense = layers
        head = _keras_arrays(dense)
        options["output_activation"] = _keras_activation(dense, _KERAS_OUTPUTS)
    pairs = [_keras_directions(layer) for layer in layers]
    each = [layer for pair in pairs for layer in pair]
    kinds = {_keras_kind(layer) for layer in each}
    if not pairs or len({len(pair) for pair in pairs}) != 1 or len(kinds) != 1:
        raise ValueError("layers must be SimpleRNN, GRU or LSTM, all of one kind, all of them or none in Bidirectional, and "
                         "optionally a last Dense; got "
                         f"{', '.join(type(layer).__name__ for layer in layers) or 'no recurrent layer'}")
    activations = {_keras_activation(layer, _KERAS_ACTIVATIONS) for layer in each}
    if len(activations) != 1:
        raise ValueError(f"layers must have the same activation, got activations {', '.join(sorted(activations))}")
    sequences = [layer.get_config()["return_sequences"] for layer in each]
    if not all(sequences[:-len(pairs[-1])]):
        raise ValueError(f"layers must have return_sequences=True, except the last recurrent one; got {sequences}")
    options |= {"activation": activations.pop(), "output": "sequence" if sequences[-1] else "last"}
    kind = kinds.pop()
    if kind != "SimpleRNN":
        gates = {layer.get_config()["recurrent_activation"] for layer in each}
        if gates != {"sigmoid"}:
            raise ValueError(f"layers: recurrent_activation must be 'sigmoid', got {', '.join(sorted(map(repr, gates)))}")
    if kind == "GRU":
        after = {layer.get_config()["reset_after"] for layer in each}
        if len(after) != 1:
            raise ValueError("layers: all GRU must have the same reset_after, got both")
        options["reset_after"] = after.pop()
    return _keras_found([[_keras_arrays(layer) for layer in pair] for pair in pairs], head, options, _KERAS_CELLS[kind])


def _from_keras_weights(arrays):
    """Return the network in a list of weights.

    For each layer and direction the list has a kernel, a recurrent kernel and an optional bias, which has two rows for a GRU
    with reset_after=True. The kernel and the optional bias of a Dense may follow.
    """
    groups = []
    for array in arrays:
        if groups and (array.ndim == 1 or (len(groups[-1]) == 1 and array.ndim == 2) or _is_bias_of_gru(array, groups[-1])):
            groups[-1].append(array)
        else:
            groups.append([array])
    *groups, head = groups if groups and (len(groups[-1]) == 1 or groups[-1][1].ndim == 1) else [*groups, []]
    if not groups or any([array.ndim for array in group] not in ([2, 2], [2, 2, 1], [2, 2, 2]) for group in groups) or (
            [array.ndim for array in head] not in ([], [2], [2, 1])):
        raise ValueError("layers, as a list of weights, must be kernel, recurrent_kernel(, bias) for each SimpleRNN, GRU or "
                         "LSTM, then optionally kernel(, bias) of a Dense; got shapes "
                         f"{', '.join(str(array.shape) for array in arrays) or 'of no arrays'}")
    if not head and len(groups) > 1:
        raise ValueError(f"layers is a list of weights of {len(groups)} recurrent layers without a Dense, which may be a stack "
                         "or two directions: give the layers instead of their weights")
    both = bool(head) and len(head[0]) == 2 * len(groups[-1][1])
    options = {}
    if _gates_of(groups[0][1].T) == 3 and len(groups[0]) == 3:
        options["reset_after"] = groups[0][2].ndim == 2
        if any(len(group) != 3 or group[2].ndim != groups[0][2].ndim for group in groups):
            raise ValueError("layers: all GRU must have the same reset_after, which the number of rows of their biases tells")
    return _keras_found([groups[n:n + 1 + both] for n in range(0, len(groups), 1 + both)], head, options, None)


def _is_bias_of_gru(array, group):
    """Return whether an array after a kernel and a recurrent kernel is the bias (2, 3H) of a GRU with reset_after=True."""
    if len(group) != 2 or group[1].ndim != 2 or _gates_of(group[1].T) != 3 or array.shape != (2, group[1].shape[1]):
        return False
    if len(group[1]) == 2:
        raise ValueError(f"layers: the shape {array.shape} after a GRU of 2 units may be that of a bias or of a kernel: give "
                         "the layers instead of their weights")
    return True


def _keras_found(pairs, head, options, cell):
    """Return the network. Kernels of Keras are (inputs, units), matrices here (units, inputs). None: the shapes say the cell.

    The blocks of a GRU are z, r, n in Keras, and r, z, n here. Those of an LSTM have one order.
    """
    parameters, biases = {}, {}
    for k, pair in enumerate(pairs):
        for direction, arrays in zip(("", "_reverse"), pair):
            suffix = (f"_l{k}" if k else "") + direction
            parameters |= {name + suffix: array.T for name, array in zip(("W_x", "W_s"), arrays)}
            biases |= {suffix: array for array in arrays[2:]}
    found = _sizes(parameters, [array.T for array in head], "the kernel of the first recurrent layer")
    cell = found.get("cell", cells.PLAIN) if cell is None else cell
    if cell != found.get("cell", cells.PLAIN):
        raise ValueError(f"layers: the recurrent kernel of a {cell} must have {len(reference.cell_of(cell).gates)} square "
                         f"blocks, got shape {parameters['W_s'].T.shape}")
    for suffix, bias in biases.items():
        if bias.ndim == 2:
            parameters |= _merged(cell, suffix, *_ours(cell, bias.T).T, "the bias of a layer")
        else:
            parameters["b_s" + suffix] = _ours(cell, bias)
    for name in parameters:
        if name.startswith(("W_x", "W_s")):
            parameters[name] = _ours(cell, parameters[name])
    return _found(found | options, parameters)


def _ours(cell, array):
    """Return an array whose rows have Keras' order of gates, with the rows in our order."""
    if cell != "gru":
        return array
    if len(array) % 3:
        raise ValueError(f"layers: the arrays of a GRU must have 3 blocks, got shape {array.shape[::-1]}")
    z, r, n = np.split(array, 3)
    return np.concatenate([r, z, n])


def _keras_kind(layer):
    return next((kind for kind in _KERAS_CELLS if _is(layer, kind)), None)


def _keras_directions(layer):
    """Return the list of the one or two recurrent layers of a layer."""
    pair = [layer.forward_layer, layer.backward_layer] if _is(layer, "Bidirectional") else [layer]
    for part in pair:
        if _keras_kind(part) is None:
            raise ValueError("layers must be SimpleRNN, GRU or LSTM, Bidirectional of them, or a last Dense; got "
                             f"{type(part).__name__}")
    if len(pair) == 2 and layer.get_config()["merge_mode"] != "concat":
        raise ValueError(f"layers: a Bidirectional must have merge_mode='concat', got {layer.get_config()['merge_mode']!r}")
    if [part.get_config()["go_backwards"] for part in pair] != [False, True][:len(pair)]:
        raise ValueError("layers: only the backward layer of a Bidirectional must have go_backwards=True, got "
                         f"{[part.get_config()['go_backwards'] for part in pair]}")
    return pair


def _keras_activation(layer, names):
    name = layer.get_config()["activation"]
    if not isinstance(name, str) or name not in names:
        raise ValueError(f"layers: the activation of {type(layer).__name__} must be one of {', '.join(names)}; got {name!r}")
    return names[name]


def _keras_arrays(layer):
    arrays = [_array(f"{type(layer).__name__}.get_weights()[{n}]", array) for n, array in enumerate(layer.get_weights())]
    if not arrays:
        raise ValueError(f"layers: {type(layer).__name__} has no weights yet; build the model first")
    return arrays


def _is(given, name):
    return any(kind.__name__ == name for kind in type(given).__mro__)


# ---- PsychRNN


def from_psychrnn(file: FilePath | Mapping[str, Any]) -> Found:
    """Return the network in an .npz of PsychRNN, or in the dict of its `get_weights`.

    `RNN.from_psychrnn` documents the errors.
    """
    weights = file if isinstance(file, Mapping) else _read_npz(file)
    names = {"W_x": "W_in", "W_s": "W_rec", "W_y": "W_out", "b_s": "b_rec", "b_y": "b_out", "S_0": "init_state"}
    missing = [theirs for theirs in names.values() if theirs not in weights]
    if missing:
        raise ValueError(f"file must hold a Basic network of PsychRNN: it has no {', '.join(missing)}, "
                         f"only {', '.join(map(repr, weights)) or 'nothing'}")
    parameters = {ours: _array(theirs, weights[theirs]) for ours, theirs in names.items()}
    parameters["S_0"] = np.atleast_2d(parameters["S_0"])[0]  # (1, H) in PsychRNN
    options = _sizes(parameters, [parameters["W_y"], parameters["b_y"]], "W_in") | {"learn_initial_state": True}
    if "cell" in options:
        raise ValueError(f"W_rec must be square, got shape {parameters['W_s'].shape}")
    there = {}
    for ours, theirs in (("W_x", "input_connectivity"), ("W_s", "rec_connectivity"), ("W_y", "output_connectivity")):
        there[ours] = _array(theirs, weights[theirs]) if theirs in weights else np.ones_like(parameters[ours])
        if there[ours].shape != parameters[ours].shape or not np.isin(there[ours], (0, 1)).all():
            raise ValueError(f"{theirs} must hold only 0 and 1 and have shape {parameters[ours].shape}, "
                             f"got an array of shape {there[ours].shape}")
    ratio = weights.get("dale_ratio")
    if ratio is not None and np.asarray(ratio).dtype != object and ratio:  # in PsychRNN, 0 is no Dale's law
        H = len(parameters["W_s"])
        derived = np.where(np.arange(H) < int(ratio * H), 1, -1).astype(parameters["W_s"].dtype)
        rec, out = (np.diag(_array(name, weights[name])) if name in weights else derived for name in ("Dale_rec", "Dale_out"))
        parameters |= {"W_x": abs(parameters["W_x"]), "W_s": abs(parameters["W_s"]) * rec, "W_y": abs(parameters["W_y"]) * out}
        there["W_y"] = there["W_y"] * (out != 0)
        options |= {"dale_signs": rec, "nonnegative": ("W_x", "W_y") if (out >= 0).all() else ("W_x",)}
    for ours in there:
        parameters[ours] = parameters[ours] * there[ours]
    connectivity = {ours: present for ours, present in there.items() if not present.all()}
    if connectivity:
        options["connectivity"] = connectivity
    return _found(options, parameters)


def _read_npz(file):
    """Return the arrays of an .npz by name. PsychRNN writes an absent dale_ratio as an array of objects: it becomes None."""
    arrays, file = {}, _files.path_of(file, "file")
    try:
        with np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                try:
                    arrays[name] = archive[name]
                except ValueError:
                    if name != "dale_ratio":
                        raise
                    arrays[name] = None
    except (ValueError, TypeError, EOFError, OSError, MemoryError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"file must be an .npz of PsychRNN; {file!r} is another file or damaged: {error}") from error
    return arrays


# ---- Shared by all packages


def _array(name, value):
    """Return a tensor, a variable or an array as a NumPy array, float64 if it is float64, else float32."""
    for method in ("detach", "cpu", "numpy"):
        if hasattr(value, method):
            value = getattr(value, method)()
    value = np.asarray(value)
    return _checks.array(name, value, value.dtype if value.dtype == np.float64 else np.float32)


def _recurrent_names(parameters):
    """Return the names of the recurrent matrices in the order of `RNN.parameters`: by layer, then by direction."""
    def place(name):
        layer = re.fullmatch(r"W_s(?:_l(\d+))?(_reverse)?", name)
        return int(layer[1] or 0), bool(layer[2])
    return sorted((name for name in parameters if name.startswith("W_s")), key=place)


def _sizes(parameters, head, first):
    """Return the options that follow from the parameters: sizes, layers, directions. Add W_y and b_y to the parameters.

    `head` is a list of W_y and, optionally, b_y. Without W_y the outputs are the states.
    """
    names = _recurrent_names(parameters)
    both = any(name.endswith("_reverse") for name in names)
    expected = ["W_s" + (f"_l{k}" if k else "") + reverse for k in range(len(names) // (1 + both))
                for reverse in ("", "_reverse")[:1 + both]]
    given = {name for name in parameters if name.startswith("W_")} - {"W_y"}
    if names != expected or given != {kind + name[3:] for name in names for kind in ("W_x", "W_s")}:
        raise ValueError(f"layers or directions are missing: under our names, there are only {', '.join(sorted(given))}")
    gates = [_gates_of(parameters[name]) for name in names]
    for name, G in zip(names, gates):
        if G not in _CELL_WITH:
            raise ValueError("the recurrent weights must be square, or 3 (GRU) or 4 (LSTM) square blocks; got shape "
                             f"{parameters[name].shape} for {name} in our layout")
        if G != gates[0]:
            raise ValueError(f"the layers must have one cell, got a {_CELL_WITH[gates[0]]} and a {_CELL_WITH[G]}")
    if parameters["W_x"].ndim != 2:
        raise ValueError(f"{first} must have two dimensions, got shape {parameters['W_x'].shape}")
    hidden = [parameters[name].shape[1] for name in names[::1 + both]]
    width = hidden[-1] * (1 + both)
    parameters |= dict(zip(("W_y", "b_y"), head if len(head) else [np.eye(width, dtype=parameters["W_s"].dtype)]))
    if parameters["W_y"].ndim != 2 or parameters["W_y"].shape[1] != width:
        raise ValueError(f"the output weights must have shape (O, {width}) in our layout, for states of width {width}; got "
                         f"{parameters['W_y'].shape}")
    options = {"input_size": parameters["W_x"].shape[1], "hidden_size": hidden[0] if len(hidden) == 1 else tuple(hidden),
               "output_size": len(parameters["W_y"])}
    if gates[0] > 1:
        options["cell"] = _CELL_WITH[gates[0]]
    return options | ({"bidirectional": True} if both else {})


_CELL_WITH = {len(reference.cell_of(name).gates): name for name in reversed(cells.NAMES)}  # of several, the first


def _gates_of(W_s):
    """Return the number of square blocks in a recurrent matrix (G·H, H), or 0 if it does not consist of such blocks."""
    if W_s.ndim != 2 or 0 in W_s.shape or W_s.shape[0] % W_s.shape[1]:
        return 0
    return W_s.shape[0] // W_s.shape[1]


def _found(options, parameters):
    options["bias"] = any(name.startswith("b_") for name in parameters)
    return Found(options, parameters, np.result_type(*parameters.values()).name)
