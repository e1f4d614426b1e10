"""Nested cross-validation of tiny networks on the choices of a two-armed bandit's learner, whose rule is known.

    python bench/experiments/bandit.py [--sizes 1 2 3] [--seeds 2] [--blocks 50] [--trials 150] [--alpha 0.2] [--seed 0]

The protocol of Ji-An, Benna and Mattar 2025 (Discovering cognitive strategies with tiny recurrent neural networks, Nature
644:993): 5 outer and 4 inner folds, each with seeds and sizes, full batches, AdamW 0.005, at most 2,000 epochs, patience 200;
of each outer fold the network of the lowest inner validation loss is judged by choices that it has not seen. The learner has
Q_c ← Q_c + α (r − Q_c) for the arm c that it took, and takes the right one with probability 1 / (1 + exp(−β (Q_1 − Q_0))),
α = 0.2, β = 3. One arm pays with probability 0.8, the other with 0.2, and they change places every 20 to 39 trials. Networks
read the last choice, its reward and the product of both, as −1 and 1, and give softmax probabilities of the next choice. A
likelihood is compared with the learner's own on the same trials. All networks are trained by one call of `fit_many`.
"""

import argparse
import time

import numpy as np

from fastbptt import RNN, fit_many, optimizers

OUTER, INNER = 5, 4


def learner(blocks, trials, alpha, beta, rng):
    """Return choices and rewards (trials, blocks), and −log of the probability that the learner gave to its choice.

    `alpha` is the learner's rate, and `beta` the slope of its choices.
    """
    b, Q = np.arange(blocks), np.zeros((blocks, 2))
    choices, rewards = np.empty((trials, blocks), int), np.empty((trials, blocks))
    surprise = np.empty((trials, blocks))
    better, left = rng.integers(0, 2, blocks), rng.integers(20, 40, blocks)
    for t in range(trials):
        better, left = np.where(left == 0, 1 - better, better), np.where(left == 0, rng.integers(20, 40, blocks), left) - 1
        right = 1 / (1 + np.exp(-beta * (Q[:, 1] - Q[:, 0])))
        c = choices[t] = (rng.random(blocks) < right).astype(int)
        rewards[t] = rng.random(blocks) < np.where(c == better, 0.8, 0.2)
        surprise[t] = -np.log(np.where(c == 1, right, 1 - right))
        Q[b, c] += alpha * (rewards[t] - Q[b, c])
    return choices, rewards, surprise


def inputs(choices, rewards):
    """Return the last choice, its reward and their product (trials, blocks, 3), 0 before the first trial."""
    X = np.zeros((*choices.shape, 3), np.float32)
    X[1:, :, 0], X[1:, :, 1] = 2 * choices[:-1] - 1, 2 * rewards[:-1] - 1
    X[..., 2] = X[..., 0] * X[..., 1]
    return X


def nested(blocks, n_outer=OUTER, n_inner=INNER):
    """Yield (outer, test, train, validation) of every inner fold: the number of the outer fold, and indices of blocks.

    There are n_outer outer folds with n_inner inner folds each.
    """
    fold = np.arange(blocks) % n_outer
    for outer in range(n_outer):
        rest = np.flatnonzero(fold != outer)
        for inner in range(n_inner):
            held = np.arange(len(rest)) % n_inner == inner
            yield outer, np.flatnonzero(fold == outer), rest[~held], rest[held]


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=50)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--alpha", type=float, default=0.2)
    parser.add_argument("--beta", type=float, default=3.0)
    parser.add_argument("--epochs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    choices, rewards, surprise = learner(given.blocks, given.trials, given.alpha, given.beta, rng)
    X = inputs(choices, rewards)
    folds = [(outer, test, (X[:, train], choices[:, train]), (X[:, held], choices[:, held]))
             for outer, test, train, held in nested(given.blocks)]
    runs = [(size, seed, fold) for size in given.sizes for fold in folds for seed in range(given.seeds)]
    nets = [RNN(3, size, 2, output_activation="softmax", loss="cross_entropy", random_state=given.seed + seed)
            for size, seed, _ in runs]
    train, held = zip(*(fold[2:] for _, _, fold in runs))
    begin = time.process_time()
    fits = fit_many(nets, *map(list, zip(*train)), validation=tuple(map(list, zip(*held))), epochs=given.epochs, patience=200,
                    batch_size=given.blocks, optimizer=optimizers.AdamW(0.005))
    seconds, validation = time.process_time() - begin, fits.rows()["validation_loss"]
    print(f"{fits.describe()}; {np.isfinite(fits.train_loss).sum()} epochs in {seconds:.1f} s of one core")
    print(f"{'the learner itself':20} {surprise.mean():.4f} nats a held-out trial; chance {np.log(2):.4f}")
    for sizes in [[size] for size in given.sizes] + [given.sizes] * (len(given.sizes) > 1):
        losses = np.empty_like(surprise)
        for outer in range(OUTER):
            mine = [k for k, (size, _, fold) in enumerate(runs) if size in sizes and fold[0] == outer]
            best, test = mine[int(np.argmin(validation[mine]))], runs[mine[0]][2][1]
            losses[:, test] = nets[best].losses(X[:, test], choices[:, test])
        words = f"{sizes[0]} unit{'s' * (sizes[0] > 1)}" if len(sizes) == 1 else "size by validation"
        print(f"{words:20} {losses.mean():.4f}, {losses.mean() - surprise.mean():+.4f}")


if __name__ == "__main__":
    main()
