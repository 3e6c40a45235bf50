#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/bed/tsc_khz.py - prints the frequency of this CPU's TSC in kHz.

TCG hands the host's TSC to L1, whose kernel measures it by a timer while it
boots.  On a loaded machine that goes wrong by any factor, and then every time
limit in L1 is wrong by it (seen: 6 times too short)."""
import ctypes
import mmap
import time

# rdtsc; shl $32,%rdx; or %rdx,%rax; ret
CODE = b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3"
SPAN_S = 0.2


def rdtsc_function():
    page = mmap.mmap(-1, mmap.PAGESIZE,
                     prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(CODE)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(at), page


def stamp(rdtsc):
    """TSC and ns of one moment: of many tries the one that took least."""
    best = None
    for _ in range(200):
        before = rdtsc()
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        took = rdtsc() - before
        if best is None or took < best[0]:
            best = (took, before + took // 2, now)
    return best[1:]


def main():
    rdtsc, page = rdtsc_function()
    tsc, now = stamp(rdtsc)
    time.sleep(SPAN_S)
    tsc_end, end = stamp(rdtsc)
    print((tsc_end - tsc) * 1000000 // (end - now))
    del page


main()
