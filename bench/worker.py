"""Measures `glovebox worker` beside the official EnvironmentWorker under Node, in front of the same brain: how long a tool call takes, and
how much memory a session costs, with 1, 10 and 100 sessions at once.

    make bench                                          optimized build; table, and JSON in build-release/bench-worker.json
    bench/worker.py --build build --sessions 1,10       a part, of the build at hand
"""
import argparse
import concurrent.futures
import contextlib
import datetime
import os
import resource
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (default: build)")
    parser.add_argument("--sessions", default="1,10,100", help="how many at once (default: 1,10,100)")
    parser.add_argument("--calls", type=int, default=400, help="tool calls of each side, at least 2 a session and round (default: 400)")
    parser.add_argument("--json", help="where the numbers go (default: BUILD/bench-worker.json)")
    return parser.parse_args()


ARGS = arguments()
BUILD = os.path.abspath(ARGS.build)
os.environ["GLOVEBOX_BIN"] = os.path.join(BUILD, "bin")
sys.path.insert(0, os.path.join(ROOT, "tests", "functional"))
import harness  # noqa: E402  (needs GLOVEBOX_BIN)
from between import Between  # noqa: E402
from fake_messages import FakeMessages, stream, text, tool  # noqa: E402
from report import publish, scaled, summary  # noqa: E402
from sessions import user  # noqa: E402
from support import eventually, rss_kb, slurp  # noqa: E402
from workers import PROGRAM, Place, official_command  # noqa: E402

WARM = 2  # calls of each session that start its hand and its shell
ROUNDS = 4  # of each side, in turns
PROXIED = 20  # with more sessions a proxy in Python would be what is measured
NODE_KB = 120 * 1024  # what a process of theirs may need; with less free memory than that for each the row is skipped


def when(event):
    return datetime.datetime.fromisoformat(event["processed_at"].replace("Z", "+00:00")).timestamp()


def pss_kb(pid):
    """Memory in use, pages that several processes share divided among them."""
    return next((int(line.split()[1]) for line in slurp(f"/proc/{pid}/smaps_rollup").splitlines() if line.startswith(b"Pss:")), 0)


def free_kb():
    return next(int(line.split()[1]) for line in slurp("/proc/meminfo").splitlines() if line.startswith(b"MemAvailable:"))


class Timed(Between):
    """Notes when a call's frame passes, and when its result does."""

    def __init__(self, upstream):
        super().__init__(upstream)
        self.passed, self.frame = {}, self.note

    def note(self, event):
        if event["type"] == "agent.tool_use":
            self.passed[event["id"]] = time.monotonic()
        return event

    def times(self, events):
        calls = [event["id"] for event in events if event["type"] == "agent.tool_use"]
        sent = {event["tool_use_id"]: asked.began for asked in self.of("POST", "/events$") for event in asked.json["events"]}
        return [sent[call] - self.passed[call] for call in calls]


class Side:
    """The workers of one kind, with their sessions, which stay: each round gives every session the same number of calls."""

    def __init__(self, gb, fake, tmp, who, number, between=None):
        self.who, self.number, self.between = who, number, between
        self.name = f"{who.replace(' ', '-')}-{number}{'-between' if between else ''}"
        self.calls = max(2, ARGS.calls // number // ROUNDS)
        self.place, self.stack = Place(gb, tmp, self.name), contextlib.ExitStack()
        self.variables = self.place.variables(**({"ANTHROPIC_BASE_URL": between.url} if between else {}))
        call, end = stream(tool("bash", {"command": "echo ready"})), stream(text("end"))
        fake.script(f"case:{self.name}", [call] * WARM + [end] + ([call] * self.calls + [end]) * ROUNDS)

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            workdir = self.place.workdir(self.name)
            self.workers = [stack.enter_context(self.place.started(words, self.variables, cwd=workdir)) for words in self.commands(workdir)]
            eventually(self.polling, 300, "the workers poll", 0.2)
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                self.sessions = list(pool.map(self.session, range(self.number)))
                list(pool.map(lambda session: self.place.brain.settled(session, 600), self.sessions))  # hands and shells are started
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        self.stack.__exit__(*error)

    def commands(self, workdir):
        if self.who == "ours":
            return [[PROGRAM, "worker", "poll", "--workdir", workdir, "--max-idle=0", f"--max-sessions={self.number}"]]
        official = [*official_command(self.place.tmp), workdir, "0"]
        return [[*official, str(self.number)]] if self.who == "one process" else [official] * self.number

    def polling(self):
        stats = self.place.brain.get(f"/v1/environments/{self.place.environment}/work/stats").expect(200).json
        return (stats["workers_polling"] or 0) >= (1 if self.who == "ours" else self.number)

    def session(self, _):
        return self.place.brain.session(self.place.agent, self.place.environment, initial_events=[user(f"case:{self.name}")])["id"]

    def round(self):
        """Seconds of each call."""
        def play(session):
            said = self.place.brain.say(session, "go on")["id"]
            events = self.place.brain.settled(session, 600)
            return events[next(at for at, event in enumerate(events) if event["id"] == said):]

        with concurrent.futures.ThreadPoolExecutor(self.number) as pool:
            histories = list(pool.map(play, self.sessions))
        return [took for events in histories for took in (self.between.times(events) if self.between else times(events))]

    def memory_kb(self):
        """Of a session: resident, and with shared pages counted once."""
        pids = [pid for worker in self.workers for pid in (worker.pid, *worker.below())]
        return [sum(of(pid) for pid in pids) / self.number for of in (rss_kb, pss_kb)]


def times(events):
    """From the moment a call is stored to the moment its result is, by the brain's clock."""
    results = {e["tool_use_id"]: e for e in events if e["type"] == "user.tool_result"}
    assert not any(e["is_error"] for e in results.values())
    return [when(results[call["id"]]) - when(call) for call in events if call["type"] == "agent.tool_use"]


def row(name, unit, by, ours, theirs, against):
    mine, other = scaled(summary(ours), by), scaled(summary(theirs), by)
    return {"name": name, "unit": unit, "rounds": len(ours), "against": against, "ours": mine, "theirs": other,
            "ratio": {key: mine[key] / other[key] for key in mine}}


def in_turns(ours, theirs):
    """Rounds of one and of the other, one after the other: seconds of each call."""
    mine, other = [], []
    for turn in range(ROUNDS):
        for side, found in ((ours, mine), (theirs, other))[::-1 if turn % 2 else 1]:
            found += side.round()
    return mine, other


def compare(gb, fake, tmp, who, number):
    at = f"{number} session{'s' if number > 1 else ''}" + (f", theirs {who}" if number > 1 else "")
    # Goals are of a process each: nobody runs theirs otherwise, since it takes one session at a time.
    against = "EnvironmentWorker" if who == "a process each" else "several EnvironmentWorkers in one process"
    print(f"measuring {at} …", file=sys.stderr, flush=True)
    with Side(gb, fake, tmp, "ours", number) as ours, Side(gb, fake, tmp, who, number) as theirs:
        mine, other = in_turns(ours, theirs)
        yield row(f"tool call, {at}", "ms", 1e3, mine, other, against)
        for name, a, b in zip(("resident memory of a session", "  shared pages counted once"), ours.memory_kb(), theirs.memory_kb()):
            yield row(f"{name}, {at}", "MB", 1 / 1024, [a], [b], against)
    if number > PROXIED:
        return
    with Timed(gb.brain.url) as one, Timed(gb.brain.url) as other, \
            Side(gb, fake, tmp, "ours", number, one) as ours, Side(gb, fake, tmp, who, number, other) as theirs:
        yield row(f"  the worker's own time, {at}", "ms", 1e3, *in_turns(ours, theirs), against)


def main():
    if os.geteuid() != 0:
        sys.exit("bench: needs root: the parts have users of their own")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    rows, skipped = [], {}
    for number in [int(word) for word in ARGS.sessions.split(",")]:
        # As people run theirs, a process takes one session at a time; all in one process is what it could be.
        for who in ("a process each", "one process")[:1 if number == 1 else 2]:
            if who == "a process each" and free_kb() < NODE_KB * number:
                skipped[f"{number} sessions, {who}"] = f"needs {NODE_KB * number >> 20} GB of free memory"
                continue
            with tempfile.TemporaryDirectory(prefix="gb-bench-") as tmp, FakeMessages() as fake:
                os.chmod(tmp, 0o755)
                with harness.Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key)) as gb:
                    try:
                        rows += compare(gb, fake, tmp, who, number)
                    except harness.Skip as why:
                        skipped[f"{number} sessions, {who}"] = str(why)
    publish(rows, skipped, BUILD, ARGS.json or os.path.join(BUILD, "bench-worker.json"))


main()
