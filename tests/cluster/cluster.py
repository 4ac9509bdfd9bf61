"""The cluster that kubectl reaches: what is applied to it, waited for and taken away again."""

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time

NAME = "atto-work-server"
IMAGE = f"ghcr.io/attocash/{NAME}"
LABEL = f"app.kubernetes.io/name={NAME}"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
ROOT = pathlib.Path(__file__).resolve().parents[2]
# Why a container waits that can never start.
NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}


class Failed(Exception):
    """The cluster, or the server in it, did otherwise than it should."""


class LeftOut(Exception):
    """This cluster has not what a check needs."""


class Unusable(Exception):
    """Nothing can be checked with this cluster."""


def expect(what, found, wanted):
    if found != wanted:
        raise Failed(f"{what}: {found}, not {wanted}")


def wait_for(what, function, seconds=120):
    """What the function returns once that is true."""
    end = time.monotonic() + seconds
    while True:
        found = function()
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.25)


class Cluster:
    def __init__(self, kubectl, image, cpu):
        self.kubectl = kubectl
        self.image = image
        self.cpu = cpu
        self.namespaces = []

    def run(self, *arguments, stdin=None, seconds=60):
        """The output of a command of kubectl."""
        try:
            done = subprocess.run(
                [*self.kubectl, *arguments], input=stdin, capture_output=True, text=True, timeout=seconds, check=False
            )
        except FileNotFoundError:
            raise Unusable(f"no {self.kubectl[0]}: install it, or name it with --kubectl") from None
        except subprocess.TimeoutExpired:
            raise Failed(f"kubectl {' '.join(arguments)}: no answer within {seconds} s") from None
        if done.returncode:
            raise Failed(f"kubectl {' '.join(arguments)}: {one_line(done.stderr or done.stdout)}")
        self.warnings = [line for line in done.stderr.splitlines() if line.startswith("Warning")]
        return done.stdout

    def get(self, *arguments):
        return json.loads(self.run("get", *arguments, "--output", "json"))

    def require(self):
        """Says in a line why nothing can be checked."""
        try:
            self.run("version", "--request-timeout", "10s", seconds=30)
        except Failed as error:
            raise Unusable(f"no cluster can be reached: {error}") from None
        for verb, kind in (("create", "namespaces"), ("delete", "namespaces"), ("create", "deployments.apps")):
            try:
                self.run("auth", "can-i", verb, kind, "--all-namespaces")
            except Failed:
                raise Unusable(f"this account may not {verb} {kind}, which the checks need") from None

    @contextlib.contextmanager
    def namespace(self, labels=(RESTRICTED,)):
        """A namespace of its own, which is deleted afterwards; `require_clean` waits until it is gone."""
        name = f"atto-work-test-{secrets.token_hex(4)}"
        self.run("create", "namespace", name)
        self.namespaces.append(name)
        try:
            if labels:
                self.run("label", "namespace", name, *labels)
            # The clients are outside of the cluster, which the server's own policy does not allow.
            self.apply(name, everybody_may_connect())
            yield Namespace(self, name)
        finally:
            self.run("delete", "namespace", name, "--wait=false")

    def require_clean(self):
        """Waits until every namespace of this run is gone."""

        def left():
            there = self.run("get", "namespaces", "--output", "name").split()
            return [name for name in self.namespaces if f"namespace/{name}" in there]

        if self.namespaces:
            try:
                wait_for("the end of the namespaces", lambda: not left(), 300)
            except Failed:
                raise Unusable(f"these namespaces are deleted, but not gone: {', '.join(left())}") from None

    @contextlib.contextmanager
    def served(self, **deployment):
        """A namespace with the server in it, ready, and where this machine reaches it."""
        with self.namespace() as namespace:
            namespace.deploy(**deployment)
            yield namespace, namespace.reach()[0]

    def apply(self, namespace, *objects):
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run("apply", "--namespace", namespace, "--filename", "-", stdin=json.dumps(document))

    @contextlib.contextmanager
    def kustomization(self, namespace, path, components=(), patches=(), files=()):
        """A folder with a kustomization of the test's own, over one of k8s/."""
        with tempfile.TemporaryDirectory() as folder:

            def relative(path):
                return os.path.relpath(ROOT / path, pathlib.Path(folder).resolve())

            for file in files:
                # Files must be below the kustomization that names them.
                shutil.copy(file, folder)
            repository, _, tag = self.image.rpartition(":")
            kustomization = {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "namespace": namespace,
                "resources": [relative(path)],
                "components": [relative(component) for component in components],
                "images": [{"name": IMAGE, "newName": repository, "newTag": tag}],
                "patches": [
                    *({"path": pathlib.Path(file).name} for file in files),
                    *({"patch": json.dumps(patch), "target": {"kind": "Deployment", "name": NAME}} for patch in patches),
                ],
            }
            # YAML reads JSON.
            pathlib.Path(folder, "kustomization.yaml").write_text(json.dumps(kustomization))
            yield folder

    def nodes(self):
        return self.get("nodes")["items"]


def everybody_may_connect():
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "everybody-may-connect"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
    }


class Namespace:
    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name

    def run(self, *arguments, **options):
        return self.cluster.run("--namespace", self.name, *arguments, **options)

    def get(self, *arguments):
        return self.cluster.get("--namespace", self.name, *arguments)

    def apply(self, *objects):
        self.cluster.apply(self.name, *objects)

    def deploy(self, replicas=2, cpu=None, memory="128Mi", environment=None, pod=None, components=(), ready=True):
        """The overlay for processors, with less than its four cores. Returns the seconds until all were ready."""
        resources = {"cpu": cpu or self.cluster.cpu, "memory": memory}
        container = {
            "name": "work-server",
            "env": [{"name": name, "value": value} for name, value in (environment or {}).items()],
            "resources": {"requests": {**resources, "cpu": min(resources["cpu"], "200m", key=cores)}, "limits": resources},
        }
        patch = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [container], **(pod or {})}}},
        }
        began = time.monotonic()
        with self.cluster.kustomization(self.name, "k8s/overlays/cpu", components, [patch]) as folder:
            self.run("apply", "--kustomize", folder)
        if ready:
            self.wait_until_rolled_out()
        return time.monotonic() - began

    def wait_until_rolled_out(self, seconds=180):
        def is_complete():
            deployment = self.get("deployment", NAME)
            status, wanted = deployment["status"], deployment["spec"]["replicas"]
            if status.get("observedGeneration") != deployment["metadata"]["generation"]:
                return False
            counts = (status.get(kind, 0) for kind in ("replicas", "updatedReplicas", "readyReplicas"))
            if all(count == wanted for count in counts):
                return True
            self.find_missing_image()
            return False

        wait_for("the rollout", is_complete, seconds)

    def wait_until_replaced(self):
        """Until the old pods of a rollout are gone, too."""
        self.wait_until_rolled_out()
        wanted = self.get("deployment", NAME)["spec"]["replicas"]
        wait_for("the old pods' end", lambda: len(self.get("pods", "--selector", LABEL)["items"]) == wanted)

    def find_missing_image(self):
        for pod in self.pods():
            waiting = container(pod).get("state", {}).get("waiting", {})
            if waiting.get("reason") in NO_IMAGE:
                said = one_line(waiting.get("message", ""))
                raise Unusable(f"the cluster cannot get {self.cluster.image}: {waiting['reason']}: {said}")

    def pods(self):
        """Those that are not being deleted."""
        found = self.get("pods", "--selector", LABEL)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def restarts(self):
        return sum(container(pod).get("restartCount", 0) for pod in self.pods())

    def events(self, reason):
        events = self.get("events")["items"]
        return [event for event in events if event.get("reason") == reason]

    def status(self, pod):
        """What the status page shows, through the API server."""
        path = f"/api/v1/namespaces/{self.name}/pods/{pod['metadata']['name']}:8081/proxy/status.json"
        return json.loads(self.cluster.run("get", "--raw", path))

    def last_end(self, pods=None):
        """How a container of these pods ended last."""
        for pod in self.pods() if pods is None else pods:
            for state in (container(pod).get("lastState", {}), container(pod).get("state", {})):
                if "terminated" in state:
                    return state["terminated"]
        return None

    def reach(self, name="from-outside", selector=None, families=None, policy=None):
        """Makes a Service. Returns where this machine reaches it: (address, port) for each of its families."""
        label, value = LABEL.split("=")
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {
                    "type": "NodePort",
                    "selector": selector or {label: value},
                    "ports": [{"name": "http", "port": 8080, "targetPort": 8080}],
                    **({"ipFamilies": families} if families else {}),
                    **({"ipFamilyPolicy": policy} if policy else {}),
                },
            }
        )
        service = self.get("service", name)["spec"]
        node_port = service["ports"][0]["nodePort"]
        nodes = [
            (address["address"], node_port)
            for node in self.cluster.nodes()
            for address in node["status"]["addresses"]
            if address["type"] in ("InternalIP", "ExternalIP")
        ]
        found = []
        for address in service["clusterIPs"]:
            candidates = [(address, 8080), *(node for node in nodes if is_ipv6(node[0]) == is_ipv6(address))]
            answers = wait_for(f"the Service at {address}", lambda: first_open(candidates), 20)
            found.append(answers)
        return found


def is_ipv6(address):
    return ":" in address


def first_open(candidates):
    for candidate in candidates:
        with contextlib.suppress(OSError), socket.create_connection(candidate, timeout=2):
            return candidate
    return None


def container(pod):
    """The status of the server's container, empty if there is none yet."""
    for status in pod.get("status", {}).get("containerStatuses", []):
        return status
    return {}


def cores(text):
    """Of a quantity such as 500m."""
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()[:400]


def reason(end):
    """The last line of what `kubectl describe pod` shows of a container that has ended."""
    last = (end.get("message", "").strip().splitlines() or [""])[-1]
    try:
        line = json.loads(last)
    except ValueError:
        return one_line(end.get("message", ""))
    return one_line(f"{line.get('message')}: {line.get('error', '')}")
