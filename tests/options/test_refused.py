"""docs/options.md lists the pairs of options that have no meaning. Each raises an error that names them, before anything changes."""

import inspect
import re

import numpy as np
import pytest
import ranks
from expectations import refused
from processes import ROOT

from fastbptt import (
    RNN, Population, RNNClassifier, RNNRegressor, _checks, fit_many, initializers, network, optimizers, reference, schedules,
    sequences,
)
from fastbptt._training.types import RunOptions

T, B = 4, 3
X, D = np.random.default_rng(0).standard_normal((2, T, B, 2))
IDS, STATE = np.zeros((T, B), int), np.zeros((B, 5))
RESETS, WEIGHTS, LENGTHS = np.zeros((T, B), bool), np.ones((T, B)), np.full(B, T)
LABELS = {"loss": "cross_entropy", "output_activation": "softmax"}
IN_GENERAL = (X, D)


def batches(batch_size, rng):
    return X, D


def calls(methods, *data, **arguments):
    """Of each of these methods one with these arguments."""
    return [lambda net, method=method: getattr(net, method)(*(data or IN_GENERAL), **arguments) for method in methods]


GRADIENTS, UNEXPECTED = ("loss_and_gradients", "backward"), "unexpected keyword argument '{}'"

# As docs/options.md lists them: options of the network, calls, error, words.
REFUSED = {
    "a `loss` of `binary_cross_entropy`, `cross_entropy` or `poisson` with an `output_activation` other than its own": [
        ({}, [lambda net, loss=loss: RNN(2, 5, 2, loss=loss, output_activation="tanh")], ValueError,
         f"loss='{loss}' requires output_activation='{fused}', got 'tanh'")
        for loss, fused in (("binary_cross_entropy", "sigmoid"), ("cross_entropy", "softmax"), ("poisson", "exp"))],
    "`l1`, `l2` or `initializer` by the name of a parameter that `bias=False` or `learn_initial_state=False` leaves out": [
        ({}, [lambda net: RNN(2, 5, 2, bias=False, l1={"b_y": 1.0})], ValueError, "l1 names 'b_y', but this network's"),
        ({}, [lambda net: RNN(2, 5, 2, l2={"S_0": 1.0})], ValueError, "l2 names 'S_0', but this network's parameters are"),
        ({}, [lambda net: RNN(2, 5, 2, initializer={"S_0": "normal"})], ValueError, "initializer names ['S_0'], but")],
    "`dale_ratio` and `dale_signs` together; either with `nonnegative` of W_s": [
        ({}, [lambda net: RNN(2, 5, 2, dale_ratio=0.8, dale_signs=np.ones(5))], TypeError,
         "dale_ratio and dale_signs are both given"),
        ({}, [lambda net: RNN(2, 5, 2, dale_ratio=0.8, nonnegative=("W_s",))], ValueError, "nonnegative names 'W_s', whose")],
    "`rank` with `dale_ratio`, `dale_signs`, `autapses=False`, or W_s in `connectivity`, `trainable` or `nonnegative`": [
        ({}, [lambda net: RNN(2, 5, 2, rank=2, dale_ratio=0.8)], ValueError, "dale_ratio must not be given with rank=2"),
        ({}, [lambda net: RNN(2, 5, 2, rank=2, dale_signs=np.ones(5))], ValueError, "dale_signs must not be given with rank=2"),
        ({}, [lambda net: RNN(2, 5, 2, rank=2, autapses=False)], ValueError, "autapses must be True with rank=2"),
        *(({}, [lambda net, option=option: RNN(2, 5, 2, rank=2, **option)], ValueError, f"{next(iter(option))} must not name 'W_s'")
          for option in ({"connectivity": {"W_s": np.ones((5, 5))}}, {"trainable": {"W_s": False}}, {"nonnegative": ("W_s",)}))],
    "weights for each output with `cross_entropy`": [
        (LABELS, calls(("evaluate", "loss_and_gradients", "objective", "fit", "train_step"), weights=np.ones((T, B, 2))),
         ValueError, "weights must have shape (T, B) = (4, 3), got (4, 3, 2)"),
        (LABELS, calls(("stream",), weights=np.ones((T, B, 2)), tbptt=(2, 2)), ValueError, "weights must have shape")],
    "`one_hot=True` with `input_gradient=True`, or with `input_noise_std`": [
        ({"one_hot": True}, calls(GRADIENTS, IDS, D, input_gradient=True), ValueError, "input_gradient must be False with one_hot"),
        ({}, [lambda net: RNN(2, 5, 2, one_hot=True, input_noise_std=0.1)], ValueError, "token ids cannot have noise")],
    '`output="last"` with a sequence of no steps, with `tbptt` of `fit`, or with `stream`': [
        ({"output": "last"}, calls(("losses", "evaluate", *GRADIENTS, "objective", "fit", "train_step"), X, D[0],
                                   lengths=[1, 0, 2]), ValueError, 'output="last", got no steps in sequence 1'),
        ({"output": "last"}, [lambda net: net.forward(X, lengths=[0, 1, 2])], ValueError, "no steps in sequence 0"),
        ({"output": "last"}, calls(("fit",), X, D[0], tbptt=(2, 2)), ValueError, 'tbptt of fit requires output="sequence"'),
        ({"output": "last"}, calls(("stream",), X, D[0], tbptt=(2, 2)), ValueError, 'stream requires output="sequence"')],
    "`tbptt` with `memory_limit`": [
        ({}, calls((*GRADIENTS, "fit"), tbptt=(2, 2), memory_limit="auto"), ValueError, "give tbptt or memory_limit, not both"),
        ({}, calls(("memory_estimate",), T, B, tbptt=(2, 2), memory_limit=10**9), ValueError, "not both")],
    "`sparse=True` of `memory_estimate` without `weights`": [
        ({}, calls(("memory_estimate",), T, B, sparse=True), ValueError, 'requires weights="step" or "output", got None')],
    "`omega` with `tbptt`, and so with `stream`": [
        ({"omega": 0.5}, calls(("loss_and_gradients", "fit", "stream"), tbptt=(2, 2)), ValueError,
         "tbptt must be None with omega=0.5, got (2, 2)"),
        ({"omega": 0.5}, calls(("memory_estimate",), T, B, tbptt=(2, 2)), ValueError, "tbptt must be None with omega=0.5")],
    "`omega` with a leak or `recurrent_dropout`": [
        ({}, [lambda net, more=more: RNN(2, 5, 2, omega=0.5, **more)], ValueError, "omega=0.5 requires plain units")
        for more in ({"leak": 0.5}, {"dt": 1.0, "tau": 2.0}, {"leak_form": "current"}, {"recurrent_dropout": 0.5})],
    "`rate_penalty` or `omega` with `communicator`": [
        ({name: 0.25}, [lambda net: net.fit(X, D, communicator=ranks.Communicator(ranks.World(1), 0))], ValueError,
         f"{name} must be 0 with a communicator, got 0.25") for name in ("rate_penalty", "omega")],
    "`stream` without `tbptt`, or with `lengths` or `memory_limit`": [
        ({}, calls(("stream",), tbptt=None), TypeError, "tbptt=(k1, k2) is required by stream"),
        *[({}, calls(("stream",), tbptt=(2, 2), **{name: value}), TypeError, UNEXPECTED.format(name))
          for name, value in (("lengths", LENGTHS), ("memory_limit", "auto"))]],
    "`weights` or `resets` of `stream` with an iterator of chunks": [
        ({}, calls(("stream",), [(X, D)], tbptt=(2, 2), **more), TypeError, "weights and resets require X and D: chunks")
        for more in ({"weights": WEIGHTS}, {"resets": RESETS})],
    "`batches` of `fit` with X and D, `weights`, `initial_state`, `lengths`, `resets`, `tbptt` or a fraction as `validation`": [
        ({}, [lambda net: net.fit(X, D, batches=batches)], TypeError, "give X and D, or batches, not both"),
        *[({}, [lambda net, more=more: net.fit(batches=batches, **more)], TypeError, "require X and D: batches have their")
          for more in ({"weights": WEIGHTS}, {"initial_state": STATE}, {"lengths": LENGTHS}, {"resets": RESETS})],
        ({}, [lambda net: net.fit(batches=batches, tbptt=(2, 2))], TypeError, "tbptt requires X and D"),
        ({}, [lambda net: net.fit(batches=batches, validation=0.5)], TypeError, "tuple (X, D) with batches, got the share 0.5")],
    "a fraction as `validation` with `initial_state`": [
        ({}, calls(("fit",), validation=0.3, initial_state=STATE), TypeError, "a tuple (X, D) with an initial_state")],
    "`patience` without `validation`, `resume` or `overwrite` without `checkpoint`, `overwrite` with `resume`": [
        ({}, calls(("fit",), overwrite=True), ValueError, "overwrite=True requires checkpoint="),
        ({}, calls(("fit",), overwrite=True, checkpoint="run.npz", resume=True), ValueError, "give one of them"),
        ({}, calls(("fit",), patience=3), ValueError, "patience requires validation=(X, D)"),
        ({}, calls(("fit",), resume=True), ValueError, "resume=True requires checkpoint=")],
    "`learning_rate` with an optimiser object": [
        ({}, calls(("fit", "train_step"), optimizer=optimizers.SGD(), learning_rate=0.1), ValueError, "which has its own"),
        ({}, calls(("stream",), tbptt=(2, 2), optimizer=optimizers.SGD(), learning_rate=0.1), ValueError, "which has its own")],
    "`lengths` or `resets` with `step`, `generate`, `gradient_terms` or `gradcheck`": [
        ({}, [call], TypeError, UNEXPECTED.format(name))
        for name, value in (("lengths", LENGTHS), ("resets", RESETS))
        for call in (*calls(("step",), X[0], **{name: value}), *calls(("generate",), 3, prefix=X, **{name: value}),
                     *calls(("gradient_terms",), X, D, 1, **{name: value}), *calls(("gradcheck",), **{name: value}))],
    "`noise` or `dropout` with `step`, `generate`, `gradient_terms`, `gradcheck` or `objective`": [
        ({"noise_std": 0.1}, [call], TypeError, UNEXPECTED.format(name)) for name in ("noise", "dropout")
        for call in (*calls(("step",), X[0], **{name: 1}), *calls(("generate",), 3, prefix=X, **{name: 1}),
                     *calls(("gradient_terms",), X, D, 1, **{name: 1}), *calls(("gradcheck", "objective"), **{name: 1}))],
    "`leak` with `dt` or `tau`; `dt` without `tau`, or `tau` without `dt`": [
        ({}, [lambda net, more=more: RNN(2, 5, 2, **more)], TypeError, words)
        for more, words in (({"leak": 0.1, "dt": 1, "tau": 10}, "leak is given with dt or tau"),
                            ({"leak": 0.1, "tau": 10}, "leak is given with dt or tau"),
                            ({"dt": 1}, "dt and tau must be given together"), ({"tau": 1}, "dt and tau must be given together"))],
    '`trainable={"leak": True}` with a leak of 1; `connectivity` or `nonnegative` of `leak_logit`': [
        ({}, [lambda net: RNN(2, 5, 2, trainable={"leak": True})], ValueError, "leak must be below 1 with trainable"),
        ({}, [lambda net: RNN(2, 5, 2, leak=0.5, trainable={"leak": True}, connectivity={"leak_logit": np.ones(5)}),
              lambda net: RNN(2, 5, 2, leak=0.5, trainable={"leak": True}, nonnegative=("leak_logit",))], ValueError,
         "must not name 'leak_logit'")],
    "`temperature` of `generate` with `feed`, or without `one_hot=True`": [
        ({}, calls(("generate",), 3, prefix=X, temperature=2), TypeError, "temperature must be 1 unless token ids"),
        ({"one_hot": True, **LABELS}, calls(("generate",), 3, prefix=IDS, temperature=2, feed=lambda y, rng: y), TypeError,
         "temperature must be 1 unless token ids")],
    "`generate` without `feed` if O is not I, with several quantile levels, or with `one_hot=True` without softmax": [
        ({"output_size": 3}, calls(("generate",), 3, prefix=X), ValueError, "output_size=3 outputs cannot be the input_size=2"),
        ({"loss": ("quantile", (0.25, 0.75))}, calls(("generate",), 3, prefix=X), ValueError, "are 2 quantile levels"),
        ({"one_hot": True}, calls(("generate",), 3, prefix=IDS), ValueError, "output_activation='softmax', and this network")],
    "`bidirectional=True` with `step`, `generate`, `stream` or `tbptt`": [
        ({"bidirectional": True}, [*calls(("step",), X[0]), *calls(("generate",), 3, prefix=X),
                                   *calls(("stream", "fit", *GRADIENTS), tbptt=(2, 2)),
                                   *calls(("memory_estimate",), T, B, tbptt=(2, 2))],
         ValueError, "requires bidirectional=False: each output would depend on future inputs")],
    "several layers, or `bidirectional=True`, with `gradient_terms`, `dale_ratio`, `dale_signs` or `autapses=False`": [
        *[(options, calls(("gradient_terms",), X, D, 1), ValueError, "gradient_terms requires a network with one recurrence")
          for options in ({"bidirectional": True}, {"hidden_size": (5, 4)})],
        *[({}, [lambda net, more=more: RNN(2, (5, 5), 2, **more)], ValueError, "require a network with one recurrence; for")
          for more in ({"dale_ratio": 0.8}, {"dale_signs": [1, 1, 1, 1, -1]}, {"autapses": False})]],
}


@pytest.mark.parametrize(("options", "call", "error", "words"), [
    (options, call, error, words) for rows in REFUSED.values() for options, of_row, error, words in rows for call in of_row])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_pair_without_meaning_is_refused_in_words(options, call, error, words, dtype):
    net = RNN(2, **{"hidden_size": 5, "output_size": 2, "dtype": dtype, "random_state": 0, **options})
    with refused(net, error, words):
        call(net)


WORDS = [
    ("units", "hidden_size"), ("hidden_layer_sizes", "hidden_size"), ("n_hidden", "hidden_size"),
    ("num_layers", "hidden_size=(H, H)"), ("nonlinearity", "activation"), ("dropout", "recurrent_dropout"),
    ("return_sequences", 'output="sequence"'), ("use_bias", "bias"), ("kernel_initializer", "initializer="),
    ("seed", "random_state"), ("loss_fn", "loss"), ("alpha", "use leak for the leak of a unit, l2 for the penalty on weights")]


@pytest.mark.parametrize(("word", "ours"), [
    *WORDS, ("batch_first", "to_time_major"), ("lr", "learning_rate is an argument of fit"), ("input_dim", "input_size"),
    ("epochs", "argument of fit"), ("clipnorm", "max_grad_norm"), ("solver", "optimizer")])
def test_words_of_other_packages_name_those_of_networks(word, ours):
    for owner, call in (("RNN", lambda **word: RNN(2, 5, 2, **word)),
                        ("Population", lambda **word: Population(3, 2, 5, 2, **word)), ("RNN", lambda **word: RNN(2, output_size=2, **word))):  # before what is missing
        with pytest.raises(TypeError, match=f"^{owner} takes no {word}: .*{re.escape(ours)}"):
            call(**{word: 1})


@pytest.mark.parametrize(("word", "ours"), [
    *WORDS, ("batch_first", "samples-first"), ("lr", "learning_rate_init"), ("input_dim", "from the data"),
    ("epochs", "max_iter"), ("clipnorm", "max_grad_norm"), ("optimizer", "solver"), ("patience", "n_iter_no_change")])
@pytest.mark.parametrize("kind", [RNNRegressor, RNNClassifier])
def test_words_of_other_packages_name_those_of_estimators(kind, word, ours):
    for call in (lambda: kind(**{word: 1}), lambda: kind().set_params(**{word: 1})):
        with pytest.raises(TypeError, match=f"^{kind.__name__} takes no {word}: .*{re.escape(ours)}"):
            call()


@pytest.mark.parametrize(("option", "value", "ours"), [
    ("loss", "bce", '"binary_cross_entropy" with output_activation="sigmoid"'), ("loss", "mse", '"squared_error"'),
    ("loss", "MSE", '"squared_error"'), ("loss", "mae", '"absolute_error"'),
    ("loss", "crossentropy", '"cross_entropy" with output'),
    ("loss", "NLL", '"cross_entropy" with output_activation="softmax"'), ("loss", ("smooth-l1", 2.0), '"huber"'),
    ("loss", "Squared Error", '"squared_error"'), ("loss", "sparse_categorical_crossentropy", '"cross_entropy"'),
    ("activation", "linear", '"identity"'), ("activation", "logistic", '"sigmoid"'), ("activation", "ReLU", '"relu"'),
    ("output_activation", "linear", '"identity"'), ("output_activation", "exponential", '"exp"'),
    ("initializer", "xavier", '"glorot_uniform"'), ("initializer", ("gaussian", 0.1), '"normal"'), ("initializer", "eye", '"identity"'), ("reduction", "average", '"mean"'), ("output", "final", '"last"')])
def test_values_of_other_packages_name_ours(option, value, ours):
    written = value[0] if isinstance(value, tuple) else value
    words = re.escape(f"unknown {option} {written!r}; use {ours}".replace('"', "'", 2))
    for make in (lambda **option: RNN(2, 5, 2, **option), lambda **option: Population(3, 2, 5, 2, **option)):
        with pytest.raises(ValueError, match=f"^{words}.*; choose from "):
            make(**{option: value})


def test_values_of_other_packages_name_ours_in_fit_and_estimators():
    y = X[:, :, 0]
    for call, words in (
            (lambda: RNN(2, 5, 2).fit(X, D, optimizer="RMSProp"), "unknown optimizer 'RMSProp'; use 'rmsprop'; choose"),
            (lambda: RNN(2, 5, 2).fit(X, D, optimizer="momentum"), "unknown optimizer 'momentum'; use 'sgd' with a momentum"),
            (lambda: RNN(2, 5, 2).fit(X, D, schedule="CosineAnnealingLR"), "unknown schedule 'CosineAnnealingLR'; use 'cosine'"),
            (lambda: RNNRegressor(solver="gd").fit(X, y), "unknown solver 'gd'; use 'sgd'"),
            (lambda: RNNRegressor(solver="RMS-prop").fit(X, y), "unknown solver 'RMS-prop'; use 'rmsprop'"),
            (lambda: RNN(2, 5, 2, activation="LeakyReLU"), "unknown activation 'LeakyReLU'; use 'leaky_relu'"),
            (lambda: RNN(2, 5, 2, activation="swish"), "unknown activation 'swish'; use 'silu'"),
            (lambda: RNNRegressor(learning_rate="adaptive").fit(X, y), "unknown learning_rate 'adaptive'; use 'plateau'"),
            (lambda: RNNRegressor(loss="mse").fit(X, y), "unknown loss 'mse'; use 'squared_error'"),
            (lambda: RNNRegressor(loss="bce").fit(X, y), "unknown loss 'bce'; choose from squared_error"),  # it has none
            (lambda: RNNRegressor(activation="linear").fit(X, y), "unknown activation 'linear'; use 'identity'"),
            (lambda: RNNRegressor(batch_size="all").fit(X, y), "batch_size must be None, \"auto\" or an int, got 'all'"),
            (lambda: RNNClassifier(class_weight="balance").fit(X, [0, 1, 0, 1]),
             "class_weight must be None, \"balanced\" or a dict of labels and weights, got 'balance'")):
        with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
            call()


def test_every_value_of_other_packages_names_one_that_there_is():
    choices = {"activation": reference.ACTIVATIONS, "output_activation": reference.OUTPUT_ACTIVATIONS, "loss": reference.LOSSES,
               "optimizer": optimizers.OPTIMIZERS, "solver": optimizers.OPTIMIZERS, "initializer": initializers.INITIALIZERS,
               "schedule": schedules.SCHEDULES, "learning_rate": schedules.SCHEDULES, "reduction": network.REDUCTIONS,
               "output": network.OUTPUTS}
    assert choices.keys() == _checks.FOREIGN_VALUES.keys()
    for option, hints in _checks.FOREIGN_VALUES.items():
        for foreign, ours in hints.items():
            assert foreign == foreign.lower() and foreign not in choices[option]
            assert (ours if isinstance(ours, str) else ours[0]) in choices[option], (option, foreign)
    for loss, fused in reference.FUSED.items():
        named = [ours for ours in _checks.FOREIGN_VALUES["loss"].values() if loss in (ours, ours[0])]
        assert named and all(more == f'with output_activation="{fused}"' for _, more in named)


@pytest.mark.parametrize(("method", "word", "ours"), [
    ("RNN.fit", "lr", "use learning_rate"), ("RNN.fit", "n_epochs", "use epochs"), ("RNN.fit", "clip", "use max_grad_norm"),
    ("RNN.fit", "sample_weight", "use weights"), ("RNN.fit", "validation_data", "use validation"), ("RNN.fit", "y", "use D"),
    ("RNN.fit", "verbose", "use progress"), ("RNN.fit", "seed", "use random_state"),
    ("RNN.fit", "l2", "it is an option of RNN"), ("RNN.fit", "alpha", _checks.LEAK_OR_PENALTY),
    ("Population.fit", "weight_decay", 'fit(optimizer="adamw")'), ("RNNRegressor.score", "alpha", _checks.LEAK_OR_PENALTY),
    ("RNN.fit", "batch_first", "(N, T, I) or from a list"),
    ("RNN.fit", "learning_rates", "'learning_rates'; did you mean 'learning_rate'?"), ("RNN.stream", "lr", "use learning_rate"),
    ("RNN.stream", "callbacks", "use callback"), ("RNN.train_step", "clip", "use max_grad_norm"),
    ("RNN.generate", "n_steps", "use steps"), ("Population.fit", "lr", "use learning_rate"),
    ("Population.fit", "n_epochs", "use epochs"), ("Population.fit", "activation", "it is an option of Population"),
    ("RNNRegressor.predict", "hx", "use initial_state"), ("RNNRegressor.score", "weights", "use sample_weight"), ("RNNClassifier.predict_proba", "h0", "use initial_state"), ("RNNRegressor.forecast", "n_steps", "use steps"), ("fit_many", "lr", "use learning_rate"), ("fit_many", "clip", "use max_grad_norm")])
def test_arguments_of_other_packages_name_ours(method, word, ours):
    owner, _, name = method.rpartition(".")
    made = {"RNN": RNN(2, 5, 2), "Population": Population(3, 2, 5, 2), "RNNRegressor": RNNRegressor(), "RNNClassifier": RNNClassifier()}
    call, data = (getattr(made[owner], name), ()) if owner else (fit_many, ([made["RNN"]],))
    with pytest.raises(TypeError, match=f"^{re.escape(method)} takes no .*{re.escape(ours)}$"):
        call(*data, **{word: 1})


@pytest.mark.parametrize(("word", "ours"), [
    ("lr", "RNNRegressor takes no lr: use learning_rate_init"),
    ("weights", "RNNRegressor.fit takes no weights: use sample_weight"),
    ("validation_data", "RNNRegressor.fit takes no validation_data: use validation"), ("D", "RNNRegressor.fit takes no D: use y"), ("verbose", "RNNRegressor.fit takes no verbose: it is an option of RNNRegressor")])
def test_fit_of_an_estimator_names_our_arguments(word, ours):
    with pytest.raises(TypeError, match=f"^fit takes no '{word}', only X, y, .*; {re.escape(ours)}$"):
        RNNRegressor().fit(X, X[:, :, 0], **{word: 1})


def test_the_check_of_arguments_hides_no_error_and_no_signature():
    net = RNN(2, 5, 2)
    with pytest.raises(TypeError, match=r"fit\(\) got an unexpected keyword argument 'qqqqq'"):
        net.fit(X, D, qqqqq=1)

    def batches(batch_size, rng, lr):
        raise AssertionError
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'lr'"):
        net.fit(batches=batches)
    for method in (RNN.fit, Population.fit, RNNRegressor.predict):
        parameters = list(inspect.signature(method).parameters.values())
        assert parameters[0].name == "self" and not any(each.kind is each.VAR_KEYWORD for each in parameters)
        assert inspect.unwrap(method).__doc__ == method.__doc__ and method.__qualname__.endswith(method.__name__)


def test_every_hint_names_options_that_there_are():
    """The first name after "use" in each hint is an option; so is what is called an argument of fit."""
    options = {0: [*inspect.signature(RNN).parameters, "fit"], 1: [*inspect.signature(RNNRegressor).parameters, "fit"]}
    fits = {0: inspect.signature(RNN.fit).parameters, 1: [*RunOptions.__annotations__, *inspect.signature(RNNRegressor.fit).parameters]}
    for word, hints in _checks.FOREIGN.items():
        for estimator, hint in enumerate(hints if isinstance(hints, tuple) else (hints, hints)):
            if word in options[estimator]:
                continue  # never looked up
            for name in re.findall(r"\bsay (\w+)", hint):
                assert name in options[estimator], (word, hint)
            for name in re.findall(r"(\w+) is an argument of fit", hint):
                assert (word if name == "it" else name) in fits[estimator], (word, hint)


def test_sequences_of_different_lengths_name_the_function_that_pads_them():
    net, ragged = RNN(2, 5, 2), [np.ones((n, 2)) for n in (3, 5, 4)]
    for name, call in (("X", lambda: net.fit(ragged, ragged)), ("X", lambda: net.forward([x.tolist() for x in ragged])),
                       ("D", lambda: net.fit(np.ones((5, 3, 2)), ragged)),
                       ("X", lambda: Population(2, 2, 5, 2).forward(ragged)),
                       ("validation's X", lambda: net.fit(X, D, validation=(ragged, ragged))), ("X", lambda: net.forward(np.array(ragged, dtype=object)))):
        with pytest.raises(ValueError, match=f"^{name} holds 3 sequences of different lengths, from 3 to 5: .*sequences.to_time_major"):
            call()
    X_padded, lengths = sequences.to_time_major(ragged)
    assert net.forward(X_padded, lengths=lengths)[0].shape == (5, 3, 2)
    with pytest.raises(ValueError, match="^connectivity.* must be an array of"):  # time means nothing to a matrix of connections
        RNN(2, 5, 2, connectivity={"W_s": [[1], [1, 0]]})


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_arrays_of_one_length_names_the_function_that_converts_it(kind):
    """NumPy would stack sequences (T, I) as time steps (B, I), without an error where D is given alike."""
    rng = np.random.default_rng(0)
    xs, ds = kind(rng.standard_normal((5, 4, 2))), kind(rng.standard_normal((5, 4, 2)))
    assert isinstance(xs, kind) and xs[0].shape == (4, 2)
    net, by_id = RNN(2, 5, 2), RNN(2, 5, 2, one_hot=True, **LABELS)
    ids, labels = kind(rng.integers(2, size=(5, 4))), kind(rng.integers(2, size=(5, 4)))
    whole, of_ids = np.stack(xs), np.stack(ids)
    for name, call in (
            ("X", lambda: net.fit(xs, ds)), ("X", lambda: net.forward(xs)), ("X", lambda: net.evaluate(xs, ds)),
            ("X", lambda: net.loss_and_gradients(xs, np.stack(ds))), ("X", lambda: net.train_step(xs, ds)),
            ("X", lambda: net.stream(xs, ds, tbptt=(2, 2))), ("D", lambda: net.stream(whole, ds, tbptt=(2, 2))),
            ("D", lambda: net.fit(whole, ds)), ("prefix", lambda: net.generate(3, prefix=xs)),
            ("validation's X", lambda: net.fit(whole, whole, validation=(xs, ds))), ("X", lambda: by_id.forward(ids)),
            ("D", lambda: by_id.evaluate(of_ids, labels)), ("X", lambda: net.gradcheck(xs, ds)),
            ("X", lambda: Population(3, 2, 5, 2).forward(xs)), ("network 0: X", lambda: fit_many([net], xs, ds))):
        with pytest.raises(ValueError, match=rf"^{name} is a {kind.__name__} of 5 arrays, .*sequences\.to_time_major.*np\.stack"):
            call()
    with pytest.raises(ValueError, match=r"^X is a list of 5 arrays, one for each network, .* \(T, B, I\); X\[0\] has shape \(4, 2\)"):
        Population(5, 2, 5, 2).forward(xs)
    last = RNN(2, 5, 2, output="last")
    assert last.evaluate(whole, kind(rng.standard_normal((4, 2)))) > 0  # one target for each sequence: no time in it
    assert np.array_equal(net.forward(whole.tolist())[0], net.forward(whole)[0])
    assert np.array_equal(by_id.forward(of_ids.tolist())[0], by_id.forward(of_ids)[0])


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="no docs beside the tests")
def test_the_page_lists_exactly_these_pairs():
    listed = re.search(r"have no meaning.*?:\n\n(.*?)\n\n", (ROOT / "docs/options.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
    rows = re.split(r"^- ", listed, flags=re.MULTILINE)[1:]
    assert [" ".join(row.split()).rstrip(";.") for row in rows] == list(REFUSED)
