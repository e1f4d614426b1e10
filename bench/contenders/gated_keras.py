"""Keras with TensorFlow: layers.GRU and layers.LSTM with Dense, gradients by GradientTape in one tf.function."""

import keras
import numpy as np
import tensorflow as tf
from contenders import keras_rnn
from contenders.keras_rnn import swap_first_axes

LONGEST_UNROLLED = 50  # steps: longer ones take long to trace, three gates or four a step


def swap_gates_r_and_z(array, H):
    """Return an array with the first two blocks of H rows exchanged: Keras has a GRU's gates in the order z, r, n."""
    return np.concatenate([array[H:2 * H], array[:H], array[2 * H:]])


class Layers:
    """Sequences are held batch first, as Keras wants them. A GRU's second bias contains b_n, and all of it is trained.

    Variants: "XLA" compiles with jit_compile=True; "unrolled" has no loop over time.
    """

    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        return ("", "XLA", "unrolled") if problem.T <= LONGEST_UNROLLED else ("", "XLA")

    def __init__(self, problem, variant=""):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        B, T, I, H, O = problem[:5]
        keras.config.set_floatx(problem.dtype)
        keras.config.set_dtype_policy(problem.dtype)
        self.gru, self.H, p = problem.units == "gru", H, problem.parameters
        layer = keras.layers.GRU if self.gru else keras.layers.LSTM
        self.model = keras.Sequential([keras.Input((T, I), batch_size=B),
                                       layer(H, return_sequences=True, unroll="unrolled" in variant, use_cudnn=False),
                                       keras.layers.Dense(O)])
        own = {name: swap_gates_r_and_z(p[name], H) if self.gru else p[name] for name in ("W_x", "W_s", "b_s")}
        bias = own["b_s"]
        if self.gru:
            bias = np.stack([bias, np.concatenate([np.zeros(2 * H, bias.dtype), p["b_n"]])])
        self.model.set_weights([own["W_x"].T, own["W_s"].T, bias, p["W_y"].T, p["b_y"]])
        self.X, self.D = (tf.constant(np.ascontiguousarray(swap_first_axes(array))) for array in (problem.X, problem.D))
        self.steps = T * B
        self.compiled = tf.function(self.loss_and_gradients, jit_compile="XLA" in variant)

    def loss_and_gradients(self, X, D):
        """Return the loss and the gradients of all weights, for tf.function."""
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(self.model(X, training=True) - D)) / self.steps
        return loss, tape.gradient(loss, self.model.trainable_weights)

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        loss, found = self.compiled(self.X, self.D)
        W_x, W_s, b_s, W_y, b_y = (np.asarray(gradient) for gradient in found)
        named = {"W_x": W_x.T, "W_s": W_s.T, "b_s": b_s, "W_y": W_y.T, "b_y": b_y}
        if self.gru:
            H = self.H
            named["b_s"], named["b_n"] = b_s[0], b_s[1, 2 * H:]
            named |= {name: swap_gates_r_and_z(named[name], H) for name in ("W_x", "W_s", "b_s")}
        return float(loss), named

    threads = keras_rnn.Layers.threads
