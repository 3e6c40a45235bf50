# SPDX-License-Identifier: Apache-2.0
"""bench/devices/peers.py - the other ends: images, taps, sockets, fio, perf, and
what the kernel says of a process."""
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time

BLOCK = 4096
ETHERTYPE = b"\x88\xb5"  # for experiments; the guest counts these only


# ---- disks ------------------------------------------------------------------

def make_image(path, mib):
    """Each block begins with its number; the guest looks at that."""
    rest = os.urandom(BLOCK - 8)
    per_mib = (1 << 20) // BLOCK
    with open(path, "wb") as f:
        for at in range(0, mib * per_mib, per_mib):
            f.write(b"".join(struct.pack("<Q", at + i) + rest
                             for i in range(per_mib)))
        os.fsync(f.fileno())


def warm(path):
    """See that all of it is in the page cache."""
    with open(path, "rb", buffering=0) as f:
        while f.read(1 << 20):
            pass


def fio(path, job, cached, ms, realtime):
    name, depth = job.split(":")
    args = ["chrt", "-f", "1"] if realtime else []
    args += ["fio", "--name=r", "--filename=" + path, "--readonly",
             "--rw=" + ("randread" if name == "rand" else "read"),
             "--bs=" + ("4k" if name == "rand" else "128k"),
             "--direct=%d" % (not cached), "--ioengine=io_uring",
             "--iodepth=" + depth, "--norandommap", "--invalidate=0",
             "--time_based", "--runtime=%dms" % ms, "--output-format=json"]
    out = subprocess.run(args, stdout=subprocess.PIPE, check=True,
                         stderr=subprocess.DEVNULL, timeout=60).stdout
    read = json.loads(out[out.index(b"{"):])["jobs"][0]["read"]
    return {"rate": read["iops"], "bytes_per_s": read["bw_bytes"]}


# ---- taps -------------------------------------------------------------------

def ip(*args):
    subprocess.run(["ip"] + list(args), check=True,
                   stderr=subprocess.DEVNULL)


def make_taps(names):
    """They go with our network namespace.  True: no taps for us."""
    try:
        for name in names:
            ip("tuntap", "add", "dev", name, "mode", "tap")
            with open("/proc/sys/net/ipv6/conf/%s/disable_ipv6" % name,
                      "w") as f:
                f.write("1")
            # What is sent to the guest waits there until it looks.
            ip("link", "set", name, "txqueuelen", "200000", "up")
    except (OSError, subprocess.SubprocessError):
        return True
    return False


def tap_dropped(name):
    """Frames to the guest that its queue did not take."""
    with open("/proc/net/dev") as f:
        line = re.search(r"%s:(.*)" % name, f.read()).group(1)
    return int(line.split()[11])


def fill_tap(name, size, count):
    frame = (b"\x02gwt\x00\x01" + b"\x02gwt\x00\x99" + ETHERTYPE).ljust(
        size, b"\x55")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((name, 0))
        for _ in range(count):
            s.send(frame)


# ---- UNIX sockets -----------------------------------------------------------

def taker(listener):
    """Runs in a process of its own: takes what comes, from one after another.
    """
    buf = bytearray(1 << 18)
    while True:
        conn, _ = listener.accept()
        while conn.recv_into(buf):
            pass


def giver(listener):
    data = bytes(1 << 16)
    while True:
        conn, _ = listener.accept()
        try:
            while True:
                conn.sendall(data)
        except OSError:
            conn.close()


class Server:
    """A process that serves connections to a socket."""

    def __init__(self, path, fn):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(4)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                fn(listener)
            finally:
                os._exit(0)
        listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


class Sink(Server):
    def __init__(self, path):
        super().__init__(path, taker)


class Source(Server):
    def __init__(self, path):
        super().__init__(path, giver)


def unix_rate(tmp, ms):
    """Bytes a second of a plain socket between two processes, 64 KiB a write.
    """
    path = os.path.join(tmp, "floor")
    data, sent = bytes(1 << 16), 0
    with Sink(path), socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        begin = time.monotonic()
        while True:
            s.sendall(data)
            sent += len(data)
            took = time.monotonic() - begin
            if took * 1e3 >= ms:
                break
    os.unlink(path)
    return sent / took


# ---- processes ----------------------------------------------------------------

VCPU = re.compile(r"vcpu0|CPU 0/KVM")


def pin(pid, realtime):
    """The vCPU to the last of our CPUs, all other threads to the rest."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, tid)) as f:
            vcpu = VCPU.match(f.read())
        os.sched_setaffinity(int(tid), cpus[-1:] if vcpu else cpus[:-1])
        if realtime:
            os.sched_setscheduler(int(tid), os.SCHED_FIFO,
                                  os.sched_param(1))


# ---- what the kernel says -----------------------------------------------------

EVENT = "kvm:kvm_userspace_exit"


def perf_args(args, output):
    """The same program, its exits to the VMM counted."""
    return ["perf", "stat", "-x", ",", "-o", output, "-e", EVENT] + args


def perf_count(output):
    with open(output) as f:
        return int(re.search(r"^(\d+),,%s" % EVENT, f.read(), re.M).group(1))


def perf_works(tmp):
    output = os.path.join(tmp, "perf")
    try:
        subprocess.run(perf_args(["true"], output), check=True, timeout=20,
                       stderr=subprocess.DEVNULL)
        perf_count(output)
        return True
    except (OSError, subprocess.SubprocessError, AttributeError):
        return False


def child_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return int(f.read().split()[0])


def private(pid, ram_kib):
    """KiB of a process that are its own and written to, without the mapping that
    is guest RAM.  Other figures move with what else maps the C library."""
    total, skip = 0, False
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line)
            if m:
                size = int(m.group(2), 16) - int(m.group(1), 16)
                skip = size >> 10 >= ram_kib and m.group(3)[:2] == "rw"
            elif line.startswith("Private_Dirty:") and not skip:
                total += int(line.split()[1])
    return total


def settled_private(pid, ram_kib):
    """When two looks in a row say the same."""
    before = -1
    for _ in range(50):
        now = private(pid, ram_kib)
        if now == before:
            break
        before = now
        time.sleep(0.02)
    return now
