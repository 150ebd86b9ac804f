"""kill -9 of the engine or of a hand's helper, at any moment: boxes and commands run on, their output is there, nothing leaks.
labels: privileged timeout=900
"""
import base64
import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import re
import signal
import threading
import time

from crashes import helpers
from faults import attempt, fault_points
from harness import Glovebox, run
from support import Checks, Owned, api_of, equal, eventually, note, start_time

SEED = int(os.environ.get("GLOVEBOX_SEED", random.randrange(1 << 30)))


def test_engine_killed(tmp):
    """Boxes and what runs in them outlive the engine; what it wrote is kept up to the ring's size, with a mark."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        box = api.create(name="survivor", exposed_ports=[8080])
        before = api.get(box.id)
        ticking = box.start("/bin/bash", "-c", "for i in $(seq 100000); do echo tick $i; sleep 0.02; done")
        piped = box.start("/bin/bash", "-c", "read x; echo got $x; exit 5", stdin_mode="pipe")
        session = box.call("POST", "/pty", {"command": "/bin/bash", "args": ["--norc"]}).expect(201).json
        box.tool("bash", command="REMEMBERED=yes; cd /tmp")
        host_pids = Owned(gb.state, gb.instance).host_pids(box.id, {1, ticking["pid"], piped["pid"]})
        with check("the engine comes back by itself, with the same boxes"):
            gb.kill_engine()
            api = api_of(gb)
            after = api.get("survivor")
            for member in ("id", "status", "name", "created_at", "exposed_ports", "resources", "timeout_secs"):
                equal(after.get(member), before.get(member), member)
        box = api.box("survivor")
        with check("every process is the same as before"):
            for pid, started in host_pids.items():
                equal(start_time(pid), started, f"process {pid}")
            equal(box.process(ticking["pid"])["status"], "running")
        with check("output goes on without a hole"):
            seen = eventually(lambda: (lines := box.output(ticking["pid"], "stdout")) and len(lines) > 20 and lines, 20, "ticks")
            equal(seen, [f"tick {i}" for i in range(1, len(seen) + 1)])
        with check("stdin of a process of before can be written, and its exit is learned"):
            box.call("POST", f"/processes/{piped['pid']}/stdin", b"hello\n").expect(204)
            equal(box.ended(piped["pid"])["exit_code"], 5)
            equal(box.output(piped["pid"]), ["got hello"])
        with check("the terminal of before is there"):
            listed = [s["session_id"] for s in box.call("GET", "/pty").expect(200).json["sessions"] if s["is_alive"]]
            assert session["session_id"] in listed, listed
        with check("the tools' shell kept its variables, or says that it was restarted; the next call works"):
            answer = box.tool("bash", command="echo v:$REMEMBERED:$PWD")
            assert answer["content"] == "v:yes:/tmp" or answer["content"].startswith("v::"), answer
        with check("a process that ended while no engine lived is told correctly"):
            brief = box.start("/bin/bash", "-c", "echo said; sleep 0.3; exit 42")
            gb.kill_engine()
            api = api_of(gb)
            box = api.box("survivor")
            record = box.ended(brief["pid"])
            equal((record["status"], record["exit_code"]), ("exited", 42))
            equal(box.output(brief["pid"]), ["said"])
        with check("more output than the ring while no engine lived: the last part is kept, a mark stands for the rest"):
            flood = box.start("/bin/bash", "-c", "read x; seq 1 400000; echo the end; sleep 600", stdin_mode="pipe")
            box.call("POST", f"/processes/{flood['pid']}/stdin", b"\n").expect(204)
            gb.kill_engine()
            api = api_of(gb)
            box = api.box("survivor")
            lines = eventually(lambda: (lines := box.output(flood["pid"], "stdout"))[-1:] == ["the end"] and lines, 30, "the end of the flood")
            numbers = [int(line) for line in lines if line.isdigit() and len(line) > 3]
            assert numbers == list(range(numbers[0], 400001))[-len(numbers) :] and numbers[-1] == 400000, "the last part, in order"
            assert len(lines) > 5000, f"{len(lines)} lines kept"
            events = []
            follow = box.follow(flood["pid"], "stdout")
            for name, data in follow:
                events.append((name, json.loads(data)))
                if len(events) >= 3:
                    break
            follow.close()
            assert any(data.get("gap") and "missing" in data["line"] for _, data in events), f"no mark: {events}"
        with check("delete works after all that, and the name is free"):
            box.delete().expect(200, 202, 204)
            again = eventually(lambda: (r := api.call("POST", "/sandboxes", {"name": "survivor"})).status in (200, 201) and r, 30, "name free")
            api.delete(again.json["sandbox_id"]).expect(200, 202, 204)
        check.done()


def test_random_moments(tmp):
    """Killed at random moments of a busy life: what was acknowledged stays, nothing leaks."""
    note(f"GLOVEBOX_SEED={SEED}")
    choice = random.Random(SEED)
    with Glovebox(tmp) as gb:
        api = api_of(gb)
        api.create().delete()
        counts = settle(gb)
        keeper = api.create(name="keeper")
        job = keeper.start("sleep", "3000")
        for round_number in range(6):
            acknowledged, deleted = [], []
            deadline = time.monotonic() + choice.uniform(0.05, 0.8)
            engine = gb.engine_pid()
            killer = threading.Timer(max(0, deadline - time.monotonic()), lambda: os.kill(engine, signal.SIGKILL))
            killer.start()
            while killer.is_alive():
                try:
                    box = api.create()
                    acknowledged.append(box.id)
                    box.sh("echo x")
                    if choice.random() < 0.5:
                        box.delete().expect(200, 202, 204)
                        deleted.append(box.id)
                except (OSError, http.client.HTTPException, AssertionError, ValueError):
                    break
            killer.join()
            eventually(lambda: gb.engine_pid() != engine and gb.answers(), 60, "the next engine")
            api = api_of(gb)
            for box_id in acknowledged:
                status = api.get(box_id)["status"]
                assert status in (("terminated",) if box_id in deleted else ("running", "terminated")), f"{box_id} is {status}"
            for record in api.alive():
                if record.get("name") != "keeper":
                    api.box(record["id"]).sh("echo works").ok()
                    api.delete(record["id"]).expect(200, 202, 204)
            equal(api.box("keeper").process(job["pid"])["status"], "running", f"round {round_number}")
        api.delete("keeper").expect(200, 202, 204)
        equal(api.alive(), [])
        same(gb, counts, "after all rounds")


ELSEWHERE = {"cold", "copy", "pool", "resume", "suspend", "snapshot", "unsnapshot", "rollback", "image", "volume", "import"}  # verbs with a crash test of their own


def settle(gb, limit=30):
    """What the instance owns, once it stops changing: numbers, because ids differ."""
    owned = Owned(gb.state, gb.instance)

    def count():
        folders = {name: len(os.listdir(path)) for name in ("pool/boxes", "pool/snapshots", "hands") if os.path.isdir(path := gb.engine_path(name))}
        return {"processes": len(owned.processes()), "cgroups": len(owned.cgroups()), "mounts": len(owned.mounts()),
                "namespaces": len(owned.namespaces()), **folders}

    last, since = count(), time.monotonic()
    deadline = since + limit
    while time.monotonic() < min(deadline, since + 1.0):
        time.sleep(0.1)
        current = count()
        if current != last:
            last, since = current, time.monotonic()
    return last


def same(gb, before, when):
    def now():
        counts = settle(gb, 5)
        return counts if all(counts[k] <= before.get(k, 0) for k in counts) else None

    try:
        eventually(now, 30, "as before")
    except AssertionError:
        owned = Owned(gb.state, gb.instance)
        raise AssertionError(f"{when}: had {before}, has {settle(gb)}\n" + "\n".join(owned.describe(owned.processes()) + owned.cgroups()))


def test_fault_points(tmp):
    """Killed, and failed, behind each durable step of create, exec and delete."""
    points = fault_points("engine", "hand", "sys", "store", but=ELSEWHERE)
    note(f"{len(points)} fault points: {' '.join(points)}")
    assert points, "no fault points found"
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        keeper = api.create(name="keeper")
        job = keeper.start("/bin/bash", "-c", "echo begun; sleep 3000")
        victim = api.create(name="warm-up")
        victim.sh("echo x").ok()
        victim.delete().expect(200, 202, 204)
        before = settle(gb)
        note(f"with one box: {before}")
        for point, part in points.items():
            verb = point.split(".")[0]
            for action in ("kill", "fail"):
                with check(f"{point}:{action}"):
                    if part != "engine":
                        walk_fresh(tmp, point, action, verb)
                        continue
                    walk(gb, point, action, verb, job, before)
        check.done()


def walk(gb, point, action, verb, job, before):
    gb.environment = {}
    if verb == "create":
        prepared = None
    elif verb in ("delete", "remove", "exec", "process", "managed", "ports"):
        prepared = api_of(gb).create(name="victim")
    else:
        raise AssertionError(f"no operation known that passes {point}: teach this test one")
    gb.down()
    gb.environment = {"GLOVEBOX_FAULT": f"{point}:{action}"}
    before_fault = len(gb.log())
    gb.start()
    api = api_of(gb)
    if verb == "create":
        reply = attempt(lambda: api.call("POST", "/sandboxes", {"name": "victim"}))
    elif verb in ("delete", "remove"):
        reply = attempt(lambda: api.delete(prepared.id))
    elif verb == "ports":
        rule = {"verify": "standard-webhooks", "secrets": ["whsec_" + base64.b64encode(b"a secret of 24 bytes ...").decode()]}
        reply = attempt(lambda: api.call("PUT", "/sandboxes/victim/ports/8080", rule))
    elif verb == "managed":
        started = {"name": "kept", "command": "sleep", "args": ["3000"]}
        reply = attempt(lambda: api.box("victim").call("POST", "/processes", started))
    else:
        reply = attempt(lambda: api.box("victim").call("POST", "/processes", {"command": "sleep", "args": ["3000"]}))
    if action == "kill":
        # It may strike after the answer, or already while the start cleans up behind the engine before.
        eventually(lambda: "killed by SIGKILL" in gb.log()[before_fault:], 20, f"the engine died at {point} (it answered {reply!r})")
        assert verb != "create" or reply is None or reply.status >= 500, f"died, and yet answered {reply!r}"
    else:
        assert reply is None or reply.status >= 400 or verb in ("delete", "remove"), f"failed, and yet answered {reply!r}"
        if reply is not None and reply.status >= 400:
            reply.refused(reply.status)
    gb.down()
    gb.environment = {}
    gb.start()
    api = api_of(gb)
    keeper = api.box("keeper")
    equal(keeper.process(job["pid"])["status"], "running", "the command of another box")
    equal(keeper.output(job["pid"]), ["begun"])
    keeper.sh("echo new ones work").ok()
    for record in api.list(limit=1000)["sandboxes"]:
        assert record["status"] in ("running", "terminated"), f"left {record['status']}: {record}"
    for record in api.alive():
        if record.get("name") == "victim":  # either all of it is there, or nothing
            api.box(record["id"]).sh("echo whole").ok()
            if verb == "ports":
                there = api.call("GET", f"/sandboxes/{record['id']}/ports").expect(200).json["ports"]
                equal([port["port"] for port in there], [8080] if point == "ports.after_commit" else [])
            if verb == "managed":  # what was noted is kept running, once; what was refused is not there
                wanted = ["sleep 3000"] if action == "kill" else []
                eventually(lambda: [p for p in api.box(record["id"]).programs() if p.startswith("sleep")] == wanted, 20, str(wanted))
            api.delete(record["id"]).expect(200, 202, 204)
    if prepared:
        api.delete(prepared.id).expect(200, 202, 204)
    fresh = eventually(lambda: (r := api.call("POST", "/sandboxes", {"name": "victim"})).status in (200, 201) and r, 30, "the name is free")
    api.delete(fresh.json["sandbox_id"]).expect(200, 202, 204)
    equal([s["name"] for s in api.alive()], ["keeper"])
    same(gb, before, point)


def walk_fresh(tmp, point, action, verb):
    """Points of the launcher or the hand: these keep the environment they were born with, so a new instance has it."""
    name = re.sub(r"\W", "-", f"{point}-{action}")
    with Glovebox(tmp, environment={"GLOVEBOX_FAULT": f"{point}:{action}@3"}, name=name) as other:
        api = api_of(other)
        for _ in range(6):
            attempt(lambda: api.call("POST", "/sandboxes", {}))
            eventually(other.answers, 60, "the engine answers")
        for record in api.alive():
            attempt(lambda: api.box(record["id"]).sh("echo x"))
            api.delete(record["id"])
        eventually(lambda: not api.alive(), 30, "all are gone")


def test_helper_killed(tmp):
    """The helper of a hand may die at any time: what runs is not touched, and new commands, files and tools work."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        box = api.create()
        owned = Owned(gb.state, gb.instance)
        job = box.start("/bin/bash", "-c", "for i in $(seq 100000); do echo tick $i; sleep 0.02; done")
        box.tool("bash", command="X=1")

        def kill(pids):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # at rest there are more than the helper, and they come and go
                    os.kill(pid, signal.SIGKILL)

        with check("the helper is found, dies, and commands, files and tools go on"):
            for _ in range(10):
                kill(eventually(lambda: helpers(gb, box.id), 10, "a helper"))
                equal(eventually(lambda: box.sh("echo new").stdout == "new", 20, "a new command"), True)
                box.write("/tmp/f", "content")
                equal(box.read("/tmp/f"), b"content")
                assert eventually(lambda: box.tool("bash", command="echo tool")["content"] == "tool", 30, "a tool call")
        with check("killed while many commands start: each either ran or was refused, none hangs, none runs twice"):
            choice = random.Random(SEED)
            note(f"GLOVEBOX_SEED={SEED}")
            for i in range(40):
                if choice.random() < 0.6:
                    kill(helpers(gb, box.id))
                try:
                    done = box.sh(f"echo {i} >> /tmp/ran; echo {i}", wait=30)
                    assert done.stdout in (str(i), ""), repr(done)
                except AssertionError as refused:
                    assert "40" in str(refused) or "50" in str(refused), refused
            lines = box.read("/tmp/ran").split()
            equal(len(lines), len(set(lines)), "each command ran once at most")
        with check("what ran before runs on, its output has no hole"):
            equal(box.process(job["pid"])["status"], "running")
            seen = box.output(job["pid"], "stdout")
            equal(seen, [f"tick {i}" for i in range(1, len(seen) + 1)])
        with check("the helper killed in the middle of a tool call and of an upload is an error, then all is well"):
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                call = pool.submit(lambda: box.call("POST", "/tools/bash", {"command": "sleep 5; echo late", "timeout_ms": 20000}))
                eventually(lambda: len(owned.in_cgroup(box.id)) > 3, 10, "the call runs")
                kill(helpers(gb, box.id))
                reply = call.result(timeout=60)
                assert reply.status == 200 and reply.json["content"] or reply.status >= 400, repr(reply)
            equal(eventually(lambda: box.tool("bash", command="echo fine")["content"] == "fine", 30, "fine"), True)
        with check("no helpers pile up"):
            eventually(lambda: len(helpers(gb, box.id)) <= 4, 20, "one helper, one blank, two tool processes between calls")
        box.delete().expect(200, 202, 204)
        check.done()


run(test_engine_killed, test_fault_points, test_random_moments, test_helper_killed)
