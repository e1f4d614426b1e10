"""The command `fastbptt`. `fastbptt/__main__.py` parses its arguments.

- train, predict, examples, info: the commands; output: exit codes, refusals and files, which all commands share
- train_table, predict_table: `train` and `predict` with a `fastbptt.Forecaster`
- forecast, linear: the fitted models; picture: the plot. `fastbptt.forecasting` reads tables
- tasks, explain, explain_gates: synthetic tasks, and BPTT computed by hand

These modules use only the public Python interface of fastbptt.
"""
