"""Whatever an endpoint does to the connection, a session tells it lawfully and comes to an end: retries with pauses, errors in words,
nothing half heard, and the key goes nowhere else.
labels: privileged timeout=300
"""
import json
import threading

import fake_messages as fm
from fake_messages import FakeMessages, raw_stream, status, stream, text, thinking, tool
from harness import run
from loop_stage import play_all
from support import equal, eventually

CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


# --- what endpoints do ------------------------------------------------------------------------------------------------

def transient(*attempts):
    """Fails as `attempts` say, then works: one message, no trace of what was cut off."""
    def body(stage):
        stage.start([*attempts, stream(text("at last"))])
        stage.finish("at last", len(attempts) + 1)
        equal(stage.messages(), ["at last"])
        equal({json.dumps(a.body) for a in stage.asked()}, {json.dumps(stage.asked()[0].body)}, "asked the same again")
    return body


FULL = (thinking("hm"), text("cut off here"), tool("bash", {"command": "never"}))
for name, attempts in {
    "overloaded_twice": (status(529), status(529)),
    "server_error": (status(500),),
    "bad_gateway_in_html": (status(502, body="<html>bad gateway</html>", kind="text/html"),),
    "rate_limit": (status(429, retry_after="1"),),
    "rate_limit_with_nonsense": (status(429, retry_after="soon"),),
    "error_event_at_the_start": (raw_stream(fm.error_event()),),
    "error_event_in_the_middle": (raw_stream(*fm.frames(*FULL)[:6], fm.error_event("api_error", "oops")),),
    "hung_up_without_a_word": (fm.wire_bytes(b""),),
    "cut_in_the_status_line": (fm.wire_bytes(b"HTTP/1.1 20"),),
    "cut_in_the_head": (stream(*FULL, cut_bytes=60),),
    "cut_after_the_head": (stream(*FULL, cut=0),),
    "cut_after_message_start": (stream(*FULL, cut=1),),
    "cut_in_the_thinking": (stream(*FULL, cut=4),),
    "cut_in_the_text": (stream(*FULL, cut=9),),
    "cut_in_the_input": (stream(*FULL, cut=15),),
    "cut_before_message_delta": (stream(*FULL, cut=len(fm.frames(*FULL)) - 2),),
    "ended_politely_in_the_middle": (raw_stream(*fm.frames(*FULL)[:9]),),
    "half_an_event_at_the_end": (raw_stream(*fm.frames(*FULL)[:8], b"event: content_block_delta\ndata: {\"type\":\"content_blo"),),
    "data_that_is_no_json": (raw_stream(*fm.frames(*FULL)[:5], b"event: content_block_delta\ndata: {nonsense\n\n", *fm.frames(*FULL)[5:]),),
    "data_that_is_an_array": (raw_stream(*fm.frames(*FULL)[:5], b"event: content_block_delta\ndata: [1,2]\n\n", *fm.frames(*FULL)[5:]),),
    "a_chunk_size_that_is_none": (fm.wire_bytes(fm.head() + b"zz\r\nnonsense\r\n0\r\n\r\n"),),
    "bytes_that_are_no_http": (fm.wire_bytes(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" * 20),),
}.items():
    CASES[name] = transient(*attempts)


@case
def retry_after_is_kept(stage):
    stage.start([status(429, retry_after="2"), stream(text("ok"))])
    stage.finish("ok", 2)
    first, second = stage.asked()
    assert second.when - first.when >= 1.9, f"asked again after {second.when - first.when:.2f} s"


@case
def a_retry_is_told(stage):
    """People see why nothing happens."""
    events = stage.start([status(529), stream(text("ok"))]).finish("ok", 2)
    told = [e for e in events if e["type"] == "session.error"]
    for e in told:
        equal((e["error"]["type"], e["error"]["retry_status"]["type"]), ("model_overloaded_error", "retrying"))
        assert e["error"]["message"]


@case
def cut_before_message_stop(stage):
    """All was said but the last word: taken or asked again, never both."""
    whole = fm.frames(text("complete"))
    stage.start([stream(text("complete"), cut=len(whole) - 1), stream(text("complete"))])
    stage.finish("complete")
    equal(stage.messages(), ["complete"])


@case
def byte_by_byte(stage):
    stage.start(stream(text("slow ✓"), tool("bash", {"command": "ls"}), piece=1, pause=0.0005), stream(text("ok")))
    equal(stage.messages(), []) if not stage.brain.last(stage.id) else None
    stage.answer(stage.open()[0])
    stage.finish("ok", 2)


@case
def crlf_and_body_until_close(stage):
    whole = b"".join(fm.frames(text("carriage"))).replace(b"\n", b"\r\n")
    stage.start(fm.Answer(fm.head(chunked=False), [whole], chunked=False)).finish("carriage", 1)


@case
def down_for_good(stage):
    stage.start(status(500), stream(text("never")))
    events = stage.end(90)
    equal(stage.stop_reason(), "retries_exhausted")
    tries = len(stage.asked())
    assert 3 <= tries <= 8, f"{tries} attempts"
    waits = [b.when - a.when for a, b in zip(stage.asked(), stage.asked()[1:])]
    assert waits[-1] > waits[0], f"no back-off: {waits}"
    last = [e for e in events if e["type"] == "session.error"][-1]
    equal(last["error"]["retry_status"]["type"], "exhausted")
    stage.fake.script(stage.mark, [stream(text("up again"))])
    stage.brain.say(stage.id, "try again")
    stage.finish("up again", tries + 1)


def final(code, kind=None, **more):
    """Refused for a reason that no second try changes: asked once, told, and the session goes on with the next message."""
    def body(stage):
        stage.start([status(code, **more), stream(text("better"))])
        events = stage.end(30)
        stage.asked(1)
        last = [e for e in events if e["type"] == "session.error"][-1]
        assert last["error"]["retry_status"]["type"] in ("terminal", "exhausted"), last
        assert stage.stop_reason() == "retries_exhausted", stage.stop_reason()
        if kind:
            equal(last["error"]["type"], kind)
        span = [e for e in events if e["type"] == "span.model_request_end"][-1]
        equal(span["is_error"], True)
        stage.brain.say(stage.id, "again")
        stage.finish("better", 2)
    return body


CASES["bad_request"] = final(400, "model_request_failed_error")
CASES["wrong_key"] = final(401)
CASES["no_money"] = final(402, "billing_error")
CASES["forbidden"] = final(403)
CASES["no_such_model"] = final(404)
CASES["too_large"] = final(413)


@case
def a_redirect_gets_no_key(stage):
    elsewhere = []
    with FakeMessages() as other:
        other.default = lambda asked: elsewhere.append(asked) or stream(text("stolen"))
        stage.start([status(307, location=other.url + "/v1/messages", body="")] * 8)
        stage.end(60)
        equal(elsewhere, [])
        equal(stage.messages(), [])


@case
def a_page_instead_of_a_stream(stage):
    stage.start(fm.Answer(fm.head(kind="text/html"), [b"<html>log in first</html>"]))
    stage.end(90)
    equal(stage.messages(), [])
    equal(stage.stop_reason(), "retries_exhausted")


@case
def previews(stage):
    """Deltas joined are the beginning of the message that comes under the same id; what was cut off leaves no trace in it."""
    gate = threading.Event()
    stage.fake.script(stage.mark, [[stream(text("never said"), cut=4), stream(thinking(), text("one two three", pieces=6), hold=(3, gate))]])
    agent = stage.brain.agent("previews")
    stage.id = stage.brain.session(agent["id"], stage.environment)["id"]
    with stage.brain.stream(stage.id, deltas=["agent.message", "agent.thinking"]) as watched, stage.brain.stream(stage.id) as other:
        stage.brain.say(stage.id, stage.mark)
        gate.set()
        stage.finish("one two three", 2)
        watched.wait_type("session.status_idle")
        other.wait_type("session.status_idle")
        assert not [e for e in other.events if e["type"] in ("event_start", "event_delta")], "only for those who asked"
        message = next(e for e in watched.events if e["type"] == "agent.message")
        started = [e["event"]["id"] for e in watched.events if e["type"] == "event_start" and e["event"]["type"] == "agent.message"]
        assert len(started) == len(set(started)) and message["id"] in started, (started, message["id"])
        joined = "".join(e["delta"]["content"]["text"] for e in watched.events if e["type"] == "event_delta" and e["event_id"] == message["id"])
        assert joined and "one two three".startswith(joined), joined
        places = [e.get("event_id") or e.get("event", {}).get("id") or e.get("id") for e in watched.events]
        assert max(i for i, p in enumerate(places) if p == message["id"]) == watched.events.index(message), "the whole event is the last of its id"
        stored = [e for e in watched.events if e["type"] not in ("event_start", "event_delta")]
        equal([e["id"] for e in stored], [e["id"] for e in stage.brain.events(stage.id)], "stream and history")


@case
def old_results_are_trimmed(stage):
    """A conversation longer than the context goes on; what is cut is old."""
    rounds = 10
    stage.start(*[stream(tool("bash", {"command": f"round {n}"})) for n in range(rounds)], stream(text("done")))
    for n in range(rounds):
        call = eventually(lambda: (c := stage.open()[0])["input"]["command"] == f"round {n}" and c, 20, f"round {n}")
        stage.answer(call, f"<{n}>" + "word " * 19_000)
    stage.finish("done", rounds + 1)
    last = stage.asked()[-1]
    assert len(last.raw) < 800_000, f"{len(last.raw)} bytes for a model of 200,000 tokens"
    assert f"<{rounds - 1}>word" in last.raw.decode(), "the newest result is whole"
    assert "<0>word word word word word word word word word word word word" not in last.raw.decode() or len(last.raw) < 600_000


@case
def too_long_says_the_model(stage):
    """400 prompt is too long: ends in words, and the next message is not stuck either."""
    stage.start([status(400, message="prompt is too long: 210000 tokens > 200000 maximum"), stream(text("fits"))])
    stage.end(30)
    assert len(stage.asked()) <= 3


def test_cases(tmp):
    play_all(tmp, CASES)


run(test_cases)
