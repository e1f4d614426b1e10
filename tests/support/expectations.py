"""What several test files expect of a call: its error, its memory, its gradients, the kernel set that it needs.

A helper that two test files use belongs here, or beside the cases that it needs (cases.py, leaky.py).
"""

import dataclasses
import io
import tracemalloc
from contextlib import contextmanager

import pytest

import fastbptt
from fastbptt import _core

vectors_only = pytest.mark.skipif(_core.kernel_set() == "blas",
                                  reason="a row of a BLAS's product has other bits beside other rows")


@contextmanager
def refused(net, error, *words):
    """Assert that the block raises exactly `error`, with all `words` in its message, and leaves the parameters as they were."""
    before = net.theta.tobytes()
    with pytest.raises(error) as caught:
        yield
    assert caught.type is error
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"
    assert net.theta.tobytes() == before


def taken(net, call):
    """Return the most bytes that call(net) has at a time beside what it returns, once the engine's pool is empty."""
    net = net.copy()
    tracemalloc.start()
    try:
        result = call(net)
        kept, most = tracemalloc.get_traced_memory()
        del result
        return most
    finally:
        tracemalloc.stop()


@dataclasses.dataclass(frozen=True)
class Collect(fastbptt.optimizers.Optimizer):
    """No update, but the gradients."""

    gradients: list = dataclasses.field(default_factory=list)

    def update(self, theta, gradient, slots, count, learning_rate):
        """Keep a copy of the gradient, and leave theta as it is."""
        self.gradients.append(gradient.copy())


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True
