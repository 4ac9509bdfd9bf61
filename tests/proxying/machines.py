"""Servers and proxies as processes, each at ports of its own."""

import contextlib
import http.client
import pathlib
import re
import signal
import socket
import subprocess
import time

import yaml

# Seconds that anything may take which should take milliseconds.
SOON = 60.0
ENVOY = pathlib.Path("deploy/envoy/envoy.yaml")
HAPROXY = pathlib.Path("deploy/haproxy/haproxy.cfg")


def free_ports(count):
    """So many ports that are free. All are held until the last one is found, so that no two are the same."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(contextlib.closing(socket.socket())) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return tuple(listener.getsockname()[1] for listener in listeners)


def get(port, path):
    """Status and text of a GET, or None if there is no answer."""
    try:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SOON)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
    except (OSError, http.client.HTTPException):
        return None, ""


def wait_for(what, condition):
    deadline = time.monotonic() + SOON
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {SOON} s")
        time.sleep(0.005)


class Process:
    """A process whose output goes to a file. It is killed at the end, if it has not ended by itself."""

    def __init__(self, folder, name, command, environment=None):
        self.log = pathlib.Path(folder) / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SOON)


class Server(Process):
    """A server on a device that takes `mean` seconds for a LOCAL search, and never ends another."""

    def __init__(self, program, folder, mean, slots=4, capacity=1000, ports=None):
        self.arguments = (program, folder, mean, slots, capacity)
        self.ports = ports or free_ports(2)
        self.port, self.management = self.ports
        addresses = [f"127.0.0.1:{port}" for port in self.ports]
        command = [program, *addresses, str(mean), str(slots), str(capacity)]
        super().__init__(folder, f"server-{self.port}", command)
        wait_for("a server", lambda: get(self.management, "/health/readiness")[0] == 200)

    def again(self):
        """Another one at the same addresses."""
        return Server(*self.arguments, ports=self.ports)

    def metric(self, name):
        """The sum over all labels."""
        _, text = get(self.management, "/prometheus")
        values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M)
        return sum(map(float, values))

    def searches(self):
        return self.metric("atto_work_searches_running") + self.metric("atto_work_queue_depth")


class Envoy(Process):
    """Envoy with the configuration of deploy/, but for the addresses and what is told here."""

    def __init__(self, program, folder, servers, hedge=None):
        """`hedge`: seconds until a further copy is sent; none if there is none."""
        self.port, admin = free_ports(2)
        configuration = yaml.safe_load(ENVOY.read_text())
        configuration["admin"]["address"]["socket_address"]["port_value"] = admin
        (listener,) = configuration["static_resources"]["listeners"]
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": self.port}
        (route,) = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
        if hedge:
            route["route"]["retry_policy"]["per_try_timeout"] = f"{hedge:.3f}s"
        else:
            del route["route"]["retry_policy"]["per_try_timeout"], route["route"]["hedge_policy"]
        (cluster,) = configuration["static_resources"]["clusters"]
        (endpoints,) = cluster["load_assignment"]["endpoints"]
        endpoints["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": server.port}}}}
            for server in servers
        ]
        path = pathlib.Path(folder) / f"envoy-{self.port}.yaml"
        path.write_text(yaml.safe_dump(configuration))
        options = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
        super().__init__(folder, f"envoy-{self.port}", [program, "-c", str(path), *options])
        wait_for("Envoy", lambda: get(self.port, "/health")[0] == 200)


class HAProxy(Process):
    """HAProxy with the configuration of deploy/, but for the addresses and what is told here."""

    def __init__(self, folder, servers, most=None):
        """`most`: how many requests a server has at once, in the place of the configuration's."""
        self.port, statistics = free_ports(2)
        text = HAPROXY.read_text()
        text = text.replace("bind :::8080 v4v6", f"bind 127.0.0.1:{self.port}")
        text = text.replace("bind :::8404 v4v6", f"bind 127.0.0.1:{statistics}")

        def named(line):
            options = line[1].replace("resolvers names", "").replace("init-addr none", "")
            if most:
                options = re.sub(r"maxconn \d+", f"maxconn {most}", options)
            return "\n".join(f"    server s{server.port} 127.0.0.1:{server.port} {options}" for server in servers)

        text, count = re.subn(r"^    server-template \S+ \S+ \S+(.*)$", named, text, flags=re.M)
        assert count == 2, text
        path = pathlib.Path(folder) / f"haproxy-{self.port}.cfg"
        path.write_text(text)
        super().__init__(folder, f"haproxy-{self.port}", ["haproxy", "-db", "-f", str(path)])
        wait_for("HAProxy", lambda: get(self.port, "/health")[0] == 200)
