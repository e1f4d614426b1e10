"""Backends, which run a network's operations. `protocol.py` says which methods a backend has and what they return.

`fastbptt._core.Engine` is the compiled backend of one recurrence. `stack.py` combines several engines into layers and
directions. `reference.py` calls `fastbptt.reference`. Add a module here for another backend.
"""
