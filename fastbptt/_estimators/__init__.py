"""Parts of the estimators. `fastbptt.estimators` has the names that users import.

Modules, in reading order:

- rows: X and y as sequences, arrays of examples, weights; labels: the classes of a classifier
- data: reading, scaling and splitting of data
- files: model files
- base: `fit` and its arguments; patience: early stopping by the training loss
- regressor, classifier: the two estimators
"""
