"""Numbers too small to be normal count as zero in here, and nowhere else: the processor's mode is the caller's again."""

import platform
import signal
import threading
import time

import numpy as np
import pytest

from fastbptt import RNN, Population

pytestmark = pytest.mark.quick
TINY = {"float32": np.float32(1e-40), "float64": np.float64(1e-310)}
flushes = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"),
                             reason="this processor is not told")


def are_numbers():
    """Whether half of the least normal number is one, in this thread."""
    return all((np.full(8, np.finfo(dtype).tiny, dtype) * np.array(0.5, dtype) != 0).all() for dtype in TINY)


def linear(dtype):
    net = RNN(3, 4, 2, activation="identity", dtype=dtype, random_state=0)
    for name in ("b_s", "b_y"):
        net.parameters[name][...] = 0
    return net


@flushes
@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("n_threads", (1, 2))
def test_they_count_as_zero(dtype, n_threads):
    net, X = linear(dtype), np.full((40, 64, 3), TINY[dtype])
    assert (X != 0).all() and (net.forward(X, backend="reference")[0] != 0).any()
    Y, final_state = net.forward(X, n_threads=n_threads)
    assert not Y.any() and not final_state.any()
    _, gradients = net.loss_and_gradients(X, np.ones((40, 64, 2), dtype), n_threads=n_threads)
    assert not gradients["W_x"].any()
    assert are_numbers()


@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("backend", ("core", "reference"))
def test_a_mean_by_weights_of_that_size_is_a_number(dtype, backend):
    net, rng = RNN(3, 4, 2, dtype=dtype, random_state=0), np.random.default_rng(0)
    X, D = rng.standard_normal((2, 1, 3)).astype(dtype), rng.standard_normal((2, 1, 2)).astype(dtype)
    loss, gradients = net.loss_and_gradients(X, D, weights=np.full((2, 1), TINY[dtype]), backend=backend)
    assert np.isfinite(loss) and all(np.isfinite(gradient).all() for gradient in gradients.values())
    if backend == "core" or dtype == "float64":
        assert loss == 0 and not any(gradient.any() for gradient in gradients.values())


@flushes
def test_they_count_as_zero_in_populations():
    nets, X = Population(5, 3, 4, 2, activation="identity", random_state=0), np.full((40, 2, 3), TINY["float32"])
    assert not nets.forward(X)[1].any()
    assert are_numbers()


def test_the_mode_is_the_callers_again_after_training_and_errors():
    rng, seen = np.random.default_rng(0), []
    X, D = rng.standard_normal((20, 8, 3)), rng.standard_normal((20, 8, 2))
    net = RNN(3, 4, 2, random_state=0)
    net.fit(X, D, epochs=3, callbacks=[lambda *_: seen.append(are_numbers())])
    assert seen and all(seen) and are_numbers()
    D[3, 4, 1] = np.nan
    with pytest.raises(ValueError):
        net.fit(X, D, epochs=1)
    with pytest.raises(ValueError):
        net.loss_and_gradients(X[:0], D)
    assert are_numbers()
    Population(5, 3, 4, 2, random_state=0).fit(X, rng.standard_normal((20, 8, 2)), epochs=3)
    assert are_numbers()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no timer")
def test_a_signals_handler_has_the_callers_mode():
    seen = []
    net, X = RNN(3, 256, 2, random_state=0), np.zeros((20000, 2, 3), "float32")
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(are_numbers()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        begin = time.monotonic()
        while not seen and time.monotonic() - begin < 60:
            net.forward(X, n_threads=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen == [True] and are_numbers()


def test_other_threads_keep_their_mode():
    seen = []
    net, X = RNN(3, 64, 2, random_state=0), np.zeros((2000, 4, 3), "float32")
    thread = threading.Thread(target=lambda: [net.forward(X) for _ in range(5)])
    thread.start()
    while thread.is_alive():
        seen.append(are_numbers())
    thread.join()
    assert all(seen)
