"""What a receiver's box that was taken over tries with the queue and the boxes it was given: each attempt is refused, and nothing else is touched.
labels: privileged timeout=200
"""
import re

from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, run
from misuse import Inside, Recorder, address, raw
from modes import WebhookSandbox
from sessions import Brain, Worker, lawful
from support import Checks, api_of, equal, eventually

PORT = 5052
WORKER = "/dev/glovebox/glovebox-worker"


def test(tmp):
    check, recorder = Checks(), Recorder()
    settings = {**WebhookSandbox.settings, "GLOVEBOX_ORCHESTRATOR_BRAIN_URL": recorder.url}
    with FakeMessages() as fake:
        gb = Glovebox(tmp, parts=WebhookSandbox.parts, model=(fake.url, fake.key), environment=settings, lease_ttl=10)
        recorder.target = lambda: address(gb.part("brain")["url"]) if gb.part("brain") else None
        with gb:
            brain = Brain(gb.brain.url, gb.brain_key)
            with WebhookSandbox(gb, brain, tmp, settings) as mode:
                everything(gb, fake, brain, mode, recorder, check)
            check.done()
    recorder.close()


def records(gb):
    """All boxes, but for what changes by itself."""
    return {b["id"]: {k: v for k, v in b.items() if k not in ("last_activity_at", "tier", "status", "reason", "sandbox_url")} for b in api_of(gb).alive()}


def everything(gb, fake, brain, mode, recorder, check):
    engine, place = api_of(gb), brain.status()["default_environment_id"]
    fake.script("case:own", [stream(tool("bash", {"command": "echo mine > /workspace/mine"})), stream(text("over"))])
    agent = brain.agent("own")["id"]
    own = brain.session(agent, place)["id"]
    brain.say(own, "case:own")
    call = next(e["id"] for e in lawful(brain.settled(own, 60)) if e["type"] == "agent.tool_use")
    box = next(b for b in engine.alive() if (b.get("name") or "").startswith("agent-"))["id"]
    work = next(w["id"] for w in brain.get(f"/v1/environments/{place}/work?limit=100").expect(200).json["data"] if w["data"]["id"] == own)
    # Nobody takes the work of this one; and boxes that others made, one of them by a name like its own.
    second = brain.environment("second")["id"]
    key = brain.environment_key(second)["key"]
    other = brain.session(agent, second, initial_events=[{"type": "user.message", "content": [{"type": "text", "text": "case:own"}]}])["id"]
    item = eventually(lambda: brain.get(f"/v1/environments/{second}/work?limit=10").expect(200).json["data"], 20, "its item")[0]["id"]
    private, alien = engine.create(name="private"), engine.create(name="agent-alien")
    private.write("/tmp/secret", "do not read")
    engine.call("POST", "/volumes", {"name": "ledger"}).expect(200, 201)
    inside = Inside(engine.box(mode.box))
    E, W = f"/v1/environments/{place}/work", f"/v1/environments/{second}/work"

    with check("what is its own it may, without any credential (or this test proves nothing)"):
        got = inside.ask([{"name": n, "port": PORT, "raw": r} for n, r in (
            ("credential", raw("GET", "/glovebox/v1/credential")), ("poll", raw("GET", E + "/poll")), ("session", raw("GET", f"/v1/sessions/{own}")),
            ("history", raw("GET", f"/v1/sessions/{own}/events?limit=100")), ("box", raw("GET", f"/sandboxes/{box}")), ("processes", raw("GET", "/api/v1/processes", headers=[f"X-Tensorlake-Sandbox-Id: {box}"])))])
        equal({name: a["status"] for name, a in got.items()}, dict.fromkeys(got, 200))
        assert "system" not in got["session"]["body"] and '"agent"' not in got["session"]["body"], got["session"]
        assert "agent.tool_use" in got["history"]["body"] and "mine" not in got["history"]["body"] and "case:own" not in got["history"]["body"], got["history"]

    attempts = table(E, W, place, second, own, other, call, work, item, key, box, private.id, alien.id, mode.status()["id"])
    before, sent, waiting = records(gb), len(recorder.of_uplink()), brain.get(f"{W}?limit=10").json["data"]
    got = inside.ask([{"name": name, "port": PORT, "raw": data} for name, data in attempts])
    for name, _ in attempts:
        with check("refused: " + name):
            assert not any(s < 400 for s in got[name]["statuses"]), got[name]
            assert "do not read" not in got[name]["body"], got[name]
    print(f"  {len(attempts)} attempts")
    with check("nothing of it reached the service, and no box, volume or item is other than before"):
        for head in recorder.of_uplink()[sent:]:
            first = head.split("\r\n")[0]
            assert re.fullmatch(rf"GET {E}/poll(\?\S+)? HTTP/1.1", first), "passed on: " + head
        equal(records(gb), before)
        equal(brain.get(f"{W}?limit=10").json["data"], waiting)
        equal(private.read("/tmp/secret"), b"do not read")
        equal(sorted(v["name"] for v in engine.call("GET", "/volumes").expect(200).json["volumes"] if v["name"] == "ledger"), ["ledger"])
    with check("another's item is still there to be taken by who has its key"):
        equal(Worker(brain, second, key).claim(session=other).id, item)
    with check("control and other parts are not to be reached from inside"):
        doors = {name: gb.part(name)["url"] for name in ("uplink", "brain", "engine")}
        for name, answer in inside.ask([{"name": name, "port": address(url)[1], "raw": raw("GET", "/healthz"), "wait": 1} for name, url in doors.items()]).items():
            assert answer["status"] in (None, 404) and (answer["error"] or answer["status"] == 404), (name, answer)
    with check("what was refused is in the log, a few lines of it; no key is in there, nor was one said"):
        log = mode.log()
        assert 1 <= log.count('"steward.refused"') <= 200, log.count('"steward.refused"')
        for secret in (gb.secret("environment"), gb.secret("engine"), gb.secret("uplink"), key):
            assert secret not in log
    with check("it serves on"):
        another = brain.session(agent, place)["id"]
        brain.say(another, "case:own")
        equal([e["is_error"] for e in lawful(brain.settled(another, 60)) if e["type"] == "user.tool_result"], [False])


def table(E, W, place, second, own, other, call, work, item, key, box, private, alien, hooks):
    """(name, bytes): all to be refused."""
    bearer = f"Authorization: Bearer {key}"

    def says(session, event):
        return raw("POST", f"/v1/sessions/{session}/events", {"events": [event]})

    def of(sandbox):
        return [f"X-Tensorlake-Sandbox-Id: {sandbox}"]

    def made(**more):
        return raw("POST", "/sandboxes", {"name": "agent-new", "network": {"allow_internet_access": False}, **more})

    def worker(command=WORKER, work=work, session=own, environment=place, url="http://127.0.0.1:4000", more=(), env=None):
        return {"command": command, "args": ["worker", "run", f"--work-id={work}", f"--session-id={session}", f"--environment-id={environment}",
                                             f"--base-url={url}", "--workdir=/workspace", "--log-format=json", "--max-idle=1000ms", *more], "env": env or {}}

    def start(body, sandbox=box):
        return raw("POST", "/api/v1/processes", body, headers=of(sandbox))

    return [
        # queues
        ("poll another environment", raw("GET", W + "/poll")), ("with its key", raw("GET", W + "/poll", headers=[bearer])),
        ("with its key as x-api-key", raw("GET", W + "/poll", headers=[f"x-api-key: {key}"])),
        ("poll another by a way around", raw("GET", f"{E}/../../{second}/work/poll")),
        ("the same, encoded", raw("GET", f"/v1/environments/{place}%2F..%2F{second}/work/poll")),
        ("acknowledge another's item", raw("POST", f"{W}/{item}/ack")), ("by its own queue", raw("POST", f"{E}/{item}/ack")),
        ("stop another's item", raw("POST", f"{W}/{item}/stop", {"force": True})), ("stop it by its own queue", raw("POST", f"{E}/{item}/stop", {"force": True})),
        ("beat for another's item", raw("POST", f"{E}/{item}/heartbeat")), ("a lease without end", raw("POST", f"{E}/{work}/heartbeat?desired_ttl_seconds=99999")),
        ("list the queue", raw("GET", E)), ("its numbers", raw("GET", E + "/stats")), ("look at an item", raw("GET", f"{E}/{work}")),
        ("make a key", raw("POST", f"/glovebox/v1/environments/{place}/keys", {})), ("another's session", raw("GET", f"/v1/sessions/{other}")),
        ("list sessions", raw("GET", "/v1/sessions")), ("another's history", raw("GET", f"/v1/sessions/{other}/events")),
        ("another's stream", raw("GET", f"/v1/sessions/{other}/events/stream")), ("its session's threads", raw("GET", f"/v1/sessions/{own}/threads")),
        ("its session's files", raw("GET", f"/glovebox/v1/sessions/{own}/files/file_x/content")),
        ("answer a call", says(own, {"type": "user.tool_result", "tool_use_id": call, "is_error": False, "content": [{"type": "text", "text": "Error: x"}]})),
        ("answer one with what is no error", says(own, {"type": "user.tool_result", "tool_use_id": call, "is_error": True, "content": [{"type": "text", "text": "all is well"}]})),
        ("answer one with a picture", says(own, {"type": "user.tool_result", "tool_use_id": call, "is_error": True, "content": [{"type": "image", "source": {}}]})),
        ("confirm a call", says(own, {"type": "user.tool_confirmation", "tool_use_id": call, "result": "allow"})), ("interrupt", says(own, {"type": "user.interrupt"})),
        ("refuse a call of another's", says(other, {"type": "user.tool_result", "tool_use_id": call, "is_error": True, "content": [{"type": "text", "text": "Error: x"}]})),
        ("say an error in another's", raw("POST", f"/glovebox/v1/sessions/{other}/errors", {"message": "x"})),
        ("speak in its session", raw("POST", f"/v1/sessions/{own}/events", {"events": [{"type": "user.message", "content": [{"type": "text", "text": "x"}]}]})),
        ("delete its session", raw("DELETE", f"/v1/sessions/{own}")), ("agents", raw("GET", "/v1/agents")), ("vaults", raw("GET", "/v1/vaults")),
        ("files", raw("GET", "/v1/files")), ("webhooks", raw("GET", "/v1/organizations/webhooks")), ("poll by HEAD", raw("HEAD", E + "/poll")),
        # boxes of others
        ("list boxes", raw("GET", "/sandboxes")), ("by the other way", raw("GET", "/v1/namespaces/default/sandboxes")),
        ("look at a private box", raw("GET", "/sandboxes/private")), ("by its id", raw("GET", f"/sandboxes/{private}")),
        ("at one named like its own", raw("GET", "/sandboxes/agent-alien")), ("at that by its id", raw("GET", f"/sandboxes/{alien}")),
        ("at itself", raw("GET", f"/sandboxes/{hooks}")), ("a way around", raw("GET", f"/sandboxes/{box}/../{private}")),
        ("an encoded one", raw("GET", f"/sandboxes/{box}%2f..%2f{private}")), ("a name with a slash", raw("GET", "/sandboxes/agent-x%2flogs")),
        ("delete a private box", raw("DELETE", f"/sandboxes/{private}")), ("delete one named like its own", raw("DELETE", "/sandboxes/agent-alien")),
        ("delete itself", raw("DELETE", f"/sandboxes/{hooks}")), ("resume another", raw("POST", f"/sandboxes/{private}/resume")),
        ("open a way in another", raw("POST", f"/sandboxes/{private}/uplink", {"port": 0})), ("in itself", raw("POST", f"/sandboxes/{hooks}/uplink", {"port": 5053})),
        ("processes of another", raw("GET", "/api/v1/processes", headers=of(private))), ("by host", raw("GET", "/api/v1/processes", headers=[f"Host: {private}.local"])),
        ("two of them", raw("GET", "/api/v1/processes", headers=[*of(private), *of(box)])), ("in the path", raw("GET", f"/s/{private}/api/v1/processes")),
        ("no box at all", raw("GET", "/api/v1/processes")), ("its own by name and not id", raw("GET", "/api/v1/processes", headers=of("agent-alien"))),
        ("start the worker in another", start(worker(), private)), ("in one named like its own", start(worker(), alien)),
        # verbs it has no need of
        ("a file of its own box", raw("GET", "/api/v1/files?path=/workspace/mine", headers=of(box))), ("a file of another", raw("GET", "/api/v1/files?path=/tmp/secret", headers=of(private))),
        ("write a file", raw("PUT", "/api/v1/files?path=/x", b"x", headers=of(box))), ("a tool", raw("POST", "/api/v1/tools/bash", {"command": "id"}, headers=of(box))),
        ("a terminal", raw("POST", "/api/v1/pty", {"command": "sh"}, headers=of(box))), ("a tunnel", raw("GET", "/api/v1/tunnels/tcp?port=22", headers=of(box))),
        ("run", raw("POST", "/api/v1/processes/run", worker(), headers=of(box))), ("an exec socket", raw("GET", "/api/v1/exec/ws", headers=of(box))),
        ("a tree", raw("GET", "/api/v1/trees?path=/", headers=of(box))), ("end a process", raw("DELETE", "/api/v1/processes/1", headers=of(box))),
        ("stdin", raw("POST", "/api/v1/processes/1/stdin", b"x", headers=of(box))), ("stop for good", raw("POST", "/api/v1/processes/1/signal", {"signal": 19}, headers=of(box))),
        ("expose a port", raw("PATCH", f"/sandboxes/{box}", {"exposed_ports": [80]})), ("a token of a port", raw("POST", f"/sandboxes/{box}/ports/80/token")),
        ("suspend", raw("POST", f"/sandboxes/{box}/suspend")), ("snapshot", raw("POST", f"/sandboxes/{box}/snapshot")), ("copy", raw("POST", f"/sandboxes/{box}/copy")),
        ("roll back", raw("POST", f"/sandboxes/{box}/rollback", {"snapshot_id": "x"})), ("logs", raw("GET", f"/sandboxes/{box}/logs")),
        ("mount a volume", raw("POST", f"/sandboxes/{box}/file_systems", {"file_system_id": "ledger", "mount_path": "/l"})), ("images", raw("GET", "/images")),
        ("pull an image", raw("POST", "/images/pull", {"reference": "x"})), ("snapshots", raw("GET", "/snapshots")), ("volumes", raw("GET", "/volumes")),
        ("delete a volume", raw("DELETE", "/volumes/ledger")), ("pools", raw("GET", "/sandbox-pools")), ("numbers", raw("GET", "/metrics")), ("usage", raw("GET", "/glovebox/v1/usage")),
        # boxes that are not as the operator said
        ("a name that is none of a session", made(name="webhook-two")), ("no name", raw("POST", "/sandboxes", {"network": {"allow_internet_access": False}})),
        ("an upper case name", made(name="agent-X")), ("another image", made(image="other")), ("a snapshot", made(snapshot_id="x")), ("the internet", made(network={"allow_internet_access": True})),
        ("the internet by default", raw("POST", "/sandboxes", {"name": "agent-new"})), ("the internet by null", made(network=None)),
        ("an address", made(network={"allow_internet_access": False, "allow_out": ["1.1.1.1"]})), ("a port", made(exposed_ports=[80])), ("a program", made(entrypoint=["/bin/sh"])),
        ("a volume of others", made(file_systems=[{"file_system_id": "ledger", "mount_path": "/l"}])),
        ("another session's outputs", made(file_systems=[{"file_system_id": f"outputs-{other}", "mount_path": "/o"}])),
        ("two names", raw("POST", "/sandboxes", b'{"name":"agent-new","name":"private2","network":{"allow_internet_access":false}}')),
        ("make a volume", raw("POST", "/volumes", {"name": "mine"})), ("another session's", raw("POST", "/volumes", {"name": f"outputs-{other}"})),
        # other programs than the worker of its items
        ("a shell", start({"command": "/bin/sh", "args": ["-c", "id"]})), ("another program by the same arguments", start(worker("/tmp/glovebox-worker"))),
        ("an item it was not given", start(worker(work=item))), ("another's session", start(worker(session=other))), ("another environment", start(worker(environment=second))),
        ("a service of its own", start(worker(url="http://10.0.0.1:80"))), ("a user in its address", start(worker(url="http://x@127.0.0.1:80"))),
        ("an argument more", start(worker(more=["--on-work=/bin/sh"]))), ("an argument twice", start(worker(more=[f"--work-id={work}"]))),
        ("a library", start(worker(env={"LD_PRELOAD": "/tmp/x.so"}))), ("a managed one", start({**worker(), "name": "kept", "restart": {"policy": "always"}})),
        ("the receiver", start({"command": WORKER, "args": ["receive", "--listen=0.0.0.0:80", "--to=http://127.0.0.1:1"]})),
        # grants and doors
        ("a grant for another's box", raw("PUT", f"/grants/{private}", {"work_id": work})), ("for itself", raw("PUT", f"/grants/{hooks}", {"work_id": work})),
        ("a grant of another's item", raw("PUT", f"/grants/{box}", {"work_id": item, "session_id": other})),
        ("renew another's", raw("POST", f"/grants/{private}/renew", {"work_id": work})), ("take back another's", raw("DELETE", f"/grants/{private}?work_id={work}")),
        ("a door", raw("PUT", f"/doors/{box}")), ("hints", raw("GET", "/hints?before=0")), ("drain", raw("POST", "/drain")),
        # the framing
        ("a length and chunks", raw("POST", "/sandboxes", b"0\r\n\r\nDELETE /sandboxes/private HTTP/1.1\r\nHost: x\r\n\r\n", headers=["Transfer-Encoding: chunked"])),
        ("two lengths", raw("POST", "/sandboxes", b"{}", headers=["Content-Length: 0"])), ("a whole URL", raw("GET", "http://127.0.0.1/sandboxes/private")),
        ("another method by a header", raw("POST", f"/sandboxes/{private}", headers=["X-HTTP-Method-Override: DELETE"])), ("CONNECT", raw("CONNECT", "127.0.0.1:8410")),
        ("another way by a header", raw("GET", "/", headers=["X-Original-URL: /sandboxes/private", "X-Forwarded-Host: engine"])), ("TRACE", raw("TRACE", f"/sandboxes/{box}")),
        ("a line break in the way", raw("GET", "/sandboxes/agent-x%0d%0aAuthorization:%20x")), ("a body of 1 MB", raw("POST", "/sandboxes", b'{"name":"' + b"a" * (1 << 20) + b'"}')),
        ("deep nesting", raw("POST", "/sandboxes", b"[" * 50_000)), ("a body that is no JSON", raw("POST", "/api/v1/processes", b"x=1", headers=of(box))),
    ]


run(test)
