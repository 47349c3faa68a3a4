#!/usr/bin/env python3
"""What the official Python SDK of Codex puts on the wire, for tests without that SDK.

    sdk_client.py [--config KEY=VALUE]... [--thread JSON] [--cwd DIR] [--timeout SECONDS]
                  CODEX PROMPT

Starts CODEX as an app server, runs one turn in a new thread, closes, and writes what happened to
standard output, one JSON object a line. Status 0: the turn completed; 1: anything else, with an
`error` line; 2: wrong usage. The program is our own; it follows what these files of openai/codex,
folder sdk/python/src/openai_codex, send, accept and refuse:

    client.py at 2ca9882d1199, _message_router.py at 851a85b3697d, api.py at 206478d338eb,
    _approval_mode.py at 2eb61fa74115

What the SDK asks of the answers is generated from the schema of the Codex it comes with; here it is
the required members that `codex app-server generate-json-schema` of 0.169.0 names.

--thread is what a caller gives to CodexClient.thread_start. The default is what Codex.thread_start
sends, where approvals are reviewed by a model: then Codex asks the client nothing.

Two differences, which the other side cannot see: one thread reads and waits instead of two, and
there is a deadline. The SDK ignores an answer to a request it did not send; here such an answer is
also reported, as `unmatched`.
"""

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import threading
import uuid

SDK_VERSION = "0.154.0"  # a released version; it appears in clientInfo and nowhere else

DEFAULT_THREAD = {"approvalPolicy": "on-request", "approvalsReviewer": "auto_review"}

ACCEPTED = ("item/commandExecution/requestApproval", "item/fileChange/requestApproval")

TURN = ("id", "items", "status")
THREAD = (
    "cliVersion", "createdAt", "cwd", "ephemeral", "id", "modelProvider", "preview", "projectId",
    "sessionId", "source", "status", "turns", "updatedAt",
)

# method -> required members of its result; a table is a member with required members of its own
RESULTS = {
    "initialize": ("userAgent",),
    "thread/start": (
        "approvalPolicy", "approvalsReviewer", "cwd", "model", "modelProvider", "sandbox",
        {"thread": THREAD},
    ),
    "turn/start": ({"turn": TURN},),
}

# The notifications the SDK looks into. One that is not as it should be counts as unknown.
NOTIFICATIONS = {
    "item/completed": ("completedAtMs", "threadId", "turnId", {"item": ("id", "type")}),
    "thread/tokenUsage/updated": ("threadId", "turnId", {"tokenUsage": ("last", "total")}),
    "turn/completed": ("threadId", {"turn": TURN}),
}


class Failed(Exception):
    """The SDK would raise here; `kind` says which of its complaints it is."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def emit(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def missing(value, required, path=""):
    """The first required member that is not there, as a dotted path, or None."""
    if not isinstance(value, dict):
        return path or "(an object)"
    for want in required:
        inner = want if isinstance(want, dict) else {want: None}
        for name, members in inner.items():
            where = f"{path}.{name}" if path else name
            if name not in value:
                return where
            absent = members and missing(value[name], members, where)
            if absent:
                return absent
    return None


def turn_id_of(params):
    """The turn that a notification is about."""
    turn = params.get("turn")
    for found in (params.get("turnId"), turn.get("id") if isinstance(turn, dict) else None):
        if isinstance(found, str):
            return found
    return None


class Client:
    """The connection. Not safe for threads, and it needs none."""

    def __init__(self, argv, cwd):
        self.turn_id = None  # the turn that is followed
        self.early = {}  # turn -> what came before the answer to turn/start
        self.events = collections.deque()
        self.stderr = collections.deque(maxlen=400)
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, encoding="utf-8", cwd=cwd, env=os.environ.copy(), bufsize=1,
        )
        self.drain = threading.Thread(target=self._drain, daemon=True)
        self.drain.start()

    def _drain(self):
        for line in self.process.stderr:
            self.stderr.append(line.rstrip("\n"))

    def _write(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            tail = "\n".join(list(self.stderr)[-40:])[:2000]
            raise Failed("closed", f"standard output ended; standard error: {tail}")
        try:
            message = json.loads(line)
        except json.JSONDecodeError as error:
            raise Failed("line", f"a line that is not JSON: {line!r}") from error
        if not isinstance(message, dict):
            raise Failed("line", f"a message that is not an object: {message!r}")
        return message

    def _dispatch(self, message):
        """Deals with one message, and returns it when it is an answer."""
        if "method" in message and "id" in message:
            self._answer(message)
        elif "method" in message:
            if isinstance(message["method"], str):
                self._notified(message["method"], message.get("params"))
        else:
            return message
        return None

    def _answer(self, message):
        method = message["method"]
        result = {"decision": "accept"} if method in ACCEPTED else {}
        emit("request", method=method, id=message["id"], answer=result)
        self._write({"id": message["id"], "result": result})

    def _notified(self, method, params):
        params = params if isinstance(params, dict) else {}
        absent = missing(params, NOTIFICATIONS.get(method, ()))
        item = params.get("item")
        seen = {"item": item.get("type")} if isinstance(item, dict) else {}
        emit("notification", method=method, **seen, **({"malformed": absent} if absent else {}))
        turn_id = turn_id_of(params)
        event = (None if absent else method, params)
        if turn_id is not None and turn_id == self.turn_id:
            self.events.append(event)
        elif method == "turn/completed":
            self.early.pop(turn_id, None)  # lost: a turn that ends before it is followed never ends
        elif turn_id is not None:
            self.early.setdefault(turn_id, []).append(event)

    def request(self, method, params):
        wanted = str(uuid.uuid4())
        self._write({"id": wanted, "method": method, "params": params})
        while True:
            message = self._dispatch(self._read())
            if message is None:
                continue
            if str(message.get("id")) == wanted:
                return self._result(method, message)
            emit("unmatched", id=message.get("id"))

    def _result(self, method, message):
        if "error" in message:
            raise Failed("rpc", f"{method}: {json.dumps(message['error'])}")
        result = message.get("result")
        absent = missing(result, RESULTS[method])
        if absent:
            raise Failed("result", f"{method}: the result lacks {absent}")
        emit("response", method=method)
        return result

    def notify(self, method):
        self._write({"method": method})

    def follow(self, turn_id):
        self.turn_id = turn_id
        self.events.extend(self.early.pop(turn_id, []))

    def next_event(self):
        while not self.events:
            message = self._dispatch(self._read())
            if message is not None:
                emit("unmatched", id=message.get("id"))
        return self.events.popleft()

    def close(self):
        """Standard input is closed, and the program told to end in the same moment."""
        killed = False
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before it had read everything
        self.process.terminate()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            killed = True
            self.process.kill()
            self.process.wait()
        self.drain.join(timeout=0.5)
        emit("closed", code=self.process.returncode, killed=killed)


def initialize(client):
    result = client.request("initialize", {
        "clientInfo": {
            "name": "codex_python_sdk", "title": "Codex Python SDK", "version": SDK_VERSION,
        },
        "capabilities": {"experimentalApi": True},
    })
    client.notify("initialized")
    # What follows the first "/" is the version of the server, and there must be one.
    name, _, version = result["userAgent"].strip().partition("/")
    if not name.strip() or not version.strip():
        raise Failed("result", f"initialize: userAgent {result['userAgent']!r} has no version")
    return result["userAgent"]


def final_text(items):
    """The last answer marked as final, or else the last one not marked at all."""
    messages = [item for item in reversed(items) if item.get("type") == "agentMessage"]
    for phase in ("final_answer", None):
        for item in messages:
            if item.get("phase") == phase:
                return item.get("text")
    return None


def collect(client, turn_id):
    items, usage = [], None
    while True:
        method, params = client.next_event()
        if method == "item/completed":
            items.append(params["item"])
        elif method == "thread/tokenUsage/updated":
            usage = params["tokenUsage"]["total"]
        elif method == "turn/completed" and params["turn"]["id"] == turn_id:
            return params["turn"], items, usage


def run(client, options):
    emit("initialized", user_agent=initialize(client))
    thread_id = client.request("thread/start", options.thread)["thread"]["id"]
    emit("thread", id=thread_id)
    turn = client.request("turn/start", {
        "threadId": thread_id, "input": [{"type": "text", "text": options.prompt}],
    })["turn"]
    client.follow(turn["id"])
    emit("turn", id=turn["id"])
    done, items, usage = collect(client, turn["id"])
    emit("result", status=done["status"], final=final_text(items), usage=usage,
         items=[{name: item.get(name) for name in ("type", "status", "exitCode")
                 if item.get(name) is not None} for item in items])
    if done["status"] == "failed":
        raise Failed("turn", (done.get("error") or {}).get("message") or "the turn failed")


def interrupted(number, _frame):
    raise Failed("timeout" if number == signal.SIGALRM else "signal", signal.Signals(number).name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", action="append", default=[])
    parser.add_argument("--thread", type=json.loads, default=DEFAULT_THREAD)
    parser.add_argument("--cwd")
    parser.add_argument("--timeout", type=int, default=60)
    parser.add_argument("codex")
    parser.add_argument("prompt")
    options = parser.parse_args()
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, interrupted)
    signal.alarm(options.timeout)

    argv = [options.codex]
    for pair in options.config:
        argv += ["--config", pair]
    client = Client(argv + ["app-server", "--listen", "stdio://"], options.cwd)
    status = 1
    try:
        run(client, options)
        status = 0
    except Failed as failure:
        emit("error", kind=failure.kind, message=str(failure))
    except OSError as error:
        emit("error", kind="write", message=str(error))
    except UnicodeDecodeError as error:
        emit("error", kind="line", message=str(error))
    signal.alarm(0)
    client.close()
    sys.exit(status)


main()
