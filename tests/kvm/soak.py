#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/kvm/soak.py - a guest moves from process to process, and out of a file
into the next process, over and over: no write is lost and nothing grows.

Chains of one SMP dirtier each.  "ping-pong": every hop is a migration to a
new `godwit receive`, by another policy and over another kind of channel.
"lazy": every hop is a snapshot that ends the process, and a lazy restore; every
second snapshot is of a guest whose pages are not all here yet.
"restored_and_moved" does both at once.
The guest's own check of every page ends each chain.
File descriptors and memory of the process that has the guest are looked at
after each hop; a median of the last ones must not be above that of the first.
Prints TAP.  SOAK_HOPS=N sets the length of the first two (300 for the real thing),
SOAK=REGEX picks chains, GODWIT=FILE tests another binary.
"""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import moves  # noqa: E402

HOPS = int(os.environ.get("SOAK_HOPS", "12"))
POLICIES = ["after=1", "immediate", "stalled", "never", "manual"]
RAM_KIB = 96 << 10   # of the workload "smp"
# What belongs to the process and not to the guest: a few pages of the C
# library's heap come and go from hop to hop.
SLACK_KIB = 1024


def own_kib(process):
    """Private memory of the process beside the guest's RAM, which is the only
    mapping of its size."""
    kib = 0
    ram = False
    with open("/proc/%d/smaps" % process.process.pid) as f:
        for line in f:
            name, _, value = line.partition(":")
            if name == "Size":
                ram = int(value.split()[0]) >= RAM_KIB // 2
            elif name in ("Private_Dirty", "Shared_Dirty") and not ram:
                kib += int(value.split()[0])
    return kib


def median(values):
    return sorted(values)[len(values) // 2]


class Flat:
    """What must not grow, hop by hop."""

    def __init__(self):
        self.fds = []
        self.kib = []

    def look(self, process):
        self.fds.append(process.fds())
        self.kib.append(own_kib(process))

    def verdict(self):
        """None, or what has grown."""
        part = max(1, min(20, len(self.fds) // 4))
        early, late = slice(0, part), slice(-part, None)
        told = "fds %d..%d, early %d, late %d; memory %d..%d KiB, early " \
            "%d, late %d" % (
                min(self.fds), max(self.fds), median(self.fds[early]),
                median(self.fds[late]), min(self.kib), max(self.kib),
                median(self.kib[early]), median(self.kib[late]))
        print("# " + told)
        if median(self.fds[late]) > median(self.fds[early]):
            return told
        if median(self.kib[late]) > median(self.kib[early]) + SLACK_KIB:
            return told
        return None


def passes(process):
    return len(re.findall(rb"work: pass ", process.out))


def goes_on(process):
    process.wait_for(r"work: pass ", count=passes(process) + 2)


def wait_here(control):
    """Until all pages are here; the guest may be told to go on then."""
    while control("info")["ok"]["move"]["place"] != "here":
        event = control.events.pop() if control.events else control.read()
        assert "event" in event


# ---- ping-pong ----

def hop(work, guest, number):
    policy = POLICIES[number % len(POLICIES)]
    tcp = number % 3 == 2
    where = "tcp:127.0.0.1:0" if tcp else "unix:" + work("m%d" % number)
    old = guest.hops
    dest = guest.receiver(where, ["-v"])
    dest.wait_for(r"waiting at \S+", "err")
    where = re.search(rb"waiting at (\S+)", dest.err).group(1).decode()
    control = moves.Control(work("c%d-%d" % (guest.number, old)))
    wait_here(control)
    missing = control("info")["ok"]["move"]["pages_missing"]
    args = {"address": where, "postcopy": policy, "max_rounds": 2}
    answer = control("migrate", **args)
    if "ok" not in answer:
        raise moves.Hang("hop %d: %s" % (number, answer))
    if policy == "manual":
        control("migrate-postcopy")
    end = control.job_end(answer["ok"]["job"])
    control.close()
    guest.adopt(dest)
    status = guest.old.end()
    if end["status"] != "done" or status != 0:
        raise moves.Hang("hop %d (%s): %s, status %d\n%s\n%s" % (
            number, policy, end, status, guest.old.story(), dest.story()))
    goes_on(dest)
    end["missing"] = missing
    return end


def ping_pong(tap, work):
    flat = Flat()
    lost = None
    postcopies = number = 0
    guest = moves.Guest(work, "smp")
    try:
        guest.ready()
        for number in range(HOPS):
            end = hop(work, guest, number)
            postcopies += end["result"]["pages"]["background"] > 0
            flat.look(guest.now)
        verdict = guest.finish()
        if " verdict ok" not in verdict:
            lost = verdict
    except moves.Hang as e:
        lost = "after %d hops: %s" % (number, e)
    tap.check("%d migrations of an SMP dirtier, one after another, lose no "
              "write" % HOPS, lost is None, lost)
    tap.check("at least a third of them had pages to fetch after the switch",
              postcopies * 3 >= HOPS, postcopies)
    if lost is None:
        grown = flat.verdict()
        tap.check("fds and memory do not grow from hop to hop",
                  grown is None, grown)


# ---- lazy restores ----

def lazy_hop(work, guest, number):
    """Out of the process that has it into a file, and into a new process.
    True if pages were missing when the snapshot was taken."""
    path = work("snapshot%d" % (number % 2))
    control = moves.Control(work("c%d-%d" % (guest.number, guest.hops)))
    missing = control("info")["ok"]["move"]["pages_missing"]
    if number % 2 == 0:
        # All of it is here, which nobody announces.
        while control("info")["ok"]["move"]["pages_missing"]:
            time.sleep(0.01)
        missing = False
    answer = control("snapshot", file=path, then="stop")
    if "ok" not in answer:
        raise moves.Hang("snapshot %d: %s" % (number, answer))
    end = control.job_end(answer["ok"]["job"])
    control.close()
    status = guest.now.end()
    if end["status"] != "done" or status != 0:
        raise moves.Hang("snapshot %d: %s status %d\n%s" % (
            number, end, status, guest.now.story()))
    guest.hops += 1
    guest.adopt(moves.Process(["restore", "--lazy", path, "--override",
                               "control=" + guest.path()]))
    # As soon as it runs: before the rest of it has come, with luck.
    guest.now.wait_for(r"work: ")
    return missing


def lazy(tap, work):
    flat = Flat()
    lost = None
    number = early = 0
    guest = moves.Guest(work, "smp")
    try:
        guest.ready()
        for number in range(HOPS):
            early += lazy_hop(work, guest, number)
            flat.look(guest.now)
        goes_on(guest.now)
        verdict = guest.finish()
        if " verdict ok" not in verdict:
            lost = verdict
    except moves.Hang as e:
        lost = "after %d hops: %s" % (number, e)
    tap.check("%d snapshots and lazy restores of an SMP dirtier, one after "
              "another, lose no write" % HOPS, lost is None, lost)
    tap.check("some of the snapshots were of a guest with pages missing",
              early > 0)
    print("# %d snapshots of a guest with pages missing" % early)
    if lost is None:
        grown = flat.verdict()
        tap.check("fds and memory do not grow from restore to restore",
                  grown is None, grown)


# ---- both ----

def out_and_on(work, guest, number):
    """Into a file, out of it, and away at once.  True if pages were still in
    the file when the migration began."""
    path = work("snapshot")
    where = "unix:" + work("r%d" % number)
    control = moves.Control(guest.path())
    wait_here(control)
    control.job_end(control("snapshot", file=path, then="stop")["ok"]["job"])
    control.close()
    guest.now.end()
    dest = guest.receiver(where, ["-v"])
    dest.wait_for(r"waiting at", "err")
    middle = moves.Process(["restore", "--lazy", path, "--override",
                            "control=" + work("rc%d" % number)])
    control = moves.Control(work("rc%d" % number))
    answer = control("migrate", address=where, max_rounds=2,
                     postcopy=POLICIES[number % len(POLICIES)])
    missing = control("info")["ok"]["move"]["pages_missing"]
    end = control.job_end(answer["ok"]["job"])
    guest.adopt(dest)
    if end["status"] != "done" or middle.end() != 0:
        raise moves.Hang("%s\n%s" % (end, middle.story()))
    return missing


def restored_and_moved(tap, work):
    lost, missing, number = None, 0, 0
    hops = max(3, HOPS // 10)
    guest = moves.Guest(work, "smp", memory="256M",
                        words="smp=2 mem=96 hot=2 passes=0 mode=rand fill=1 "
                        "tick=20 report=100")
    try:
        guest.ready()
        for number in range(hops):
            missing += out_and_on(work, guest, number)
        verdict = guest.finish()
        if " verdict ok" not in verdict:
            lost = verdict
    except moves.Hang as e:
        lost = "after %d hops: %s" % (number, e)
    tap.check("%d lazy restores, each moved on with pages still in the file, "
              "lose no write" % hops, lost is None, lost)
    tap.check("in at least one of them pages were still in the file",
              missing > 0)


def main():
    moves.need_kvm()
    tap = moves.Tap()
    work = moves.Workdir()
    for chain in (ping_pong, lazy, restored_and_moved):
        if not re.search(os.environ.get("SOAK", ""), chain.__name__):
            continue
        began = time.monotonic()
        chain(tap, work)
        print("# %s: %d hops in %.1f s" % (
            chain.__name__, HOPS, time.monotonic() - began))
    tap.done()


main()
