"""A short list of work that goes through all of the compiled code, for tools under which it runs 50 times slower.

    python tests/support/short_work.py [NAME ...]     what has these names, or all but what eight threads do at once

Nothing is compared but what several threads compute at once: the tools look at memory, and `seen` at every number that
comes back, so that one which was never written is noticed by them.
"""

import sys
import threading
import time

import numpy as np

import fastbptt
from fastbptt import RNN, Population, _core
from fastbptt.threads import workers as _workers

WORK, THREADS = {}, {}
DTYPES = ("float32", "float64")


def work(function):
    """Register a function as a piece of work, under its name."""
    WORK[function.__name__.replace("_", "-")] = function
    return function


def threads_work(function):
    """Register a function as work that eight threads do at once, under its name."""
    THREADS[function.__name__.replace("_", "-")] = function
    return function


def seen(value):
    """Look at every number of a result, so that a tool notices one that was never written."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if hasattr(value, "rates"):  # what `forward` returns with return_states=True
        value = value.S, value.rates
    if isinstance(value, (tuple, list)):
        for part in value:
            seen(part)
    elif value is not None and not np.isfinite(value).all():
        raise AssertionError("a result is not finite")


def data(net, T=7, B=13, seed=0, labels=False):
    """Return X, D and a dict of what else a batch may have."""
    rng = np.random.default_rng(seed)
    rows = (B,) if net.output == "last" else (T, B)
    X = rng.integers(0, net.input_size, (T, B)) if net.one_hot else rng.standard_normal((T, B, net.input_size))
    D = rng.integers(0, net.output_size, rows) if labels else rng.random((*rows, net.target_size))
    if net.loss == "cross_entropy" and not labels:
        D /= D.sum(-1, keepdims=True)
    more = {"weights": rng.integers(0, 3, rows).astype(net.dtype),
            "lengths": rng.integers(net.output == "last", T, B, endpoint=True),
            "resets": rng.random((T, B)) < 0.1}
    if isinstance(net.hidden_size, int):
        width = net.hidden_size * (2 if net.cell == "lstm" else 1)
        more["initial_state"] = rng.standard_normal((B, width)).astype(net.dtype)
    as_type = lambda a: a.astype(net.dtype) if a.dtype.kind == "f" else a  # noqa: E731
    return as_type(X), as_type(D), more


def network(H=13, I=5, O=3, shards=True, **options):  # noqa: E741
    """Return a network with these sizes. With `shards`, even small batches are divided into shards."""
    net = RNN(I, H, O, random_state=0, **options)
    if shards:
        net._engines["core"].shard_work = 1
    return net


@work
def heads():
    """Compute every loss and activation, with and without weights, lengths and resets, in shards."""
    heads = [("squared_error", "identity", "tanh"), ("absolute_error", "softmax", "relu"), ("huber", "tanh", "sigmoid"),
             (("quantile", (0.25, 0.75)), "exp", "softplus"), ("binary_cross_entropy", "sigmoid", "leaky_relu"),
             ("cross_entropy", "softmax", "elu"), ("poisson", "exp", "softsign"),
             ("squared_error", "identity", "identity")]
    for dtype in DTYPES:
        for loss, output_activation, activation in heads:
            O = 4 if "quantile" in loss else 3  # noqa: E741
            net = network(O=O, loss=loss, output_activation=output_activation, activation=activation, dtype=dtype)
            for labels in (False, True)[:1 + (loss == "cross_entropy")]:
                X, D, more = data(net, labels=labels)
                for options in ({}, more):
                    seen(net.loss_and_gradients(X, D, input_gradient=True, initial_state_gradient=True, n_threads=2,
                                                **options))
                seen(net.losses(X, D, n_threads=1, initial_state=more["initial_state"]))
                seen(net.gradient_terms(X, D, 2))


@work
def sizes():
    """Compute sizes with tails of vectors, packed factors and several blocks of time."""
    for dtype in DTYPES:
        for T, B, I, H, O in (  # noqa: E741
                (1, 1, 1, 1, 1), (3, 2, 17, 33, 9), (2, 65, 3, 7, 1), (300, 3, 2, 16, 2), (2, 30, 40, 300, 3)):
            net = network(H, I, O, shards=False, dtype=dtype)
            X, D, more = data(net, T, B)
            seen(net.loss_and_gradients(X, D, input_gradient=True, weights=more["weights"]))
            seen(net.forward(X, return_states=True))


@work
def options():
    """Compute truncation, memory limits, leaky units, draws, penalties, maps, category indices and layers."""
    for dtype in DTYPES:
        for settings in ({"leak": 0.3}, {"leak": 0.3, "leak_form": "current", "noise_std": 0.1}, {"one_hot": True},
                         {"recurrent_dropout": 0.3, "input_noise_std": 0.1}, {"output": "last"}, {"omega": 0.1},
                         {"rate_penalty": 0.1, "l1": 1e-3, "l2": 1e-3}, {"dale_ratio": 0.8, "autapses": False},
                         {"connectivity": {"W_s": np.eye(13) == 0}, "learn_initial_state": True},
                         {"bias": False, "reduction": "sum"}):
            net = network(dtype=dtype, **settings)
            X, D, more = data(net)
            draws = {"noise": bool(net.noise_std or net.input_noise_std), "dropout": net.recurrent_dropout > 0}
            for truncation in (None, (2, 3)):
                if truncation is None or net.output != "last" and not net.omega:
                    seen(net.loss_and_gradients(X, D, tbptt=truncation, lengths=more["lengths"], **draws))
            if not net.omega:
                seen(net.loss_and_gradients(X, D, memory_limit="auto", **draws))
        for layers in ({"H": (5, 9)}, {"bidirectional": True}):
            net = network(shards=False, dtype=dtype, **layers)
            X, D, more = data(net, 4, 3)
            seen(net.loss_and_gradients(X, D, input_gradient=True))


@work
def gates():
    """GRU and LSTM: rows of one and of several vectors, one row and several, and what the engine does around the kernels."""
    for dtype in DTYPES:
        for cell in ({"cell": "gru"}, {"cell": "gru", "reset_after": False}, {"cell": "lstm"}):
            for H, B in ((3, 1), (16, 1), (13, 5), (16, 5)):
                net = network(H, dtype=dtype, learn_initial_state=H == 13, **cell)
                X, D, more = data(net, B=B)
                seen(net.loss_and_gradients(X, D, input_gradient=True, initial_state_gradient=True, **more))
                more.pop("initial_state")
                seen(net.loss_and_gradients(X, D, tbptt=(2, 3), **more))
            for settings in ({"one_hot": True}, {"recurrent_dropout": 0.3}, {"output": "last"}, {"bias": False}):
                net = network(dtype=dtype, **settings, **cell)
                X, D, more = data(net, B=5)
                seen(net.loss_and_gradients(X, D, memory_limit="auto", dropout=net.recurrent_dropout > 0, **more))
            y, state = net.step(X[0])
            seen((y, state, net.gradient_terms(X, D, 2)))
            seen(net.forward(X, state, return_states=True)[2].S)
            net.fit(X, D, epochs=2, batch_size=2, tbptt=(2, 4), n_threads=2)
            seen(net.theta)


@work
def training():
    """Train by every rule, whole and truncated; compute streams, steps and closed loops."""
    for dtype in DTYPES:
        for optimizer in ("sgd", "rmsprop", "adagrad", "adam", "adamw"):
            net = network(dtype=dtype)
            X, D, more = data(net)
            more.pop("initial_state")
            tbptt = (2, 4) if optimizer in ("sgd", "adam") else None
            net.fit(X, D, epochs=2, batch_size=5, optimizer=optimizer, max_grad_norm=1.0, tbptt=tbptt, n_threads=2,
                    **more)
            seen(net.theta)
            net.train_step(X, D, optimizer)
        state = None
        for x in X:
            y, state = net.step(x, state)
            seen((y, state))
        loop = network(I=3, dtype=dtype)
        seen(loop.generate(4, prefix=data(loop)[0]))
        loop.stream(*data(loop, 9)[:2], tbptt=(3, 3))
        seen(loop.theta)


@work
def populations():
    """Train and evaluate populations, with and without weights and lengths."""
    for dtype in DTYPES:
        for n, options in ((5, {}), (19, {"loss": "cross_entropy", "output_activation": "softmax"})):
            population = Population(n, 3, 6, 2, dtype=dtype, random_state=0, **options)
            X, D, more = data(population[0], 5, 4)
            for kind in ({}, {"weights": more["weights"], "lengths": more["lengths"]}):
                population.fit(X, D, epochs=2, batch_size=4, max_grad_norm=1.0, n_threads=2, **kind)
                seen(population.theta)
                seen(population.evaluate(X, D, **kind))


@work
def c_interface():
    """Call the C interface, each operation in exactly the memory it asks for."""
    from embedding import Network

    for dtype in DTYPES:
        net = network(dtype=dtype, shards=False, loss="cross_entropy", output_activation="softmax")
        X, D, more = data(net)
        call = Network(net, X, D, weights=more["weights"], initial_state=more["initial_state"],
                       lengths=more["lengths"].astype(np.intp))
        seen(call.loss_and_gradients())
        seen(call.loss())
        call.forward()
        seen(call.backward(np.ones((7, 13, 3), dtype)))


# ---- Eight Python threads at once; the result of each is what it is alone


def at_once(function, threads=8):
    """Return a list of function(k) for threads k = 0, 1, ... which begin together."""
    begin, results = threading.Barrier(threads), [None] * threads

    def run(k):
        """Keep function(k) as soon as all threads are here."""
        begin.wait()
        results[k] = function(k)

    running = [threading.Thread(target=run, args=(k,)) for k in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return results


def bits(value):
    """Return a result with the bytes of each array in its place, to compare results exactly."""
    if hasattr(value, "S"):
        value = value.S, getattr(value, "rates", None)
    if isinstance(value, dict):
        value = tuple(value.values())
    return tuple(map(bits, value)) if isinstance(value, (tuple, list)) else np.asarray(value).tobytes()


def same_as_alone(function, threads=8):
    """Assert that function(k) gives in each thread the bits that it gives alone; it is called three times."""
    alone = [bits(function(k)) for k in range(threads)]
    found = at_once(lambda k: [bits(function(k)) for _ in range(3)], threads)
    assert found == [[one] * 3 for one in alone], "other bits than alone"


@threads_work
def one_network():
    """Make every call that leaves a network as it is, on one network, by turns and with threads of its own."""
    for dtype in DTYPES:
        for settings in ({}, {"leak": 0.5, "l2": 1e-3}, {"omega": 0.1}, {"cell": "gru"}, {"cell": "lstm"}):
            net = network(dtype=dtype, **settings)
            X, D, more = data(net)
            calls = [lambda n: net.loss_and_gradients(X, D, n_threads=n, **more),
                     lambda n: net.forward(X, n_threads=n, return_states=True),
                     lambda n: net.evaluate(X, D, weights=more["weights"], n_threads=n),
                     lambda n: net.loss_and_gradients(X, D, input_gradient=True, n_threads=n),
                     lambda n: net.step(X[0], n_threads=n),
                     lambda n: net.objective(X, D, n_threads=n)(net.theta)]
            if "omega" in settings:
                del calls[0]
            same_as_alone(lambda k: calls[k % len(calls)](1 + k // 4))
            same_as_alone(lambda k: calls[0](3))


@threads_work
def one_each():
    """Make calls and fits of a network in each thread, on the same data."""
    for dtype in DTYPES:
        for options in ({}, {"tbptt": (2, 3)}):
            def fitted(k):
                """Return the parameters of a network after a fit and a step in thread k."""
                net = network(dtype=dtype, recurrent_dropout=0.1 * (k % 2))
                X, D = shared[:2]
                net.fit(X, D, epochs=2, batch_size=8, optimizer=("sgd", "adam")[k // 4], n_threads=1 + k % 3, **options)
                net.train_step(X, D)
                return net.theta

            shared = data(network(dtype=dtype), B=21)
            same_as_alone(fitted)


@threads_work
def populations_at_once():
    """Train a population in each thread, and evaluate one population in all threads."""
    for dtype in DTYPES:
        def fitted(k):
            """Return the parameters of a population after a fit in thread k."""
            population = Population(9, 3, 6, 2, dtype=dtype, random_state=k)
            population.fit(*shared[:2], epochs=2, batch_size=4, n_threads=1 + k % 2)
            return population.theta

        one = Population(19, 3, 6, 2, dtype=dtype, random_state=0)
        shared = data(one[0], 5, 4)
        same_as_alone(fitted)
        same_as_alone(lambda k: one.evaluate(*shared[:2], n_threads=1 + k % 2))


@threads_work
def one_plan():
    """Compute with one plan and one batch of the C interface in all threads, each with its own scratch."""
    from embedding import Network

    for dtype in DTYPES:
        net = network(dtype=dtype, shards=False)
        X, D, _ = data(net)
        first = Network(net, X, D)
        alone = bits(first.loss_and_gradients())

        def of_thread(k):
            """Return the bits of three calls, which are the same in every thread k."""
            call = Network(net, X, D)
            call.plan, call.batch = first.plan, first.batch
            return [bits(call.loss_and_gradients()) for _ in range(3)]

        assert at_once(of_thread) == [[alone] * 3] * 8


def main(names):
    """Do the work with these names, or all work of one thread."""
    begin = time.monotonic()
    _workers.set_times(wake_ns=0)  # helpers come to short calls, too
    for name in names or WORK:
        (WORK.get(name) or THREADS[name])()
        print(f"{name:16} {time.monotonic() - begin:6.1f} s", flush=True)
    print(f"done with {_core.kernel_set()} of fastbptt {fastbptt.__version__}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
