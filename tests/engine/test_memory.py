"""memory_limit: the same bits in less memory; memory_estimate: what a call takes, to the byte."""

from pathlib import Path

import numpy as np
import pytest
from expectations import taken
from processes import run_python
from truncated import draw

from fastbptt import RNN

SLACK = 64  # bytes by which a piece of memory is aligned


def estimate(net, arguments, **more):
    """memory_estimate for the arguments of loss_and_gradients."""
    T, B = arguments["X"].shape[:2]
    weights, resets = arguments.get("weights"), arguments.get("resets")
    return net.memory_estimate(T, B, lengths=arguments.get("lengths"), resets=resets is not None and bool(resets.any()),
                               weights=None if weights is None else "step",
                               sparse=weights is not None and is_sparse(weights, arguments), **more)


def is_sparse(weights, arguments):
    lengths, T = arguments.get("lengths"), len(arguments["X"])
    if lengths is not None and weights.ndim == 2:
        weights = weights[np.arange(T)[:, None] < lengths]
    return bool(2 * (weights != 0).sum() < weights.size)


@pytest.mark.share(3)
@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
@pytest.mark.parametrize("seed", range(60))
def test_every_limit_gives_the_same_bits(seed, long):
    net, arguments = draw(seed + 5000, long)
    del arguments["tbptt"]
    loss, gradients = net.loss_and_gradients(**arguments)
    dY = np.random.default_rng(seed).standard_normal(net.forward(arguments["X"], lengths=arguments["lengths"])[0].shape)
    given = {name: value for name, value in arguments.items() if name not in ("D", "weights")}
    expected = net.backward(dY=dY, **given)
    all_kept, least = (estimate(net, arguments, memory_limit=limit, n_threads=1) for limit in (None, "auto"))
    assert least <= all_kept
    for limit in ("auto", least, (least + all_kept) // 2, all_kept, 2**40):
        again, in_less = net.loss_and_gradients(**arguments, memory_limit=limit, n_threads=2)
        assert again == loss
        assert all(np.array_equal(in_less[name], gradients[name]) for name in gradients)
    again = net.backward(dY=dY, memory_limit="auto", **given)
    assert all(np.array_equal(again[name], expected[name]) for name in expected)


@pytest.mark.share(4)
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("learnt", [False, True])
def test_sequences_that_end_where_a_segment_does(learnt, resets):
    rng = np.random.default_rng(0)
    T = B = 500  # with every step a sequence ends
    net = RNN(3, 33, 2, dtype="float64", learn_initial_state=learnt, random_state=0)
    if learnt:
        net.parameters["S_0"] = rng.standard_normal(33)
    arguments = {"X": rng.standard_normal((T, B, 3)), "D": rng.standard_normal((T, B, 2)), "input_gradient": True,
                 "lengths": rng.permutation(T) + 1, "initial_state": None if learnt else rng.standard_normal((B, 33)),
                 "resets": rng.uniform(size=(T, B)) < 0.01 if resets else None, "initial_state_gradient": True}
    loss, gradients = net.loss_and_gradients(**arguments)
    all_kept, least = (net.memory_estimate(T, B, lengths=arguments["lengths"], resets=resets, memory_limit=limit, n_threads=1)
                       for limit in (None, "auto"))
    assert least < all_kept / 1.4
    for limit in (least, (3 * least + all_kept) // 4, (least + all_kept) // 2):
        again, in_less = net.loss_and_gradients(**arguments, memory_limit=limit, n_threads=1)
        assert again == loss
        assert all(np.array_equal(in_less[name], gradients[name]) for name in gradients)


@pytest.mark.quick
@pytest.mark.parametrize("limit", [None, "auto", 300_000])
def test_the_estimate_is_what_a_call_takes(limit):
    net = RNN(3, 20, 2, random_state=0)
    rng = np.random.default_rng(0)
    X, D = rng.standard_normal((3000, 4, 3)).astype(np.float32), rng.standard_normal((3000, 4, 2)).astype(np.float32)
    expected = net.memory_estimate(3000, 4, memory_limit=limit, n_threads=1)
    most = taken(net, lambda net: net.loss_and_gradients(X, D, memory_limit=limit, n_threads=1))
    outside = 4 * net.theta.size + 20_000  # the gradients, and Python's objects
    assert expected <= most <= expected + SLACK + outside
    if limit is None:
        assert expected > 4 * 3000 * 4 * 20
    else:
        assert expected < 400_000


RESIDENT = """
import numpy as np
from fastbptt import RNN

def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

T, B, limit = {T}, {B}, {limit}
lengths = {lengths}
net = RNN(2, 40, 2, dtype="float64", random_state=0)
X, D = np.full((T, B, 2), 0.5), np.full((T, B, 2), 0.25)
net.loss_and_gradients(X[:5], D[:5], lengths=None if lengths is None else lengths // T, n_threads=1)
before = kilobytes("VmRSS")
result = net.loss_and_gradients(X, D, lengths=lengths, memory_limit=limit, input_gradient=True, n_threads=1)
grown = 1024 * (kilobytes("VmHWM") - before)
expected = net.memory_estimate(T, B, lengths=lengths, memory_limit=limit, n_threads=1)
print(grown, expected, sum(gradient.nbytes for gradient in result[1].values()))
"""


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc, which tells the resident memory")
@pytest.mark.parametrize(("T", "B", "limit", "lengths"), [
    (50_000, 6, None, None), (80_000, 8, None, "np.linspace(1, T, B).astype(int)"), (700_000, 1, 200_000_000, None)])
def test_resident_memory_grows_by_the_estimate(T, B, limit, lengths):
    run = run_python(RESIDENT.format(T=T, B=B, limit=limit, lengths=lengths))
    assert run.returncode == 0, run.stderr
    grown, expected, returned = map(int, run.stdout.split())
    assert expected > 100e6 and (limit is None or expected <= limit)
    assert abs(grown - expected - returned) < 0.1 * expected, (grown, expected, returned)


def test_a_long_record_takes_memory_as_the_root_of_its_length():
    net = RNN(4, 64, 2)
    assert net.memory_estimate(1_000_000, 1, n_threads=1) > 4 * 64 * 1_000_000
    assert net.memory_estimate(1_000_000, 1, memory_limit="auto", n_threads=1) < 2_000_000
    assert net.memory_estimate(1_000_000, 1, memory_limit=64 * 2**20, n_threads=1) <= 64 * 2**20
    assert net.memory_estimate(100_000_000, 1, memory_limit="auto") < 20_000_000


def test_fewer_threads_serve_where_the_limit_leaves_no_room_for_more():
    net = RNN(4, 64, 2)
    alone = net.memory_estimate(200, 64, memory_limit="auto", n_threads=1)
    assert net.memory_estimate(200, 64, n_threads=2) > net.memory_estimate(200, 64, n_threads=1)
    assert net.memory_estimate(200, 64, memory_limit=alone, n_threads=2) <= alone


def test_a_limit_below_the_least_is_refused_with_it():
    net = RNN(4, 64, 2)
    least = net.memory_estimate(5000, 1, memory_limit="auto", n_threads=1)
    with pytest.raises(MemoryError, match=f"memory_limit=1000 bytes, but this call needs at least {least}"):
        net.loss_and_gradients(np.ones((5000, 1, 4), "f"), np.ones((5000, 1, 2), "f"), memory_limit=1000, n_threads=1)


@pytest.mark.parametrize("more", [{}, {"lengths": np.arange(5000, 0, -1250)}, {"resets": True}],
                         ids=["plain", "lengths", "resets"])
def test_a_limit_counts_all_that_the_estimate_counts(more):
    net = RNN(4, 4, 2)
    least, all_kept = (net.memory_estimate(5000, 4, memory_limit=limit, n_threads=1, **more) for limit in ("auto", None))
    for limit in (least, (least + all_kept) // 2, all_kept):
        assert net.memory_estimate(5000, 4, memory_limit=limit, n_threads=1, **more) <= limit
    with pytest.raises(MemoryError, match=f"memory_limit={least - 1} bytes, but this call needs at least {least}"):
        net.memory_estimate(5000, 4, memory_limit=least - 1, n_threads=1, **more)


def test_resets_of_padding_take_no_memory():
    net, rng = RNN(3, 5, 2, random_state=0), np.random.default_rng(0)
    X, D, lengths = rng.standard_normal((7, 2, 3)), rng.standard_normal((7, 2, 2)), np.array([4, 4])
    resets = np.zeros((7, 2), bool)
    resets[5] = True
    limit = net.memory_estimate(7, 2, lengths=lengths, memory_limit="auto")
    _, gradients = net.loss_and_gradients(X, D, lengths=lengths, resets=resets, memory_limit=limit)
    for name, gradient in net.loss_and_gradients(X, D, lengths=lengths)[1].items():
        assert np.array_equal(gradients[name], gradient)


def test_training_under_a_limit_is_the_same_run():
    rng = np.random.default_rng(0)
    X, D = rng.standard_normal((800, 6, 3)), rng.standard_normal((800, 6, 1))
    free, bound, slow = (RNN(3, 10, 1, random_state=0) for _ in range(3))
    free.fit(X, D, epochs=3, batch_size=4)
    bound.fit(X, D, epochs=3, batch_size=4, memory_limit="auto")
    slow.fit(X, D, epochs=3, batch_size=4, memory_limit="auto", update_callbacks=lambda record: None)
    assert np.array_equal(free.theta, bound.theta) and np.array_equal(free.theta, slow.theta)


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ({"memory_limit": 0}, ValueError, "positive number of bytes, got 0"),
    ({"memory_limit": -1}, ValueError, "positive number of bytes, got -1"),
    ({"memory_limit": 1e6}, TypeError, 'a number of bytes, "auto" or None, got float 1000000.0'),
    ({"memory_limit": True}, TypeError, "got bool True"),
    ({"memory_limit": "least"}, ValueError, 'memory_limit must be a number of bytes, "auto" or None, got \'least\''),
    ({"memory_limit": "auto", "tbptt": (1, 1)}, ValueError, "give tbptt or memory_limit, not both"),
])
@pytest.mark.parametrize("backend", ["core", "reference"])
def test_a_bad_limit_is_refused(backend, arguments, error, words):
    net = RNN(1, 2, 1)
    with pytest.raises(error) as raised:
        net.loss_and_gradients(np.ones((3, 1, 1)), np.ones((3, 1, 1)), backend=backend, **arguments)
    assert words in str(raised.value)
    with pytest.raises(error):
        net.memory_estimate(3, 1, **arguments)


REFUSED = """
import _testcapi, sysconfig
import numpy as np
from fastbptt import RNN

X, D = np.ones((6, 4, 3), "f4"), np.zeros((6, 4, 2), "f4")
nets = [RNN(3, 8, 2, random_state=0) for _ in range(80)]  # whose first call has no workspace yet
truth, theta, refused = RNN(3, 8, 2, random_state=0).loss_and_gradients(X, D)[0], nets[0].theta.tobytes(), 0
for k, net in enumerate(nets):
    caught = False
    _testcapi.set_nomemory(k, k + 1)
    try:
        net.loss_and_gradients(X, D)
    except MemoryError:
        caught = True
    except SystemError:  # free-threaded CPython 3.14 itself, where it has no room for a call's more than ten arguments
        if k > 0 or not sysconfig.get_config_var("Py_GIL_DISABLED"):
            raise
    finally:
        _testcapi.remove_mem_hooks()
    refused += caught
    assert net.theta.tobytes() == theta and net.loss_and_gradients(X, D)[0] == truth
print(refused)
"""


@pytest.mark.thorough
def test_any_one_refused_allocation_of_a_first_call_is_a_memory_error_or_harmless():
    pytest.importorskip("_testcapi")
    run = run_python(REFUSED)
    assert run.returncode == 0, (run.returncode, run.stderr)
    assert 2 < int(run.stdout) < 80
