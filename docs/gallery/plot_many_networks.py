"""
Many small networks at once
===========================

A hundred networks of four units learn the same task from a hundred seeds. `Population` trains them side by side in vector lanes.
The picture shows how much a result depends on the seed.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import fastbptt

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 32, 2))
D = np.tanh(X[:, :, :1] + np.roll(X[:, :, 1:], 2, axis=0))  # one input now, and the other two steps ago
D[:2] = 0

population = fastbptt.Population(100, 2, 4, 1, random_state=0)
start = time.perf_counter()
history = population.fit(X, D, epochs=150, batch_size=8, learning_rate=1e-2)
print(f"100 networks, {150 * 4} updates each: {time.perf_counter() - start:.2f} s")

# %%
# Learning curves of all networks, and the distribution of their last losses.

losses = history.train_loss  # (100, 150)
fig, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
axes[0].semilogy(losses.T, color="#0072B2", alpha=0.15, linewidth=0.8)
axes[0].semilogy(np.median(losses, axis=0), color="#D55E00", label="median")
axes[0].set(xlabel="epoch", ylabel="training loss")
axes[0].legend()
axes[1].hist(np.log10(losses[:, -1]), bins=20, color="#0072B2")
axes[1].set(xlabel="log10 of the last training loss", ylabel="networks")
plt.show()
