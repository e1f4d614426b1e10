"""A GRU of one to four units for each subject, by nested cross-validation: tinyRNN's minimal experiment on simulated learners.

    python bench/experiments/subjects.py [--cells gru plain] [--subjects 10] [--sessions 12] [--trials 100] [--data 0 1 2]
                                         [--jobs 1] [--epochs 2000]

Subjects choose between two arms like bandit.py's learner, each with its own rate α in [0.3, 0.7] and slope β in [2, 5]. A
network reads the last choice, its reward and the product of both, and gives the probability of the next choice. For each
subject, three outer folds of sessions judge and four inner folds choose: sizes 1 to 4, two seeds, full batches, early stopping
on the inner fold's validation sessions. That makes 960 networks for ten subjects, all trained by one call of `fit_many`. Beside
them are:

the learner          the probabilities that the simulation used: nothing can be better in the mean
logistic regression  on the choices, rewards and products of the last five trials; its penalty is chosen by the same inner folds
PyTorch              nn.GRU, timed for some epochs of some fits; the time of all is estimated from the epochs that were needed

Figures are nats a trial of the outer folds' sessions. `--data` are the seeds of the simulated subjects and of the networks. The
settings below were chosen with seed 100.
"""

import argparse
import concurrent.futures
import time

import numpy as np
from bandit import inputs, learner, nested
from scipy.optimize import minimize

from fastbptt import RNN, fit_many, optimizers

OUTER, INNER, SIZES, SEEDS = 3, 4, (1, 2, 3, 4), 2
RATE, DECAY, PATIENCE = 0.03, 1.5, 60
LAGS = 5
PENALTIES = (1e-4, 1e-3, 1e-2)


def subjects(count, sessions, trials, seed):
    """Return for each subject: inputs (trials, sessions, 3), choices and the learner's own surprise (trials, sessions)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        choices, rewards, surprise = learner(sessions, trials, rng.uniform(0.3, 0.7), rng.uniform(2, 5), rng)
        found.append((inputs(choices, rewards), choices, surprise))
    return found


def lagged(X):
    """Return the inputs of the last LAGS trials and a constant (trials, sessions, 3 LAGS + 1), 0 before the first trial."""
    parts = [np.concatenate([np.zeros_like(X[:k]), X[:len(X) - k]]) for k in range(LAGS)]
    return np.concatenate([*parts, np.ones_like(X[..., :1])], axis=-1).astype(float)


def logistic_fit(features, choices, penalty):
    """Return the weights of a logistic regression on features (M, F), with penalty Σ w² on all but the constant."""
    sign = 2.0 * choices - 1

    def loss(w):
        """Return the mean loss and its gradient."""
        margin = sign * (features @ w)
        kept = np.append(w[:-1], 0)
        return (np.logaddexp(0, -margin).mean() + penalty * kept @ kept,
                -(features * (sign / (1 + np.exp(margin)))[:, None]).mean(axis=0) + 2 * penalty * kept)

    return minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B").x


def logistic_loss(w, features, choices):
    """Return −ln p of each choice."""
    return np.logaddexp(0, -(2.0 * choices - 1) * (features @ w))


def judge_logistic(X, choices, folds):
    """Return −ln p (trials, sessions) of choices by logistic regressions that did not see the session.

    `folds` are those of one subject, from `bandit.nested`.
    """
    features, losses = lagged(X), np.empty(choices.shape)

    def flat(sessions):
        """Return features and choices of these sessions, one row per trial."""
        return features[:, sessions].reshape(-1, features.shape[-1]), choices[:, sessions].ravel()

    for number in range(OUTER):
        mine = [fold for fold in folds if fold[0] == number]
        means = [np.mean([logistic_loss(logistic_fit(*flat(train), penalty), *flat(held)).mean() for _, _, train, held in mine])
                 for penalty in PENALTIES]
        _, test, train, held = mine[0]
        w = logistic_fit(*flat(np.concatenate([train, held])), PENALTIES[int(np.argmin(means))])
        losses[:, test] = logistic_loss(w, features[:, test], choices[:, test])
    return losses


def judge_networks(people, folds, cell, arguments, seed):
    """Return −ln p (subjects, trials, sessions), the seconds of the fits, epochs, and how they were run, by networks of a cell.

    In each outer fold the network of the lowest validation loss of all sizes, inner folds and seeds judges.
    """
    runs = [(k, fold, size, s) for k in range(len(people)) for fold in folds for size in SIZES for s in range(SEEDS)]
    nets = [RNN(3, size, 2, cell=cell, output_activation="softmax", loss="cross_entropy", random_state=1000 * seed + s)
            for _, _, size, s in runs]

    def parts(which):
        """Return the inputs and the choices of the sessions with index `which` of the fold, for all runs."""
        return ([people[k][0][:, fold[which]] for k, fold, _, _ in runs],
                [people[k][1][:, fold[which]] for k, fold, _, _ in runs])

    executor = concurrent.futures.ProcessPoolExecutor(arguments.jobs) if arguments.jobs > 1 else None
    begin = time.perf_counter()
    fits = fit_many(nets, *parts(2), validation=parts(3), epochs=arguments.epochs, patience=PATIENCE, batch_size=10**6,
                    optimizer=optimizers.AdamW(RATE, weight_decay=DECAY), executor=executor)
    seconds, validation = time.perf_counter() - begin, fits.rows()["validation_loss"]
    if executor is not None:
        executor.shutdown()
    losses = np.empty((len(people), *people[0][1].shape))
    for k, (X, choices, _) in enumerate(people):
        for number in range(OUTER):
            mine = [n for n, (subject, fold, _, _) in enumerate(runs) if subject == k and fold[0] == number]
            best, test = mine[int(np.argmin(validation[mine]))], runs[mine[0]][1][1]
            losses[k][:, test] = nets[best].losses(X[:, test], choices[:, test])
    return losses, seconds, int(np.isfinite(fits.train_loss).sum()), fits.describe()


def torch_seconds_per_epoch(X, choices, size, epochs=30):
    """Return the seconds of an epoch of nn.GRU with AdamW, training and validation loss; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    rnn, head = torch.nn.GRU(3, size), torch.nn.Linear(size, 2)
    optimizer = torch.optim.AdamW([*rnn.parameters(), *head.parameters()], lr=RATE, weight_decay=DECAY)
    X, D = torch.tensor(X), torch.tensor(choices)
    train, held = slice(0, -2), slice(-2, None)
    loss_of = torch.nn.CrossEntropyLoss()
    for epoch in range(epochs + 5):
        if epoch == 5:
            begin = time.perf_counter()
        optimizer.zero_grad()
        loss_of(head(rnn(X[:, train])[0]).reshape(-1, 2), D[:, train].reshape(-1)).backward()
        optimizer.step()
        with torch.no_grad():
            loss_of(head(rnn(X[:, held])[0]).reshape(-1, 2), D[:, held].reshape(-1))
    return (time.perf_counter() - begin) / epochs


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=["gru", "plain"], choices=["gru", "lstm", "plain"])
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--data", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1, help="processes that train (default 1)")
    arguments = parser.parse_args()
    print("| data | the learner | logistic regression | " + " | ".join(arguments.cells) + " |")
    print("|---|---|---|" + "---|" * len(arguments.cells))
    notes = []
    for seed in arguments.data:
        people = subjects(arguments.subjects, arguments.sessions, arguments.trials, seed)
        folds = list(nested(arguments.sessions, OUTER, INNER))
        row = [np.mean([surprise for _, _, surprise in people]),
               np.mean([judge_logistic(X, choices, folds) for X, choices, _ in people])]
        for cell in arguments.cells:
            losses, seconds, epochs, how = judge_networks(people, folds, cell, arguments, seed)
            row.append(losses.mean())
            note = f"data {seed}, {cell}: {how}; {epochs} epochs in {seconds:.1f} s with {arguments.jobs} process(es)"
            each = [torch_seconds_per_epoch(*people[0][:2], size) for size in SIZES] if cell == "gru" else [None]
            if None not in each:
                note += f"; PyTorch would take {epochs * np.mean(each) / 60:.0f} min ({1e3 * np.mean(each):.2f} ms an epoch)"
            notes.append(note)
        print(f"| {seed} | " + " | ".join(f"{value:.4f}" for value in row) + " |", flush=True)
    print(f"chance {np.log(2):.4f}", *notes, sep="\n")


if __name__ == "__main__":
    main()
