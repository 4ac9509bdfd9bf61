"""Holds the server's OpenMetrics to those who read it: the parser of Prometheus's Python client, and Prometheus itself.

    open_metrics.py parse FILE                     a page with an exemplar in it
    open_metrics.py scrape PROMETHEUS SERVER       a Prometheus that scrapes a server with its defaults, and keeps exemplars
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

TRACE = "0af7651916cd43dd8448eb211c80319c"
HISTOGRAMS = ("atto_work_request_seconds", "atto_work_wait_seconds", "atto_work_solve_seconds")
SECONDS = 120


def parse(page):
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(page)}
    kinds = {family.type for family in families.values()}
    if not {"counter", "gauge", "histogram", "summary"} <= kinds:
        raise SystemExit(f"not every kind is there: {kinds}")
    for name in HISTOGRAMS:
        exemplars = [sample.exemplar for sample in families[name].samples if sample.exemplar]
        if not exemplars or any(set(exemplar.labels) != {"trace_id"} for exemplar in exemplars):
            raise SystemExit(f"no exemplar with a trace: {name}")
    for family in families.values():
        if family.name.endswith("_seconds") != (family.unit == "seconds"):
            raise SystemExit(f"{family.name} has the unit {family.unit!r}")
        if any(sample.labels.get("application") != "atto-work-server" for sample in family.samples):
            raise SystemExit(f"{family.name} lacks the label application")
    print(f"{len(families)} families, {sum(len(family.samples) for family in families.values())} samples")


def scrape(prometheus, server):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        log = folder / "server.log"
        # There is no collector. Requests are sampled all the same.
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
        ports = ["--address", "127.0.0.1:0", "--management-address", "127.0.0.1:0", "--log-format", "json"]
        with open(log, "w") as output:
            serving = subprocess.Popen(
                [server, "serve", "--backend", "cpu", *ports], stdout=output, stderr=output, env=environment
            )
        scraping = None
        try:
            ready = until("the server is ready", lambda: re.search(r'\{.*"message":"ready".*\}', log.read_text()))
            ready = json.loads(ready[0])
            configuration = folder / "prometheus.yml"
            configuration.write_text(
                json.dumps(
                    {
                        "global": {"scrape_interval": "2s"},
                        "scrape_configs": [
                            {
                                "job_name": "atto-work-server",
                                "metrics_path": "/prometheus",
                                "static_configs": [{"targets": [ready["management_address"]]}],
                            }
                        ],
                    }
                )
            )
            ask(ready["address"])
            address = f"127.0.0.1:{free_port()}"
            with open(folder / "prometheus.log", "w") as output:
                scraping = subprocess.Popen(
                    [
                        prometheus,
                        f"--config.file={configuration}",
                        f"--storage.tsdb.path={folder / 'data'}",
                        f"--web.listen-address={address}",
                        "--enable-feature=exemplar-storage",
                    ],
                    stdout=output,
                    stderr=output,
                )
            up = until("it is scraped", lambda: query(address, "query", query="up == 1"))
            assert len(up["result"]) == 1, up
            now = time.time()
            window = {"start": now - 3600, "end": now + 60}
            for name in HISTOGRAMS:
                found = until(
                    f"{name} has an exemplar",
                    lambda name=name: query(address, "query_exemplars", query=f"{name}_bucket", **window),
                )
                traces = {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}
                if traces != {TRACE}:
                    raise SystemExit(f"{name}: {traces}")
            print("Prometheus scrapes with its defaults, and its exemplars lead to the trace")
        finally:
            for process in (scraping, serving):
                if process:
                    process.terminate()
                    process.wait()


def ask(address):
    """A work, for a caller whose trace is sampled."""
    timestamp = int(time.time() * 1000)
    body = json.dumps({"network": "LOCAL", "timestamp": timestamp, "target": "07" * 32}).encode()
    headers = {"content-type": "application/json", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    request = urllib.request.Request(f"http://{address}/works", body, headers)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        assert answer.status == 200


def query(address, kind, **parameters):
    """What Prometheus answers; None if it answers nothing or not at all."""
    url = f"http://{address}/api/v1/{kind}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            data = json.load(answer)["data"]
    except OSError:
        return None
    return data if (data["result"] if isinstance(data, dict) else data) else None


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, condition):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise SystemExit(f"not within {SECONDS} s: {what}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["parse", file]:
            parse(pathlib.Path(file).read_text())
        case ["scrape", prometheus, server]:
            scrape(prometheus, server)
        case _:
            sys.exit(__doc__)
