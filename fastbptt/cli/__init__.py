"""The command `fastbptt`. `fastbptt/__main__.py` parses its arguments.

- train, predict, examples, info: the commands; output: exit codes, refusals and files, which they share
- table, calendar: CSV files and their dates; forecast, linear: what is fitted to them; picture: the plot
- tasks, explain: synthetic tasks, and BPTT worked out by hand

These modules use only the public Python interface of fastbptt.
"""
