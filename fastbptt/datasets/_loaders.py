"""Loaders of the packaged data: new float64 arrays, samples-first as the estimators take them. A new data set belongs here."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

from .. import _checks

SPLITS = ("train", "test")


def load_sunspots(return_dates: bool = False) -> Any:
    """Load the monthly mean sunspot numbers, January 1749 to December 2008: one series of 3120 months.

    Parameters
    ----------
    return_dates : bool
        Whether to return the months too.

    Returns
    -------
    series : array (1, 3120, 1) float64
        Sunspot numbers from 0 to 253.8.
    dates : array (3120,) datetime64[M]
        Only with return_dates=True.

    Notes
    -----
    These are international sunspot numbers from before the revision of 2015. They have a cycle of about 11 years. No
    observations were available in February 1824: that value was interpolated from the adjacent months. Months after December
    2008, preliminary in the source, are left out.

    Source: MONTHLY MEAN SUNSPOT NUMBERS, US National Geophysical Data Center; public domain. Taken from the file that
    statsmodels ships.

    Examples
    --------
    >>> datasets.load_sunspots().shape
    (1, 3120, 1)
    """
    return _load_monthly("sunspots.csv", return_dates)


def load_airline_passengers(return_dates: bool = False) -> Any:
    """Load the monthly passengers of international airlines, January 1949 to December 1960: one series of 144 months.

    Parameters
    ----------
    return_dates : bool
        Whether to return the months too.

    Returns
    -------
    series : array (1, 144, 1) float64
        Thousands of passengers, from 104 to 622.
    dates : array (144,) datetime64[M]
        Only with return_dates=True.

    Notes
    -----
    The series has a rising trend and a yearly season that grows in proportion. Usually its logarithm is modelled.

    Source: series G of Box and Jenkins 1976, Time Series Analysis: Forecasting and Control; published figures, with
    which no terms are stated. Taken from the file that aeon ships.

    Examples
    --------
    >>> datasets.load_airline_passengers().shape
    (1, 144, 1)
    """
    return _load_monthly("airline_passengers.csv", return_dates)


def load_japanese_vowels(split: str = "train") -> tuple[list[np.ndarray], np.ndarray]:
    """Load utterances of two Japanese vowels by nine male speakers, and their speakers: sequences of 7 to 29 steps.

    Parameters
    ----------
    split : "train" or "test"
        270 utterances, 30 by each speaker, or 370, from 24 to 88 by each. The split is that of the source.

    Returns
    -------
    X : list of arrays (T_n, 12) float64
        The coefficients of a linear prediction analysis of degree 12 at each step. They are not scaled, and lie between −1.9
        and 2.3.
    y : int array (N,)
        The speaker, 0 to 8: k is the source's speaker k + 1.

    Raises
    ------
    TypeError, ValueError
        If split is not one of these strings.

    Notes
    -----
    The order is that of the source, by speaker. Shuffle before you leave out a part.

    Source: Japanese Vowels, by M. Kudo, J. Toyama and M. Shimbo, UCI Machine Learning Repository, licensed under CC BY
    4.0 (https://creativecommons.org/licenses/by/4.0/); converted to CSV, with the values unchanged. Taken from the
    files that aeon ships. Paper: Kudo, Toyama and Shimbo 1999, Multidimensional curve classification using
    passing-through regions, Pattern Recognition Letters 20:1103.

    Examples
    --------
    >>> X, y = datasets.load_japanese_vowels()
    >>> len(X), X[0].shape[1]
    (270, 12)
    """
    rows = np.loadtxt(_data_lines(f"japanese_vowels_{_checks.choose('split', split, SPLITS)}.csv"), delimiter=",")
    first = np.flatnonzero(np.diff(rows[:, 0], prepend=0))  # the first row of each utterance
    X = [utterance.copy() for utterance in np.split(rows[:, 2:], first[1:])]
    return X, rows[first, 1].astype(np.intp) - 1


def _load_monthly(name, return_dates):
    """Return the column of a packaged file as (1, T, 1), and with `return_dates` a pair with its months."""
    months, values = zip(*(line.split(",") for line in _data_lines(name)))
    series = np.array(values, np.float64).reshape(1, -1, 1)
    return (series, np.array(months, "datetime64[M]")) if return_dates else series


def _data_lines(name):
    """Return the lines of a packaged CSV file below its comments and its header."""
    lines = (resources.files(__package__) / name).read_text(encoding="ascii").splitlines()
    return [line for line in lines if not line.startswith("#")][1:]
