"""What must be true of every manifest. A check yields a line for each thing that is wrong."""

import json
import pathlib
import re

import jsonschema
import kubernetes_validate
from manifest import IMAGE, NAME, NAME_LABEL, PROXY_METRIC, RESOURCES, adapter_rules, lies_in, read

# What k8s/README.md promises. Every field that is used is stable since the older one.
VERSIONS = ("1.31", "1.37")
# Variables of other programs that the process reads.
OTHER_VARIABLES = {
    "XDG_CACHE_HOME": "the drivers",
    "XDG_RUNTIME_DIR": "the drivers",
    "VK_LOADER_DRIVERS_DISABLE": "the Vulkan loader",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "OpenTelemetry",
    "OTEL_RESOURCE_ATTRIBUTES": "OpenTelemetry",
    "RUST_LOG": "tracing-subscriber",
}
# Variables that others are made of, and the pod's fields that they are.
FIELDS = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "NODE_NAME": "spec.nodeName"}
# By OpenTelemetry's conventions for resources on Kubernetes.
ATTRIBUTES = {"k8s.pod.name": "POD_NAME", "k8s.namespace.name": "POD_NAMESPACE", "k8s.node.name": "NODE_NAME"}
# Seconds that the last traces may take to be sent.
LAST_TRACES = 3
MONITORING = {"kubernetes.io/metadata.name": "monitoring"}

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


# Those of the Gateway API and of Envoy Gateway, see gateway_schemas.py.
GATEWAY = json.loads(read("tests/manifests/gateway_schemas.json"))


@check
def schemas(manifest):
    """Every document is what the oldest and the newest version of Kubernetes take, without a field too many."""
    for document in manifest.documents:
        kind = document["kind"]
        if kind in GATEWAY:
            if document["apiVersion"] != GATEWAY[kind]["apiVersion"]:
                yield f"{kind}: {document['apiVersion']} is not {GATEWAY[kind]['apiVersion']}"
            for error in jsonschema.Draft202012Validator(GATEWAY[kind]["spec"]).iter_errors(document["spec"]):
                yield f"{kind}: {error.json_path}: {error.message}"
            continue
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
        if len(manifest.own(kind)) != 1:
            yield f"there are {len(manifest.own(kind))} of {kind}"
    names = [(document["kind"], document["metadata"]["name"]) for document in manifest.documents]
    yield from (f"{name} is there twice" for name in set(names) if names.count(name) > 1)
    namespaces = {document["metadata"].get("namespace") for document in manifest.documents}
    if len(namespaces) > 1:
        yield f"there are several namespaces: {namespaces}"
    yield from (f"{kind} {name} is not named {NAME}" for kind, name in names if not name.startswith(NAME))


@check
def size(manifest):
    """`kubectl apply` keeps each document in an annotation of it, and annotations have 256 KiB."""
    for document in manifest.documents:
        length = len(json.dumps(document, separators=(",", ":")))
        if length > 240 * 1024:
            yield f"{document['kind']} has {length} characters"


@check
def selectors(manifest):
    """Every selector finds the pods."""

    pods = {NAME: manifest.labels, **manifest.proxy}

    def of(kind, *path):
        for document in manifest.all_of(kind):
            selector = document["spec"]
            for step in path:
                selector = selector[step]
            yield kind, selector, pods.get(document["metadata"]["labels"][NAME_LABEL], {})

    wanted = [
        *of("Deployment", "selector", "matchLabels"),
        *of("Service", "selector"),
        *of("PodDisruptionBudget", "selector", "matchLabels"),
        *of("NetworkPolicy", "podSelector", "matchLabels"),
        *of("PodMonitor", "selector", "matchLabels"),
    ]
    for constraint in manifest.pod["topologySpreadConstraints"]:
        wanted.append(("topologySpreadConstraints", constraint["labelSelector"]["matchLabels"], manifest.labels))
    for kind, selector, labels in wanted:
        if not selector or not selector.items() <= labels.items():
            yield f"{kind} selects {selector}, and pods have {labels}"


@check
def ports(manifest):
    """Every port that something refers to is there, under that name, and is one that the server listens at."""
    for name, variable in (
        ("http", "ATTO_WORK_ADDRESS"),
        ("management", "ATTO_WORK_MANAGEMENT_ADDRESS"),
        ("nano", "ATTO_WORK_NANO_ADDRESS"),
    ):
        address = manifest.variable(variable)
        # Of Nano's port there is no default, and then there is none.
        if (address or name in manifest.ports) and address != f"[::]:{manifest.ports.get(name)}":
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
        yield "liveness leaves the server no time to reopen a card by itself"
    if seconds("readinessProbe") >= seconds("livenessProbe"):
        yield "a pod that serves nobody is restarted before it is left alone"
    if manifest.probes["livenessProbe"].get("terminationGracePeriodSeconds") != 5:
        yield "a process that hangs is given the time of one that ends in order"


@check
def environment(manifest):
    """Every variable is read by some program, and set once."""
    names = [entry["name"] for entry in manifest.container["env"]]
    for name in names:
        if name not in manifest.server.variables and name not in OTHER_VARIABLES and name not in FIELDS:
            yield f"nobody reads {name}"
        if names.count(name) > 1:
            yield f"{name} is there twice"
    # Kubernetes puts in the values of what stands above, and leaves the text as it is otherwise.
    put_in = set()
    for number, entry in enumerate(manifest.container["env"]):
        field = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        if field != FIELDS.get(entry["name"]):
            yield f"{entry['name']} is the pod's {field}"
        for name in re.findall(r"\$\((\w+)\)", entry.get("value") or ""):
            put_in.add(name)
            if name not in names[:number]:
                yield f"{entry['name']} names {name}, which does not stand above it"
    yield from (f"nobody reads {name}" for name in FIELDS.keys() & set(names) - put_in)
    attributes = dict(pair.split("=", 1) for pair in manifest.environment["OTEL_RESOURCE_ATTRIBUTES"].split(","))
    if attributes != {attribute: f"$({name})" for attribute, name in ATTRIBUTES.items()}:
        yield f"a span is from {attributes}"
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
    longest = delay + grace + 2 * manifest.server.drain_grace + LAST_TRACES
    given = manifest.pod["terminationGracePeriodSeconds"]
    if given <= longest:
        yield f"the end may take {longest} s and is given {given} s"
    if "lifecycle" in manifest.container:
        yield "a hook, which the image has no program for"
    if manifest.container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        yield "`kubectl describe pod` does not say why it failed"


@check
def restricted(manifest):
    """The restricted profile of the Pod Security Standards, and a root file system that cannot be written to."""
    for deployment in manifest.all_of("Deployment"):
        yield from restricted_pod(deployment["spec"]["template"]["spec"])


def restricted_pod(pod):
    container = pod["containers"][0]
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
        if not kinds <= {"emptyDir", "secret", "configMap"}:
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
        if value and value.startswith("/") and not any(lies_in(value, mount) for mount in mounts):
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
    made = set(
        re.findall(
            r"kubectl create secret generic (\S+) --from-file=(\S+)", read("k8s/components/api-keys/kustomization.yaml")
        )
    )
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
    # Clients, or the proxy alone if there is one.
    clients = [{"podSelector": {"matchLabels": labels}} for labels in manifest.proxy.values()]
    wanted = {8080: clients or [{"namespaceSelector": {}}], 8081: [{"namespaceSelector": {"matchLabels": MONITORING}}]}
    if "nano" in manifest.ports:
        wanted[7000] = [{"namespaceSelector": {}}]
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
    """The Service is for the cluster only, and has the clients' ports alone."""
    spec = manifest.one("Service")["spec"]
    if spec.get("type") != "ClusterIP":
        yield f"the Service is a {spec.get('type')}"
    wanted = {"http", "nano"} & manifest.ports.keys()
    named = [port["name"] for port in spec["ports"]]
    if sorted(named) != sorted(wanted) or any("nodePort" in port for port in spec["ports"]):
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
        least, most = (
            spec.get(f"{bound}Replica{suffix}")
            for bound in ("min", "max")
            for suffix in ("s", "Count")
            if f"{bound}Replica{suffix}" in spec
        )
        if not 2 <= least < most:
            yield f"from {least} to {most} pods"
        if not manifest.of("PodMonitor") and not manifest.name.endswith("without PodMonitor"):
            yield "nobody scrapes the metric that the autoscaler needs"
    for autoscaler in manifest.of("HorizontalPodAutoscaler"):
        known = {rule["name"]["as"] for rule in adapter_rules()}
        for metric in autoscaler["spec"]["metrics"]:
            if metric["type"] == "External" and metric["external"]["metric"]["name"] == "atto_work_proxy_queue":
                continue
            if metric["type"] != "Pods" or metric["pods"]["metric"]["name"] not in known:
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
def monitoring(manifest):
    """Metrics, rules and dashboard come together, with the labels that find them, and the rules name the job."""
    found = [document for kind in ("PodMonitor", "PrometheusRule", "ConfigMap") for document in manifest.of(kind)]
    if not found:
        return
    if [document["kind"] for document in found] != ["PodMonitor", "PrometheusRule", "ConfigMap"]:
        yield f"there are {[document['kind'] for document in found]}"
        return
    monitor, rules, dashboard = found
    for document in (monitor, rules):
        if document["metadata"]["labels"].get("release") != "kube-prometheus-stack":
            yield f"nobody heeds {document['kind']}"
    if dashboard["metadata"]["labels"].get("grafana_dashboard") != "1":
        yield "nobody heeds the dashboard"
    for name, text in dashboard["data"].items():
        if not name.endswith(".json") or "panels" not in json.loads(text):
            yield f"{name} is no dashboard"
    # The operator names the job NAMESPACE/NAME after the PodMonitor.
    jobs = {job for job in re.findall(r'job=~"([^"]*)"', json.dumps(rules).replace('\\"', '"')) if "/" in job}
    for job in jobs:
        if not re.fullmatch(job.replace("\\\\", "\\"), f"any/{monitor['metadata']['name']}"):
            yield f"the rules are about {job}"


@check
def metrics(manifest):
    """Every metric that is asked for is one that the server has."""
    missing = {}
    for place, names in manifest.metric_names():
        for name in names - manifest.server.metrics:
            missing.setdefault(name, place)
        if not names and not place.startswith("PrometheusRule"):
            yield f"{place} asks for no metric of the server"
    yield from (f"there is no {name}, which {place} asks for" for name, place in sorted(missing.items()))


def seconds(duration):
    """Of a duration such as 1.4s or 25ms."""
    number, unit = re.fullmatch(r"([\d.]+)(ms|s|m|h|)", duration).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "": 0.001}[unit]


@check
def gateway(manifest):
    """Envoy waits as long as the server, tries refusals elsewhere, has no limit of its own, and its patches find their place."""
    if not manifest.all_of("Gateway"):
        return
    (gateway,), (route,), (policy,), (patches,), (proxy,) = (
        manifest.all_of(kind) for kind in ("Gateway", "HTTPRoute", "BackendTrafficPolicy", "EnvoyPatchPolicy", "EnvoyProxy")
    )
    name = gateway["metadata"]["name"]
    if name == NAME:
        yield "its Service would be the server's"
    (rule,) = route["spec"]["rules"]
    if seconds(rule["timeouts"]["request"]) <= float(manifest.variable("ATTO_WORK_DEADLINE")):
        yield "it gives up before the server"
    if rule["backendRefs"] != [{"name": NAME, "port": 8080}] or route["spec"]["parentRefs"] != [{"name": name}]:
        yield "the route does not lead from the gateway to the server"
    references = [
        (route["kind"], route["metadata"]["name"], *policy["spec"]["targetRefs"]),
        (gateway["kind"], name, patches["spec"]["targetRef"]),
        (proxy["kind"], proxy["metadata"]["name"], gateway["spec"]["infrastructure"]["parametersRef"]),
    ]
    for kind, named, reference in references:
        if (reference["kind"], reference["name"]) != (kind, named):
            yield f"{reference} is not {kind} {named}"
    spec = policy["spec"]
    if min(spec["circuitBreaker"].values()) < 10_000:
        yield "Envoy refuses requests by itself"
    if spec["retry"]["retryOn"].get("httpStatusCodes") != [503] or "retriable-status-codes" not in spec["retry"]["retryOn"]["triggers"]:
        yield "a refusal is not tried elsewhere"
    passive = spec["healthCheck"]["passive"]
    if not passive.get("splitExternalLocalOriginErrors") or passive["consecutiveLocalOriginFailures"] < 1_000_000:
        yield "copies would have healthy servers ejected"
    if "timeout" in spec["retry"]["perRetry"]:
        yield "without the patch, each try would be ended"
    if manifest.variable("ATTO_WORK_FAIR_BY_ADDRESS") != "false":
        yield "all clients would be one"
    kubernetes = proxy["spec"]["provider"]["kubernetes"]
    if kubernetes["envoyDeployment"]["replicas"] != 2 or kubernetes["envoyPDB"] != {"maxUnavailable": 1}:
        yield "a node cannot be drained without an outage"
    # As Envoy Gateway names them.
    namespace = gateway["metadata"].get("namespace")
    listener = gateway["spec"]["listeners"][0]["name"]
    for patch in patches["spec"]["jsonPatches"]:
        if (patch["type"].rsplit(".", 1)[1], patch["name"]) != ("RouteConfiguration", f"{namespace}/{name}/{listener}"):
            yield f"there is no {patch['name']}"
    yield from proxy_network(manifest, name, {8080, 19001})


@check
def queue(manifest):
    """HAProxy waits as long as the server, learns of clients that hang up, and finds the pods."""
    name = f"{NAME}-queue"
    if name not in manifest.proxy:
        return
    (deployment,) = [found for found in manifest.all_of("Deployment") if found["metadata"]["name"] == name]
    pod = deployment["spec"]["template"]["spec"]
    (configuration,) = [found for found in manifest.all_of("ConfigMap") if found["metadata"]["name"].startswith(name)]
    if [volume["configMap"]["name"] for volume in pod["volumes"]] != [configuration["metadata"]["name"]]:
        yield "the pods do not mount the configuration"
    text = configuration["data"]["haproxy.cfg"]
    deadline = float(manifest.variable("ATTO_WORK_DEADLINE"))
    for timeout in ("client", "server", "queue"):
        if seconds(re.search(rf"^    timeout {timeout} (\S+)$", text, re.M)[1]) <= deadline:
            yield f"the time-out {timeout} is shorter than the server's"
    for line in ("option abortonclose", "option redispatch 1", "balance leastconn"):
        if f"    {line}\n" not in text:
            yield f"there is no {line}"
    if not re.search(r"^    retry-on .*\b503\b", text, re.M):
        yield "a refusal is not tried elsewhere"
    ends = sum(seconds(value) for value in re.findall(r"^    (?:grace|hard-stop-after) (\S+)$", text, re.M))
    if pod["terminationGracePeriodSeconds"] <= ends:
        yield f"the end may take {ends} s and is given {pod['terminationGracePeriodSeconds']} s"
    headless = [found for found in manifest.of("Service") if found["spec"].get("clusterIP") == "None"]
    names = {f"{found['metadata']['name']}.{found['metadata'].get('namespace')}.svc.cluster.local:8080" for found in headless}
    if set(re.findall(r"^    server-template \S+ \S+ (\S+)", text, re.M)) != names:
        yield f"the servers are not found at {names}"
    listened = set(map(int, re.findall(r"^    bind :::(\d+) v4v6$", text, re.M)))
    (container,) = pod["containers"]
    if {port["containerPort"] for port in container["ports"]} != listened:
        yield f"HAProxy listens at {listened}"
    if manifest.variable("ATTO_WORK_FAIR_BY_ADDRESS") != "false":
        yield "all clients would be one"
    if deployment["spec"]["replicas"] != 2:
        yield "a node cannot be drained without an outage"
    (budget,) = [found for found in manifest.all_of("PodDisruptionBudget") if found["metadata"]["name"] == name]
    if budget["spec"]["maxUnavailable"] != 1:
        yield f"the budget is {budget['spec']}"
    yield from proxy_network(manifest, name, listened)
    # With an autoscaler, the queue must be a signal.
    for scaler in manifest.of("ScaledObject"):
        if "without its queue" not in manifest.name and PROXY_METRIC not in json.dumps(scaler):
            yield "KEDA does not see the queue"
    for scaler in manifest.of("HorizontalPodAutoscaler"):
        if "without its queue" not in manifest.name and "atto_work_proxy_queue" not in json.dumps(scaler):
            yield "the autoscaler does not see the queue"


def proxy_network(manifest, name, ports):
    """A proxy takes clients and scrapers, and connects to servers, its controller and DNS."""
    (policy,) = [found for found in manifest.all_of("NetworkPolicy") if found["metadata"]["name"] == name] or [None]
    if not policy:
        yield "the proxy has no NetworkPolicy"
        return
    opened = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["spec"]["ingress"]}
    monitor = [{"namespaceSelector": {"matchLabels": MONITORING}}]
    if opened != {port: [{"namespaceSelector": {}}] if port == 8080 else monitor for port in ports}:
        yield f"open are {opened}"
    servers = [{"podSelector": {"matchLabels": {NAME_LABEL: NAME}}}]
    if servers not in [rule.get("to") for rule in policy["spec"]["egress"] if rule["ports"][0]["port"] == 8080]:
        yield "it cannot connect to the servers"
    if sorted(policy["spec"]["policyTypes"]) != ["Egress", "Ingress"]:
        yield "it is not both ways"
