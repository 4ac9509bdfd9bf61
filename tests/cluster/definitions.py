"""The real definitions of the custom resources that k8s/ has, where the cluster lacks them."""

import contextlib
import json
import pathlib
import shutil
import subprocess

from cluster import Failed

# Go modules: the proxy of Go has them wherever its packages are to be had.
SOURCES = {
    "monitoring.coreos.com": (
        "github.com/prometheus-operator/prometheus-operator@v0.94.0",
        "example/prometheus-operator-crd/*.yaml",
    ),
    "keda.sh": ("github.com/kedacore/keda/v2@v2.17.2", "config/crd/bases/keda.sh_*.yaml"),
    "gateway.networking.k8s.io": ("sigs.k8s.io/gateway-api@v1.4.1", "config/crd/standard/gateway*.yaml"),
    "gateway.envoyproxy.io": (
        "github.com/envoyproxy/gateway@v1.7.0",
        "charts/gateway-helm/crds/generated/*.yaml",
    ),
}
# What k8s/ has of each.
KINDS = {
    "monitoring.coreos.com": {"podmonitors", "prometheusrules"},
    "keda.sh": {"scaledobjects"},
    "gateway.networking.k8s.io": {"gatewayclasses", "gateways", "httproutes"},
    "gateway.envoyproxy.io": {"backendtrafficpolicies", "envoypatchpolicies", "envoyproxies"},
}


@contextlib.contextmanager
def definitions(cluster):
    """Installs what is missing, and takes it away again. Yields why groups cannot be checked, by their name."""
    there = cluster.run("get", "customresourcedefinitions", "--output", "name")
    installed, lacking = [], {}
    try:
        for group, (module, pattern) in SOURCES.items():
            wanted = [f"{kind}.{group}" for kind in KINDS[group]]
            missing = [name for name in wanted if f"/{name}\n" not in there]
            if not missing:
                continue
            try:
                folder = download(module)
            except Failed as error:
                lacking[group] = str(error)
                continue
            for path in sorted(folder.glob(pattern)):
                text = path.read_text()
                name = next((name for name in missing if f"name: {name}\n" in text), None)
                if name:
                    # Some are too long for the annotation that a client's apply leaves.
                    cluster.run("create", "--filename", "-", stdin=text)
                    installed.append(name)
            for name in set(missing) - set(installed):
                lacking[group] = f"{module} has no definition of {name}"
        for name in installed:
            cluster.run("wait", "--for=condition=Established", f"customresourcedefinition/{name}")
        yield lacking
    finally:
        if installed:
            cluster.run("delete", "customresourcedefinitions", *installed, seconds=120)


def download(module):
    """The folder of a Go module."""
    if not shutil.which("go"):
        raise Failed("no Go, by whose modules the definitions are had")
    done = subprocess.run(
        ["go", "mod", "download", "-json", module], capture_output=True, text=True, cwd="/", timeout=300, check=False
    )
    answer = json.loads(done.stdout or "{}")
    if "Dir" not in answer:
        raise Failed(f"{module} cannot be had: {answer.get('Error', done.stderr.strip())}")
    return pathlib.Path(answer["Dir"])

