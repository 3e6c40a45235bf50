#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/kvm/postcopy_dma.py - memory is missing, and everything touches it at
once: device load, DMA of every device, vCPUs in kernel and in user mode.

The guests are moved with postcopy at once, so all their memory is missing when
the devices are loaded and the vCPUs start.  kernels/load keeps disks (reads
into missing pages, writes from them), rng and their rings busy; kernels/virtio
drives rng, disk and console; kernels/work touches from user mode on two vCPUs,
and prints, from kernel mode.  The link is
  thin    pushed pages trickle, so what is touched comes by the urgent
          connection;
  single  the urgent connection is refused: requests and answers share the
          main one;
  cut     the urgent connection is cut in the middle.
No deadlock: each guest gets on and each check of what it read holds.  The time
limit only ends a run that stands still.
Prints TAP.  GODWIT=FILE tests another binary; DMA=REGEX picks tests.
"""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import moves  # noqa: E402

# A loop with a ring submits to it; the others leave disks to a thread pool.
DISK_ENGINES = {"ring": "auto", "pool": "epoll"}
LOAD = "auto requests=0 report=50 depth=16"
WORK = "smp=2 mem=8 passes=0 mode=rand fill=1 tick=20 report=20"


CUT_AFTER = 2  # answers; the smallest guest asks for four or so


class Link:
    """A proxy's hook."""

    def __init__(self, kind):
        self.kind = kind
        self.commit = False
        self.urgent_pages = self.requests_on_main = 0

    def hook(self, proxy, number, direction, index, name):
        if number == 0 and direction == ">":
            self.commit = self.commit or name == "COMMIT"
            if self.commit and name == "PAGES" and self.kind != "single":
                time.sleep(0.002)   # this is the link's bandwidth
        if number == 0 and direction == "<" and name == "REQUEST":
            self.requests_on_main += 1
        if number == 1 and direction == ">" and name == "PAGES":
            self.urgent_pages += 1
            if self.kind == "cut" and self.urgent_pages == CUT_AFTER:
                return False
        if number >= 1 and self.kind == "single":
            return False
        return True


def devices(work, engine):
    image = work("dma-%s.img" % engine)
    other = work("dma2-%s.img" % engine)
    for path in (image, other):
        with open(path, "wb") as f:
            f.truncate(4 << 20)
    return ["-d", "path=" + image, "-d", "path=%s,direct" % other,
            "--loop", DISK_ENGINES[engine]]


def consoles(work):
    image = work("virtio.img")
    with open(image, "wb") as f:
        f.truncate(4 << 20)
    return ["-d", "path=" + image, "--rng", "--console", "stdio", "--serial",
            "file=" + work("serial")]


def good_virtio(process, work):
    """The echo that it waits for comes, by polling and by interrupt."""
    said = len(re.findall(rb"console says hello", process.out))
    process.say("first\n")
    process.wait_for(r"first")
    process.wait_for(r"console says hello", count=said + 1)
    process.say("second\n")
    process.wait_for(r"second")
    if process.end() != 0:
        return False
    with open(work("serial2"), "rb") as f:
        told = f.read()
    return b"virtio: " in told and b" 0 failed" in told


def good_load(process, work):
    """It gets on, by several reports, and nothing was wrong."""
    count = len(re.findall(rb"load: answers", process.out))
    process.wait_for(r"load: answers", count=count + 5)
    return b"WRONG" not in process.out and b"guest:" not in process.out


def good_work(process, work):
    process.say("q")
    process.wait_for(r"work: verdict [^\n]*\n")
    return b"work: verdict ok" in process.out


GUESTS = {
    # name: (load of moves.py, words, begun when it says what how often, check)
    "load": ("disk", LOAD, r"load: answers", 3, good_load),
    "work": ("smp", WORK, r"work: pass ", 3, good_work),
    "virtio": ("virtio", "auto echo=1", r"console says hello", 1,
               good_virtio),
}
moves.WORKLOADS["virtio"] = ("virtio", 1, "32M", "", [])


def one(tap, work, guest, engine, iothreads, kind):
    load, words, begun, count, check = GUESTS[guest]
    link = Link(kind)
    extra = devices(work, engine) + ["--iothread", iothreads] \
        if guest == "load" else []
    more = ["-v"]
    if guest == "virtio":
        extra = consoles(work)
        more += ["--override", "serial=file=" + work("serial2")]
    g = moves.Guest(work, load, memory="48M", words=words, extra=extra)
    dest = g.receiver("unix:" + work("d%d" % g.number), more)
    proxy = None
    good, why = False, ""
    try:
        dest.wait_for(r"waiting at", "err")
        proxy = moves.Proxy(work("p%d" % g.number), work("d%d" % g.number),
                            link.hook)
        g.now.wait_for(begun, count=count)
        control = moves.Control(g.work("c%d-0" % g.number))
        job = control("migrate", address="unix:" + work("p%d" % g.number),
                      postcopy="immediate")["ok"]["job"]
        good = check(dest, work)
        end = control.job_end(job)
        good = good and end["status"] == "done" and g.now.end() == 0
        pages = end["result"]["pages"]
        # The promise is empty if nothing was missed by anybody.
        good = good and pages["requested"] > 0
        if kind == "single":
            good = good and link.urgent_pages == 0 and \
                link.requests_on_main > 0
        elif kind == "thin":
            good = good and link.urgent_pages > 0
        else:
            good = good and link.urgent_pages >= CUT_AFTER
        why = "%s\nurgent %d, on main %d\n%s\n%s" % (
            end, link.urgent_pages, link.requests_on_main, g.now.story(),
            dest.story())
    except moves.Hang as e:
        why = "%s\n%s\n%s" % (e, g.now.story(), dest.story())
    finally:
        if proxy:
            proxy.close()
        for p in (g.now, dest):
            p.kill()
            p.process.wait()
    tap.check("%s, disks by %s, %s I/O threads, link %s: no deadlock, and "
              "all that is read is right" % (guest, engine, iothreads, kind),
              good, why)


def main():
    moves.need_kvm()
    tap = moves.Tap()
    work = moves.Workdir()
    todo = [("load", engine, iothreads, kind)
            for kind in ("thin", "single", "cut")
            for engine in DISK_ENGINES for iothreads in (0, 2)]
    todo += [(guest, "ring", 0, kind) for guest in ("work", "virtio")
             for kind in ("thin", "single", "cut")]
    for case in todo:
        if re.search(os.environ.get("DMA", ""), " ".join(map(str, case))):
            one(tap, work, *case)
    tap.done()


main()
