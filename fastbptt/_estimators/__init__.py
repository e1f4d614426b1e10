"""The estimators' parts. `fastbptt.estimators` has the names that users import.

Modules, in reading order:

- rows: X and y as sequences, arrays of examples, weights; labels: the classes of a classifier
- data: what the estimators share of reading, scaling and splitting data
- files: what they share of saving
- base: what they share of `fit` and its arguments; patience: early stopping by the training loss
- regressor, classifier: the two estimators
"""
