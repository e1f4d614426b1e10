"""Numba: back-propagation through time as compiled loops, with a tanh that LLVM vectorises, or with np.dot, or both.

Functions are made for one H, I, O and dtype, which LLVM then knows as constants. Arrays are flat, so that it also knows
the distance from one row to the next.

Variants: "loops" is loops throughout; "mixed" has loops over time and np.dot for the products of whole sequences; "dot"
has np.dot for the product of a step too. On two threads the batch is halved, and each half runs through all time; small
batches are tried on one thread too.
"""

import math

import numba
import numpy as np
from contenders import LEARNING_RATE
from llvmlite import ir
from numba import njit, prange
from numba.core import types
from numba.extending import intrinsic

FAST = {"fastmath": True, "error_model": "numpy"}


@intrinsic
def power_of_two(context, z):
    """Return 2**n, for z = n + 1.5 * 2**(bits of the mantissa): n stands in the lowest bits of z."""
    bits, mantissa, bias = (32, 23, 127) if z == types.float32 else (64, 52, 1023)

    def generate(context, builder, signature, arguments):
        """Build the LLVM code of a call, as Numba asks an intrinsic to, and return its value."""
        integer = ir.IntType(bits)
        n = builder.bitcast(arguments[0], integer)
        n = builder.add(builder.shl(n, integer(mantissa)), integer(bias << mantissa))
        return builder.bitcast(n, arguments[0].type)

    return z(z), generate


def make_tanh(real):
    """Return a compiled tanh for the dtype `real`, by the series of exp.

    It is tanh x = 1 - 2 / (exp(2x) + 1), with exp(2x) = 2**n exp(r), |r| <= ln 2 / 2. Only contraction is allowed here:
    reassociation would cancel what is added to round. Largest error 2e-7 in float32 and 4e-15 in float64; 0.4 and 1.5 ns an
    element (Zen 4, 2026-11).
    """
    single = real is np.float32
    degree, end, rounder = (6, real(9.1), real(1.5 * 2**23)) if single else (11, real(20), real(1.5 * 2**52))
    ln2_high, ln2_low = real(355 / 512), real(math.log(2) - 355 / 512)  # n times the first is exact in both types
    scale, one, two = real(2 / math.log(2)), real(1), real(2)
    c = tuple(real(1 / math.factorial(k)) for k in range(degree + 1))

    if single:
        @njit(fastmath={"contract"}, error_model="numpy")
        def series(r):
            """Return exp(r) by its series."""
            return one + r * (one + r * (c[2] + r * (c[3] + r * (c[4] + r * (c[5] + r * c[6])))))
    else:
        @njit(fastmath={"contract"}, error_model="numpy")
        def series(r):
            """Return exp(r) by its series."""
            high = c[6] + r * (c[7] + r * (c[8] + r * (c[9] + r * (c[10] + r * c[11]))))
            return one + r * (one + r * (c[2] + r * (c[3] + r * (c[4] + r * (c[5] + r * high)))))

    @njit(fastmath={"contract"}, error_model="numpy")
    def tanh(x):
        """Return tanh of one number."""
        x = min(max(x, -end), end)
        z = x * scale + rounder
        n = z - rounder
        r = (x + x - n * ln2_high) - n * ln2_low
        return one - two / (series(r) * power_of_two(z) + one)

    return tanh


U = np.uintp  # an unsigned index: Numba makes every signed one ask whether it counts from the end, and LLVM then
#               does not vectorise


def multiples(N):
    """Return 0, N, 2N, ... 8N as unsigned numbers."""
    return tuple(U(k * N) for k in range(9))


def make_product(K, N):
    """Return a compiled C[c : c+N] += A[a : a+K] W, W (K, N): one row times a matrix, eight rows of the matrix at a time."""
    zero, one, two, three, four, five, six, seven, eight = multiples(1)
    _, N1, N2, N3, N4, N5, N6, N7, _ = multiples(N)
    by_eight, by_four, K = U(K // 8 * 8), U(K // 4 * 4), U(K)

    @njit(**FAST)
    def product(A, a, W, C, c):
        """Add the product of a row and W to a row. The arrays are flat; the rows begin at A[a] and C[c]."""
        a, c = U(a), U(c)
        for k in range(zero, by_eight, eight):
            i, w = a + k, k * N1
            a0, a1, a2, a3 = A[i], A[i + one], A[i + two], A[i + three]
            a4, a5, a6, a7 = A[i + four], A[i + five], A[i + six], A[i + seven]
            for n in range(N1):
                j = w + n
                C[c + n] += (((a0 * W[j] + a1 * W[j + N1]) + (a2 * W[j + N2] + a3 * W[j + N3]))
                             + ((a4 * W[j + N4] + a5 * W[j + N5]) + (a6 * W[j + N6] + a7 * W[j + N7])))
        for k in range(by_eight, by_four, four):
            i, w = a + k, k * N1
            a0, a1, a2, a3 = A[i], A[i + one], A[i + two], A[i + three]
            for n in range(N1):
                j = w + n
                C[c + n] += (a0 * W[j] + a1 * W[j + N1]) + (a2 * W[j + N2] + a3 * W[j + N3])
        for k in range(by_four, K):
            a0, w = A[a + k], k * N1
            for n in range(N1):
                C[c + n] += a0 * W[w + n]

    return product


def make_accumulate(M, N):
    """Return a compiled G (M, N) += Σ_r A[a + rM : ][:M] ⊗ X[x + rN : ][:N] over `rows` rows, eight rows at a time."""
    _, M1, M2, M3, M4, M5, M6, M7, M8 = multiples(M)
    _, N1, N2, N3, N4, N5, N6, N7, N8 = multiples(N)

    @njit(**FAST)
    def accumulate(A, a, X, x, G, rows):
        """Add the outer products of `rows` rows to G. The arrays are flat; the first rows begin at A[a] and X[x]."""
        p, q = U(a), U(x)
        for _ in range(rows // 8):
            for m in range(M1):
                i, g = p + m, m * N1
                a0, a1, a2, a3 = A[i], A[i + M1], A[i + M2], A[i + M3]
                a4, a5, a6, a7 = A[i + M4], A[i + M5], A[i + M6], A[i + M7]
                for n in range(N1):
                    j = q + n
                    G[g + n] += (((a0 * X[j] + a1 * X[j + N1]) + (a2 * X[j + N2] + a3 * X[j + N3]))
                                 + ((a4 * X[j + N4] + a5 * X[j + N5]) + (a6 * X[j + N6] + a7 * X[j + N7])))
            p, q = p + M8, q + N8
        for _ in range(rows % 8):
            for m in range(M1):
                a0, g = A[p + m], m * N1
                for n in range(N1):
                    G[g + n] += a0 * X[q + n]
            p, q = p + M1, q + N1

    return accumulate


@njit
def transpose(W, rows, columns, out):
    """Write the transpose of the flat matrix W (rows, columns) to out."""
    for i in range(rows):
        for j in range(columns):
            out[j * rows + i] = W[i * columns + j]


def make_passes(T, I, H, O, real, variant):
    """Return compiled functions (forward, backward) of B sequences that lie together in memory.

    X is (T B I), S ((T+1) B H), Y (T B O), all flat and of the dtype `real`. `variant` is that of the module's docstring.
    """
    tanh = make_tanh(real)
    one, zero = real(1), real(0)
    x_to_h, h_to_h, h_to_o, o_to_h = make_product(I, H), make_product(H, H), make_product(H, O), make_product(O, H)
    dW_x, dW_s, dW_y = make_accumulate(H, I), make_accumulate(H, H), make_accumulate(O, H)
    loops, dot = variant == "loops", variant == "dot"

    @njit(**FAST)
    def product_of_step(A, B, W, W_T, out):
        """Set out (B, H) = A (B, H) W (H, H). The transpose W_T is given too: one row is a vector."""
        if B == 1:
            np.dot(W_T.reshape(H, H), A, out)
        else:
            np.dot(A.reshape(B, H), W.reshape(H, H), out.reshape(B, H))

    @njit(**FAST)
    def set_rows(C, rows, bias, N, adds):
        """Set every row of C (rows, N) to the bias, or add it if `adds`."""
        for r in range(rows):
            row = C[r * N:(r + 1) * N]
            for n in range(N):
                row[n] = row[n] + bias[n] if adds else bias[n]

    @njit(**FAST)
    def forward(B, X, S, Y, row, p, W_xT, W_sT, W_yT):
        """Compute the states S and the outputs Y. The transposed weights are written to W_xT, W_sT and W_yT.

        `p` are the five parameters, and `row` is workspace for the product of a step.
        """
        W_x, W_s, b_s, W_y, b_y = p
        rows, width = T * B, B * H
        transpose(W_s, H, H, W_sT)
        S[:width] = zero
        after = S[width:width + rows * H]
        if loops:
            transpose(W_x, H, I, W_xT)
            transpose(W_y, O, H, W_yT)
            set_rows(after, rows, b_s, H, False)
            for r in range(rows):
                x_to_h(X, r * I, W_xT, after, r * H)
        else:
            np.dot(X[:rows * I].reshape(rows, I), W_x.reshape(H, I).T, after.reshape(rows, H))
            set_rows(after, rows, b_s, H, True)
        for t in range(T):
            new = S[(t + 1) * width:(t + 2) * width]
            if dot:
                product = row[:width]
                product_of_step(S[t * width:(t + 1) * width], B, W_sT, W_s, product)
                for n in range(width):
                    new[n] = tanh(new[n] + product[n])
            else:
                for b in range(B):
                    h_to_h(S, t * width + b * H, W_sT, new, b * H)
                for n in range(width):
                    new[n] = tanh(new[n])
        if loops:
            set_rows(Y, rows, b_y, O, False)
            for r in range(rows):
                h_to_o(after, r * H, W_yT, Y, r * O)
        else:
            np.dot(after.reshape(rows, H), W_y.reshape(O, H).T, Y[:rows * O].reshape(rows, O))
            set_rows(Y, rows, b_y, O, True)

    @njit(**FAST)
    def backward(B, X, D, S, Y, delta, row, p, g, W_sT, scale):
        """Write the gradients of B sequences into g, and return the sum of their squared errors.

        S and Y come from `forward`; Y and delta are overwritten. `scale` multiplies the derivatives of the errors.
        """
        W_s, W_y = p[1], p[3]
        rows, width = T * B, B * H
        total = zero
        for n in range(rows * O):
            difference = Y[n] - D[n]
            total += difference * difference
            Y[n] = scale * difference
        if loops:
            delta[:rows * H] = zero
            for r in range(rows):
                o_to_h(Y, r * O, W_y, delta, r * H)
        else:
            np.dot(Y[:rows * O].reshape(rows, O), W_y.reshape(O, H), delta[:rows * H].reshape(rows, H))
        for t in range(T - 1, -1, -1):
            now, state = delta[t * width:(t + 1) * width], S[(t + 1) * width:(t + 2) * width]
            if t == T - 1:
                for n in range(width):
                    now[n] *= one - state[n] * state[n]
            elif dot:
                product = row[:width]
                product_of_step(delta[(t + 1) * width:(t + 2) * width], B, W_s, W_sT, product)
                for n in range(width):
                    now[n] = (now[n] + product[n]) * (one - state[n] * state[n])
            else:
                for b in range(B):
                    h_to_h(delta, (t + 1) * width + b * H, W_s, now, b * H)
                for n in range(width):
                    now[n] *= one - state[n] * state[n]
        dx, ds, db, dy, dby = g
        db[:] = zero
        dby[:] = zero
        for r in range(rows):
            d, e = delta[r * H:(r + 1) * H], Y[r * O:(r + 1) * O]
            for n in range(H):
                db[n] += d[n]
            for n in range(O):
                dby[n] += e[n]
        if loops:
            dx[:] = zero
            ds[:] = zero
            dy[:] = zero
            dW_x(delta, 0, X, 0, dx, rows)
            dW_s(delta, 0, S, 0, ds, rows)
            dW_y(Y, 0, S, width, dy, rows)
        else:
            delta_T, Y_T = delta[:rows * H].reshape(rows, H).T, Y[:rows * O].reshape(rows, O).T
            np.dot(delta_T, X[:rows * I].reshape(rows, I), dx.reshape(H, I))
            np.dot(delta_T, S[:rows * H].reshape(rows, H), ds.reshape(H, H))
            np.dot(Y_T, S[width:width + rows * H].reshape(rows, H), dy.reshape(O, H))
        return total

    return forward, backward


@njit
def gather_sequences(source, T, B, b, rows, K, out):
    """Copy sequences b to b + rows of source (T, B, K) to out (T, rows, K)."""
    for t in range(T):
        out[t * rows * K:(t + 1) * rows * K] = source[(t * B + b) * K:(t * B + b + rows) * K]


@njit
def scatter_sequences(source, T, B, b, rows, K, out):
    """Copy source (T, rows, K) to sequences b to b + rows of out (T, B, K): the inverse of `gather_sequences`."""
    for t in range(T):
        out[(t * B + b) * K:(t * B + b + rows) * K] = source[t * rows * K:(t + 1) * rows * K]


@njit(**FAST)
def adam_update(theta, g, m, v, rate, root, keep_1, keep_2, epsilon, one):
    """Update theta and Adam's means m and v in place by the gradient g.

    `rate` and `root` hold the bias corrections, `keep_1` and `keep_2` are β1 and β2, and `one` is 1 in the dtype.
    """
    for n in range(theta.size):
        m[n] = keep_1 * m[n] + (one - keep_1) * g[n]
        v[n] = keep_2 * v[n] + (one - keep_2) * g[n] * g[n]
        theta[n] -= rate * m[n] / (np.sqrt(v[n]) * root + epsilon)


def offsets(sizes, whole=1):
    """Return where arrays of these sizes begin in one flat array, and its length; each begin is a multiple of `whole`."""
    begins, end = [], 0
    for size in sizes:
        begins.append(end)
        end += -(-size // whole) * whole
    return (*begins, end)


def aligned(size, real):
    """Return an array of `size` numbers of the dtype `real` that begins at a multiple of 64 bytes."""
    raw = np.empty(size + 64, real)
    return raw[-raw.ctypes.data % 64 // raw.itemsize:][:size]


class Numba:
    """Everything is in few flat arrays: a compiled function takes 0.2 µs to look at each array that it is given."""

    @staticmethod
    def variants(problem):
        """Return the variants that have a chance: loops are faster for the tiniest alone, np.dot for large batches.

        This was measured in 2026-11.
        """
        small = problem.B * problem.H**2 <= 2**17
        if problem.B == 1:
            return ("loops",) if problem.H <= 8 else ("mixed", "dot")
        if problem.H <= 8:
            ways = ("loops", "mixed")
        else:
            ways = ("dot", "mixed") if problem.B <= 8 or small else ("dot",)
        return (*ways, *(f"{way}, one thread" for way in ways)) if problem.threads > 1 and small else ways

    def __init__(self, problem, variant="loops"):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        B, T, I, H, O = problem[:5]
        real = getattr(np, problem.dtype)
        way, _, one = variant.partition(", ")
        halves = 1 if one else min(problem.threads, B)
        most = -(-B // halves)
        shapes = [value.shape for value in problem.parameters.values()]
        ends = offsets([math.prod(shape) for shape in shapes])
        self.theta = np.concatenate([value.ravel() for value in problem.parameters.values()])
        self.g = aligned(halves * ends[-1], real)
        self.m, self.v, self.count = np.zeros_like(self.theta), np.zeros_like(self.theta), 0
        self.named, self.named_g = ({name: flat[begin:begin + math.prod(shape)].reshape(shape)
                                     for name, begin, shape in zip(problem.parameters, ends, shapes)}
                                    for flat in (self.theta, self.g))
        sizes = ((T + 1) * most * H, T * most * O, T * most * H, most * H, H * I, H * H, O * H)
        own = (T * most * I, T * most * O) if halves > 1 else (0, 0)  # each half's sequences, put together
        begins = offsets((*sizes, *own), 16)
        self.work, self.X, self.D = aligned(halves * begins[-1], real), problem.X.ravel(), problem.D.ravel()
        self.Y, self.constants = np.empty((T, B, O), real), [real(c) for c in (0.9, 0.999, 1e-8, 1)]
        self.real = real

        forward, backward = make_passes(T, I, H, O, real, way)
        scale, share, zero = real(2 / (T * B)), real(1 / (T * B)), real(0)
        w_x, w_s, b_s, w_y, b_y, size = ends
        s, y, d, a, xt, st, yt, x_own, d_own, length = begins

        @njit
        def split_parameters(flat):
            """Return the five parts of a flat array of parameters or gradients."""
            return (flat[w_x:w_x + H * I], flat[w_s:w_s + H * H], flat[b_s:b_s + H], flat[w_y:w_y + O * H],
                    flat[b_y:b_y + O])

        @njit
        def split_work(work):
            """Return the parts of a half's workspace: S, Y, delta, a row, and the transposed weights."""
            return (work[s:y], work[y:d], work[d:a], work[a:xt], work[xt:xt + H * I], work[st:st + H * H],
                    work[yt:yt + O * H])

        if halves == 1:
            @njit
            def run_forward(X, theta, work, Y):
                """Write the outputs to Y."""
                S, _, _, row, W_xT, W_sT, W_yT = split_work(work)
                forward(B, X, S, Y, row, split_parameters(theta), W_xT, W_sT, W_yT)

            @njit
            def run(X, D, theta, work, g):
                """Return the loss, and write the gradients to g."""
                S, Y, delta, row, W_xT, W_sT, W_yT = split_work(work)
                p = split_parameters(theta)
                forward(B, X, S, Y, row, p, W_xT, W_sT, W_yT)
                return share * backward(B, X, D, S, Y, delta, row, p, split_parameters(g), W_sT, scale)
        else:
            @njit(parallel=True)
            def run_forward(X, theta, work, Y_all):
                """Write the outputs to Y_all. Each thread computes a part of the sequences."""
                for half in prange(halves):
                    count = min(most, B - half * most)
                    mine = work[half * length:(half + 1) * length]
                    S, Y, _, row, W_xT, W_sT, W_yT = split_work(mine)
                    X_own = mine[x_own:d_own]
                    gather_sequences(X, T, B, half * most, count, I, X_own)
                    forward(count, X_own, S, Y, row, split_parameters(theta), W_xT, W_sT, W_yT)
                    scatter_sequences(Y, T, B, half * most, count, O, Y_all)

            @njit(parallel=True)
            def run(X, D, theta, work, g):
                """Return the loss, and write the gradients to g. Each thread computes a part of the sequences."""
                total = zero
                for half in prange(halves):
                    count = min(most, B - half * most)
                    mine = work[half * length:(half + 1) * length]
                    S, Y, delta, row, W_xT, W_sT, W_yT = split_work(mine)
                    X_own, D_own, p = mine[x_own:d_own], mine[d_own:], split_parameters(theta)
                    gather_sequences(X, T, B, half * most, count, I, X_own)
                    gather_sequences(D, T, B, half * most, count, O, D_own)
                    forward(count, X_own, S, Y, row, p, W_xT, W_sT, W_yT)
                    total += backward(count, X_own, D_own, S, Y, delta, row, p,
                                      split_parameters(g[half * size:(half + 1) * size]), W_sT, scale)
                for half in range(1, halves):
                    for n in range(size):
                        g[n] += g[half * size + n]
                return share * total

        self.run, self.run_forward = run, run_forward

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        return self.run(self.X, self.D, self.theta, self.work, self.g), self.named_g

    def forward(self):
        """Return the outputs Y (T, B, O)."""
        self.run_forward(self.X, self.theta, self.work, self.Y.reshape(-1))
        return self.Y

    def adam(self):
        """Make one whole training step with Adam, and return the loss before it."""
        loss, _ = self.gradients()
        self.count += 1
        real = self.real
        rate, root = real(LEARNING_RATE / (1 - 0.9**self.count)), real((1 - 0.999**self.count) ** -0.5)
        adam_update(self.theta, self.g[:self.theta.size], self.m, self.v, rate, root, *self.constants)
        return loss

    def parameters(self):
        """Return the current parameters, a dict by name."""
        return self.named

    @staticmethod
    def threads():
        """Return as text how many threads it may use."""
        return f"{numba.get_num_threads()} in Numba ({numba.config.THREADING_LAYER}), 1 in SciPy's BLAS, which it calls"
