"""kill -9 and failures at each durable step of a pool's life: after the restart as many warm ones are there as asked for, all whole.
labels: privileged slow timeout=600
"""
import os
import re

from faults import attempt, fault_points
from harness import Glovebox, run
from pools import SPEC, claim, is_warm, warm
from support import Box, Checks, api_of, equal, eventually, note


def test(tmp):
    walked = fault_points("engine", verbs=("pool",))
    note(f"{len(walked)} fault points: {' '.join(walked)}")
    assert len(walked) >= 7, walked
    with Glovebox(tmp) as gb:
        check = Checks()
        for point in walked:
            for action in ("kill", "fail"):
                with check(f"{point}:{action}"):
                    walk(gb, point, action)
        check.done()


def walk(gb, point, action):
    """Whatever of these an engine dies at, the next one has whole pools: as many warm ones as asked for, none that nobody knows."""
    gb.down()
    gb.environment = {"GLOVEBOX_FAULT": f"{point}:{action}"}
    before = len(gb.log())
    gb.start()
    api = api_of(gb)
    spec = {**SPEC, "warm_containers": 2, "max_containers": 2}
    volume = api.call("POST", "/volumes", {"name": re.sub(r"\W", "-", f"{point}-{action}")}).expect(201).json["id"]
    with_volume = {"file_systems": [{"file_system_id": volume, "mount_path": "/mnt/v"}]}

    def life():
        pool = api.call("POST", "/sandbox-pools", spec)
        if pool.status != 201:
            return
        pool = pool.json["pool_id"]
        eventually(lambda: api.call("GET", f"/sandbox-pools/{pool}").status == 200 and len(warm(api, pool)) == 2, 10, "warm")
        made = [claim(api, pool, body=with_volume) for _ in range(3)]
        for one in made:
            if one.status == 201:
                api.delete(one.json["sandbox_id"])
        api.call("PUT", f"/sandbox-pools/{pool}", {**spec, "entrypoint": ["sleep", "301"]})
        api.call("DELETE", f"/sandbox-pools/{pool}")

    attempt(life)
    if action == "kill":
        eventually(lambda: "killed by SIGKILL" in gb.log()[before:], 20, f"the engine died at {point}")
    gb.down()
    gb.environment = {}
    gb.start()
    api = api_of(gb)
    for record in api.alive():
        assert record["status"] in ("running", "pending"), record
        if record["status"] == "running" and record.get("file_systems"):  # what the record says is there
            eventually(lambda: Box(api, record).sh("grep -c ' /mnt/v ' /proc/self/mountinfo").stdout == "1", 20, "its volume, once")
        api.delete(record["id"]).expect(204)
    for pool in api.call("GET", "/sandbox-pools").expect(200).json["pools"]:
        is_warm(api, pool["id"], 2)
        made = claim(api, pool["id"]).expect(201).json
        box = Box(api, api.get(made["sandbox_id"]))
        equal(box.sh("echo whole").ok().stdout, "whole")
        runs = [[p["command"], *p["args"]] for p in box.processes()]
        assert pool["entrypoint"] in runs, f"its entrypoint runs, and no former one: {runs}"
        box.delete().expect(204)
        api.call("DELETE", f"/sandbox-pools/{pool['id']}").expect(204)
    api.call("DELETE", f"/volumes/{volume}").expect(204)
    left = lambda: [d for d in os.listdir(os.path.join(gb.state, "engine", "hands"))]
    eventually(lambda: not left(), 20, "no sockets of boxes are left")


run(test)
