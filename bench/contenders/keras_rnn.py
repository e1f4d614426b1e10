"""Keras with TensorFlow: layers.SimpleRNN and Dense, gradients by GradientTape in one tf.function."""

import os

import keras
import numpy as np
import tensorflow as tf
from contenders import LEARNING_RATE

tf.config.threading.set_intra_op_parallelism_threads(int(os.environ["TF_NUM_INTRAOP_THREADS"]))
tf.config.threading.set_inter_op_parallelism_threads(int(os.environ["TF_NUM_INTEROP_THREADS"]))
tf.get_logger().setLevel("ERROR")  # that each variant is traced is no news

LONGEST_UNROLLED = 200  # steps, traced in 3 s (2026-11)
# compiled in 5 s; 100 to 200 steps take 10 to 32 s, and calls took 0.9 to 1.4 times as long as without XLA (2026-11,
# other work beside it)
LONGEST_UNROLLED_XLA = 50
EPSILON = 1e-8 * (1 - 0.999**2) ** 0.5  # Keras adds it before the bias correction: others' 1e-8 at the second step
NAMES = ("W_x", "W_s", "b_s", "W_y", "b_y")  # in the order of the model's own weights, which are transposed


def swap_first_axes(array):
    """Return a view with the first two axes exchanged: of a weight its transpose, of a sequence time first."""
    array = np.asarray(array)
    return array.swapaxes(0, 1) if array.ndim > 1 else array


class Layers:
    """Sequences are held batch first, as Keras wants them: they are laid out so once.

    With lengths the SimpleRNN gets a mask, by which it keeps the state behind a sequence's end, and the loss the same.

    Variants: "XLA" compiles with jit_compile=True; "unrolled" has no loop over time, where there are few steps.
    """

    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        limits = {"": problem.T, "XLA": problem.T, "unrolled": LONGEST_UNROLLED, "unrolled, XLA": LONGEST_UNROLLED_XLA}
        return tuple(variant for variant, longest in limits.items() if problem.T <= longest)

    def __init__(self, problem, variant=""):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        B, T, I, H, O = problem[:5]
        keras.config.set_floatx(problem.dtype)  # of the optimizer's variables too
        keras.config.set_dtype_policy(problem.dtype)  # else the layers stay at the first problem's
        self.model = keras.Sequential([
            keras.Input((T, I), batch_size=B),
            keras.layers.SimpleRNN(H, return_sequences=True, unroll="unrolled" in variant),
            keras.layers.Dense(O),
        ])
        self.model.set_weights([swap_first_axes(problem.parameters[name]) for name in NAMES])
        self.X, self.D = (tf.constant(np.ascontiguousarray(swap_first_axes(array))) for array in (problem.X, problem.D))
        self.lengths = None if problem.lengths is None else tf.constant(problem.lengths)
        self.optimizer = None
        self.compiled = [tf.function(method, jit_compile="XLA" in variant)
                         for method in (self.loss_and_gradients, self.model, self.update)]

    def loss_and_gradients(self, X, D, lengths):
        """Return the loss and the gradients of all weights, for tf.function."""
        with tf.GradientTape() as tape:
            loss = self.loss(X, D, lengths)
        return loss, tape.gradient(loss, self.model.trainable_weights)

    def loss(self, X, D, lengths):
        """Return the loss. With lengths, a mask leaves the padding out."""
        B, T, _ = X.shape
        if lengths is None:
            return tf.reduce_sum(tf.square(self.model(X, training=True) - D)) / (T * B)
        mask = tf.sequence_mask(lengths, T)
        rnn, dense = self.model.layers
        squares = tf.reduce_sum(tf.square(dense(rnn(X, mask=mask, training=True)) - D), axis=2)
        return tf.reduce_sum(squares * tf.cast(mask, squares.dtype)) / tf.cast(tf.reduce_sum(lengths), squares.dtype)

    def update(self, X, D, lengths):
        """Make one update by Keras's Adam, for tf.function, and return the loss before it."""
        loss, gradients = self.loss_and_gradients(X, D, lengths)
        self.optimizer.apply(gradients)
        return loss

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        loss, gradients = self.compiled[0](self.X, self.D, self.lengths)
        return float(loss), dict(zip(NAMES, map(swap_first_axes, gradients)))

    def forward(self):
        """Return the outputs Y (T, B, O)."""
        return swap_first_axes(self.compiled[1](self.X))

    def adam(self):
        """Make one whole training step with Adam, and return the loss before it."""
        if self.optimizer is None:  # Keras rounds its 0.9 and 0.999 to float32 in float64 too
            self.optimizer = keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON)
            self.optimizer.build(self.model.trainable_variables)
        return float(self.compiled[2](self.X, self.D, self.lengths))

    def parameters(self):
        """Return the current parameters, a dict by name."""
        return dict(zip(NAMES, map(swap_first_axes, self.model.get_weights())))

    @staticmethod
    def threads():
        """Return as text how many threads it may use."""
        return (f"{tf.config.threading.get_intra_op_parallelism_threads()} within and "
                f"{tf.config.threading.get_inter_op_parallelism_threads()} between TensorFlow's operations")
