"""What strangers can send to the ingress gets them nothing: smuggled requests, injected headers, confused hosts, odd paths, ways to
the host's own services, too much and too slow, TLS that is none, forged and replayed webhooks.
labels: privileged timeout=900
"""
import contextlib
import socket
import ssl
import subprocess
import threading
import time

from harness import SANDBOXES, Glovebox, run, wait_for
from ingress_clients import DOMAIN, Ingress, answer_of, answers, inside, new_secret, seen, serve, signed, verify_port
from support import Checks, equal

LOOSE = {  # so that one machine may try them all; what the limits do is another test's
    "GLOVEBOX_INGRESS_SOURCE_REFUSALS_PER_MINUTE": "1000000",
    "GLOVEBOX_INGRESS_SOURCE_WAKES_PER_MINUTE": "1000000",
}


def refused(answer, *statuses):
    assert answer.status in statuses, f"got {answer.status} {answer.body[:300]!r}, expected one of {statuses}"


def head(host, *lines, method="GET", path="/", version="HTTP/1.1"):
    return "\r\n".join([f"{method} {path} {version}", f"Host: {host}", *lines, "", ""]).encode("latin-1")


class World:
    def __init__(self, gb, ca):
        self.gb, self.ingress = gb, Ingress(gb, ca)
        self.open = gb.create(name="open", exposed_ports=[8000], allow_unauthenticated_access=True)
        self.shut = gb.create(name="shut", exposed_ports=[8000, gb_port(gb)])
        self.hook = gb.create(name="hook")
        for box, ports in ((self.open, (8000, 8001)), (self.shut, (8000,)), (self.hook, (5051,))):
            serve(box, *ports)
        self.secret = new_secret()
        verify_port(gb, self.hook, 5051, self.secret)
        self.host = f"8000-open.{DOMAIN}"

    def arrived(self):
        return seen(self.open), seen(self.shut)


def gb_port(gb):
    return gb.api.address[1]


# --- smuggling: (name, bytes after the request line and Host, or the whole request). None of it may reach a box, or be answered twice.

CHUNK = b"5\r\nhello\r\n0\r\n\r\n"
INNER = b"GET /smuggled HTTP/1.1\r\nHost: 8000-open.glovebox.localhost\r\n\r\n"
SMUGGLING = [
    ("length and chunks", ["Content-Length: 5", "Transfer-Encoding: chunked"], CHUNK),
    ("chunks and length", ["Transfer-Encoding: chunked", "Content-Length: 70"], b"0\r\n\r\n" + INNER),
    ("two lengths that differ", ["Content-Length: 0", f"Content-Length: {len(INNER)}"], INNER),
    ("a list of lengths", [f"Content-Length: 0, {len(INNER)}"], INNER),
    ("a length with a sign", ["Content-Length: +5"], b"hello"),
    ("a negative length", ["Content-Length: -5"], b"hello"),
    ("a length in hex", ["Content-Length: 0x5"], b"hello"),
    ("a length no number can hold", ["Content-Length: 99999999999999999999999"], b"hello"),
    ("an empty length", ["Content-Length:"], INNER),
    ("an encoding nobody knows", ["Transfer-Encoding: xchunked"], CHUNK),
    ("chunked not at the end", ["Transfer-Encoding: chunked, identity"], CHUNK),
    ("chunked twice", ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], CHUNK),
    ("chunked and gzip", ["Transfer-Encoding: gzip, chunked"], CHUNK),
    ("a space before the colon", ["Transfer-Encoding : chunked"], CHUNK),
    ("a vertical tab before chunked", ["Transfer-Encoding: \x0bchunked"], CHUNK),
    ("a NUL in an encoding", ["Transfer-Encoding: chunked\0"], CHUNK),
    ("a folded header", ["Transfer-Encoding:", " chunked"], CHUNK),
    ("a chunk size with 0x", ["Transfer-Encoding: chunked"], b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk size with a sign", ["Transfer-Encoding: chunked"], b"+5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk size no number can hold", ["Transfer-Encoding: chunked"], b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("a chunk that is longer than it says", ["Transfer-Encoding: chunked"], b"3\r\nhello\r\n0\r\n\r\n"),
    ("a bare line feed after a chunk size", ["Transfer-Encoding: chunked"], b"5\nhello\r\n0\r\n\r\n"),
    ("no size at all", ["Transfer-Encoding: chunked"], b"\r\nhello\r\n"),
    ("a name with a space", ["Bad Name: x"], b""),
    ("a name with a line feed in it", ["X-A\n: x"], b""),
    ("a bare carriage return in a value", ["X-A: b\rX-C: d"], b""),
    ("a bare line feed in a value", ["X-A: b\nTransfer-Encoding: chunked"], b""),
    ("a NUL in a value", ["X-A: b\0c"], b""),
    ("a line without a colon", ["nonsense"], b""),
    ("a header without a name", [": nonsense"], b""),
]


def smuggling(world, check):
    for name, lines, body in SMUGGLING:
        with check("smuggling: " + name):
            before = world.arrived()
            data = world.ingress.raw(head(world.host, *lines, method="POST") + body)
            refused(answer_of(data), 400, 411, 413, 431, 501)
            assert all(answer.status >= 400 for answer in answers(data)), data[:500]
            equal(world.arrived(), before, "what arrived")
    whole = [
        ("bare line feeds", head(world.host).replace(b"\r\n", b"\n")),
        ("no Host", b"GET / HTTP/1.1\r\n\r\n"),
        ("two Hosts", head(world.host, "Host: 8000-shut." + DOMAIN)),
        ("an empty Host", head("", "Connection: close")),
        ("chunks in HTTP/1.0", head(world.host, "Transfer-Encoding: chunked", method="POST", version="HTTP/1.0") + CHUNK),
        ("HTTP/2 without TLS", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("HTTP/0.9", b"GET /\r\n\r\n"),
        ("a version nobody speaks", head(world.host, version="HTTP/1.9999")),
        ("a space in the target", head(world.host, path="/a b")),
        ("no target", b"GET  HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a method with odd characters", head(world.host, method="GE(T")),
        ("a tunnel", head("127.0.0.1:22", method="CONNECT", path="127.0.0.1:22")),
        ("TRACE, which would say our headers", head(world.host, "Connection: close", method="TRACE")),
    ]
    for name, data in whole:
        with check("smuggling: " + name):
            before = world.arrived()
            got = answer_of(world.ingress.raw(data))
            refused(got, 400, 404, 405, 501, 505)
            equal(world.arrived(), before, "what arrived")
    with check("smuggling: a request in the body of another stays a body"):
        before = len(seen(world.open))
        data = world.ingress.raw(head(world.host, f"Content-Length: {len(INNER)}", "Connection: close") + INNER)
        equal([a.status for a in answers(data)], [200])
        equal(inside(answers(data)[0])[3], INNER.decode())
        equal(len(seen(world.open)), before + 1)
    with check("smuggling: what comes after a request is judged by itself"):
        before = len(seen(world.shut))
        data = world.ingress.raw(head(world.host) + head(f"8000-shut.{DOMAIN}", "Connection: close"))
        equal([a.status for a in answers(data)], [200, 401])
        equal(len(seen(world.shut)), before)


# --- headers

def headers(world, check):
    key, ingress = world.gb.key, world.ingress
    with check("headers: what a client says of where it comes from is replaced"):
        forged = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil"), ("X-Real-IP", "1.2.3.4"),
                  ("Forwarded", "for=1.2.3.4"), ("X_Forwarded_For", "1.2.3.4"), ("X-Tensorlake-Sandbox-Id", world.shut.id)]
        heard = inside(ingress.call("GET", world.host, "/", headers=forged).expect(200))[2]
        text = repr(heard)
        assert "1.2.3.4" not in text and "evil" not in text and world.shut.id not in text, text
        values = {name.lower(): value for name, value in heard}
        equal((values["x-forwarded-for"], values["x-forwarded-proto"], values["x-forwarded-host"]), ("127.0.0.1", "http", world.host))
    with check("headers: over TLS it says so"):
        heard = inside(ingress.call("GET", world.host, "/", tls=world.host).expect(200))[2]
        equal({name.lower(): value for name, value in heard}["x-forwarded-proto"], "https")
    with check("headers: Connection takes nothing away that is ours"):
        lines = [("Connection", "close, X-Forwarded-For, X-Forwarded-Proto"), ("X-Mine", "1")]
        heard = inside(ingress.call("GET", world.host, "/", headers=lines).expect(200))[2]
        assert any(name.lower() == "x-forwarded-for" for name, _ in heard)
    with check("headers: what belongs to one connection stays there"):
        lines = [("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=9"), ("TE", "trailers"), ("Proxy-Authorization", "Basic x"),
                 ("Proxy-Connection", "keep-alive")]
        names = {name.lower() for name, _ in inside(ingress.call("GET", world.host, "/", headers=lines).expect(200))[2]}
        assert not names & {"x-hop", "keep-alive", "te", "proxy-authorization", "proxy-connection"}, names
    with check("headers: encoded line ends stay encoded"):
        path = "/a%0d%0aX-Evil:%201"
        _, got, heard, _ = inside(ingress.call("GET", world.host, path).expect(200))
        equal(got, path)
        assert not any(name.lower() == "x-evil" for name, _ in heard)
    with check("headers: a token does not enter the box"):
        token = world.gb.cli("sandbox", "port", "token", world.shut.id, "8000", "--text")
        assert token.returncode == 0, token.stderr
        token = token.stdout.split()[-1]
        host = f"8000-shut.{DOMAIN}"
        refused(ingress.call("GET", host, "/"), 401)
        refused(ingress.call("GET", host, "/", headers={"Authorization": "Bearer " + token[:-2]}), 401)
        heard = ingress.call("GET", host, "/", headers={"Authorization": f"Bearer {token}"}).expect(200)
        assert token not in heard.text and "uthorization" not in heard.text
        heard = ingress.call("GET", host, "/", headers={"X-Glovebox-Token": token, "Authorization": "Basic mine"}).expect(200)
        assert token not in heard.text and "Basic mine" in heard.text, "the application's own header"
        refused(ingress.call("GET", f"8000-open.{DOMAIN}", "/", headers={"Authorization": f"Bearer {token}"}), 200, 401, 403)
    with check("headers: the engine's key is refused at ports, by name and encoding"):
        before = world.arrived()
        for lines in ({"Authorization": f"Bearer {key}"}, {"authorization": f"bearer  {key}"}, {"X-Glovebox-Token": key}):
            for name in ("open", "shut"):
                refused(ingress.call("GET", f"8000-{name}.{DOMAIN}", "/", headers=lines), 400, 401, 403)
        equal(world.arrived(), before)
    with check("headers: more than fits"):
        refused(ingress.call("GET", world.host, "/", headers={"X-Big": "x" * 40_000}), 431, 400)
        refused(ingress.call("GET", world.host, "/", headers=[(f"X-{i}", "1") for i in range(200)]), 431, 400)
        refused(ingress.call("GET", world.host, "/" + "x" * 40_000), 414, 431, 400)
    for path in ("/bad/both", "/bad/lengths", "/bad/status", "/bad/header", "/bad/text", "/bad/huge", "/bad/switch"):
        with check(f"headers: an answer no server should give ({path})"):
            refused(ingress.call("GET", world.host, path), 502)


# --- hosts: (Host, status) of a port without a token

def hosts(world, check):
    ingress, name = world.ingress, "open"
    port = ingress.address[1]
    good = [f"8000-{name}.{DOMAIN}", f"8000-{name}.{DOMAIN}:{port}", f"8000-{name.upper()}.{DOMAIN.upper()}", f"8000-{name}.{DOMAIN}.",
            f"8000-{world.open.id}.{DOMAIN}", f"8000-{name}.local"]
    for host in good:
        with check("host: " + host.replace(world.open.id, "ID").replace(str(port), "PORT")):
            refused(ingress.call("GET", host, "/"), 200)
    bad = [f"8000-{name}.{DOMAIN}.example.org", f"8000-{name}{DOMAIN}", f"x.8000-{name}.{DOMAIN}", f"8000-{name}.example.org", "example.org",
           f"user@8000-{name}.{DOMAIN}", f"8000-{name}.{DOMAIN}:port", f"8000-{name}.{DOMAIN}:80:80", f"08000-{name}.{DOMAIN}",
           f"0-{name}.{DOMAIN}", f"70000-{name}.{DOMAIN}", f"-1-{name}.{DOMAIN}", f"8001-{name}.{DOMAIN}", f"22-{name}.{DOMAIN}",
           f"8000-.{DOMAIN}", f"8000-nobody.{DOMAIN}", f"8000-{name}%2e{DOMAIN}", f"8000-{name}/.{DOMAIN}", f"[::1].{DOMAIN}",
           f"8000-{name}.{DOMAIN},8000-shut.{DOMAIN}", f"8000-..{DOMAIN}", "a" * 300 + "." + DOMAIN]
    for host in bad:
        with check("host: " + host[:60]):
            before = world.arrived()
            refused(ingress.call("GET", host, "/"), 400, 404)
            equal(world.arrived(), before)
    with check("host: the data plane wants the engine's key"):
        for host in (f"{name}.{DOMAIN}", f"9501-{name}.{DOMAIN}", f"{name}.local"):
            refused(ingress.call("GET", host, "/api/v1/health"), 401)
            refused(ingress.call("GET", host, "/api/v1/health", headers={"Authorization": f"Bearer {world.gb.key}"}), 200)
    with check("host: a routing header says nothing where the Host does"):
        for box in ("shut", world.shut.id):
            heard = ingress.call("GET", world.host, "/", headers={"X-Tensorlake-Sandbox-Id": box, "X-Tensorlake-Sandbox-Port": "8000"})
            refused(heard, 200)
        equal(inside(heard)[0], "GET")
    with check("host: a routing header is no way around a token"):
        refused(ingress.call("GET", "127.0.0.1", "/", headers={"X-Tensorlake-Sandbox-Id": "shut", "X-Tensorlake-Sandbox-Port": "8000"}), 401)
        refused(ingress.call("GET", "127.0.0.1", "/", headers={"X-Tensorlake-Sandbox-Id": "open", "X-Tensorlake-Sandbox-Port": "8001"}), 404)
    with check("host: the name TLS was made for is not the one that counts"):
        refused(ingress.call("GET", f"8000-shut.{DOMAIN}", "/", tls=world.host), 401, 421)


# --- paths and ways to the host's own services

def paths(world, check):
    ingress = world.ingress
    for path in ("//evil/x", "/..%2f..%2fetc/passwd", "/a/../../etc/passwd", "/%2e%2e/", "/a;b", "/?q=%00", "/\\evil", "/@evil", "/a//b"):
        with check("path: passed on to this box and nowhere else: " + path):
            answer = ingress.call("GET", world.host, path)
            if answer.status == 200:
                got = inside(answer)[1]
                equal(got.lstrip("/"), path.lstrip("/"))
            else:
                refused(answer, 400)
    with check("path: a whole URL is not another host"):
        for url in ("http://127.0.0.1:22/", f"http://8000-shut.{DOMAIN}/", f"http://127.0.0.1:{gb_port(world.gb)}/v1/namespaces/default/sandboxes"):
            before = seen(world.shut)
            answer = answer_of(ingress.raw(head(world.host, "Connection: close", path=url)))
            assert answer.status == 400 or (answer.status == 200 and "namespace" not in answer.text.replace(url, "")) or answer.status in (401, 404), answer
            equal(seen(world.shut), before)
    with check("path: /healthz of a box is the box's"):
        equal(inside(ingress.call("GET", world.host, "/healthz").expect(200))[1], "/healthz")
    with check("path: our own /healthz says nothing"):
        equal(ingress.call("GET", DOMAIN, "/healthz").expect(200).text, "ok\n")
        refused(ingress.call("GET", DOMAIN, "/metrics"), 401)
        refused(ingress.call("GET", DOMAIN, "/"), 404)
    with check("services: an exposed port is the box's, never the host's"):
        # The engine listens at this port of the host; in the box nobody does.
        token = world.gb.cli("sandbox", "port", "token", world.shut.id, str(gb_port(world.gb)), "--text").stdout.split()[-1]
        answer = ingress.call("GET", f"{gb_port(world.gb)}-shut.{DOMAIN}", "/healthz", headers={"X-Glovebox-Token": token})
        refused(answer, 502)
    with check("services: redirects are the client's to follow"):
        answer = ingress.call("GET", world.host, "/away")
        equal((answer.status, answer.headers["Location"]), (302, "http://169.254.169.254/"))
    with check("services: the APIs want their keys behind the ingress, too"):
        refused(ingress.call("GET", f"sandbox.{DOMAIN}", "/sandboxes"), 401)
        refused(ingress.call("GET", f"sandbox.{DOMAIN}", "/sandboxes", headers={"Authorization": f"Bearer {world.gb.key}"}), 200)
        refused(ingress.call("GET", f"sandbox.{DOMAIN}", "/metrics"), 401)
    with check("services: a page of a box cannot use a visitor's way to the engine"):
        refused(ingress.call("GET", f"sandbox.{DOMAIN}", "/sandboxes",
                             headers={"Authorization": f"Bearer {world.gb.key}", "Origin": f"https://8000-open.{DOMAIN}"}), 403)


# --- TLS

def tls(world, check):
    ingress = world.ingress

    def handshake(**more):
        with ingress.connect(world.host, context=ingress.context(**more)) as connection:
            return connection.version()

    with check("TLS: 1.2 and 1.3"):
        equal(handshake(maximum_version=ssl.TLSVersion.TLSv1_2), "TLSv1.2")
        equal(handshake(minimum_version=ssl.TLSVersion.TLSv1_3), "TLSv1.3")
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with check(f"TLS: not {version.name}"):
            context = ingress.context()
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
            try:
                with ingress.connect(world.host, context=context) as connection:
                    raise AssertionError(f"it speaks {connection.version()}")
            except (ssl.SSLError, ConnectionError):
                pass
    for ciphers in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "NULL:@SECLEVEL=0"):
        with check(f"TLS: not with {ciphers}"):
            context = ingress.context(maximum_version=ssl.TLSVersion.TLSv1_2)
            try:
                context.set_ciphers(ciphers)
                with ingress.connect(world.host, context=context):
                    raise AssertionError("it does")
            except (ssl.SSLError, ConnectionError):
                pass
    with check("TLS: without trust there is no connection"):
        try:
            with ingress.connect(world.host, context=ssl.create_default_context()):
                raise AssertionError("trusted by everybody")
        except ssl.SSLCertVerificationError:
            pass
    with check("TLS: for no other name"):
        for name in ("example.org", f"a.b.{DOMAIN}", "glovebox.localhost.example.org"):
            try:
                with ingress.connect(name):
                    raise AssertionError(f"a certificate for {name}")
            except ssl.SSLCertVerificationError:
                pass
    with check("TLS: only HTTP/1.1 is agreed on"):
        context = ingress.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with ingress.connect(world.host, context=context) as connection:
            equal(connection.selected_alpn_protocol(), "http/1.1")
    for name, data in (("what only begins as TLS", b"\x16\x03\x01\xff\xffgarbage" * 50), ("an old hello", b"\x80\x2e\x01\x00\x02" + b"\0" * 60),
                       ("an HTTP request after its first byte", b"\x16" + head(world.host))):
        with check("TLS: " + name):
            before = world.arrived()
            got = ingress.raw(data, timeout=60)
            assert b" 200 " not in got, got[:200]
            equal(world.arrived(), before)
    with check("TLS: cut in the middle"):
        for size in (1, 3, 5, 50):
            with contextlib.closing(socket.create_connection(ingress.address, timeout=30)) as connection:
                connection.sendall((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 100)[:size])
        refused(ingress.call("GET", world.host, "/", tls=world.host), 200)
    with check("TLS: a certificate of the box's own making is not ours"):
        with ingress.connect(world.host) as connection:
            names = [value for _, value in connection.getpeercert()["subjectAltName"]]
        assert f"*.{DOMAIN}" in names and DOMAIN in names, names


# --- webhooks: none of these wakes the box

def webhooks(world, check):
    gb, ingress, secret = world.gb, world.ingress, world.secret
    host, body, now = f"5051-hook.{DOMAIN}", b'{"type":"event"}', int(time.time())
    good = signed(secret, body)

    def without(name):
        return {k: v for k, v in good.items() if k != name}

    def state():
        return gb.get("hook").json["status"]

    gb.api.post(f"{SANDBOXES}/hook/suspend").expect(200, 202)
    wait_for("the sleep of hook", lambda: state() == "suspended", 60)
    cases = [
        ("unsigned", {}, body, (401,)),
        ("without an id", without("webhook-id"), body, (401,)),
        ("without a time", without("webhook-timestamp"), body, (401,)),
        ("without a signature", without("webhook-signature"), body, (401,)),
        ("another body", good, body + b" ", (401,)),
        ("no body", good, b"", (401,)),
        ("another id", good | {"webhook-id": "msg_2"}, body, (401,)),
        ("another time", good | {"webhook-timestamp": str(now + 7)}, body, (401,)),
        ("another secret", signed(new_secret(), body), body, (401,)),
        ("too old", signed(secret, body, at=now - 400), body, (401,)),
        ("from the future", signed(secret, body, at=now + 400), body, (401,)),
        ("a time that is no number", good | {"webhook-timestamp": "now"}, body, (401,)),
        ("a signature of another version", good | {"webhook-signature": "v2" + good["webhook-signature"][2:]}, body, (401,)),
        ("an empty signature", good | {"webhook-signature": "v1,"}, body, (401,)),
        ("a thousand signatures", good | {"webhook-signature": " ".join(["v1,AAAA"] * 1000)}, body, (401, 431)),
        ("two ids", [*good.items(), ("webhook-id", "msg_1")], body, (401,)),
        ("two signatures", [*good.items(), ("Webhook-Signature", "v1,AAAA")], body, (401,)),
        ("the engine's key", {"Authorization": f"Bearer {gb.key}"}, body, (400, 401, 403)),
        ("2 MB", signed(secret, b"x" * (2 << 20)), b"x" * (2 << 20), (413,)),
    ]
    for name, lines, sent, statuses in cases:
        with check("webhook: " + name):
            refused(ingress.call("POST", host, "/", sent, lines), *statuses)
            equal(state(), "suspended")
    with check("webhook: 2 MB in chunks"):
        lines = [*(f"{k}: {v}" for k, v in good.items()), "Transfer-Encoding: chunked"]
        data = head(host, *lines, method="POST") + b"10000\r\n" + b"x" * 65536 + b"\r\n"
        refused(answer_of(ingress.raw(data + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 31 + b"0\r\n\r\n")), 413)
        equal(state(), "suspended")
    with check("webhook: a look, and a WebSocket"):
        refused(ingress.call("GET", host, "/healthz"), 401)
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
        refused(ingress.call("GET", host, "/", headers=upgrade), 400, 401)
        equal(state(), "suspended")
    with check("webhook: signed for the port of another box"):
        refused(ingress.call("POST", f"8000-shut.{DOMAIN}", "/", body, good), 401)
    with check("webhook: a genuine one wakes and arrives, once"):
        equal(inside(ingress.call("POST", host, "/", body, good, timeout=120).expect(200))[3], body.decode())
        equal(state(), "running")
        refused(ingress.call("POST", host, "/", body, good), 409)
        equal(seen(world.hook).count("POST /"), 1)
    with check("webhook: not again after a new start of the ingress"):
        gb.kill_part("ingress")
        wait_for("the ingress", lambda: again(lambda: ingress.call("GET", DOMAIN, "/healthz").status == 200), 60)
        wait_for("its link", lambda: ingress.call("POST", host, "/", body, good).status == 409, 60)
        equal(seen(world.hook).count("POST /"), 1)
    with check("webhook: what the box did not take may come again"):
        late = signed(secret, body, "msg_fail")
        refused(ingress.call("POST", host, "/fail", body, late), 500)
        refused(ingress.call("POST", host, "/fail", body, late), 500)
    with check("webhook: another secret counts at once, the old one does not"):
        other = new_secret()
        verify_port(gb, world.hook, 5051, other)
        wait_for("the new secret", lambda: ingress.call("POST", host, "/", body, signed(other, body, "msg_3")).status in (200, 409), 30)
        refused(ingress.call("POST", host, "/", body, signed(secret, body, "msg_4")), 401)
    with check("webhook: the box and its API never show the secret"):
        shown = gb.get("hook").text + gb.api.get(f"{SANDBOXES}/hook/ports").expect(200).text + gb.log()
        assert "whsec_" not in shown
        equal(gb.api.get(f"{SANDBOXES}/hook/ports").json["ports"], [{"port": 5051, "access": "signed", "verify": "standard-webhooks", "secrets": 1}])
    with check("webhook: a copy of the box does not have the port"):
        copies = gb.api.post(f"{SANDBOXES}/hook/copy?times=1").expect(200, 201, 202).json
        one = (copies.get("sandboxes") or copies.get("copies") or [copies])[0]
        copy = gb.get(one.get("sandbox_id") or one.get("id")).json
        assert 5051 not in (copy.get("exposed_ports") or []), copy
        gb.api.delete(f"{SANDBOXES}/{copy.get('id') or copy.get('sandbox_id')}").expect()


def again(attempt):
    try:
        return attempt()
    except (OSError, AssertionError):
        return False


# --- slow: all at once, for they take their time

def slow(world, check):
    ingress = world.ingress
    ends = {}

    def drip(name, first, rest, tls=None):
        began = time.monotonic()
        try:
            with ingress.connect(tls, timeout=120) as connection:
                connection.sendall(first)
                connection.settimeout(1)
                got = b""
                while time.monotonic() - began < 110:
                    with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                        piece = connection.recv(65536)
                        got += piece
                        if not piece or b"\r\n\r\n" in got:
                            break
                    connection.sendall(rest)
                else:
                    got = b"never"
        except OSError:
            got = b""
        ends[name] = got

    cases = [
        ("a head, byte by byte", head(world.host)[:20], b"x", None),
        ("headers without end", head(world.host)[:-2], b"X-A: b\r\n", None),
        ("a head over TLS", head(world.host)[:20], b"x", world.host),
        ("half a handshake", b"\x16\x03\x01\x02\x00", b"", None),
        ("a body that does not come", head(world.host, "Content-Length: 100000", method="POST") + b"x", b"", None),
        ("a delivery that does not come", head(f"5051-hook.{DOMAIN}", "Content-Length: 1000", method="POST") + b"x", b"", None),
    ]
    threads = [threading.Thread(target=drip, args=case) for case in cases]
    for thread in threads:
        thread.start()
    time.sleep(1)
    with check("slow: others are served meanwhile"):
        for _ in range(20):
            refused(ingress.call("GET", world.host, "/"), 200)
    for thread in threads:
        thread.join(150)
    for name, *_ in cases:
        with check("slow: " + name):
            got = ends.get(name, b"never")
            assert got != b"never" and b" 200 " not in got, got[:200]


def test(tmp):
    check = Checks()
    with Glovebox(tmp, parts=("engine", "ingress"), environment=LOOSE) as gb:
        ca = f"{tmp}/ca.pem"
        with open(ca, "w") as file:
            done = gb.cli("ca")
            file.write(done.stdout)
        assert done.returncode == 0, done.stderr
        shown = gb.cli("ca", "--fingerprint").stdout.strip()
        want = subprocess.run(["openssl", "x509", "-in", ca, "-noout", "-fingerprint", "-sha256"], capture_output=True, text=True).stdout
        assert not want or shown in want, (shown, want)
        world = World(gb, ca)
        for part in (smuggling, headers, hosts, paths, tls, webhooks, slow):
            part(world, check)
        with check("after all of it: as before"):
            refused(world.ingress.call("GET", world.host, "/", tls=world.host), 200)
    check.done()


run(test)
