"""Many small networks at once: one Markdown table of µs a network of loss and gradients, and of whole fits.

    pip install . && pip install jax torch            # without them, what is theirs is left out
    python bench/population.py                        # H = 1, 2, 4, 8; 8, 64 and 512 networks; one thread
    python bench/population.py --units gru            # or lstm
    python bench/population.py --fits --threads 2     # 1,000 networks, 1,000 full-batch Adam steps each, and by JAX's vmap

Networks of T = 50, B = 1, I = 4, O = 1, float32, each with parameters and targets of its own, and inputs that all share. The
ways: `Population`; `RNN`, one network after the other; JAX's vmap over jax.value_and_grad of a scan, compiled, the best of
three unrollings; and for the GRU, C compiled for each shape that computes a network per lane of AVX-512. All are compared with
the float64 reference before they are timed; they take turns, and a figure is the median over the rounds. The fits are the same
for all: Adam from the same parameters. PyTorch, where it is installed, makes ten of them, one after the other, and its time for
all is estimated from these.
"""

import argparse
import os
import statistics
import time

import numpy as np
from run import environment_of, processor

T, B, I, O = 50, 1, 4, 1
ROUNDS = 15


def make(n, H, units="plain"):
    """Return a Population of n networks with H `units`, X (T, B, I) that all share, and D (n, T, B, O)."""
    from fastbptt import Population

    rng = np.random.default_rng(H)
    population = Population(n, I, H, O, cell=units, random_state=H)
    return population, rng.standard_normal((T, B, I)).astype("f4"), rng.standard_normal((n, T, B, O)).astype("f4")


def jax_ways(population, X, D, units):
    """Return functions that compute the networks' losses and gradients by JAX, by name; an empty dict without JAX."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return {}
    p = {name: jnp.asarray(value) for name, value in population.state_dict().items()}
    X, D = jnp.asarray(X), jnp.asarray(D)

    def loss(p, X, D, unroll):
        """Return the loss of one network. The loop over time is unrolled by `unroll` steps."""
        A = X @ p["W_x"].T + p["b_s"]
        W = p["W_s"].T

        def plain(s, a):
            """Return the state after a step, as carried and as kept, from the state before it and a = X W_xᵀ + b_s."""
            s = jnp.tanh(a + s @ W)
            return s, s

        def gru(s, a):
            """Return the same for a GRU."""
            (a_r, a_z, a_n), (s_r, s_z, s_n) = jnp.split(a, 3, -1), jnp.split(s @ W, 3, -1)
            r, z = jax.nn.sigmoid(a_r + s_r), jax.nn.sigmoid(a_z + s_z)
            n = jnp.tanh(a_n + r * (s_n + p["b_n"]))
            s = n + z * (s - n)
            return s, s

        def lstm(carry, a):
            """Return h and c after a step of an LSTM, as carried, and h, as kept, from `carry`, the two before it."""
            i, f, g, o = jnp.split(a + carry[0] @ W, 4, -1)
            c = jax.nn.sigmoid(f) * carry[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
            s = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (s, c), s

        zero = jnp.zeros((B, W.shape[0]), A.dtype)
        step, start = {"plain": (plain, zero), "gru": (gru, zero), "lstm": (lstm, (zero, zero))}[units]
        S = jax.lax.scan(step, start, A, unroll=unroll)[1]
        return jnp.square(S @ p["W_y"].T + p["b_y"] - D).sum() / (T * B)

    ways = {}
    for unroll in (1, 5, 10):
        compiled = jax.jit(jax.vmap(jax.value_and_grad(lambda p, X, D, u=unroll: loss(p, X, D, u)), in_axes=(0, None, 0)))

        def call(compiled=compiled):
            """Return the losses and gradients of all networks when they are finished."""
            return jax.block_until_ready(compiled(p, X, D))

        ways[f"JAX vmap, unroll {unroll}"] = call
    return ways


def check(result, right, words):
    """Compare losses and gradients with the reference, in units of the loss and of the largest entry of a network's gradient.

    `right` has the reference's loss and gradients by the index of the network. End the program if `result` is wrong, with a
    message that begins with `words`.
    """
    losses, gradients = result
    for k, (loss, found) in right.items():
        largest = max(np.abs(value).max() for value in found.values())
        error = max([abs(float(losses[k]) - loss) / abs(loss)] + [
            float(np.abs(np.asarray(gradients[name][k]) - value).max() / largest) for name, value in found.items()])
        if not error < 2e-5:
            raise SystemExit(f"{words} is wrong for network {k}: error {error:.1e}")


def c_lanes(population, X, D, units):
    """Return the C way by name, or nothing where it does not exist: for other cells and processors."""
    from contenders import lanes_c

    return {"C": lanes_c.Lanes(population, X, D)} if units == "gru" and not lanes_c.missing() else {}


def table(sizes, counts, threads, units):
    """Print the table of times of loss and gradients, in µs a network, for networks of these sizes and these counts of them."""
    from fastbptt import reference

    print("| H | networks | Population | one at a time | JAX vmap, best | C lanes | one at a time / Population "
          "| JAX / Population | C / Population |")
    print("|---|---|---|---|---|---|---|---|---|")
    for H in sizes:
        for n in counts:
            population, X, D = make(n, H, units)
            nets = list(population)[:32]
            ways = {"Population": lambda: population.loss_and_gradients(X, D, n_threads=threads),
                    "one": lambda: [net.loss_and_gradients(X, d) for net, d in zip(nets, D)],
                    **jax_ways(population, X, D, units)}
            if threads == 1 and n % 16 == 0:
                ways |= c_lanes(population, X, D, units)
            right = {}
            for k in (0, n - 1):
                p = {name: value.astype(np.float64) for name, value in population[k].parameters.items()}
                right[k] = reference.loss_and_gradients(p, X.astype(np.float64), D[k].astype(np.float64), cell=units)
            for name, call in ways.items():
                if name != "one":
                    check(call(), right, name)
            samples = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, call in ways.items():
                    begin, repeats = time.perf_counter(), 0
                    while time.perf_counter() - begin < 0.01:
                        call()
                        repeats += 1
                    samples[name].append((time.perf_counter() - begin) / repeats / (len(nets) if name == "one" else n) * 1e6)
            us = {name: statistics.median(values) for name, values in samples.items()}
            jax = min((value for name, value in us.items() if name.startswith("JAX")), default=float("nan"))
            c = us.get("C", float("nan"))
            print(f"| {H} | {n} | {us['Population']:.3f} | {us['one']:.2f} | {jax:.2f} | {c:.3f} "
                  f"| {us['one'] / us['Population']:.1f} | {jax / us['Population']:.1f} | {c / us['Population']:.2f} |",
                  flush=True)


def fits(n, steps, threads):
    """Print the seconds of whole fits of n networks, of the wall and of all cores, the least of three.

    Each fit makes `steps` updates. Fits with validation too and fits by JAX's vmap have rows of their own.
    """
    from fastbptt import fit_many

    population, X, D = make(n, 4)
    nets, theta = list(population), population.theta
    rows = [("Population.fit", lambda: population.fit(X, D, epochs=steps, n_threads=threads)),
            ("Population.fit, validated after each step", lambda: population.fit(
                X, D, epochs=steps, validation=(X, D), patience=steps, n_threads=threads)),
            ("fit_many", lambda: fit_many(nets, X, list(D), epochs=steps, n_threads=threads))]
    jax_fit = jax_adam(population, X, D, steps)
    if jax_fit is not None:
        rows.append(("JAX vmap", jax_fit))
    print(f"{n} networks of H = 4, {steps} full-batch Adam steps each")
    for name, call in rows:
        seconds, losses = [], None
        for _ in range(3):
            population.theta = theta
            for net, row in zip(nets, theta):
                net.theta = row
            begin = time.perf_counter(), time.process_time()
            losses = call()
            seconds.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
        losses = losses if isinstance(losses, np.ndarray) else losses.train_loss
        print(f"{name:45} {min(s for s, _ in seconds):7.3f} s, {min(s for _, s in seconds):7.3f} s of all cores; mean loss "
              f"before the last step {losses[:, -1].mean():.6f}", flush=True)
    population.theta = theta
    found = torch_adam(population, X, D, steps, threads)
    if found is not None:
        seconds, last = found
        ours = population.fit(X, D, epochs=steps, n_threads=threads).train_loss[:len(last), -1]
        # the median: of a few networks the way is chaotic after 600 steps, in float64 too
        print(f"{'PyTorch nn.RNN, estimated from ' + str(len(last)):45} {seconds / len(last) * n:7.1f} s; median loss of these "
              f"before the last step {np.median(last):.6f} (of Population {np.median(ours):.6f})", flush=True)


def torch_adam(population, X, D, steps, threads, networks=10):
    """Return the seconds of the fits of the first networks by PyTorch, and their losses before the last step.

    They are trained one after the other.
    """
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    X, losses, seconds = torch.from_numpy(X), [], 0.0
    for k in range(networks):
        p = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in population[k].parameters.items()}
        rnn, linear, target = torch.nn.RNN(I, p["W_s"].shape[0]), torch.nn.Linear(p["W_s"].shape[0], O), torch.from_numpy(D[k])
        rnn.load_state_dict({"weight_ih_l0": p["W_x"], "weight_hh_l0": p["W_s"], "bias_ih_l0": p["b_s"],
                             "bias_hh_l0": torch.zeros_like(p["b_s"])})
        linear.load_state_dict({"weight": p["W_y"], "bias": p["b_y"]})
        rnn.bias_hh_l0.requires_grad_(False)
        learnt = [each for each in (*rnn.parameters(), *linear.parameters()) if each.requires_grad]
        adam = torch.optim.Adam(learnt, lr=1e-3)
        begin = time.perf_counter()
        for _ in range(steps):
            adam.zero_grad()
            loss = torch.nn.functional.mse_loss(linear(rnn(X)[0]), target, reduction="sum") / (T * B)
            loss.backward()
            adam.step()
        seconds += time.perf_counter() - begin
        losses.append(float(loss.detach()))
    return seconds, losses


def jax_adam(population, X, D, steps):
    """Return a function that makes the same fits by JAX and returns the losses (n, steps); None without JAX.

    It is vmap over the networks inside a scan over the steps, compiled before it is timed.
    """
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None

    def loss(p, D):
        """Return the loss of one network."""
        def step(s, a):
            """Return the state after a step, as carried and as kept, from the state before it and a = X W_xᵀ + b_s."""
            s = jnp.tanh(a + s @ p["W_s"].T)
            return s, s

        A = X @ p["W_x"].T + p["b_s"]
        S = jax.lax.scan(step, jnp.zeros_like(A[0]), A, unroll=5)[1]
        return jnp.square(S @ p["W_y"].T + p["b_y"] - D).sum() / (T * B)

    gradient = jax.vmap(jax.value_and_grad(loss))

    def update(carried, count):
        """Make one update of Adam for all networks: return parameters and both means, and the losses before it."""
        p, m, v = carried
        losses, g = gradient(p, D)
        m = {k: 0.9 * m[k] + 0.1 * g[k] for k in g}
        v = {k: 0.999 * v[k] + 0.001 * g[k] ** 2 for k in g}
        p = {k: p[k] - 1e-3 * (m[k] / (1 - 0.9**count)) / (jnp.sqrt(v[k] / (1 - 0.999**count)) + 1e-8) for k in g}
        return (p, m, v), losses

    p = {name: jnp.asarray(value) for name, value in population.state_dict().items()}
    zeros = {name: jnp.zeros_like(value) for name, value in p.items()}
    run = jax.jit(lambda: jax.lax.scan(update, (p, zeros, zeros), jnp.arange(1, steps + 1, dtype=jnp.float32))[1])
    run().block_until_ready()
    return lambda: np.asarray(run()).T


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--networks", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--units", choices=["plain", "gru", "lstm"], default="plain")
    parser.add_argument("--fits", action="store_true", help="whole fits in place of the table")
    arguments = parser.parse_args()
    if arguments.fits and arguments.units != "plain":
        parser.error("--fits has plain units only")
    os.environ |= environment_of(arguments.threads)
    print(f"{processor()}; {arguments.threads} threads")
    if arguments.fits:
        fits(1000, 1000, arguments.threads)
    else:
        table(arguments.hidden, arguments.networks, arguments.threads, arguments.units)


if __name__ == "__main__":
    main()
