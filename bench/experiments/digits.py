"""Digits, pixel by pixel: 64 steps of one number each, an answer after the last. ReLU from the identity beside tanh.

    python bench/experiments/digits.py [--epochs 400] [--seed 0] [--picture digits.png]

Le, Jaitly and Hinton 2015 (A simple way to initialize recurrent networks of rectified linear units, arXiv:1504.00941) do it
with MNIST, 784 steps, 100 units: 97.0 % for ReLU from the identity, 35.0 % for tanh (as Cooijmans et al. 2016,
arXiv:1603.09025, table 1, has them). Here it is scikit-learn's digits of 8 by 8, so that a run takes seconds.
"""

import argparse
import time

import common
import numpy as np
from sklearn.datasets import load_digits

from fastbptt import RNN

NETWORKS = {
    "ReLU, W_s = identity": ({"activation": "relu", "initializer": "identity"}, 2e-3),
    "tanh, W_s of N(0, 0.01²)": ({"initializer": ("normal", 0.01)}, 1e-3),
    "tanh, W_s orthogonal": ({"initializer": "orthogonal"}, 1e-3),
}
TRAIN = 1500  # of 1797; the others test


def data(seed):
    """Return X (64, 1797, 1) from 0 to 1, rows of pixels one after another, and labels (1797,), in an order by the seed."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    return digits.data[order].T[..., None] / 16, digits.target[order]


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture")
    given = parser.parse_args()
    X, y = data(given.seed)
    curves = {}
    for name, (options, learning_rate) in NETWORKS.items():
        net = RNN(1, 64, 10, output="last", output_activation="softmax", loss="cross_entropy", random_state=given.seed,
                  **options)

        def accuracy(record):
            """Record the share of test digits that are right, every five epochs."""
            if record.epoch % 5 == 0:
                right.append(np.mean(record.network.forward(X[:, TRAIN:])[0].argmax(axis=1) == y[TRAIN:]))

        right, begin = [], time.process_time()
        net.fit(X[:, :TRAIN], y[:TRAIN], epochs=given.epochs, batch_size=32, learning_rate=learning_rate, schedule="cosine",
                max_grad_norm=1.0, callbacks=[accuracy], n_threads=1)
        test = np.mean(net.forward(X[:, TRAIN:])[0].argmax(axis=1) == y[TRAIN:])
        print(f"{name:26} {100 * test:5.1f} % of {len(y) - TRAIN} test digits   {time.process_time() - begin:5.1f} s",
              flush=True)
        curves[name] = 5 * np.arange(len(right)), 100 * np.array(right)
    common.picture(given.picture, curves, "epoch", "test digits told right, %")


if __name__ == "__main__":
    main()
