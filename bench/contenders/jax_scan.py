"""JAX: a scan differentiated by jax.value_and_grad, and back-propagation through time by hand as two scans."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from contenders import LEARNING_RATE


def adam_step(before, gradient, m, v, rate, root):
    """Return a parameter and Adam's two means m and v after an update. `before` is the parameter before it.

    `rate` and `root` hold the bias corrections.
    """
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient * gradient
    return before - rate * m / (jnp.sqrt(v) / root + 1e-8), m, v


def without_padding(difference, lengths):
    """Return the difference with zeros behind the sequences' ends, and the number of steps without padding."""
    T, B, _ = difference.shape
    if lengths is None:
        return difference, T * B
    return jnp.where((jnp.arange(T)[:, None] < lengths)[:, :, None], difference, 0), \
        lengths.sum().astype(difference.dtype)


class Autodiff:
    """The input and output products stand outside the scan, which is not unrolled: by 4 it was slower (2026-11).

    With lengths a mask takes the padding out of the loss, which is compiled for T steps. The states run on behind the
    ends, where nothing reads them: keeping them would be one more operation a step and the same gradients.
    """

    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        return ("unroll 1",)

    def __init__(self, problem, variant="unroll 1"):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        if problem.dtype == "float64":
            jax.config.update("jax_enable_x64", True)
        self.unroll, self.vectors = int(variant.split()[-1]), "vectors" in variant
        self.p = {name: jnp.asarray(value) for name, value in problem.parameters.items()}
        self.X, self.D = jnp.asarray(problem.X), jnp.asarray(problem.D)
        self.lengths = None if problem.lengths is None else jnp.asarray(problem.lengths)
        self.m, self.v = ({name: jnp.zeros_like(w) for name, w in self.p.items()} for _ in range(2))
        self.count = 0
        self.compiled = jax.jit(self.value_and_gradients), jax.jit(self.outputs), jax.jit(self.update,
                                                                                          donate_argnums=(0, 4, 5))

    def states(self, p, X):
        """Return the states (T, B, H) after each step."""
        A = X @ p["W_x"].T + p["b_s"]
        W = p["W_s"].T

        def step(s, a):
            """Return the state after a step, twice (as carried and as kept), from that before and `a`, its X W_xᵀ + b_s."""
            s = jnp.tanh(a + s @ W)
            return s, s

        return jax.lax.scan(step, jnp.zeros_like(A[0]), A, unroll=self.unroll)[1]

    def outputs(self, p, X):
        """Return the outputs (T, B, O)."""
        return self.states(p, X) @ p["W_y"].T + p["b_y"]

    def loss(self, p, X, D, lengths):
        """Return the loss, without the padding."""
        difference, steps = without_padding(self.outputs(p, X) - D, lengths)
        return (difference * difference).sum() / steps

    def value_and_gradients(self, p, X, D, lengths):
        """Return the loss and a dict of the gradients."""
        return jax.value_and_grad(self.loss)(p, X, D, lengths)

    def update(self, p, X, D, lengths, m, v, rate, root):
        """Return the loss, and the dicts of parameters, m and v after an update of Adam.

        `rate` and `root` hold the bias corrections.
        """
        loss, g = self.value_and_gradients(p, X, D, lengths)
        new = {name: adam_step(p[name], g[name], m[name], v[name], rate, root) for name in p}
        return loss, *({name: arrays[i] for name, arrays in new.items()} for i in range(3))

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        return jax.block_until_ready(self.compiled[0](self.p, self.X, self.D, self.lengths))

    def forward(self):
        """Return the outputs Y (T, B, O)."""
        return jax.block_until_ready(self.compiled[1](self.p, self.X))

    def adam(self):
        """Make one whole training step with Adam, and return the loss before it."""
        self.count += 1
        scalar = self.X.dtype.type
        rate, root = scalar(LEARNING_RATE / (1 - 0.9**self.count)), scalar(np.sqrt(1 - 0.999**self.count))
        loss, self.p, self.m, self.v = self.compiled[2](self.p, self.X, self.D, self.lengths, self.m, self.v, rate, root)
        jax.block_until_ready(self.p)
        return float(loss)

    def parameters(self):
        """Return the current parameters, a dict by name."""
        return self.p

    @staticmethod
    def threads():
        """Return as text how many threads it may use."""
        return f"NPROC={os.environ.get('NPROC')}, XLA_FLAGS={os.environ.get('XLA_FLAGS', 'not set')} for XLA"


class ByHand(Autodiff):
    """The weight gradients are one product each after the second scan, where autodiff adds them up within it.

    Variants: one sequence as a matrix of one row or as a vector, and how many steps the scans are unrolled.
    """

    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        return ("vectors, unroll 1", "unroll 1") if problem.B == 1 else ("unroll 1", "unroll 4")

    def outputs(self, p, X):
        """Return the outputs (T, B, O)."""
        T, B, _ = X.shape
        states = self.states(p, X[:, 0] if self.vectors else X)
        return (states @ p["W_y"].T + p["b_y"]).reshape(T, B, -1)

    def value_and_gradients(self, p, X, D, lengths):
        """Return the loss and a dict of the gradients, by a scan forward and one back."""
        T, B, _ = X.shape
        if self.vectors:
            X = X[:, 0]
        S = self.states(p, X)
        difference, steps = without_padding((S @ p["W_y"].T + p["b_y"]).reshape(D.shape) - D, lengths)
        loss = (difference * difference).sum() / steps
        delta_y = (difference * (2 / steps)).reshape(*S.shape[:-1], -1)
        W = p["W_s"]

        def back(later, now):
            """Go back a step: return the gradient by its pre-activation from `later`, that of the step after it."""
            dS, s = now
            delta = (dS + later @ W) * (1 - s * s)
            return delta, delta

        _, delta = jax.lax.scan(back, jnp.zeros_like(S[0]), (delta_y @ p["W_y"], S), reverse=True, unroll=self.unroll)

        def summed(left, right):  # Σ over steps and sequences of left ⊗ right, as one matrix product
            return left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])

        rows = tuple(range(delta.ndim - 1))
        return loss, {"W_x": summed(delta, X), "W_s": summed(delta[1:], S[:-1]), "b_s": delta.sum(rows),
                      "W_y": summed(delta_y, S), "b_y": delta_y.sum(rows)}
