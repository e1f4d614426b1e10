"""Small real data that the package ships. Samples-first, as the estimators take them."""

from __future__ import annotations

from importlib import resources

import numpy as np

__all__ = ["load_sunspots"]


def load_sunspots(return_dates: bool = False):
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
    lines = (resources.files(__name__) / "sunspots.csv").read_text(encoding="ascii").splitlines()[1:]
    months, values = zip(*(line.split(",") for line in lines))
    series = np.array(values, np.float64).reshape(1, -1, 1)
    return (series, np.array(months, "datetime64[M]")) if return_dates else series
