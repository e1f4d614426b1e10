"""Find where NaN or infinity first appears in a batch, for error messages.

Add here what helps to find the cause of a non-finite loss or gradient.
"""

from __future__ import annotations

import numpy as np


def first_nonfinite(network, data, backend):
    """Return a text that says where a batch's computation first gives NaN or infinity.

    It looks at the forward pass of the Batch `data` first, then at the backward pass. The text is the end of an error
    message, and empty if everything is finite.
    """
    X, D, weights, initial_state, lengths, resets = data
    # D may hold NaN or any label where the weight is 0
    D_read = np.nan_to_num(D) if D.dtype.kind == "f" else np.clip(D, 0, network.output_size - 1)
    inputs = {"initial_state": network._as_given(initial_state), "lengths": lengths, "resets": resets, "backend": backend}
    with np.errstate(all="ignore"):
        S = network.forward(X, return_states=True, **inputs)[2].S
        S = np.concatenate(S, axis=2)[1:] if network._stacked else S[1:]
        e = network.losses(X, D_read, **inputs)
        _, gradients = network.loss_and_gradients(X, D, weights=weights, input_gradient=not network.one_hot, **inputs)
    if weights is not None:
        e = np.where((weights if weights.ndim == e.ndim else weights.max(axis=-1)) == 0, 0, e)
    if network.output == "last":  # e is (B,): one error per sequence
        e = e[None]
    dX = gradients.pop("X", np.zeros((0, 1, 1)))
    names = [name for name, gradient in gradients.items() if not np.isfinite(gradient).all()]
    which = f", first bad gradient that of {names[0]}" if names else ""
    for what, values in (("state", S), ("error", e[..., None])):
        bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
        if len(bad):
            place = "the last step" if what == "error" and network.output == "last" else f"time step {bad[0]}"
            return f", first bad {what} at {place}{which}"
    bad = np.flatnonzero(~np.isfinite(dX).all(axis=(1, 2)))
    return f", going back bad from time step {bad[-1]}{which}" if len(bad) else which
