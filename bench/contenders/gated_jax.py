"""JAX: a GRU and an LSTM as a scan differentiated by jax.value_and_grad, and with the backward pass written out."""

import jax
import jax.numpy as jnp
from contenders import jax_scan


def split_gates(a, count):
    """Return an array split into `count` blocks of the last axis, one for each gate."""
    return jnp.split(a, count, axis=-1)


class Autodiff(jax_scan.Autodiff):
    """The input and output products are outside the scan."""

    def __init__(self, problem, variant="unroll 1"):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        super().__init__(problem, variant)
        self.lstm = problem.units == "lstm"

    def states(self, p, X):
        """Return the states (T, B, H)."""
        return self.states_and_saved(p, X)[0]

    def states_and_saved(self, p, X):
        """Return the states, and what the backward pass needs of each step."""
        A, W = X @ p["W_x"].T + p["b_s"], p["W_s"].T
        zero = jnp.zeros((*A.shape[1:-1], W.shape[0]), A.dtype)

        def gru(h, a):
            """Return h after a step, and what the backward pass needs."""
            (a_r, a_z, a_n), (s_r, s_z, s_n) = split_gates(a, 3), split_gates(h @ W, 3)
            r, z, m = jax.nn.sigmoid(a_r + s_r), jax.nn.sigmoid(a_z + s_z), s_n + p["b_n"]
            n = jnp.tanh(a_n + r * m)
            new = n + z * (h - n)
            return new, (new, r, z, n, m)

        def lstm(carry, a):
            """Return h and c after a step, and what the backward pass needs."""
            h, c = carry
            i, f, g, o = split_gates(a + h @ W, 4)
            i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
            new = f * c + i * g
            u = jnp.tanh(new)
            return (o * u, new), (o * u, i, f, g, o, u, c)

        if self.lstm:
            return jax.lax.scan(lstm, (zero, zero), A, unroll=self.unroll)[1]
        return jax.lax.scan(gru, zero, A, unroll=self.unroll)[1]


class ByHand(Autodiff):
    """Each weight gradient is one product after the second scan."""

    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        return ("vectors, unroll 1", "unroll 1") if problem.B == 1 else ("unroll 1", "unroll 4")

    def value_and_gradients(self, p, X, D, lengths):
        """Return the loss and a dict of the gradients, by a scan forward and one back."""
        steps = len(X) * X.shape[1]
        if self.vectors:
            X, D = X[:, 0], D[:, 0]
        S, *saved = self.states_and_saved(p, X)
        difference = S @ p["W_y"].T + p["b_y"] - D
        delta_y = difference * (2 / steps)
        zero, W = jnp.zeros_like(S[0]), p["W_s"]
        before = jnp.concatenate([zero[None], S[:-1]])

        def gru(carry, now):
            """Go back a step of a GRU: return the gradient by the state before, and those by the pre-activations."""
            e, h, r, z, n, m = now
            d = e + carry
            dn = d * (1 - z) * (1 - n * n)
            dr, dz = dn * m * r * (1 - r), d * (h - n) * z * (1 - z)
            by_state = jnp.concatenate([dr, dz, dn * r], -1)
            return z * d + by_state @ W, (by_state, dn)

        def lstm(carry, now):
            """Go back a step of an LSTM: return the gradients by h and c before, and those by the pre-activations."""
            (e, i, f, g, o, u, c), (later, later_c) = now, carry
            d = e + later
            dc = d * o * (1 - u * u) + later_c
            delta = jnp.concatenate([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g),
                                     d * u * o * (1 - o)], -1)
            return (delta @ W, dc * f), delta

        E, options = delta_y @ p["W_y"], {"reverse": True, "unroll": self.unroll}
        if self.lstm:
            delta = delta_s = jax.lax.scan(lstm, (zero, zero), (E, *saved), **options)[1]
        else:
            delta_s, dn = jax.lax.scan(gru, zero, (E, before, *saved), **options)[1]
            delta = jnp.concatenate([delta_s[..., :2 * zero.shape[-1]], dn], -1)
        rows = tuple(range(S.ndim - 1))

        def summed(left, right):  # the sum over steps and sequences of left ⊗ right, as one matrix product
            return left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])

        found = {"W_x": summed(delta, X), "W_s": summed(delta_s, before), "b_s": delta.sum(rows),
                 "W_y": summed(delta_y, S), "b_y": delta_y.sum(rows)}
        if not self.lstm:
            found["b_n"] = delta_s[..., 2 * zero.shape[-1]:].sum(rows)
        return (difference * difference).sum() / steps, found
