"""What listens in a box that has no network is reached from outside by its name, streamed both ways, and a box that sleeps wakes for whoever may come in.
labels: privileged timeout=400
"""
import hashlib
import json
import os
import signal
import socket
import threading

from harness import SANDBOXES, Api, Glovebox, run
from ingress import DOMAIN, PORT, at, expose, header, raw, serving, status, token_for
from support import Checks, equal, eventually


def passes_on(gb, box):
    web = at(gb, f"{PORT}-web")
    answer = web.get("/a%20b//c?x=1&y=%2F", headers={"X-Own": "kept", "Connection": "X-Hop, keep-alive", "X-Hop": "1", "TE": "x",
                                                     "X-Forwarded-For": "6.6.6.6", "X_Forwarded_Proto": "gopher",
                                                     "Proxy-Authorization": "x", "X-Tensorlake-Sandbox-Id": "other"}).expect(200)
    equal(answer.json["path"], "/a%20b//c?x=1&y=%2F")
    equal(header(answer, "Host"), [f"{PORT}-web.{DOMAIN}"])
    equal(header(answer, "X-Own"), ["kept"])
    equal(header(answer, "X-Forwarded-For"), ["127.0.0.1"])
    equal(header(answer, "X-Forwarded-Proto"), ["http"])
    for gone in ("X-Hop", "TE", "Proxy-Authorization", "X-Tensorlake-Sandbox-Id", "X_Forwarded_Proto"):
        equal(header(answer, gone), [], gone)
    assert header(answer, "X-Request-Id")[0] == answer.headers["X-Request-Id"]
    # By id, below .local, and by header.
    for host, more in ((f"{PORT}-{box.id}.{DOMAIN}", {}), (f"{PORT}-{box.id}.local", {}),
                       ("127.0.0.2", {"X-Tensorlake-Sandbox-Id": box.id, "X-Tensorlake-Sandbox-Port": str(PORT)})):
        Api(web.url, host=host).get("/", headers=more).expect(200)
    for size in (0, 1, 70_000, 3_000_000):
        body = os.urandom(size)
        said = web.post("/post", body).expect(200).json
        equal((said["size"], said["sha256"]), (size, hashlib.sha256(body).hexdigest()))
        big = web.get(f"/big={size}").expect(200)
        equal(big.body, (bytes(range(256)) * (size // 256 + 1))[:size])
    answer = web.call("HEAD", "/head").expect(200)
    assert int(answer.headers["Content-Length"]) > 10 and not answer.body
    # Chunked, with a keep-alive behind it.
    with raw(web, b"POST /x HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" % web.host.encode()) as connection:
        connection.sendall(b"2;x=y\r\nde\r\n0\r\nTrailer: dropped\r\n\r\nGET /again HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
                           % web.host.encode())
        text = b""
        while data := connection.recv(65536):
            text += data
    equal(text.count(b"HTTP/1.1 200"), 2)
    assert hashlib.sha256(b"abcde").hexdigest().encode() in text and b"/again" in text
    # An answer before all of the request is there: the client gets it at once.
    with raw(web, b"POST /early HTTP/1.1\r\nHost: %s\r\nContent-Length: 8000000\r\n\r\n" % web.host.encode() + bytes(100_000)) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 "), "not the answer"
    equal(web.get("/bye").status, 200)
    equal(web.get("/after").status, 200)


def streams(gb, box):
    web = at(gb, f"{PORT}-web")
    connection, answer = web.open("GET", "/stream=20")
    equal([answer.readline() for _ in range(20)], [b"tick %02d\n" % i for i in range(20)])
    equal(answer.read(), b"")
    connection.close()
    # A client that hangs up in the middle: the server inside learns of it, and the next request is well.
    connection, answer = web.open("GET", "/stream=200")
    answer.readline()
    connection.close()
    # Raw bytes after a handshake, both ways at once, also those that came with the handshake.
    with raw(web, b"GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly" % web.host.encode()) as ws:
        text = b""
        while not text.endswith(b"early"):
            text += ws.recv(65536)
        assert text.startswith(b"HTTP/1.1 101 ") and b"\r\nUpgrade: websocket\r\n" in text, text
        data = os.urandom(2_000_000)
        sender = threading.Thread(target=ws.sendall, args=(data,))
        sender.start()
        back = b""
        while len(back) < len(data):
            back += ws.recv(1 << 20)
        sender.join()
        assert back == data
        # Its port is not exposed any more: those who are in are put out.
        expose(gb, box, 1)
        ws.settimeout(30)
        equal(ws.recv(10), b"")
        expose(gb, box, PORT)
    web.get("/fine").expect(200)


def asks_first(gb, box):
    open_web = at(gb, f"{PORT}-web")
    expose(gb, box, PORT, open=False)
    token = token_for(gb, box, PORT)
    for send, wanted in (({}, 401), ({"Authorization": "Bearer gb1.x.y"}, 401), ({"Authorization": f"Basic {token}"}, 401),
                         ({"X-Glovebox-Token": "nonsense"}, 401), ({"Authorization": f"Bearer {token[:-2]}"}, 401),
                         ({"Authorization": f"Bearer {gb.key}"}, 403), ({"X-Api-Key": gb.key}, 403),
                         ({"Authorization": f"Bearer {token_for(gb, box, PORT + 1)}"}, 403)):
        answer = open_web.get("/", headers=send)
        equal(answer.status, wanted, str(send))
        assert gb.key not in answer.text and token not in answer.text
    for send in ({"Authorization": f"Bearer {token}"}, {"X-Glovebox-Token": token, "Authorization": "Basic b3duOm93bg=="}):
        answer = open_web.get("/", headers=send).expect(200)
        assert token not in answer.text, "the token went into the box"
        equal(header(answer, "Authorization"), [value for value in send.values() if value.startswith("Basic")])
    # What is no token at all stays outside: the link that all boxes share lives, and what it holds.
    hello = b"GET /ws HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n" % (open_web.host.encode(), token.encode())
    with raw(open_web, hello + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nx") as ws:
        while not ws.recv(1000).endswith(b"x"):
            pass
        for bad in (b"a" * 5000, b"gb1.\xff.x"):
            text = open_web.raw(b"GET / HTTP/1.1\r\nHost: %s\r\nX-Glovebox-Token: %s\r\nConnection: close\r\n\r\n"
                                % (open_web.host.encode(), bad))
            assert text.startswith(b"HTTP/1.1 401 "), text[:200]
        open_web.get("/", headers={"Authorization": f"Bearer {token}"}).expect(200)
        equal(gb.api.post(f"{SANDBOXES}/{box.id}/suspend").status, 409, "it is held")
        ws.sendall(b"still")
        equal(ws.recv(5), b"still")
    text = open_web.raw(b"GET / HTTP/1.1\r\nHost: %s\r\nX-Glovebox-Token: %s\r\nx-glovebox-token: y\r\nConnection: close\r\n\r\n"
                        % (open_web.host.encode(), token.encode()))
    assert text.startswith(b"HTTP/1.1 400 "), text[:200]
    other = gb.create(name="other", exposed_ports=[PORT])
    equal(at(gb, f"{PORT}-other", token).get("/").status, 403)
    expose(gb, box, PORT)
    # Also where nobody asks for one, neither our key nor a token goes in.
    equal(open_web.get("/", headers={"Authorization": f"Bearer {gb.key}"}).status, 403)
    equal(header(open_web.get("/", headers={"Authorization": f"Bearer {token}"}).expect(200), "Authorization"), [])
    other.delete()
    for label, wanted in ((f"{PORT}-other", 410), (f"{PORT}-{other.id}", 410), (f"{PORT}-nobody", 404), (f"{PORT + 1}-web", 404),
                          ("no.such", 404), ("80_80-web", 404)):
        equal(at(gb, label).get("/").status, wanted, label)
    expose(gb, box, PORT, PORT + 1)
    equal(at(gb, f"{PORT + 1}-web").get("/").status, 502, "nobody listens there")
    expose(gb, box, PORT)


def wakes(gb, box):
    web = at(gb, f"{PORT}-web")
    before = web.get("/").json["requests"]
    expose(gb, box, PORT, open=False)
    token = token_for(gb, box, PORT)
    gb.api.post(f"{SANDBOXES}/{box.id}/suspend").expect(200, 202)
    eventually(lambda: status(gb, box) == "suspended", 30, "it sleeps")
    # Who may not come in wakes nobody; nor does our own /healthz.
    equal(web.get("/").status, 401)
    equal(web.get("/healthz").status, 401)
    equal(at(gb, "").get("/healthz").body, b"ok\n")
    equal(status(gb, box), "suspended")
    answers = []
    def ask():
        answers.append(at(gb, f"{PORT}-web", token).get("/").json["requests"])
    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(sorted(answers), list(range(before + 1, before + 21)), "each is answered, once")
    equal(status(gb, box), "running")
    gb.api.post(f"{SANDBOXES}/{box.id}/suspend").expect(200, 202)
    equal(at(gb, f"{PORT}-web", token).get("/healthz").status, 200, "on a box's host it is the box's")
    equal(status(gb, box), "running")
    expose(gb, box, PORT)
    # A request under way, and a WebSocket, keep it awake.
    slow = threading.Thread(target=lambda: answers.append(web.get("/slow=5").status))
    slow.start()
    with raw(web, b"GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nx" % web.host.encode()) as ws:
        while not ws.recv(1000).endswith(b"x"):
            pass
        equal(gb.api.post(f"{SANDBOXES}/{box.id}/suspend").status, 409)
    slow.join()
    equal(answers[-1], 200)
    eventually(lambda: gb.api.post(f"{SANDBOXES}/{box.id}/suspend").status in (200, 202), 60, "nobody is in it any more")
    web.get("/").expect(200)


def data_plane(gb, box):
    url = at(gb, "").url
    for api in (Api(url, gb.key, host=f"web.{DOMAIN}"), Api(url, gb.key, host=f"{box.id}.local"), Api(url, gb.key, host=f"9501-web.{DOMAIN}")):
        assert api.get("/api/v1/health").expect(200).json["healthy"]
    assert Api(url, gb.key, host="127.0.0.2").get("/api/v1/health", headers={"X-Tensorlake-Sandbox-Id": "web"}).expect(200)
    api = Api(url, gb.key, host=f"web.{DOMAIN}")
    frames = [data for _, data in api.events("POST", "/api/v1/processes/run", {"command": "echo", "args": ["hi"]})]
    assert any(json.loads(frame).get("line") == "hi" for frame in frames), frames
    data = os.urandom(1_000_000)
    api.put("/api/v1/files?path=/tmp/x", data).expect(204)
    equal(api.get("/api/v1/files?path=/tmp/x").expect(200).body, data)
    equal(Api(url, host=f"web.{DOMAIN}").get("/api/v1/health").status, 401)
    for path in ("/", f"{SANDBOXES}", "/api/v1/../../v1/namespaces/default/sandboxes", "/s/web/api/v1/health", "/metrics"):
        equal(api.get(path).status, 404, path)
    with api.websocket(f"/api/v1/tunnels/tcp?port={PORT}") as tunnel:
        tunnel.send(b"GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in tunnel.receive()[1]
    # The lifecycle, below the label that is the engine's.
    assert Api(url, gb.key, host=f"127.0.0.1").get("/healthz").body == b"ok\n"


def malformed(gb, box):
    web = at(gb, f"{PORT}-web")
    host = web.host.encode()
    for data, wanted in ((b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
                         (b"POST / HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
                         (b"POST / HTTP/1.1\r\nHost: " + host + b"\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
                         (b"GET / HTTP/2.0\r\nHost: " + host + b"\r\n\r\n", 505), (b"GET /\x01 HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400),
                         (b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
                         (b"TRACE / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 405), (b"CONNECT a:1 HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400),
                         (b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nA: b\n\r\n", 400)):
        text = web.raw(data, timeout=20, half_close=True)
        assert text.startswith(b"HTTP/1.1 %d " % wanted), (data[:100], text[:200])


def survives(gb, box):
    web = at(gb, f"{PORT}-web")
    for part in ("engine", "ingress", "engine"):
        old = gb.pid(part)
        os.kill(old, signal.SIGKILL)
        eventually(lambda: gb.pid(part) not in (0, old), 60, f"another {part}")
        def answers():
            try:
                return web.get("/again").status == 200
            except (OSError, socket.timeout):
                return False
        eventually(answers, 60, f"an answer after the end of the {part}")


def test(tmp):
    with Glovebox(tmp, parts=("engine", "ingress")) as gb:
        box = gb.create(name="web", exposed_ports=[PORT], allow_unauthenticated_access=True)
        serving(box)
        checks = Checks()
        for check in (passes_on, streams, asks_first, wakes, data_plane, malformed, survives):
            with checks(check.__name__):
                check(gb, box)
        checks.done()


run(test)
