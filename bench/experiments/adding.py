"""The adding problem over 100 steps: two of a hundred numbers are marked, their mean is asked for at the end.

    python bench/experiments/adding.py [--updates 3000] [--seed 0] [--picture adding.png]

Le, Jaitly and Hinton 2015 (A simple way to initialize recurrent networks of rectified linear units, arXiv:1504.00941) solve
it with ReLU from the identity for T = 150, 200 and 300 (figure 1), as well as an LSTM, where tanh fails. They ask for the
sum, so that their mean squared errors are four times those here.
"""

import argparse
import time

import common
import numpy as np

from fastbptt import RNN, datasets

T = 100
NETWORKS = {
    "ReLU, W_s = identity": ({"activation": "relu", "initializer": "identity"}, 2e-3),
    "tanh, W_s orthogonal": ({"initializer": "orthogonal"}, 2e-3),
}


def draw(batch_size, rng):
    """Return a batch of the adding problem, with targets of the last step only."""
    X, D, _ = datasets.adding_problem(batch_size, T, random_state=rng)
    return X, D[-1]


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture")
    given = parser.parse_args()
    X, D = draw(10_000, np.random.default_rng(given.seed + 1000))
    curves = {}
    for name, (options, learning_rate) in NETWORKS.items():
        net = RNN(2, 64, 1, output="last", random_state=given.seed, **options)
        begin = time.process_time()
        history = net.fit(batches=draw, updates=given.updates, updates_per_epoch=50, batch_size=50, learning_rate=learning_rate,
                          schedule="cosine", max_grad_norm=1.0, n_threads=1)
        error = abs(net.forward(X)[0] - D)
        print(f"{name:26} mean squared error {np.mean(error ** 2):.6f}   {100 * np.mean(error > 0.04):5.2f} % wrong by 0.04   "
              f"{time.process_time() - begin:5.1f} s", flush=True)
        curves[name] = 50 * (1 + np.arange(len(history.train_loss))), history.train_loss
    print(f"{'the constant 0.5':26} mean squared error {np.mean((D - 0.5) ** 2):.6f}   "
          f"{100 * np.mean(abs(D - 0.5) > 0.04):5.2f} % wrong by 0.04")
    common.picture(given.picture, curves, "update", "mean squared error", level=(1 / 24, "the constant 0.5"), logarithmic=True,
                   limits=(1e-5, 1))


if __name__ == "__main__":
    main()
