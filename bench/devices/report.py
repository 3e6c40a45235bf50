# SPDX-License-Identifier: Apache-2.0
"""bench/devices/report.py - the figures of devices.py as Markdown.

    bench/devices/report.py build/bench/devices.json
"""
import json
import sys

QEMUS = ("QEMU", "QEMU iothread")


def cell(f, scale):
    """Median, least and most; three digits."""
    if f is None:
        return "-"
    text = "%s (%s-%s)"
    return text % tuple(short(f[k] / scale) for k in ("median", "min", "max"))


def short(v):
    if v >= 100:
        return "%.0f" % v
    if v >= 10:
        return "%.1f" % v
    return "%.2f" % v


def line(cells):
    return "| " + " | ".join(cells) + " |"


def head(cells):
    return [line(cells), "|" + "---|" * len(cells)]


def median(whos, who, figure):
    f = whos.get(who, {}).get(figure)
    return f["median"] if f else None


def ratio(a, b):
    return "-" if a is None or not b else "**%.2f**" % (a / b)


def best_qemu(whos, figure):
    found = [m for m in (median(whos, q, figure) for q in QEMUS) if m]
    return max(found) if found else None


def unit_of(row):
    """(figure, divisor, unit): streams by their bytes."""
    if "128 KiB" in row:
        return "bytes_per_s", 1e6, "MB/s"
    return "rate", 1e3, "k/s"


def disks(rows):
    who = ["fio", "godwit", "QEMU", "QEMU iothread"]
    out = head(["4 KiB: thousand reads a second; 128 KiB: MB/s"] + who +
               ["godwit / better QEMU", "godwit / fio"])
    for row, whos in rows.items():
        if "godwit" not in whos:
            continue
        figure, div, unit = unit_of(row)
        mine = median(whos, "godwit", figure)
        out.append(line(
            [row] + [cell(whos.get(w, {}).get(figure), div) for w in who] +
            [ratio(mine, best_qemu(whos, figure)),
             ratio(mine, median(whos, "fio", figure))]))
    return out


def nets(rows):
    who = ["godwit", "QEMU"]
    out = head(["thousand frames a second, tap"] + who + ["godwit / QEMU"])
    for row, whos in rows.items():
        mine = median(whos, "godwit", "rate")
        out.append(line(
            [row] + [cell(whos.get(w, {}).get("rate"), 1e3) for w in who] +
            [ratio(mine, median(whos, "QEMU", "rate"))]))
    return out


def streams(sections):
    out = head(["MB/s", "godwit", "beside it", "godwit / that"])
    for section, peer in (("rng", "QEMU"), ("vsock", "UNIX socket")):
        for row, whos in sections.get(section, {}).items():
            f = [whos.get(w, {}).get("bytes_per_s") for w in ("godwit", peer)]
            out.append(line(
                [row, cell(f[0], 1e6), peer + " " + cell(f[1], 1e6),
                 ratio(f[0] and f[0]["median"], f[1] and f[1]["median"])]))
    return out


def notifications(sections):
    """What a request costs in notifications, and what EVENT_IDX and polling
    change."""
    out = head(["per request", "who", "kicks", "interrupts",
                "exits to the VMM", "thousand a second"])
    for section in ("disk", "net"):
        for row, whos in sections.get(section, {}).items():
            if "no polling" not in whos and "no EVENT_IDX" not in whos:
                continue
            for who, f in whos.items():
                if "kicks" not in f:
                    continue
                key = row + (", without EVENT_IDX"
                             if who == "no EVENT_IDX" else "")
                spent = sections.get("notify", {}).get(key, {}).get(
                    "godwit" if who == "no EVENT_IDX" else who, {}).get(
                    "exits")
                out.append(line([
                    row, "godwit, " + who if who.startswith("no ") else who,
                    "%.3f" % f["kicks"]["median"],
                    "%.3f" % f["irqs"]["median"],
                    "%.3f" % spent["median"] if spent else "-",
                    cell(f["rate"], 1e3)]))
    return out


def memory(rows):
    out = head(["idle device, its driver there", "KiB each"])
    for kind, whos in rows.items():
        out.append(line([kind, cell(whos["godwit"]["kib"], 1)]))
    return out


def markdown(data):
    s = data["sections"]
    h = data["host"]
    parts = ["%s, %d CPUs, Linux %s, load %.1f, %d rounds of %d ms" % (
        h["cpu"], h["cpus"], h["kernel"], h["load"], data["rounds"],
        data["ms"])]
    for title, section, lines in (
            ("Disks", "disk", lambda: disks(s["disk"])),
            ("Network (tap)", "net", lambda: nets(s["net"])),
            ("Entropy and sockets", "rng", lambda: streams(s)),
            ("Notifications", "disk", lambda: notifications(s)),
            ("Memory", "memory", lambda: memory(s["memory"]))):
        if section in s:
            parts += ["", "**%s**" % title, ""] + lines()
    for text in data["failures"]:
        parts.append("failed: " + text.split("\n")[0])
    return "\n".join(parts)


if __name__ == "__main__":
    with open(sys.argv[1]) as f:
        print(markdown(json.load(f)))
