"""The benchmark refuses contenders with wrong results, and its tables contain the measurements.

The programs run in separate processes. To test a refusal, they run from a copy with one broken line.
"""

import csv
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cases
import pytest

import fastbptt

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = [pytest.mark.skipif(not (BENCH.exists() and hasattr(signal, "SIGSTOP")),
                                 reason="no bench beside the tests, or no SIGSTOP, which pauses the contenders"),
              pytest.mark.skipif(not cases.ALL, reason="times things: FASTBPTT_TESTS is not all")]

TINY = ["--cells", "4,20,3,5,2", "--seconds", "0"]
LENGTHS = ["full", "equal", "uniform", "geometric"]


def program(name, *arguments, folder=BENCH):
    path = os.pathsep.join([str(Path(fastbptt.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    return subprocess.run([sys.executable, str(folder / name), *arguments], env=os.environ | {"PYTHONPATH": path},
                          capture_output=True, text=True)


def broken_copy(folder, name, right, wrong):
    """Return a copy of bench with one line of the file changed."""
    shutil.copytree(BENCH, folder / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "bench" / name
    text = file.read_text(encoding="utf-8")
    assert text.count(right) == 1, f"{name} has no longer one {right!r}"
    file.write_text(text.replace(right, wrong), encoding="utf-8")
    return file.parents[len(Path(name).parts) - 1]


def check_not_timed(tmp_path, contender, library, module, right, wrong, option, value):
    """Time a contender whose line `right` reads `wrong`. The benchmark must report it and leave it out."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    folder = broken_copy(tmp_path, f"contenders/{module}.py", right, wrong)
    done = program("run.py", *TINY, option, value, "--contenders", contender, folder=folder)
    assert done.returncode == (1 if library == "fastbptt" else 0), done.stderr  # without a peer the others are timed
    assert not re.search("^gradients,", done.stdout, re.MULTILINE), done.stdout
    assert re.search(rf"is wrong at 4,20,3,5,2 {value}, gradients: error .*it was not timed", done.stderr), done.stderr


# How padding gets in: contender, its library, its file, the line as it is and as it must not be
LEAKS = {
    "ours without lengths": ("fastbptt", "fastbptt", "ours", '{"lengths": problem.lengths}', "{}"),
    "ours one step too far": ("fastbptt", "fastbptt", "ours", '{"lengths": problem.lengths}',
                              '{"lengths": (problem.lengths + 1).clip(None, problem.T)}'),
    "torch without a mask": ("torch", "torch", "pytorch", ".sum(2) * mask)", ".sum(2))"),
    "torch one step too far": ("torch", "torch", "pytorch", "[:, None] < self.lengths", "[:, None] <= self.lengths"),
    "torch packed, others' lengths": ("torch_packed", "torch", "pytorch", "(array, self.lengths,",
                                      "(array, self.lengths.flip(0),"),
    "jax without a mask": ("jax", "jax", "jax_scan", "difference, 0)", "difference, difference)"),
    "jax divides by all steps": ("jax", "jax", "jax_scan", "lengths.sum().astype(difference.dtype)", "T * B"),
    "keras without a mask in the loss": ("keras", "keras", "keras_rnn", "squares * tf.cast(mask, squares.dtype)", "squares"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_contender_whose_padding_leaks_is_not_timed(leak, tmp_path):
    check_not_timed(tmp_path, *LEAKS[leak], "--lengths", "uniform")


def test_a_table_of_many_shapes_is_summed_up(tmp_path):
    """The geometric mean of the fastest contender's ratio, and the shapes that were lost."""
    lines = ["what,B,T,I,H,O,units,lengths,dtype,threads,contender,group,unit,median,ratio,min,gflops,gemm_gflops"]
    for n in range(10):
        for name, group, ratio in (("fastbptt", "fastbptt", 1), ("Fast", "user", 0.5 if n == 3 else 2), ("C GRU", "expert", 8)):
            lines.append(f"gradients,{n + 1},2,3,4,5,gru,,float32,1,{name},{group},us,10,{ratio},10,,")
    file = tmp_path / "many.csv"
    for count in (10, 9):
        file.write_text("\n".join(lines[:1 + 3 * count]), encoding="utf-8")
        text = program("report.py", str(file)).stdout
        assert ("10 shapes took 1.74 times as long" in text) == (count == 10), text
        assert ("- 4, 2, 3, 4, 5: Fast took 0.50 of fastbptt's time" in text) == (count == 10), text


def test_lengths_are_timed_checked_and_reported(tmp_path):
    file = tmp_path / "lengths.csv"
    done = program("run.py", *TINY, "--lengths", *LENGTHS, "--contenders", "fastbptt", "full_batches", "reference",
                   "--output", str(file))
    assert done.returncode == 0, done.stderr
    text = file.read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    assert [row["lengths"] for row in rows] == [name for name in LENGTHS for _ in range(3)]
    found = {name: (int(least), int(most), int(steps)) for name, least, most, steps in
             re.findall(r"# lengths of 4,20,3,5,2, (\w+): (\d+) to (\d+), (\d+) of 80 steps", text)}
    assert found["full"] == (20, 20, 80) and found["equal"] == (10, 10, 40)
    for least, most, steps in found.values():
        assert 1 <= least <= most <= 20 and steps % 4 == 0  # so that full batches have as many

    done = program("report.py", str(file), "--pictures", str(tmp_path))
    assert done.returncode == 0, done.stderr
    table = re.findall(r"^\| 4, 20, 3, 5, 2, (\w+) \| ([\d.]+) \| ([\d.]+) \|.* ([\d.]+) \|$", done.stdout, re.MULTILINE)
    assert [name for name, *_ in table] == LENGTHS
    for _, ours, full, ratio in table:
        assert float(ratio) == pytest.approx(float(ours) / float(full), abs=0.02)
    assert [path.name for path in tmp_path.glob("*.png")] == ["lengths_gradients_float32_1.png"]


def test_lengths_refuse_unsupported_arguments():
    done = program("run.py", *TINY, "--lengths", "uniform", "--what", "forward")
    assert done.returncode == 2 and "--lengths is of gradients" in done.stderr


def test_gated_units_are_timed_checked_and_reported(tmp_path):
    file = tmp_path / "gated.csv"
    compiled = ["c_gru"] if shutil.which("gcc") else []
    done = program("run.py", *TINY, "--units", "gru", "lstm", "--contenders", "fastbptt", "fit", "gated_numpy", *compiled,
                   "--output", str(file))
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")))
    gru = ["fastbptt", "fastbptt, a step of fit", "NumPy, gated", *(["C GRU"] if compiled else [])]
    assert [row["contender"] for row in rows if row["units"] == "gru"] == gru
    assert [row["contender"] for row in rows if row["units"] == "lstm"] == gru[:3]
    flops = {row["units"]: float(row["gflops"]) * float(row["median"]) for row in rows if row["contender"] == "fastbptt"}
    assert flops["lstm"] / flops["gru"] == pytest.approx(4 / 3, rel=0.1)  # but for W_y's products; both are rounded

    done = program("report.py", str(file))
    assert done.returncode == 0, done.stderr
    for units in ("GRU", "LSTM"):
        table = done.stdout.split(f"### Loss and gradients, {units}, float32, 1 thread (median, µs)")[1].split("###")[0]
        found = re.search(r"^\| 4, 20, 3, 5, 2 \| [\d.]+ \| [\d.]+ \([\d.]+\) \|.*\| NumPy, gated, [\d.]+ \|$", table, re.MULTILINE)
        assert found, table  # a step of fit has its ratio, and C is not one of the others


# Contender, its library, its file, a line of its backward pass as it is and as it must not be
WRONG = {
    "C": ("c_gru", "threadpoolctl", "gated_c", "q[3 * H + k] = dn * r;", "q[3 * H + k] = dn;"),
    "NumPy": ("gated_numpy", "numpy", "gated_numpy", "carry_c = dc * f", "carry_c = dc * i"),
    "torch": ("gated_torch", "torch", "gated_torch", "2 * problem.H, None", "problem.H"),
    "jax by hand": ("gated_jax_hand", "jax", "gated_jax", "(delta @ W, dc * f)", "(delta @ W, dc)"),
    "numba": ("gated_numba", "numba", "gated_numba", "carry[k] = z * d", "carry[k] = d"),
    "keras": ("gated_keras", "keras", "gated_keras", "b_s[1, 2 * H:]", "b_s[1, :H]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_gated_contender_whose_gradients_are_wrong_is_not_timed(name, tmp_path):
    contender, *_, right, _ = WRONG[name]
    if contender == "c_gru" and not shutil.which("gcc"):
        pytest.skip("no compiler gcc")
    check_not_timed(tmp_path, *WRONG[name], "--units", "lstm" if "dc" in right else "gru")


def test_options_are_timed():
    done = program("options.py", *TINY)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| 4, 20, .* \| (.*) \| [\d.]+ \| [\d.]+ \| [\d.]+ \| ([\d.]*) \| .+ \|$", done.stdout,
                      re.MULTILINE)
    assert len(rows) == 13
    assert [bar for title, bar in rows if title.endswith("none") and "tbptt" not in title] == ["1.05"] * 4


def test_an_option_whose_gradients_are_wrong_is_not_timed(tmp_path):
    folder = broken_copy(tmp_path, "options.py", "net.loss_and_gradients(self.X,",
                         'net.loss_and_gradients(self.X * (backend != "core"),')
    done = program("options.py", *TINY, folder=folder)
    assert done.returncode == 1 and "it was not timed" in done.stderr


def test_bound_prints_a_row_for_each_shape():
    done = program("bound.py", "--seconds", "0")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 9 and all(float(row[4]) > 0 for row in rows)


def test_busy_prints_every_table():
    done = program("busy.py", "--cells", "20,30,3,5,2", "--seconds", "0.2", "--tables", "busy", "idle", "spaced", "processes")
    if "needs two cores" in done.stderr:
        pytest.skip("one core")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| 20,30,3,5,2 \| (.+?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) ± [\d.]+ \|(?: ([\d.]+) \|)?$",
                      done.stdout, re.MULTILINE)
    ours = [gap for title, *_, gap in rows if title == "fastbptt"]
    assert ours == ["", "", "0.1", "1", "10", ""]
    for _, one, several, ratio, _ in rows:
        assert float(ratio) == pytest.approx(float(several) / float(one), rel=0.2)


def test_two_builds_are_compared_in_paired_runs():
    folder = str(Path(fastbptt.__file__).parents[1])
    done = program("compare.py", folder, folder, "--cells", "4,20,3,5,2", "--seconds", "0")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| 4,20,3,5,2 \| float32 \| 1 \| gradients \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ to [\d.]+ \|$",
                     done.stdout, re.MULTILINE), done.stdout
