"""Tables in Markdown and pictures from what run.py wrote.

    python bench/report.py results.csv [more.csv ...] --pictures docs/bench      # tables on standard output
    python bench/report.py results.csv --readme docs/speed.svg                   # and docs/speed.md's picture

A table a kind of work, number of threads and dtype: the median of every contender, and in brackets how many times
fastbptt's median in the same run that is. Another table: fastbptt's GFLOP/s in percent of the run's own large product.
Rows of --lengths have tables of their own, with fastbptt's time divided by that of its full batches. Gated units have
tables of their own. There the C contender does not count as one of the others: its ratio is in its own column. Below a
table of at least ten shapes follow the geometric mean of the fastest contender's ratio, C included, and the shapes that
fastbptt lost.
Pictures, by matplotlib: time of a step by network; GFLOP/s as a share of the large product's; scaling with B, T and H
from the cells of cases.SWEPT; time of a step that there is by lengths; and scaling with threads, from files of different
--threads. Pictures are of plain units. Every row is shown, lost ones too.
"""

import argparse
import csv
import math
import sys
from pathlib import Path

import cases
from contenders import REGISTRY

LEAST_SHAPES = 10  # of a table, from which on a mean over them says something
LEAST_ROWS = 32  # sequences at once, from which on a step's product can be held against a large one
FULL_BATCHES = REGISTRY["full_batches"].title
FIT, C = REGISTRY["fit"].title, REGISTRY["c_gru"].title
SIZES = ["B", "T", "I", "H", "O"]
LABELS = {"gradients": "Loss and gradients", "forward": "Forward pass", "adam": "Whole training step with Adam",
          "first": "First call, with making and compiling", "import": "Import", "memory": "Memory that calls add",
          "memory, whole process": "Peak memory of the process"}


def read(paths):
    """Return the comments of the files (path and lines) and the rows, with numbers for sizes and figures.

    Of the same measurement in several files, the last stays.
    """
    comments, rows = [], {}
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            lines = file.readlines()
        comments.append((path, [line[2:].rstrip() for line in lines if line.startswith("# ")]))
        for row in csv.DictReader(line for line in lines if not line.startswith("#")):
            row["cell"] = tuple(int(row[size]) for size in SIZES) if row["B"] else ()
            row["lengths"], row["units"] = row.get("lengths") or "", row.get("units") or "plain"
            for name in ("min", "median", "ratio", "gflops", "gemm_gflops"):
                row[name] = float(row[name]) if row[name] else None
            row["threads"] = int(row["threads"])
            rows[row["what"], row["cell"], row["units"], row["lengths"], row["dtype"], row["threads"], row["contender"]] = row
    return comments, list(rows.values())


def unique(values):
    """Return the different values as a list, in their first order."""
    return list(dict.fromkeys(values))


# ---- Tables


def format_number(value):
    """Return a number as text, with one digit after the point below 100."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def format_entry(row):
    """Return the text of a row's median and, for contenders other than fastbptt, its ratio to fastbptt's in brackets."""
    text = format_number(row["median"])
    compared = row["group"] != "fastbptt" or row["contender"] == FIT
    return f"{text} ({row['ratio']:.2f})" if row["ratio"] is not None and compared else text


def cell_label(row):
    """Return the sizes of a row's cell and its lengths as text."""
    return ", ".join(map(str, (*row["cell"], row["lengths"]) if row["lengths"] else row["cell"]))


def table(rows):
    """Yield the lines of a table in Markdown for these rows of the CSV: cells down, contenders across."""
    names = unique(row["contender"] for row in rows)
    found = {(cell_label(row), row["contender"]): row for row in rows}
    uneven = FULL_BATCHES in names and "fastbptt" in names
    yield f"| B, T, I, H, O{', lengths' if rows[0]['lengths'] else ''} | {' | '.join(names)} | fastest of the others |" \
        f"{' fastbptt over its full batches |' if uneven else ''}"
    yield f"|---|{'---|' * len(names)}---|{'---|' if uneven else ''}"
    for cell in unique(cell_label(row) for row in rows):
        others = [row for (of, name), row in found.items() if of == cell and row["group"] != "fastbptt" and name != C]
        best = min(others, key=lambda row: row["median"], default=None)
        fastest = ""
        if best:
            ratio = "" if best["ratio"] is None else f", {best['ratio']:.2f}"
            fastest = f"{best['contender']}{ratio}"
        entries = [format_entry(found[cell, name]) if (cell, name) in found else "" for name in names]
        ours, ideal = (found[cell, name]["median"] if (cell, name) in found else 0 for name in ("fastbptt", FULL_BATCHES))
        over = f" {ours / ideal if ideal else math.nan:.2f} |" if uneven else ""
        yield f"| {cell} | {' | '.join(entries)} | {fastest} |{over}"


def summary(rows):
    """Yield a summary of a table: the geometric mean of the ratios of the fastest contenders, and the shapes lost."""
    fastest = {}
    for row in rows:
        if row["group"] != "fastbptt" and row["ratio"] is not None:
            fastest[cell_label(row)] = min(row, fastest.get(cell_label(row), row), key=lambda each: each["ratio"])
    if len(fastest) < LEAST_SHAPES:
        return
    mean = math.exp(sum(math.log(row["ratio"]) for row in fastest.values()) / len(fastest))
    lost = sorted((row for row in fastest.values() if row["ratio"] < 1), key=lambda row: row["ratio"])
    yield (f"The fastest contender of each of {len(fastest)} shapes took {mean:.2f} times as long as fastbptt in the geometric "
           f"mean. fastbptt lost {len(lost)} shapes{':' if lost else '.'}")
    yield ""
    for row in lost:
        yield f"- {cell_label(row)}: {row['contender']} took {row['ratio']:.2f} of fastbptt's time"
    if lost:
        yield ""


def table_key(row):
    """Return what the rows of one table have in common; the fourth is whether there are lengths."""
    return row["what"], row["dtype"], row["threads"], bool(row["lengths"]), row["units"]


def tables(rows):
    """Yield the lines of all tables of times."""
    for what, dtype, threads, uneven, units in unique(table_key(row) for row in rows):
        chosen = [row for row in rows if table_key(row) == (what, dtype, threads, uneven, units)]
        unit = {"us": "µs"}.get(chosen[0]["unit"], chosen[0]["unit"])
        gated = "" if units == "plain" else f"{units.upper()}, "
        yield f"### {LABELS.get(what, what)}, {gated}{dtype}, {threads} thread{'s' if threads > 1 else ''} (median, {unit})"
        yield ""
        yield from table(chosen)
        yield ""
        yield from summary(chosen)


def shares(rows):
    """Yield the lines of a table of fastbptt's GFLOP/s in percent of the large product's of the same run.

    Cells go down, dtypes and numbers of threads across.
    """
    found = {(row["cell"], f"{'' if row['units'] == 'plain' else row['units'].upper() + ', '}{row['dtype']}, "
                           f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"): row
             for row in rows if row["what"] == "gradients" and row["contender"] == "fastbptt" and not row["lengths"]
             and row["cell"][0] >= LEAST_ROWS and row["gflops"] and row["gemm_gflops"]}
    if not found:
        return
    columns = unique(column for _, column in found)
    yield f"### fastbptt's GFLOP/s in percent of a large matrix product's in the same run, B ≥ {LEAST_ROWS}"
    yield ""
    yield f"| B, T, I, H, O | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for cell in unique(cell for cell, _ in found):
        chosen = [found.get((cell, column)) for column in columns]
        entries = [f"{100 * row['gflops'] / row['gemm_gflops']:.0f}" if row else "" for row in chosen]
        yield f"| {', '.join(map(str, cell))} | {' | '.join(entries)} |"
    yield ""


# ---- Pictures


def style(name, names):
    """Return colour and marker of a contender, the same in every picture of the contenders `names`; fastbptt is black."""
    if name in ("fastbptt", FULL_BATCHES):
        return {"color": "black", "marker": "o", "linewidth": 2, "linestyle": "-" if name == "fastbptt" else ":"}
    place = [other for other in names if other not in ("fastbptt", FULL_BATCHES)].index(name)
    return {"color": f"C{place}", "marker": "sv^<>DPX*"[place % 9], "linewidth": 1}


def plot_lines(axes, rows, names, x, y):
    """Draw a line for each contender of `names` on the axes, through the points (x(row), y(row)) of its rows."""
    for name in names:
        points = sorted((x(row), y(row)) for row in rows if row["contender"] == name and y(row))
        if points:
            axes.plot(*zip(*points), label=name, markersize=4, **style(name, names))


def by_network(axes, rows, names, y, a_step=True):
    """Draw contenders' marks above each network, at y(row), in the order of the networks' work a step, or a call.

    Rows of a sweep are left out. `a_step` says whether the work is that of a step.
    """
    sweeps = {cell.sizes for letter in cases.SWEPT for cell in cases.sweep(letter)} - {cases.MIDDLE}
    rows = [row for row in rows if row["cell"] not in sweeps] or rows
    order = sorted(unique(row["cell"] for row in rows),
                   key=lambda cell: cases.flops(cases.Cell(*cell, "")) / (cell[1] if a_step else 1))
    place = {cell: i for i, cell in enumerate(order)}
    plot_lines(axes, rows, names, lambda row: place[row["cell"]], y)
    names = [", ".join(map(str, cell)) for cell in order]
    axes.set_xticks(range(len(order)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_xlabel("B, T, I, H, O")


def by_lengths(axes, rows, names):
    """Draw contenders' marks above each kind of lengths, in the order of the file: time divided by the steps that there are."""
    order = unique(cell_label(row) for row in rows)
    plot_lines(axes, rows, names, lambda row: order.index(cell_label(row)),
               lambda row: 1e3 * row["median"] / cases.steps(cases.Cell(*row["cell"], "", row["lengths"])))
    axes.set_xticks(range(len(order)), order, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_xlabel("B, T, I, H, O, lengths")


def finish(figure, axes, path, **options):
    """Add the legend and a grid to the axes of a figure, write it to `path`, and return the path.

    The legend stands beside the axes, because lines cross all of them; its order is that of the lines at the left.
    """
    import matplotlib.pyplot as plt

    handles, names = axes.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda i: handles[i].get_ydata()[0], reverse=True)
    axes.legend([handles[i] for i in order], [names[i] for i in order], fontsize=8, frameon=False, loc="upper left",
                bbox_to_anchor=(1, 1))
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", **options)
    plt.close(figure)
    return path


def readme_picture(rows, path):
    """Write one SVG: time of loss and gradients by network, of the first dtype and number of threads in the files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in rows if row["what"] == "gradients" and not row["lengths"]]
    if not rows:
        sys.exit("no rows of loss and gradients in these files")
    dtype, threads = rows[0]["dtype"], rows[0]["threads"]
    rows = [row for row in rows if (row["dtype"], row["threads"]) == (dtype, threads)]
    names = unique(row["contender"] for row in rows)
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fastbptt"}):  # small; the same for the same rows
        figure, axes = plt.subplots(figsize=(8, 4.6), facecolor="white")
        by_network(axes, rows, names, lambda row: row["median"], a_step=False)
        axes.set(yscale="log", ylabel="µs a call (median)",
                 title=f"Loss and gradients, {dtype}, {threads} thread{'s' if threads > 1 else ''}")
        return finish(figure, axes, path, format="svg", metadata={"Date": None})


def swept(rows, letter):
    """Return the rows of cells that differ from cases.MIDDLE in the size `letter` alone; none if there are fewer than three."""
    place = SIZES.index(letter)
    others = [i for i in range(len(SIZES)) if i != place]
    chosen = [row for row in rows if all(row["cell"][i] == cases.MIDDLE[i] for i in others)]
    return chosen if len({row["cell"] for row in chosen}) >= 3 else []


def pictures(rows, folder):
    """Write the PNGs that these rows give to the folder, and yield their paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = unique(row["contender"] for row in rows)

    def save(figure, axes, name):
        """Finish the figure and save it as name.png in the folder."""
        return finish(figure, axes, folder / f"{name}.png", dpi=130)

    for what, dtype, threads, uneven, _ in unique(table_key(row) for row in rows):
        if uneven and what == "gradients":
            chosen = [row for row in rows if table_key(row)[:4] == (what, dtype, threads, uneven)]
            figure, axes = plt.subplots(figsize=(8, 5))
            by_lengths(axes, chosen, names)
            axes.set(yscale="log", ylabel="ns a step that there is (median)",
                     title=f"{LABELS[what]}, {dtype}, {threads} thread{'s' if threads > 1 else ''}")
            yield save(figure, axes, f"lengths_{what}_{dtype}_{threads}")

    timed = [row for row in rows if row["what"] in ("gradients", "forward", "adam") and not row["lengths"]]
    for what, dtype, threads in unique((row["what"], row["dtype"], row["threads"]) for row in timed):
        chosen = [row for row in timed if (row["what"], row["dtype"], row["threads"]) == (what, dtype, threads)]
        suffix = f"{what}_{dtype}_{threads}"
        title = f"{LABELS[what]}, {dtype}, {threads} thread{'s' if threads > 1 else ''}"

        figure, axes = plt.subplots(figsize=(8, 5))
        by_network(axes, chosen, names, lambda row: row["median"] / row["cell"][1])
        axes.set(yscale="log", ylabel="µs a time step (median)", title=title)
        yield save(figure, axes, f"step_{suffix}")

        figure, axes = plt.subplots(figsize=(8, 5))
        by_network(axes, chosen, names, lambda row: row["gflops"] / row["gemm_gflops"])
        axes.set(ylabel="GFLOP/s as a share of a large product's", title=title, ylim=(0, None))
        axes.axhline(1, color="grey", linewidth=0.8)
        yield save(figure, axes, f"gflops_{suffix}")

        for letter in cases.SWEPT:
            sweep = swept(chosen, letter)
            if sweep:
                figure, axes = plt.subplots(figsize=(7, 5))
                plot_lines(axes, sweep, names, lambda row: row["cell"][SIZES.index(letter)], lambda row: row["median"])
                axes.set(xscale="log", yscale="log", xlabel=letter, ylabel="µs a call (median)",
                         title=f"{title}: {letter}, else {', '.join(map(str, cases.MIDDLE))}")
                yield save(figure, axes, f"scaling_{letter}_{suffix}")

    for what, dtype in unique((row["what"], row["dtype"]) for row in timed):
        chosen = [row for row in timed if (row["what"], row["dtype"]) == (what, dtype)]
        counts = sorted({row["threads"] for row in chosen})
        for count in counts[1:]:
            first = {(row["cell"], row["contender"]): row["median"] for row in chosen if row["threads"] == counts[0]}
            later = [row for row in chosen if row["threads"] == count and (row["cell"], row["contender"]) in first]
            if later:
                figure, axes = plt.subplots(figsize=(8, 5))
                by_network(axes, later, names, lambda row: first[row["cell"], row["contender"]] / row["median"])
                axes.set(ylabel=f"times as fast as with {counts[0]} thread", ylim=(0, None),
                         title=f"{LABELS[what]}, {dtype}: {count} threads")
                axes.axhline(1, color="grey", linewidth=0.8)
                yield save(figure, axes, f"threads_{count}_{what}_{dtype}")


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description="Tables and pictures from the CSV files of run.py.")
    parser.add_argument("files", nargs="+", help="CSV files of run.py")
    parser.add_argument("--pictures", type=Path, help="a folder for PNG files; without it none are drawn")
    parser.add_argument("--readme", type=Path, help="a file for the picture of docs/speed.md, an SVG")
    arguments = parser.parse_args()
    comments, rows = read(arguments.files)
    if not rows:
        sys.exit("no rows in these files")
    plain = [row for row in rows if row["units"] == "plain"]
    for line in tables(rows):
        print(line)
    for line in shares(rows):
        print(line)
    for path, found in comments:
        print(f"{path}:\n")
        for line in found:
            print(f"- {line}")
        print()
    if arguments.pictures:
        for path in pictures(plain, arguments.pictures):
            print(path, file=sys.stderr)
    if arguments.readme:
        print(readme_picture(plain, arguments.readme), file=sys.stderr)


if __name__ == "__main__":
    main()
