"""A session outlives what lasts long or comes often: a brain that restarts in the middle, a stream that ends every second for a minute,
results refused for 90 seconds, a wall clock that jumps, twenty workers killed one after the other, commands at the very limit of their time.
No call is lost; none is run again once its result was accepted.
labels: privileged slow soak timeout=1200
"""
import concurrent.futures
import os
import random
import signal
import struct
import subprocess
import time

from between import refuse
from crashes import until_done
from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, note, run, skip, wait_for
from sessions import brief, lawful, plain, user
from support import Checks, equal, eventually, slurp, which
from workers import OURS, PROGRAM, Stage, gone

SEED = int(os.environ.get("GLOVEBOX_SEED", random.randrange(1 << 30)))
KILLS = 20 * int(os.environ.get("GLOVEBOX_SOAK", "1"))
RESULTS, STREAM = "/sessions/[^/]*/events$", "/events/stream$"


def appending(number, seconds=0.0):
    """A turn for each call, which leaves a line."""
    return [stream(tool("bash", {"command": f"echo {n} >> lines; sleep {seconds}; echo {n}"})) for n in range(number)] + [stream(text("done"))]


def lines(stage):
    return slurp(os.path.join(stage.workdir, "lines")).decode().split()


def over(stage, limit):
    """The events once the turn is over, through a brain that may be away."""
    def ended():
        last = until_done(lambda: stage.brain.last(stage.id))
        return last["type"] == "session.status_idle" and last["stop_reason"]["type"] != "requires_action"

    try:
        eventually(ended, limit, "the end", 0.1)
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + brief(stage.brain.events(stage.id))) from None
    return lawful(stage.brain.events(stage.id))


def each_once(stage, number, limit):
    results = [plain(e["content"]).strip() for e in over(stage, limit) if e["type"] == "user.tool_result"]
    equal(results, [str(n) for n in range(number)], "results")
    equal(lines(stage), [str(n) for n in range(number)], "what ran")


def posted(stage):
    return [e["tool_use_id"] for asked in stage.between.of("POST", RESULTS) for e in asked.json["events"]]


def brain_restarts(gb, stage, choice):
    """kill -9 of the brain, five times in the middle of a session; its address is another each time."""
    calls = 40
    stage.script(*appending(calls, 0.3))
    with stage.session().worker():
        for _ in range(5):
            done = len(lines(stage))
            wait_for("a few calls more", lambda: len(lines(stage)) >= min(done + 2, calls), 60)
            time.sleep(choice.uniform(0, 0.5))  # a random moment
            gb.kill_part("brain")
            url = gb.part("brain")["url"].rstrip("/")
            stage.move(url)
        each_once(stage, calls, 120)


def stream_cut(gb, stage, choice):
    """The stream ends every second, for a minute."""
    calls, cuts, until = 60, 0, time.monotonic() + 60
    stage.script(*appending(calls, 0.9))
    with stage.session().worker():
        while time.monotonic() < until:
            time.sleep(1)  # this is the promise, not a wait
            cuts += stage.between.cut()
        note(f"    {cuts} streams were cut")
        assert cuts >= 10, "nothing was cut"
        each_once(stage, calls, 200)
    equal(len(posted(stage)), calls, "results sent")


def results_refused(gb, stage, choice):
    """503 for every result, for 90 seconds: it is there as soon as the service is, and nothing ran twice."""
    stage.script(*appending(3))
    with stage.session().worker():
        wait_for("the first result", lambda: posted(stage), 60)
        rule = stage.between.on("POST", RESULTS, refuse(503))
        time.sleep(90)  # this is the promise, not a wait
        equal(stage.item()["state"], "active", "the lease is kept")
        stage.between.off(rule)
        each_once(stage, 3, 60)
    assert rule.used > 3 or len(lines(stage)) == 3, "nothing was refused"
    equal(len(stage.items()), 1, "items")


def clock_jumps(gb, stage, choice):
    """The worker's wall clock goes a day ahead, two back, ten years back, to the end of 32 bits."""
    compiler = next((c for c in ("clang-19", "clang", "gcc", "cc") if which(c)), None) or skip("no C compiler on this machine")
    if b"asan" in subprocess.run(["ldd", PROGRAM], capture_output=True).stdout:
        skip("the sanitizer wants to be the first that is loaded")
    library, clock = os.path.join(stage.home, "clock.so"), os.path.join(stage.home, "clock")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, os.path.join(os.path.dirname(os.path.abspath(__file__)), "clock.c")], check=True)

    def ahead(seconds):
        with open(clock, "r+b" if os.path.exists(clock) else "wb") as file:
            file.write(struct.pack("=q", seconds))

    calls, year = 40, 365 * 86400
    ahead(0)
    stage.script(*appending(calls, 0.5))
    with stage.session().worker(LD_PRELOAD=library, GLOVEBOX_TEST_CLOCK=clock) as worker:
        for jump in (86400, -86400, -10 * year, 0, (1 << 31) - int(time.time()) - 1, -3, 7200):
            done = len(lines(stage))
            wait_for("two calls more", lambda: len(lines(stage)) >= min(done + 2, calls), 60)
            ahead(jump)
            if jump == 86400:  # the log shows that it did jump
                tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400))
                wait_for("tomorrow in the log", lambda: tomorrow in worker.log(), 30)
        each_once(stage, calls, 120)
    equal(len(stage.items()), 1, "items")
    equal(len(stage.between.of("GET", STREAM)), 1, "streams")


def workers_killed(gb, stage, choice):
    """Two workers are there all the time; the one that serves is killed, twenty times."""
    calls = 2 * KILLS + 20
    stage.script(*appending(calls, 0.2))
    stage.session()
    before = []

    def ran():
        return {n: lines(stage).count(str(n)) for n in range(calls)}

    def start():
        context = stage.worker()
        return context, context.__enter__()

    workers = [start(), start()]
    try:
        for _ in range(KILLS):
            done = len(lines(stage))
            wait_for("a call more", lambda: len(lines(stage)) > done, 60)
            time.sleep(choice.uniform(0, 0.4))  # a random moment
            serving = max(range(2), key=lambda n: workers[n][1].log().count("call.end") if workers[n][1].below() else -1)
            context, worker = workers[serving]
            below = worker.below()
            worker.signal(signal.SIGKILL).end()
            wait_for("the end of what it ran", gone(below), 60)
            context.__exit__(None, None, None)
            answered = sum(e["type"] == "user.tool_result" for e in stage.brain.events(stage.id))
            before.append((answered, [ran()[n] for n in range(answered)]))
            workers[serving] = start()
        results = [plain(e["content"]).strip() for e in over(stage, 120) if e["type"] == "user.tool_result"]
    finally:
        for context, worker in workers:
            context.__exit__(None, None, None)
    equal(results, [str(n) for n in range(calls)], "results")
    for answered, then in before:
        equal([ran()[n] for n in range(answered)], then, "what was answered at a kill was not run again")
    times = list(ran().values())
    assert min(times) >= 1 and sum(times) <= calls + KILLS, times
    note(f"    {KILLS} kills, {calls} calls, {sum(times) - calls} of them begun anew, {len(stage.items())} items")


def at_the_limit(gb, stage, choice):
    """A command that would take for ever ends at 120 seconds and says so, while a thousand events arrive unread by nobody."""
    stage.script(stream(tool("bash", {"command": "touch begun; sleep 300"})), stream(tool("bash", {"command": "echo on"})), stream(text("done")))
    with stage.session().worker():
        wait_for("the command", lambda: stage.file("begun"), 60)
        for _ in range(20):
            stage.brain.send(stage.id, *[user("x" * 200)] * 50)
        results = [(plain(e["content"]), e["is_error"]) for e in over(stage, 240) if e["type"] == "user.tool_result"]
    equal(results[:2], [("bash: bash command timed out after 120000ms", True), ("on", False)])
    equal(len(stage.items()), 1, "items")


CASES = {"the brain restarts": (brain_restarts, 10), "a stream cut every second": (stream_cut, 10), "results refused for 90 s": (results_refused, 120),
         "clock jumps": (clock_jumps, 10), "workers killed": (workers_killed, 10), "a command without an end": (at_the_limit, 10)}


def play(fake, tmp, number, name, choice):
    body, ttl = CASES[name]
    home = os.path.join(tmp, f"case-{number}")
    os.mkdir(home)
    os.chmod(home, 0o755)
    with Glovebox(home, parts=["brain"], model=(fake.url, fake.key), lease_ttl=ttl) as gb:
        stage = Stage(gb, fake, home, f"case-{number}", OURS)
        with stage.between:
            body(gb, stage, choice)


def test(tmp):
    """Each with a brain of its own, side by side: they wait more than they work."""
    note(f"GLOVEBOX_SEED={SEED}")
    check = Checks()
    with FakeMessages() as fake, concurrent.futures.ThreadPoolExecutor(len(CASES)) as pool:
        running = {name: pool.submit(play, fake, tmp, number, name, random.Random(SEED + number)) for number, name in enumerate(CASES)}
        for name, future in running.items():
            with check(name):
                future.result()
    check.done()


run(test)
