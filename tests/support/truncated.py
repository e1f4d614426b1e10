"""Random calls of loss_and_gradients with truncation: `draw`."""

import numpy as np

from fastbptt import RNN


def draw(seed, long=False):
    """Return a network, and the arguments of loss_and_gradients, with every option that truncation can meet."""
    rng = np.random.default_rng(seed)
    T, B = (int(rng.integers(300, 900)), int(rng.integers(1, 5))) if long else (int(rng.integers(1, 25)), int(rng.integers(1, 20)))
    I, O, H = int(rng.integers(1, 8)), int(rng.integers(1, 8)), int(rng.choice([1, 4, 17]))  # noqa: E741
    one_hot, last, labels = rng.integers(2, size=3).astype(bool)
    net = RNN(I, H, O, dtype="float64", one_hot=bool(one_hot), output="last" if last else "sequence",
              learn_initial_state=bool(rng.integers(2)), bias=bool(rng.integers(2)), random_state=seed,
              reduction=str(rng.choice(["mean", "sum"])),
              **({"loss": "cross_entropy", "output_activation": "softmax"} if labels else {}))
    for name, value in net.parameters.items():
        if name != "W_s":
            value[...] = rng.standard_normal(value.shape)
    net._engines["core"].shard_work = int(rng.choice([1 << 30, 500]))
    steps = (B,) if last else (T, B)
    weights = rng.uniform(0, 1, steps) * (rng.uniform(size=steps) < rng.choice([0.1, 1])) if rng.integers(2) else None
    return net, {
        "X": rng.integers(0, I, (T, B)) if one_hot else rng.standard_normal((T, B, I)),
        "D": rng.integers(0, O, steps) if labels else rng.standard_normal((*steps, O)),
        "weights": weights,
        "initial_state": rng.standard_normal((B, H)) if rng.integers(2) else None,
        "lengths": rng.integers(1 if last else 0, T + 1, B) if rng.integers(2) else None,
        "resets": rng.uniform(size=(T, B)) < rng.choice([0, 0.1, 0.5]) if rng.integers(2) else None,
        "tbptt": (int(rng.integers(20 if long else 1, T + 3)), int(rng.integers(1, T + 3))),
        "input_gradient": not one_hot,
        "initial_state_gradient": True,
    }
