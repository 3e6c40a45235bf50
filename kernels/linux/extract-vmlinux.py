#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""extract-vmlinux.py BZIMAGE VMLINUX - unpack the ELF kernel inside a bzImage.

The payload's place is in the setup header (payload_offset, payload_length of
the Linux boot protocol, 2.08+).  Needs the xz, lz4 or zstd command that the
payload is packed with.  The result appears whole or not at all.
"""
import os
import struct
import subprocess
import sys
import zlib

PACKERS = (
    (b"\xfd7zXZ\0", ["xz", "-dc", "--single-stream"]),
    (b"\x02\x21\x4c\x18", ["lz4", "-dc"]),
    (b"\x28\xb5\x2f\xfd", ["zstd", "-dcq"]),
)


def payload(image):
    if image[0x202:0x206] != b"HdrS":
        raise ValueError("no bzImage: the HdrS magic is missing")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    return image[start:start + length]


def unpack(data):
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data)
    for magic, command in PACKERS:
        if not data.startswith(magic):
            continue
        # The kernel build appends the unpacked size, which the tools call
        # trailing garbage: their status says nothing, the ELF check does.
        return subprocess.run(command, input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False).stdout
    raise ValueError("payload packed by an unknown method: %r" % data[:8])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        data = payload(file.read())
    elf = unpack(data)
    size = struct.unpack("<I", data[-4:])[0]
    if elf[:4] != b"\x7fELF" or (size != len(elf) and data[:2] != b"\x1f\x8b"):
        sys.exit("%s: the payload does not unpack to an ELF file" % source)
    temporary = "%s.%d" % (target, os.getpid())
    with open(temporary, "wb") as file:
        file.write(elf)
    os.replace(temporary, target)


if __name__ == "__main__":
    main()
