#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/kvm/migrate_faults.py - a migration meets its end at every frame.

A proxy between two godwit processes forwards whole frames.  Before frame N of
one direction it cuts the connection, kills the source, kills the destination,
or has the migration cancelled; for every N, until a migration is over before
it gets that far.  Afterwards exactly one process has a guest that runs, or
the report says why none can.  It has a disk, whose lock follows the guest.  Prints TAP and the number of cases.
GODWIT=FILE tests another binary; FAULTS=REGEX picks cases; FAULTS_STEP=K takes
every K-th frame only (1; 7 of a sanitizer's build).
"""
import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import moves  # noqa: E402

STEP = int(os.environ.get("FAULTS_STEP", "7" if moves.SANITIZED else "1"))
LIMIT = moves.PATIENCE
WORDS = "mem=2 passes=0 mode=rand fill=1 tick=20 report=20"


class Fault:
    """What happens before frame `at` of `direction`, counted over all
    connections."""

    def __init__(self, what, direction, at):
        self.what, self.direction, self.at = what, direction, at
        self.seen = 0
        self.name = None    # of the frame it hit
        self.number = None  # of its connection
        self.after_commit = False
        self.commit = False
        self.guest = self.dest = self.cancel = None
        self.lock = threading.Lock()

    def hook(self, proxy, number, direction, index, name):
        with self.lock:
            if direction == ">" and name == "COMMIT":
                self.commit = True  # the source has let go
            if self.what == "cut" and number == self.number:
                return False
            if direction != self.direction or self.name:
                return True
            hit = self.seen == self.at
            self.seen += 1
            if not hit:
                return True
            self.name = "%d:%s" % (number, name)
            self.number = number
            self.after_commit = self.commit
        if self.what == "cut":
            return False
        if self.what == "source":
            self.guest.now.kill()
        elif self.what == "dest":
            self.dest.kill()
        elif self.what == "cancel":
            self.cancel()
        return True


def passes(process):
    return len(re.findall(rb"work: pass ", process.out))


def place(process, path):
    """Where it says that its guest is; None if it has none, or is gone."""
    # Without a machine there is no socket, and none will be built any more.
    if not process.alive() or not os.path.exists(path):
        return None
    try:
        control = moves.Control(path, LIMIT, of=process)
        where = control("info")["ok"]["move"]["place"]
        # What an end has not noticed yet it will soon tell.
        while where in ("arriving", "leaving"):
            event = control.events.pop(0) if control.events else \
                control.read()
            if event.get("event") == "vm-state":
                where = control("info")["ok"]["move"]["place"]
        control.close()
        return where
    except (moves.Hang, OSError, KeyError):
        return None


class Case:
    def __init__(self, work, fault, postcopy):
        self.work = work
        self.fault = fault
        self.guest = moves.Guest(
            work, "dirtier", memory="16M", words=WORDS, disk=True)
        n = self.guest.number
        self.dest = self.guest.receiver(
            "unix:" + work("d%d" % n), ["-v", "--quiet-timeout", "5"])
        self.dest.wait_for(r"waiting at", "err")
        fault.guest, fault.dest = self.guest, self.dest
        fault.cancel = self.cancel
        self.proxy = moves.Proxy(
            work("p%d" % n), work("d%d" % n), fault.hook)
        self.guest.ready()
        self.control = moves.Control(work("c%d-0" % n))
        self.postcopy = postcopy
        self.end = None

    def cancel(self):
        try:
            c = moves.Control(
                self.work("c%d-0" % self.guest.number), of=self.guest.now)
            c("migrate-cancel")
            c.close()
        except (moves.Hang, OSError):
            pass

    def run(self):
        address = "unix:" + self.work("p%d" % self.guest.number)
        try:
            answer = self.control(
                "migrate", address=address, postcopy=self.postcopy,
                max_rounds=2, timeout_ms=5000)
            self.end = self.control.job_end(answer["ok"]["job"])
        except (moves.Hang, OSError):
            self.end = None     # the source was killed, maybe at once

    def owners(self):
        """Who says that the guest is its own, each a place or None."""
        n = self.guest.number
        return (place(self.guest.now, self.work("c%d-0" % n)),
                place(self.dest, self.work("c%d-1" % n)))

    def goes_on(self, owner, other):
        """The guest makes passes in one process and not in the other."""
        before = passes(other)
        owner.wait_for(r"work: pass ", limit=LIMIT, count=passes(owner) + 2)
        return passes(other) == before

    def close(self):
        self.proxy.close()
        for p in (self.guest.now, self.dest):
            p.kill()
            p.process.wait()


def verdict(case):
    """None if all is as promised, else what is wrong."""
    f = case.fault
    src, dst = case.owners()
    told = "places %s, %s; end %s\nsource %s\ndest %s" % (
        src, dst, case.end, case.guest.now.story(), case.dest.story())
    if src == "here" and dst in ("here", "lost-pages"):
        return "two owners\n" + told
    if src == "here":
        good = case.goes_on(case.guest.now, case.dest)
        return None if good else "the destination runs, too\n" + told
    if dst == "here":
        good = case.goes_on(case.dest, case.guest.now)
        return None if good else "the source runs, too\n" + told
    if dst == "lost-pages":
        case.dest.wait_for("missing", "err", LIMIT)
        good = b"missing" in case.dest.err and src in (None, "lost-link")
        return None if good else "no true report\n" + told
    # Nobody has it: right only if the owner was killed, and the one that is
    # left must not claim anything else.
    if f.what == "source" and not f.after_commit:
        return None if dst is None else "no true report\n" + told
    if f.what == "dest" and f.commit:
        return None if src in ("lost-link", "unresolved", "gone", None) \
            else "no true report\n" + told
    if src == "unresolved" and f.commit:
        return None
    return "nobody owns it\n" + told


def sweep(tap, work, what, direction, postcopy):
    """Every frame, until a migration ends before the fault."""
    cases = bad = at = missed = 0
    why = hit = ""
    while True:
        fault = Fault(what, direction, at)
        case = None
        try:
            case = Case(work, fault, postcopy)
            case.run()
            if not fault.name:
                # How many frames there are differs from run to run.
                missed += 1
                if missed == 3:
                    break
                continue
            missed = 0
            cases += 1
            wrong = verdict(case)
            if wrong:
                bad += 1
                why += "before frame %d (%s): %s\n" % (at, fault.name, wrong)
        except moves.Hang as e:
            bad += 1
            why += "frame %d (%s): hang: %s\n" % (at, fault.name, e)
        finally:
            if case:
                case.close()
            hit += " " + str(fault.name)
            at += STEP
        if bad > 3:
            break
    tap.check("%s before each of %d frames %s, postcopy %s: one owner, or a "
              "true report" % (what, cases, direction, postcopy),
              bad == 0 and cases > 0, why)
    print("# hit:" + hit)
    return cases


def main():
    moves.need_kvm()
    tap = moves.Tap()
    work = moves.Workdir()
    began = time.monotonic()
    cases = 0
    for postcopy in ("never", "after=1"):
        for what in ("cut", "source", "dest", "cancel"):
            for direction in (">", "<"):
                name = "%s %s %s" % (what, direction, postcopy)
                if re.search(os.environ.get("FAULTS", ""), name):
                    cases += sweep(tap, work, what, direction, postcopy)
    print("# %d cases in %d s" % (cases, time.monotonic() - began))
    tap.done()


main()
