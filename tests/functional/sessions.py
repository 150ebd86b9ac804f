"""A client of the brain as an application and as a worker is one, and the laws that the events of every session keep."""
import base64
import contextlib
import http.client
import json
import re
import socket
import threading
import time
import urllib.parse

import harness
from support import Reply as EngineReply
from support import eventually, short

TOOLSET = {"type": "agent_toolset_20260401"}
ERROR_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
               405: "invalid_request_error", 409: "conflict_error", 412: "invalid_request_error", 413: "request_too_large",
               415: "invalid_request_error", 414: "invalid_request_error", 431: "invalid_request_error", 501: "api_error",
               505: "invalid_request_error"}


class Reply(EngineReply):
    def refused(self, status, code=None):
        """An error in the shape of this API (§1.9): the type that goes with the status, a message, the request's id."""
        assert self.status == status, f"expected {status}, got {self!r}"
        body = self.json
        error = body.get("error") or {}
        assert body.get("type") == "error" and isinstance(error.get("message"), str) and error["message"], f"no envelope: {self!r}"
        assert error.get("type") == ERROR_TYPES.get(status, error.get("type")), f"wrong type for {status}: {self!r}"
        assert self.headers.get("content-type", "").startswith("application/json"), self.headers
        assert (body.get("request_id") or "").startswith("req_"), f"no request_id: {self!r}"
        assert self.headers.get("request-id") == body["request_id"], f"request-id of the head differs: {self.headers}"
        if status == 409:
            assert self.headers.get("x-should-retry") == "false", f"409 without x-should-retry: false: {self.headers}"
        if code:
            got = (error.get("details") or {}).get("error_code")
            assert got == code, f"details.error_code {got!r}, expected {code!r}"
        return self


def text(words):
    return [{"type": "text", "text": words}]


def user(words):
    return {"type": "user.message", "content": text(words)}


def result(call, words="done", is_error=False):
    """The answer to an agent.tool_use or agent.custom_tool_use event."""
    custom = call["type"] == "agent.custom_tool_use"
    return {"type": "user.custom_tool_result" if custom else "user.tool_result",
            "custom_tool_use_id" if custom else "tool_use_id": call["id"], "is_error": is_error,
            "content": text(words) if isinstance(words, str) else words}


def plain(content):
    """The text of a list of content blocks."""
    return "".join(block.get("text", "") for block in content or [])


class Brain(harness.Api):
    """The API of sections 2 to 6, by raw HTTP. Each call is one connection."""

    def call(self, *args, **more):
        answer = super().call(*args, **more)
        return Reply(answer.status, answer.headers.items(), answer.body)

    def with_key(self, key, **more):
        return Brain(self.url, key, host=self.host, timeout=self.timeout, **more)

    # --- what an administrator makes ---

    def agent(self, name="tester", model="claude-test-1", tools=(TOOLSET,), **more):
        return self.post("/v1/agents", {"name": name, "model": model, "tools": list(tools), **more}).expect(200, 201).json

    def environment(self, name, **more):
        return self.post("/v1/environments", {"name": name, "config": {"type": "self_hosted"}, **more}).expect(200, 201).json

    def environment_key(self, environment, **body):
        return self.post(f"/glovebox/v1/environments/{environment}/keys", body).expect(200, 201).json

    def status(self):
        return self.get("/glovebox/v1/status").expect(200).json

    # --- sessions ---

    def session(self, agent, environment, **more):
        agent = agent["id"] if isinstance(agent, dict) and "id" in agent and "version" in agent else agent
        environment = environment["id"] if isinstance(environment, dict) else environment
        return self.post("/v1/sessions", {"agent": agent, "environment_id": environment, **more}).expect(200, 201).json

    def show(self, session):
        return self.get(f"/v1/sessions/{session}").expect(200).json

    def send(self, session, *events):
        return self.post(f"/v1/sessions/{session}/events", {"events": list(events)}).expect(200).json["data"]

    def say(self, session, words):
        return self.send(session, user(words))[0]

    def events(self, session, limit=1000, **query):
        """The whole history, page by page."""
        found, page = [], None
        while True:
            words = {"limit": limit, **query, **({"page": page} if page else {})}
            answer = self.get(f"/v1/sessions/{session}/events?{urllib.parse.urlencode(words, doseq=True)}").expect(200).json
            found += answer["data"]
            page = answer.get("next_page")
            if not page:
                return found

    def last(self, session):
        data = self.get(f"/v1/sessions/{session}/events?order=desc&limit=1").expect(200).json["data"]
        return data[0] if data else None

    def settled(self, session, limit=30.0, waiting=False):
        """Waits until the turn has ended (or, `waiting`, until it waits for somebody too); gives the whole history."""

        def done():
            event = self.last(session)
            if not event:
                return False
            if event["type"] in ("session.status_terminated", "session.deleted"):
                return True
            return event["type"] == "session.status_idle" and (waiting or event["stop_reason"]["type"] != "requires_action")

        try:
            eventually(done, limit, f"session {session} settles")
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + brief(self.events(session))) from None
        return self.events(session)

    def open_calls(self, session, number=1, limit=20.0):
        """Waits until the session waits for `number` calls and gives their events, in order."""

        def look():
            event = self.last(session)
            if event and event["type"] == "session.status_idle" and event["stop_reason"]["type"] == "requires_action":
                ids = event["stop_reason"]["event_ids"]
                if len(ids) == number:
                    return [e for e in self.events(session) if e["id"] in ids]
            return None

        try:
            return eventually(look, limit, f"{number} open calls")
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + brief(self.events(session))) from None

    def stream(self, session, deltas=(), path="events/stream"):
        return Stream(self, session, deltas, path)


class Stream:
    """Follows a session in a thread of its own. `.events` grows; `.wait` looks at it; leaving the block hangs up."""

    def __init__(self, brain, session, deltas=(), path="events/stream"):
        query = urllib.parse.urlencode([("event_deltas[]", d) for d in deltas])
        self.events, self.names, self.pings, self.ended, self.error = [], set(), 0, False, None
        self.connection = http.client.HTTPConnection(*brain.address, timeout=120)
        self.connection.request("GET", f"/v1/sessions/{session}/{path}" + ("?" + query if query else ""), headers=brain.headers())
        self.socket = self.connection.sock
        self.answer = self.connection.getresponse()
        self.status, self.headers = self.answer.status, harness.Headers(self.answer.getheaders())
        self.changed = threading.Condition()
        if self.status != 200:
            self.refusal = Reply(self.status, self.answer.getheaders(), self.answer.read())
            self.connection.close()
            raise AssertionError(f"stream refused: {self.refusal!r}")
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.connection.close()

    def _read(self):
        name, data = None, []
        try:
            while line := self.answer.readline():
                line = line.decode().rstrip("\r\n")
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    data.append(line[5:].strip())
                elif not line and data:
                    with self.changed:
                        self.names.add(name)
                        if name == "ping":
                            self.pings += 1
                        else:
                            self.events.append(json.loads("\n".join(data)))
                        self.changed.notify_all()
                    name, data = None, []
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.error = error
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait(self, condition, limit=30.0, what="an event"):
        """Waits until `condition(events)` gives something true, and returns that."""
        deadline = time.monotonic() + limit
        with self.changed:
            while not (value := condition(self.events)):
                left = deadline - time.monotonic()
                if left <= 0 or self.ended:
                    raise AssertionError(f"{what}: {'the stream ended' if self.ended else f'not within {limit} s'}\n" + brief(self.events))
                self.changed.wait(left)
            return value

    def wait_type(self, kind, number=1, limit=30.0):
        return self.wait(lambda events: (found := [e for e in events if e["type"] == kind]) and len(found) >= number and found[number - 1],
                         limit, kind)

    def wait_end(self, limit=30.0):
        with self.changed:
            self.changed.wait_for(lambda: self.ended, limit)
        assert self.ended, f"the stream did not end\n{brief(self.events)}"


def brief(events):
    """One line per event, for people."""
    lines = []
    for event in events:
        more = {k: v for k, v in event.items() if k not in ("id", "type", "processed_at")}
        lines.append(f"    {event.get('id', '')[-6:]:>6} {event['type']:<30} {'' if event.get('processed_at') else '(waits) '}{short(more, 160) if more else ''}")
    return "\n".join(lines[-60:])


def kinds(events, *without):
    return [e["type"] for e in events if e["type"] not in without]


def lawful(events, finished=True):
    """What holds for the stored events of every session, whatever happened to it."""
    where = "\n" + brief(events)
    ids = [e["id"] for e in events]
    assert len(ids) == len(set(ids)), "an id twice" + where
    assert all(re.fullmatch(r"sevt_[0-9A-Za-z]+", i) for i in ids), "ids" + where
    calls, results, spans, verdicts = {}, {}, {}, {}
    state = "idle"
    for at, event in enumerate(events):
        kind = event["type"]
        if kind == "session.status_running":
            assert state != "running", "running twice" + where
            state = "running"
        elif kind == "session.status_rescheduled":
            assert state == "running", "rescheduled while not running" + where
            state = "rescheduling"
        elif kind == "session.status_idle":
            # A session that waits says so again when some of what it waits for came; an idle one, when it is interrupted or updated.
            again = at >= 3 and events[at - 3]["type"] in ("user.interrupt", "session.updated")
            assert state in ("running", "rescheduling", "waiting") or again, f"idle while {state}" + where
            neighbours = [e["type"] for e in events[max(0, at - 2):at]]
            assert neighbours == ["session.usage", "session.thread_status_idle"], "usage, thread idle, idle must be neighbours" + where
            assert "stop_details" in event, "stop_details is always there" + where
            state = "idle"
            if event["stop_reason"]["type"] == "requires_action":
                state = "waiting"
                open_ids = [i for i in calls if i not in results]
                assert event["stop_reason"]["event_ids"], "waits for nothing" + where
                assert set(event["stop_reason"]["event_ids"]) <= set(open_ids), f"waits for what is answered: {event}" + where
        elif kind in ("agent.tool_use", "agent.custom_tool_use"):
            assert isinstance(event["input"], dict) and event["name"], "a call without name or input" + where
            calls[event["id"]] = event
        elif kind in ("user.tool_result", "user.custom_tool_result", "agent.tool_result"):
            call = event.get("tool_use_id") or event.get("custom_tool_use_id")
            assert call in calls, "a result for no call" + where
            assert call not in results, "two results for one call" + where
            results[call] = event
        elif kind == "user.tool_confirmation":
            assert event["tool_use_id"] in calls and event["tool_use_id"] not in verdicts, "a confirmation twice" + where
            verdicts[event["tool_use_id"]] = event
        elif kind == "span.model_request_start":
            assert None not in spans.values(), "two model requests at once" + where
            assert set(calls) <= set(results), "the model is asked while calls are open" + where
            spans[event["id"]] = None
        elif kind == "span.model_request_end":
            start = event["model_request_start_id"]
            assert spans.get(start, "") is None, "the end of a span that is not open" + where
            spans[start] = event["id"]
        elif kind == "agent.message":
            assert event["content"] and all(b.get("text") or b["type"] == "redacted" for b in event["content"]), "an empty message" + where
    if finished:
        assert state not in ("running", "rescheduling"), f"still {state}" + where
        assert all(spans.values()), "a span without an end" + where
        last = events[-1]
        assert last["type"] in ("session.status_idle", "session.status_terminated"), "something behind the end" + where
        if last["type"] == "session.status_idle" and last["stop_reason"]["type"] == "end_turn":
            assert set(calls) <= set(results), "the turn ended with calls open" + where
    return events


class Worker:
    """The worker's half of the protocol by hand: claims one item at a time with the environment key."""

    def __init__(self, brain, environment, key, name="hand-made"):
        self.brain, self.environment, self.name = brain.with_key(key), environment, name
        self.base = f"/v1/environments/{environment}/work"

    def poll(self, block_ms=None, reclaim_ms=None, expect=True):
        """The item (or None), as the service gives it."""
        query = {k: v for k, v in (("block_ms", block_ms), ("reclaim_older_than_ms", reclaim_ms)) if v is not None}
        path = f"{self.base}/poll" + ("?" + urllib.parse.urlencode(query) if query else "")
        answer = self.brain.get(path, headers={"Anthropic-Worker-ID": self.name})
        return answer.expect(200).json if expect else answer

    def claim(self, limit=15.0, session=None):
        """Polls until there is an item, acks it."""
        item = eventually(lambda: self.poll(), limit, "an item in the queue")
        if session:
            assert item["data"]["id"] == session, f"the item of another session: {item}"
        return self.ack(item["id"]).expect(200) and Item(self, item)

    def ack(self, item):
        return self.brain.post(f"{self.base}/{item}/ack")


class Item:
    """A claimed item, with its sessions token."""

    def __init__(self, worker, record):
        self.worker, self.record, self.id = worker, record, record["id"]
        self.session = record["data"]["id"]
        padded = record["secret"] + "=" * (-len(record["secret"]) % 4)
        self.token = json.loads(base64.urlsafe_b64decode(padded))["sessions_token"]
        self.api = worker.brain.with_key(self.token)
        self.path = f"{worker.base}/{self.id}"
        self.beaten = "NO_HEARTBEAT"

    def beat(self, expected=None, api=None, **query):
        """The raw answer; a good one is remembered for the next beat."""
        words = {"expected_last_heartbeat": self.beaten if expected is None else expected, **query}
        if expected is False:
            del words["expected_last_heartbeat"]
        answer = (api or self.api).post(f"{self.path}/heartbeat?{urllib.parse.urlencode(words)}")
        if answer.status == 200:
            self.beaten = answer.json["last_heartbeat"]
        return answer

    def stop(self, force=None, api=None):
        return (api or self.api).post(f"{self.path}/stop", None if force is None else {"force": force})

    def show(self):
        """As an administrator sees it: needs Worker.admin."""
        return self.worker.admin.get(self.path).expect(200).json
