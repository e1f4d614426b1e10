"""Tables of activations, output activations and losses, each with its derivative.

To add one, add a row here and its name in the core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .elementary import (
    _abs, _exp, _logsumexp, _modulus, _normal_density, _normal_distribution, _positive, _sigmoid, _sign, _softmax, _softplus,
)

LEAKY_SLOPE = 0.01  # slope of leaky_relu below zero, as in PyTorch and Keras 2


class of_input:
    """Mark a derivative in ACTIVATIONS as a function of the pre-activation A. The others are functions of R = g1(A)."""

    def __init__(self, derivative: Callable[[np.ndarray], np.ndarray]) -> None:
        self.derivative = derivative

    def __call__(self, A: np.ndarray) -> np.ndarray:
        return self.derivative(A)


# name: (g1(A), g1' as a function of the output R = g1(A), or of A if it is marked)
ACTIVATIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "tanh": (np.tanh, lambda R: 1 - R * R),
    "relu": (_positive, lambda R: (R.real > 0).astype(R.dtype)),
    "sigmoid": (_sigmoid, lambda R: R * (1 - R)),
    "identity": (lambda A: A, np.ones_like),
    "softplus": (_softplus, lambda R: -np.expm1(-R)),
    "leaky_relu": (
        lambda A: np.where(A.real > 0, A, A * A.real.dtype.type(LEAKY_SLOPE)),
        lambda R: np.where(R.real > 0, 1, LEAKY_SLOPE).astype(R.dtype),
    ),
    "elu": (
        lambda A: _positive(A) + np.expm1(A - _positive(A)),
        lambda R: np.where(R.real > 0, 1, R + 1),
    ),
    "softsign": (lambda A: A / (1 + _abs(A)), lambda R: (1 - _abs(R)) ** 2),
    "silu": (lambda A: A * _sigmoid(A), of_input(lambda A: _sigmoid(A) * (1 + A * _sigmoid(-A)))),
    "gelu": (lambda A: A * _normal_distribution(A), of_input(lambda A: _normal_distribution(A) + A * _normal_density(A))),
}

KINKED_ACTIVATIONS = ("relu", "leaky_relu")  # at A = 0, where the derivative jumps


def reads_input(activation: str) -> bool:
    """Return whether g1' is a function of the pre-activation A, which the forward pass must then keep."""
    return isinstance(ACTIVATIONS[activation][1], of_input)


# name: (g2(Z), the vector-Jacobian product (dY, Y) -> dZ, that is dZ_o = Σ_p dY_p ∂Y_p/∂Z_o)
OUTPUT_ACTIVATIONS = {
    "identity": (lambda Z: Z, lambda dY, Y: dY),
    "sigmoid": (_sigmoid, lambda dY, Y: dY * Y * (1 - Y)),
    "tanh": (np.tanh, lambda dY, Y: dY * (1 - Y * Y)),
    "softmax": (_softmax, lambda dY, Y: Y * (dY - (dY * Y).sum(axis=-1, keepdims=True))),
    "exp": (_exp, lambda dY, Y: dY * Y),
}

NOISE = 16  # with omega, a sum is zero if it is at most NOISE times the rounding unit times the size of its terms


def _softmax_back_settled(dY, Y):
    """Return the vector-Jacobian product of softmax, with 0 where the difference is only rounding noise (see omega)."""
    inner = (dY * Y).sum(axis=-1, keepdims=True)
    noise = NOISE * np.finfo(Y.dtype).eps * (np.abs(dY) + np.abs(inner))
    return np.where(np.abs(dY - inner) <= noise, 0, Y * (dY - inner))


def _huber(Y, Z, D, threshold):
    """Return ½ r² where |r| <= threshold, else threshold (|r| - ½ threshold), with r = Y - D (Huber 1964)."""
    r = Y - D
    inside = _abs(r).real <= threshold
    return np.where(inside, r * r / 2, threshold * (_abs(r) - threshold / 2))


def _d_huber(Y, Z, D, threshold):
    r = Y - D
    return np.where(_abs(r).real <= threshold, r, threshold * _sign(r)).astype(r.dtype)


def _quantile(Y, Z, D, levels):
    """Return max(q r, (q - 1) r) with r = D - Y (Koenker and Bassett 1978). Level l of target k is output l K + k."""
    r, q = D - Y, np.repeat(np.asarray(levels, Y.real.dtype), Y.shape[-1] // len(levels))
    return np.where(r.real == 0, 0, np.where(r.real > 0, q, q - 1) * r)


def _d_quantile(Y, Z, D, levels):
    r, q = D - Y, np.repeat(np.asarray(levels, Y.real.dtype), Y.shape[-1] // len(levels))
    return np.where(r.real > 0, -q, np.where(r.real < 0, 1 - q, r)).astype(Y.dtype)



class with_output:
    """Mark a derivative in LOSSES as that of a loss which is one function of Z with its output activation.

    It is the derivative with respect to Z, which is finite wherever the loss is.
    """

    def __init__(self, output_activation: str, derivative: Callable[..., np.ndarray]) -> None:
        self.output_activation, self.derivative = output_activation, derivative

    def __call__(self, *arguments: Any) -> np.ndarray:
        return self.derivative(*arguments)


# name: (e for each output, its derivative). The derivative is with respect to Y, or to Z if it is marked.
LOSSES: dict[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "squared_error": (lambda Y, Z, D, _: (D - Y) * (D - Y), lambda Y, Z, D, _: 2 * (Y - D)),
    "absolute_error": (lambda Y, Z, D, _: _modulus(D - Y), lambda Y, Z, D, _: _sign(Y - D).astype(Y.dtype)),
    "huber": (_huber, _d_huber),
    "quantile": (_quantile, _d_quantile),
    "binary_cross_entropy": (
        lambda Y, Z, D, _: _softplus(Z) - Z * D,
        with_output("sigmoid", lambda Y, Z, D, _: Y - D),
    ),
    "cross_entropy": (
        lambda Y, Z, D, _: D * (_logsumexp(Z) - Z),
        with_output("softmax", lambda Y, Z, D, _: Y * D.sum(axis=-1, keepdims=True) - D),
    ),
    "poisson": (lambda Y, Z, D, _: Y - D * Z, with_output("exp", lambda Y, Z, D, _: Y - D)),
}

KINKED_LOSSES = ("absolute_error", "quantile")  # at Y = D, where the derivative jumps

# name of a fused loss: the output activation that it requires
FUSED = {name: derivative.output_activation for name, (_, derivative) in LOSSES.items() if isinstance(derivative, with_output)}

LOSS_PARAMETERS = {"huber": 1.0, "quantile": (0.1, 0.5, 0.9)}  # defaults: threshold, levels
