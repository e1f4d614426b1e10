"""C that is compiled while a benchmark runs, for the shape that it measures."""

import ctypes
import subprocess
import tempfile
from pathlib import Path

COMPILER = "gcc"


def c_library(macros, source, flags):
    """Return the ctypes library of `source`, behind a #define for each string of `macros`, compiled with `flags`.

    Raises RuntimeError with the compiler's output if it does not compile.
    """
    text = "\n".join(f"#define {macro}" for macro in macros) + source
    with tempfile.TemporaryDirectory() as folder:
        written, library = Path(folder) / "contender.c", Path(folder) / "contender.so"
        written.write_text(text, encoding="utf-8")
        done = subprocess.run([COMPILER, *flags, "-o", str(library), str(written)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the C contender does not compile:\n{done.stderr}")
        return ctypes.CDLL(str(library))
