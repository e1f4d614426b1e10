"""Perceptual decisions by a noisy circuit of excitatory and inhibitory units: which of two inputs was the larger on average?

    python bench/experiments/decision.py [--at-most 3000] [--seeds 1] [--picture decision.png]

Song, Yang and Wang 2016 (Training excitatory-inhibitory recurrent neural networks for cognitive tasks, PLoS Computational
Biology 12:e1004792, figure 2): 100 units of which 80 excite, relu, τ = 100 ms in steps of 20 ms, noise of the currents with
σ = 0.2 and of the inputs with σ = 0.01, W_s of spectral radius 1.5 without autapses, excitatory inputs, outputs that read
excitatory units alone; the stimulus lasts 80 to 1500 ms, drawn from an exponential distribution of mean 330. They train by
gradient descent with Ω until over 85 % of decisions are right in the mean of the last five looks, and show the psychometric
function: the share of decisions for choice 1 by signed coherence rises from near 0 to near 1.
"""

import argparse
import time

import common
import numpy as np

from fastbptt import RNN, datasets

H, DT, TAU = 100, 20, 100
COHERENCES = (0.032, 0.064, 0.128, 0.256, 0.512)
INPUT_NOISE = 0.01 * np.sqrt(2 * TAU / DT)  # of σ = 0.01 in continuous time
ENOUGH = 0.85


def draw(batch_size, rng, coherences=COHERENCES):
    """Return a batch of trials, whose stimulus has a random duration that all trials of the batch share.

    Each trial draws its coherence from `coherences`.
    """
    stimulus = 80 + min(rng.exponential(330), 1420)
    return datasets.perceptual_decision(batch_size, stimulus=stimulus, delay=0, decision=300, coherences=coherences,
                                        noise=INPUT_NOISE, dt=DT, random_state=rng)


def circuit(seed):
    """Return the network of excitatory and inhibitory units."""
    excitatory = np.broadcast_to(np.arange(H) < 0.8 * H, (2, H))
    return RNN(3, H, 2, activation="relu", dt=DT, tau=TAU, leak_form="current", noise_std=0.2, dale_ratio=0.8, autapses=False,
               nonnegative=("W_x", "W_y"), connectivity={"W_y": excitatory}, initializer=("spectral_radius", 1.5),
               learn_initial_state=True, random_state=seed)


def decisions(net, batches, rng, seed, coherences=COHERENCES):
    """Return the choices of the network in the last step of some batches of 100 trials, with noise, and the right ones.

    Each trial draws its coherence from `coherences`.
    """
    made, right = [], []
    for k in range(batches):
        X, D, weights = draw(100, rng, coherences)
        Y = net.forward(X, noise=1000 * seed + k, n_threads=1)[0]
        last = len(weights) - 1 - weights[::-1].argmax(axis=0), np.arange(100)
        made.append(Y[last].argmax(axis=1))
        right.append(D[last].argmax(axis=1))
    return np.concatenate(made), np.concatenate(right)


def learn(seed, at_most):
    """Return the trained network and, at each 50th update, the share of 1000 decisions that were right.

    The training ends after `at_most` updates.
    """
    net, looks, rng = circuit(seed), [], np.random.default_rng(seed + 1000)

    def enough(record):
        """Return whether over 85 % of decisions were right in the mean of the last five looks."""
        made, right = decisions(net, 10, rng, seed)
        looks.append((record.update, np.mean(made == right)))
        return len(looks) >= 5 and np.mean([share for _, share in looks[-5:]]) > ENOUGH

    net.fit(batches=draw, updates=at_most, updates_per_epoch=50, batch_size=32, learning_rate=2e-3, max_grad_norm=1.0,
            callbacks=[enough], n_threads=1)
    return net, np.array(looks)


def psychometric(net, rng, seed):
    """Return the share of decisions for choice 1 by signed coherence, and the share of all that were right."""
    shares, right_ones = {}, []
    for c in COHERENCES:
        made, right = decisions(net, 40, rng, seed, (c,))
        shares[-c], shares[c] = np.mean(made[right == 1] == 0), np.mean(made[right == 0] == 0)
        right_ones.append(np.mean(made == right))
    return dict(sorted(shares.items())), np.mean(right_ones)


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-most", type=int, default=3000, help="updates")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--picture")
    given = parser.parse_args()
    curves = {}
    for seed in range(given.seeds):
        begin = time.process_time()
        net, looks = learn(seed, given.at_most)
        shares, right = psychometric(net, np.random.default_rng(seed + 2000), seed)
        print(f"seed {seed}: {looks[-1, 0]:.0f} updates, {32 * looks[-1, 0]:.0f} trials; {100 * right:.1f} % of 20,000 "
              f"decisions right; {time.process_time() - begin:.1f} s")
        print("  choice 1, in %, by coherence: " + ", ".join(f"{c:+.3f} {100 * share:.1f}" for c, share in shares.items()),
              flush=True)
        curves[f"seed {seed}"] = list(shares), [100 * share for share in shares.values()]
    common.picture(given.picture, curves, "signed coherence", "decisions for choice 1, %", level=(50, "a guess"),
                   limits=(-3, 103))


if __name__ == "__main__":
    main()
