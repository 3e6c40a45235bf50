#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/plot/plot.py - SVG and PNG by gnuplot.

    bench/plot/plot.py timeline FILE [-o STEM] [-t TITLE]
        FILE: what `godwit migrate --timeline FILE` wrote.  Throughput, pages
        left, dirty rate, pages asked for, and the time the guest stood still.
    bench/plot/plot.py cdf FILE [-o STEM]
        FILE: what bench/migrate wrote.  One plot for each row of faults: the
        distribution of latencies as the guest saw them.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
TERMINALS = {"svg": "svg size 900,%d dynamic background 'white'",
             "png": "pngcairo size 900,%d"}


def gnuplot(script, stem, height, variables):
    """One run for each format; prints what it wrote."""
    for suffix, terminal in TERMINALS.items():
        out = "%s.%s" % (stem, suffix)
        lines = ["set terminal " + terminal % height,
                 "set output %s" % quote(out)]
        for name, value in variables.items():
            lines.append("%s = %s" % (
                name, quote(value) if isinstance(value, str) else
                "%.6f" % value))
        lines.append("load %s" % quote(os.path.join(HERE, script)))
        try:
            subprocess.run(["gnuplot"], input="\n".join(lines).encode(),
                           check=True)
        except FileNotFoundError:
            sys.exit("plot: gnuplot is missing (tests/lib/deps.sh bench)")
        print(out)


def quote(text):
    """A gnuplot string in single quotes."""
    return "'%s'" % text.replace("'", "''")


def rates(samples):
    """Per interval: (ms, MiB/s, pages left, dirtied/s, asked for/s)."""
    last = None
    for s in samples:
        if last is not None and s["t_ms"] <= last["t_ms"]:
            continue
        ms = s["t_ms"] - last["t_ms"] if last else 0

        def per_s(field):
            return (s[field] - last[field]) * 1e3 / ms if ms else 0
        yield (s["t_ms"], per_s("bytes") / (1 << 20), s["pages_left"],
               s["dirty_per_s"], per_s("requested"))
        last = s


def timeline(args):
    with open(args.file) as f:
        samples = [json.loads(line) for line in f if line.strip()]
    if len(samples) < 2:
        sys.exit("plot: %s: no samples" % args.file)
    end = samples[-1]["t_ms"]
    stop = run = end
    for s in samples:
        if s["phase"] == "switch":
            stop = run = min(stop, s["t_ms"])
        elif stop < end and s["t_ms"] > stop:
            run = s["t_ms"]
            break
    with tempfile.NamedTemporaryFile("w", suffix=".dat") as data:
        for row in rates(samples):
            data.write("%f %f %d %d %f\n" % row)
        data.flush()
        gnuplot("timeline.gp", args.o or os.path.splitext(args.file)[0], 800,
                {"data": data.name, "stop": stop, "run": run, "end": end,
                 "title": args.t or os.path.basename(args.file)})


def cdf(args):
    with open(args.file) as f:
        bench = json.load(f)
    rows = {}
    for s in bench["samples"]:
        runs = [f["quantiles"] for f in s["found"] if "quantiles" in f]
        if runs:
            rows.setdefault(s["row"], []).append((s["who"], runs))
    if not rows:
        sys.exit("plot: %s: no faults in it" % args.file)
    stem = args.o or os.path.splitext(args.file)[0]
    with tempfile.TemporaryDirectory() as tmp:
        for number, (row, whos) in enumerate(rows.items()):
            files = []
            for i, (_, runs) in enumerate(whos):
                files.append(os.path.join(tmp, "%d-%d" % (number, i)))
                with open(files[-1], "w") as f:
                    for q in sorted(runs[0], key=int):
                        at = sorted(r[q] for r in runs if q in r)
                        # Medians over the rounds.
                        f.write("%f %f\n" % (at[len(at) // 2], int(q) / 100))
            name = re.sub("[^a-z0-9]+", "-", row.lower()).strip("-")
            gnuplot("cdf.gp", "%s-%s" % (stem, name), 500,
                    {"files": " ".join(files), "title": row,
                     "names": " ".join(w.replace(" ", "_")
                                       for w, _ in whos)})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["timeline", "cdf"])
    parser.add_argument("file")
    parser.add_argument("-o", help="files without .svg and .png")
    parser.add_argument("-t", help="title")
    args = parser.parse_args()
    {"timeline": timeline, "cdf": cdf}[args.what](args)


main()
