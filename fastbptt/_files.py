"""Read and write model files: a header and named arrays in one .npz file.

A model file is an ordinary .npz (an uncompressed zip of .npy members) without pickled objects, so `numpy.load` opens it. Its
member "header" holds JSON as bytes. `write` replaces a file completely or not at all. `read` trusts nothing in a file. What
all model files have in common belongs here; what a header contains belongs to the classes that write it.
"""

import contextlib
import errno
import io
import json
import math
import os
import re
import secrets
import zipfile

import numpy as np

FORMAT = "fastbptt"
VERSION = 2  # 1: files of version 0.1, whose networks have no option `cell`
SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))

# Exactly the header of an array that numpy.savez writes. NumPy's own reader is not used: it passes the text to Python's
# parser, and a crafted header makes that fail with unexpected exceptions (MemoryError, tokenize.TokenError).
_ARRAY_HEADER = re.compile(rb"\{'descr': '(\|u1|<f4|<f8)', 'fortran_order': False, "
                           rb"'shape': \((\d{1,10},|\d{1,10}, \d{1,10})\), \} *\n")


def path_of(value, name="path"):
    """Return the path `value` as a str.

    Raise TypeError for another type than str or os.PathLike of str. Raise ValueError for an empty string or a null character,
    and IsADirectoryError for a folder. The messages begin with `name`, the argument's name.
    """
    path = value
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if isinstance(path, bytes):
        raise TypeError(f"{name} must be a str or an os.PathLike of str, got bytes {path!r}: os.fsdecode converts them")
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a str or an os.PathLike, such as pathlib.Path, got {type(value).__name__}")
    if not path:
        raise ValueError(f"{name} must name a file, got an empty string")
    if "\0" in path:
        raise ValueError(f"{name} must not contain a null character, got {path!r}")
    if path.endswith(SEPARATORS) or os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, f"{name} must name a file, not a folder", path)
    return path


def write(path, header, arrays):
    """Write `header`, a dict for JSON, and `arrays`, a dict by name, to `path`, atomically.

    The bytes go to a temporary file in the same folder and are flushed to the disk. Only then the temporary file gets the name
    `path` and the permissions of the old file. A crash, a full disk or a kill at any moment therefore leaves the old file
    complete. A kill can also leave the temporary file, .name.*.tmp, which nobody can distinguish from one that is being
    written. If `path` is a device or a pipe, the bytes are written to it directly.
    """
    path = os.path.realpath(path_of(path))  # a symbolic link stays a link: its target is replaced
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"path must be in an existing folder: there is no {folder!r} to write {name!r} to")
    header = json.dumps({"format": FORMAT, "version": VERSION, **header}).encode()
    arrays = {"header": np.frombuffer(header, np.uint8), **arrays}
    if os.path.exists(path) and not os.path.isfile(path):  # a device such as /dev/null, which must not be replaced
        content = io.BytesIO()
        _savez(content, arrays)
        with open(path, "wb") as file:
            file.write(content.getvalue())
        return
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            _savez(file, arrays)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            os.chmod(temporary, os.stat(path).st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # interrupted after the renaming
            os.unlink(temporary)
        raise
    if os.name == "posix":  # flush the new name to the disk too
        folder = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _savez(file, arrays):
    """Write arrays, a dict by name, to an open file as .npz. Raise KeyboardInterrupt if Ctrl-C interrupts it."""
    try:
        np.savez(file, **arrays)
    except ValueError as error:  # zipfile cannot close a member that an interrupt left open, and raises this instead
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def read(path, content=None):
    """Return the header, a dict, and the arrays, a dict by name, of the model file at `path`.

    If `content` is given, these bytes are read instead, and `path` only appears in messages. The function trusts nothing in
    the file: it compares each array's declared size with the bytes that exist before it allocates memory, and it reads no
    pickles.

    Raises
    ------
    TypeError, ValueError, IsADirectoryError : path does not name a file.
    ValueError : the file is not a model file, is truncated or altered, or a later version wrote it.
    """
    if content is None:
        path = path_of(path)
    size = os.stat(path).st_size if content is None else len(content)
    try:
        with zipfile.ZipFile(path if content is None else io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len({member.filename for member in members}) != len(members):
                raise ValueError("two members have the same name")
            if sum(member.file_size for member in members) > size:
                raise ValueError("its members are larger than the file")
            arrays = {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}
        header = json.loads(arrays.pop("header").tobytes().decode())  # written as UTF-8; json would guess the encoding of bytes
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError("its header was written by another program")
        version = header["version"]
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, RuntimeError, NotImplementedError,
            SyntaxError, RecursionError) as error:
        raise ValueError(f"{path!r} is not a fastbptt model, or a damaged one: {error}") from error
    if type(version) is not int or version < 1:
        raise ValueError(f"{path!r} is not a fastbptt model, or a damaged one: its version is {version!r}")
    if version > VERSION:
        raise ValueError(f"{path!r} was written by a later fastbptt: its format is {version!r}, "
                         f"this one reads up to {VERSION}")
    return header, arrays


def _read_array(archive, member):
    """Return the array in a member of a zip archive. Raise ValueError unless it is exactly as `write` writes it."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    if member.compress_size != member.file_size:  # zipfile would allocate the larger of the two sizes
        raise ValueError(f"{member.filename} has two sizes")
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{member.filename} is not an array of .npy format 1.0")
        header = _ARRAY_HEADER.fullmatch(file.read(int.from_bytes(file.read(2), "little")))
        if header is None:
            raise ValueError(f"{member.filename} is not an array that fastbptt writes: its header differs")
        dtype, shape = np.dtype(header[1].decode()), tuple(int(length) for length in header[2].split(b",") if length.strip())
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
            raise ValueError(f"{member.filename} declares shape {shape}, which is not its size")
        return np.frombuffer(file.read(), dtype).reshape(shape)
