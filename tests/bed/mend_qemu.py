#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/bed/mend_qemu.py OUT - a copy of this machine's qemu-system-x86_64
without one bug of its SVM emulation; prints the path to run.

helper_vmrun() of QEMU's TCG (7.2 of Debian 12 and every other seen) delivers an
interrupt that KVM injects by EVENTINJ at once, but has put its vector into
cpu->exception_index before and leaves it there.  When another thread has asked
the CPU to leave its loop in that moment (exit_request: a kick that came late, so
it takes load), cpu_handle_interrupt() does not set EXCP_INTERRUPT over it, and
cpu_handle_exception() delivers the vector a second time, inside its own handler
and with interrupts off.  From user mode the second handler does not swap GS, and
the guest's kernel dies of page faults in exc_page_fault(); elsewhere it loses
interrupts for ever.  Seen about once in 100 steps of guest/hotplug.sh.

The copy lacks the one store.  If its place is not found just once, QEMU is used
as it is, with a line on stderr."""
import os
import re
import shutil
import sys

# mov %r13d,error_code(env); mov %esi,exception_index(env);
# movl $0,exception_is_int(env); movq $-1,exception_next_eip(env).  The next
# case has the same stores, in other registers.
PLACE = re.compile(
    rb"(?:\x44|\x45)\x89[\x80-\xbf]..\0\0"
    rb"(\x89[\x80-\xbf]..\xff\xff)"
    rb"\xc7[\x80-\x87]..\0\0\0\0\0\0"
    rb"\x48\xc7[\x80-\x87]..\0\0\xff\xff\xff\xff",
    re.DOTALL,
)
NOP = b"\x66\x0f\x1f\x44\x00\x00"


def main(out):
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        sys.exit("mend_qemu.py: qemu-system-x86_64: not installed "
                 "(apt-get install qemu-system-x86)")
    if os.path.exists(out) and os.path.getmtime(out) > os.path.getctime(qemu):
        print(out)
        return
    with open(qemu, "rb") as f:
        code = f.read()
    places = list(PLACE.finditer(code))
    if len(places) != 1:
        print(f"mend_qemu.py: {qemu}: {len(places)} places look like the one "
              "to mend; it stays as it is, and a guest may see an interrupt "
              "twice", file=sys.stderr)
        print(qemu)
        return
    start, end = places[0].span(1)
    aside = f"{out}.{os.getpid()}"
    with open(aside, "wb") as f:
        f.write(code[:start] + NOP + code[end:])
    os.chmod(aside, 0o755)
    os.rename(aside, out)
    print(out)


main(sys.argv[1])
