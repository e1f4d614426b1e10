"""A run that was interrupted and resumed is, to the bit, the run that was never interrupted."""

import dataclasses
import itertools
import os
import signal
import sys

import cases
import numpy as np
import pytest

import fastbptt
from fastbptt import RNN, optimizers, schedules
from fastbptt._training import checkpoint as _checkpoint, loop as _loop, settings as _settings

T, B, I, H, O = 5, 11, 2, 4, 1


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))


def network(**options):
    return RNN(I, H, O, **{"random_state": 0, **options})


def fresh(batch_size, rng):
    return rng.standard_normal((T, batch_size, I)), rng.standard_normal((T, batch_size, O)), rng.uniform(0, 1, (T, batch_size))


class Stop(Exception):
    pass


def interrupt_after(updates, error=KeyboardInterrupt):
    """An update callback that raises after so many updates, counted over all runs that it is given to."""
    def callback(record, count=itertools.count(1)):
        if next(count) == updates:
            raise error
    return callback


def outcome(net, history):
    return net.theta.tobytes(), history.train_loss, history.validation_loss, history.gradient_norm, history.penalty, \
        history.learning_rate, history.best_epoch, history.updates, history.stopped


RUNS = {
    "arrays": lambda: {"X": data()[0], "D": data()[1], "epochs": 5, "batch_size": 4},
    "weights and penalties": lambda: {"X": data()[0], "D": data()[1], "weights": np.random.default_rng(3).uniform(0, 1, (T, B)),
                                      "epochs": 5, "batch_size": 4},
    "a function": lambda: {"batches": fresh, "updates": 14, "updates_per_epoch": 4, "batch_size": 3},
    "patience": lambda: {"X": data()[0], "D": data()[1], "validation": data(1), "patience": 2, "epochs": 12, "batch_size": 4},
    "a share held out": lambda: {"X": data()[0], "D": data()[1], "validation": 0.3, "patience": 2, "epochs": 9,
                                 "batch_size": 4, "schedule": schedules.Plateau(patience=0, gamma=0.5)},
    "updates within an epoch": lambda: {"X": data()[0], "D": data()[1], "updates": 10, "batch_size": 4},
}
OPTIMIZERS = {"sgd": optimizers.SGD(0.05, momentum=0.9), "adam": optimizers.Adam(0.05), "adamw": optimizers.AdamW(0.05),
              "rmsprop": optimizers.RMSprop(0.01), "adagrad": optimizers.Adagrad(0.1)}


def options_of(run):
    return {"l1": 1e-3, "l2": {"W_s": 1e-2}} if run == "weights and penalties" else {}


@pytest.mark.quick
@pytest.mark.share(4)
@pytest.mark.parametrize("backend", ["core", "reference"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("run", RUNS)
def test_interrupted_at_any_update_and_resumed_it_is_the_same_run(run, optimizer, backend, tmp_path):
    arguments = {"optimizer": OPTIMIZERS[optimizer], "backend": backend, "random_state": 5}
    whole = network(**options_of(run))
    expected = outcome(whole, whole.fit(**RUNS[run](), **arguments))
    for updates in (1, 3, 4, 7) if cases.ALL or optimizer == "adam" else (4,):
        path = tmp_path / f"{updates}.npz"
        with pytest.raises(KeyboardInterrupt):
            network(**options_of(run)).fit(**RUNS[run](), **arguments, checkpoint=path, checkpoint_every=3600,
                                           update_callbacks=[interrupt_after(updates)])
        resumed = network(**options_of(run))
        history = resumed.fit(**RUNS[run](), **arguments, checkpoint=path, resume=True)
        assert outcome(resumed, history) == expected


@pytest.mark.thorough
def test_interrupted_by_signals_at_random_moments_again_and_again(tmp_path):
    whole = network()
    arguments = RUNS["patience"]() | {"epochs": 40, "patience": 40, "learning_rate": 0.01}
    expected = outcome(whole, whole.fit(**arguments))
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for seed in range(8):
            path, rng, finished, turns = tmp_path / f"{seed}.npz", np.random.default_rng(seed), False, 0
            while not finished:
                net = network()
                try:
                    try:
                        if turns < 200:  # the last turn is left alone
                            signal.setitimer(signal.ITIMER_REAL, float(rng.uniform(0.002, 0.02)))
                        history = net.fit(**arguments, checkpoint=path, checkpoint_every=0.001, resume=True)
                        finished = True
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:  # which may come before the fit, and behind it
                    turns += 1
            assert outcome(net, history) == expected
    finally:
        signal.signal(signal.SIGALRM, previous)


def interrupt_at_the_end(line):
    """A trace function that raises KeyboardInterrupt in this line of those that the loop runs from its `save` on."""
    saving = False

    def trace(frame, event, _):
        nonlocal line, saving
        saving = saving or frame.f_code is _loop.Run.save.__code__
        if frame.f_code.co_filename != _loop.__file__:
            return None
        if event == "line" and saving:
            line -= 1
            if line == 0:
                raise KeyboardInterrupt
        return trace
    return trace


@pytest.mark.thorough
def test_interrupted_in_any_line_after_the_last_update_a_run_still_goes_on(tmp_path):
    X, D = data()
    arguments = {"validation": data(1), "patience": 9, "batch_size": 4}
    whole = network()
    expected = outcome(whole, whole.fit(X, D, **arguments, updates=8))
    for line in itertools.count(1):
        path, net, finished = tmp_path / f"{line}.npz", network(), False
        sys.settrace(interrupt_at_the_end(line))
        try:
            net.fit(X, D, **arguments, updates=5, checkpoint=path)  # within an epoch
            finished = True
        except KeyboardInterrupt:
            entries = 1 if net.history.stopped == "interrupted" else 2  # where all but the return was done
            assert len(net.history.train_loss) == len(net.history.validation_loss) == entries
        finally:
            sys.settrace(None)
        net = network()
        assert outcome(net, net.fit(X, D, **arguments, updates=8, checkpoint=path, resume=True)) == expected
        if finished:
            break
    assert line > 30


def test_a_repr_that_an_interrupt_has_spoilt_is_not_written_down(tmp_path, monkeypatch):
    path, arguments = tmp_path / "run.npz", RUNS["arrays"]() | {"optimizer": optimizers.Adam(0.05)}
    with monkeypatch.context() as patch:  # as dataclasses' guard against recursion leaves it
        patch.setattr(optimizers.Adam, "__repr__", lambda self: "...")
        network().fit(**arguments, checkpoint=path)
    network().fit(**arguments, checkpoint=path, resume=True)
    for rule in (optimizers.Adam(0.05), schedules.Plateau()):
        assert _settings.described(rule) == repr(rule)


def test_a_run_that_failed_resumes_too(tmp_path):
    path, arguments = tmp_path / "run.npz", RUNS["arrays"]()
    whole = network()
    expected = outcome(whole, whole.fit(**arguments))
    net = network()
    with pytest.raises(Stop):
        net.fit(**arguments, checkpoint=path, update_callbacks=[interrupt_after(5, Stop)])
    assert net.history.stopped == "error"
    net = network()
    assert outcome(net, net.fit(**arguments, checkpoint=path, resume=True)) == expected


def test_what_a_callback_changed_is_kept(tmp_path):
    def prune(record):
        record.network.parameters["W_s"] = np.where(abs(record.network.parameters["W_s"]) < 0.2, 0,
                                                    record.network.parameters["W_s"])

    path, arguments = tmp_path / "run.npz", RUNS["arrays"]()
    whole = network()
    expected = outcome(whole, whole.fit(**arguments, callbacks=[prune]))
    with pytest.raises(KeyboardInterrupt):
        network().fit(**arguments, callbacks=[prune], checkpoint=path, update_callbacks=[interrupt_after(7)])
    net = network()
    assert outcome(net, net.fit(**arguments, callbacks=[prune], checkpoint=path, resume=True)) == expected


@pytest.mark.parametrize("kind", ["callbacks", "update_callbacks"])
@pytest.mark.parametrize("place", [0, 1], ids=["before", "after"])
@pytest.mark.parametrize("call", [1, 3, 4])
def test_callbacks_that_were_cut_off_are_called_again(kind, place, call, tmp_path):
    def shrink(record):
        record.network.theta = record.network.theta * 0.9

    def enough(record):
        return record.update >= (12 if kind == "callbacks" else 4)

    def run(net, *others, **options):
        callbacks = [shrink, enough]
        callbacks[place:place] = others
        return outcome(net, net.fit(**RUNS["arrays"](), **{kind: callbacks}, **options))

    expected, path = run(network()), tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        run(network(), interrupt_after(call), checkpoint=path)
    assert run(network(), checkpoint=path, resume=True) == expected
    assert expected[-1] == "callback"


def test_a_finished_run_resumed_is_as_it_was_and_goes_on_where_it_is_given_more(tmp_path):
    path, arguments = tmp_path / "run.npz", RUNS["arrays"]()
    net = network()
    expected = outcome(net, net.fit(**arguments, checkpoint=path))
    again = network()
    assert outcome(again, again.fit(**arguments, checkpoint=path, resume=True)) == expected
    longer, at_once = network(), network()
    assert (outcome(longer, longer.fit(**arguments | {"epochs": 8}, checkpoint=path, resume=True))
            == outcome(at_once, at_once.fit(**arguments | {"epochs": 8})))


@pytest.mark.parametrize("kind", ["callbacks", "update_callbacks"])
def test_a_run_that_a_callback_ended_is_finished_as_long_as_a_callback_says_so(kind, tmp_path):
    def shrink(record):
        record.network.theta = record.network.theta * 0.9

    def enough(record):
        return record.update >= (6 if kind == "callbacks" else 4)

    path, arguments = tmp_path / "run.npz", RUNS["arrays"]() | {"validation": data(1)}
    net = network()
    expected = outcome(net, net.fit(**arguments, **{kind: [shrink, enough]}, checkpoint=path))
    assert expected[-1] == "callback"
    for again in (network(), network(), net):
        assert outcome(again, again.fit(**arguments, **{kind: [shrink, enough]}, checkpoint=path, resume=True)) == expected
        assert np.array_equal(fastbptt.load(path).theta, again.theta)
    for more in ({}, {kind: [lambda record: False]}):
        assert network().fit(**arguments, **more, checkpoint=path, resume=True).stopped == "epochs"
        network().fit(**arguments, **{kind: [shrink, enough]}, checkpoint=path, overwrite=True)


def test_an_estimator_that_tol_ended_is_finished(tmp_path):
    X = np.random.default_rng(0).standard_normal((10, 5, 2))
    model = fastbptt.RNNRegressor(3, max_iter=50, tol=10.0, n_iter_no_change=3, random_state=0)
    curve = model.fit(X, X[..., 0], checkpoint=tmp_path / "run.npz").loss_curve_
    for _ in range(2):
        model.fit(X, X[..., 0], checkpoint=tmp_path / "run.npz", resume=True)
        assert model.loss_curve_ == curve and model.history_.stopped == "patience" and len(curve) < 50


@pytest.mark.parametrize("end", [{"epochs": 4}, {"updates": 11}, {"updates": 12}, {"time_limit": 1e-9},
                                 {"callbacks": lambda record: record.epoch == 3}])
def test_what_the_last_epoch_of_a_run_is_judged_by_is_not_part_of_the_run_that_goes_on(end, tmp_path):
    path = tmp_path / "run.npz"
    arguments = RUNS["arrays"]() | {"epochs": 9, "validation": data(1), "validation_every": 3,
                                    "schedule": schedules.Plateau(patience=0, threshold=0.9)}
    at_once, net = network(), network()
    expected = outcome(at_once, at_once.fit(**arguments))
    history = net.fit(**arguments | end, checkpoint=path)
    assert history.validation_loss[-1] == net.evaluate(*data(1))
    assert len(history.validation_loss) == len(history.train_loss)
    longer = network()
    found = outcome(longer, longer.fit(**arguments, checkpoint=path, resume=True))
    assert repr(found) == repr(expected)  # NaN is NaN


def test_without_a_file_resume_begins_and_without_resume_a_run_begins_anew(tmp_path):
    path, arguments = tmp_path / "run.npz", RUNS["arrays"]()
    net = network()
    expected = outcome(net, net.fit(**arguments))
    for resume in (True, False):
        net = network()
        assert outcome(net, net.fit(**arguments, checkpoint=path, resume=resume)) == expected


def test_an_iterator_is_moved_on_to_where_the_run_was(tmp_path):
    def stream():
        rng = np.random.default_rng(0)
        while True:
            yield fresh(3, rng)

    whole = network()
    expected = outcome(whole, whole.fit(batches=stream(), updates=9, updates_per_epoch=4))
    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        network().fit(batches=stream(), updates=9, updates_per_epoch=4, checkpoint=path,
                      update_callbacks=[interrupt_after(6)])
    net = network()
    assert outcome(net, net.fit(batches=stream(), updates=9, updates_per_epoch=4, checkpoint=path, resume=True)) == expected


def test_load_reads_a_checkpoint_as_the_network_of_that_moment(tmp_path):
    net, thetas = network(), []
    with pytest.raises(KeyboardInterrupt):
        net.fit(**RUNS["arrays"](), checkpoint=tmp_path / "run.npz",
                update_callbacks=[lambda record: thetas.append(net.theta), interrupt_after(6)])
    loaded = fastbptt.load(tmp_path / "run.npz")
    assert repr(loaded) == repr(net)
    np.testing.assert_array_equal(loaded.theta, thetas[-1])


@pytest.mark.parametrize(("change", "words"), [
    ({"batch_size": 5}, "batch_size is 4 there and 5 here"),
    ({"optimizer": "sgd"}, "optimizer is 'Adam"),
    ({"schedule": "cosine"}, "schedule is 'Constant()' there"),
    ({"max_grad_norm": 1.0}, "max_grad_norm"),
    ({"shuffle": False}, "shuffle is True there and False here"),
    ({"X": data(3)[0]}, "data is"),
])
def test_another_run_is_not_resumed_and_nothing_changes(change, words, tmp_path):
    path, arguments = tmp_path / "run.npz", RUNS["arrays"]()
    network().fit(**arguments, checkpoint=path)
    net, bytes_ = network(), path.read_bytes()
    before = net.theta.tobytes()
    with pytest.raises(ValueError, match="another run") as caught:
        net.fit(**arguments | change, checkpoint=path, resume=True)
    assert words in str(caught.value)
    assert net.theta.tobytes() == before and path.read_bytes() == bytes_


@pytest.mark.parametrize("finished", [False, True], ids=["cut off", "finished"])
@pytest.mark.parametrize(("build", "arguments", "words"), [
    (lambda: network(random_state=1), {}, "random_state is 0 there and 1 here"),
    (lambda: network(random_state=1), {"random_state": 0}, "began with other parameters"),
    (lambda: network(initializer="normal"), {}, "began with other parameters"),
    (network, {"random_state": 3}, "random_state is 0 there and 3 here"),
], ids=["the network's seed", "the parameters", "the initializer", "the seed of fit"])
def test_the_run_of_another_seed_or_of_other_parameters_is_not_resumed(build, arguments, words, finished, tmp_path):
    path, options = tmp_path / "run.npz", RUNS["arrays"]()
    if finished:
        network().fit(**options, checkpoint=path)
    else:
        with pytest.raises(KeyboardInterrupt):
            network().fit(**options, checkpoint=path, update_callbacks=[interrupt_after(4)])
    net, bytes_ = build(), path.read_bytes()
    before = net.theta.tobytes()
    with pytest.raises(ValueError, match="of another run") as caught:
        net.fit(**options, **arguments, checkpoint=path, resume=True)
    assert words in str(caught.value) and "run.npz" in str(caught.value)
    assert net.theta.tobytes() == before and path.read_bytes() == bytes_ and net.history is None


def test_a_loop_over_networks_without_seeds_does_not_return_the_first_for_all(tmp_path):
    path, options = tmp_path / "run.npz", RUNS["arrays"]()
    network(random_state=None).fit(**options, checkpoint=path, resume=True)
    for end in ({}, {"epochs": 9}, {"callbacks": lambda record: True}):
        with pytest.raises(ValueError, match="of a finished run.*'epochs'.*give the network a random_state"):
            network(random_state=None).fit(**options | end, checkpoint=path, resume=True)
    path.unlink()
    network(random_state=None).fit(**options, checkpoint=path, callbacks=lambda record: record.epoch == 1)
    with pytest.raises(ValueError, match="of a finished run.*'callback'"):
        network(random_state=None).fit(**options, checkpoint=path, resume=True)


@pytest.mark.parametrize("seed", [None, "Generator"])
def test_a_network_without_a_seed_goes_on_with_a_run_that_was_cut_off(seed, tmp_path):
    def build():
        return network(random_state=None if seed is None else np.random.default_rng())

    path, options = tmp_path / "run.npz", RUNS["arrays"]()
    first = build()
    whole = first.copy()
    expected = outcome(whole, whole.fit(**options))
    with pytest.raises(KeyboardInterrupt):
        first.fit(**options, checkpoint=path, resume=True, update_callbacks=[interrupt_after(4)])
    with pytest.raises(KeyboardInterrupt):
        build().fit(**options, checkpoint=path, resume=True, update_callbacks=[interrupt_after(4)])
    net = build()
    assert outcome(net, net.fit(**options, checkpoint=path, resume=True)) == expected
    assert outcome(net, net.fit(**options)) == outcome(whole, whole.fit(**options))  # with the seed of the first


@pytest.mark.parametrize("own", ["the same object", "loaded"])
@pytest.mark.parametrize("run", ["arrays", "patience"])
@pytest.mark.parametrize("seed", [0, None])
def test_a_network_with_the_parameters_of_the_checkpoint_goes_on_with_its_run(seed, run, own, tmp_path):
    path, options = tmp_path / "run.npz", RUNS[run]()
    net = network(random_state=seed)
    whole = net.copy()
    expected = outcome(whole, whole.fit(**options | {"epochs": 20}))
    net.fit(**options | {"epochs": 6}, checkpoint=path)
    if own == "loaded":
        net = fastbptt.load(path)
    assert outcome(net, net.fit(**options | {"epochs": 20}, checkpoint=path, resume=True)) == expected
    assert outcome(net, net.fit(**options | {"epochs": 20}, checkpoint=path, resume=True)) == expected


def test_functions_of_batches_are_not_compared(tmp_path):
    def never(batch_size, rng):
        raise AssertionError("called")

    path, net, again, options = tmp_path / "run.npz", network(), network(), RUNS["a function"]()
    net.fit(**options, checkpoint=path)
    again.fit(**options | {"batches": never}, checkpoint=path, resume=True)
    assert again.theta.tobytes() == net.theta.tobytes()
    for whose in (RNN.fit, fastbptt.fit_many):
        assert "cannot be compared" in " ".join(whose.__doc__.split())


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("given", ["arrays", "a function", "noise"])
def test_a_loop_that_sets_the_start_parameters_again_makes_runs_of_their_own(given, seed, tmp_path):
    path, net = tmp_path / "run.npz", network(random_state=seed, noise_std=0.1 if given == "noise" else 0.0)
    options = (RUNS["arrays"]() | {"shuffle": False} if given == "noise" else RUNS[given]()) | {"checkpoint": path}
    start = net.theta
    net.fit(**options, resume=True)
    net.fit(**options, resume=True)  # which is finished
    net.theta, content = start, path.read_bytes()
    before = net.stream_positions
    for more, error in (({"resume": True}, ValueError), ({}, FileExistsError)):
        with pytest.raises(error, match="of another run.*at other stream_positions"):
            net.fit(**options, **more)
        assert net.theta.tobytes() == start.tobytes() and net.stream_positions == before and path.read_bytes() == content
    net.fit(**options | {"checkpoint": tmp_path / "second.npz"}, resume=True)
    assert net.theta.tobytes() != fastbptt.load(path).theta.tobytes()


def test_equal_runs_may_take_the_place_of_one_another(tmp_path):
    path, net, start = tmp_path / "run.npz", network(), network().theta
    for more in ({"shuffle": False}, {"random_state": 5}):  # nothing is drawn from the network's own streams
        options = RUNS["arrays"]() | {"checkpoint": path} | more
        net.theta = start
        expected = outcome(net, net.fit(**options, overwrite=True))
        for resume in (True, False):
            net.theta = start
            assert outcome(net, net.fit(**options, resume=resume)) == expected


@pytest.mark.parametrize("update", [1, 4])
def test_a_run_that_was_cut_off_goes_on_in_its_process_from_its_start_parameters_too(update, tmp_path):
    path, net, options = tmp_path / "run.npz", network(), RUNS["arrays"]()
    net.fit(*data())  # so that the run does not begin at position 0
    whole, start = net.copy(), net.theta
    expected = outcome(whole, whole.fit(**options))
    with pytest.raises(KeyboardInterrupt):
        net.fit(**options, checkpoint=path, update_callbacks=[interrupt_after(update)])
    net.theta = start
    assert outcome(net, net.fit(**options, checkpoint=path, resume=True)) == expected


def test_start_parameters_may_differ_by_rounding(tmp_path):
    path, options = tmp_path / "run.npz", RUNS["arrays"]()
    network().fit(**options, checkpoint=path)
    near, far = network(), network()
    near.theta = np.nextafter(near.theta, np.float32(2))
    near.fit(**options, checkpoint=path, resume=True)
    far.theta = far.theta * np.float32(1.01)
    with pytest.raises(ValueError, match="began with other parameters"):
        far.fit(**options, checkpoint=path, resume=True)


def test_a_checkpoint_without_start_parameters_is_resumed_as_the_version_that_wrote_it_did(tmp_path):
    path, options = tmp_path / "run.npz", RUNS["arrays"]()
    network().fit(**options, checkpoint=path)
    header, arrays = _checkpoint._files.read(path)
    del header["run"]["stopped"], arrays["run.start"]
    _checkpoint._files.write(path, header, arrays)
    whole, resumed = network(), network()
    expected = outcome(whole, whole.fit(**options | {"epochs": 8}))
    assert outcome(resumed, resumed.fit(**options | {"epochs": 8}, checkpoint=path, resume=True)) == expected
    with pytest.raises(ValueError, match="random_state is 0 there and 1 here"):
        network(random_state=1).fit(**options | {"epochs": 9}, checkpoint=path, resume=True)


@pytest.mark.parametrize("fewer", [{"epochs": 4}, {"updates": 11}])
def test_a_longer_run_is_neither_resumed_nor_replaced(fewer, tmp_path):
    path, options = tmp_path / "run.npz", RUNS["arrays"]()
    network().fit(**options, checkpoint=path)
    bytes_ = path.read_bytes()
    with pytest.raises(ValueError, match="of a longer run: it has made 15 updates"):
        network().fit(**options | fewer, checkpoint=path, resume=True)
    with pytest.raises(FileExistsError, match="of a longer run: it has made 15 updates.*overwrite=True"):
        network().fit(**options | fewer, checkpoint=path)
    assert path.read_bytes() == bytes_


def foreign_files(path):
    """By name, functions that write something else to `path` than a checkpoint of the run that the test begins."""
    return {
        "a CSV": lambda: path.write_text("a,b\n1,2\n"),
        "a model": lambda: network().save(path),
        "another seed": lambda: network(random_state=1).fit(**RUNS["arrays"](), checkpoint=path),
        "no seed": lambda: network(random_state=None).fit(**RUNS["arrays"](), checkpoint=path),
        "other parameters": lambda: network(initializer="normal").fit(**RUNS["arrays"](), checkpoint=path),
        "other data": lambda: network().fit(**RUNS["arrays"]() | {"X": data(3)[0]}, checkpoint=path),
        "another network": lambda: network(l2=0.1).fit(**RUNS["arrays"](), checkpoint=path),
        "many": lambda: fastbptt.fit_many([network()], *data(), epochs=1, checkpoint=path),
    }


@pytest.mark.parametrize("name", foreign_files(None))
def test_without_resume_nothing_is_replaced_but_this_runs_own_checkpoint(name, tmp_path):
    path, options = tmp_path / "run.npz", RUNS["arrays"]()
    foreign_files(path)[name]()
    net, bytes_ = network(), path.read_bytes()
    before = net.theta.tobytes()
    with pytest.raises(FileExistsError, match="run.npz.*It is not replaced: give checkpoint= another path, or overwrite=True"):
        net.fit(**options, checkpoint=path, update_callbacks=[interrupt_after(1, Stop)])
    assert net.theta.tobytes() == before and path.read_bytes() == bytes_ and net.history is None
    net.fit(**options, checkpoint=path, overwrite=True)
    assert np.array_equal(fastbptt.load(path).theta, net.theta)


def test_an_empty_file_and_a_device_hold_nothing_to_keep(tmp_path):
    (tmp_path / "run.npz").touch()
    for checkpoint in (tmp_path / "run.npz", os.devnull):
        assert network().fit(**RUNS["arrays"](), checkpoint=checkpoint).updates > 0
    assert isinstance(fastbptt.load(tmp_path / "run.npz"), RNN)


def test_another_validation_set_is_another_run(tmp_path):
    options = RUNS["patience"]() | {"checkpoint": tmp_path / "run.npz"}
    network().fit(**options)
    for other in (data(2), None):
        with pytest.raises(ValueError, match="of another run: validation is '[0-9a-f]{32}' there and "):
            network().fit(**{**options, "validation": other, "patience": None if other is None else 2}, resume=True)


def test_parameters_that_a_callback_spoils_reach_neither_network_nor_checkpoint(tmp_path):
    def spoil(record):
        if record.epoch == 2:
            record.network.parameters["W_s"][0, 0] = np.nan

    net, right = network(), network()
    X, D = data()
    with pytest.raises(FloatingPointError, match="callbacks must leave finite parameters, but did not after epoch 2"):
        net.fit(X, D, epochs=5, batch_size=4, callbacks=[spoil], checkpoint=tmp_path / "run.npz")
    right.fit(X, D, epochs=3, batch_size=4)
    assert np.array_equal(net.theta, right.theta)
    assert np.array_equal(fastbptt.load(tmp_path / "run.npz").theta, right.theta)


def test_what_a_schedule_carries_may_be_numpys_numbers(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Counting(schedules.Schedule):
        def begin(self):
            return (0,)

        def watch(self, carried, loss):
            return (np.int64(carried[0]) + 1,)

        def factor(self, carried, epoch, epochs):
            return 1 / (1 + carried[0])

    X, D = data()
    options = {"schedule": Counting(), "batch_size": 4, "checkpoint": tmp_path / "run.npz"}
    whole, parts = network(), network()
    whole.fit(X, D, epochs=5, schedule=Counting(), batch_size=4)
    parts.fit(X, D, epochs=2, **options)
    parts.fit(X, D, epochs=5, **options, resume=True)
    assert np.array_equal(whole.theta, parts.theta)


def test_another_networks_checkpoint_and_other_files_are_refused(tmp_path):
    path, arguments = tmp_path / "run.npz", RUNS["arrays"]()
    network().fit(**arguments, checkpoint=path)
    with pytest.raises(ValueError, match="another network: activation is 'tanh' there and 'relu' here"):
        network(activation="relu").fit(**arguments, checkpoint=path, resume=True)
    network().save(path)
    with pytest.raises(ValueError, match="a model, not the checkpoint of a run"):
        network().fit(**arguments, checkpoint=path, resume=True)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a fastbptt model"):
        network().fit(**arguments, checkpoint=path, resume=True)


@pytest.mark.parametrize(("place", "value"), [
    (["config"], None), (["config", "loss"], []), (["config", "leek"], 0.5), (["entropy"], "x"), (["run"], 5),
    (["run", "identity"], None), (["run", "numbers"], []), (["run", "numbers", "batch"], "x"),
    (["run", "numbers", "updates"], -1), (["run", "numbers", "best_loss"], None), (["run", "slots"], 7),
    (["run", "numbers", "refused"], 1), (["run", "numbers", "refused"], True),
])
def test_a_damaged_header_is_refused_in_words_and_nothing_changes(place, value, tmp_path):
    path, arguments = tmp_path / "run.npz", RUNS["arrays"]()
    network().fit(**arguments, checkpoint=path)
    header, arrays = _checkpoint._files.read(path)
    part = header
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    _checkpoint._files.write(path, header, arrays)
    net, bytes_ = network(), path.read_bytes()
    before = net.theta.tobytes()
    with pytest.raises(ValueError, match="damaged checkpoint"):
        net.fit(**arguments, checkpoint=path, resume=True)
    assert net.theta.tobytes() == before and path.read_bytes() == bytes_ and net.history is None


def test_a_failed_write_leaves_the_last_checkpoint_and_is_named_in_the_error(tmp_path, monkeypatch):
    path, arguments = tmp_path / "run.npz", RUNS["arrays"]()
    network().fit(**arguments, checkpoint=path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_checkpoint._files.np, "savez", full)
    with pytest.raises(KeyboardInterrupt) as caught:
        network().fit(**arguments, checkpoint=path, update_callbacks=[interrupt_after(2)])
    assert any("No space left" in note for note in caught.value.__notes__)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
