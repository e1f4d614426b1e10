"""Truncated BPTT in the core: against the reference, which does it by the definition, tensor by tensor."""

import numpy as np
import pytest
from cases import assert_close
from truncated import draw

from fastbptt import RNN

LIMIT = 1e-11


@pytest.mark.share(3)
@pytest.mark.parametrize("seed", range(150))
def test_every_gradient_is_the_reference_s(seed):
    compare(*draw(seed))


@pytest.mark.parametrize("seed", range(1000, 1015))
def test_windows_of_several_blocks(seed):
    compare(*draw(seed, long=True))


def compare(net, arguments):
    loss, gradients = net.loss_and_gradients(**arguments, n_threads=1)
    expected_loss, expected = net.loss_and_gradients(**arguments, backend="reference")
    assert loss == pytest.approx(expected_loss, rel=LIMIT, abs=1e-300)
    for name in expected:
        assert_close(gradients[name], expected[name], LIMIT, name, arguments)
    again = net.loss_and_gradients(**arguments, n_threads=2)[1]
    assert all(np.array_equal(again[name], gradients[name]) for name in gradients)
    del arguments["D"], arguments["weights"]
    dY = np.random.default_rng(0).standard_normal(net.forward(arguments["X"], lengths=arguments["lengths"])[0].shape)
    gradients, expected = (net.backward(dY=dY, backend=backend, **arguments) for backend in ("core", "reference"))
    for name in expected:
        assert_close(gradients[name], expected[name], LIMIT, name, arguments)


@pytest.mark.parametrize("T", [1, 40, 700])
def test_one_window_of_all_steps_is_no_truncation_to_the_bit(T):
    rng = np.random.default_rng(0)
    net = RNN(3, 20, 2, random_state=0)
    X, D = rng.standard_normal((T, 9, 3)), rng.standard_normal((T, 9, 2))
    loss, gradients = net.loss_and_gradients(X, D, input_gradient=True)
    for k1, k2 in ((T, T), (T, T + 5), (T + 1, T), (10**6, 10**6)):
        truncated = net.loss_and_gradients(X, D, input_gradient=True, tbptt=(k1, k2))
        assert truncated[0] == loss
        assert all(np.array_equal(truncated[1][name], gradients[name]) for name in gradients)


def test_windows_that_reach_the_first_step_are_full_bptt_up_to_rounding():
    rng = np.random.default_rng(1)
    net = RNN(3, 20, 2, dtype="float64", random_state=0)
    X, D = rng.standard_normal((50, 9, 3)), rng.standard_normal((50, 9, 2))
    gradients = net.loss_and_gradients(X, D)[1]
    truncated = net.loss_and_gradients(X, D, tbptt=(7, 50))[1]
    for name in gradients:
        assert_close(truncated[name], gradients[name], 1e-13, name, "k1=7, k2=T")


@pytest.mark.parametrize(("tbptt", "error", "words"), [
    (5, TypeError, ("tbptt must be (k1, k2)", "int 5")),
    ((5,), TypeError, ("tbptt must be (k1, k2)",)),
    ((0, 5), ValueError, ("k1 of tbptt", "0")),
    ((5, -1), ValueError, ("k2 of tbptt", "-1")),
    ((5, 2.5), TypeError, ("k2 of tbptt", "float 2.5")),
])
@pytest.mark.parametrize("backend", ["core", "reference"])
def test_a_bad_tbptt_is_refused(backend, tbptt, error, words):
    net = RNN(1, 2, 1)
    with pytest.raises(error) as raised:
        net.loss_and_gradients(np.ones((3, 1, 1)), np.ones((3, 1, 1)), tbptt=tbptt, backend=backend)
    assert all(word in str(raised.value) for word in words)
