"""Checks the manifests in k8s/. Run by tests/kubernetes, which sets up what this needs.

A check is a function that is given a manifest, which is what one kustomization builds, and says what is wrong with it.
Whether a check can fail at all is tested too: each mutation at the end of the table breaks one thing, which the check that
it names must see.
"""

import argparse
import copy
import dataclasses
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import jsonschema
import kubernetes_validate
import yaml

# What k8s/README.md promises. Every field that is used is stable since the older one.
VERSIONS = ("1.31", "1.37")
DEVICES = ("cpu", "cuda", "rocm", "intel")
# What can be added to any of them, and where it is.
ADDITIONS = {
    "monitoring": "monitoring",
    "autoscale-hpa": "components/autoscale-hpa",
    "autoscale-keda": "components/autoscale-keda",
    "api-keys": "components/api-keys",
}
NAME = "atto-work-server"
IMAGE = f"ghcr.io/attocash/{NAME}"
# The resource that an image needs, and none for `cpu`.
RESOURCES = {
    "nvidia.com/gpu": "cuda",
    "amd.com/gpu": "rocm",
    "gpu.intel.com/i915": "intel",
    "gpu.intel.com/xe": "intel",
}
# Variables of others that the process heeds.
OTHER_VARIABLES = {
    "XDG_CACHE_HOME": "the drivers",
    "VK_LOADER_DRIVERS_DISABLE": "the Vulkan loader",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "OpenTelemetry",
    "RUST_LOG": "tracing-subscriber",
}
# Seconds that the last traces may take to be sent.
LAST_TRACES = 3
MONITORING = {"kubernetes.io/metadata.name": "monitoring"}


class Wrong(Exception):
    """Something is not as it must be."""


# What the server knows


@dataclasses.dataclass
class Server:
    """What the sources and the program say of themselves."""

    program: str
    version: str
    variables: dict  # name to default
    routes: set
    metrics: set
    farewell: int  # seconds

    @classmethod
    def of(cls, program):
        help_text = run([program, "serve", "--help"])
        variables = dict(re.findall(r"\[env: (ATTO_WORK_\w+)=[^\]]*\](?:\s+\[default: ([^\]]*)\])?", help_text))
        management = "".join(
            path.read_text()
            for path in [pathlib.Path("src/management.rs"), *pathlib.Path("src/management").glob("**/*.rs")]
            if path.exists()
        )
        metrics = pathlib.Path("src/telemetry/metrics.rs").read_text()
        farewell = re.search(r"FAREWELL: Duration = Duration::from_secs\((\d+)\)", read("src/connections/mod.rs"))
        server = cls(
            program=program,
            version=re.search(r'^version = "(.*)"$', read("Cargo.toml"), re.M)[1],
            variables=variables,
            routes=set(re.findall(r'"(/[a-z/]*)"', management)),
            metrics=set(re.findall(r'"(atto_work_\w+)"', metrics)),
            farewell=int(farewell[1]),
        )
        if len(server.variables) < 10 or len(server.routes) < 4 or len(server.metrics) < 10:
            raise Wrong(f"the server's own facts were not found: {server}")
        return server


# Manifests


@dataclasses.dataclass
class Manifest:
    """What a kustomization builds."""

    name: str
    documents: list
    server: Server

    def of(self, kind):
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind):
        found = self.of(kind)
        if len(found) != 1:
            raise Wrong(f"there are {len(found)} of {kind}, not one")
        return found[0]

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
                yield "ScaledObject", metrics_in(trigger["metadata"]["query"])
        for rule in self.of("PrometheusRule"):
            for group in rule["spec"]["groups"]:
                for entry in group["rules"]:
                    yield f"PrometheusRule {entry.get('alert') or entry.get('record')}", metrics_in(entry["expr"])
        if self.of("HorizontalPodAutoscaler"):
            rule = adapter_rule()
            yield "the adapter's query", metrics_in(rule["metricsQuery"])
            yield "the adapter's series", metrics_in(rule["seriesQuery"])


def metrics_in(query):
    """The server's own metrics in PromQL; a name with a colon is a recorded one."""
    names = re.findall(r"(?<![:\w])atto_work_\w+(?![\w:])", query)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def adapter_rule():
    (rule,) = yaml.safe_load(read("k8s/components/autoscale-hpa/prometheus-adapter-values.yaml"))["rules"]["custom"]
    return rule


# Checks


CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


def an_object(required, optional=None):
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }


def a_list_of(items):
    return {"type": "array", "items": items, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 1}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}
# The parts in use of custom resources, by the documentation of the Prometheus operator and of KEDA.
CUSTOM = {
    "PodMonitor": (
        "monitoring.coreos.com/v1",
        an_object(
            {
                "selector": an_object({"matchLabels": TEXTS}),
                "podMetricsEndpoints": a_list_of(an_object({"port": TEXT, "path": TEXT}, {"interval": DURATION})),
            }
        ),
    ),
    "PrometheusRule": (
        "monitoring.coreos.com/v1",
        an_object(
            {
                "groups": a_list_of(
                    an_object(
                        {
                            "name": TEXT,
                            "rules": a_list_of(
                                {
                                    "oneOf": [
                                        an_object({"record": TEXT, "expr": TEXT}, {"labels": TEXTS}),
                                        an_object(
                                            {"alert": TEXT, "expr": TEXT},
                                            {
                                                "for": DURATION,
                                                "keep_firing_for": DURATION,
                                                "labels": TEXTS,
                                                "annotations": TEXTS,
                                            },
                                        ),
                                    ]
                                }
                            ),
                        },
                        {"interval": DURATION},
                    )
                )
            }
        ),
    ),
    "ScaledObject": (
        "keda.sh/v1alpha1",
        an_object(
            {
                "scaleTargetRef": an_object({"name": TEXT}, {"kind": TEXT, "apiVersion": TEXT}),
                "minReplicaCount": COUNT,
                "maxReplicaCount": COUNT,
                "triggers": a_list_of(
                    an_object(
                        {
                            "type": {"const": "prometheus"},
                            "metricType": {"enum": ["AverageValue", "Value"]},
                            # Its values are all strings.
                            "metadata": an_object(
                                {"serverAddress": TEXT, "query": TEXT, "threshold": TEXT},
                                {"activationThreshold": TEXT, "ignoreNullValues": {"enum": ["true", "false"]}},
                            ),
                        }
                    )
                ),
                "fallback": an_object(
                    {
                        "failureThreshold": COUNT,
                        "replicas": COUNT,
                        "behavior": {
                            "enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]
                        },
                    }
                ),
            },
            {
                "pollingInterval": COUNT,
                # The behaviour is checked to be the HorizontalPodAutoscaler's, which has a schema.
                "advanced": an_object(
                    {"horizontalPodAutoscalerConfig": an_object({"behavior": {"type": "object"}})},
                ),
            },
        ),
    ),
}


@check
def schemas(manifest):
    """Every document is what the oldest and the newest version of Kubernetes take, without a field too many."""
    for document in manifest.documents:
        kind = document["kind"]
        if kind in CUSTOM:
            version, schema = CUSTOM[kind]
            if document["apiVersion"] != version:
                yield f"{kind}: {document['apiVersion']} is not {version}"
            for error in jsonschema.Draft202012Validator(schema).iter_errors(document["spec"]):
                yield f"{kind}: {error.json_path}: {error.message}"
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{kind}, Kubernetes {version}: {error.json_path}: {error.message}"
            except kubernetes_validate.SchemaNotFoundError as error:
                yield error.message


@check
def parts(manifest):
    """What every deployment has."""
    for kind in ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"):
        if len(manifest.of(kind)) != 1:
            yield f"there are {len(manifest.of(kind))} of {kind}"
    names = [(document["kind"], document["metadata"]["name"]) for document in manifest.documents]
    yield from (f"{name} is there twice" for name in set(names) if names.count(name) > 1)
    namespaces = {document["metadata"].get("namespace") for document in manifest.documents}
    if len(namespaces) > 1:
        yield f"there are several namespaces: {namespaces}"
    yield from (f"{kind} {name} is not named {NAME}" for kind, name in names if not name.startswith(NAME))


@check
def selectors(manifest):
    """Every selector finds the pods."""

    def of(kind, *path):
        for document in manifest.of(kind):
            selector = document["spec"]
            for step in path:
                selector = selector[step]
            yield kind, selector

    wanted = [
        *of("Deployment", "selector", "matchLabels"),
        *of("Service", "selector"),
        *of("PodDisruptionBudget", "selector", "matchLabels"),
        *of("NetworkPolicy", "podSelector", "matchLabels"),
        *of("PodMonitor", "selector", "matchLabels"),
    ]
    for constraint in manifest.pod["topologySpreadConstraints"]:
        wanted.append(("topologySpreadConstraints", constraint["labelSelector"]["matchLabels"]))
    for kind, selector in wanted:
        if not selector or not selector.items() <= manifest.labels.items():
            yield f"{kind} selects {selector}, and pods have {manifest.labels}"


@check
def ports(manifest):
    """Every port that something refers to is there, under that name, and is one that the server listens at."""
    for name, variable in (("http", "ATTO_WORK_ADDRESS"), ("management", "ATTO_WORK_MANAGEMENT_ADDRESS")):
        address = manifest.variable(variable)
        if address != f"0.0.0.0:{manifest.ports.get(name)}":
            yield f"the port {name} is {manifest.ports.get(name)}, and {variable} is {address}"
    for port in manifest.one("Service")["spec"]["ports"]:
        if port["targetPort"] not in manifest.ports:
            yield f"the Service's port {port['targetPort']} is none of the pod"
        elif port["port"] != manifest.ports[port["targetPort"]]:
            yield f"the Service has another number for {port['targetPort']}"
    for kind, probe in manifest.probes.items():
        if probe["httpGet"]["port"] != "management":
            yield f"{kind} asks at {probe['httpGet']['port']}, not by name at the management port"
    for monitor in manifest.of("PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint["port"] not in manifest.ports:
                yield f"PodMonitor asks at {endpoint['port']}, which is no port of the pod"
    for rule in manifest.one("NetworkPolicy")["spec"]["ingress"]:
        for port in rule.get("ports", []):
            if port["port"] not in manifest.ports.values():
                yield f"NetworkPolicy lets in at {port['port']}, which is no port of the pod"


@check
def probes(manifest):
    """Every probe asks what it means to, at a path that is served, and startup is given its time."""
    routes = manifest.server.routes
    for kind, path in (
        # Not liveness, which is UP while the devices are opened.
        ("startupProbe", "/health/readiness"),
        ("livenessProbe", "/health/liveness"),
        ("readinessProbe", "/health/readiness"),
    ):
        asked = manifest.probes[kind]["httpGet"]["path"]
        if asked != path or asked not in routes:
            yield f"{kind} asks for {asked}, not for {path}"
    for monitor in manifest.of("PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint["path"] not in routes:
                yield f"PodMonitor asks for {endpoint['path']}"

    def seconds(kind):
        return manifest.probes[kind]["periodSeconds"] * manifest.probes[kind]["failureThreshold"]

    if seconds("startupProbe") < 180:
        yield "startup has less time than with the reference server"
    if seconds("livenessProbe") < 30:
        yield "liveness leaves the server no time to open a card anew by itself"
    if seconds("readinessProbe") >= seconds("livenessProbe"):
        yield "a pod that serves nobody is restarted before it is left alone"


@check
def environment(manifest):
    """Every variable is one that somebody reads, and there once."""
    names = [entry["name"] for entry in manifest.container["env"]]
    for name in names:
        if name not in manifest.server.variables and name not in OTHER_VARIABLES:
            yield f"nobody reads {name}"
        if names.count(name) > 1:
            yield f"{name} is there twice"
    if manifest.environment.get("ATTO_WORK_LOG_FORMAT") != "json":
        yield "the log is not JSON"
    if manifest.pod.get("enableServiceLinks") is not False:
        yield "variables of Services would be among the server's own"


@check
def device(manifest):
    """The backend, the image and the resources mean the same device."""
    backend = "cpu" if manifest.device == "cpu" else "gpu"
    if manifest.environment.get("ATTO_WORK_BACKEND") != backend:
        yield f"the backend is not {backend}"
    image = f"{IMAGE}:{manifest.server.version}-{manifest.device}"
    if manifest.container["image"] != image:
        yield f"the image is {manifest.container['image']}, not {image}"
    resources = manifest.container["resources"]
    extended = {name: count for name, count in resources["limits"].items() if "/" in name}
    if list(extended.values()) != ([] if manifest.device == "cpu" else [1]) or not extended.keys() <= RESOURCES.keys():
        yield f"the cards are {extended}"
    tolerated = {toleration["key"] for toleration in manifest.pod.get("tolerations", [])}
    if tolerated != extended.keys():
        yield f"the pod tolerates {tolerated} and needs {set(extended)}"
    # In software only where nobody asked for a card.
    if backend == "gpu" and manifest.environment.get("VK_LOADER_DRIVERS_DISABLE") != "lvp_icd*":
        yield "a card may be software"
    for kind in ("cpu", "memory"):
        if resources["requests"].get(kind) != resources["limits"].get(kind) or not resources["limits"].get(kind):
            yield f"{kind}: the request is not the limit"
    if not str(resources["limits"].get("cpu")).isdigit():
        yield "the limit is not a number of whole cores"


@check
def rollout(manifest):
    """A rollout needs no card beyond those in use, and leaves a pod that serves; where cores will do, two."""
    strategy = manifest.deployment["strategy"]
    surge, unavailable = (strategy["rollingUpdate"][name] for name in ("maxSurge", "maxUnavailable"))
    if strategy["type"] != "RollingUpdate" or (surge, unavailable) != ((1, 0) if manifest.device == "cpu" else (0, 1)):
        yield f"surge {surge}, unavailable {unavailable}"


@check
def end(manifest):
    """The pod is not killed before it has ended in order."""
    delay = float(manifest.variable("ATTO_WORK_SHUTDOWN_DELAY"))
    grace = float(manifest.variable("ATTO_WORK_SHUTDOWN_GRACE"))
    if delay < 5:
        yield f"a delay of {delay} s is too short for the endpoints to change"
    # For clients that do not read, then for devices to leave their searches.
    longest = delay + grace + 2 * manifest.server.farewell + LAST_TRACES
    given = manifest.pod["terminationGracePeriodSeconds"]
    if given <= longest:
        yield f"the end may take {longest} s and is given {given} s"
    if "lifecycle" in manifest.container:
        yield "a hook, which the image has no program for"


@check
def restricted(manifest):
    """The restricted profile of the Pod Security Standards, and a root file system that cannot be written to."""
    pod, container = manifest.pod, manifest.container
    if len(pod["containers"]) != 1 or pod.get("initContainers"):
        yield "there are other containers"
    for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        if name in pod:
            yield f"{name} is set"
    security = pod.get("securityContext", {})
    inner = container.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser") or not security.get("runAsGroup"):
        yield "it may run as root"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "the seccomp profile is not RuntimeDefault"
    if inner.get("allowPrivilegeEscalation") is not False:
        yield "it may gain privileges"
    if inner.get("capabilities") != {"drop": ["ALL"]}:
        yield "it keeps capabilities"
    if inner.get("readOnlyRootFilesystem") is not True:
        yield "its root file system can be written to"
    allowed = {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"}
    yield from (f"the container sets {name}" for name in inner.keys() - allowed)
    for volume in pod["volumes"]:
        kinds = volume.keys() - {"name"}
        if not kinds <= {"emptyDir", "secret"}:
            yield f"a volume of the kind {kinds}"
    for port in container["ports"]:
        if "hostPort" in port:
            yield "a port of the node"


@check
def user(manifest):
    """The pod's user is the image's."""
    dockerfile = pathlib.Path(f"Dockerfile.{manifest.device}")
    if not dockerfile.exists():
        return
    users = re.findall(r"^USER\s+(\S+)", dockerfile.read_text(), re.M)
    security = manifest.pod["securityContext"]
    mine = f"{security['runAsUser']}:{security['runAsGroup']}"
    if users[-1:] != [mine]:
        yield f"the pod runs as {mine}, and {dockerfile} has {users}"


@check
def account(manifest):
    """The account exists, and no token is mounted."""
    name = manifest.one("ServiceAccount")["metadata"]["name"]
    if manifest.pod.get("serviceAccountName") != name:
        yield f"the pod's account is not {name}"
    if manifest.one("ServiceAccount").get("automountServiceAccountToken") is not False:
        yield "the account's token is mounted"
    if manifest.pod.get("automountServiceAccountToken") is not False:
        yield "the pod mounts its token"


@check
def volumes(manifest):
    """Volumes are mounted and mounts have a volume; whatever path a variable names is in one."""
    available = {volume["name"]: volume for volume in manifest.pod["volumes"]}
    mounts = manifest.container["volumeMounts"]
    if sorted(mount["name"] for mount in mounts) != sorted(available):
        yield f"volumes are {sorted(available)}, and mounts are {[mount['name'] for mount in mounts]}"
    if any("subPath" in mount for mount in mounts):
        yield "a file that is mounted by subPath is never renewed"
    for name, value in manifest.environment.items():
        if value and value.startswith("/") and not any(value.startswith(mount["mountPath"] + "/") for mount in mounts):
            yield f"{name} is {value}, which is in no volume"
    for volume in available.values():
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"the volume {volume['name']} has no limit"


@check
def api_keys(manifest):
    """The file of keys is the one of the Secret that the documentation makes, and readable for the server alone."""
    path = manifest.environment.get("ATTO_WORK_API_KEYS_FILE")
    secrets = [volume for volume in manifest.pod["volumes"] if "secret" in volume]
    if path is None:
        if secrets:
            yield "a Secret that nobody reads"
        return
    made = set(re.findall(r"kubectl create secret generic (\S+) --from-file=(\S+)", read("k8s/components/api-keys/kustomization.yaml")))
    for volume in secrets:
        (mount,) = [mount for mount in manifest.container["volumeMounts"] if mount["name"] == volume["name"]]
        folder, key = path.rsplit("/", 1)
        if mount["mountPath"] != folder:
            yield f"the Secret is mounted at {mount['mountPath']}, and the server reads {path}"
        if made != {(volume["secret"]["secretName"], key)}:
            yield f"the Secret {volume['secret']['secretName']} with {key} is not the one that is made: {made}"
        if volume["secret"].get("defaultMode") != 0o440 or manifest.pod["securityContext"].get("fsGroup") != 65532:
            yield "the file of keys is not readable for the server's group, and nobody else"
        if volume["secret"].get("optional"):
            yield "without the Secret, nobody would need a key"
    if not secrets:
        yield "the file of keys comes from nowhere"


@check
def disruption(manifest):
    """Nodes can be drained, one pod at a time."""
    spec = manifest.one("PodDisruptionBudget")["spec"]
    if spec.get("maxUnavailable") != 1 or spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
        yield f"the budget is {spec}"


@check
def network(manifest):
    """In come clients of the cluster and scrapers, out go names and traces, and nothing else."""
    spec = manifest.one("NetworkPolicy")["spec"]
    if sorted(spec["policyTypes"]) != ["Egress", "Ingress"]:
        yield "it is not both ways"
    text = json.dumps(spec)
    if "ipBlock" in text:
        yield "addresses from outside the cluster"
    opened = {}
    for rule in spec["ingress"]:
        for port in rule.get("ports", [{"port": "any"}]):
            opened.setdefault(port["port"], []).extend(rule.get("from", ["anywhere"]))
    wanted = {8080: [{"namespaceSelector": {}}], 8081: [{"namespaceSelector": {"matchLabels": MONITORING}}]}
    if opened != wanted:
        yield f"open are {opened}"
    left = {}
    for rule in spec["egress"]:
        for port in rule.get("ports", [{"port": "any"}]):
            left.setdefault(port["port"], []).append(rule.get("to", "anywhere"))
    traces = [[{"namespaceSelector": {"matchLabels": MONITORING}}]]
    if left != {53: ["anywhere", "anywhere"], 4317: traces, 4318: traces}:
        yield f"what may go out is {left}"


@check
def service(manifest):
    """The Service is for the cluster only, and has the clients' port alone."""
    spec = manifest.one("Service")["spec"]
    if spec.get("type") != "ClusterIP":
        yield f"the Service is a {spec.get('type')}"
    if [port["name"] for port in spec["ports"]] != ["http"] or any("nodePort" in port for port in spec["ports"]):
        yield f"the Service has {spec['ports']}"


@check
def scaling(manifest):
    """An autoscaler finds the Deployment and its metric, and is alone in saying how many pods there are."""
    autoscalers = manifest.of("HorizontalPodAutoscaler") + manifest.of("ScaledObject")
    if len(autoscalers) > 1:
        yield "there are two autoscalers"
    if autoscalers and "replicas" in manifest.deployment:
        yield "each apply would undo what the autoscaler did"
    if not autoscalers and manifest.deployment.get("replicas", 1) < 2:
        yield "one pod alone"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": manifest.one("Deployment")["metadata"]["name"]}
    for autoscaler in autoscalers:
        spec = autoscaler["spec"]
        # What KEDA leaves out is a Deployment.
        if {**target, **spec["scaleTargetRef"]} != target:
            yield f"the autoscaler's target is {spec['scaleTargetRef']}"
        least, most = (spec.get(f"{bound}Replica{suffix}") for bound in ("min", "max") for suffix in ("s", "Count") if f"{bound}Replica{suffix}" in spec)
        if not 2 <= least < most:
            yield f"from {least} to {most} pods"
        if not manifest.of("PodMonitor") and not manifest.name.endswith("without PodMonitor"):
            yield "nobody scrapes the metric that the autoscaler needs"
    for autoscaler in manifest.of("HorizontalPodAutoscaler"):
        rule = adapter_rule()
        for metric in autoscaler["spec"]["metrics"]:
            if metric["type"] != "Pods" or metric["pods"]["metric"]["name"] != rule["name"]["as"]:
                yield f"the metric {metric} is none of the adapter's"
    for scaler in manifest.of("ScaledObject"):
        namespace = scaler["metadata"].get("namespace")
        for trigger in scaler["spec"]["triggers"]:
            asked = set(re.findall(r'namespace="([^"]*)"', trigger["metadata"]["query"]))
            if asked != {namespace}:
                yield f"the scaler asks for {asked} and is in {namespace}"
        if scaler["spec"]["fallback"]["replicas"] < scaler["spec"]["minReplicaCount"]:
            yield "without Prometheus there are fewer pods than without load"


@check
def metrics(manifest):
    """Every metric that is asked for is one that the server has."""
    for place, names in manifest.metric_names():
        yield from (f"{place}: there is no {name}" for name in sorted(names - manifest.server.metrics))
        if not names and not place.startswith("PrometheusRule"):
            yield f"{place} asks for no metric of the server"


# Mutations


GONE = object()


def put(kind, path, value):
    """A mutation that sets what is at `path` in the document of this kind, or takes it away."""

    def mutate(manifest):
        node = manifest.one(kind)
        *steps, last = path
        for step in steps:
            node = node[step]
        if value is GONE:
            del node[last]
        elif isinstance(last, int) and isinstance(node, list) and last == len(node):
            node.append(value)
        else:
            if isinstance(node, list) or last in node:
                if node[last] == value:
                    raise Wrong(f"{kind} {path} is {value} already")
            node[last] = value

    return mutate


POD = ["spec", "template", "spec"]
CONTAINER = [*POD, "containers", 0]


def in_pod(*path, value):
    return put("Deployment", [*POD, *path], value)


def in_container(*path, value):
    return put("Deployment", [*CONTAINER, *path], value)


def variable(name, value):
    """A mutation that sets a variable, or takes it away."""

    def mutate(manifest):
        entries = manifest.container["env"]
        before = len(entries)
        entries[:] = [entry for entry in entries if entry["name"] != name]
        if value is GONE:
            if len(entries) == before:
                raise Wrong(f"{name} is not there")
        else:
            entries.append({"name": name, "value": value})

    return mutate


def twice(kind):
    def mutate(manifest):
        manifest.documents.append(copy.deepcopy(manifest.one(kind)))

    return mutate


def without(kind):
    def mutate(manifest):
        manifest.documents.remove(manifest.one(kind))

    return mutate


def rename_variable(name, wrong):
    def mutate(manifest):
        (entry,) = [entry for entry in manifest.container["env"] if entry["name"] == name]
        entry["name"] = wrong

    return mutate


def stray_namespace(manifest):
    manifest.one("Service")["metadata"]["namespace"] = "elsewhere"


# The check that must see it, the overlay, what is broken.
MUTATIONS = [
    ("schemas", "cpu", in_container("readinessProbe", "timeoutSecond", value=3)),
    ("schemas", "cpu", in_pod("terminationGracePeriodSeconds", value="45")),
    ("schemas", "cpu", put("Deployment", ["apiVersion"], "apps/v1beta1")),
    ("schemas", "cpu", put("PodDisruptionBudget", ["spec", "unhealthyPodEviction"], "AlwaysAllow")),
    # A field that only the newer version knows, and one that nobody knows.
    ("schemas", "cpu", put("Deployment", ["spec", "template", "spec", "hostnameOverride"], "name")),
    ("schemas", "monitoring", put("PodMonitor", ["spec", "podMetricsEndpoint"], [])),
    ("schemas", "monitoring", put("PodMonitor", ["spec", "podMetricsEndpoints", 0, "interval"], 15)),
    ("schemas", "monitoring", put("PodMonitor", ["apiVersion"], "monitoring.coreos.com/v1alpha1")),
    ("schemas", "autoscale-keda", put("ScaledObject", ["spec", "triggers", 0, "metadata", "threshold"], 2)),
    ("schemas", "autoscale-keda", put("ScaledObject", ["spec", "fallback", "behavior"], "keep")),
    ("schemas", "autoscale-hpa", put("HorizontalPodAutoscaler", ["spec", "metrics", 0, "pods", "target", "type"], GONE)),
    ("parts", "cpu", without("PodDisruptionBudget")),
    ("parts", "cpu", twice("NetworkPolicy")),
    ("parts", "cpu", stray_namespace),
    ("selectors", "cpu", put("Service", ["spec", "selector"], {"app": NAME})),
    ("selectors", "cpu", put("PodDisruptionBudget", ["spec", "selector", "matchLabels"], {})),
    ("selectors", "cpu", put("NetworkPolicy", ["spec", "podSelector", "matchLabels"], {"app.kubernetes.io/name": "x"})),
    ("selectors", "cpu", put("Deployment", ["spec", "template", "metadata", "labels"], {"app": NAME})),
    ("selectors", "cpu", in_pod("topologySpreadConstraints", 1, "labelSelector", "matchLabels", value={"app": NAME})),
    ("selectors", "monitoring", put("PodMonitor", ["spec", "selector", "matchLabels"], {"app": NAME})),
    ("ports", "cpu", put("Service", ["spec", "ports", 0, "targetPort"], "web")),
    ("ports", "cpu", put("Service", ["spec", "ports", 0, "port"], 80)),
    ("ports", "cpu", in_container("ports", 1, "name", value="admin")),
    ("ports", "cpu", in_container("ports", 1, "containerPort", value=9090)),
    ("ports", "cpu", variable("ATTO_WORK_ADDRESS", "0.0.0.0:9000")),
    ("ports", "cpu", in_container("livenessProbe", "httpGet", "port", value="http")),
    ("ports", "cpu", put("NetworkPolicy", ["spec", "ingress", 0, "ports", 0, "port"], 80)),
    ("ports", "monitoring", put("PodMonitor", ["spec", "podMetricsEndpoints", 0, "port"], "metrics")),
    ("probes", "cpu", in_container("startupProbe", "httpGet", "path", value="/health/liveness")),
    ("probes", "cpu", in_container("livenessProbe", "httpGet", "path", value="/health/live")),
    ("probes", "cpu", in_container("readinessProbe", "httpGet", "path", value="/health")),
    ("probes", "cpu", in_container("startupProbe", "failureThreshold", value=30)),
    ("probes", "cpu", in_container("livenessProbe", "failureThreshold", value=1)),
    ("probes", "cpu", in_container("readinessProbe", "periodSeconds", value=20)),
    ("probes", "monitoring", put("PodMonitor", ["spec", "podMetricsEndpoints", 0, "path"], "/prometheu")),
    ("environment", "cpu", rename_variable("ATTO_WORK_SHUTDOWN_DELAY", "ATTO_WORK_SHUTDOWN_DELAYS")),
    ("environment", "cpu", rename_variable("XDG_CACHE_HOME", "XDG_CACHE_DIR")),
    ("environment", "cpu", in_container("env", 0, value={"name": "XDG_CACHE_HOME", "value": "/tmp"})),
    ("environment", "cpu", variable("ATTO_WORK_LOG_FORMAT", GONE)),
    ("environment", "cpu", in_pod("enableServiceLinks", value=GONE)),
    ("device", "cpu", variable("ATTO_WORK_BACKEND", "auto")),
    ("device", "cuda", variable("ATTO_WORK_BACKEND", "cpu")),
    ("device", "rocm", variable("VK_LOADER_DRIVERS_DISABLE", GONE)),
    ("device", "rocm", in_container("image", value=f"{IMAGE}:0.1.0-cuda")),
    ("device", "rocm", in_container("image", value=IMAGE)),
    ("device", "intel", in_container("resources", "limits", "gpu.intel.com/i915", value=2)),
    ("device", "cuda", in_container("resources", "limits", "nvidia.com/gpu", value=GONE)),
    ("device", "cuda", in_container("resources", "limits", "amd.com/gpu", value=1)),
    ("device", "cuda", in_pod("tolerations", value=GONE)),
    ("device", "cpu", in_container("resources", "requests", "cpu", value="1")),
    ("device", "cpu", in_container("resources", "limits", "memory", value=GONE)),
    ("rollout", "cuda", put("Deployment", ["spec", "strategy", "rollingUpdate", "maxSurge"], 1)),
    ("rollout", "rocm", put("Deployment", ["spec", "strategy", "rollingUpdate", "maxUnavailable"], 0)),
    ("rollout", "cpu", put("Deployment", ["spec", "strategy", "rollingUpdate", "maxUnavailable"], 1)),
    ("rollout", "cpu", put("Deployment", ["spec", "strategy", "type"], "Recreate")),
    ("end", "cpu", in_pod("terminationGracePeriodSeconds", value=35)),
    ("end", "cpu", variable("ATTO_WORK_SHUTDOWN_GRACE", "60")),
    ("end", "cpu", variable("ATTO_WORK_SHUTDOWN_DELAY", GONE)),
    ("end", "cpu", in_container("lifecycle", value={"preStop": {"exec": {"command": ["sleep", "5"]}}})),
    ("restricted", "cpu", in_pod("hostNetwork", value=True)),
    ("restricted", "cpu", in_pod("initContainers", value=[{"name": "x", "image": "x"}])),
    ("restricted", "cpu", in_pod("securityContext", "runAsNonRoot", value=GONE)),
    ("restricted", "cpu", in_pod("securityContext", "runAsUser", value=0)),
    ("restricted", "cpu", in_pod("securityContext", "seccompProfile", "type", value="Unconfined")),
    ("restricted", "cpu", in_container("securityContext", "allowPrivilegeEscalation", value=True)),
    ("restricted", "cpu", in_container("securityContext", "capabilities", value={"drop": ["NET_RAW"]})),
    ("restricted", "cpu", in_container("securityContext", "capabilities", "add", value=["SYS_ADMIN"])),
    ("restricted", "cpu", in_container("securityContext", "readOnlyRootFilesystem", value=False)),
    ("restricted", "cpu", in_container("securityContext", "privileged", value=True)),
    ("restricted", "rocm", in_pod("volumes", 0, value={"name": "tmp", "hostPath": {"path": "/dev/dri"}})),
    ("restricted", "cpu", in_container("ports", 0, "hostPort", value=8080)),
    ("user", "cpu", in_pod("securityContext", "runAsUser", value=1000)),
    ("account", "cpu", in_pod("serviceAccountName", value="default")),
    ("account", "cpu", in_pod("automountServiceAccountToken", value=True)),
    ("account", "cpu", put("ServiceAccount", ["automountServiceAccountToken"], GONE)),
    ("volumes", "cpu", variable("XDG_CACHE_HOME", "/var/cache")),
    ("volumes", "cpu", in_container("volumeMounts", 0, "name", value="cache")),
    ("volumes", "cpu", in_pod("volumes", 1, value={"name": "unused", "emptyDir": {"sizeLimit": "1Mi"}})),
    ("volumes", "cpu", in_pod("volumes", 0, "emptyDir", value={})),
    ("volumes", "api-keys", in_container("volumeMounts", 0, "subPath", value="keys")),
    ("api_keys", "api-keys", variable("ATTO_WORK_API_KEYS_FILE", GONE)),
    ("api_keys", "api-keys", variable("ATTO_WORK_API_KEYS_FILE", "/etc/atto-work-server/api-keys/tokens")),
    ("api_keys", "api-keys", variable("ATTO_WORK_API_KEYS_FILE", "/etc/atto-work-server/keys")),
    ("api_keys", "api-keys", in_pod("volumes", 0, "secret", "secretName", value="keys")),
    ("api_keys", "api-keys", in_pod("volumes", 0, "secret", "optional", value=True)),
    ("api_keys", "api-keys", in_pod("volumes", 0, "secret", "defaultMode", value=0o444)),
    ("api_keys", "api-keys", in_pod("securityContext", "fsGroup", value=GONE)),
    ("disruption", "cpu", put("PodDisruptionBudget", ["spec", "maxUnavailable"], 0)),
    ("disruption", "cpu", put("PodDisruptionBudget", ["spec", "unhealthyPodEvictionPolicy"], GONE)),
    ("network", "cpu", put("NetworkPolicy", ["spec", "policyTypes"], ["Ingress"])),
    ("network", "cpu", put("NetworkPolicy", ["spec", "ingress", 0, "from"], GONE)),
    ("network", "cpu", put("NetworkPolicy", ["spec", "ingress", 0, "ports"], GONE)),
    ("network", "cpu", put("NetworkPolicy", ["spec", "ingress", 1, "from", 0], {"namespaceSelector": {}})),
    ("network", "cpu", put("NetworkPolicy", ["spec", "ingress", 0, "from", 0], {"ipBlock": {"cidr": "0.0.0.0/0"}})),
    ("network", "cpu", put("NetworkPolicy", ["spec", "egress", 1, "to"], GONE)),
    ("network", "cpu", put("NetworkPolicy", ["spec", "egress", 0, "ports", 1, "port"], 443)),
    ("service", "cpu", put("Service", ["spec", "type"], "LoadBalancer")),
    ("service", "cpu", put("Service", ["spec", "ports", 1], {"name": "management", "port": 8081})),
    ("scaling", "cpu", put("Deployment", ["spec", "replicas"], 1)),
    ("scaling", "autoscale-hpa", put("Deployment", ["spec", "replicas"], 2)),
    ("scaling", "autoscale-hpa", put("HorizontalPodAutoscaler", ["spec", "scaleTargetRef", "name"], "work-server")),
    ("scaling", "autoscale-hpa", put("HorizontalPodAutoscaler", ["spec", "scaleTargetRef", "kind"], "StatefulSet")),
    ("scaling", "autoscale-hpa", put("HorizontalPodAutoscaler", ["spec", "minReplicas"], 1)),
    ("scaling", "autoscale-hpa", put("HorizontalPodAutoscaler", ["spec", "metrics", 0, "pods", "metric", "name"], "x")),
    ("scaling", "autoscale-hpa", twice("HorizontalPodAutoscaler")),
    ("scaling", "autoscale-hpa", without("PodMonitor")),
    ("scaling", "autoscale-keda", put("ScaledObject", ["spec", "scaleTargetRef", "name"], "work-server")),
    ("scaling", "autoscale-keda", put("ScaledObject", ["spec", "minReplicaCount"], 0)),
    ("scaling", "autoscale-keda", put("ScaledObject", ["spec", "fallback", "replicas"], 1)),
    ("scaling", "autoscale-keda", put("ScaledObject", ["metadata", "namespace"], "other")),
    ("metrics", "autoscale-keda", put("ScaledObject", ["spec", "triggers", 0, "metadata", "query"], "atto_work_load")),
    ("metrics", "autoscale-keda", put("ScaledObject", ["spec", "triggers", 0, "metadata", "query"], "up")),
]


# The real server


class Running:
    """The server with the environment of a manifest, at ports of its own."""

    def __init__(self, manifest, folder):
        self.manifest = manifest
        self.folder = pathlib.Path(folder).absolute()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        for name, value in manifest.environment.items():
            environment[name] = self.mapped(value)
        keys = environment.get("ATTO_WORK_API_KEYS_FILE")
        self.key = None
        if keys:
            pathlib.Path(keys).parent.mkdir(parents=True)
            made = subprocess.run(
                [manifest.server.program, "hash-key", "--generate", "test"], capture_output=True, text=True, check=True
            )
            (self.key,) = re.findall(r"\b[0-9a-f]{64}\b", made.stderr)
            pathlib.Path(keys).write_text(read("k8s/components/api-keys/keys.example") + made.stdout)
        environment["ATTO_WORK_ADDRESS"] = environment["ATTO_WORK_MANAGEMENT_ADDRESS"] = "127.0.0.1:0"
        self.log = self.folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([manifest.server.program], env=environment, stdin=subprocess.DEVNULL, stderr=log)

    def mapped(self, value):
        """A path in a volume is one in a folder of the test."""
        for mount in self.manifest.container["volumeMounts"]:
            if value.startswith(mount["mountPath"] + "/"):
                return f"{self.folder}{value}"
        return value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def lines(self):
        for line in self.log.read_text().splitlines():
            # Mesa's own, about windows.
            if "XDG_RUNTIME_DIR" in line:
                continue
            try:
                yield json.loads(line)
            except ValueError:
                raise Wrong(f"a log line that is not JSON: {line}") from None

    def wait_until_ready(self):
        """The addresses of both ports, or nothing if the server has ended."""
        for _ in range(1800):
            ended = self.process.poll() is not None
            for line in self.lines() if self.log.read_text().endswith("\n") else ():
                fields = line.get("fields", line)
                if fields.get("message") == "ready":
                    self.public, self.management = fields["address"], fields["management_address"]
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


def ask(address, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(address, timeout=60)
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
            raise Wrong(f"the server ended with {running.process.returncode}: {running.log.read_text()[-2000:]}")
        for kind, probe in manifest.probes.items():
            expect(kind, running.get(probe["httpGet"]["path"])[0], 200)
        if running.key:
            expect("a request without a key", running.post(), 401)
        expect("a request", running.post(running.key), 200)
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


def refuses(manifest, folder):
    """A value that the server does not allow is seen by starting it."""
    broken = copy.deepcopy(manifest)
    variable("ATTO_WORK_SHUTDOWN_DELAY", "5s")(broken)
    try:
        serve(broken, folder)
    except Wrong:
        return
    raise Wrong("a delay of 5s was taken")


# What is built, and what else is looked at


class Builder:
    def __init__(self, kubectl, folder, server):
        self.kubectl = kubectl
        self.folder = pathlib.Path(folder)
        self.server = server

    def build(self, name, path):
        text = run([self.kubectl, "kustomize", str(path)])
        return Manifest(name, [document for document in yaml.safe_load_all(text) if document], self.server)

    def combine(self, name, resource, components=(), patches=(), namespace=None):
        """A kustomization of the test's own."""
        folder = self.folder / "kustomizations" / re.sub(r"\W+", "-", name)
        folder.mkdir(parents=True, exist_ok=True)
        relative = lambda path: os.path.relpath(path, folder)
        for patch in patches:
            # Files must be below the kustomization that names them.
            shutil.copy(patch, folder)
        text = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [relative(resource)],
            "components": [relative(component) for component in components],
            "patches": [{"path": patch.name} for patch in patches],
            **({"namespace": namespace} if namespace else {}),
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(text))
        return self.build(name, folder)

    def overlays(self):
        for path in sorted(pathlib.Path("k8s/overlays").iterdir()):
            yield self.build(path.name, path)

    def choices(self):
        """Each patch that an overlay has and does not apply by itself."""
        for path in sorted(pathlib.Path("k8s/overlays").iterdir()):
            for patch in unused_patches(path):
                yield self.combine(f"{path.name} with {patch.name}", path, patches=[patch])

    def combinations(self):
        """Whatever can be added, by itself and as much as can be at once, to each device."""
        several = [["monitoring", scaler, "api-keys"] for scaler in ("autoscale-hpa", "autoscale-keda")]
        for device in DEVICES:
            for additions in [*([addition] for addition in ADDITIONS), *several]:
                name = " + ".join([device, *additions])
                scales = any(addition.startswith("autoscale") for addition in additions)
                if scales and "monitoring" not in additions:
                    name += " without PodMonitor"
                yield self.combine(
                    name,
                    f"k8s/overlays/{device}",
                    [f"k8s/{ADDITIONS[addition]}" for addition in additions],
                    namespace="atto-work",
                )


def unused_patches(overlay):
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    used = {patch.get("path") for patch in kustomization.get("patches", [])}
    return [path for path in sorted(overlay.glob("*.yaml")) if path.name not in used | {"kustomization.yaml"}]


HEADER = """\
# Everything for {what}, in one file: kubectl apply -f {path}
#
# Made from {overlay}, where the reason for each value stands, by `tests/kubernetes --write`. Do not edit
# it here, if you want to follow later versions: use the overlay, see k8s/README.md.
"""
SINGLE_FILES = {"cpu": "processors", "cuda": "NVIDIA cards"}


def single_file(device):
    return pathlib.Path(f"k8s/{NAME}-{device}.yaml")


def header(device):
    return HEADER.format(what=SINGLE_FILES[device], path=single_file(device), overlay=f"k8s/overlays/{device}")


def write(builder):
    for device in SINGLE_FILES:
        text = run([builder.kubectl, "kustomize", f"k8s/overlays/{device}"])
        single_file(device).write_text(header(device) + text)
        print(f"wrote {single_file(device)}")


def single_files_are_up_to_date(overlays):
    """As what they mean: versions of kustomize differ in how they write it."""
    for device in SINGLE_FILES:
        text = single_file(device).read_text()
        documents = [document for document in yaml.safe_load_all(text) if document]
        if not text.startswith(header(device)) or documents != overlays[device].documents:
            raise Wrong(f"{single_file(device)} is out of date: run tests/kubernetes --write")


def overlays_are_those_promised(overlays):
    expect("overlays", set(overlays), {*DEVICES, *ADDITIONS})


def patches_to_choose_are_named(overlays):
    for name in overlays:
        overlay = pathlib.Path("k8s/overlays") / name
        text = (overlay / "kustomization.yaml").read_text()
        for patch in unused_patches(overlay):
            if f"# - path: {patch.name}\n" not in text:
                raise Wrong(f"nothing in {overlay} names {patch.name}")
        for named in re.findall(r"# - path: (\S+)", text):
            if not (overlay / named).exists():
                raise Wrong(f"{overlay} names {named}, which is not there")


def readme_is_true(overlays):
    text = read("k8s/README.md")
    for overlay in overlays:
        if f"`{overlay}`" not in text:
            raise Wrong(f"k8s/README.md does not name {overlay}")
    stated = re.search(r"Kubernetes (\d+\.\d+) to (\d+\.\d+)", text)
    expect("the versions in k8s/README.md", stated and stated.groups(), VERSIONS)
    for path in re.findall(r"\bk8s/[\w./-]*\w", text):
        if not pathlib.Path(path).exists():
            raise Wrong(f"k8s/README.md names {path}, which is not there")


def autoscalers_agree(overlays):
    """The two autoscalers are the same but for who runs them."""
    own = overlays["autoscale-hpa"].one("HorizontalPodAutoscaler")["spec"]
    keda = overlays["autoscale-keda"].one("ScaledObject")["spec"]
    expect("pods at least", keda["minReplicaCount"], own["minReplicas"])
    expect("pods at most", keda["maxReplicaCount"], own["maxReplicas"])
    expect("behaviour", keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"], own["behavior"])
    (metric,), (trigger,) = own["metrics"], keda["triggers"]
    expect("target", trigger["metadata"]["threshold"], metric["pods"]["target"]["averageValue"])

    def bare(query):
        return re.sub(r"sum by \(.*?\) |sum|\{.*?\}|\s", "", query)

    expect("the query", bare(trigger["metadata"]["query"]), bare(adapter_rule()["metricsQuery"]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubectl", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    server = Server.of(str(pathlib.Path(arguments.server).absolute()))
    builder = Builder(arguments.kubectl, arguments.folder, server)
    if arguments.write:
        write(builder)
        return 0

    outcomes = Outcomes()
    overlays = {overlay.name: overlay for overlay in builder.overlays()}
    manifests = [*overlays.values(), *builder.choices(), *builder.combinations()]
    for manifest in manifests:
        for name, function in CHECKS.items():
            outcomes.add(f"{manifest.name}: {name}", lambda: problems(function, manifest))

    mutated = [name for name, _, _ in MUTATIONS]
    for name in CHECKS:
        outcomes.add(f"{name} has a mutation", lambda: expect("mutations", mutated.count(name) > 0, True))
    for number, (name, overlay, mutate) in enumerate(MUTATIONS):
        if name == "user" and not pathlib.Path("Dockerfile.cpu").exists():
            print("no Dockerfile.cpu: the pods' user was not compared with the images'")
            continue
        outcomes.add(f"mutation {number} is seen by {name}", lambda: is_seen(name, overlays[overlay], mutate))

    for function in (
        overlays_are_those_promised,
        single_files_are_up_to_date,
        patches_to_choose_are_named,
        readme_is_true,
        autoscalers_agree,
    ):
        outcomes.add(function.__name__, lambda: function(overlays))

    # One for each environment, all at once, as most of it is waiting.
    # Of those with the same, the manifest with most in it.
    manifests.sort(key=lambda manifest: len(manifest.documents))
    environments = {json.dumps(manifest.container["env"], sort_keys=True): manifest for manifest in manifests}
    threads = []
    for number, manifest in enumerate([*environments.values()]):
        function = serve if manifest.device == "cpu" else serve_on_a_card
        folder = builder.folder / "servers" / str(number)
        threads.append(outcomes.later(f"{manifest.name}: {function.__name__}", function, manifest, folder))
    threads.append(outcomes.later("refuses", refuses, overlays["cpu"], builder.folder / "servers" / "refuses"))
    for thread in threads:
        thread.join()
    print(f"kubernetes: {outcomes.passed} passed, {outcomes.failed} failed")
    return 1 if outcomes.failed else 0


class Outcomes:
    def __init__(self):
        self.passed = self.failed = 0
        self.lock = threading.Lock()

    def add(self, name, test):
        try:
            test()
        except Exception as error:  # noqa: BLE001: whatever goes wrong in a test is a failure of it
            with self.lock:
                self.failed += 1
                print(f"FAILED {name}: {type(error).__name__}: {error}")
        else:
            with self.lock:
                self.passed += 1

    def later(self, name, function, *arguments):
        thread = threading.Thread(target=self.add, args=(name, lambda: function(*arguments)))
        thread.start()
        return thread


def problems(function, manifest):
    found = list(function(manifest))
    if found:
        raise Wrong("; ".join(found))


def is_seen(name, manifest, mutate):
    broken = copy.deepcopy(manifest)
    mutate(broken)
    if not list(CHECKS[name](broken)):
        raise Wrong("it is not")


def read(path):
    return pathlib.Path(path).read_text()


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Wrong(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
