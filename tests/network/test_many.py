"""fit_many and cross_validate: each network's result is what it is alone, here, in processes and on clusters."""

import concurrent.futures
import multiprocessing
import os
import pickle
import warnings

import numpy as np
import pytest
from many_networks import check_executor, networks, series
from processes import SUPPORT, run_python

from fastbptt import RNN, RNNClassifier, RNNRegressor, _files, _population, cross_validate, fit_many, many, optimizers
from fastbptt._many import call as _call, chunks as _chunks, folds as _folds, jobs as _jobs


def assert_same(found, right, k=""):
    tolerance = 1e-8 if found.dtype == "float64" else 1e-4
    np.testing.assert_allclose(found.theta, right.theta, rtol=tolerance, atol=tolerance / 10, err_msg=str(k))


def needs_lanes():
    if not _population.lanes("float64"):
        pytest.skip("this kernel set has no lanes")


# ---- One process


def test_each_network_is_what_fit_makes_of_it_alone():
    rng = np.random.default_rng(0)
    nets, alone = networks(), networks()
    n = len(nets)
    X, D = series(rng, n)
    weights = [rng.integers(0, 3, x.shape[:2]).astype(float) for x in X]
    V = rng.standard_normal((7, 3, 2)), [rng.standard_normal((7, 3, 1)) for _ in range(n)]
    rates, norms = 10 ** rng.uniform(-3, -1.5, n), rng.uniform(0.1, 2, n)
    seeds = list(range(100, 100 + n))
    given = {"epochs": 12, "patience": 2, "batch_size": 1, "schedule": "cosine"}
    fits = fit_many(nets, X, D, weights=weights, validation=V, learning_rate=rates, max_grad_norm=norms, random_state=seeds,
                    **given)
    for k, net in enumerate(alone):
        right = net.fit(X[k], D[k], weights=weights[k], validation=(V[0], V[1][k]), learning_rate=rates[k],
                        max_grad_norm=norms[k], random_state=seeds[k], **given)
        assert_same(nets[k], net, k)
        found = fits.history(k)
        assert found.stopped == fits.stopped[k] == right.stopped and found.best_epoch == right.best_epoch
        for name in many.CURVES:
            np.testing.assert_allclose(getattr(found, name), getattr(right, name), rtol=1e-4 if k % 8 == 6 else 1e-8)
    assert len({len(fits.history(k).train_loss) for k in range(n)}) > 2  # they did end at different times
    rows = fits.rows()
    assert all(len(column) == n for column in rows.values()) and list(rows["stopped"]) == fits.stopped
    assert rows["train_loss"][3] == fits.history(3).train_loss[-1]
    in_lanes = [bool(_population.lanes("float64")) and k % 8 not in (3, 4, 5) for k in range(n)]
    assert fits.lanes.tolist() == in_lanes and f"{sum(in_lanes)} in vector lanes" in fits.describe()


@pytest.mark.quick
def test_shared_data_folds_and_labels():
    rng = np.random.default_rng(1)
    kind = {"output_activation": "softmax", "loss": "cross_entropy", "dtype": "float64"}
    nets, alone = ([RNN(2, 2 + k % 2, 3, random_state=k, **kind) for k in range(20)] for _ in range(2))
    X, D = rng.standard_normal((9, 4, 2)), rng.integers(0, 3, (20, 9, 4))
    folds = (rng.random((20, 9, 4)) < 0.7).astype(float)
    fits = fit_many(nets, X, D, weights=folds, validation=(X, D, 1 - folds), epochs=5, learning_rate=0.01)
    for k, net in enumerate(alone):
        right = net.fit(X, D[k], weights=folds[k], validation=(X, D[k], 1 - folds[k]), epochs=5, learning_rate=0.01)
        assert_same(nets[k], net, k)
        np.testing.assert_allclose(fits.validation_loss[k], right.validation_loss, rtol=1e-8)


def test_a_share_as_validation_is_split_off_by_each_networks_own_seed():
    rng = np.random.default_rng(2)
    nets, alone = networks(16), networks(16)
    X, D = rng.standard_normal((6, 10, 2)), rng.standard_normal((6, 10, 1))
    fits = fit_many(nets, X, D, validation=0.3, epochs=4, batch_size=3)
    for k, net in enumerate(alone):
        right = net.fit(X, D, validation=0.3, epochs=4, batch_size=3)
        assert_same(nets[k], net, k)
        np.testing.assert_allclose(fits.validation_loss[k], right.validation_loss, rtol=1e-4)


def test_what_lanes_do_not_serve_runs_one_at_a_time_with_the_same_bits():
    rng = np.random.default_rng(3)
    X, D = rng.standard_normal((12, 3, 2)), rng.standard_normal((12, 3, 1))
    last = rng.standard_normal((3, 1))
    cases = [({}, (X, D), {"resets": rng.random((12, 3)) < 0.2}), ({}, (X, D), {"tbptt": (3, 4)}),
             ({}, (X, D), {"updates": 7}), ({}, (X, D), {"validation": (X, D), "validation_every": 2}),
             ({}, (X, D), {"schedule": "plateau"}),
             ({"leak": 0.5}, (X, D), {}), ({"leak": 0.5, "output": "last"}, (X, last), {}),
             ({}, (X, D), {"initial_state": rng.standard_normal((3, 3)), "batch_size": 2}),
             ({}, (None, None), {"batches": lambda size, rng: (rng.standard_normal((5, size, 2)), np.ones((5, size, 1))),
                                 "updates_per_epoch": 3})]
    for options, data, given in cases:
        nets, alone = ([RNN(2, 3, 1, random_state=k, **options) for k in range(2)] for _ in range(2))
        fits = fit_many(nets, *data, epochs=3, **given)
        for net, right in zip(nets, alone):
            right.fit(*data, epochs=3, **given)
            assert np.array_equal(net.theta, right.theta), given
        assert not fits.lanes.any()


class Slow(optimizers.Adam):
    """No rule that compiled code knows."""


def test_a_network_that_becomes_infinite_stops_alone():
    X = np.random.default_rng(4).standard_normal((8, 2, 2))
    for optimizer in (optimizers.SGD(), Slow()):
        nets, before = networks(8, activation="relu"), networks(8, activation="relu")
        rates = [1e-3] * 8
        rates[2] = rates[3] = 1e160
        fits = fit_many(nets, X, X[..., :1], epochs=9, learning_rate=rates if optimizer == optimizers.SGD() else None,
                        optimizer=optimizer)
        if optimizer == optimizers.SGD():
            assert [fits.stopped[k] for k in (2, 3)] == ["nonfinite"] * 2 and fits.stopped.count("epochs") == 6
        assert all(np.isfinite(net.theta).all() and not np.array_equal(net.theta, old.theta)
                   for k, (net, old) in enumerate(zip(nets, before)) if k not in (2, 3))


BAD = [
    (lambda n: fit_many([], np.zeros((2, 2, 2)), np.zeros((2, 2, 1))), "at least one network"),
    (lambda n: fit_many(n + n[:1], np.zeros((2, 2, 2)), np.zeros((2, 2, 1))), "one object twice"),
    (lambda n: fit_many([*n, 3], np.zeros((2, 2, 2)), np.zeros((2, 2, 1))), r"networks\[8\] is a int"),
    (lambda n: fit_many(n, np.zeros((2, 2, 3)), np.zeros((2, 2, 1))), "network 0: X has 3 features"),
    (lambda n: fit_many(n, [np.zeros((2, 2, 2))] * 7 + [np.zeros((2, 2, 3))], np.zeros((2, 2, 1))), "network 7: X has 3"),
    (lambda n: fit_many(n, np.zeros((2, 2, 2)), [np.zeros((2, 2, 1))] * 7 + [np.full((2, 2, 1), np.nan)]), "network 7: D con"),
    (lambda n: fit_many(n, np.zeros((7, 2, 2, 2)), np.zeros((2, 2, 1))), "X must have a first axis of 8, one entry per network"),
    (lambda n: fit_many(n, np.zeros((2, 2, 2))), "give X and D"),
    (lambda n: fit_many(n, np.zeros((2, 2, 2)), np.zeros((2, 2, 1)), learning_rate=[1e-3] * 7), "learning_rate must have"),
    (lambda n: fit_many(n, np.zeros((2, 2, 2)), np.zeros((2, 2, 1)), random_state=3), "a list of 8 seeds"),
    (lambda n: fit_many(n, np.zeros((2, 2, 2)), np.zeros((2, 2, 1)), patience=2), "patience requires validation"),
    (lambda n: fit_many(n, np.zeros((2, 2, 2)), np.zeros((2, 2, 1)), epoch=2), "takes no 'epoch'"),
    (lambda n: fit_many(n, np.zeros((2, 2, 2)), np.zeros((2, 2, 1)), executor=3), "executor must be"),
    (lambda n: fit_many(n, np.zeros((2, 2, 2)), np.zeros((2, 2, 1)), resume=True), "requires checkpoint"),
    (lambda n: fit_many([RNNRegressor(2)], np.zeros((4, 3, 1)), np.zeros((4, 3)), epochs=2), "must be given to the constructors"),
    (lambda n: fit_many([RNNRegressor(2), RNNRegressor(0)], np.zeros((4, 3, 1)), np.zeros((4, 3))), "estimator 1: hidden"),
    (lambda n: fit_many([RNNRegressor(2), RNNRegressor(3)], [np.zeros((4, 3, 1))] * 2, np.zeros((4, 3))), "D must be a list"),
    (lambda n: cross_validate(3, np.zeros((4, 3, 1)), np.zeros((4, 3))), "must be an RNNRegressor"),
    (lambda n: cross_validate(RNNRegressor(2), np.zeros((4, 3, 1)), np.zeros((4, 3)), {"hidden_size": 3}), "a list of values"),
    (lambda n: cross_validate(RNNRegressor(2), np.zeros((4, 3, 1)), np.zeros((4, 3)), cv=5), "must not exceed the number of sequences, 4"),
    (lambda n: cross_validate(RNNRegressor(2), np.zeros((4, 3, 1)), np.zeros((4, 3)), cv=[([0], [4])]), "at least one index of the 4"),
]


@pytest.mark.quick
@pytest.mark.parametrize("call, words", BAD)
def test_bad_arguments_are_named_before_anything_is_trained(call, words):
    nets = networks(8)
    before = [net.theta for net in nets]
    with pytest.raises((TypeError, ValueError), match=words):
        call(nets)
    assert all(np.array_equal(net.theta, old) for net, old in zip(nets, before))


def test_the_bar_counts_networks(capsys):
    X = np.zeros((3, 2, 2))
    fit_many(networks(8), X, X[..., :1], epochs=2, progress=True)
    assert "epoch 2" in capsys.readouterr().err
    bar = _call.Progress(None, 8, False)
    part = bar.part()
    part.reach(2.25)
    part.update()
    assert bar.done == 3.25
    bar.part().reach(2)
    assert bar.done == 5.25


# ---- Estimators


def test_estimators_are_what_fit_makes_of_them_alone():
    rng = np.random.default_rng(5)
    X = [rng.standard_normal((t, 2)) for t in rng.integers(3, 9, 12)]
    y, labels = [x[:, 0] + x[:, 1] ** 2 for x in X], np.array(["a", "b", "c"] * 4)
    weight = rng.random(12)
    for make, target in ((lambda k: RNNRegressor(2 + k % 2, random_state=k, max_iter=6, early_stopping=k > 3, l2=1e-3 * k,
                                                 validation_fraction=0.3, learning_rate_init=0.01 * (k + 1)), y),
                         (lambda k: RNNClassifier(3, random_state=k, max_iter=3, output=("sequence", "last")[k % 2]), None)):
        models, alone = [make(k) for k in range(6)], [make(k) for k in range(6)]
        targets = [target] * 6 if target else [[np.full(len(x), label) for x, label in zip(X, labels)] if k % 2 == 0 else
                                               labels for k in range(6)]
        weights = weight if target else None
        fits = fit_many(models, X if target else [X] * 6, target if target else targets, weights=weights)
        for k, right in enumerate(alone):
            right.fit(X, targets[k], weights)
            assert_same(models[k].network_, right.network_, k)
            np.testing.assert_allclose(models[k].loss_curve_, right.loss_curve_, rtol=1e-8)
            np.testing.assert_allclose(models[k].validation_loss_curve_, right.validation_loss_curve_, rtol=1e-8)
            assert models[k].n_iter_ == right.n_iter_ and models[k].history_.stopped == right.history_.stopped
            np.testing.assert_allclose(models[k].score(X, targets[k]), right.score(X, targets[k]), rtol=1e-6)
            found = fits.history(k)  # when all are known
            assert (found.train_loss, found.validation_loss) == (models[k].loss_curve_, models[k].validation_loss_curve_)
        assert fits.networks[0] is models[0]
        if target:
            assert fits.lanes.all() == bool(_population.lanes("float64"))


@pytest.mark.thorough
def test_cross_validation_is_that_of_grid_search():
    model_selection = pytest.importorskip("sklearn.model_selection")
    rng = np.random.default_rng(6)
    X = rng.standard_normal((23, 5, 2))
    labels = rng.permutation(np.repeat(["x", "y", "z"], [12, 7, 4]))
    grid = [{"hidden_size": [2, 3], "l2": [0.0, 0.1]}, {"learning_rate_init": [1e-2]}]
    own = RNNRegressor(3, max_iter=4, random_state=0)
    cases = [(own, X, X[..., 0], 3), (RNNClassifier(3, max_iter=4, random_state=0), X, labels, 4),
             (own, X, X[..., 0], model_selection.ShuffleSplit(2, random_state=0)),
             (own, X, X[..., 0], [(np.arange(10), np.arange(10, 23)), (np.arange(5, 23), np.arange(5))])]
    for model, inputs, y, cv in cases:
        found = cross_validate(model, inputs, y, grid, cv=cv)
        search = model_selection.GridSearchCV(model, grid, cv=cv, refit=False).fit(inputs, y)
        right = search.cv_results_
        assert found["params"] == right["params"] and found.best_params == search.best_params_
        missing = {name for name in right if name not in found}
        assert missing <= {"mean_score_time", "std_score_time"}
        for name in right:
            if name.endswith("test_score"):
                np.testing.assert_allclose(found[name], right[name], rtol=1e-7, atol=1e-9)
            elif name.startswith("param_"):
                assert found[name].tolist() == right[name].tolist()
        assert not hasattr(model, "network_")


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_labels_are_dealt_as_scikit_learn_deals_them():
    StratifiedKFold = pytest.importorskip("sklearn.model_selection").StratifiedKFold
    rng = np.random.default_rng(11)
    for draw in range(40):
        y = rng.choice(np.array(["d", "a", "c", "b"]), rng.integers(12, 40), p=[0.4, 0.3, 0.2, 0.1])
        k = int(rng.integers(2, 4))
        fold = _folds._stratified_folds(y, k)
        for i, (_, test) in enumerate(StratifiedKFold(k).split(y, y)):
            assert np.array_equal(np.flatnonzero(fold == i), test)


def test_seeds_repeat_each_fold():
    X = np.random.default_rng(7).standard_normal((8, 5, 1))
    model = RNNRegressor(2, max_iter=3, dtype="float64")
    found = cross_validate(model, X, X[..., 0], {"l2": [0.0, 0.01]}, cv=2, seeds=[3, 5],
                           scoring=lambda each, X, y: -np.square(each.predict(X) - y).mean())
    assert found.scores.shape == (2, 2, 2) and len(found.fits) == 8
    for c, l2 in enumerate((0.0, 0.01)):
        for s, seed in enumerate((3, 5)):
            for f, test in enumerate((np.arange(4), np.arange(4, 8))):
                train = np.setdiff1d(np.arange(8), test)
                right = RNNRegressor(2, max_iter=3, dtype="float64", l2=l2, random_state=seed).fit(X[train], X[train, :, 0])
                score = -np.square(right.predict(X[test]) - X[test, :, 0]).mean()
                np.testing.assert_allclose(found.scores[c, s, f], score, rtol=1e-8)
    np.testing.assert_allclose(found["split1_test_score"], found.scores[:, :, 1].mean(axis=1))
    np.testing.assert_allclose(found["std_test_score"], found.scores.reshape(2, -1).std(axis=1))


# ---- Executors, failures, what is resumed


@pytest.mark.share(3)
@pytest.mark.parametrize("chunk_size", [None, 1, 5])
def test_threads_give_the_same_bits(chunk_size):
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        check_executor(executor, chunk_size=chunk_size)


def die(size, rng):
    os._exit(1)


def batch(size, rng):
    return rng.standard_normal((4, size, 2)), np.ones((4, size, 1))


@pytest.mark.thorough
def test_processes_give_the_same_bits_and_a_dead_one_is_reported_with_its_network():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        check_executor(executor)
    nets = networks(8)
    before = [net.theta for net in nets]
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        with pytest.raises(many.WorkersFailed, match="network 0: BrokenProcessPool") as failed:
            fit_many(nets, batches=die, epochs=1, updates_per_epoch=1, executor=executor)
    fits = failed.value.fits
    assert fits.stopped == ["error"] * 8 and len(fits.errors) == 8
    assert pickle.loads(pickle.dumps(failed.value)).fits.stopped == fits.stopped
    assert all(np.array_equal(net.theta, old) for net, old in zip(nets, before))
    right = networks(8)
    fit_many(right, batches=batch, epochs=1, updates_per_epoch=1)
    fit_many(nets, batches=batch, epochs=1, updates_per_epoch=1, resume=fits)
    assert all(np.array_equal(a.theta, b.theta) for a, b in zip(nets, right))


class Once(Exception):
    pass


class Fragile(concurrent.futures.ThreadPoolExecutor):
    """Fails the second chunk that it is given."""

    count = 0

    def submit(self, function, *arguments):
        self.count += 1
        if self.count == 2:
            raise Once("no room")
        return super().submit(function, *arguments)


@pytest.mark.quick
def test_the_rest_is_kept_and_resume_goes_on_with_what_failed(tmp_path):
    rng = np.random.default_rng(9)
    X, D = series(rng, 24)
    right, nets, path = networks(), networks(), tmp_path / "many.npz"
    fit_many(right, X, D, epochs=3)
    with Fragile(2) as executor, pytest.raises(many.WorkersFailed, match="Once: no room") as failed:
        fit_many(nets, X, D, epochs=3, executor=executor, chunk_size=4, checkpoint=path)
    fits, before = failed.value.fits, networks()
    lost = [k for k, error in enumerate(fits.errors) if error is not None]
    assert 0 < len(lost) <= 4 and isinstance(fits.errors[lost[0]], Once)
    for k in range(24):
        assert np.array_equal(nets[k].theta, (before if k in lost else right)[k].theta)
    copies = pickle.loads(pickle.dumps(nets))
    trained = []
    with pytest.MonkeyPatch.context() as patch:
        work = _call._train_chunk
        patch.setattr(_call, "_train_chunk",
                      lambda what, *rest: trained.extend(job.k for job in what.jobs) or work(what, *rest))
        whole = fit_many(copies, X, D, epochs=3, resume=fits)
        assert sorted(trained) == lost and whole.stopped == ["epochs"] * 24 and whole.errors == [None] * 24
        trained.clear()
        anew = networks()  # as a program that is started again has them
        other = fit_many(anew, X, D, epochs=3, checkpoint=path, resume=True)
        assert sorted(trained) == lost
        fit_many(networks(), X, D, epochs=3, checkpoint=path, resume=True)
        assert sorted(trained) == lost  # all had ended
    for k in range(24):
        assert np.array_equal(copies[k].theta, right[k].theta) and np.array_equal(anew[k].theta, right[k].theta)
    np.testing.assert_array_equal(other.train_loss, whole.train_loss)
    with pytest.raises(ValueError, match="no checkpoint of these networks: it holds 24 networks, not 8"):
        fit_many(networks(8), X[:8], D[:8], checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="resume must hold 8 networks, as this call has, got 24"):
        fit_many(networks(8), X[:8], D[:8], resume=whole)


# What differs from the run that ended: options of the networks, arguments of fit_many, words of the error
OTHER_RUNS = {
    "data": ({}, {"X": 1}, "data is"),
    "targets": ({}, {"D": 1}, "data is"),
    "weights": ({}, {"weights": np.full((4, 3), 2.0)}, "data is"),
    "validation": ({}, {"validation": (np.ones((4, 2, 2)), np.ones((4, 2, 1)))}, "validation is None there"),
    "rate": ({}, {"learning_rate": 0.1}, "optimizer is 'Adam(learning_rate=0.001"),
    "rates": ({}, {"learning_rate": [0.1, 0.2, 0.3]}, "optimizer is 'Adam(learning_rate=0.001"),
    "optimizer": ({}, {"optimizer": "sgd", "learning_rate": 1e-3}, "optimizer is 'Adam"),
    "schedule": ({}, {"schedule": "cosine"}, "schedule is 'Constant()'"),
    "norm": ({}, {"max_grad_norm": 1.0}, "max_grad_norm is None there and 1.0 here"),
    "batch_size": ({}, {"batch_size": 2}, "batch_size is 32 there and 2 here"),
    "epochs": ({}, {"epochs": 4}, "epochs is 3 there and 4 here"),
    "updates": ({}, {"updates": 2}, "updates is None there and 2 here"),
    "shuffle": ({}, {"shuffle": False}, "shuffle is True there and False here"),
    "tbptt": ({}, {"tbptt": (2, 2)}, "tbptt is None there and [2, 2] here"),
    "seeds of fit_many": ({}, {"random_state": [0, 7, 2]}, "network 1: random_state is 1 there and 7 here"),
    "seeds": ({"seeds": (5, 6, 7)}, {}, "network 0: random_state is 0 there and 5 here"),
    "parameters": ({"initializer": "normal"}, {}, "network 0, which began with other parameters"),
    "activation": ({"activation": "relu"}, {}, "activation is 'tanh' there and 'relu' here"),
    "penalty": ({"l2": 0.1}, {}, "l2 is 0.0 there and 0.1 here"),
}


def three(seeds=(0, 1, 2), **options):
    return [RNN(2, 3, 1, random_state=seed, **options) for seed in seeds]


@pytest.mark.parametrize("name", OTHER_RUNS)
def test_what_other_runs_ended_with_is_neither_taken_over_nor_replaced(name, tmp_path):
    options, arguments, words = OTHER_RUNS[name]
    rng, path = np.random.default_rng(0), tmp_path / "fits.npz"
    given = {"X": rng.standard_normal((4, 3, 2)), "D": rng.standard_normal((4, 3, 1)), "epochs": 3}
    fits = fit_many(three(), **given, checkpoint=path)
    other = given | {key: given[key] + value if key in "XD" else value for key, value in arguments.items()}
    nets, content = three(**options), path.read_bytes()
    before = [net.theta for net in nets]
    for more, error in (({"checkpoint": path, "resume": True}, ValueError), ({"resume": fits}, ValueError),
                        ({"checkpoint": path}, FileExistsError)):
        with pytest.raises(error) as caught:
            fit_many(nets, **other, **more)
        expected = "is not replaced: give checkpoint= another path, or overwrite=True" if error is FileExistsError else words
        assert expected in str(caught.value) and ("resume" if more.get("resume") is fits else "fits.npz") in str(caught.value)
        assert all(np.array_equal(net.theta, theta) for net, theta in zip(nets, before)) and path.read_bytes() == content
    fit_many(nets, **other, checkpoint=path, overwrite=True)
    assert path.read_bytes() != content


@pytest.mark.share(2)
@pytest.mark.parametrize("seed", [0, None])
def test_estimators_take_over_the_fits_of_the_same_estimators_alone(seed):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 5, 2)), rng.standard_normal((8, 5))
    one = RNNRegressor(3, max_iter=2, tol=1e-4, n_iter_no_change=3, random_state=seed)
    table = cross_validate(one, X, y, {"l2": [0.0, 0.1]}, cv=2)
    again = cross_validate(one, X, y, {"l2": [0.0, 0.1]}, cv=2, resume=table.fits)
    np.testing.assert_array_equal(again.scores, table.scores)
    for other, data, words in ((one, (X + 1, y), "data is"), (one, (X, y - 1), "data is"),
                               (RNNRegressor(3, max_iter=3, random_state=seed), (X, y), "epochs is 2 there and 3 here"),
                               (RNNRegressor(3, max_iter=2, activation="sigmoid", random_state=seed), (X, y), "activation is"),
                               (RNNRegressor(3, max_iter=2, tol=1e-4, n_iter_no_change=4, random_state=seed), (X, y),
                                "callbacks is ['_Patience(3, 0.0001)'] there and ['_Patience(4, 0.0001)'] here"),
                               (RNNRegressor(3, max_iter=2, random_state=5), (X, y), "random_state is")):
        with pytest.raises(ValueError, match="resume is of another run of network 0") as caught:
            cross_validate(other, *data, {"l2": [0.0, 0.1]}, cv=2, resume=table.fits)
        assert words in str(caught.value)


def test_networks_without_seeds_that_have_ended_are_known_by_their_own_validation_share(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "fits.npz"
    X, y = rng.standard_normal((12, 5, 2)), rng.standard_normal((12, 5))
    models = [RNNRegressor(3, max_iter=3, early_stopping=True, validation_fraction=0.3) for _ in range(3)]
    fits = fit_many(models, X, y)
    thetas = [each.network_.theta for each in models]
    for others in (models, [RNNRegressor(3, max_iter=3, early_stopping=True, validation_fraction=0.3) for _ in range(3)]):
        again = fit_many(others, X, y, resume=fits)
        assert all(np.array_equal(each.network_.theta, theta) for each, theta in zip(others, thetas))
        np.testing.assert_array_equal(again.validation_loss, fits.validation_loss)
        assert [each.network_._entropy for each in others] == [each.network_._entropy for each in models]
    with pytest.raises(ValueError, match="of another run of network 0: data is"):
        fit_many(models, X + 1, y, resume=fits)

    given = {"X": X.transpose(1, 0, 2), "D": y.T[..., None], "epochs": 3, "validation": 0.3, "checkpoint": path}
    nets, again = three((None, None, None)), three((None, None, None))
    with Fragile(1) as executor, pytest.raises(many.WorkersFailed):
        fit_many(nets, **given, executor=executor, chunk_size=1)
    assert fit_many(again, **given, resume=True).stopped == ["epochs"] * 3
    taken = [(a, b) for a, b in zip(nets, again) if np.array_equal(a.theta, b.theta)]
    assert len(taken) >= 1
    for a, b in taken:  # also in what comes after: the share, the orders
        shared = {**given, "checkpoint": None}
        fit_many([a], **shared)
        fit_many([b], **shared)
        assert np.array_equal(a.theta, b.theta) and a.stream_positions == b.stream_positions


def test_fits_that_are_resumed_do_not_add_to_the_curves_of_warm_starts_again():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 5, 2)), rng.standard_normal((8, 5))
    models = [RNNRegressor(3, max_iter=3, warm_start=True, early_stopping=True, random_state=k) for k in range(3)]
    fit_many(models, X, y)
    before = pickle.loads(pickle.dumps(models))
    fits = fit_many(models, X, y)  # goes on
    curves = [(each.loss_curve_, each.validation_loss_curve_, each.n_iter_) for each in models]
    assert [each[2] for each in curves] == [6, 6, 6]
    for others in (models, models, before, before):  # the latter do not have the second run's curves yet
        fit_many(others, X, y, resume=fits)
        assert [(each.loss_curve_, each.validation_loss_curve_, each.n_iter_) for each in others] == curves
    fit_many(models, X, y)
    assert [each.n_iter_ for each in models] == [9, 9, 9]


def no_better(n, **options):
    """Estimators that learn nothing from these X, y, and so warn."""
    rng = np.random.default_rng(0)
    return ([RNNRegressor(3, max_iter=1, learning_rate_init=1e-9, random_state=k, **options) for k in range(n)],
            rng.standard_normal((6, 5, 2)), rng.standard_normal((6, 5)) + 100)


@pytest.mark.parametrize("chunk_size", [None, 1])
def test_a_warning_that_is_an_error_leaves_all_estimators_trained(chunk_size):
    models, X, y = no_better(4, scale=None)
    alone, *_ = no_better(4, scale=None)
    with pytest.warns(UserWarning, match="no better than a constant") as caught:
        fit_many(alone, X, y)
    assert {each.filename for each in caught} == {__file__}
    with pytest.warns(UserWarning, match="no better than a constant") as caught:
        cross_validate(alone[0], X, y, cv=2)
    assert {each.filename for each in caught} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="no better than a constant"):
            fit_many(models, X, y, chunk_size=chunk_size)
    for model, right in zip(models, alone):
        assert model.loss_curve_ == right.loss_curve_ and np.array_equal(model.network_.theta, right.network_.theta)


def test_the_same_runs_are_taken_over_and_replaced(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "fits.npz"
    given = {"X": rng.standard_normal((4, 3, 2)), "D": rng.standard_normal((4, 3, 1)), "epochs": 3,
             "learning_rate": [1e-3, 1e-2, 1e-1], "schedule": "cosine", "shuffle": "spread", "batch_size": 2}
    first = three()
    fits = fit_many(first, **given, checkpoint=path)
    near = three()
    near[0].theta = np.nextafter(near[0].theta, np.float32(2))  # as another machine's LAPACK may round
    for nets, more in ((three(), {"resume": True}), (near, {"resume": True}), (three(), {}), (first, {"resume": True}),
                       (first, {"resume": fits}), (three(), {"resume": fits})):
        again = fit_many(nets, **given, checkpoint=path, **more)
        assert again.stopped == ["epochs"] * 3 and np.array_equal(again.train_loss, fits.train_loss)
        assert all(np.array_equal(a.theta, b.theta) for a, b in zip(nets, first))


def test_many_networks_that_got_their_start_parameters_back_begin_other_runs(tmp_path):
    rng, path, nets = np.random.default_rng(0), tmp_path / "fits.npz", three()
    given = {"X": rng.standard_normal((4, 9, 2)), "D": rng.standard_normal((4, 9, 1)), "epochs": 3, "batch_size": 2,
             "checkpoint": path}
    fit_many(nets, **given)
    for net, new in zip(nets, three()):
        net.theta = new.theta
    content, before = path.read_bytes(), [net.stream_positions for net in nets]
    for more, error in (({"resume": True}, ValueError), ({}, FileExistsError)):
        with pytest.raises(error, match="of (another run of network 0, which|other runs)"):
            fit_many(nets, **given, **more)
        assert path.read_bytes() == content and [net.stream_positions for net in nets] == before
    fit_many(nets, **given, random_state=[0, 1, 2], resume=True)  # from the beginning of the streams, as in the file
    header, arrays = _files.read(path)
    assert [begin["shuffling"] for begin in header["begins"]] == [0, 0, 0]
    del header["begins"]  # as in files of an earlier version
    _files.write(path, header, arrays)
    for more in ({"resume": True}, {}):
        for net, new in zip(nets, three()):
            net.theta = new.theta
        fit_many(nets, **given, **more)


def test_networks_without_seeds_go_on_with_runs_that_were_cut_off_alone(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "fits.npz"
    given = {"X": rng.standard_normal((4, 3, 2)), "D": rng.standard_normal((4, 3, 1)), "epochs": 3, "checkpoint": path}
    nets = three((None, None, None))
    with Fragile(1) as executor, pytest.raises(many.WorkersFailed):
        fit_many(nets, **given, executor=executor, chunk_size=1)
    again = three((None, None, None))
    fits = fit_many(again, **given, resume=True)
    assert fits.stopped == ["epochs"] * 3
    assert sum(np.array_equal(a.theta, b.theta) for a, b in zip(nets, again)) >= 1
    with pytest.raises(ValueError, match="of finished runs, and network 0 began with other parameters"):
        fit_many(three((None, None, None)), **given, resume=True)
    with pytest.raises(FileExistsError):
        fit_many(three((None, None, None)), **given)


def test_a_checkpoint_of_an_earlier_version_is_resumed_with_a_warning(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "fits.npz"
    given = {"X": rng.standard_normal((4, 3, 2)), "D": rng.standard_normal((4, 3, 1)), "epochs": 3, "checkpoint": path}
    first, again = three(), three()
    fit_many(first, **given)
    header, arrays = _files.read(path)
    for name in ("runs", "run", "seeds"):
        del header[name]
    del arrays["start"]
    _files.write(path, header, arrays)
    with pytest.raises(FileExistsError, match="of other runs"):
        fit_many(again, **given)
    with pytest.warns(UserWarning, match="written by an earlier version") as caught:
        fit_many(again, **given, resume=True)
    assert caught[0].filename == __file__
    assert all(np.array_equal(a.theta, b.theta) for a, b in zip(first, again))


@pytest.mark.parametrize(("change", "words"), [
    ({"runs": ["[" * 100_000] * 3}, "no checkpoint"), ({"run": [0, 9, 0]}, "no checkpoint"),
    ({"seeds": [1]}, "do not belong together"), ({"runs": ["x"] * 3}, "no checkpoint"),
    ({"runs": 5}, "no checkpoint")])
def test_a_damaged_checkpoint_of_many_is_refused(change, words, tmp_path):
    path, given = tmp_path / "fits.npz", {"X": np.ones((4, 3, 2)), "D": np.ones((4, 3, 1)), "epochs": 3}
    fit_many(three(), **given, checkpoint=path)
    header, arrays = _files.read(path)
    _files.write(path, header | change, arrays)
    with pytest.raises(ValueError, match=words):
        fit_many(three(), **given, checkpoint=path, resume=True)


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "a model", "a run"])
def test_many_networks_replace_no_foreign_file(content, tmp_path):
    path, given = tmp_path / "fits.npz", {"X": np.ones((4, 3, 2)), "D": np.ones((4, 3, 1)), "epochs": 3}
    if content == "a model":
        three()[0].save(path)
    elif content == "a run":
        three()[0].fit(**given, checkpoint=path)
    else:
        path.write_text(content)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="checkpoint '.*fits.npz.*overwrite=True"):
        fit_many(three(), **given, checkpoint=path)
    assert path.read_bytes() == before
    path.write_bytes(b"")
    fit_many(three(), **given, checkpoint=path)
    for more, words in (({"overwrite": True}, "requires checkpoint="),
                        ({"overwrite": True, "resume": True, "checkpoint": path}, "give one of them")):
        with pytest.raises(ValueError, match=words):
            fit_many(three(), **given, **more)


def test_an_interrupt_leaves_whole_networks():
    class Stop(optimizers.Optimizer):
        def update(self, theta, *rest):
            count.append(0)
            if len(count) > 5:
                raise KeyboardInterrupt
            theta += 1

    count, nets, before = [], networks(8), networks(8)
    X = np.zeros((3, 1, 2))
    with pytest.raises(KeyboardInterrupt):
        fit_many(nets, X, X[..., :1], epochs=3, optimizer=Stop())
    moved = [net.theta - old.theta for net, old in zip(nets, before)]
    assert sorted(round(each.max()) for each in moved)[-2:] == [2, 3] and sum(each.any() for each in moved) == 2


@pytest.mark.thorough
def test_chunks_are_large_enough_and_hold_whole_vectors():
    needs_lanes()
    L, X = _population.lanes("float64"), np.zeros((50, 1, 2))
    nets = [RNN(2, 3, 1, random_state=0, dtype="float64") for _ in range(40 * L)]

    def sizes(epochs, workers):
        jobs = _jobs.Jobs(nets, _jobs.GivenData(X, X[..., :1]), dict.fromkeys(many.NAMED) | {
            "epochs": epochs, "batch_size": 32, "optimizer": "adam", "min_improvement": 0.0, "shuffle": True}, {}).make()
        return [len(chunk.jobs) for chunk in _chunks._divide_into_chunks(jobs, workers, None, 1)]

    assert sizes(1, 4) == [40 * L]                      # less work than shipping
    many_chunks = sizes(100_000, 4)
    assert 12 <= len(many_chunks) <= 16 and all(size % L == 0 for size in many_chunks)
    assert sizes(100_000, None) == [40 * L]             # here


# ---- Other people's executors: where they are installed, and all tests are asked for

ALL = pytest.mark.skipif(os.environ.get("FASTBPTT_TESTS") != "all", reason="starts workers: FASTBPTT_TESTS is not all")


@ALL
def test_loky():
    loky = pytest.importorskip("loky")
    executor = loky.get_reusable_executor(2)
    try:
        check_executor(executor)
    finally:
        executor.shutdown()


@ALL
def test_dask():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            check_executor(client.get_executor())


MPI = """
import sys
sys.path.insert(0, {support!r})
from many_networks import check_executor
from mpi4py.futures import MPIPoolExecutor
if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        check_executor(executor)
        assert executor.num_workers == 2
    print("the same bits")
"""


@ALL
def test_mpi(tmp_path):
    pytest.importorskip("mpi4py")
    import shutil
    import subprocess
    import sys
    from pathlib import Path

    mpiexec = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if mpiexec is None:
        pytest.skip("no mpiexec")
    script = tmp_path / "many_mpi.py"
    script.write_text(MPI.format(support=str(SUPPORT)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([mpiexec, "-n", "3", sys.executable, "-P", "-m", "mpi4py.futures", str(script)], capture_output=True,
                          text=True, timeout=300, env=environment)
    assert done.returncode == 0 and "the same bits" in done.stdout, done.stderr[-3000:]


@ALL
@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_grid_search_under_joblib(backend):
    joblib = pytest.importorskip("joblib")
    model_selection = pytest.importorskip("sklearn.model_selection")
    X = np.random.default_rng(10).standard_normal((12, 5, 1))
    search = model_selection.GridSearchCV(RNNRegressor(3, max_iter=3, random_state=0), {"l2": [0.0, 0.1]}, cv=2, n_jobs=2)

    def scores():
        return search.fit(X, X[..., 0]).cv_results_["mean_test_score"]

    with joblib.parallel_backend("sequential"):
        right = scores()
    if backend == "loky":
        with joblib.parallel_backend("loky", n_jobs=2):
            assert np.array_equal(scores(), right)
        return
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with distributed.Client(cluster), joblib.parallel_backend("dask"):
            assert np.array_equal(scores(), right)


@pytest.mark.thorough
def test_a_script_without_a_guard_or_scikit_learn_can_use_both():
    script = """
import sys
sys.modules["sklearn"] = None
import numpy as np, fastbptt
X = np.random.default_rng(0).standard_normal((6, 5, 1))
table = fastbptt.cross_validate(fastbptt.RNNRegressor(2, max_iter=2, random_state=0), X, X[..., 0], {"l2": [0.0, 1.0]}, cv=2)
print(len(table["params"]), table["rank_test_score"].tolist())
"""
    done = run_python(script)
    assert done.returncode == 0 and done.stdout.startswith("2 ["), done.stderr


def test_each_estimator_may_have_its_own_list_of_frames():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = [pandas.DataFrame(rng.standard_normal((n, 2)), columns=["a", "b"]) for n in (6, 8)]
    D = [frame[["a"]] for frame in X]
    models = [RNNRegressor(hidden_size=2, max_iter=1, random_state=k) for k in range(2)]
    fit_many(models, [X] * 2, [D] * 2)
    for k, model in enumerate(models):
        alone = RNNRegressor(hidden_size=2, max_iter=1, random_state=k).fit(X, D)
        np.testing.assert_allclose(model.network_.theta, alone.network_.theta, rtol=0, atol=1e-12)
        assert list(model.feature_names_in_) == ["a", "b"]


def test_fits_that_earlier_versions_pickled_are_read():
    X = np.random.default_rng(0).standard_normal((9, 2, 2))
    nets = [RNN(2, 3, 1, random_state=k) for k in range(2)]
    fits = fit_many(nets, X, X[..., :1], epochs=2)
    content = pickle.dumps(fits, protocol=0)
    old = content.replace(b"fastbptt._many.begun\nBegun\n", b"fastbptt.many\n_Begun\n")  # the name that the class had
    assert old != content
    again = pickle.loads(old)
    assert fit_many(again.networks, X, X[..., :1], epochs=2, resume=again).stopped == ["epochs"] * 2
