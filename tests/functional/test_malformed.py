"""Malformed requests get a documented status and {"error","code"}, and the engine goes on serving.
labels: privileged timeout=300
"""
import json
import re

from harness import Glovebox, run
from support import Checks, Reply, UpgradeRefused, api_of, equal, open_files, short

NS = "/v1/namespaces/default/sandboxes"
BAD = (400,)
DEEP = "[" * 100_000 + "]" * 100_000


class Wire:
    """Requests as bytes. {H} is the engine's Host, {A} the line with its key, {B} the sandbox's Host; {GET}, {POST} and {WS} are
    heads that are in order so far."""

    def __init__(self, api, box):
        self.api, self.box = api, box
        self.words = {
            "{GET}": f"GET {NS} HTTP/1.1\r\nHost: {{H}}\r\n{{A}}\r\n",
            "{POST}": f"POST {NS} HTTP/1.1\r\nHost: {{H}}\r\n{{A}}\r\n",
            "{WS}": "GET /api/v1/exec/ws HTTP/1.1\r\nHost: {B}\r\n{A}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            "{H}": api.host, "{A}": f"Authorization: Bearer {api.key}", "{B}": box.plane.host, "{I}": box.id}

    def fill(self, text):
        for word, value in self.words.items():
            text = text.replace(word, value)
        return text.encode("latin-1")

    def send(self, text, half_close=False):
        return self.api.raw(self.fill(text), timeout=20, half_close=half_close)


def answers(data):
    """The HTTP answers in what came back: [Reply]. Bodies have a Content-Length, error answers always do."""
    found = []
    while data:
        match = re.match(rb"HTTP/1\.1 (\d{3})[^\r]*\r\n(.*?)\r\n\r\n", data, re.S)
        assert match, f"not HTTP: {short(data)}"
        headers = dict(line.split(": ", 1) for line in match[2].decode("latin-1").split("\r\n") if ": " in line)
        headers = {k.lower(): v for k, v in headers.items()}
        size = int(headers.get("content-length", 0))
        rest = data[match.end() :]
        if headers.get("transfer-encoding") == "chunked":
            size = rest.index(b"0\r\n\r\n") + 5
        found.append(Reply(int(match[1]), headers.items(), rest[:size]))
        data = rest[size:]
    return found


# (what, method, path, body, allowed statuses[, headers]); JSON bodies are sent as they stand.
BODIES = [
    ("create: no JSON", "POST", NS, "hello", BAD),
    ("create: truncated JSON", "POST", NS, '{"name": "x"', BAD),
    ("create: text behind the JSON", "POST", NS, '{} {}', BAD),
    ("create: an array", "POST", NS, "[]", BAD),
    ("create: a number", "POST", NS, "7", BAD),
    ("create: null", "POST", NS, "null", BAD),
    ("create: nested 100,000 deep", "POST", NS, DEEP, BAD),
    ("create: invalid UTF-8", "POST", NS, b'{"name":"\xff\xfe"}', BAD),
    ("create: a lone surrogate", "POST", NS, '{"name":"\\ud800"}', BAD),
    ("create: name is a number", "POST", NS, {"name": 5}, BAD),
    ("create: name is an object", "POST", NS, {"name": {}}, BAD),
    ("create: name with a slash", "POST", NS, {"name": "a/../b"}, BAD),
    ("create: name with NUL", "POST", NS, {"name": "a\x00b"}, BAD),
    ("create: name of 64 characters", "POST", NS, {"name": "x" * 64}, BAD),
    ("create: name of an id's form", "POST", NS, {"name": "a" * 21}, BAD),
    ("create: image is a list", "POST", NS, {"image": ["host"]}, BAD),
    ("create: image is a path", "POST", NS, {"image": "../../etc"}, (400, 404)),
    ("create: image unknown", "POST", NS, {"image": "nosuch"}, (400, 404)),
    ("create: resources is text", "POST", NS, {"resources": "big"}, BAD),
    ("create: cpus is text", "POST", NS, {"resources": {"cpus": "1"}}, BAD),
    ("create: cpus zero", "POST", NS, {"resources": {"cpus": 0}}, BAD),
    ("create: cpus negative", "POST", NS, {"resources": {"cpus": -1}}, BAD),
    ("create: memory negative", "POST", NS, {"resources": {"memory_mb": -5}}, BAD),
    ("create: memory a fraction", "POST", NS, {"resources": {"memory_mb": 10.5}}, BAD),
    ("create: memory beyond 64 bits", "POST", NS, '{"resources":{"memory_mb":99999999999999999999999}}', BAD),
    ("create: memory near 64 bits", "POST", NS, '{"resources":{"memory_mb":9223372036854775807}}', BAD),
    ("create: timeout negative", "POST", NS, {"timeout_secs": -1}, BAD),
    ("create: timeout text", "POST", NS, {"timeout_secs": "600"}, BAD),
    ("create: entrypoint is text", "POST", NS, {"entrypoint": "sleep 1"}, BAD),
    ("create: entrypoint of numbers", "POST", NS, {"entrypoint": [1, 2]}, BAD),
    ("create: ports of text", "POST", NS, {"exposed_ports": ["80"]}, BAD),
    ("create: port 70000", "POST", NS, {"exposed_ports": [70000]}, BAD),
    ("create: network is true", "POST", NS, {"network": True}, BAD),
    ("create: allow_out is text", "POST", NS, {"network": {"allow_out": "x"}}, BAD),
    ("create: isolation unknown", "POST", NS, {"isolation": "wish"}, BAD),
    ("create: body of 3 MB", "POST", NS, json.dumps({"image": "x" * 3_000_000}), (400, 413)),
    ("update: empty", "PATCH", NS + "/{I}", "", BAD),
    ("update: array", "PATCH", NS + "/{I}", "[1]", BAD),
    ("update: name null of a number", "PATCH", NS + "/{I}", {"name": 1}, BAD),
    ("update: ports an object", "PATCH", NS + "/{I}", {"exposed_ports": {}}, BAD),
    ("update: port 9501", "PATCH", NS + "/{I}", {"exposed_ports": [9501]}, BAD),
    ("list: limit is text", "GET", NS + "?limit=many", None, BAD),
    ("list: limit is negative", "GET", NS + "?limit=-1", None, BAD),
    ("list: cursor is nonsense", "GET", NS + "?cursor=%00%ff", None, BAD),
    ("list: direction unknown", "GET", NS + "?direction=sideways", None, BAD),
    ("list: status unknown", "GET", NS + "?status=happy", None, BAD),
]
PATHS = [
    ("no such path", "GET", "/nothing/here", None, (404,)),
    ("the root", "POST", "/", "{}", (404, 405)),
    ("no such sandbox", "GET", NS + "/nosuchbox", None, (404,)),
    ("an id with a slash inside", "GET", NS + "/a%2Fb", None, (400, 404)),
    ("an id that climbs", "GET", NS + "/%2e%2e%2f%2e%2e", None, (400, 404)),
    ("dots in the path", "GET", NS + "/../../etc/passwd", None, (400, 404)),
    ("an id with NUL", "GET", NS + "/a%00b", None, (400, 404)),
    ("an id of 5,000 characters", "GET", NS + "/" + "a" * 5000, None, (400, 404, 414)),
    ("a broken percent sequence", "GET", NS + "/%zz", None, BAD),
    ("a percent sequence cut short", "GET", NS + "/a%2", None, BAD),
    ("a broken sequence in the query", "GET", NS + "?cursor=%g1", None, BAD),
    ("PUT on the list", "PUT", NS, "{}", (404, 405)),
    ("DELETE on the list", "DELETE", NS, None, (404, 405)),
    ("PATCH on the list", "PATCH", NS, "{}", (404, 405)),
    ("POST on a sandbox", "POST", NS + "/{I}", "{}", (404, 405)),
    ("TRACE", "TRACE", NS, None, (400, 404, 405, 501)),
    ("a method of tomorrow", "BREW", NS, None, (400, 404, 405, 501)),
    ("an SQL quote in the id", "GET", NS + "/'%20OR%20'1'='1", None, (400, 404)),
    ("an SQL quote in the cursor", "GET", NS + "?cursor=';DROP%20TABLE%20sandboxes;--", None, BAD),
]
# On the data plane of the sandbox.
PLANE = [
    ("process: no command", "POST", "/api/v1/processes", "{}", BAD),
    ("process: empty command", "POST", "/api/v1/processes", {"command": ""}, BAD),
    ("process: command is a list", "POST", "/api/v1/processes", {"command": ["ls"]}, BAD),
    ("process: NUL in the command", "POST", "/api/v1/processes", {"command": "a\x00b"}, BAD),
    ("process: args is text", "POST", "/api/v1/processes", {"command": "ls", "args": "-l"}, BAD),
    ("process: NUL in an argument", "POST", "/api/v1/processes", {"command": "ls", "args": ["a\x00b"]}, BAD),
    ("process: env is a list", "POST", "/api/v1/processes", {"command": "ls", "env": ["A=1"]}, BAD),
    ("process: env value is a number", "POST", "/api/v1/processes", {"command": "ls", "env": {"A": 1}}, BAD),
    ("process: env name with =", "POST", "/api/v1/processes", {"command": "ls", "env": {"A=B": "1"}}, BAD),
    ("process: env name empty", "POST", "/api/v1/processes", {"command": "ls", "env": {"": "1"}}, BAD),
    ("process: stdin_mode unknown", "POST", "/api/v1/processes", {"command": "ls", "stdin_mode": "tty"}, BAD),
    ("process: user is a float", "POST", "/api/v1/processes", {"command": "ls", "user": 1.5}, BAD),
    ("process: a megabyte of arguments", "POST", "/api/v1/processes", {"command": "ls", "args": ["x" * 100] * 20_000}, (400, 413)),
    ("run: timeout is text", "POST", "/api/v1/processes/run", {"command": "ls", "timeout": "1"}, BAD),
    ("run: timeout is negative", "POST", "/api/v1/processes/run", {"command": "ls", "timeout": -1}, BAD),
    ("process id is text", "GET", "/api/v1/processes/abc", None, (400, 404)),
    ("process id is negative", "GET", "/api/v1/processes/-1", None, (400, 404)),
    ("process id beyond 64 bits", "GET", "/api/v1/processes/99999999999999999999", None, (400, 404)),
    ("signal: empty body", "POST", "/api/v1/processes/1/signal", "", (400, 404)),
    ("file: no path", "GET", "/api/v1/files", None, BAD),
    ("file: path climbs", "GET", "/api/v1/files?path=/a/../../etc/shadow", None, (400, 403)),
    ("file: path relative", "PUT", "/api/v1/files?path=x", "x", BAD),
    ("file: NUL in the path", "GET", "/api/v1/files?path=/a%00", None, BAD),
    ("file: POST", "POST", "/api/v1/files?path=/tmp/x", "x", (404, 405)),
    ("pty: no command", "POST", "/api/v1/pty", "{}", BAD),
    ("pty: rows is text", "POST", "/api/v1/pty", {"command": "ls", "rows": "x"}, BAD),
    ("pty: resize without a size", "POST", "/api/v1/pty/1/resize", "{}", (400, 404)),
    ("tool: unknown", "POST", "/api/v1/tools/rm", "{}", (404,)),
    ("tool: no JSON", "POST", "/api/v1/tools/bash", "echo hello", BAD),
    ("tunnel: bad port", "GET", "/api/v1/tunnels/tcp?port=99999", None, (400, 501)),
    ("no such call", "GET", "/api/v1/nothing", None, (404,)),
]
# Raw bytes: what HTTP itself forbids. `None` as status: the connection may also just be closed.
RAW = [
    ("garbage", "\x00\x01\x02\x03\r\n\r\n", (400, None)),
    ("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 50 + "\r\n\r\n", (400, None)),
    ("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 404, 405, 505, None)),
    ("HTTP/0.9", "GET /\r\n\r\n", (400, 505, None)),
    ("HTTP/9.9", "GET / HTTP/9.9\r\nHost: {H}\r\n{A}\r\n\r\n", (400, 505, None)),
    ("no Host", f"GET {NS} HTTP/1.1\r\n{{A}}\r\n\r\n", (400, 403)),
    ("two Hosts", f"GET {NS} HTTP/1.1\r\nHost: {{H}}\r\nHost: {{B}}\r\n{{A}}\r\n\r\n", (400,)),
    ("Content-Length and chunked together", "{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n", (400,)),
    ("two different Content-Lengths", "{POST}Content-Length: 2\r\nContent-Length: 30\r\n\r\n{}", (400,)),
    ("Content-Length with a sign", "{POST}Content-Length: +2\r\n\r\n{}", (400,)),
    ("Content-Length negative", "{POST}Content-Length: -1\r\n\r\n", (400,)),
    ("Content-Length beyond 64 bits", "{POST}Content-Length: 99999999999999999999999\r\n\r\n", (400, 413)),
    ("Content-Length huge, nothing sent", "{POST}Content-Length: 1000000000000\r\n\r\n", (400, 413)),
    ("Transfer-Encoding unknown", "{POST}Transfer-Encoding: xchunked\r\n\r\n", (400, 501)),
    ("Transfer-Encoding twice", "{POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    ("a chunk size that is none", "{POST}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", (400, None)),
    ("a chunk size beyond 64 bits", "{POST}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n", (400, 413, None)),
    ("a space before the colon", f"GET {NS} HTTP/1.1\r\nHost : {{H}}\r\n{{A}}\r\n\r\n", (400,)),
    ("a folded header", "{GET}X-A: 1\r\n  folded: 2\r\n\r\n", (200, 400)),
    ("a NUL in a header", "{GET}X-A: a\x00b\r\n\r\n", (400, None)),
    ("a header without a colon", "{GET}nonsense\r\n\r\n", (400,)),
    ("a head of 100 kB", "{GET}X-A: " + "a" * 100_000 + "\r\n\r\n", (400, 413, 431)),
    ("a thousand headers", "{GET}" + "X-A: b\r\n" * 1000 + "\r\n", (400, 431)),
    ("a target of 100 kB", "GET /" + "a" * 100_000 + " HTTP/1.1\r\nHost: {H}\r\n{A}\r\n\r\n", (400, 414, 431)),
    ("a target with a space", "GET /a b HTTP/1.1\r\nHost: {H}\r\n{A}\r\n\r\n", (400, 505)),
    ("a target with 8-bit characters", "GET /\xff\xfe HTTP/1.1\r\nHost: {H}\r\n{A}\r\n\r\n", (400, 404)),
    ("CONNECT", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n{A}\r\n\r\n", (400, 403, 404, 405, 501)),
    ("an absolute target of another host", "GET http://evil.example/sandboxes HTTP/1.1\r\nHost: evil.example\r\n{A}\r\n\r\n", (400, 403, 404)),
    ("an upgrade nobody offers", "{GET}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", (200, 400, 426)),
    ("a WebSocket of version 99", "{WS}Sec-WebSocket-Version: 99\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", (400, 426)),
    ("a WebSocket without a key", "{WS}Sec-WebSocket-Version: 13\r\n\r\n", (400, 426)),
]
CREDENTIALS = [
    ("none", {"Authorization": None}, (401,)),
    ("empty", {"Authorization": ""}, (401,)),
    ("Bearer of nothing", {"Authorization": "Bearer "}, (401,)),
    ("a wrong key", {"Authorization": "Bearer wrong"}, (401,)),
    ("the key with one letter changed", {"Authorization": "Bearer {K-}"}, (401,)),
    ("the key cut short", {"Authorization": "Bearer {K<}"}, (401,)),
    ("the key with more behind it", {"Authorization": "Bearer {K}x"}, (401,)),
    ("the key as Basic", {"Authorization": "Basic {K}"}, (401,)),
    ("the key without a scheme", {"Authorization": "{K}"}, (401,)),
    ("8,000 characters", {"Authorization": "Bearer " + "a" * 8000}, (401,)),
]
PLACES = [  # Host and Origin: DNS rebinding and foreign pages get nothing
    ("a foreign Host", {"Host": "evil.example"}, (403, 404)),
    ("a foreign Host that ends like ours", {"Host": "127.0.0.1.evil.example"}, (403, 404)),
    ("a Host with an @", {"Host": "127.0.0.1@evil.example"}, (400, 403, 404)),
    ("an empty Host", {"Host": ""}, (400, 403)),
    ("a foreign Origin", {"Origin": "https://evil.example"}, (403,)),
    ("Origin null", {"Origin": "null"}, (403,)),
    ("an Origin that ends like ours", {"Origin": "http://127.0.0.1.evil.example"}, (403,)),
]


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create(name="victim")
        wire = Wire(api, box)
        engine = gb.engine_pid()
        files_before = open_files(engine)
        total = len(BODIES) + len(PATHS) + len(PLANE) + len(RAW) + len(CREDENTIALS) + len(PLACES)
        print(f"  {total} malformed requests")

        for what, method, path, body, statuses in BODIES + PATHS:
            with check(what):
                refused(api.call(method, path.replace("{I}", box.id), body, timeout=20), statuses)
        for what, method, path, body, statuses in PLANE:
            with check(what):
                refused(box.plane.call(method, path, body, timeout=20), statuses)
        for what, text, statuses in RAW:
            with check("raw: " + what):
                raw(wire, text, statuses)
        for what, headers, statuses in CREDENTIALS:
            with check("credential: " + what):
                key = {"{K}": api.key, "{K-}": ("b" if api.key[0] != "b" else "c") + api.key[1:], "{K<}": api.key[:-1]}
                for word, value in key.items():
                    headers = {n: v.replace(word, value) if v else v for n, v in headers.items()}
                for reply in (api.call("GET", NS, headers=headers), box.plane.call("GET", "/api/v1/health", headers=headers),
                              api.call("POST", NS, {"name": "intruder"}, headers=headers)):
                    refused(reply, statuses)
                    assert api.key not in reply.text
        for what, headers, statuses in PLACES:
            with check("place: " + what):
                refused(api.call("GET", NS, headers=headers), statuses)

        sockets(api, box, check)
        pipelining(wire, check)
        with check("the engine is the same process, serves, and holds no more files than before"):
            equal(gb.engine_pid(), engine)
            equal([s["name"] for s in api.alive()], ["victim"], "nothing was made by what was refused")
            equal(box.sh("echo still here").stdout, "still here")
            assert open_files(engine) <= files_before + 20, (files_before, open_files(engine))
        box.delete()
        check.done()


def refused(reply, statuses):
    assert reply.status in statuses, f"expected {statuses}, got {reply!r}"
    reply.refused(reply.status)


def raw(wire, text, statuses):
    # Requests that are served keep the connection open: half closing it tells the server that nothing follows.
    data = wire.send(text, half_close=True)
    if not data:
        assert None in statuses, "closed without an answer"
        return
    first, *more = answers(data)
    assert first.status in statuses, f"expected {statuses}, got {first!r}"
    if first.status >= 400:
        first.refused(first.status)
        assert not more, f"a second answer after a malformed request: {more!r}"


def sockets(api, box, check):
    with check("a WebSocket without or with a wrong credential is refused before the upgrade"):
        for header in (None, "Bearer wrong"):
            try:
                box.websocket("/exec/ws", {"Authorization": header})
                raise AssertionError("upgraded")
            except UpgradeRefused as error:
                refused(error.reply, (401,))

    with check("WebSocket frames that are none: unmasked, reserved bits, oversized, fragments without a start"):
        for frame in (b"\x81\x02hi", b"\xf1\x80\x00\x00\x00\x00", b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
                      b"\x80\x80\x00\x00\x00\x00", b"\x89\xfe\x00\xff" + b"\x00" * 300, b"\x88\x81\x00\x00\x00\x00x"):
            ws = box.websocket("/exec/ws")
            ws.socket.sendall(frame)
            while ws.message() is not None:
                pass
            ws.__exit__()


def pipelining(wire, check):
    with check("two requests in one packet get two answers, in order"):
        data = wire.send("{GET}\r\nGET /nothing HTTP/1.1\r\nHost: {H}\r\n{A}\r\n\r\n", True)
        equal([a.status for a in answers(data)], [200, 404])

    with check("a body that is announced and never comes ends with the connection"):
        wire.send("{POST}Content-Length: 500\r\n\r\n{", True)

    with check("a request cut off in the head is answered or closed, not kept"):
        whole = wire.fill("{GET}\r\n").decode()
        for cut in (1, 10, 40, len(whole) - 1):
            wire.send(whole[:cut], True)

    with check("the body of a refused request is not read as the next one"):
        inner = f"DELETE {NS}/{{I}} HTTP/1.1\r\nHost: {{H}}\r\n{{A}}\r\n\r\n"
        size = len(wire.fill(inner))
        data = wire.send(f"POST /nothing HTTP/1.1\r\nHost: {{H}}\r\n{{A}}\r\nContent-Length: {size}\r\n\r\n{inner}", True)
        equal(len(answers(data)), 1, "answers")
        equal(wire.api.get(wire.box.id)["status"], "running")


run(test)
