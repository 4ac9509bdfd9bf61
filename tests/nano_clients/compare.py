"""The same requests to this server and to nano-work-server 0.3.1: every difference must be one of those that docs/nano.md lists.

    compare.py URL URL_OF_NANO_WORK_SERVER      both with Nano's base difficulty and without keys
"""

import json
import sys

import requests

OURS, THEIRS = sys.argv[1:]
ROOT = "718CC2121C3E641059BC1C2CFC45666C99E8AE922F7A807B7D07B62C995D79E2"
EASY = "fff0000000000000"
WORKS = ("2b3d689bbcb21dca", "2bf29ef00786a6bc", "0000000000000000", "ffffffffffffffff", "01")


def generate(**members):
    return {"action": "work_generate", "hash": ROOT, **members}


def validate(**members):
    return {"action": "work_validate", "hash": ROOT, "work": WORKS[0], **members}


# Answered alike, but for the form of numbers.
ALIKE = [
    *(validate(work=work) for work in WORKS),
    *(validate(work=work, difficulty="ffffffd21c3933f4") for work in WORKS),
    *(validate(work=work, difficulty="1", multiplier="0.1") for work in WORKS),
    validate(hash=ROOT.lower()),
    validate(multiplier="1.5"),
    generate(difficulty=EASY),
    generate(multiplier="0.000001"),
    generate(difficulty=EASY, account="nano_1", use_peers="true", key="any", version="work_1"),
    generate(difficulty="0"),
    {"action": "status"},
    {"action": "work_cancel", "hash": ROOT},
    {},
    {"action": "work_generate"},
    {"hash": ROOT},
    [],
    "text",
    generate(hash=""),
    generate(hash=ROOT[:-2]),
    generate(hash=ROOT + "00"),
    generate(hash="x" * 64),
    generate(hash=7),
    {"action": "unknown", "hash": ROOT},
]
# What each says instead, and why.
DIFFERENT = [
    (generate(difficulty="x"), "Bad difficulty", "Failed to deserialize JSON", "the error names the member"),
    (generate(difficulty="f" * 17), "Bad difficulty", "Failed to deserialize JSON", "the error names the member"),
    (generate(multiplier="x"), "Bad multiplier", "Failed to deserialize JSON", "the error names the member"),
    (generate(multiplier="0"), "Bad multiplier", "Failed to deserialize JSON", "the error names the member"),
    (validate(work=""), "Bad work", "Failed to deserialize JSON", "the error names the member"),
    (validate(work="f" * 18), "Bad work", "Failed to deserialize JSON", "the error names the member"),
    (validate(work="1"), None, "Failed to deserialize JSON", "an odd number of digits is a number too"),
    (generate(difficulty=None, multiplier="0.000001"), None, "Failed to deserialize JSON", "null counts as left out"),
    (generate(multiplier=0.000001), None, "Failed to deserialize JSON", "numbers are read"),
    (generate(difficulty=0), None, "Failed to deserialize JSON", "numbers are read"),
    (generate(difficulty="+1"), "Bad difficulty", None, "it is no hex number"),
    (generate(multiplier="inf"), "Bad multiplier", None, "any work would do"),
    (
        generate(multiplier="1e300"),
        "Difficulty above config limit or below publish threshold",
        None,
        "any work would do",
    ),
    (generate(version="work_2", difficulty=EASY), "Bad work version", None, "there is no such work"),
    ({"action": "benchmark"}, "Unknown command", "Failed to deserialize JSON", "work-server bench measures"),
]


def ask(url, body):
    answer = requests.post(url, data=json.dumps(body), timeout=60)
    return answer.status_code, answer.json()


def form(answer):
    """What both have in common: their own works differ, and numbers are written in other ways."""
    status, body = answer
    body = dict(body)
    for name in ("work", "hash", "hint", "success"):
        body.pop(name, None)
    if "work" in answer[1]:
        return status, sorted(body)
    if "difficulty" in body:
        body["difficulty"] = int(body["difficulty"], 16)
        body["multiplier"] = round(float(body["multiplier"]), 12)
    return status, body


def main():
    for body in ALIKE:
        ours, theirs = ask(OURS, body), ask(THEIRS, body)
        assert form(ours) == form(theirs), (body, ours, theirs)
        if "work" in theirs[1]:
            check = {"action": "work_validate", "hash": ROOT, "work": ours[1]["work"]}
            assert form(ask(OURS, check)) == form(ask(THEIRS, check)), (check, ours)
    for body, our_error, their_error, why in DIFFERENT:
        ours, theirs = ask(OURS, body), ask(THEIRS, body)
        found = ours[1].get("error"), theirs[1].get("error")
        assert found == (our_error, their_error), (body, why, ours, theirs)
    for method in ("GET", "PUT", "DELETE"):
        ours, theirs = (requests.request(method, url, timeout=60) for url in (OURS, THEIRS))
        assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json()), (method, ours, theirs)
    print(f"{len(ALIKE)} requests are answered as by nano-work-server, {len(DIFFERENT)} differ as docs/nano.md says")


if __name__ == "__main__":
    main()
