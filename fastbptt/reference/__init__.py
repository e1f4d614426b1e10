"""Executable specification of the package: back-propagation through time in plain NumPy, slow and obvious.

The network, its error and its exact gradient are, for t = 1 ... T,

    A_t = X_t W_xᵀ + S_{t-1} W_sᵀ + b_s        pre-activation      (B, H)
    S_t = g1(A_t)                              hidden state        (B, H)
    Z_t = S_t W_yᵀ + b_y ;  Y_t = g2(Z_t)      output              (B, O)
    E   = Σ_t Σ_b m_tb e(Y_tb, D_tb)           error; divided by Σ m if reduction="mean"

    δy_t = ∂E/∂Z_t
    δ_t  = (δy_t W_y + δ_{t+1} W_s) ∘ g1'      g1' is a function of S_t, or of A_t for "silu" and "gelu"
    ∂E/∂W_y = Σ δy_tᵀ S_t     ∂E/∂W_s = Σ δ_tᵀ S_{t-1}     ∂E/∂W_x = Σ δ_tᵀ X_t
    ∂E/∂b_y = Σ δy_t          ∂E/∂b_s = Σ δ_t              ∂E/∂S_0 = δ_1 W_s      ∂E/∂X_t = δ_t W_x

T is the number of time steps, B the batch size, I the number of inputs, H of hidden units, O of outputs. Arrays are time-major:
X is (T, B, I), Y is (T, B, O) and S is (T+1, B, H). S[0] is S_0, so S[t] is the state before X[t] and S[t+1] the state after
it.

`parameters` is a dict of W_x (H, I), W_s (H, H) and W_y (O, H). It also holds b_s (H,), b_y (O,) and a learnable S_0 (H,) if
the network has them. Gated cells have taller matrices, see below.

**Sequences.** Each option can be used alone or with any other, except where this text says otherwise:

    lengths (B,)       Sequence b ends after T_b = lengths[b] steps. Later steps are padding, which is never read: Y, S[t+1],
                       losses and ∂E/∂X are 0 there. The final state is S_{T_b}; it is the initial state if T_b = 0.
    resets (T, B)      If r_t is 1, step t starts from the network's own S_0 (learnable, else zero). S̃_{t-1} then replaces
                       S_{t-1} in every line above, and no gradient reaches step t - 1:
                           S̃_{t-1} = r_t S_0 + (1 - r_t) S_{t-1}
                           δ_t     = (δy_t W_y + (1 - r_{t+1}) δ_{t+1} W_s) ∘ g1'(S_t)
                           ∂E/∂S_0 = Σ δ_t W_s over the steps that start from S_0
    output="last"      E = Σ_b m_b e(Y_b, D_b) with Y_b = g2(S_{T_b} W_yᵀ + b_y). Y and D are (B, O), m is (B,). A sequence
                       without steps has Y_b = 0 and m_b = 0.
    X (T, B) of ids    Token ids. X_t is the id's one-hot vector: X_t W_xᵀ selects a column of W_x, and ∂E/∂W_x adds δ_t to
                       that column.
    tbptt=(k1, k2)     Truncated BPTT. Windows end at e = k1, 2 k1, ... and T. At each end, the errors of the steps since the
                       previous end go back through the steps e, e-1, ..., e-k2+1, and S_{e-k2} is a constant. A gradient
                       made of δ_t sums the δ_t of all ends. The gradients of W_y and b_y count the δy_t of each error once,
                       however far it is from its end.

**Parametrizations.** With `maps`, every line above uses θ', and the returned gradient is with respect to θ. Each entry has
three numbers: m is 1 if the connection is present, else 0; s is 1 or -1 if the sign is fixed, for example by Dale's law; f is 1
if the entry is trainable, else 0.

    θ' = m θ, or m s |θ| if the sign is fixed
    ∂E/∂θ = f m ∂E/∂θ', or f m s sign(θ) ∂E/∂θ' if the sign is fixed

Here sign(0) = 1, so an entry that is 0 can still change.

**Low rank.** If `parameters` has M (G·H, R) and N (H, R) in place of W_s, every line uses the product, after `maps` has acted
on M and N (Mastrogiuseppe and Ostojic 2018; Dubreuil et al. 2022; Valente, Pillow and Ostojic 2022):

    W_s = M Nᵀ ;  ∂E/∂M = ∂E/∂W_s N ;  ∂E/∂N = ∂E/∂W_sᵀ M

The penalties l1 and l2 act on M and N. Ω reads W_s. The names of further recurrences have the suffixes below: M_l1, N_reverse.

**Layers.** Layer l >= 1 has its own W_x_l<l>, W_s_l<l>, b_s_l<l> and S_0_l<l>. Its X are the states of the layer below. The
output reads the last layer. ∂E/∂X of a layer is added to ∂E/∂S of the layer below.

**Bidirectional layers.** Each layer has a second recurrence, which runs from the last step of a sequence to the first. The
names of its parameters end in _reverse. [S_t, reverse S_t] replaces S_t of the layer wherever something reads it (Schuster and
Paliwal 1997, IEEE Transactions on Signal Processing 45:2673):

    S_t = g1(X_t W_xᵀ + S_{t+1} W_sᵀ + b_s)        S_{T_b + 1} = S_0;  its final state is S_1

A reset r_t separates steps t - 1 and t in both directions: the reverse recurrence starts step t - 1 from S_0. output="last"
reads the final state of each recurrence. Truncation takes all layers back through the same steps. Truncation is not available
for a reverse recurrence. If there are several recurrences, states (initial, final, past, S) are tuples with one entry for
each, layer by layer, forward before reverse.

**Leaky units**, 0 < leak <= 1. leak is dt / tau if the network represents τ dS/dt = -S + ... It is a number, an array (H,) with
a leak for each unit, or a tuple of these with an entry for each layer. With resets, read S̃ for S:

    leak_form="rate"     S_t is a running mean of the rates R_t (Yang et al. 2019, Nature Neuroscience 22:297):
                             R_t = g1(A_t) ;  S_t = (1 - leak) S_{t-1} + leak R_t ;  W_s and W_y read S
                             dS_t = δy_t W_y + δ_{t+1} W_s + (1 - leak) dS_{t+1} ;  δ_t = leak dS_t ∘ g1'(R_t)
                             ∂E/∂S_0 = δ_1 W_s + (1 - leak) dS_1
    leak_form="current"  S_t is a current, and its rate is R_t = g1(S_t) (Song, Yang and Wang 2016; pycog, PsychRNN):
                             S_t = (1 - leak) S_{t-1} + leak A_t ;  R_t = g1(S_t) ;  W_s and W_y read R
                             dS_t = (δy_t W_y + δ_{t+1} W_s) ∘ g1'(R_t) + (1 - leak) dS_{t+1} ;  δ_t = leak dS_t
                             ∂E/∂S_0 = δ_1 W_s ∘ g1'(R_0) + (1 - leak) dS_1

A_t is computed from the array that W_s reads. δ_t = ∂E/∂A_t and dS_t = ∂E/∂S_t. The weights' gradients are those above; the
current form uses R in place of S. Initial, final, past and returned states are S in both forms. A layer above reads the array
that W_y would read. With leak = 1 the rate form is the plain network. The current form is then the same network, with its
states taken before g1.

If a recurrence has a parameter leak_logit (H,), then leak = σ(leak_logit) with the sigmoid σ, and the given leak, which must be
below 1, only scales the noise of inputs. For both forms, as S_t - S_{t-1} is leak (R_t - S_{t-1}) or leak (A_t - S_{t-1}):

    ∂E/∂leak_logit = (1 - leak) ∘ (Σ dS_t ∘ (S_t - S_{t-1}) - ½ Σ δ_t ∘ ε_t)        ε_t = sqrt(2 / leak) σ ξ_t, see below

Both sums are over steps and sequences. They take past states and their differences as they are.

**Gated cells.** Each gate has H rows in W_x (G·H, I), W_s (G·H, H) and b_s (G·H,), in PyTorch's order. Below, A is
X_t W_xᵀ + b_s, with a part for each gate, and h is h_{t-1}; σ is the sigmoid; ∘ multiplies element by element:

    cell="gru"           Gates r, z, n (Cho et al. 2014), with the reset after the product as in PyTorch and Keras. b_n (H,) is
                         a parameter of its own; without b_s it is absent:
                             r = σ(A_r + W_s,r h) ;  z = σ(A_z + W_s,z h) ;  hn = W_s,n h + b_n ;  n = g1(A_n + r ∘ hn)
                             h_t = (1 - z) ∘ n + z ∘ h
                             dn = δh ∘ (1 - z) ∘ g1'(n) ;  dz = δh ∘ (h - n) ∘ z (1 - z) ;  dhn = dn ∘ r
                             dr = dn ∘ hn ∘ r (1 - r) ;  ∂E/∂h = z ∘ δh + [dr dz dhn] W_s
                         W_x and b_s take [dr dz dn]; W_s takes [dr dz dhn]ᵀ h, and b_n takes Σ dhn.
    reset_after=False    The reset before the product, as in Cho et al. 2014: n = g1(A_n + W_s,n (r ∘ h)), without b_n.
    cell="lstm"          Gates i, f, g, o (Hochreiter and Schmidhuber 1997; Gers et al. 2000), without peepholes:
                             i, f, o = σ(A + W_s h) ;  g = g1(A_g + W_s,g h) ;  c_t = f ∘ c + i ∘ g ;  h_t = o ∘ g1(c_t)
                             δc + δh ∘ o ∘ g1'(c_t) replaces δc ;  di = δc ∘ g ∘ i (1 - i) ;  df = δc ∘ c ∘ f (1 - f)
                             dg = δc ∘ i ∘ g1'(g) ;  do = δh ∘ g1(c_t) ∘ o (1 - o)
                             ∂E/∂h = [di df dg do] W_s ;  ∂E/∂c = f ∘ δc

W_y, a layer above and rate_penalty read h. A public state (initial, final, past, returned; S_0) is h, and [h c] (2H numbers)
for the LSTM; ∂E/∂c then holds h fixed. Gated cells have no leak, noise_std and omega. For input_noise_std the leak is 1.

**Noise and dropout** need `draws` in a call. ξ are independent standard normal numbers. The gradients are those above:

    noise_std=σ            The pre-activation is A_t + sqrt(2 / leak) σ ξ_t (B, H). In the current form this gives
                           S_t = (1 - leak) S_{t-1} + leak A_t + sqrt(2 leak) σ ξ_t: the state of a single leaky unit has
                           the standard deviation σ for any small leak (Song, Yang and Wang 2016; inside g1 Yang et al. 2019).
    input_noise_std=σ      The inputs are X_t + sqrt(2 / leak) σ ξ_t (B, I). The leak is the mean of the leaks given for the
                           first layer. It is not the trained one.
    recurrent_dropout=p    A_t = X_t W_xᵀ + (M ∘ S_{t-1}) W_sᵀ + b_s, and δ_t W_s ∘ M on the way back. M (B, H) is 0 with
                           probability p, else 1 / (1 - p). All steps of a sequence share it (Gal and Ghahramani 2016, NIPS).
                           All gates share it as well. z ∘ h of a GRU uses h without M.

Each random number depends only on a key, the call, the sequence, the step, the recurrence and the unit (see `Draws`).

**Penalties** in addition to l1 and l2. Each is a coefficient times a mean, for any `reduction`:

    rate_penalty   Coefficient of the mean square of the array that W_s and W_y read: S, or R in the current form. The mean is
                   over all units of all recurrences and all real steps. It excludes padding and past steps, and includes steps
                   without weight. The penalty is part of E: its derivative is added to δy_t W_y in each dS_t.
    omega          Coefficient of Ω = mean of (‖δ_t W_s‖ / ‖∂E/∂S_t‖ - 1)². The mean is over the steps and sequences at which an
                   error or a rate penalty reaches S_t at all. Ω is computed for each recurrence and then summed. Here
                   δ_t = ∂E/∂S_t ∘ g1'(S_t), so δ_t W_s is ∂E/∂S_t ∂S_t/∂S_{t-1}, for each sequence separately. It requires
                   units without leak and dropout. As in its source, the gradient is the immediate one: with respect to the W_s
                   in Ω only, while S_t and ∂E/∂S_t are held fixed:
                       ∂Ω/∂W_s = mean of 2 (1 - 1/r) uᵀ v,   u = δ_t / ‖∂E/∂S_t‖,  v = u W_s,  r = ‖v‖
                   A step that starts with a reset counts like any other, with its own δ_t W_s, although no gradient flows
                   from it to step t - 1.
                   With omega, a sum that is only rounding noise of its terms is set to zero. The test is
                   ‖a + b‖ <= 16 ε (‖a‖ + ‖b‖) with the rounding unit ε; ‖δ‖ ‖W‖ (Frobenius) replaces the norm of a product
                   δ W. In the derivative of softmax the test is |dY_o - Σ dY Y| <= 16 ε (|dY_o| + |Σ dY Y|). A step is
                   excluded from the mean if ‖∂E/∂S_t‖ is then 0 or below 1e-30.

Every function accepts any float or complex dtype. Functions that are not analytic (an absolute value, a maximum, a comparison)
branch on the real part. The complex-step derivative Im f(x + ih) / h of the forward pass is therefore exact to rounding, and
tests compare the gradients below with it.

Modules, in reading order: `elementary`, `tables` (activations and losses), `maps` (parametrizations), `products`, `draws`
(random numbers), `cells` (the steps of each cell), `units` (the options of units), `recurrence` (the loop over steps), `heads`
(the error), `penalties`, `passes` (forward through all layers), `outputs` and `gradients` (the operations of a network),
`inspection`, `updates`. Each module imports only from earlier ones. Add a public function to the imports and to __all__ below.

The compiled counterpart of this package is `_core.pyx`; that of the updates is `engine/train.pxi`. Kernels have the same names
in both.

Sources: Elman 1990, Cognitive Science 14:179; Werbos 1990, Proceedings of the IEEE 78:1550; Williams and Peng 1990,
Neural Computation 2:490 (truncation); Cho et al. 2014, EMNLP:1724 (GRU); Hochreiter and Schmidhuber 1997, Neural Computation
9:1735, and Gers, Schmidhuber and Cummins 2000, Neural Computation 12:2451 (LSTM and its forget gate); Pascanu, Mikolov and
Bengio 2013, ICML (clipping; Ω, their equations 9 and 10); Song, Yang and Wang 2016, PLoS Computational Biology 12:e1004792
(Dale's law by an absolute value, leaky units, a penalty on rates); Quax, D'Asaro and van Gerven 2020, Neural Computation
32:1033, and Perez-Nieves et al. 2021, Nature Communications 12:5791 (time constants of units, and trained ones); Mastrogiuseppe
and Ostojic 2018, Neuron 99:609, Dubreuil et al. 2022, Nature Neuroscience 25:783, and Valente, Pillow and Ostojic 2022, NeurIPS
(low rank).
"""

from __future__ import annotations

from .tables import (
    ACTIVATIONS, FUSED, KINKED_ACTIVATIONS, KINKED_LOSSES, LEAKY_SLOPE, LOSS_PARAMETERS, LOSSES, NOISE, OUTPUT_ACTIVATIONS,
    reads_input,
)
from .maps import effective, Map, pulled_back
from .products import (
    accumulate, affine, column_sums, gather, only, pack, product_settled, read, read_back, restart, scatter, settled,
    turn, windows,
)
from .draws import Draws, dropout_mask, INPUT, noise_scale, normals, philox, polar
from .cells import Cell, CELL_NAMES, cell_of, CELLS, has_leak, Through
from .units import mean_leak, Units
from .recurrence import recur, recur_back, recur_back_settled, recur_back_windows
from .heads import _normal, error, weighted_losses  # noqa: F401
from .penalties import d_penalty, d_spread, LEAST_FLOW, penalty, spread
from .passes import _forward_and_error, recurrences  # noqa: F401
from .outputs import forward, loss, losses, sample, step
from .gradients import _loss_and_gradients, backward, flows, loss_and_gradients, mean_square_rate  # noqa: F401
from .inspection import argument, gradient_flow, gradient_terms, jacobian, kept, next_state
from .updates import clip_norm, update, UPDATE_RULES

__all__ = [
    "LEAKY_SLOPE", "ACTIVATIONS", "OUTPUT_ACTIVATIONS", "NOISE", "LOSSES", "FUSED", "LOSS_PARAMETERS",
    "KINKED_ACTIVATIONS", "KINKED_LOSSES", "Map",
    "effective", "pulled_back", "gather", "pack", "affine", "only", "settled", "product_settled", "restart", "turn",
    "read", "read_back", "accumulate", "column_sums", "scatter", "windows", "Cell", "CELLS", "CELL_NAMES", "cell_of",
    "has_leak", "Through", "recur", "recur_back", "recur_back_settled", "recur_back_windows", "Draws", "INPUT", "philox",
    "polar", "normals", "dropout_mask", "noise_scale", "mean_leak", "Units", "error", "weighted_losses",
    "LEAST_FLOW", "penalty", "d_penalty", "spread", "d_spread", "recurrences", "forward", "step", "sample", "losses",
    "loss", "loss_and_gradients", "flows", "mean_square_rate", "backward", "gradient_terms", "gradient_flow",
    "next_state", "argument", "reads_input", "jacobian", "kept", "clip_norm", "UPDATE_RULES", "update",
]
