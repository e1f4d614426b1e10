"""Model files: a header and named arrays in one .npz, written whole or not at all, read without trust.

The file is an ordinary .npz (an uncompressed zip of .npy members) without pickled objects: `numpy.load` opens it. Its
member "header" holds JSON as bytes.
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
VERSION = 1
SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))

# An array's header as numpy.savez writes it, and nothing else: NumPy's own reader hands the text to Python's parser,
# which can be made to fail in ways of its own (MemoryError, tokenize.TokenError)
_ARRAY_HEADER = re.compile(rb"\{'descr': '(\|u1|<f4|<f8)', 'fortran_order': False, "
                           rb"'shape': \((\d{1,10},|\d{1,10}, \d{1,10})\), \} *\n")


def path_of(value, name="path"):
    """Return `value` as a str that names a file; raise TypeError or ValueError, with the argument's name, if it does not."""
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
    """Write `header` (what JSON can hold) and `arrays` to `path`, atomically, with the permissions of what was there.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and take the name `path` only then: a
    crash, a full disk or a kill at any moment leaves the old file, whole. (A kill can leave the temporary file too, named
    .name.*.tmp: nobody can tell it from one that is being written.) What is no file, a device or a pipe, is written to.
    """
    path = os.path.realpath(path_of(path))  # a link stays one
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder {folder!r} to write {name!r} to")
    header = json.dumps({"format": FORMAT, "version": VERSION, **header}).encode()
    arrays = {"header": np.frombuffer(header, np.uint8), **arrays}
    if os.path.exists(path) and not os.path.isfile(path):  # a device, /dev/null say: nothing may take its place
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
        with contextlib.suppress(FileNotFoundError):  # interrupted after it took its name
            os.unlink(temporary)
        raise
    if os.name == "posix":  # the new name itself must reach the disk too
        folder = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _savez(file, arrays):
    try:
        np.savez(file, **arrays)
    except ValueError as error:  # zipfile cannot close what an interrupt left open, and says that in place of it
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def read(path, content=None):
    """Header and arrays of the model file at `path`, whose bytes `content` are where they have come another way.

    Nothing in the file is believed: each array's declared size is held against the bytes that are there before any
    memory is taken, and no pickle is read.

    Raises
    ------
    TypeError, ValueError, IsADirectoryError : path does not name a file.
    ValueError : not a model file, truncated, altered, or written by a later version.
    """
    if content is None:
        path = path_of(path)
    size = os.stat(path).st_size if content is None else len(content)
    try:
        with zipfile.ZipFile(path if content is None else io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len({member.filename for member in members}) != len(members):
                raise ValueError("two members have one name")
            if sum(member.file_size for member in members) > size:
                raise ValueError("its members are larger than the file")
            arrays = {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}
        header = json.loads(arrays.pop("header").tobytes().decode())  # as written: UTF-8, not what json would guess
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError("its header is another program's")
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
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    if member.compress_size != member.file_size:  # zipfile would take the memory of the larger one
        raise ValueError(f"{member.filename} has two sizes")
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{member.filename} is no array of format 1.0")
        header = _ARRAY_HEADER.fullmatch(file.read(int.from_bytes(file.read(2), "little")))
        if header is None:
            raise ValueError(f"{member.filename} is no array that a model has")
        dtype, shape = np.dtype(header[1].decode()), tuple(int(length) for length in header[2].split(b",") if length.strip())
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
            raise ValueError(f"{member.filename} declares shape {shape}, which is not its size")
        return np.frombuffer(file.read(), dtype).reshape(shape)
