"""A named sandbox is suspended and resumed with all its processes, any operation wakes it, and none under way is ever frozen.
labels: privileged timeout=300
"""
import concurrent.futures
import http.client
import json
import os
import signal
import time

from harness import Glovebox, run
from life import frozen, state, suspend, ticking, ticks
from support import Checks, Exec, api_of, equal, eventually


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        by_hand(gb, api, check)
        wakes(gb, api, check)
        in_use(gb, api, check)
        restarts(gb, check)
        check.done()


def by_hand(gb, api, check):
    box = api.create(name="sleeper", exposed_ports=[8080])
    pid = ticking(box)
    box.tool("bash", command="REMEMBERED=yes; cd /tmp")
    with check("suspend answers 202, then 200; the record keeps its id, name, URL and ports"):
        before = api.get("sleeper")
        equal(api.call("POST", "/sandboxes/sleeper/suspend").status, 202)
        equal(api.call("POST", "/v1/namespaces/default/sandboxes/sleeper/suspend").status, 200)
        after = api.get(box.id)
        equal((after["status"], after["tier"]), ("suspended", "ram"))
        for member in ("id", "name", "sandbox_url", "exposed_ports", "created_at", "timeout_secs"):
            equal(after.get(member), before.get(member), member)
        assert "outcome" not in after and "terminated_at" not in after, after
    with check("its processes stand still, and looking at records wakes nothing"):
        assert frozen(gb, box.id)
        equal([s["id"] for s in api.list(status="suspended")["sandboxes"]], [box.id])
        api.call("PATCH", "/sandboxes/sleeper", {"exposed_ports": [8081]}).expect(200)
        equal(state(api, box.id), ("suspended", "ram"))
        assert frozen(gb, box.id)
    with check("resume answers 202, then 200; every process goes on where it was"):
        equal(api.call("POST", "/sandboxes/sleeper/resume").status, 202)
        equal(api.call("POST", "/sandboxes/sleeper/resume").status, 200)
        equal(state(api, box.id), ("running", "active"))
        equal(api.get(box.id)["exposed_ports"], [8081])
        had = ticks(box, pid)
        eventually(lambda: ticks(box, pid) > had, 20, "it ticks on")
        equal(box.tool("bash", command="echo v:$REMEMBERED:$PWD")["content"], "v:yes:/tmp")
    with check("by name and by id, again and again"):
        for i in range(10):
            suspend(api, gb, ("sleeper", box.id)[i % 2] if i % 2 else box.id)
            equal(api.call("POST", f"/sandboxes/{('sleeper', box.id)[i % 2]}/resume").status, 202)
        ticks(box, pid)
    with check("an unnamed one cannot be suspended: 400; with a name it can"):
        other = api.create()
        api.call("POST", f"/sandboxes/{other.id}/suspend").refused(400)
        equal(api.call("POST", f"/sandboxes/{other.id}/resume").status, 200)
        api.call("PATCH", f"/sandboxes/{other.id}", {"name": "named-late"}).expect(200)
        suspend(api, gb, other.id)
        other.delete().expect(204)
    with check("unknown ones are 404, terminated ones are refused"):
        for verb in ("suspend", "resume"):
            api.call("POST", f"/sandboxes/nobody-is-that/{verb}").refused(404)
            api.call("POST", f"/sandboxes/{other.id}/{verb}").refused(400, "SANDBOX_TERMINATED")
    with check("a suspended one is deleted at once, and its name is free"):
        suspend(api, gb, box.id)
        box.delete().expect(204)
        equal(api.get(box.id)["status"], "terminated")
        assert box.call("GET", "/health").status == 410
        api.create(name="sleeper").delete().expect(204)


def wakes(gb, api, check):
    box = api.create(name="wanted")
    pid = ticking(box)
    reader = box.start("/bin/bash", "-c", "while read x; do echo got $x; done", stdin_mode="pipe")["pid"]
    session = box.call("POST", "/pty", {"command": "/bin/bash", "args": ["--norc"]}).expect(201).json
    box.write("/tmp/f", "content")

    def terminal():
        with box.websocket(f"/pty/{session['session_id']}/ws?token={session['token']}") as ws:
            ws.close()

    operations = {
        "run": lambda: equal(box.sh("echo hello").ok().stdout, "hello"),
        "start": lambda: box.start("true"),
        "list processes": box.processes,
        "get process": lambda: equal(box.process(pid)["status"], "running"),
        "output": lambda: ticks(box, pid),
        "follow": lambda: next(box.follow(pid)),
        "stdin": lambda: box.call("POST", f"/processes/{reader}/stdin", b"line\n").expect(204),
        "signal": lambda: box.call("POST", f"/processes/{reader}/signal", {"signal": 18}).expect(200),
        "read a file": lambda: equal(box.read("/tmp/f"), b"content"),
        "write a file": lambda: box.write("/tmp/g", "more"),
        "list files": lambda: box.call("GET", "/files/list?path=/tmp").expect(200),
        "delete a file": lambda: box.call("DELETE", "/files?path=/tmp/g").expect(204),
        "a tool": lambda: equal(box.tool("bash", command="echo tool")["content"], "tool"),
        "exec": lambda: Exec(box, command="echo", args=["exec"]).finish(),
        "health": lambda: box.call("GET", "/health").expect(200),
        "info": lambda: box.call("GET", "/info").expect(200),
        "list terminals": lambda: box.call("GET", "/pty").expect(200),
        "a terminal's socket": terminal,
        "a new terminal": lambda: box.call("POST", "/pty", {"command": "/bin/true"}).expect(201),
    }
    for name, operation in operations.items():
        with check(f"woken by: {name}"):
            suspend(api, gb, box.id)
            operation()
            equal(state(api, box.id), ("running", "active"))
            assert not frozen(gb, box.id)
    with check("the official client's names for it reach it too: by name in the Host, by header, by path"):
        for path, headers in (("/api/v1/health", {"Host": "wanted.local"}), ("/api/v1/health", {"X-Tensorlake-Sandbox-Id": "wanted"}),
                              ("/s/wanted/api/v1/health", {})):
            suspend(api, gb, box.id)
            api.call("GET", path, headers=headers).expect(200)
            equal(state(api, box.id), ("running", "active"))
    with check("a hundred wakes at once are one, and all are served"):
        suspend(api, gb, box.id)
        before = gb.log().count("sandbox.resumed")
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(lambda i: box.read("/tmp/f") if i % 2 else box.call("GET", "/health").expect(200).body, range(100)))
        equal(len(answers), 100)
        equal(gb.log().count("sandbox.resumed") - before, 1, "resumes in the log")
    with check("suspends and operations against each other for three seconds: every operation is served"):
        end = time.monotonic() + 3
        refused = []

        def suspending():
            while time.monotonic() < end:
                status = api.call("POST", "/sandboxes/wanted/suspend", timeout=30).status
                if status not in (200, 202, 409):
                    refused.append(status)

        def working(n):
            done = 0
            while time.monotonic() < end:
                equal(box.sh(f"echo {n}", wait=30).ok().stdout, str(n))
                done += 1
            return done

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            nights = [pool.submit(suspending) for _ in range(2)]
            days = [pool.submit(working, n) for n in range(4)]
            done = [d.result(timeout=90) for d in days]
            [n.result(timeout=90) for n in nights]
        equal(refused, [])
        assert min(done) > 0, done
        ticks(box, pid)
    box.delete().expect(204)


def in_use(gb, api, check):
    box = api.create(name="busy")
    with check("while a command runs that somebody waits for: 409, and the command is not touched"):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            call = pool.submit(lambda: box.sh("echo on; sleep 5; echo off"))
            eventually(lambda: any("sleep" in p for p in programs(gb, box.id)), 10, "it runs")
            api.call("POST", "/sandboxes/busy/suspend").refused(409, "SANDBOX_IN_USE")
            equal(state(api, box.id), ("running", "active"))
            equal(call.result(timeout=60).ok().stdout, "on\noff")
        suspend(api, gb, box.id)
    with check("while a terminal is connected: 409; not any more: it sleeps"):
        session = box.call("POST", "/pty", {"command": "/bin/bash", "args": ["--norc"]}).expect(201).json
        with box.websocket(f"/pty/{session['session_id']}/ws?token={session['token']}"):
            api.call("POST", "/sandboxes/busy/suspend").refused(409, "SANDBOX_IN_USE")
        suspend(api, gb, box.id)
    with check("while an upload is under way: 409; and it is whole"):
        connection = http.client.HTTPConnection(*api.address, timeout=60)
        connection.putrequest("PUT", "/api/v1/files?path=/tmp/up")
        for name, value in box.plane.headers().items():
            if name != "Host":
                connection.putheader(name, value)
        connection.putheader("X-Tensorlake-Sandbox-Id", box.id)
        connection.putheader("Content-Length", "20")
        connection.endheaders()
        connection.send(b"0123456789")
        eventually(lambda: state(api, box.id) == ("running", "active"), 10, "the upload has woken it")
        api.call("POST", "/sandboxes/busy/suspend").refused(409, "SANDBOX_IN_USE")
        connection.send(b"0123456789")
        equal(connection.getresponse().status, 204)
        connection.close()
        equal(box.read("/tmp/up"), b"0123456789" * 2)
    with check("while a tool call with a key goes on that nobody waits for: 409"):
        connection = http.client.HTTPConnection(*api.address, timeout=60)
        connection.request("POST", "/api/v1/tools/bash", json.dumps({"command": "sleep 5; echo through"}),
                           {**box.plane.headers(), "Host": f"{box.id}.local", "Idempotency-Key": "call-1"})
        eventually(lambda: any("sleep" in p for p in programs(gb, box.id)), 10, "it runs")
        connection.close()
        api.call("POST", "/sandboxes/busy/suspend").refused(409, "SANDBOX_IN_USE")
        answer = box.call("POST", "/tools/bash", {"command": "sleep 5; echo through"}, headers={"Idempotency-Key": "call-1"})
        equal(answer.expect(200).json["content"], "through")
    with check("while somebody follows what a process says: it sleeps, the stream goes on when it is awake again"):
        pid = ticking(box)
        lines = (json.loads(data) for kind, data in box.follow(pid, "stdout") if kind == "output")
        next(lines)
        suspend(api, gb, box.id)
        api.call("POST", "/sandboxes/busy/resume").expect(202)
        had = ticks(box, pid)
        eventually(lambda: int(next(lines)["line"].split()[1]) > had, 20, "it goes on")
        lines.close()
        box.call("DELETE", f"/processes/{pid}").expect(204)
    with check("a process that nobody waits for does not keep it awake, and goes on afterwards"):
        pid = ticking(box)
        suspend(api, gb, box.id)
        had = ticks(box, pid)
        eventually(lambda: ticks(box, pid) > had, 20, "it ticks on")
    box.delete().expect(204)


def programs(gb, box_id):
    """Command lines of what is in a box, read on the host: no look of this kind wakes it."""
    found = []
    for top, _, _ in os.walk("/sys/fs/cgroup"):
        if f"glovebox-{gb.instance}/{box_id}/user" in top:
            with open(os.path.join(top, "cgroup.procs")) as file:
                for pid in file.read().split():
                    try:
                        with open(f"/proc/{pid}/cmdline", "rb") as line:
                            found.append(line.read().replace(b"\0", b" ").decode(errors="replace"))
                    except OSError:
                        pass
    return found


def restarts(gb, check):
    api = api_of(gb)
    box = api.create(name="long-sleeper")
    pid = ticking(box)
    suspend(api, gb, box.id)
    used, asleep = api.get(box.id)["last_activity_at"], time.time() * 1000
    with check("it sleeps on through a kill -9 of the engine, and through `down` and `up`"):
        gb.kill_engine()
        equal(state(api_of(gb), "long-sleeper"), ("suspended", "ram"))
        assert frozen(gb, box.id)
        gb.down()
        gb.start()
        equal(state(api_of(gb), "long-sleeper"), ("suspended", "ram"))
        assert frozen(gb, box.id)
    with check("it was last used before it slept, not when an engine found it"):
        assert used - 1000 < api_of(gb).get(box.id)["last_activity_at"] <= asleep, (used, api_of(gb).get(box.id), asleep)
    with check("and wakes for the next engine as for the first"):
        box = api_of(gb).box("long-sleeper")
        had = ticks(box, pid)
        eventually(lambda: ticks(box, pid) > had, 20, "it ticks on")
    with check("the hand of a sleeping one dies: it is terminated, and its operations say so"):
        suspend(api_of(gb), gb, box.id)
        for top, _, _ in os.walk("/sys/fs/cgroup"):
            if top.endswith(f"glovebox-{gb.instance}/{box.id}/hand"):
                with open(os.path.join(top, "cgroup.procs")) as file:
                    for hand in file.read().split():
                        os.kill(int(hand), signal.SIGKILL)
        eventually(lambda: api_of(gb).get(box.id)["status"] == "terminated", 20, "terminated")
        equal(box.call("GET", "/health").status, 410)


run(test)
