"""Time series from tables, and what forecasts them.

- tables: `read_table` and its result, `Table`; source: the cells of files and of pandas; axis, dates: the time axis
- calendar: the distance of steps and the times to come, without pandas
- forecaster: `Forecaster`; frames: from pandas objects to regular series; model: the computation on arrays, with paths and
  choice (linear paths) and remainder (the recurrent path); backtest: rolling forecasts beside simple methods; files: saved
  models
"""
