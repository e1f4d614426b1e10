"""Options of `RNN`: what each accepts, and what it becomes for the backends.

`declaration.py` has a row for each option and is where a new one starts. `checks.py`, `units.py` (leak, random draws) and
`parametrizations.py` (connectivity, trainable, Dale's law, self-connections) have the checks. `shapes.py` has the shapes of the
parameters, `for_backends.py` the keyword arguments of the backends.
"""
