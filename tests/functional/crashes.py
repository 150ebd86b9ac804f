"""Sessions whose every call leaves a line behind, and a reader of their events that comes back: what tests that kill things look at."""
import concurrent.futures
import contextlib
import http.client
import os
import re
import threading
import time

from fake_messages import results_of, status, stream, text, thinking, tool
from sessions import Brain, Stream, brief, lawful, plain
from support import Owned, api_of, equal, eventually, slurp

# Line by line the file says which calls were executed; each call's own output says how many lines there were.
APPEND = "echo {n} >> /workspace/log; sleep {pause}; wc -l < /workspace/log"


def steps(calls, pause):
    """A turn of the model each; the third asks for two calls at once."""
    numbers, out = list(range(calls)), []
    while numbers:
        group = [numbers.pop(0)] + ([numbers.pop(0)] if len(out) == 2 and numbers else [])
        blocks = [tool("bash", {"command": APPEND.format(n=n, pause=pause)}) for n in group]
        out.append(stream(*([thinking()] if not out else []), *blocks))
    return out


def brain_of(gb):
    return Brain(gb.brain.url, gb.brain_key)


AWAY = (OSError, AssertionError, http.client.HTTPException, ValueError)  # what a client sees of a part that is being killed


def until_done(action, limit=60):
    """What a client does that means it: again and again."""
    deadline = time.monotonic() + limit
    while True:
        try:
            return action()
        except AWAY:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Reader(threading.Thread):
    """Follows a session as a client should (§6.9): stream first, then the history, then the stream; again whenever it breaks.
    Complains when the history is not what was seen before, with more behind it."""

    def __init__(self, gb, session):
        super().__init__(daemon=True)
        self.gb, self.session = gb, session
        self.seen, self.trouble, self.opened, self.stop = [], None, 0, threading.Event()

    def run(self):
        while not self.stop.is_set():
            brain = brain_of(self.gb)  # its address changes when the system is started anew
            try:
                with Stream(brain, self.session) as live:
                    self.opened += 1
                    history = [e["id"] for e in brain.events(self.session)]
                    if history[:len(self.seen)] != self.seen:
                        self.trouble = f"the history of now does not begin with what was seen: {self.seen} and then {history}"
                        return
                    self.seen = history
                    known, at = set(history), 0
                    while not self.stop.is_set() and not live.ended:
                        with live.changed:
                            live.changed.wait_for(lambda: live.ended or len(live.events) > at or self.stop.is_set(), 0.2)
                            new, at = live.events[at:], len(live.events)
                        for event in new:
                            if event["id"] not in known:
                                known.add(event["id"])
                                self.seen.append(event["id"])
            except AWAY:
                self.stop.wait(0.05)


class Play:
    """One session with `calls` calls, each a line in a file of its box."""

    def __init__(self, gb, fake, name, calls=6, pause=0.06, stumbles=0):
        """`stumbles`: so often the model is overloaded before it answers."""
        self.gb, self.fake, self.calls, self.mark = gb, fake, calls, "case:" + name
        turns = [*steps(calls, pause), stream(text("all lines written"))]
        if stumbles:
            turns[0] = [status(529)] * stumbles + [turns[0]]
        fake.script(self.mark, turns)

    @property
    def brain(self):
        return brain_of(self.gb)

    def start(self, agent, environment):
        self.id = until_done(lambda: self.brain.session(agent, environment))["id"]
        self.reader = Reader(self.gb, self.id)
        self.reader.start()

        def say_once():  # a message whose acknowledgement was lost may be there all the same
            if not self.brain.events(self.id):
                self.brain.say(self.id, f"{self.mark} go")
            return True

        until_done(say_once)
        return self

    def seen(self, kind):
        return lambda: kind in [e["type"] for e in self.history()]

    def history(self):
        try:
            return self.brain.events(self.id)
        except AWAY:
            return []

    def end(self, limit=60):
        """Waits for the end of the turn, through parts that are away."""
        def over():
            events = self.history()
            return events and events[-1]["type"] == "session.status_idle" and events[-1]["stop_reason"]["type"] == "end_turn" and events
        try:
            self.events = eventually(over, limit, "the end", 0.05)
        except AssertionError:
            raise AssertionError(f"{self.mark} did not end within {limit} s\n" + brief(self.history())) from None
        return self

    def check(self, lost=False):
        """`lost`: a box or a hand's helper died, so calls may have failed and lines may be gone; never is one there twice."""
        lawful(self.events)
        eventually(lambda: self.reader.trouble or len(self.reader.seen) >= len(self.events), 15, f"the reader sees all of {self.mark}")
        self.reader.stop.set()
        self.reader.join(10)
        assert not self.reader.trouble, self.reader.trouble
        equal(self.reader.seen, [e["id"] for e in self.events], "ids on the stream and in the history")
        uses = [e for e in self.events if e["type"] == "agent.tool_use"]
        results = {e["tool_use_id"]: e for e in self.events if e["type"] == "user.tool_result"}
        equal(len(uses), self.calls, "calls\n" + brief(self.events))
        equal(plain([e for e in self.events if e["type"] == "agent.message"][-1]["content"]), "all lines written")
        lines = self.lines()
        equal(len(lines), len(set(lines)), f"a line twice: {lines}")
        equal(lines, sorted(lines), "the order of the lines")
        outputs = [(plain(results[use["id"]]["content"]).strip(), bool(results[use["id"]].get("is_error"))) for use in uses]
        if not lost:
            equal(lines, list(range(self.calls)), f"lines in the file; the calls said {outputs}")
            equal(outputs, [(str(n + 1), False) for n in range(self.calls)], "what the calls said")
        # The model heard each result once, in every later request the same.
        heard = {}
        for asked in self.fake.of(self.mark):
            for call, said, is_error in results_of(asked):
                equal(heard.setdefault(call, (said, is_error)), (said, is_error), "a result that changed")
        for use, (output, _) in zip(uses, outputs):
            assert heard[use["id"]][0].strip() == output, (heard[use["id"]], output)

    def box(self):
        """The box of this session, by the one word of its name that is of the session."""
        plane = api_of(self.gb)
        slug = re.sub(r"[^a-z0-9]", "-", self.id.lower())
        found = [record for record in plane.alive() if (record.get("name") or "").startswith("agent-" + slug)]
        assert len(found) == 1, [record.get("name") for record in plane.alive()]
        return plane.box(found[0]["id"])

    def lines(self):
        return [int(line) for line in self.box().sh("cat /workspace/log").stdout.split()]


def all_of(plays, what):
    with concurrent.futures.ThreadPoolExecutor(len(plays)) as pool:
        return list(pool.map(what, plays))


def helpers(gb, box):
    """Pids of the helper of a box's hand: in the tenant's cgroup, but our program."""
    found = []
    for pid in Owned(gb.state, gb.instance).in_cgroup(box):
        line = slurp(f"/proc/{pid}/cgroup").decode()
        with contextlib.suppress(OSError):
            if f"{box}/user" in line and "glovebox-hand" in os.readlink(f"/proc/{pid}/exe"):
                found.append(pid)
    return found


def kill_at(delay, gb, part):
    """Waits, then kills without waiting for the next one."""
    time.sleep(delay)
    return gb.kill_part(part, wait=False)

