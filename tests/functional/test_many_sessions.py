"""Fifty sessions at once all finish, each in a box of its own, nothing mixed up; and they go on where they were.
labels: privileged exclusive soak timeout=300
"""
import concurrent.futures
import os
import secrets
import time
from datetime import datetime

from fake_messages import FakeMessages, results_of, stream, text, tool
from harness import SYSTEM, Glovebox, note, run
from sessions import Brain, lawful, plain
from support import Checks, api_of, equal, percentile

NUMBER = 50 * int(os.environ.get("GLOVEBOX_SOAK", "1"))


def script(token):
    """What the model of one session does: writes its word, sets it in the shell, and looks at both."""
    first = [
        stream(tool("write", {"file_path": "token.txt", "content": token + "\n"}), tool("bash", {"command": f"TOKEN={token}; cd /tmp; mkdir -p d-{token}; cd d-{token}"})),
        stream(tool("read", {"file_path": "token.txt"})),
        stream(tool("bash", {"command": "echo $TOKEN $PWD; ls /workspace /tmp | tr '\\n' ' '"})),
    ]

    def answer(asked):
        if "and again" in asked.raw.decode():
            return stream(text("second: " + results_of(asked)[0][1])) if results_of(asked) else stream(tool("bash", {"command": "echo $TOKEN $(cat /workspace/token.txt) $PWD"}))
        return first[asked.turn] if asked.turn < len(first) else stream(text("first: " + results_of(asked)[-1][1]))
    return answer


def test_many(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment={"GLOVEBOX_ORCHESTRATOR_MAX_SESSIONS": "100"}) as gb, \
            concurrent.futures.ThreadPoolExecutor(32) as pool:
        brain = Brain(gb.brain.url, gb.brain_key)
        environment, agent = brain.status()["default_environment_id"], brain.agent("one of many")["id"]
        tokens = {}
        began = time.monotonic()

        def start(_):
            token = "word" + secrets.token_hex(8)
            fake.script("case:" + token, script(token))
            session = brain.session(agent, environment, initial_events=[{"type": "user.message", "content": [{"type": "text", "text": f"case:{token}"}]}])["id"]
            tokens[session] = token
            return session

        sessions = list(pool.map(start, range(NUMBER)))
        with check(f"{NUMBER} sessions all finish"):
            histories = dict(zip(sessions, pool.map(lambda s: brain.settled(s, 200), sessions)))
            note(f"  {time.monotonic() - began:.1f} s")
        with check("each saw its own word, its own shell and its own files, and nothing of another"):
            for session, events in histories.items():
                lawful(events)
                token = tokens[session]
                others = [other for other in tokens.values() if other != token and other in str(events)]
                equal(others, [], "words of other sessions")
                results = [plain(e["content"]) for e in events if e["type"] == "user.tool_result"]
                equal(len(results), 4)
                assert token in results[2] and results[3].split()[:2] == [token, f"/tmp/d-{token}"], results
                said = plain([e for e in events if e["type"] == "agent.message"][-1]["content"])
                assert said.startswith(f"first: {token}"), said
        with check("each has a box, found by its name"):
            boxes = [b for b in api_of(gb).alive() if b["name"].startswith("agent-")]
            equal((len(boxes), len({b["name"] for b in boxes})), (NUMBER, NUMBER))
        with check("all go on at once, in the same boxes with the same shells"):
            list(pool.map(lambda s: brain.say(s, "and again"), sessions))
            for session in sessions:
                said = plain([e for e in brain.settled(session, 120) if e["type"] == "agent.message"][-1]["content"])
                token = tokens[session]
                equal(said.strip(), f"second: {token} {token} /tmp/d-{token}")
            equal(len([b for b in api_of(gb).alive() if b["name"].startswith("agent-")]), NUMBER)
        with check("half are deleted: their boxes' sessions are gone from the list, the others are untouched"):
            for session in sessions[::2]:
                brain.delete(f"/v1/sessions/{session}").expect(200)
            left = brain.get("/v1/sessions?limit=100").expect(200).json["data"]
            equal({s["id"] for s in left}, set(sessions[1::2]))
        waits = []
        for session, events in histories.items():
            when = {e["type"]: datetime.fromisoformat(e["processed_at"].replace("Z", "+00:00")) for e in reversed(events) if e["processed_at"]}
            waits.append((when["user.tool_result"] - when["user.message"]).total_seconds())
        note(f"  first result after {percentile(waits, 0.5):.2f} s (median), {percentile(waits, 0.99):.2f} s (p99)")
        check.done()


run(test_many)
