"""Initialise the parameters of a network.

Each initialiser is a function (shape, rng, number) -> array, where the number is optional. To add one, add a function and its
name in INITIALIZERS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _checks
from .threads import policy as _threading

if TYPE_CHECKING:
    from ._types import Initializer, Parameters
    from .reference import Map


def _orthogonal(shape, rng, gain=1.0):
    """Return a matrix of this shape whose rows (or columns, if these are fewer) are orthonormal, times `gain`.

    It is part of a uniformly distributed random rotation (Saxe et al. 2014).
    """
    Q, R = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    Q *= np.sign(np.diag(R))  # without this, the signs that QR chooses would make the distribution non-uniform
    return gain * (Q if shape[0] >= shape[1] else Q.T)


def _glorot_uniform(shape, rng, gain=1.0):
    """Return an array of this shape with numbers from U(±√(6 / (fan in + fan out))) times `gain` (Glorot and Bengio 2010)."""
    limit = gain * np.sqrt(6 / sum(shape))
    return rng.uniform(-limit, limit, shape)


def _identity(shape, rng, scale=1.0):
    """Return the unit matrix times `scale` (Le, Jaitly and Hinton 2015)."""
    return scale * np.eye(*shape)


def _normal(shape, rng, deviation=None):
    """Return an array of this shape with numbers from N(0, deviation²).

    The default deviation 1/√columns gives a spectral radius of about 1.
    """
    return rng.normal(0, 1 / np.sqrt(shape[-1]) if deviation is None else deviation, shape)


def _spectral_radius(shape, rng, radius=1.1):
    """Return a normal matrix, scaled so that its largest eigenvalue has the modulus `radius` (1.1: Sutskever et al. 2013).

    A matrix that is not square is scaled by its largest singular value.
    """
    W = rng.standard_normal(shape)
    largest = _spectral_radius_of(W) if shape[0] == shape[1] else np.linalg.norm(W, 2)
    return W * (radius / largest)


def _sparse(shape, rng, nonzeros=15):
    """Return a matrix with `nonzeros` normal entries per row and zeros elsewhere (Martens 2010; 15: Pascanu et al. 2013)."""
    nonzeros = min(_checks.size("the nonzeros of sparse", nonzeros), shape[1])
    W = np.zeros(shape)
    for row in W:
        row[rng.choice(shape[1], nonzeros, replace=False)] = rng.standard_normal(nonzeros)
    return W


INITIALIZERS = {"orthogonal": _orthogonal, "glorot_uniform": _glorot_uniform, "torch": None, "identity": _identity,
                "spectral_radius": _spectral_radius, "sparse": _sparse, "normal": _normal}
DEFAULT = "orthogonal"  # of W_s, for every cell


def draw(initializer: Initializer | None, parameters: Parameters, seed: np.random.SeedSequence,
         maps: Mapping[str, Map] | None = None, forget_bias: float | None = None) -> dict[str, np.ndarray]:
    """Return the initial values of all parameters, a dict of arrays by name.

    `initializer` is the network's option. `parameters` are arrays of the right shapes by name, whose values are not read.
    `seed` gives each parameter its own stream of random numbers, so that an option does not change the values of other
    parameters. Named initialisers fill the block of each gate in W_x and W_s separately. `forget_bias` is for an LSTM: it
    fills the rows of gate f in each b_s for which `initializer` has no values. Values of a named initialiser are adapted to
    the parameter's reference.Map (see `_adapt_to_map`). Values of a function or an array change only where a connection is
    absent: they become 0.
    """
    initializer = DEFAULT if initializer is None else initializer
    names = dict.fromkeys(parameters)
    suffixes = [name.removeprefix("W_x") for name in names if name.startswith("W_x")]
    recurrent = [name + suffix for suffix in suffixes for name in ("W_s", "M", "N") if name + suffix in names]
    if isinstance(initializer, dict):
        unknown = [name for name in initializer if name not in names]
        if unknown:
            raise ValueError(f"initializer names {unknown}, but this network's parameters are {', '.join(names)}")
        names |= {name: _recurrent(name, (DEFAULT,)) for name in recurrent}
        for name, value in initializer.items():
            names[name] = _check_initializer(value, True)
    elif callable(initializer) or _check_initializer(initializer, False) == ("torch",):
        names = dict.fromkeys(names, initializer)
    else:
        names |= {name: _recurrent(name, _check_initializer(initializer, False)) for name in recurrent}
    streams = ["W_x", "W_s", "b_s", "W_y", "b_y", "S_0"]
    for suffix in suffixes[1:]:  # appended, so that the first recurrence draws the same values for any depth
        streams += [each + suffix for each in ("W_x", "W_s", "b_s", "S_0")]
    fixed_streams = dict(zip(streams, seed.spawn(len(streams))))
    for suffix in suffixes:  # these came later: children of streams whose place does not depend on the depth
        fixed_streams["b_n" + suffix] = fixed_streams["b_s" + suffix].spawn(1)[0]
        fixed_streams |= zip((name + suffix for name in ("M", "N")), fixed_streams["W_s" + suffix].spawn(2))
    # The number of units H of the recurrence, or for W_y and b_y the width of the states that W_y reads
    units = {suffix: parameters["W_s" + suffix].shape[1] if "W_s" + suffix in names else len(parameters["N" + suffix])
             for suffix in suffixes}
    widths = {name: units[_suffix(name)] if name not in ("W_y", "b_y") else parameters["W_y"].shape[1] for name in parameters}
    gates = {name: len(parameters[name]) // widths[name] if name.startswith(("W_x", "W_s", "M")) else 1 for name in parameters}
    # A function of the user runs in the calling thread.
    drawn = {name: _threading.interruptible(0 if callable(names[name]) else view.size, _draw_one, name, names[name], view.shape,
                                            np.random.default_rng(fixed_streams[name]), widths[name], gates[name])
             for name, view in parameters.items() if not _is_joint(name, names[name])}
    for suffix in suffixes:
        pair = "M" + suffix, "N" + suffix
        joint = [name for name in pair if name in names and _is_joint(name, names[name])]
        if joint:
            rng = np.random.default_rng(fixed_streams["W_s" + suffix])
            factors = dict(zip(pair, _threading.interruptible(
                parameters[pair[0]].size, _factors, names[joint[0]], gates[pair[0]], *parameters[pair[1]].shape, rng)))
            drawn |= {name: factors[name] for name in joint}
    drawn = {name: drawn[name] for name in parameters}
    if forget_bias is not None:
        for name in drawn:
            if name.startswith("b_s") and names[name] is None:
                drawn[name][widths[name]:2 * widths[name]] = forget_bias
    return drawn | {name: _threading.interruptible(np.size(drawn[name]), _adapt_each_gate, name, drawn[name], parametrization,
                                                   gates[name],
                                                   not callable(names[name]) and not isinstance(names[name], np.ndarray))
                    for name, parametrization in (maps or {}).items()}


def _suffix(name):
    """Return the suffix of a recurrence's parameter: that of W_s_l1 and of M_l1 is _l1."""
    return name[1:] if name.startswith(("M", "N")) else name[3:]


def _recurrent(name, initializer):
    """Return the initialiser of W_s, or of M or N as a factor of it."""
    return initializer if name.startswith("W_s") else _OfProduct(initializer)


def _is_joint(name, initializer):
    """Return whether M or N is a factor of the matrix that `initializer` names, and not an array of its own."""
    return name.startswith(("M", "N")) and isinstance(initializer, _OfProduct)


class _OfProduct(NamedTuple):
    """The initialiser of W_s = M Nᵀ, of which M or N is a factor."""

    initializer: tuple


def _factors(of, gates, H, R, rng):
    """Return M = Q K (gates·H, R) and N = Q (H, R), with orthonormal columns Q and a matrix K (R, R) for each gate.

    M Nᵀ has the singular values of K and, for one gate, its eigenvalues. K is drawn as W_s would be.
    """
    Q = _orthogonal((H, R), rng)
    name, *number = of.initializer
    if name == "normal" and number:  # the spectral radius of a full matrix is √H times its standard deviation
        number = [number[0] * np.sqrt(H / R)]
    K = [_draw_one("W_s", (name, *number), (R, R), rng, H, 1) for _ in range(gates)]
    return np.concatenate([Q @ of_gate for of_gate in K]), Q


def _adapt_each_gate(name, W, parametrization, gates, by_name):
    """Return W adapted to its parametrization (a reference.Map), the block of each of the gates separately.

    See `_adapt_to_map`, also for `by_name`.
    """
    if gates == 1 or np.shape(W) != parametrization.present.shape:
        return _adapt_to_map(name, W, parametrization, by_name)
    parts = zip(np.split(np.asarray(W), gates), *(np.split(array, gates) for array in parametrization))
    return np.concatenate([_adapt_to_map(name, part, type(parametrization)(*arrays), by_name) for part, *arrays in parts])


def _adapt_to_map(name, W, parametrization, by_name):
    """Return the drawn matrix W, adapted to its parametrization, a reference.Map: 0 where a connection is absent.

    If `by_name`, which says that a named initialiser drew W, W is |W| where a sign is fixed, and a recurrent matrix is scaled
    in two steps. First, the inhibitory entries of each row are scaled to balance the excitatory ones: otherwise one
    eigenvalue lies far outside the others (Rajan and Abbott 2006, PRL 97:188104). Then the whole matrix is scaled so that its
    largest eigenvalue has the same modulus as that of the W drawn.
    """
    if np.shape(W) != parametrization.present.shape:  # the caller raises a detailed error for a wrong shape
        return W
    fitted = np.where(parametrization.present, W, 0)
    if not by_name or parametrization.present.all() and not parametrization.sign.any():
        return fitted
    fitted = np.where(parametrization.sign == 0, fitted, np.abs(fitted))
    if not name.startswith("W_s"):
        return fitted
    excitation, inhibition = ((fitted * (parametrization.sign == sign)).sum(axis=1, keepdims=True) for sign in (1, -1))
    balanced = (excitation > 0) & (inhibition > 0)
    fitted = np.where((parametrization.sign < 0) & balanced, fitted * excitation / np.where(balanced, inhibition, 1), fitted)
    signed = np.where(parametrization.sign < 0, -fitted, fitted)
    radius = _spectral_radius_of(signed)
    if radius <= 0.1 * np.linalg.norm(signed, 2):  # such as a chain, whose eigenvalues are 0 or rounding errors
        return fitted
    return fitted * (_spectral_radius_of(W) / radius)


def _spectral_radius_of(W):
    """Return the largest modulus of the eigenvalues of a square matrix."""
    return np.abs(np.linalg.eigvals(W)).max()


def _check_initializer(initializer, alone):
    """Return `initializer` as (name,) or (name, number). Raise TypeError or ValueError if it is none.

    For the value of a single parameter (`alone`), also return a function or an array.
    """
    if alone and (callable(initializer) or isinstance(initializer, np.ndarray)):
        return initializer
    if alone and isinstance(initializer, list) and not any(isinstance(value, str) for value in initializer):
        return np.asarray(initializer)
    if isinstance(initializer, np.ndarray):
        raise TypeError('initializer is an array without a parameter; give a dict by parameter such as {"W_s": array}')
    chosen = tuple(initializer) if isinstance(initializer, (tuple, list)) else (initializer,)
    if len(chosen) not in (1, 2):
        raise ValueError(f"initializer must be a name or (name, number), got {initializer!r}")
    _checks.choose("initializer", chosen[0], INITIALIZERS)
    if chosen[0] == "torch" and len(chosen) == 2:
        raise ValueError(f"initializer 'torch' takes no number, got {chosen[1]!r}")
    return chosen


def _draw_one(name, initializer, shape, rng, hidden_size, gates):
    """Return the initial value of the parameter `name`, an array of this shape.

    `initializer` is a function, an array, a name, (name, number), or None for the default of all parameters but W_s. The rows
    have a block for each of the gates. `hidden_size` sets the range of "torch".
    """
    if isinstance(initializer, np.ndarray):
        return initializer
    if callable(initializer):
        return initializer(shape, rng)
    if gates > 1 and (initializer is None or _check_initializer(initializer, True) != ("torch",)):
        block = shape[0] // gates, shape[1]
        return np.concatenate([_draw_one(name, initializer, block, rng, hidden_size, 1) for _ in range(gates)])
    if initializer is None:
        return _glorot_uniform(shape, rng) if len(shape) == 2 else np.zeros(shape)
    chosen, *number = _check_initializer(initializer, True)
    if chosen == "torch":  # S_0 is zero, because nn.RNN has no such parameter
        limit = 0 if name.startswith("S_0") else 1 / np.sqrt(hidden_size)
        return rng.uniform(-limit, limit, shape)
    if len(shape) != 2:
        raise ValueError(f"initializer {chosen!r} is only for matrices, and {name} has shape {shape}; give an array, a "
                         "function or 'torch'")
    if number:
        number = [_checks.number(f"the number of initializer {chosen!r}", number[0], 0) if chosen != "sparse" else number[0]]
    return INITIALIZERS[chosen](shape, rng, *number)
