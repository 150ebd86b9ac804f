"""The work queue's rules, over raw HTTP: an item has one holder at a time, the lease says who, and what was let go comes back.
labels: privileged timeout=300
"""
import base64
import concurrent.futures
import json
import re
import time

from harness import Glovebox, run
from sessions import Brain, Item, Worker, result
from support import Checks, equal, eventually

TTL = 10  # seconds of a lease where one is to lapse: the shortest there is
FIELDS = {"id", "type", "environment_id", "data", "state", "metadata", "secret", "created_at", "acknowledged_at", "started_at",
          "latest_heartbeat_at", "stop_requested_at", "stopped_at"}
PROMISES, BRIEF = {}, {}  # BRIEF: with leases of TTL seconds


def promise(words, table=PROMISES):
    def keep(function):
        table[words] = function
        return function
    return keep


class Place:
    """An environment of one promise, with a key and sessions whose calls nobody answers but the test."""

    def __init__(self, brain, agent, name):
        self.brain, self.agent = brain, agent
        self.id = brain.environment(name)["id"]
        self.key = brain.environment_key(self.id)["key"]
        self.base = f"/v1/environments/{self.id}/work"

    def worker(self, name="one", key=None):
        worker = Worker(self.brain, self.id, key or self.key, name)
        worker.admin = self.brain
        return worker

    def session(self, say="run `true`", **more):
        session = self.brain.session(self.agent, self.id, **more)["id"]
        if say:
            self.brain.say(session, say)
        return session

    def claimed(self, name="one", beaten=True):
        """(worker, item) of a session that has begun a turn."""
        self.session()
        worker = self.worker(name)
        item = worker.claim()
        if beaten:
            item.beat().expect(200)
        return worker, item

    def show(self, item):
        return self.brain.get(f"{self.base}/{item}").expect(200).json

    def stats(self):
        return self.brain.get(f"{self.base}/stats").expect(200).json


def lost(answer):
    """412 in the shape that workers walk."""
    answer.refused(412, "heartbeat_precondition_failed")
    current = answer.json["error"]["details"]["current_state"]
    equal((set(current) >= {"state", "last_heartbeat", "lease_extended", "ttl_seconds"}, current["lease_extended"]), (True, False), str(current))
    assert isinstance(current["ttl_seconds"], int) and current["ttl_seconds"] > 0, current
    return current


@promise("an empty queue answers at once: 200, JSON, null")
def empty(place):
    began = time.monotonic()
    answer = place.worker().poll(expect=False)
    equal((answer.status, answer.body.strip()), (200, b"null"))
    assert answer.headers["content-type"].startswith("application/json")
    assert time.monotonic() - began < 5


@promise("block_ms waits for an item, and no longer")
def blocking(place):
    worker = place.worker()
    began = time.monotonic()
    equal(worker.poll(block_ms=400), None)
    assert time.monotonic() - began >= 0.35, time.monotonic() - began
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for attempt in range(5):  # on a busy machine the item may come too late for one poll
            waiting = pool.submit(lambda: worker.poll(block_ms=999))
            session = session if attempt else place.session()
            item = waiting.result()
            if item:
                break
    equal((item or {}).get("data", {}).get("id"), session)


@promise("a session has an item once it has something to do, and only one")
def lazily(place):
    worker, session = place.worker(), place.session(say=None)
    time.sleep(0.3)
    equal((worker.poll(), place.stats()["depth"]), (None, 0))
    place.brain.say(session, "run `true`")
    place.brain.say(session, "run `false`")
    item = worker.claim(session=session)
    item.beat().expect(200)
    place.brain.say(session, "run `true`")
    equal(worker.poll(), None)
    other = place.brain.session(place.agent, place.id, initial_events=[{"type": "user.message", "content": [{"type": "text", "text": "run `true`"}]}])
    assert other["status"] == "running", other["status"]
    equal(worker.claim().session, other["id"])


@promise("the object has every field; the secret is in the answer to the poll alone")
def fields(place):
    session, worker = place.session(), place.worker()
    polled = eventually(lambda: worker.poll(), 10, "an item")
    equal(set(polled) >= FIELDS, True, str(FIELDS - set(polled)))
    equal((polled["type"], polled["environment_id"], polled["data"], polled["state"]), ("work", place.id, {"type": "session", "id": session}, "queued"))
    assert re.fullmatch(r"work_[0-9A-Za-z]+", polled["id"]) and re.fullmatch(r"[A-Za-z0-9_-]+", polled["secret"]), polled
    secret = json.loads(base64.urlsafe_b64decode(polled["secret"] + "=" * (-len(polled["secret"]) % 4)))
    assert secret["sessions_token"], secret
    acked = worker.ack(polled["id"]).expect(200).json
    equal((acked["state"], acked["secret"], bool(acked["acknowledged_at"]), acked["started_at"]), ("starting", None, True, None))
    shown = place.show(polled["id"])
    equal((set(shown) >= FIELDS, shown["secret"]), (True, None))
    listed = place.brain.get(place.base).expect(200).json
    equal([(w["id"], w["secret"]) for w in listed["data"]], [(polled["id"], None)])
    assert secret["sessions_token"] not in json.dumps(listed)
    changed = place.brain.post(f"{place.base}/{polled['id']}", {"metadata": {"a": "1", "b": "2"}}).expect(200).json
    equal(changed["metadata"], {"a": "1", "b": "2"})
    equal(place.brain.post(f"{place.base}/{polled['id']}", {"metadata": {"a": None}}).expect(200).json["metadata"], {"b": "2"})


@promise("twenty pollers at once: each of eight items has one winner")
def winners(place):
    sessions = {place.session() for _ in range(8)}
    eventually(lambda: place.stats()["depth"] == 8, 10, "eight in the queue")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        got = [item for item in pool.map(lambda n: place.worker(f"w{n}").poll(), range(20)) if item]
    equal((len(got), {item["data"]["id"] for item in got}), (8, sessions))
    stats = place.stats()
    equal((stats["type"], stats["depth"], stats["pending"], stats["workers_polling"]), ("work_queue_stats", 0, 8, 20))
    assert stats["oldest_queued_at"], stats


@promise("stats: nobody gave a name, nothing waits")
def stats(place):
    place.brain.with_key(place.key).get(f"{place.base}/poll").expect(200)
    got = place.stats()
    equal((got["depth"], got["pending"], got["oldest_queued_at"], got["workers_polling"]), (0, 0, None, None))
    equal(place.brain.with_key(place.key).get(f"{place.base}/stats").status in (200, 403), True)


@promise("what nobody acked comes back after the reclaim time, with another secret; what was acked does not")
def reclaim(place):
    place.session()
    worker, other = place.worker("one"), place.worker("two")
    first = eventually(lambda: worker.poll(), 10, "an item")
    equal(other.poll(reclaim_ms=5000), None)
    again = eventually(lambda: other.poll(reclaim_ms=300), 10, "the item again")
    equal((again["id"], again["data"]), (first["id"], first["data"]))
    assert again["secret"] != first["secret"]
    other.ack(again["id"]).expect(200)
    time.sleep(0.4)
    equal(worker.poll(reclaim_ms=300), None)
    worker.ack(first["id"]).refused(409)


@promise("an ack whose answer was lost may be sent again; a stopped item has none")
def acks(place):
    place.session()
    worker = place.worker()
    item = eventually(lambda: worker.poll(), 10, "an item")
    name = {"Anthropic-Worker-ID": "one"}
    for _ in range(2):
        equal(worker.brain.post(f"{place.base}/{item['id']}/ack", headers=name).expect(200).json["state"], "starting")
    worker.brain.post(f"{place.base}/{item['id']}/stop", {"force": True}).expect(200)
    worker.ack(item["id"]).refused(409)


@promise("the first beat starts the item; each value is another, later one")
def beats(place):
    _, item = place.claimed(beaten=False)
    values = []
    for _ in range(4):
        beat = item.beat().expect(200).json
        equal((beat["type"], beat["lease_extended"], beat["state"], beat["ttl_seconds"]), ("work_heartbeat", True, "active", 300))
        values.append(beat["last_heartbeat"])
    assert values == sorted(set(values)) and all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", v) for v in values), values
    shown = place.show(item.id)
    equal((shown["state"], bool(shown["started_at"]), shown["latest_heartbeat_at"]), ("active", True, values[-1]))


@promise("NO_HEARTBEAT twice: 412 with the state; so does any value that was never given")
def claims(place):
    _, item = place.claimed()
    for wrong in ("NO_HEARTBEAT", "2020-01-01T00:00:00.000000Z", "nonsense", ""):
        current = lost(item.beat(wrong))
        equal((current["state"], current["last_heartbeat"]), ("active", item.beaten))
    item.beat().expect(200)
    equal(item.beat(False).expect(200).json["lease_extended"], True, "without a value: no condition")


@promise("the value before the last is taken too: an answer may have been lost")
def lost_answer(place):
    _, item = place.claimed()
    before = item.beaten
    current = item.beat().expect(200).json["last_heartbeat"]
    again = item.beat(before).expect(200).json
    equal((again["lease_extended"], again["state"]), (True, "active"))
    assert again["last_heartbeat"] >= current
    oldest = before
    item.beat().expect(200), item.beat().expect(200)
    lost(item.beat(oldest))


@promise("desired_ttl_seconds is held between 10 and 600")
def ttl(place):
    _, item = place.claimed()
    equal([item.beat(desired_ttl_seconds=n).expect(200).json["ttl_seconds"] for n in (1, 30, 100000)], [10, 30, 600])


@promise("stop: stopping, told at the next beat whatever its value; then by force; then 409")
def stopping(place):
    _, item = place.claimed()
    stopped = place.brain.post(item.path + "/stop", {"force": False}).expect(200).json
    equal((stopped["type"], stopped["state"], bool(stopped["stop_requested_at"]), stopped["stopped_at"]), ("work", "stopping", True, None))
    for value in (item.beaten, "nonsense", "NO_HEARTBEAT"):
        beat = item.beat(value).expect(200).json
        equal((beat["state"], beat["lease_extended"]), ("stopping", False))
    ended = item.stop(force=True).expect(200).json
    equal((ended["state"], bool(ended["stopped_at"])), ("stopped", True))
    item.stop(force=True).refused(409)
    place.brain.post(item.path + "/stop").refused(409)


@promise("force at once; a beat afterwards says stopped")
def forced(place):
    _, item = place.claimed()
    equal(place.brain.post(item.path + "/stop", {"force": True}).expect(200).json["state"], "stopped")
    answer = item.beat()
    if answer.status == 200:
        equal((answer.json["state"], answer.json["lease_extended"]), ("stopped", False))
    else:
        assert answer.status in (401, 403), repr(answer)


@promise("an item nobody holds is stopped without ado; body {} or none")
def unheld(place):
    for body in (None, {}, {"force": False}):
        session = place.session()
        item = eventually(lambda: [w for w in place.brain.get(place.base + "?limit=100").expect(200).json["data"] if w["data"]["id"] == session], 10, "queued")[0]
        equal(place.brain.post(f"{place.base}/{item['id']}/stop", body).expect(200).json["state"], "stopped")


@promise("stopping that nobody heeds ends after one ttl", BRIEF)
def heedless(place):
    _, item = place.claimed()
    place.brain.post(item.path + "/stop", {"force": False}).expect(200)
    eventually(lambda: place.show(item.id)["state"] == "stopped", TTL + 8, "stopped by itself", 0.1)


@promise("a lease that lapsed: the same item again, as new; the token of before counts no more, and stops nothing", BRIEF)
def lapse(place):
    worker, old = place.claimed("one")
    call = place.brain.open_calls(old.session)[0]
    second = place.worker("two")
    polled = eventually(lambda: second.poll(), TTL + 10, "the item again", 0.1)
    equal((polled["id"], polled["state"], polled["acknowledged_at"], polled["started_at"], polled["latest_heartbeat_at"]), (old.id, "queued", None, None, None))
    second.ack(polled["id"]).expect(200)
    new = Item(second, polled)
    assert new.token != old.token
    new.beat().expect(200)
    answer = old.beat()
    assert answer.status in (401, 403, 412), repr(answer)
    answer = old.stop(force=True)
    assert answer.status in (401, 403, 409), repr(answer)
    equal(place.show(new.id)["state"], "active", "the item of the new holder")
    late = old.api.post(f"/v1/sessions/{old.session}/events", {"events": [result(call, "from the grave")]})
    assert late.status in (401, 403), repr(late)
    equal([e["id"] for e in new.api.get(f"/v1/sessions/{new.session}/events?limit=1000").expect(200).json["data"] if e["type"] == "agent.tool_use"], [call["id"]])
    new.api.post(f"/v1/sessions/{new.session}/events", {"events": [result(call, "alive")]}).expect(200)
    place.brain.settled(new.session)
    new.beat().expect(200)


@promise("acked and never beaten: back in the queue after a ttl", BRIEF)
def silent(place):
    worker, item = place.claimed(beaten=False)
    again = eventually(lambda: worker.poll(), TTL + 10, "the item again", 0.1)
    equal(again["id"], item.id)


@promise("beats alone keep it: no second worker gets it meanwhile", BRIEF)
def kept(place):
    _, item = place.claimed()
    other = place.worker("two")
    deadline = time.monotonic() + 2 * TTL
    while time.monotonic() < deadline:
        item.beat().expect(200)
        equal(other.poll(reclaim_ms=1), None)
        time.sleep(TTL / 8)
    equal(place.show(item.id)["state"], "active")


@promise("a token is good for its session and its item, and for nothing else")
def token(place):
    _, item = place.claimed()
    other = place.session()
    api, own = item.api, f"/v1/sessions/{item.session}"
    api.get(own).expect(200)
    api.get(own + "/events?limit=1000").expect(200)
    with api.stream(item.session) as stream:
        equal(stream.status, 200)
    for path in (f"/v1/sessions/{other}", f"/v1/sessions/{other}/events", f"/v1/sessions/{other}/events/stream"):
        api.get(path).refused(404)
    second = place.worker("two").claim()
    api.post(second.path + "/heartbeat?expected_last_heartbeat=NO_HEARTBEAT").refused(404)
    api.post(second.path + "/stop", {"force": True}).refused(404)
    for path in ("/v1/agents", "/v1/environments", "/v1/sessions", place.base + "/poll", f"/v1/environments/{place.id}", "/glovebox/v1/status"):
        api.get(path).refused(403)
    api.post("/v1/sessions", {"agent": place.agent, "environment_id": place.id}).refused(403)
    api.post(own + "/archive").refused(403)
    api.delete(own).refused(403)
    equal(api.get("/glovebox/v1/credential").expect(200).json["kind"], "session")


@promise("a key of an environment is good for its queue and its sessions, not for another's")
def environment_key(place):
    elsewhere = Place(place.brain, place.agent, "elsewhere")
    mine, theirs = place.session(), elsewhere.session()
    api = place.brain.with_key(place.key)
    api.get(f"/v1/sessions/{mine}").expect(200)
    api.get(f"/v1/sessions/{mine}/events").expect(200)
    api.get(place.base).expect(200)
    for path in (f"/v1/sessions/{theirs}", f"/v1/sessions/{theirs}/events", f"/v1/sessions/{theirs}/events/stream", elsewhere.base + "/poll", elsewhere.base):
        api.get(path).refused(404)
    for path in ("/v1/agents", "/v1/sessions", "/v1/environments", f"/glovebox/v1/environments/{place.id}/keys", "/glovebox/v1/status"):
        api.get(path).refused(403)
    api.post(f"/glovebox/v1/environments/{place.id}/keys", {}).refused(403)
    place.brain.get(place.base + "/poll").refused(403)
    known = api.get("/glovebox/v1/credential").expect(200).json
    equal((known["kind"], known["environment_id"]), ("environment", place.id))
    item = place.worker().claim(session=mine)
    item.beat(api=api).expect(200)
    item.stop(force=True, api=api).expect(200)


@promise("several keys are active; a revoked one is out at once, the tokens it got live on")
def revoked(place):
    second = place.brain.environment_key(place.id, name="second")
    base = f"/glovebox/v1/environments/{place.id}/keys"
    listed = place.brain.get(base).expect(200)
    assert second["key"] not in listed.text and place.key not in listed.text
    equal(len([k for k in listed.json["data"] if not k["revoked_at"]]), 2)
    equal((second["type"], second["name"], second["environment_id"], second["key"][:7]), ("environment_key", "second", place.id, "gb-env-"))
    place.session()
    item = place.worker(key=second["key"]).claim()
    item.beat().expect(200)
    place.brain.delete(f"{base}/{second['id']}").expect(200)
    place.worker(key=second["key"]).poll(expect=False).refused(401)
    item.beat().expect(200)
    equal(place.worker().poll(), None)
    place.brain.delete(f"{base}/{second['id']}").status in (200, 404)


@promise("a worker that gives up with a call open: another item, after a pause; once answered, none")
def gave_up(place):
    worker, item = place.claimed()
    call = place.brain.open_calls(item.session)[0]
    item.stop(force=True).expect(200)
    second = worker.claim(limit=20, session=item.session)
    assert second.id != item.id
    second.beat().expect(200)
    second.api.post(f"/v1/sessions/{item.session}/events", {"events": [result(call, "done")]}).expect(200)
    place.brain.settled(item.session)
    second.stop(force=True).expect(200)
    time.sleep(0.5)
    equal(worker.poll(), None)
    place.brain.say(item.session, "run `true`")
    assert worker.claim(session=item.session).id != second.id


@promise("archive: the stream says terminated, the item stops, nothing more is taken")
def archived(place):
    worker, item = place.claimed()
    place.brain.send(item.session, {"type": "user.interrupt"})
    place.brain.settled(item.session)
    with place.brain.stream(item.session) as stream:
        shown = place.brain.post(f"/v1/sessions/{item.session}/archive").expect(200).json
        equal((shown["status"], bool(shown["archived_at"])), ("terminated", True))
        stream.wait_type("session.status_terminated")
    equal(item.beat().expect(200).json["lease_extended"], False)
    equal(item.api.get(f"/v1/sessions/{item.session}").expect(200).json["status"], "terminated")
    place.brain.post(f"/v1/sessions/{item.session}/events", {"events": [{"type": "user.interrupt"}]}).refused(400)
    with place.brain.stream(item.session) as again:  # who comes late is told too
        again.wait_type("session.status_terminated", limit=10)
    item.stop(force=True).expect(200)
    time.sleep(0.3)
    equal(worker.poll(), None)


@promise("a running session refuses archive and delete; a deleted one is gone, and its stream ends")
def deleted(place):
    session = place.session(say="run `true`")
    place.brain.open_calls(session)
    with place.brain.stream(session) as stream:
        place.brain.send(session, {"type": "user.interrupt"})
        place.brain.settled(session)
        equal(place.brain.delete(f"/v1/sessions/{session}").expect(200).json["type"], "session_deleted")
        stream.wait_end()
        equal(stream.events[-1]["type"], "session.deleted")
    place.brain.get(f"/v1/sessions/{session}").refused(404)


@promise("pages of the list; a cursor goes with its order")
def pages(place):
    made = [place.session(say=None) for _ in range(7)]
    query = f"/v1/sessions?limit=3&agent_id={place.agent}"
    seen, page, turns = [], "", 0
    while page is not None and turns < 40:
        answer = place.brain.get(query + (f"&page={page}" if page else "")).expect(200).json
        seen += [s["id"] for s in answer["data"]]
        page, turns = answer["next_page"], turns + 1
    assert len(seen) == len(set(seen)) and set(made) <= set(seen), (len(seen), len(set(seen)))
    equal([s for s in seen if s in made], made[::-1], "newest first")
    first = place.brain.get(query).expect(200).json
    second = place.brain.get(f"{query}&page={first['next_page']}").expect(200).json
    assert second.get("prev_page"), "two ways"
    place.brain.get(f"{query}&order=asc&page={first['next_page']}").refused(400)
    session = place.session(say="run `true`")
    place.brain.open_calls(session)
    whole = place.brain.events(session)
    equal([e["id"] for e in place.brain.events(session, limit=2)], [e["id"] for e in whole], "small pages are the whole")
    equal([e["id"] for e in place.brain.events(session, order="desc")], [e["id"] for e in whole][::-1])
    equal({e["type"] for e in place.brain.events(session, **{"types[]": ["user.message", "agent.tool_use"]})}, {"user.message", "agent.tool_use"})
    equal(place.brain.events(session, **{"created_at[gt]": whole[-1]["processed_at"]}), [])


def test_promises(tmp):
    """Each in an environment of its own, several at a time."""
    check = Checks()
    with Glovebox(tmp, parts=["brain"]) as gb, Glovebox(tmp, name="brief", parts=["brain"], lease_ttl=TTL) as brief, \
            concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = {}
        for table, one in ((BRIEF, brief), (PROMISES, gb)):
            brain = Brain(one.brain.url, one.brain_key)
            agent = brain.agent("worker tests")["id"]
            for words, body in table.items():
                running[words] = pool.submit(lambda body, brain, agent, words: body(Place(brain, agent, words)), body, brain, agent, words)
        for words, future in running.items():
            with check(words):
                future.result()
        with check("leases, claims and keys outlive the brain"):
            place = Place(brain, agent, "outliving")
            worker, item = place.claimed()
            pending = place.session()
            polled = eventually(lambda: worker.poll(), 10, "an item")
            gb.kill_part("brain")
            item.beat().expect(200)
            worker.ack(polled["id"]).expect(200)
            equal(polled["data"]["id"], pending)
            lost(item.beat("NO_HEARTBEAT"))
        check.done()


run(test_promises)
