"""NumPy as a careful user writes it: whole-sequence products outside the loop over time, in-place operations within."""

import numpy as np
from contenders import LEARNING_RATE


class Plain:
    @staticmethod
    def variants(problem):
        return ("",)

    def __init__(self, problem, variant=""):
        self.p = {name: value.copy() for name, value in problem.parameters.items()}
        self.X, self.D = problem.X, problem.D
        self.slots = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in self.p.items()}
        self.count = 0

    def states(self):
        p, (T, B, I) = self.p, self.X.shape
        H = len(p["b_s"])
        S = np.empty((T + 1, B, H), self.X.dtype)
        S[0] = 0
        A = (self.X.reshape(T * B, I) @ p["W_x"].T).reshape(T, B, H)
        A += p["b_s"]
        W = np.ascontiguousarray(p["W_s"].T)
        for t in range(T):
            a = S[t] @ W
            a += A[t]
            np.tanh(a, out=S[t + 1])
        return S

    def outputs(self, S):
        return S[1:].reshape(-1, S.shape[2]) @ self.p["W_y"].T + self.p["b_y"]

    def forward(self):
        T, B, _ = self.X.shape
        return self.outputs(self.states()).reshape(T, B, -1)

    def gradients(self):
        p, (T, B, I) = self.p, self.X.shape
        S = self.states()
        H = S.shape[2]
        difference = self.outputs(S) - self.D.reshape(T * B, -1)
        flat = difference.ravel()
        loss = float(flat @ flat) / (T * B)
        delta_y = difference
        delta_y *= 2 / (T * B)
        delta = (delta_y @ p["W_y"]).reshape(T, B, H)
        slope = S[1:] * S[1:]
        np.subtract(1, slope, out=slope)
        delta[T - 1] *= slope[T - 1]
        for t in range(T - 2, -1, -1):
            d = delta[t]
            d += delta[t + 1] @ p["W_s"]
            d *= slope[t]
        flat = delta.reshape(T * B, H)
        return loss, {
            "W_x": flat.T @ self.X.reshape(T * B, I),
            "W_s": flat.T @ S[:-1].reshape(T * B, H),
            "b_s": flat.sum(axis=0),
            "W_y": delta_y.T @ S[1:].reshape(T * B, H),
            "b_y": delta_y.sum(axis=0),
        }

    def adam(self):
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
        return self.p

    @staticmethod
    def threads():
        return "as NumPy's BLAS"
