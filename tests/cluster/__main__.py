"""The manifests and an image on a real Kubernetes.

    python3 tests/cluster --image NAME:TAG                everything
    python3 tests/cluster --image NAME:TAG ready probes   only these

Needs kubectl 1.27 or later with a context that may create namespaces, an image that the nodes have or can pull, and a place
from which Services are reached: a node, or the host of a kind cluster. Prints a line for each check, and a table at the end.
Ends with 1 if a check has failed, and with 2 if nothing could be checked. Each check has a namespace of its own, which is
deleted even if it fails.
"""

import argparse
import shlex
import signal
import sys
import time

from checks import CHECKS
from cluster import Cluster, Failed, LeftOut, Unusable


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True, help="the image with its tag")
    parser.add_argument("--kubectl", default="kubectl", help="the command, with options if need be [kubectl]")
    parser.add_argument("--cpu", default="500m", help="the limit of most pods; the overlay's four cores fit few clusters [500m]")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}")
    arguments = parser.parse_args()
    for name in arguments.checks:
        if name not in CHECKS:
            parser.error(f"{name} is none of {', '.join(CHECKS)}")
    if ":" not in arguments.image.rsplit("/", 1)[-1]:
        parser.error(f"the image {arguments.image} has no tag")
    # So that namespaces are deleted then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    cluster = Cluster(shlex.split(arguments.kubectl), arguments.image, arguments.cpu)
    rows = []
    try:
        cluster.require()
        try:
            for name in arguments.checks or CHECKS:
                rows.append((name, *outcome_of(CHECKS[name], cluster)))
                print(f"{rows[-1][1]:<8}  {name}: {rows[-1][3]}", flush=True)
        finally:
            cluster.require_clean()
    except Unusable as error:
        print(f"tests/cluster: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tests/cluster: interrupted", file=sys.stderr)
        return 130
    print_table(rows)
    return 1 if any(outcome == "FAILED" for _, outcome, _, _ in rows) else 0


def outcome_of(check, cluster):
    """Its outcome, how many seconds it took, and what it has seen."""
    began = time.monotonic()
    try:
        outcome, seen = "passed", check(cluster)
    except LeftOut as reason:
        outcome, seen = "left out", str(reason)
    except Failed as error:
        outcome, seen = "FAILED", str(error)
    return outcome, time.monotonic() - began, seen


def print_table(rows):
    print("\n| check | outcome | seconds | seen |\n| --- | --- | --- | --- |")
    for name, outcome, seconds, seen in rows:
        print(f"| {name} | {outcome} | {seconds:.0f} | {seen.replace('|', '/')} |")


if __name__ == "__main__":
    sys.exit(main())
