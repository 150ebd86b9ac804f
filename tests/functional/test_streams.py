"""Streams: every reader sees every event once and in the order of the history; one who does not read holds up nobody.
labels: privileged timeout=180
"""
import concurrent.futures
import json
import socket
import time

from fake_messages import FakeMessages, stream, text, thinking, tool
from harness import Glovebox, run
from sessions import Brain, lawful, result, user
from support import Checks, equal, eventually, rss_kb


def long_turn(asked):
    """Forty calls, one after the other."""
    return stream(tool("bash", {"command": f"echo {asked.turn}"})) if asked.turn < 40 else stream(text("forty"))


def answer_all(brain, session, size=10, calls=40):
    for number in range(calls):
        call = eventually(lambda: (c := brain.open_calls(session)[0])["input"]["command"] == f"echo {number}" and c, 30, f"call {number}")
        brain.send(session, result(call, "x" * size))


def test_streams(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key)) as gb, concurrent.futures.ThreadPoolExecutor(8) as pool:
        brain = Brain(gb.brain.url, gb.brain_key)
        agent, place = brain.agent("streams")["id"], brain.environment("streams")["id"]
        fake.script("case:long", long_turn)
        fake.script("case:hello", [stream(thinking(), text("hello"))])

        def session():
            return brain.session(agent, place)["id"]

        quiet = session()
        waiting = brain.stream(quiet)  # for its ping, while the rest goes on
        with check("the head comes at once, with nothing to tell"):
            began = time.monotonic()
            with brain.stream(session()) as one:
                equal(one.headers["content-type"].split(";")[0], "text/event-stream")
            assert time.monotonic() - began < 5
        with check("thirty readers of one session, some of its thread: the same events in the same order, as in the history"):
            busy = session()
            (thread,) = brain.get(f"/v1/sessions/{busy}/threads").expect(200).json["data"]
            equal((thread["type"], thread["session_id"], thread["parent_thread_id"]), ("session_thread", busy, None))
            readers = [brain.stream(busy) for _ in range(25)] + [brain.stream(busy, path=f"threads/{thread['id']}/stream") for _ in range(5)]
            brain.say(busy, "case:long")
            answer_all(brain, busy)
            history = lawful(brain.settled(busy))
            for reader in readers:
                reader.wait(lambda events: len(events) >= len(history), 20, "all events")
                equal([e["id"] for e in reader.events], [e["id"] for e in history])
                equal(reader.names - {"ping"}, {"message"}, "names of the frames")
                reader.__exit__()
            listed = brain.get(f"/v1/sessions/{busy}/threads/{thread['id']}/events?limit=1000").expect(200).json["data"]
            equal([e["id"] for e in listed], [e["id"] for e in history], "the thread's own history")
            equal(brain.get(f"/v1/sessions/{busy}/threads/{thread['id']}").expect(200).json["status"], "idle")
        with check("who opens later gets what comes later; Last-Event-ID changes nothing"):
            one = session()
            brain.say(one, "case:hello")
            before = brain.settled(one)
            late = brain.stream(one)
            fake.script("case:hello", lambda asked: stream(text("hello again")))
            brain.say(one, "more")
            after = brain.settled(one)
            late.wait_type("session.status_idle")
            late.__exit__()
            equal([e["id"] for e in late.events], [e["id"] for e in after[len(before):]])
        with check("the events are the same in both, member by member"):
            listed = {e["id"]: e for e in brain.events(one)}
            for event in late.events:
                stored = dict(listed[event["id"]])
                if event["type"].startswith("user."):  # it may have been told while it still waited
                    stored["processed_at"] = event["processed_at"]
                equal(event, stored)
        with check("a reader that does not read: the session is as quick, the brain does not grow, and reading again loses nothing"):
            slow = session()
            stuck = []
            for _ in range(10):
                connection = socket.create_connection(brain.address)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                request = f"GET /v1/sessions/{slow}/events/stream HTTP/1.1\r\nHost: {brain.host}\r\nAuthorization: Bearer {brain.key}\r\n\r\n"
                connection.sendall(request.encode())
                stuck.append(connection)
            before = rss_kb(gb.pid("brain"))
            brain.say(slow, "case:long")
            began = time.monotonic()
            answer_all(brain, slow, size=1_000_000)
            history = brain.settled(slow, 60)
            note_time = time.monotonic() - began
            grown = (rss_kb(gb.pid("brain")) - before) / 1024
            print(f"    40 results of 1 MB in {note_time:.1f} s, {grown:.0f} MB more")
            assert grown < 250, f"{grown:.0f} MB more: 400 MB are in nobody's hands"
            got = b""
            stuck[0].settimeout(10)
            while len(got) < 5_000_000:
                try:
                    piece = stuck[0].recv(1 << 20)
                except socket.timeout:
                    break
                if not piece:
                    break
                got += piece
            assert got.count(b"event: message") >= 1
            for connection in stuck:
                connection.close()
            equal([e["id"] for e in brain.events(slow)], [e["id"] for e in lawful(history)])
        with check("readers that hang up are forgotten"):
            for _ in range(100):
                brain.stream(quiet).__exit__()
            eventually(lambda: brain.status()["streams"] <= 3, 30, "streams are counted down")
        with check("a thousand messages to a session that waits: in line, in order, each told once"):
            fake.script("case:wait", lambda asked: stream(text("all")) if asked.turn else stream(tool("bash", {"command": "true"})))
            held = session()
            brain.say(held, "case:wait")
            call = brain.open_calls(held)[0]
            with brain.stream(held) as reader:
                for batch in range(20):
                    brain.send(held, *[user(f"message {batch * 50 + n}") for n in range(50)])
                reader.wait(lambda events: len([e for e in events if e["type"] == "user.message"]) == 1000, 30, "all of them")
                brain.send(held, result(call))
                brain.settled(held, 60)
            sent = json.dumps(fake.of("case:wait")[-1].body["messages"])
            equal([sent.count(f'"message {n}"') for n in (0, 500, 999)], [1, 1, 1])
        with check("a ping in a quiet stream within 20 s"):
            eventually(lambda: waiting.pings >= 1, 20, "a ping")
            equal(waiting.events, [])
        with check("a brain that is told to stop ends its streams in order"):
            gb.down()
            waiting.wait_end(15)
            assert waiting.error is None, waiting.error
            gb.start()
        check.done()


run(test_streams)
