"""The loop behind RNN.fit: epochs and updates, early stopping, checkpoints.

Design
------
(a) One `State` holds the position of a run and everything that it has learned. There are two of them. An update, or the end
    of an epoch, writes the next state into the spare one, and then swaps the two in one assignment. An interrupt thus always
    finds a complete state. A checkpoint is such a state.
(b) Everything random is a function of seed and position: the order of an epoch's sequences, and the generator that a function
    of batches receives. So there are no generators to save. A run begins at its network's positions, and moves them past
    what its updates have used.
(c) If none of the user's functions runs between updates, `Stretch` makes many updates in compiled code, with the same bits.
    If none runs between epochs, a stretch spans many epochs. If an update fails there, `_update` repeats it and raises the
    detailed error.
(d) The loop uses a network only through its parameters, `_loss_into` and a few more methods, so that `network` may import
    this module.

Add a new reason to stop a run to `_ended` or `_updates`. Add a new measurement after an epoch to `_judge`.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from .. import optimizers, schedules
from ..backends.arguments import CallOptions
from . import checkpoint as _checkpoint
from .batches import Arrays, Positions, noise_keys_at, refuse_nonfinite, used_streams
from .history import History, Record
from .nonfinite import first_nonfinite
from .progress import Progress
from .settings import Settings, described
from .state import State
from .step import clip, nonfinite_part, update
from .stretch import Stretch
from .windows import Windows, compute_window

STRETCH_SECONDS = 0.05  # the most seconds of a stretch of compiled updates
MOST_STRETCH_EPOCHS = 1024  # the most epochs of a stretch


def fit(network: Any, source: Any, validation: Any, settings: Settings, entropy: int) -> History:
    """Train a network and return its History: the loop behind RNN.fit, which has checked the arguments and documents them.

    `source` is Arrays, Windows or Function. `validation` is (X, D, weights, lengths, resets) or None. `settings` has the
    options of the run. `entropy` is the seed of the run's order, batches and noise.
    """
    if validation is not None:
        refuse_nonfinite("validation's ", *validation[:4])
        if 0 in validation[0].shape[:2]:
            raise ValueError(f"validation's X must have steps and sequences: shape {validation[0].shape} was read as (T, B, I)")
    run = Run(network, source, validation, settings, entropy)
    if settings.resume:
        run.resume()
    else:
        run.check_replaceable()
    return run.complete()


class Run:
    """One call of `fit`."""

    def __init__(self, network, source, validation, settings, entropy):
        """Prepare a run from its first state. The arguments are those of `fit`."""
        self.network, self.source, self.validation, self.settings = network, source, validation, settings
        self.entropy, self.history = entropy, History()
        self.start = None if settings.checkpoint is None else network.theta  # the start parameters
        self.gradient, self.draws = np.empty_like(network._theta), network._keys(entropy, entropy)
        states = [State(network.theta, settings.optimizer.slots(network._theta), carried=settings.schedule.begin())
                  for _ in range(2)]
        self.states = tuple(states)  # the current one and the spare
        self.begin = self.saved = time.monotonic()
        most = self._most_updates()
        self.most_epochs = -(-most // source.updates_per_epoch)
        self.progress = Progress(settings.epochs, most, settings.progress)
        self.stretch = None
        if settings.backend == "core" and not network._stacked and isinstance(source, Arrays) \
                and not settings.update_callbacks and type(settings.optimizer) in optimizers.OPTIMIZERS.values():
            self.stretch = Stretch(network, source, settings, self.gradient)
        self.stretch_epochs = 1  # the most epochs of the next stretch
        self.stretch_may_span_epochs = (validation is None and not settings.callbacks
                                        and schedules.is_foreseen(settings.schedule))

    def complete(self) -> History:
        """Train to the end, save, close, and return the History.

        The network has the history from the start. An error is recorded in it and raised again.
        """
        self.network.history = self.history
        try:
            self.history.stopped = self.loop()
            self.save()
            self.close()
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self.progress.close()
        return self.history

    @property
    def state(self):
        """Return the current State. The other one of `states` is the spare."""
        return self.states[0]

    def _copy_to_spare(self):
        """Copy the current state into the spare one and return it, for the next update to change.

        It takes the parameters from the network, because callbacks may have changed them.
        """
        state, spare = self.states
        spare.take(state, self.network._theta)
        return spare

    def _swap_states(self, spare):
        """Make `spare` the current state by one assignment, so that an interrupt finds the old state or the new one."""
        self.states = spare, self.states[0]

    def _most_updates(self):
        """Return the number of updates after which the run ends, by `epochs` and `updates`, whichever is less."""
        settings, each = self.settings, self.source.updates_per_epoch
        bounds = [settings.updates, None if settings.epochs is None else settings.epochs * each]
        return min(bound for bound in bounds if bound is not None)

    def loop(self):
        """Make updates and epochs until the run ends, and return why it ended."""
        if self.state.owed and self._run_owed_callbacks():  # only in a resumed run
            return "callback"
        while True:
            stopped = self._ended() or self._updates()
            if stopped:
                return stopped
            if self._close_epoch():
                return "callback"
            if self._time_is_up():
                return "time"

    def _ended(self):
        """Return why no further epoch begins, or "". A resumed run may be within an epoch, which then continues."""
        settings, state = self.settings, self.state
        if state.batch > 0:
            return ""
        if settings.epochs is not None and state.epoch >= settings.epochs:
            return "epochs"
        if settings.updates is not None and self._batches_done() >= settings.updates:
            return "updates"
        if settings.patience is not None and state.epoch - 1 - max(state.target_epoch, 0) >= settings.patience:
            return "patience"
        return ""

    def _batches_done(self):
        """Return the number of batches that the run has processed, with skipped ones.

        A resumed run counts from its first start.
        """
        return self.state.epoch * self.source.updates_per_epoch + self.state.batch

    def _time_is_up(self):
        """Return whether `time_limit` has passed since this call began."""
        return time.monotonic() - self.begin >= self.settings.time_limit

    def _is_save_due(self):
        """Return whether the run writes checkpoints, and `checkpoint_every` seconds have passed since the last."""
        settings = self.settings
        return settings.checkpoint is not None and time.monotonic() - self.saved >= settings.checkpoint_every

    # ---- Updates

    def _updates(self):
        """Make updates to the end of the epoch and return "". If the run ends within the epoch, return why."""
        settings = self.settings
        while self.state.batch < self.source.updates_per_epoch:
            if settings.updates is not None and self._batches_done() >= settings.updates:
                return "updates"
            if self.stretch is None or not self._stretch():
                self._update()
                self.progress.update()
                if self.state.owed and self._run_owed_callbacks():
                    return "callback"
            if self.state.batch < self.source.updates_per_epoch and self._time_is_up():
                return "time"
            if self._is_save_due():
                self.save()
        return ""

    def _stretch(self):
        """Make updates in compiled code for at most a twentieth of a second, and return whether any was made.

        The updates continue into the next epochs if neither callbacks nor a validation set need the end of an epoch. With 8
        updates of 2.3 us per epoch, the 10 us at the end of an epoch would be a third of the time. `loop` closes the last
        of these epochs. If the next batch is not finite, no update is made: `_update` then raises the error, or skips the
        batch.
        """
        network, settings, source, spare = self.network, self.settings, self.source, self._copy_to_spare()
        epochs = self._epochs_ahead(spare)
        rows = source.remaining(spare.epoch, spare.batch, epochs)
        if settings.updates is not None:
            rows = rows[:(settings.updates - self._batches_done()) * source.batch_size]
        seconds = min(STRETCH_SECONDS, settings.time_limit - time.monotonic() + self.begin)
        draws = self._draws_at(spare.epoch, spare.batch)
        draws = None if draws is None else draws._replace(sequences=None)  # each batch has its own
        rates, begin = [self._learning_rate(spare, ahead) for ahead in range(epochs)], self._seconds()
        done, error, sums = self.stretch.run(network, source, spare, rows, rates, seconds, draws)
        if done:
            an_epoch = max(self._seconds() - begin, 1e-6) * source.updates_per_epoch / done
            self.stretch_epochs = max(1, min(MOST_STRETCH_EPOCHS, int(STRETCH_SECONDS / 2 / an_epoch)))
            self._record_stretch(spare, done, sums, begin)
            network._theta[...] = spare.theta
            self._swap_states(spare)
            self.progress.update(done)
            if spare.owed:
                self._report_epoch(spare)
                self._run_owed_callbacks()
        if error is not None:
            raise error
        return done > 0

    def _epochs_ahead(self, state):
        """Return how many epochs the next stretch covers, with the current one: as many as fit into half of its time.

        The limits `epochs` and `updates` shorten it. It is 1 if something needs the end of each epoch.
        """
        settings, each = self.settings, self.source.updates_per_epoch
        epochs = self.stretch_epochs if self.stretch_may_span_epochs else 1
        if settings.epochs is not None:
            epochs = min(epochs, settings.epochs - state.epoch)
        if settings.updates is not None:  # only complete epochs
            epochs = min(epochs, (settings.updates - state.epoch * each) // each)
        return max(1, epochs)

    def _record_stretch(self, spare, done, sums, begin):
        """Add the numbers of a stretch's updates to `spare`. Record all its finished epochs except the last.

        `done` is the number of updates, and `sums` has five numbers for each epoch (see `Stretch.run`). `begin` is the time
        at which the stretch began, in seconds of the run.
        """
        each, left, seconds = self.source.updates_per_epoch, done, 0.0
        for *of_epoch, until in sums:
            if spare.batch == each:
                self._record_epoch(spare, math.nan, begin + seconds)
            here, seconds = min(left, each - spare.batch), until
            spare.loss, spare.weight, spare.penalty, spare.norm = of_epoch
            spare.averaged, spare.batch, spare.updates = spare.averaged + here, spare.batch + here, spare.updates + here
            left -= here
            if left == 0:
                break

    def _draws_at(self, epoch, k):
        """Return the keys of the noise and dropout of batch k of an epoch (Draws), or None if the network has neither."""
        return None if self.draws is None else noise_keys_at(self.draws, *self.source.noise_position(epoch, k))

    def _update(self):
        """Make one update, from the next batch: the path in Python. A window without errors moves on without an update."""
        network, settings, spare = self.network, self.settings, self._copy_to_spare()
        epoch, k = spare.epoch, spare.batch
        data = self.source.batch(epoch, k)
        if isinstance(self.source, Windows):
            loss, penalty, weight = self._compute_window(network, data, k, spare)
            if weight == 0:  # no errors, no update
                spare.batch += 1
                self._swap_states(spare)
                return
        else:
            options = CallOptions(settings.threads, settings.memory_limit, self._draws_at(epoch, k))
            loss, penalty = network._loss_into(self.gradient, data, options, settings.backend)
            weight = None
        gradient, norm = clip(self.gradient, settings)
        bad = self._apply_update(spare, gradient, loss + penalty, norm)
        spare.batch = k + 1
        if bad:
            self._raise_nonfinite(data, bad, loss + penalty, norm)
            spare.skipped += 1
        else:
            spare.updates += 1
            self._add_to_epoch_sums(spare, data, loss, penalty, norm, weight)
            network._theta[...] = spare.theta
        if settings.update_callbacks:
            spare.owed = "update_callbacks", epoch, spare.updates, loss, None, norm
        self._swap_states(spare)

    def _apply_update(self, spare, gradient, loss, norm):
        """Let the optimiser update the parameters and slots of `spare`, and return "".

        If something is not finite, leave them unchanged and return what it is: "loss", "gradient" or "update". `gradient` is
        clipped, `loss` includes penalties, and `norm` is the gradient's norm before clipping.
        """
        network, settings = self.network, self.settings
        bad = nonfinite_part(loss, norm)
        if bad:
            return bad
        if update(network, settings, spare.theta, spare.slots, gradient, count=spare.updates + 1,
                  learning_rate=self._learning_rate(spare)):
            return ""
        states = spare.states
        spare.take(self.state, network._theta)
        spare.states = states
        return "update"

    def _compute_window(self, network, data, k, spare):
        """Return loss, penalty and Σ m of the window of truncated BPTT that is batch k. `gradient` receives the gradient.

        `data` is the window's Batch. The states that the next window needs are kept in `spare`.
        """
        source, states = self.source, spare.states
        own_start = states is not None and data.initial_state is None and source.window(k)[0] == 0
        *found, S = compute_window(network, self.gradient, self.settings, data, k2=source.k2, states=states,
                                   own_start=own_start, draws=self._draws_at(spare.epoch, k))
        spare.states = source.states_for_next(k, S)
        return found

    def _add_to_epoch_sums(self, state, data, loss, penalty, norm, weight=None):
        """Add a batch's loss, penalty and gradient norm to the epoch's sums in `state`, for the History.

        With reduction="mean" the loss is weighted by the batch's Σ m: `weight`, or computed from `data` if it is None.
        """
        if self.network.reduction != "mean":
            weight = 1.0
        elif weight is None:
            weight = self.network._total_weight(data)
        state.add(loss, penalty, norm, weight)

    def _learning_rate(self, state, ahead=0):
        """Return the learning rate of the epoch of `state`, or of the epoch that comes `ahead` epochs later.

        The second form requires a schedule that does not depend on losses (`schedules.is_foreseen`).
        """
        settings = self.settings
        factor = settings.schedule.factor(state.carried, state.epoch + ahead, self.most_epochs)
        return settings.optimizer.learning_rate * float(factor)

    def _raise_nonfinite(self, data, what, loss, norm, whose=""):
        """Raise FloatingPointError for a batch that is not finite. Return without an error if on_nonfinite="skip".

        `data` is the Batch, `what` is "loss", "gradient" or "update", and `loss` and `norm` are those of the batch. `whose`
        names the rank, with a communicator.
        """
        if self.settings.on_nonfinite == "skip":
            return
        state = self.state
        culprit = "" if what == "update" else first_nonfinite(self.network, data, self.settings.backend)
        raise FloatingPointError(
            f"{what} is not finite in epoch {state.epoch}, batch {state.batch} (update {state.updates}){whose}{culprit}: loss "
            f"{loss}, gradient norm {norm}; the parameters are those before this update. A smaller learning_rate or "
            'max_grad_norm may help; on_nonfinite="skip" skips such batches')

    # ---- Epochs

    def _close_epoch(self):
        """Evaluate the finished epoch, record it and call the callbacks. Return whether one of them ends the run."""
        spare = self.state.copy_sharing_arrays()
        due = (spare.epoch + 1) % self.settings.validation_every == 0
        validation_loss = self._validate(spare, spare.epoch) if due else math.nan
        self._record_epoch(spare, validation_loss, self._seconds())
        self.states = spare, self.states[1]
        self._report_epoch(spare)
        return self._run_owed_callbacks()

    def _report_epoch(self, state):
        """Copy the counts of `state` to the history, and show its last recorded epoch as progress."""
        self._update_history(state)
        _, epoch, _, train_loss, validation_loss, _ = state.owed
        self.progress.epoch(epoch, train_loss, validation_loss)

    def _run_owed_callbacks(self):
        """Call the callbacks that the current state still owes, and return whether one of them returned True.

        `state.owed` names the callbacks and holds the numbers of their Record. A checkpoint keeps it, so that a run
        interrupted before the calls makes them after it is resumed. If the calls are interrupted, the state still owes them,
        and keeps the parameters from before. If a callback ends the run, a resumed run calls the callbacks again, because it
        may have other callbacks. The parameters stay as the first call left them.
        """
        owed = self.state.owed
        if not self._has_callbacks(owed[0]):
            self.state.owed, self.state.refused = (), False
            return False
        stops = self._run_callbacks()
        if self.state.refused:
            self.network._theta[...] = self.state.theta
        spare = self._copy_to_spare()  # with the parameters that the callbacks left
        spare.owed, spare.refused = (owed, True) if stops else ((), False)
        self._swap_states(spare)
        return stops

    def _has_callbacks(self, name):
        """Return whether the run has callbacks of this name, "callbacks" (after epochs) or "update_callbacks"."""
        return bool(getattr(self.settings, name))

    def _run_callbacks(self):
        """Call the owed callbacks with their Record, and return whether one of them returned True.

        Raise FloatingPointError if they leave a parameter that is not finite, and restore the parameters.
        """
        self._move_streams()
        name, *numbers = self.state.owed
        callbacks, record = getattr(self.settings, name), Record(*numbers, self.network)
        answers = [callback(record) for callback in callbacks]
        if not np.isfinite(self.network._theta).all():
            self.network._theta[...] = self.state.theta
            raise FloatingPointError(f"{name} must leave finite parameters, but did not after epoch {record.epoch}; the "
                                     "parameters are again those from before")
        return any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)

    def close(self):
        """Record an unfinished epoch, evaluate the last epoch, and return to the best parameters.

        This changes the history and the network, but not the checkpoint. A resumed run continues where the run was.
        """
        self._move_streams()
        spare, losses = self._copy_to_spare(), self.history.validation_loss
        if spare.averaged:
            self._record_epoch(spare, self._validate(spare, spare.epoch), self._seconds())
        elif losses and math.isnan(losses[-1]):  # validation_every skipped it
            losses[-1] = self._validate(spare, spare.epoch - 1)
        self._update_history(spare)
        if self.settings.patience is not None and spare.best_theta is not None:
            self.network._theta[...] = spare.best_theta

    def _record_epoch(self, spare, validation_loss, seconds):
        """Append the epoch of `spare` with this validation loss to the history, and move `spare` to the next epoch.

        The validation loss is NaN if none was computed. `seconds` is the time of the epoch's end since the start of the run.
        `spare` then owes the callbacks after this epoch.
        """
        settings, history, epoch = self.settings, self.history, spare.epoch
        averaged = max(spare.averaged, 1)
        if self.network.reduction == "mean":
            train_loss = spare.loss / spare.weight if spare.weight else 0.0
        else:
            train_loss = spare.loss
        if not spare.averaged:
            train_loss = math.nan  # every batch was skipped
        history.train_loss.append(train_loss)
        history.penalty.append(spare.penalty / averaged)
        history.gradient_norm.append(spare.norm / averaged)
        history.learning_rate.append(self._learning_rate(spare))
        history.seconds.append(seconds)
        if self.validation is not None:
            history.validation_loss.append(validation_loss)
        watched = train_loss if self.validation is None else validation_loss
        if not math.isnan(watched):
            spare.carried = tuple(number.item() if isinstance(number, np.generic) else number  # JSON has no NumPy numbers
                                  for number in settings.schedule.watch(spare.carried, watched))
        spare.epoch, spare.batch = epoch + 1, 0
        spare.loss = spare.weight = spare.penalty = spare.norm = 0.0
        spare.averaged = 0
        spare.owed = ("callbacks", epoch, spare.updates, train_loss,
                      None if math.isnan(validation_loss) else validation_loss, history.gradient_norm[-1])

    def _validate(self, spare, epoch):
        """Return the validation loss after this epoch, or NaN without a validation set.

        Keep the best loss and its parameters in `spare`, and the loss that patience compares with.
        """
        if self.validation is None:
            return math.nan
        settings, loss = self.settings, self._validation_loss()
        if loss < spare.best_loss:
            spare.best_loss, spare.best_epoch = loss, epoch
            if settings.patience is not None:
                spare.best_theta = self.network.theta
        if loss < spare.target - settings.min_improvement:
            spare.target, spare.target_epoch = loss, epoch
        return loss

    def _validation_loss(self):
        """Return the network's reduced loss on the validation set."""
        X, D, weights, lengths, resets = self.validation
        return self.network.evaluate(X, D, weights=weights, lengths=lengths, resets=resets, backend=self.settings.backend)

    def _seconds(self):
        """Return the seconds since the start of the run, including those before it was resumed."""
        return self.state.seconds + time.monotonic() - self.begin

    # ---- History, random streams, checkpoint

    def _update_history(self, state):
        """Copy best epoch and the numbers of updates and skipped batches from `state` to the history."""
        history = self.history
        history.best_epoch, history.updates, history.skipped = state.best_epoch, state.updates, state.skipped

    def _uses_network_streams(self):
        """Return whether the run draws from the network's own random streams, and not from those of a random_state of `fit`.

        Only then do the network's positions move on.
        """
        return self.entropy == self.network._entropy

    def _move_streams(self, begun=False):
        """Move the network's stream positions past what this run has used, so that the next run draws other numbers.

        With begun=True the order of the current epoch counts as used.
        """
        if self._uses_network_streams():
            drawn = self.source.streams_used(self.state.epoch, self.state.batch, begun)
            if self.draws is None:
                drawn = Positions(drawn.shuffling, drawn.batches)
            self.network._positions = self.network._positions.later(self.source.begin.moved(drawn))

    def save(self):
        """Write the checkpoint, if the run has one."""
        if self.settings.checkpoint is not None:
            self._write_checkpoint(self.state)

    def _write_checkpoint(self, state):
        """Write `state` to the checkpoint file, after moving the network's streams."""
        self._move_streams()
        _checkpoint.write(self.settings.checkpoint, self.network, state, self.history, entropy=self.entropy,
                          identity=self._identity(), seconds=self._seconds(), start=self.start, begin=self.source.begin)
        self.saved = time.monotonic()

    def resume(self):
        """Continue from the checkpoint if the file exists: state, history and the network's parameters come from it."""
        self._read_checkpoint()
        self.network._theta[...] = self.state.theta
        self._update_history(self.state)
        self.progress.update(self._batches_done())

    def _read_checkpoint(self, content=None, path=None, seed=True):
        """Read the checkpoint into state and history, if the file exists. With seed=False, do not compare the seeds.

        `content` holds the bytes of the file if another rank has read it. `path` replaces the path of the settings.
        """
        path = self.settings.checkpoint if path is None else path
        windows = self.source if isinstance(self.source, Windows) else None
        start = _checkpoint.read(path, self.network, self.state, self.history, self._asked_run(seed),
                                 windows=windows, content=content)
        self.start = self.start if start is None else start

    def check_replaceable(self):
        """Raise FileExistsError if the checkpoint would replace anything except an earlier one of this run."""
        settings = self.settings
        if settings.checkpoint is not None and not settings.overwrite:
            _checkpoint.check_replaceable(settings.checkpoint, self.network, self.state, self._asked_run())

    def _asked_run(self, seed=True):
        """Return the checkpoint.Call that describes this call, to compare a checkpoint with it.

        With seed=False, seeds are not compared.
        """
        settings = self.settings
        return _checkpoint.Call(self._identity(), settings.seed if seed else None, settings.begin, self._streams_used(),
                                self._most_updates(), self.source.updates_per_epoch)

    def _streams_used(self):
        """Return Positions with 1 for each of the network's random streams on which the run depends, and 0 for the others.

        A run depends on the order of sequences if it shuffles data that it holds, on fresh batches if it calls a function for
        them, and on noise and dropout if it draws any. A resumed run must begin at the same positions of these streams.
        """
        source = self.source
        if isinstance(source, (Arrays, Windows)):
            return used_streams(source.shuffle, False, self.draws is not None)
        return used_streams(False, source.iterator is None, self.draws is not None)

    def _identity(self):
        """Return the options and fingerprints of data that a checkpoint must share with the run that resumes it, as a dict."""
        settings, source = self.settings, self.source
        return {"optimizer": described(settings.optimizer), "schedule": described(settings.schedule),
                "max_grad_norm": settings.max_grad_norm, "batch_size": source.batch_size,
                **({"tbptt": (source.k1, source.k2)} if isinstance(source, Windows) else {}),
                **({"shuffle": source.shuffle} if isinstance(source, (Arrays, Windows))
                   else {"updates_per_epoch": source.updates_per_epoch}), **self._digests()}

    def _digests(self):
        """Return the fingerprints of the data and of the validation set, by these names. They are computed once."""
        if not hasattr(self, "digests"):
            arrays = {"data": getattr(self.source, "data", None), "validation": self.validation}
            self.digests = {name: _checkpoint.digest(data) for name, data in arrays.items() if data is not None}
        return self.digests

    def fail(self, error):
        """Record an interrupt or another error in the history, and write the last complete state to the checkpoint.

        The caller raises the error again. If the checkpoint cannot be written, the error gets a note.
        """
        names = {KeyboardInterrupt: "interrupted", FloatingPointError: "nonfinite"}
        self.history.stopped = next((name for kind, name in names.items() if isinstance(error, kind)), "error")
        self.history._truncate(self.state.epoch)
        self._update_history(self.state)
        # The next run has another order than the failed epoch. Lanes do not report the batch that failed.
        self._move_streams(begun=isinstance(error, FloatingPointError))
        try:
            self.save()
        except OSError as also:
            error.add_note(f"and the checkpoint could not be written: {also}")
