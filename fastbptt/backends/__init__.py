"""Backends: what runs a network's operations. Each is called by `RNN` with the same methods.

`fastbptt._core.Engine` is the compiled backend of one recurrence. `stack.py` combines several into layers and directions,
and has the backend that calls `fastbptt.reference`.
"""
