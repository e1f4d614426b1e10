"""Ctrl-C while LAPACK or a generator of random numbers is busy: the wait ends, whatever they do."""

import signal
import threading

import numpy as np
import pytest

from fastbptt import RNN, diagnostics
from fastbptt.threads import policy as _threading


@pytest.fixture
def blocked(monkeypatch):
    """Let a function of np.linalg block until the test is over; Ctrl-C comes as soon as it does."""
    over = threading.Event()

    def block(name):
        def busy(*args, **kwargs):
            threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,)).start()
            over.wait()
            raise RuntimeError("nobody hears of this")

        monkeypatch.setattr(np.linalg, name, busy)

    yield block
    over.set()


def test_ctrl_c_ends_spectrum(blocked):
    net = RNN(2, 130, 1, random_state=0)
    blocked("eigvals")
    with pytest.raises(KeyboardInterrupt):
        diagnostics.spectrum(net)


@pytest.mark.parametrize(("initializer", "name"), [("orthogonal", "qr"), (("spectral_radius", 1.0), "eigvals")])
def test_ctrl_c_ends_an_initializer(blocked, initializer, name):
    blocked(name)
    with pytest.raises(KeyboardInterrupt):
        RNN(2, 130, 1, initializer=initializer, random_state=0)


def test_ctrl_c_ends_what_makes_a_map_fit(blocked):
    blocked("eigvals")
    with pytest.raises(KeyboardInterrupt):
        RNN(2, 130, 1, dale_ratio=0.5, random_state=0)


@pytest.mark.thorough
@pytest.mark.parametrize("initializer", ["orthogonal", "spectral_radius", "sparse", "torch"])
def test_the_numbers_are_those_of_a_plain_call_to_the_bit(monkeypatch, initializer):
    started, thread = [], threading.Thread
    monkeypatch.setattr(threading, "Thread", lambda *args, **kwargs: started.append(1) or thread(*args, **kwargs))
    apart = RNN(2, 140, 1, initializer=initializer, random_state=0)
    assert started
    del started[:]
    monkeypatch.setattr(_threading, "LARGE", 10**9)
    plain = RNN(2, 140, 1, initializer=initializer, random_state=0)
    assert not started and np.array_equal(apart.theta, plain.theta)
    values = diagnostics.spectrum(plain)
    monkeypatch.setattr(_threading, "LARGE", 1)
    assert np.array_equal(diagnostics.spectrum(plain).eigenvalues, values.eigenvalues)


def test_a_function_of_the_user_runs_in_the_thread_that_called():
    seen = []

    def draw(shape, rng):
        seen.append(threading.current_thread())
        return np.zeros(shape)

    RNN(2, 200, 1, initializer=draw)
    assert set(seen) == {threading.current_thread()}


def test_an_error_is_raised_where_somebody_waits():
    def fail():
        raise ZeroDivisionError("within")

    with pytest.raises(ZeroDivisionError, match="within"):
        _threading.interruptible(_threading.LARGE, fail)
    assert _threading.interruptible(_threading.LARGE, lambda x: x + 1, 2) == 3


def test_another_thread_than_the_main_one_calls_at_once():
    found = []
    worker = threading.Thread(target=lambda: found.append(_threading.interruptible(_threading.LARGE, threading.current_thread)))
    worker.start()
    worker.join()
    assert found == [worker]


def test_without_a_thread_the_call_is_made_as_it_is(monkeypatch):
    right = RNN(2, 140, 1, random_state=0).theta

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert np.array_equal(RNN(2, 140, 1, random_state=0).theta, right)
