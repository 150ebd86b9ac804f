"""Pointed at a queue elsewhere by ANTHROPIC_BASE_URL, ANTHROPIC_ENVIRONMENT_ID and ANTHROPIC_ENVIRONMENT_KEY alone, `glovebox up` serves its
sessions, behaves as a worker should when the service misbehaves, and sends no key of its own there.
labels: privileged timeout=240
"""
import http.client
import os
import re
import socketserver
import threading
import time

from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, run
from sessions import Brain, lawful, plain
from support import Checks, api_of, equal, eventually, pids, slurp


CUSTOM = "X-Team: red, blue\nX-Gate: one-two-three-four"


class Between(socketserver.ThreadingTCPServer):
    """The service as its workers see it: a brain behind something that loses, delays and refuses what `trouble` says. Keeps what it saw."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, brain):
        self.brain, self.seen, self.trouble = brain, [], lambda method, path: None
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self):
                try:
                    while outer.one(self):
                        pass
                except (OSError, ValueError, http.client.HTTPException):
                    pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/service"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def one(self, handler):
        words = handler.rfile.readline(65536).decode("latin-1").split()
        if len(words) < 3:
            return False
        headers = {}
        while (row := handler.rfile.readline(65536).decode("latin-1").rstrip("\r\n")):
            name, _, value = row.partition(":")
            headers[name.strip().lower()] = value.strip()
        body = handler.rfile.read(int(headers.get("content-length", 0)))
        method, path = words[0], words[1]
        assert path.startswith("/service/"), path
        path = path.removeprefix("/service")
        self.seen.append((method, path, headers, body, time.monotonic()))
        trouble = self.trouble(method, path)
        if trouble == "drop":
            return False
        if isinstance(trouble, int):
            handler.wfile.write(f"HTTP/1.1 {trouble} x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            return True
        passed = {k: v for k, v in headers.items() if k not in ("host", "content-length", "connection", "authorization")}
        connection, answer = self.brain.open(method, path, body or None, {**passed, "Authorization": headers.get("authorization")}, timeout=120)
        try:
            if trouble == "lose the answer":
                answer.read()
                return False
            kind = answer.getheader("content-type", "")
            if kind.startswith("text/event-stream"):
                handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode())
                while line := answer.readline():
                    handler.wfile.write(line)
                    if line == b"\n":
                        handler.wfile.flush()
                        if self.trouble("STREAM", path) == "drop":
                            return False
                return False
            data = answer.read()
            extra = "".join(f"{n}: {v}\r\n" for n, v in answer.getheaders() if n.lower() in ("x-should-retry", "retry-after", "request-id"))
            handler.wfile.write(f"HTTP/1.1 {answer.status} x\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            return True
        finally:
            connection.close()

    def count(self, method, pattern):
        return len([1 for m, p, *_ in self.seen if m == method and re.search(pattern, p)])


def append(n):
    return stream(tool("bash", {"command": f"echo {n} >> log; wc -l < log"}))


def test_hosted(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, name="elsewhere", parts=["brain"], model=(fake.url, fake.key), lease_ttl=10) as service:
        brain = Brain(service.brain.url, service.brain_key)
        agent, place = brain.agent("hosted")["id"], brain.environment("hosted")["id"]
        key = brain.environment_key(place)["key"]
        fake.script("case:three", [append(1), append(2), append(3), stream(text("three lines"))])
        between = Between(brain)
        with Glovebox(tmp, name="hands", hosted=(between.url, place, key), environment={"GLOVEBOX_ORCHESTRATOR_MAX_IDLE_SECS": "1", "ANTHROPIC_CUSTOM_HEADERS": CUSTOM}) as gb:

            def play(words="case:three", limit=60):
                session = brain.session(agent, place, initial_events=[{"type": "user.message", "content": [{"type": "text", "text": words}]}])["id"]
                return session, lawful(brain.settled(session, limit))

            def three(events):
                equal([(plain(e["content"]).strip(), e["is_error"]) for e in events if e["type"] == "user.tool_result"], [("1", False), ("2", False), ("3", False)])

            with check("a session is served from end to end; there is no brain here"):
                equal(gb.part("brain"), {})
                three(play()[1])
            with check("the item is stopped after the idle time, by force"):
                eventually(lambda: all(w["state"] == "stopped" for w in brain.get(f"/v1/environments/{place}/work").json["data"]), 20, "stopped")
                stop = next(one for one in between.seen if one[0] == "POST" and one[1].endswith("/stop"))
                assert b"true" in stop[3], stop
            with check("as the official worker does: NO_HEARTBEAT first, then the last value; the token for the item's calls; a name in polls"):
                beats = [p for m, p, *_ in between.seen if "/heartbeat" in p]
                assert "expected_last_heartbeat=NO_HEARTBEAT" in beats[0], beats[0]
                for method, path, headers, _, _ in between.seen:
                    bearer = headers.get("authorization", "")
                    if path.split("?")[0].endswith(("/poll", "/ack")):
                        equal(bearer, f"Bearer {key}", path)
                    elif path.startswith(("/v1/sessions/", f"/v1/environments/{place}/work/")):
                        assert bearer.startswith("Bearer ") and bearer != f"Bearer {key}", path
                    assert "x-api-key" not in headers
                    own = [name for name in os.listdir(os.path.join(gb.state, "keys")) if gb.secret(name) in str(headers) and gb.secret(name) != key]
                    equal(own, [], path)
                polls = [h for m, p, h, *_ in between.seen if "/poll" in p]
                assert all(h.get("anthropic-worker-id") for h in polls), polls[0]
                assert all(h.get("anthropic-beta") == "managed-agents-2026-04-01" and h.get("anthropic-version") for _, p, h, *_ in between.seen if p.startswith("/v1")), between.seen[0]
            with check("custom headers are on every request, and on no command line, environment or file of ours"):
                equal([p for _, p, h, *_ in between.seen if (h.get("x-team"), h.get("x-gate")) != ("red, blue", "one-two-three-four")], [])
                told = [pid for pid in pids() if b"one-two-three" in slurp(f"/proc/{pid}/environ") + slurp(f"/proc/{pid}/cmdline")]
                equal([slurp(f"/proc/{pid}/cmdline") for pid in told if "glovebox" in os.path.basename(os.path.realpath(f"/proc/{pid}/exe"))], [])
                found = [os.path.join(at, name) for at, _, names in os.walk(gb.state) for name in names if name.endswith((".log", ".db", ".json")) and b"one-two-three" in slurp(os.path.join(at, name))]
                equal(found, [])
            with check("answers to results are lost: sent again, counted once"):
                lost = []
                between.trouble = lambda m, p: "lose the answer" if m == "POST" and p.endswith("/events") and not lost.append(1) and len(lost) % 2 else None
                three(play()[1])
                assert len(lost) >= 4, lost  # the third may be seen on the stream before it is sent again
            with check("500, 529 and 408 on results and on the history"):
                codes = [500, 0, 529, 0, 0, 408, 0, 503, 0, 0]
                between.trouble = lambda m, p: (codes.append(codes.pop(0)) or codes[-1] or None) if "/events" in p and "stream" not in p else None
                three(play()[1])
            with check("the stream breaks after every third event"):
                frames = []
                between.trouble = lambda m, p: "drop" if m == "STREAM" and not frames.append(1) and len(frames) % 3 == 0 else None
                three(play(limit=90)[1])
            with check("polls and acks fail: the item comes, with pauses between the tries"):
                errors = []
                between.trouble = lambda m, p: 500 if ("/poll" in p or p.endswith("/ack")) and not errors.append(time.monotonic()) and len(errors) <= 4 else None
                three(play(limit=90)[1])
                assert errors[4] - errors[0] > 0.5, f"no back-off: {[round(e - errors[0], 2) for e in errors]}"
            with check("heartbeats fail for a while, and their answers are lost: the session goes on"):
                beats = []
                between.trouble = lambda m, p: (["drop", "lose the answer", 500, None][len(beats) % 4], beats.append(1))[0] if "/heartbeat" in p else None
                fake.script("case:slow", [stream(tool("bash", {"command": f"sleep 3; echo {n}"})) for n in range(2)] + [stream(text("slow"))])
                _, events = play("case:slow", 90)
                equal([plain(e["content"]) for e in events if e["type"] == "user.tool_result"], ["0", "1"])
            between.trouble = lambda m, p: None
            with check("a graceful stop: the running call is ended, the item stopped; the next item tells the model"):
                fake.script("case:stop", [stream(tool("bash", {"command": "sleep 300"})), stream(text("over"))])
                session = brain.session(agent, place, initial_events=[{"type": "user.message", "content": [{"type": "text", "text": "case:stop"}]}])["id"]
                brain.open_calls(session)
                item = eventually(lambda: [w for w in brain.get(f"/v1/environments/{place}/work").json["data"] if w["state"] == "active" and w["data"]["id"] == session], 20, "active")[0]
                brain.post(f"/v1/environments/{place}/work/{item['id']}/stop", {"force": False}).expect(200)
                eventually(lambda: brain.get(f"/v1/environments/{place}/work/{item['id']}").json["state"] == "stopped", 25, "stopped")
                # The call is open still: another item, and its result says that it was ended.
                lawful(brain.settled(session))
            with check("a deleted session's worker leaves"):
                session, _ = play()
                brain.delete(f"/v1/sessions/{session}").expect(200)
            with check("a revoked key: it says so, does not hammer, and the boxes live on"):
                keys = brain.get(f"/glovebox/v1/environments/{place}/keys").expect(200).json["data"]
                for one in keys:
                    if not one["revoked_at"]:
                        brain.delete(f"/glovebox/v1/environments/{place}/keys/{one['id']}").expect(200)
                mark = len(between.seen)
                eventually(lambda: "401" in gb.log() or "revoked" in gb.log() or "authentication" in gb.log(), 20, "a word in the log")
                time.sleep(2)
                assert len(between.seen) - mark < 20, f"{len(between.seen) - mark} requests in a few seconds"
                assert api_of(gb).alive()
                assert key not in gb.log()
            check.done()
        between.shutdown()
        between.server_close()


run(test_hosted)
