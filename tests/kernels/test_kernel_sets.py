"""The kernel sets: which one serves, and what the vector sets promise that BLAS cannot."""

import functools
import os

import numpy as np
import pytest
from cases import all_states
from expectations import vectors_only
from processes import run_python

from fastbptt import RNN, _core

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
SCRIPT = """
from fastbptt import RNN, _core
print(_core.kernel_set())
assert RNN(3, 5, 2, random_state=0).gradcheck().passed
"""


OF_SIZES = """
from fastbptt import RNN
for dtype in ("float32", "float64"):
    print(*(RNN(3, H, 2, dtype=dtype)._engine("core").kernel_set() for H in (1, 4, 5, 8, 9, 12, 13, 16, 17, 24, 25, 40)))
"""


@functools.cache
def chosen(name, script=SCRIPT):
    environment = {key: value for key, value in os.environ.items() if key != "FASTBPTT_SIMD"}
    if name is not None:
        environment["FASTBPTT_SIMD"] = name
    return run_python(script, environment=environment)


def takes_halves():
    """Whether the processor is a Zen 4, as the system says."""
    if not os.path.exists("/proc/cpuinfo"):
        pytest.skip("no /proc/cpuinfo here")
    with open("/proc/cpuinfo") as file:
        words = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines())
    words = {name.strip(): value.strip() for name, value in words.items()}
    return (words["vendor_id"], words["cpu family"]) == ("AuthenticAMD", "25")


@pytest.mark.share(4)
@pytest.mark.parametrize("name", _core.KERNEL_SETS)
def test_a_set_is_taken_by_its_name_or_refused_with_words(name):
    run = chosen(name)
    if run.returncode:
        assert name != "blas"
        assert f"ImportError: FASTBPTT_SIMD={name}: this build or this processor has no such kernels" in run.stderr
    else:
        assert run.stdout.strip() == name


@pytest.mark.thorough
def test_without_a_name_the_best_set_is_taken():
    found = [name for name in _core.KERNEL_SETS if not chosen(name).returncode]
    assert chosen(None).stdout.strip() == chosen("").stdout.strip() == found[-1]


@pytest.mark.thorough
def test_narrow_networks_are_served_by_shorter_vectors():
    best = chosen(None).stdout.strip()
    found = chosen(None, OF_SIZES).stdout.split("\n")
    if best == "avx512":
        a, b = "avx2", "avx512"
        c = a if takes_halves() else b
        assert found[0].split() == [a, a, a, a, b, b, b, b, c, c, b, b]
        assert found[1].split() == [a, a, b, b, c, c, b, b, b, b, b, b]
    else:
        assert set(found[0].split() + found[1].split()) == {best}


@pytest.mark.share(4)
@pytest.mark.parametrize("name", _core.KERNEL_SETS)
def test_a_name_forces_its_set_upon_every_size(name):
    run = chosen(name, OF_SIZES)
    assert run.returncode or set(run.stdout.split()) == {name}


def test_an_unknown_name_is_refused_with_those_there_are():
    run = chosen("sse9")
    assert run.returncode
    assert "ImportError: FASTBPTT_SIMD must be one of blas, baseline, avx2, avx512, got 'sse9'" in run.stderr


@pytest.mark.quick
@vectors_only
@both_dtypes
@pytest.mark.parametrize("H", [1, 3, 8, 17, 64, 100])
def test_a_sequence_has_the_same_bits_beside_any_others(H, dtype):
    rng = np.random.default_rng(H)
    network = RNN(5, H, 19, dtype=dtype, random_state=0, output_activation="softmax", loss="cross_entropy",
                  reduction="sum")
    X, initial_state = rng.standard_normal((4, 40, 5)).astype(dtype), rng.standard_normal((40, H)).astype(dtype)
    whole = all_states(network.forward(X, initial_state=initial_state, return_states=True))
    labels = rng.integers(0, 19, (4, 40))
    options = {"initial_state": initial_state, "input_gradient": True, "initial_state_gradient": True}
    _, gradients = network.loss_and_gradients(X, labels, **options)
    first = 0
    for rows in (1, 2, 3, 4, 5, 6, 7, 12):
        part = slice(first, first + rows)
        few = all_states(network.forward(X[:, part], initial_state=initial_state[part], return_states=True))
        for of_all, of_few, axis in zip(whole, few, (1, 0, 1, 1)):
            assert np.array_equal(of_all.take(range(first, first + rows), axis), of_few), rows
        _, of_few = network.loss_and_gradients(X[:, part], labels[:, part],
                                               **{**options, "initial_state": initial_state[part]})
        assert np.array_equal(gradients["X"][:, part], of_few["X"]), rows
        assert np.array_equal(gradients["initial_state"][part], of_few["initial_state"]), rows
        first += rows


@vectors_only
@both_dtypes
def test_a_step_has_the_same_bits_alone(dtype):
    rng = np.random.default_rng(1)
    network = RNN(3, 33, 2, dtype=dtype, random_state=0)
    X = rng.standard_normal((30, 4, 3)).astype(dtype)
    Y, final_state = network.forward(X)
    state = None
    for t in range(30):
        Y_t, state = network.forward(X[t:t + 1], initial_state=state)
        assert np.array_equal(Y_t[0], Y[t])
    assert np.array_equal(state, final_state)


NOISE_IN_OMEGA = """
import numpy as np
from fastbptt import RNN
rng = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    for loss in ("absolute_error", "huber"):
        X, D = rng.standard_normal((9, 5, 3)).astype(dtype), rng.uniform(3, 4, (9, 5, 4)).astype(dtype)
        options = {"dtype": dtype, "output_activation": "softmax", "loss": loss, "random_state": 0}
        plain, net = RNN(3, 8, 4, **options), RNN(3, 8, 4, omega=0.5, **options)
        assert net.loss_and_gradients(X, D)[0] == plain.loss_and_gradients(X, D)[0], (dtype, loss)
        assert not net.loss_and_gradients(X, D)[1]["W_s"].any()
"""


@pytest.mark.thorough
@pytest.mark.parametrize("name", _core.KERNEL_SETS)
def test_no_set_finds_omega_in_rounding_noise(name):
    run = chosen(name, NOISE_IN_OMEGA)
    assert not run.returncode or "has no such kernels" in run.stderr, run.stderr
