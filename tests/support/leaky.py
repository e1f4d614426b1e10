"""Random networks of leaky units, and data for them."""

import numpy as np

from fastbptt import RNN

T, B, I, H, O = 7, 4, 3, 6, 2


def network(form, *, leak=0.3, hidden_size=H, seed=0, dtype="float64", **options):
    """Return a network of leaky units whose parameters are all random, biases and S_0 too."""
    net = RNN(I, hidden_size, O, leak=leak, leak_form=form, dtype=dtype, random_state=seed, **options)
    rng = np.random.default_rng(seed)
    net.theta = np.float32(rng.normal(0, 0.6, net.theta.shape))
    return net


def data(net, seed=0, T=T, B=B, lengths=False, resets=False, weights=False, initial_state=False):
    """Return X, D and a dict of the other arguments that are asked for; numbers are exact in float32."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: np.float32(rng.standard_normal(shape)).astype(net.dtype)  # noqa: E731
    last, more = net.output == "last", {}
    X = rng.integers(I, size=(T, B)) if net.one_hot else draw(T, B, I)
    D = draw(B, O) if last else draw(T, B, O)
    if lengths:
        more["lengths"] = np.maximum(rng.integers(0, T + 1, B), 1 if last else 0)
        more["lengths"][rng.integers(B)] = T
    if resets:
        more["resets"] = rng.random((T, B)) < 0.3
    if weights:
        more["weights"] = np.float32(rng.random((B,) if last else (T, B))).astype(net.dtype)
    if initial_state:
        states = tuple(draw(B, width) for width in net._widths)
        more["initial_state"] = states if net._stacked else states[0]
    return X, D, more
