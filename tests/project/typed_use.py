"""A user's program with types. It runs, and `mypy --strict` accepts it, which tests/support/packages.py checks."""

import concurrent.futures
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fastbptt
from fastbptt import datasets, diagnostics, optimizers, reference, schedules, sequences, training

Array = NDArray[np.float64]


def train(X: Array, D: Array, hidden_size: int) -> float:
    """Return the loss after a short training with a save and a load in between."""
    net = fastbptt.RNN(X.shape[2], hidden_size, D.shape[2], activation="tanh", random_state=0)
    history: fastbptt.History = net.fit(X, D, epochs=5, learning_rate=1e-2)
    losses: list[float] = history.train_loss
    assert len(losses) == 5
    Y, state = net.forward(X)
    assert Y.shape == D.shape and state.shape == (X.shape[1], hidden_size)
    loss, gradients = net.loss_and_gradients(X, D, weights=np.ones(X.shape[:2]))
    size: int = sum(gradient.size for gradient in gradients.values())
    assert size == net.theta.size
    with tempfile.TemporaryDirectory() as folder:
        net.save(f"{folder}/net.npz")
        again = fastbptt.load(Path(folder) / "net.npz")
    assert isinstance(again, fastbptt.RNN)
    return loss


def options(I: int, O: int) -> list[fastbptt.RNN]:  # noqa: E741
    """Return networks with options of every kind."""

    def start(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return 0.1 * rng.standard_normal(shape)

    rng = np.random.default_rng(0)
    return [
        fastbptt.RNN(I, 8, O, activation="relu", output_activation="sigmoid", loss="binary_cross_entropy",
                     reduction="sum", dtype=np.float64, bias=False, learn_initial_state=True, output="last",
                     random_state=rng),
        fastbptt.RNN(I, (4, 6), O, loss=("huber", 0.5), initializer="torch", bidirectional=True, dtype="float64"),
        fastbptt.RNN(I, 8, 3 * O, loss=("quantile", (0.1, 0.5, 0.9)), initializer=("spectral_radius", 1.2), l1=1e-5,
                     l2={"W_s": 1e-4}, rate_penalty=1e-3, omega=0.1),
        fastbptt.RNN(I, 8, O, initializer={"W_s": ("identity", 0.5), "W_x": start, "b_s": np.zeros(8)},
                     connectivity={"W_s": rng.random((8, 8)) < 0.5}, trainable={"W_x": False}, dale_ratio=0.8,
                     nonnegative=("W_x", "W_y"), autapses=False),
        fastbptt.RNN(I, np.int64(8), O, initializer=start, dale_signs=[1, 1, 1, 1, 1, 1, -1, -1], dt=20, tau=100,
                     leak_form="current", noise_std=0.1, input_noise_std=0.01, recurrent_dropout=0.2),
    ]


def compute(net: fastbptt.RNN, X: Array, D: Array) -> None:
    """Call every method that computes without training."""
    T, B = X.shape[:2]
    lengths, resets = np.full(B, T), np.zeros((T, B), bool)
    Y, state, run = net.forward(X, np.zeros((B, 8)), lengths=lengths, resets=resets, return_states=True, n_threads=1)
    S = run.S
    y, state = net.step(X[0], state)
    y, state = net.step(X[1].tolist(), state, out=(y, state))
    made = net.generate(3, prefix=X, feed=lambda y, rng: rng.standard_normal((len(y), X.shape[2])), random_state=1)
    assert made.shape == (3, *Y.shape[1:])
    each: np.ndarray = net.losses(X, D, lengths=[T] * B, noise=True, dropout=7)
    each = net.losses(X, D, weights=np.ones((T, B)))
    mean: float = net.evaluate(X, D, weights=np.ones((T, B)), backend="reference")
    loss, gradients = net.loss_and_gradients(X, D, tbptt=(4, 8), input_gradient=True, initial_state_gradient=True)
    loss, gradients = net.loss_and_gradients(X, D, memory_limit="auto", resets=resets)
    gradients = net.backward(X, 2 * (Y - D), memory_limit=2**20)
    terms = net.gradient_terms(X, D, -1)
    size: int = net.memory_estimate(T, B, weights="step", tbptt=(4, 8))
    assert mean > 0 and size > 0 and len(each) == T and len(terms["W_s"]) == T
    check: diagnostics.GradientCheck = net.gradcheck(X, D, entries=5, random_state=0)
    assert check.passed, check.describe()
    loss, gradient = net.objective(X, D)(net.theta)
    net.theta = net.theta - 1e-3 * gradient
    net.parameters["b_s"] = np.zeros(8)
    net.load_state_dict(net.copy().state_dict() | {"b_s": [0.0] * 8})
    again = fastbptt.RNN.from_torch(net.to_torch(), activation="tanh")
    assert again.input_size == net.input_size and net.effective_parameters().keys() == net.parameters.keys()


def look(net: fastbptt.RNN, X: Array, D: Array) -> str:
    """Call the diagnostics of gradients and fixed points."""
    flow = diagnostics.gradient_flow(net, X, D, t=-1, weights=np.ones(X.shape[:2]), sequences=2)
    states: np.ndarray = diagnostics.states(net, X, lengths=[len(X)] * X.shape[1]).S
    points = diagnostics.fixed_points(net, np.zeros(X.shape[2]), states.reshape(-1, 8)[::9], max_speed=1e-8,
                                      distance=1e-3)
    J: np.ndarray = diagnostics.jacobian(net, states[0], X[0])
    assert J.shape == (X.shape[1], 8, 8) and diagnostics.spectrum(net).spectral_radius > 0
    return f"{flow.verdict}, {flow.factor:.3f}; {points.describe().splitlines()[0]}"


@dataclass(frozen=True)
class Signs(optimizers.Optimizer):
    """A user-defined optimiser."""

    def update(self, theta: np.ndarray, gradient: np.ndarray, slots: list[np.ndarray], count: int,
               learning_rate: float) -> None:
        theta -= learning_rate * np.sign(gradient)


def ends(record: training.Record) -> bool:
    return record.epoch == 3


def train_in_every_way(net: fastbptt.RNN, X: Array, D: Array, folder: str) -> None:

    def fresh(batch_size: int, rng: np.random.Generator) -> tuple[Array, Array]:
        return rng.random((5, batch_size, X.shape[2])), rng.random((5, batch_size, D.shape[2]))

    net.fit(X, D, validation=(X, D), epochs=2, batch_size=2, optimizer=optimizers.SGD(1e-2, momentum=0.9),
            schedule="cosine", max_grad_norm=1.0, patience=5, callbacks=ends, progress=False,
            checkpoint=Path(folder) / "run.npz", on_nonfinite="skip")
    net.fit(X, D, validation=0.25, optimizer=Signs(1e-3), schedule=schedules.Step(every=2), epochs=1, updates=9,
            callbacks=[ends, print_nothing], random_state=np.random.default_rng(1), time_limit=60)
    net.fit(X, D, epochs=1, tbptt=(3, 6), schedule=lambda epoch: 0.9**epoch, shuffle=False, n_threads=1)
    net.fit(batches=fresh, updates=3, batch_size=4, update_callbacks=ends)
    net.fit(batches=lambda batch_size, rng: fresh(batch_size, rng), updates=2)
    net.fit(batches=iter([(X, D), (X, D, None)]), updates=2)
    loss: float = net.train_step(X, D, "adamw", learning_rate=1e-3, max_grad_norm=1.0)
    assert np.isfinite(loss)
    net.stream(X, D, tbptt=(4, 4), optimizer="rmsprop", callback=ends, progress=False)
    rows: dict[str, Array] = net.fit(X, D, epochs=1).rows()
    positions: dict[str, int] = net.stream_positions
    net.stream_positions = {name: 0 for name in positions}
    assert len(rows["epoch"]) == 1
    net.stream(((X[n:n + 2], D[n:n + 2]) for n in range(0, 8, 2)), tbptt=(4, 4), learning_rate=1e-4)


def print_nothing(record: training.Record) -> None:
    assert record.network is not None


def train_many(X: Array, D: Array, series: Array) -> None:
    """Use populations, fits of networks of any shape, and cross-validation."""
    population = fastbptt.Population(3, X.shape[2], 4, D.shape[2], random_state=[1, 2, 3],
                                     l2=[0.0, 1e-4, {"W_s": 1e-3}], activation="tanh")
    history: fastbptt.PopulationHistory = population.fit(
        X, [D, 2 * D, 3 * D], epochs=2, learning_rate=[1e-3, 1e-2, 1e-1], validation=(X, D),
        callbacks=lambda epoch, population: epoch > 5)
    Y, states = population.forward(X)
    errors: np.ndarray = population.evaluate(X, D, lengths=np.full(X.shape[1], len(X)))
    losses, gradients = population.loss_and_gradients(X, D, weights=np.ones(X.shape[:2]), n_threads=1)
    assert errors.shape == losses.shape == (3,) and population.losses(X, D).shape[0] == len(Y) == len(population)
    assert list(history.rows()["network"]) == [0, 1, 2] and population[0].theta.shape == population.theta.shape[1:]
    again = fastbptt.Population.from_networks(net.copy() for net in population)
    again.theta = np.zeros_like(again.theta)

    nets = [fastbptt.RNN(X.shape[2], H, D.shape[2], random_state=H) for H in (2, 4)]
    fits = fastbptt.fit_many(nets, X, D, epochs=1, learning_rate=[1e-2, 1e-3], validation=0.25, random_state=[0, 1])
    fits = fastbptt.fit_many(nets, [X, X[:5]], [D, D[:5]], epochs=1, tbptt=(4, 4), progress=False)
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        fits = fastbptt.fit_many(nets, X, D, epochs=1, executor=executor, chunk_size=1)
    assert fits.history(0).train_loss and fits.rows()["stopped"] == ["epochs", "epochs"], fits.describe()

    pairs, targets = sequences.forecast_pairs(series, 1)
    found = fastbptt.cross_validate(
        fastbptt.RNNRegressor(4, max_iter=1, random_state=0), pairs, targets,
        {"hidden_size": [2, 4], "solver": ["adam", optimizers.SGD(0.1)]}, cv=2, seeds=[0, 1],
        scoring=lambda model, X, y: float(model.score(X, y)))
    judged = fastbptt.cross_validate(fastbptt.RNNRegressor(4, max_iter=1), pairs, targets, {"l2": [0.0, 0.1]}, cv=2, nested=2,
                                     scoring="neg_mean_squared_error")
    assert judged.scores.shape == (2, 1) and judged.mean_test_score < 0
    bound = net.bind(X.astype(net.dtype), D.astype(net.dtype))
    loss: float = bound()
    assert loss >= 0 and bound.gradient.shape == net.theta.shape and set(bound.gradients) == set(net.parameters)
    fastbptt.fit_many([fastbptt.RNNRegressor(4, max_iter=1), fastbptt.RNNRegressor(2, max_iter=1)], pairs, targets)
    best: dict[str, object] = found.best_params
    assert best.keys() == {"hidden_size", "solver"}


def estimate(X: Array, y: Array) -> float:
    model = fastbptt.RNNRegressor(8, max_iter=2, random_state=0).fit(X, y)
    assert model.predict(X).shape == y.shape
    model.fit(list(X), list(y), validation=(X, y), n_threads=1, update_callbacks=print_nothing)
    model.set_params(solver=optimizers.AdamW(1e-3), learning_rate="plateau", early_stopping=True, tol=1e-4)
    model.fit(X, y, np.ones(len(X)), callbacks=[print_nothing])
    model.set_params(early_stopping=False).partial_fit(X, y, sample_weight=[1.0] * len(X))
    assert model.get_params()["hidden_size"] == 8
    model.set_params(scale=None, washout=1, min_updates=3).fit(X, y)
    other = fastbptt.RNNRegressor(8, scale="standard", washout=np.int64(1), max_iter=None, batch_size=None, activation=None)
    state = np.zeros((len(X), 8))
    assert other.fit(X, y).predict(X, initial_state=state).shape == y.shape
    return model.score(X, y, initial_state=state)


def classify(X: Array, labels: list[str]) -> NDArray[np.float64]:
    model = fastbptt.RNNClassifier((6, 4), max_iter=2, batch_size="auto", learning_rate_init=1e-2,
                                   random_state=np.random.RandomState(0), l2=1e-5, bidirectional=True, verbose=False,
                                   class_weight={"a": 1, "b": 2.5})
    model.fit(X, labels).partial_fit(X, np.array(labels), classes=["a", "b"])
    assert model.predict([x for x in X]).shape == (len(labels),) and 0 <= model.score(X, labels) <= 1
    with tempfile.TemporaryDirectory() as folder:
        model.set_params(random_state=None).save(Path(folder) / "model.npz")
    return model.predict_proba(X)


def forecast(series: Array) -> Array:
    scaler = fastbptt.SequenceScaler(per="series").set_output(transform="default")
    scaled = scaler.fit_transform(series)
    X, D = sequences.forecast_pairs(scaled, 2)
    model = fastbptt.RNNRegressor(4, horizon=2, loss=("quantile", [0.1, 0.9]), dtype="float32", max_iter=1,
                                  two_d="series")
    assert model.fit(X, D).forecast(scaled, 3).shape == (*series[:, :3].shape, 2)
    padded, lengths = sequences.to_time_major([series[0], series[1][:5]])
    assert len(sequences.to_samples(padded, lengths)[1]) == 5
    model = fastbptt.RNNRegressor(4, horizon=2, max_iter=1).fit(X, D)
    forecasts: Array = scaler.inverse_transform(model.forecast(scaled, 3))
    return forecasts


def draw() -> None:
    """Use data sets and tasks."""
    series, dates = datasets.load_sunspots(return_dates=True)
    utterances, speakers = datasets.load_japanese_vowels("test")
    assert series.shape == (1, len(dates), 1) and len(utterances) == len(speakers)
    assert datasets.load_airline_passengers().ndim == 3
    rng = np.random.default_rng(0)
    for X, D, weights in (
        datasets.adding_problem(4, 10, random_state=rng), datasets.temporal_order(4, 10), datasets.parity(4, 5),
        datasets.copy_memory(4, 3, symbols=2, categories=2), datasets.flip_flop(4, 9, bits=2, probability=0.2),
        datasets.sine_generation(4, 9, frequencies=3),
        datasets.delayed_match_to_sample(4, items=2, delay=(100, 200), dt=50),
        datasets.perceptual_decision(4, coherences=(0.1, 0.5), delay=0, noise=0.1, dt=50.0, random_state=1),
    ):
        net = fastbptt.RNN(X.shape[2], 4, D.shape[2] if D.ndim == 3 else int(D.max()) + 1)
        share: float = datasets.fraction_wrong(net.forward(X)[0], D, weights, tolerance=0.2)
        assert 0 <= share <= 1 and weights.shape == X.shape[:2]


def by_the_reference(net: fastbptt.RNN, X: Array, D: Array) -> None:
    loss, gradients = reference.loss_and_gradients(net.parameters, X, D, activation="tanh", tbptt=(4, 8))
    Y, state, S = reference.forward(net.parameters, X)
    theta, norm = reference.clip_norm(net.theta, 1.0)
    theta, slots = reference.update("sgd", theta, theta, [np.zeros_like(theta)], 1, learning_rate=0.1)
    assert np.isclose(float(loss), float(reference.loss(net.parameters, X, D))) and len(S) == len(Y) + 1


rng = np.random.default_rng(0)
X, D = rng.standard_normal((9, 4, 3)), rng.standard_normal((9, 4, 2))
print(train(X, D, 8))
print(*(len(made.theta) for made in options(3, 2)))
net = fastbptt.RNN(3, 8, 2, random_state=0)
compute(net, X, D)
print(look(net, X, D))
with tempfile.TemporaryDirectory() as folder:
    train_in_every_way(net, X, D, folder)
train_many(X, D, rng.standard_normal((4, 9, 2)))
print(estimate(rng.standard_normal((4, 9, 3)), rng.standard_normal((4, 9, 2))))
print(classify(rng.standard_normal((4, 9, 3)), ["a", "b", "a", "b"]).shape)
print(forecast(rng.standard_normal((4, 9, 1))).shape)
draw()
by_the_reference(net, X, D)
