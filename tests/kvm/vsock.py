#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/kvm/vsock.py - programs of this host and a guest (kernels/vsock) talk
through a socket device: both ways, many at once, across pauses and moves.
Prints TAP.  GODWIT=FILE tests another binary.
"""
import os
import random
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import moves  # noqa: E402

PORT = 99
BYTES = 200000 if moves.SANITIZED else 2000000


class Host:
    """The program that the guest connects to: one echo, one drain, one
    source."""

    def __init__(self, path):
        self.drained = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(4)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        for job in (self._echo, self._drain, self._pour):
            sock, _ = self.listener.accept()
            job(sock)
            sock.close()

    def _echo(self, sock):
        while True:
            data = sock.recv(65536)
            if not data:
                return
            sock.sendall(data)

    def _drain(self, sock):
        while True:
            data = sock.recv(1 << 20)
            if not data:
                return
            self.drained += len(data)

    def _pour(self, sock):
        try:
            while True:
                sock.sendall(bytes(65536))
        except OSError:
            pass


class Client:
    """A connection to a port of the guest."""

    def __init__(self, path, port=PORT):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(moves.PATIENCE)
        self.sock.connect(path)
        self.sock.sendall(b"CONNECT %d\n" % port)
        self.file = self.sock.makefile("rb")
        self.answer = self.file.readline()

    def ok(self):
        return self.answer.startswith(b"OK ")

    def ask(self, data):
        """What the guest sends back for it."""
        writer = threading.Thread(target=self.sock.sendall, args=(data,))
        writer.start()
        got = self.file.read(len(data))
        writer.join()
        return got

    def ended(self):
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.file.close()
        self.sock.close()


def echoes(path, size, seed):
    data = random.Random(seed).randbytes(size)
    c = Client(path)
    good = c.ok() and c.ask(data) == data
    c.sock.shutdown(socket.SHUT_WR)
    good = good and c.ended()
    c.close()
    return good


def boot(path, append, *more):
    return moves.Process(
        ["run", "-k", os.path.join(moves.GUESTS, "vsock"), "-m", "32M",
         "--machine", "cmdline", "--vsock", "path=" + path, "-a", append,
         *more])


def from_the_guest(tap, work, more, where):
    path = work("g" + str(tap.count))
    host = Host(path + "_7000")
    p = boot(path, "connect=7000 echo=%d flood=%d sink=%d" % (
        BYTES, BYTES, BYTES), *more)
    status = p.end()
    good = status == 0 and b"vsock: echo good %d wrong 0" % BYTES in p.out \
        and b"0 failed" in p.out and host.drained == BYTES
    tap.check("streams of the guest reach a program of the host, %s" % where,
              good, "drained %d\n%s" % (host.drained, p.story()))
    tap.check("nothing of the device is left behind, %s" % where,
              not os.path.exists(path))


def from_the_host(tap, work, more, where):
    path = work("h" + str(tap.count))
    p = boot(path, "listen=%d conns=13" % PORT, *more)
    p.wait_for("listens on")
    good = all(echoes(path, n, n) for n in (1, 4096, 262144, BYTES))
    tap.check("clients of the host reach the guest, %s" % where, good,
              p.story())
    results = []
    threads = [threading.Thread(
        target=lambda i=i: results.append(echoes(path, BYTES // 10, i)))
        for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    tap.check("eight at once do too, %s" % where, results == [True] * 8,
              p.story())
    c = Client(path, PORT + 1)
    tap.check("where the guest does not listen they are closed, %s" % where,
              c.answer == b"", p.story())
    c.close()
    c = Client(path)
    c.close()
    status = p.end()
    tap.check("the guest saw nothing wrong, %s" % where,
              status == 0 and b"served 13 refused 1 wrong 0" in p.out,
              p.story())


def paths(tap, work):
    path = work("p")
    first = boot(path, "listen=%d conns=0" % PORT)
    first.wait_for("listens on")
    second = boot(path, "listen=1")
    status = second.end()
    tap.check("a path that a running VM has is refused, with a reason",
              status == 1 and b"somebody listens there already" in second.err,
              second.story())
    tap.check("and that VM goes on", echoes(path, 1000, 1), first.story())
    second = boot("/tmp/" + "x" * 100, "listen=1")
    tap.check("a path that is too long is refused, with a reason",
              second.end() == 2 and b"at most 96" in second.err,
              second.story())
    first.kill()
    first.end()
    stale = os.path.exists(path)
    until_nobody_listens(path)
    first = boot(path, "listen=%d conns=1" % PORT)
    first.wait_for("listens on")
    tap.check("the socket of a VM that was killed is replaced",
              stale and echoes(path, 1000, 1) and first.end() == 0,
              first.story())


def until_nobody_listens(path):
    """The kernel ends the io_uring of a killed process, and with it the hold on
    its sockets, a moment after the process."""
    end = time.monotonic() + moves.PATIENCE
    while time.monotonic() < end:
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(path)
            except ConnectionRefusedError:
                return
        time.sleep(0.01)


def pauses(tap, work):
    path, control = work("z"), work("zc")
    p = boot(path, "listen=%d conns=1" % PORT, "--control", control)
    p.wait_for("listens on")
    order = moves.Control(control)
    data = random.Random(7).randbytes(BYTES)
    got = []
    c = Client(path)
    t = threading.Thread(target=lambda: got.append(c.ask(data)))
    t.start()
    answers = []
    for _ in range(20):
        answers += [order("pause"), order("resume")]
    t.join()
    tap.check("pauses in the middle of a stream lose nothing",
              got == [data] and all("ok" in a for a in answers), p.story())
    c.close()
    p.end()


def move(tap, work, policy):
    """To another process of this host, which takes over the path."""
    path = work("m" + policy)
    p = boot(path, "listen=%d conns=0" % PORT, "--control",
             work("c1" + policy))
    p.wait_for("listens on")
    c = Client(path)
    good = c.ask(b"before") == b"before"
    dest = moves.Process(["receive", "unix:" + work("d" + policy),
                          "--override", "control=" + work("c2" + policy),
                          "-v"])
    dest.wait_for(r"waiting at \S+", "err")
    order = moves.Control(work("c1" + policy))
    answer = order("migrate", address="unix:" + work("d" + policy),
                   postcopy=policy)
    end = order.job_end(answer["ok"]["job"])
    good = good and end["status"] == "done" and p.end() == 0
    tap.check("postcopy %s: a move ends the connections of the old host" %
              policy, good and c.ended(),
              "%s\n%s\n%s" % (end, p.story(), dest.story()))
    c.close()
    if not good:
        return
    tap.check("postcopy %s: the new one has the path, and new ones work" %
              policy, echoes(path, BYTES, 3), dest.story())
    dest.kill(signal.SIGTERM)
    dest.end()
    tap.check("postcopy %s: and takes it away at its end" % policy,
              not os.path.exists(path), dest.story())


def main():
    moves.need_kvm()
    tap = moves.Tap()
    work = moves.Workdir()
    for more, where in (([], "on the main loop"),
                        (["--iothread", "1"], "on an I/O thread")):
        from_the_guest(tap, work, more, where)
        from_the_host(tap, work, more, where)
    paths(tap, work)
    pauses(tap, work)
    for policy in ("never", "immediate"):
        move(tap, work, policy)
    tap.done()


if __name__ == "__main__":
    try:
        main()
    except moves.Hang as e:
        print("not ok - hang\n# " + str(e).replace("\n", "\n# "))
        sys.exit(1)
