"""The tables of activations, losses and update rules in kernels/defs: their names are the same everywhere, a row without its
functions does not compile, and a number that is no row is refused."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from embedding import constants

from fastbptt import _core, reference

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "fastbptt" / "kernels"
# The table, a new row of it, and the functions in the header beside it that the row needs
NEW_ROWS = {
    "activations": ("ACTIVATION(HALF, half, HIDDEN, VALUE)", """
static INLINE V NAME(g_half)(V a) { return a * (real)0.5; }
static INLINE WIDE NAME(slope_half)(V r) { (void)r; return SPLAT(0.5); }
"""),
    "losses": ("LOSS(HALF, half, ANY, NONE)", """
static INLINE V NAME(loss_half)(V y, V d, V q, WIDE *e) { (void)q; *e = (y - d) * (real)0.5; return SPLAT(0.5); }
"""),
    "rules": ("RULE(HALF, half, 1)", """
static INLINE T RULE_NAME(half)(const RULE_NAME(options) *by, T g, T theta, T *slot_1, T *slot_2)
{ (void)slot_1; (void)slot_2; return theta - by->eta * g * (real)0.5; }
"""),
}


def names_in(table):
    """The names of a table's rows, in order."""
    return re.findall(r"^(?:ROW_)?[A-Z]+\(\w+, (\w+)", (KERNELS / "defs" / f"{table}.def").read_text("utf-8"), re.MULTILINE)


@pytest.mark.skipif(not KERNELS.exists(), reason="the sources are not here")
def test_python_reads_its_names_from_the_tables():
    activations = {**_core.ACTIVATIONS, **_core.OUTPUT_ACTIVATIONS}
    assert sorted(activations, key=activations.get) == names_in("activations")
    assert list(_core.LOSSES) == names_in("losses")
    assert list(_core.RULES) == names_in("rules")


def test_the_constants_of_the_c_interface_are_the_positions_in_the_tables():
    found = constants()
    for prefix, names in (("ACTIVATION_", {**_core.ACTIVATIONS, **_core.OUTPUT_ACTIVATIONS}), ("LOSS_", _core.LOSSES)):
        assert {name: value for name, value in found.items() if name.startswith(prefix)} == {
            prefix + name.upper(): value for name, value in names.items()}


@pytest.mark.quick
@pytest.mark.skipif(not KERNELS.exists(), reason="the sources are not here")
def test_generated_files_are_those_of_the_tables(tmp_path):
    program = runpy.run_path(str(KERNELS / "defs" / "names.py"))
    texts = program["texts"](KERNELS.parent)
    assert sorted(path.relative_to(KERNELS.parent).as_posix() for path in texts) == [
        "kernels/constants.pxi", "kernels/names.py", "options/signature.py"]
    for path, text in texts.items():
        assert path.read_text("utf-8") == text, f"{path.name} is not what a build writes"


@pytest.mark.skipif(not KERNELS.exists(), reason="the sources are not here")
def test_new_rows_and_options_come_into_the_generated_files(tmp_path):
    for name in ("kernels/defs", "options"):
        shutil.copytree(KERNELS.parent / name, tmp_path / name)
    shutil.copy(KERNELS.parent / "network.py", tmp_path)
    for table, (row, _) in NEW_ROWS.items():
        path = tmp_path / "kernels" / "defs" / f"{table}.def"
        path.write_text(path.read_text("utf-8").replace("\n#undef", f"\n{row} /* a half */\n\n#undef", 1), "utf-8")
    path = tmp_path / "network.py"
    path.write_text(path.read_text("utf-8").replace("dt: Float | None = None, ", "dt: Float | None = None, size_of_x: Int | str = 0, ", 1))
    runpy.run_path(str(KERNELS / "defs" / "names.py"))["write"](tmp_path)
    constants = (tmp_path / "kernels" / "constants.pxi").read_text("utf-8")
    for prefix, table in (("ACTIVATION", "activations"), ("LOSS", "losses")):
        assert re.search(rf"^    {prefix}_HALF = {len(names_in(table))} +# a half$", constants, re.MULTILINE)
    assert (tmp_path / "kernels" / "names.py").read_text("utf-8").count('    "half",\n]') == 4  # not an output activation
    signature = (tmp_path / "options" / "signature.py").read_text("utf-8")
    assert "    size_of_x: Int | str\n" in signature and "    Int,\n" in signature


@pytest.mark.parametrize("rule", reference.UPDATE_RULES)
@pytest.mark.parametrize("slots", [0, 1, 2, 3])
def test_update_takes_as_many_slots_as_the_table_says(rule, slots):
    theta, gradient = np.ones(3), np.ones(3)
    arrays = [np.zeros(3) for _ in range(slots)]
    if slots == reference.UPDATE_RULES[rule]:
        _core.update(rule, theta, gradient, arrays, 1, learning_rate=0.1, rho=0.9, beta_1=0.9, beta_2=0.99, epsilon=1e-8)
        assert np.all(theta < 1)
    else:
        with pytest.raises(ValueError, match="slots"):
            _core.update(rule, theta, gradient, arrays, 1, learning_rate=0.1)


def test_an_unknown_rule_is_refused():
    with pytest.raises(KeyError, match="adamax"):
        reference.update("adamax", np.ones(3), np.ones(3), [np.zeros(3), np.zeros(3)], 1, learning_rate=0.1)
    with pytest.raises(KeyError, match="adamax"):
        _core.update("adamax", np.ones(3), np.ones(3), [np.zeros(3), np.zeros(3)], 1, learning_rate=0.1)


def compiles(folder, source):
    """The errors of the compiler, "" if there are none; no code is generated."""
    result = subprocess.run(["gcc", "-fsyntax-only", f"-I{folder}", source], capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stderr


@pytest.fixture
def copied(tmp_path):
    if not (KERNELS / "dispatch.c").exists() or shutil.which("gcc") is None:
        pytest.skip("the sources or gcc are not here")
    shutil.copytree(KERNELS, tmp_path / "kernels", ignore=shutil.ignore_patterns("*.so"))
    (tmp_path / "scalar.c").write_text('#include <stddef.h>\n#include "scalar.h"\n')
    return tmp_path


def insert(path, before, text):
    old = path.read_text("utf-8")
    assert before in old
    path.write_text(old.replace(before, text + before, 1), "utf-8")


@pytest.mark.share(4)
@pytest.mark.parametrize("table, row, functions", [(table, *new) for table, new in NEW_ROWS.items()] + [
    ("activations", "ACTIVATION(HALF, half, HIDDEN, INPUT)", NEW_ROWS["activations"][1])])
def test_a_row_and_its_functions_are_enough_and_neither_compiles_alone(copied, table, row, functions):
    defs = copied / "kernels" / "defs"
    sources = (copied / "scalar.c", copied / "kernels" / "sets" / "baseline.c")
    insert(defs / f"{table}.def", "\n#undef", row + "\n")
    for source in sources:
        errors = compiles(copied / "kernels", source)
        assert "half" in errors and "implicit declaration" in errors
    anchor = {"rules": "/* Return the step", "activations": "/* ----", "losses": "/* Set *e"}[table]
    insert(defs / f"{table}.h", anchor, functions)
    for source in sources:
        assert compiles(copied / "kernels", source) == ""
    errors = compiles(copied / "kernels", HERE / "harness.c")  # which needs the expected value
    assert "FASTBPTT_HALF" in errors and "not handled in switch" in errors


@pytest.mark.thorough
def test_a_constant_without_a_case_does_not_compile(copied):
    insert(copied / "kernels" / "kernels.h", "    FASTBPTT_GIVEN /*", "    FASTBPTT_FORGOTTEN,\n")
    for source in (copied / "scalar.c", copied / "kernels" / "sets" / "baseline.c"):
        assert "FASTBPTT_FORGOTTEN" in compiles(copied / "kernels", source)


@pytest.mark.parametrize("layers", ["OUTPUT", "BOTH"])
def test_an_output_activation_whose_derivative_reads_the_pre_activation_does_not_compile(copied, layers):
    """`error` writes Y in the place of Z, so that Z is not kept."""
    insert(copied / "kernels" / "defs" / "activations.def", "\n#undef", f"ACTIVATION(HALF, half, {layers}, INPUT)\n")
    (copied / "tables.c").write_text('#include "defs/tables.h"\n')
    assert "pre_activation_of_output_half_is_not_kept" in compiles(copied / "kernels", copied / "tables.c")
