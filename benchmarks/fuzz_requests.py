"""Send malformed requests to every event, endpoint and tool of a running app.

    python -m benchmarks.fuzz_requests [--rounds N] [--seed N]

Every door gets values of wrong kinds, too few and too many of them, events that do not exist, and what is no JSON, also
in a session that has results in every tab. Told are the answers by door and status, and what the app took for faults of
its own; ends with 1 if there is any.
"""

import argparse
import json
import random
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx

from benchmarks import serving

FAULT_WORDS = "fault is ours"
FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
NESTED_LIST: Any = "x"
for _ in range(400):
    NESTED_LIST = [NESTED_LIST]
WRONG_VALUES: list[Any] = [
    *(None, True, -1, 0, 3, 2.5, 10**400, float("nan"), float("inf"), "", "x", "\0", "1", "x" * 200_000, NESTED_LIST),
    *([], [None], ["x"], [[1, 2]], {}, {"a": 1}, FILE, [FILE], {"__type__": "update", "value": 1}),
    *({"path": None}, {"path": "x", "meta": "x"}, {"path": ["x"], "meta": {}}, {"mm": "x"}, {"mm": [1, 2, 3]}),
    *({"index": index, "value": None, "row_value": None} for index in (0, -1, 10**9, "x")),
    *({"index": index, "value": None, "row_value": []} for index in (0, -1, 10**9, "x")),
    *({"index": index, "value": 1, "row_value": ["x"]} for index in ([0, 0], [1e9, -1], [[0]])),
    *({"index": index, "value": 1, "row_value": {}} for index in ([0, 0], [1e9, -1], [[0]])),
]


class Visitor:
    """A client with a session."""

    def __init__(self, address: str) -> None:
        anew = httpx.Limits(max_keepalive_connections=0)  # the app closes what is idle
        self.client = httpx.Client(base_url=address, timeout=600, limits=anew)
        self.session = secrets.token_hex(6)
        self.config = self.client.get("config").json()
        self.values = {each["id"]: each["props"].get("value") for each in self.config["components"]}
        self.events = [each for each in self.config["dependencies"] if each["backend_fn"]]
        self.faults: Counter[str] = Counter()

    def default_values(self, event: dict) -> list:
        return [self.values.get(number) for number in event["inputs"]]

    def post(self, door: str, body: Any) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            return self.client.post(f"gradio_api/{door}", content=raw, headers={"content-type": "application/json"})
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            if len(raw) < 10**6:
                self.faults[f"{error} after {door} {raw[:300]!r}"] += 1
            return httpx.Response(413)  # refused before all of it was sent

    def join(self, event: dict, data: Any, **more: Any) -> int:
        """The status of what is put into the queue; its word is counted once it comes."""
        body = {"data": data, "fn_index": event["id"], "session_hash": self.session, **more}
        answer = self.post("queue/join", body)
        if answer.status_code == 200:
            self.follow_stream("queue/data", session_hash=self.session)
        return answer.status_code

    def follow_stream(self, way: str, **asked: str) -> None:
        with self.client.stream("GET", f"gradio_api/{way}", params=asked) as stream:
            for line in stream.iter_lines():
                if FAULT_WORDS in line:
                    self.faults[line[:200]] += 1
                if "process_completed" in line or line.startswith(("event: complete", "event: error")):
                    break

    def fill_tabs(self) -> None:
        """Have a result in every tab."""
        for event in self.events:
            if event["targets"] and event["targets"][0][1] == "select" and len(event["outputs"]) > 25:
                self.join(
                    event,
                    self.default_values(event),
                    event_data={"index": 0, "value": None},
                    trigger_id=event["targets"][0][0],
                )


def malformed_bodies(visitor: Visitor, event: dict, rng: random.Random) -> Iterator[dict]:
    """Requests that are wrong in one place."""
    usual, wrong = visitor.default_values(event), rng.choice(WRONG_VALUES)
    base = {"data": usual, "fn_index": event["id"], "session_hash": visitor.session}
    if usual:
        place = rng.randrange(len(usual))
        yield base | {"data": [*usual[:place], wrong, *usual[place + 1 :]]}
        yield base | {"data": usual[:-1]}
    yield base | {"event_data": wrong, "data": usual}
    yield base | {"data": [*usual, wrong]}
    field = rng.choice(
        ["data", "fn_index", "session_hash", "trigger_id", "batched", "simple_format", "event_id", "oauth_token"]
    )
    yield base | {field: wrong}


def attack_endpoints(visitor: Visitor, rounds: int, rng: random.Random) -> Counter[tuple[str, int]]:
    """The answers by door and status."""
    counts: Counter[tuple[str, int]] = Counter()
    for _ in range(rounds):
        for event in visitor.events:
            for body in malformed_bodies(visitor, event, rng):
                door = rng.choice(["queue/join", "queue/join", "run/predict", f"run/{event['api_name']}", "api/x"])
                if door == "queue/join" and body["fn_index"] == event["id"] and body["session_hash"] == visitor.session:
                    status = visitor.join(
                        event, **{k: v for k, v in body.items() if k not in ("fn_index", "session_hash")}
                    )
                else:
                    status = visitor.post(door, body).status_code
                counts[door.split("/")[0], status] += 1
            name = event["api_name"]
            for door, sent in (
                (f"call/{name}", {"data": visitor.default_values(event)[1:]}),
                (f"call/v2/{name}", {"x": 1}),
            ):
                counts[
                    door.rsplit("/", 1)[0],
                    visitor.post(door, sent | {"session_hash": rng.choice(WRONG_VALUES)}).status_code,
                ] += 1
        for door in ("queue/join", "run/predict", "call/x", "call/v2/x", "cancel", "reset", "upload", "mcp/"):
            for raw in (b"", b"{", b"[" * 9000, b"null", b"[]", b'"x"', b"\xff\xfe", b'{"data": 1e999}', b"x" * 10**7):
                counts[door, visitor.post(door, raw).status_code] += 1
            for wrong in WRONG_VALUES:
                body = {"session_hash": wrong, "fn_index": wrong, "event_id": wrong, "data": wrong}
                counts[door, visitor.post(door, body).status_code] += 1
        for way in (
            "heartbeat/" + "x" * 3000,
            "queue/data",
            "queue/data?session_hash=",
            "call/x/y",
            "upload_progress?upload_id=x",
        ):
            with visitor.client.stream("GET", f"gradio_api/{way}") as stream:
                counts[way[:14], stream.status_code] += 1
    return counts


def attack_tools(visitor: Visitor) -> Counter[tuple[str, int]]:
    """The same through MCP."""
    counts: Counter[tuple[str, int]] = Counter()
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    names = [event["api_name"] for event in visitor.events if event["api_visibility"] == "public"]
    for number, wrong in enumerate(
        [*WRONG_VALUES, "data:;base64,%%%", "data:text/plain;base64,eA==", "http://127.0.0.1:1/a"]
    ):
        for arguments in ({"flair": wrong, "threshold": wrong}, {"image": wrong}, wrong):
            call = {"name": names[number % len(names)], "arguments": arguments}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
            raw = json.dumps(body).encode()
            answer = visitor.client.post("gradio_api/mcp/", content=raw, headers=headers)
            counts["tools", answer.status_code] += 1
            visitor.faults["tools"] += FAULT_WORDS in answer.text
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="without results in the tabs, which take a minute")
    args = parser.parse_args()
    with tempfile.TemporaryFile("w+") as log:
        with serving.run_app(log, MEDAPP_RATE="0", MEDAPP_PLACES="0") as (address, _):
            visitor = Visitor(address)
            if not args.fresh:
                visitor.fill_tabs()
            counts = attack_endpoints(visitor, args.rounds, random.Random(args.seed)) + attack_tools(visitor)
        log.seek(0)
        faults = [line for line in log if '"failed"' in line]
    for (door, status), count in sorted(counts.items()):
        print(f"{door:16} {status} {count:6}")
    bad = sum(count for (_, status), count in counts.items() if status >= 500)
    reported, total = sum(visitor.faults.values()), sum(counts.values())
    print(
        f"{total} requests: {bad} answered 500 or more, {reported} times “{FAULT_WORDS}”, "
        f"{len(faults)} faults in the log"
    )
    for line in [*visitor.faults, *faults[:20]]:
        print(line.rstrip())
    sys.exit(bool(bad or reported or faults))


if __name__ == "__main__":
    main()
