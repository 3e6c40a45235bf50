#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/kvm/migrate.py - a running guest moves between two processes, by every
policy, under every load, over every kind of channel, and loses no write.
Prints TAP.  GODWIT=FILE tests another binary; MOVES=REGEX picks cases.  Of a
sanitizer's build every fifth case is run, so that each policy, load and channel
has its turn.
"""
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import moves  # noqa: E402

POLICIES = ["never", "immediate", "after=1", "stalled", "manual", "late"]
LOADS = ["idle", "dirtier", "smp", "disk"]
CHANNELS = ["unix", "tcp", "fd"]


def start(work, load, channel, number):
    """Guest, receiver, and the address the source is told."""
    if channel == "fd":
        pairs = [socket.socketpair() for _ in range(2)]
        ours = [a.fileno() for a, b in pairs]
        theirs = [b.fileno() for a, b in pairs]
        guest = moves.Guest(work, load, pass_fds=ours)
        dest = guest.receiver("fd:%d,%d" % tuple(theirs), ["-v"],
                              pass_fds=theirs)
        for a, b in pairs:
            a.close()
            b.close()
        return guest, dest, "fd:%d,%d" % tuple(ours)
    guest = moves.Guest(work, load)
    where = "tcp:127.0.0.1:0"
    if channel == "unix":
        where = "unix:" + work("m%d" % number)
    dest = guest.receiver(where, ["-v"])
    dest.wait_for(r"waiting at \S+", "err")
    where = re.search(rb"waiting at (\S+)", dest.err).group(1).decode()
    return guest, dest, where


def begin(control, policy, where):
    args = {"address": where}
    if policy in ("late", "manual"):
        args["postcopy"] = "manual"
    else:
        args["postcopy"] = policy
    if policy == "never":
        # The dirtiers never converge: let the stop cost what it costs.
        args["max_rounds"] = 3
    if policy == "manual":
        # Slow, so that there is a second round to switch in.
        args["bandwidth"] = 200 << 20
        args["max_downtime_ms"] = 1
        args["max_rounds"] = 1000
    if policy == "late":
        args["max_rounds"] = 2
    answer = control("migrate", **args)
    if "ok" not in answer:
        raise moves.Hang("migrate: %s" % answer)
    return answer["ok"]["job"]


def switch_in_round_two(control, job):
    """An idle guest may be gone before there is a second round."""
    while True:
        for e in control.events:
            d = e.get("data", {})
            if d.get("id") != job:
                continue
            if d.get("status") in ("done", "failed"):
                return
            if d.get("progress", {}).get("round", 0) >= 2:
                control("migrate-postcopy")
                return
        answer = control.read()
        if "event" in answer:
            control.events.append(answer)


def after_the_end(control):
    """Harmless: an answer of any kind, or nobody there any more."""
    try:
        control("migrate-postcopy")
    except (moves.Hang, OSError):
        pass


def one(tap, work, policy, load, channel, number):
    name = "%s, %s, over %s: the guest arrives and nothing is lost" % (
        policy, load, channel)
    if not re.search(os.environ.get("MOVES", ""), name):
        return
    guest = dest = None
    try:
        guest, dest, where = start(work, load, channel, number)
        guest.ready()
        control = moves.Control(work("c%d-0" % guest.number))
        job = begin(control, policy, where)
        if policy == "manual":
            switch_in_round_two(control, job)
        end = control.job_end(job)
        if policy == "late":
            after_the_end(control)
        good = end["status"] == "done"
        guest.adopt(dest)
        old = guest.old.end()
        verdict = guest.finish() if good else "did not move"
        good = good and old == 0 and " verdict ok" in verdict
        why = "%s\nold status %s\n%s\n%s\n%s" % (
            end, old, verdict, guest.old.story(), dest.story())
        tap.check(name, good, why)
    except moves.Hang as e:
        tap.check(name, False, "%s\n%s" % (e, dest.story() if dest else ""))
    finally:
        for p in (guest and guest.now, dest):
            if p and p.alive():
                p.kill()
                p.process.wait()


def grown(path, process, lines):
    """The file, when so many reports of the guest stand in it."""
    end = time.monotonic() + moves.PATIENCE
    while True:
        text = b""
        if os.path.exists(path):
            with open(path, "rb") as f:
                text = f.read()
        if text.count(b"work: pass ") >= lines:
            return text
        if time.monotonic() > end or not process.alive():
            raise moves.Hang("%r\n%s" % (text[-1000:], process.story()))
        time.sleep(0.005)   # nobody tells when a file grows


def serial_file(tap, work):
    """Both sides write to the same file, one after the other."""
    name = "the serial line's file has what the guest wrote at both ends"
    if not re.search(os.environ.get("MOVES", ""), name):
        return
    path = work("serial")
    where = "unix:" + work("serial-move")
    source = moves.Process([
        "run", "-k", os.path.join(moves.GUESTS, "work"), "-m", "64M",
        "--serial", "file=" + path, "--control", work("serial-c0"), "-a",
        "mem=8 passes=0 mode=rand fill=1 tick=20 report=20"])
    dest = moves.Process([
        "receive", where, "-v", "--override", "serial=file=" + path,
        "--override", "control=" + work("serial-c1")])
    good, why = False, ""
    try:
        dest.wait_for(r"waiting at", "err")
        grown(path, source, 2)
        c = moves.Control(work("serial-c0"))
        end = c.job_end(c("migrate", address=where)["ok"]["job"])
        good = end["status"] == "done" and source.end() == 0
        with open(path, "rb") as f:
            there = f.read()    # of the source, and perhaps some more
        lines = there.count(b"work: pass ")
        text = grown(path, dest, lines + 3)
        good = good and lines >= 2 and text.startswith(there) and \
            text.count(b"work: entry") == 1 and b"LOST" not in text
        why = "%s\n%s\n%s" % (end, there, text)
    except (moves.Hang, OSError) as e:
        good, why = False, str(e)
    finally:
        for p in (source, dest):
            p.kill()
            p.process.wait()
    tap.check(name, good, why)


def main():
    moves.need_kvm()
    tap = moves.Tap()
    work = moves.Workdir()
    number = 0
    for channel in CHANNELS:
        for load in LOADS:
            for policy in POLICIES:
                number += 1
                if moves.SANITIZED and number % 5:
                    continue
                one(tap, work, policy, load, channel, number)
    serial_file(tap, work)
    tap.done()


main()
