"""On the wire our worker is the official one: over seven shapes of a session both send the same requests to the same endpoints with the
same credentials, headers and bodies, in the same order; where not, docs/worker-differences.md says so.
labels: privileged timeout=300
"""
import base64
import concurrent.futures
import itertools
import json
import re
import signal
import uuid

from between import HangUp
from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, run, wait_for
from sessions import Worker, lawful
from support import Checks, equal
from workers import ASK, OFFICIAL, OURS, Stage

IDS = re.compile(r"\b(?:env|work|sesn|sevt|sthr|agent|skill|skver|memstore|mem|memver)_[0-9A-Za-z]+")
# Of the connection, of compression, and what a client tells of itself.
OWN = {"host", "user-agent", "connection", "content-length", "accept-encoding", "accept-language", "sec-fetch-mode",
       "x-stainless-lang", "x-stainless-package-version", "x-stainless-os", "x-stainless-arch", "x-stainless-runtime",
       "x-stainless-runtime-version", "x-stainless-timeout"}


def bash(command):
    return stream(tool("bash", {"command": command}))


# --- the shapes ---------------------------------------------------------------------------------------------------------

def plain_shape(stage):
    """Seven calls, one of them wrong, two in one turn; then nothing for the idle time."""
    stage.script(stream(tool("write", {"file_path": "notes.txt", "content": "one\ntwo ü\n"})), stream(tool("read", {"file_path": "notes.txt"})),
                 bash("cat notes.txt; W=kept"), stream(tool("glob", {"pattern": "*.nothing"}), tool("grep", {"pattern": "tw."})),
                 stream(tool("edit", {"file_path": "notes.txt", "old_string": "nowhere", "new_string": ""})), bash("echo $W; (exit 3)"),
                 stream(text("done")))
    with stage.session().worker() as worker:
        lawful(stage.brain.settled(stage.id, 60))
        wait_for("the item's end", lambda: stage.item()["state"] == "stopped", 30)
        stage.over(worker)


def reconnect_shape(stage):
    """The stream ends where the third call would have come: what was missed is in the history."""
    calls = []

    def frame(event):
        if event["type"] == "agent.tool_use":
            calls.append(event["id"])
            if len(calls) == 3:
                raise HangUp
        return event

    stage.between.frame = frame
    stage.script(*[bash(f"echo {n} >> lines; cat lines") for n in range(5)], stream(text("done")))
    with stage.session().worker() as worker:
        lawful(stage.brain.settled(stage.id, 60))
        wait_for("the item's end", lambda: stage.item()["state"] == "stopped", 30)
        stage.over(worker)


def confirmation_shape(stage):
    """One call is allowed, one denied, one needs nobody's word."""
    stage.script(bash("echo allowed"), bash("touch never"), stream(tool("glob", {"pattern": "nev*"})), stream(text("done")))
    with stage.session(ASK).worker() as worker:
        for verdict in ("allow", "deny"):
            (call,) = stage.brain.open_calls(stage.id)
            stage.between.of("GET", "/events/stream$") or wait_for("a stream", lambda: stage.between.of("GET", "/events/stream$"))
            stage.brain.send(stage.id, {"type": "user.tool_confirmation", "tool_use_id": call["id"], "result": verdict})
            wait_for("the next step", lambda: (last := stage.brain.last(stage.id)) and call["id"] not in json.dumps(last))
        lawful(stage.brain.settled(stage.id, 60))
        wait_for("the item's end", lambda: stage.item()["state"] == "stopped", 30)
        stage.over(worker)
    assert not stage.file("never"), "a denied call ran"


def stop_graceful_shape(stage):
    """Told to stop while a call waits for a word: nothing runs."""
    stop_held(stage)


def stop_forced_shape(stage):
    stop_held(stage, force=True)


def stop_held(stage, **body):
    stage.script(stream(tool("glob", {"pattern": "*"})), bash("touch never"), stream(text("done")))
    with stage.session(ASK).worker() as worker:
        wait_for("the held call", lambda: stage.between.of("POST", "/events$"))
        stage.brain.open_calls(stage.id)
        wait_for("a heartbeat", lambda: stage.item()["state"] == "active")
        stage.stop(**body)
        wait_for("the item's end", lambda: stage.item()["state"] == "stopped", 30)
        stage.over(worker)
    assert not stage.file("never"), "a held call ran"


def stolen_shape(stage):
    """The worker sleeps for longer than its lease; somebody else has the item when it wakes."""
    stage.script(stream(tool("glob", {"pattern": "*"})), bash("touch never"), stream(text("done")))
    with stage.session(ASK).worker() as worker:
        wait_for("the held call", lambda: stage.between.of("POST", "/events$"))
        stage.brain.open_calls(stage.id)
        wait_for("a heartbeat", lambda: stage.item()["state"] == "active")
        worker.signal(signal.SIGSTOP)
        try:
            thief = Worker(stage.brain, stage.place.environment, stage.place.key).claim(limit=40, session=stage.id)
            thief.beat().expect(200)
        finally:
            worker.signal(signal.SIGCONT)
        wait_for("a refused heartbeat", lambda: [a for a in stage.between.of("POST", "/heartbeat$") if a.status == 412], 40)
        stage.over(worker)
        equal(stage.item()["state"], "active", "the item is the other's")
        thief.beat().expect(200)
        thief.stop(force=True).expect(200)


def stores_shape(stage):
    """A skill and two memory stores, one of them only to read: fetched before the first call, what was written is sent at the end."""
    skill = upload(stage.brain, {"x/SKILL.md": f"---\nname: climbing-{stage.kind}\ndescription: How to climb.\n---\n"})
    notes, law = [stage.brain.post("/v1/memory_stores", {"name": name}).expect(200, 201).json["id"] for name in ("notes", "law")]
    for store, path in ((notes, "/a.md"), (notes, "/deep/b.md"), (law, "/law.md")):
        stage.brain.post(f"/v1/memory_stores/{store}/memories", {"path": path, "content": "first"}).expect(200, 201)
    stage.script(stream(tool("read", {"file_path": f"skills/climbing-{stage.kind}/SKILL.md"}), tool("read", {"file_path": "/mnt/memory/law/law.md"})),
                 stream(tool("write", {"file_path": "/mnt/memory/notes/new.md", "content": "new\n"}),
                        tool("edit", {"file_path": "/mnt/memory/notes/a.md", "old_string": "first", "new_string": "changed"})), stream(text("done")))
    stage.session(skills=[{"type": "custom", "skill_id": skill}], resources=[
        {"type": "memory_store", "memory_store_id": notes}, {"type": "memory_store", "memory_store_id": law, "access": "read_only"}])
    # A /mnt of its own: two sessions with stores of the same name cannot share one.
    with stage.worker(prefix=["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /mnt && exec "$@"', "sh"]) as worker:
        lawful(stage.brain.settled(stage.id, 60))
        wait_for("the item's end", lambda: stage.item()["state"] == "stopped", 60)
        stage.over(worker)


def upload(brain, files):
    mark = uuid.uuid4().hex
    body = "".join(f'--{mark}\r\nContent-Disposition: form-data; name="files[]"; filename="{name}"\r\n\r\n{content}\r\n' for name, content in files.items())
    return brain.call("POST", "/v1/skills", f"{body}--{mark}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={mark}"}).expect(200, 201).json["id"]


# What each must have led to: streams, results, stops.
SHAPES = {"plain": (plain_shape, 1, 7, 1), "reconnect": (reconnect_shape, 2, 5, 1), "confirmation": (confirmation_shape, 1, 2, 1),
          "stop graceful": (stop_graceful_shape, 1, 1, 1), "stop forced": (stop_forced_shape, 1, 1, 1), "lease stolen": (stolen_shape, 1, 1, 0),
          "skill and memory": (stores_shape, 1, 4, 1)}


# --- what was sent ------------------------------------------------------------------------------------------------------

class Story:
    """The requests of one worker for one item, with names instead of ids."""

    def __init__(self, stage):
        self.requests, self.workdir, self.kind = stage.between.requests, stage.workdir, stage.kind
        self.names, self.numbers = {}, {}
        self.credentials = {stage.place.key: "environment key"}
        for asked in self.of("GET", "/work/poll$"):
            if asked.said:
                secret = asked.said["secret"]
                token = json.loads(base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4)))["sessions_token"]
                self.credentials[token] = "sessions token"

    def of(self, method, path):
        return [a for a in self.requests if a.method == method and re.search(path, a.path)]

    def name(self, match):
        prefix = match[0].split("_")[0]
        if match[0] not in self.names:
            self.numbers[prefix] = self.numbers.get(prefix, 0) + 1
            self.names[match[0]] = f"{prefix}_{self.numbers[prefix]}"
        return self.names[match[0]]

    def plain(self, words):
        return IDS.sub(self.name, words)

    def line(self, asked):
        """A request in full, but for when."""
        query = "&".join(f"{name}={'…' if name == 'expected_last_heartbeat' and value != 'NO_HEARTBEAT' else value}" for name, value in asked.query)
        body = json.dumps(asked.json, sort_keys=True, ensure_ascii=False) if asked.body else ""
        body = body.replace(self.workdir, "@WORK@").replace("climbing-" + self.kind, "climbing")
        return self.plain(f"{asked.method} {asked.path}{'?' if query else ''}{query} {body}".strip())

    def order(self):
        """What was asked, one after the other; but for polls and heartbeats, whose number is a matter of time, and for what goes to
        memory stores at the same time."""
        lines = [self.line(a) for a in self.requests if not re.search("/(poll|heartbeat)$", a.path)]
        runs = [(memory, list(run)) for memory, run in itertools.groupby(lines, lambda line: "/v1/memory_stores/" in line)]
        return [line for memory, run in runs for line in (sorted(run) if memory else run)]

    def kinds(self):
        """Endpoints, each with its credential and headers."""
        found = set()
        for asked in self.requests:
            path = IDS.sub(lambda m: m[0].split("_")[0] + "_…", asked.path)
            headers = {name: value for name, value in asked.headers.items() if name not in OWN}
            scheme, _, token = headers.pop("authorization").partition(" ")
            if "anthropic-worker-id" in headers:
                headers["anthropic-worker-id"] = "…"
            shown = [f"{name}: {value}" for name, value in sorted(headers.items())]
            found.add("; ".join([f"{asked.method} {path}", f"{scheme} {self.credentials.get(token, 'unknown')}",
                                 "?" + "&".join(sorted(name for name, _ in asked.query)), "body" if asked.body else "no body", *shown]))
        return found

    def rules(self):
        """What holds for the order of the requests of every worker."""
        (ack,) = self.of("POST", "/ack$")
        beats, streams, lists = self.of("POST", "/heartbeat$"), self.of("GET", "/events/stream$"), self.of("GET", "/events$")
        poll = next(a for a in self.of("GET", "/work/poll$") if a.said)
        item = [a for a in self.requests if not a.path.endswith("/poll")]
        assert poll.ended <= ack.began and all(ack.ended <= a.began for a in item if a is not ack), "nothing before the item is acknowledged"
        assert not [a for a in self.of("GET", "/work/poll$") if ack.began < a.began < max(b.began for b in item)], "one item at a time"
        first = [dict(a.query).get("expected_last_heartbeat") for a in beats]
        equal(first[0], "NO_HEARTBEAT", "the first heartbeat")
        for before, after in zip(beats, beats[1:]):
            if before.status != 200:
                continue
            equal(dict(after.query)["expected_last_heartbeat"], before.said["last_heartbeat"], "a heartbeat presents the one before")
            assert before.ended <= after.began, "one heartbeat at a time"
        equal(len(lists), len(streams), "the history is read once for each stream")
        for opened, read in zip(streams, lists):
            assert opened.began <= read.began, "the stream is opened before the history is read"
        stops = self.of("POST", "/stop$")
        if stops:
            assert stops == item[-1:], "the stop is the last thing, and only once"
        for asked in self.of("POST", "/events$"):
            equal(len(asked.json["events"]), 1, "results in a request")


def play(gb, fake, tmp, shape, kind):
    stage = Stage(gb, fake, tmp, shape.replace(" ", "-"), kind)
    with stage.between:
        SHAPES[shape][0](stage)
        return Story(stage)


def compare(shape, official, ours):
    for story in (official, ours):
        story.rules()
        equal([len(story.of("GET", "/events/stream$")), len(story.of("POST", "/events$")), len(story.of("POST", "/stop$"))], list(SHAPES[shape][1:]),
              "streams, results, stops")
    wrong = []
    only = {"official": sorted(official.kinds() - ours.kinds()), "ours": sorted(ours.kinds() - official.kinds())}
    for who, lines in only.items():
        wrong += [f"only {who}: {line}" for line in lines]
    theirs, mine = official.order(), ours.order()
    if theirs != mine:
        wrong.append("the order of the official worker:\n    " + "\n    ".join(theirs) + "\n  ours:\n    " + "\n    ".join(mine))
    assert not wrong, "\n  " + "\n  ".join(wrong)


def test(tmp):
    """All shapes side by side, each with both workers."""
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key), lease_ttl=10) as gb, \
            concurrent.futures.ThreadPoolExecutor(12) as pool:
        stories = {(shape, kind): pool.submit(play, gb, fake, tmp, shape, kind) for shape in SHAPES for kind in (OFFICIAL, OURS)}
        for shape in SHAPES:
            with check(shape):
                compare(shape, stories[shape, OFFICIAL].result(), stories[shape, OURS].result())
        check.done()


run(test)
