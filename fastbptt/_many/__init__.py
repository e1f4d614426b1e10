"""Training of several networks: the parts of `fastbptt.many` and `fastbptt.population`, which have the public names.

Modules, in reading order:

- results: what fit_many returns and raises
- jobs: a network, its checked data and the arguments of its run; begun: what identifies a resumed run
- chunks: which jobs form a population, and which go to one worker; work: what a worker computes
- call, files: one call of fit_many, from the first chunk to the last, and its checkpoint
- folds: the parts on which cross_validate trains and scores
- lanes: which networks of a population fit side by side in a vector; arguments: checks of a population's arguments
- population_fit: the loop behind Population.fit

Add a module for a new part, and its line to this list.
"""
