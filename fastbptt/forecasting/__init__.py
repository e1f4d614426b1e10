"""Forecasts of time series: `Forecaster` and its parts."""
