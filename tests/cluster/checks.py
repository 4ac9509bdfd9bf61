"""What is checked. A check is given the cluster, raises if something is wrong, and returns what it has seen in a line."""

import base64
import concurrent.futures
import hashlib
import re
import secrets
import threading
import time

import processes
from clients import Connection, Load, ask
from cluster import NAME, ROOT, Failed, LeftOut, container, expect, one_line, reason, wait_for
from definitions import SOURCES, definitions

CHECKS = {}


def check(function):
    CHECKS[function.__name__.replace("_", "-")] = function
    return function


def expect_none_failed(load):
    if load.failed or not load.outcomes["ok"]:
        raise Failed(f"{load}: {load.failed}")


@check
def admission(cluster):
    """The API server accepts every overlay, every patch that can be chosen, and the manifests in a single file."""
    accepted, left_out = 0, []
    with cluster.namespace() as namespace, definitions(cluster) as lacking:

        def is_accepted(name, *arguments):
            nonlocal accepted
            try:
                namespace.run("apply", "--dry-run=server", *arguments)
            except Failed as error:
                missing = [group for group in lacking if f'"{group}/' in str(error)]
                if not missing:
                    raise Failed(f"{name}: {error}") from None
                left_out.append(f"{name} ({lacking[missing[0]]})")
                return
            if cluster.warnings:
                raise Failed(f"{name}: {cluster.warnings}")
            accepted += 1

        for overlay in sorted((ROOT / "k8s/overlays").iterdir()):
            with cluster.kustomization(namespace.name, overlay) as folder:
                is_accepted(overlay.name, "--kustomize", folder)
            for name in re.findall(r"# - path: (\S+)", (overlay / "kustomization.yaml").read_text()):
                with cluster.kustomization(namespace.name, overlay, files=[overlay / name]) as folder:
                    is_accepted(f"{overlay.name} with {name}", "--kustomize", folder)
        for path in sorted((ROOT / "k8s").glob(f"{NAME}-*.yaml")):
            is_accepted(path.name, "--filename", str(path))
    kinds = f"with the definitions of {len(SOURCES) - len(lacking)} groups of custom resources"
    rest = f"; left out: {', '.join(left_out)}" if left_out else ""
    return f"{accepted} accepted without a warning, {kinds}{rest}"


@check
def ready(cluster):
    """The overlay for processors becomes ready, and its work is valid."""
    with cluster.namespace() as namespace:
        seconds = namespace.deploy()
        address = namespace.reach()[0]
        outcome, took = ask(address)
        expect("a LOCAL work", outcome, "ok")
        version = namespace.status(namespace.pods()[0])["server"]["commit"][:7]
        return f"two pods ready after {seconds:.0f} s; a valid LOCAL work after {1000 * took:.0f} ms (commit {version})"


@check
def rollouts(cluster):
    """Two rollouts fail no request."""
    with cluster.served() as (namespace, address):
        with Load(address, seldom=50) as load:
            for _ in range(2):
                time.sleep(3)
                namespace.run("rollout", "restart", f"deployment/{NAME}")
                namespace.wait_until_replaced()
        expect_none_failed(load)
        return str(load)


@check
def undo(cluster):
    """A rollout with a wrong variable stops at its first pod, says why, and is undone; no request fails."""
    with cluster.served() as (namespace, address):
        with Load(address) as load:
            namespace.run("set", "env", f"deployment/{NAME}", "ATTO_WORK_THREADS=many")
            end = wait_for("the end of a new pod", namespace.last_end)
            time.sleep(3)
            namespace.run("rollout", "undo", f"deployment/{NAME}")
            namespace.wait_until_replaced()
        expect_none_failed(load)
        expect("the exit status", end["exitCode"], 64)
        if "ATTO_WORK_THREADS" not in end.get("message", "") and "--threads" not in end.get("message", ""):
            raise Failed(f"`kubectl describe pod` does not name the variable: {end}")
        return f"{load}; `describe pod`: {reason(end)}"


@check
def evictions(cluster):
    """A drain takes one pod at a time, and fails no request."""
    with cluster.served() as (namespace, address):

        def evict(pod):
            name = pod["metadata"]["name"]
            path = f"/api/v1/namespaces/{namespace.name}/pods/{name}/eviction"
            body = f'{{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {{"name": "{name}"}}}}'
            try:
                cluster.run("create", "--raw", path, "--filename", "-", stdin=body)
            except Failed as error:
                if "disruption budget" not in str(error):
                    raise
                return False
            return True

        with Load(address) as load:
            time.sleep(2)
            first, second = namespace.pods()
            expect("the first eviction", evict(first), True)
            began = time.monotonic()
            expect("a second one at once", evict(second), False)
            wait_for("the second eviction", lambda: evict(second))
            waited = time.monotonic() - began
            namespace.wait_until_replaced()
        expect_none_failed(load)
        return f"{load}; the second eviction was allowed after {waited:.1f} s"


@check
def deletion(cluster):
    """A pod that is deleted answers what it has accepted: with a work, or after its grace with 503."""
    with cluster.namespace() as namespace:
        namespace.deploy()
        pod = namespace.pods()[0]
        namespace.run("label", "pod", pod["metadata"]["name"], "chosen=yes")
        own = namespace.reach("one-pod", {"chosen": "yes"})[0]
        address = namespace.reach()[0]
        with concurrent.futures.ThreadPoolExecutor() as pool, Load(address, 4, 2) as load:
            asked = [pool.submit(ask, own, network) for network in ("LIVE", "DEV", "DEV", "LOCAL")]
            time.sleep(1)
            began = time.monotonic()
            namespace.run("delete", "pod", pod["metadata"]["name"], "--wait=false")
            outcomes = [future.result() for future in asked]
            namespace.wait_until_replaced()
            ended = time.monotonic() - began
        expect_none_failed(load)
        for outcome, seconds in outcomes:
            if outcome not in ("ok", "503 SHUTTING_DOWN"):
                raise Failed(f"a search in progress: {outcome} after {seconds:.0f} s")
        shown = ", ".join(f"{outcome} after {seconds:.0f} s" for outcome, seconds in outcomes)
        return f"LIVE, DEV, DEV, LOCAL: {shown}; gone after {ended:.0f} s; beside them {load}"


@check
def starting_pods_end(cluster):
    """A pod that is deleted while it starts is gone at once, without an error."""
    with cluster.namespace() as namespace:
        namespace.deploy(replicas=1, ready=False)
        times = []
        for pause in (0, 0.3, 0.6, 0.9, 1.2, 1.5):
            pod = wait_for("a pod", namespace.pods)[0]
            wait_for("its node", lambda: namespace.get("pod", pod["metadata"]["name"])["spec"].get("nodeName"))
            time.sleep(pause)
            began = time.monotonic()
            namespace.run("delete", "pod", pod["metadata"]["name"], "--wait=false")
            name = pod["metadata"]["name"]
            wait_for("its end", lambda: name not in namespace.run("get", "pods", "--output", "name"), 60)
            times.append(time.monotonic() - began)
        namespace.wait_until_rolled_out()
        expect("restarts", namespace.restarts(), 0)
        return f"gone after {min(times):.1f} to {max(times):.1f} s (the delay of 5 s counts once it is ready)"


@check
def addresses(cluster):
    """Services of one address family and of both answer, each by all of its addresses."""
    with cluster.namespace() as namespace:
        namespace.deploy(replicas=1)
        families = namespace.get("service", NAME)["spec"]["ipFamilies"]
        shown = []
        for wanted, policy in (
            (["IPv4"], "SingleStack"),
            (["IPv6"], "SingleStack"),
            (["IPv4", "IPv6"], "RequireDualStack"),
        ):
            name = "-".join(wanted).lower()
            try:
                found = namespace.reach(name, families=wanted, policy=policy)
            except Failed as error:
                # What the API server says where it is not set up for a family.
                if "not configured on this cluster" not in str(error):
                    raise
                shown.append(f"{' and '.join(wanted)}: not in this cluster")
                continue
            for address in found:
                expect(f"a work from {address[0]}", ask(address)[0], "ok")
            shown.append(f"{' and '.join(wanted)}: {len(found)} of {len(wanted)} answer")
            expect("addresses", len(found), len(wanted))
        return f"pods of {families[0]} first; " + "; ".join(shown)


@check
def probes(cluster, seconds=120):
    """Probes hold for two minutes in which every core of the pods searches."""
    with cluster.served() as (namespace, address):
        end = threading.Event()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            busy = [pool.submit(search_until, end, address) for _ in range(8)]
            asked = failed = 0
            try:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    for pod in namespace.pods():
                        path = f"/api/v1/namespaces/{namespace.name}/pods/{pod['metadata']['name']}:8081/proxy/health/readiness"
                        asked += 1
                        failed += '"UP"' not in cluster.run("get", "--raw", path)
                    time.sleep(0.5)
                running = sum(namespace.status(pod)["queue"]["running"] for pod in namespace.pods())
            finally:
                end.set()
            for future in busy:
                future.result()
        expect("failed questions of readiness", failed, 0)
        expect("restarts", namespace.restarts(), 0)
        unhealthy = [event["message"] for event in namespace.events("Unhealthy") if "startup" not in event["message"].lower()]
        expect("events Unhealthy", unhealthy, [])
        return f"{asked} questions, all UP, with {running} LIVE searches at the end; no event Unhealthy, no restart"


def search_until(end, address):
    """Keeps LIVE searches going, and hangs up at the end."""
    while not end.is_set():
        connection = Connection(address)
        connection.send("LIVE")
        while not end.wait(0.2) and not connection.is_closed():
            pass
        connection.close()


@check
def limits(cluster):
    """A search thread for each whole core of the limit."""
    found = {}
    for limit, wanted in (("500m", 1), ("1500m", 1), ("2500m", 2)):
        with cluster.namespace() as namespace:
            namespace.deploy(replicas=1, cpu=limit)
            (device,) = namespace.status(namespace.pods()[0])["devices"]
            found[limit] = device["engines"]
            at_most = max(int(node["status"]["capacity"]["cpu"]) for node in cluster.nodes())
            expect(f"threads with {limit}", device["engines"], min(wanted, at_most))
    return ", ".join(f"{limit}: {threads}" for limit, threads in found.items())


@check
def no_card(cluster):
    """`kubectl describe pod` says why there is no card."""
    with cluster.namespace() as namespace:
        namespace.deploy(replicas=1, environment={"ATTO_WORK_BACKEND": "gpu"}, ready=False)

        def has_ended():
            namespace.find_missing_image()
            return namespace.last_end()

        end = wait_for("the container's end", has_ended)
        expect("the exit status", end["exitCode"], 1)
        if "Vulkan" not in end.get("message", ""):
            raise Failed(f"the message does not name Vulkan: {end}")
        return reason(end)


@check
def small_memory(cluster):
    """64 MiB are enough for a modest load."""
    with cluster.served(memory="64Mi") as (namespace, address):
        with Load(address, kept=50, anew=10) as load:
            time.sleep(20)
        expect_none_failed(load)
        expect("restarts", namespace.restarts(), 0)
        return str(load)


@check
def many_pods(cluster, count=30):
    """Thirty pods of 50m each become ready on what there is, and stay so under load."""
    with cluster.namespace() as namespace:
        try:
            seconds = namespace.deploy(count, cpu="50m", memory="64Mi")
        except Failed:
            conditions = [one_line(str(pod["status"].get("conditions"))) for pod in namespace.pods()]
            if any("Unschedulable" in text for text in conditions):
                raise LeftOut(f"the nodes have no room for {count} pods of 50m") from None
            raise
        address = namespace.reach()[0]
        with Load(address) as load:
            time.sleep(20)
        expect_none_failed(load)
        expect("restarts", namespace.restarts(), 0)
        return f"all ready after {seconds:.0f} s; {load}"


@check
def keys(cluster):
    """API keys that change ten times under load refuse no key that stays."""
    with cluster.namespace() as namespace:
        kept, *changing = (secrets.token_hex(16) for _ in range(11))

        def line(name, key):
            return f"{name}:blake2b-256:{hashlib.blake2b(key.encode(), digest_size=32).hexdigest()}\n"

        def write(*lines):
            content = base64.b64encode("".join(lines).encode()).decode()
            namespace.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": f"{NAME}-api-keys"},
                    "data": {"keys": content},
                }
            )

        def header(key):
            return f"authorization: Bearer {key}\r\n"

        write(line("kept", kept))
        namespace.deploy(components=["k8s/components/api-keys"])
        address = namespace.reach()[0]
        expect("without a key", ask(address)[0].split(" ")[0], "401")
        began = time.monotonic()
        with Load(address, headers=header(kept)) as load:
            for number, key in enumerate(changing):
                write(line("kept", kept), line(f"client-{number}", key))
                time.sleep(3)
            # Each pod's kubelet updates its file in its own time.
            wait_for(
                "the last key on both pods",
                lambda: [ask(address, headers=header(changing[-1]))[0] for _ in range(10)] == ["ok"] * 10,
                240,
            )
        expect_none_failed(load)
        expect("an old key", ask(address, headers=header(changing[0]))[0].split(" ")[0], "401")
        expect("restarts", namespace.restarts(), 0)
        return f"{load}; the last change counted after {time.monotonic() - began:.0f} s"


@check
def hung(cluster):
    """A process that hangs is replaced."""
    with cluster.namespace() as namespace:
        namespace.deploy()
        pod = namespace.pods()[0]
        processes.stop(pod)
        began = time.monotonic()
        wait_for("its restart", lambda: namespace.restarts() == 1)
        seconds = time.monotonic() - began
        namespace.wait_until_rolled_out()
        return f"replaced after {seconds:.0f} s"


@check
def killed(cluster):
    """Processes that are killed without a signal to end, as by a reboot of the node, are started again and serve."""
    with cluster.namespace() as namespace:
        namespace.deploy()
        for pod in namespace.pods():
            processes.kill(pod)
        began = time.monotonic()
        wait_for("the restarts", lambda: namespace.restarts() == 2)
        namespace.wait_until_rolled_out()
        seconds = time.monotonic() - began
        address = namespace.reach()[0]
        expect("a work", ask(address)[0], "ok")
        return f"both serve again after {seconds:.0f} s"


@check
def port_taken(cluster):
    """With the node's network and a port that is taken, `kubectl describe pod` says so."""
    # Both servers listen on the same port of the node, and only the first of them declares it.
    ports = ("18080", "18081")
    environment = {"ATTO_WORK_ADDRESS": f"[::]:{ports[0]}", "ATTO_WORK_MANAGEMENT_ADDRESS": f"[::]:{ports[1]}"}
    with cluster.namespace(labels=()) as namespace:
        node = cluster.nodes()[0]["metadata"]["name"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "spec": {
                "hostNetwork": True,
                "nodeName": node,
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "work-server",
                        "image": cluster.image,
                        "terminationMessagePolicy": "FallbackToLogsOnError",
                        "env": [{"name": name, "value": value} for name, value in environment.items()],
                    }
                ],
            },
        }
        namespace.apply({**pod, "metadata": {"name": "first"}})
        wait_for("the first", lambda: "running" in container(namespace.get("pod", "first")).get("state", {}))
        time.sleep(2)
        namespace.apply({**pod, "metadata": {"name": "second"}})
        end = wait_for("the end of the second", lambda: namespace.last_end([namespace.get("pod", "second")]))
        if ports[0] not in end.get("message", "") or end["exitCode"] == 0:
            raise Failed(f"the message does not name the port: {end}")
        return f"exit status {end['exitCode']}: {reason(end)}"
