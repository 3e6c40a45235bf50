#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/devices/devices.py - how fast the devices are, beside QEMU and floors.

    bench/devices/devices.py [-n ROUNDS] [-o FILE] [--only REGEX] [--who REGEX]

It starts the same guest (kernels/speed) under godwit and under QEMU's microvm and
reads what it says: the guest drives one device from its user mode and counts by
its TSC.  Each round makes every measurement once for every VMM, one after the
other, so that a busy minute meets all of them.  docs/bench-devices.md tells what
each row means.  Prints tables in Markdown and judges nothing; the reaches are
issue 4's.  Needs root for taps; it works in a network namespace of its own.
"""
import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
sys.dont_write_bytecode = True
import moves  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402

BENCH = os.environ.get("BENCH", os.path.join(TOP, "build", "bench"))
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
LIMIT = 20  # seconds; only ends what hangs
MEM = 64  # MiB of the guest
TAP = "gwtap%d"
JOB = re.compile(r"speed: (\w+):(\d+) \w+ (\d+) bytes (\d+) ticks (\d+) "
                 r"kicks (\d+) interrupts (\d+) wrong (\d+)")


class Program(moves.Process):
    """moves.Process with any program."""

    def __init__(self, args):
        program = moves.GODWIT
        try:
            moves.GODWIT = args[0]
            super().__init__(args[1:])
        finally:
            moves.GODWIT = program


# ---- the two VMMs -------------------------------------------------------------

def godwit(words, disk=None, cached=False, tap=None, rng=False, vsock=None,
           more=()):
    args = [moves.GODWIT, "run", "-k", os.path.join(moves.GUESTS, "speed"),
            "-m", "%dM,thp=on" % MEM, "-a", words, "--machine", "cmdline"]
    if disk:
        args += ["-d", "path=%s,ro%s" % (disk, "" if cached else ",direct")]
    if tap:
        args += ["-n", "tap=" + tap]
    if rng:
        args += ["--rng"]
    if vsock:
        args += ["--vsock", "path=" + vsock]
    return args + list(more)


def qemu(words, disk=None, cached=False, tap=None, rng=False, more=(),
         iothread=False):
    args = [QEMU, "-M", "microvm,acpi=off,rtc=on", "-accel", "kvm", "-cpu",
            "host", "-m", str(MEM), "-nodefaults", "-no-user-config",
            "-name", "speed,debug-threads=on", "-display", "none",
            "-no-reboot", "-serial", "stdio", "-global",
            "virtio-mmio.force-legacy=false", "-kernel",
            os.path.join(moves.GUESTS, "speed"), "-append", words]
    if disk:
        args += ["-drive", "file=%s,if=none,id=d,format=raw,aio=io_uring,"
                 "readonly=on,cache=%s" % (
                     disk, "writeback" if cached else "none"),
                 "-device", "virtio-blk-device,drive=d" +
                 (",iothread=io" if iothread else "")]
    if iothread:
        args += ["-object", "iothread,id=io"]
    if tap:
        args += ["-netdev", "tap,id=n,ifname=%s,script=no,downscript=no,"
                 "vhost=off" % tap, "-device", "virtio-net-device,netdev=n"]
    if rng:
        args += ["-object", "rng-builtin,id=r", "-device",
                 "virtio-rng-device,rng=r"]
    return args + list(more)


def qemu_iothread(words, **kw):
    return qemu(words, iothread=True, **kw)


def godwit_unpolled(words, **kw):
    return godwit(words, more=("--poll-us", "0"), **kw)


# ---- one run of the guest -------------------------------------------------------

def figures(m):
    count, size, ticks, kicks, irqs, wrong = (
        int(n) for n in m.groups()[2:])
    if wrong or not count or not ticks:
        raise moves.Hang("the guest read wrong data: " + m.group(0))
    return {"ticks": ticks, "count": count, "bytes": size,
            "kicks": kicks / count, "irqs": irqs / count}


def begin(bench, program):
    """The guest goes on when its vCPU has a CPU of its own, and all the rest of
    the VMM has the others: where a scheduler puts two threads that wake each
    other decides more than all that is to be measured."""
    program.wait_for("speed: guest ready", limit=LIMIT)
    peers.pin(program.process.pid, bench.realtime)
    program.say("g")
    return program


def finish(bench, program, rows):
    """{row: figures} of a guest that ends by itself."""
    if program.end(LIMIT) != 0:
        raise moves.Hang(program.story())
    found = [figures(m) for m in JOB.finditer(program.out.decode("latin1"))]
    if len(found) != len(rows):
        raise moves.Hang("jobs are missing\n" + program.story())
    for f in found:
        seconds = f["ticks"] / bench.khz / 1e3
        f["rate"] = f["count"] / seconds
        f["bytes_per_s"] = f["bytes"] / seconds
    return dict(zip(rows, found))


def words_of(bench, jobs, ms, **kw):
    return " ".join(["wait", "tsc=%d" % bench.khz, "ms=%d" % ms] +
                    ["%s=%d" % p for p in kw.items()] +
                    ["job=" + j for j in jobs])


DISK_JOBS = [("rand:1", "4 KiB random, QD 1"), ("rand:4", "4 KiB random, QD 4"),
             ("rand:32", "4 KiB random, QD 32"),
             ("seq:8", "128 KiB in order, QD 8")]


def disk_rows(jobs, cached, mode):
    where = "page cache" if cached else "O_DIRECT"
    return ["%s, %s%s" % (where, name, mode) for job, name in DISK_JOBS
            if job in jobs]


def disk(bench, vmm, cached, irq, event=1, jobs=None, mode=None):
    jobs = jobs or [j for j, _ in DISK_JOBS]
    mode = mode or (", by interrupt" if irq else "")
    words = words_of(bench, jobs, bench.ms, irq=irq, event=event)
    program = begin(bench, Program(
        vmm(words, disk=bench.image(cached), cached=cached)))
    return finish(bench, program, disk_rows(jobs, cached, mode))


def disk_fio(bench, cached):
    found = {}
    for (job, _), row in zip(DISK_JOBS, disk_rows(
            [j for j, _ in DISK_JOBS], cached, "")):
        found[row] = peers.fio(bench.image(cached), job, cached, bench.ms,
                               bench.realtime)
        found[row + ", by interrupt"] = found[row]
    return found


FRAMES = {64: 100000, 1514: 40000}


def send(bench, vmm, irq, event=1, mode=None):
    mode = mode or (", by interrupt" if irq else "")
    words = words_of(bench, ["tx:64", "tx:1514"], bench.ms, irq=irq,
                     event=event)
    return finish(bench, begin(bench, Program(vmm(words, tap=bench.tap))),
                  ["send %s bytes%s" % (n, mode) for n in FRAMES])


def receive(bench, vmm, irq, event=1, mode=None):
    """The frames are in the tap's queue before the guest looks."""
    mode = mode or (", by interrupt" if irq else "")
    jobs = ["rx:%d:%d" % p for p in FRAMES.items()]
    words = words_of(bench, jobs, bench.ms, irq=irq, event=event)
    program = begin(bench, Program(vmm(words, tap=bench.tap)))
    dropped = peers.tap_dropped(bench.tap)
    for i, (size, frames) in enumerate(FRAMES.items()):
        program.wait_for("speed: rx ready", limit=LIMIT, count=i + 1)
        peers.fill_tap(bench.tap, size, frames)
        if peers.tap_dropped(bench.tap) != dropped:
            program.kill()
            raise moves.Hang("the tap dropped frames")
        program.say("g")
    return finish(bench, program,
                  ["receive %s bytes%s" % (n, mode) for n in FRAMES])


def rng(bench, vmm):
    words = words_of(bench, ["rng:4"], bench.ms, irq=0)
    return finish(bench, begin(bench, Program(vmm(words, rng=True))),
                  ["random bytes, 4 requests of 4 KiB"])


def vsock(bench):
    path = os.path.join(tempfile.mkdtemp(dir=bench.tmp), "v")
    words = words_of(bench, ["vtx:1", "vrx:2"], bench.ms, irq=0)
    with peers.Sink(path + "_1"), peers.Source(path + "_2"):
        return finish(bench, begin(bench, Program(godwit(words, vsock=path))),
                      ["stream to the host", "stream to the guest"])


def unix_floor(bench):
    rate = peers.unix_rate(bench.tmp, bench.ms)
    return {row: {"bytes_per_s": rate}
            for row in ("stream to the host", "stream to the guest")}


# ---- exits, memory: once ----------------------------------------------------------

def exits(bench, vmm, job, **kw):
    """Exits to the VMM of one request, without those of a run that hardly does
    anything."""
    spent, count = [], 0
    opts = {k: kw.pop(k) for k in ("irq", "event")}
    output = os.path.join(bench.tmp, "perf")
    for ms in (10, 500):
        args = vmm(words_of(bench, [job], ms, **opts), **kw)
        program = Program(peers.perf_args(args, output))
        program.wait_for("speed: guest ready", limit=LIMIT)
        peers.pin(peers.child_of(program.process.pid), bench.realtime)
        program.say("g")
        program.end(LIMIT)
        m = JOB.search(program.out.decode("latin1"))
        count = int(m.group(3)) * 1.1  # it warms up, too
        spent.append(peers.perf_count(output))
    return max(0, spent[1] - spent[0]) / count


def exit_rows(bench, record):
    if not peers.perf_works(bench.tmp):
        return
    image = {"disk": bench.image(True), "cached": True}
    jobs = [("page cache, 4 KiB random, QD 1", "rand:1", image),
            ("page cache, 4 KiB random, QD 32", "rand:32", image),
            ("send 64 bytes", "tx:64", {"tap": bench.tap})]
    for name, job, devices in jobs:
        for irq, event, mode in ((1, 1, ", by interrupt"), (0, 1, ""),
                                 (1, 0, ", without EVENT_IDX")):
            for who, vmm in (("godwit", godwit), ("QEMU", qemu)):
                if event == 0 and vmm == qemu:
                    continue
                record("notify", who, lambda v=vmm: {
                    name + mode: {"exits": exits(
                        bench, v, job, irq=irq, event=event, **devices)}})


def idle_private(bench, args):
    program = Program(args)
    try:
        program.wait_for("speed: idle with \\d+ devices")
        return peers.settled_private(program.process.pid, MEM << 10)
    finally:
        program.kill()
        program.process.wait()


def memory(bench):
    """KiB that one more device of a kind costs, its driver there and idle."""
    image = bench.image(True)
    kinds = {
        "disk": (["-d", "path=%s,ro" % image], 4),
        "net (tap)": ([], 3),
        "rng": (["--rng"], 1),
        "balloon": (["--balloon"], 1),
        "vsock": (["--vsock", "path=" + os.path.join(bench.tmp, "idle")], 1),
    }
    base = idle_private(bench, godwit("idle exit=halt"))
    found = {}
    for kind, (args, count) in kinds.items():
        more = args * count
        if kind.startswith("net"):
            more = [a for i in range(count) for a in ("-n", "tap=" + TAP % i)]
        kib = idle_private(bench, godwit("idle exit=halt", more=more)) - base
        found[kind] = {"kib": kib / count}
    return found


# ---- all of it ------------------------------------------------------------------

def runs():
    """(section, who, how); each gives figures of several rows."""
    table = []

    def add(section, who, fn, *args, **kw):
        table.append((section, who, lambda b: fn(b, *args, **kw)))

    for cached in (False, True):
        section = "disk"
        add(section, "fio", disk_fio, cached)
        for irq in (1, 0):
            add(section, "godwit", disk, godwit, cached, irq)
            add(section, "QEMU", disk, qemu, cached, irq)
            add(section, "QEMU iothread", disk, qemu_iothread, cached, irq)
    for irq in (1, 0):
        for who, vmm in (("godwit", godwit), ("QEMU", qemu)):
            add("net", who, send, vmm, irq)
            add("net", who, receive, vmm, irq)
    for who, vmm in (("godwit", godwit), ("QEMU", qemu)):
        add("rng", who, rng, vmm)
    add("vsock", "godwit", vsock)
    add("vsock", "UNIX socket", unix_floor)
    # What the two means against notifications are worth.
    few = ["rand:1", "rand:32"]
    for cached in (False, True):
        for irq, event, mode, who, vmm in (
                (1, 0, ", by interrupt", "no EVENT_IDX", godwit),
                (0, 0, "", "no EVENT_IDX", godwit),
                (1, 1, ", by interrupt", "no polling", godwit_unpolled),
                (0, 1, "", "no polling", godwit_unpolled)):
            add("disk", who, disk, vmm, cached, irq, event, few, mode)
    add("net", "no EVENT_IDX", send, godwit, 1, 0, ", by interrupt")
    add("net", "no EVENT_IDX", receive, godwit, 1, 0, ", by interrupt")
    add("net", "no polling", send, godwit_unpolled, 1)
    add("net", "no polling", send, godwit_unpolled, 0)
    return table


def spread(samples):
    s = sorted(samples)
    return {"median": statistics.median(s), "min": s[0], "max": s[-1],
            "n": len(s)}


class Bench:
    def __init__(self, tmp, ms, size, realtime):
        self.tmp, self.ms, self.size = tmp, ms, size
        self.realtime = realtime
        self.samples = {}  # {(section, row, who, figure): [value]}
        self.failures = []
        self.khz = int(subprocess.run(
            [os.path.join(BENCH, "migrate_floor"), "tsc"],
            stdout=subprocess.PIPE, check=True).stdout)
        self.tap = TAP % 0
        self.files = {}

    def image(self, cached):
        """A small one fits into any page cache."""
        path = os.path.join(BENCH, "devices.%s" % (
            "cached" if cached else "img"))
        if path not in self.files:
            peers.make_image(path, self.size // 4 if cached else self.size)
        if cached:
            peers.warm(path)
        self.files[path] = True
        return path

    def record(self, section, who, fn):
        watchdog()
        try:
            for row, found in fn().items():
                for figure, value in found.items():
                    self.samples.setdefault(
                        (section, row, who, figure), []).append(value)
        except (moves.Hang, OSError, subprocess.SubprocessError, KeyError,
                AttributeError) as e:
            self.failures.append("%s, %s: %s" % (section, who, e))
            print("devices: " + self.failures[-1], file=sys.stderr)
        moves.end_everyone()
        del moves.Process.everyone[:]

    def result(self):
        """{section: {row: {who: {figure: spread}}}}"""
        out = {}
        for (section, row, who, figure), values in self.samples.items():
            out.setdefault(section, {}).setdefault(row, {}).setdefault(
                who, {})[figure] = spread(values)
        return out


def host():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    return {"cpu": model.group(1) if model else "?",
            "cpus": os.cpu_count(), "kernel": platform.release(),
            "load": os.getloadavg()[0],
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def watchdog():
    """No read may wait for ever; says where it was."""
    import faulthandler
    faulthandler.dump_traceback_later(LIMIT * 3, exit=True)


def own_network():
    """In a namespace of our own nothing but us sends frames through the taps.
    """
    if os.geteuid() != 0 or os.environ.get("GODWIT_BENCH_NET"):
        return
    os.environ["GODWIT_BENCH_NET"] = "1"
    if shutil.which("unshare"):
        os.execvp("unshare", ["unshare", "-n", sys.executable] + sys.argv)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=5, help="rounds (5)")
    parser.add_argument("-o", help="JSON goes here")
    parser.add_argument("--only", default="", help="sections: disk, net, rng, "
                        "vsock, notify, memory (regular expression)")
    parser.add_argument("--who", default="", help="regular expression")
    parser.add_argument("--ms", type=int, default=300,
                        help="of each measurement (300)")
    parser.add_argument("--size", type=int, default=1024,
                        help="MiB of the image that is read directly (1024)")
    parser.add_argument("--realtime", action="store_true",
                        help="VMMs before all others, on a host that is busy")
    args = parser.parse_args()
    moves.need_kvm()
    own_network()
    info = host()
    if info["load"] > 0.5:
        print("devices: this host is busy (load %.1f), the figures are worth "
              "little" % info["load"], file=sys.stderr)
    wanted = re.compile(args.only)
    table = [r for r in runs() if wanted.search(r[0]) and
             re.search(args.who, r[1])]
    with tempfile.TemporaryDirectory(prefix="godwit-bench.") as tmp:
        bench = Bench(tmp, args.ms, args.size, args.realtime)
        if peers.make_taps([TAP % i for i in range(3)]):
            bench.failures.append("no taps: not root, or no /dev/net/tun")
            table = [r for r in table if r[0] != "net"]
        for n in range(args.n):
            for section, who, fn in table:
                bench.record(section, who, lambda: fn(bench))
            print("devices: round %d of %d" % (n + 1, args.n),
                  file=sys.stderr)
        if wanted.search("notify"):
            exit_rows(bench, bench.record)
        if wanted.search("memory"):
            for _ in range(min(args.n, 3)):
                bench.record("memory", "godwit", lambda: memory(bench))
        for path in bench.files:
            os.unlink(path)
    data = {"bench": "devices", "host": info, "rounds": args.n,
            "ms": args.ms, "tsc_khz": bench.khz, "sections": bench.result(),
            "failures": bench.failures}
    if args.o:
        with open(args.o, "w") as f:
            json.dump(data, f, indent=1)
    print(report.markdown(data))


if __name__ == "__main__":
    threading.current_thread().name = "bench"
    main()
