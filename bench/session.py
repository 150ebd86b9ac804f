"""Measures sessions: a tool call's way brain → hand → brain, events, memory of idle streams and sessions, and a hundred at once.

    make bench                                                 optimized build; table, and JSON in build-release/bench-session.json
    bench/session.py --build build --rounds 50 --only call     a part, of the build at hand
"""
import argparse
import concurrent.futures
import contextlib
import json
import os
import resource
import socket
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (default: build)")
    parser.add_argument("--rounds", type=int, default=200, help="tool calls (default: 200)")
    parser.add_argument("--at-once", type=int, default=100, help="sessions at once (default: 100)")
    parser.add_argument("--streams", type=int, default=1000, help="idle streams (default: 1000)")
    parser.add_argument("--only", default="", help="comma-separated: call, events, long, streams, idle, burst")
    parser.add_argument("--json", help="where the numbers go (default: BUILD/bench-session.json)")
    return parser.parse_args()


ARGS = arguments()
BUILD = os.path.abspath(ARGS.build)
os.environ["GLOVEBOX_BIN"] = os.path.join(BUILD, "bin")
sys.path.insert(0, os.path.join(ROOT, "tests", "functional"))
import harness  # noqa: E402  (needs GLOVEBOX_BIN)
import peers  # noqa: E402
from fake_messages import FakeMessages, stream, text, tool  # noqa: E402
from report import compare, private_kb, publish, scaled, summary, when  # noqa: E402
from sessions import Brain, result, user  # noqa: E402
from support import api_of, eventually  # noqa: E402
from wire import Connection  # noqa: E402


class Bench:
    def __init__(self, gb, fake, tmp):
        self.gb, self.fake, self.tmp, self.rows = gb, fake, tmp, []
        self.brain = Brain(gb.brain.url, gb.brain_key, timeout=300)
        self.agent = self.brain.agent("bench")["id"]
        self.place = self.brain.status()["default_environment_id"]

    def row(self, name, values, unit="ms", by=1e3, **more):
        self.rows.append({"name": name, "unit": unit, "rounds": len(values), "ours": scaled(summary(values), by), **more})

    def against(self, name, ours, theirs, peer):
        pairs = list(zip(ours, theirs))
        self.row(name, ours, against=peer, theirs=scaled(summary(theirs)), ratio=summary([a / b for a, b in pairs]))

    def measure_call(self):
        """One call after the other in one session, from the moment the call is stored to the moment its result is. The same command
        at the engine's API and in a bash on a pipe says how much of it is not ours to save."""
        rounds = ARGS.rounds
        self.fake.script("case:call", lambda asked: stream(tool("bash", {"command": "echo ready"})) if asked.turn < rounds + 5 else stream(text("end")))
        session = self.brain.session(self.agent, self.place)["id"]
        heard, watching = {}, Connection(self.brain.url, self.brain.key, timeout=300)
        watching.connect()
        watching.send(watching.request("GET", f"/v1/sessions/{session}/events/stream"))
        _, headers = watching.head()

        def listen():
            with contextlib.suppress(OSError, ValueError):
                for piece in watching.pieces(headers):
                    now = time.time()
                    for line in piece.split(b"\n"):
                        if line.startswith(b"data:") and b'"agent.tool_use"' in line and line.rstrip().endswith(b"}"):
                            heard[json.loads(line[5:])["id"]] = now

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        self.brain.say(session, "case:call")
        events = self.brain.settled(session, 300)
        with contextlib.suppress(OSError):
            watching.socket.shutdown(socket.SHUT_RDWR)
        listener.join(10)
        watching.close()
        calls = [e for e in events if e["type"] == "agent.tool_use"][5:]  # the first ones make the box and its shell
        results = {e["tool_use_id"]: e for e in events if e["type"] == "user.tool_result"}
        whole = [when(results[c["id"]]) - when(c) for c in calls]

        box = next(b for b in api_of(self.gb).alive() if b["name"].startswith("agent-"))
        engine = Connection(self.gb.url, self.gb.key)
        bash = peers.PersistentBash("echo ready")
        direct, bare = [], []
        with engine, contextlib.closing(bash):
            request = engine.request("POST", "/api/v1/tools/bash", {"command": "echo ready"}, host=f"{box['id']}.local")
            for turn in range(len(whole) + 5):
                start = time.perf_counter()
                engine.call(request, 200)
                took = time.perf_counter() - start
                base = bash.once()
                if turn >= 5:
                    direct.append(took)
                    bare.append(base)
        self.against("tool call, stored to result stored, against a bash", whole, bare, "PersistentBash")
        self.against("tool call, against the same at the engine's API", whole, direct, "engine")
        self.row("tool call, above the command itself", [a - b for a, b in zip(sorted(whole), sorted(bare))])
        self.row("  of it: stored until a reader of the stream has it", [heard[c["id"]] - when(c) for c in calls if c["id"] in heard])
        self.row("  of it: the call at the engine's API", direct)
        self.row("  of it: from a result's POST until its answer", self.posts())

    def posts(self, number=60):
        """A result that the test itself sends: how long its acknowledgement takes."""
        place = self.brain.environment(f"posts {time.time()}")["id"]
        self.fake.script("case:posts", [stream(*[tool("bash", {"command": "true"}) for _ in range(number)]), stream(text("end"))])
        session = self.brain.session(self.agent, place)["id"]
        self.brain.say(session, "case:posts")
        times = []
        with Connection(self.brain.url, self.brain.key) as connection:
            for call in self.brain.open_calls(session, number):
                request = connection.request("POST", f"/v1/sessions/{session}/events", {"events": [result(call)]})
                start = time.perf_counter()
                connection.call(request, 200)
                times.append(time.perf_counter() - start)
        return times

    def waiting_sessions(self, number, name):
        """Sessions that wait for a call nobody answers: what is sent to them is stored and streamed, and asks no model."""
        place = self.brain.environment(f"{name} {time.time()}")["id"]
        self.fake.script("case:waits", [stream(tool("bash", {"command": "true"}))])
        sessions = [self.brain.session(self.agent, place, initial_events=[user("case:waits")])["id"] for _ in range(number)]
        for session in sessions:
            self.brain.open_calls(session)
        return sessions

    def measure_events(self):
        """Messages to eight waiting sessions, each from its own sender: one in a request, and fifty in a request; each session has
        four readers. Beside it, what the file system allows: appending a line and fdatasync."""
        bare = self.appends()
        for batch, requests in ((1, 150), (50, 20)):
            sessions = self.waiting_sessions(8, f"events {batch}")
            readers = [self.brain.stream(s) for s in sessions for _ in range(4)]
            body = {"events": [user("x" * 100)] * batch}

            def send(session, body=body, requests=requests):
                with Connection(self.brain.url, self.brain.key) as connection:
                    request = connection.request("POST", f"/v1/sessions/{session}/events", body)
                    for _ in range(requests):
                        connection.call(request, 200)

            start = time.perf_counter()
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                list(pool.map(send, sessions))
            stored = time.perf_counter() - start
            total = 8 * requests * batch
            for reader in readers:
                reader.wait(lambda events: len(events) >= requests * batch, 120, "all events")
            streamed = time.perf_counter() - start
            for reader in readers:
                reader.__exit__()
            self.rows.append({"name": f"events stored per second, {batch} in a request, 8 senders", "unit": "/s", "rounds": total, "against": "fdatasync",
                              "ours": scaled(summary([total / stored]), 1), "theirs": scaled(summary([bare]), 1), "ratio": summary([total / stored / bare])})
            self.row(f"events streamed per second, {batch} in a request, 32 readers", [4 * total / streamed], "/s", 1)

    def appends(self):
        path = os.path.join(self.tmp, "appends")
        with open(path, "wb", buffering=0) as file:
            start = time.perf_counter()
            for _ in range(300):
                file.write(b"x" * 300)
                os.fdatasync(file.fileno())
            return 300 / (time.perf_counter() - start)

    def measure_long(self):
        """A session of 20,000 events, of calls with results of a kilobyte, beside one that has just begun: an update, which is four events,
        and a turn without tools, by the brain's clock. What the long one asks the model is as long as its context may be."""
        line = {"command": "head -c 1000 /dev/zero | tr '\\0' x"}
        self.fake.script("case:long", lambda asked: stream(tool("bash", line)) if asked.turn < 2200 else stream(text("noted")))
        self.fake.script("case:new", lambda asked: stream(text("noted")))
        connection = Connection(self.brain.url, self.brain.key)
        tasks = f"/proc/{self.gb.pid('brain')}/task"

        def begin(case):
            session = self.brain.session(self.agent, self.place)["id"]
            self.brain.say(session, case)
            self.brain.settled(session, 600)
            return session

        def spent():
            total = 0
            for task in os.listdir(tasks):
                with contextlib.suppress(OSError), open(f"{tasks}/{task}/schedstat") as file:
                    total += int(file.read().split()[0])
            return total / 1e9

        def update(session):
            request = connection.request("POST", f"/v1/sessions/{session}", {"title": f"title {time.time()}"})
            start = time.perf_counter()
            connection.call(request, 200)
            return time.perf_counter() - start

        def turn(session):
            said = self.brain.say(session, "go on")["id"]
            eventually(lambda: self.brain.last(session)["type"] == "session.status_idle", 60, "the turn ends")
            events = self.brain.get(f"/v1/sessions/{session}/events?order=desc&limit=20").expect(200).json["data"]
            return when(events[0]) - when(next(event for event in events if event["id"] == said))

        def work(session):
            before = spent()
            turn(session)
            return spent() - before

        long = begin("case:long")
        fresh = begin("case:new")
        length = len(self.brain.events(long))
        with connection:
            for name, act in (("an update", update), ("a turn", turn), ("the brain's processor time of a turn", work)):
                self.rows.append(compare(f"{name} of a session of {length} events", lambda: act(long), lambda: act(fresh), ARGS.rounds, "a new one"))

    def measure_streams(self):
        """The brain's private memory with idle streams, and what one more costs."""
        session = self.waiting_sessions(1, "streams")[0]
        pid = self.gb.pid("brain")
        before = private_kb([pid])
        connections = []
        try:
            for _ in range(ARGS.streams):
                connection = Connection(self.brain.url, self.brain.key)
                connection.connect()
                connection.send(connection.request("GET", f"/v1/sessions/{session}/events/stream"))
                connections.append(connection)
            for connection in connections:
                assert connection.head()[0] == 200
            after = private_kb([pid])
        finally:
            for connection in connections:
                connection.close()
        self.row(f"private memory of the brain, {len(connections)} idle streams", [after], "MB", 1 / 1024)
        self.row("private memory of the brain, one more idle stream", [(after - before) / len(connections)], "KB", 1)
        eventually(lambda: self.brain.status()["streams"] < 10, 60, "streams are gone")

    def measure_idle(self):
        """The orchestrator's private memory for each session it holds the lease of while nothing happens."""
        self.fake.script("case:idle", [stream(text("nothing to do"))])
        pid = self.gb.pid("orchestrator")

        def hold(number):
            sessions = [self.brain.session(self.agent, self.place, initial_events=[user("case:idle")])["id"] for _ in range(number)]
            for session in sessions:
                self.brain.settled(session, 120)
            eventually(lambda: (s := self.brain.get(f"/v1/environments/{self.place}/work/stats").json)["depth"] + s["pending"] == 0, 120, "all claimed")
            time.sleep(0.5)
            return private_kb([pid])

        first = hold(10)  # caches, arenas
        number = ARGS.at_once
        after = hold(number)
        self.row(f"private memory of the orchestrator, {number + 10} idle sessions", [after], "MB", 1 / 1024)
        self.row("private memory of the orchestrator, one more idle session", [(after - first) / number], "KB", 1)

    def measure_burst(self):
        """From the request that starts a session to the first result of a tool in its own new box, many at once."""
        self.fake.script("case:burst", [stream(tool("bash", {"command": "echo ready"})), stream(text("end"))])
        for number in (1, ARGS.at_once):
            started = {}

            def start(_):
                began = time.time()
                session = self.brain.session(self.agent, self.place, initial_events=[user("case:burst")])["id"]
                started[session] = began
                return session

            with concurrent.futures.ThreadPoolExecutor(32) as pool:
                sessions = list(pool.map(start, range(number)))
                histories = list(pool.map(lambda s: self.brain.settled(s, 300), sessions))
            first = [when(next(e for e in events if e["type"] == "user.tool_result")) - started[session] for session, events in zip(sessions, histories)]
            self.row(f"{number} session{'s' if number > 1 else ''} at once, to the first tool result", first)


MEASUREMENTS = {"call": Bench.measure_call, "events": Bench.measure_events, "long": Bench.measure_long, "streams": Bench.measure_streams, "idle": Bench.measure_idle,
                "burst": Bench.measure_burst}


def main():
    if os.geteuid() != 0:
        sys.exit("bench: needs root: boxes are made of namespaces, mounts and cgroups")
    wanted = [name for name in ARGS.only.split(",") if name] or list(MEASUREMENTS)
    unknown = set(wanted) - set(MEASUREMENTS)
    if unknown:
        sys.exit(f"bench: no measurement called {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    rows, skipped = [], {}
    for name in wanted:  # each in a fresh system: memory is what is measured, too
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="gb-bench-") as tmp, FakeMessages() as fake:
            os.chmod(tmp, 0o755)
            with harness.Glovebox(tmp, parts=harness.SYSTEM, model=(fake.url, fake.key),
                                  environment={"GLOVEBOX_ORCHESTRATOR_MAX_SESSIONS": "1000"}) as gb:
                bench = Bench(gb, fake, tmp)
                try:
                    MEASUREMENTS[name](bench)
                except peers.Missing as why:
                    skipped[name] = str(why)
                rows += bench.rows
    publish(rows, skipped, BUILD, ARGS.json or os.path.join(BUILD, "bench-session.json"))


main()
