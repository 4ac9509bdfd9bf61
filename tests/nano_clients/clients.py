"""Published clients of Nano ask the server as they ask a node or a work server, and other programs judge its works.

    clients.py URL KEY DIFFICULTY      KEY is an API key of the server, DIFFICULTY its base difficulty
"""

import asyncio
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import threading
import time

import nano_pay.rpc
import nanolib
import nanopy.rpc
import requests
from nanorpc.client_dynamic import NanoRpc, NodeVersion

URL, KEY, DIFFICULTY = sys.argv[1:]
HARD = "ffffffffe0000000"
# hash, work, difficulty: what the server gave.
works = []


def root():
    return secrets.token_hex(32).upper()


def keep(root, work, difficulty=DIFFICULTY):
    assert re.fullmatch("[0-9a-f]{16}", work), work
    works.append((root, work, difficulty))


def nanopy_client():
    """Its schemas hold every answer to the form that nano_node's have."""
    rpc = nanopy.rpc.HTTP(URL)
    rpc.api.headers["authorization"] = f"Bearer {KEY}"
    for options in ({}, {"use_peers": True}, {"difficulty": "fff0000000000000"}, {"multiplier": 2}, {"version": "work_1"}):
        hash_ = root()
        answer = rpc.work_generate(hash_, **options)
        assert answer["hash"] == hash_, answer
        keep(hash_, answer["work"], options.get("difficulty", DIFFICULTY))
        checked = rpc.work_validate(answer["work"], hash_)
        assert checked["valid_all"] == "1" or "difficulty" in options, checked
        assert checked["difficulty"] == answer["difficulty"], (checked, answer)
        assert checked["multiplier"] == answer["multiplier"], (checked, answer)
    assert rpc.work_cancel(root()) == {"success": ""}


def cancels_while_it_waits():
    """As Pippin and nano_node do once another peer was faster."""
    rpc = nanopy.rpc.HTTP(URL)
    rpc.api.headers["authorization"] = f"Bearer {KEY}"
    hash_ = root()
    answers = []

    def ask():
        body = {"action": "work_generate", "hash": hash_, "difficulty": HARD, "key": KEY}
        answers.append(requests.post(URL, json=body, timeout=60))

    thread = threading.Thread(target=ask)
    thread.start()
    while requests.post(URL, json={"action": "status", "key": KEY}, timeout=60).json()["generating"] != "1":
        time.sleep(0.02)
    rpc.work_cancel(hash_)
    thread.join()
    (answer,) = answers
    assert (answer.status_code, answer.json()) == (200, {"error": "Cancelled"}), answer.text


def nanorpc_client():
    """It sends strings only, over aiohttp, and opens a connection for each request."""

    async def ask():
        rpc = NanoRpc(url=URL, auth_key=KEY, node_version=NodeVersion.V28_0)
        hash_ = root()
        answer = await rpc.work_generate(hash_, difficulty=DIFFICULTY)
        keep(hash_, answer["work"])
        checked = await rpc.work_validate(answer["work"], hash_)
        assert checked["valid_all"] == "1", checked
        assert await rpc.work_cancel(hash_) == {"success": ""}

    asyncio.run(ask())


def feeless402_client():
    """It sends its key as a member and as a header, and asks nodes if the work server has none."""
    rpc = nano_pay.rpc.RPC(urls=[], work_urls=[URL], work_key=KEY)
    hash_ = root()
    work = rpc.work_generate(hash_, DIFFICULTY)
    assert work, "it has got no work"
    keep(hash_, work)
    wrong = nano_pay.rpc.RPC(urls=[], work_urls=[URL], work_key="nobody-has-this-key")
    assert wrong.work_generate(root(), DIFFICULTY) is None


def curl():
    """What the documentation of work servers shows."""
    hash_ = root()
    body = json.dumps({"action": "work_generate", "hash": hash_, "key": KEY})
    done = subprocess.run(["curl", "--silent", "--fail", "-d", body, URL], capture_output=True, text=True, check=True)
    keep(hash_, json.loads(done.stdout)["work"])


def judges():
    """Other implementations find every work valid, and none of them valid for another root."""
    cases = [*works, *((root(), work, "fffff00000000000") for _, work, _ in works)]
    ours = []
    for hash_, work, difficulty in cases:
        body = {"action": "work_validate", "hash": hash_, "work": work, "difficulty": difficulty, "key": KEY}
        ours.append(requests.post(URL, json=body, timeout=60).json()["valid"] == "1")
    assert ours == [True] * len(works) + [False] * len(works), ours
    by_nanolib = []
    for hash_, work, difficulty in cases:
        try:
            nanolib.validate_work(hash_, work, difficulty=difficulty)
            by_nanolib.append(True)
        except nanolib.exceptions.InvalidWork:
            by_nanolib.append(False)
    assert by_nanolib == ours, by_nanolib
    script = pathlib.Path(__file__).with_name("judge.cjs")
    text = json.dumps(cases)
    done = subprocess.run(["node", script], input=text, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ours, done.stdout


CLIENTS = (nanopy_client, cancels_while_it_waits, nanorpc_client, feeless402_client, curl)


def main():
    # No request may leave this machine.
    os.environ["no_proxy"] = "*"
    for client in CLIENTS:
        client()
        print(f"{client.__name__}: as it should be")
    judges()
    print(f"{len(works)} works: valid by nanolib and nanocurrency, and by work_validate")


if __name__ == "__main__":
    main()
