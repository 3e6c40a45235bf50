# SPDX-License-Identifier: Apache-2.0
"""tests/lib/moves.py - godwit processes that move guests between them: what the
migration tests, the fault sweep and the soak share.

Everything waits for what a process says; PATIENCE only ends what hangs.
"""
import atexit
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
GODWIT = os.path.realpath(os.environ.get("GODWIT", os.path.join(TOP, "godwit")))
GUESTS = os.environ.get("GUESTS", os.path.join(TOP, "kernels"))
PATIENCE = int(os.environ.get("MOVES_PATIENCE", "120"))
# build/san/godwit, build/tsan/godwit: slow, so the tables are thinned out.
SANITIZED = "san" in os.path.basename(os.path.dirname(GODWIT))


class Hang(Exception):
    pass


class Tap:
    """Counts and prints; a test's name is the promise."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def check(self, promise, good, why=""):
        self.count += 1
        print("%sok %d - %s" % ("" if good else "not ", self.count, promise))
        if not good:
            self.failed += 1
            for line in str(why).splitlines():
                print("# " + line)
        sys.stdout.flush()
        return good

    def skip(self, promise, why):
        self.count += 1
        print("ok %d - %s # SKIP %s" % (self.count, promise, why))
        sys.stdout.flush()

    def done(self):
        print("1..%d" % self.count)
        sys.exit(1 if self.failed else 0)


def need_kvm():
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        return
    if os.environ.get("KVM") == "required":
        print("1..1\nnot ok 1 - /dev/kvm can be used\n# KVM=required")
        sys.exit(1)
    print("1..0 # SKIP no /dev/kvm for us")
    sys.exit(0)


class Workdir:
    """A temporary directory that goes with the program."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="godwit-moves.")
        atexit.register(shutil.rmtree, self.path, True)

    def __call__(self, name):
        return os.path.join(self.path, name)


class Process:
    """One godwit.  A thread gathers what it says."""

    everyone = []

    def __init__(self, args, pass_fds=(), env=None):
        self.args = [GODWIT] + [str(a) for a in args]
        self.out = b""
        self.err = b""
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            self.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, pass_fds=pass_fds,
            env=dict(os.environ, **(env or {})))
        self.open = 2
        for name in ("out", "err"):
            threading.Thread(target=self._gather, args=(name,),
                             daemon=True).start()
        Process.everyone.append(self)

    def _gather(self, name):
        fd = getattr(self.process, "std" + name).fileno()
        while True:
            data = os.read(fd, 65536)
            with self.changed:
                if data:
                    setattr(self, name, getattr(self, name) + data)
                else:
                    self.open -= 1
                self.changed.notify_all()
            if not data:
                return

    def wait_for(self, pattern, stream="out", limit=PATIENCE, count=1):
        """Until the regular expression stands count times in what it said."""
        want = re.compile(pattern.encode())
        end = time.monotonic() + limit
        with self.changed:
            while len(want.findall(getattr(self, stream))) < count:
                left = end - time.monotonic()
                if left <= 0 or self.open == 0:
                    raise Hang("%s: no %r in %s\n%s" % (
                        " ".join(self.args), pattern, stream, self.story()))
                self.changed.wait(left)
        return self

    def say(self, text):
        try:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def end(self, limit=PATIENCE):
        """Its exit status, when all it said has been gathered."""
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Hang("%s: does not end\n%s" % (
                " ".join(self.args), self.story())) from None
        with self.changed:
            self.changed.wait_for(lambda: self.open == 0, 60)
        return status

    def alive(self):
        return self.process.poll() is None

    def kill(self, signo=signal.SIGKILL):
        if self.alive():
            self.process.send_signal(signo)

    def story(self):
        return "pid %d status %s\n--- out\n%s\n--- err\n%s" % (
            self.process.pid, self.process.poll(),
            self.out.decode("latin1")[-3000:],
            self.err.decode("latin1")[-3000:])

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def rss_kib(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def end_everyone():
    for p in Process.everyone:
        if p.alive():
            p.kill()
            p.process.wait()


atexit.register(end_everyone)


class Control:
    """A client of the control socket.  first: a command (name, arguments) that
    waits there before the VM looks; answer() has what it says.  of: the
    Process, if that may end before it has a socket."""

    def __init__(self, path, limit=PATIENCE, first=None, of=None):
        end = time.monotonic() + limit
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(limit)
            try:
                self.sock.connect(path)
                break
            except OSError:
                # The one place that must look again: nobody tells when a
                # socket appears.
                self.sock.close()
                if time.monotonic() > end or (of and not of.alive()):
                    raise Hang("no control socket at " + path) from None
                time.sleep(0.005)
        self.file = self.sock.makefile("rwb")
        if first:
            self.send(*first)
        self.limit = limit
        self.greeting = self.read()
        self.events = []

    def read(self):
        line = self.file.readline()
        if not line:
            raise Hang("control socket closed")
        return json.loads(line)

    def __call__(self, cmd, **args):
        self.send(cmd, args)
        return self.answer()

    def send(self, cmd, args):
        self.file.write(json.dumps(
            {"cmd": cmd, "args": args, "id": 1}).encode() + b"\n")
        self.file.flush()

    def answer(self):
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
            else:
                return answer

    def wait_info(self, good):
        """Until good(what info says); it looks again at each event."""
        end = time.monotonic() + self.limit
        while True:
            info = self("info")["ok"]
            if good(info):
                return info
            if time.monotonic() > end:
                raise Hang("never so: %s" % info)
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)

    def job_end(self, job):
        """The event that ends the job."""
        end = time.monotonic() + self.limit
        while True:
            # Progress comes without end from a job that hangs.
            if time.monotonic() > end:
                raise Hang("job %s does not end" % job)
            for e in self.events:
                d = e.get("data", {})
                if e["event"] == "job" and d.get("id") == job and \
                        d.get("status") in ("done", "failed"):
                    return d
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)

    def close(self):
        self.file.close()
        self.sock.close()


FRAME_HEADER = struct.Struct("<IHHIIII")
FRAME_NAMES = {
    1: "HELLO", 2: "MACHINE", 3: "ADVISE", 4: "PAGES", 5: "ROUND",
    6: "DISCARD", 7: "PACKAGE", 8: "COMMIT", 9: "COMPLETE", 10: "CANCEL",
    32: "WELCOME", 33: "ACCEPT", 34: "ADVISED", 35: "LOADED", 36: "RUNNING",
    37: "DONE", 48: "REQUEST", 64: "ERROR", 65: "SYNC", 66: "SYNCED",
    80: "ATTACH", 81: "QUERY", 82: "STATUS"}


def read_all(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(min(n - len(data), 1 << 20))
        if not more:
            return None
        data += more
    return data


class Proxy:
    """Stands between two ends, forwards whole frames and calls
    hook(proxy, connection, direction, index, type name) before each one.
    The hook returns True to forward, False to cut that connection."""

    def __init__(self, listen_path, connect_path, hook):
        self.connect_path = connect_path
        self.hook = hook
        self.frames = []
        self.lock = threading.Lock()
        self.pairs = []
        self.closed = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(listen_path)
        self.listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        number = 0
        while True:
            try:
                a, _ = self.listener.accept()
            except OSError:
                return
            b = socket.socket(socket.AF_UNIX)
            try:
                b.connect(self.connect_path)
            except OSError:
                a.close()
                b.close()
                continue
            self.pairs.append((a, b))
            for direction, src, dst in ((">", a, b), ("<", b, a)):
                threading.Thread(
                    target=self._forward, daemon=True,
                    args=(number, direction, src, dst)).start()
            number += 1

    def _forward(self, number, direction, src, dst):
        index = 0
        try:
            while True:
                header = read_all(src, FRAME_HEADER.size)
                if header is None:
                    break
                f = FRAME_HEADER.unpack(header)
                body = read_all(src, f[3] + f[4])
                if body is None:
                    break
                name = FRAME_NAMES.get(f[1], "?")
                with self.lock:
                    self.frames.append((number, direction, index, name))
                if not self.hook(self, number, direction, index, name):
                    break
                dst.sendall(header + body)
                index += 1
        except OSError:
            pass
        for s in (src, dst):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for a, b in self.pairs:
            for s in (a, b):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                s.close()


WORKLOADS = {
    # name: (kernel, cpus, memory, command line, more options)
    "idle": ("work", 1, "64M", "mem=16 passes=0 idle=20 tick=20 report=200", []),
    "dirtier": ("work", 1, "96M",
                "mem=48 passes=0 mode=rand fill=1 tick=20 report=100", []),
    "smp": ("work", 2, "96M",
            "smp=2 mem=24 passes=0 mode=rand fill=1 tick=20 report=100", []),
    "disk": ("load", 1, "64M", "auto requests=0 report=200 depth=8",
             ["--rng"]),
}


class Guest:
    """A guest with its source process and, later, its destinations."""

    counter = 0

    def __init__(self, work, load, disk=False, extra=(), pass_fds=(),
                 memory=None, words=None, reboot=False):
        kernel, cpus, mem, cmdline, more = WORKLOADS[load]
        Guest.counter += 1
        self.work = work
        self.load = load
        self.number = Guest.counter
        self.hops = 0
        args = ["run", "-k", os.path.join(GUESTS, kernel), "-c", cpus, "-m",
                memory or mem, "-a", words or cmdline,
                "--control", self.path()] + more
        if not reboot:
            args.append("--no-reboot")
        if load == "disk" or disk:
            image = work("disk%d.img" % self.number)
            with open(image, "wb") as f:
                f.truncate(4 << 20)
            args += ["-d", "path=" + image]
        self.now = Process(args + list(extra), pass_fds)

    def path(self):
        return self.work("c%d-%d" % (self.number, self.hops))

    def ready(self):
        """It has begun its work (and every page has been written once)."""
        if self.load == "disk":
            self.now.wait_for(r"load: answers")
        else:
            self.now.wait_for(r"work: pass ", count=2)
        return self

    def receiver(self, address, extra=(), pass_fds=()):
        """A process that waits for it at address."""
        self.hops += 1
        return Process(["receive", address, "--override",
                        "control=" + self.path()] + list(extra), pass_fds)

    def adopt(self, process):
        self.old, self.now = self.now, process

    def finish(self):
        """Ends the guest; its last words."""
        if self.load == "disk":
            # Its reports go on only while every answer was right.
            before = len(re.findall(rb"load: answers", self.now.out))
            self.now.wait_for(r"load: answers", count=before + 3)
            bad = b"WRONG" in self.now.out
            self.now.kill(signal.SIGTERM)
            self.now.end()
            return "load: verdict " + ("FAIL" if bad else "ok")
        self.now.say("q")
        self.now.wait_for(r"work: verdict [^\n]*\n")
        return re.findall(rb"work: verdict [^\n\r]*",
                          self.now.out)[-1].decode()


def client(*args, limit=PATIENCE):
    """A client verb to its end: (status, stdout, stderr)."""
    p = Process(args)
    status = p.end(limit)
    return status, p.out.decode(), p.err.decode()
