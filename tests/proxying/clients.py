"""Clients: a connection for each request, as the published JVM client has it."""

import asyncio
import itertools
import json
import random
import time

NUMBERS = itertools.count(random.getrandbits(64))


def body(network):
    target = f"{next(NUMBERS):064x}"
    return json.dumps({"network": network, "timestamp": int(time.time() * 1000), "target": target}).encode()


def post(port, network, headers=""):
    content = body(network)
    head = (
        f"POST /works HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"connection: close\r\n{headers}content-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def open_request(port, network, headers=""):
    """A request that has been sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(port, network, headers))
    await writer.drain()
    return reader, writer


async def ask(port, network="LOCAL"):
    """The status of the answer, or what has gone wrong, and the seconds that it took. Never asks again."""
    began = time.monotonic()
    try:
        reader, writer = await open_request(port, network)
        answer = await reader.read()
        writer.close()
        status = int(answer.split(b" ", 2)[1]) if answer else "closed"
        if status == 200 and b'"work":"' not in answer:
            status = "no work"
    except OSError as error:
        status = type(error).__name__
    return status, time.monotonic() - began


async def poisson(ports, rate, count):
    """So many requests at this rate, each at any of the ports. Their statuses and times."""
    tasks = []
    for _ in range(count):
        await asyncio.sleep(random.expovariate(rate))
        tasks.append(asyncio.create_task(ask(random.choice(ports))))
    return await asyncio.gather(*tasks)


async def while_going_on(port, clients, work):
    """What `work` returns, and the statuses of what this many clients asked meanwhile, each again and again."""
    done = asyncio.Event()
    statuses = []

    async def client():
        while not done.is_set():
            status, _ = await ask(port)
            statuses.append(status)

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    try:
        result = await work()
    finally:
        done.set()
        await asyncio.gather(*tasks)
    return result, statuses
