"""The server behind real proxies. Run by tests/proxies, which sets up what this needs.

What a proxy must do is asserted; how long it takes is printed, since no test may depend on that.
"""

import argparse
import asyncio
import collections
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time

from clients import ask, open_request, poisson, while_going_on
from machines import ENVOY, HAPROXY, Envoy, HAProxy, Process, Server, free_ports, get, wait_for

# Seconds of a search.
MEAN = float(os.environ.get("PROXIES_MEAN", "0.1"))
KUBERNETES = pathlib.Path("k8s/components/queue-haproxy/haproxy.cfg")


class Bench:
    def __init__(self, arguments, test):
        self.arguments = arguments
        self.folder = pathlib.Path(arguments.folder) / "run" / test
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.stack = contextlib.ExitStack()

    def server(self, mean=MEAN, **options):
        return self.stack.enter_context(Server(self.arguments.paced, self.folder, mean, **options))

    def servers(self, count, **options):
        return [self.server(**options) for _ in range(count)]

    def envoy(self, servers, hedge=None):
        return self.stack.enter_context(Envoy(self.arguments.envoy, self.folder, servers, hedge))

    def haproxy(self, servers, most=None):
        return self.stack.enter_context(HAProxy(self.folder, servers, most))

    def proxies(self, servers):
        """Each proxy as it is recommended; Envoy's copies after half the mean time of a search."""
        yield "Envoy", self.envoy(servers, hedge=MEAN / 2)
        yield "HAProxy", self.haproxy(servers)


def expect(what, found, wanted):
    if found != wanted:
        raise AssertionError(f"{what}: {found}, not {wanted}")


def all_answered(what, statuses):
    counts = collections.Counter(statuses)
    print(f"    {what}: {dict(counts)}")
    if not counts or set(counts) != {200}:
        raise AssertionError(f"{what}: {dict(counts)}")


def configurations_are_valid(bench):
    """By the programs that read them."""
    envoy = [bench.arguments.envoy, "--mode", "validate", "--log-level", "warning", "-c", str(ENVOY)]
    for command in (envoy, *(["haproxy", "-c", "-f", str(path)] for path in (HAPROXY, KUBERNETES))):
        done = subprocess.run(command, capture_output=True, text=True)
        print(f"    {command[-1]}: {(done.stdout + done.stderr).strip().splitlines()[-1]}")
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        if "warning" in (done.stdout + done.stderr).lower():
            raise AssertionError(done.stdout + done.stderr)


async def least_busy(bench):
    """Searches that never end, as many as servers: behind HAProxy each server has one; Envoy draws two servers at random."""
    servers = bench.servers(4)
    for name, proxy in (("Envoy", bench.envoy(servers)), ("HAProxy", bench.haproxy(servers))):
        clients = []
        for number in range(len(servers)):
            clients.append(await open_request(proxy.port, "DEV"))
            wait_for("a search", lambda: sum(server.searches() for server in servers) == number + 1)
        spread = [int(server.searches()) for server in servers]
        print(f"    {name}: {spread}")
        if name == "HAProxy":
            expect("searches of each server", spread, [1] * 4)
        await hang_up(name, clients, servers)


async def hang_up(name, clients, servers):
    """A search ends when its client hangs up."""
    times = []
    for left, (_, writer) in reversed(list(enumerate(clients))):
        began = time.monotonic()
        writer.close()
        await writer.wait_closed()
        wait_for("the end of a search", lambda: sum(server.searches() for server in servers) == left)
        times.append(1000 * (time.monotonic() - began))
    print(f"    {name}: a hang-up ends the search within {max(times):.0f} ms")


async def refused(bench):
    """A server that refuses everything with 503 costs no request."""
    servers = bench.servers(2)
    full = bench.server(slots=1, capacity=0)
    _, writer = await open_request(full.port, "DEV")
    wait_for("the search that fills it", lambda: full.searches() == 1)
    expect("the full server's answer", (await ask(full.port))[0], 503)
    servers.append(full)
    for name, proxy in bench.proxies(servers):
        before = full.metric("atto_work_requests_total")
        answers = [await ask(proxy.port) for _ in range(40)]
        refusals = full.metric("atto_work_requests_total") - before
        all_answered(f"{name}, of three servers one refuses ({refusals:.0f} times)", [status for status, _ in answers])
        proxy.kill()
    writer.close()


async def death(bench):
    """A server that dies with searches costs no request."""
    for name in ("Envoy", "HAProxy"):
        servers = bench.servers(3)
        proxy = bench.envoy(servers, hedge=MEAN / 2) if name == "Envoy" else bench.haproxy(servers)

        async def work():
            for _ in range(3):
                await asyncio.sleep(0.5)
                wait_for("a search on it", lambda: servers[0].searches() > 0)
                servers[0].kill()
                await asyncio.sleep(0.5)
                servers[0] = bench.stack.enter_context(servers[0].again())

        _, statuses = await while_going_on(proxy.port, 6, asynchronous(work))
        all_answered(f"{name}, a server killed three times", statuses)


def asynchronous(work):
    """The loop must run while this waits for processes."""

    async def run():
        return await asyncio.to_thread(lambda: asyncio.run(work()))

    return run


async def rolling_restart(bench):
    """Servers that are restarted one after another cost no request."""
    for name in ("Envoy", "HAProxy"):
        servers = bench.servers(3)
        proxy = bench.envoy(servers, hedge=MEAN / 2) if name == "Envoy" else bench.haproxy(servers)

        async def work():
            for place, server in enumerate(servers):
                expect("exit", server.terminate(), 0)
                servers[place] = bench.stack.enter_context(server.again())
                # Until the proxy's checks have found it.
                await asyncio.sleep(3)

        _, statuses = await while_going_on(proxy.port, 6, asynchronous(work))
        all_answered(f"{name}, three servers restarted", statuses)


async def table(bench):
    """p50, p95 and p99 of each way, at 70 %, in means of one search."""
    servers = bench.servers(8)
    count = bench.arguments.requests
    rate = 0.7 * len(servers) / MEAN
    ports = [server.port for server in servers]
    print(f"    8 servers, 70 % busy, searches of {MEAN} s on average, {count} requests a row; in means of one search")
    print(f"    {'':<44} {'p50':>6} {'p95':>6} {'p99':>6} {'mean':>6} {'copies':>7}")
    rows = [
        ("a server at random", lambda: None),
        ("Envoy, no copies", lambda: bench.envoy(servers)),
        ("Envoy as in deploy/ (copies after 0.5 mean)", lambda: bench.envoy(servers, hedge=MEAN / 2)),
        ("Envoy, copies after 1 mean", lambda: bench.envoy(servers, hedge=MEAN)),
        ("HAProxy as in deploy/ (1 a server)", lambda: bench.haproxy(servers)),
        ("HAProxy, 2 a server", lambda: bench.haproxy(servers, most=2)),
    ]
    for name, start in rows:
        proxy = start()
        before = sum(server.metric("atto_work_requests_total") for server in servers)
        answers = await poisson([proxy.port] if proxy else ports, rate, count)
        expect(f"{name}: statuses", {status for status, _ in answers}, {200})
        wait_for("the servers' end", lambda: sum(server.searches() for server in servers) == 0)
        copies = (sum(server.metric("atto_work_requests_total") for server in servers) - before) / count
        times = sorted(seconds / MEAN for _, seconds in answers)
        p50, p95, p99 = (times[int(share * (len(times) - 1))] for share in (0.5, 0.95, 0.99))
        mean = sum(times) / len(times)
        print(f"    {name:<44} {p50:>6.2f} {p95:>6.2f} {p99:>6.2f} {mean:>6.2f} {copies:>7.2f}")
        if proxy:
            proxy.kill()


async def cancelled_copy(bench):
    """What a search that is cancelled costs the next one: how long a LOCAL work takes right after it, and otherwise."""
    for backend in ("cpu", "gpu"):
        ports = free_ports(2)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ATTO_WORK_")}
        environment |= {
            "ATTO_WORK_BACKEND": backend,
            "ATTO_WORK_ADDRESS": f"127.0.0.1:{ports[0]}",
            "ATTO_WORK_MANAGEMENT_ADDRESS": f"127.0.0.1:{ports[1]}",
        }
        process = Process(bench.folder, f"real-{backend}", [bench.arguments.server], environment)
        with process:
            with contextlib.suppress(TimeoutError):
                wait_for(
                    "the real server",
                    lambda: get(ports[1], "/health/readiness")[0] == 200 or process.process.poll() is not None,
                )
            if get(ports[1], "/health/readiness")[0] != 200:
                print(f"    {backend}: not measured, no such device")
                continue
            idle, after = [], []
            for _ in range(20):
                status, seconds = await ask(ports[0])
                expect("a LOCAL work", status, 200)
                idle.append(seconds)
                _, writer = await open_request(ports[0], "LIVE")
                await asyncio.sleep(0.1)
                writer.close()
                status, seconds = await ask(ports[0])
                expect("a LOCAL work", status, 200)
                after.append(seconds)
            idle, after = (1000 * sorted(times)[len(times) // 2] for times in (idle, after))
            print(f"    {backend}: a LOCAL work takes {idle:.1f} ms, and {after:.1f} ms right after a cancelled LIVE search (medians of 20)")


def main():
    parser = argparse.ArgumentParser()
    for name in ("--envoy", "--folder", "--paced", "--server"):
        parser.add_argument(name, required=True)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("tests", nargs="*")
    arguments = parser.parse_args()
    failed = 0
    for test in (configurations_are_valid, least_busy, refused, death, rolling_restart, table, cancelled_copy):
        if arguments.tests and test.__name__ not in arguments.tests:
            continue
        print(f"{test.__name__}: {test.__doc__}", flush=True)
        bench = Bench(arguments, test.__name__)
        with bench.stack:
            try:
                outcome = test(bench)
                if outcome is not None:
                    asyncio.run(outcome)
            except (AssertionError, TimeoutError) as error:
                failed += 1
                print(f"FAILED {test.__name__}: {error}", flush=True)
    print(f"proxies: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
