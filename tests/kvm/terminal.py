#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/kvm/terminal.py - godwit on a terminal: raw while the guest has it,
given back however the run ends.  Prints TAP.  GODWIT=FILE tests another binary.

Waits for what the guest or godwit says, never for a time; PATIENCE only ends
what hangs.
"""
import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
GODWIT = os.path.realpath(os.environ.get("GODWIT", os.path.join(TOP, "godwit")))
EXITS = os.path.join(os.environ.get("GUESTS", os.path.join(TOP, "kernels")),
                     "exits")
PATIENCE = 120
CTRL_A = b"\x01"
LFLAG = 3


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

    def done(self):
        print("1..%d" % self.count)
        sys.exit(1 if self.failed else 0)


class Run:
    """One godwit on a terminal of its own, with the terminal's settings of
    before."""

    def __init__(self, *args):
        self.master, self.slave = os.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.heard = b""

        def own_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [GODWIT, "run", *args], stdin=self.slave, stdout=self.slave,
            stderr=self.slave, start_new_session=True,
            preexec_fn=own_terminal)

    def settings(self):
        return termios.tcgetattr(self.slave)

    def restored(self):
        return self.settings() == self.before

    def is_raw(self):
        return not self.settings()[LFLAG] & (
            termios.ICANON | termios.ECHO | termios.ISIG)

    def read_some(self):
        """What is there within a tenth of a second."""
        if select.select([self.master], [], [], 0.1)[0]:
            self.heard += os.read(self.master, 65536)
            return True
        return False

    def wait_for(self, text):
        """Until @text was heard after the last wait; False if never."""
        end = time.monotonic() + PATIENCE
        while text not in self.heard:
            if not self.read_some() and (self.process.poll() is not None or
                                         time.monotonic() > end):
                return False
        self.heard = self.heard[self.heard.index(text) + len(text):]
        return True

    def wait_until(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            self.read_some()
            if time.monotonic() > end:
                return False
        return True

    def type(self, data):
        os.write(self.master, data)

    def finish(self):
        """The exit status, -N for signal N; "hangs" if it does not end."""
        if not self.wait_until(lambda: self.process.poll() is not None):
            self.process.kill()
            self.process.wait()
            return "hangs"
        while self.read_some():
            pass
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def looping():
    run = Run("-k", EXITS, "-a", "case=loop")
    run.wait_for(b"exits: looping")
    return run


def ended(tap, what, run, want):
    status = run.finish()
    tap.check("%s: status %s" % (what, want), status == want,
              "%s; heard %r" % (status, run.heard[-500:]))
    tap.check("%s: the terminal is as before" % what, run.restored(),
              "%r\n%r" % (run.before, run.settings()))
    run.close()


def keys(tap):
    run = looping()
    tap.check("the terminal is raw while the guest has it",
              run.wait_until(run.is_raw), run.settings())
    run.type(CTRL_A + b"h")
    tap.check("Ctrl-A h explains Ctrl-A x", run.wait_for(b"Ctrl-A x"),
              run.heard)
    tap.check("Ctrl-A h: the guest runs on", run.process.poll() is None)
    run.type(b"\x03\x1c\x1a")  # Ctrl-C, Ctrl-\, Ctrl-Z
    run.type(CTRL_A + b"h")
    tap.check("Ctrl-C, Ctrl-\\ and Ctrl-Z are the guest's",
              run.wait_for(b"Ctrl-A x"), run.heard)
    run.type(b"some words " * 1000)
    run.type(CTRL_A + b"x")
    ended(tap, "Ctrl-A x, after much that the guest did not read", run, 0)


def signals(tap):
    for name in "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT":
        number = getattr(signal, name)
        run = looping()
        run.process.send_signal(number)
        status = run.finish()
        tap.check("%s: the run ends by it" % name,
                  status in (128 + number, -number),
                  "%s; heard %r" % (status, run.heard[-500:]))
        tap.check("%s: the terminal is as before" % name, run.restored(),
                  run.settings())
        run.close()
    for name in "SIGSEGV", "SIGABRT":
        run = looping()
        run.wait_until(run.is_raw)
        run.process.send_signal(getattr(signal, name))
        status = run.finish()
        tap.check("a crash of godwit (%s) is not hidden" % name,
                  status not in (0, 2, 3, 4, "hangs"), status)
        tap.check("a crash of godwit (%s): the terminal is as before" % name,
                  run.restored(), run.settings())
        run.close()


def trace(tap):
    run = Run("-k", EXITS, "-a", "case=loop", "--trace", "64",
              "--iothread", "1")
    run.wait_for(b"exits: looping")
    run.process.send_signal(signal.SIGUSR1)
    tap.check("SIGUSR1 prints the trace of the main loop",
              run.wait_for(b"loop main:") and run.wait_for(b"bh"), run.heard)
    tap.check("SIGUSR1 prints the traces of the I/O threads",
              run.wait_for(b"loop io0:"), run.heard)
    tap.check("SIGUSR1: the guest runs on", run.process.poll() is None)
    run.wait_until(run.is_raw)
    run.process.send_signal(signal.SIGSEGV)
    status = run.finish()
    tap.check("a crash of godwit prints the traces, too",
              b"loop main:" in run.heard, run.heard)
    tap.check("a crash of godwit with a trace is not hidden",
              status not in (0, 2, 3, 4, "hangs"), status)
    tap.check("a crash of godwit with a trace: the terminal is as before",
              run.restored(), run.settings())
    run.close()


def ends(tap):
    for words, want in (("case=poweroff", 0), ("case=triple", 3),
                        ("case=internal", 3), ("case=pvpanic", 3)):
        ended(tap, "the guest ends by %s" % words,
              Run("-k", EXITS, "-a", words), want)
    ended(tap, "the guest resets, --no-reboot",
          Run("-k", EXITS, "-a", "case=resetacpi", "--no-reboot"), 4)
    ended(tap, "no such kernel", Run("-k", "/nonexistent/kernel"), 1)
    ended(tap, "bad usage", Run("--frob"), 2)


def hang_up(tap):
    """The terminal goes away: godwit must end, not spin."""
    run = looping()
    os.close(run.slave)
    os.close(run.master)
    try:
        status = run.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        run.process.kill()
        status = "hangs"
    tap.check("the terminal goes away: the run ends",
              status in (128 + signal.SIGHUP, -signal.SIGHUP), status)


def main():
    tap = Tap()
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        if os.environ.get("KVM") != "required":
            print("1..0 # SKIP /dev/kvm: %s" % error.strerror)
            return
        tap.check("/dev/kvm can be opened (KVM=required)", False, error)
        tap.done()
    keys(tap)
    signals(tap)
    trace(tap)
    ends(tap)
    hang_up(tap)
    tap.done()


if __name__ == "__main__":
    main()
