"""Temporal order over 50 steps: which two symbols came, long ago, and in which order; with and without clipping and Ω.

    python bench/experiments/order.py [--length 50] [--updates 40000] [--seeds 1] [--picture order.png]

Pascanu, Mikolov and Bengio 2013 (On the difficulty of training recurrent neural networks, arXiv:1211.5063, figure 7 and
section 4.1.1): 50 tanh units, all weights from N(0, 0.1), plain SGD of learning rate 0.01 with batches of 20, clipping at a
norm of 1, 4 times Ω, at most 5,000,000 updates; a run is successful that misclassifies under 1 % of 10,000 fresh sequences.
Plain SGD fails as sequences grow, clipping fails later, both clipping and Ω together solve lengths of 50 to 200 in 5 runs of
5. Ω without clipping "usually fails due to exploding gradients". N(0, 0.1) is taken for a standard deviation of 0.1, as their
code has it.
"""

import argparse
import time

import common
import numpy as np

from fastbptt import RNN, datasets

WEIGHTS = {name: ("normal", 0.1) for name in ("W_x", "W_s", "W_y")}
RUNS = {
    "SGD": (0.0, None),
    "SGD, clipped": (0.0, 1.0),
    "SGD, Ω": (4.0, None),
    "SGD, clipped, Ω": (4.0, 1.0),
}


def draw(batch_size, length, rng):
    """Return a batch of the temporal order task, with targets of the last step only."""
    X, D, _ = datasets.temporal_order(batch_size, length, random_state=rng)
    return X, D[-1]


def fraction_wrong(net, X, D):
    """Return the fraction of sequences whose most probable class is wrong."""
    return np.mean(net.forward(X)[0].argmax(axis=1) != D)


def learn(omega, max_grad_norm, length, updates, seed):
    """Return the network, the fraction wrong of 1000 sequences at each 500th update, and what ended the run.

    It is trained on sequences of this length by at most so many updates, with these values of `omega` and `max_grad_norm`.
    """
    watched, curve = draw(1000, length, np.random.default_rng(seed + 1000)), []
    net = RNN(6, 50, 4, output="last", output_activation="softmax", loss="cross_entropy", initializer=WEIGHTS, omega=omega,
              random_state=seed)

    def solved(record):
        """Record the fraction wrong of the watched sequences, and return whether it is 0."""
        curve.append((record.update, fraction_wrong(net, *watched)))
        return curve[-1][1] == 0

    try:
        history = net.fit(batches=lambda batch_size, rng: draw(batch_size, length, rng), updates=updates,
                          updates_per_epoch=500, batch_size=20, optimizer="sgd", learning_rate=0.01,
                          max_grad_norm=max_grad_norm, callbacks=[solved], n_threads=1)
        ended = "solved" if history.stopped == "callback" else "not solved"
    except FloatingPointError:
        ended = "exploded"
    return net, np.array(curve or [(0, 1.0)]), ended


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--updates", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--picture")
    given = parser.parse_args()
    curves = {}
    for name, (omega, max_grad_norm) in RUNS.items():
        for seed in range(given.seeds):
            begin = time.process_time()
            net, curve, ended = learn(omega, max_grad_norm, given.length, given.updates, seed)
            error = fraction_wrong(net, *draw(10_000, given.length, np.random.default_rng(seed + 2000)))
            print(f"{name:16} seed {seed}  {100 * error:6.2f} % of 10,000 wrong, {ended:10} after {curve[-1, 0]:6.0f} "
                  f"updates   {time.process_time() - begin:5.1f} s", flush=True)
            curves.setdefault(name, (curve[:, 0], 100 * curve[:, 1]))
    common.picture(given.picture, curves, "update", "% of 1000 fresh sequences wrong, seed 0", level=(75, "a guess"),
                   limits=(-2, 102))


if __name__ == "__main__":
    main()
