"""The real server, with the environment of a manifest."""

import contextlib
import copy
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from manifest import Wrong, lies_in, read
from mutations import GONE, in_container, in_pod, put, variable


class Running:
    """The server with the environment of a manifest, at ports of its own."""

    def __init__(self, manifest, folder):
        self.manifest = manifest
        self.folder = pathlib.Path(folder).absolute()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for mount in manifest.container["volumeMounts"]:
            os.makedirs(f"{self.folder}{mount['mountPath']}")
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        for name, value in manifest.environment.items():
            # What the pod's fields are, Kubernetes alone knows: the names of the variables will do.
            value = name.lower() if value is None else re.sub(r"\$\((\w+)\)", lambda put: environment[put[1]], value)
            environment[name] = self.mapped(value)
        keys = environment.get("ATTO_WORK_API_KEYS_FILE")
        self.key = None
        if keys:
            made = subprocess.run(
                [manifest.server.program, "hash-key", "--generate", "test"], capture_output=True, text=True, check=True
            )
            (self.key,) = re.findall(r"\b[0-9a-f]{64}\b", made.stderr)
            pathlib.Path(keys).write_text(read("k8s/components/api-keys/keys.example") + made.stdout)
        for port in ("ATTO_WORK_ADDRESS", "ATTO_WORK_MANAGEMENT_ADDRESS", "ATTO_WORK_NANO_ADDRESS"):
            if port in environment or port != "ATTO_WORK_NANO_ADDRESS":
                environment[port] = "127.0.0.1:0"
        self.log = self.folder / "log"
        # Drivers write here.
        self.errors = self.folder / "errors"
        with self.log.open("wb") as log, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [manifest.server.program], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=errors
            )

    def mapped(self, value):
        """A path in a volume is one in a folder of the test."""
        for mount in self.manifest.container["volumeMounts"]:
            if lies_in(value, mount):
                return f"{self.folder}{value}"
        return value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def tail(self):
        """What `kubectl logs` would end with."""
        return self.log.read_text()[-2000:] + self.errors.read_text()[-2000:]

    def lines(self):
        """What the log has by now, of whole lines."""
        for line in self.log.read_text().split("\n")[:-1]:
            try:
                yield json.loads(line)
            except ValueError:
                raise Wrong(f"a log line that is not JSON: {line}") from None

    def wait_until_ready(self):
        """The addresses of both ports, or nothing if the server has ended."""
        for _ in range(1800):
            ended = self.process.poll() is not None
            for line in self.lines():
                fields = line.get("fields", line)
                if fields.get("message") == "ready":
                    self.public, self.management = fields["address"], fields["management_address"]
                    self.nano = fields.get("nano_address")
                    return True
            if ended:
                return False
            time.sleep(0.1)
        raise Wrong(f"the server neither serves nor ends, see {self.log}")

    def get(self, path):
        return ask(self.management, "GET", path)

    def post(self, key=None):
        body = {"network": "LOCAL", "timestamp": int(time.time() * 1000), "target": "07" * 32}
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        status, text = ask(self.public, "POST", "/works", json.dumps(body), headers)
        if status == 200 and not re.fullmatch(r"[0-9A-F]{16}", json.loads(text)["work"]):
            raise Wrong(f"that is no work: {text}")
        return status

    def generate(self, key=None):
        """An easy work from Nano's port."""
        body = {"action": "work_generate", "hash": "07" * 32, "difficulty": "fff0000000000000", "key": key}
        status, text = ask(self.nano, "POST", "/", json.dumps(body))
        if status == 200 and not re.fullmatch(r"[0-9a-f]{16}", json.loads(text)["work"]):
            raise Wrong(f"that is no work: {text}")
        return status


def ask(address, method, path, body=None, headers=None):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()


def expect(what, found, wanted):
    if found != wanted:
        raise Wrong(f"{what}: {found}, not {wanted}")


def serve(manifest, folder):
    """The server takes the manifest's environment, answers where the manifest asks, and ends in order and in time."""
    with Running(manifest, folder) as running:
        if not running.wait_until_ready():
            raise Wrong(f"the server ended with {running.process.returncode}: {running.tail()}")
        for kind, probe in manifest.probes.items():
            expect(kind, running.get(probe["httpGet"]["path"])[0], 200)
        if running.key:
            expect("a request without a key", running.post(), 401)
        expect("a request", running.post(running.key), 200)
        expect("Nano's port", running.nano is not None, "nano" in manifest.ports)
        if running.nano:
            if running.key:
                expect("a request of Nano without a key", running.generate(), 401)
            expect("a request of Nano", running.generate(running.key), 200)
        for monitor in manifest.of("PodMonitor"):
            status, text = running.get(monitor["spec"]["podMetricsEndpoints"][0]["path"])
            expect("metrics", status, 200)
            there = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
            for place, names in manifest.metric_names():
                # Those of the rules need not have a value on an idle server.
                if not place.startswith("PrometheusRule"):
                    expect(f"{place} asks for {names}; missing", names - there, set())

        running.process.send_signal(signal.SIGTERM)
        readiness = manifest.probes["readinessProbe"]["httpGet"]["path"]
        for _ in range(100):
            if running.get(readiness)[0] == 503:
                break
            time.sleep(0.02)
        else:
            raise Wrong("the server is still ready after SIGTERM")
        expect("liveness after SIGTERM", running.get(manifest.probes["livenessProbe"]["httpGet"]["path"])[0], 200)
        expect("a request within the delay", running.post(running.key), 200)
        try:
            expect("exit", running.process.wait(manifest.pod["terminationGracePeriodSeconds"]), 0)
        except subprocess.TimeoutExpired:
            raise Wrong("the pod would have been killed") from None
        list(running.lines())


def serve_on_a_card(manifest, folder):
    """Without a card, a pod for cards does not serve in software; and with one (lavapipe stands for it) it serves."""
    with Running(manifest, f"{folder}/without-card") as running:
        if running.wait_until_ready():
            if "llvmpipe" in running.log.read_text():
                raise Wrong("it serves in software")
        else:
            expect("exits without a card", running.process.returncode != 0, True)
    with_card = copy.deepcopy(manifest)
    variable("VK_LOADER_DRIVERS_DISABLE", GONE)(with_card)
    serve(with_card, f"{folder}/with-card")


# What is broken, and what the test of the server says then. All on the overlay `cpu` with `monitoring`.
LIVE_MUTATIONS = [
    (variable("ATTO_WORK_SHUTDOWN_DELAY", "5s"), "invalid value '5s'"),
    (variable("ATTO_WORK_LOG_FORMAT", "text"), "a log line that is not JSON"),
    (variable("ATTO_WORK_SHUTDOWN_DELAY", GONE), "the server is still ready|Connection|BadStatus|RemoteDisconnected"),
    (in_pod("terminationGracePeriodSeconds", value=1), "the pod would have been killed"),
    (in_container("startupProbe", "httpGet", "path", value="/healthz"), "startupProbe: 404"),
    (put("PodMonitor", ["spec", "podMetricsEndpoints", 0, "path"], "/metric"), "metrics: 404"),
]


def fails(manifest, mutate, wanted, folder):
    """The test of the server sees what is broken."""
    broken = copy.deepcopy(manifest)
    mutate(broken)
    try:
        serve(broken, folder)
    except (Wrong, OSError, http.client.HTTPException) as error:
        found = f"{type(error).__name__}: {error}"
        if not re.search(wanted, found):
            raise Wrong(f"it fails with {found}, not with {wanted}") from None
        return
    raise Wrong(f"nothing is seen, where {wanted} should be")
