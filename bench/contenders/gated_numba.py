"""Numba: a GRU and an LSTM as compiled loops, with the tanh, the products and the transposition of numba_loops.

Variants: "loops" multiplies in loops; "dot" has np.dot for all products. One thread.
"""

import math

import numba
import numpy as np
from contenders.numba_loops import FAST, Numba as PlainNumba, make_accumulate, make_product, make_tanh, transpose
from numba import njit


def make_cells(H, real, lstm):
    """Return compiled functions (forward, backward) for the elementwise part of one sequence's step.

    Arrays are flat, and rows begin at offsets. `lstm` selects the cell, and `real` is its dtype.
    """
    tanh = make_tanh(real)
    one, half = real(1), real(0.5)

    @njit(**FAST)
    def sigmoid(x):
        return half + half * tanh(half * x)

    @njit(**FAST)
    def gru_forward(a, p, b_n, before, more, tanh_c, new, after):
        """Compute a GRU's state `after` from the state `before`, the pre-activations of inputs, a, and p = W_s h.

        a becomes r, z, n, and `new` becomes W_s,n h + b_n. `more` and `tanh_c` are for the LSTM.
        """
        for k in range(2 * H):
            a[k] = sigmoid(a[k] + p[k])
        for k in range(H):
            m = p[2 * H + k] + b_n[k]
            n = tanh(a[2 * H + k] + a[k] * m)
            new[k] = m
            a[2 * H + k] = n
            after[k] = n + a[H + k] * (before[k] - n)

    @njit(**FAST)
    def gru_backward(a, more, tanh_c, before, e, carry, carry_c, delta, delta_s):
        """Compute a GRU's gradients by the pre-activations of inputs (delta) and states (delta_s) from e and carry.

        a holds r, z, n and `more` W_s,n h + b_n. carry becomes the part of the gradient by the state `before` that does not
        pass W_s. `tanh_c` and `carry_c` are for the LSTM.
        """
        for k in range(H):
            r, z, n, d = a[k], a[H + k], a[2 * H + k], e[k] + carry[k]
            dn = d * (one - z) * (one - n * n)
            dr, dz = dn * more[k] * r * (one - r), d * (before[k] - n) * z * (one - z)
            delta[k] = dr
            delta[H + k] = dz
            delta[2 * H + k] = dn
            delta_s[k] = dr
            delta_s[H + k] = dz
            delta_s[2 * H + k] = dn * r
            carry[k] = z * d

    @njit(**FAST)
    def lstm_forward(a, p, b_n, before, more, tanh_c, new, after):
        """Compute an LSTM's state `after` from the pre-activations of inputs, a, and p = W_s h.

        a becomes i, f, g, o. `more` is c before the step, and `new` becomes c after it.
        """
        for k in range(2 * H):
            a[k] = sigmoid(a[k] + p[k])
        for k in range(2 * H, 3 * H):
            a[k] = tanh(a[k] + p[k])
        for k in range(H):
            o = sigmoid(a[3 * H + k] + p[3 * H + k])
            c = a[H + k] * more[k] + a[k] * a[2 * H + k]
            u = tanh(c)
            a[3 * H + k] = o
            new[k] = c
            tanh_c[k] = u
            after[k] = o * u

    @njit(**FAST)
    def lstm_backward(a, more, tanh_c, before, e, carry, carry_c, delta, delta_s):
        """Compute an LSTM's gradient by the pre-activations (delta) from e and the carried gradients by h and c.

        These are `carry` and `carry_c`. a holds i, f, g, o, `more` c before the step, and `tanh_c` that of c after it. The
        other arguments are for the GRU.
        """
        for k in range(H):
            i, f, g, o, u, d = a[k], a[H + k], a[2 * H + k], a[3 * H + k], tanh_c[k], e[k] + carry[k]
            dc = d * o * (one - u * u) + carry_c[k]
            delta[k] = dc * g * i * (one - i)
            delta[H + k] = dc * more[k] * f * (one - f)
            delta[2 * H + k] = dc * i * (one - g * g)
            delta[3 * H + k] = d * u * o * (one - o)
            carry_c[k] = dc * f
            carry[k] = 0

    return (lstm_forward, lstm_backward) if lstm else (gru_forward, gru_backward)


class Numba:
    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        return ("loops", "dot") if problem.H <= 32 else ("dot",)

    def __init__(self, problem, variant="loops"):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        B, T, I, H, O = problem[:5]
        real, lstm, loops = getattr(np, problem.dtype), problem.units == "lstm", variant == "loops"
        G, N, width = (4 if lstm else 3), T * B, B * H
        forward, backward = make_cells(H, real, lstm)
        x_to_a, h_to_a, h_to_y, y_to_h, a_to_h = (make_product(*sizes) for sizes in
                                                  ((I, G * H), (H, G * H), (H, O), (O, H), (G * H, H)))
        dW_x, dW_s, dW_y = make_accumulate(G * H, I), make_accumulate(G * H, H), make_accumulate(O, H)
        zero, scale = real(0), real(2 / N)
        GH = G * H
        shift = B if lstm else 0  # `more` begins with c of the time before, or has W_s,n h + b_n of the same step

        @njit(**FAST)
        def run(X, D, W_x, W_s, b_s, b_n, W_y, b_y, S, A, more, tanh_c, Y, E, delta, delta_s, P, carry, carry_c, row,
                W_xT, W_sT, W_yT, g_x, g_s, g_b, g_n, g_y, g_by):
            """Return the loss. The arrays from g_x on receive the gradients.

            Those from S to W_yT are workspace, and those from W_x to b_y the parameters, all flat.
            """
            transpose(W_s, GH, H, W_sT)
            if loops:
                transpose(W_x, GH, I, W_xT)
                transpose(W_y, O, H, W_yT)
                for r in range(N):
                    A[r * GH:(r + 1) * GH] = b_s
                    x_to_a(X, r * I, W_xT, A, r * GH)
            else:
                np.dot(X.reshape(N, I), W_x.reshape(GH, I).T, A.reshape(N, GH))
                for r in range(N):
                    for k in range(GH):
                        A[r * GH + k] += b_s[k]
            for t in range(T):
                if loops:
                    P[:] = zero
                    for b in range(B):
                        h_to_a(S, t * width + b * H, W_sT, P, b * GH)
                else:
                    np.dot(S[t * width:(t + 1) * width].reshape(B, H), W_sT.reshape(H, GH), P.reshape(B, GH))
                for b in range(B):
                    r = t * B + b
                    forward(A[r * GH:(r + 1) * GH], P[b * GH:(b + 1) * GH], b_n, S[r * H:(r + 1) * H],
                            more[r * H:(r + 1) * H], tanh_c[r * H:(r + 1) * H],
                            more[(r + shift) * H:(r + shift + 1) * H], S[(r + B) * H:(r + B + 1) * H])
            after = S[width:]
            if loops:
                for r in range(N):
                    Y[r * O:(r + 1) * O] = b_y
                    h_to_y(after, r * H, W_yT, Y, r * O)
            else:
                np.dot(after.reshape(N, H), W_y.reshape(O, H).T, Y.reshape(N, O))
                for r in range(N):
                    for k in range(O):
                        Y[r * O + k] += b_y[k]
            total = 0.0
            for r in range(N):
                part = zero
                for k in range(r * O, (r + 1) * O):
                    difference = Y[k] - D[k]
                    part += difference * difference
                    Y[k] = scale * difference
                total += part
            if loops:
                E[:] = zero
                for r in range(N):
                    y_to_h(Y, r * O, W_y, E, r * H)
            else:
                np.dot(Y.reshape(N, O), W_y.reshape(O, H), E.reshape(N, H))
            carry[:] = zero
            carry_c[:] = zero
            for t in range(T - 1, -1, -1):
                for b in range(B):
                    r = t * B + b
                    backward(A[r * GH:(r + 1) * GH], more[r * H:(r + 1) * H], tanh_c[r * H:(r + 1) * H],
                             S[r * H:(r + 1) * H], E[r * H:(r + 1) * H], carry[b * H:(b + 1) * H],
                             carry_c[b * H:(b + 1) * H], delta[r * GH:(r + 1) * GH], delta_s[r * GH:(r + 1) * GH])
                if loops:
                    for b in range(B):
                        a_to_h(delta_s, (t * B + b) * GH, W_s, carry, b * H)
                else:
                    np.dot(delta_s[t * B * GH:(t + 1) * B * GH].reshape(B, GH), W_s.reshape(GH, H), row.reshape(B, H))
                    for k in range(width):
                        carry[k] += row[k]
            if loops:
                g_x[:] = zero
                g_s[:] = zero
                g_y[:] = zero
                dW_x(delta, 0, X, 0, g_x, N)
                dW_s(delta_s, 0, S, 0, g_s, N)
                dW_y(Y, 0, after, 0, g_y, N)
            else:
                np.dot(delta.reshape(N, GH).T, X.reshape(N, I), g_x.reshape(GH, I))
                np.dot(delta_s.reshape(N, GH).T, S[:N * H].reshape(N, H), g_s.reshape(GH, H))
                np.dot(Y.reshape(N, O).T, after.reshape(N, H), g_y.reshape(O, H))
            g_b[:] = zero
            g_n[:] = zero
            g_by[:] = zero
            for r in range(N):
                for k in range(GH):
                    g_b[k] += delta[r * GH + k]
                for k in range(H):
                    g_n[k] += delta_s[r * GH + (G - 1) * H + k]
                for k in range(O):
                    g_by[k] += Y[r * O + k]
            return total / N

        p = problem.parameters
        flat = {name: value.ravel() for name, value in p.items()}
        self.named = {name: np.empty_like(value) for name, value in p.items()}
        g = {name: value.reshape(-1) for name, value in self.named.items()}

        def buffer(*shape):
            """Return a flat array of zeros with as many numbers as this shape has."""
            return np.zeros(math.prod(shape), real)

        delta = buffer(N, GH)
        none = buffer(H)
        self.arguments = (problem.X.ravel(), problem.D.ravel(), flat["W_x"], flat["W_s"], flat["b_s"],
                          flat.get("b_n", none), flat["W_y"], flat["b_y"], buffer(N + B, H), buffer(N, GH),
                          buffer(N + B, H), buffer(N, H), buffer(N, O), buffer(N, H), delta,
                          delta if lstm else buffer(N, GH), buffer(B, GH), buffer(width), buffer(width), buffer(width),
                          buffer(GH, I), buffer(GH, H), buffer(O, H), g["W_x"], g["W_s"], g["b_s"],
                          g.get("b_n", buffer(H)), g["W_y"], g["b_y"])
        self.run = run

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        return self.run(*self.arguments), self.named

    threads = PlainNumba.threads
