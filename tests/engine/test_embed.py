"""The C interface: the bits of RNN, every argument checked, signatures that stay, and a package compiled against it."""

import ctypes
import functools
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time

import numpy as np
import pytest
import threadpoolctl
from cases import ALL
from embedding import DECLARATIONS, Guarded, Network, allow, c, constants, of_type, ok, plan_of, signatures, state_width
from processes import SUPPORT, TESTS, run_python

from fastbptt import RNN, _core, optimizers

PACKAGE = TESTS / "embed"  # the package that docs/embedding.md shows
PINNED = PACKAGE / "signatures.json"
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(autouse=True)
def one_thread_of_blas():
    """As who allows a plan the BLAS must see to."""
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield


# ---- The bits of RNN


def bits(a):
    return np.asarray(a).tobytes()


def flat(net, gradients):
    return np.concatenate([gradients[name].ravel() for name in net.parameters])


def drawn(net, T, B, seed=0, *, weights=False, lengths=False, resets=False, initial_state=True, labels=False):
    """X, D and the other arrays of a batch, as RNN converts them."""
    rng = np.random.default_rng(seed)
    rows, K = ((B,) if net.output == "last" else (T, B)), net.target_size
    X = rng.integers(0, net.input_size, (T, B)) if net.one_hot else rng.standard_normal((T, B, net.input_size))
    if labels:
        D = rng.integers(0, net.output_size, rows)
    elif net.loss in ("binary_cross_entropy", "cross_entropy", "poisson"):
        D = rng.random((*rows, K)).astype(net.dtype)
        D /= D.sum(-1, keepdims=True) if net.loss == "cross_entropy" else 1
    else:
        D = rng.standard_normal((*rows, K)).astype(net.dtype)
    arrays = {}
    if weights:
        shape = (*rows, K) if weights == "each" else rows
        arrays["weights"] = (rng.random(shape) * (rng.random(shape) > (0.7 if weights == "few" else 0.2))).astype(net.dtype)
    if lengths:
        arrays["lengths"] = rng.integers(1 if net.output == "last" else 0, T + 1, B)
    if lengths == "equal":
        arrays["lengths"][:] = T // 2
    if resets:
        arrays["resets"] = rng.random((T, B)) < 0.2
    if initial_state:
        arrays["initial_state"] = rng.standard_normal((B, state_width(net))).astype(net.dtype)
    return X.astype(np.intp if net.one_hot else net.dtype), D.astype(np.intp) if labels else D, arrays


def check_every_operation(net, X, D, arrays, tbptt=None):
    """Each of them against RNN's, bit by bit."""
    network = Network(net, X, D, tbptt, **arrays)
    inputs = {name: array for name, array in arrays.items() if name != "weights"}
    Y, final_state, run = net.forward(X, inputs.get("initial_state"), lengths=inputs.get("lengths"),
                                    resets=inputs.get("resets"), return_states=True, n_threads=1)
    S = run.S
    asked = {"tbptt": tbptt, "n_threads": 1, "input_gradient": not net.one_hot, "initial_state_gradient": True}
    loss, gradients = net.loss_and_gradients(X, D, **arrays, **asked)
    dY = np.random.default_rng(9).standard_normal(Y.shape).astype(net.dtype)
    of_outputs = net.backward(X, dY, **inputs, **asked)

    for saves in (False, True):
        assert [bits(a) for a in network.forward(saves)] == [bits(a) for a in (Y, S, final_state)], saves
    found = network.loss_and_gradients()
    assert found[0] + found[1] == loss
    assert network.loss() == net.evaluate(X, D, **arrays, n_threads=1)
    assert tbptt is not None or found[0] == network.loss()  # blocks end with windows: a sum in another order
    check_gradients(net, gradients, *found[2:])
    back = network.backward(dY)
    if tbptt is None or _core.kernel_set() != "blas":
        check_gradients(net, of_outputs, *back)
    else:  # forward went by other blocks than RNN.backward's windows, and a row of a BLAS's product depends on those beside it
        assert np.allclose(back[0], flat(net, of_outputs), rtol=0, atol=1e-5 * abs(back[0]).max())
    assert [bits(a) for a in network.backward(dY) if a is not None] == [bits(a) for a in back if a is not None]
    assert bits(network.theta) == bits(net.theta) and bits(network.X) == bits(X)


def check_gradients(net, expected, gradient, dX, dS_0):
    assert bits(gradient) == bits(flat(net, expected))
    assert bits(dS_0) == bits(expected["initial_state"])
    assert dX is None or bits(dX) == bits(expected["X"])


LEAKS = np.linspace(0.1, 1, 9)
CASES = {
    "as it comes": (dict(), (20, 4), dict()),
    "no initial state": (dict(learn_initial_state=True), (20, 4), dict(initial_state=False)),
    "weights, and an initial state beside a learnt one": (dict(learn_initial_state=True), (20, 4), dict(weights=True)),
    "a weight an output": (dict(reduction="sum"), (20, 4), dict(weights="each")),
    "few errors": (dict(bias=False), (40, 6), dict(weights="few")),
    "lengths": (dict(learn_initial_state=True), (20, 7), dict(lengths=True, initial_state=False)),
    "equal lengths": (dict(learn_initial_state=True), (20, 7), dict(lengths="equal", initial_state=False, weights="few")),
    "equal lengths and resets": (dict(one_hot=True), (20, 7), dict(lengths="equal", resets=True)),
    "the last step of equal lengths": (dict(output="last"), (20, 7), dict(lengths="equal")),
    "lengths and weights": (dict(activation="relu"), (20, 7), dict(lengths=True, weights=True)),
    "resets": (dict(learn_initial_state=True), (20, 7), dict(resets=True)),
    "lengths and resets": (dict(learn_initial_state=True, activation="elu"), (20, 7),
                           dict(lengths=True, resets=True, weights="few")),
    "the last step": (dict(output="last"), (20, 4), dict(weights=True)),
    "the last step of each length": (dict(output="last", activation="softsign"), (20, 7), dict(lengths=True)),
    "labels": (dict(loss="cross_entropy", output_activation="softmax"), (20, 4), dict(labels=True, weights=True)),
    "labels of the last step": (dict(loss="cross_entropy", output_activation="softmax", output="last"), (20, 7),
                                dict(labels=True, lengths=True)),
    "distributions": (dict(loss="cross_entropy", output_activation="softmax"), (20, 4), dict()),
    "ids": (dict(one_hot=True, activation="sigmoid"), (20, 4), dict(lengths=True)),
    "Huber": (dict(loss=("huber", 0.5), activation="leaky_relu", output_activation="tanh"), (20, 4), dict()),
    "quantiles": (dict(loss=("quantile", (0.2, 0.5, 0.7))), (20, 4), dict(weights="each")),
    "absolute error": (dict(loss="absolute_error", activation="softplus"), (20, 4), dict()),
    "binary": (dict(loss="binary_cross_entropy", output_activation="sigmoid"), (20, 4), dict()),
    "counts": (dict(loss="poisson", output_activation="exp", activation="identity", initializer="orthogonal"),
    (20, 4), dict()),
    "penalties": (dict(l1={"W_s": 1e-2, "b_y": 0.1}, l2=1e-3, learn_initial_state=True), (20, 4), dict(initial_state=False)),
    "a kept pre-activation": (dict(activation="silu"), (20, 4), dict(weights=True)),
    "a kept pre-activation of lengths and resets": (dict(activation="gelu", learn_initial_state=True), (20, 7),
                                                    dict(lengths=True, resets=True)),
    "one step": (dict(), (1, 4), dict()),
    "no step": (dict(learn_initial_state=True), (0, 4), dict(initial_state=False)),
    "no sequence": (dict(), (20, 0), dict(lengths=True)),
    "gru": (dict(cell="gru"), (20, 4), dict(weights=True)),
    "gru, lengths and resets": (dict(cell="gru", learn_initial_state=True, l2=1e-3), (20, 7),
                                dict(lengths=True, resets=True, initial_state=False)),
    "gru, the last step of ids": (dict(cell="gru", output="last", one_hot=True), (20, 7), dict(lengths=True)),
    "gru with the reset before": (dict(cell="gru", reset_after=False, activation="softsign"), (20, 7),
                                  dict(lengths=True, weights="few")),
    "lstm": (dict(cell="lstm"), (20, 4), dict(weights=True)),
    "lstm, lengths and resets": (dict(cell="lstm", learn_initial_state=True, bias=False), (20, 7),
                                 dict(lengths=True, resets=True, initial_state=False)),
    "lstm, the last step": (dict(cell="lstm", output="last"), (1, 4), dict()),
    "a low rank": (dict(rank=2, l1={"M": 1e-2, "N": 0.1}, l2=1e-3, learn_initial_state=True), (20, 7),
                   dict(lengths=True, resets=True, weights=True)),
    "a rank of gates": (dict(cell="gru", rank=1, l2=1e-3), (20, 4), dict()),
    "no step of a low rank": (dict(rank=9), (0, 4), dict()),
    "no step of any sequence": (dict(), (0, 4), dict(lengths=True, resets=True)),
    "leaky units": (dict(leak=0.3), (20, 4), dict(weights=True)),
    "a leak of each unit, of states": (dict(leak=LEAKS, leak_form="current", learn_initial_state=True), (20, 7),
                                       dict(lengths=True, resets=True, initial_state=False)),
    "a leak of each unit, and the last step": (dict(leak=LEAKS, output="last", activation="silu"), (1, 4), dict(lengths=True)),
    "trained leaks": (dict(leak=LEAKS / 2, trainable={"leak": True}, l2={"leak_logit": 0.1}, bias=False), (20, 7),
                      dict(lengths=True, resets=True)),
    "trained leaks of states": (dict(leak=LEAKS / 2, leak_form="current", trainable={"leak": True}), (20, 7),
                                dict(lengths=True, weights="few")),
}


@pytest.mark.quick
@both_dtypes
@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_the_network_bit_by_bit(name, dtype):
    options, (T, B), arrays = CASES[name]
    net = RNN(5, 9, 3, dtype=dtype, random_state=1, **options)
    check_every_operation(net, *drawn(net, T, B, **arrays))


@both_dtypes
@pytest.mark.parametrize("cell", [{}, {"cell": "gru"}, {"cell": "lstm"},
                                  {"leak": LEAKS / 2, "leak_form": "current", "trainable": {"leak": True}}],
                         ids=["plain", "gru", "lstm", "trained leaks"])
@pytest.mark.parametrize("tbptt", [(4, 9), (1, 1), (30, 3), (20, 20)])
def test_truncated_gradients_are_those_of_the_network(tbptt, cell, dtype):
    net = RNN(5, 9, 3, dtype=dtype, learn_initial_state=True, random_state=1, **cell)
    for arrays in (dict(), dict(lengths=True, resets=True, initial_state=False), dict(lengths="equal")):
        check_every_operation(net, *drawn(net, 20, 7, **arrays), tbptt=tbptt)


@both_dtypes
@pytest.mark.parametrize("T, B, H", [(3000, 8, 32), (90, 70, 40), (9000, 1, 5)])
def test_results_of_several_shards_and_many_blocks_are_those_of_the_network(T, B, H, dtype):
    net = RNN(4, H, 3, dtype=dtype, random_state=1)
    for arrays in (dict(), dict(lengths=True, weights="few")) if ALL or H == 40 else (dict(),):
        check_every_operation(net, *drawn(net, T, B, **arrays))


def test_results_of_drawn_options_and_arrays_are_those_of_the_network():
    rng = np.random.default_rng(3)
    for seed in range(400 if ALL else 60):
        *sizes, T, B = (int(n) for n in rng.integers(1, [7, 20, 5, 70, 40]))
        flags = rng.random(9) < 0.4
        loss = str(rng.choice(["squared_error", "cross_entropy", "huber", "poisson"]))
        net = RNN(*sizes, dtype=("float32", "float64")[seed % 2], loss=loss, bias=not flags[0], random_state=seed,
                  output_activation={"cross_entropy": "softmax", "poisson": "exp"}.get(loss, "identity"),
                  learn_initial_state=flags[1], output="last" if flags[2] else "sequence", one_hot=flags[3])
        arrays = drawn(net, T, B, seed, weights=(False, True, "few")[rng.integers(3)], lengths=flags[4], resets=flags[5],
                       initial_state=flags[6], labels=loss == "cross_entropy" and flags[7])
        check_every_operation(net, *arrays, tbptt=(int(rng.integers(1, 30)), int(rng.integers(1, 30))) if flags[8] else None)


@both_dtypes
@pytest.mark.parametrize("options", [dict(), dict(output="last", learn_initial_state=True), dict(one_hot=True),
                                     dict(cell="gru"), dict(cell="lstm", learn_initial_state=True)])
def test_steps_are_those_of_the_network_and_may_overwrite_their_state(options, dtype):
    net = RNN(5, 9, 3, dtype=dtype, random_state=1, **options)
    X, _, _ = drawn(net, 6, 4)
    plan, theta = plan_of(net), net.theta.copy()
    scratch = Guarded(c.step_scratch_bytes(plan, 4))
    y, states, state, expected = np.empty((4, 3), dtype), np.empty((4, state_width(net)), dtype), None, None
    for x in X:
        x = np.ascontiguousarray(x)
        given = (None, x) if net.one_hot else (x, None)
        ok(of_type(net, "step")(plan, 4, theta, *given, state, y, states, scratch, scratch.size))
        expected_y, expected = net.step(x, expected, n_threads=1)
        assert bits(y) == bits(expected_y) and bits(states) == bits(expected) and scratch.untouched_beside()
        state = states
    assert c.step_scratch_bytes(plan, -1) == c.STATUS_SIZE
    assert of_type(net, "step")(plan, 4, theta, *given, states[1:], y, states, scratch, scratch.size) == c.STATUS_OVERLAP
    assert of_type(net, "step")(plan, 4, theta, *given, states, states, states, scratch, scratch.size) == c.STATUS_OVERLAP
    assert of_type(net, "step")(plan, 4, theta, *given, states, y, states, scratch, scratch.size - 1) == c.STATUS_MEMORY
    assert of_type(net, "step")(plan, 4, theta, None, None, states, y, states, scratch, scratch.size) == c.STATUS_NULL


@both_dtypes
def test_parameters_lie_in_theta_as_those_of_the_network(dtype):
    for options in (dict(), dict(bias=False), dict(learn_initial_state=True), dict(bias=False, learn_initial_state=True),
                    dict(cell="gru"), dict(cell="gru", reset_after=False), dict(cell="lstm", learn_initial_state=True),
                    dict(leak=0.5, trainable={"leak": True}, learn_initial_state=True)):
        net = RNN(5, 9, 3, dtype=dtype, random_state=1, **options)
        plan, begin = plan_of(net), 0
        for name in ("W_x", "W_s", "b_s", "b_n", "leak_logit", "W_y", "b_y", "S_0"):
            offset = c.plan_parameter_offset(plan, getattr(c, f"PARAMETER_{name.upper()}"))
            assert offset == (begin if name in net.parameters else c.STATUS_COMBINATION)
            begin += net.parameters[name].size if name in net.parameters else 0
        assert c.plan_parameters(plan) == begin


@both_dtypes
def test_leaks_are_checked_and_belong_to_leaky_cells(dtype):
    net = RNN(5, 9, 3, leak=LEAKS, dtype=dtype, random_state=1)
    plan, wrong = plan_of(net), LEAKS.copy()
    for leak in (0.0, -0.1, 1.1, np.nan):
        wrong[4] = leak
        assert c.plan_set_leak(plan, leak) == c.plan_set_leaks(plan, wrong, 9) == c.STATUS_NUMBER
    assert c.plan_set_leaks(plan, None, 9) == c.STATUS_NULL and c.plan_set_leaks(plan, LEAKS, 8) == c.STATUS_SIZE
    assert c.plan_set_trained_leak(plan, 2) == c.STATUS_OPTION
    plan.leaks[3] = 2.0  # the plan keeps the pointer
    assert c.plan_check(plan) == c.STATUS_NUMBER
    for setter, *leak in (("leak", 0.5), ("leaks", LEAKS, 9), ("trained_leak", 1)):
        ok(getattr(c, f"plan_set_{setter}")(plan, *leak))
        for cell, status in ((c.CELL_PLAIN, c.STATUS_COMBINATION), (c.CELL_LSTM, c.STATUS_COMBINATION),
                             (c.CELL_RATE, c.STATUS_OK), (c.CELL_CURRENT, c.STATUS_OK)):
            ok(c.plan_set_cell(plan, cell))
            assert c.plan_check(plan) == status
    assert c.plan_parameter_offset(plan, c.PARAMETER_LEAK_LOGIT) == 9 * (5 + 9 + 1)
    ok(c.plan_set_leak(plan, 1.0))  # the last setter counts
    assert c.plan_parameter_offset(plan, c.PARAMETER_LEAK_LOGIT) == c.STATUS_COMBINATION


@both_dtypes
def test_updates_and_clipping_are_those_of_the_optimisers(dtype):
    net = RNN(5, 9, 3, dtype=dtype, random_state=1)
    plan, rng, n = plan_of(net), np.random.default_rng(0), net.theta.size
    rules = [
        (optimizers.SGD(0.1), "sgd", lambda count: (0.1, 0.0, 0)),
        (optimizers.SGD(0.1, momentum=0.9), "sgd", lambda count: (0.1, 0.9, 0)),
        (optimizers.SGD(0.1, momentum=0.9, nesterov=True), "sgd", lambda count: (0.1, 0.9, 1)),
        (optimizers.Adam(0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-6), "adam", lambda count: (count, 0.01, 0.8, 0.99, 1e-6)),
    ]
    for rule, name, numbers in rules:
        theta, expected = net.theta.copy(), net.theta.copy()
        slots, expected_slots = rule.slots(theta), rule.slots(theta)
        for count in (1, 2, 3):
            gradient = rng.standard_normal(n).astype(dtype)
            rule.update(expected, gradient, expected_slots, count)
            clipped, norm, found = gradient.copy(), _core.clip_norm(gradient.copy(), 0.5), np.empty(1)
            ok(of_type(net, name)(plan, gradient, theta, *slots, *numbers(count)))
            ok(of_type(net, "clip_norm")(n, clipped, 0.5, found))
            assert bits(clipped) == bits(norm[0]) and found[0] == norm[1] > 0.5
            assert bits(theta) == bits(expected) != bits(net.theta)
            assert [bits(slot) for slot in slots] == [bits(slot) for slot in expected_slots]


# ---- Memory, threads, a stop


def test_bytes_are_enough_for_all_weights_and_resets_and_one_less_is_refused():
    """Weights of which few are zero, most are, or none, differ in what a call needs; bytes are asked for once."""
    net = RNN(5, 9, 3, random_state=1)
    X, D, arrays = drawn(net, 50, 9, weights=True, lengths=True, resets=True)
    network = Network(net, X, D, **arrays)
    scratch = network.scratch(c.FOR_LOSS_AND_GRADIENTS)
    loss, gradients = np.empty(1), network.outputs_of_gradients()
    for weights in (1, 0, np.arange(450).reshape(50, 9) % 5 == 0, np.arange(450).reshape(50, 9) % 5 > 0):
        for resets in (False, True, arrays["resets"].copy()):
            arrays["weights"][...], arrays["resets"][...] = weights, resets
            ok(network.call("loss_and_gradients", loss, None, *gradients, scratch=scratch))
    for operation, name, outputs in ((c.FOR_LOSS_AND_GRADIENTS, "loss_and_gradients", (loss, None, *gradients)),
                                     (c.FOR_FORWARD, "forward", (None, None, None, network.saved, network.saved.size)),
                                     (c.FOR_FORWARD, "forward", (None, None, None, network.saved, network.saved.size - 1))):
        small = Guarded(64)
        assert network.call(name, *outputs, scratch=small) == c.STATUS_MEMORY
    assert network.call(name, *outputs, scratch=network.scratch(c.FOR_FORWARD)) in (c.STATUS_OK, c.STATUS_MEMORY)


@both_dtypes
def test_exactly_the_bytes_that_a_regular_call_needs_are_asked_for(dtype):
    net = RNN(5, 9, 3, dtype=dtype, random_state=1)
    X, D, arrays = drawn(net, 50, 9)
    network, loss = Network(net, X, D, **arrays), np.empty(1)
    gradients, Y = network.outputs_of_gradients(), network.forward()[0]
    saved = network.saved, network.saved.size
    for operation, name, arguments in (
            (c.FOR_FORWARD, "forward", (Y, None, None, None, 0)), (c.FOR_BACKWARD, "backward", (Y, *gradients, *saved)),
            (c.FOR_LOSS, "loss_and_gradients", (loss, None, None, None, None)),
            (c.FOR_LOSS_AND_GRADIENTS, "loss_and_gradients", (loss, None, *gradients))):
        enough = network.scratch(operation)
        assert network.call(name, *arguments, scratch=enough) == c.STATUS_OK
        assert network.call(name, *arguments, scratch=Guarded(enough.size - 1)) == c.STATUS_MEMORY
    small = Guarded(network.saved.size - 1)
    assert network.call("forward", Y, None, None, small, small.size, scratch=network.scratch(0)) == c.STATUS_MEMORY
    assert network.call("backward", Y, *gradients, small, small.size, scratch=network.scratch(1)) == c.STATUS_MEMORY


def test_the_states_of_a_regular_batch_take_what_the_layout_says():
    """saved holds S (T+1, B, H) and delta_y (T, B, O), padded to vectors, behind the stamp of the call."""
    net = RNN(5, 64, 64, dtype="float32", random_state=1)
    X, D, arrays = drawn(net, 30, 4)
    stamp = Network(net, X[:0], D[:0], **arrays).saved.size - 4 * 4 * 64
    assert 0 < stamp <= 256 and stamp % 64 == 0
    assert Network(net, X, D, **arrays).saved.size == stamp + 4 * (31 * 4 * 64 + 30 * 4 * 64)


@both_dtypes
def test_eight_threads_share_a_plan_and_have_the_bits_of_one(dtype):
    net = RNN(5, 16, 3, dtype=dtype, random_state=1)
    X, D, arrays = drawn(net, 60, 12, weights=True)
    network = Network(net, X, D, **arrays)
    expected, found = [bits(a) for a in network.loss_and_gradients()], [None] * 8
    Y = network.forward()[0]
    expected_back, found_back = [bits(a) for a in network.backward(Y)], [None] * 8
    ready = threading.Barrier(8)

    def work(i):
        own = Network.__new__(Network)
        own.__dict__.update(network.__dict__, saved=Guarded(network.saved.size))
        ready.wait()
        for _ in range(20):
            found[i] = [bits(a) for a in own.loss_and_gradients()]
            own.forward()
            found_back[i] = [bits(a) for a in own.backward(Y)]
            if found[i] != expected or found_back[i] != expected_back:
                return

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8 and found_back == [expected_back] * 8


def test_a_flag_stops_a_call():
    net = RNN(4, 32, 3, random_state=1)
    X, D, arrays = drawn(net, 3000, 8)
    network, stop = Network(net, X, D, **arrays), np.zeros(1, np.intc)
    ok(c.batch_set_stop(network.batch, stop))
    expected = [bits(a) for a in network.loss_and_gradients()]
    stop[0] = 2
    loss, gradients = np.full(1, np.nan), network.outputs_of_gradients()
    for operation, name, arguments in (
            (c.FOR_LOSS_AND_GRADIENTS, "loss_and_gradients", (loss, None, *gradients)),
            (c.FOR_FORWARD, "forward", (None, None, None, None, 0))):
        assert network.call(name, *arguments, scratch=network.scratch(operation)) == c.STATUS_STOPPED
    assert np.isnan(loss[0]) and stop[0] == 2
    stop[0] = 0
    assert [bits(a) for a in network.loss_and_gradients()] == expected


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
def test_no_signal_is_handled_within_a_call():
    """Python's handlers need the GIL: a call that asked for signals would have to take it."""
    net = RNN(4, 32, 3, random_state=1)
    X, D, arrays = drawn(net, 6000, 8)
    network, loss, seen = Network(net, X, D, **arrays), np.full(1, np.nan), []
    gradients, scratch = network.outputs_of_gradients(), network.scratch(c.FOR_LOSS_AND_GRADIENTS)

    def send():
        while (scratch.memory[-64:] == 255).all() and (scratch.memory[:64] == 255).all():  # until the call has begun
            time.sleep(0)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(loss[0]))
    try:
        sender = threading.Thread(target=send)
        sender.start()
        ok(network.call("loss_and_gradients", loss, None, *gradients, scratch=scratch))
        sender.join()
        time.sleep(0)  # a handler runs between two steps of Python
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [loss[0]] and np.isfinite(loss[0])


KERNELS = """
import sys
sys.path.insert(0, {folder!r})
from embedding import Guarded, c
for init in (c.plan_init_f32, c.plan_init_f64):
    plan = Guarded(c.plan_bytes())
    assert init(plan, plan.size, 5, 300, 3) == 0
    print(c.plan_check(plan), c.plan_kernel_set(plan), c.plan_allow_blas(plan, 1), c.plan_check(plan), c.plan_kernel_set(plan),
          c.plan_allow_blas(plan, 0), c.plan_kernel_set(plan), sep=",")
"""


@functools.cache
def served(name):
    """What KERNELS prints, line by line; None where the process has not that set."""
    run = run_python(KERNELS.format(folder=str(SUPPORT)), environment={**os.environ, "FASTBPTT_SIMD": name})
    assert run.returncode == 0 or name != "blas" and "no such kernels" in run.stderr, run.stderr
    return run.stdout.splitlines() if run.returncode == 0 else None


@pytest.mark.thorough
@pytest.mark.parametrize("name", _core.KERNEL_SETS if ALL else ("blas",))
def test_a_plan_is_served_by_the_kernels_of_the_process_and_by_a_blas_only_where_allowed(name):
    found = served(name)
    if found is None:
        return
    vectors = _core.kernel_set() != "blas" or served("baseline") is not None
    without = ("baseline" if vectors else None) if name == "blas" else name
    shown = repr(without and without.encode())
    assert found == [f"{0 if without else c.STATUS_KERNELS},{shown},0,0,{name.encode()!r},0,{shown}"] * 2


# ---- Invalid arguments


def ready(**options):
    net = RNN(5, 9, 3, random_state=1, **options)
    classes = net.loss == "cross_entropy"
    X, D, arrays = drawn(net, 6, 4, weights=True, lengths=True, resets=True, labels=classes)
    return Network(net, X, D, **arrays)


def statuses(network):
    """What each operation says, once it is called with good outputs, none of which it may touch."""
    found = set()
    for name, operation, outputs in (
            ("forward", c.FOR_FORWARD, [network.empty(*network.rows, 3), network.empty(7, 4, 9), network.empty(4, 9)]),
            ("loss_and_gradients", c.FOR_LOSS_AND_GRADIENTS,
             [np.full(1, np.nan), np.full(1, np.nan), *network.outputs_of_gradients()])):
        size = c.scratch_bytes(network.plan, network.batch, operation)
        scratch = Guarded(max(size, 1 << 16))
        extra = (network.saved, network.saved.size) if name == "forward" else ()
        saved = network.saved.memory.copy()
        status = network.call(name, *outputs, *extra, scratch=scratch)
        if status < 0:
            assert all(np.isnan(output).all() for output in outputs if output is not None), name
            assert (network.saved.memory == saved).all()
        found.add(status)
        found.add(size if size < 0 else 0)
    return found - {0}


def array(network, name):
    return dict(zip(("X", "D", "weights", "initial_state", "lengths", "resets"), network.batch.arrays))[name]


FAULTS = {
    "a length above T": (dict(), lambda n: array(n, "lengths").__setitem__(2, 7), "LENGTHS"),
    "a length below 0": (dict(), lambda n: array(n, "lengths").__setitem__(2, -1), "LENGTHS"),
    "no last step": (dict(output="last"), lambda n: array(n, "lengths").__setitem__(2, 0), "LENGTHS"),
    "a reset of 2": (dict(), lambda n: array(n, "resets").view(np.int8).__setitem__((5, 3), 2), "RESETS"),
    "a negative weight": (dict(), lambda n: array(n, "weights").__setitem__(0, -1), "WEIGHTS"),
    "a weight of NaN": (dict(), lambda n: array(n, "weights").__setitem__(0, np.nan), "WEIGHTS"),
    "weights of another width": (dict(), lambda n: c.batch_set_weights_f32(n.batch, array(n, "weights"), 2), "WEIGHTS"),
    "an id of I": (dict(one_hot=True), lambda n: array(n, "X").__setitem__((0, slice(None)), 5), "IDS"),
    "an id of -1": (dict(one_hot=True), lambda n: array(n, "X").__setitem__((0, slice(None)), -1), "IDS"),
    "a label of O": (dict(loss="cross_entropy", output_activation="softmax"),
                     lambda n: (array(n, "weights").fill(1), array(n, "D").fill(3)), "LABELS"),
    "labels of another loss": (dict(), lambda n: c.batch_set_labels(n.batch, np.zeros(24, np.intp)), "COMBINATION"),
    "no inputs": (dict(), lambda n: c.batch_set_inputs_f32(n.batch, None), "NULL"),
    "no ids": (dict(one_hot=True), lambda n: c.batch_set_ids(n.batch, None), "NULL"),
    "no targets": (dict(), lambda n: c.batch_set_targets_f32(n.batch, None), "NULL"),
    "no theta": (dict(), lambda n: setattr(n, "theta", None), "NULL"),
    "theta astray": (dict(), lambda n: setattr(n, "theta", n.theta.ctypes.data + 1), "MISALIGNED"),
    "theta at the end of memory": (dict(), lambda n: setattr(n, "theta", 2**64 - 64), "TOO_LARGE"),
    "theta in scratch": (dict(), lambda n: setattr(n, "theta", n.saved.at), "OVERLAP"),
    "a loss that its outputs don't fit": (dict(), lambda n: c.plan_set_loss(n.plan, c.LOSS_POISSON), "COMBINATION"),
    "a plan that was never made": (dict(), lambda n: n.plan.memory.fill(0), "NOT_A_PLAN"),
    "no plan": (dict(), lambda n: setattr(n.plan, "at", None), "NULL"),
    "a plan astray": (dict(), lambda n: setattr(n.plan, "at", n.plan.at + 8), "MISALIGNED"),
    "a batch that was never made": (dict(), lambda n: n.batch.memory.fill(0), "NOT_A_BATCH"),
    "no batch": (dict(), lambda n: setattr(n.batch, "at", None), "NULL"),
    "a batch of doubles": (dict(), lambda n: c.batch_init_f64(n.batch, n.batch.size, 6, 4, None), "TYPE"),
    "a plan of doubles": (dict(), lambda n: (c.plan_init_f64(n.plan, n.plan.size, 5, 9, 3), allow(n.plan)), "TYPE"),
    "sizes that no memory has": (dict(),
                                 lambda n: c.batch_init_f32(n.batch, n.batch.size, 2**31 - 1, 2**31 - 1, n.X), "TOO_LARGE"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_in_order_is_a_status_and_nothing_is_written(name):
    options, spoil, expected = FAULTS[name]
    network = ready(**options)
    assert statuses(network) == set()
    spoil(network)
    found = statuses(network)
    assert found and found <= {getattr(c, f"STATUS_{expected}")}


def test_outputs_that_overlap_or_are_astray_are_refused():
    network = ready()
    gradient, dX, dS_0 = network.outputs_of_gradients()
    loss, scratch = np.full(1, np.nan), network.scratch(c.FOR_LOSS_AND_GRADIENTS)
    for outputs, expected in (
            ((None, None, gradient, dX, dS_0), "NULL"), ((loss, None, None, dX, None), "NULL"),
            ((loss, loss, gradient, dX, dS_0), "OVERLAP"), ((loss, None, gradient, gradient, dS_0), "OVERLAP"),
            ((loss, None, network.theta, None, None), "OVERLAP"), ((loss, None, gradient, network.X, None), "OVERLAP"),
            ((loss, None, scratch, None, None), "OVERLAP"), ((loss, None, gradient.ctypes.data + 2, None, None), "MISALIGNED"),
            ((loss.ctypes.data + 4, None, gradient, None, None), "MISALIGNED")):
        before = bits(network.theta), bits(network.X)
        assert network.call("loss_and_gradients", *outputs, scratch=scratch) == getattr(c, f"STATUS_{expected}"), outputs
        assert before == (bits(network.theta), bits(network.X)) and np.isnan(gradient).all() and np.isnan(loss[0])
    saved, Y = network.saved, network.forward()[0]
    for name, arguments, expected in (
            ("forward", (None, None, None, scratch, saved.size), "OVERLAP"),
            ("forward", (None, None, None, saved.at + 8, saved.size), "MISALIGNED"),
            ("backward", (Y, gradient, dX, dS_0, None, 0), "NULL"),
            ("backward", (None, gradient, dX, dS_0, saved, saved.size), "NULL"),
            ("backward", (Y, None, dX, dS_0, saved, saved.size), "NULL"),
            ("backward", (Y, Y, dX, dS_0, saved, saved.size), "OVERLAP")):
        big = scratch if any(argument is scratch for argument in arguments) else Guarded(1 << 20)
        assert network.call(name, *arguments, scratch=big) == getattr(c, f"STATUS_{expected}"), (name, expected)
    one_hot = ready(one_hot=True)
    assert one_hot.call("loss_and_gradients", loss, None, gradient, dX, None, scratch=Guarded(1 << 20)) == c.STATUS_COMBINATION


@pytest.mark.parametrize("options, kept", [(dict(leak=LEAKS), "leaks"), (dict(loss=("quantile", (0.2, 0.5, 0.7))), "levels")])
def test_outputs_may_not_overlap_arrays_that_the_plan_keeps(options, kept):
    network = ready(**options)
    array, outputs = getattr(network.plan, kept), network.outputs_of_gradients()
    before = bits(array)
    scratch = network.scratch(c.FOR_LOSS_AND_GRADIENTS)
    assert network.call("loss_and_gradients", array, None, *outputs, scratch=scratch) == c.STATUS_OVERLAP
    assert network.call("loss_and_gradients", np.empty(1), array[-1:], *outputs, scratch=scratch) == c.STATUS_OVERLAP
    assert bits(array) == before


def test_final_states_may_overwrite_the_initial_ones_before_backward_too():
    for arrays in (dict(), dict(lengths=True, resets=True)):
        net = RNN(5, 9, 3, random_state=1)
        X, D, arrays = drawn(net, 20, 7, **arrays)
        network = Network(net, X, D, **arrays)
        Y, S, final_state = network.forward()
        gradients = network.backward(Y)
        found, scratch = network.empty(20, 7, 3), network.scratch(c.FOR_FORWARD)
        ok(network.call("forward", found, None, arrays["initial_state"], network.saved, network.saved.size, scratch=scratch))
        assert bits(found) == bits(Y) and bits(arrays["initial_state"]) == bits(final_state)
        assert [bits(a) for a in network.backward(Y)] == [bits(a) for a in gradients]


@both_dtypes
def test_backward_refuses_what_forward_has_not_saved_for_it(dtype):
    """Neither memory that was never filled, nor that of another plan, of another batch or of a forward that was stopped."""
    net = RNN(5, 9, 3, dtype=dtype, learn_initial_state=True, random_state=1)
    X, D, arrays = drawn(net, 20, 7, lengths=True, resets=True)
    network = Network(net, X, D, **arrays)
    size, dY = network.saved.size, np.ones((20, 7, 3), dtype)

    def status(of, saved):
        gradients = of.outputs_of_gradients()
        found = of.call("backward", dY, *gradients, saved, saved.size, scratch=of.scratch(c.FOR_BACKWARD))
        assert found == c.STATUS_OK or all(np.isnan(array).all() for array in gradients)  # nothing has been written
        return found

    empty, noise = Guarded(size), Guarded(size)
    noise.memory[...] = np.random.default_rng(0).integers(0, 256, noise.memory.shape)
    assert status(network, empty) == status(network, noise) == c.STATUS_NOT_SAVED
    network.forward()
    assert status(network, network.saved) == c.STATUS_OK
    assert status(network, network.saved) == c.STATUS_OK  # and again

    def other(net=net, X=X, **changed):
        found = Network(net, X, D, **{**arrays, **changed})
        found.saved = network.saved
        return found

    of_others = [
        other(X=X.copy()), other(lengths=np.roll(arrays["lengths"], 1)), other(lengths=arrays["lengths"].copy()),
        other(resets=~arrays["resets"]), other(resets=None), other(initial_state=None),
        other(RNN(5, 9, 3, dtype=dtype, learn_initial_state=True, activation="relu", random_state=1)),
        other(RNN(5, 9, 3, dtype=dtype, random_state=1)),
        other(RNN(5, 9, 3, dtype=dtype, learn_initial_state=True, output_activation="tanh", random_state=1))]
    for one in of_others:
        assert status(one, network.saved) == c.STATUS_NOT_SAVED
    leaky = Network(RNN(5, 9, 3, dtype=dtype, learn_initial_state=True, leak=LEAKS, random_state=1), X, D, **arrays)
    leaky.forward()
    assert status(leaky, leaky.saved) == c.STATUS_OK
    leaky.plan.leaks[2] = 0.5
    assert status(leaky, leaky.saved) == c.STATUS_NOT_SAVED
    arrays["lengths"][...] = arrays["lengths"][::-1].copy()  # the very array, with other values
    assert status(network, network.saved) == c.STATUS_NOT_SAVED
    arrays["lengths"][...] = arrays["lengths"][::-1].copy()
    assert status(network, network.saved) == c.STATUS_OK
    moved = Guarded(size)
    ctypes.memmove(moved.at, network.saved.at, size)
    assert status(network, moved) == c.STATUS_OK
    flag = np.ones(1, np.intc)
    ok(c.batch_set_stop(network.batch, flag))
    found = network.call("forward", None, None, None, network.saved, size, scratch=network.scratch(c.FOR_FORWARD))
    ok(c.batch_set_stop(network.batch, None))
    assert found == c.STATUS_STOPPED and status(network, network.saved) == c.STATUS_NOT_SAVED
    assert c.status_text(c.STATUS_NOT_SAVED).startswith(b"saved was not filled")


def test_what_forward_does_not_read_may_change_before_backward():
    net = RNN(5, 9, 3, random_state=1)
    X, D, arrays = drawn(net, 20, 7)
    network = Network(net, X, D, **arrays)
    Y, *_ = network.forward()
    gradients = [bits(a) for a in network.backward(Y)]
    ok(c.batch_set_targets_f32(network.batch, D.copy()))
    ok(c.batch_set_weights_f32(network.batch, np.ones((20, 7), np.float32), 1))
    ok(c.plan_set_penalty(network.plan, c.PARAMETER_W_S, 0.1, 0.1))
    assert [bits(a) for a in network.backward(Y)] == gradients


@both_dtypes
def test_weights_near_the_limits_of_their_type_lose_nothing(dtype):
    sizes = (1.3e-38, 1e-36, 1e36) if dtype == "float32" else (1e-306, 1e305)
    for size, reduction in itertools.product(sizes, ("mean", "sum")):
        net = RNN(5, 9, 3, dtype=dtype, reduction=reduction, random_state=1)
        X, D, _ = drawn(net, 6, 4)
        weights = (np.random.default_rng(0).uniform(1, 1.5, (6, 4)) * size).astype(dtype)
        loss, _, gradient, *_ = Network(net, X, D, weights=weights).loss_and_gradients()
        expected, gradients = net.loss_and_gradients(X, D, weights=weights, backend="reference")
        assert loss == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-12)
        right, tiny = flat(net, gradients), np.finfo(dtype).tiny
        np.testing.assert_allclose(gradient, right, rtol=0, atol=4 * tiny + (2e-5 if dtype == "float32" else 1e-12)
                                   * np.abs(right).max())


@both_dtypes
def test_options_that_there_are_not_change_nothing(dtype):
    net = RNN(5, 9, 3, dtype=dtype, random_state=1)
    plan, nan, inf = plan_of(net), np.nan, np.inf
    before, levels = plan.memory.copy(), np.array([0.5, nan, 0.1])
    for status, expected in (
            (c.plan_set_activation(plan, 8), "OPTION"), (c.plan_set_activation(plan, -1), "OPTION"),
            (c.plan_set_output_activation(plan, 1), "OPTION"), (c.plan_set_output_activation(plan, 10), "OPTION"),
            (c.plan_set_loss(plan, c.LOSS_HUBER), "OPTION"), (c.plan_set_loss(plan, c.LOSS_QUANTILE), "OPTION"),
            (c.plan_set_loss(plan, 7), "OPTION"), (c.plan_set_huber(plan, nan), "NUMBER"),
            (c.plan_set_huber(plan, 0), "NUMBER"),
            (c.plan_set_quantile(plan, None, 3), "NULL"), (c.plan_set_quantile(plan, levels, 3), "NUMBER"),
            (c.plan_set_quantile(plan, levels, 2), "SIZE"), (c.plan_set_quantile(plan, levels, 0), "SIZE"),
            (c.plan_set_quantile(plan, levels.ctypes.data + 4, 1), "MISALIGNED"),
            (c.plan_set_reduction(plan, 2), "OPTION"), (c.plan_set_bias(plan, -1), "OPTION"),
            (c.plan_set_output(plan, 2), "OPTION"),
            (c.plan_set_learnt_initial_state(plan, 3), "OPTION"), (c.plan_set_cell(plan, 6), "OPTION"),
            (c.plan_set_cell(plan, -1), "OPTION"), (c.plan_set_one_hot(plan, 2), "OPTION"),
            (c.plan_set_penalty(plan, 10, 1, 1), "OPTION"), (c.plan_set_penalty(plan, 0, -1, 0), "NUMBER"),
            (c.plan_set_penalty(plan, 0, 0, nan), "NUMBER"), (c.plan_set_truncation(plan, 0, 1), "SIZE"),
            (c.plan_set_truncation(plan, -1, -1), "SIZE"), (c.plan_allow_blas(plan, 2), "OPTION"),
            (c.plan_parameter_offset(plan, 10), "OPTION"), (c.plan_set_rank(plan, -1), "SIZE"),
            (c.plan_set_rank(plan, 10), "SIZE"), (c.plan_parameter_offset(plan, c.PARAMETER_M), "COMBINATION"),
            (c.scratch_bytes(plan, plan, 0), "NOT_A_BATCH"),
            (c.plan_check(None), "NULL"), (c.plan_set_bias(None, 1), "NULL"), (c.batch_set_ids(plan, None), "NOT_A_BATCH")):
        assert status == getattr(c, f"STATUS_{expected}")
    P, arrays, one = net.theta.size, [np.zeros(net.theta.size, dtype) for _ in range(4)], np.zeros(1)
    adam, sgd, clip = (of_type(net, name) for name in ("adam", "sgd", "clip_norm"))
    good = (1, 0.1, 0.9, 0.9, 1e-8)
    for status, expected in (
            *[(adam(plan, *arrays, *good[:i], bad, *good[i + 1:]), "NUMBER")
              for i, bad in ((0, 0), (1, nan), (1, 0), (2, 1), (2, -0.1), (3, nan), (4, -1), (4, inf))],
            (adam(plan, arrays[0], arrays[1], arrays[2], arrays[2], *good), "OVERLAP"),
            (adam(plan, *arrays[:3], None, *good), "NULL"),
            (sgd(plan, *arrays[:3], inf, 0, 0), "NUMBER"), (sgd(plan, *arrays[:3], 0.1, 1, 0), "NUMBER"),
            (sgd(plan, *arrays[:3], 0.1, 0, 1), "COMBINATION"), (sgd(plan, *arrays[:3], 0.1, 0.5, 2), "OPTION"),
            (sgd(plan, arrays[0], arrays[0], arrays[1], 0.1, 0, 0), "OVERLAP"), (sgd(None, *arrays[:3], 0.1, 0, 0), "NULL"),
            (clip(-1, arrays[0], 1, None), "SIZE"), (clip(2**62, arrays[0], 1, None), "TOO_LARGE"),
            (clip(P, arrays[0], nan, None), "NUMBER"),
            (clip(P, arrays[0], 0, one), "NUMBER"), (clip(P, None, 1, one), "NULL"), (clip(0, None, 1, one), "OK")):
        assert status == getattr(c, f"STATUS_{expected}")
    other = c.sgd_f64 if dtype == "float32" else c.sgd_f32
    assert other(plan, *arrays[:3], 0.1, 0, 0) == c.STATUS_TYPE
    assert (plan.memory == before).all() and all((array == 0).all() for array in arrays)


def test_sizes_of_a_plan_and_a_batch_are_checked():
    plan, batch = Guarded(c.plan_bytes()), Guarded(c.batch_bytes())
    for sizes, expected in (((0, 1, 1), "SIZE"), ((1, -1, 1), "SIZE"), ((1, 1, 2**31), "SIZE"),
    ((1, 2**24 + 1, 1), "TOO_LARGE")):
        assert c.plan_init_f32(plan, plan.size, *sizes) == getattr(c, f"STATUS_{expected}")
    assert c.plan_init_f32(plan, plan.size - 1, 1, 1, 1) == c.STATUS_MEMORY
    assert c.plan_init_f32(None, plan.size, 1, 1, 1) == c.STATUS_NULL
    assert c.plan_init_f32(plan.at + 8, plan.size, 1, 1, 1) == c.STATUS_MISALIGNED
    for sizes, expected in (((-1, 1), "SIZE"), ((1, 2**31), "SIZE")):
        assert c.batch_init_f64(batch, batch.size, *sizes, None) == getattr(c, f"STATUS_{expected}")
    assert c.batch_init_f64(batch, batch.size - 1, 1, 1, None) == c.STATUS_MEMORY
    assert c.batch_init_f64(batch, batch.size, 1, 1, batch.at + 4) == c.STATUS_MISALIGNED
    assert (plan.memory == 255).all() and (batch.memory == 255).all()
    ok(c.plan_init_f32(plan, plan.size, 1, 2**20, 1))  # bytes of sums over shards
    allow(plan)
    assert c.step_scratch_bytes(plan, 2**31 - 1) == c.STATUS_TOO_LARGE
    ok(c.batch_init_f32(batch, batch.size, 2**31 - 1, 2**31 - 1, None))
    assert c.saved_bytes(plan, batch) == c.scratch_bytes(plan, batch, c.FOR_LOSS) == c.STATUS_TOO_LARGE
    ok(c.batch_init_f32(batch, batch.size, 2**31 - 1, 1, None))
    assert c.saved_bytes(plan, batch) > 2**31 * 2**20 * 4


def test_nan_stays_in_its_own_sequence():
    net = RNN(5, 9, 3, random_state=1)
    X, D, _ = drawn(net, 20, 4, initial_state=False)
    X[3, 1] = np.nan
    Y = Network(net, X, D).forward()[0]
    assert np.isnan(Y[3:, 1]).all() and np.isfinite(Y[:3]).all() and np.isfinite(Y[:, [0, 2, 3]]).all()


# ---- What is exported


def lost(pinned, found):
    """Names of the pinned interface that are missing, or another thing, in the one found."""
    return [name for part in pinned for name in pinned[part] if found[part].get(name) != pinned[part][name]]


def test_no_signature_and_no_constant_of_the_interface_is_lost_or_changed():
    """`python tests/engine/test_embed.py` adds new ones to the list; one that must change goes with a higher ABI, by hand."""
    assert lost(json.loads(PINNED.read_text("utf-8")), {"functions": signatures(), "constants": constants()}) == []


def test_a_lost_or_changed_signature_is_seen_and_a_new_one_is_none():
    pinned = json.loads(PINNED.read_text("utf-8"))
    for part, name in (("functions", "forward_f32"), ("constants", "STATUS_OVERLAP")):
        for new, expected in (({}, [name]), ({name: "something else"}, [name]), ({name: pinned[part][name], "new": 1}, [])):
            found = {**pinned, part: {**{key: value for key, value in pinned[part].items() if key != name}, **new}}
            assert lost(pinned, found) == expected


@pytest.mark.quick
def test_what_is_declared_is_what_is_exported_without_gil_and_exceptions():
    text = DECLARATIONS.read_text("utf-8")
    declared = re.findall(r"^cdef [\w ]+?\W+(\w+)\([^)]*\)(.*)$", text, re.M)
    assert sorted(name for name, _ in declared) == sorted(_core.__pyx_capi__)
    assert {ending for _, ending in declared} == {" noexcept nogil"}
    assert "cimport" not in text.split('"""')[2]  # a consumer needs no header but Cython's
    assert c.abi_version() == c.ABI


def test_every_status_has_a_text_of_its_own():
    numbers = [value for name, value in constants().items() if name.startswith("STATUS_")]
    texts = {c.status_text(number) for number in numbers}
    assert len(texts) == len(numbers) and sorted(numbers) == list(range(min(numbers), 1))
    assert {c.status_text(number) for number in (1, min(numbers) - 1, -2**31)} == {b"there is no such status"}


# ---- A package that is compiled against this one


def test_the_page_shows_the_package_that_is_compiled():
    page = TESTS.parent / "docs" / "embedding.md"
    if not page.exists():
        pytest.skip("no docs beside the tests")
    shown = re.findall(r"```cython\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert shown == [(PACKAGE / "embedded.pyx").read_text("utf-8")]


def compiler():
    words = (sysconfig.get_config_var("CC") or "cl").split()
    return shutil.which(words[0])


TRAINED = """
import numpy as np
from fastbptt import RNN, _core, optimizers
import embedded

rng = np.random.default_rng(0)
net, X = RNN(3, 12, 2, reduction="sum", random_state=0), rng.standard_normal((8, 30, 5, 3)).astype(np.float32)
D = (X + np.roll(X, 1, axis=1))[..., :2] / 4  # of this step and the one before
D[:, 0] = 0
theta, expected = net.theta.copy(), []
found = embedded.train(theta, X, D, 12, 150)
rule, slots, trained = optimizers.Adam(1e-2), None, net.theta.copy()
slots = rule.slots(trained)
for count in range(1, 151):  # the same in Python
    net.theta = trained
    loss, gradient = 0, np.zeros_like(trained)
    for share in range(8):
        e, gradients = net.loss_and_gradients(X[share], D[share], n_threads=1)
        loss += e
        gradient += np.concatenate([g.ravel() for g in gradients.values()])
    _core.clip_norm(gradient, 10.0)
    rule.update(trained, gradient, slots, count)
    expected.append(loss)
print(found[0], found[-1])
assert found[-1] < 0.05 * found[0]
if _core.kernel_set() != "blas":
    assert theta.tobytes() == trained.tobytes() and found == expected
for bad in (dict(theta=theta[1:]), dict(X=X[:7])):
    try:
        embedded.train(**{**dict(theta=theta, X=X, D=D, hidden_size=12, updates=1), **bad})
    except ValueError:
        continue
    raise AssertionError(bad)
try:
    embedded.train(theta, X, D, -1, 1)
except RuntimeError as error:
    assert str(error) == "a size is out of range"
else:
    raise AssertionError
"""


@pytest.mark.skipif(not ALL, reason="compiles a package: FASTBPTT_TESTS=all")
def test_a_package_compiled_against_this_one_trains_by_eight_threads(tmp_path):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    if compiler() is None:
        pytest.skip("no compiler")
    shutil.copytree(PACKAGE, tmp_path / "embed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    built = subprocess.run([sys.executable, "-P", "setup.py", "-q", "build_ext", "--inplace"], cwd=tmp_path / "embed",
                           env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "numpy" not in (tmp_path / "embed" / "embedded.c").read_text("utf-8").lower()
    run = run_python(f"import sys; sys.path.insert(0, {str(tmp_path / 'embed')!r})\n" + TRAINED)
    assert run.returncode == 0 and run.stderr == "", run.stderr


if __name__ == "__main__":
    old = json.loads(PINNED.read_text("utf-8")) if PINNED.exists() else {"functions": {}, "constants": {}}
    both = {"functions": {**signatures(), **old["functions"]}, "constants": {**constants(), **old["constants"]}}
    PINNED.write_text(json.dumps(both, indent=1, ensure_ascii=False) + "\n", "utf-8")
