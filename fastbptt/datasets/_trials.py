"""Tasks of neuroscience that draw new trials for every update: time-major, as the engine takes them.

Each is f(batch_size, ..., *, random_state) -> X (T, B, I), D, weights (T, B), made for new batches:

    net.fit(batches=lambda batch_size, rng: perceptual_decision(batch_size, random_state=rng), updates=1000)

Where no answer is due the weight is 0 and D is NaN, or label −1, so that training without the weights is refused.
Durations are in ms, as in the papers, with steps of dt. The defaults are shorter than in experiments with monkeys. A new task
with trials belongs here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _checks
from ._tasks import _checked_generator, _checked_arguments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Float, Int, Seed

LOW, HIGH = 0.2, 1.0  # targets of outputs, from Song, Yang and Wang 2016


def perceptual_decision(batch_size: Int, *, fixation: Float = 100, stimulus: Float = 600,
                        delay: Float | tuple[Float, Float] = (0, 400), decision: Float = 200,
                        coherences: ArrayLike = (0.032, 0.064, 0.128, 0.256, 0.512), noise: Float = 0.2, dt: Float = 20,
                        random_state: Seed = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a perceptual decision: report which of two noisy inputs is larger on average when the fixation cue ends.

    Parameters
    ----------
    batch_size : int, B
    fixation, stimulus, decision : float, ms
        Durations of the cue before the evidence, of the evidence, and of the period in which the choice is due.
    delay : float or (float, float), ms
        Time from the end of the evidence to the end of the cue. From a range each sequence draws its own.
    coherences : tuple of float from 0 to 1
        Each sequence draws its c from these. With c = 0 either choice is right with probability ½.
    noise : float
        Standard deviation of the noise on both evidence inputs at every step.
    dt : float, ms per step
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator a new batch.

    Returns
    -------
    X : array (T, B, 3) float64
        Evidence for choice 0 and for choice 1: during the stimulus (1 + c)/2 for the right one and (1 − c)/2 for the other,
        else 0, both with noise. The third input is the cue, 1 until the choice is due, then 0.
    D : array (T, B, 2) float64
        0.2 and 0.2 in the fixation period; 1 for the right choice and 0.2 for the other in the decision period; NaN elsewhere.
    weights : array (T, B) float64
        1 in the fixation and the decision period. 0 elsewhere: during stimulus and delay, and after the decision in sequences
        with a shorter delay than the longest.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, or is too small.

    Notes
    -----
    Coherences, inputs and targets are those of the published code of Song, Yang and Wang 2016 (Training excitatory-inhibitory
    recurrent neural networks for cognitive tasks, PLoS Computational Biology 12:e1004792). There the fixation lasts 100 ms,
    the stimulus 80 to 1500, drawn from an exponential distribution of mean 330, and the decision 300. There is no delay, noise
    is given in continuous time, and the cue begins with the stimulus. The experiment is that of Britten, Shadlen, Newsome and
    Movshon 1992 (The analysis of visual motion, Journal of Neuroscience 12:4745).

    The choice is ``Y[t, b].argmax()`` at a step of the decision period. ``fraction_wrong(Y, D, weights, tolerance=0.4)``
    counts the trials with an output nearer to the other target at any step with a weight. An observer who sums the evidence
    is right in a fraction Φ(c √(n/2) / noise) of the trials with n steps of stimulus.

    Examples
    --------
    >>> X, D, weights = datasets.perceptual_decision(4, random_state=0)
    >>> X.shape, D.shape, weights.shape
    ((65, 4, 3), (65, 4, 2), (65, 4))
    """
    rng, B = _checked_generator(batch_size, random_state)
    dt = _checks.number("dt", dt, 0)
    noise = _checks.number("noise", noise, 0, low_allowed=True)
    coherences = np.array([_checks.number("a coherence", c, 0, np.nextafter(1, 2), low_allowed=True)
                           for c in np.atleast_1d(coherences).tolist()])
    if not len(coherences):
        raise ValueError("coherences must hold at least one")
    shown, delays = _duration_in_steps("fixation", fixation, dt), _range_in_steps("delay", delay, dt)
    gone = shown + _duration_in_steps("stimulus", stimulus, dt)
    answer = _duration_in_steps("decision", decision, dt)
    T = gone + delays[1] + answer
    due = gone + rng.integers(delays[0], delays[1] + 1, size=B)
    choice, c = rng.integers(2, size=B), rng.choice(coherences, size=B)
    t = np.arange(T)[:, None]
    sequences = np.arange(B)
    X = np.zeros((T, B, 3))
    X[shown:gone, sequences, choice] = (1 + c) / 2
    X[shown:gone, sequences, 1 - choice] = (1 - c) / 2
    X[..., :2] += noise * rng.standard_normal((T, B, 2))
    X[..., 2] = t < due
    D = np.full((T, B, 2), np.nan)
    D[:shown] = LOW
    decided = (due <= t) & (t < due + answer)
    D[decided] = np.where(np.arange(2) == choice[:, None], HIGH, LOW)[np.nonzero(decided)[1]]
    return X, D, ((t < shown) | decided).astype(float)


def delayed_match_to_sample(batch_size: Int, *, items: Int = 4, fixation: Float = 100, sample: Float = 200,
                            delay: Float | tuple[Float, Float] = (200, 600), test: Float = 200, decision: Float = 100,
                            noise: Float = 0.1, dt: Float = 20,
                            random_state: Seed = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a delayed match to sample: report whether a second item, shown after a delay, equals the first.

    The answer is due when the fixation cue ends.

    Parameters
    ----------
    batch_size : int, B
    items : int, at least 2
        Number of different items.
    fixation, sample, test, decision : float, ms
        Durations of the cue before the first item, of each item, and of the period in which the answer is due.
    delay : float or (float, float), ms
        Time between the items. From a range each sequence draws its own.
    noise : float
        Standard deviation of the noise on the items' inputs at every step.
    dt : float, ms per step
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator a new batch.

    Returns
    -------
    X : array (T, B, items + 1) float64
        An input for each item, 1 while it is shown, with noise. The last input is the cue, 1 until the answer is due, then 0.
    D : int array (T, B)
        1 for a match and 0 for none in the decision period; −1 elsewhere.
    weights : array (T, B) float64
        1 in the decision period; 0 elsewhere.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, or is too small.

    Notes
    -----
    A match has probability ½; otherwise the second item is uniform among the others. The experiment, with pictures, is that of
    Miyashita 1988 (Neuronal correlate of visual associative long-term memory in the primate temporal cortex, Nature 335:817).
    Engel and Wang 2011 has a model circuit (Same or different? Journal of Neuroscience 31:6982). Loss: cross_entropy with two
    outputs, log 2 = 0.693 for a guess. Nothing better is possible without a memory of the first item.

    Examples
    --------
    >>> X, D, weights = datasets.delayed_match_to_sample(4, random_state=0)
    >>> X.shape, D.shape, weights.shape
    ((60, 4, 5), (60, 4), (60, 4))
    """
    items = _checks.size("items", items, 2)
    rng, B = _checked_generator(batch_size, random_state)
    dt = _checks.number("dt", dt, 0)
    noise = _checks.number("noise", noise, 0, low_allowed=True)
    shown, delays = _duration_in_steps("fixation", fixation, dt), _range_in_steps("delay", delay, dt)
    gone = shown + _duration_in_steps("sample", sample, dt)
    second, answer = _duration_in_steps("test", test, dt), _duration_in_steps("decision", decision, dt)
    T = gone + delays[1] + second + answer
    begin = gone + rng.integers(delays[0], delays[1] + 1, size=B)  # of the second item
    match, first = rng.integers(2, size=B), rng.integers(items, size=B)
    again = np.where(match, first, (first + rng.integers(1, items, size=B)) % items)
    t = np.arange(T)[:, None]
    X = np.zeros((T, B, items + 1))
    X[shown:gone, np.arange(B), first] = 1
    steps, sequences = np.nonzero((begin <= t) & (t < begin + second))
    X[steps, sequences, again[sequences]] = 1
    X[..., :items] += noise * rng.standard_normal((T, B, items))
    X[..., items] = t < begin + second
    asked = (begin + second <= t) & (t < begin + second + answer)
    return X, np.where(asked, match, -1).astype(np.intp), asked.astype(float)


def flip_flop(batch_size: Int, length: Int, *, bits: Int = 3, probability: Float = 0.1,
              random_state: Seed = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the flip-flop task: report the sign of the last pulse of each input at each step.

    Parameters
    ----------
    batch_size : int, B
    length : int, T, at least 1
    bits : int
        Number of inputs and outputs.
    probability : float
        Probability of a pulse at a step of an input.
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator a new batch.

    Returns
    -------
    X : array (T, B, bits) float64
        Pulses of 1 or −1 with probability ½ each, else 0. Every input begins with a pulse.
    D : array (T, B, bits) float64
        The last pulse, 1 or −1, including that of the current step.
    weights : array (T, B) float64
        Ones.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, or is too small.

    Notes
    -----
    This is the three-bit flip-flop of Sussillo and Barak 2013 (Opening the black box: low-dimensional dynamics in
    high-dimensional recurrent neural networks, Neural Computation 25:626). Their trained networks have a stable fixed point
    for each of the 2^bits memories. Discrete steps, and so the probability, are choices made here.
    ``fraction_wrong(Y, D, tolerance=1.0)`` counts the sequences with a wrong sign anywhere. Y = 0 has a mean squared error of
    `bits`.

    Examples
    --------
    >>> X, D, weights = datasets.flip_flop(4, 20, random_state=0)
    >>> X.shape, D.shape, weights.shape
    ((20, 4, 3), (20, 4, 3), (20, 4))
    """
    bits, probability = _checks.size("bits", bits), _checks.number("probability", probability, 0, np.nextafter(1, 2))
    rng, T, B = _checked_arguments(batch_size, length, random_state, "length", smallest=1)
    there = rng.random((T, B, bits)) < probability
    there[0] = True
    X = there * rng.choice((-1.0, 1.0), size=(T, B, bits))
    last = np.maximum.accumulate(np.where(there, np.arange(T)[:, None, None], 0), axis=0)
    return X, np.take_along_axis(X, last, axis=0), np.ones((T, B))


def sine_generation(batch_size: Int, length: Int, *, frequencies: Int = 51,
                    random_state: Seed = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the sine generation task: generate a sine with the frequency that a constant input encodes.

    Parameters
    ----------
    batch_size : int, B
    length : int, T, at least 1
    frequencies : int, at least 2
        Number of frequencies, equally spaced from 0.1 to 0.6 radians per step (periods of 63 to 10 steps).
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator a new batch.

    Returns
    -------
    X : array (T, B, 1) float64
        j / frequencies + 0.25 at all steps, with j uniform in 0 ... frequencies − 1.
    D : array (T, B, 1) float64
        sin(ω_j t), t = 0 ... T − 1.
    weights : array (T, B) float64
        Ones.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, or is too small.

    Notes
    -----
    Sussillo and Barak 2013 (Opening the black box: low-dimensional dynamics in high-dimensional recurrent neural networks,
    Neural Computation 25:626) train 51 frequencies with these inputs. Their time is continuous; here a step is one of their
    time constants. Y = 0 has a mean squared error near ½.

    Examples
    --------
    >>> X, D, weights = datasets.sine_generation(4, 20, random_state=0)
    >>> X.shape, D.shape, weights.shape
    ((20, 4, 1), (20, 4, 1), (20, 4))
    """
    n = _checks.size("frequencies", frequencies, 2)
    rng, T, B = _checked_arguments(batch_size, length, random_state, "length", smallest=1)
    j = rng.integers(n, size=B)
    X = np.broadcast_to((j / n + 0.25)[:, None], (T, B, 1)).copy()
    omega = np.linspace(0.1, 0.6, n)[j]
    return X, np.sin(omega * np.arange(T)[:, None])[..., None], np.ones((T, B))


def _duration_in_steps(name, duration, dt, smallest=1):
    """Return the number of steps of dt nearest to a duration. Both are in ms. Raise ValueError if it is below `smallest`."""
    steps = round(_checks.number(name, duration, 0, low_allowed=True) / dt)
    if steps < smallest:
        raise ValueError(f"{name} must last at least {smallest} step of dt={dt:g} ms, got {duration} ms")
    return _checks.size(f"{name} in steps", steps, smallest)


def _range_in_steps(name, duration, dt):
    """Return the least and largest number of steps of a duration in ms, or of a pair (shortest, longest) of durations."""
    pair = duration if isinstance(duration, (tuple, list)) else (duration, duration)
    if len(pair) != 2:
        raise ValueError(f"{name} must be a number or a pair of them, got {duration!r}")
    low, high = (_duration_in_steps(name, end, dt, 0) for end in pair)
    if low > high:
        raise ValueError(f"{name} must go from the shorter to the longer, got {duration!r}")
    return low, high
