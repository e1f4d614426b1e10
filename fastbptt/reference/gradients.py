"""Operations of a network that return a gradient, by back-propagation through time.

Add an operation here if it needs the backward pass and is not only for diagnostics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .heads import _in_time
from .maps import effective, Map, pulled_back
from .passes import _forward, _forward_and_error, _one_or_all, _read, _read_back
from .penalties import _wide, d_penalty, d_spread, penalty, spread
from .products import accumulate, affine, column_sums, only, product_settled, scatter, windows
from .recurrence import recur_back_settled
from .tables import OUTPUT_ACTIVATIONS
from .units import _units, Units

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Activation, LossName, Output, OutputActivation, Parameters, Reduction


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
    """Return the reduced error E with penalties, and ∂E/∂ of every parameter, by back-propagation through time.

    Parameters
    ----------
    parameters : dict of arrays, as in the docstring of `fastbptt.reference`
    X : (T, B, I), or token ids (T, B), integers from 0 to I - 1
    D : (T, B, O); for cross_entropy also integer labels (T, B); for L quantiles (T, B, O / L)
    weights : (T, B) or the shape of a real D, non-negative. D is not read where the weight is 0.
    initial_state : (B, H); by default the learnable S_0 if the network has one, else zero
    lengths : (B,), integers from 0 to T. Steps after a sequence's end are never read in any argument and have no weight.
    resets : (T, B) of bool: before these steps the state becomes S_0 (learnable, else zero), for any initial_state
    output : "sequence", or "last": the error is that of each sequence's last step, and D and weights have no axis T
    tbptt : None, or (k1, k2), both at least 1: every k1 steps, errors go back k2 steps. E remains the error of all steps.
    past : (n, B, H), the states after the first n steps, which were computed earlier, possibly with other parameters. These
        steps have no error. The errors of later steps go back through them with the present parameters.
    past_rates : (n, B, H), the rates of these steps; the rate form of leaky units requires them. If g1' is a function of the
        pre-activation ("silu", "gelu"), the pre-activations; plain units then require them, too.
    past_S_0 : (n, H), the S_0 that resets at these steps used; by default the present S_0
    leak, leak_form, noise_std, input_noise_std, recurrent_dropout : as in the docstring of `fastbptt.reference`
    draws : Draws, for noise and dropout; without it the call has neither
    own_start : whether initial_state is an earlier value of S_0, so that its gradient is added to that of S_0
    l1, l2 : dict with a number for each penalised parameter; they act on θ'
    rate_penalty, omega : numbers, as in the docstring of `fastbptt.reference`. omega adds only the immediate gradient.
    maps : dict with a Map for each parameter that has one
    input_gradient, initial_state_gradient : bool
        Add "X" (T, B, I) and "initial_state" (B, H) to the gradients.

    Returns
    -------
    E : scalar
    gradients : dict of arrays with the shapes of the parameters

    Raises
    ------
    ValueError : input_gradient is True and X holds token ids; tbptt is given with a reverse recurrence or with omega; omega is
        given with a leak or dropout.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt import reference
    >>> parameters = {"W_x": np.ones((1, 1)), "W_s": np.ones((1, 1)), "W_y": np.ones((1, 1))}
    >>> E, gradients = reference.loss_and_gradients(parameters, np.ones((2, 1, 1)), np.zeros((2, 1, 1)), activation="identity")
    >>> print(E, gradients["W_s"])
    2.5 [[2.]]
    """
    _refuse_gradient_of_ids(X, input_gradient)
    _refuse_truncation(parameters, tbptt, omega)
    options = {"lengths": lengths, "resets": resets, "output": output, "reduction": reduction, "activation": activation,
               "output_activation": output_activation, "loss": loss, "loss_parameter": loss_parameter, "l1": l1, "l2": l2,
               "rate_penalty": rate_penalty, "omega": omega, "maps": maps, "past": past, "past_rates": past_rates,
               "past_S_0": past_S_0, **units}
    Units(activation, **units)  # raises TypeError for an unknown name
    error, penalties, gradients, _ = _loss_and_gradients(parameters, X, D, weights, initial_state, tbptt, input_gradient,
                                                         initial_state_gradient, own_start, **options)
    return error + penalties, gradients


def _loss_and_gradients(parameters, X, D, weights, initial_state, tbptt=None, input_gradient=False,
                        initial_state_gradient=False, own_start=False, *, l1=None, l2=None, rate_penalty=0, omega=0, maps=None,
                        **options):
    """Return the reduced error, the penalties, the gradients of their sum, and a dict of (∂E/∂S, δ) by recurrence."""
    run, scale, (_, _, total, delta_y) = _forward_and_error(parameters, X, D, weights, initial_state, maps=maps,
                                                            settles=omega != 0, **options)
    if omega and not run.units.is_plain:
        raise ValueError("omega requires plain units without leak and dropout; got "
                         f"cell={run.units.cell!r}, leak={run.units.leak}, leak_form={run.units.leak_form!r}, "
                         f"recurrent_dropout={run.units.recurrent_dropout}")
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
    """Return ∂E/∂S_t and δ_t, both (T, B, H), of each recurrence, by name suffix. The derivative of Ω holds them fixed.

    The arguments are those of `loss_and_gradients`. The dict is empty for leaky units, which have no Ω.
    """
    omega = options.get("omega") or float(_units(options.get("activation", "tanh"), options).is_plain)
    return _loss_and_gradients(parameters, X, D, weights, initial_state, **options | {"omega": omega})[3]


def mean_square_rate(parameters: Parameters, X: ArrayLike, *, initial_state: ArrayLike | None = None,
                     lengths: ArrayLike | None = None, resets: ArrayLike | None = None, output: Output = "sequence",
                     activation: Activation = "tanh", maps: Mapping[str, Map] | None = None,
                     past: ArrayLike | None = None, past_rates: ArrayLike | None = None,
                     past_S_0: ArrayLike | None = None, **units: Any) -> Any:
    """Return the mean square of the rates of all units at all real steps without the past ones; 0 if there are none.

    The arguments are those of `loss_and_gradients`.
    """
    return _mean_square_rate(_forward(effective(parameters, maps), X, initial_state, _units(activation, units), lengths,
                                      resets, output, past, past_rates, past_S_0))


def _mean_square_rate(run):
    total = sum((only(run.counts, run.units.read(r.S[1:])) ** 2).sum(dtype=_wide(run.p)) for r in run.recurrences)
    return total / max(run.rates, 1)


def backward(parameters: Parameters, X: ArrayLike, dY: ArrayLike, *, initial_state: ArrayLike | None = None,
             lengths: ArrayLike | None = None, resets: ArrayLike | None = None, output: Output = "sequence",
             tbptt: tuple[int, int] | None = None, activation: Activation = "tanh",
             output_activation: OutputActivation = "identity", maps: Mapping[str, Map] | None = None,
             input_gradient: bool = False, initial_state_gradient: bool = False, **units: Any) -> dict[str, Any]:
    """Return the gradients of any loss from dY = ∂E/∂Y (T, B, O), or (B, O) if output="last".

    The other arguments, the result and the errors are those of `loss_and_gradients`.
    """
    _refuse_gradient_of_ids(X, input_gradient)
    _refuse_truncation(parameters, tbptt)
    run = _forward(effective(parameters, maps), X, initial_state, _units(activation, units), lengths, resets, output)
    g2, pull_back = OUTPUT_ACTIVATIONS[output_activation]
    delta_y = pull_back(only(run.there, _in_time(dY, output).astype(run.Z.dtype)), g2(run.Z))
    gradients, _ = _backward(run, delta_y, tbptt, initial_state is None, input_gradient, initial_state_gradient)
    return pulled_back(gradients, parameters, maps)


def _backward(run, delta_y, tbptt, from_S_0, input_gradient, initial_state_gradient, rate_penalty=0, settles=False):
    """Return all gradients for delta_y = ∂E/∂Z and, if `settles` (for Ω), ∂E/∂S and δ of each recurrence of plain units."""
    p, layers, lengths, output = run.p, run.layers, run.lengths, run.output
    T, several = len(run.resets), len(run.recurrences) > 1
    gradients = {"W_y": accumulate(delta_y, _read(layers[-1], lengths, output))}
    if "b_y" in p:
        gradients["b_y"] = column_sums(delta_y)
    deltas = {r.suffix: np.full((*r.R.shape[:2], len(r.p["W_s"])), -0.0, r.R.dtype) for r in run.recurrences}  # x + -0.0 is x
    dS_t = {r.suffix: np.full_like(r.S[1:], -0.0) for r in run.recurrences}
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
                    delta, of_states, carried = recur_back_settled(run.units, own, r.R, r.p["W_s"], r.resets)
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
        delta, row = deltas[r.suffix], r.units.row
        gradients["W_x" + r.suffix] = accumulate(delta, r.X)
        gradients["W_s" + r.suffix], gradients["b_n" + r.suffix] = row.to_weights(
            r.units, delta, r.R, r.before, r.through)
        gradients["b_s" + r.suffix] = column_sums(delta)
        if "leak_logit" in r.p:
            gradients["leak_logit" + r.suffix] = r.units.leak_logit_gradient(dS_t[r.suffix], r.S[1:], r.before, delta, r.noise)
        if "S_0" in r.p:  # the sum over all steps that start from it
            begins = r.resets.copy()
            if from_S_0:
                begins[:1] = True
            through = r.through._replace(mask=np.broadcast_to(r.through.mask, (*r.resets.shape, r.p["W_s"].shape[1]))[begins])
            gradients["S_0" + r.suffix] = column_sums(row.to_before(
                r.units, delta[begins], dS_t[r.suffix][begins], r.R[begins], r.before[begins], through))
    # M and N act only through W_s = M Nᵀ: `pulled_back` adds its gradient to theirs
    gradients = {name: gradients[name] if name in gradients else np.zeros_like(p[name]) for name in p}
    if input_gradient:
        gradients["X"] = dX
    if initial_state_gradient:
        gradients["initial_state"] = _one_or_all(scatter(dS_0[r.suffix]) for r in run.recurrences)
    return gradients, flows


def _refuse_gradient_of_ids(X, input_gradient):
    if input_gradient and np.ndim(X) == 2:
        raise ValueError(f"input_gradient=True requires real inputs X (T, B, I), got token ids of shape {np.shape(X)}")


def _refuse_truncation(parameters, tbptt, omega=0):
    if tbptt is not None and "W_x_reverse" in parameters:
        raise ValueError("tbptt requires bidirectional=False: a reverse recurrence reads later steps, which are not constant")
    if tbptt is not None and omega:
        raise ValueError(f"omega requires tbptt=None, got tbptt={tbptt}: truncation gives a separate ∂E/∂S for each window")
