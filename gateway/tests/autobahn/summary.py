"""Sums up a report of the Autobahn test suite; fails unless every case went well.

Runs on the suite's own Python 2.7, and on any newer one.
"""

from __future__ import print_function

import json
import sys
from collections import Counter

GOOD = ("OK", "INFORMATIONAL")

GROUPS = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing",
    "9": "limits and speed",
    "10": "fragmentation by itself",
}


def main(path):
    with open(path) as report:
        (cases,) = json.load(report).values()
    if not cases:
        print("autobahn: no case was run")
        return 1
    order = sorted(cases, key=lambda case: [int(part) for part in case.split(".")])
    failed = [case for case in order if not went_well(cases[case])]

    behaviours = sorted(
        {case["behavior"] for case in cases.values()}, key=lambda name: (name not in GOOD, name)
    )
    head = ["", "cases", "seconds"] + behaviours
    rows = []
    for group in sorted({case.split(".")[0] for case in order}, key=int):
        members = [cases[case] for case in order if case.split(".")[0] == group]
        rows.append(row("%s.* %s" % (group, GROUPS.get(group, "")), members, behaviours))
    rows.append(row("all", list(cases.values()), behaviours))
    widths = [max(len(line[column]) for line in [head] + rows) for column in range(len(head))]
    for line in [head] + rows:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        print("  ".join(cells))

    for case in failed:
        found = cases[case]
        print(
            "FAILED %s: %s, closing %s; see report/%s"
            % (case, found["behavior"], found["behaviorClose"], found["reportfile"])
        )
    slowest = max(order, key=lambda case: cases[case]["duration"])
    print("slowest: case %s, %.1f s" % (slowest, cases[slowest]["duration"] / 1000.0))
    return 1 if failed else 0


def went_well(case):
    return case["behavior"] in GOOD and case["behaviorClose"] in GOOD


def row(name, cases, behaviours):
    counts = Counter(case["behavior"] for case in cases)
    seconds = sum(case["duration"] for case in cases) / 1000.0
    return [name, str(len(cases)), "%.1f" % seconds] + [str(counts[name]) for name in behaviours]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
