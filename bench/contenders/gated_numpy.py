"""NumPy: a GRU and an LSTM as a careful user writes them, with whole-sequence products outside the loop over time."""

import numpy as np


def sigmoid(x):
    """Replace x by 1 / (1 + exp(-x)), in place: by tanh, which does not overflow."""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5


class Plain:
    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        return ("",)

    def __init__(self, problem, variant=""):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        B, T, I, H, O = problem[:5]
        dtype, gates = problem.dtype, problem.parameters["W_x"].shape[0] // H
        self.p, self.X, self.D, self.lstm = problem.parameters, problem.X, problem.D, problem.units == "lstm"
        self.S, self.Y = np.zeros((T + 1, B, H), dtype), np.empty((T * B, O), dtype)
        self.A, self.P = np.empty((T, B, gates * H), dtype), np.empty((B, gates * H), dtype)
        self.more = np.zeros((T + 1, B, H), dtype)  # c of an LSTM, and W_s,n h + b_n of a GRU
        self.tanh_c = np.empty((T, B, H), dtype)
        self.delta, self.delta_s = np.empty((T, B, gates * H), dtype), np.empty((T, B, gates * H), dtype)
        self.E = np.empty((T, B, H), dtype)

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        p, S, A, E, (T, B, I) = self.p, self.S, self.A, self.E, self.X.shape
        H, rows = S.shape[2], T * B
        X = self.X.reshape(rows, I)
        np.matmul(X, p["W_x"].T, out=A.reshape(rows, -1))
        A += p["b_s"]
        W = np.ascontiguousarray(p["W_s"].T)
        for t in range(T):
            np.matmul(S[t], W, out=self.P)
            (self.forward_lstm if self.lstm else self.forward_gru)(t, H)
        after, delta_y = S[1:].reshape(rows, H), self.Y
        np.matmul(after, p["W_y"].T, out=delta_y)
        delta_y += p["b_y"]
        delta_y -= self.D.reshape(rows, -1)
        errors = delta_y.ravel()
        loss = float(errors @ errors) / rows
        delta_y *= 2 / rows
        np.matmul(delta_y, p["W_y"], out=E.reshape(rows, H))
        flat, flat_s = self.backward_lstm(T, H) if self.lstm else self.backward_gru(T, H)
        flat, flat_s = flat.reshape(rows, -1), flat_s.reshape(rows, -1)
        more = {} if self.lstm else {"b_n": flat_s[:, 2 * H:].sum(axis=0)}
        return loss, {"W_x": flat.T @ X, "W_s": flat_s.T @ S[:-1].reshape(rows, H), "b_s": flat.sum(axis=0), **more,
                      "W_y": delta_y.T @ after, "b_y": delta_y.sum(axis=0)}

    def forward_gru(self, t, H):
        """Compute a GRU's state S[t + 1] from W_s h in P, and keep the gates and W_s,n h + b_n for the backward pass."""
        a, P, m = self.A[t], self.P, self.more[t]
        gates, n = a[:, :2 * H], a[:, 2 * H:]
        gates += P[:, :2 * H]
        sigmoid(gates)
        np.add(P[:, 2 * H:], self.p["b_n"], out=m)
        n += gates[:, :H] * m
        np.tanh(n, out=n)
        now = self.S[t + 1]
        np.subtract(self.S[t], n, out=now)
        now *= gates[:, H:]
        now += n

    def backward_gru(self, T, H):
        """Return a GRU's gradients by the pre-activations of inputs and of states, (T, B, 3H) each."""
        E, carry = self.E, 0
        for t in reversed(range(T)):
            a, before = self.A[t], self.S[t]
            r, z, n = a[:, :H], a[:, H:2 * H], a[:, 2 * H:]
            d = E[t] + carry
            dn = d * (1 - z) * (1 - n * n)
            now, now_s = self.delta[t], self.delta_s[t]
            now[:, :H] = dn * self.more[t] * r * (1 - r)
            now[:, H:2 * H] = d * (before - n) * z * (1 - z)
            now[:, 2 * H:] = dn
            now_s[:, :2 * H] = now[:, :2 * H]
            np.multiply(dn, r, out=now_s[:, 2 * H:])
            carry = z * d
            carry += now_s @ self.p["W_s"]
        return self.delta, self.delta_s

    def forward_lstm(self, t, H):
        """Compute an LSTM's state S[t + 1] and c, and keep the gates and tanh c for the backward pass."""
        a = self.A[t]
        a += self.P
        sigmoid(a[:, :2 * H])
        np.tanh(a[:, 2 * H:3 * H], out=a[:, 2 * H:3 * H])
        sigmoid(a[:, 3 * H:])
        c = self.more[t + 1]
        np.multiply(a[:, H:2 * H], self.more[t], out=c)
        c += a[:, :H] * a[:, 2 * H:3 * H]
        np.tanh(c, out=self.tanh_c[t])
        np.multiply(a[:, 3 * H:], self.tanh_c[t], out=self.S[t + 1])

    def backward_lstm(self, T, H):
        """Return an LSTM's gradient by the pre-activations (T, B, 4H), twice, as `backward_gru` does."""
        carry, carry_c = 0, 0
        for t in reversed(range(T)):
            a, u, now = self.A[t], self.tanh_c[t], self.delta[t]
            i, f, g, o = (a[:, k * H:(k + 1) * H] for k in range(4))
            d = self.E[t] + carry
            dc = d * o * (1 - u * u) + carry_c
            now[:, :H] = dc * g * i * (1 - i)
            now[:, H:2 * H] = dc * self.more[t] * f * (1 - f)
            now[:, 2 * H:3 * H] = dc * i * (1 - g * g)
            now[:, 3 * H:] = d * u * o * (1 - o)
            carry_c = dc * f
            carry = now @ self.p["W_s"]
        return self.delta, self.delta

    @staticmethod
    def threads():
        """Return as text how many threads it may use."""
        return "as NumPy's BLAS"
