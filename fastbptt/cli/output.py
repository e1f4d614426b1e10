"""Exit codes, `Refusal`, and files that are written whole or not at all. All commands share them."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import sys
import tempfile

from . import picture as _picture
from ..forecasting import tables as _tables

FAILED, REFUSED, INTERRUPTED = 1, 2, 130  # exit codes; 130 is the shell's for Ctrl-C


class Refusal(Exception):
    """The command cannot do what was asked. The message is printed without a traceback."""


def read(path, command, **options):
    """Return the Table of a file. `command` is "train" or "predict"."""
    try:
        return _tables.read_table(path, command=command, **options)
    except (ImportError, ValueError) as error:
        raise Refusal(str(error)) from None
    except OSError as error:
        raise Refusal(f"{path!r} cannot be read: {error.strerror}") from None


def refuse_own_input(option, path, source, what):
    """Raise Refusal if `path` is the file `source` in any spelling. `source` may be None."""
    if source is None:
        return
    try:
        same = os.path.samefile(path, source)  # links too
    except (OSError, ValueError):  # one of them does not exist, or names no file
        same = os.path.realpath(path) == os.path.realpath(source)
    if same:
        raise Refusal(f"{option} {path!r} is {what}")


def refuse_unwritable(option, path):
    """Raise Refusal if `path` cannot be written. Call this before the training."""
    folder = os.path.dirname(os.path.abspath(path))
    if not path or os.path.isdir(path):
        raise Refusal(f"{option} must name a file, got {path!r}" + (", which is a folder" if path else ""))
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        if os.path.exists(path):
            with open(path, "ab"):
                pass
    except OSError as error:
        raise Refusal(f"{option} {path!r} cannot be written: {error.strerror}") from error


def can_draw(model, picture):
    """Return whether matplotlib is installed. If so, raise Refusal if it cannot draw to the file of --plot."""
    try:
        types = _picture.file_types()
    except ImportError:
        return False
    refuse_unwritable("--plot", picture)
    if os.path.realpath(picture) == os.path.realpath(model):
        raise Refusal(f"--model and --plot name the same file, {picture!r}")
    ending = os.path.splitext(picture)[1][1:].lower()
    if ending not in types:
        raise Refusal(f"--plot {picture!r} must end in one of {', '.join('.' + name for name in sorted(types))}")
    return True


def save(model, path):
    try:
        model.save(path)
    except OSError as error:
        raise Refusal(f"--model {path!r} cannot be written: {error.strerror}") from error


def _draw(path, **panels):
    picture = io.BytesIO()
    _picture.draw(picture, os.path.splitext(path)[1][1:].lower(), **panels)
    _write("--plot", path, picture.getvalue())


def _write(option, path, data):
    """Write bytes to a file, whole or not at all."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device cannot be replaced
            with open(path, "wb") as file:
                file.write(data)
            return
        path = os.path.realpath(path)
        temporary = f"{path}.{secrets.token_hex(8)}.tmp"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            if os.path.exists(path):
                os.chmod(temporary, os.stat(path).st_mode & 0o777)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise Refusal(f"{option} {path!r} cannot be written: {error.strerror}") from error


def save_interrupted(trained, model, history):
    """Save the network of an interrupted training, if there is one, without replacing an earlier file."""
    if history is None:
        print("Interrupted before the first update; nothing is saved.")
        return INTERRUPTED
    if os.path.exists(model):
        stem, ending = os.path.splitext(model)
        model = f"{stem}.interrupted{ending}"
    save(trained[0], model)
    epochs = len(history.train_loss)
    print(f"Interrupted after {epochs} whole epoch{'' if epochs == 1 else 's'}; saved the network of the last completed "
          f"update: {model}")
    return INTERRUPTED


def _failed(error):
    print(f"fastbptt: training failed: {error}", file=sys.stderr)
    return FAILED
