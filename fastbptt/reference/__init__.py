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

Every function takes any float or complex dtype. Wherever a function of this package is not analytic (an absolute value,
a maximum, a comparison) it branches on the real part, so that the complex-step derivative Im f(x + ih) / h of the
forward pass is exact to rounding: that is how the gradients below are tested.

The modules of this package, in reading order: `elementary`, `tables` (activations and losses), `maps`, `products`, `plain` (the
recurrence), `draws`, `units` (leaky ones), `heads` (the error), `penalties`, `passes` (forward through all layers), `outputs`
and `gradients` (the operations of a network), `inspection`, `updates`. Each imports only from those before it. A function that
others may use is added to the imports and to __all__ below.

The compiled twin of this package is `_core.pyx`, and of the updates `engine/train.pxi`; the kernels have the same names there.

Sources: Elman 1990, Cognitive Science 14:179; Werbos 1990, Proceedings of the IEEE 78:1550; Williams and Peng 1990,
Neural Computation 2:490 (truncation); Pascanu, Mikolov and Bengio 2013, ICML (clipping; Ω, their equations 9 and 10); Song,
Yang and Wang 2016, PLoS Computational Biology 12:e1004792 (Dale's law by an absolute value, leaky units, a penalty on rates).
"""

from __future__ import annotations

from .tables import ACTIVATIONS, FUSED, LEAKY_SLOPE, LOSS_PARAMETERS, LOSSES, NOISE, OUTPUT_ACTIVATIONS
from .maps import effective, Map, pulled_back
from .products import (
    accumulate, affine, column_sums, gather, only, pack, product_settled, read, read_back, restart, scatter, settled,
    turn, windows,
)
from .plain import recur, recur_back, recur_back_settled, recur_back_windows
from .draws import Draws, dropout_mask, INPUT, noise_scale, normals, philox, polar
from .units import integrate, integrate_back, integrate_back_windows, to_the_step_before, Units
from .heads import _normal, error, weighted_losses  # noqa: F401
from .penalties import d_penalty, d_spread, LEAST_FLOW, penalty, spread
from .passes import _forward_and_error, recurrences  # noqa: F401
from .outputs import forward, loss, losses, sample, step
from .gradients import _loss_and_gradients, backward, flows, loss_and_gradients, mean_square_rate  # noqa: F401
from .inspection import gradient_flow, gradient_terms, jacobian, next_state
from .updates import clip_norm, update, UPDATE_RULES

__all__ = [
    "LEAKY_SLOPE", "ACTIVATIONS", "OUTPUT_ACTIVATIONS", "NOISE", "LOSSES", "FUSED", "LOSS_PARAMETERS", "Map",
    "effective", "pulled_back", "gather", "pack", "affine", "only", "settled", "product_settled", "restart", "turn",
    "read", "read_back", "accumulate", "column_sums", "scatter", "windows", "recur", "recur_back", "recur_back_settled",
    "recur_back_windows", "Draws", "INPUT", "philox", "polar", "normals", "dropout_mask", "noise_scale", "Units",
    "integrate", "integrate_back", "to_the_step_before", "integrate_back_windows", "error", "weighted_losses",
    "LEAST_FLOW", "penalty", "d_penalty", "spread", "d_spread", "recurrences", "forward", "step", "sample", "losses",
    "loss", "loss_and_gradients", "flows", "mean_square_rate", "backward", "gradient_terms", "gradient_flow",
    "next_state", "jacobian", "clip_norm", "UPDATE_RULES", "update",
]
