"""The specification: back-propagation through time in plain NumPy, slow and obvious.

The network, its error and its exact gradient are, for t = 1 ... T,

    A_t = X_t W_xᵀ + S_{t-1} W_sᵀ + b_s        pre-activation      (B, H)
    S_t = g1(A_t)                              hidden state        (B, H)
    Z_t = S_t W_yᵀ + b_y ;  Y_t = g2(Z_t)      output              (B, O)
    E   = Σ_t Σ_b m_tb e(Y_tb, D_tb)           error; divided by Σ m where reduction="mean"

    δy_t = ∂E/∂Z_t
    δ_t  = (δy_t W_y + δ_{t+1} W_s) ∘ g1'(S_t)
    ∂E/∂W_y = Σ δy_tᵀ S_t     ∂E/∂W_s = Σ δ_tᵀ S_{t-1}     ∂E/∂W_x = Σ δ_tᵀ X_t
    ∂E/∂b_y = Σ δy_t          ∂E/∂b_s = Σ δ_t              ∂E/∂S_0 = δ_1 W_s      ∂E/∂X_t = δ_t W_x

T time steps, B sequences in the batch, I inputs, H hidden units, O outputs. Everything is time-major:
X (T, B, I), S (T+1, B, H) with S[0] = S_0, so that S[t] comes before X[t] and S[t+1] after it, and Y (T, B, O).

Sequences of every kind; each option stands by itself or with any other:

    lengths (B,)       Sequence b ends after T_b = lengths[b] steps. What stands behind is not read; Y, S[t+1], losses
                       and ∂E/∂X are 0 there. Its final state is S_{T_b}, which is its initial one where T_b = 0.
    resets (T, B)      Where r_t is 1, step t begins with the network's own S_0 (learnt, else zero): S̃_{t-1} takes the
                       place of S_{t-1} in every line above, and nothing goes back to the step before:
                           S̃_{t-1} = r_t S_0 + (1 - r_t) S_{t-1}
                           δ_t     = (δy_t W_y + (1 - r_{t+1}) δ_{t+1} W_s) ∘ g1'(S_t)
                           ∂E/∂S_0 = Σ δ_t W_s over the steps that begin with S_0
    output="last"      E = Σ_b m_b e(Y_b, D_b), Y_b = g2(S_{T_b} W_yᵀ + b_y): Y and D are (B, O), m is (B,). Without any
                       step Y_b and m_b are 0.
    X (T, B) of ids    X_t is the id's unit vector: X_t W_xᵀ looks up a column of W_x, ∂E/∂W_x adds δ_t to that column.
    tbptt=(k1, k2)     Truncated BPTT: at the ends e = k1, 2 k1, ... and T the errors of the steps since the end before
                       go back through the steps e, e-1, ..., e-k2+1, and S_{e-k2} is a constant. What is summed in
                       ∂E/∂ is the δ_t of every end; δy_t is that of each error, once, however old.

`parameters` is a dict of W_x (H, I), W_s (H, H), W_y (O, H) and, where the network has them, b_s (H,), b_y (O,) and
a learnt S_0 (H,).

Maps on the parameters: with `maps` every line above uses θ', and the gradient that is returned is that by θ. For each
entry m is 1 where the connection is present, else 0; s is 1 or -1 where its sign is fixed, that of Dale's law say; f is 1
where it is trainable, else 0:

    θ' = m θ, or m s |θ| where the sign is fixed
    ∂E/∂θ = f m ∂E/∂θ', or f m s sign(θ) ∂E/∂θ', where sign(0) = 1: so that what is 0 can leave it

Layers. Layer l >= 1 has W_x_l<l>, W_s_l<l>, b_s_l<l>, S_0_l<l> of its own, and the states of the layer below are its X;
the output reads the highest. ∂E/∂X of a layer is what it adds to ∂E/∂S of the one below. A second recurrence of each
layer, whose names end in _reverse, goes from the last step of a sequence to its first, and [S_t, S_t of the reverse one]
stands wherever a layer's S_t does (Schuster and Paliwal 1997, IEEE Transactions on Signal Processing 45:2673):

    S_t = g1(X_t W_xᵀ + S_{t+1} W_sᵀ + b_s)        S_{T_b + 1} = S_0;  its final state is S_1

A reset r_t parts steps t - 1 and t for it too: step t - 1 begins with S_0. output="last" reads the final state of each
recurrence. Truncation takes all layers back through the same steps; there is none with a reverse recurrence.
Where there are several recurrences, states (initial, final, past, S) are tuples with one entry for each, layer by layer,
forward before reverse.

Leaky units, 0 < leak <= 1; leak = dt / tau where the network stands for τ dS/dt = -S + ... (S̃ as above, S without resets):

    leak_form="rate"     S_t is a running mean of the rates R_t (Yang et al. 2019, Nature Neuroscience 22:297):
                             R_t = g1(A_t) ;  S_t = (1 - leak) S_{t-1} + leak R_t ;  W_s and W_y read S
                             dS_t = δy_t W_y + δ_{t+1} W_s + (1 - leak) dS_{t+1} ;  δ_t = leak dS_t ∘ g1'(R_t)
                             ∂E/∂S_0 = δ_1 W_s + (1 - leak) dS_1
    leak_form="current"  S_t is a current, and its rate is g1 of it (Song, Yang and Wang 2016; pycog, PsychRNN):
                             S_t = (1 - leak) S_{t-1} + leak A_t ;  R_t = g1(S_t) ;  W_s and W_y read R
                             dS_t = (δy_t W_y + δ_{t+1} W_s) ∘ g1'(R_t) + (1 - leak) dS_{t+1} ;  δ_t = leak dS_t
                             ∂E/∂S_0 = δ_1 W_s ∘ g1'(R_0) + (1 - leak) dS_1

A_t is the pre-activation of what W_s reads, δ_t = ∂E/∂A_t and dS_t = ∂E/∂S_t. The weights' gradients are those above, with R
in the place of S in the current form. States, initial, final, past and returned, are S in both; a layer above reads what W_y
would. With leak = 1 the rate form is the plain network, and the current form that network seen before g1.

Noise and dropout, where a call is given `draws`; ξ are independent standard normal numbers, and gradients those above:

    noise_std=σ            A_t + sqrt(2 / leak) σ ξ_t (B, H) is the pre-activation. In the current form that is
                           S_t = (1 - leak) S_{t-1} + leak A_t + sqrt(2 leak) σ ξ_t: the states of a single leaky unit have
                           the standard deviation σ for any small leak (Song, Yang and Wang 2016; within g1 Yang et al. 2019)
    input_noise_std=σ      X_t + sqrt(2 / leak) σ ξ_t (B, I) are the inputs
    recurrent_dropout=p    A_t = X_t W_xᵀ + (M ∘ S_{t-1}) W_sᵀ + b_s; M (B, H), 0 with probability p, else 1 / (1 - p), is the
                           same at all steps of a sequence (Gal and Ghahramani 2016, NIPS). In δ_t W_s ∘ M it goes back.

Each number is a function of a key, the call, the sequence, the step, the recurrence and the unit (see `Draws`).

Penalties beside those on the parameters. Each is a number times a mean, whatever `reduction` is:

    rate_penalty   times the mean square of what W_s and W_y read, S (in the rate form too) or in the current form R, over
                   all units of all recurrences and all steps that there are: padding does not count, steps without
                   weight do, past ones do not. It is part of E: its derivative joins δy_t W_y in each dS_t.
    omega          times Ω = mean of (‖δ_t W_s‖ / ‖∂E/∂S_t‖ - 1)² over the steps and sequences where an error (or a rate)
                   comes back to S_t at all, for each recurrence, and summed over these; δ_t = ∂E/∂S_t ∘ g1'(S_t), so
                   that δ_t W_s is ∂E/∂S_t ∂S_t/∂S_{t-1}, each sequence's by itself. Of units without leak and dropout. As in
                   its source, the gradient is the immediate one, by W_s where it stands in Ω, with S_t and ∂E/∂S_t held
                   fixed:
                       ∂Ω/∂W_s = mean of 2 (1 - 1/r) uᵀ v,   u = δ_t / ‖∂E/∂S_t‖,  v = u W_s,  r = ‖v‖
                   A step that begins with a reset counts as any other, with its own δ_t W_s, although nothing of it goes
                   back to step t - 1. With omega, what is only rounding noise of the terms that were added is zero:
                   ‖a + b‖ <= 16 ε (‖a‖ + ‖b‖) with the rounding unit ε, where ‖δ‖ ‖W‖ (Frobenius) stands for a product
                   δ W, and |dY_o - Σ dY Y| <= 16 ε (|dY_o| + |Σ dY Y|) in the derivative of softmax. A step does not
                   count where ‖∂E/∂S_t‖ is then 0 or under 1e-30.

Every function takes any float or complex dtype. Wherever a function of this file is not analytic (an absolute value,
a maximum, a comparison) it branches on the real part, so that the complex-step derivative Im f(x + ih) / h of the
forward pass is exact to rounding: that is how the gradients below are tested.

The compiled twin of this file is `_core.pyx`, and of the updates `engine/train.pxi`; the verbs have the same names there.

Sources: Elman 1990, Cognitive Science 14:179; Werbos 1990, Proceedings of the IEEE 78:1550; Williams and Peng 1990,
Neural Computation 2:490 (truncation); Pascanu, Mikolov and Bengio 2013, ICML (clipping; Ω, their equations 9 and 10); Song,
Yang and Wang 2016, PLoS Computational Biology 12:e1004792 (Dale's law by an absolute value, leaky units, a penalty on rates).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Activation, LeakForm, LossName, Output, OutputActivation, Parameters, Reduction

# ---------------------------------------------------------------------------------------------------------------------
# Elementary functions that branch on the real part
# ---------------------------------------------------------------------------------------------------------------------


def _abs(A):
    return np.where(A.real < 0, -A, A)


def _modulus(A):
    """|A| of a loss or a penalty, whose derivative at 0 is 0, the documented subgradient."""
    return np.where(A.real == 0, 0, _abs(A))


def _positive(A):
    """max(A, 0)."""
    return np.where(A.real <= 0, 0, A)


def _sign(A):
    return np.sign(A.real)


def _sigmoid(A):
    small = np.exp(-_abs(A))  # never overflows
    return np.where(A.real < 0, small, 1) / (1 + small)


def _softplus(A):
    return (A + _abs(A)) / 2 + np.log1p(np.exp(-_abs(A)))


def _logsumexp(Z):
    top = Z.real.max(axis=-1, keepdims=True)
    return top + np.log(np.exp(Z - top).sum(axis=-1, keepdims=True))


def _softmax(Z):
    unnormalised = np.exp(Z - Z.real.max(axis=-1, keepdims=True))
    return unnormalised / unnormalised.sum(axis=-1, keepdims=True)


def _exp(Z):
    with np.errstate(over="ignore"):  # infinity is the answer
        return np.exp(Z)


# ---------------------------------------------------------------------------------------------------------------------
# Activations and losses
# ---------------------------------------------------------------------------------------------------------------------

LEAKY_SLOPE = 0.01  # of leaky_relu below zero, as PyTorch and Keras 2 had it

# name: (g1(A), g1' written in the output R = g1(A))
ACTIVATIONS = {
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
}

# name: (g2(Z), the pull-back dY, Y -> dZ, that is dZ_o = Σ_p dY_p ∂Y_p/∂Z_o)
OUTPUT_ACTIVATIONS = {
    "identity": (lambda Z: Z, lambda dY, Y: dY),
    "sigmoid": (_sigmoid, lambda dY, Y: dY * Y * (1 - Y)),
    "tanh": (np.tanh, lambda dY, Y: dY * (1 - Y * Y)),
    "softmax": (_softmax, lambda dY, Y: Y * (dY - (dY * Y).sum(axis=-1, keepdims=True))),
    "exp": (_exp, lambda dY, Y: dY * Y),
}


def _softmax_back_settled(dY, Y):
    """The pull-back of softmax, and 0 where only rounding noise is left of the difference: see omega."""
    inner = (dY * Y).sum(axis=-1, keepdims=True)
    noise = NOISE * np.finfo(Y.dtype).eps * (np.abs(dY) + np.abs(inner))
    return np.where(np.abs(dY - inner) <= noise, 0, Y * (dY - inner))


def _huber(Y, Z, D, threshold):
    """½ r² where |r| <= threshold, else threshold (|r| - ½ threshold), with r = Y - D (Huber 1964)."""
    r = Y - D
    inside = _abs(r).real <= threshold
    return np.where(inside, r * r / 2, threshold * (_abs(r) - threshold / 2))


def _d_huber(Y, Z, D, threshold):
    r = Y - D
    return np.where(_abs(r).real <= threshold, r, threshold * _sign(r)).astype(r.dtype)


def _quantile(Y, Z, D, levels):
    """max(q r, (q - 1) r) with r = D - Y (Koenker and Bassett 1978); level l of target k is output l K + k."""
    r, q = D - Y, np.repeat(np.asarray(levels, Y.real.dtype), Y.shape[-1] // len(levels))
    return np.where(r.real == 0, 0, np.where(r.real > 0, q, q - 1) * r)


def _d_quantile(Y, Z, D, levels):
    r, q = D - Y, np.repeat(np.asarray(levels, Y.real.dtype), Y.shape[-1] // len(levels))
    return np.where(r.real > 0, -q, np.where(r.real < 0, 1 - q, r)).astype(Y.dtype)


# name: (e for each output, its derivative). The derivative is by Y, or, where the loss stands in FUSED, by Z: there
# loss and output activation are one function of Z, finite wherever the loss itself is.
LOSSES = {
    "squared_error": (lambda Y, Z, D, _: (D - Y) * (D - Y), lambda Y, Z, D, _: 2 * (Y - D)),
    "absolute_error": (lambda Y, Z, D, _: _modulus(D - Y), lambda Y, Z, D, _: _sign(Y - D).astype(Y.dtype)),
    "huber": (_huber, _d_huber),
    "quantile": (_quantile, _d_quantile),
    "binary_cross_entropy": (
        lambda Y, Z, D, _: _softplus(Z) - Z * D,
        lambda Y, Z, D, _: Y - D,
    ),
    "cross_entropy": (
        lambda Y, Z, D, _: D * (_logsumexp(Z) - Z),
        lambda Y, Z, D, _: Y * D.sum(axis=-1, keepdims=True) - D,
    ),
    "poisson": (lambda Y, Z, D, _: Y - D * Z, lambda Y, Z, D, _: Y - D),
}

FUSED = {"binary_cross_entropy": "sigmoid", "cross_entropy": "softmax", "poisson": "exp"}

LOSS_PARAMETERS = {"huber": 1.0, "quantile": (0.1, 0.5, 0.9)}  # defaults: threshold, levels

LEAST_FLOW = 1e-30  # ‖∂E/∂S_t‖ below which a step does not count in Ω: float32 has all its digits down to there
NOISE = 16  # times the rounding unit and the size of the terms: with omega, a sum that is not above this is zero


# ---------------------------------------------------------------------------------------------------------------------
# Maps on the parameters
# ---------------------------------------------------------------------------------------------------------------------


class Map(NamedTuple):
    """What is done to a parameter; each array has its shape."""

    present: np.ndarray    # m, bool
    sign: np.ndarray       # s, 1 or -1; 0 where the sign is free
    trainable: np.ndarray  # f, bool


def effective(parameters: Parameters, maps: Mapping[str, Map] | None = None) -> dict[str, np.ndarray]:
    """θ' of every parameter. `maps` is a dict of a Map for each parameter that has one."""
    return dict(parameters) | {name: _map(np.asarray(parameters[name]), each) for name, each in (maps or {}).items()}


def pulled_back(gradients: dict[str, np.ndarray], parameters: Parameters,
                maps: Mapping[str, Map] | None = None) -> dict[str, np.ndarray]:
    """∂E/∂θ, made of ∂E/∂θ'; of the terms of a gradient too, whose last axes are the parameter's."""
    return gradients | {name: _pull_back(gradients[name], np.asarray(parameters[name]), each)
                        for name, each in (maps or {}).items() if name in gradients}


def _map(w, of):
    return np.where(of.present, np.where(of.sign == 0, w, np.where(of.sign < 0, -_abs(w), _abs(w))), 0).astype(w.dtype)


def _pull_back(dw, w, of):
    turned = (of.sign != 0) & ((w.real < 0) != (of.sign < 0))
    return np.where(of.present & of.trainable, np.where(turned, -dw, dw), 0).astype(dw.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# The verbs: one line of mathematics each. P is a packed matrix, that is a transposed one: affine(A, pack(W), b) = A Wᵀ + b
# ---------------------------------------------------------------------------------------------------------------------


def gather(X: np.ndarray, dtype: Any, I: int) -> np.ndarray:  # noqa: E741
    """X (T, B, I); ids (T, B) become the rows of the unit matrix."""
    return np.eye(I, dtype=dtype)[X] if X.ndim == 2 else np.asarray(X, dtype=dtype)


def pack(W: np.ndarray) -> np.ndarray:
    return W.T


def affine(A: np.ndarray, P: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    return A @ P if b is None else A @ P + b


def only(there: np.ndarray, A: np.ndarray) -> np.ndarray:
    """A, and 0 where nothing is there; what stands in that place is not read."""
    return np.where(there if A.ndim == there.ndim else there[..., None], A, 0)


def _sizes(A):
    """The Euclidean norms of rows, of their real parts, in at least double."""
    return _length(np.asarray(A.real, np.result_type(A.real, np.float64)))


def settled(total: np.ndarray, terms: Any) -> np.ndarray:
    """`total` (..., n), a row of sums, and 0 where it is only rounding noise of terms of these sizes (...). NaN stays."""
    noise = NOISE * np.finfo(total.dtype).eps * terms
    return only(~((_sizes(total) <= noise) & np.isfinite(noise)), total)


def product_settled(delta: np.ndarray, W: np.ndarray) -> np.ndarray:
    """δ W, `settled` with ‖δ‖ ‖W‖ as the size of its terms."""
    return settled(delta @ W, _sizes(delta) * _sizes(W.reshape(-1)))


def restart(S: np.ndarray, resets: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """The states that steps begin with: S, and `initial` where a step is reset."""
    return np.where(resets[..., None], initial, S)


def recur(activation: Activation, A: np.ndarray, S_0: np.ndarray, P: np.ndarray, alive: np.ndarray, resets: np.ndarray,
          initial: np.ndarray, past: Any = ()) -> np.ndarray:
    """S (T+1, B, H) of S[t+1] = g1(A[t] + restart(S[t]) P), and 0 where no step is alive. S[1:] begins with `past`."""
    g, _ = ACTIVATIONS[activation]
    S = np.empty((len(A) + 1, *S_0.shape), A.dtype)
    S[0] = S_0
    for t in range(len(A)):
        S[t + 1] = only(alive[t], past[t] if t < len(past) else g(A[t] + restart(S[t], resets[t], initial[t]) @ P))
    return S


def recur_back(activation: Activation, dS: np.ndarray, R: np.ndarray, P: np.ndarray,
               resets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """delta (T, B, H) of delta[t] = (dS[t] + delta[t+1] P) ∘ g1'(R[t]), and delta[0] P; a reset step's delta P is 0."""
    _, dg = ACTIVATIONS[activation]
    delta = np.empty_like(dS)
    carried = np.zeros(dS.shape[1:], dS.dtype)
    for t in reversed(range(len(dS))):
        delta[t] = (dS[t] + carried) * dg(R[t])
        carried = only(~resets[t], delta[t] @ P)
    return delta, carried


def recur_back_settled(activation: Activation, dS: np.ndarray, R: np.ndarray, P: np.ndarray,
                       resets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`recur_back` for Ω, and ∂E/∂S_t = dS[t] + delta[t+1] P (T, B, H), `settled` at each step.

    Noise that went back to the steps before would be no smaller there than their own terms.
    """
    _, dg = ACTIVATIONS[activation]
    delta, whole = np.empty_like(dS), np.empty_like(dS)
    carried, terms, size = np.zeros(dS.shape[1:], dS.dtype), np.zeros(dS.shape[1]), _sizes(P.reshape(-1))
    for t in reversed(range(len(dS))):
        whole[t] = settled(dS[t] + carried, _sizes(dS[t]) + terms)
        delta[t] = whole[t] * dg(R[t])
        carried = only(~resets[t], delta[t] @ P)
        terms = np.where(resets[t], 0, _sizes(delta[t])) * size
    return delta, carried, whole


# ---- Random numbers that are a function of where they stand


class Draws(NamedTuple):
    """What the random numbers of a call are made of."""

    noise_key: int | None    # of 64 bits; None: no noise
    dropout_key: int | None
    call: int = 0
    first: int = 0           # the step that X[0] is
    sequences: np.ndarray | None = None  # (B,), which ones they are; 0, 1, ... by default


INPUT = 1023  # the kind of noise of inputs; that of states is the number of their recurrence, layer by layer


def philox(key: int, *counter: Any) -> np.ndarray:
    """Four words of 32 bits, uint64 (..., 4), of a key of 64 bits and a counter of four words, which are broadcast.

    Philox4x32-10: Salmon, Moraes, Dror and Shaw 2011, SC11.
    """
    low = np.uint64(0xFFFFFFFF)
    c = [np.asarray(word, np.uint64) for word in counter]
    for n in range(10):
        p, q = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        k = [np.uint64((part + n * bump) % 2**32) for part, bump in ((key % 2**32, 0x9E3779B9), (key >> 32, 0xBB67AE85))]
        c = [(q >> np.uint64(32)) ^ c[1] ^ k[0], q & low, (p >> np.uint64(32)) ^ c[3] ^ k[1], p & low]
    return np.stack(np.broadcast_arrays(*c), axis=-1)


def polar(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two standard normal numbers for each pair of words: sqrt(-2 ln u) (cos, sin)(2 π v), u = (a + 1) / 2^32, v = b / 2^32.

    Box and Muller 1958. +, -, *, / and the square root alone, which every processor rounds alike.
    """
    u = a.astype(float) + 1
    bits = u.view(np.int64)
    e = (bits - 0x3FE6A09E667F3BCD) >> 52  # u = m 2^e with m from sqrt(1/2) to sqrt(2)
    m = (bits - (e << 52)).view(float)
    s = (m - 1) / (m + 1)  # ln m = 2 atanh s
    log_m = _horner(s * s, [2 / n for n in (17, 15, 13, 11, 9, 7, 5, 3)]) * (s * s) * s + s * 2
    r = np.sqrt(((32 - e) * 0.6931471805599453 - log_m) * 2)
    quadrant = ((b >> np.uint64(29)).astype(int) + 1) >> 1
    angle = (b.astype(float) - quadrant * 2.0**30) * (2 * np.pi / 2**32)  # within π / 4
    factorial = np.cumprod(np.arange(1, 17, dtype=float))  # [n - 1] is n!
    q = angle * angle
    sine = _horner(q, [(-1) ** (n // 2) / factorial[n - 1] for n in (15, 13, 11, 9, 7, 5, 3)]) * q * angle + angle
    cosine = _horner(q, [(-1) ** (n // 2) / factorial[n - 1] for n in (16, 14, 12, 10, 8, 6, 4, 2)]) * q + 1
    c, d = np.where(quadrant & 1, sine, cosine), np.where(quadrant & 1, cosine, sine)
    return np.where((quadrant + 1) & 2, -(r * c), r * c), np.where(quadrant & 2, -(r * d), r * d)


def _horner(x, coefficients):
    total = coefficients[0]
    for c in coefficients[1:]:
        total = total * x + c
    return total


def _checks(draws, key, kind, steps, B, n):
    """Words (len(steps), B, n rounded up to a multiple of 4), four units a counter."""
    sequences = np.arange(B) if draws.sequences is None else draws.sequences
    words = philox(key, (kind << 22) + np.arange(-(-n // 4)), np.asarray(steps)[:, None, None], sequences[:, None], draws.call)
    return words.reshape(len(steps), B, 4 * words.shape[2])


def normals(draws: Draws, kind: int, T: int, B: int, n: int) -> np.ndarray:
    """Standard normal numbers (T, B, n), float64, of the noise of this kind."""
    words = _checks(draws, draws.noise_key, kind, draws.first + np.arange(T), B, n)
    numbers = np.empty(words.shape)
    for i in (0, 2):
        numbers[..., i::4], numbers[..., i + 1::4] = polar(words[..., i::4], words[..., i + 1::4])
    return numbers[..., :n]


def dropout_mask(draws: Draws, kind: int, B: int, n: int, p: float) -> np.ndarray:
    """M (B, n): 0 with probability p, else 1 / (1 - p)."""
    return np.where(_checks(draws, draws.dropout_key, kind, [0], B, n)[0, :, :n] < int((1 - p) * 2**32), 1 / (1 - p), 0.0)


def noise_scale(std: float, leak: float) -> Any:
    """What standard normal numbers are multiplied with."""
    return np.sqrt(2 / leak) * std


# ---- Units


class Units(NamedTuple):
    """What becomes of a pre-activation: the activation g1, the leak with its form, noise and dropout where there are draws."""

    activation: str
    leak: float = 1.0
    leak_form: str = "rate"
    noise_std: float = 0.0
    input_noise_std: float = 0.0
    recurrent_dropout: float = 0.0
    draws: Draws | None = None

    @property
    def g(self) -> Callable[[np.ndarray], np.ndarray]:
        return ACTIVATIONS[self.activation][0]

    @property
    def dg(self) -> Callable[[np.ndarray], np.ndarray]:
        return ACTIVATIONS[self.activation][1]

    @property
    def is_plain(self) -> bool:
        return self.leak == 1 and self.leak_form == "rate" and not self.drops

    @property
    def drops(self) -> bool:
        return self.draws is not None and self.draws.dropout_key is not None and self.recurrent_dropout > 0

    def noisy(self, A: np.ndarray, std: float, kind: int, there: np.ndarray,
              lengths: np.ndarray | None = None) -> np.ndarray:
        """A (T, B, n) with its noise, where something is there; with lengths A is of a reverse recurrence."""
        if self.draws is None or self.draws.noise_key is None or std == 0:
            return A
        noise = only(there, noise_scale(std, self.leak) * normals(self.draws, kind, *A.shape)).astype(A.real.dtype)
        return A + (noise if lengths is None else turn(noise, lengths))

    def mask(self, kind: int, A: np.ndarray) -> Any:
        """M (B, H) for pre-activations A (T, B, H), or 1."""
        if not self.drops:
            return A.real.dtype.type(1)
        return dropout_mask(  # type: ignore[call-arg]
            self.draws, kind, *A.shape[1:], self.recurrent_dropout).astype(A.real.dtype)  # type: ignore[arg-type]

    def read(self, S: np.ndarray) -> np.ndarray:
        """What W_s and W_y, and a layer above, see of states."""
        return S if self.leak_form == "rate" else self.g(S)


def _units(activation, options):
    return Units(activation, **{name: options[name] for name in Units._fields[1:] if name in options})


def integrate(units: Units, A: np.ndarray, S_0: np.ndarray, P: np.ndarray, alive: np.ndarray, resets: np.ndarray,
              initial: np.ndarray, past: Any = (), past_rates: Any = (),
              mask: Any = 1) -> tuple[np.ndarray, np.ndarray]:
    """`recur` of leaky units: S (T+1, B, H), and the rates R (T, B, H) after each step. S[1:] begins with `past`."""
    keep, form = 1 - units.leak, units.leak_form
    S, R = np.empty((len(A) + 1, *S_0.shape), A.dtype), np.empty_like(A)
    S[0] = S_0
    for t in range(len(A)):
        before = restart(S[t], resets[t], initial[t])
        if t < len(past):
            now, rate = past[t], past_rates[t] if form == "rate" else units.g(past[t])
        elif form == "rate":
            rate = units.g(A[t] + (before * mask) @ P)
            now = keep * before + units.leak * rate
        else:
            now = keep * before + units.leak * (A[t] + (units.g(before) * mask) @ P)
            rate = units.g(now)
        S[t + 1], R[t] = only(alive[t], now), only(alive[t], rate)
    return S, R


def integrate_back(units: Units, dF: np.ndarray, R: np.ndarray, R_0: np.ndarray, P: np.ndarray, resets: np.ndarray,
                   mask: Any = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`recur_back` of leaky units: delta and ∂E/∂S (T, B, H) for dF[t], what the output gives back, and `to_the_step_before`
    of the first step; R_0 are the rates before that."""
    delta, dS = np.empty_like(dF), np.empty_like(dF)
    carried = np.zeros(dF.shape[1:], dF.dtype)
    for t in reversed(range(len(dF))):
        if units.leak_form == "rate":
            dS[t] = dF[t] + carried
            delta[t] = units.leak * dS[t] * units.dg(R[t])
        else:
            dS[t] = dF[t] * units.dg(R[t]) + carried
            delta[t] = units.leak * dS[t]
        carried = only(~resets[t], to_the_step_before(units, delta[t], dS[t], R[t - 1] if t > 0 else R_0, P, mask))
    return delta, dS, carried


def to_the_step_before(units: Units, delta: np.ndarray, dS: np.ndarray, R: np.ndarray, P: np.ndarray,
                       mask: Any = 1) -> np.ndarray:
    """What a step adds to ∂E/∂S of the step before it, whose rates are R."""
    back = delta @ P * mask if units.leak_form == "rate" else delta @ P * mask * units.dg(R)
    return back if units.leak == 1 else back + (1 - units.leak) * dS


def integrate_back_windows(units: Units, dF: np.ndarray, R: np.ndarray, R_0: np.ndarray, P: np.ndarray,
                           resets: np.ndarray, tbptt: tuple[int, int] | None,
                           mask: Any = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """integrate_back of the errors of each window by themselves, summed."""
    delta, dS, dS_0 = np.full_like(dF, -0.0), np.full_like(dF, -0.0), np.zeros(dF.shape[1:], dF.dtype)
    for begin, since, end in windows(len(dF), tbptt):
        errors = dF[begin:end].copy()
        errors[:max(0, since - begin)] = 0
        part, of_states, carried = integrate_back(units, errors, R[begin:end], R[begin - 1] if begin > 0 else R_0, P,
                                                  resets[begin:end], mask)
        delta[begin:end] += part
        dS[begin:end] += of_states
        if begin == 0:
            dS_0 += carried
    return delta, dS, dS_0


def windows(T: int, tbptt: tuple[int, int] | None) -> list[tuple[int, int, int]]:
    """(begin, since, end) of truncated BPTT: the errors of steps since ... end - 1 go back as far as step begin."""
    k1, k2 = (T + 1, T + 1) if tbptt is None else tbptt
    ends = [*range(k1, T, k1), T]
    return [(max(0, end - k2), since, end) for since, end in zip([0, *ends], ends)]


def recur_back_windows(activation: Activation, dS: np.ndarray, R: np.ndarray, P: np.ndarray, resets: np.ndarray,
                       tbptt: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """recur_back of the errors of each window by themselves, summed; delta[0] P of those that reach the first step."""
    delta = np.full_like(dS, -0.0)  # x + -0.0 is x to the bit, whatever the sign of a zero
    dS_0 = np.zeros(dS.shape[1:], dS.dtype)
    for begin, since, end in windows(len(dS), tbptt):
        errors = dS[begin:end].copy()
        errors[:max(0, since - begin)] = 0
        part, carried = recur_back(activation, errors, R[begin:end], P, resets[begin:end])
        delta[begin:end] += part
        if begin == 0:
            dS_0 += carried
    return delta, dS_0


def turn(A: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """A (T, B, ...) with the steps of each sequence from its last to its first; what stands behind its end stays there."""
    t = np.arange(len(A))[:, None]
    return A[np.where(t < lengths, lengths - 1 - t, t), np.arange(A.shape[1])]


def read(S: np.ndarray, lengths: np.ndarray, output: Output) -> np.ndarray:
    """The states that outputs are made of: S[1:], or (1, B, H), the state after each sequence's last step."""
    return S[1:] if output == "sequence" else S[None, lengths, np.arange(len(lengths))]


def read_back(dR: np.ndarray, lengths: np.ndarray, output: Output, T: int) -> np.ndarray:
    """dS (T, B, H) of the dR that `read` gave the shape."""
    if output == "sequence":
        return dR
    dS = np.zeros((T + 1, *dR.shape[1:]), dR.dtype)
    dS[lengths, np.arange(len(lengths))] = dR[0]
    return dS[1:]


def error(Z: np.ndarray, D: np.ndarray, weights: np.ndarray, scale: Any, *, output_activation: OutputActivation,
          loss: LossName, loss_parameter: Any = None,
          settles: bool = False) -> tuple[np.ndarray, np.ndarray, Any, np.ndarray]:
    """Y = g2(Z), the unweighted losses e summed over outputs (T, B), Σ m e, and delta_y = scale ∂(Σ m e)/∂Z.

    `settles`: as with omega, delta_y is 0 where it is only rounding noise.
    """
    _, pull_back = OUTPUT_ACTIVATIONS[output_activation]
    _, de = LOSSES[loss]
    Y, D, m, losses = _each_loss(Z, D, weights, output_activation, loss, loss_parameter)
    delta_y = np.where(m == 0, 0, scale * m * de(Y, Z, D, loss_parameter))
    if settles and output_activation == "softmax":
        pull_back = _softmax_back_settled
    if loss not in FUSED:
        delta_y = pull_back(delta_y, Y)
    wide = np.result_type(Z, np.float64)  # in which no product of a weight and a loss is subnormal
    total = np.where(m == 0, 0, m.astype(wide) * losses).sum(dtype=wide)
    return Y, losses.sum(axis=-1), total, delta_y.astype(Z.dtype)


def weighted_losses(Z: np.ndarray, D: np.ndarray, weights: np.ndarray, *, output_activation: OutputActivation, loss: LossName,
                    loss_parameter: Any = None) -> np.ndarray:
    """Σ_o m e of each step and sequence (T, B): what each adds to Σ m e. 0 where m is 0."""
    _, _, m, losses = _each_loss(Z, D, weights, output_activation, loss, loss_parameter)
    return np.multiply(m, losses, out=np.zeros_like(losses), where=m != 0).sum(axis=-1)


def _each_loss(Z, D, weights, output_activation, loss, loss_parameter):
    """Y, and D, weights m and losses e of each output (T, B, O)."""
    g, _ = OUTPUT_ACTIVATIONS[output_activation]
    e, _ = LOSSES[loss]
    Y = g(Z)
    if loss == "cross_entropy" and D.ndim == Z.ndim - 1:  # labels: the rows of the unit matrix
        D = np.eye(Z.shape[-1])[np.where(_per_output(weights, 1)[..., 0] == 0, 0, D)]
    m = _per_output(weights, D.shape[-1]).astype(Z.real.dtype)
    D = np.where(m == 0, 0, D).astype(Z.real.dtype)  # what has no weight is never read
    if loss == "quantile":  # every level sees the same targets
        D, m = (np.tile(array, len(loss_parameter)) for array in (D, m))
    return Y, D, m, e(Y, Z, D, loss_parameter)


def accumulate(delta: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Σ_t delta[t]ᵀ A[t]."""
    return delta.reshape(-1, delta.shape[-1]).T @ A.reshape(-1, A.shape[-1])


def column_sums(delta: np.ndarray) -> np.ndarray:
    return delta.reshape(-1, delta.shape[-1]).sum(axis=0)


def scatter(A: np.ndarray) -> np.ndarray:
    return np.array(A)


# ---------------------------------------------------------------------------------------------------------------------
# The operations of a network
# ---------------------------------------------------------------------------------------------------------------------


def forward(parameters: Parameters, X: ArrayLike, initial_state: ArrayLike | None = None, *, return_rates: bool = False,
            **options: Any) -> tuple[Any, ...]:
    """Outputs Y (T, B, O), or (B, O) if output="last", final state (B, H) and states S (T+1, B, H) of the network.

    S[0] is the initial state and S[t+1] the one after X[t] was read, of a reverse recurrence too. return_rates adds R
    (T, B, H), the rates of leaky units: g1 of the pre-activation, or in the current form of the state, after X[t].
    """
    Y, final_state, run = _run(parameters, X, initial_state, **options)
    return (Y, final_state, run.S, run.R) if return_rates else (Y, final_state, run.S)


def _run(parameters, X, initial_state, *, lengths=None, resets=None, output="sequence", activation="tanh",
         output_activation="identity", maps=None, **units):
    """Outputs, final state, and the run."""
    run = _forward(effective(parameters, maps), X, initial_state, _units(activation, units), lengths, resets, output)
    g2, _ = OUTPUT_ACTIVATIONS[output_activation]
    Y = only(run.there, g2(run.Z))
    final_states = (read(r.S, run.lengths, "last")[0] for r in run.recurrences)
    return scatter(Y if output == "sequence" else Y[0]), _one_or_all(final_states), run


def step(parameters: Parameters, x: ArrayLike, state: ArrayLike | None = None,
         **options: Any) -> tuple[np.ndarray, Any]:
    """The output y (B, O) and the state (B, H) after one step with x (B, I), or ids (B,), from the state (B, H)."""
    y, state, _ = forward(parameters, np.asarray(x)[None], state, **options | {"output": "last"})
    return y, state


def sample(Y: np.ndarray, temperature: float, u: np.ndarray) -> np.ndarray:
    """Ids (B,) drawn from p ∝ Y^(1 / temperature), for probabilities Y (B, O) and u (B,), uniform in [0, 1).

    It is the first id whose cumulative p exceeds u. Temperature 0 is the limit: the most probable id, of equals the first.
    What has probability 0 is never drawn. In float64 whatever Y is, so that Σ p is known to 1e-16 and u times it is below it.
    """
    if temperature == 0:
        return Y.argmax(axis=-1)
    with np.errstate(divide="ignore", over="ignore"):  # the logarithm of 0, and what it is divided by 1e-300, is -inf
        logarithm = np.log(Y, dtype=np.float64)
        p = np.exp((logarithm - logarithm.max(axis=-1, keepdims=True)) / temperature)
    cumulative = p.cumsum(axis=-1)
    return (cumulative <= u[:, None] * cumulative[:, -1:]).sum(axis=-1)


def losses(parameters: Parameters, X: ArrayLike, D: ArrayLike, initial_state: ArrayLike | None = None, *,
           output: Output = "sequence", weights: ArrayLike | None = None, loss: LossName = "squared_error",
           loss_parameter: Any = None, output_activation: OutputActivation = "identity", **options: Any) -> np.ndarray:
    """e(Y_tb, D_tb) of each step and sequence (T, B), or (B,) if output="last": the source's E_t before the sum over b.

    Unweighted, or with `weights` Σ_o m e, what each step and sequence adds to Σ m e.
    """
    head = {"loss": loss, "loss_parameter": loss_parameter, "output_activation": output_activation}
    run, _, (_, e, _, _) = _forward_and_error(parameters, X, D, weights, initial_state, output=output, **head, **options)
    if weights is not None:
        e = weighted_losses(run.Z, _in_time(D, output), only(run.there, _in_time(weights, output)),
                            **head | {"loss_parameter": _default(loss, loss_parameter)})
    e = only(run.there, e)
    return e if output == "sequence" else e[0]


def loss(parameters: Parameters, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
         initial_state: ArrayLike | None = None, **options: Any) -> Any:
    """The reduced error E, a scalar: Σ m e, divided by Σ m where reduction="mean" (0 where Σ m = 0)."""
    _, scale, (_, _, total, _) = _forward_and_error(parameters, X, D, weights, initial_state, **options)
    return scale * total


def loss_and_gradients(parameters: Parameters, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
                       initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
                       resets: ArrayLike | None = None, output: Output = "sequence",
                       tbptt: tuple[int, int] | None = None, reduction: Reduction = "mean",
                       activation: Activation = "tanh", output_activation: OutputActivation = "identity",
                       loss: LossName = "squared_error", loss_parameter: Any = None,
                       l1: Mapping[str, float] | None = None, l2: Mapping[str, float] | None = None,
                       rate_penalty: float = 0, omega: float = 0, maps: Mapping[str, Map] | None = None,
                       input_gradient: bool = False, initial_state_gradient: bool = False,
                       past: ArrayLike | None = None, past_rates: ArrayLike | None = None,
                       past_S_0: ArrayLike | None = None, own_start: bool = False,
                       **units: Any) -> tuple[Any, dict[str, Any]]:
    """The reduced error E, with penalties, and a dict of ∂E/∂ for every parameter, by back-propagation through time.

    Parameters
    ----------
    parameters : dict of arrays, as in the head of this module
    X : (T, B, I), or ids (T, B), integers of 0 ... I-1
    D : (T, B, O); for cross_entropy also integer labels (T, B); for L quantiles (T, B, O / L)
    weights : (T, B) or of the shape of a real D, non-negative. D is not read where the weight is 0.
    initial_state : (B, H); without it the learnt S_0, else zero
    lengths : (B,), integers of 0 ... T; what stands behind a sequence's end, in whatever argument, is not read and has
        no weight
    resets : (T, B) of bool: the steps before which the state becomes S_0, learnt or zero, whatever initial_state is
    output : "sequence", or "last": the error is that of each sequence's last step, D and weights have no axis T
    tbptt : None, or (k1, k2), both at least 1: every k1 steps, errors go back k2 steps. E remains the whole error.
    past : (n, B, H), the states after the first n steps, which were computed before, by other parameters perhaps. These
        steps have no error; the errors of the others go back through them with the present parameters.
    past_rates : (n, B, H), their rates, which leaky units of the rate form need
    past_S_0 : (n, H), the S_0 that resets at these steps brought. Without it they brought the present one.
    leak, leak_form, noise_std, input_noise_std, recurrent_dropout : as in the head of this module
    draws : Draws, for noise and dropout; without it there are none
    own_start : whether initial_state is the S_0 of that time, so that S_0 gets its gradient
    l1, l2 : dict of a number for each penalised parameter; they fall on θ'
    rate_penalty, omega : numbers, as in the head of this module; what omega adds to the gradient is the immediate part
    maps : dict of a Map for each parameter that has one
    input_gradient, initial_state_gradient : bool
        Add "X" (T, B, I) and "initial_state" (B, H) to the gradients.

    Returns
    -------
    E : scalar;  gradients : dict

    Raises
    ------
    ValueError : input_gradient is True and X are ids, or tbptt is given with a reverse recurrence or with omega
    """
    _refuse_gradient_of_ids(X, input_gradient)
    _refuse_truncation(parameters, tbptt, omega)
    options = {"lengths": lengths, "resets": resets, "output": output, "reduction": reduction, "activation": activation,
               "output_activation": output_activation, "loss": loss, "loss_parameter": loss_parameter, "l1": l1, "l2": l2,
               "rate_penalty": rate_penalty, "omega": omega, "maps": maps, "past": past, "past_rates": past_rates,
               "past_S_0": past_S_0, **units}
    Units(activation, **units)  # which knows their names
    error, penalties, gradients, _ = _loss_and_gradients(parameters, X, D, weights, initial_state, tbptt, input_gradient,
                                                         initial_state_gradient, own_start, **options)
    return error + penalties, gradients


def _loss_and_gradients(parameters, X, D, weights, initial_state, tbptt=None, input_gradient=False,
                        initial_state_gradient=False, own_start=False, *, l1=None, l2=None, rate_penalty=0, omega=0, maps=None,
                        **options):
    """The reduced error, the penalties, the gradients of both, and the dict of ∂E/∂S and δ by recurrence."""
    run, scale, (_, _, total, delta_y) = _forward_and_error(parameters, X, D, weights, initial_state, maps=maps,
                                                            settles=omega != 0, **options)
    if omega and not run.units.is_plain:
        raise ValueError("omega is of plain units, and these have a leak or dropout")
    gradients, flows = _backward(run, delta_y, tbptt, initial_state is None or own_start, input_gradient,
                                 initial_state_gradient, rate_penalty, omega != 0)
    penalties = penalty(run.p, l1, l2) + (rate_penalty * _mean_square_rate(run) if rate_penalty else 0)
    added = d_penalty(run.p, l1, l2)
    for suffix, flow in flows.items() if omega else ():
        W_s = run.p["W_s" + suffix]
        penalties = penalties + omega * spread(W_s, *flow)
        added["W_s" + suffix] = added.get("W_s" + suffix, 0) + (omega * d_spread(W_s, *flow)).astype(W_s.dtype)
    gradients = gradients | {name: gradients[name] + dw for name, dw in added.items()}
    return scale * total, penalties, pulled_back(gradients, parameters, maps), flows


def flows(parameters: Parameters, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
          initial_state: ArrayLike | None = None, **options: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """∂E/∂S_t and δ_t (T, B, H) of each recurrence, by what its names end in: what Ω's derivative holds fixed.

    Empty for leaky units, which have no Ω.
    """
    omega = options.get("omega") or float(_units(options.get("activation", "tanh"), options).is_plain)
    return _loss_and_gradients(parameters, X, D, weights, initial_state, **options | {"omega": omega})[3]


def mean_square_rate(parameters: Parameters, X: ArrayLike, *, initial_state: ArrayLike | None = None,
                     lengths: ArrayLike | None = None, resets: ArrayLike | None = None, output: Output = "sequence",
                     activation: Activation = "tanh", maps: Mapping[str, Map] | None = None,
                     past: ArrayLike | None = None, past_rates: ArrayLike | None = None,
                     past_S_0: ArrayLike | None = None, **units: Any) -> Any:
    """The mean square of all units' rates at all steps that there are, past ones excepted; 0 where there are none."""
    return _mean_square_rate(_forward(effective(parameters, maps), X, initial_state, _units(activation, units), lengths,
                                      resets, output, past, past_rates, past_S_0))


def _mean_square_rate(run):
    total = sum((only(run.counts, run.units.read(r.S[1:])) ** 2).sum(dtype=_wide(run.p)) for r in run.recurrences)
    return total / max(run.rates, 1)


def spread(W_s: np.ndarray, dS: np.ndarray, delta: np.ndarray) -> Any:
    """Ω = mean of (‖δ_t W_s‖ / ‖∂E/∂S_t‖ - 1)² over the steps and sequences where there is a ∂E/∂S_t, else 0."""
    _, _, r = _relative(W_s, dS, delta)
    return ((r - 1) ** 2).sum(dtype=_wide({"W_s": r})) / max(len(r), 1)


def d_spread(W_s: np.ndarray, dS: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """∂Ω/∂W_s with dS and delta held fixed; the slope of a norm at 0 is 0."""
    u, v, r = _relative(W_s, dS, delta)
    slope = np.where(r.real > 0, 2 * (1 - 1 / np.where(r.real > 0, r, 1)), 0)
    return u.T @ (slope[:, None] * v) / max(len(r), 1)


def _relative(W_s, dS, delta):
    """u = δ / ‖∂E/∂S‖, v = u W_s and ‖v‖ of the rows where ‖∂E/∂S‖ is at least LEAST_FLOW."""
    size = _length(dS)
    there = size.real >= LEAST_FLOW
    u = delta[there] / size[there][:, None]
    v = u @ W_s
    return u, v, _length(v)


def _length(A):
    """The Euclidean norms of rows, by way of A divided by its largest entries; analytic, with the slope 0 at 0."""
    largest = np.abs(A.real).max(axis=-1, keepdims=True, initial=0)
    nothing = largest == 0
    A, largest = np.where(nothing, 0, A), np.where(nothing, 1, largest)
    return largest[..., 0] * np.sqrt(((A / largest) ** 2).sum(axis=-1))


def penalty(parameters: Parameters, l1: Mapping[str, float] | None = None,
            l2: Mapping[str, float] | None = None) -> Any:
    """Σ l2 w² + l1 |w| over the entries of each parameter that l1 or l2 names; not divided by anything."""
    squares = sum(number * (parameters[name] ** 2).sum(dtype=_wide(parameters)) for name, number in (l2 or {}).items())
    return squares + sum(number * _modulus(parameters[name]).sum(dtype=_wide(parameters))
                         for name, number in (l1 or {}).items())


def d_penalty(parameters: Parameters, l1: Mapping[str, float] | None = None,
              l2: Mapping[str, float] | None = None) -> dict[str, np.ndarray]:
    """The gradient of `penalty`: 2 l2 w + l1 sign(w) for each parameter that l1 or l2 names."""
    l1, l2 = l1 or {}, l2 or {}
    return {name: (2 * l2.get(name, 0) * w + l1.get(name, 0) * _sign(w)).astype(w.dtype)
            for name, w in parameters.items() if name in l1 or name in l2}


def backward(parameters: Parameters, X: ArrayLike, dY: ArrayLike, *, initial_state: ArrayLike | None = None,
             lengths: ArrayLike | None = None, resets: ArrayLike | None = None, output: Output = "sequence",
             tbptt: tuple[int, int] | None = None, activation: Activation = "tanh",
             output_activation: OutputActivation = "identity", maps: Mapping[str, Map] | None = None,
             input_gradient: bool = False, initial_state_gradient: bool = False, **units: Any) -> dict[str, Any]:
    """The gradients of any loss, given by the user as dY = ∂E/∂Y (T, B, O), or (B, O) if output="last"."""
    _refuse_gradient_of_ids(X, input_gradient)
    _refuse_truncation(parameters, tbptt)
    run = _forward(effective(parameters, maps), X, initial_state, _units(activation, units), lengths, resets, output)
    g2, pull_back = OUTPUT_ACTIVATIONS[output_activation]
    delta_y = pull_back(only(run.there, _in_time(dY, output).astype(run.Z.dtype)), g2(run.Z))
    gradients, _ = _backward(run, delta_y, tbptt, initial_state is None, input_gradient, initial_state_gradient)
    return pulled_back(gradients, parameters, maps)


def _backward(run, delta_y, tbptt, from_S_0, input_gradient, initial_state_gradient, rate_penalty=0, settles=False):
    """From delta_y = ∂E/∂Z to every gradient and, if `settles` for Ω, to ∂E/∂S and δ of each recurrence of plain units."""
    p, layers, lengths, output = run.p, run.layers, run.lengths, run.output
    T, several = len(run.resets), len(run.recurrences) > 1
    gradients = {"W_y": accumulate(delta_y, _read(layers[-1], lengths, output))}
    if "b_y" in p:
        gradients["b_y"] = column_sums(delta_y)
    deltas, dS_t = ({r.suffix: np.full_like(r.S[1:], -0.0) for r in run.recurrences} for _ in range(2))  # x + -0.0 is x
    dS_0 = {r.suffix: np.zeros_like(r.S[0]) for r in run.recurrences}
    dX = np.full_like(layers[0][0].X, -0.0)
    slope, flows = 2 * rate_penalty / max(run.rates, 1), {}
    product = product_settled if settles else affine
    dS = _read_back(layers[-1], product(delta_y, p["W_y"]), lengths, output, T)
    for begin, since, end in windows(T, tbptt if several else None):
        errors = dS[begin:end].copy()
        errors[:max(0, since - begin)] = 0
        for layer in reversed(layers):
            of_each, errors = np.split(errors, len(layer), axis=-1), 0
            for r, own in zip(layer, of_each):
                own = r.turn(own, lengths)
                if rate_penalty:
                    counts = run.counts[begin:end] & (np.arange(begin, end)[:, None] >= since)
                    own = own + slope * only(counts, run.units.read(r.S[begin + 1:end + 1]))
                if settles:
                    delta, carried, of_states = recur_back_settled(run.units.activation, own, r.R, r.p["W_s"], r.resets)
                    flows[r.suffix] = of_states, delta
                else:
                    delta, of_states, carried = r.back(own, begin, end, None if several else tbptt)
                deltas[r.suffix][begin:end] += delta
                dS_t[r.suffix][begin:end] += of_states
                if begin == 0:
                    dS_0[r.suffix] += carried
                if input_gradient or layer is not layers[0]:
                    errors = errors + r.turn(product(delta, r.p["W_x"]), lengths)
        dX[begin:end] += errors

    for r in run.recurrences:
        delta, initial = deltas[r.suffix], r.initial
        gradients["W_x" + r.suffix] = accumulate(delta, r.X)
        gradients["W_s" + r.suffix] = accumulate(delta, r.mask * run.units.read(restart(r.S[:-1], r.resets, initial)))
        if "b_s" in r.p:
            gradients["b_s" + r.suffix] = column_sums(delta)
        if "S_0" in r.p:  # one vector for every step that begins with it
            begins = r.resets.copy()
            if from_S_0:
                begins[:1] = True
            if run.units.is_plain:
                gradients["S_0" + r.suffix] = column_sums(affine(delta[begins], r.p["W_s"]))
            else:
                before = run.units.g(restart(r.S[:-1], r.resets, initial))
                gradients["S_0" + r.suffix] = column_sums(to_the_step_before(
                    run.units, delta[begins], dS_t[r.suffix][begins], before[begins], r.p["W_s"],
                    np.broadcast_to(r.mask, delta.shape)[begins]))
    gradients = {name: gradients[name] for name in p}
    if input_gradient:
        gradients["X"] = dX
    if initial_state_gradient:
        gradients["initial_state"] = _one_or_all(scatter(dS_0[r.suffix]) for r in run.recurrences)
    return gradients, flows


def gradient_terms(parameters: Parameters, X: np.ndarray, D: ArrayLike, t: int, initial_state: ArrayLike | None = None,
                   *, output: Output = "sequence", activation: Activation = "tanh",
                   output_activation: OutputActivation = "identity", loss: LossName = "squared_error",
                   loss_parameter: Any = None, maps: Mapping[str, Map] | None = None,
                   **units: Any) -> dict[str, np.ndarray]:
    """The source's sum taken apart: what each step i <= t contributes to the gradient of E_t = Σ_b e(Y_tb, D_tb).

        ∂E_t/∂W_s = Σ_{i<=t} ∂E_t/∂Y_t · ∂Y_t/∂S_i · ∂S_i/∂W_s,   the last factor with S_{i-1} held fixed,

    and so for W_x. t is a Python index into Y; if output="last", D (B, O) is that of step t.

    Returns
    -------
    dict of "W_s" (t+1, H, H) and "W_x" (t+1, H, I), the terms of each step; "W_y" (O, H), which has but one;
    "S" (t+1, B, H), ∂E_t/∂S_i for the state after X[i]. Summed over the batch, unweighted and not reduced: summed over
    i and t they are the gradient of reduction="sum".
    """
    if len(recurrences(parameters)[0]) > 1 or len(recurrences(parameters)) > 1:
        raise ValueError("gradient_terms are of a network of one recurrence")
    t = range(len(X))[t]
    run = _forward(effective(parameters, maps), X[:t + 1], initial_state, _units(activation, units))
    p, r, Z = run.p, run.recurrences[0], run.Z
    X, S, F = r.X, r.S, run.units.read(r.S)
    D = _in_time(D, output)[t if output == "sequence" else 0:][:1]
    _, _, _, delta_y = error(Z[t:], D, np.ones(D.shape[:2]), 1, loss=loss, output_activation=output_activation,
                             loss_parameter=_default(loss, loss_parameter))
    dF = np.zeros_like(S[1:])
    dF[t] = affine(delta_y[0], p["W_y"])
    delta, dS, _ = integrate_back(run.units, dF, r.R, run.units.g(r.S[0]), p["W_s"], r.resets)
    W_s, W_x = (np.stack([accumulate(delta[i], read[i]) for i in range(t + 1)]) for read in (F, X))
    return pulled_back({"W_s": W_s, "W_x": W_x, "W_y": accumulate(delta_y, F[t + 1:]), "S": dS}, parameters, maps)


def gradient_flow(parameters: Parameters, X: np.ndarray, D: ArrayLike, errors: Sequence[int] | None = None, *,
                  weights: ArrayLike | None = None, initial_state: ArrayLike | None = None,
                  activation: Activation = "tanh", output_activation: OutputActivation = "identity",
                  loss: LossName = "squared_error", loss_parameter: Any = None,
                  **units: Any) -> tuple[np.ndarray, np.ndarray]:
    """How large the gradient of each error is at each state on its way: ‖∂E_t/∂S_i‖ of E_t = Σ_b m_tb e(Y_tb, D_tb).

    Parameters
    ----------
    errors : range of steps t; all without it

    Returns
    -------
    norms (len(errors), T) : Euclidean over sequences and units, of the state S_i after X[i]; 0 where i > t
    whole (T,) : ‖∂E/∂S_i‖, E = Σ_t E_t, not divided
    """
    run = _forward(parameters, X, initial_state, _units(activation, units))
    p, r, Z = run.p, run.recurrences[0], run.Z
    errors = range(len(X)) if errors is None else errors
    weights = np.ones(Z.shape[:2]) if weights is None else _normal(weights, Z.real.dtype)
    _, _, _, delta_y = error(Z, np.asarray(D), weights, 1, loss=loss, output_activation=output_activation,
                             loss_parameter=_default(loss, loss_parameter))
    dF = affine(delta_y, p["W_y"])
    norms = np.zeros((len(errors), len(X)), dF.real.dtype)
    for n, t in enumerate(errors):
        alone = np.zeros_like(dF)
        alone[t] = dF[t]
        norms[n] = _flow_back(r, alone)
    return norms, _flow_back(r, dF)


def _flow_back(r, dF):
    """‖∂E/∂S‖ of every step."""
    _, dS, _ = integrate_back(r.units, dF, r.R, r.units.g(r.S[0]), r.p["W_s"], r.resets)
    return np.array([_norm(of_step) for of_step in dS], dS.real.dtype)


def _norm(A):
    """The Euclidean norm, by way of A divided by its largest entry, so that nothing overflows or underflows."""
    largest = np.abs(A).max(initial=0)
    return largest * np.linalg.norm(A / largest) if 0 < largest < np.inf else largest


def next_state(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh",
               leak: float = 1.0, leak_form: LeakForm = "rate", **_: Any) -> np.ndarray:
    """S_t (..., H) of S = S_{t-1} (..., H) and X (..., I), or ids; the leading axes are broadcast."""
    units = Units(activation, leak, leak_form)
    X = np.asarray(X)
    inputs = pack(parameters["W_x"])[X] if X.dtype.kind in "iu" else affine(X, pack(parameters["W_x"]))
    A = affine(units.read(S), pack(parameters["W_s"])) + inputs + parameters.get("b_s", 0)
    if units.is_plain:
        return units.g(A)
    return (1 - leak) * S + leak * (units.g(A) if leak_form == "rate" else A)


def jacobian(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh", leak: float = 1.0,
             leak_form: LeakForm = "rate", **_: Any) -> np.ndarray:
    """∂S_t/∂S_{t-1} (..., H, H) at S = S_{t-1} and X, as of `next_state`; row h is of unit h.

    diag(g1'(R_t)) W_s of plain units, R_t = S_t; (1 - leak) 1 + leak diag(g1'(R_t)) W_s, or in the current form
    (1 - leak) 1 + leak W_s diag(g1'(R_{t-1})).
    """
    units = Units(activation, leak, leak_form)
    if leak_form == "current":
        slopes = units.dg(units.g(np.asarray(S)))[..., None, :]
    else:
        slopes = units.dg(next_state(parameters, S, X, activation=activation))[..., None]
    step = slopes * parameters["W_s"]
    return step if units.is_plain else (1 - leak) * np.eye(step.shape[-1], dtype=step.dtype) + leak * step


# ---------------------------------------------------------------------------------------------------------------------
# Updates
# ---------------------------------------------------------------------------------------------------------------------


def clip_norm(gradient: np.ndarray, max_norm: float) -> tuple[np.ndarray, float]:
    """The flat gradient, scaled to max_norm where its Euclidean norm exceeds it, and that norm (Pascanu et al. 2013).

    Both are found by way of the gradient divided by its largest entry, so that nothing overflows or underflows. A norm
    beyond the largest float is given as that.
    """
    largest = float(np.max(np.abs(gradient), initial=0))
    if largest == 0 or not np.isfinite(largest):
        return gradient, largest
    scaled = gradient / gradient.dtype.type(largest)
    length = float(np.sqrt(np.sum(np.square(scaled), dtype=np.float64)))
    norm = min(largest * length, float(np.finfo(np.float64).max))
    return (scaled * gradient.dtype.type(max_norm / length) if norm > max_norm else gradient), norm


# name: number of slots, arrays as long as theta that the rule carries from one update to the next
UPDATE_RULES = {"sgd": 1, "rmsprop": 1, "adagrad": 1, "adam": 2, "adamw": 2}


def update(rule: str, theta: np.ndarray, gradient: np.ndarray, slots: Sequence[np.ndarray], count: int, *,
           learning_rate: float, momentum: float = 0.0, nesterov: bool = False, rho: float = 0.99, beta_1: float = 0.9,
           beta_2: float = 0.999, epsilon: float = 1e-8,
           weight_decay: float = 0.01) -> tuple[np.ndarray, list[np.ndarray]]:
    """One update of the flat parameters: the new theta and the new slots. count is 1 in the first update.

    The rules are PyTorch's: SGD with momentum (Polyak 1964; Nesterov's after Sutskever et al. 2013), RMSprop (Tieleman
    and Hinton 2012), Adagrad (Duchi et al. 2011), Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019).
    """
    if rule == "sgd":
        v = momentum * slots[0] + gradient
        return theta - learning_rate * (gradient + momentum * v if nesterov else v), [v]
    if rule == "rmsprop":
        s = rho * slots[0] + (1 - rho) * gradient**2
        return theta - learning_rate * gradient / (np.sqrt(s) + epsilon), [s]
    if rule == "adagrad":
        s = slots[0] + gradient**2
        return theta - learning_rate * gradient / (np.sqrt(s) + epsilon), [s]
    if rule == "adamw":
        theta = theta * (1 - learning_rate * weight_decay)
    m = beta_1 * slots[0] + (1 - beta_1) * gradient
    v = beta_2 * slots[1] + (1 - beta_2) * gradient**2
    m_hat, v_hat = m / (1 - beta_1**count), v / (1 - beta_2**count)
    return theta - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), [m, v]


# ---------------------------------------------------------------------------------------------------------------------
# What stands before the mathematics
# ---------------------------------------------------------------------------------------------------------------------


def recurrences(parameters: Parameters) -> list[list[str]]:
    """What the names of each layer's recurrences end in: [[""]] of the plain network, [["", "_reverse"], ["_l1", ...]]."""
    layers, ends = [], ("", "_reverse") if "W_s_reverse" in parameters else ("",)  # type: ignore[var-annotated]
    while "W_s" + (level := f"_l{len(layers)}" if layers else "") in parameters:
        layers.append([level + end for end in ends])
    return layers


def _prepare(parameters, X, initial_state):
    """Parameters and X in the parameters' dtype (its complex one if anything is complex), and S_0 (B, H) by suffix."""
    suffixes = sum(recurrences(parameters), [])
    if initial_state is None:
        initial_state = [None] * len(suffixes)
    elif len(suffixes) == 1:
        initial_state = [initial_state]
    dtype = np.result_type(*parameters.values())
    if np.iscomplexobj(X) or any(np.iscomplexobj(S_0) for S_0 in initial_state):
        dtype = np.result_type(dtype, np.complex64)
    p = {name: np.asarray(value, dtype) for name, value in parameters.items()}
    X = gather(X, dtype, p["W_x"].shape[1])
    first = {}
    for suffix, S_0 in zip(suffixes, initial_state, strict=True):
        S_0 = np.asarray(S_0, dtype) if S_0 is not None else p.get("S_0" + suffix, np.zeros((), dtype))
        first[suffix] = np.broadcast_to(S_0, (X.shape[1], len(p["W_s" + suffix])))
    return p, X, first


def _wide(parameters):
    """The dtype of long sums: at least double."""
    return np.result_type(np.float64, *parameters.values())


class _Recurrence(NamedTuple):
    """A recurrence and what it went through, step by step as it went."""

    suffix: str
    p: dict              # W_x, W_s, b_s, S_0, under these names
    X: np.ndarray        # (T, B, I)
    S: np.ndarray        # (T+1, B, H)
    R: np.ndarray        # (T, B, H), the rates; of plain units S[1:]
    resets: np.ndarray   # (T, B) of bool
    initial: np.ndarray  # (T, 1, H), the S_0 that a reset brings
    units: Units
    mask: np.ndarray     # (B, H), or 1

    def back(self, dF, begin, end, tbptt=None):
        """delta, ∂E/∂S, and what goes to the state before, of the steps begin ... end, for dF (end - begin, B, H)."""
        P, R, resets = self.p["W_s"], self.R[begin:end], self.resets[begin:end]
        if not self.units.is_plain:
            R_0 = self.R[begin - 1] if begin > 0 else self.units.g(self.S[0])
            return integrate_back_windows(self.units, dF, R, R_0, P, resets, tbptt, self.mask)
        delta, carried = recur_back_windows(self.units.activation, dF, R, P, resets, tbptt)
        return delta, dF, carried

    def turn(self, A, lengths):
        """A (T, B, ...) of the caller's steps as those of this recurrence, or the other way round."""
        return turn(A, lengths) if self.suffix.endswith("_reverse") else A


class _Run(NamedTuple):
    """What the forward pass leaves to the operations."""

    p: dict
    layers: list         # of lists of _Recurrence
    Z: np.ndarray        # (T, B, O), or (1, B, O) if output="last"
    lengths: np.ndarray  # (B,)
    resets: np.ndarray   # (T, B) of bool
    units: Units
    there: np.ndarray    # (T, B) or (1, B) of bool: which outputs there are
    counts: np.ndarray   # (T, B) of bool: which steps there are, past ones excepted
    output: str

    @property
    def recurrences(self):
        return [r for layer in self.layers for r in layer]

    @property
    def rates(self):
        """How many rates there are, of all units and steps that count."""
        return int(self.counts.sum()) * sum(r.S.shape[-1] for r in self.recurrences)

    @property
    def S(self):
        return _one_or_all(np.concatenate([r.S[:1], r.turn(r.S[1:], self.lengths)]) for r in self.recurrences)

    @property
    def R(self):
        return _one_or_all(r.turn(r.R, self.lengths) for r in self.recurrences)


def _forward(parameters, X, initial_state, units, lengths=None, resets=None, output="sequence", past=None, past_rates=None,
             past_S_0=None):
    X = np.asarray(X)
    T, B = X.shape[:2]
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    alive = np.arange(T)[:, None] < lengths
    resets = alive & (False if resets is None else np.asarray(resets, bool))
    p, X, first = _prepare(parameters, only(alive, X), initial_state)
    past, past_rates, past_S_0 = ({suffix: () if of_all is None else np.asarray(states, X.dtype)
                                   for suffix, states in zip(first, of_all if len(first) > 1 and of_all is not None
                                                             else [of_all] * len(first))}
                                  for of_all in (past, past_rates, past_S_0))
    known, layers, X = len(past[""]), [], units.noisy(X, units.input_noise_std, INPUT, alive)
    for suffixes in recurrences(p):
        layers.append([_recurrence(p, suffix, X, first[suffix], units, lengths, alive, resets, past[suffix],
                                   past_rates[suffix], past_S_0[suffix], list(first).index(suffix))
                       for suffix in suffixes])
        X = _read(layers[-1], lengths, "sequence")
    counts = alive & (np.arange(T)[:, None] >= known)
    there = counts if output == "sequence" else lengths[None] > 0
    Z = only(there, affine(_read(layers[-1], lengths, output), pack(p["W_y"]), p.get("b_y")))
    return _Run(p, layers, Z, lengths, resets, units, there, counts, output)


def _recurrence(p, suffix, X, S_0, units, lengths, alive, resets, past, past_rates, past_S_0, kind):
    """One recurrence over the inputs X of its layer."""
    p = {name: p[name + suffix] for name in ("W_x", "W_s", "b_s", "S_0") if name + suffix in p}
    reverse = suffix.endswith("_reverse")
    if reverse:
        parted = np.zeros_like(resets)
        parted[:-1] = resets[1:]  # between a step and the next one, from where this recurrence comes
        X, resets = turn(X, lengths), turn(parted, lengths) & alive
    A = affine(X, pack(p["W_x"]), p.get("b_s"))
    A, mask = units.noisy(A, units.noise_std, kind, alive, lengths if reverse else None), units.mask(kind, A)
    initial = np.zeros((len(A), 1, A.shape[-1]), X.dtype) + p.get("S_0", np.zeros((), X.dtype))
    if len(past_S_0):
        initial[:len(past_S_0), 0] = past_S_0
    through = S_0, pack(p["W_s"]), alive, resets, initial, past
    if units.is_plain:
        S = recur(units.activation, A, *through)
        return _Recurrence(suffix, p, X, S, S[1:], resets, initial, units, mask)
    return _Recurrence(suffix, p, X, *integrate(units, A, *through, past_rates, mask), resets, initial, units, mask)


def _read(layer, lengths, output):
    """`read` of each recurrence of a layer, side by side."""
    parts = (read(r.units.read(r.S), lengths, output) for r in layer)
    return np.concatenate([r.turn(part, lengths) if output == "sequence" else part for r, part in zip(layer, parts)], axis=-1)


def _read_back(layer, dR, lengths, output, T):
    """dS (T, B, ...) of the dR that `_read` gave the shape."""
    parts = [read_back(part, lengths, output, T) for part in np.split(dR, len(layer), axis=-1)]
    return np.concatenate([part if output == "sequence" else r.turn(part, lengths) for r, part in zip(layer, parts)], axis=-1)


def _one_or_all(arrays):
    """A tuple with an array for each recurrence; of the plain network the array."""
    arrays = tuple(arrays)
    return arrays if len(arrays) > 1 else arrays[0]


def _forward_and_error(parameters, X, D, weights, initial_state, *, lengths=None, resets=None, output="sequence",
                       reduction="mean", activation="tanh", output_activation="identity", loss="squared_error",
                       loss_parameter=None, past=None, past_rates=None, past_S_0=None, maps=None, settles=False, **units):
    """The run, 1 or 1 / Σ m, and what `error` returns."""
    run = _forward(effective(parameters, maps), X, initial_state, _units(activation, units), lengths, resets, output, past,
                   past_rates, past_S_0)
    weights = only(run.there, np.ones(run.there.shape) if weights is None
                   else _normal(_in_time(weights, output), run.Z.real.dtype))
    if reduction == "mean":  # by a power of two, which the mean does not see: Σ m e must not overflow
        weights = np.ldexp(weights, -np.frexp(weights.max(initial=0))[1])
    scale = _scale(reduction, weights)
    return run, scale, error(run.Z, _in_time(D, output), weights, scale, loss=loss, output_activation=output_activation,
                             loss_parameter=_default(loss, loss_parameter), settles=settles)


def _in_time(A, output):
    """A (T, B, ...); what belongs to last steps alone, (B, ...), as (1, B, ...)."""
    return np.asarray(A) if output == "sequence" else np.asarray(A)[None]


def _refuse_gradient_of_ids(X, input_gradient):
    if input_gradient and np.ndim(X) == 2:
        raise ValueError(f"input_gradient=True needs real inputs X (T, B, I), but X are ids of shape {np.shape(X)}")


def _refuse_truncation(parameters, tbptt, omega=0):
    if tbptt is not None and "W_s_reverse" in parameters:
        raise ValueError("tbptt needs a network in one direction: what comes later is no constant to a reverse recurrence")
    if tbptt is not None and omega:
        raise ValueError("omega needs the whole gradient: with tbptt there is a ∂E/∂S of each window")


def _default(loss, loss_parameter):
    return LOSS_PARAMETERS.get(loss) if loss_parameter is None else loss_parameter


def _normal(weights, dtype):
    """Weights in this dtype; one below its least normal number counts as 0, as in the core, which has no such numbers."""
    weights = np.asarray(weights, dtype)
    return np.where(weights < np.finfo(dtype).tiny, 0, weights)


def _per_output(weights, K):
    """Weights (T, B) or (T, B, K) as (T, B, K)."""
    return weights if weights.ndim == 3 else np.broadcast_to(weights[..., None], (*weights.shape, K))


def _scale(reduction, weights):
    """1, or 1 / Σ m; weights for each output count with their mean over outputs, so that ones change nothing."""
    if reduction == "sum":
        return 1.0
    total = float(weights.sum(dtype=np.float64)) / (weights.shape[2] if weights.ndim == 3 else 1)
    return 1.0 / total if total >= np.finfo(np.float64).tiny else 0.0  # else infinite
