"""A user's program with types: `mypy --strict` accepts it, and it runs. tests/packages.py checks the first."""

import tempfile

import numpy as np
from numpy.typing import NDArray

import fastbptt


def train(X: NDArray[np.float64], D: NDArray[np.float64], hidden_size: int) -> float:
    """The loss after a short training, saved and loaded on the way."""
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
        again = fastbptt.load(f"{folder}/net.npz")
    assert isinstance(again, fastbptt.RNN)
    return loss


def estimate(X: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    model = fastbptt.RNNRegressor(8, max_iter=2, random_state=0).fit(X, y)
    assert model.predict(X).shape == y.shape
    return model.score(X, y)


rng = np.random.default_rng(0)
print(train(rng.standard_normal((9, 4, 3)), rng.standard_normal((9, 4, 2)), 8))
print(estimate(rng.standard_normal((4, 9, 3)), rng.standard_normal((4, 9, 2))))
