"""What is broken to see that each check can fail."""

import copy

from manifest import IMAGE, NAME, Wrong

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


ENVOY = ["spec", "provider", "kubernetes"]
PASSIVE = ["spec", "healthCheck", "passive"]


def in_proxy(kind, path, value):
    """As `put`, in the document of the proxy, which bears its name."""

    def mutate(manifest):
        (name,) = manifest.proxy
        (document,) = [found for found in manifest.all_of(kind) if found["metadata"]["name"] == name]
        node = document
        for step in path[:-1]:
            node = node[step]
        if node.get(path[-1]) == value:
            raise Wrong(f"{kind} {path} is {value} already")
        node[path[-1]] = value

    return mutate


def haproxy(old, new):
    """Another text in HAProxy's configuration."""

    def mutate(manifest):
        (document,) = [found for found in manifest.all_of("ConfigMap") if "haproxy.cfg" in found["data"]]
        text = document["data"]["haproxy.cfg"]
        if old not in text:
            raise Wrong(f"{old} is not there")
        document["data"]["haproxy.cfg"] = text.replace(old, new)

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
    (
        "schemas",
        "autoscale-hpa",
        put("HorizontalPodAutoscaler", ["spec", "metrics", 0, "pods", "target", "type"], GONE),
    ),
    ("parts", "cpu", without("PodDisruptionBudget")),
    ("parts", "cpu", twice("NetworkPolicy")),
    ("parts", "cpu", stray_namespace),
    ("size", "monitoring", put("ConfigMap", ["data", "atto-work-server.json"], "x" * 250_000)),
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
    ("ports", "cpu", variable("ATTO_WORK_ADDRESS", "[::]:9000")),
    ("ports", "cpu", in_container("livenessProbe", "httpGet", "port", value="http")),
    ("ports", "cpu", put("NetworkPolicy", ["spec", "ingress", 0, "ports", 0, "port"], 80)),
    ("ports", "monitoring", put("PodMonitor", ["spec", "podMetricsEndpoints", 0, "port"], "metrics")),
    ("ports", "nano", variable("ATTO_WORK_NANO_ADDRESS", GONE)),
    ("ports", "nano", variable("ATTO_WORK_NANO_ADDRESS", "[::]:7076")),
    ("ports", "cpu", variable("ATTO_WORK_NANO_ADDRESS", "[::]:7000")),
    ("probes", "cpu", in_container("startupProbe", "httpGet", "path", value="/health/liveness")),
    ("probes", "cpu", in_container("livenessProbe", "httpGet", "path", value="/health/live")),
    ("probes", "cpu", in_container("readinessProbe", "httpGet", "path", value="/health")),
    ("probes", "cpu", in_container("startupProbe", "failureThreshold", value=30)),
    ("probes", "cpu", in_container("livenessProbe", "failureThreshold", value=1)),
    ("probes", "cpu", in_container("readinessProbe", "periodSeconds", value=20)),
    ("probes", "cpu", in_container("livenessProbe", "terminationGracePeriodSeconds", value=GONE)),
    ("probes", "monitoring", put("PodMonitor", ["spec", "podMetricsEndpoints", 0, "path"], "/prometheu")),
    ("environment", "cpu", rename_variable("ATTO_WORK_SHUTDOWN_DELAY", "ATTO_WORK_SHUTDOWN_DELAYS")),
    ("environment", "cpu", rename_variable("XDG_CACHE_HOME", "XDG_CACHE_DIR")),
    ("environment", "cpu", in_container("env", 0, value={"name": "XDG_CACHE_HOME", "value": "/tmp"})),
    ("environment", "cpu", variable("ATTO_WORK_LOG_FORMAT", GONE)),
    ("environment", "cpu", in_pod("enableServiceLinks", value=GONE)),
    ("environment", "cpu", rename_variable("POD_NAME", "POD")),
    ("environment", "cpu", variable("NODE_NAME", "node")),
    ("environment", "cpu", variable("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=$(POD_NAME)")),
    ("environment", "cpu", in_container("env", 0, value={"name": "RUST_LOG", "value": "$(POD_NAME)"})),
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
    ("end", "cpu", in_container("terminationMessagePolicy", value=GONE)),
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
    ("network", "nano", put("NetworkPolicy", ["spec", "ingress", 2], GONE)),
    ("network", "nano", put("NetworkPolicy", ["spec", "ingress", 2, "from"], GONE)),
    ("service", "nano", put("Service", ["spec", "ports", 1], GONE)),
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
    ("monitoring", "monitoring", without("PrometheusRule")),
    ("monitoring", "monitoring", put("PodMonitor", ["metadata", "labels", "release"], GONE)),
    ("monitoring", "monitoring", put("ConfigMap", ["metadata", "labels", "grafana_dashboard"], GONE)),
    ("monitoring", "monitoring", put("ConfigMap", ["data", "atto-work-server.json"], "{}")),
    ("monitoring", "monitoring", put("PodMonitor", ["metadata", "name"], "work-server")),
    ("schemas", "gateway-envoy", put("HTTPRoute", ["spec", "rules", 0, "timeouts", "request"], "1 hour")),
    ("schemas", "gateway-envoy", put("BackendTrafficPolicy", ["spec", "loadBalancer", "type"], "FewestRequests")),
    ("schemas", "gateway-envoy", put("BackendTrafficPolicy", ["spec", "retry", "retries"], 3)),
    ("schemas", "gateway-envoy", put("EnvoyPatchPolicy", ["spec", "jsonPatches", 0, "operation", "op"], "set")),
    ("schemas", "gateway-envoy", in_proxy("Gateway", ["spec", "listeners"], [{"name": "http", "port": 8080}])),
    ("parts", "gateway-envoy", in_proxy("EnvoyProxy", ["metadata", "name"], "gateway")),
    ("selectors", "queue-haproxy", in_proxy("Service", ["spec", "selector"], {"app.kubernetes.io/name": NAME})),
    ("selectors", "gateway-envoy", in_proxy("NetworkPolicy", ["spec", "podSelector", "matchLabels"], {"app": "envoy"})),
    ("restricted", "queue-haproxy", in_proxy("Deployment", [*CONTAINER, "securityContext", "privileged"], True)),
    ("network", "gateway-envoy", put("NetworkPolicy", ["spec", "ingress", 0, "from", 0], {"namespaceSelector": {}})),
    ("gateway", "gateway-envoy", put("HTTPRoute", ["spec", "rules", 0, "timeouts", "request"], "60s")),
    ("gateway", "gateway-envoy", put("HTTPRoute", ["spec", "rules", 0, "backendRefs", 0, "name"], "server")),
    ("gateway", "gateway-envoy", in_proxy("Gateway", ["spec", "infrastructure", "parametersRef", "name"], NAME)),
    ("gateway", "gateway-envoy", put("BackendTrafficPolicy", ["spec", "targetRefs", 0, "name"], "works")),
    ("gateway", "gateway-envoy", put("BackendTrafficPolicy", ["spec", "circuitBreaker", "maxParallelRetries"], 3)),
    ("gateway", "gateway-envoy", put("BackendTrafficPolicy", ["spec", "retry", "retryOn", "httpStatusCodes"], [500])),
    ("gateway", "gateway-envoy", put("BackendTrafficPolicy", ["spec", "retry", "perRetry", "timeout"], "1.4s")),
    ("gateway", "gateway-envoy", put("BackendTrafficPolicy", [*PASSIVE, "splitExternalLocalOriginErrors"], False)),
    ("gateway", "gateway-envoy", put("EnvoyPatchPolicy", ["spec", "jsonPatches", 0, "name"], "default/works")),
    ("gateway", "gateway-envoy", in_proxy("Gateway", ["metadata", "namespace"], "default")),
    ("gateway", "gateway-envoy", in_proxy("EnvoyProxy", [*ENVOY, "envoyDeployment", "replicas"], 1)),
    ("gateway", "gateway-envoy", in_proxy("NetworkPolicy", ["spec", "egress", 0, "to"], [])),
    ("gateway", "gateway-envoy", in_proxy("NetworkPolicy", ["spec", "ingress", 1, "from"], [{"namespaceSelector": {}}])),
    ("gateway", "gateway-envoy", variable("ATTO_WORK_FAIR_BY_ADDRESS", GONE)),
    ("queue", "queue-haproxy", haproxy("option abortonclose", "")),
    ("queue", "queue-haproxy", haproxy("timeout queue 3610s", "timeout queue 5s")),
    ("queue", "queue-haproxy", haproxy("timeout server 3610s", "timeout server 50000")),
    ("queue", "queue-haproxy", haproxy("empty-response 503", "empty-response")),
    ("queue", "queue-haproxy", haproxy(".atto-work.svc", ".default.svc")),
    ("queue", "queue-haproxy", haproxy("bind :::8080", "bind :::80")),
    ("queue", "queue-haproxy", haproxy("hard-stop-after 40s", "hard-stop-after 60s")),
    ("queue", "queue-haproxy", in_proxy("Deployment", ["spec", "replicas"], 1)),
    ("queue", "queue-haproxy", in_proxy("PodDisruptionBudget", ["spec", "maxUnavailable"], 2)),
    ("queue", "queue-haproxy", in_proxy("NetworkPolicy", ["spec", "policyTypes"], ["Ingress"])),
    ("queue", "queue-haproxy", put("ScaledObject", ["spec", "triggers", 2], GONE)),
    ("queue", "queue-haproxy", variable("ATTO_WORK_FAIR_BY_ADDRESS", "true")),
    ("metrics", "autoscale-keda", put("ScaledObject", ["spec", "triggers", 0, "metadata", "query"], "atto_work_load")),
    ("metrics", "autoscale-keda", put("ScaledObject", ["spec", "triggers", 0, "metadata", "query"], "up")),
]
