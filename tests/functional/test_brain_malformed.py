"""Malformed and wrong requests get a documented status and error; the brain goes on serving, and nothing is made by what was refused.
labels: privileged timeout=300
"""
import json
import re

from harness import Glovebox, run
from sessions import TOOLSET, Brain, Worker, user
from sessions import text as words
from support import Checks, equal, eventually, open_files, short

A, E, S = "/v1/agents", "/v1/environments", "/v1/sessions"
OK = {"name": "fine", "model": "claude-test-1"}
TOOL = {"type": "custom", "name": "t", "description": "d", "input_schema": {"type": "object"}}
DEEP = "[" * 100_000 + "]" * 100_000
BAD, GONE = (400,), (404,)


def agent(**members):
    return {**OK, **members}


def tools(*entries):
    return agent(tools=list(entries))


def toolset(**members):
    return tools({**TOOLSET, **members})


def one(**event):
    return {"events": [event]}


# (what, method, path, body, statuses). {A} {E} {S} are ids of an agent, an environment and an idle session, {A-} {E-} {S-} of archived ones.
AGENTS = [
    ("no JSON", "POST", A, "hello", BAD),
    ("no body", "POST", A, "", BAD),
    ("truncated JSON", "POST", A, '{"name": "x"', BAD),
    ("text behind the JSON", "POST", A, json.dumps(OK) + " {}", BAD),
    ("an array", "POST", A, "[]", BAD),
    ("null", "POST", A, "null", BAD),
    ("nested 100,000 deep", "POST", A, '{"name":"x","model":"m","metadata":' + DEEP + "}", BAD),
    ("invalid UTF-8", "POST", A, b'{"name":"\xff\xfe","model":"m"}', BAD),
    ("a lone surrogate", "POST", A, '{"name":"\\ud800","model":"m"}', BAD),
    ("no name", "POST", A, {"model": "m"}, BAD),
    ("an empty name", "POST", A, agent(name=""), BAD),
    ("a name of 257 characters", "POST", A, agent(name="x" * 257), BAD),
    ("name is a number", "POST", A, agent(name=5), BAD),
    ("name is null", "POST", A, agent(name=None), BAD),
    ("no model", "POST", A, {"name": "x"}, BAD),
    ("model is empty", "POST", A, agent(model=""), BAD),
    ("model is a number", "POST", A, agent(model=3), BAD),
    ("model without id", "POST", A, agent(model={"speed": "fast"}), BAD),
    ("model of unknown effort", "POST", A, agent(model={"id": "m", "effort": "heroic"}), BAD),
    ("description too long", "POST", A, agent(description="x" * 2049), BAD),
    ("system too long", "POST", A, agent(system="x" * 100_001), BAD),
    ("system is a list", "POST", A, agent(system=["x"]), BAD),
    ("tools is an object", "POST", A, agent(tools={}), BAD),
    ("a tool is text", "POST", A, tools("bash"), BAD),
    ("a tool without type", "POST", A, tools({"name": "bash"}), BAD),
    ("a tool of unknown type", "POST", A, tools({"type": "bash_20250124", "name": "bash"}), BAD),
    ("257 tools", "POST", A, tools(*[{**TOOL, "name": f"t{i}"} for i in range(257)]), BAD),
    ("toolset: configs is an object", "POST", A, toolset(configs={}), BAD),
    ("toolset: a name nobody knows", "POST", A, toolset(configs=[{"name": "teleport"}]), BAD),
    ("toolset: enabled is text", "POST", A, toolset(configs=[{"name": "bash", "enabled": "yes"}]), BAD),
    ("toolset: unknown policy", "POST", A, toolset(default_config={"permission_policy": {"type": "never"}}), BAD),
    ("toolset: policy is text", "POST", A, toolset(default_config={"permission_policy": "always_ask"}), BAD),
    ("toolset: web domains of both kinds", "POST", A, toolset(configs=[{"name": "web_fetch", "allowed_domains": ["a"], "blocked_domains": ["b"]}]), BAD),
    ("custom: no name", "POST", A, tools({k: v for k, v in TOOL.items() if k != "name"}), BAD),
    ("custom: a name with blanks", "POST", A, tools({**TOOL, "name": "a b"}), BAD),
    ("custom: a name of 129 characters", "POST", A, tools({**TOOL, "name": "a" * 129}), BAD),
    ("custom: no schema", "POST", A, tools({k: v for k, v in TOOL.items() if k != "input_schema"}), BAD),
    ("custom: schema of another root", "POST", A, tools({**TOOL, "input_schema": {"type": "array"}}), BAD),
    ("custom: the same name twice", "POST", A, tools(TOOL, TOOL), BAD),
    ("metadata is a list", "POST", A, agent(metadata=[]), BAD),
    ("metadata of 17", "POST", A, agent(metadata={f"k{i}": "v" for i in range(17)}), BAD),
    ("metadata of numbers", "POST", A, agent(metadata={"k": 1}), BAD),
    ("metadata: a key of 65", "POST", A, agent(metadata={"k" * 65: "v"}), BAD),
    ("metadata: a value of 513", "POST", A, agent(metadata={"k": "v" * 513}), BAD),
    ("mcp: a toolset of no server", "POST", A, tools({"type": "mcp_toolset", "mcp_server_name": "nobody"}), BAD),
    ("update: version of text", "POST", A + "/{A}", {"version": "one", "name": "y"}, BAD),
    ("update: version of the past", "POST", A + "/{A}", {"version": 99}, (409,)),
    ("update: name cleared", "POST", A + "/{A}", {"name": None}, BAD),
    ("update: model cleared", "POST", A + "/{A}", {"model": None}, BAD),
    ("update of an archived one", "POST", A + "/{A-}", {"name": "y"}, BAD),
    ("a version there is not", "GET", A + "/{A}?version=77", None, GONE),
    ("a version of text", "GET", A + "/{A}?version=new", None, BAD),
    ("no such agent", "GET", A + "/agent_01nope", None, GONE),
    ("update of no such agent", "POST", A + "/agent_01nope", {"name": "y"}, GONE),
    ("versions of no such agent", "GET", A + "/agent_01nope/versions", None, GONE),
    ("archive of no such agent", "POST", A + "/agent_01nope/archive", None, GONE),
    ("list: limit of text", "GET", A + "?limit=many", None, BAD),
    ("list: limit 0", "GET", A + "?limit=0", None, BAD),
    ("list: a negative limit", "GET", A + "?limit=-3", None, BAD),
    ("list: a cursor of nonsense", "GET", A + "?page=nonsense", None, BAD),
    ("list: a time of nonsense", "GET", A + "?created_at[gte]=yesterday", None, BAD),
    ("DELETE on an agent", "DELETE", A + "/{A}", None, (404, 405)),
    ("PUT on the list", "PUT", A, OK, (404, 405)),
]
ENVIRONMENTS = [
    ("no name", "POST", E, {"config": {"type": "self_hosted"}}, BAD),
    ("name is a number", "POST", E, {"name": 5}, BAD),
    ("a name that is taken", "POST", E, {"name": "place", "config": {"type": "self_hosted"}}, (409,)),
    ("a cloud", "POST", E, {"name": "cloudy", "config": {"type": "cloud"}}, BAD),
    ("config of unknown type", "POST", E, {"name": "x1", "config": {"type": "moon"}}, BAD),
    ("config is text", "POST", E, {"name": "x2", "config": "self_hosted"}, BAD),
    ("config with something else", "POST", E, {"name": "x3", "config": {"type": "self_hosted", "networking": {"type": "unrestricted"}}}, (200, 400)),
    ("metadata of numbers", "POST", E, {"name": "x4", "metadata": {"a": 1}}, BAD),
    ("config changed to a cloud", "POST", E + "/{E}", {"config": {"type": "cloud"}}, BAD),
    ("update of an archived one", "POST", E + "/{E-}", {"name": "y"}, BAD),
    ("no such environment", "GET", E + "/env_01nope", None, GONE),
    ("delete of none", "DELETE", E + "/env_01nope", None, GONE),
    ("list: limit of text", "GET", E + "?limit=x", None, BAD),
    ("key: of no such environment", "POST", "/glovebox/v1/environments/env_01nope/keys", {}, GONE),
    ("key: an unknown member", "POST", "/glovebox/v1/environments/{E}/keys", {"colour": "red"}, BAD),
    ("key: name is a number", "POST", "/glovebox/v1/environments/{E}/keys", {"name": 7}, BAD),
    ("key: revoke of none", "DELETE", "/glovebox/v1/environments/{E}/keys/ekey_01nope", None, GONE),
    ("prune: no age", "POST", "/glovebox/v1/prune", {}, BAD),
    ("prune: a negative age", "POST", "/glovebox/v1/prune", {"older_than_secs": -1}, BAD),
    ("prune: an age of text", "POST", "/glovebox/v1/prune", {"older_than_secs": "1d"}, BAD),
    ("prune: an unknown member", "POST", "/glovebox/v1/prune", {"older_than_secs": 1000000, "dry": True}, BAD),
]
SESSIONS = [
    ("no agent", "POST", S, {"environment_id": "{E}"}, BAD),
    ("agent is a number", "POST", S, {"agent": 4, "environment_id": "{E}"}, BAD),
    ("agent of unknown form", "POST", S, {"agent": {"type": "robot", "id": "{A}"}, "environment_id": "{E}"}, BAD),
    ("no such agent", "POST", S, {"agent": "agent_01nope", "environment_id": "{E}"}, (400, 404)),
    ("no such version", "POST", S, {"agent": {"type": "agent", "id": "{A}", "version": 44}, "environment_id": "{E}"}, (400, 404)),
    ("an archived agent", "POST", S, {"agent": "{A-}", "environment_id": "{E}"}, BAD),
    ("no environment", "POST", S, {"agent": "{A}"}, BAD),
    ("no such environment", "POST", S, {"agent": "{A}", "environment_id": "env_01nope"}, (400, 404)),
    ("an archived environment", "POST", S, {"agent": "{A}", "environment_id": "{E-}"}, BAD),
    ("title is a list", "POST", S, {"agent": "{A}", "environment_id": "{E}", "title": []}, BAD),
    ("metadata is text", "POST", S, {"agent": "{A}", "environment_id": "{E}", "metadata": "x"}, BAD),
    ("a file as a resource", "POST", S, {"agent": "{A}", "environment_id": "{E}", "resources": [{"type": "file", "file_id": "file_1"}]}, BAD),
    ("resources is an object", "POST", S, {"agent": "{A}", "environment_id": "{E}", "resources": {}}, BAD),
    ("override: model cleared", "POST", S, {"agent": {"type": "agent_with_overrides", "id": "{A}", "model": None}, "environment_id": "{E}"}, BAD),
    ("initial events: not a list", "POST", S, {"agent": "{A}", "environment_id": "{E}", "initial_events": {}}, BAD),
    ("initial events: 51", "POST", S, {"agent": "{A}", "environment_id": "{E}", "initial_events": [user("x")] * 51}, BAD),
    ("initial events: an interrupt", "POST", S, {"agent": "{A}", "environment_id": "{E}", "initial_events": [{"type": "user.interrupt"}]}, BAD),
    ("initial events: the second is broken", "POST", S, {"agent": "{A}", "environment_id": "{E}", "initial_events": [user("x"), {"type": "user.message"}]}, BAD),
    ("no such session", "GET", S + "/sesn_01nope", None, GONE),
    ("update: metadata of numbers", "POST", S + "/{S}", {"metadata": {"a": 1}}, BAD),
    ("update: vaults", "POST", S + "/{S}", {"vault_ids": ["vlt_1"]}, BAD),
    ("update: a budget where none was", "POST", S + "/{S}", {"budget": {"type": "limit", "max_list_cost": {"amount": "5", "currency": "USD"}}}, BAD),
    ("delete of none", "DELETE", S + "/sesn_01nope", None, GONE),
    ("archive of none", "POST", S + "/sesn_01nope/archive", None, GONE),
    ("list: order sideways", "GET", S + "?order=sideways", None, BAD),
    ("list: an unknown status", "GET", S + "?statuses[]=happy", None, BAD),
    ("list: a cursor of nonsense", "GET", S + "?page=%00", None, BAD),
    ("threads of none", "GET", S + "/sesn_01nope/threads", None, GONE),
    ("a thread there is not", "GET", S + "/{S}/threads/sthr_01nope", None, GONE),
    ("an id that climbs", "GET", S + "/%2e%2e%2f%2e%2e", None, (400, 404)),
    ("an id with NUL", "GET", S + "/a%00b", None, (400, 404)),
    ("an SQL quote in the id", "GET", S + "/'%20OR%20'1'='1", None, (400, 404)),
    ("a broken percent sequence", "GET", S + "/%zz", None, BAD),
]
V = S + "/{S}/events"
EVENTS = [
    ("no events", "POST", V, {}, BAD),
    ("an empty list", "POST", V, {"events": []}, BAD),
    ("events is an object", "POST", V, {"events": {"type": "user.message"}}, BAD),
    ("an event is text", "POST", V, {"events": ["hello"]}, BAD),
    ("no type", "POST", V, {"events": [{"content": words("x")}]}, BAD),
    ("an unknown type", "POST", V, one(type="user.wish"), BAD),
    ("type is a number", "POST", V, one(type=5), BAD),
    ("an event of the agent", "POST", V, one(type="agent.message", content=words("I am you")), BAD),
    ("an event of the session", "POST", V, one(type="session.status_idle"), BAD),
    ("a message without content", "POST", V, one(type="user.message"), BAD),
    ("a message of no blocks", "POST", V, one(type="user.message", content=[]), BAD),
    ("a message of text", "POST", V, one(type="user.message", content=7), BAD),
    ("a block without type", "POST", V, one(type="user.message", content=[{"text": "x"}]), BAD),
    ("a block of unknown type", "POST", V, one(type="user.message", content=[{"type": "smell"}]), BAD),
    ("a text block without text", "POST", V, one(type="user.message", content=[{"type": "text"}]), BAD),
    ("a text block of a number", "POST", V, one(type="user.message", content=[{"type": "text", "text": 5}]), BAD),
    ("an image without source", "POST", V, one(type="user.message", content=[{"type": "image"}]), BAD),
    ("an image of unknown source", "POST", V, one(type="user.message", content=[{"type": "image", "source": {"type": "wish"}}]), BAD),
    ("a redacted block", "POST", V, one(type="user.message", content=[{"type": "redacted"}]), BAD),
    ("a search result in a message", "POST", V, one(type="user.message", content=[{"type": "search_result", "source": "s", "title": "t", "content": words("x")}]), BAD),
    ("a result for no call", "POST", V, one(type="user.tool_result", tool_use_id="sevt_01nope", content=words("x")), BAD),
    ("a result without an id", "POST", V, one(type="user.tool_result", content=words("x")), BAD),
    ("a result for a message", "POST", V, one(type="user.tool_result", tool_use_id="{M}", content=words("x")), BAD),
    ("a custom result for no call", "POST", V, one(type="user.custom_tool_result", custom_tool_use_id="sevt_01nope"), BAD),
    ("a confirmation of no call", "POST", V, one(type="user.tool_confirmation", tool_use_id="sevt_01nope", result="allow"), BAD),
    ("a confirmation of maybe", "POST", V, one(type="user.tool_confirmation", tool_use_id="{C}", result="maybe"), BAD),
    ("a confirmation without result", "POST", V, one(type="user.tool_confirmation", tool_use_id="{C}"), BAD),
    ("an allowance with a reason to deny", "POST", V, one(type="user.tool_confirmation", tool_use_id="{C}", result="allow", deny_message="x"), BAD),
    ("a result before the verdict", "POST", V, one(type="user.tool_result", tool_use_id="{C}", content=words("x")), BAD),
    ("a result of the wrong kind", "POST", V, one(type="user.custom_tool_result", custom_tool_use_id="{C}", content=words("x")), BAD),
    ("two system messages", "POST", V, {"events": [user("x"), {"type": "system.message", "content": words("a")}, {"type": "system.message", "content": words("b")}]}, BAD),
    ("the second of two is broken: none is taken", "POST", V, {"events": [user("NOT TAKEN"), {"type": "user.message"}]}, BAD),
    ("to a session there is not", "POST", S + "/sesn_01nope/events", {"events": [user("x")]}, GONE),
    ("to an archived session", "POST", S + "/{S-}/events", {"events": [user("x")]}, BAD),
    ("list: limit of text", "GET", V + "?limit=x", None, BAD),
    ("list: limit 0", "GET", V + "?limit=0", None, BAD),
    ("list: a cursor of nonsense", "GET", V + "?page=nonsense", None, BAD),
    ("list: an order nobody knows", "GET", V + "?order=up", None, BAD),
    ("list: a time of nonsense", "GET", V + "?created_at[gt]=x", None, BAD),
    ("list of none", "GET", S + "/sesn_01nope/events", None, GONE),
    ("stream of none", "GET", S + "/sesn_01nope/events/stream", None, GONE),
    ("stream: deltas of something else", "GET", V + "/stream?event_deltas[]=agent.tool_use", None, BAD),
    ("stream: 101 deltas", "GET", V + "/stream?" + "&".join(["event_deltas[]=agent.message"] * 101), None, BAD),
    ("the stream of a thread there is not", "GET", S + "/{S}/threads/sthr_01nope/stream", None, GONE),
]
W = E + "/{E}/work"
WORK = [  # with the environment's key
    ("poll: block_ms 0", "GET", W + "/poll?block_ms=0", None, BAD),
    ("poll: block_ms 1000", "GET", W + "/poll?block_ms=1000", None, BAD),
    ("poll: block_ms of text", "GET", W + "/poll?block_ms=long", None, BAD),
    ("poll: a negative block_ms", "GET", W + "/poll?block_ms=-5", None, BAD),
    ("poll: reclaim of text", "GET", W + "/poll?reclaim_older_than_ms=x", None, BAD),
    ("poll: a negative reclaim", "GET", W + "/poll?reclaim_older_than_ms=-1", None, BAD),
    ("ack of none", "POST", W + "/work_01nope/ack", None, GONE),
    ("a beat of none", "POST", W + "/work_01nope/heartbeat?expected_last_heartbeat=NO_HEARTBEAT", None, GONE),
    ("stop of none", "POST", W + "/work_01nope/stop", {"force": True}, GONE),
    ("stop: force of text", "POST", W + "/{W}/stop", {"force": "yes"}, BAD),
    ("stop: a list", "POST", W + "/{W}/stop", [], BAD),
    ("a beat: ttl of text", "POST", W + "/{W}/heartbeat?expected_last_heartbeat=NO_HEARTBEAT&desired_ttl_seconds=x", None, BAD),
    ("list: limit of text", "GET", W + "?limit=x", None, BAD),
]
PATHS = [
    ("no such path", "GET", "/nothing/here", None, GONE),
    ("the Messages API", "POST", "/v1/messages", {}, GONE),
    ("TRACE", "TRACE", A, None, (400, 404, 405, 501)),
    ("a method of tomorrow", "BREW", A, None, (400, 404, 405, 501)),
    ("DELETE on the list of sessions", "DELETE", S, None, (404, 405)),
    ("a broken sequence in the query", "GET", A + "?page=%g1", None, BAD),
    ("an id of 5,000 characters", "GET", S + "/" + "a" * 5000, None, (400, 404, 414, 431)),
]
KEYS = [
    ("none", {"Authorization": None}),
    ("empty", {"Authorization": ""}),
    ("Bearer of nothing", {"Authorization": "Bearer "}),
    ("a wrong key", {"Authorization": "Bearer gb-api-" + "x" * 43}),
    ("the key cut short", {"Authorization": "Bearer {K<}"}),
    ("the key with more behind it", {"Authorization": "Bearer {K}x"}),
    ("the key as Basic", {"Authorization": "Basic {K}"}),
    ("the key without a scheme", {"Authorization": "{K}"}),
    ("a wrong x-api-key", {"Authorization": None, "x-api-key": "sk-ant-api03-nobody"}),
    ("8,000 characters", {"Authorization": "Bearer " + "a" * 8000}),
]
PLACES = [
    ("a foreign Host", {"Host": "evil.example"}, (403, 404)),
    ("a foreign Host that ends like ours", {"Host": "127.0.0.1.evil.example"}, (403, 404)),
    ("an empty Host", {"Host": ""}, (400, 403)),
    ("a foreign Origin", {"Origin": "https://evil.example"}, (403,)),
]
GET = "GET /v1/agents HTTP/1.1\r\nHost: {H}\r\n{K}\r\n"
POST = "POST /v1/agents HTTP/1.1\r\nHost: {H}\r\n{K}\r\nContent-Type: application/json\r\n"
RAW = [
    ("garbage", "\x00\x01\x02\x03\r\n\r\n", (400, None)),
    ("HTTP/9.9", "GET / HTTP/9.9\r\nHost: {H}\r\n{K}\r\n\r\n", (400, 505, None)),
    ("no Host", "GET /v1/agents HTTP/1.1\r\n{K}\r\n\r\n", (400, 403)),
    ("Content-Length and chunked together", POST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    ("two different Content-Lengths", POST + "Content-Length: 2\r\nContent-Length: 30\r\n\r\n{}", (400,)),
    ("Content-Length negative", POST + "Content-Length: -1\r\n\r\n", (400,)),
    ("40 MB announced", POST + "Content-Length: 40000000\r\n\r\n{", (413,)),
    ("a terabyte announced", POST + "Content-Length: 1000000000000\r\n\r\n", (400, 413)),
    ("a chunk size that is none", POST + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", (400, None)),
    ("a NUL in a header", GET + "X-A: a\x00b\r\n\r\n", (400, None)),
    ("a head of 100 kB", GET + "X-A: " + "a" * 100_000 + "\r\n\r\n", (400, 413, 431)),
    ("a header without a colon", GET + "nonsense\r\n\r\n", (400,)),
    ("a WebSocket where there is none", GET + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
     "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", (200, 400, 426)),
]


class Stage:
    """What the table's words stand for."""

    def __init__(self, brain):
        self.brain = brain
        agent_id = brain.agent("fine", tools=[{**TOOLSET, "default_config": {"permission_policy": {"type": "always_ask"}}}])["id"]
        place = brain.environment("place")["id"]
        self.key = brain.environment_key(place)["key"]
        gone_agent, gone_place = brain.agent("old")["id"], brain.environment("old place")["id"]
        gone_session = brain.session(agent_id, place)["id"]
        self.session = brain.session(agent_id, place)["id"]
        self.message = brain.say(self.session, "run `true`")["id"]  # the rehearsal model wants to run it; the policy asks
        self.call = brain.open_calls(self.session)[0]["id"]
        self.worker = Worker(brain, place, self.key)
        self.work = eventually(lambda: self.worker.poll(), 15, "an item")["id"]
        self.worker.ack(self.work).expect(200)
        brain.post(f"/v1/agents/{gone_agent}/archive").expect(200)
        brain.post(f"/v1/environments/{gone_place}/archive").expect(200)
        brain.post(f"/v1/sessions/{gone_session}/archive").expect(200)
        self.names = {"{A}": agent_id, "{E}": place, "{S}": self.session, "{A-}": gone_agent, "{E-}": gone_place, "{S-}": gone_session,
                      "{M}": self.message, "{C}": self.call, "{W}": self.work}

    def fill(self, value):
        if isinstance(value, dict):
            return {self.fill(k): self.fill(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        if isinstance(value, str) and "{" in value:
            for name, real in self.names.items():
                value = value.replace(name, real)
        return value

    def ask(self, method, path, body, key=None):
        api = self.brain.with_key(key) if key else self.brain
        body = self.fill(body)
        headers = {"Content-Type": "application/json"} if isinstance(body, (str, bytes)) else None
        return api.call(method, self.fill(path), body, headers=headers, timeout=20)


def refused(reply, statuses):
    assert reply.status in statuses, f"expected {statuses}, got {reply!r}"
    if reply.status >= 400:
        reply.refused(reply.status)


def raw(brain, data, statuses):
    data = data.replace("{H}", brain.host).replace("{K}", f"Authorization: Bearer {brain.key}")
    answer = brain.raw(data.encode("latin-1"), timeout=20, half_close=True)
    if not answer:
        assert None in statuses, "closed without an answer"
        return
    found = re.match(rb"HTTP/1\.1 (\d{3})[^\r]*\r\n(.*?)\r\n\r\n", answer, re.S)
    assert found, f"not HTTP: {short(answer)}"
    code = int(found[1])
    assert code in statuses, f"expected {statuses}, got {short(answer)}"
    if code >= 400:
        assert len(re.findall(rb"HTTP/1\.1 \d{3}", answer)) == 1, f"a second answer: {short(answer)}"
        body = json.loads(answer[found.end():])
        assert body["type"] == "error" and body["error"]["type"] and body["error"]["message"] and body["request_id"], body


def test(tmp):
    with Glovebox(tmp, parts=["brain"]) as gb:
        brain, check = Brain(gb.brain.url, gb.brain_key), Checks()
        stage = Stage(brain)
        pid = gb.pid("brain")
        files = open_files(pid)
        before = state(brain, stage)
        tables = {"agent": AGENTS, "environment": ENVIRONMENTS, "session": SESSIONS, "event": EVENTS, "path": PATHS}
        print(f"  {sum(map(len, tables.values())) + len(WORK) + len(KEYS) * 3 + len(PLACES) + len(RAW)} requests")
        for name, table in tables.items():
            for what, method, path, body, statuses in table:
                with check(f"{name}: {what}"):
                    refused(stage.ask(method, path, body), statuses)
        for what, method, path, body, statuses in WORK:
            with check(f"work: {what}"):
                refused(stage.ask(method, path, body, stage.key), statuses)
        with check("codes that the SDK makes classes of"):
            stage.ask("POST", E + "/{E-}", {"description": "y"}).refused(400, "environment_archived")
            stage.ask("POST", E + "/{E}", {"config": {"type": "cloud"}}).refused(400, "invalid_config_type_change")
            stage.ask("POST", S, {"agent": {"type": "agent_with_overrides", "id": "{A}", "model": None}, "environment_id": "{E}"}).refused(400, "agent_model_required")
        for what, headers in KEYS:
            with check("key: " + what):
                for word, value in (("{K<}", brain.key[:-1]), ("{K}", brain.key)):
                    headers = {n: v.replace(word, value) if v else v for n, v in headers.items()}
                for method, path in (("GET", A), ("POST", A), ("GET", stage.fill(V + "/stream"))):
                    reply = brain.call(method, path, OK if method == "POST" else None, headers=headers)
                    refused(reply, (401,))
                    assert brain.key not in reply.text
        with check("key: in x-api-key, and in both headers at once"):
            brain.get(A, headers={"Authorization": None, "x-api-key": brain.key}).expect(200)
            brain.get(A, headers={"x-api-key": brain.key}).expect(200)
        for what, headers, statuses in PLACES:
            with check("place: " + what):
                refused(brain.call("GET", A, headers=headers), statuses)
        for what, data, statuses in RAW:
            with check("raw: " + what):
                raw(brain, data, statuses)
        with check("members nobody knows are ignored on the compatible API"):
            made = brain.post(A, {**OK, "tomorrow": {"a": [1]}}).expect(200, 201).json
            brain.get(f"{A}/{made['id']}?beta=true&tomorrow=1", headers={"anthropic-version": "2099-01-01", "anthropic-beta": "x,y"}).expect(200)
        with check("the brain is the same process, serves, and holds no more files than before"):
            equal(gb.pid("brain"), pid)
            equal(state(brain, stage, ignore=1), before, "what was refused made nothing")
            assert open_files(pid) <= files + 10, (files, open_files(pid))
        check.done()


def state(brain, stage, ignore=0):
    """Counts of what there is."""
    count = {path: len(brain.get(path + "?limit=100&include_archived=true").expect(200).json["data"]) for path in (A, E, S)}
    count[A] -= ignore
    count["environments"] = sorted(e["name"] for e in brain.get(E + "?limit=100").expect(200).json["data"] if not re.fullmatch(r"x\d", e["name"]))
    count[E] = len(count["environments"])
    count["events"] = [(e["id"], e["type"]) for e in brain.events(stage.session)]
    return count


run(test)
