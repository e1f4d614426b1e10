"""Measure strengths and weaknesses of back-propagation through time, as sentences for docs/explained.md.

    python bench/limits.py

It runs fastbptt alone, on one thread. Times are processor times, the minimum of several rounds. All other figures are the same
in every run.
"""

import platform
import time

import fastbptt
import numpy as np
from run import processor

I, H, O = 8, 64, 4
ROUNDS = 10


def network(**options):
    """Return the network that is measured, with some options."""
    return fastbptt.RNN(I, H, O, random_state=0, **options)


def data(T, B=1, seed=0):
    """Return random X (T, B, I) and D (T, B, O)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))


def least_ms(call):
    """Return the minimum time of several calls of `call` in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return 1e3 * min(times)


def sentences_about_time():
    """Return sentences about time."""
    net, lengths = network(), (1000, 10_000, 100_000)
    took = [least_ms(gradient_of(net, T)) for T in lengths]
    X = data(1000)[0].astype("float32")
    forward = least_ms(lambda: net.forward(X, n_threads=1))
    windows = least_ms(gradient_of(net, 1000, tbptt=(1, 20)))
    return [
        f"Time is proportional to T: the gradient through 1,000, 10,000 and 100,000 steps takes {took[0]:.2g}, {took[1]:.2g} "
        f"and {took[2]:.2g} ms (one sequence, I, H, O = {I}, {H}, {O}, float32).",
        f"The cost does not grow with the number of parameters, unlike that of finite differences: all {net.theta.size:,} "
        f"derivatives together take {took[0] / forward:.1f} times the forward pass; differences need {net.theta.size:,} "
        "forward passes.",
        f"One backward pass serves all errors: a separate pass of 20 steps from each step (`tbptt=(1, 20)`) takes "
        f"{windows / took[0]:.0f} times as long as one pass through all 1,000.",
    ]


def gradient_of(net, T, **options):
    """Return a function without arguments that computes loss and gradients of a network through T steps."""
    X, D = (array.astype("float32") for array in data(T))
    return lambda: net.loss_and_gradients(X, D, n_threads=1, **options)


def sentences_without_time():
    """Return sentences whose figures are the same in every run."""
    X, D = data(200, 4)
    orthogonal = network(dtype="float64")
    identity = network(dtype="float64", activation="relu", initializer="identity")
    growing = network(dtype="float64", activation="relu", initializer=("identity", 1.1))
    flows = [fastbptt.diagnostics.gradient_flow(net, X, D, sequences=0) for net in (orthogonal, identity, growing)]
    gone = int(np.flatnonzero(flows[0].by_distance < 0.01)[0])
    large = int(np.flatnonzero(flows[2].by_distance > 100)[0])
    check = orthogonal.gradcheck()
    error = max(check.errors["core float64"].values())
    cut = [relative_error_of_truncation(net, X, D, 20) for net in (orthogonal, identity)]
    memory = [orthogonal.memory_estimate(T, 1) / 2**20 for T in (10_000, 1_000_000)]
    limited = orthogonal.memory_estimate(1_000_000, 1, memory_limit="auto") / 2**20
    _, gradients = growing.loss_and_gradients(X, D)
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    return [
        f"The gradient is exact: in float64 it differs from complex-step derivatives by at most "
        f"{power_of_ten_above(error)} of its largest entry, in a network of these sizes.",
        f"Memory is also proportional to T: {memory[0]:.3g} MiB for 10,000 and {memory[1]:.3g} MiB for 1,000,000 steps in "
        "float64; with states computed again in the backward pass (`memory_limit=\"auto\"`) the latter takes "
        f"{limited:.2g} MiB.",
        f"Gradients vanish: in a tanh network with an orthogonal W_s, on random inputs, each step back multiplies the gradient "
        f"by {flows[0].factor:.2f}, and {gone} steps back less than 1 % of it is left.",
        f"Gradients can persist: with relu and the identity (Le, Jaitly and Hinton 2015) the factor is {flows[1].factor:.2f}, "
        f"and after 199 steps {flows[1].by_distance[-1]:.1f} times the gradient is left.",
        f"Gradients explode: with 1.1 times the identity the factor is {flows[2].factor:.2f}, the gradient is over 100 times "
        f"as large {large} steps back, and the gradient of the whole error has the norm {norm:.1e}; `max_grad_norm=1` keeps "
        "the direction with a norm of 1.",
        f"Truncation to 20 steps back is accurate only if gradients vanish: the error of ∂E/∂W_s is "
        f"{100 * cut[0]:.2g} % in the tanh network, and {100 * cut[1]:.2g} % in the relu network with the identity.",
    ]


def relative_error_of_truncation(net, X, D, k):
    """Return ‖g − h‖ / ‖g‖, where g is the exact ∂E/∂W_s and h the one of errors that go back k steps."""
    exact, cut = (net.loss_and_gradients(X, D, tbptt=tbptt)[1]["W_s"] for tbptt in (None, (1, k)))
    return np.linalg.norm(cut - exact) / np.linalg.norm(exact)


def power_of_ten_above(error):
    """Return the next power of ten above an error, as text: rounding differs from processor to processor."""
    return f"1e{int(np.ceil(np.log10(error)))}"


def environment_line():
    """Return a line with versions, kernel set and processor."""
    return (f"fastbptt {fastbptt.__version__}, kernel set {fastbptt._core.kernel_set()}, one thread, {processor()}, "
            f"Python {platform.python_version()}, NumPy {np.__version__}")


if __name__ == "__main__":
    print("\n".join(f"- {sentence}" for sentence in (*sentences_about_time(), *sentences_without_time())))
    print(f"\n{environment_line()}")
