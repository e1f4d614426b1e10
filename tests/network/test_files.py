"""A saved network comes back to the bit, a crash leaves the old file, and no file can do harm."""

import copy
import io
import json
import os
import pickle
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from processes import run_python

import fastbptt
from fastbptt import RNN, Population, RNNRegressor, SequenceScaler, _files, load

OPTIONS = {
    "defaults": {},
    "float64": {"dtype": "float64"},
    "no biases": {"bias": False},
    "learnt initial state": {"learn_initial_state": True},
    "neither": {"bias": False, "learn_initial_state": True},
    "relu, sum": {"activation": "relu", "reduction": "sum"},
    "softplus, tanh": {"activation": "softplus", "output_activation": "tanh", "loss": "absolute_error"},
    "huber": {"loss": ("huber", 0.1)},  # 0.1 has no exact binary form: a text round trip must keep it
    "quantile": {"loss": ("quantile", (0.05, 0.1 + 0.2)), "activation": "elu"},
    "quantile by default": {"loss": "quantile", "output_size": 9},
    "labels": {"loss": "cross_entropy", "output_activation": "softmax", "activation": "softsign"},
    "binary": {"loss": "binary_cross_entropy", "output_activation": "sigmoid", "activation": "sigmoid"},
    "counts": {"loss": "poisson", "output_activation": "exp", "activation": "leaky_relu"},
    "seed of 128 bits": {"random_state": None, "activation": "identity"},
    "every parameter drawn": {"initializer": "torch"},
}
every_option = pytest.mark.parametrize("name", OPTIONS)


def network(**options):
    return RNN(3, 5, options.pop("output_size", 4), **{"random_state": 3, **options})


def assert_equal(a, b):
    """Same options, same parameters to the bit, same random streams, nothing in common."""
    assert type(a) is type(b) and repr(a) == repr(b)
    assert a.theta.dtype == b.theta.dtype and a.theta.tobytes() == b.theta.tobytes()
    assert list(a.parameters) == list(b.parameters)
    for name, value in a.parameters.items():
        assert value.tobytes() == b.parameters[name].tobytes() and value.shape == b.parameters[name].shape
        assert not np.shares_memory(value, b.parameters[name])
    for stream in ("initialisation", "shuffling"):
        assert np.array_equal(a._stream(stream).generate_state(4), b._stream(stream).generate_state(4))
    X = np.random.default_rng(0).standard_normal((7, 2, 3))
    assert np.array_equal(a.forward(X)[0], b.forward(X)[0])


WAYS = {
    "save and load": lambda net, folder: (net.save(folder / "a.npz"), load(folder / "a.npz"))[1],
    "a name without suffix": lambda net, folder: (net.save(folder / "a"), load(folder / "a"))[1],
    "a path as a string": lambda net, folder: (net.save(str(folder / "a.b c.npz")), load(str(folder / "a.b c.npz")))[1],
    "pickle": lambda net, folder: pickle.loads(pickle.dumps(net)),
    "pickle, oldest protocol": lambda net, folder: pickle.loads(pickle.dumps(net, 2)),
    "copy": lambda net, folder: net.copy(),
    "copy.copy": lambda net, folder: copy.copy(net),
    "copy.deepcopy": lambda net, folder: copy.deepcopy(net),
}


@pytest.mark.quick
@pytest.mark.parametrize("way", WAYS)
@every_option
def test_a_network_comes_back_equal_and_independent(tmp_path, way, name):
    net = network(**OPTIONS[name])
    other = WAYS[way](net, tmp_path)
    assert_equal(net, other)
    before = net.theta.tobytes()
    other.parameters["W_s"] += 1
    other.theta = other.theta * 2
    assert net.theta.tobytes() == before


@every_option
def test_a_loaded_network_trains_on_as_the_saved_one_does(tmp_path, name):
    net = network(**OPTIONS[name])
    net.save(tmp_path / "a.npz")
    X = np.random.default_rng(0).standard_normal((5, 6, 3))
    D = np.ones((5, 6), int) if "labels" in name else np.full((5, 6, net.target_size), 0.5)
    runs = [each.fit(X, D, epochs=2, batch_size=2).train_loss for each in (net, load(tmp_path / "a.npz"))]
    assert runs[0] == runs[1]


def test_extreme_values_come_back_to_the_bit(tmp_path):
    net = network(dtype="float64")
    net.theta = np.resize([-0.0, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3, -2.2250738585072014e-308], net.theta.size)
    net.save(tmp_path / "a.npz")
    assert load(tmp_path / "a.npz").theta.tobytes() == net.theta.tobytes()


@pytest.mark.quick
def test_numpy_opens_the_file_without_pickles(tmp_path):
    net = network()
    net.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert set(file.files) == {"header", *net.parameters}
        assert np.array_equal(file["W_s"], net.parameters["W_s"])
        assert json.loads(file["header"].tobytes())["format"] == "fastbptt"


def test_a_file_has_the_permissions_of_any_new_file_or_of_the_one_it_replaces(tmp_path):
    path, plain = tmp_path / "a.npz", tmp_path / "plain"
    plain.write_bytes(b"")
    network().save(path)
    assert path.stat().st_mode == plain.stat().st_mode
    if os.name == "posix":
        path.chmod(0o640)
        network().save(path)
        assert path.stat().st_mode & 0o777 == 0o640


# ---- Crashes while saving


def _crash(*args, **kwargs):
    raise OSError(28, "No space left on device")


def _interrupt(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [_crash, _interrupt])
@pytest.mark.parametrize("where", ["os.replace", "os.fsync", "os.chmod", "numpy.savez", "numpy.lib.format.write_array"])
def test_a_failure_at_any_point_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, where, failure):
    path = tmp_path / "a.npz"
    network().save(path)
    old = path.read_bytes()
    monkeypatch.setattr(where, failure)
    with pytest.raises((OSError, KeyboardInterrupt)):
        network(random_state=4).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["a.npz"]


def test_half_a_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    network().save(path)
    old = path.read_bytes()

    def half(file, **arrays):
        file.write(old[:len(old) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez", half)
    with pytest.raises(OSError, match="No space left"):
        network(random_state=4).save(path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["a.npz"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # zipfile's, as it is dropped
def test_an_interrupt_within_the_zip_is_an_interrupt(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    network().save(tmp_path / "net.npz")
    before = (tmp_path / "net.npz").read_bytes()
    monkeypatch.setattr(zipfile._ZipWriteFile, "__init__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        network(random_state=9).save(tmp_path / "net.npz")
    assert (tmp_path / "net.npz").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")
def test_a_pipe_or_a_link_stays_what_it_is(tmp_path):
    net, pipe, link = network(), tmp_path / "pipe", tmp_path / "link.npz"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        try:
            net.save(pipe)
            assert pipe.is_fifo()
            (tmp_path / "read.npz").write_bytes(reader.stdout.read())
        finally:
            reader.kill()
    link.symlink_to(tmp_path / "file.npz")
    net.save(link)
    assert link.is_symlink() and len(list(tmp_path.iterdir())) == 4
    for name in ("read.npz", "file.npz"):
        assert load(tmp_path / name).theta.tobytes() == net.theta.tobytes()


def test_saving_where_nothing_can_be_written_raises_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        network().save(tmp_path / "missing" / "a.npz")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        network().save(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(tmp_path / "folder") == []


KILLED = """
import os, random, signal, sys, time
from fastbptt import RNN, load

a, b = RNN(40, 90, 7, random_state=1), RNN(40, 90, 7, random_state=2)
for trial in range(10):
    a.save(sys.argv[1])
    child = os.fork()
    if child == 0:
        while True:
            b.save(sys.argv[1])
            a.save(sys.argv[1])
    time.sleep(random.Random(trial).uniform(0.01, 0.05))  # what is tried depends on the moment, the outcome does not
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = load(sys.argv[1]).theta.tobytes()
    print("old" if found == a.theta.tobytes() else "new" if found == b.theta.tobytes() else "mixed")
"""


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_kill_9_during_saves_always_leaves_a_whole_file(tmp_path):
    result = run_python(KILLED, tmp_path / "a.npz", timeout=120)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) == 10 and set(result.stdout.split()) <= {"old", "new"}


def test_a_network_that_could_not_be_loaded_again_is_not_saved_over_one_that_can(tmp_path):
    path, net = tmp_path / "a.npz", network()
    net.save(path)
    old = path.read_bytes()
    net.parameters["W_s"][1, 2] = np.nan
    with pytest.raises(ValueError, match=r"W_s contains NaN.*\(1, 2\)"):
        net.save(path)
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["a.npz"]


# ---- What is not a model


def _bytes_of_a_model(tmp_path, **options):
    network(**options).save(tmp_path / "model.npz")
    return (tmp_path / "model.npz").read_bytes()


def refused(path, *words):
    with pytest.raises(ValueError) as caught:
        load(path)
    assert caught.type is ValueError
    for word in (os.fspath(path), *words):
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.npz"):
        load(tmp_path / "nothing.npz")


class BytesPath:
    def __fspath__(self):
        return b"x.npz"


ODD_PATHS = [
    (b"x.npz", TypeError, "must be a str or an os.PathLike of str, got bytes b'x.npz': os.fsdecode converts them"),
    (BytesPath(), TypeError, "must be a str or an os.PathLike of str, got bytes"),
    (3, TypeError, "must be a str or an os.PathLike, such as pathlib.Path, got int"),
    *[(odd, TypeError, f"must be .*got {type(odd).__name__}") for odd in (None, True, io.BytesIO(), ["x.npz"])],
    ("", ValueError, "must name a file, got an empty string"), ("a\0.npz", ValueError, "must not contain a null character"),
    ("missing" + os.sep, IsADirectoryError, "must name a file, not a folder: 'missing"),
    (".", IsADirectoryError, "must name a file, not a folder: '.'"), (Path(), IsADirectoryError, "must name a file"),
]


@pytest.mark.parametrize(("path", "error", "words"), ODD_PATHS, ids=[repr(path)[:20] for path, *_ in ODD_PATHS])
def test_an_odd_path_is_refused_by_the_name_of_its_argument(path, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, D = np.zeros((3, 4, 2)), np.zeros((3, 4, 1))
    net, population, model = RNN(2, 3, 1), Population(2, 2, 3, 1), RNNRegressor(3, max_iter=1).fit(X, D[..., 0])
    saves = [each.save for each in (net, population, model, SequenceScaler().fit(X))]
    for call, name in [*((each, "path") for each in (*saves, load)), (RNN.from_psychrnn, "file")]:
        more = {"dt": 20, "tau": 100} if name == "file" else {}
        with pytest.raises(error, match=f"{name} {words}"):
            call(path, **more)
    if path is not None:  # no checkpoint
        before = net.theta
        for fit in (lambda **more: net.fit(X, D, **more), lambda **more: fastbptt.fit_many([net], X, D, **more),
                    lambda **more: model.fit(X, D[..., 0], **more)):
            for resume in (False, True):
                with pytest.raises(error, match=f"checkpoint {words}"):
                    fit(checkpoint=path, resume=resume)
        assert np.array_equal(net.theta, before)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), bytes(10_000),
                                     b"\x80\x05K\x01.", b"{}"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    refused(tmp_path / "a.npz", "not a fastbptt model")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises((ValueError, IsADirectoryError, PermissionError), match=tmp_path.name):
        load(tmp_path)


def test_another_programs_npz_and_npy_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", weights=np.ones(3))
    refused(tmp_path / "a.npz", "not a fastbptt model")
    np.savez(tmp_path / "a.npz", header=np.frombuffer(b'{"format": "other", "version": 1}', np.uint8))
    refused(tmp_path / "a.npz", "another program")
    np.save(tmp_path / "b.npy", np.ones(3))
    refused(tmp_path / "b.npy", "not a fastbptt model")


def test_a_truncated_file_is_refused_at_every_length(tmp_path):
    content, path = _bytes_of_a_model(tmp_path), tmp_path / "a.npz"
    for length in [*range(0, len(content), 17), *range(len(content) - 80, len(content))]:
        path.write_bytes(content[:length])
        refused(path)


def test_a_file_cut_in_front_is_refused(tmp_path):
    content, path = _bytes_of_a_model(tmp_path), tmp_path / "a.npz"
    for length in range(1, len(content), 61):
        path.write_bytes(content[length:])
        refused(path)


def test_one_changed_byte_of_a_parameter_is_noticed(tmp_path):
    content, path = bytearray(_bytes_of_a_model(tmp_path)), tmp_path / "a.npz"
    value = network().parameters["W_s"].tobytes()
    content[content.index(value) + 5] ^= 1
    path.write_bytes(content)
    refused(path, "CRC")


def test_random_damage_gives_an_error_or_a_model_and_nothing_else(tmp_path):
    content = _bytes_of_a_model(tmp_path, loss="quantile", output_size=3, learn_initial_state=True)
    path = tmp_path / "a.npz"
    for seed in range(300):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            net = load(path)
        except ValueError:
            continue
        assert np.isfinite(net.theta).all()


# ---- Files that are made to do harm


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def declared(text, data=b""):
    """A .npy member whose header is this text."""
    text = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)


@pytest.fixture
def members(tmp_path):
    """The members of a right model as (name, bytes), the header's first."""
    network().save(tmp_path / "model.npz")
    with zipfile.ZipFile(tmp_path / "model.npz") as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def replaced(members, name, content):
    assert name in dict(members)
    return [(each, content if each == name else old) for each, old in members]


def with_header(members, **changes):
    """The members with another header; a value of None takes the entry out."""
    header = json.loads(dict(members)["header.npy"][128:])
    assert header["format"] == "fastbptt"
    config = {**header["config"], **changes.pop("config", {})}
    header = {name: value for name, value in {**header, "config": config, **changes}.items() if value is not None}
    return replaced(members, "header.npy", npy(np.frombuffer(json.dumps(header).encode(), np.uint8)))


def test_members_written_again_are_a_model(tmp_path, members):
    write(tmp_path / "a.npz", with_header(members))  # else the tests below would prove nothing
    assert_equal(load(tmp_path / "a.npz"), network())


class Bomb:
    ran = False

    def __reduce__(self):
        return (setattr, (Bomb, "ran", True))


def test_pickled_objects_are_refused_and_not_run(tmp_path, members):
    path, bomb = tmp_path / "a.npz", npy(np.array([Bomb()], object))
    for name, _ in members:
        write(path, replaced(members, name, bomb))
        refused(path)
    write(path, [*members, ("extra.npy", bomb)])
    refused(path)
    path.write_bytes(pickle.dumps(Bomb()))
    refused(path)
    assert not Bomb.ran
    pickle.loads(pickle.dumps(Bomb()))
    assert Bomb.ran  # so it would have shown
    Bomb.ran = False


def test_a_compressed_bomb_is_refused_unopened(tmp_path, members):
    path = tmp_path / "a.npz"
    write(path, replaced(members, "W_s.npy", npy(np.zeros(2**22, "f4"))), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    refused(path)
    write(path, members, zipfile.ZIP_DEFLATED)
    refused(path)


def test_a_member_of_two_sizes_is_refused_before_memory_is_taken(tmp_path, members):
    path = tmp_path / "a.npz"
    write(path, members)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")  # of the central directory: the compressed size is at 20, a stored member's as it is
    data[entry + 20:entry + 24] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(data)
    tracemalloc.start()
    try:
        refused(path, "two sizes")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_refused(tmp_path, members):
    write(tmp_path / "a.npz", [*members, members[1]])
    refused(tmp_path / "a.npz", "two members")


@pytest.mark.parametrize("change", ["no header", "header alone", "nothing", "one missing", "one more", "outside",
                                    "elsewhere"])
def test_members_other_than_a_models_are_refused(tmp_path, members, change):
    write(tmp_path / "a.npz", {
        "no header": members[1:],
        "header alone": members[:1],
        "nothing": [],
        "one missing": members[:-1],
        "one more": [*members, ("W_q.npy", npy(np.ones(3, "f4")))],
        "outside": [("../" + name if name == "W_s.npy" else name, content) for name, content in members],
        "elsewhere": [("/W_s.npy" if name == "W_s.npy" else name, content) for name, content in members],
    }[change])
    refused(tmp_path / "a.npz")


def test_a_member_that_declares_more_bytes_than_the_file_has_is_refused_before_it_is_read(tmp_path, members):
    path = tmp_path / "a.npz"
    write(path, members)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")  # the directory's first entry: both sizes of its member
    content[entry + 20:entry + 28] = (2**32 - 2).to_bytes(4, "little") * 2
    path.write_bytes(content)
    refused(path, "larger than the file")


def test_a_shape_that_is_not_the_members_size_is_named(tmp_path, members):
    write(tmp_path / "a.npz", replaced(members, "W_s.npy", declared(GOOD.replace("(5, 5)", "(5, 4)"), bytes(100))))
    refused(tmp_path / "a.npz", "W_s.npy declares shape (5, 4)")


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 5), }"


@pytest.mark.parametrize("member", [
    declared(GOOD.replace("(5, 5)", "(1099511627776,)")),
    declared(GOOD.replace("(5, 5)", "(1099511627776, 1099511627776)")),
    declared(GOOD.replace("(5, 5)", "(0, 9223372036854775807)")),
    declared(GOOD.replace("(5, 5)", "(9" + "9" * 400 + ",)")),
    declared(GOOD.replace("(5, 5)", "(-5, -5)"), bytes(100)),
    declared(GOOD.replace("(5, 5)", "(5, 4)"), bytes(100)),
    declared(GOOD.replace("(5, 5)", "(25,)"), bytes(100)),
    declared(GOOD.replace("(5, 5)", "5"), bytes(20)),
    declared(GOOD.replace("(5, 5)", "(5.0, 5)"), bytes(100)),
    declared(GOOD.replace("(5, 5)", "(True, 25)"), bytes(100)),
    declared(GOOD.replace("False", "True"), bytes(100)),
    declared(GOOD.replace("<f4", "|O"), bytes(100)),
    declared(GOOD.replace("<f4", "<c8"), bytes(200)),
    declared(GOOD.replace("<f4", "<q4"), bytes(100)),
    declared(GOOD.replace("'<f4'", "[('a', '<f4')]"), bytes(100)),
    declared(GOOD.replace("}", "'more': 1}"), bytes(100)),
    declared("{}"),
    declared(""),
    declared("(" * 9000),
    declared("-" * 9000 + "1"),
    declared("[" * 60_000),
    declared(" " * 60_000 + GOOD, bytes(100)),
    declared("__import__('os').system('exit 1')"),
    b"\x93NUMPY\x01\x00\xff\xff",
    b"\x93NUMPY\x02\x00" + len(GOOD).to_bytes(4, "little") + GOOD.encode() + bytes(100),
    b"\x93NUMPY\x01",
    b"not an array",
    b"",
    npy(np.full((5, 5), np.nan, "f4")),
    npy(np.ones((5, 5), ">f4")),
    npy(np.ones((5, 5), "i4")),
    npy(np.ones((5, 6), "f4")),
], ids=lambda member: repr(member[10:70]))
def test_an_array_that_is_not_the_expected_one_is_refused(tmp_path, members, member):
    write(tmp_path / "a.npz", replaced(members, "W_s.npy", member))
    refused(tmp_path / "a.npz")


def test_a_later_version_is_refused_as_such(tmp_path, members):
    write(tmp_path / "a.npz", with_header(members, version=3, kind="Something new"))
    refused(tmp_path / "a.npz", "later fastbptt", "3", "up to 2")


@pytest.mark.parametrize("changes", [
    {"version": 0}, {"version": -1}, {"version": True}, {"version": "1"}, {"version": 1.0}, {"version": [1]},
    {"kind": "Other"}, {"kind": ["RNN"]}, {"kind": 3}, {"format": "other"},
    {"entropy": -1}, {"entropy": "a"}, {"entropy": 1.5}, {"entropy": [1]},
    {"config": {"input_size": 2**31 - 1}}, {"config": {"input_size": 2**40}}, {"config": {"hidden_size": 10**9}},
    {"config": {"hidden_size": 4}}, {"config": {"input_size": 0}}, {"config": {"input_size": -3}},
    {"config": {"input_size": "3"}}, {"config": {"input_size": 3.0}}, {"config": {"input_size": None}},
    {"config": {"activation": "mish"}}, {"config": {"activation": ["tanh"]}}, {"config": {"loss": []}},
    {"config": {"loss": ["quantile"]}}, {"config": {"loss": ["quantile", "a"]}}, {"config": {"loss": ["quantile", []]}},
    {"config": {"loss": ["quantile", [0.1, 0.5, 0.9]]}}, {"config": {"loss": ["huber", -1]}},
    {"config": {"loss": {"a": 1}}},
    {"config": {"loss": "cross_entropy"}}, {"config": {"dtype": "float16"}}, {"config": {"dtype": "O"}},
    {"config": {"dtype": ["f4"]}}, {"config": {"bias": False}}, {"config": {"bias": 1}},
    {"config": {"learn_initial_state": True}}, {"config": {"initializer": "normal"}}, {"config": {"random_state": 1}},
    {"config": {"unknown": 1}}, {"config": {"l2": 10**400}}, {"config": {"loss": ["huber", 10**400]}},
], ids=lambda changes: str(changes)[:80])
def test_a_header_that_does_not_fit_is_refused(tmp_path, members, changes):
    write(tmp_path / "a.npz", with_header(members, **changes))
    refused(tmp_path / "a.npz")


@pytest.mark.parametrize("missing", ["format", "version", "kind"])
def test_a_header_that_lacks_an_entry_is_refused(tmp_path, members, missing):
    write(tmp_path / "a.npz", with_header(members, **{missing: None}))
    refused(tmp_path / "a.npz")


@pytest.mark.parametrize("text", [b"", b"null", b"[1]", b"1", b'"fastbptt"', b"{", b"\xff\xfe\xfd", b"[" * 100_000,
                                  b'{"format": "fastbptt", "version": NaN}', b'{"format": "fastbptt", "version": 1}',
                                  b'{"format": "fastbptt", "version": ' + b"9" * 5000 + b"}",
                                  b'{"format": "fastbptt", "version": 1, "kind": "RNN", "entropy": 0, "config": []}',
                                  '{"format": "fastbptt", "version": 1}'.encode("utf-16")],
                         ids=lambda text: repr(text[:40]))
def test_a_header_that_is_no_header_is_refused(tmp_path, members, text):
    write(tmp_path / "a.npz", replaced(members, "header.npy", npy(np.frombuffer(text, np.uint8))))
    refused(tmp_path / "a.npz")


@pytest.mark.thorough
def test_arrays_of_options_do_not_count_as_parameters_where_a_file_declares_more_than_it_has(tmp_path):
    net = RNN(3, 600, 2, connectivity={"W_s": np.ones((600, 600))}, random_state=0)  # large beside a file's buffer
    header, arrays = _files.read(_saved(net, tmp_path / "model.npz"))
    arrays["W_s"] = np.zeros((1, 1), "f4")
    _files.write(tmp_path / "model.npz", header, arrays)
    tracemalloc.start()
    try:
        refused(tmp_path / "model.npz")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 3 * os.path.getsize(tmp_path / "model.npz")


def _saved(net, path):
    net.save(path)
    return path


def test_the_package_reads_no_pickles():
    import pathlib

    for path in pathlib.Path(fastbptt.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "allow_pickle=True" not in text and "pickle.load" not in text, path.name
