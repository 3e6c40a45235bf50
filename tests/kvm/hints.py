#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/kvm/hints.py - a guest shows which pages it does not need while it is
moved (free page hints): they are not sent, and those it uses again are.

The guest is kernels/balloon.  The link holds pages back, but for the 5 MiB that
buffers take, until the guest has shown its free ones and has begun to use some
again.
Prints TAP.  GODWIT=FILE tests another binary.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import moves  # noqa: E402

POOL = 4096             # pages of a guest of 24 MiB
HINTED = POOL // 4      # the last of them
REUSED = 100
SLACK = 64              # pages: what the guest writes beside
MORE = "balloon: (hinted|reused)"


class Move:
    """One guest, from its start to its last words."""

    def __init__(self, work, number, balloon, policy, wait_for, words=""):
        self.text = ""
        moves.WORKLOADS["hints"] = (
            "balloon", 1, "24M",
            "auto pages=%d reuse=%d %s" % (POOL, REUSED, words), [])
        g = moves.Guest(work, "hints",
                        extra=["--balloon" + balloon, "--rng"])
        self.guest = g
        dest = g.receiver("unix:" + work("d%d" % number), ["-v"])
        self.dest = dest
        dest.wait_for("waiting at", "err")

        def hook(proxy, connection, direction, index, name):
            if direction == ">" and name == "PAGES" and wait_for:
                g.now.wait_for(wait_for)
            return True

        proxy = moves.Proxy(work("p%d" % number), work("d%d" % number), hook)
        try:
            g.now.wait_for("balloon: ready")
            control = moves.Control(work("c%d-0" % g.number))
            answer = control("migrate", address="unix:" + work(
                "p%d" % number), postcopy=policy)
            self.end = control.job_end(answer["ok"]["job"])
            self.moved = self.end["status"] == "done" and g.now.end() == 0
            if self.moved:
                self.last_words(work, g)
        finally:
            proxy.close()
            for p in (g.now, dest):
                p.kill()
                p.process.wait()
        self.text = (g.now.out + dest.out).decode("latin1")

    def last_words(self, work, g):
        """It goes on; its memory is looked at when the balloon is empty."""
        if b"hinted" in g.now.out:
            self.dest.wait_for("balloon: hints done")
        there = moves.Control(g.path())
        there("balloon", bytes=4096)
        self.dest.wait_for("inflated to 1 ")
        there("balloon", bytes=0)
        self.dest.wait_for(r"balloon: \d+ ok, \d+ failed")

    def pages(self, name):
        return self.end["result"]["pages"][name]

    def sound(self):
        return self.moved and " 0 failed" in self.text and \
            "wrong 0" in self.text

    def story(self):
        return "%s\n%s\n%s" % (self.end, self.guest.now.story(),
                               self.dest.story())


def main():
    moves.need_kvm()
    tap = moves.Tap()
    work = moves.Workdir()
    plain = Move(work, 1, "", "never", None)
    tap.check("without hints the guest arrives and is not asked",
              plain.sound() and plain.pages("hinted") == 0 and
              not re.search(MORE, plain.text), plain.story())

    hints = Move(work, 2, "=hinting=on", "never", "balloon: reused %d" % REUSED)
    tap.check("with hints the guest arrives, and what it uses again is there",
              hints.sound() and "reused %d" % REUSED in hints.text and
              "hints done lost 0" in hints.text, hints.story())
    tap.check("the pages it has shown are not sent, and are counted",
              hints.pages("hinted") == HINTED, hints.story())
    saved = plain.end["result"]["bytes"] - hints.end["result"]["bytes"]
    tap.check("the bytes sent shrink by what it does not use again",
              saved >= (HINTED - REUSED - SLACK) * 4096,
              "saved %d\n%s\n%s" % (saved, plain.end, hints.end))
    tap.check("the pages left out are zero over there, the others are not",
              "zeroed %d kept 0" % (HINTED - REUSED) in hints.text,
              hints.story())

    later = Move(work, 3, "=hinting=on", "after=1",
                 "balloon: reused %d" % REUSED)
    tap.check("with a switch to postcopy after the round it is the same",
              later.sound() and "hints done lost 0" in later.text and
              later.pages("hinted") == HINTED, later.story())
    tap.done()


main()
