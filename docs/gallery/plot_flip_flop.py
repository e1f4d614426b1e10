"""
A network with memory: training, states, fixed points
=====================================================

The task is to store two bits, the flip-flop of Sussillo and Barak (2013): a pulse of ±1 at an input sets its output until the
next pulse. The trained network has a stable fixed point for each of the four memories, and unstable points between them.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbptt
from fastbptt import datasets, diagnostics


def flip_flop(batch_size, rng):
    """Return X and D (80, batch_size, 2): pulses, and the last pulse of each input."""
    X, D, _ = datasets.flip_flop(batch_size, 80, bits=2, random_state=rng)
    return X, D


net = fastbptt.RNN(2, 24, 2, random_state=0)
history = net.fit(batches=flip_flop, updates=700, updates_per_epoch=20, batch_size=32, learning_rate=5e-3,
                  schedule="cosine", max_grad_norm=1.0)

# %%
# The fixed points of S ← g1(W_s S + b_s), with no input, are found from states of the trained network.

X, D = flip_flop(32, np.random.default_rng(1))
states = diagnostics.states(net, X)
points = diagnostics.fixed_points(net, np.zeros(2), states.S[::16].reshape(-1, 24))
print(points.describe())

fig, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained", gridspec_kw={"wspace": 0.08})
history.plot(axes[0], gradient_norm=True)
states.plot(axes[1])
points.plot(axes[2])
axes[2].plot(*points.project(states.S[:, 0]).T, color="0.5", linewidth=0.6, zorder=1)  # the first sequence
plt.show()
