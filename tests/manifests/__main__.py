"""Checks the manifests in k8s/. Run by tests/kubernetes, which sets up what this needs.

A check is a function that is given a manifest, which is what one kustomization builds, and says what is wrong with it.
Whether a check can fail at all is tested too: each mutation breaks one thing, which the check that it names must see.
"""

import argparse
import copy
import json
import os
import pathlib
import re
import shutil
import sys
import threading

import yaml
from checks import CHECKS, VERSIONS
from live import LIVE_MUTATIONS, expect, fails, serve, serve_on_a_card
from manifest import NAME, Manifest, Server, Wrong, adapter_rules, read, run
from mutations import MUTATIONS
from reference import MANIFESTS, serve_in_place

DEVICES = ("cpu", "cuda", "rocm", "intel")
# What can be added to any of them, and where it is.
ADDITIONS = {
    "monitoring": "monitoring",
    "autoscale-hpa": "components/autoscale-hpa",
    "autoscale-keda": "components/autoscale-keda",
    "api-keys": "components/api-keys",
    "nano": "components/nano",
    "gateway-envoy": "components/gateway-envoy",
    "queue-haproxy": "components/queue-haproxy",
}
# Of one addition, if there is another.
QUEUE_SIGNAL = "components/queue-haproxy-autoscale"


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

        def relative(path):
            return os.path.relpath(path, folder)

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
        several = [
            [*proxy, "monitoring", scaler, "api-keys", "nano"]
            for scaler in ("autoscale-hpa", "autoscale-keda")
            for proxy in ([], ["gateway-envoy"], ["queue-haproxy"])
        ]
        for device in DEVICES:
            for additions in [*([addition] for addition in ADDITIONS), *several]:
                name = " + ".join([device, *additions])
                scales = any(addition.startswith("autoscale") for addition in additions)
                if scales and "monitoring" not in additions:
                    name += " without PodMonitor"
                yield self.combine(
                    name,
                    f"k8s/overlays/{device}",
                    [
                        *(f"k8s/{ADDITIONS[addition]}" for addition in additions),
                        *([f"k8s/{QUEUE_SIGNAL}"] if scales and "queue-haproxy" in additions else []),
                    ],
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

    def bare(query):
        return re.sub(r"sum by \(.*?\) |sum|\{.*?\}|[\s()]", "", query)

    def of_pods_there(query):
        """Without the limit to pods that are there: the other autoscaler asks for each of them by its name."""
        rest, limits = re.subn(r"\s+and on \(pod\) up\{[^}]*\}\)$", ")", query)
        expect(f"limits to pods that are there in {query}", limits, 1)
        return rest

    rules = {rule["name"]["as"]: bare(rule["metricsQuery"]) for rule in adapter_rules()}
    expect(
        "queries and targets",
        [(bare(of_pods_there(trigger["metadata"]["query"])), trigger["metadata"]["threshold"]) for trigger in keda["triggers"]],
        [
            (rules[metric["pods"]["metric"]["name"]], metric["pods"]["target"]["averageValue"])
            for metric in own["metrics"]
        ],
    )


def proxies_agree(overlays):
    """The proxies on Kubernetes are those for other hosts in deploy/."""
    gateway = overlays["gateway-envoy"]
    envoy = yaml.safe_load(read("deploy/envoy/envoy.yaml"))["static_resources"]
    manager = envoy["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    (cluster,) = envoy["clusters"]
    patches = {
        patch["operation"]["path"].rsplit("/", 1)[1]: patch["operation"]["value"]
        for patch in gateway.one("EnvoyPatchPolicy")["spec"]["jsonPatches"]
    }
    retry = route["retry_policy"]
    expect(
        "patches",
        patches,
        {
            "hedge_policy": route["hedge_policy"],
            "per_try_timeout": retry["per_try_timeout"],
            "host_selection_retry_max_attempts": retry["host_selection_retry_max_attempts"],
        },
    )
    policy = gateway.one("BackendTrafficPolicy")["spec"]
    expect("retries", policy["retry"]["numRetries"], retry["num_retries"])
    expect("triggers", ",".join(policy["retry"]["retryOn"]["triggers"]), retry["retry_on"])
    expect("codes", policy["retry"]["retryOn"]["httpStatusCodes"], retry["retriable_status_codes"])
    expect("breakers", set(policy["circuitBreaker"].values()), set(cluster["circuit_breakers"]["thresholds"][0].values()))
    passive, outlier = policy["healthCheck"]["passive"], cluster["outlier_detection"]
    for ours, theirs in (
        ("consecutive5XxErrors", "consecutive_5xx"),
        ("consecutiveGatewayErrors", "consecutive_gateway_failure"),
        ("splitExternalLocalOriginErrors", "split_external_local_origin_errors"),
        ("interval", "interval"),
        ("baseEjectionTime", "base_ejection_time"),
        ("maxEjectionPercent", "max_ejection_percent"),
    ):
        expect(ours, passive[ours], outlier[theirs])
    (rule,) = gateway.one("HTTPRoute")["spec"]["rules"]
    for timeout in (route["timeout"], route["idle_timeout"], manager["stream_idle_timeout"]):
        expect("a time-out", timeout, rule["timeouts"]["request"])

    def lines(path):
        text = re.sub(r"^ *#.*\n", "", read(path), flags=re.M)
        return re.findall(r"^    (?:option|timeout|retries|retry-on|http-check|balance|use_backend|http-request) .*", text, re.M)

    expect("HAProxy", lines("k8s/components/queue-haproxy/haproxy.cfg"), lines("deploy/haproxy/haproxy.cfg"))


def gateway_class_is_valid(overlays):
    document = yaml.safe_load(read("k8s/components/gateway-envoy/gatewayclass.yaml"))
    if found := list(CHECKS["schemas"](Manifest("gatewayclass.yaml", [document], None))):
        raise Wrong(found)
    (gateway,) = overlays["gateway-envoy"].all_of("Gateway")
    expect("class", gateway["spec"]["gatewayClassName"], document["metadata"]["name"])


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
            outcomes.add(f"{manifest.name}: {name}", problems, function, manifest)

    mutated = [name for name, _, _ in MUTATIONS]
    for name in CHECKS:
        outcomes.add(f"{name} has a mutation", expect, "mutations", name in mutated, True)
    for number, (name, overlay, mutate) in enumerate(MUTATIONS):
        if name == "user" and not pathlib.Path("Dockerfile.cpu").exists():
            print("no Dockerfile.cpu: the pods' user was not compared with the images'")
            continue
        outcomes.add(f"mutation {number} is seen by {name}", is_seen, name, overlays[overlay], mutate)

    for function in (
        overlays_are_those_promised,
        single_files_are_up_to_date,
        patches_to_choose_are_named,
        readme_is_true,
        autoscalers_agree,
        proxies_agree,
        gateway_class_is_valid,
    ):
        outcomes.add(function.__name__, function, overlays)

    # One for each environment, all at once, as most of it is waiting.
    # Of those with the same, the manifest with most in it.
    manifests.sort(key=lambda manifest: len(manifest.documents))
    environments = {json.dumps(manifest.container["env"], sort_keys=True): manifest for manifest in manifests}
    threads = []
    for number, manifest in enumerate([*environments.values()]):
        function = serve if manifest.device == "cpu" else serve_on_a_card
        folder = builder.folder / "servers" / str(number)
        threads.append(outcomes.later(f"{manifest.name}: {function.__name__}", function, manifest, folder))
    (monitored,) = [manifest for manifest in manifests if manifest.name == "cpu + monitoring"]
    for number, (mutate, wanted) in enumerate(LIVE_MUTATIONS):
        folder = builder.folder / "servers" / f"mutation-{number}"
        threads.append(outcomes.later(f"live mutation {number}", fails, monitored, mutate, wanted, folder))
    for path in MANIFESTS:
        folder = builder.folder / "servers" / f"reference-{path.stem}"
        threads.append(outcomes.later(f"reference {path.name}", serve_in_place, path, server, folder))
    for thread in threads:
        thread.join()
    print(f"kubernetes: {outcomes.passed} passed, {outcomes.failed} failed")
    return 1 if outcomes.failed else 0


class Outcomes:
    def __init__(self):
        self.passed = self.failed = 0
        self.lock = threading.Lock()

    def add(self, name, function, *arguments):
        try:
            function(*arguments)
        except Exception as error:  # Whatever goes wrong in a test is a failure of it.
            with self.lock:
                self.failed += 1
                print(f"FAILED {name}: {type(error).__name__}: {error}")
        else:
            with self.lock:
                self.passed += 1

    def later(self, name, function, *arguments):
        thread = threading.Thread(target=self.add, args=(name, function, *arguments))
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


if __name__ == "__main__":
    sys.exit(main())
