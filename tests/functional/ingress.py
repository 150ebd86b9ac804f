"""What tests of the ingress share: a server for inside of boxes, and clients that come from outside."""
import contextlib
import json

from harness import Api, wait_for
from support import eventually

PORT = 8080
DOMAIN = "glovebox.localhost"

# HTTP/1.1 with keep-alive, by hand: says what it was asked; /slow waits, /stream says something every now and then, /ws echoes raw
# bytes after a handshake that is accepted whatever it is, /early answers before it has read the body, /count counts its requests.
SERVER = r"""
import hashlib, json, socket, sys, threading, time
def head(c, rest):
    while b"\r\n\r\n" not in rest:
        data = c.recv(65536)
        if not data: return None, b""
        rest += data
    return rest.split(b"\r\n\r\n", 1)
def exactly(c, rest, n):
    while len(rest) < n:
        data = c.recv(65536)
        if not data: raise EOFError
        rest += data
    return rest[:n], rest[n:]
def chunks(c, rest):
    body = b""
    while True:
        while b"\r\n" not in rest: rest += c.recv(65536)
        size, rest = rest.split(b"\r\n", 1)
        n = int(size, 16)
        piece, rest = exactly(c, rest, n + 2)
        if n == 0: return body, rest
        body += piece[:-2]
requests = 0
def serve(c):
    global requests
    rest = b""
    with c:
        while True:
            text, rest = head(c, rest)
            if text is None: return
            requests += 1
            first, *lines = text.decode("latin-1").split("\r\n")
            method, path, _ = first.split(" ")
            headers = [line.split(": ", 1) for line in lines]
            get = {name.lower(): value for name, value in headers}
            if path.startswith("/early"):
                c.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nno!\n"); return
            if "content-length" in get: body, rest = exactly(c, rest, int(get["content-length"]))
            elif get.get("transfer-encoding") == "chunked": body, rest = chunks(c, rest)
            else: body = b""
            if path.startswith("/ws"):
                c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n" + rest)
                while data := c.recv(65536): c.sendall(data)
                return
            if path.startswith("/slow"): time.sleep(float(path.split("=")[1]))
            if path.startswith("/stream"):
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                for i in range(int(path.split("=")[1])):
                    c.sendall(b"8\r\ntick %02d\n\r\n" % i); time.sleep(0.05)
                c.sendall(b"0\r\n\r\n"); continue
            if path.startswith("/big"):
                n = int(path.split("=")[1])
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n)
                piece = bytes(range(256)) * 256
                while n > 0: c.sendall(piece[:n]); n -= len(piece[:n])
                continue
            said = {"method": method, "path": path, "headers": headers, "size": len(body), "requests": requests,
                    "sha256": hashlib.sha256(body).hexdigest()}
            out = json.dumps(said).encode()
            close = path.startswith("/bye")
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n" %
                      (len(out), b"Connection: close\r\n" if close else b"") + (b"" if method == "HEAD" else out))
            if close: return
def guarded(c):
    try: serve(c)
    except (EOFError, OSError): pass
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(512)
print("up", flush=True)
while True:
    c, _ = s.accept()
    threading.Thread(target=guarded, args=(c,), daemon=True).start()
"""


def serving(box, port=PORT):
    """Starts the server in the box; when this returns it listens."""
    pid = box.start("python3", "-c", SERVER, str(port))["pid"]
    eventually(lambda: "up" in box.lines(pid), 30, "the server inside of the box")
    return pid


def at(gb, label, token=None, timeout=60.0):
    """A client of the ingress that asks for LABEL.DOMAIN."""
    url = wait_for("the ingress", lambda: (gb.part("ingress").get("url") or "").rstrip("/"), 60)
    return Api(url, token or "", host=f"{label}.{DOMAIN}" if label else DOMAIN, timeout=timeout)


def header(answer, name):
    """What the server inside saw of a header."""
    return [value for key, value in answer.json["headers"] if key.lower() == name.lower()]


def expose(gb, box, *ports, open=True):
    return gb.api.patch(f"/v1/namespaces/default/sandboxes/{box.id}",
                        {"exposed_ports": list(ports), "allow_unauthenticated_access": open}).expect(200).json


def token_for(gb, box, port, **body):
    return gb.api.post(f"/v1/namespaces/default/sandboxes/{box.id}/ports/{port}/token", body).expect(201).json["token"]


def status(gb, box):
    return gb.get(box.id).json["status"]


@contextlib.contextmanager
def raw(api, data, timeout=30.0):
    """A connection on which `data` was said."""
    import socket
    with socket.create_connection(api.address, timeout=timeout) as connection:
        connection.sendall(data)
        yield connection


def dumps(value):
    return json.dumps(value)
