"""A manifest, which is what a kustomization builds, and what the server says of itself."""

import dataclasses
import pathlib
import re
import subprocess

import yaml

NAME = "atto-work-server"
IMAGE = f"ghcr.io/attocash/{NAME}"
NAME_LABEL = "app.kubernetes.io/name"
# The length of the queue in HAProxy.
PROXY_METRIC = "haproxy_backend_current_queue"
# The resource that an image needs, and none for `cpu`.
RESOURCES = {
    "nvidia.com/gpu": "cuda",
    "amd.com/gpu": "rocm",
    "gpu.intel.com/i915": "intel",
    "gpu.intel.com/xe": "intel",
}


class Wrong(Exception):
    """Something is not as it must be."""


def read(path):
    return pathlib.Path(path).read_text()


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Wrong(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


@dataclasses.dataclass
class Server:
    """What the sources and the program say of themselves."""

    program: str
    version: str
    variables: dict  # name to default
    routes: set
    metrics: set
    drain_grace: int  # seconds

    @classmethod
    def of(cls, program):
        help_text = run([program, "serve", "--help"])
        variables = dict(re.findall(r"\[env: (ATTO_WORK_\w+)=[^\]]*\](?:\s+\[default: (.*?)\](?=\s))?", help_text))
        management = sources("src/management")
        metrics = sources("src/telemetry")
        drain_grace = re.search(r"DRAIN_GRACE: Duration = Duration::from_secs\((\d+)\)", read("src/connections/limits.rs"))
        server = cls(
            program=program,
            version=re.search(r'^version = "(.*)"$', read("Cargo.toml"), re.M)[1],
            variables=variables,
            routes=set(re.findall(r'"(/[a-z/]*)"', management)),
            metrics=set(re.findall(r'"(atto_work_\w+)"', metrics)),
            drain_grace=int(drain_grace[1]),
        )
        if len(server.variables) < 10 or len(server.routes) < 4 or len(server.metrics) < 10:
            raise Wrong(f"the server's own facts were not found: {server}")
        return server


def sources(module):
    """The text of a module, be it a file or a folder."""
    return "".join(
        path.read_text()
        for path in sorted(pathlib.Path().glob(f"{module}*/**/*.rs")) + sorted(pathlib.Path().glob(f"{module}.rs"))
    )


@dataclasses.dataclass
class Manifest:
    """What a kustomization builds."""

    name: str
    documents: list
    server: Server

    def of(self, kind):
        """Those that are about the server, not about a proxy before it."""
        return [
            document
            for document in self.all_of(kind)
            if document["metadata"].get("labels", {}).get(NAME_LABEL, NAME) == NAME
        ]

    def all_of(self, kind):
        return [document for document in self.documents if document["kind"] == kind]

    def own(self, kind):
        """Those with the server's name."""
        return [document for document in self.of(kind) if document["metadata"]["name"] == NAME]

    def one(self, kind):
        # The dashboard has a name of its own.
        found = self.own(kind) or self.of(kind)
        if len(found) != 1:
            raise Wrong(f"there are {len(found)} of {kind}, not one")
        return found[0]

    @property
    def proxy(self):
        """The labels of the proxies' pods before the servers, by the name of what they belong to; none without."""
        proxies = {}
        for gateway in self.all_of("Gateway"):
            # Envoy Gateway makes them.
            name = gateway["metadata"]["name"]
            proxies[name] = {"gateway.envoyproxy.io/owning-gateway-name": name}
        for deployment in self.all_of("Deployment"):
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            if deployment["metadata"]["name"] != NAME:
                proxies[deployment["metadata"]["name"]] = labels
        return proxies

    @property
    def deployment(self):
        return self.one("Deployment")["spec"]

    @property
    def pod(self):
        return self.deployment["template"]["spec"]

    @property
    def labels(self):
        return self.deployment["template"]["metadata"]["labels"]

    @property
    def container(self):
        (container,) = self.pod["containers"]
        return container

    @property
    def ports(self):
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def environment(self):
        return {entry["name"]: entry.get("value") for entry in self.container["env"]}

    @property
    def device(self):
        """Which of DEVICES the pod's resources are for."""
        limits = self.container["resources"]["limits"]
        found = [image for resource, image in RESOURCES.items() if resource in limits]
        return found[0] if found else "cpu"

    @property
    def probes(self):
        return {kind: self.container[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}

    def variable(self, name):
        return self.environment.get(name, self.server.variables[name])

    def metric_names(self):
        """Where metrics of this server are asked for, and which."""
        for scaler in self.of("ScaledObject"):
            for trigger in scaler["spec"]["triggers"]:
                if PROXY_METRIC in trigger["metadata"]["query"]:
                    continue
                yield "ScaledObject", metrics_in(trigger["metadata"]["query"])
        for rule in self.of("PrometheusRule"):
            for group in rule["spec"]["groups"]:
                for entry in group["rules"]:
                    yield f"PrometheusRule {entry.get('alert') or entry.get('record')}", metrics_in(entry["expr"])
        if self.of("HorizontalPodAutoscaler"):
            for rule in adapter_rules():
                yield "the adapter's query", metrics_in(rule["metricsQuery"])
                yield "the adapter's series", metrics_in(rule["seriesQuery"])


def lies_in(path, mount):
    """Whether a path is in what is mounted there."""
    return f"{path}/".startswith(f"{mount['mountPath']}/")


def metrics_in(query):
    """The server's own metrics in PromQL; a name with a colon is a recorded one."""
    names = re.findall(r"(?<![:\w])atto_work_\w+(?![\w:])", query)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def adapter_rules():
    return yaml.safe_load(read("k8s/components/autoscale-hpa/prometheus-adapter-values.yaml"))["rules"]["custom"]
