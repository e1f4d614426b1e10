"""Time series from tables, and what forecasts them.

- tables: `read_table` and its result, `Table`; source: the cells of files and of pandas; axis, dates: the time axis
- calendar: the distance of steps and the times to come, without pandas
"""
