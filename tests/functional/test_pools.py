"""Sandbox pools: warm sandboxes are there, a claim takes one of them, another takes its place, and limits hold.
labels: privileged timeout=200
"""
import concurrent.futures
import json
import os
import time

from harness import Glovebox, run
from pools import SPEC, claim, containers, create, get, is_warm, warm
from support import Box, Checks, api_of, equal, eventually

def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        definitions(api, check)
        claims(api, check)
        furnished(api, check)
        limits(api, check)
        rush(gb, api, check)
        restarts(gb, check)
        command_line(gb, check)
        check.done()


def definitions(api, check):
    with check("a pool is made, shown, listed, changed and removed"):
        network = {"allow_internet_access": False, "allow_out": [], "deny_out": []}
        pool = create(api, timeout_secs=120, max_containers=3, warm_containers=0, network=network)
        record = get(api, pool)
        assert ("id" in record) != ("pool_id" in record), record
        for member in ("image", "entrypoint"):
            equal(record[member], SPEC[member])
        equal((record["resources"]["memory_mb"], record["resources"]["ephemeral_disk_mb"]), (256, 1024))
        equal((record["timeout_secs"], record["max_containers"], record["warm_containers"]), (120, 3, 0))
        equal(record["containers"], [])
        assert record["created_at"] == record["updated_at"] > 1_600_000_000_000, record
        assert pool in [p.get("id") or p["pool_id"] for p in api.call("GET", "/v1/namespaces/default/sandbox-pools").expect(200).json["pools"]]
        changed = api.call("PUT", f"/sandbox-pools/{pool}", {**SPEC, "timeout_secs": 60, "max_containers": 4}).expect(200).json
        equal((changed["timeout_secs"], changed["max_containers"], changed.get("warm_containers")), (60, 4, None))
        equal(changed["network"], network, "an update that does not mention the network")
        equal(changed["network_policy"], network)
        cleared = api.call("PUT", f"/sandbox-pools/{pool}", {**SPEC, "network": None}).expect(200).json
        assert "network" not in cleared, cleared
        api.call("DELETE", f"/sandbox-pools/{pool}").expect(200, 204)
        for call in (("GET", ""), ("DELETE", ""), ("POST", "/sandboxes")):
            api.call(call[0], f"/sandbox-pools/{pool}{call[1]}").refused(404)
        api.call("PUT", f"/sandbox-pools/{pool}", SPEC).refused(404)
    with check("what makes no sense is refused, and the error names it"):
        for bad, word in (({}, "image"), ({"image": "host", "warm_containers": -1}, "warm_containers"),
                          ({"image": "host", "warm_containers": 3, "max_containers": 2}, "warm_containers"),
                          ({"image": "host", "resources": {"memory_mb": 1}}, "memory_mb"), ({"image": "no-such-image"}, "no-such-image")):
            answer = api.call("POST", "/sandbox-pools", bad)
            assert answer.status in (400, 404, 422) and word in answer.json["error"], (bad, answer)


def claims(api, check):
    pool = create(api, warm_containers=2, max_containers=5, timeout_secs=0)
    with check("exactly as many warm ones as asked for appear, and no sandbox is listed for them"):
        before = is_warm(api, pool, 2)
        time.sleep(1.5)
        equal(warm(api, pool), before)
        equal(api.alive(), [])
        for one in before:
            api.call("GET", f"/sandboxes/{one}").refused(404)
    with check("a claim gives one of those same ones, running, and its entrypoint runs"):
        made = claim(api, pool).expect(200, 201).json
        equal(made["status"], "running")
        assert made["sandbox_url"], made
        record = api.get(made["sandbox_id"])
        equal((record["image"], record["pool_id"], record["resources"]["memory_mb"]), ("host", pool, 256))
        taken = [c["id"] for c in containers(api, pool) if c["sandbox_id"] == made["sandbox_id"]]
        assert len(taken) == 1 and taken[0] in before, (taken, before)
        box = Box(api, record)
        equal(box.sh("echo claimed").ok().stdout, "claimed")
        assert any(p["command"] == "sleep" and p["args"] == ["300"] and p["status"] == "running" for p in box.processes())
    with check("a replacement appears"):
        after = is_warm(api, pool, 2)
        assert set(before) - set(taken) <= set(after), (before, after)
    with check("a pool with a sandbox that lives is not removed: 409"):
        api.call("DELETE", f"/sandbox-pools/{pool}").refused(409, "POOL_IN_USE")
    with check("the container is gone soon after its sandbox"):
        box.delete().expect(204)
        eventually(lambda: not [c for c in containers(api, pool) if c["sandbox_id"]], 30, "gone")
        equal(len(warm(api, pool)), 2)
    with check("a change of what its boxes are made of replaces them, another one does not"):
        before = is_warm(api, pool, 2)
        api.call("PUT", f"/sandbox-pools/{pool}", {**SPEC, "warm_containers": 2, "max_containers": 6, "timeout_secs": 100}).expect(200)
        time.sleep(0.5)
        equal(warm(api, pool), before)
        api.call("PUT", f"/sandbox-pools/{pool}", {**SPEC, "warm_containers": 3, "entrypoint": ["sleep", "301"]}).expect(200)
        after = is_warm(api, pool, 3)
        assert not set(before) & set(after), (before, after)
        api.call("PUT", f"/sandbox-pools/{pool}", {**SPEC, "warm_containers": 1, "entrypoint": ["sleep", "301"]}).expect(200)
        assert set(is_warm(api, pool, 1)) <= set(after)
    with check("a removed pool leaves nothing"):
        api.call("DELETE", f"/sandbox-pools/{pool}").expect(204)
        api.call("GET", f"/sandbox-pools/{pool}").refused(404)


def furnished(api, check):
    volume = api.call("POST", "/volumes", {"name": "data", "size_mb": 64}).expect(201).json["id"]
    asked = [{"file_system_id": "data", "mount_path": "/mnt/data"}]
    pool = create(api, warm_containers=1, max_containers=2)
    with check("a claim brings volumes, a name and a timeout of its own; it is still one of those that were ready"):
        before = is_warm(api, pool, 1)
        made = claim(api, pool, body={"file_systems": asked, "name": "claimed", "timeout_secs": 77}).expect(201).json
        assert made["claim_configuration_applied"] is True, made  # clients delete the sandbox of an answer without it
        equal([made["sandbox_id"]], before)
        record = api.get("claimed")
        equal((record["id"], record["timeout_secs"]), (made["sandbox_id"], 77))
        equal(record["file_systems"], [{"file_system_id": volume, "mount_path": "/mnt/data", "read_only": False}])
        box = Box(api, record)
        box.sh("echo kept > /mnt/data/note; chown 1000 /mnt/data/note").ok()
        equal(api.call("GET", "/volumes/data").expect(200).json["sandboxes"], [box.id])
        api.call("DELETE", "/volumes/data").refused(409, "FILE_SYSTEM_IN_USE")
    with check("a name that is taken, a volume that is not there and a place that is none are refused, and cost nothing"):
        before = is_warm(api, pool, 1)
        claim(api, pool, body={"name": "claimed"}).refused(409, "NAME_TAKEN")
        claim(api, pool, body={"file_systems": [{"file_system_id": "none", "mount_path": "/x"}]}).refused(400, "FILE_SYSTEM_NOT_FOUND")
        for place in ("/proc/x", "/", "x", "/usr/x"):
            claim(api, pool, body={"file_systems": [{"file_system_id": "data", "mount_path": place}]}).refused(400)
        equal(warm(api, pool), before)
    with check("one that has to wait for room gets all that, too"):
        other = claim(api, pool).expect(201).json
        late = claim(api, pool, body={"file_systems": asked, "name": "late"}).expect(201).json
        equal(late["status"], "pending")
        claim(api, pool, body={"name": "late"}).refused(409, "NAME_TAKEN")
        api.delete(other["sandbox_id"]).expect(204)
        eventually(lambda: api.get("late")["status"] == "running", 20, "it runs")
        equal(Box(api, api.get("late")).sh("cat /mnt/data/note; stat -c %u /mnt/data/note").ok().stdout.split(), ["kept", "1000"])
    for name in ("claimed", "late"):
        api.delete(name).expect(204)
    api.call("DELETE", "/volumes/data").expect(204)
    api.call("DELETE", f"/sandbox-pools/{pool}").expect(204)


def limits(api, check):
    pool = create(api, warm_containers=1, max_containers=2)
    with check("the limit is one of warm ones and sandboxes together; beyond it a claim is pending, and can be deleted"):
        is_warm(api, pool, 1)
        first, second = (claim(api, pool).expect(201).json for _ in range(2))
        equal((first["status"], second["status"]), ("running", "running"))
        equal(len(containers(api, pool)), 2)
        third, fourth = (claim(api, pool).expect(201).json for _ in range(2))
        equal((third["status"], fourth["status"]), ("pending", "pending"))
        assert api.get(third["sandbox_id"])["reason"], "why it is pending"
        Box(api, third).call("GET", "/health").refused(409, "SANDBOX_NOT_RUNNING")
        time.sleep(1.2)
        equal(len(containers(api, pool)), 2)
        api.delete(fourth["sandbox_id"]).expect(204)
        equal(api.get(fourth["sandbox_id"])["status"], "terminated")
        api.call("DELETE", f"/sandbox-pools/{pool}").refused(409, "POOL_IN_USE")
    with check("when one ends, who waits comes first"):
        api.delete(first["sandbox_id"]).expect(204)
        eventually(lambda: api.get(third["sandbox_id"])["status"] == "running", 20, "the one that waited runs")
        box = Box(api, api.get(third["sandbox_id"]))
        equal(box.sh("echo late").ok().stdout, "late")
        assert "reason" not in api.get(box.id)
        equal(len(containers(api, pool)), 2)
        for record in api.alive():
            api.delete(record["id"]).expect(204)
        is_warm(api, pool, 1)
        api.call("DELETE", f"/sandbox-pools/{pool}").expect(204)
    with check("a claimed one is idle for its timeout and ends: Success(Timeout), or is suspended"):
        pool = create(api, warm_containers=1, timeout_secs=2)
        is_warm(api, pool, 1)
        made = claim(api, pool).expect(201).json
        record = eventually(lambda: (r := api.get(made["sandbox_id"]))["status"] != "running" and r, 20, "ended")
        equal((record["status"], record["outcome"]), ("terminated", "Success(Timeout)"))
        api.call("DELETE", f"/sandbox-pools/{pool}").expect(204)


def rush(gb, api, check):
    pool = create(api, warm_containers=4, max_containers=12)
    with check("twenty claims at once: each gets its own, twelve run, eight wait, and never are there more"):
        is_warm(api, pool, 4)
        with concurrent.futures.ThreadPoolExecutor(20) as workers:
            made = [f.result().expect(201).json for f in [workers.submit(claim, api, pool) for _ in range(20)]]
        equal(len({m["sandbox_id"] for m in made}), 20)
        equal(sorted(m["status"] for m in made), ["pending"] * 8 + ["running"] * 12)
        equal(len(containers(api, pool)), 12)
        with concurrent.futures.ThreadPoolExecutor(8) as workers:
            list(workers.map(lambda m: api.delete(m["sandbox_id"]).expect(204), [m for m in made if m["status"] == "running"]))
        for one in [m for m in made if m["status"] == "pending"]:
            eventually(lambda: api.get(one["sandbox_id"])["status"] == "running", 30, "the waiting ones run")
        for record in api.alive():
            api.delete(record["id"]).expect(204)
        is_warm(api, pool, 4)
        api.call("DELETE", f"/sandbox-pools/{pool}").expect(204)


def restarts(gb, check):
    api = api_of(gb)
    pool = create(api, warm_containers=2, max_containers=3)
    with check("the next engine finds the same warm ones, and who waits goes on waiting"):
        before = is_warm(api, pool, 2)
        gb.kill_engine()
        api = api_of(gb)
        equal(warm(api, pool), before)
        made = [claim(api, pool).expect(201).json for _ in range(4)]
        equal([m["status"] for m in made], ["running"] * 3 + ["pending"])
        gb.kill_engine()
        api = api_of(gb)
        equal(api.get(made[3]["sandbox_id"])["status"], "pending")
        equal(Box(api, api.get(made[0]["sandbox_id"])).sh("echo x").ok().stdout, "x")
        api.delete(made[0]["sandbox_id"]).expect(204)
        eventually(lambda: api.get(made[3]["sandbox_id"])["status"] == "running", 20, "it runs")
    with check("a warm one that dies is replaced"):
        for record in api.alive():
            api.delete(record["id"]).expect(204)
        before = is_warm(api, pool, 2)
        for top, _, _ in os.walk("/sys/fs/cgroup"):
            if top.endswith(f"glovebox-{gb.instance}/{before[0]}/hand"):
                with open(os.path.join(top, "cgroup.procs")) as file:
                    for pid in file.read().split():
                        os.kill(int(pid), 9)
        after = eventually(lambda: (w := warm(api, pool)) and before[0] not in w and len(w) == 2 and w, 20, "replaced")
        assert before[1] in after, (before, after)
    api.call("DELETE", f"/sandbox-pools/{pool}").expect(204)


def command_line(gb, check):
    def cli(*words, code=0):
        done = gb.cli(*words[:2], "--json", *words[2:])
        equal(done.returncode, code, f"{words}: {done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    with check("the command line: pools are made, shown, changed, claimed from and removed"):
        pool = cli("pool", "create", "host", "--warm=1", "--max=3", "--memory=256M", "--timeout=2m", "--", "sleep", "300")["pool_id"]
        is_warm(api_of(gb), pool, 1)
        equal([p["id"] for p in cli("pool", "ls")], [pool])
        made = cli("pool", "claim", pool)
        equal(made["status"], "running")
        shown = cli("pool", "show", pool)
        equal((shown["resources"]["memory_mb"], shown["timeout_secs"], shown["entrypoint"]), (256, 120, ["sleep", "300"]))
        changed = cli("pool", "update", pool, "--warm=0", "--disk=2G")
        equal((changed["warm_containers"], changed["max_containers"], changed["resources"]["disk_mb"]), (0, 3, 2048))
        assert "in use" in gb.cli("pool", "rm", pool).stderr
        cli("sandbox", "rm", made["sandbox_id"])
        cli("pool", "rm", pool)
        cli("pool", "show", pool, code=3)
    with check("the command line: suspend and resume"):
        cli("sandbox", "create", "tired")
        equal(cli("sandbox", "suspend", "tired"), {"suspended": ["tired"]})
        equal(cli("sandbox", "show", "tired")["tier"], "ram")
        equal(cli("sandbox", "resume", "tired"), {"resumed": ["tired"]})
        equal(cli("sandbox", "show", "tired")["status"], "running")
        cli("sandbox", "suspend", "nobody", code=3)
        cli("sandbox", "rm", "tired")


run(test)
