"""`fastbptt train --task`, `explain` and `gradcheck`: the commands that read no table."""

from __future__ import annotations

import time

from .. import RNN, reference
from . import explain as _explain, explain_gates as _explain_gates, tasks as _solve
from .output import FAILED, Refusal, _failed, refuse_unwritable, save, save_interrupted, _write


def train_task(args):
    for option, value in (("CSV", args.csv), ("--target", args.target), ("--inputs", args.inputs), ("--id", args.id),
                          ("--plot", args.plot), ("--time", args.time), ("--decimal", args.decimal),
                          ("--dayfirst", args.dayfirst), ("--fill", args.fill), ("--season", args.season),
                          ("--members", args.members), ("--known", args.known), ("--interval", args.interval),
                          ("--report", args.report)):
        if value is not None:
            raise Refusal(f"{option} cannot be combined with --task, which makes its own data")
    task = _solve.TASKS[args.task]
    model, length = args.model or f"{args.task}.npz", args.length or task.length
    if length < task.shortest:
        raise Refusal(f"--length must be at least {task.shortest} for {args.task}, got {length}")
    refuse_unwritable("--model", model)
    network = _solve.network(task, args.hidden_size, args.random_state, args.cell)
    print(f"{task.words}; {task.unit} {length}\n{words_of(args.cell, network.hidden_size, network.activation)}, "
          f"{network.theta.size} parameters, seed {args.random_state}", flush=True)
    start = time.perf_counter()
    try:
        history = _solve.fit(network, task, length, epochs=args.max_iter or _solve.EPOCHS, solver=args.solver or "adam")
    except KeyboardInterrupt:
        return save_interrupted([network], model, network.history)
    except FloatingPointError as error:
        return _failed(error)
    save(network, model)
    print(f"trained {history.updates} updates in {time.perf_counter() - start:.1f} s\n")
    wrong = _solve.judge(network, task, length)
    print(f"Of {_solve.JUDGED} new sequences {100 * (1 - wrong):.2f} % are answered correctly: "
          + ("solved" if wrong <= _solve.SOLVED else "NOT solved") + f" (at most {100 * _solve.SOLVED:g} % wrong)\n")
    print(f"Saved the network: {model}\n\nNext: fastbptt train --task {args.task} "
          f"{'' if args.cell == 'plain' else f'--cell {args.cell} '}--length {2 * length} needs a "
          "longer memory.")
    return 0


def words_of(cell, hidden_size, activation):
    """Describe a layer, such as "RNN of 16 elu units" or "GRU of 16 units"."""
    return f"RNN of {hidden_size} {activation} units" if cell == "plain" else f"{cell.upper()} of {hidden_size} units"


def explain_by_hand(args):
    if args.cell != "plain":
        if args.svg is not None:
            raise Refusal(f"--svg draws the plain network; it cannot be combined with --cell {args.cell}")
        print(f"{_explain_gates.text(args.cell)}\n\nNext: fastbptt explain shows the plain network.")
        return 0
    if args.svg is not None:
        refuse_unwritable("--svg", args.svg)
    found = _explain.example()
    print(f"{_explain.text(found)}\n")
    if args.svg is None:
        print("Next: fastbptt explain --svg unrolled.svg draws this; fastbptt gradcheck checks networks of any size.")
    else:
        _write("--svg", args.svg, _explain.svg(found).encode())
        print(f"Drew the unrolled network: {args.svg}\nNext: fastbptt gradcheck checks networks of any size.")
    return 0


# ---- gradcheck


def _gradcheck(args):
    activations = [args.activation] if args.activation else list(reference.ACTIVATIONS)
    losses = [args.loss] if args.loss else list(reference.LOSSES)
    checks = {(activation, loss): _network(activation, loss, args).gradcheck(random_state=args.random_state)
              for activation in activations for loss in losses}
    if len(checks) == 1:
        (check,) = checks.values()
        print(check.describe())
        print("Next: fastbptt gradcheck without options checks all activations with all losses.")
        return 0 if check.passed else FAILED
    print("Largest relative error of any gradient against the complex-step derivative:\n")
    columns = list(next(iter(checks.values())).errors)
    print(f"{'activation':12}{'loss':22}" + "".join(f"{column:>20}" for column in columns))
    for (activation, loss), check in checks.items():
        figures = "".join(f"{max(check.errors[column].values()):20.1e}" for column in columns)
        print(f"{activation:12}{loss:22}{figures}{'' if check.passed else '  DISAGREES'}")
    failed = sum(not check.passed for check in checks.values())
    print(f"\n{failed} of {len(checks)} networks DISAGREE" if failed else f"\nall {len(checks)} networks agree")
    print("Next: fastbptt gradcheck --activation tanh --loss squared_error shows the parameters one by one.")
    return FAILED if failed else 0


def _network(activation, loss, args):
    """Return a network of three inputs and three outputs, as many as `quantile` has levels."""
    return RNN(3, args.hidden_size, 3, activation=activation, loss=loss, random_state=args.random_state,
               output_activation=reference.FUSED.get(loss, "identity"))
