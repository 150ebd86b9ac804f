"""No key or token of the service is in a session's box, in a log, in the environment or arguments of a process, or in a database.
labels: privileged timeout=300
"""
import base64
import json
import os
import re
import secrets
import socket
import socketserver
import threading

import leftovers
from fake_messages import FakeMessages, proper, stream, text, tool
from harness import SYSTEM, Glovebox, run
from sessions import Brain, Worker, lawful
from support import Checks, api_of, equal, eventually, slurp

SEARCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attacks", "search.py")


class Wiretap:
    """Passes bytes between the orchestrator and the brain, and keeps them: how a test learns the tokens that are on the wire."""

    def __init__(self):
        self.heard, self.target = bytearray(), None
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    with socket.create_connection(outer.target(), timeout=60) as other:
                        back = threading.Thread(target=outer.pump, args=(other, self.request), daemon=True)
                        back.start()
                        outer.pump(self.request, other)
                        back.join(30)
                except (OSError, TypeError):
                    pass  # the brain is not up yet: the orchestrator tries again

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address = True, True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def pump(self, source, sink):
        try:
            while data := source.recv(65536):
                self.heard += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def secrets(self):
        """{name: bytes} of all bearers and work secrets that went by."""
        heard, found = bytes(self.heard), {}
        for bearer in set(re.findall(rb"(?i)authorization: bearer ([!-~]+)", heard)) | set(re.findall(rb"(?i)x-api-key: ([!-~]+)", heard)):
            found[f"bearer {len(found)}"] = bearer
        for secret in set(re.findall(rb'"secret": ?"([A-Za-z0-9_=-]{16,})"', heard)):
            found[f"work secret {len(found)}"] = secret
            token = json.loads(base64.urlsafe_b64decode(secret + b"=" * (-len(secret) % 4)))["sessions_token"]
            found[f"sessions token {len(found)}"] = token.encode()
        return found


def test(tmp):
    """A session with a call under way, everything searched; then again after the brain and the orchestrator were killed."""
    check, tap = Checks(), Wiretap()
    planted = "canary-env-" + secrets.token_hex(12)
    environment = {"GLOVEBOX_ORCHESTRATOR_BRAIN_URL": tap.url, "GLOVEBOX_LOG": "debug", "GLOVEBOX_TEST_CANARY": planted, "AWS_SECRET_ACCESS_KEY": planted}
    with FakeMessages(key="sk-canary-" + secrets.token_hex(24)) as fake:
        gb = Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=environment)
        tap.target = lambda: (lambda url: (url.split("//")[1].split(":")[0], int(url.rsplit(":", 1)[1])))(gb.part("brain")["url"].rstrip("/")) if gb.part("brain") else None
        with gb:
            everywhere(gb, fake, tap, check, planted)
            check.done()
    tap.close()


def everywhere(gb, fake, tap, check, planted):
    brain = Brain(gb.brain.url, gb.brain_key)
    place = brain.status()["default_environment_id"]
    agent = brain.agent("searched")["id"]
    own = brain.environment("second place")["id"]
    made = brain.environment_key(own)["key"]
    fake.script("case:searched", [stream(tool("bash", {"command": "env > env.txt; echo ready; sleep 30"})), stream(text("over"))])
    session = brain.session(agent, place)["id"]
    brain.say(session, "case:searched")
    record = eventually(lambda: [b for b in api_of(gb).alive() if (b.get("name") or "").startswith("agent-") and b["status"] == "running"], 30, "the session's box")[0]
    box = api_of(gb).box(record["id"])
    eventually(lambda: "env.txt" in box.sh("ls /workspace").stdout, 20, "the call runs")

    # A token of a worker that is not ours, too.
    other = brain.session(agent, own, initial_events=[{"type": "user.message", "content": [{"type": "text", "text": "case:searched"}]}])["id"]
    item = Worker(brain, own, made).claim(session=other)
    item.beat().expect(200)
    words = {"the model's key": fake.key.encode(), "the API key": gb.brain_key.encode(), "the embedded environment's key": gb.secret("environment").encode(),
             "a key that was made": made.encode(), "a token": item.token.encode(), "a work secret": item.record["secret"].encode(),
             "the engine's key": gb.secret("engine").encode(), "the caller's environment": planted.encode(), **tap.secrets()}
    kinds = {name.rsplit(" ", 1)[0] for name in tap.secrets()}
    with check("the tap heard the environment's key, a work secret and a sessions token (or this test searches for nothing)"):
        equal({"bearer", "work secret", "sessions token"} <= kinds, True, str(kinds))
        assert gb.secret("environment").encode() in tap.secrets().values()
        assert all(len(value) >= 16 for value in words.values()), words

    for user in (None, "root"):
        with check(f"in the box, as {user or 'its user'}: environments, processes, files, /proc"):
            search(box, words, user)
    with check("what the tool's own shell saw of its environment"):
        seen = box.read("/workspace/env.txt")
        assert b"ANTHROPIC" not in seen and b"GLOVEBOX" not in seen, seen
        equal([name for name, word in words.items() if word in seen], [])
    host(gb, words, check, "while the session runs")

    with check("the session ends; the endpoint got the key in x-api-key alone"):
        brain.send(session, {"type": "user.interrupt"})
        lawful(brain.settled(session))
        for asked in fake.of("case:searched"):
            proper(asked, fake.key)
    for part in ("orchestrator", "brain", "engine"):
        gb.kill_part(part)
    brain.with_key(made).get("/v1/agents").refused(403)
    brain.with_key("gb-env-" + "wrong-canary-key-wrong-canary-key").get("/v1/agents").refused(401)
    words |= {"a wrong key somebody tried": b"wrong-canary-key-wrong-canary-key", **tap.secrets()}
    host(gb, words, check, "after everything was killed")
    with check("the command line shows no key, in no answer"):
        for command in (("status",), ("sessions", "ls"), ("work", "ls"), ("environment", "ls"), ("environment", "key", "ls"), ("agent", "ls"), ("doctor",)):
            done = gb.cli(*command)
            shown = [name for name, word in words.items() if word in (done.stdout + done.stderr).encode()]
            equal(shown, [], " ".join(command))


def search(box, words, user):
    """attacks/search.py in the box; the words go in through stdin, in arguments or files it would find itself."""
    box.write("/tmp/search.py", slurp(SEARCH))
    members = {"user": user} if user else {}
    started = box.start("python3", "/tmp/search.py", stdin_mode="pipe", **members)
    lines = "".join(f"{name}\t{value.hex()}\n" for name, value in words.items())
    box.call("POST", f"/processes/{started['pid']}/stdin", lines.encode()).expect(204)
    box.call("POST", f"/processes/{started['pid']}/stdin/close", b"").expect(204)
    record = box.ended(started["pid"], 240)
    output = box.output(started["pid"], "stdout")
    equal(record.get("exit_code"), 0, "\n".join(output[-20:] + box.output(started["pid"], "stderr")[-20:]))
    equal([line for line in output if line.startswith("HIT")], [])
    counted = dict(part.split("=") for part in output[-1].split()[1:])
    assert int(counted["files"]) > 100 and int(counted["processes"]) >= 2, "the search saw too little: " + output[-1]


def host(gb, words, check, when):
    with check(f"log files, {when}"):
        logs = [gb.log_path] + [os.path.join(top, name) for top, _, names in os.walk(os.path.join(gb.state, "log")) for name in names]
        hits = [(name, path) for path in logs for name, word in words.items() if word in slurp(path, 64 << 20)]
        equal(hits, [])
        assert len(gb.log()) > 500, "a log that says nothing proves nothing"
    with check(f"every file of the state directory but the keys', {when}"):
        hits, seen = [], []
        for top, _, names in os.walk(gb.state):
            if top.startswith((os.path.join(gb.state, "keys"), os.path.join(gb.state, "engine", "boxes"), os.path.join(gb.state, "engine", "images"))):
                continue
            for name in names:
                path = os.path.join(top, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    seen.append(path)
                    content = slurp(path, 256 << 20)
                    hits += [(what, path) for what, word in words.items() if word in content]
        equal(hits, [])
        assert any("brain" in path and path.endswith((".db", ".sqlite", "-wal")) for path in seen), f"no database of the brain was searched: {seen}"
        assert any("orchestrator" in path for path in seen), f"no journal was searched: {seen}"
    with check(f"environment and arguments of every process, {when}"):
        found = leftovers.processes(gb.state, gb.instance)
        assert len(found) >= 4 and gb.process.pid in [pid for pid, _ in found], found
        hits = [(name, pid, command) for pid, command in found for name, word in words.items()
                if (word in slurp(f"/proc/{pid}/environ") or word in slurp(f"/proc/{pid}/cmdline"))
                and (name, pid) != ("the caller's environment", gb.process.pid)]  # it was called with that
        equal(hits, [])
    with check(f"key files are for their owner alone, {when}"):
        folder = os.path.join(gb.state, "keys")
        modes = {name: oct(os.stat(os.path.join(folder, name)).st_mode & 0o077) for name in os.listdir(folder)}
        equal({name for name, mode in modes.items() if mode != "0o0"}, set())


run(test)
