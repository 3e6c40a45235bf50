#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/kvm/disk_errors.py - storage that is full, is cut short, is in use, or
is a block device.

kernels/load keeps the disk busy and checks each answer.  A file system of a few
pages, mounted where nobody else sees it, gets full and is given room; an image
is cut short while it is read; a loop device lies on an image.  What this host
does not allow is skipped with its reason.
Prints TAP.  GODWIT=FILE tests another binary.
"""
import ctypes
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import moves  # noqa: E402

CLONE_NEWNS = 0x00020000
IN_USE = "in use by another disk or program (stop that"
NO_ROOM = 40 << 10      # bytes, of which 64 KiB would be written
LOAD = "auto requests=0 report=100 depth=%d %s"


def unmount(path):
    """Lazily: the kernel ends a dead process's io_uring, and with it the last
    use of its files, a moment later."""
    subprocess.run(["umount", "-l", path], check=True)


def own_mounts():
    """Mount what only this program and its children see."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) < 0:
        return os.strerror(ctypes.get_errno())
    p = subprocess.run(["mount", "--make-rprivate", "/"],
                       stderr=subprocess.PIPE, check=False)
    return p.stderr.decode() if p.returncode else None


def mount_small(path):
    os.mkdir(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % NO_ROOM, "small",
                    path], check=True)


def make_room(path):
    subprocess.run(["mount", "-o", "remount,size=4M", path], check=True)


class Vm:
    """kernels/load on one disk."""

    def __init__(self, work, disk, words="", depth=16, **more):
        self.path = work("control")
        self.p = moves.Process([
            "run", "-k", os.path.join(moves.GUESTS, "load"), "-m", "64M", "-a",
            LOAD % (depth, words), "--control", self.path, "-d",
            "path=" + disk], **more)
        self.control = None

    def connect(self):
        self.control = moves.Control(self.path)
        return self.control

    def reports(self, more):
        """Until the guest has reported so many times more."""
        said = len(re.findall(rb"load: answers", self.p.out))
        self.p.wait_for(r"load: answers", count=said + more)

    def errors(self, more=0):
        """Those it has seen, when it has seen more of them."""
        if more:
            said = len(re.findall(rb"load: errors [1-9]", self.p.out))
            self.p.wait_for(r"load: errors [1-9]", count=said + more)
        seen = re.findall(rb"load: errors (\d+)", self.p.out)
        return int(seen[-1]) if seen else 0

    def wrong(self):
        return b"WRONG" in self.p.out

    def info(self):
        return self.control("info")["ok"]

    def disk(self, key):
        return self.control("disks")["ok"]["disks"][0][key]

    def event(self, name):
        """The next event of that name, and those before it are gone."""
        while True:
            while self.control.events:
                e = self.control.events.pop(0)
                if e["event"] == name:
                    return e["data"]
            answer = self.control.read()
            if "event" in answer:
                self.control.events.append(answer)

    def end(self):
        self.p.kill()
        self.p.process.wait()
        if os.path.exists(self.path):
            os.unlink(self.path)


def full_and_stopped(tap, work):
    small = work("small")
    mount_small(small)
    image = os.path.join(small, "image")
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    # The control socket is there before the guest is.
    vm = Vm(work, image + ",werror=stop")
    vm.connect()
    vm.p.wait_for("no room for a write", "err")
    state = vm.info()
    want = {"why": "disk-full", "disks": ["disk0"]}
    tap.check("werror=stop: a full file system pauses the guest, and says so",
              state["state"] == "paused" and state["pause"] == want and
              vm.disk("held") > 0, "%s\n%s" % (state, vm.p.story()))
    status, out, err = moves.client("info", vm.path)
    tap.check("godwit info says why, in words",
              status == 0 and "disk-full" in out and "disk0" in out, out + err)

    vm.control.events.clear()
    vm.control("resume")
    told = vm.event("disk-full")
    state = vm.info()
    tap.check("resumed with no room it is paused again, with an event",
              told["disk"] in ("disk0", 0) and state["pause"] == want,
              "%s %s" % (told, state))

    make_room(small)
    status, out, err = moves.client("resume", vm.path)
    vm.reports(5)
    state = vm.info()
    tap.check("with room the writes are done again, and the guest sees no error",
              status == 0 and not vm.wrong() and vm.disk("errors") == 0 and
              state["state"] == "running" and state["pause"] is None,
              "%s\n%s" % (state, vm.p.story()))
    vm.control("pause")
    tap.check("a pause by the user is told apart",
              vm.info()["pause"] == {"why": "user"}, vm.info())
    vm.end()
    unmount(small)


def full_and_reported(tap, work):
    small = work("small2")
    mount_small(small)
    image = os.path.join(small, "image")
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    vm = Vm(work, image + ",werror=report", "errors=1")
    vm.connect()
    vm.errors(3)
    state = vm.info()
    tap.check("werror=report: the guest sees I/O errors and lives",
              state["state"] == "running" and not vm.wrong() and
              vm.disk("errors") > 0, "%s\n%s" % (state, vm.p.story()))
    make_room(small)
    vm.reports(2)
    before = vm.errors()
    vm.reports(4)
    tap.check("and with room it sees no more of them",
              vm.errors() == before and not vm.wrong(), vm.p.story())
    vm.end()
    unmount(small)


def cut_short(tap, work, engine):
    image = work("short-" + engine)
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    # One page, written and read: gone when it is to be read, all that can be
    # answered is an error.
    vm = Vm(work, image, "errors=1", depth=1) if engine == "auto" else \
        Vm(work, image + ",direct", "errors=1", depth=1)
    vm.connect()
    vm.reports(2)
    # A write between makes the file again; not for ever.
    while not vm.errors():
        os.truncate(image, 0)
        vm.reports(1)
    state = vm.info()
    vm.errors(2)
    tap.check("an image cut short (%s): the guest sees I/O errors and lives" %
              engine, state["state"] == "running" and not vm.wrong() and
              vm.disk("errors") > 0, "%s\n%s" % (state, vm.p.story()))
    vm.end()


def locked(tap, work):
    image = work("locked")
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    vm = Vm(work, image)
    vm.reports(1)
    second = moves.Process(["run", "-k", os.path.join(moves.GUESTS, "load"),
                            "-d", "path=" + image])
    status = second.end()
    said = second.err.decode()
    tap.check("an image that another godwit uses is refused, and why",
              status == 1 and image in said and IN_USE in said and
              said.count("\n") == 1, second.story())
    vm.reports(2)
    tap.check("the one that has it goes on", not vm.wrong(), vm.p.story())
    vm.end()


def loop_device(work, name, sector):
    image = work(name)
    with open(image, "wb") as f:
        f.write(b"x" * (1 << 20))
    p = subprocess.run(["losetup", "-f", "--show", "-b", str(sector), image],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       check=False)
    if p.returncode:
        return None, p.stderr.decode().strip()
    return p.stdout.decode().strip(), image


def block_device(tap, work, options, sector):
    name = "a block device with sectors of %d%s" % (sector, options)
    device, image = loop_device(work, "back%d%s" % (sector, options), sector)
    if not device:
        tap.skip(name + " is a disk", image)
        return
    vm = None
    try:
        vm = Vm(work, device + options)
        vm.connect()
        vm.reports(3)
        tap.check(name + " is a disk of its size", not vm.wrong() and
                  vm.disk("bytes") == 1 << 20, vm.p.story())
        second = moves.Process([
            "run", "-k", os.path.join(moves.GUESTS, "load"), "-d",
            "path=" + device])
        status = second.end()
        tap.check(name + " is locked", status == 1 and
                  IN_USE in second.err.decode(), second.story())
        answer = vm.control("disk-resize", disk="disk0", bytes=2 << 20)
        tap.check(name + " has the size that it has",
                  device in json.dumps(answer.get("error", {})), answer)
    finally:
        if vm:
            vm.end()
        subprocess.run(["losetup", "-d", device], check=False)


def attempt(tap, fn, *args):
    """One that stands still is one that has failed."""
    try:
        fn(tap, *args)
    except moves.Hang as e:
        tap.check("%s gets to its end" % fn.__name__, False, e)
        moves.end_everyone()


def main():
    moves.need_kvm()
    tap = moves.Tap()
    work = moves.Workdir()
    why = own_mounts()
    if why:
        tap.skip("storage gets full", "no mounts of our own: " + why)
    else:
        attempt(tap, full_and_stopped, work)
        attempt(tap, full_and_reported, work)
    for engine in ("auto", "direct"):
        attempt(tap, cut_short, work, engine)
    attempt(tap, locked, work)
    for options, sector in (("", 512), (",direct", 4096)):
        attempt(tap, block_device, work, options, sector)
    tap.done()


main()
