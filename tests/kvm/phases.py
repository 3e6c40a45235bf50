#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/kvm/phases.py - what else can happen while a guest is on its way.

A proxy between the two processes holds a migration in a phase: "precopy" (the
guest runs here, pages flow), "switch" (it is stopped, its state is on its way),
"postcopy" (it runs there; pages that were pushed are held, too, so it may have
to wait), "slow" (the same, but pushed pages trickle).  Then commands are
given to both ends, the guest ends by itself, or a process is told to end.
Each answers and none hangs; there is one owner, and exit status and messages
say which.  The last part is about pages that are lost: who waits for one must
not keep its process from ending.
Prints TAP.  GODWIT=FILE tests another binary; PHASES=REGEX picks tests.
"""
import os
import re
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import moves  # noqa: E402

SPOILED = "smp=2 mem=8 passes=0 mode=rand fill=1 tick=20 report=20"
WORDS = "smp=2 mem=4 passes=0 mode=rand fill=1 tick=20 report=20"
PROMPT = 240    # seconds; an end that waits to be asked takes 60


class Flight:
    """A migration that is held in a phase until go() or cut()."""

    def __init__(self, work, phase, postcopy="immediate", words=WORDS,
                 load="smp", reboot=False, starve=False):
        self.work, self.phase, self.starve = work, phase, starve
        self.held = threading.Event()
        self.free = threading.Event()
        self.commit = self.cutting = False
        self.guest = moves.Guest(work, load, memory="32M", words=words,
                                 extra=["-c", "2,max=4"], reboot=reboot)
        n = self.guest.number
        self.dest = self.guest.receiver(
            "unix:" + work("d%d" % n), ["-v", "--quiet-timeout", "60"])
        self.dest.wait_for(r"waiting at", "err")
        self.proxy = moves.Proxy(work("p%d" % n), work("d%d" % n), self.hook)
        self.postcopy = postcopy

    def hook(self, proxy, number, direction, index, name):
        stop = False
        if direction == ">" and number == 0:
            stop = (name == "PAGES" and index >= 3
                    if self.phase == "precopy" else
                    name == "PACKAGE" if self.phase == "switch" else
                    name == "PAGES" and self.commit and
                    self.phase != "nothing")
            self.commit = self.commit or name == "COMMIT"
        if number > 0 and direction == ">" and name == "PAGES":
            stop = self.starve
        if stop:
            self.held.set()
            self.free.wait(0.02 if self.phase == "slow" else None)
        return not self.cutting

    def begin(self, **more):
        """Until it is held."""
        n = self.guest.number
        self.source = moves.Control(self.work("c%d-0" % n), PROMPT)
        args = {"address": "unix:" + self.work("p%d" % n),
                "postcopy": self.postcopy, "max_rounds": 2,
                "timeout_ms": 60000}
        args.update(more)
        self.job = self.source("migrate", **args)["ok"]["job"]
        if not self.held.wait(PROMPT):
            raise moves.Hang("never got to %s" % self.phase)
        self.target = moves.Control(self.work("c%d-1" % n), PROMPT)
        return self

    def told_running(self):
        """Until the source has heard that the guest runs there."""
        self.source.wait_info(
            lambda i: "run_us" in i["move"]["migration"]["downtime"])
        return self

    def ready(self):
        self.guest.ready()
        return self

    def go(self):
        self.free.set()

    def cut(self):
        self.cutting = True
        self.proxy.close()
        self.free.set()

    def job_end(self):
        return self.source.job_end(self.job)

    def story(self):
        return "source %s\ndest %s" % (
            self.guest.now.story(), self.dest.story())

    def close(self):
        self.cut()
        for p in (self.guest.now, self.dest):
            p.kill()
            p.process.wait()


def verdict_ok(process):
    process.wait_for(r"work: verdict [^\n]*\n")
    return b"work: verdict ok" in process.out


# ---- commands ----

COMMANDS = [
    ("info", {}), ("version", {}), ("jobs", {}), ("pause", {}),
    ("resume", {}), ("throttle", {"percent": 0}), ("cpu-set", {"count": 3}),
    ("reset", {}), ("snapshot", {"file": "@"}),
    ("migrate", {"address": "unix:@"}), ("take-back", {"sure": True}),
    ("migrate-set", {"max_downtime_ms": 300}),
]

ALWAYS = {"info": "ok", "version": "ok", "jobs": "ok", "throttle": "ok",
          "take-back": "invalid", "snapshot": "busy", "migrate": "busy",
          "reset": "busy", "cpu-set": "busy", "migrate-set": "ok"}
# Both, with what the guest's place changes.
EXPECTED = {
    ("precopy", "source"): dict(ALWAYS, pause="ok", resume="ok"),
    ("precopy", "dest"): dict(
        ALWAYS, pause="busy", resume="busy", **{"migrate-set": "generic"}),
    ("switch", "source"): dict(ALWAYS, pause="busy", resume="busy"),
    ("switch", "dest"): dict(
        ALWAYS, pause="busy", resume="busy", **{"migrate-set": "generic"}),
    ("postcopy", "source"): dict(ALWAYS, pause="busy", resume="busy"),
    ("postcopy", "dest"): dict(
        ALWAYS, pause="busy", resume="busy", **{"migrate-set": "generic"}),
}


def ask_all(control, work):
    told = {}
    for cmd, args in COMMANDS:
        args = {k: v.replace("@", work("never")) if isinstance(v, str) else v
                for k, v in args.items()}
        answer = control(cmd, **args)
        told[cmd] = "ok" if "ok" in answer else answer["error"]["class"]
    return told


def commands(tap, work, phase):
    f = Flight(work, phase, "after=1")
    wrong = []
    try:
        f.ready().begin()
        for end, control in (("source", f.source), ("dest", f.target)):
            told = ask_all(control, work)
            want = EXPECTED[phase, end]
            wrong += ["%s %s: %s instead of %s" % (end, c, told[c], want[c])
                      for c in told if told[c] != want[c]]
        f.go()
        end = f.job_end()
        if end["status"] != "done" or f.guest.now.end() != 0:
            wrong.append("the migration failed: %s" % end)
        f.dest.say("q")
        if not verdict_ok(f.dest) or f.dest.end() != 0:
            wrong.append("the guest was harmed")
        why = "\n".join(wrong) + "\n" + f.story()
    except moves.Hang as e:
        wrong, why = True, "%s\n%s" % (e, f.story())
    finally:
        f.close()
    tap.check("%s: every command to both ends is answered, and the guest "
              "arrives" % phase, not wrong, why)


def paused_on_the_way(tap, work):
    """A pause during precopy arrives with the guest."""
    f = Flight(work, "precopy", "after=1")
    good, why = False, ""
    try:
        f.ready().begin()
        f.source("pause")
        f.go()
        f.job_end()
        f.guest.now.end()
        state = f.target.wait_info(
            lambda info: info["move"]["place"] == "here")["state"]
        f.target("resume")
        f.dest.say("q")
        good = state == "paused" and verdict_ok(f.dest)
        why = state + "\n" + f.story()
    except moves.Hang as e:
        why = "%s\n%s" % (e, f.story())
    finally:
        f.close()
    tap.check("a guest paused during precopy arrives paused, and resumes "
              "there", good, why)


# ---- ends ----

def ends_by_itself(tap, work, phase, how, status):
    f = Flight(work, phase, "after=1" if phase == "precopy" else "immediate",
               words=WORDS + " exit=" + how)
    good, why = False, ""
    try:
        f.ready().begin()
        owner = f.guest.now if phase == "precopy" else f.dest
        owner.say("q")
        if phase == "precopy":
            # Nothing comes any more, so held or not is all the same.
            good = verdict_ok(owner)
            f.go()
            good = good and f.guest.now.end() == status and f.dest.end() == 1
            good = good and b"source owns it" in f.dest.err
        else:
            good = verdict_ok(owner)
            f.go()
            good = good and f.dest.end() == status and f.guest.now.end() == 0
        why = f.story()
    except moves.Hang as e:
        good, why = False, "%s\n%s" % (e, f.story())
    finally:
        f.close()
    tap.check("%s: a guest that ends by %s ends the owner with status %d, and "
              "the other end says so" % (phase, how, status), good, why)


def resets(tap, work, postcopy):
    """The guest resets over and over while it moves."""
    f = Flight(work, "nothing", postcopy, load="disk",
               words="auto requests=200 report=0 exit=reset depth=8",
               reboot=True)
    good, why = False, ""
    try:
        f.guest.now.wait_for(r"load: verdict ok", count=2)
        c = moves.Control(work("c%d-0" % f.guest.number))
        job = c("migrate", address="unix:" + work("p%d" % f.guest.number),
                postcopy=postcopy, max_rounds=3)["ok"]["job"]
        end = c.job_end(job)
        f.guest.now.end()
        f.dest.wait_for(r"load: verdict ok", count=3)
        good = end["status"] == "done" and \
            b"WRONG" not in f.dest.out + f.guest.now.out and \
            b"guest:" not in f.dest.out
        why = "%s\n%s" % (end, f.story())
    except moves.Hang as e:
        why = "%s\n%s" % (e, f.story())
    finally:
        f.close()
    tap.check("a guest that resets all the time arrives, postcopy %s" %
              postcopy, good, why)


def told_to_end(tap, work, phase, which):
    """SIGTERM to one end."""
    f = Flight(work, phase, "after=1" if phase == "precopy" else "immediate")
    good, why = False, ""
    try:
        f.ready().begin()
        process, other = (f.guest.now, f.dest) if which == "source" else \
            (f.dest, f.guest.now)
        process.kill(signal.SIGTERM)
        if phase == "postcopy":
            # Whichever it was: the other one's pages are not thrown away.
            f.go()
            good = process.end(PROMPT) == 143
            if which == "source":
                other.say("q")
                good = good and verdict_ok(other)
            good = good and other.end(PROMPT) == 0
        elif which == "source":
            good = process.end(PROMPT) == 143
            f.go()
            good = good and other.end(PROMPT) == 1 and \
                b"source owns it" in other.err
        else:
            good = process.end(PROMPT) == 143
            end = f.job_end()
            other.say("q")
            good = good and end["status"] == "failed" and \
                verdict_ok(other) and other.end(PROMPT) == 0
        why = f.story()
    except moves.Hang as e:
        good, why = False, "%s\n%s" % (e, f.story())
    finally:
        f.close()
    tap.check("%s: SIGTERM to the %s ends it, and the guest has one owner or "
              "none" % (phase, which), good, why)


# ---- lost pages ----

def lost(tap, work, how):
    f = Flight(work, "postcopy", starve=True)
    good, why = False, ""
    try:
        f.ready().begin().told_running()
        if how == "SIGTERM first":
            f.dest.kill(signal.SIGTERM)
        f.cut()
        if how != "SIGTERM first":
            f.dest.wait_for(r"pages are missing", "err", PROMPT)
            f.target.wait_info(lambda info: info["state"] == "lost-pages")
        status = 143
        if how == "SIGTERM":
            f.dest.kill(signal.SIGTERM)
        elif how == "stop":
            code, out, err = moves.client("stop", f.guest.path(), limit=PROMPT)
            good, status = code == 0, 0
        elif how == "pause":
            answer = f.target("pause")
            good = answer["error"]["class"] == "busy"
            f.dest.kill(signal.SIGTERM)
        got = f.dest.end(PROMPT)
        good = got == status and (good or how.startswith("SIGTERM"))
        end = f.job_end()
        where = f.source("info")["ok"]["move"]["place"]
        good = good and where == "lost-link" and end["status"] == "failed"
        f.guest.now.kill(signal.SIGTERM)
        good = good and f.guest.now.end(PROMPT) == 143
        why = "status %s, source %s\n%s" % (got, where, f.story())
    except moves.Hang as e:
        good, why = False, "%s\n%s" % (e, f.story())
    finally:
        f.close()
    tap.check("pages are lost, %s: vCPUs that wait for one do not keep the "
              "process from ending" % how, good, why)


def spoil(path):
    """A flipped bit in every page of the last ones that the guest uses.  What
    loading the machine touches is before, or it could not be restored."""
    with open(path, "r+b") as f:
        size = os.fstat(f.fileno()).st_size
        at = 12 << 20
        while at < size:
            f.seek(at)
            b = f.read(1)
            if b and b != b"\0":
                f.seek(at)
                f.write(bytes([b[0] ^ 1]))
            at += 4096


def spoiled_snapshot(guest, path, pause=False):
    """Of the guest, which ends."""
    guest.ready()
    c = moves.Control(guest.path())
    if pause:
        c("pause")
    c.job_end(c("snapshot", file=path, then="stop")["ok"]["job"])
    c.close()
    guest.now.end()
    spoil(path)


def restore_lazily(guest, path, first=None):
    """Its process and a client.  Who brings the rest of the file may come to
    the bad pages before the machine is loaded, and then it is refused."""
    for _ in range(50):
        guest.hops += 1
        p = moves.Process(["restore", "--lazy", path, "--override",
                           "control=" + guest.path()])
        try:
            return p, moves.Control(guest.path(), PROMPT, first, of=p)
        except (moves.Hang, OSError):
            if p.end() != 1 or not re.search(rb"page \d+", p.err):
                raise moves.Hang(p.story()) from None
    raise moves.Hang("always refused: " + p.story())


def spoiled_file(tap, work, how):
    guest = moves.Guest(work, "smp", memory="32M", words=SPOILED)
    path = work("spoiled")
    good, why, p = False, "", guest.now
    try:
        spoiled_snapshot(guest, path)
        p, c = restore_lazily(guest, path)
        c.wait_info(lambda info: info["state"] == "lost-pages")
        if how == "stop":
            code, _, _ = moves.client("stop", guest.path(), limit=PROMPT)
            good = code == 0 and p.end(PROMPT) == 0
        else:
            p.kill(signal.SIGTERM)
            good = p.end(PROMPT) == 143
        good = good and b"page" in p.err
        why = p.story()
    except (moves.Hang, OSError) as e:
        why = "%s\n%s" % (e, p.story())
    finally:
        for x in (guest.now, p):
            x.kill()
            x.process.wait()
    tap.check("a lazy restore from a file with bad pages says which, and %s "
              "ends it" % how, good, why)


def begin_before_the_look(guest, path, command, args):
    """A lazily restored guest, and the job that began before the VM had seen
    that pages are lost.  It looks now and then, so a command that waits for it
    is before that but on a machine that stood still."""
    for _ in range(50):
        p, c = restore_lazily(guest, path, (command, args))
        answer = c.answer()
        if "ok" in answer:
            return p, c, answer["ok"]["job"]
        p.kill()
        p.end()
    raise moves.Hang("never in time: %s" % answer)


def spoiled_job(tap, work, command):
    guest = moves.Guest(work, "smp", memory="32M", words=SPOILED)
    path, good, why = work("spoiled"), False, ""
    everyone = [guest.now]
    p = guest.now
    try:
        # Paused: a vCPU that waited for a page could not be stopped.
        spoiled_snapshot(guest, path, pause=True)
        args = {"file": work("second")}
        if command == "migrate":
            d = moves.Process(["receive", "unix:" + work("spoiled-dest"), "-v"])
            everyone.append(d)
            d.wait_for(r"waiting at", "err")
            args = {"address": "unix:" + work("spoiled-dest")}
        p, c, job = begin_before_the_look(guest, path, command, args)
        everyone.append(p)
        end = c.job_end(job)
        c.wait_info(lambda info: info["state"] == "lost-pages")
        code, _, _ = moves.client("stop", guest.path(), limit=PROMPT)
        good = end["status"] == "failed" and \
            re.search(r"page \d+", str(end["error"])) and \
            not os.path.exists(work("second")) and \
            code == 0 and p.end(PROMPT) == 0
        why = "%s\n%s" % (end, p.story())
    except (moves.Hang, OSError) as e:
        why = "%s\n%s" % (e, p.story())
    finally:
        for x in everyone:
            x.kill()
            x.process.wait()
    tap.check("a %s of a lazily restored guest whose file has bad pages fails "
              "and says which, the pages are lost, and stop ends it" %
              command, good, why)


def main():
    moves.need_kvm()
    tap = moves.Tap()
    work = moves.Workdir()
    todo = [(commands, "precopy"), (commands, "switch"),
            (commands, "postcopy"), (paused_on_the_way,)]
    for phase in ("precopy", "slow"):
        todo += [(ends_by_itself, phase, "poweroff", 0),
                 (ends_by_itself, phase, "reset", 4),
                 (ends_by_itself, phase, "triple", 3)]
    todo += [(resets, p) for p in ("never", "after=1", "immediate")]
    todo += [(told_to_end, phase, which)
             for phase in ("precopy", "switch", "postcopy")
             for which in ("source", "dest")]
    todo += [(lost, how) for how in ("SIGTERM", "stop", "pause",
                                     "SIGTERM first")]
    todo += [(spoiled_file, how) for how in ("stop", "SIGTERM")]
    todo += [(spoiled_job, cmd) for cmd in ("snapshot", "migrate")]
    for fn, *args in todo:
        name = " ".join([fn.__name__] + [str(a) for a in args])
        if re.search(os.environ.get("PHASES", ""), name):
            fn(tap, work, *args)
    tap.done()


main()
