"""For tests that try what they may not from inside of a box: raw requests, sent from there, and a recorder before the service."""
import base64
import json
import os
import re
import socket
import socketserver
import threading

from support import slurp

HERE = os.path.dirname(os.path.abspath(__file__))


class Recorder:
    """Between uplink (and orchestrator) and the brain: passes bytes on, keeps every request's head."""

    def __init__(self):
        self.target, self.heads, self.heard = None, [], bytearray()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    with socket.create_connection(outer.target(), timeout=60) as other:
                        threading.Thread(target=outer.pump, args=(other, self.request, None), daemon=True).start()
                        outer.pump(self.request, other, bytearray())
                except (OSError, TypeError):
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address = True, True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def pump(self, source, sink, kept):
        try:
            while data := source.recv(65536):
                self.heard += data
                if kept is not None:
                    kept += data
                    self.take(kept)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def take(self, kept):
        """Whole requests off the front; all that comes here has a length or no body."""
        while b"\r\n\r\n" in kept:
            head, _, rest = bytes(kept).partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if length and len(rest) < int(length[1]):
                return
            self.heads.append(head.decode())
            del kept[:len(head) + 4 + (int(length[1]) if length else 0)]

    def of_uplink(self):
        return [head for head in self.heads if "glovebox-uplink/" in head]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def raw(method, target, body=b"", headers=(), version="HTTP/1.1", length=True):
    body = json.dumps(body).encode() if not isinstance(body, bytes) else body
    lines = [f"{method} {target} {version}", "Host: 127.0.0.1", "Connection: close", *headers]
    if body and length:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Inside:
    """attacks/uplink.py in a box."""

    def __init__(self, box):
        self.box = box
        box.write("/tmp/uplink.py", slurp(os.path.join(HERE, "attacks", "uplink.py")))

    def ask(self, attempts, wait=200):
        started = self.box.start("python3", "/tmp/uplink.py", stdin_mode="pipe")
        lines = "".join(json.dumps({**a, "raw": base64.b64encode(a["raw"]).decode()}) + "\n" for a in attempts)
        self.box.call("POST", f"/processes/{started['pid']}/stdin", lines.encode(), timeout=120).expect(204)
        self.box.call("POST", f"/processes/{started['pid']}/stdin/close", b"").expect(204)
        self.box.ended(started["pid"], wait)
        return {a["name"]: a for a in map(json.loads, self.box.output(started["pid"], "stdout"))}


def address(url):
    host, port = url.rstrip("/").split("//")[1].rsplit(":", 1)
    return host, int(port)
