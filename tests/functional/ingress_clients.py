"""What tests of the ingress share: raw connections to it, plain or TLS; a server in a box that says what arrived; deliveries of
webhooks, signed as the specification says."""
import base64
import contextlib
import hashlib
import hmac
import json
import socket
import ssl
import time
import urllib.parse

from harness import Response, wait_for

DOMAIN = "glovebox.localhost"

# Answers each request with what it heard, as JSON; with /bad… with an answer no server should give. /tmp/seen has a line for each.
ECHO = r"""
import http.server, json, sys, threading
lock = threading.Lock()
BAD = {
  "/bad/both": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  "/bad/lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
  "/bad/status": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
  "/bad/header": b"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n",
  "/bad/text": b"SSH-2.0-OpenSSH_9.2\r\n",
  "/bad/huge": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"x" * 1000) for i in range(200)) + b"Content-Length: 0\r\n\r\n",
  "/bad/switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nnobody asked",
}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def every(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size); self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with lock, open("/tmp/seen", "a") as seen:
            seen.write(f"{self.command} {self.path}\n")
        if self.path in BAD:
            self.close_connection = True
            return self.wfile.write(BAD[self.path])
        if self.path == "/fail":
            answer, status = b"{}", 500
        elif self.path.startswith("/away"):
            self.send_response(302); self.send_header("Location", "http://169.254.169.254/"); self.send_header("Content-Length", "0")
            return self.end_headers()
        else:
            answer, status = json.dumps({"method": self.command, "path": self.path, "headers": self.headers.items(), "body": body.decode("latin-1")}).encode(), 200
        self.send_response(status); self.send_header("Content-Type", "application/json"); self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(answer)
    do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_HEAD = do_PATCH = every
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 200
for port in sys.argv[1:-1]:
    threading.Thread(target=Server(("127.0.0.1", int(port)), Handler).serve_forever, daemon=True).start()
Server(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


def serve(box, *ports):
    """Starts the echo in a box and waits until it listens."""
    box.start("python3", "-c", ECHO, *(str(port) for port in ports))
    probe = "import socket,sys\nfor p in sys.argv[1:]: socket.create_connection(('127.0.0.1', int(p)), 2).close()"
    wait_for("the server in the box", lambda: box.run("python3", "-c", probe, *(str(p) for p in ports)).exit_code == 0, 60)


def seen(box):
    """The requests that arrived in the box, in order."""
    return box.sh("cat /tmp/seen 2>/dev/null || true").ok().stdout.splitlines()


class Ingress:
    """A client of an ingress at an address, whatever name it calls it by."""

    def __init__(self, glovebox, ca=None):
        self.glovebox = glovebox
        parts = urllib.parse.urlsplit(glovebox.part("ingress")["url"])
        self.address, self.ca = ("127.0.0.1", parts.port), ca

    def context(self, **more):
        context = ssl.create_default_context(cafile=self.ca)
        for name, value in more.items():
            setattr(context, name, value)
        return context

    def connect(self, tls=None, timeout=30.0, context=None):
        """`tls` is the name to be asked for; None: plain."""
        plain = socket.create_connection(self.address, timeout=timeout)
        if tls is None:
            return plain
        try:
            return (context or self.context()).wrap_socket(plain, server_hostname=tls)
        except BaseException:
            plain.close()
            raise

    def raw(self, data, tls=None, timeout=30.0):
        """Sends bytes as they are; all that comes back until the other side closes."""
        with self.connect(tls, timeout) as connection:
            answer = b""
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
                connection.sendall(data)
                while piece := connection.recv(65536):
                    answer += piece
            return answer

    def call(self, method, host, path, body=b"", headers=(), tls=None, timeout=60.0):
        """One request, on a connection of its own."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        given = list(headers.items()) if isinstance(headers, dict) else list(headers)
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in given]
        return answer_of(self.raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body, tls, timeout))

    def name(self, port, box):
        return f"{port}-{box.name or box.id}.{DOMAIN}"


def answers(data):
    """All answers in the bytes, as Response."""
    found = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            break
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        names = {name.lower(): value for name, value in pairs}
        status = int(first.split()[1])
        if "chunked" in names.get("transfer-encoding", ""):
            body = b""
            while True:
                size, _, rest = rest.partition(b"\r\n")
                if not int(size or b"0", 16):
                    rest = rest[2:]
                    break
                body, rest = body + rest[:int(size, 16)], rest[int(size, 16) + 2:]
        else:
            length = int(names.get("content-length", len(rest)))
            body, rest = rest[:length], rest[length:]
        if status != 100:
            found.append(Response(status, pairs, body))
        data = rest
    return found


def answer_of(data):
    found = answers(data)
    assert found, f"no answer: {data[:300]!r}"
    return found[0]


def new_secret():
    import os
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


def signed(secret, body, identity="msg_1", at=None):
    """The headers of a delivery."""
    at = int(time.time()) if at is None else at
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{identity}.{at}.".encode() + body, hashlib.sha256).digest()
    return {"webhook-id": identity, "webhook-timestamp": str(at), "webhook-signature": "v1," + base64.b64encode(mac).decode(),
            "Content-Type": "application/json"}


def verify_port(glovebox, box, port, secret):
    return glovebox.api.put(f"/v1/namespaces/default/sandboxes/{box.id}/ports/{port}",
                            {"verify": "standard-webhooks", "secrets": [secret]}).expect(200).json


def inside(answer):
    """What the echo in the box heard: (method, path, [(name, value)], body)."""
    heard = json.loads(answer.body)
    return heard["method"], heard["path"], [tuple(pair) for pair in heard["headers"]], heard["body"]
