"""kill -9 and failures at each durable step of snapshot, restore, copy, rollback, import and delete: whole or not at all, and nothing leaks.
labels: privileged slow timeout=900
"""
import os

from faults import attempt, fault_points
from harness import Glovebox, run
from life import frozen, state, suspend
from support import Checks, Owned, api_of, equal, eventually, note

VERBS = ("snapshot", "unsnapshot", "rollback", "create", "copy", "import")


def held(gb):
    """What the pool holds, and what the kernel holds of this instance."""
    owned = Owned(gb.state, gb.instance)
    folders = {name: len(os.listdir(gb.engine_path("pool", name))) for name in ("boxes", "snapshots", "manifests")}
    return {"cgroups": len(owned.cgroups()), "namespaces": len(owned.namespaces()), "sockets": len(os.listdir(gb.engine_path("hands"))), **folders}


def test(tmp):
    walked = fault_points("engine", verbs=VERBS)
    note(f"{len(walked)} fault points: {' '.join(walked)}")
    assert len(walked) >= 20, walked
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        keeper = api.create(name="keeper")
        job = keeper.start("/bin/bash", "-c", "echo begun; sleep 3000")
        box = api.create(name="subject")
        box.sh("echo then > /file").ok()
        base = api.call("POST", f"/sandboxes/{box.id}/snapshot").expect(202).json["snapshot_id"]
        exported = api.call("GET", f"/snapshots/{base}/export").expect(200).body
        eventually(lambda: held(gb)["boxes"] >= 10, 20, "all blanks")
        before = held(gb)
        for point in walked:
            for action in ("kill", "fail"):
                with check(f"{point}:{action}"):
                    walk(gb, point, action, box.id, base, exported)
                    check_all(gb, point, box.id, base, job, before)
                if point.startswith("snapshot."):
                    with check(f"{point}:{action} of one that sleeps"):
                        walk(gb, point, action, box.id, base, exported, asleep=True)
                        api = api_of(gb)
                        equal(state(api, box.id), ("suspended", "ram"))
                        assert frozen(gb, box.id), "it runs"
                        api.call("POST", f"/sandboxes/{box.id}/resume").expect(200, 202)
                        check_all(gb, point, box.id, base, job, before)
        check.done()


def walk(gb, point, action, box, base, exported, asleep=False):
    api_of(gb).box(box).sh("echo now > /file").ok()
    verb = point.split(".")[0]
    victim = api_of(gb).call("POST", f"/sandboxes/{box}/snapshot").expect(202).json["snapshot_id"] if verb == "unsnapshot" else None
    if asleep:
        suspend(api_of(gb), gb, box)
    gb.down()
    # A rollback tries twice.
    gb.environment = {"GLOVEBOX_FAULT": f"{point}:{action}" + ("@1" if verb == "rollback" else "")}
    seen = len(gb.log())
    gb.start()
    api = api_of(gb)
    reply = attempt({
        "snapshot": lambda: api.call("POST", f"/sandboxes/{box}/snapshot", {"suspended": asleep}),
        "unsnapshot": lambda: api.call("DELETE", f"/snapshots/{victim}"),
        "rollback": lambda: api.call("POST", f"/sandboxes/{box}/rollback", {"snapshot_id": base}),
        **dict.fromkeys(("create", "copy"), lambda: api.call("POST", f"/sandboxes/{box}/copy?times=2")),
        "import": lambda: api.call("POST", "/snapshots/import", exported),
    }[verb])
    if action == "kill":
        eventually(lambda: "killed by SIGKILL" in gb.log()[seen:], 20, f"the engine died at {point} (it answered {reply!r})")
        assert reply is None or reply.status >= 500, f"died, and yet answered {reply!r}"
    else:
        assert reply is not None and (reply.status >= 400 or verb in ("create", "copy", "rollback")), f"failed, and yet answered {reply!r}"
    gb.down()
    gb.environment = {}
    gb.start()


def check_all(gb, point, box_id, base, job, before):
    api = api_of(gb)
    verb = point.split(".")[0]
    equal(api.box("keeper").process(job["pid"])["status"], "running", "the command of another sandbox")
    api.box("keeper").sh("echo works").ok()
    snapshots = api.call("GET", "/snapshots").expect(200).json["snapshots"]
    for snapshot in snapshots:
        assert snapshot["status"] in ("completed", "failed"), snapshot
        if snapshot["status"] == "completed" and snapshot["id"] != base:
            whole = api.create(snapshot_id=snapshot["id"])
            equal(whole.sh("cat /file").stdout, "then" if verb == "import" else "now", "files of the new snapshot")
            whole.delete().expect(204)
        if snapshot["id"] != base:
            api.call("DELETE", f"/snapshots/{snapshot['id']}").expect(204)
    there = {snapshot["id"] for snapshot in snapshots} | {""}
    for record in api.alive():
        assert (record.get("snapshot_id") or "") in there, f"{record} descends from a snapshot that nobody has"
    # The sandbox itself: as it was, or rolled back whole.
    eventually(lambda: api.get(box_id)["status"] in ("running", "terminated"), 20, "a stable state")
    equal(api.get(box_id)["status"], "running", repr(api.get(box_id)))
    box = api.box("subject")
    allowed = ("now", "then") if verb == "rollback" else ("now",)
    assert box.sh("cat /file").stdout in allowed, box.sh("cat /file")
    for record in api.alive():
        if record.get("name") not in ("keeper", "subject"):
            api.box(record["id"]).sh("cat /file").ok()
            api.delete(record["id"]).expect(204)
    fresh = api.create()
    fresh.sh("[ ! -e /file ]").ok()
    fresh.delete().expect(204)
    restored = api.create(snapshot_id=base)
    equal(restored.sh("cat /file").stdout, "then", "the older snapshot")
    restored.delete().expect(204)
    eventually(lambda: (now := held(gb)) == before or all(now[k] <= before[k] for k in now) and now["boxes"] == before["boxes"], 30,
               f"as before ({before}), after {point}: {held(gb)}")


run(test)
