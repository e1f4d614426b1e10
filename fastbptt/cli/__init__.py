"""The command `fastbptt`: forecasting of tables, worked examples and synthetic tasks. `fastbptt/__main__.py` parses its arguments.

These modules use only the public Python interface of fastbptt.
"""
