"""The steps of CONTRIBUTING.md, "Add a cell", taken in a copy of the source for two cells that fastbptt does not have.

    mgu   the minimal gated unit (Zhou et al. 2016): two gates, the state times the first gate is the factor of the last
    cifg  the LSTM whose input gate is 1 - f (Greff et al. 2017): three gates, a second carry

The copy is compiled, and the tests of gated cells then take these two from the table of cells: gradients of the core against
those of the reference, and of the reference against complex steps, with lengths, resets, truncation, memory limits, layers and
both directions, in the vector kernels and in the set `blas`. A step that is missing in CONTRIBUTING.md is a failure here.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest
from processes import ROOT

GATED_H = """
/* mgu: f, n */

static INLINE void NAME(mgu_step)(const int activation, ptrdiff_t rows, ptrdiff_t ldh, const real *before,
                                  const real *carry_before, real *S, real *carry, real *saves)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++, before += ldh, S += ldh, saves += 2 * ldh)
        for (j = 0; j < ldh; j += W) {
            const V f = LOAD(saves + j), n = NAME(g)(activation, LOAD(saves + ldh + j)), h = LOAD(before + j);
            STORE(saves + ldh + j, n);
            STORE(S + j, h + f * (n - h));
        }
}

static INLINE void NAME(mgu_step_back)(const int activation, ptrdiff_t rows, ptrdiff_t H, ptrdiff_t ldh, const real *saves,
                                       const real *before, int comes, real *dcarry, real *delta)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++, before += ldh, dcarry += ldh, saves += 2 * ldh, delta += 2 * ldh)
        for (j = 0; j < ldh; j += W) {
            const V f = LOAD(saves + j), n = LOAD(saves + ldh + j);
            const V dh = comes ? LOAD(delta + j) + LOAD(dcarry + j) : LOAD(delta + j);
            STORE(delta + j, dh * (n - LOAD(before + j)));
            STORE(delta + ldh + j, SELECT(NAME(there)(H - j), dh * f * NAME(slope_of_g)(activation, n), SPLAT(0)));
            STORE(dcarry + j, dh * (1 - f));
        }
}

/* cifg: f, g, o, g1(c), c before */

static INLINE void NAME(cifg_step)(const int activation, ptrdiff_t rows, ptrdiff_t ldh, const real *before,
                                   const real *carry_before, real *S, real *carry, real *saves)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++, carry_before += ldh, S += ldh, carry += ldh, saves += 5 * ldh)
        for (j = 0; j < ldh; j += W) {
            const V f = NAME(gate_of)(LOAD(saves + j)), g = NAME(g)(activation, LOAD(saves + ldh + j));
            const V o = NAME(gate_of)(LOAD(saves + 2 * ldh + j)), kept = LOAD(carry_before + j);
            const V c = g + f * (kept - g), r = NAME(g)(activation, c);
            STORE(saves + j, f);
            STORE(saves + ldh + j, g);
            STORE(saves + 2 * ldh + j, o);
            STORE(saves + 3 * ldh + j, r);
            STORE(saves + 4 * ldh + j, kept);
            STORE(carry + j, c);
            STORE(S + j, o * r);
        }
}

static INLINE void NAME(cifg_step_back)(const int activation, ptrdiff_t rows, ptrdiff_t H, ptrdiff_t ldh, const real *saves,
                                        const real *before, int comes, real *dcarry, real *delta)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++, dcarry += ldh, saves += 5 * ldh, delta += 3 * ldh)
        for (j = 0; j < ldh; j += W) {
            const MASK there = NAME(there)(H - j);
            const V f = LOAD(saves + j), g = LOAD(saves + ldh + j), o = LOAD(saves + 2 * ldh + j);
            const V r = LOAD(saves + 3 * ldh + j), kept = LOAD(saves + 4 * ldh + j), dh = LOAD(delta + j);
            const V through = dh * o * NAME(slope_of_g)(activation, r);
            const V dc = SELECT(there, comes ? LOAD(dcarry + j) + through : through, SPLAT(0));
            STORE(dcarry + j, dc * f);
            STORE(delta + j, dc * (kept - g) * NAME(slope_of_gate)(f));
            STORE(delta + ldh + j, dc * (1 - f) * NAME(slope_of_g)(activation, g));
            STORE(delta + 2 * ldh + j, SELECT(there, dh * r * NAME(slope_of_gate)(o), SPLAT(0)));
        }
}

"""
BLAS_PYX = """
cdef void mgu_step(int activation, Py_ssize_t H, const floating *before, const floating *carry_before, floating *S,
                   floating *carry, floating *s) noexcept nogil:
    cdef Py_ssize_t h
    activate(activation, H, s + H)
    for h in range(H):
        S[h] = before[h] + s[h] * (s[H + h] - before[h])


cdef void mgu_step_back(int activation, Py_ssize_t H, const floating *s, const floating *before, floating *dcarry,
                        floating *d) noexcept nogil:
    cdef Py_ssize_t h
    cdef floating dh
    for h in range(H):
        dh = d[h] + dcarry[h]
        dcarry[h] = dh * (1 - s[h])
        d[h] = dh * (s[H + h] - before[h])
        d[H + h] = dh * s[h]
    differentiate(activation, H, s + H, d + H)


cdef void cifg_step(int activation, Py_ssize_t H, const floating *before, const floating *carry_before, floating *S,
                    floating *carry, floating *s) noexcept nogil:
    cdef Py_ssize_t h
    activate(SIGMOID, H, s)
    activate(activation, H, s + H)
    activate(SIGMOID, H, s + 2 * H)
    for h in range(H):
        s[4 * H + h] = carry_before[h]
        s[3 * H + h] = carry[h] = s[H + h] + s[h] * (carry_before[h] - s[H + h])
    activate(activation, H, s + 3 * H)
    for h in range(H):
        S[h] = s[2 * H + h] * s[3 * H + h]


cdef void cifg_step_back(int activation, Py_ssize_t H, const floating *s, const floating *before, floating *dcarry,
                         floating *d) noexcept nogil:
    cdef Py_ssize_t h
    cdef floating dc
    for h in range(H):
        d[H + h] = d[h] * s[2 * H + h]
        d[2 * H + h] = d[h] * s[3 * H + h] * s[2 * H + h] * (1 - s[2 * H + h])
    differentiate(activation, H, s + 3 * H, d + H)
    for h in range(H):
        dc = dcarry[h] + d[H + h]
        dcarry[h] = dc * s[h]
        d[h] = dc * (s[4 * H + h] - s[H + h]) * s[h] * (1 - s[h])
        d[H + h] = dc * (1 - s[h])
    differentiate(activation, H, s + H, d + H)


"""
BLAS_ROWS = """GATED_CELLS[MGU] = GatedCell(mgu_step[float], mgu_step[double], mgu_step_back[float], mgu_step_back[double])
GATED_CELLS[CIFG] = GatedCell(cifg_step[float], cifg_step[double], cifg_step_back[float], cifg_step_back[double])
"""
REFERENCE = '''
def _mgu(units, A, h, through):
    """Return h' and [f n]: f = σ(A_f + W_s,f (M ∘ h)) ;  n = g1(A_n + W_s,n (f ∘ M ∘ h)) ;  h' = h + f ∘ (n - h)."""
    A_f, A_n = _parts(A, 2)
    f = _sigmoid(A_f + (through.mask * h) @ pack(through.rows(0, 1)))
    n = units.g(A_n + (f * through.mask * h) @ pack(through.rows(1, 2)))
    return h + f * (n - h), _joined(f, n)


def _mgu_to_delta(units, dS, saved, h, through):
    f, n = _parts(saved, 2)
    dn = dS * f * units.dg(n)
    return _joined((dS * (n - h) + (dn @ through.rows(1, 2)) * through.mask * h) * _slope(f), dn)


def _mgu_to_before(units, delta, dS, saved, h, through):
    (f, _), (df, dn) = _parts(saved, 2), _parts(delta, 2)
    return (1 - f) * dS + through.mask * (df @ through.rows(0, 1) + f * (dn @ through.rows(1, 2)))


def _mgu_to_weights(units, delta, saved, h, through):
    (f, _), (df, dn) = _parts(saved, 2), _parts(delta, 2)
    read = through.mask * h
    return np.concatenate([accumulate(df, read), accumulate(dn, f * read)]), None


def _cifg(units, A, S, through):
    """Return [h' c'] and [f g o tanh_c c]: c' = f ∘ c + (1 - f) ∘ g ;  h' = o ∘ g1(c')."""
    h, c = _parts(S, 2)
    f, g, o = _parts(A + (through.mask * h) @ pack(through.W_s), 3)
    f, g, o = _sigmoid(f), units.g(g), _sigmoid(o)
    new = f * c + (1 - f) * g
    return _joined(o * units.g(new), new), _joined(f, g, o, units.g(new), c)


def _cifg_of_c(units, dS, saved):
    (dh, dc), (_, _, o, tanh_c, _) = _parts(dS, 2), _parts(saved, 5)
    return dc + dh * o * units.dg(tanh_c)


def _cifg_to_delta(units, dS, saved, S, through):
    dh, dc, (f, g, o, tanh_c, c) = _parts(dS, 2)[0], _cifg_of_c(units, dS, saved), _parts(saved, 5)
    return _joined(dc * (c - g) * _slope(f), dc * (1 - f) * units.dg(g), dh * tanh_c * _slope(o))


def _cifg_to_before(units, delta, dS, saved, S, through):
    return _joined(through.mask * (delta @ through.W_s), _parts(saved, 5)[0] * _cifg_of_c(units, dS, saved))


'''
REFERENCE_ROWS = '''    "mgu": Cell(("f", "n"), ("h",), ("f", "n"), _mgu, _kept, _state, _as_it_is,
                _mgu_to_delta, _mgu_to_before, _mgu_to_weights, "mgu", "n"),
    "cifg": Cell(("f", "g", "o"), ("h", "c"), ("f", "g", "o", "tanh_c", "c_before"), _cifg, _kept,
                 lambda units, S: _parts(S, 2)[0], _lstm_read_back,
                 _cifg_to_delta, _cifg_to_before, _one_gate_to_weights, "cifg", "g"),
'''
BY_HAND = """    if name == "mgu":
        f = sigmoid(A[0] + W_s[0] @ (mask * h))
        n = g(A[1] + W_s[1] @ (f * mask * h))
        return (1 - f) * h + f * n, np.concatenate([f, n])
    if name == "cifg":
        f, candidate, o = (act(A[k] + W_s[k] @ (mask * h)) for k, act in enumerate((sigmoid, g, sigmoid)))
        c = f * S[H:] + (1 - f) * candidate
        return np.concatenate([o * g(c), c]), np.concatenate([f, candidate, o, g(c), S[H:]])
"""

# What a contributor writes: file, the line before which it stands, and the text
STEPS = [
    ("fastbptt/reference/cells.py", "# The rows _input are for activations", REFERENCE),
    ("fastbptt/reference/cells.py", "}\nCELL_NAMES", REFERENCE_ROWS),
    ("fastbptt/kernels/defs/cells.def", "\n#undef CELL\n", "GATED_CELL(MGU, mgu, mgu, 2, 1, 2, 1, GATED, FIRST)\n"
                                                           "GATED_CELL(CIFG, cifg, cifg, 3, 2, 5, 1, SUMMED, BOTH)\n"),
    ("fastbptt/kernels/simd/gated.h", "/* Compute C += A @ P for the blocks", GATED_H),
    ("fastbptt/kernels/blas.pyx", "\ninclude \"_blas_int.pxi\"", '        MGU "FASTBPTT_MGU"\n        CIFG "FASTBPTT_CIFG"\n'),
    ("fastbptt/kernels/blas.pyx", "\nctypedef void (*Step_f32)", BLAS_PYX),
    ("fastbptt/kernels/blas.pyx", "\n\ndef check_cells():", BLAS_ROWS),
]
FORMULAS = [("tests/support/gated.py", "    r, z = (sigmoid(A[k]", BY_HAND)]  # of test_gated.py


def write(folder, steps):
    """Insert each text before its line, which must be in its file once."""
    for file, before, text in steps:
        path = folder / file
        source = path.read_text(encoding="utf-8")
        assert source.count(before) == 1, f"{file} has {before!r} {source.count(before)} times"
        path.write_text(source.replace(before, text + before), encoding="utf-8")


def run(folder, *command, **environment):
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": "", **environment})
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_a_cell_is_added_in_four_files_of_source():
    """Besides its documentation."""
    assert len({file for file, _, _ in STEPS}) == 4
    if (ROOT / "CONTRIBUTING.md").exists():
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        steps = text[text.index("## Add a cell"):text.index("## Add a kernel set")]
        for file, _, _ in STEPS:
            assert f"`{file}`" in steps, file


def test_new_cells_pass_the_tests_of_gated_cells(tmp_path):
    if os.environ.get("FASTBPTT_BUILDS") != "all":
        pytest.skip("takes a minute: FASTBPTT_BUILDS is not all")
    pytest.importorskip("Cython", reason="a copy of the source is compiled")
    pytest.importorskip("setuptools", reason="a copy of the source is compiled")
    if not (ROOT / "setup.py").exists() or not (ROOT / "fastbptt" / "_core.pyx").exists():
        pytest.skip("no sources beside the tests")
    for name in ("fastbptt", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.pyc"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    write(tmp_path, STEPS + FORMULAS)
    run(tmp_path, "setup.py", "-q", "build_ext", "--inplace", FASTBPTT_CFLAGS="-O0")
    run(tmp_path, "-c", "from fastbptt import RNN, Population; print(RNN(1, 2, 1, cell='mgu'), RNN(1, 2, 1, cell='cifg'))")
    assert passed(run_tests(tmp_path, "mgu or cifg", "tests/engine/test_gates.py")) >= 30
    few = "(mgu or cifg) and (stacks or single)"
    assert passed(run_tests(tmp_path, few, "tests/engine/test_gates.py", FASTBPTT_SIMD="blas")) >= 10
    assert passed(run_tests(tmp_path, "mgu or cifg", "tests/reference/test_gated.py")) >= 100


def run_tests(folder, names, file, **environment):
    """The output of pytest for the tests of these names."""
    return run(folder, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", names, file, FASTBPTT_TESTS="all",
               **environment)


def passed(output):
    """The number of tests that passed."""
    return int(re.search(r"(\d+) passed", output)[1])
