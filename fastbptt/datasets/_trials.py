"""Tasks of neuroscience that are drawn afresh for every update: time-major, as the engine takes them.

Each is f(batch_size, ..., *, random_state) -> X (T, B, I), D, weights (T, B), made for fresh batches:

    net.fit(batches=lambda batch_size, rng: perceptual_decision(batch_size, random_state=rng), updates=1000)

Where no answer is due the weight is 0 and D holds NaN, or label −1, so that training without the weights is refused.
Trials last a number of ms, of which each step is dt, as in the papers; the defaults are shorter than those of monkeys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _checks
from ._tasks import _generator, _prepare

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Float, Int, Seed

LOW, HIGH = 0.2, 1.0  # of outputs: Song, Yang and Wang 2016


def perceptual_decision(batch_size: Int, *, fixation: Float = 100, stimulus: Float = 600,
                        delay: Float | tuple[Float, Float] = (0, 400), decision: Float = 200,
                        coherences: ArrayLike = (0.032, 0.064, 0.128, 0.256, 0.512), noise: Float = 0.2, dt: Float = 20,
                        random_state: Seed = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of two noisy inputs is the larger on average is to be told when the fixation cue ends.

    Parameters
    ----------
    batch_size : int, B
    fixation, stimulus, decision : float, ms
        How long the cue stands alone, how long the evidence is shown, how long the choice is asked for.
    delay : float or (float, float), ms
        From the end of the evidence to that of the cue; from a range each sequence draws its own.
    coherences : tuple of float from 0 to 1
        Which a sequence draws its own c from. With c = 0 either choice is right with probability ½.
    noise : float
        Standard deviation of each step of both evidence inputs, from the first step to the last.
    dt : float, ms a step
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator the next one.

    Returns
    -------
    X : array (T, B, 3) float64, evidence for choice 0 and for choice 1, during the stimulus (1 + c)/2 for the right one
        and (1 − c)/2 for the other, else 0, both with noise; and a cue, 1 until the choice is asked for, then 0
    D : array (T, B, 2) float64, 0.2 and 0.2 in the fixation period; 1 for the right choice and 0.2 for the other in the
        decision period; NaN elsewhere
    weights : array (T, B) float64, 1 in the fixation and the decision period; 0 elsewhere: during stimulus and delay, and
        after the decision in sequences of a shorter delay than the longest

    Raises
    ------
    TypeError, ValueError : an argument is of the wrong kind, or too small.

    Notes
    -----
    After Song, Yang and Wang 2016 (Training excitatory-inhibitory recurrent neural networks for cognitive tasks, PLoS
    Computational Biology 12:e1004792), from whose published code the coherences, the inputs and the targets are: there the
    fixation lasts 100 ms, the stimulus from 80 to 1500, drawn from an exponential distribution of mean 330, the decision 300,
    without a delay, noise is given in continuous time, and the cue begins with the stimulus. The experiment is that of
    Britten, Shadlen, Newsome and Movshon 1992 (The analysis of visual motion, Journal of Neuroscience 12:4745).

    The choice is ``Y[t, b].argmax()`` at a step of the decision period. ``fraction_wrong(Y, D, weights, tolerance=0.4)``
    counts what is nearer to the other target, at any step that is judged. An observer who adds the evidence up is right in a
    share Φ(c √(n/2) / noise) of the trials with n steps of stimulus.
    """
    rng, B = _generator(batch_size, random_state)
    dt = _checks.number("dt", dt, 0)
    noise = _checks.number("noise", noise, 0, low_allowed=True)
    coherences = np.array([_checks.number("a coherence", c, 0, np.nextafter(1, 2), low_allowed=True)
                           for c in np.atleast_1d(coherences).tolist()])
    if not len(coherences):
        raise ValueError("coherences must hold at least one")
    shown, delays = _steps("fixation", fixation, dt), _range("delay", delay, dt)
    gone = shown + _steps("stimulus", stimulus, dt)
    answer = _steps("decision", decision, dt)
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
    """Whether the second of two items, shown after a delay, is the first again is to be told when the fixation cue ends.

    Parameters
    ----------
    batch_size : int, B
    items : int, at least 2
        How many there are.
    fixation, sample, test, decision : float, ms
        How long the cue stands alone, how long each item is shown, how long the answer is asked for.
    delay : float or (float, float), ms
        Between the items; from a range each sequence draws its own.
    noise : float
        Standard deviation of each step of the items' inputs, from the first step to the last.
    dt : float, ms a step
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator the next one.

    Returns
    -------
    X : array (T, B, items + 1) float64, an input for each item, 1 while it is shown, with noise; and a cue, 1 until the
        answer is asked for, then 0
    D : array (T, B) int, 1 for a match and 0 for none in the decision period; −1 elsewhere
    weights : array (T, B) float64, 1 in the decision period; 0 elsewhere

    Raises
    ------
    TypeError, ValueError : an argument is of the wrong kind, or too small.

    Notes
    -----
    A match has probability ½; else the second item is uniform among the others. The experiment, with pictures, is that of
    Miyashita 1988 (Neuronal correlate of visual associative long-term memory in the primate temporal cortex, Nature 335:817);
    a model circuit is in Engel and Wang 2011 (Same or different? Journal of Neuroscience 31:6982). Loss: cross_entropy with two
    outputs, log 2 = 0.693 for a guess; without a memory of the first item nothing better can be had.
    """
    items = _checks.size("items", items, 2)
    rng, B = _generator(batch_size, random_state)
    dt = _checks.number("dt", dt, 0)
    noise = _checks.number("noise", noise, 0, low_allowed=True)
    shown, delays = _steps("fixation", fixation, dt), _range("delay", delay, dt)
    gone = shown + _steps("sample", sample, dt)
    second, answer = _steps("test", test, dt), _steps("decision", decision, dt)
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
    """The sign of the last pulse of each input is to be told at each step.

    Parameters
    ----------
    batch_size : int, B
    length : int, T, at least 1
    bits : int
        Inputs and outputs.
    probability : float
        Of a pulse at a step of an input.
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator the next one.

    Returns
    -------
    X : array (T, B, bits) float64, pulses of 1 or −1 with probability ½ each, else 0; every input begins with one
    D : array (T, B, bits) float64, the last pulse, this step's too: 1 or −1
    weights : array (T, B) float64, ones

    Raises
    ------
    TypeError, ValueError : an argument is of the wrong kind, or too small.

    Notes
    -----
    The three-bit flip-flop of Sussillo and Barak 2013 (Opening the black box: low-dimensional dynamics in high-dimensional
    recurrent neural networks, Neural Computation 25:626), whose trained networks have a stable fixed point for each of the
    2^bits memories; steps, and so the probability, are a choice made here. ``fraction_wrong(Y, D, tolerance=1.0)`` counts the
    sequences with a wrong sign anywhere. Y = 0 has a mean squared error of `bits`.
    """
    bits, probability = _checks.size("bits", bits), _checks.number("probability", probability, 0, np.nextafter(1, 2))
    rng, T, B = _prepare(batch_size, length, random_state, "length", smallest=1)
    there = rng.random((T, B, bits)) < probability
    there[0] = True
    X = there * rng.choice((-1.0, 1.0), size=(T, B, bits))
    last = np.maximum.accumulate(np.where(there, np.arange(T)[:, None, None], 0), axis=0)
    return X, np.take_along_axis(X, last, axis=0), np.ones((T, B))


def sine_generation(batch_size: Int, length: Int, *, frequencies: Int = 51,
                    random_state: Seed = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sine is to be generated, of the frequency that a constant input stands for.

    Parameters
    ----------
    batch_size : int, B
    length : int, T, at least 1
    frequencies : int, at least 2
        How many there are, at equal distances from 0.1 to 0.6 radians a step, periods of 63 to 10 steps.
    random_state : None, int or numpy.random.Generator
        An int gives the same batch each time, a Generator the next one.

    Returns
    -------
    X : array (T, B, 1) float64, j / frequencies + 0.25 at all steps, j uniform in 0 ... frequencies − 1
    D : array (T, B, 1) float64, sin(ω_j t), t = 0 ... T − 1
    weights : array (T, B) float64, ones

    Raises
    ------
    TypeError, ValueError : an argument is of the wrong kind, or too small.

    Notes
    -----
    Sussillo and Barak 2013 (Opening the black box: low-dimensional dynamics in high-dimensional recurrent neural networks,
    Neural Computation 25:626) train 51 frequencies with these inputs; their time is continuous, here a step is one of their
    time constants. Y = 0 has a mean squared error near ½.
    """
    n = _checks.size("frequencies", frequencies, 2)
    rng, T, B = _prepare(batch_size, length, random_state, "length", smallest=1)
    j = rng.integers(n, size=B)
    X = np.broadcast_to((j / n + 0.25)[:, None], (T, B, 1)).copy()
    omega = np.linspace(0.1, 0.6, n)[j]
    return X, np.sin(omega * np.arange(T)[:, None])[..., None], np.ones((T, B))


def _steps(name, duration, dt, smallest=1):
    """Steps of dt that are nearest to a duration, both in ms."""
    steps = round(_checks.number(name, duration, 0, low_allowed=True) / dt)
    if steps < smallest:
        raise ValueError(f"{name} must last {smallest} step of dt={dt:g} ms at least, got {duration} ms")
    return _checks.size(f"{name} in steps", steps, smallest)


def _range(name, duration, dt):
    """Least and most steps of a duration, or of a pair of them."""
    pair = duration if isinstance(duration, (tuple, list)) else (duration, duration)
    if len(pair) != 2:
        raise ValueError(f"{name} must be a number or a pair of them, got {duration!r}")
    low, high = (_steps(name, end, dt, 0) for end in pair)
    if low > high:
        raise ValueError(f"{name} must go from the shorter to the longer, got {duration!r}")
    return low, high
