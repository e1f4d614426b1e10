"""
How far back a gradient reaches
===============================

Three networks differ only in W_s and g1, on the same random data: the orthogonal default with tanh, relu with the identity
(Le, Jaitly and Hinton 2015), and relu with 1.1 times the identity. In the pictures a row is an error E_t and a column a state
S_i. The colour is the norm of ∂E_t/∂S_i.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbptt
from fastbptt import diagnostics

rng = np.random.default_rng(0)
X, D = rng.standard_normal((60, 8, 3)), rng.standard_normal((60, 8, 2))
networks = {"tanh, orthogonal": fastbptt.RNN(3, 32, 2, random_state=0),
            "relu, identity": fastbptt.RNN(3, 32, 2, activation="relu", initializer="identity", random_state=0),
            "relu, 1.1 identity": fastbptt.RNN(3, 32, 2, activation="relu", initializer=("identity", 1.1), random_state=0)}
flows = {name: diagnostics.gradient_flow(net, X, D) for name, net in networks.items()}

fig, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
for ax, (name, flow) in zip(axes, flows.items()):
    flow.plot(ax).set_title(f"{name}: {flow.verdict}", fontsize="medium")

# %%
# The gradient by distance, and its causes
# ----------------------------------------
#
# From left to right: the gradient by steps back with the fitted rate, the eigenvalues of W_s of a network whose spectral radius
# is 1.1, and the terms of the last error's gradient by step.

flow = flows["tanh, orthogonal"]
print(flow.describe())

fig, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
flow.plot_distance(axes[0])
diagnostics.spectrum(fastbptt.RNN(3, 32, 2, initializer=("spectral_radius", 1.1), random_state=0)).plot(axes[1])
flow.plot_terms(axes[2])
plt.show()
