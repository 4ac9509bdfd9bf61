"""Clients that count each failure, and never ask again by themselves."""

import collections
import hashlib
import json
import math
import random
import select
import socket
import threading
import time

# Seconds until an answer counts as lost.
PATIENCE = 120
FACTORS = {"LIVE": 1, "BETA": 10, "DEV": 100, "LOCAL": 100_000}


def threshold(network, timestamp):
    """(2^33 − 1) · factor / floor(2^((year − 2024) / 2)), as the network defines it."""
    years = time.gmtime(timestamp / 1000).tm_year - 2024
    return (2**33 - 1) * FACTORS[network] // math.isqrt(2**years)


def is_valid(network, timestamp, target, work):
    """By another Blake2b than the server's."""
    digest = hashlib.blake2b(bytes.fromhex(work) + bytes.fromhex(target), digest_size=8).digest()
    return int.from_bytes(digest, "little") <= threshold(network, timestamp)


class Connection:
    """HTTP/1.1, written by hand: no library may send a request twice."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.settimeout(PATIENCE)
        self.reader = self.socket.makefile("rb")
        self.host = f"[{address[0]}]" if ":" in address[0] else address[0]

    def close(self):
        self.reader.close()
        self.socket.close()

    def is_closed(self):
        """Whether the server has closed it while it was idle. HTTP libraries look before they send."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def send(self, network, closing=False, headers=""):
        """Sends a request for a target of its own."""
        self.asked = (network, int(time.time() * 1000), random.randbytes(32).hex())
        body = json.dumps(dict(zip(("network", "timestamp", "target"), self.asked)))
        close = "connection: close\r\n" if closing else ""
        self.socket.sendall(
            f"POST /works HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: application/json\r\n{close}{headers}"
            f"content-length: {len(body)}\r\n\r\n{body}".encode()
        )

    def receive(self):
        """What became of it, and whether the connection can be used again."""
        first = self.reader.readline()
        if not first:
            return "closed without an answer", False
        status = int(first.split(b" ", 2)[1])
        headers = {}
        while line := self.reader.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self.reader.read(int(headers.get("content-length", 0)))
        is_kept = headers.get("connection", "").lower() != "close"
        if status != 200:
            return f"{status} {json.loads(body).get('code', '')}".strip(), is_kept
        return ("ok" if is_valid(*self.asked, json.loads(body)["work"]) else "a wrong work"), is_kept


def ask(address, network="LOCAL", headers=""):
    """The outcome of one request on a connection of its own, and the seconds that it took."""
    began = time.monotonic()
    try:
        connection = Connection(address)
    except OSError as error:
        return f"connect: {error}", time.monotonic() - began
    try:
        connection.send(network, closing=True, headers=headers)
        outcome, _ = connection.receive()
    except OSError as error:
        outcome = f"answer: {error}"
    finally:
        connection.close()
    return outcome, time.monotonic() - began


class Load:
    """Clients that ask again and again while the block runs.

    `kept` keep their connections and ask every 10 ms, `anew` connect for each request. `seldom` keep theirs too and ask
    every 6 s: the server may close such a connection just as a request is under way on it, which HTTP/1.1 cannot exclude
    and clients repeat. These are counted apart, as `crossed`.
    """

    def __init__(self, address, kept=8, anew=4, seldom=0, headers=""):
        self.address = address
        self.headers = headers
        self.end = threading.Event()
        self.lock = threading.Lock()
        self.outcomes = collections.Counter()
        self.times = []
        self.crossed = 0
        self.threads = [
            threading.Thread(target=self.client, args=arguments, daemon=True)
            for arguments in [(0.01, False)] * kept + [(0.01, True)] * anew + [(6, False)] * seldom
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        for thread in self.threads:
            thread.join()

    def client(self, pause, closing):
        connection = None
        while not self.end.wait(pause if pause < 1 else random.uniform(0, 2 * pause)):
            if connection and connection.is_closed():
                connection.close()
                connection = None
            began = time.monotonic()
            is_used = connection is not None
            try:
                connection = connection or Connection(self.address)
                connection.send("LOCAL", closing, self.headers)
                outcome, is_kept = connection.receive()
            except OSError as error:
                outcome, is_kept = f"{type(error).__name__}: {error}", False
            with self.lock:
                self.times.append(time.monotonic() - began)
                if pause > 1 and is_used and not is_kept and outcome.startswith(("closed", "Connection", "BrokenPipe")):
                    self.crossed += 1
                else:
                    self.outcomes[outcome] += 1
            if not is_kept and connection:
                connection.close()
                connection = None
        if connection:
            connection.close()

    @property
    def failed(self):
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "ok"}

    def __str__(self):
        times = sorted(self.times)
        p50, p99 = (1000 * times[int(share * (len(times) - 1))] for share in (0.5, 0.99)) if times else (0, 0)
        crossed = f", {self.crossed} crossed" if self.crossed else ""
        return f"{self.outcomes['ok']} answered, {sum(self.failed.values())} failed{crossed}; p50 {p50:.0f}, p99 {p99:.0f} ms"
