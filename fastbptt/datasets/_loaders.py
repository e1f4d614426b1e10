"""Loaders of the packaged data: samples-first, as the estimators take them, float64, the caller's own."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

from .. import _checks

SPLITS = ("train", "test")


def load_sunspots(return_dates: bool = False) -> Any:
    """Monthly mean sunspot numbers, January 1749 to December 2008: one series of 3120 months.

    Parameters
    ----------
    return_dates : bool
        Return the months too.

    Returns
    -------
    series : array (1, 3120, 1) float64, sunspot numbers from 0 to 253.8; the caller's own
    dates : array (3120,) datetime64[M], with return_dates=True

    Notes
    -----
    The international sunspot number of before its revision of 2015, with its cycle of about 11 years. No observations
    were available in February 1824: that value was interpolated from the months beside it. Months after December 2008,
    preliminary in the source, are left out.

    Source: MONTHLY MEAN SUNSPOT NUMBERS, US National Geophysical Data Center; public domain. Taken from the file that
    statsmodels ships.
    """
    return _monthly("sunspots.csv", return_dates)


def load_airline_passengers(return_dates: bool = False) -> Any:
    """Passengers of international airlines by month, January 1949 to December 1960: one series of 144 months.

    Parameters
    ----------
    return_dates : bool
        Return the months too.

    Returns
    -------
    series : array (1, 144, 1) float64, thousands of passengers from 104 to 622; the caller's own
    dates : array (144,) datetime64[M], with return_dates=True

    Notes
    -----
    A rising trend with a yearly season that grows in proportion: its logarithm is what is usually modelled.

    Source: series G of Box and Jenkins 1976, Time Series Analysis: Forecasting and Control; published figures, with
    which no terms are stated. Taken from the file that aeon ships.
    """
    return _monthly("airline_passengers.csv", return_dates)


def load_japanese_vowels(split: str = "train") -> tuple[list[np.ndarray], np.ndarray]:
    """Utterances of two Japanese vowels by nine men, and which of them spoke: sequences of 7 to 29 steps.

    Parameters
    ----------
    split : "train" or "test"
        270 utterances, 30 by each speaker, or 370, from 24 to 88 by each; the source's own split.

    Returns
    -------
    X : list of arrays (T_n, 12) float64, the coefficients of a linear prediction analysis of degree 12 at each step;
        the caller's own, not scaled (they lie between −1.9 and 2.3)
    y : array (N,) of ints, the speaker: k stands for the source's speaker k + 1, of 1 to 9

    Raises
    ------
    TypeError, ValueError : split is not a string, or another one.

    Notes
    -----
    In the source's order, which is by speaker: shuffle before leaving any out.

    Source: Japanese Vowels, by M. Kudo, J. Toyama and M. Shimbo, UCI Machine Learning Repository, licensed under CC BY
    4.0 (https://creativecommons.org/licenses/by/4.0/); laid out anew as CSV, with the values unchanged. Taken from the
    files that aeon ships. Paper: Kudo, Toyama and Shimbo 1999, Multidimensional curve classification using
    passing-through regions, Pattern Recognition Letters 20:1103.
    """
    rows = np.loadtxt(_lines(f"japanese_vowels_{_checks.choose('split', split, SPLITS)}.csv"), delimiter=",")
    first = np.flatnonzero(np.diff(rows[:, 0], prepend=0))  # of each utterance
    X = [utterance.copy() for utterance in np.split(rows[:, 2:], first[1:])]
    return X, rows[first, 1].astype(np.intp) - 1


def _monthly(name, return_dates):
    """The one column of a file as (1, T, 1), and its months where asked for."""
    months, values = zip(*(line.split(",") for line in _lines(name)))
    series = np.array(values, np.float64).reshape(1, -1, 1)
    return (series, np.array(months, "datetime64[M]")) if return_dates else series


def _lines(name):
    """The lines of a packaged CSV file below its comments and its header."""
    lines = (resources.files(__package__) / name).read_text(encoding="ascii").splitlines()
    return [line for line in lines if not line.startswith("#")][1:]
