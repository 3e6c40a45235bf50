#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/kvm/refusals.py - what the host does not give: each time status 1 (2:
the command line cannot be right) and one line that names the thing, the reason
and the remedy; nothing of others is lost.
Prints TAP.  GODWIT=FILE tests another binary.
"""
import os
import re
import shutil
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import moves  # noqa: E402

HELLO = os.path.join(moves.GUESTS, "hello")


def refused(tap, promise, args, pattern, before=(), want=1):
    """godwit with args says what matches, and ends with that status."""
    if not before:
        p = moves.Process(args)
    else:
        # Under another program, which gives up what it may.
        program = moves.GODWIT
        moves.GODWIT = before[0]
        try:
            p = moves.Process(list(before[1:]) + [program] + list(args))
        finally:
            moves.GODWIT = program
    status = p.end()
    said = p.err.decode()
    tap.check(promise, status == want and said.count("\n") == 1 and
              re.search(pattern, said) and b"hello" not in p.out, p.story())


def taps(tap):
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or not setpriv:
        tap.skip("a tap that is not permitted", "root only, and setpriv")
        return
    args = ["run", "-k", HELLO, "-n", "tap=gw-none0"]
    refused(tap, "without CAP_NET_ADMIN a tap is refused, and why", args,
            r"net0: attach to gw-none0: .*not permitted \(.*ip tuntap add",
            [setpriv, "--bounding-set=-net_admin", "--inh-caps=-net_admin"])


def ports(tap):
    for kind, word in ((socket.SOCK_STREAM, "tcp"),
                       (socket.SOCK_DGRAM, "udp")):
        with socket.socket(socket.AF_INET, kind) as s:
            s.bind(("127.0.0.1", 0))
            if word == "tcp":
                s.listen()
            port = s.getsockname()[1]
            refused(tap, "a %s port that is taken is refused, and why" % word,
                    ["run", "-k", HELLO, "-n",
                     "user,hostfwd=%s:127.0.0.1:%d-:80" % (word, port)],
                    r"net0: .*%s port 127.0.0.1:%d: .*in use \(" % (word, port))
            if word == "tcp":
                refused(tap, "so is one to receive at",
                        ["receive", "tcp:127.0.0.1:%d" % port],
                        r"tcp:127.0.0.1:%d.*in use" % port)


def paths(tap, work):
    far = work("x" * 120)
    refused(tap, "a control socket's path that is too long is refused",
            ["run", "-k", HELLO, "--control", far],
            r"control socket .*: the path has \d+ bytes \(give")
    refused(tap, "so is one to receive at", ["receive", "unix:" + far],
            r"the path has \d+ bytes.*\(use a shorter", want=2)
    used, plain = work("used"), work("plain")
    with open(plain, "w", encoding="ascii") as f:
        f.write("mine")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(used)
        s.listen()
        for promise, args, pattern in (
                ("a control socket in use is refused, and why",
                 ["run", "-k", HELLO, "--control"], "control socket %s: .*\\("),
                ("a vsock's socket in use is refused, and why",
                 ["run", "-k", HELLO, "--vsock"], "vsock0: socket %s: .*\\("),
                ("a receiver's socket in use is refused, and why",
                 ["receive"], "unix:%s: ")):
            key = {"--vsock": "path=", "receive": "unix:"}.get(args[-1], "")
            for path in (used, plain):
                words = args[:-1] + [args[-1], key + path]
                refused(tap, "%s (%s)" % (promise, os.path.basename(path)),
                        words, pattern % re.escape(path))
        # The one that has it is still to be reached.
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(used)
    with open(plain, encoding="ascii") as f:
        tap.check("and nobody's file is touched", f.read() == "mine")


def main():
    moves.need_kvm()
    tap = moves.Tap()
    work = moves.Workdir()
    for fn, args in ((taps, ()), (ports, ()), (paths, (work,))):
        try:
            fn(tap, *args)
        except moves.Hang as e:
            tap.check("%s gets to its end" % fn.__name__, False, e)
    tap.done()


main()
