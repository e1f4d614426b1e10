"""`losses` with weights: what each step and sequence adds to the sum that training minimises."""

import numpy as np
import pytest
from cases import assert_close

from fastbptt import RNN, Population, reference

pytestmark = pytest.mark.quick
T, B, I, H, O = 7, 4, 3, 5, 4
HEADS = [("squared_error", "tanh", "real"), (("huber", 0.4), "identity", "real"),
         (("quantile", (0.2, 0.7)), "identity", "real"), ("binary_cross_entropy", "sigmoid", "share"),
         ("poisson", "exp", "count"), ("cross_entropy", "softmax", "share"), ("cross_entropy", "softmax", "label")]
both_backends = pytest.mark.parametrize("backend", ["core", "reference"])
every_head = pytest.mark.parametrize(("loss", "output_activation", "targets"), HEADS, ids=[f"{h[0]}-{h[2]}" for h in HEADS])


def network(loss, output_activation, **options):
    return RNN(I, options.pop("hidden_size", H), O, loss=loss, output_activation=output_activation, dtype="float64",
               random_state=0, **options)


def data(net, targets, per_output, seed=0):
    """X, D and weights of which some are 0, where D is NaN or the label −1."""
    rng = np.random.default_rng(seed)
    rows = (B,) if net.output == "last" else (T, B)
    weights = np.where(rng.random((*rows, net.target_size) if per_output else rows) < 0.6, rng.uniform(0.5, 3), 0)
    if targets == "label":
        D = np.where(weights == 0, -1, rng.integers(O, size=rows))
    else:
        draw = {"real": rng.standard_normal, "share": rng.random, "count": lambda shape: rng.poisson(3, shape)}[targets]
        D = draw((*rows, net.target_size)).astype(float)
        D[weights == 0] = np.nan
    return rng.standard_normal((T, B, I)), D, weights


@pytest.mark.share(2)
@both_backends
@every_head
@pytest.mark.parametrize("options", [{}, {"output": "last"}, {"hidden_size": (5, 3)}, {"leak": 0.4, "noise_std": 0.3}], ids=str)
@pytest.mark.parametrize("per_output", [False, True])
def test_weighted_losses_add_up_to_the_sum_that_training_minimises(loss, output_activation, targets, options, per_output, backend):
    if per_output and loss == "cross_entropy":
        pytest.skip("refused: a weight of each output has no meaning with cross_entropy")
    net, summing = (network(loss, output_activation, reduction=r, **options) for r in ("mean", "sum"))
    X, D, weights = data(net, targets, per_output)
    lengths = np.array([7, 3, 5, 1])
    for more in ({}, {"lengths": lengths}, {"initial_state": summing.forward(X)[1]}):
        more |= {"noise": 3} if "noise_std" in options else {}
        found = net.losses(X, D, weights=weights, **more, backend=backend)
        assert found.shape == weights.shape[:found.ndim] and found.dtype == np.float64
        expected = summing.evaluate(X, D, weights=weights, **more, backend=backend)
        assert abs(found.sum() - expected) <= 1e-12 * np.abs(found).sum()
        known = np.where(weights == 0, 0, D) if D.ndim == weights.ndim else np.where(weights[..., None] == 0, 0, D)
        if not per_output:
            plain = net.losses(X, known, **more, backend=backend)
            np.testing.assert_allclose(found, np.where(weights == 0, 0, weights * plain), rtol=1e-13)
        else:  # linear in the weights, so those of one output alone add up to the unweighted losses
            parts = [net.losses(X, known, weights=np.broadcast_to(unit, weights.shape), **more, backend=backend)
                     for unit in np.eye(net.target_size)]
            assert_close(sum(parts), net.losses(X, known, **more, backend=backend), 1e-12, "the sum over outputs", net)
        assert_close(found, net.losses(X, D, weights=weights, **more,
                                       backend="reference" if backend == "core" else "core"), 1e-12, "losses", net)


@every_head
@pytest.mark.parametrize("per_output", [False, True])
def test_the_reference_takes_weights_too(loss, output_activation, targets, per_output):
    if per_output and loss == "cross_entropy":
        pytest.skip("refused: a weight of each output has no meaning with cross_entropy")
    for output in ("sequence", "last"):
        net = network(loss, output_activation, output=output)
        X, D, weights = data(net, targets, per_output)
        name, parameter = loss if isinstance(loss, tuple) else (loss, None)
        found = reference.losses(net.parameters, X, D, weights=weights, output=output, loss=name, loss_parameter=parameter,
                                 output_activation=output_activation)
        assert_close(found, net.losses(X, D, weights=weights), 1e-12, "losses", net)


@every_head
@pytest.mark.parametrize("per_output", [False, True])
def test_a_population_weighs_as_its_networks_do(loss, output_activation, targets, per_output):
    if per_output and loss == "cross_entropy":
        pytest.skip("refused: a weight of each output has no meaning with cross_entropy")
    population = Population(5, I, H, O, loss=loss, output_activation=output_activation, dtype="float64", random_state=1)
    X, D, weights = data(population[0], targets, per_output)
    for own in (False, True):
        m = np.stack([weights * k for k in range(1, 6)]) if own else weights
        for more in ({}, {"lengths": np.array([7, 3, 5, 1])}):
            found = population.losses(X, D, weights=m, **more)
            assert found.shape == (5, T, B)
            for k, net in enumerate(population):
                assert_close(found[k], net.losses(X, D, weights=m[k] if own else m, **more), 1e-11, f"network {k}")


def test_bad_weights_of_losses_are_refused():
    net = network("squared_error", "identity")
    X, D = np.zeros((T, B, I)), np.zeros((T, B, O))
    for weights, words in ((np.ones((T, B + 1)), "weights must have shape"), (-np.ones((T, B)), "must not be negative"),
                           (np.full((T, B), np.nan), "weights contains NaN")):
        for each in (net, Population.from_networks([net, net])):
            with pytest.raises(ValueError, match=words):
                each.losses(X, D, weights=weights)
