"""With 1,000 sandboxes on record and 200 of them alive, create, list, look, wake and delete cost about what they do in an empty engine.
labels: privileged slow exclusive timeout=900
"""
import time

from harness import Glovebox, run
from support import Checks, api_of, equal, note, percentile

ALIVE, ON_RECORD, ROUNDS = 200, 1000, 40
MULTIPLE, FLOOR = 3, 0.030  # of the empty engine's median; seconds below which a machine's own hiccups are larger


def timed(times, verb, action):
    began = time.monotonic()
    result = action()
    times.setdefault(verb, []).append(time.monotonic() - began)
    return result


def measure(api, name):
    """The median of each verb, in an engine as it is now."""
    times = {}
    for n in range(ROUNDS):
        box = timed(times, "create", lambda: api.create(name=f"{name}-{n}"))
        timed(times, "first exec", lambda: box.run("true").ok())
        timed(times, "exec", lambda: box.run("true").ok())
        timed(times, "list", lambda: api.call("GET", "/sandboxes?limit=100").expect(200))
        timed(times, "get by name", lambda: api.get(f"{name}-{n}"))
        timed(times, "suspend", lambda: api.call("POST", f"/sandboxes/{box.id}/suspend").expect(202))
        timed(times, "wake", lambda: api.call("POST", f"/sandboxes/{box.id}/resume").expect(202))
        timed(times, "delete", lambda: box.delete().expect(204))
    return {verb: percentile(all_of, 0.5) for verb, all_of in times.items()}


def test(tmp):
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        measure(api, "warm-up")
        empty = measure(api, "empty")
        for _ in range(ON_RECORD - ALIVE - len(api.list(limit=1000)["sandboxes"])):
            api.create().delete().expect(204)
        for n in range(ALIVE):
            api.create(name=f"alive-{n}").sh("sleep 1000 >/dev/null 2>&1 & echo $n > /tmp/mine").ok()
        equal(len(api.alive()), ALIVE)
        assert len(api.list(limit=1000)["sandboxes"]) == ON_RECORD
        full = measure(api, "full")
        note(f"{'':12} {'empty':>9} {'full':>9}   (median, ms; {ON_RECORD} on record, {ALIVE} alive)")
        for verb in empty:
            note(f"{verb:12} {empty[verb] * 1e3:9.2f} {full[verb] * 1e3:9.2f}")
            with check(f"{verb} stays fast"):
                assert full[verb] <= max(FLOOR, MULTIPLE * empty[verb]), f"{empty[verb] * 1e3:.2f} → {full[verb] * 1e3:.2f} ms"
        with check("a restart finds all of them"):
            gb.kill_engine()
            equal(len(api_of(gb).alive()), ALIVE)
        api_of(gb).delete_all()
        check.done()


run(test)
