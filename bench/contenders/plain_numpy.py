"""NumPy as a careful user writes it: whole-sequence products outside the loop over time, buffers that are made once."""

import numpy as np
from contenders import LEARNING_RATE


class Plain:
    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        return ("",)

    def __init__(self, problem, variant=""):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        self.p = {name: value.copy() for name, value in problem.parameters.items()}
        self.X, self.D = problem.X, problem.D
        B, T, I, H, O = problem[:5]
        self.S, self.Y = np.zeros((T + 1, B, H), problem.dtype), np.empty((T * B, O), problem.dtype)
        self.delta, self.slope = np.empty((T, B, H), problem.dtype), np.empty((T, B, H), problem.dtype)
        self.row = np.empty((B, H), problem.dtype)
        self.slots = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in self.p.items()}
        self.count = 0

    def outputs(self):
        """Compute the states in S, and return the outputs Y (T B, O)."""
        p, S, row, (T, B, I) = self.p, self.S, self.row, self.X.shape
        H = S.shape[2]
        after = S[1:].reshape(T * B, H)
        np.matmul(self.X.reshape(T * B, I), p["W_x"].T, out=after)
        after += p["b_s"]
        W = np.ascontiguousarray(p["W_s"].T)
        for before, now in zip(S, S[1:]):
            np.matmul(before, W, out=row)
            now += row
            np.tanh(now, out=now)
        np.matmul(after, p["W_y"].T, out=self.Y)
        self.Y += p["b_y"]
        return self.Y

    def forward(self):
        """Return the outputs Y (T, B, O)."""
        T, B, _ = self.X.shape
        return self.outputs().reshape(T, B, -1)

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        p, S, delta, slope, row, (T, B, I) = self.p, self.S, self.delta, self.slope, self.row, self.X.shape
        H = S.shape[2]
        delta_y = self.outputs()
        delta_y -= self.D.reshape(T * B, -1)
        errors = delta_y.ravel()
        loss = float(errors @ errors) / (T * B)
        delta_y *= 2 / (T * B)
        flat = delta.reshape(T * B, H)
        np.matmul(delta_y, p["W_y"], out=flat)
        np.multiply(S[1:], S[1:], out=slope)
        np.subtract(1, slope, out=slope)
        delta[T - 1] *= slope[T - 1]
        for t in range(T - 2, -1, -1):
            now = delta[t]
            np.matmul(delta[t + 1], p["W_s"], out=row)
            now += row
            now *= slope[t]
        return loss, {
            "W_x": flat.T @ self.X.reshape(T * B, I),
            "W_s": flat.T @ S[:-1].reshape(T * B, H),
            "b_s": flat.sum(axis=0),
            "W_y": delta_y.T @ S[1:].reshape(T * B, H),
            "b_y": delta_y.sum(axis=0),
        }

    def adam(self):
        """Make one whole training step with Adam, and return the loss before it."""
        loss, gradients = self.gradients()
        self.count += 1
        rate = LEARNING_RATE / (1 - 0.9**self.count)
        root = (1 - 0.999**self.count) ** 0.5
        for name, g in gradients.items():
            m, v = self.slots[name]
            m *= 0.9
            m += 0.1 * g
            v *= 0.999
            v += 0.001 * (g * g)
            self.p[name] -= rate * m / (np.sqrt(v) / root + 1e-8)
        return loss

    def parameters(self):
        """Return the current parameters, a dict by name."""
        return self.p

    @staticmethod
    def threads():
        """Return as text how many threads it may use."""
        return "as NumPy's BLAS"
