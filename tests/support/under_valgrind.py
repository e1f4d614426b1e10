"""short_work.py under valgrind's memcheck, once for each kernel set that valgrind knows the instructions of.

    python tests/support/under_valgrind.py [SET ...]     by default avx2, baseline and blas

Exits 1 where something was read or written that may not be, or decided upon before it was written, in fastbptt's
modules or in what they or NumPy computed; or where memory of fastbptt's was lost. What Python itself does (its small
integers among others) is left out by where it stands in the stack. Takes a minute. Without valgrind it says SKIPPED.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path

from processes import find_package

HERE = Path(__file__).parent
SETS = ("avx2", "baseline", "blas")  # AVX-512 it does not know
LIBRARIES = ("vgpreload", "libc.", "libc-", "libm.", "libm-", "libstdc++", "ld-linux", "libpthread")


def frames(error):
    """Return (function, path of its library) of each frame of an error's first stack, the innermost first."""
    return [(frame.findtext("fn") or "?", frame.findtext("obj") or "?") for frame in error.find("stack").iter("frame")]


def is_ours(path):
    """Return whether a library is one of fastbptt's modules."""
    return "fastbptt" in Path(path).parts[-2:-1]


def counts(error):
    """Return whether an error is not Python's own: the innermost frame that is in no library of C says whose it is."""
    kind, stack = error.findtext("kind"), frames(error)
    paths = [path for _, path in stack if not Path(path).name.startswith(LIBRARIES)]
    owner = paths[0] if paths else "?"
    if kind.startswith("Leak_"):
        return kind == "Leak_DefinitelyLost" and is_ours(owner)
    if kind.startswith("Invalid"):
        return any(map(is_ours, paths))
    return is_ours(owner) or any(name in owner for name in ("numpy", "scipy"))


def check(kernel_set, folder):
    """Return the errors of one run that count, as text, and the number of the others."""
    path = Path(folder) / f"{kernel_set}.xml"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONMALLOC": "malloc",
                   "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
                   "FASTBPTT_SIMD": kernel_set}
    command = ["valgrind", "--xml=yes", f"--xml-file={path}", "--num-callers=40", "--leak-check=full",
               "--show-leak-kinds=definite", sys.executable, HERE / "short_work.py"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    if run.returncode != 0:
        return [f"the work itself failed: {run.stdout[-1000:]}{run.stderr[-2000:]}"], 0
    errors = list(xml.etree.ElementTree.parse(path).getroot().iter("error"))
    found = [error for error in errors if counts(error)]
    words = [f"{error.findtext('what') or error.findtext('xwhat/text')}\n" + "\n".join(
        f"    {name} ({Path(library).name})" for name, library in frames(error)[:8]) for error in found]
    return words, len(errors) - len(found)


def main(sets):
    """Run every kernel set, print its errors, and return the exit code."""
    if shutil.which("valgrind") is None:
        print("SKIPPED: valgrind is not here")
        return 0
    if not find_package():
        print('fastbptt is not installed: run `pip install ".[test]"` in the source folder first')
        return 4
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for kernel_set in sets or SETS:
            words, others = check(kernel_set, folder)
            print(f"{kernel_set}: {len(words)} errors, and {others} of Python itself", *words, sep="\n", flush=True)
            bad += len(words)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
