"""One network on the data of several ranks is the one process's on all of it. Threads stand for the processes of MPI."""

import dataclasses
import itertools
import os
import signal
import threading
import time

import numpy as np
import pytest
from ranks import Communicator, World, run, share

import fastbptt
from fastbptt import RNN, optimizers, schedules
from fastbptt._training import batches as _batches, loop as _loop, rank_run as _rank_run, ranks as _ranks
from fastbptt.backends.arguments import Batch
from fastbptt.threads import policy as _threading

T, B, I, H, O = 6, 23, 3, 5, 2


def data(seed=0, count=B):
    rng = np.random.default_rng(seed)
    return {"X": rng.standard_normal((T, count, I)), "D": rng.standard_normal((T, count, O)),
            "weights": rng.uniform(0, 1, (T, count)), "lengths": rng.integers(1, T + 1, count),
            "resets": rng.uniform(0, 1, (T, count)) < 0.2, "initial_state": rng.standard_normal((count, H)),
            "labels": rng.integers(0, O, count)}


AXES = {"X": 1, "D": 1, "weights": 1, "resets": 1, "lengths": 0, "initial_state": 0, "labels": 0}


def part(arrays, rows):
    return {name: array[:, rows] if AXES[name] == 1 else array[rows] for name, array in arrays.items()}


def network(**options):
    return RNN(I, H, O, **{"dtype": "float64", "random_state": 3} | options)


def outcome(net, history):
    return net.theta.tobytes(), dataclasses.asdict(history)


def assert_close(ours, theirs, rtol=1e-9):
    """Two (net, history) are of one run, within rounding."""
    (net, history), (other, its) = ours, theirs
    np.testing.assert_allclose(net.theta, other.theta, rtol=0, atol=rtol * abs(other.theta).max())
    for name in ("train_loss", "validation_loss", "penalty", "gradient_norm", "learning_rate"):
        np.testing.assert_allclose(getattr(history, name), getattr(its, name), rtol=rtol, err_msg=name)
    for name in ("stopped", "best_epoch", "updates", "skipped"):
        assert getattr(history, name) == getattr(its, name), name


def together(size, fit):
    """What fit(communicator) -> net, history gave, after a look that all ranks have the same to the bit."""
    outcomes, world = run(size, fit)
    for each in outcomes:
        if isinstance(each, BaseException):
            raise each
    assert not world.aborted and sorted(world.freed) == list(range(size))
    assert len({repr(outcome(*each)) for each in outcomes}) == 1
    return outcomes[0]


# name: names of the data; options of RNN; arguments of fit
RUNS = {
    "weights and lengths": (("X", "D", "weights", "lengths"), {}, {"max_grad_norm": 0.1}),
    "penalties": (("X", "D"), {"l1": 1e-3, "l2": {"W_s": 1e-2}}, {"optimizer": optimizers.SGD(0.05, momentum=0.9)}),
    "a plain sum": (("X", "D", "weights"), {"reduction": "sum"}, {"learning_rate": 1e-3}),
    "a schedule": (("X", "D"), {}, {"schedule": schedules.Plateau(gamma=0.5, patience=0, threshold=0.05)}),
    "no order": (("X", "D"), {}, {"shuffle": False, "optimizer": "adagrad", "batch_size": 40}),
    "spread": (("X", "D"), {}, {"shuffle": "spread", "optimizer": "rmsprop"}),
    "a share to judge by": (("X", "D", "weights", "lengths"), {}, {"validation": 0.3, "patience": 2, "epochs": 30}),
    "resets and states": (("X", "D", "resets", "initial_state"), {}, {}),
    "windows": (("X", "D", "weights", "resets", "lengths"), {"learn_initial_state": True}, {"tbptt": (2, 3)}),
    "layers": (("X", "D", "lengths"), {"hidden_size": (4, 3), "bidirectional": True, "l2": 1e-3}, {}),
    "noise and dropout": (("X", "D", "lengths"), {"leak": 0.3, "noise_std": 0.2, "input_noise_std": 0.1,
                                                   "recurrent_dropout": 0.2}, {}),
    "noise in windows": (("X", "D"), {"leak": 0.3, "noise_std": 0.2, "recurrent_dropout": 0.2}, {"tbptt": (2, 3)}),
    "layers in windows": (("X", "D"), {"hidden_size": (4, 3)}, {"tbptt": (4, 5)}),
    "labels of last steps": (("X", "labels", "lengths"), {"output": "last", "loss": "cross_entropy",
                                                          "output_activation": "softmax"}, {}),
    "maps": (("X", "D"), {"dale_ratio": 0.6, "autapses": False, "trainable": {"W_x": False}, "l2": 1e-2},
             {"optimizer": optimizers.AdamW(0.02, weight_decay=0.1)}),
    "low rank": (("X", "D", "lengths"), {"rank": 2, "l2": 1e-2, "trainable": {"N": False}}, {}),
}


def arguments_of(name):
    names, options, arguments = RUNS[name]
    arrays = data()
    return {each: arrays[each] for each in names}, options, {"epochs": 3, "batch_size": 5, "random_state": 1,
                                                           **({} if "optimizer" in arguments else {"learning_rate": 0.02}),
                                                           **arguments}


def fit_part(net, arrays, rows, **arguments):
    own = part(arrays, rows)
    if "labels" in own:
        own["D"] = own.pop("labels")
    return net, net.fit(**own, **arguments)


def net_of(options, rank=0):
    """The network of a run; on other ranks than the first another one."""
    options = dict(options)
    return RNN(I, options.pop("hidden_size", H), O, **{"dtype": "float64", "random_state": 3 + rank} | options)


@pytest.mark.quick
@pytest.mark.share(3)
@pytest.mark.parametrize("backend", ["core", "reference"])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_over_ranks_is_the_run_of_one_process(name, backend):
    arrays, options, arguments = arguments_of(name)
    arguments |= {"backend": backend} | ({"epochs": 2} if backend == "reference" else {})
    expected = fit_part(net_of(options), arrays, slice(None), **arguments)
    for size in (1, 2, 3) if backend == "core" else (2,):
        assert_close(together(size, lambda comm: fit_part(net_of(options, comm.rank), arrays, share(size, comm.rank, B),
                                                          **arguments, communicator=comm)), expected)


def test_float32_is_the_run_of_one_process_within_its_rounding():
    arrays = {name: data()[name] for name in ("X", "D", "weights")}
    arguments = {"epochs": 3, "batch_size": 8, "learning_rate": 0.02}
    expected = fit_part(network(dtype="float32"), arrays, slice(None), **arguments)
    got = together(2, lambda comm: fit_part(network(dtype="float32"), arrays, share(2, comm.rank, B), **arguments,
                                            communicator=comm))
    assert_close(got, expected, rtol=2e-5)


def test_validation_sets_are_judged_as_one():
    arrays, judged = data(), data(9, 11)
    names = ("X", "D", "weights", "lengths")
    arguments = {"epochs": 20, "patience": 3, "batch_size": 7, "learning_rate": 0.05}

    def fit(comm):
        own = part(judged, share(3, comm.rank, 11))  # of which the first rank has none
        return fit_part(network(), {"X": arrays["X"], "D": arrays["D"]}, share(3, 2 - comm.rank, B), **arguments,
                        validation=tuple(own[name] for name in names), shuffle=False, communicator=comm)

    backwards = [share(3, rank, B) for rank in (2, 1, 0)]
    order = np.concatenate([np.arange(B)[rows] for rows in backwards])
    expected = fit_part(network(), part({"X": arrays["X"], "D": arrays["D"]}, order), slice(None), **arguments, shuffle=False,
                        validation=tuple(judged[name] for name in names))
    assert_close(together(3, fit), expected)
    assert expected[1].stopped == "patience"


def fresh(batch_size, rng):
    return rng.standard_normal((T, batch_size, I)), rng.standard_normal((T, batch_size, O)), rng.uniform(0, 1, (T, batch_size))


@pytest.mark.parametrize("options", [{}, {"noise_std": 0.2, "recurrent_dropout": 0.3}], ids=["plain", "noisy"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_fresh_batches_are_drawn_by_generators_spawned_from_the_one_process_s(size, options):
    arguments = {"updates": 9, "updates_per_epoch": 4, "batch_size": 7, "learning_rate": 0.02, "random_state": 8}

    def whole(batch_size, rng):
        rngs = [rng] if size == 1 else rng.spawn(size)
        parts = [fresh(batch_size * (rank + 1) // size - batch_size * rank // size, child) for rank, child in enumerate(rngs)]
        return [np.concatenate(arrays, axis=1) for arrays in zip(*parts)]

    net = network(**options)
    expected = net, net.fit(batches=whole, **arguments)

    def fit(comm):
        net = network(**options)
        return net, net.fit(batches=fresh, **arguments, communicator=comm)

    assert_close(together(size, fit), expected)


def test_an_update_takes_one_reduction_and_one_broadcast_of_the_parameters_size():
    arrays = {"X": data()["X"], "D": data()["D"]}
    calls = []
    for epochs in (2, 5):
        _, world = run(2, lambda comm: fit_part(network(), arrays, share(2, comm.rank, B), epochs=epochs, batch_size=4,
                                                communicator=comm))
        calls.append(world.calls)
    P = network().theta.nbytes
    more = 3 * 6  # updates
    for name, most in (("Reduce", P + 32), ("Bcast", P + 80)):
        sizes = [[size for which, size in each if which == name and size >= P] for each in calls]
        assert len(sizes[1]) - len(sizes[0]) == more and max(sizes[1]) <= most
    assert len(calls[1]) - len(calls[0]) == 2 * more


class Wilful(optimizers.Optimizer):
    def update(self, theta, gradient, slots, count, learning_rate):
        theta -= learning_rate * gradient * np.random.default_rng().uniform(0.5, 1, len(theta))


def test_parameters_and_seed_are_those_of_rank_0_whatever_an_optimiser_draws():
    arrays = {"X": data()["X"], "D": data()["D"]}
    together(2, lambda comm: fit_part(network(random_state=None), arrays, share(2, comm.rank, B), epochs=2,
                                      optimizer=Wilful(0.1), communicator=comm))


@pytest.mark.parametrize("which", ["callbacks", "update_callbacks"])
def test_a_callback_of_one_rank_ends_the_run_of_all(which):
    arrays = {"X": data()["X"], "D": data()["D"]}

    def fit(comm):
        more = {which: [lambda record: record.epoch == 1]} if comm.rank == 1 else {}
        return fit_part(network(), arrays, share(2, comm.rank, B), epochs=5, batch_size=5, communicator=comm, **more)

    _, history = together(2, fit)
    assert history.stopped == "callback" and history.updates == (10 if which == "callbacks" else 6)


def test_parameters_that_callbacks_change_are_those_of_rank_0():
    arrays = {"X": data()["X"], "D": data()["D"]}

    def fit(comm):
        def change(record):
            record.network.theta = np.full_like(record.network.theta, 1 + comm.rank)

        return fit_part(network(), arrays, share(2, comm.rank, B), epochs=1, communicator=comm, callbacks=change)

    net, _ = together(2, fit)
    assert (net.theta == 1).all()


# ---- What goes wrong


def failing(error, index):
    """`fresh`, which raises at the batch of this index."""
    count = itertools.count()

    def batches(batch_size, rng):
        if next(count) == index:
            raise error
        return fresh(batch_size, rng)
    return batches


@pytest.mark.parametrize("error, others, stopped", [
    (ValueError("no more"), RuntimeError, "error"), (KeyboardInterrupt(), KeyboardInterrupt, "interrupted"),
    (MemoryError("full"), RuntimeError, "error"), (SystemExit(3), RuntimeError, "error")])
def test_what_one_rank_raises_ends_all_at_the_same_update(error, others, stopped, tmp_path):
    path, nets = tmp_path / "run.npz", [network(), network()]
    arguments = {"updates": 8, "updates_per_epoch": 3, "batch_size": 4, "learning_rate": 0.02}

    def fit(comm):
        batches = failing(error, 4) if comm.rank == 1 else fresh
        return nets[comm.rank].fit(batches=batches, **arguments, communicator=comm, checkpoint=path)

    (first, second), world = run(2, fit)
    assert second is error and type(first) is others and not world.aborted
    if others is RuntimeError:
        assert str(first) == f"rank 1: {type(error).__name__}: {error}"
    assert [net.history.stopped for net in nets] == [stopped] * 2 and nets[0].history.updates == 4
    assert outcome(nets[0], nets[0].history) == outcome(nets[1], nets[1].history)
    np.testing.assert_array_equal(fastbptt.load(path).theta, nets[0].theta)

    def again(comm):
        net = network(random_state=3 + comm.rank)  # rank 0's are those of all
        return net, net.fit(batches=fresh, **arguments, communicator=comm, checkpoint=path, resume=True)

    def whole(comm):
        net = network()
        return net, net.fit(batches=fresh, **arguments, communicator=comm)

    resumed, expected = together(2, again), together(2, whole)
    assert resumed[0].theta.tobytes() == expected[0].theta.tobytes() and resumed[1].train_loss == expected[1].train_loss


@pytest.mark.parametrize("which", ["callbacks", "update_callbacks"])
def test_what_a_callback_raises_is_told(which):
    arrays, nets = {"X": data()["X"], "D": data()["D"]}, [network(), network()]

    def fit(comm):
        def fail(record):
            record.network.theta = np.full_like(record.network.theta, 9)
            raise KeyError("mine")
        more = {which: fail} if comm.rank == 1 else {}
        return fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), communicator=comm, **more)

    (first, second), world = run(2, fit)
    assert type(second) is KeyError and str(first) == "rank 1: KeyError: 'mine'" and not world.aborted
    assert nets[0].theta.tobytes() == nets[1].theta.tobytes() and nets[0].history.updates == 1


def test_what_is_not_finite_is_named_with_its_rank_on_all_ranks():
    arrays = {"X": data()["X"], "D": data()["D"]}
    arrays["D"][3, 20] = 1e300
    nets = [network(), network()]
    before = nets[0].theta

    def fit(comm, **more):
        return fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), epochs=1, batch_size=6, shuffle=False,
                        communicator=comm, **more)

    (first, second), world = run(2, fit)
    assert type(first) is type(second) is FloatingPointError and not world.aborted
    assert str(first) == str(second)
    assert str(first).startswith("loss is not finite in epoch 0, batch 3 (update 3) of rank 1, first bad error at time step 3")
    assert nets[0].history.stopped == nets[1].history.stopped == "nonfinite"
    for net in nets:
        net.theta = before
    _, history = together(2, lambda comm: fit(comm, on_nonfinite="skip"))
    assert (history.updates, history.skipped) == (3, 1)


def test_sums_that_only_together_are_not_finite_are_refused_too():
    arrays = {"X": data()["X"], "D": data()["D"]}
    arrays["D"][3, [0, 20], 0] = 1.2e154  # the square is 1.4e308
    (first, second), world = run(2, lambda comm: fit_part(network(), arrays, share(2, comm.rank, B), batch_size=B,
                                                          communicator=comm))
    assert str(first) == str(second) and not world.aborted
    assert str(first).startswith("loss is not finite in epoch 0, batch 0 (update 0) of rank 0: loss inf")


class Refusing(optimizers.Optimizer):
    def update(self, theta, gradient, slots, count, learning_rate):
        if count == 3:
            raise ArithmeticError("not this one")


def test_what_the_update_raises_at_rank_0_is_told():
    arrays, nets = {"X": data()["X"], "D": data()["D"]}, [network(), network()]
    (first, second), world = run(2, lambda comm: fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), communicator=comm,
                                                          batch_size=5, optimizer=Refusing(0.1)))
    assert type(first) is ArithmeticError and str(second) == "rank 0: ArithmeticError: not this one" and not world.aborted
    assert [net.history.updates for net in nets] == [2, 2]


class Overflowing(optimizers.Optimizer):
    def update(self, theta, gradient, slots, count, learning_rate):
        theta[...] = np.inf if count == 3 else 0.5


@pytest.mark.parametrize("on_nonfinite", ["raise", "skip"])
def test_an_update_that_is_not_finite_is_refused_on_all_ranks(on_nonfinite):
    arrays = {"X": data()["X"], "D": data()["D"]}
    nets = [network(), network()]
    outcomes, world = run(2, lambda comm: fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), epochs=1, batch_size=6,
                                                   optimizer=Overflowing(0.1), on_nonfinite=on_nonfinite, communicator=comm))
    assert not world.aborted and all((net.theta == 0.5).all() for net in nets)
    if on_nonfinite == "raise":
        assert {str(each) for each in outcomes} == {str(outcomes[0])}
        assert str(outcomes[0]).startswith("update is not finite in epoch 0, batch 2 (update 2) of rank 0: loss ")
    else:
        assert [(history.updates, history.skipped) for _, history in outcomes] == [(2, 2)] * 2


class Untold(schedules.Schedule):
    def watch(self, carried, loss):
        if threading.current_thread().name == "unlucky":
            raise OSError("where nobody listens")
        return carried


def test_what_cannot_be_told_ends_all_and_leaves_the_checkpoint(tmp_path, capsys):
    path = tmp_path / "run.npz"
    arrays = {"X": data()["X"], "D": data()["D"]}
    nets = [network(), network()]

    def fit(comm):
        threading.current_thread().name = "unlucky" if comm.rank == 1 else "lucky"
        return fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), batch_size=6, schedule=Untold(), communicator=comm,
                        checkpoint=path, checkpoint_every=0)

    (first, second), world = run(2, fit)
    assert type(second) is OSError and 1 in world.aborted and isinstance(first, Exception)
    assert "where nobody listens" in capsys.readouterr().err
    assert fastbptt.load(path).theta.tobytes() == nets[0].theta.tobytes()


def test_a_checkpoint_that_cannot_be_written_fails_on_all_ranks(tmp_path, monkeypatch):
    def full(*arguments, **named):
        raise OSError("no space")

    monkeypatch.setattr(_loop._checkpoint, "write", full)
    arrays = {"X": data()["X"], "D": data()["D"]}
    (first, second), world = run(2, lambda comm: fit_part(network(), arrays, share(2, comm.rank, B), communicator=comm,
                                                          checkpoint=tmp_path / "run.npz", checkpoint_every=0))
    assert str(first) == "no space" and str(second) == "rank 0: OSError: no space" and not world.aborted
    assert "could not be written" in first.__notes__[0] and "could not be written" in second.__notes__[0]


@pytest.mark.parametrize("bad, words", [
    ({"batch_size": 4}, "batch_size must be the same on all ranks, but rank 1 differs from rank 0"),
    ({"learning_rate": 0.5}, "optimizer must be the same on all ranks"),
    ({"validation": 0.5}, "validation must be the same on all ranks"),
    ({"tbptt": (2, 2)}, "tbptt must be the same on all ranks"),
    ({"epochs": 7}, "epochs must be the same on all ranks"),
    ({"min_updates": 500}, "min_updates must be the same on all ranks"),
    ({"min_updates": "many"}, "min_updates must be the same on all ranks"),
])
def test_arguments_that_differ_are_named_on_all_ranks(bad, words):
    arrays = {"X": data()["X"], "D": data()["D"]}
    nets = [network(), network(random_state=4)]
    before = [net.theta for net in nets]
    outcomes, world = run(2, lambda comm: fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), communicator=comm,
                                                   **bad if comm.rank else {}))
    assert not world.aborted
    for each in outcomes:
        assert type(each) is ValueError and str(each).startswith("time steps of X" if "tbptt" in bad else words)
    assert all(np.array_equal(net.theta, theta) for net, theta in zip(nets, before))


def test_other_networks_and_other_time_steps_in_windows_are_named():
    arrays = {"X": data()["X"], "D": data()["D"]}

    def fit(comm, rank, net, **more):
        own = {name: array[:comm.rank + 4] if more else array for name, array in arrays.items()}
        return fit_part(net, own, share(2, rank, B), communicator=comm, **more)

    outcomes, _ = run(2, lambda comm: fit(comm, comm.rank, network(l2=0.1 * comm.rank)))
    assert all(str(each).startswith("network must be the same on all ranks") for each in outcomes)
    outcomes, _ = run(2, lambda comm: fit(comm, comm.rank, network(), tbptt=(2, 2)))
    assert all(str(each).startswith("time steps of X must be the same on all ranks") for each in outcomes)


def spoil(name, at, value):
    arrays = data()
    arrays[name] = arrays[name].copy()
    arrays[name][at] = value
    return arrays


@pytest.mark.parametrize("arrays, more, words", [
    (spoil("X", (2, 20, 0), np.nan), {}, "X contains NaN"),
    (spoil("weights", (2, 20), -1), {}, "weights must not be negative"),
    (data(), {"schedule": "never"}, "unknown schedule"),
    (data(), {"shuffle": "evenly"}, 'shuffle, where it is not "spread", must be True or False'),
])
def test_bad_arguments_of_one_rank_raise_on_all_before_anything_is_touched(arrays, more, words):
    arrays = {name: arrays[name] for name in ("X", "D", "weights")}
    nets = [network(), network(random_state=4)]
    before = [net.theta for net in nets]
    outcomes, world = run(2, lambda comm: fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), communicator=comm, **more))
    assert not world.aborted and all(words in str(each) for each in outcomes)
    assert more or (type(outcomes[0]) is RuntimeError and str(outcomes[0]).startswith("rank 1: ValueError: "))
    assert all(np.array_equal(net.theta, theta) for net, theta in zip(nets, before))


@pytest.mark.parametrize("name", _ranks.MEANS)
def test_penalties_that_are_means_over_the_batch_are_refused(name):
    arrays, nets = {"X": data()["X"], "D": data()["D"]}, [network(), network()]
    for net in nets:
        net._config[name] = 0.1
    outcomes, world = run(2, lambda comm: fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), communicator=comm))
    assert all(str(each).startswith(f"{name} must be 0 with a communicator, got 0.1") for each in outcomes)
    assert not world.aborted


def test_what_is_needed_of_all_ranks_together():
    arrays = {"X": data()["X"], "D": data()["D"]}
    outcomes, _ = run(2, lambda comm: fit_part(network(), arrays, slice(0), communicator=comm))
    assert all("must have sequences to train on" in str(each) for each in outcomes)
    outcomes, _ = run(2, lambda comm: fit_part(network(), arrays, slice(None), communicator=comm,
                                               validation=(arrays["X"][:, :0], arrays["D"][:, :0])))
    assert all("must have sequences on at least one rank" in str(each) for each in outcomes)
    outcomes, _ = run(3, lambda comm: network().fit(batches=fresh, updates=1, batch_size=2, communicator=comm))
    assert all("at least the number of ranks, 3, got 2" in str(each) for each in outcomes)
    with pytest.raises(TypeError, match="communicator must be an MPI communicator .* object has no Get_rank, Get_size"):
        network().fit(**arrays, communicator=object())


# ---- Time, Ctrl-C, threads


class Clock:
    """`time` of training, by which rank 1 is an hour ahead after a while."""

    def monotonic(self):
        ahead = threading.current_thread().name == "ahead" and next(self.ticks) > 3
        return time.monotonic() + 3600 * ahead

    def __init__(self):
        self.ticks = iter(range(10**9))


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_clock_of_rank_0_is_that_of_all(ahead, monkeypatch):
    monkeypatch.setattr(_loop, "time", Clock())
    arrays = {"X": data()["X"], "D": data()["D"]}

    def fit(comm):
        threading.current_thread().name = "ahead" if comm.rank == ahead else "on time"
        return fit_part(network(), arrays, share(2, comm.rank, B), epochs=2, batch_size=6, time_limit=600, communicator=comm)

    _, history = together(2, fit)
    assert history.stopped == ("epochs" if ahead else "time")
    assert 0 < history.seconds[-1] < 600 if ahead else 3600 < history.seconds[-1] < 4200


def test_ctrl_c_is_raised_between_two_updates():
    seen = []

    def press(record):
        if record.update == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            seen.append("the callback goes on")

    net, arrays = network(), data()
    with pytest.raises(KeyboardInterrupt):
        net.fit(arrays["X"], arrays["D"], batch_size=5, update_callbacks=press, communicator=Communicator(World(1), 0))
    assert seen == ["the callback goes on"] and net.history.stopped == "interrupted" and net.history.updates == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait():
    def press(record):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        raise AssertionError("it waited")

    net, arrays = network(), data()
    with pytest.raises(KeyboardInterrupt):
        net.fit(arrays["X"], arrays["D"], update_callbacks=press, communicator=Communicator(World(1), 0))
    assert net.history.stopped == "interrupted"


def test_ranks_that_share_cores_divide_them(monkeypatch):
    asked = []
    monkeypatch.setattr(_threading, "number_from_environment", lambda: None)
    monkeypatch.setattr(_threading, "default", lambda: 12)
    original = _rank_run.RankRun.__init__

    def look(run, network, source, validation, settings, entropy, ranks):
        asked.append(settings.threads)
        original(run, network, source, validation, settings, entropy, ranks)

    monkeypatch.setattr(_rank_run.RankRun, "__init__", look)
    arrays = {"X": data()["X"], "D": data()["D"]}
    for more in ({}, {"n_threads": 5}):
        together(3, lambda comm: fit_part(network(), arrays, share(3, comm.rank, B), epochs=1, communicator=comm, **more))
    assert asked == [4] * 3 + [5] * 3


# ---- Checkpoints

RESUMED = {
    "arrays": {"epochs": 6, "validation": 0.3, "patience": 4, "schedule": "plateau"},
    "windows": {"epochs": 4, "tbptt": (2, 3)},
}


@pytest.mark.share(2)
@pytest.mark.parametrize("name", RESUMED)
def test_a_run_goes_on_from_the_checkpoint_that_rank_0_wrote(name, tmp_path):
    arrays = {each: data()[each] for each in ("X", "D", "weights")}
    arguments = {"batch_size": 5, "learning_rate": 0.03, **RESUMED[name]}
    whole = {size: together(size, lambda comm: fit_part(network(), arrays, share(size, comm.rank, B), **arguments,
                                                        communicator=comm)) for size in (2, 3)}
    for updates in (3, 4, 11):
        path = tmp_path / f"{updates}.npz"

        def stop(record):
            if record.update == updates:
                raise KeyboardInterrupt

        def own_path(comm):  # the others' folder need not be there
            return path if comm.rank == 0 else tmp_path / "away" / "run.npz"

        outcomes, _ = run(2, lambda comm: fit_part(network(), arrays, share(2, comm.rank, B), **arguments, communicator=comm,
                                                   checkpoint=own_path(comm), update_callbacks=stop if comm.rank else ()))
        assert all(isinstance(each, KeyboardInterrupt) for each in outcomes)
        content = path.read_bytes()
        for size in (2, 3):
            path.write_bytes(content)
            net, history = together(size, lambda comm: fit_part(
                network(random_state=3 + comm.rank), arrays, share(size, comm.rank, B), **arguments, communicator=comm,
                checkpoint=own_path(comm), resume=True))
            assert_close((net, history), whole[size])
            if size == 2:
                assert net.theta.tobytes() == whole[2][0].theta.tobytes() and history.train_loss == whole[2][1].train_loss
        path.write_bytes(content)
        other = arrays | {"X": arrays["X"] + 1}
        outcomes, world = run(2, lambda comm: fit_part(network(), other, share(2, comm.rank, B), **arguments,
                                                       communicator=comm, checkpoint=own_path(comm), resume=True))
        assert all(type(each) is ValueError and "is of another run: data" in str(each) for each in outcomes)
        assert path.read_bytes() == content and not world.aborted


def test_a_run_of_fresh_batches_goes_on_with_as_many_ranks_and_keeps_its_seconds(tmp_path):
    path = tmp_path / "run.npz"

    def fit(comm):
        net = network()
        return net, net.fit(batches=fresh, updates=4, updates_per_epoch=2, batch_size=6, communicator=comm, checkpoint=path,
                            resume=True)

    seconds = []
    for _ in range(2):  # the second has nothing to do
        together(2, fit)
        seconds.append(fastbptt._files.read(path)[0]["run"]["numbers"]["seconds"])
    assert seconds[1] >= seconds[0] > 0
    outcomes, world = run(3, fit)
    assert all("ranks is 2 there and 3 here" in str(each) for each in outcomes) and not world.aborted


@pytest.mark.parametrize("validation", [None, 0.3])
def test_between_one_process_and_ranks_a_checkpoint_is_refused_with_what_to_give(validation, tmp_path):
    path, arrays = tmp_path / "run.npz", {each: data()[each] for each in ("X", "D", "weights")}
    arguments = {"batch_size": 5, "validation": validation, "checkpoint": path}
    together(2, lambda comm: fit_part(network(), arrays, share(2, comm.rank, B), **arguments, epochs=2, communicator=comm))
    with pytest.raises(ValueError, match=r"written by a run with a communicator.*communicator=mpi4py.MPI.COMM_SELF"):
        network().fit(**arrays, **arguments, epochs=3, resume=True)
    with pytest.raises(FileExistsError, match="communicator=mpi4py.MPI.COMM_SELF.*overwrite=True"):
        network().fit(**arrays, **arguments, epochs=3)
    (net, history), whole = (together(1, lambda comm: fit_part(
        network(), arrays, share(1, comm.rank, B), **arguments | more, epochs=3, communicator=comm))
        for more in ({"resume": True}, {"checkpoint": None}))
    assert_close((net, history), whole)
    with pytest.raises(ValueError, match="batch_size is 5 there and 4 here") as caught:  # what else differs comes first
        network().fit(**arrays, **arguments | {"batch_size": 4}, epochs=3, resume=True)
    assert "data is" not in str(caught.value)
    network().fit(**arrays, **arguments, epochs=2, overwrite=True)
    outcomes, world = run(2, lambda comm: fit_part(network(), arrays, share(2, comm.rank, B), **arguments, epochs=3,
                                                   communicator=comm, resume=True))
    assert all("written by a run without a communicator" in str(each) for each in outcomes) and not world.aborted


def test_a_checkpoint_of_fresh_batches_of_ranks_says_how_many_go_on(tmp_path):
    path = tmp_path / "run.npz"
    arguments = {"batches": fresh, "updates": 4, "updates_per_epoch": 2, "batch_size": 6, "checkpoint": path}
    run(2, lambda comm: network().fit(**arguments, communicator=comm))
    with pytest.raises(ValueError, match="2 ranks draw its batches, and it requires as many"):
        network().fit(**arguments, resume=True)


def test_another_seed_and_a_foreign_file_end_all_ranks_before_the_first_update(tmp_path):
    path, arrays = tmp_path / "run.npz", {each: data()[each] for each in ("X", "D")}

    def attempt(seed, **more):
        nets = [network(random_state=seed), network()]
        before = [net.theta for net in nets]
        outcomes, world = run(2, lambda comm: fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), epochs=2,
                                                       communicator=comm, checkpoint=path, **more))
        assert not world.aborted and all(np.array_equal(net.theta, theta) for net, theta in zip(nets, before))
        return outcomes

    together(2, lambda comm: fit_part(network(), arrays, share(2, comm.rank, B), epochs=2, communicator=comm, checkpoint=path))
    content = path.read_bytes()
    first, second = attempt(9, resume=True)
    assert type(first) is ValueError and "random_state is 3 there and 9 here" in str(first)
    assert type(second) is RuntimeError and "rank 0: ValueError" in str(second)
    first, second = attempt(9)
    assert type(first) is FileExistsError and type(second) is RuntimeError and "overwrite=True" in str(second)
    assert path.read_bytes() == content


def test_only_rank_0_shows_progress(capsys):
    arrays = {"X": data()["X"], "D": data()["D"]}
    together(3, lambda comm: fit_part(network(), arrays, share(3, comm.rank, B), epochs=1, progress=True, communicator=comm))
    assert capsys.readouterr().err.count("epoch 1/1") == 1


def test_a_damaged_checkpoint_is_refused_on_all_ranks(tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(b"nothing")
    arrays = {"X": data()["X"], "D": data()["D"]}
    nets = [network(), network(random_state=4)]
    before = [net.theta for net in nets]
    outcomes, world = run(2, lambda comm: fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), communicator=comm,
                                                   checkpoint=path, resume=True))
    other = network(activation="relu")
    other.fit(**arrays, epochs=1, checkpoint=path, overwrite=True)
    for each in run(2, lambda comm: fit_part(nets[comm.rank], arrays, share(2, comm.rank, B), communicator=comm,
                                             checkpoint=path, resume=True))[0]:
        assert "is of another network: activation is 'relu' there and 'tanh' here" in str(each)
    assert all(np.array_equal(net.theta, theta) for net, theta in zip(nets, before))
    assert [type(each) for each in outcomes] == [ValueError, RuntimeError] and not world.aborted
    assert all("run.npz" in str(each) for each in outcomes)


# ---- The order that gives each rank its part of every batch


@pytest.mark.parametrize("count, batch_size", [(23, 5), (24, 6), (7, 7), (3, 8), (1, 1), (100, 32), (10, 4), (9, 1)])
def test_spread_batches_have_a_sequence_of_each_run(count, batch_size):
    rng = np.random.default_rng(0)
    orders = [_batches.spread(count, batch_size, rng) for _ in range(30)]
    run_of = np.searchsorted(np.arange(batch_size + 1) * count // batch_size, np.arange(count), side="right")
    for order in orders:
        assert sorted(order) == list(range(count))
        for k in range(0, count, batch_size):
            runs = run_of[order[k:k + batch_size]]
            assert len(set(runs)) == len(runs) == min(batch_size, count - k)
    if count > batch_size:  # each sequence comes first and last, sooner or later
        assert len({tuple(order) for order in orders}) > 1
        batches = -(-count // batch_size)
        assert batches < 3 or {k // batch_size for order in orders for k in np.flatnonzero(order == 0)} >= {0, 1}


def test_each_rank_has_its_part_of_every_spread_batch():
    X = np.zeros((1, 100, 1))
    for first, B in ((0, 37), (37, 63)):
        own = Batch(X[:, first:first + B], X[:, :B])
        arrays = _batches.Arrays(own, "sequence", 20, "spread", entropy=1, stream=1, first=first, total=100)
        assert all(abs(len(arrays.rows(0, k)[0]) - 20 * B / 100) <= 1 for k in range(5))
