"""The reference server's published manifests, with this server in its place."""

import pathlib
import re
import signal
import subprocess

import yaml
from live import Running, expect
from manifest import Manifest, Wrong, read

MANIFESTS = sorted(pathlib.Path("tests/manifests/reference").glob("*.yaml"))
# Probe ports that a manifest names and does not declare.
NOT_DECLARED = {"cpu.yaml": {"health"}, "gpu.yaml": set()}
# What Kubernetes gives a pod that does not say.
TERMINATION_GRACE = 30


def serve_in_place(path, server, folder):
    """It starts with nothing but what Kubernetes and the image set, is ready for the probes, serves, and ends in time."""
    manifest = Manifest(path.name, list(yaml.safe_load_all(read(path))), server)
    container = manifest.container
    declared = {port["name"] for port in container["ports"]}
    probes = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe")}
    expect("ports that are not declared", {probe["port"] for probe in probes.values()} - declared, NOT_DECLARED[path.name])
    listened = {manifest.server.variables[name] for name in ("ATTO_WORK_ADDRESS", "ATTO_WORK_MANAGEMENT_ADDRESS")}
    expect("ports", {f"[::]:{port['containerPort']}" for port in container["ports"]}, listened)

    image = container["image"].rsplit(":", 1)[1]
    of_image = re.findall(r"(ATTO_WORK_\w+)=(\w+)", read(f"Dockerfile.{image}"))
    environment = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), *of_image]
    container["env"] = [{"name": name, "value": value} for name, value in environment]
    container["volumeMounts"] = []
    with Running(manifest, folder) as running:
        if not running.wait_until_ready():
            raise Wrong(f"the server ended with {running.process.returncode}: {running.tail()}")
        for kind, probe in probes.items():
            expect(kind, running.get(probe["path"])[0], 200)
        expect("a request", running.post(), 200)
        running.process.send_signal(signal.SIGTERM)
        # While the Service still sends requests here.
        expect("a request after SIGTERM", running.post(), 200)
        try:
            expect("exit", running.process.wait(TERMINATION_GRACE), 0)
        except subprocess.TimeoutExpired:
            raise Wrong("the pod would have been killed") from None
        list(running.lines())
