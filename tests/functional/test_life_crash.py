"""kill -9 and failures at each durable step of suspend and resume: after the restart the sandbox sleeps or runs, whole, and nothing leaks.
labels: privileged timeout=600
"""

from faults import attempt, fault_points
from harness import Glovebox, run
from life import frozen, state, ticking, ticks
from support import Checks, api_of, equal, eventually, note


def test(tmp):
    walked = fault_points("engine", verbs=("suspend", "resume"))
    note(f"{len(walked)} fault points: {' '.join(walked)}")
    assert len(walked) >= 5, walked
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        box = api.create(name="walker")
        keeper = api.create(name="keeper")
        job = ticking(keeper)
        pid = ticking(box)
        for point in walked:
            for action in ("kill", "fail"):
                with check(f"{point}:{action}"):
                    walk(gb, point, action, box.id, pid)
                    ticks(api_of(gb).box("keeper"), job)
        check.done()


def walk(gb, point, action, box_id, pid):
    verb = point.split(".")[0]
    if verb == "resume":
        api_of(gb).call("POST", f"/sandboxes/{box_id}/suspend").expect(200, 202)
    gb.down()
    gb.environment = {"GLOVEBOX_FAULT": f"{point}:{action}"}
    before = len(gb.log())
    gb.start()
    api = api_of(gb)
    reply = attempt(lambda: api.call("POST", f"/sandboxes/{box_id}/{verb}"))
    if action == "kill":
        eventually(lambda: "killed by SIGKILL" in gb.log()[before:], 20, f"the engine died at {point} (it answered {reply!r})")
        assert reply is None or reply.status >= 500, f"died, and yet answered {reply!r}"
    else:
        assert reply is not None and reply.status >= 400, f"failed, and yet answered {reply!r}"
        reply.refused(reply.status)
        whole(gb, box_id, pid, f"after {point} failed")
    gb.down()
    gb.environment = {}
    gb.start()
    whole(gb, box_id, pid, f"after {point} and a restart")


def whole(gb, box_id, pid, when):
    """The record and the kernel agree; then the box wakes with all its processes, and can be suspended again."""
    api = api_of(gb)
    eventually(lambda: api.get(box_id)["status"] in ("running", "suspended"), 20, f"a stable state {when}")

    def agree():
        status, tier = state(api, box_id)
        return frozen(gb, box_id) == (status == "suspended" or tier == "paused")

    eventually(agree, 20, f"record and kernel agree {when}")
    box = api.box(box_id)
    had = ticks(box, pid)
    eventually(lambda: ticks(box, pid) > had, 20, f"it ticks on {when}")
    equal(state(api, box_id), ("running", "active"), when)
    api.call("POST", f"/sandboxes/{box_id}/suspend").expect(202)
    assert frozen(gb, box_id), when
    api.call("POST", f"/sandboxes/{box_id}/resume").expect(202)
    ticks(box, pid)


run(test)
