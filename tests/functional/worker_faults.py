"""Faults between a worker and its service, each by name: a proxy stands between the worker and the brain, and the session is looked at
afterwards. And what the tools are asked by those who mean no good."""
import base64
import concurrent.futures
import json
import os
import signal

from between import HangUp, answer, change, drop, lose, refuse, silence
from fake_messages import FakeMessages, results_of, stream, text, tool
from harness import Glovebox, wait_for
from sessions import Worker, lawful, plain, result
from support import Checks, equal, slurp
from workers import ASK, Stage, gone

LIMIT = 60
RESULTS, HEARTBEAT, STREAM, POLL = "/sessions/[^/]*/events$", "/heartbeat$", "/events/stream$", "/work/poll$"
DENIED = {"evaluated_permission": "deny"}
UNKNOWN = {"evaluated_permission": "perhaps"}


def bash(command, **more):
    return tool("bash", {"command": command, **more})


def line(n, seconds=0):
    return bash(f"echo {n} >> lines; sleep {seconds}; cat lines")


def lines(stage):
    return slurp(os.path.join(stage.workdir, "lines")).decode().split()


def played(stage, limit=LIMIT):
    """The session's events, once its turn is over."""
    return lawful(stage.brain.settled(stage.id, limit))


def answers(events):
    return [plain(e["content"]).strip() for e in events if e["type"] == "user.tool_result"]


def posted(stage):
    """Results as the worker sent them, accepted or not: (call, text)."""
    return [(e["tool_use_id"], plain(e["content"]).strip()) for asked in stage.between.of("POST", RESULTS) for e in asked.json["events"]]


def first_call(stage, changes):
    """The first tool use of the session reads otherwise, wherever the worker reads it."""
    first = []

    def edit(event):
        if event["type"] == "agent.tool_use":
            first or first.append(event["id"])
            if event["id"] == first[0]:
                event |= changes
        return event

    stage.between.frame = edit
    stage.between.on("GET", RESULTS, change(lambda asked, page: {**page, "data": [edit(event) for event in page["data"]]}))


# --- which calls are ours -------------------------------------------------------------------------------------------------

def unknown_tool(stage):
    """A tool the worker does not have is left to whoever has it."""
    weather = {"type": "custom", "name": "weather", "description": "of a town", "input_schema": {"type": "object", "properties": {}}}
    stage.script(stream(tool("weather", {}), line(1)), stream(text("done")))
    with stage.session([{"type": "agent_toolset_20260401"}, weather]).worker():
        wait_for("the known call's result", lambda: posted(stage))
        (call,) = stage.brain.open_calls(stage.id)
        equal(call["name"], "weather")
        stage.brain.send(stage.id, result(call, "rain"))
        played(stage)
    equal(len(posted(stage)), 1, "results of the worker")


def denied(stage):
    """A call that was denied is not run, and nothing is said of it."""
    first_call(stage, DENIED)
    stage.script(stream(bash("touch never"), line(1)), stream(text("done")))
    with stage.session().worker():
        wait_for("the second call's result", lambda: posted(stage))
        (call,) = stage.brain.open_calls(stage.id)
        stage.brain.send(stage.id, result(call, "closed by the service"))
        played(stage)
    equal([said for _, said in posted(stage)], ["1"])
    assert not stage.file("never")


def unknown_permission(stage):
    """A permission nobody knows holds the call until somebody allows it."""
    first_call(stage, UNKNOWN)
    stage.script(stream(bash("touch held; echo ran"), tool("write", {"file_path": "other", "content": "x"})), stream(text("done")))
    with stage.session(ASK).worker():
        wait_for("the second call's result", lambda: posted(stage))
        assert not stage.file("held")
        (call,) = stage.brain.open_calls(stage.id)
        stage.brain.send(stage.id, {"type": "user.tool_confirmation", "tool_use_id": call["id"], "result": "allow"})
        equal(sorted(answers(played(stage))), ["ran", "wrote 1 bytes to other"])


def confirmed_while_away(stage):
    """A confirmation that came while the stream was down is found in the history."""
    stage.script(stream(bash("echo ran")), stream(text("done")))
    with stage.session(ASK).worker():
        wait_for("the stream", lambda: stage.between.streams)
        (call,) = stage.brain.open_calls(stage.id)
        rule = stage.between.on("GET", STREAM, drop)
        stage.between.cut()
        stage.brain.send(stage.id, {"type": "user.tool_confirmation", "tool_use_id": call["id"], "result": "allow"})
        wait_for("a try", lambda: rule.used)
        stage.between.off(rule)
        equal(answers(played(stage)), ["ran"])


def interrupted_while_held(stage):
    """A held call that is interrupted is not run by anybody later."""
    stage.script(stream(bash("touch never")), stream(text("done")))
    with stage.session(ASK).worker():
        stage.brain.open_calls(stage.id)
        wait_for("the stream", lambda: stage.between.streams)
        stage.brain.send(stage.id, {"type": "user.interrupt"})
        played(stage)
        stage.between.cut()
        wait_for("the next stream", lambda: len(stage.between.of("GET", STREAM)) > 1)
        wait_for("the item's end", lambda: stage.item()["state"] == "stopped")
    equal(posted(stage), [])
    assert not stage.file("never")


# --- history and stream ---------------------------------------------------------------------------------------------------

def answered_before(stage):
    """What another worker has answered is not run again."""
    stage.fake.script(stage.mark, lambda asked: stream(text("done")) if results_of(asked) else stream(line(asked.raw.count(b"again"))))
    for number in range(2):
        if number:
            stage.brain.say(stage.id, "again")
        else:
            stage.session()
        with stage.worker() as worker:
            played(stage)
            wait_for("the item's end", lambda: all(item["state"] == "stopped" for item in stage.items()))
            worker.signal().end()
        equal(lines(stage), ["0", "1"][:number + 1])


def open_before(stage):
    """A call that was open before the worker came runs once, though the stream breaks three times while it does."""
    stage.script(stream(bash("echo 1 >> lines; while [ ! -e go ]; do sleep 0.05; done; cat lines")), stream(text("done")))
    stage.session()
    stage.brain.open_calls(stage.id)
    with stage.worker():
        wait_for("the command", lambda: stage.file("lines"), LIMIT)
        for _ in range(3):
            wait_for("the stream", lambda: stage.between.cut(), LIMIT)
        wait_for("the fourth stream", lambda: stage.between.streams, LIMIT)
        with open(os.path.join(stage.workdir, "go"), "w"):
            pass
        played(stage)
    assert len(stage.between.of("GET", STREAM)) > 3
    equal((lines(stage), len(posted(stage))), (["1"], 1))


def cut_again_and_again(stage):
    """The stream ends after every fourth event: all calls run, in order, once."""
    seen, number = [], 12

    def frame(event):
        seen.append(event)
        if len(seen) % 4 == 0:
            raise HangUp
        return event

    stage.between.frame = frame
    stage.script(*[stream(line(n)) for n in range(number)], stream(text("done")))
    with stage.session().worker():
        equal(len(answers(played(stage, 100))), number)
    equal((lines(stage), len(posted(stage))), ([str(n) for n in range(number)], number))


def history_fails(stage):
    """A history that cannot be read is read again; nothing is run before, or twice."""
    rule = stage.between.on("GET", RESULTS, refuse(500, **{"x-should-retry": "false"}), times=1)
    stage.script(*[stream(line(n)) for n in range(3)], stream(text("done")))
    stage.session()
    stage.brain.open_calls(stage.id)
    with stage.worker():
        played(stage)
    equal((rule.used, lines(stage), len(posted(stage))), (1, ["0", "1", "2"], 3))


def odd_frames(stage):
    """Events of unknown types, of unknown members, and one that was there already are no trouble."""
    stage.between.frame = lambda event: {**event, "nobody": {"knows": [1, None]}}
    stage.script(*[stream(line(n)) for n in range(3)], stream(text("done")))
    again = []

    def page(asked, value):
        again.append(len(value["data"]))
        strange = [{"type": "agent.of_tomorrow", "id": "sevt_0001", "processed_at": None}, {"type": "user.message", "id": "sevt_0002"}]
        return {"data": strange + value["data"] + value["data"], "next_page": None}

    stage.between.on("GET", RESULTS, change(page))
    with stage.session().worker():
        wait_for("a first result", lambda: posted(stage))
        stage.between.cut()
        played(stage)
    equal((lines(stage), len(posted(stage))), (["0", "1", "2"], 3))
    assert again, "the history was never read"  # and once more, if the cut came before the last call was over


def broken_frames(stage):
    """A stream of what is no event ends, and the next one is fine."""
    rubbish = [b"event: message\ndata: {\n\n", b"event: message\ndata: []\n\n", b"data\n\n" * 3, b"event: error\ndata: {\"type\":\"error\"}\n\n", b"\xff\xfe\n\n"]
    rule = stage.between.on("GET", STREAM, lambda asked, forward: (200, {"Content-Type": "text/event-stream"}, rubbish[rule.used - 1]), times=len(rubbish))
    stage.script(stream(line(1)), stream(text("done")))
    with stage.session().worker():
        played(stage)
        wait_for("the end of the rubbish", lambda: rule.used == len(rubbish), LIMIT) if not posted(stage) else None
    equal((lines(stage), len(posted(stage))), (["1"], 1))


# --- results --------------------------------------------------------------------------------------------------------------

def result_refused_for_a_while(stage):
    """503, then 429, then no connection: the result is sent until it is taken, and the command is not run again."""
    for action in (refuse(503), refuse(429, **{"retry-after": "1"}), drop, refuse(500)):
        stage.between.on("POST", RESULTS, action, times=1)
    stage.script(stream(line(1)), stream(line(2)), stream(text("done")))
    with stage.session().worker():
        equal(answers(played(stage)), ["1", "1\n2"])
    equal(lines(stage), ["1", "2"])
    assert len(posted(stage)) >= 6


def answer_lost(stage):
    """The service took the result, but its answer never came: the session has it once."""
    stage.between.on("POST", RESULTS, lose, times=2)
    stage.script(stream(line(1)), stream(line(2)), stream(text("done")))
    with stage.session().worker():
        equal(answers(played(stage)), ["1", "1\n2"])
    equal(lines(stage), ["1", "2"])


def result_refused_for_good(stage):
    """A result that the service does not want gives way to one that says so; the session goes on."""
    stage.between.on("POST", RESULTS, refuse(400, "content is not to our taste"), times=1)
    stage.script(stream(line(1)), stream(line(2)), stream(text("done")))
    with stage.session().worker():
        first, second = answers(played(stage))
    assert "400" in first and second == "1\n2", (first, second)
    equal(lines(stage), ["1", "2"])


# --- the lease ------------------------------------------------------------------------------------------------------------

def held_call(stage):
    """A session whose command is running under our lease."""
    stage.script(stream(bash("touch begun; sleep 100; echo late")), stream(text("done")))
    return stage.session()


def begun(stage):
    wait_for("the command", lambda: stage.file("begun"), LIMIT)
    wait_for("a heartbeat", lambda: [a for a in stage.between.of("POST", HEARTBEAT) if a.status == 200])


def let_go(stage, worker, stops):
    """The command has ended, the worker looks for other work, and it has stopped the item so often. What the session's next item does is
    another matter."""
    sleeps = [pid for pid in worker.below() if slurp(f"/proc/{pid}/comm") == b"sleep\n"]
    item = stage.between.of("POST", "/ack$")[0].path.removesuffix("/ack")
    own = lambda verb: [asked for asked in stage.between.of("POST", f"/{verb}$") if asked.path.startswith(item)]
    wait_for("the next poll", lambda: [a for a in stage.between.of("GET", POLL) if a.number > own("heartbeat")[-1].number], LIMIT)
    wait_for("the command's end", gone(sleeps), LIMIT)
    equal(len(own("stop")), stops, "stops")
    equal(posted(stage), [], "results")


def beat_412(stage):
    """412: somebody else has the item. The command is ended, nothing is posted, and the item is not stopped."""
    with held_call(stage).worker() as worker:
        begun(stage)
        body = {"type": "error", "error": {"type": "invalid_request_error", "message": "no", "details": {
            "error_code": "heartbeat_precondition_failed",
            "current_state": {"state": "active", "last_heartbeat": "somebody else's", "lease_extended": False, "ttl_seconds": 10}}}}
        stage.between.on("POST", HEARTBEAT, answer(412, body))
        let_go(stage, worker, stops=0)


def beat_lost(stage):
    """A heartbeat whose answer is lost costs nothing: the one the service then knows is ours."""
    rule = stage.between.on("POST", HEARTBEAT, lose, times=1, when=lambda asked: "NO_HEARTBEAT" not in asked.target)
    stage.script(stream(line(1, 8)), stream(text("done")))
    with stage.session().worker():
        equal(answers(played(stage)), ["1"])
        wait_for("the item's end", lambda: stage.item()["state"] == "stopped")
    equal((rule.used, len(posted(stage))), (1, 1))


def beat_hangs(stage):
    """Heartbeats that are never answered: after the lease's time it is taken for lost; no stop."""
    with held_call(stage).worker() as worker:
        begun(stage)
        stage.between.on("POST", HEARTBEAT, silence())
        let_go(stage, worker, stops=0)


def beat_refused(stage):
    """401 for a heartbeat: the item is given up, with a stop."""
    with held_call(stage).worker() as worker:
        begun(stage)
        stage.between.on("POST", HEARTBEAT, refuse(401))
        let_go(stage, worker, stops=1)


def beat_fails_once(stage):
    """A heartbeat that fails is tried again before the lease runs out."""
    stage.between.on("POST", HEARTBEAT, refuse(503, **{"x-should-retry": "false"}), times=1, when=lambda asked: "NO_HEARTBEAT" not in asked.target)
    stage.script(stream(line(1, 8)), stream(text("done")))
    with stage.session().worker():
        equal(answers(played(stage)), ["1"])


def stopped_by_force(stage):
    """Stopped by force while a command runs: it ends with the next heartbeat."""
    with held_call(stage).worker() as worker:
        begun(stage)
        stage.stop(force=True)
        let_go(stage, worker, stops=1)


def stopped_gracefully(stage):
    """Told to stop while a command runs: it may finish, its result is sent, and then the item is stopped."""
    stage.script(stream(line(1, 9)), stream(text("done")))
    with stage.session().worker() as worker:
        wait_for("the command", lambda: stage.file("lines"), LIMIT)
        stage.stop()
        wait_for("the item's end", lambda: stage.item()["state"] == "stopped", LIMIT)
        stage.over(worker)
        equal([said for _, said in posted(stage)], ["1"])
        stops = stage.between.of("POST", "/stop$")
        equal([(asked.json, asked.status) for asked in stops], [({"force": True}, 200)])


def not_extended(stage):
    """A lease that is not extended is over."""
    with held_call(stage).worker() as worker:
        begun(stage)
        stage.between.on("POST", HEARTBEAT, change(lambda asked, beat: beat.update(lease_extended=False)))
        let_go(stage, worker, stops=1)


def ack_fails(stage):
    """An item whose acknowledgement fails is not served now, and comes back by itself."""
    stage.between.on("POST", "/ack$", refuse(503, **{"x-should-retry": "false"}), times=1)
    stage.script(stream(line(1)), stream(text("done")))
    with stage.session().worker():
        played(stage)
    equal((lines(stage), len(stage.between.of("POST", "/ack$")), len(stage.between.of("POST", "/stop$")) <= 1), (["1"], 2, True))


def polls_fail(stage):
    """Polls that are refused for a while, answered with rubbish, or not at all."""
    for action in (refuse(500), refuse(529), drop, answer(200, b"<html>"), answer(200, b"", "text/plain"), answer(204, b""), refuse(429)):
        stage.between.on("GET", POLL, action, times=1)
    stage.script(stream(line(1)), stream(text("done")))
    with stage.session().worker():
        played(stage)
    equal(lines(stage), ["1"])


# --- the secret -----------------------------------------------------------------------------------------------------------

def token_of(secret):
    return json.loads(base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4)))["sessions_token"]


def secret(edit, with_token):
    """The item comes with another secret: is it served with its token, or with the environment key?"""
    def case(stage):
        tokens = []

        def polled(asked, item):
            if item:
                tokens.append(token_of(item["secret"]))
                item["secret"] = edit(item["secret"])
            return item

        stage.between.on("GET", POLL, change(polled))
        stage.script(stream(line(1)), stream(text("done")))
        with stage.session().worker() as worker:
            played(stage)
            wait_for("the item's end", lambda: stage.item()["state"] == "stopped")
            assert tokens[0] not in worker.log() and stage.place.key not in worker.log()
        used = {asked.headers["authorization"] for asked in stage.between.requests if not asked.path.endswith(("/poll", "/ack"))}
        equal(used, {"Bearer " + (tokens[0] if with_token else stage.place.key)}, "credentials")
        equal(lines(stage), ["1"])
    return case


def padded(value):
    """Padded, with blanks enough in the JSON that there is something to pad."""
    for blanks in range(3):
        whole = base64.urlsafe_b64encode(json.dumps({"sessions_token": token_of(value)}).encode() + b" " * blanks)
        if whole.endswith(b"="):
            return whole.decode()
    raise AssertionError("nothing to pad")


def encoded(value, how=base64.urlsafe_b64encode):
    return how(json.dumps(value).encode()).decode().rstrip("=")


SECRETS = {"absent": (lambda value: None, False), "as it is": (lambda value: value, True), "padded": (padded, True),
           "in the other alphabet": (lambda value: encoded({"sessions_token": token_of(value), "more": "???>>>"}, base64.b64encode), True),
           "garbage": (lambda value: "%%% no base64 %%%", False), "no JSON": (lambda value: base64.urlsafe_b64encode(b"\xff{").decode(), False),
           "without a token": (lambda value: encoded({"api_base_url": "http://127.0.0.1:1"}), False),
           "an empty token": (lambda value: encoded({"sessions_token": ""}), False), "a number for a token": (lambda value: encoded({"sessions_token": 7}), False),
           "a list": (lambda value: encoded(["sessions_token"]), False),
           "with another base URL": (lambda value: encoded({"sessions_token": token_of(value), "api_base_url": "http://127.0.0.1:1"}), True)}


# --- what the tools are asked ---------------------------------------------------------------------------------------------

def tools(*calls):
    """Each (tool, input, expected text or a test of it), in one session; the texts of errors begin with "!"."""
    def case(stage):
        os.makedirs(os.path.join(stage.workdir, "d"))
        for name, target in (("out", "/etc/hostname"), ("dangling-out", "/tmp/nothing-of-the-sort"), ("loop", "loop"), ("inside", "d/file"), ("dangling", "nowhere")):
            os.symlink(target, os.path.join(stage.workdir, name))
        os.mkfifo(os.path.join(stage.workdir, "fifo"))
        for name, data in (("d/file", b"in d\n"), ("large", b"%s\n" % (b"x" * 99) * 3072)):
            with open(os.path.join(stage.workdir, name), "wb") as file:
                file.write(data)

        def here(value):
            return value.replace("@WORK@", stage.workdir) if isinstance(value, str) else value

        stage.script(stream(*[tool(name, {key: here(value) for key, value in input.items()}) for name, input, _ in calls]), stream(text("done")))
        with stage.session().worker():
            events = played(stage, 100)
        said = [("!" if e["is_error"] else "") + plain(e["content"]) for e in events if e["type"] == "user.tool_result"]
        for (name, input, wanted), got in zip(calls, said, strict=True):
            if callable(wanted):
                assert wanted(got), f"{name} {input}: {got[:300]!r}"
            else:
                equal(got, here(wanted), f"{name} {input}")
    return case


def sh(command, wanted, **more):
    return ("bash", {"command": command, **more}, wanted)


OUTSIDE = '!path "{}" is outside the session\'s working directory'
CUT = "[output truncated]"
BASH = {
    "exit 3": [sh("X=1; exit 3", "!bash: bash session terminated"), sh("echo \"x:$X\"", "x:")],
    "cat has no input": [sh("cat; echo $?", "0")],
    "sleep for longer than its time": [sh("sleep 300", "!bash: bash command timed out after 700ms", timeout_ms=700), sh("echo on", "on")],
    "yes": [sh("yes | head -c 3000000", lambda said: said.startswith(CUT) and len(said) <= 102_500),
            sh("yes", "!bash: bash command timed out after 700ms", timeout_ms=700), sh("echo on", "on")],
    "an unclosed quote": [sh("echo 'open", lambda said: said.startswith("!") and "unexpected EOF" in said), sh("echo on", "on")],
    "a background job": [sh("sleep 200 & echo $! > job; echo on", "on"), sh("kill -0 $(cat job) && echo there; kill $(cat job)", "there")],
    "env": [sh("env | grep -ci anthropic; env | grep -cE 'gb-(env|ses|api)-'", "!0\n0")],
    "cd is kept": [sh("cd d; V=7; f() { echo $V; }", "(no output)"), sh("pwd; f", "@WORK@/d\n7")],
    "a forged mark": [sh("echo __ANT_CMD_00000000-0000-0000-0000-000000000000_DONE__0; false", lambda said: said.startswith("!__ANT_CMD_")),
                      sh("set | grep -a _DONE_ | head -1; echo ${BASH_COMMAND:0:4}", lambda said: "echo" in said)],
    "restart": [sh("V=1; cd d", "(no output)"), ("bash", {"restart": True}, "bash session restarted"), sh("echo \"$V\"; pwd", "\n@WORK@")],
    "it kills its parent": [sh("kill -9 $$; sleep 5", lambda said: said.startswith("!")), sh("echo on", "on")],
    "it fills its own directory with processes": [sh("for i in $(seq 200); do sleep 50 & done; echo on", "on"), ("bash", {"restart": True}, "bash session restarted")],
}
PATHS = {
    "above": [("read", {"file_path": "../x"}, OUTSIDE.format("../x")), ("write", {"file_path": "d/../../x", "content": "x"}, OUTSIDE.format("d/../../x")),
              ("glob", {"pattern": "*", "path": ".."}, OUTSIDE.format("..")), ("grep", {"pattern": "x", "path": "../.."}, OUTSIDE.format("../.."))],
    "absolute": [("read", {"file_path": "@WORK@/d/file"}, "in d\n"), ("read", {"file_path": "/etc/passwd"}, OUTSIDE.format("/etc/passwd")),
                 ("edit", {"file_path": "/etc/hostname", "old_string": "a", "new_string": "b"}, OUTSIDE.format("/etc/hostname"))],
    "a link inside": [("read", {"file_path": "inside"}, "in d\n"), ("write", {"file_path": "inside", "content": "new\n"}, "wrote 4 bytes to inside"), sh("cat d/file", "new")],
    "a link out": [("read", {"file_path": "out"}, OUTSIDE.format("out")), ("write", {"file_path": "out", "content": "x"}, OUTSIDE.format("out"))],
    "a dangling link out": [("write", {"file_path": "dangling-out", "content": "x"}, OUTSIDE.format("dangling-out")), sh("ls /tmp/nothing-of-the-sort 2> /dev/null | wc -l", "0")],
    "a dangling link": [("read", {"file_path": "dangling"}, "!read: dangling: no such file or directory")],
    "a loop": [("read", {"file_path": "loop"}, lambda said: said.startswith("!") and "too many levels of symbolic links" in said)],
    "a FIFO": [("read", {"file_path": "fifo"}, "!read: fifo is not a regular file"), ("edit", {"file_path": "fifo", "old_string": "a", "new_string": "b"}, "!edit: fifo is not a regular file"),
               ("grep", {"pattern": "x", "path": "fifo"}, lambda said: True)],
    "a device": [sh("mknod null c 1 3", lambda said: True), ("read", {"file_path": "null"}, lambda said: said in ("!read: null is not a regular file", "!read: null: no such file or directory"))],
    "300 KB": [("read", {"file_path": "large"}, lambda said: said.startswith("!read: large is 307200 bytes, exceeds 262144-byte limit. ")),
               ("read", {"file_path": "large", "view_range": [3071, 3072]}, "x" * 99 + "\n" + "x" * 99),
               ("read", {"file_path": "large", "view_range": [1, 3000]}, lambda said: said.startswith("!read: view_range [1, 3000] of large exceeds 262144-byte limit. "))],
}


# --- the end of a worker --------------------------------------------------------------------------------------------------

def asleep_past_its_lease(stage):
    """A worker that slept for longer than its lease runs nothing more of an item that is another's by now."""
    stage.script(stream(bash("echo first; sleep 2")), stream(line("second")), stream(text("done")))
    with stage.session().worker() as worker:
        wait_for("a heartbeat", lambda: [a for a in stage.between.of("POST", HEARTBEAT) if a.status == 200], LIMIT)
        wait_for("the command", lambda: [p for p in worker.below() if slurp(f"/proc/{p}/comm") == b"sleep\n"], LIMIT)
        worker.signal(signal.SIGSTOP)
        try:
            thief = Worker(stage.brain, stage.place.environment, stage.place.key).claim(limit=LIMIT, session=stage.id)
            thief.beat().expect(200)
            for call, words in ((stage.brain.open_calls(stage.id)[0], "first, by another"), (None, "second, by another")):
                call = call or stage.brain.open_calls(stage.id)[0]
                thief.api.post(f"/v1/sessions/{stage.id}/events", {"events": [result(call, words)]}).expect(200)
                wait_for("the next turn", lambda: call["id"] not in json.dumps(stage.brain.last(stage.id)))
        finally:
            worker.signal(signal.SIGCONT)
        equal(answers(played(stage)), ["first, by another", "second, by another"])
        wait_for("the next poll", lambda: [a for a in stage.between.of("GET", POLL) if a.number > stage.between.of("POST", HEARTBEAT)[-1].number], LIMIT)
        thief.beat().expect(200)
        thief.stop(force=True).expect(200)
    equal(lines(stage), [], "the second call was not the sleeper's")


CASES = {
    "a tool it does not have": unknown_tool, "a denied call": denied, "a permission nobody knows": unknown_permission,
    "a confirmation while the stream was down": confirmed_while_away, "an interrupt while a call is held": interrupted_while_held,
    "what was answered before": answered_before, "what was open before, through three reconnects": open_before,
    "a stream cut again and again": cut_again_and_again, "a history that fails": history_fails, "odd frames": odd_frames, "broken frames": broken_frames,
    "a result refused for a while": result_refused_for_a_while, "a result whose answer is lost": answer_lost,
    "a result refused for good": result_refused_for_good,
    "a heartbeat with 412": beat_412, "a heartbeat whose answer is lost": beat_lost, "heartbeats that hang": beat_hangs,
    "a heartbeat that is refused": beat_refused, "a heartbeat that fails once": beat_fails_once, "a lease that is not extended": not_extended,
    "a stop by force": stopped_by_force, "a graceful stop": stopped_gracefully, "an acknowledgement that fails": ack_fails, "polls that fail": polls_fail,
    "asleep for longer than its lease": asleep_past_its_lease,
    **{f"a secret {name}": secret(*how) for name, how in SECRETS.items()},
    **{f"bash: {name}": tools(*calls) for name, calls in BASH.items()}, **{f"paths: {name}": tools(*calls) for name, calls in PATHS.items()},
}


def play(gb, fake, tmp, number, body, kind):
    stage = Stage(gb, fake, tmp, f"fault-{number}", kind)
    with stage.between:
        body(stage)


def play_all(tmp, kind, at_once=12):
    """Side by side, each with an environment, a worker and a proxy of its own."""
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key), lease_ttl=10) as gb, \
            concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        running = {name: pool.submit(play, gb, fake, tmp, number, body, kind) for number, (name, body) in enumerate(CASES.items())}
        for name, future in running.items():
            with check(name):
                future.result()
    return check
