"""Training of several networks: the parts of `fastbptt.many` and `fastbptt.population`, which have the names for users.

Modules, in reading order:

- results: what fit_many returns and raises
- jobs: a network, its checked data and the arguments of its run; begun: what identifies a run that is resumed
- chunks: which jobs form a population, and which go to one worker; work: what a worker computes
- call, files: one call of fit_many, from the first chunk to the last, and its checkpoint
- folds: the parts that cross_validate trains and judges on
- lanes: which networks of a population fit side by side in a vector; arguments: the checks of a population's arguments
- population_fit: the loop behind Population.fit
"""
