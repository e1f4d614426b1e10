"""Damaged and malicious files through the loaders: the documented error or what was saved, in bounded memory, no code run."""

import tempfile

from processes import run_python

from .table import check

# Files of every kind that `load` reads, and how they are damaged: bytes, members under right checksums, values of the header.
MODELS = """
import copy, io, json, os, random, resource, sys, time, tracemalloc, warnings, zipfile
import numpy as np
import fastbptt
from fastbptt import Population, RNN, RNNClassifier, RNNRegressor, SequenceScaler, load, _files
from fastbptt.cli import forecast as _forecast


def saved(folder):
    "path -> what loading it must give back: nothing, but that it loads"
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 20, 3)), rng.standard_normal((6, 20, 2))
    signs = {
        "dale_ratio": 0.75,
        "connectivity": {"W_s": (rng.uniform(size=(80, 80)) < 0.5).astype(int)},
        "trainable": {"W_x": False},
    }
    models = [
        RNN(3, 150, 2, random_state=0, l2={"W_s": 1e-3}, loss=("quantile", [0.2, 0.8])),
        RNN(3, 80, 2, dtype="float64", learn_initial_state=True, random_state=0, **signs),
        RNN(
            5, (20, 20), 5, bidirectional=True, one_hot=True, loss="cross_entropy", output_activation="softmax", output="last"
        ),
        Population(5, 3, 12, 2, random_state=0),
        RNNRegressor(30, max_iter=1, random_state=0).fit(X, y),
        RNNClassifier(30, max_iter=1, random_state=0).fit(X, ["a", "b", "c"] * 2),
        SequenceScaler(per="series").fit(X),
    ]
    if hasattr(_forecast, "Forecaster"):
        models.append(_forecast.Forecaster(["sales"], horizon=3).fit([rng.standard_normal((150, 1)).cumsum(0)], max_iter=1))
    paths = []
    for n, model in enumerate(models):
        paths.append(os.path.join(folder, f"model{n}.npz"))
        model.save(paths[-1])
    net = RNN(3, 40, 2, random_state=0)
    paths.append(os.path.join(folder, "run.npz"))
    net.fit(X.swapaxes(0, 1), y.swapaxes(0, 1), epochs=3, checkpoint=paths[-1], validation=0.5, patience=2)
    return paths


HOSTILE = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    2**31 - 1,
    2**31,
    2**53,
    2**63,
    2**64,
    10**30,
    10**400,
    -(10**400),
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "float16",
    "float64",
    "tanh",
    "W_s",
    "../x",
    "\\0",
    "\\ud800",
    [],
    [[]],
    [0],
    [1, 2],
    [10**9],
    [10**9] * 3,
    [1] * 1000,
    {},
    {"W_s": 1e-3},
    {"": {}},
    [None],
    [[[[1]]]],
    ["a"] * 50,
    2**24,
    65536,
]


def places(tree):
    "Every (container, key) of a JSON tree."
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], (dict, list)):
            yield from places(tree[key])


def json_damage(text, rng):
    tree = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        found = list(places(tree))
        if not found:
            break
        container, key = rng.choice(found)
        kind = rng.random()
        if kind < 0.75:
            container[key] = copy.deepcopy(rng.choice(HOSTILE))
        elif kind < 0.85:
            del container[key]
        elif kind < 0.95:  # another place's value
            other, there = rng.choice(found)
            if (there in other) if isinstance(other, dict) else there < len(other):
                container[key] = json.loads(json.dumps(other[there]))
        elif isinstance(container, dict):
            container[rng.choice(["x", "", "leak", "kind", "config", "activation"])] = copy.deepcopy(rng.choice(HOSTILE))
    if rng.random() < 0.05:
        return rng.choice(["[" * 100_000, '{"a":' * 50_000, "null", "", "NaN", "1" * 5000, '"' + "x" * 100_000 + '"']).encode()
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def byte_damage(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, kind = rng.randrange(len(data) + 1), rng.random()
        if kind < 0.5 and at < len(data):
            data[at] = rng.choice((0, 255, data[at] ^ (1 << rng.randrange(8)), rng.randrange(256)))
        elif kind < 0.65:
            del data[at:]
        elif kind < 0.8:
            del data[at : at + rng.randrange(1, 64)]
        elif kind < 0.9:
            data[at:at] = rng.randbytes(rng.randrange(1, 64))
        else:
            data[at:at] = data[max(at - 40, 0) : at]
    return bytes(data)


def array(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def zipped(members, compress=False):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", 8 if compress else 0) as archive:
        warnings.simplefilter("ignore")  # two members of one name
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def damaged(data, rng):
    "Another file."
    kind = rng.random()
    if kind < 0.25:
        return byte_damage(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    if kind < 0.7:
        header = np.load(io.BytesIO(dict(members)["header.npy"])).tobytes()
        new = array(np.frombuffer(json_damage(header, rng), np.uint8))
        return zipped([(name, new if name == "header.npy" else content) for name, content in members])
    at = rng.randrange(len(members))
    name, content = members[at]
    if kind < 0.85:
        members[at] = name, byte_damage(content, rng)
    elif kind < 0.93:
        values = np.load(io.BytesIO(content))
        members[at] = (
            name,
            array(
                rng.choice(
                    [
                        values[:0],
                        values.ravel(),
                        values.astype(">f8"),
                        values.astype(np.float16),
                        values[..., None],
                        values.T.copy(),
                        np.asfortranarray(values),
                        np.full_like(values, 255),
                        np.zeros((0, 2**31), "f4"),
                        np.zeros((1, 1), "<f8"),
                        (values * 0 + np.nan).astype("<f4"),
                        (values * 0 + np.inf).astype("<f8"),
                    ]
                )
            ),
        )
    else:
        choice = rng.randrange(5)
        if choice == 0:
            del members[at]
        elif choice == 1:
            members.append(members[at])
        elif choice == 2:
            members[at] = rng.choice(["../" + name, "/etc/x", "a" * 5000, name.upper(), "run.x.npy"]), content
        elif choice == 3:
            members[at] = name, bytes(2_000_000)
            return zipped(members, compress=True)
        else:
            members.append(
                (
                    "object.npy",
                    b"\\x93NUMPY\\x01\\x00v\\x00"
                    + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117)
                    + b"\\n"
                    + b"cos\\nsystem\\n(S'exit 1'\\ntR.",
                )
            )
    return zipped(members)


class Guard:
    "Fails where anything is unpickled or run, or a file is opened for writing."

    def __init__(self):
        self.on = False
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if self.on and (
            event in ("pickle.find_class", "os.system", "subprocess.Popen", "exec", "compile", "import", "os.remove")
            or event == "open"
            and isinstance(arguments[1], str)
            and set(arguments[1]) & set("wax+")
        ):
            self.on = False
            raise SystemExit(f"loading caused {event} {arguments[:1]}")
"""

LOADED = MODELS + """
folder, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
originals = [open(path, "rb").read() for path in saved(folder)]
path = os.path.join(folder, "damaged.npz")
for data in originals:  # all imports are done
    open(path, "wb").write(data)
    load(path)
    try:
        open(path, "wb").write(data[:-30])
        load(path)
    except ValueError:
        pass
resource.setrlimit(resource.RLIMIT_AS, (2**31 + 2**30, resource.RLIM_INFINITY))  # what a file declares is never taken on trust
warnings.simplefilter("ignore")
guard, rng, refused, most = Guard(), random.Random(seed), 0, 0.0
tracemalloc.start(1)
try:
    for k in range(count):
        original = rng.choice(originals)
        data = damaged(original, rng)
        with open(path, "wb") as file:
            file.write(data)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        guard.on = True
        try:
            model = load(path)
            repr(model)
        except ValueError:
            refused += 1
            model = None
        guard.on = False
        ratio = (tracemalloc.get_traced_memory()[1] - before - 2**17) / max(len(data), 1)  # 128 KiB for what any file takes
        if ratio > most:
            most = ratio
            worst = k
            if ratio > 10:
                with open(path + ".large", "wb") as file:
                    file.write(data)
                raise AssertionError(f"file {k} of seed {seed}: 128 KiB and {ratio:.1f} times its {len(data)} bytes")
        if type(model) is RNN and not model.one_hot and model.input_size < 100:  # what loads computes
            Y = model.forward(np.zeros((2, 1, model.input_size)))[0]
            assert Y.shape[-1] == model.output_size
        model = None
except BaseException as error:
    os.rename(path, os.path.join(os.path.dirname(folder), f"fastbptt-file-{seed}.npz"))
    raise AssertionError(f"file {k} of seed {seed}") from error
print(refused, most)
"""


@check("ValueError or a model that computes; memory under 128 KiB + 10 × the file; nothing run, unpickled or written")
def model_files(pick):
    count, seeds = pick(800, 10_000, 100_000), pick(1, 2, 10)
    refused, most = 0, 0.0
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            result = run_python(LOADED, folder, count // seeds, seed, timeout=3600)
        assert result.returncode == 0, result.stderr[-3000:]
        refused, most = refused + int(result.stdout.split()[0]), max(most, float(result.stdout.split()[1]))
    return f"{count} damaged files of 9 kinds, {refused} refused, others load; at most 128 KiB + {most:.1f} × the file", True


TABLES = MODELS + """
from fastbptt.forecasting.tables import read_table

folder, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)


def rows(separator, columns, length, date=None, ids=0, header=True):
    lines = [
        separator.join((["date"] if date else []) + (["shop"] if ids else []) + [f"c{n}" for n in range(columns)])
    ] * header
    for n in range(max(ids, 1)):
        for t in range(length):
            start = [str(np.datetime64(date) + t)] if date else []
            lines.append(separator.join(start + [f"s{n}"] * bool(ids) + [f"{rng.gauss(0, 100):.4f}" for _ in range(columns)]))
    return "\\n".join(lines).encode() + b"\\n"


TABLES = [
    (rows(",", 4, 60), {}),
    (rows(";", 2, 60, "2001-01"), {}),
    (rows("\\t", 3, 40, header=False), {}),
    (rows(",", 1, 30, "1999-12-30", 4), {"id": "shop", "target": ["c0"]}),
    (rows(",", 1, 200), {"inputs": None}),
    (rows(",", 3, 50, "1950"), {"target": ["c1"], "inputs": ["c2", "c0"]}),
]
PIECES = [
    b",",
    b";",
    b"\\t",
    b"\\n",
    b"\\r",
    b"\\r\\n",
    b'"',
    b'""',
    b"'",
    b"\\0",
    b"\\xff",
    b"\\xef\\xbb\\xbf",
    b"\\xc3\\xa9",
    b"nan",
    b"NA",
    b"",
    b"1e999",
    b"1e308",
    b"-",
    b".",
    b"1_000",
    b"0x10",
    b"1,5",
    b"1.234,5",
    b"\\xd9\\xa1",
    b"\\xe2\\x88\\x921",
    b" ",
    b"inf",
    b"9" * 400,
    b"2020-02-30",
    b"0000-00-00",
    b"9999-12-31",
    b"2020-01-01T25:00",
    b"=1+1",
    b"x" * 3000,
    b"\\n" * 50,
    b"," * 500,
    b"\\xe2\\x80\\xa8",
]


def damaged(data):
    if rng.random() < 0.3:
        return byte_damage(data, rng)
    lines = data.split(b"\\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, kind = rng.randrange(len(lines)), rng.random()
        cells = lines[at].split(rng.choice((b",", b";", b"\\t")))
        n = rng.randrange(len(cells))
        if kind < 0.5:
            cells[n] = rng.choice((rng.choice(PIECES), cells[n] + rng.choice(PIECES), rng.choice(PIECES) + cells[n]))
            lines[at] = b",".join(cells)
        elif kind < 0.6:
            del lines[at]
        elif kind < 0.7:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif kind < 0.8:
            lines[at] = rng.choice(PIECES)
        else:
            pairs = [(b".", b","), (b",", b";"), (b"-", b"/"), (b"0", b"O"), (b",", b"\\t")]
            lines[at] = lines[at].replace(*rng.choice(pairs))
        if not lines:
            break
    return b"\\n".join(lines)


OPTIONS = [{}, {}, {}, {"fill": "interpolate"}, {"fill": "previous"}, {"decimal": ","}, {"dayfirst": True}]
path = os.path.join(folder, "table.csv")
resource.setrlimit(resource.RLIMIT_AS, (2**31 + 2**30, resource.RLIM_INFINITY))
for data, options in TABLES:
    open(path, "wb").write(data)
    found = read_table(path, **options)
    assert sum(len(x) for x in found.values) >= 30
for k in range(400):  # pandas imports some modules only when they are needed
    data, options = rng.choice(TABLES)
    open(path, "wb").write(damaged(data))
    try:
        read_table(path, **options | rng.choice(OPTIONS))
    except ValueError:
        pass
guard, refused, most = Guard(), 0, 0.0
tracemalloc.start(1)


def note(what, data, before, extra=0):
    "How often its size a file took, beside 128 KiB, 64 bytes a line and what is allowed to it; the most of all is kept."
    global most
    extra += 64 * len(data.splitlines())
    ratio = (tracemalloc.get_traced_memory()[1] - before - 2**17 - extra) / max(len(data), 1)
    assert ratio < 10, f"{what}: 128 KiB + {extra} + {ratio:.1f} times its {len(data)} bytes"
    most = max(most, ratio)


for k in range(count):
    data, options = rng.choice(TABLES)
    data = damaged(data)
    with open(path, "wb") as file:
        file.write(data)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    guard.on = True
    try:
        series = read_table(path, **options | rng.choice(OPTIONS))
    except ValueError as error:
        refused, words = refused + 1, str(error)
        assert words.startswith(path) and "\\n" not in words and len(words) < 2000, words
    except BaseException as error:
        guard.on = False
        raise AssertionError(f"table {k} of seed {seed}: {data!r}") from error
    else:
        guard.on = False
        C = len(series.targets) + len(series.inputs)
        assert C and all(x.ndim == 2 and x.shape[1] == C and np.isfinite(x).all() for x in series.values)
        assert series.times is None or [len(part) for part in series.times] == [len(x) for x in series.values]
        if series.times is not None and series.calendar.step is not None:
            assert all(series.calendar.text(t) for part in series.times for t in series.calendar.ahead(part[-1], 2))
    guard.on = False
    cells = max((sum(map(line.count, (b",", b";", b"\\t", b"|", b" "))) for line in data.splitlines()), default=0)
    note(f"table {k} of seed {seed}", data, before, 4096 * cells + 2048 * 60)  # at most 60 rows have an id
# memory: of files that are long, as there it counts; what is beside the file is of columns, series and the longest cell
SHAPES = [
    (rows(",", 4, 5000), {}, 0),
    (rows(",", 1, 20000, "1900-01-01"), {}, 0),
    (rows(";", 40, 500), {}, 0),
    (rows(",", 1, 250, "1950", 100), {"id": "shop"}, 0),
    (b"1\\n" * 50000, {}, 0),
    (b"1\\n" * 2000, {}, 0),
    (b"1\\n\\n" * 50000, {}, 0),
    (b"1,2,3\\n" * 20000, {}, 0),
    (b"a,1\\nb,2\\n" * 20000, {"id": "1"}, 0),
    (b"a,b\\n" + b",1\\n" * 30000, {}, 0),
    (b"a,b\\n" + b"x,1\\n" * 20000, {}, 0),
    (b"1\\n" * 50000 + b"x\\n", {}, 0),
    (b"".join(b"%d,1\\n" % year for year in range(1000, 3000)), {}, 0),
    (b'"' + b"x" * 300_000, {}, 0),
    (b"1\\xe2\\x80\\xa8" * 50_000, {}, 0),
    (b"\\n" * 300_000, {}, 0),
    (b"," * 100_000, {}, 4096 * 100_000),
    (b"a," * 20_000 + b"a", {}, 4096 * 20_000),
    (b",".join([b"12"] * 2_000) + b"\\n", {}, 4096 * 2_000),
    (b",".join(b"%x" % n for n in range(2000)) + b"\\n" + b",".join([b"1"] * 2000), {"header": True}, 4096 * 2000),
    (b"".join(b"%d,1\\n" % n for n in range(4_000)), {"id": "1"}, 2048 * 4_000),
    (b"".join(b"%d,2000-01-01,1\\n" % n for n in range(4_000)), {"id": "1"}, 2048 * 4_000),
    (b'"' + b"x" * 65_537 + b'\\xf0\\x9f\\x98\\x80"', {}, 16 * 65_538),
]
for n, (data, options, extra) in enumerate(SHAPES):
    with open(path, "wb") as file:
        file.write(data)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        series = read_table(path, **options)
    except ValueError:
        pass
    note(f"file {n} of those that are long", data, before, extra)
    series = None
print(refused, most)
"""


@check("ValueError of one line that names the file, or finite series; memory under 128 KiB + 10 × the file + 64 B a line "
       "+ 4 KiB a column + 2 KiB a series + 16 B a character of the longest cell; nothing run or written")
def tables(pick):
    count = pick(500, 2_000, 20_000)
    with tempfile.TemporaryDirectory() as folder:
        result = run_python(TABLES, folder, count, 0, timeout=3600)
    assert result.returncode == 0, result.stderr[-3000:]
    refused, most = result.stdout.split()
    return f"{count} damaged CSV files, {refused} refused; at most 128 KiB + {float(most):.1f} × the file", True
