#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/migrate/migrate.py - what a move costs, beside QEMU and beside floors.

    bench/migrate/migrate.py [-n ROUNDS] [-o FILE] [--only REGEX] [--keep DIR]

It only starts programs, tells them to move and reads what they say.  Times come
from within: godwit's and QEMU's own statistics, and the guest (kernels/touch),
which times each read of a page and every gap by its TSC.  Each round runs every
row once for every VMM, one after the other, so a busy minute meets all of them.
docs/bench-migrate.md tells what each row means.  Prints figures, judges nothing.
"""
import argparse
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import moves  # noqa: E402

BENCH = os.environ.get("BENCH", os.path.join(TOP, "build", "bench"))
FLOOR = os.path.join(BENCH, "migrate_floor")
FIRST = os.path.join(BENCH, "migrate_first")
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
LIMIT = 120  # seconds; only ends what hangs
QUIET = 1 << 20  # bytes/s of background while faults are measured alone


class Program(moves.Process):
    """moves.Process with any program."""

    def __init__(self, args):
        program = moves.GODWIT
        try:
            moves.GODWIT = args[0]
            super().__init__(args[1:])
        finally:
            moves.GODWIT = program


def cpu_seconds(process):
    """User and system time of a process that still runs."""
    with open("/proc/%d/stat" % process.process.pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def warm(mib):
    """Memory for the destination that this host has for certain: one that is a
    VM itself (with free page reporting, say) gets it from its own host page by
    page, which costs more than all that is to be measured."""
    subprocess.run([FLOOR, "warm", str(mib + mib // 4)], check=True)


class Godwit:
    """A guest under godwit, and the process that it moves to."""

    policies = {"precopy": "never", "postcopy": "immediate",
                "hybrid": "after=1", "stalled": "stalled"}

    def __init__(self, work, kernel, mem, words, thp="on"):
        # QEMU asks for huge pages by itself.
        self.work, self.mem = work, mem
        self.socket = work("c")
        self.now = Program([moves.GODWIT, "run", "-k",
                            os.path.join(moves.GUESTS, kernel), "-m",
                            "%dM,thp=%s" % (mem, thp), "-a", words, "--control",
                            self.socket, "--no-reboot"])

    def move(self, policy, quiet=False):
        """Return the figures of the move; self.now is the destination's."""
        dest = Program([moves.GODWIT, "receive", "tcp:127.0.0.1:0", "-v",
                        "--override", "control=" + self.work("c2")])
        dest.wait_for(r"waiting at \S+", "err")
        where = re.search(rb"waiting at (\S+)", dest.err).group(1).decode()
        control = moves.Control(self.socket)
        warm(self.mem)
        args = {"address": where, "postcopy": self.policies[policy],
                "timeline": True}
        if policy == "precopy":
            args["max_rounds"] = 30
        if quiet:
            args["push_bandwidth"] = QUIET
        answer = control("migrate", **args)
        if "ok" not in answer:
            raise moves.Hang("migrate: %s" % answer)
        self.old, self.now = self.now, dest
        self.control, self.job = control, answer["ok"]["job"]

    def result(self):
        end = self.control.job_end(self.job)
        if end["status"] != "done":
            raise moves.Hang("migrate: %s" % end)
        r = end["result"]
        lines = [json.loads(t) for t in r["timeline"].splitlines()]
        switch = [s["t_ms"] for s in lines if s["phase"] == "switch"][0]
        first = [s for s in lines if s["phase"] == "precopy"]
        found = {
            "downtime_us": r["downtime"]["total_us"],
            "total_ms": r["elapsed_ms"],
            "after_switch_ms": r["elapsed_ms"] - switch,
            "faults": r["destination"]["faults"]["count"],
            "requests": r["pages"]["requested"],
        }
        for part in ("save", "send", "load", "run"):
            found[part + "_us"] = r["downtime"][part + "_us"]
        if first and lines[-1]["round"] == 1 or len(first) > 1:
            # Round 1 is the one that sends all of RAM.
            ends = [s for s in lines if s["round"] > 1] or \
                [s for s in lines if s["phase"] == "switch"]
            ms = ends[0]["t_ms"] - first[0]["t_ms"]
            if ms > 0:
                found["bytes_per_s"] = \
                    (ends[0]["bytes"] - first[0]["bytes"]) * 1e3 / ms
        self.timeline = r["timeline"]
        self.control.close()
        return found

    def end(self):
        for p in (self.now, getattr(self, "old", None)):
            if p:
                p.kill()
                p.process.wait()


def small_pages(work, kernel, mem, words):
    return Godwit(work, kernel, mem, words, thp="off")


class Qmp:
    def __init__(self, path):
        end = time.monotonic() + LIMIT
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(LIMIT)
            try:
                self.sock.connect(path)
                break
            except OSError:
                self.sock.close()
                if time.monotonic() > end:
                    raise moves.Hang("no QMP at " + path) from None
                time.sleep(0.005)
        self.file = self.sock.makefile("rwb")
        self.events = []
        json.loads(self.file.readline())
        self("qmp_capabilities")

    def read(self):
        line = self.file.readline()
        if not line:
            raise moves.Hang("QMP closed")
        return json.loads(line)

    def __call__(self, cmd, **args):
        self.file.write(json.dumps(
            {"execute": cmd, "arguments": args}).encode() + b"\n")
        self.file.flush()
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise moves.Hang("%s: %s" % (cmd, answer["error"]))
            else:
                return answer["return"]

    def wait_status(self, *states):
        """Until a MIGRATION event says one of them."""
        while True:
            while self.events:
                e = self.events.pop(0)
                if e["event"] == "MIGRATION":
                    status = e["data"]["status"]
                    if status in states:
                        return status
                    if status in ("failed", "cancelled"):
                        raise moves.Hang("qemu: migration " + status)
            self.events.append(self.read())


class Qemu:
    """The same guest under QEMU's microvm."""

    def __init__(self, work, kernel, mem, words):
        self.args = [QEMU, "-M", "microvm,acpi=off,rtc=on", "-accel", "kvm",
                     "-cpu", "host", "-m", str(mem), "-nodefaults",
                     "-no-user-config", "-display", "none", "-no-reboot",
                     "-serial", "stdio", "-kernel",
                     os.path.join(moves.GUESTS, kernel), "-append", words]
        self.work, self.mem = work, mem
        self.count = 0
        self.now, self.qmp = self.start([])

    def start(self, more):
        path = self.work("q%d" % self.count)
        self.count += 1
        p = Program(self.args + ["-qmp", "unix:%s,server=on,wait=off" % path]
                    + more)
        return p, Qmp(path)

    def move(self, policy, quiet=False):
        dest, there = self.start(["-incoming", "defer"])
        caps = {"events": True, "postcopy-ram": policy != "precopy",
                "postcopy-preempt": policy == "preempt"}
        caps = [{"capability": c, "state": s} for c, s in caps.items()]
        for q in (self.qmp, there):
            q("migrate-set-capabilities", capabilities=caps)
        self.qmp("migrate-set-parameters", **{
            "max-bandwidth": 100 << 30, "downtime-limit": 300,
            "max-postcopy-bandwidth": QUIET if quiet else 0})
        there("migrate-incoming", uri="tcp:127.0.0.1:0")
        where = there("query-migrate")["socket-address"][0]
        warm(self.mem)
        self.qmp("migrate", uri="tcp:127.0.0.1:" + where["port"])
        if policy != "precopy":
            self.qmp.wait_status("active")
            self.qmp("migrate-start-postcopy")
        self.policy, self.there = policy, there
        self.old, self.now = self.now, dest

    def result(self):
        self.qmp.wait_status("completed")
        if self.policy != "precopy":
            self.there.wait_status("completed")
        r = self.qmp("query-migrate")
        found = {"downtime_us": r["downtime"] * 1000.0,
                 "total_ms": r["total-time"],
                 "requests": r["ram"].get("postcopy-requests", 0)}
        if r["total-time"] > 0:
            found["bytes_per_s"] = \
                r["ram"]["transferred"] * 1e3 / r["total-time"]
        return found

    def end(self):
        for p in (self.now, getattr(self, "old", None)):
            if p:
                p.kill()
                p.process.wait()


def poke(program, word, pattern):
    """Say word until pattern comes: what was said before the state was loaded
    is lost with the UART's old state.  After a while less and less often,
    because each time disturbs what is measured."""
    begin = time.monotonic()
    end = begin + LIMIT
    pause = 0.002
    while True:
        program.say(word)
        try:
            program.wait_for(pattern, limit=pause)
            return
        except moves.Hang:
            if time.monotonic() > begin + 0.05:
                pause = min(2 * pause, 0.5)
            if time.monotonic() > end or not program.alive():
                raise


# ---- what the guest says ----------------------------------------------------

def gaps(program):
    return [int(n) / 1e3 for n in
            re.findall(rb"touch: gap (\d+) ns", program.out)]


def quantiles(text, name):
    pairs = re.findall(name + rb": quantile (\d+) ns (\d+)", text)
    return {int(q): int(ns) / 1e3 for q, ns in pairs}


def from_quantiles(q):
    return {"p50_us": q[5000], "p99_us": q[9900], "quantiles": q}


def touched(program):
    poke(program, "g", r"touch: verdict")
    m = re.search(rb"touch: pages (\d+) missing (\d+) ns (\d+)", program.out)
    pages, missing, ns = (int(n) for n in m.groups())
    found = {"pages": pages, "missing": missing, "page_us": ns / pages / 1e3}
    q = quantiles(program.out, b"touch")
    if 9900 in q:
        found.update(from_quantiles(q))
    return found


# ---- one measurement ----------------------------------------------------------

def start(vmm, bench, kernel, mem, words):
    directory = tempfile.mkdtemp(dir=bench.tmp)
    guest = vmm(lambda name: os.path.join(directory, name), kernel, mem,
                "%s tsc=%d" % (words, bench.khz))
    return guest


def downtime(bench, vmm, policy, mem=512, fill=16):
    """The guest looks at its TSC and writes nothing; stdin ends it."""
    guest = start(vmm, bench, "touch", mem, "mode=gap mem=%d" % fill)
    try:
        guest.now.wait_for(r"touch: ready")
        guest.now.say("c")
        guest.now.wait_for(r"touch: cleared")
        guest.move(policy)
        found = guest.result()
        poke(guest.now, "q", r"touch: verdict")
        found["gap_us"] = gaps(guest.now)[0]
        bench.keep(guest)
        return found
    finally:
        guest.end()


def halted(bench, vmm, policy):
    guest = start(vmm, bench, "work", 512,
                  "mem=16 passes=0 idle=20 tick=20 report=200")
    try:
        guest.now.wait_for(r"work: pass ", count=2)
        guest.move(policy)
        return guest.result()
    finally:
        guest.end()


def touches(bench, vmm, policy, words, mem=512, quiet=False):
    guest = start(vmm, bench, "touch", mem, "mode=touch " + words)
    try:
        guest.now.wait_for(r"touch: ready")
        guest.move(policy, quiet)
        found = touched(guest.now)
        if not quiet:
            found.update(guest.result())
        bench.keep(guest)
        return found
    finally:
        guest.end()


def dirtier(bench, vmm, policy):
    guest = start(vmm, bench, "work", 2048,
                  "mem=1536 passes=0 fill=1 tick=20 report=20")
    try:
        guest.now.wait_for(r"work: pass ", count=2)
        guest.move(policy)
        found = guest.result()
        bench.keep(guest)
        return found
    finally:
        guest.end()


def bulk(bench, vmm, policy):
    """1 GiB of pages that are not zero; the guest sleeps."""
    guest = start(vmm, bench, "work", 1152,
                  "mem=1024 fill=1 hot=1 passes=0 idle=1000 report=1p")
    try:
        guest.now.wait_for(r"work: pass ")
        guest.move(policy)
        return guest.result()
    finally:
        guest.end()


def floor_faults(bench, mode):
    out = subprocess.run([FLOOR, mode, "3000"], stdout=subprocess.PIPE,
                         timeout=LIMIT, check=True).stdout
    return from_quantiles(quantiles(out, b"floor"))


def floor_bulk(bench):
    out = subprocess.run([FLOOR, "send", "1024"], stdout=subprocess.PIPE,
                         timeout=LIMIT, check=True).stdout
    return {"bytes_per_s": float(re.search(rb"bytes/s (\d+)", out).group(1))}


def snapshot_file(bench):
    """One for all rounds: 512 MiB, 384 of them not zero, always printing."""
    if bench.snapshot:
        return bench.snapshot
    path = os.path.join(bench.store, "snapshot")
    if os.path.exists(path):
        os.unlink(path)
    guest = start(Godwit, bench, "work", 512,
                  "mem=384 fill=1 hot=1 passes=0 tick=0 report=1p")
    try:
        guest.now.wait_for(r"work: pass ", count=2)
        control = moves.Control(guest.socket)
        answer = control("snapshot", file=path, then="stop")
        end = control.job_end(answer["ok"]["job"])
        if end["status"] != "done":
            raise moves.Hang("snapshot: %s" % end)
    finally:
        guest.end()
    bench.snapshot = path
    return path


def restore(bench, lazy):
    path = snapshot_file(bench)
    args = [FIRST, moves.GODWIT, "restore", path]
    out = subprocess.run(args + (["--lazy"] if lazy else []),
                         stdout=subprocess.PIPE, timeout=LIMIT, check=True)
    return {"first_byte_us": int(out.stdout) / 1e3,
            "file_bytes": os.stat(path).st_blocks * 512}


def run_hello(bench):
    """What starting a process and a guest costs, with nothing to restore."""
    args = [FIRST, moves.GODWIT, "run", "-m", "512M", "-k",
            os.path.join(moves.GUESTS, "hello")]
    out = subprocess.run(args, stdout=subprocess.PIPE, timeout=LIMIT,
                         check=True)
    return {"first_byte_us": int(out.stdout) / 1e3}


def read_file(bench):
    """The same file read by O_DIRECT: what bounds an eager restore."""
    path = snapshot_file(bench)
    begin = time.monotonic()
    subprocess.run(["dd", "if=" + path, "of=/dev/null", "bs=4M",
                    "iflag=direct"], stderr=subprocess.DEVNULL, check=True)
    return {"first_byte_us": (time.monotonic() - begin) * 1e6,
            "file_bytes": os.stat(path).st_blocks * 512}


# ---- the table ------------------------------------------------------------------

# (row, what to show of it, who, how); the reaches are issue 6's.
def rows():
    g, q = Godwit, Qemu
    table = []

    def add(row, who, fn, *args, **kw):
        table.append((row, who, lambda b: fn(b, *args, **kw)))

    add("idle halted, precopy", "godwit", halted, g, "precopy")
    add("idle halted, precopy", "qemu", halted, q, "precopy")
    add("idle, precopy", "godwit", downtime, g, "precopy")
    add("idle, precopy", "qemu", downtime, q, "precopy")
    add("idle, postcopy", "godwit", downtime, g, "postcopy", fill=384)
    add("idle, postcopy", "qemu", downtime, q, "postcopy", fill=384)
    add("idle, postcopy", "qemu preempt", downtime, q, "preempt", fill=384)
    for where in ("user", "kernel"):
        row = "fault, %s code, quiet link" % where
        words = "mem=384 count=2000 where=%s slow=%d" % (
            where, 60 if where == "user" else 10)
        add(row, "floor", floor_faults, where)
        add(row, "godwit", touches, g, "postcopy", words, quiet=True)
        # QEMU's limit holds for what is asked for, too: a request waits for the
        # next tenth of a second.  2000 of them take longer than LIMIT.
        words = words.replace("count=2000", "count=200")
        add(row, "qemu", touches, q, "postcopy", words, quiet=True)
        add(row, "qemu preempt", touches, q, "preempt", words, quiet=True)
    words = "mem=1024 slow=60"  # mapping a page that is there costs 30 us
    add("fault, user code, busy link", "godwit", touches, g, "postcopy",
        words, mem=1152)
    add("fault, user code, busy link", "qemu", touches, q, "postcopy", words,
        mem=1152)
    add("fault, user code, busy link", "qemu preempt", touches, q, "preempt",
        words, mem=1152)
    words = "mem=384 order=seq"
    add("sequential walk", "godwit", touches, g, "postcopy", words)
    add("sequential walk", "qemu", touches, q, "postcopy", words)
    add("sequential walk", "qemu preempt", touches, q, "preempt", words)
    add("bulk, 1 GiB", "floor", floor_bulk)
    add("bulk, 1 GiB", "godwit", bulk, g, "precopy")
    add("bulk, 1 GiB", "godwit thp=off", bulk, small_pages, "precopy")
    add("bulk, 1 GiB", "qemu", bulk, q, "precopy")
    add("dirtier, 2 GiB, precopy", "godwit", dirtier, g, "precopy")
    add("dirtier, 2 GiB, precopy", "qemu", dirtier, q, "precopy")
    add("dirtier, 2 GiB, hybrid", "godwit", dirtier, g, "hybrid")
    add("dirtier, 2 GiB, postcopy", "godwit", dirtier, g, "postcopy")
    add("dirtier, 2 GiB, postcopy", "qemu", dirtier, q, "postcopy")
    add("dirtier, 2 GiB, postcopy", "qemu preempt", dirtier, q, "preempt")
    add("restore 512 MiB", "godwit run hello", run_hello)
    add("restore 512 MiB", "godwit lazy", restore, True)
    add("restore 512 MiB", "godwit eager", restore, False)
    add("restore 512 MiB", "dd O_DIRECT", read_file)
    return table


COLUMNS = [
    # row (regular expression), figure, unit, divisor, reach
    ("^idle halted", "downtime_us", "us", 1, "1000"),
    ("^idle, precopy", "downtime_us", "us", 1, "1000"),
    ("^idle, precopy", "gap_us", "us", 1, "1000"),
    ("^idle, postcopy", "downtime_us", "us", 1, "1500"),
    ("^idle, postcopy", "gap_us", "us", 1, "1500"),
    ("^fault.*quiet", "p50_us", "us", 1, "1.3 x floor"),
    ("^fault.*quiet", "p99_us", "us", 1, "1.3 x floor"),
    ("^fault.*busy", "p50_us", "us", 1, "150"),
    ("^fault.*busy", "p99_us", "us", 1, ""),
    ("^fault.*busy", "missing", "", 1, ""),
    ("^sequential", "page_us", "us", 1, "15"),
    ("^sequential", "missing", "", 1, ""),
    ("^(idle, post|fault.*busy|sequential)", "total_ms", "ms", 1, ""),
    ("^bulk", "bytes_per_s", "GB/s", 1e9, "2.5"),
    ("^dirtier", "total_ms", "ms", 1, ""),
    ("^dirtier", "after_switch_ms", "ms", 1, "1.2 x RAM / bulk"),
    ("^dirtier", "downtime_us", "us", 1, ""),
    ("^dirtier", "requests", "", 1, ""),
    ("^restore", "first_byte_us", "us", 1, "lazy 3000"),
]


def spread(samples):
    s = sorted(samples)
    return {"median": statistics.median(s), "min": s[0], "max": s[-1],
            "n": len(s)}


def summary(samples):
    """{row: {who: {figure: spread}}}"""
    out = {}
    for (row, who), found in samples.items():
        figures = {}
        for f in found:
            for k, v in f.items():
                if isinstance(v, (int, float)):
                    figures.setdefault(k, []).append(v)
        out.setdefault(row, {})[who] = {
            k: spread(v) for k, v in figures.items()}
    return out


def print_table(result):
    print("%-28s %-14s %-17s %10s  %-23s %s" % (
        "row", "figure", "who", "median", "[least .. most]", "reach"))
    for pattern, figure, unit, div, reach in COLUMNS:
        for row, whos in result.items():
            if not re.search(pattern, row):
                continue
            for who, figures in whos.items():
                if figure not in figures:
                    continue
                f = figures[figure]
                print("%-28s %-14s %-17s %10.5g  %-23s %s" % (
                    row, re.sub("_(us|ms|per_s)$", "", figure) + " " + unit,
                    who, f["median"] / div, "[%.4g .. %.4g]" % (
                        f["min"] / div, f["max"] / div), reach))


def host():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    return {"cpu": model.group(1) if model else "?",
            "cpus": os.cpu_count(), "kernel": platform.release(),
            "load": os.getloadavg()[0],
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def write(path, data):
    if path:
        with open(path, "w") as f:
            json.dump(data, f, indent=1)


class Bench:
    def __init__(self, store, tmp):
        self.store, self.tmp = store, tmp
        self.snapshot = None
        self.key = None
        self.khz = int(subprocess.run(
            [FLOOR, "tsc"], stdout=subprocess.PIPE, check=True).stdout)

    def keep(self, guest):
        """The timeline of the last move of each row, for bench/plot."""
        if hasattr(guest, "timeline"):
            name = re.sub("[^a-z0-9]+", "-", self.key[0].lower())
            with open(os.path.join(self.store, name + ".jsonl"), "w") as f:
                f.write(guest.timeline)


def watchdog():
    """No read may wait for ever; says where it was."""
    import faulthandler
    faulthandler.dump_traceback_later(LIMIT * 2, exit=True)
    return faulthandler


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=5, help="rounds (5)")
    parser.add_argument("-o", help="JSON goes here")
    parser.add_argument("--only", default="", help="rows: regular expression")
    parser.add_argument("--who", default="", help="VMMs: regular expression")
    parser.add_argument("--keep", default=os.path.join(BENCH, "migrate"),
                        help="timelines, and for a while the snapshot, go here")
    args = parser.parse_args()
    moves.need_kvm()
    os.makedirs(args.keep, exist_ok=True)
    samples, failures = {}, []
    table = [r for r in rows() if re.search(args.only, r[0]) and
             re.search(args.who, r[1])]
    info = host()
    if info["load"] > 0.5:
        print("migrate: this host is busy (load %.1f), the figures are worth "
              "little" % info["load"], file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="godwit-bench.") as tmp:
        bench = Bench(args.keep, tmp)
        for n in range(args.n):
            for row, who, fn in table:
                dog = watchdog()
                bench.key = (row, who)
                try:
                    samples.setdefault(bench.key, []).append(fn(bench))
                except (moves.Hang, OSError, subprocess.SubprocessError,
                        KeyError, IndexError) as e:
                    failures.append("%s, %s: %s" % (
                        row, who, str(e).split("\n")[0] or repr(e)))
                    print("migrate: " + failures[-1], file=sys.stderr)
                dog.cancel_dump_traceback_later()
                del moves.Process.everyone[:]
            print("migrate: round %d of %d" % (n + 1, args.n),
                  file=sys.stderr)
            result = summary(samples)
            # After each round: an interrupted run is worth something, too.
            write(args.o, {
                "bench": "migrate", "host": info, "rounds": n + 1,
                "tsc_khz": bench.khz, "rows": result, "failures": failures,
                "samples": [{"row": r, "who": w, "found": f}
                            for (r, w), f in samples.items()]})
        if bench.snapshot:
            os.unlink(bench.snapshot)
    print_table(result)
    for text in failures:
        print("failed: " + text)


if __name__ == "__main__":
    threading.current_thread().name = "bench"
    main()
