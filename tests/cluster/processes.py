"""The servers' processes, where this machine can see them: as root on the node itself, or on the host of a kind cluster."""

import os
import pathlib
import signal

from cluster import LeftOut


def of(pod):
    """The id of the server's process in a pod."""
    uid = pod["metadata"]["uid"]
    # The systemd driver writes the id with other signs.
    names = (uid, uid.replace("-", "_"))
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() != "work-server":
                continue
            cgroup = (folder / "cgroup").read_text()
        except OSError:
            continue
        if any(name in cgroup for name in names):
            return int(folder.name)
    raise LeftOut("this machine does not see the pods' processes: run it on the node, as root")


def stop(pod):
    send(pod, signal.SIGSTOP)


def kill(pod):
    send(pod, signal.SIGKILL)


def send(pod, number):
    try:
        os.kill(of(pod), number)
    except PermissionError:
        raise LeftOut("this account may not signal the pods' processes") from None
