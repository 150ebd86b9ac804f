"""An idle sandbox is paused unnoticed, and suspended or ended after its timeout; one with an operation under way or work to do is not.
labels: privileged timeout=300
"""
import concurrent.futures
import time

from harness import Glovebox, run
from life import frozen, state
from support import Checks, Exec, api_of, equal, eventually

PAUSE = 2  # seconds
SETTINGS = {"GLOVEBOX_ENGINE_PAUSE_AFTER_SECS": str(PAUSE)}


def test(tmp):
    with Glovebox(tmp, environment=SETTINGS) as gb:
        api, check = api_of(gb), Checks()
        # All at once, because all there is to do is to wait.
        idle, watched, spinning = (api.create(name=name) for name in ("idle", "watched", "spinning"))
        sleeper, nameless, waited = api.create(name="sleeper", timeout_secs=5), api.create(timeout_secs=3), api.create(timeout_secs=3)
        brief = api.create(name="brief", timeout_secs=1)
        clock = idle.start("/bin/bash", "-c", "for i in $(seq 100000); do echo tick $i; sleep 0.5; done")["pid"]
        spinning.start("/bin/bash", "-c", "while :; do :; done")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            call = pool.submit(lambda: waited.sh("sleep 8; echo done"))
            watch = Exec(watched, command="sleep", args=["8"])
            watch.until(lambda w: w.pid)
            begun = time.monotonic()
            with check("an idle one is paused: its state is running, its processes stand still, and looking at it changes nothing"):
                eventually(lambda: state(api, idle.id) == ("running", "paused"), 20, "paused")
                assert time.monotonic() - begun > PAUSE - 1.5, "too early"
                assert frozen(gb, idle.id)
                equal([s["tier"] for s in api.list(limit=1000)["sandboxes"] if s["id"] == idle.id], ["paused"])
            with check("the next operation does not notice, and it is active again"):
                equal(idle.sh("echo hello").ok().stdout, "hello")
                equal(state(api, idle.id), ("running", "active"))
                assert not frozen(gb, idle.id)
                seen = idle.output(clock, "stdout")
                equal(seen, [f"tick {i}" for i in range(1, len(seen) + 1)], "ticks")
            with check("a named one is suspended at the end of its timeout, a pause in between or not, and the record says why"):
                eventually(lambda: state(api, sleeper.id) == ("suspended", "ram"), 20, "suspended")
                eventually(lambda: state(api, brief.id) == ("suspended", "ram"), 20, "suspended without a pause")
                record = api.get(sleeper.id)
                assert "timeout" in record["reason"], record
                assert not record.get("outcome"), record
                assert frozen(gb, sleeper.id)
            with check("and wakes for the next operation, which clears the reason"):
                sleeper.sh("echo awake").ok()
                equal(state(api, sleeper.id), ("running", "active"))
                assert "reason" not in api.get(sleeper.id)
            with check("one without a name is ended at the end of its timeout: Success(Timeout), and its address is gone"):
                eventually(lambda: api.get(nameless.id)["status"] == "terminated", 20, "terminated")
                equal(api.get(nameless.id)["outcome"], "Success(Timeout)")
                equal(nameless.call("GET", "/health").status, 410)
            with check("none with an operation under way is touched, however long it takes"):
                equal(state(api, watched.id), ("running", "active"))
                equal(call.result(timeout=60).ok().stdout, "done")
                equal(watch.finish().exit["exit_code"], 0)
            with check("nor one that works by itself"):
                assert time.monotonic() - begun > 3 * PAUSE
                equal(state(api, spinning.id), ("running", "active"))
        with check("once it has nothing more to do it is paused, then ended like the others"):
            eventually(lambda: state(api, watched.id) == ("running", "paused"), 20, "paused")
            eventually(lambda: api.get(waited.id)["status"] == "terminated", 20, "terminated")
        with check("it stays paused through a kill -9 of the engine, and the next one wakes it"):
            gb.kill_engine()
            again = api_of(gb)
            equal(state(again, watched.id), ("running", "paused"))
            again.box(watched.id).sh("echo x").ok()
            equal(state(again, watched.id), ("running", "active"))
        memory(api_of(gb), check)
        check.done()


def memory(api, check):
    box = api.create(name="small", resources={"memory_mb": 96})
    with check("a process killed for memory says so, and so does the sandbox's record; the sandbox goes on"):
        assert "oom_kills" not in api.get("small")
        done = box.sh("exec tail /dev/zero")
        assert done.oom_killed, done
        record = eventually(lambda: (r := api.get("small")).get("oom_kills") and r, 10, "it is on the record")
        assert record["oom_kills"] >= 1 and record["last_oom_kill_at"] >= record["created_at"], record
        box.sh("echo fine").ok()
        equal(api.get("small")["status"], "running")
    box.delete()


run(test)
