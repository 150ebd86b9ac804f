"""After a restart of the machine named sandboxes are there, cold: their files and their names, started again when they are wanted.
labels: privileged timeout=300
"""
import concurrent.futures
import json
import os
import time

from faults import attempt, fault_points
from harness import Glovebox, run
from life import frozen, restart_machine, state, suspend
from support import Checks, api_of, equal, eventually, note

ENTRYPOINT = ["/bin/bash", "-c", "echo born >> /workspace/births; exec sleep 3000"]


def births(box):
    return box.read("/workspace/births").split()


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create(name="survivor", entrypoint=ENTRYPOINT, exposed_ports=[8080], resources={"memory_mb": 256})
        asleep, plain = api.create(name="asleep", entrypoint=ENTRYPOINT), api.create(name="plain")
        nameless = api.create()
        for one in (box, asleep):
            eventually(lambda: one.sh("cat /workspace/births").stdout == "born", 20, "the entrypoint ran")
        box.write("/workspace/kept", "content")
        box.sh("useradd -u 1500 -m someone && chown 1500 /workspace/kept && ln -s kept /workspace/link").ok()
        asleep.write("/root/notes", "mine")
        suspend(api, gb, asleep.id)
        before, slept = api.get(box.id), time.time() * 1000
        with check("named ones are suspended and cold, and say why; one without a name is terminated"):
            api = restart_machine(gb)
            for one in (box, asleep, plain):
                equal(state(api, one.id), ("suspended", "cold"))
                assert "restarted" in api.get(one.id)["reason"], api.get(one.id)
            equal(api.get(nameless.id)["status"], "terminated")
            after = api.get("survivor")
            for member in ("id", "name", "exposed_ports", "entrypoint", "created_at", "resources", "generation"):
                equal(after.get(member), before.get(member), member)
        box, asleep = api.box("survivor"), api.box("asleep")
        with check("a snapshot of a cold one: all its files, and it stays cold"):
            taken = json.loads(gb.cli("snapshot", "create", "asleep").stdout)
            equal((taken["status"], state(api, asleep.id)), ("completed", ("suspended", "cold")))
            restored = api.create(snapshot_id=taken["id"])
            equal(restored.read("/root/notes"), b"mine")
            restored.delete().expect(204)
        with check("they stay so through restarts of the engine"):
            gb.kill_engine()
            api = api_of(gb)
            equal(state(api, box.id), ("suspended", "cold"))
            assert api.get(asleep.id)["last_activity_at"] <= slept < api.get(box.id)["last_activity_at"], (api.get(asleep.id), slept, api.get(box.id))
        with check("fifty operations at once start it once; its files are there with their owners, and its entrypoint runs again"):
            with concurrent.futures.ThreadPoolExecutor(50) as pool:
                answers = list(pool.map(lambda _: box.read("/workspace/kept"), range(50)))
            equal(set(answers), {b"content"})
            equal(gb.log().count("sandbox.started_again"), 1)
            equal(state(api, box.id), ("running", "active"))
            assert "reason" not in api.get(box.id)
            equal(box.sh("stat -c %u:%U /workspace/kept; readlink /workspace/link; hostname").stdout, "1500:someone\nkept\nsurvivor")
            eventually(lambda: births(box) == [b"born", b"born"], 20, "the entrypoint ran a second time")
            assert any(p["command"] == "/bin/bash" and p["status"] == "running" for p in box.processes()), box.processes()
            equal(box.tool("bash", command="echo tool")["content"], "tool")
            limit = box.sh("awk '/MemTotal/{print $2}' /proc/meminfo").stdout
            equal(int(limit) // 1024, 256, "its size")
        with check("resume by hand does it, too; and it can be suspended again"):
            equal(api.call("POST", "/sandboxes/asleep/resume").status, 202)
            equal(asleep.read("/root/notes"), b"mine")
            suspend(api, gb, asleep.id)
            asleep.sh("echo x").ok()
        with check("a cold one is deleted like any other, and its name is free"):
            api.delete("plain").expect(204)
            equal(api.get(plain.id)["status"], "terminated")
            api.create(name="plain").delete().expect(204)
            eventually(lambda: not any(plain.id in top for top, _, _ in os.walk(os.path.join(gb.state, "engine"))), 20, "its files are gone")
        with check("a second restart is as the first"):
            api = restart_machine(gb)
            equal(state(api, box.id), ("suspended", "cold"))
            equal(api.box("survivor").read("/workspace/kept"), b"content")
            eventually(lambda: len(births(api.box("survivor"))) == 3, 20, "its entrypoint ran a third time")
        crashes(gb, check, box.id)
        check.done()


def crashes(gb, check, box_id):
    walked = fault_points("engine", verbs=("cold",))
    note(f"{len(walked)} fault points: {' '.join(walked)}")
    assert len(walked) >= 3, walked
    for point in walked:
        for action in ("kill", "fail"):
            with check(f"{point}:{action}"):
                before = len(gb.log())
                api = restart_machine(gb, GLOVEBOX_FAULT=f"{point}:{action}")
                reply = attempt(lambda: api.call("POST", f"/sandboxes/{box_id}/resume"))
                if action == "kill":
                    eventually(lambda: "killed by SIGKILL" in gb.log()[before:], 20, f"died (it answered {reply!r})")
                    gb.down()
                    gb.environment = {}
                    gb.start()
                else:
                    assert reply.status >= 400, reply
                api = api_of(gb)
                equal(state(api, box_id), ("suspended", "cold"))
                box = api.box(box_id)
                equal(box.read("/workspace/kept"), b"content")
                equal(state(api, box_id), ("running", "active"))
                assert not frozen(gb, box_id)


run(test)
