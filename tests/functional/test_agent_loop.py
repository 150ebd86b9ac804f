"""Whatever a model says and whoever moves next, a session gets lawful events, the model is asked only what a Messages API takes, and
nothing is asked twice.
labels: privileged timeout=300
"""
import json
import threading

from fake_messages import block, calls_of, raw_stream, results_of, stream, text, thinking, tool
from fake_messages import event as frame
from fake_messages import frames
from harness import run
from loop_stage import play_all
from sessions import TOOLSET, brief, kinds, plain, result
from sessions import text as words
from support import equal, eventually

ASK = {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}
CUSTOM = {"type": "custom", "name": "weather", "description": "Tells the weather.",
          "input_schema": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}}
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


# --- what models say --------------------------------------------------------------------------------------------------

@case
def text_only(stage):
    events = stage.start(stream(text("Hello, wörld ✓"))).finish("Hello, wörld ✓", 1)
    equal(kinds(events), ["user.message", "session.status_running", "session.thread_status_running", "span.model_request_start", "agent.message",
                          "span.model_request_end", "session.usage", "session.thread_status_idle", "session.status_idle"])
    assert all(e["processed_at"] for e in events), brief(events)
    span = next(e for e in events if e["type"] == "span.model_request_end")
    equal((span["is_error"] or False, span["model_usage"]["input_tokens"], span["model_usage"]["output_tokens"],
           span["model_usage"]["cache_read_input_tokens"], span["model_usage"]["cache_creation_input_tokens"]), (False, 11, 42, 7, 5))
    usage = stage.brain.show(stage.id)["usage"]
    equal((usage["input_tokens"], usage["output_tokens"], usage["cache_read_input_tokens"]), (11, 42, 7))


@case
def several_text_blocks(stage):
    events = stage.start(stream(text("one"), text("two"))).finish(requests=1)
    equal([[b["text"] for b in e["content"]] for e in events if e["type"] == "agent.message"], [["one", "two"]])


@case
def thinking_is_a_mark_and_goes_back_unchanged(stage):
    stage.start(stream(thinking("deep", "U0lH"), text("so"), tool("bash", {"command": "true"})), stream(text("end")))
    stage.answer(stage.open()[0])
    events = stage.finish("end", 2)
    mark = next(e for e in events if e["type"] == "agent.thinking")
    equal(set(mark), {"id", "type", "processed_at"}, "members of agent.thinking")
    assert "deep" not in json.dumps(events)
    sent = stage.asked()[1].body["messages"][1]["content"]
    equal(sent[0], {"type": "thinking", "thinking": "deep", "signature": "U0lH"}, "the thinking block")
    equal([part["type"] for part in sent], ["thinking", "text", "tool_use"])


@case
def one_call(stage):
    stage.start(stream(text("I look."), tool("bash", {"command": "ls"}, id="toolu_own")), stream(text("Two files.")))
    call = stage.open()[0]
    equal((call["name"], call["input"], call.get("evaluated_permission", "allow")), ("bash", {"command": "ls"}, "allow"))
    stage.answer(call, "a\nb")
    events = stage.finish("Two files.", 2)
    equal(kinds(events, "session.usage", "session.thread_status_idle", "session.thread_status_running"),
          ["user.message", "session.status_running", "span.model_request_start", "agent.message", "agent.tool_use", "span.model_request_end",
           "session.status_idle", "user.tool_result", "session.status_running", "span.model_request_start", "agent.message",
           "span.model_request_end", "session.status_idle"])
    second = stage.asked()[1]
    equal(results_of(second), [(call["id"], "a\nb", False)], "the result goes under our id")
    equal([c["id"] for c in calls_of(second.body["messages"][1])], [call["id"]], "the call too")


@case
def three_calls_answered_backwards(stage):
    stage.start(stream(*[tool("bash", {"command": f"echo {n}"}) for n in "abc"]), stream(text("abc")))
    calls = stage.open(3)
    equal([c["input"]["command"] for c in calls], ["echo a", "echo b", "echo c"])
    stage.answer(calls[2], "C")
    rest = stage.open(2)
    equal([c["id"] for c in rest], [calls[0]["id"], calls[1]["id"]], "what is still open")
    stage.answer(calls[0], "A")
    stage.open(1)
    stage.asked(1)
    stage.answer(calls[1], "B")
    stage.finish("abc", 2)
    equal([r[1] for r in results_of(stage.asked()[1])], ["A", "B", "C"], "in the order of the calls")


@case
def results_in_one_post(stage):
    stage.start(stream(*[tool("bash", {"command": f"echo {n}"}) for n in "ab"]), stream(text("both")))
    calls = stage.open(2)
    stored = stage.brain.send(stage.id, result(calls[1], "B"), result(calls[0], "A"))
    equal([e["tool_use_id"] for e in stored], [calls[1]["id"], calls[0]["id"]], "stored in the order sent")
    stage.finish("both", 2)
    equal([r[1] for r in results_of(stage.asked()[1])], ["A", "B"])


@case
def input_in_many_pieces(stage):
    given = {"command": "echo 'ä✓🙂' \"\\n\" \u2028", "timeout_ms": 5, "deep": [{"a": [1, 2.5, None, True]}]}
    stage.start(stream(tool("bash", given, pieces=200), piece=7), stream(text("ok")))
    equal(stage.open()[0]["input"], given)
    stage.answer(stage.open()[0])
    stage.finish("ok", 2)
    equal(calls_of(stage.asked()[1].body["messages"][1])[0]["input"], given, "sent back as it was")


@case
def call_without_input(stage):
    stage.start(stream(tool("bash", {})), stream(text("ok")))
    call = stage.open()[0]
    equal(call["input"], {})
    stage.answer(call, "bash: command is required", is_error=True)
    stage.finish("ok", 2)
    equal(results_of(stage.asked()[1]), [(call["id"], "bash: command is required", True)], "is_error reaches the model")


@case
def twelve_rounds(stage):
    turns = [stream(tool("bash", {"command": f"echo {n}"})) for n in range(12)] + [stream(text("twelve"))]
    stage.start(*turns)
    for n in range(12):
        call = eventually(lambda: (c := stage.open()[0])["input"]["command"] == f"echo {n}" and c, 20, f"call {n}")
        stage.answer(call, str(n))
    stage.finish("twelve", 13)
    requests = stage.asked()
    for earlier, later in zip(requests, requests[1:]):
        strip = json.JSONDecoder(object_pairs_hook=lambda pairs: {k: v for k, v in pairs if k != "cache_control"}).decode
        a, b = strip(earlier.raw.decode())["messages"], strip(later.raw.decode())["messages"]
        equal(b[:len(a)], a, "a longer conversation begins as the shorter did, or no cache is ever hit")


@case
def empty_results(stage):
    stage.start(stream(tool("bash", {"command": "a"}), tool("bash", {"command": "b"}), tool("bash", {"command": "c"})), stream(text("ok")))
    calls = stage.open(3)
    stage.answer(calls[0], [])
    stage.answer(calls[1], words(""))
    stage.brain.send(stage.id, {"type": "user.tool_result", "tool_use_id": calls[2]["id"]})
    stage.finish("ok", 2)


@case
def long_result_is_shortened_for_the_model(stage):
    stage.start(stream(tool("bash", {"command": "big"})), stream(text("ok")))
    stage.answer(stage.open()[0], "HEAD" + "x" * 400_000 + "TAIL")
    events = stage.finish("ok", 2)
    stored = next(e for e in events if e["type"] == "user.tool_result")
    equal(len(plain(stored["content"])), 400_008, "kept whole for readers")
    seen = results_of(stage.asked()[1])[0][1]
    assert seen.startswith("HEAD") and seen.rstrip().endswith("TAIL") and len(seen) < 150_000, (len(seen), seen[:60], seen[-60:])


@case
def blocks_of_a_result(stage):
    stage.start(stream(tool("read", {"file_path": "x.png"})), stream(text("ok")))
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    stage.answer(stage.open()[0], [{"type": "text", "text": "look"}, image])
    stage.finish("ok", 2)
    sent = stage.asked()[1].body["messages"][-1]["content"][0]["content"]
    equal([{k: v for k, v in b.items() if k != "cache_control"} for b in sent], [{"type": "text", "text": "look"}, image])


@case
def empty_answer(stage):
    stage.start([stream(), stream(text("now"))])
    stage.finish(reason="end_turn", requests=1)
    equal(stage.messages(), [])
    stage.brain.say(stage.id, "and now?")
    stage.finish("now", 2)


@case
def blank_text_beside_a_call(stage):
    stage.start(stream(text(""), tool("bash", {"command": "true"})), stream(text("ok")))
    stage.answer(stage.open()[0])
    stage.finish("ok", 2)


@case
def huge_answer(stage):
    big = "0123456789abcdef" * 130_000
    stage.start(stream(text(big, pieces=400))).finish(big, 1)


@case
def refusal(stage):
    details = {"type": "refusal", "category": "cyber", "explanation": "no"}
    stage.start([stream(text("I can't"), stop="refusal", stop_details=details), stream(text("gladly"))], stream(text("gladly")))
    stage.finish(requests=1, reason="refusal")
    equal((stage.brain.last(stage.id)["stop_details"] or {}).get("type"), "refusal")
    stage.brain.say(stage.id, "something harmless")
    eventually(lambda: len(stage.asked()) == 2, 10, "the next message is answered")
    stage.end()


@case
def max_tokens(stage):
    stage.start(stream(text("half a sen"), stop="max_tokens"), stream(text("tence")))
    stage.finish(reason=None)
    assert stage.messages()[0] == "half a sen", stage.messages()
    assert len(stage.asked()) <= 2


@case
def max_tokens_inside_a_call(stage):
    stage.start(stream(text("I write"), tool("write", raw='{"file_path": "x", "content": "hal'), stop="max_tokens"), stream(text("shorter")))
    events = stage.finish(reason=None)
    run_it = [e for e in events if e["type"] == "agent.tool_use" and e.get("evaluated_permission", "allow") != "deny"]
    assert not run_it, "half a call must not be run\n" + brief(events)


@case
def unknown_blocks(stage):
    stage.start(stream(block({"type": "hologram", "depth": 3}, {"type": "hologram_delta", "x": 1}), text("still here")))
    stage.finish("still here", 1)


@case
def unknown_events_and_deltas(stage):
    good = frames(text("fine"))
    odd = [frame("weather_report", temperature=3), b": a comment\n\n", b"event: content_block_delta\ndata: "
           b'{"type":"content_block_delta","index":0,"delta":{"type":"smell_delta","smell":"x"}}\n\n', b"id: 7\nretry: 10\n\n"]
    stage.start(raw_stream(*good[:3], *odd, *good[3:])).finish("fine", 1)


@case
def an_unregistered_tool(stage):
    """The model calls what it was not given: it is told so, nobody waits for ever."""
    stage.start(stream(tool("teleport", {"to": "moon"})), stream(text("sorry")))
    stage.finish("sorry", 2)
    equal([is_error for _, _, is_error in results_of(stage.asked()[1])], [True])


@case
def a_disabled_tool(stage):
    tools = [{"type": "agent_toolset_20260401", "configs": [{"name": "bash", "enabled": False}]}]
    stage.start(stream(tool("bash", {"command": "ls"})), stream(text("sorry")), tools=tools)
    stage.finish("sorry", 2)
    assert "bash" not in [t["name"] for t in stage.asked()[0].body["tools"]]


@case
def ids_twice_from_the_model(stage):
    stage.start(stream(tool("bash", {"command": "a"}, id="toolu_x"), tool("bash", {"command": "b"}, id="toolu_x")), stream(text("ok")))
    for call in stage.open(2):
        stage.answer(call, call["input"]["command"])
    stage.finish("ok", 2)
    equal([r[1] for r in results_of(stage.asked()[1])], ["a", "b"])


@case
def what_the_agent_says_is_asked(stage):
    tools = [{"type": "agent_toolset_20260401", "default_config": {"enabled": False}, "configs": [{"name": "bash", "enabled": True}, {"name": "glob", "enabled": True}]}, CUSTOM]
    stage.start(stream(text("ok")), tools=tools, system="You are terse.", model="claude-other-9", say="hello")
    stage.finish("ok", 1)
    body = stage.asked()[0].body
    equal(body["model"], "claude-other-9")
    assert "You are terse." in json.dumps(body["system"])
    given = {t["name"]: t for t in body["tools"]}
    equal(sorted(given), ["bash", "glob", "weather"])
    equal(given["weather"]["input_schema"]["properties"], CUSTOM["input_schema"]["properties"])
    equal(given["weather"]["description"], CUSTOM["description"])
    assert given["bash"]["input_schema"]["type"] == "object" and given["bash"]["description"], given["bash"]


# --- who moves next ---------------------------------------------------------------------------------------------------

@case
def a_second_result(stage):
    stage.start(stream(tool("bash", {"command": "a"})), stream(text("ok")))
    call = stage.open()[0]
    first = stage.answer(call, "first")
    stage.end()
    again = stage.answer(call, "second")
    equal((again[0]["id"], plain(again[0]["content"])), (first[0]["id"], "first"), "the stored answer")
    stage.finish("ok", 2)


@case
def a_message_while_it_runs(stage):
    gate = threading.Event()
    stage.start(stream(text("first"), hold=(2, gate)), stream(text("second")))
    eventually(lambda: stage.asked(), 10, "the request")
    waiting = stage.brain.say(stage.id, "and another thing")
    equal(waiting["processed_at"], None, "processed_at of what waits")
    gate.set()
    events = stage.finish("second", 2)
    equal(stage.messages(), ["first", "second"])
    assert next(e for e in events if e["id"] == waiting["id"])["processed_at"], "applied by now"
    assert "and another thing" in json.dumps(stage.asked()[1].body["messages"][-1])


@case
def a_message_while_calls_are_open(stage):
    stage.start(stream(tool("bash", {"command": "a"})), stream(text("one")), stream(text("two")))
    call = stage.open()[0]
    waiting = stage.brain.say(stage.id, "hurry up")
    equal(waiting["processed_at"], None)
    stage.asked(1)
    stage.answer(call, "A")
    stage.finish()
    requests = stage.asked()
    assert "hurry up" in json.dumps(requests[-1].body["messages"]), requests[-1].body
    equal(sum(json.dumps(requests[-1].body).count(w) for w in ("hurry up",)), 1, "once")


@case
def interrupt_while_the_model_speaks(stage):
    gate = threading.Event()
    stage.start([stream(text("never to be seen"), hold=(3, gate)), stream(text("fresh"))])
    asked = eventually(lambda: stage.asked(), 10, "the request")[0]
    stage.brain.send(stage.id, {"type": "user.interrupt"})
    events = stage.finish(requests=1)
    assert eventually(lambda: asked.aborted, 10, "the brain hung up")
    gate.set()
    assert next(e for e in events if e["type"] == "user.interrupt")["processed_at"]
    stage.brain.say(stage.id, "go on")
    stage.finish("fresh", 2)


@case
def interrupt_while_calls_are_open(stage):
    stage.start(stream(tool("bash", {"command": "a"}), tool("bash", {"command": "b"})), stream(text("again")))
    calls = stage.open(2)
    stage.answer(calls[0], "A")
    stage.brain.send(stage.id, {"type": "user.interrupt"})
    events = stage.finish(requests=1)
    closed = [e for e in events if e["type"] == "user.tool_result"]
    equal([(e["tool_use_id"], e["is_error"]) for e in closed], [(calls[0]["id"], False), (calls[1]["id"], True)])
    late = stage.answer(calls[1], "too late")
    equal(late[0]["id"], closed[1]["id"], "the late result is dropped")
    equal(kinds(stage.brain.events(stage.id)), kinds(events), "and appends nothing")
    stage.brain.say(stage.id, "go on")
    stage.finish("again", 2)
    equal([(i, e) for i, _, e in results_of(stage.asked()[1])], [(calls[0]["id"], False), (calls[1]["id"], True)])


@case
def interrupt_of_an_idle_session(stage):
    stage.start(stream(text("one")), stream(text("two")))
    before = stage.finish("one", 1)
    stage.brain.send(stage.id, {"type": "user.interrupt"})
    after = stage.brain.events(stage.id)
    equal(stage.brain.show(stage.id)["status"], "idle")
    # A worker leaves some time after status_idle, unless another event follows it: then it stays for ever.
    assert after[-1]["type"] == "session.status_idle", brief(after[len(before) - 3:])
    stage.brain.say(stage.id, "more")
    stage.finish("two", 2)


@case
def ask_and_allow(stage):
    stage.start(stream(tool("bash", {"command": "a"})), stream(text("ok")), tools=[ASK])
    call = stage.open()[0]
    equal((call["evaluated_permission"], call["evaluation"]), ("ask", {"type": "always_ask"}))
    early = stage.brain.post(f"/v1/sessions/{stage.id}/events", {"events": [result(call, "too early")]})
    early.refused(400)
    stage.brain.send(stage.id, {"type": "user.tool_confirmation", "tool_use_id": call["id"], "result": "allow"})
    stage.asked(1)
    stage.answer(call, "A")
    stage.finish("ok", 2)
    equal(results_of(stage.asked()[1]), [(call["id"], "A", False)])


@case
def ask_and_deny(stage):
    stage.start(stream(tool("bash", {"command": "rm -rf /"})), stream(text("understood")), tools=[ASK])
    call = stage.open()[0]
    stage.brain.send(stage.id, {"type": "user.tool_confirmation", "tool_use_id": call["id"], "result": "deny", "deny_message": "not on my watch"})
    events = stage.finish("understood", 2)
    (seen,) = results_of(stage.asked()[1])
    assert seen[0] == call["id"] and "not on my watch" in seen[1] and seen[2], seen
    closing = next(e for e in events if e["type"] == "agent.tool_result")
    equal((closing["tool_use_id"], closing["is_error"]), (call["id"], True))
    stage.brain.post(f"/v1/sessions/{stage.id}/events", {"events": [result(call, "anyway")]}).refused(400)
    again = {"type": "user.tool_confirmation", "tool_use_id": call["id"], "result": "allow"}
    stage.brain.post(f"/v1/sessions/{stage.id}/events", {"events": [again]}).refused(400)


@case
def one_allowed_one_denied(stage):
    stage.start(stream(tool("bash", {"command": "a"}), tool("bash", {"command": "b"})), stream(text("ok")), tools=[ASK])
    one, two = stage.open(2)
    stage.brain.send(stage.id, {"type": "user.tool_confirmation", "tool_use_id": two["id"], "result": "deny"},
                     {"type": "user.tool_confirmation", "tool_use_id": one["id"], "result": "allow"})
    stage.asked(1)
    stage.answer(one, "A")
    stage.finish("ok", 2)
    equal([(i, e) for i, _, e in results_of(stage.asked()[1])], [(one["id"], False), (two["id"], True)])


@case
def interrupt_while_held(stage):
    stage.start(stream(tool("bash", {"command": "a"})), stream(text("ok")), tools=[ASK])
    call = stage.open()[0]
    stage.brain.send(stage.id, {"type": "user.interrupt"})
    stage.finish(requests=1)
    late = {"type": "user.tool_confirmation", "tool_use_id": call["id"], "result": "allow"}
    stage.brain.post(f"/v1/sessions/{stage.id}/events", {"events": [late]}).refused(400)
    stage.brain.say(stage.id, "go on")
    stage.finish("ok", 2)


@case
def auto_without_a_classifier_asks(stage):
    tools = [{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "auto"}}}]
    stage.start(stream(tool("bash", {"command": "a"})), stream(text("ok")), tools=tools)
    call = stage.open()[0]
    equal((call["evaluated_permission"], call["evaluation"]["type"], call["evaluation"]["evaluated_permission"]["type"]), ("ask", "auto", "ask"))
    stage.brain.send(stage.id, {"type": "user.tool_confirmation", "tool_use_id": call["id"], "result": "deny"})
    stage.finish("ok", 2)


@case
def custom_tool(stage):
    stage.start(stream(tool("weather", {"town": "Bern"}), tool("bash", {"command": "date"})), stream(text("sunny")), tools=[TOOLSET, CUSTOM])
    custom, plain_call = stage.open(2)
    equal((custom["type"], custom["name"], custom["input"], plain_call["type"]), ("agent.custom_tool_use", "weather", {"town": "Bern"}, "agent.tool_use"))
    wrong = {"type": "user.tool_result", "tool_use_id": custom["id"], "content": words("x")}
    stage.brain.post(f"/v1/sessions/{stage.id}/events", {"events": [wrong]}).refused(400)
    stage.answer(custom, "22 degrees")
    stage.answer(plain_call, "today")
    stage.finish("sunny", 2)
    equal([r[1] for r in results_of(stage.asked()[1])], ["22 degrees", "today"])


def test_cases(tmp):
    play_all(tmp, CASES)


run(test_cases)
