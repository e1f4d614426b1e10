"""Tasks of long memory that draw new sequences for every update: time-major, as the engine takes them.

Each is f(batch_size, length or delay, *, random_state) -> X (T, B, I), D, weights (T, B), made for new batches:

    net.fit(batches=lambda batch_size, rng: adding_problem(batch_size, 50, random_state=rng), updates=2000)

Where no answer is due the weight is 0 and D is NaN, or label −1, so that training without the weights is refused.
If a sequence has one answer, at its end, D[-1] has all answers. A new task of long memory belongs here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _checks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Float, Int, Seed


def adding_problem(batch_size: Int, length: Int, *,
                   random_state: Seed = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the adding problem: report the mean of two marked numbers of a stream at the end.

    Parameters
    ----------
    batch_size : int, B
    length : int, T, at least 10
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator a new batch.

    Returns
    -------
    X : array (T, B, 2) float64
        Numbers of U(0, 1), and a marker that is 1 at two steps and else 0.
    D : array (T, B, 1) float64
        (x_i + x_j) / 2 of the marked steps at t = T − 1; NaN before.
    weights : array (T, B) float64
        1 at t = T − 1; 0 before.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, or is too small.

    Notes
    -----
    This is the form of Pascanu, Mikolov and Bengio 2013 (On the difficulty of training recurrent neural networks, ICML), as
    their published code draws it: with n = ⌊T/10⌋ the first marked step is uniform in [0, n), the second in
    [n, n + ⌊4T/10⌋), about the first half. Their code also draws T itself, from [T, 1.1 T), for each batch; here T is
    fixed.

    The task comes from Hochreiter and Schmidhuber 1997 (Long short-term memory, Neural Computation 9:1735, experiment 4).
    There the numbers are of U(−1, 1), the first marked step is one of the first ten and the second one of the first
    T/2 − 1 others, both ends have a marker of −1, and the target is 0.5 + (x_i + x_j) / 4.

    In 1997 a sequence was right if the absolute error at its end was below 0.04. The code of 2013 is more lenient: its
    *squared* error must be at most 0.04, which the constant 0.5 reaches in 64 % of the sequences. It calls the task solved
    if none of 10,000 new sequences is wrong. `fraction_wrong` takes 0.04 for the absolute error, or with tolerance=0.2 the
    squared one. The constant 0.5 has a mean squared error of 1/24, and 84.6 % wrong by 0.04.

    Examples
    --------
    >>> X, D, weights = datasets.adding_problem(4, 50, random_state=0)
    >>> X.shape, D.shape, weights.shape
    ((50, 4, 2), (50, 4, 1), (50, 4))
    """
    rng, T, B = _checked_arguments(batch_size, length, random_state, "length", smallest=10)
    X = np.zeros((T, B, 2))
    X[..., 0] = rng.random((T, B))
    sequences = np.arange(B)
    marked = np.stack([rng.integers(T // 10, size=B), T // 10 + rng.integers(4 * T // 10, size=B)])
    X[marked, sequences, 1] = 1
    D = np.full((T, B, 1), np.nan)
    D[-1, :, 0] = X[marked, sequences, 0].mean(axis=0)
    return X, D, _weights_at_end(T, B)


def temporal_order(batch_size: Int, length: Int, *,
                   random_state: Seed = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the temporal order task: report at the end which two symbols of a stream were A or B, and in which order.

    Parameters
    ----------
    batch_size : int, B
    length : int, T, at least 10
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator a new batch.

    Returns
    -------
    X : array (T, B, 6) float64
        One-hot symbols A, B, c, d, e, f.
    D : int array (T, B)
        The class at t = T − 1, 0 to 3 for AA, AB, BA, BB; −1 before.
    weights : array (T, B) float64
        1 at t = T − 1; 0 before.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, or is too small.

    Notes
    -----
    This is the form of Pascanu, Mikolov and Bengio 2013 (On the difficulty of training recurrent neural networks, ICML), as
    their published code draws it: with n = ⌊T/10⌋ the first of the two is at a step uniform in [n, 2n), the second in
    [⌊T/2⌋, ⌊T/2⌋ + n), each is A or B with probability ½, and all others are uniform among c, d, e and f. (Their
    classes are numbered AA, BA, AB, BB.)

    The task comes from Hochreiter and Schmidhuber 1997 (Long short-term memory, Neural Computation 9:1735, experiment 6a).
    There T is from 100 to 110, the two are at steps 10 to 20 and 50 to 60, and two further symbols open and end a sequence.

    A sequence is right if the most probable class is the true one. The code of 2013 calls the task solved if none of 10,000
    new sequences is wrong. (In 1997 every output had to be within 0.3 of its target.) Loss: cross_entropy, log 4 = 1.386 for
    a guess.

    Examples
    --------
    >>> X, D, weights = datasets.temporal_order(4, 20, random_state=0)
    >>> X.shape, D.shape, weights.shape
    ((20, 4, 6), (20, 4), (20, 4))
    """
    rng, T, B = _checked_arguments(batch_size, length, random_state, "length", smallest=10)
    symbols = rng.integers(2, 6, size=(T, B))
    first, second = rng.integers(2, size=(2, B))
    sequences = np.arange(B)
    symbols[T // 10 + rng.integers(T // 10, size=B), sequences] = first
    symbols[T // 2 + rng.integers(T // 10, size=B), sequences] = second
    D = np.full((T, B), -1, np.intp)
    D[-1] = 2 * first + second
    return np.eye(6)[symbols], D, _weights_at_end(T, B)


def copy_memory(batch_size: Int, delay: Int, *, symbols: Int = 10, categories: Int = 8,
                random_state: Seed = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the copy memory task: repeat a sequence of symbols after a delay.

    Parameters
    ----------
    batch_size : int, B
    delay : int, at least 1
        Steps from the last symbol to the delimiter. Symbol k is shown at step k and due at step delay + symbols + k.
    symbols : int
        Number of symbols to remember.
    categories : int
        Number of different symbols.
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator a new batch.

    Returns
    -------
    X : array (T, B, categories + 2) float64
        T = delay + 2 symbols. One-hot symbols, blank (the second last) and delimiter (the last).
    D : int array (T, B)
        The blank (`categories`), and at the last `symbols` steps the symbols.
    weights : array (T, B) float64
        Ones: a blank is an answer too.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, or is too small.

    Notes
    -----
    This is the form of Arjovsky, Shah and Bengio 2016 (Unitary evolution recurrent neural networks, ICML): 10 symbols, uniform
    among 8; delay − 1 blanks; the delimiter; 10 blanks, during which the symbols are due in their order. It goes back to the
    tasks of Hochreiter and Schmidhuber 1997 (Long short-term memory, Neural Computation 9:1735).

    Without memory the best mean cross-entropy is symbols · log(categories) / T: answer blanks, then random symbols. No
    threshold for solved is defined. A sequence is right if every answer is. A network needs output_size = categories + 1.

    Examples
    --------
    >>> X, D, weights = datasets.copy_memory(4, 20, random_state=0)
    >>> X.shape, D.shape, weights.shape
    ((40, 4, 10), (40, 4), (40, 4))
    """
    symbols, categories = _checks.size("symbols", symbols), _checks.size("categories", categories)
    rng, delay, B = _checked_arguments(batch_size, delay, random_state, "delay", smallest=1)
    T = delay + 2 * symbols
    shown = rng.integers(categories, size=(symbols, B))
    stream = np.full((T, B), categories)
    stream[:symbols] = shown
    stream[symbols + delay - 1] = categories + 1
    D = np.full((T, B), categories, np.intp)
    D[-symbols:] = shown
    return np.eye(categories + 2)[stream], D, np.ones((T, B))


def parity(batch_size: Int, length: Int, *, random_state: Seed = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the parity task: report at each step whether the number of ones so far in a stream of 1 and −1 is odd.

    Parameters
    ----------
    batch_size : int, B
    length : int, T, at least 1
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator a new batch.

    Returns
    -------
    X : array (T, B, 1) float64
        1 or −1 with probability ½.
    D : int array (T, B)
        1 if the number of ones in X[:t + 1] is odd, else 0.
    weights : array (T, B) float64
        Ones.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, or is too small.

    Notes
    -----
    Bengio, Simard and Frasconi 1994 (Learning long-term dependencies with gradient descent is difficult, IEEE
    Transactions on Neural Networks 5:157) score only the end, which is far harder: ``weights[:-1] = 0``. Loss:
    cross_entropy with two outputs, log 2 = 0.693 for a guess.

    Examples
    --------
    >>> X, D, weights = datasets.parity(4, 20, random_state=0)
    >>> X.shape, D.shape, weights.shape
    ((20, 4, 1), (20, 4), (20, 4))
    """
    rng, T, B = _checked_arguments(batch_size, length, random_state, "length", smallest=1)
    ones = rng.integers(2, size=(T, B))
    return 2.0 * ones[..., None] - 1, np.cumsum(ones, axis=0) % 2, np.ones((T, B))


def fraction_wrong(Y: ArrayLike, D: ArrayLike, weights: ArrayLike | None = None, *, tolerance: Float = 0.04) -> float:
    """Return the fraction of sequences with a wrong answer, a float from 0 to 1.

    Parameters
    ----------
    Y : array (T, B, O)
        A network's outputs.
    D : array (T, B) of integer labels, or (T, B, O) of numbers
        A label is right if its output is the largest, a number if the output differs by less than `tolerance`.
    weights : array (T, B), optional
        Answers are due where the weight is above 0. D is not read elsewhere.
    tolerance : float
        0.04 as in the adding problem of Hochreiter and Schmidhuber 1997.

    Raises
    ------
    ValueError
        If the shapes do not match, or there is nothing to score.

    Notes
    -----
    NaN is a wrong answer. A sequence without due answers counts as right.

    Examples
    --------
    >>> Y, D = np.array([[[0.1, 0.9], [0.8, 0.2]]]), np.array([[1, 1]])
    >>> datasets.fraction_wrong(Y, D)
    0.5
    """
    tolerance = _checks.number("tolerance", tolerance, 0)
    Y, D = _checks.array("Y", Y, np.float64), np.asarray(D)
    if Y.ndim != 3 or 0 in Y.shape:
        raise ValueError(f"Y must be (T, B, O), with at least one of each, got shape {Y.shape}")
    labels = D.ndim == 2
    if D.shape != Y.shape[:D.ndim] or not 2 <= D.ndim <= 3:
        raise ValueError(f"D must be labels {Y.shape[:2]} or numbers {Y.shape} to judge Y of shape {Y.shape}, "
                         f"got shape {D.shape}")
    D = _checks.array("D", D, np.intp if labels else np.float64)
    due = np.ones(Y.shape[:2], bool) if weights is None else _checks.array("weights", weights, np.float64) > 0
    if due.shape != Y.shape[:2]:
        raise ValueError(f"weights must be (T, B) = {Y.shape[:2]}, got shape {due.shape}")
    if labels:
        right = (Y.argmax(axis=2) == D) & np.isfinite(Y).all(axis=2)
    else:
        right = (abs(Y - D) < tolerance).all(axis=2)
    return float((due & ~right).any(axis=0).mean())


def _checked_arguments(batch_size, length, random_state, name, smallest):
    """Return a Generator, and the sizes T (or delay) and B. Raise TypeError or ValueError if an argument is wrong.

    B is `batch_size`. `name` is the name of the argument `length` in messages, and `smallest` its least value.
    """
    _checks.size("batch_size", batch_size)  # the first argument is checked first
    T = _checks.size(name, length, smallest)
    rng, B = _checked_generator(batch_size, random_state)
    return rng, T, B


def _checked_generator(batch_size, random_state):
    """Return the Generator for `random_state`, and the size B, which is `batch_size`."""
    B = _checks.size("batch_size", batch_size)
    if isinstance(random_state, np.random.Generator):
        return random_state, B
    return np.random.default_rng(None if random_state is None else _checks.seed("random_state", random_state)), B


def _weights_at_end(T, B):
    """Return weights (T, B) of an answer that is due at the last step: 1 there, else 0."""
    weights = np.zeros((T, B))
    weights[-1] = 1
    return weights
