"""A proxy between a client and a service that remembers what was asked, and can stand in the way: answer itself, stay silent, hang up,
change what comes back, or cut the streams.

    with Between(brain.url) as between:
        between.on("POST", "/events$", refuse(503), times=3)
        … a worker with ANTHROPIC_BASE_URL=between.url …
        [asked.line for asked in between.requests]
"""
import contextlib
import http.client
import json
import re
import select
import socket
import socketserver
import threading
import time
import urllib.parse

from harness import Headers, note

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length", "proxy-connection"}


class Asked:
    """One request: .method, .target, .path, .query (pairs), .headers, .body; .status and .answer (bytes) once answered."""

    def __init__(self, number, method, target, headers, body):
        self.number, self.method, self.target, self.headers, self.body = number, method, target, headers, body
        self.path, _, query = target.partition("?")
        self.query = urllib.parse.parse_qsl(query, keep_blank_values=True)
        self.began, self.ended, self.status, self.answer = time.monotonic(), None, None, b""

    @property
    def json(self):
        return json.loads(self.body) if self.body else None

    @property
    def said(self):
        return json.loads(self.answer) if self.answer else None

    @property
    def line(self):
        return f"{self.method} {self.target} -> {self.status}"

    def __repr__(self):
        return f"<{self.line} {self.body[:200]!r}>"


# --- what may happen to a request --------------------------------------------------------------------------------------

class HangUp(Exception):
    """The connection ends here, without an answer."""


def refuse(status, message="the test wants it so", **headers):
    """An error in the envelope of this API instead of the service's answer; the service never hears of the request."""
    body = {"type": "error", "error": {"type": "api_error", "message": message}}
    return lambda asked, forward: (status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode())


def answer(status, body, kind="application/json"):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda asked, forward: (status, {"Content-Type": kind}, body)


def drop(asked, forward):
    """The request is lost on its way there."""
    raise HangUp


def lose(asked, forward):
    """The service did it; its answer is lost on the way back."""
    forward()
    raise HangUp


def silence(until=None):
    """No answer, for as long as the asker waits (or until the event is set: then the service is asked)."""
    def act(asked, forward):
        while not (until and until.is_set()):
            if asked.hung_up():
                raise HangUp
            time.sleep(0.05)
        return forward()
    return act


def change(edit):
    """`edit(asked, value)` changes the JSON of the service's answer, in place or by giving another."""
    def act(asked, forward):
        status, headers, body = forward()
        value = json.loads(body)
        edited = edit(asked, value)
        return status, headers, json.dumps(value if edited is None else edited).encode()
    return act


class Rule:
    def __init__(self, method, path, action, times, when):
        self.method, self.path, self.action, self.left, self.when, self.used = method, re.compile(path), action, times, when, 0

    def fits(self, asked):
        return self.left != 0 and self.method in ("*", asked.method) and self.path.search(asked.path) and (not self.when or self.when(asked))


class Between:
    def __init__(self, upstream):
        self.rules, self.requests, self.streams = [], [], set()
        self.move(upstream)
        self.frame = None  # callable(event) -> the event, another, None (it is left out) or HangUp
        self.lock = threading.Lock()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self):
                with contextlib.suppress(OSError, HangUp, http.client.HTTPException):
                    Connection(outer, self).serve()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address, block_on_close, request_queue_size = True, True, False, 512

            def handle_error(self, request, address):
                import traceback
                note("between: " + traceback.format_exc())

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.cut()

    def move(self, upstream):
        parts = urllib.parse.urlsplit(upstream)
        self.upstream = (parts.hostname, parts.port)

    def on(self, method, path, action, times=-1, when=None):
        """The next `times` requests that fit are given to `action(asked, forward)`; the rule, to be taken off or counted."""
        rule = Rule(method, path, action, times, when)
        with self.lock:
            self.rules.append(rule)
        return rule

    def off(self, rule):
        with self.lock:
            self.rules.remove(rule)

    def cut(self):
        """Ends all streams, in the middle; how many there were."""
        with self.lock:
            streams, self.streams = self.streams, set()
        for stream in streams:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        return len(streams)

    def of(self, method, path):
        with self.lock:
            return [asked for asked in self.requests if asked.method == method and re.search(path, asked.path)]

    def action(self, asked):
        with self.lock:
            rule = next((rule for rule in self.rules if rule.fits(asked)), None)
            if rule:
                rule.left -= 1
                rule.used += 1
            return rule and rule.action


class Connection:
    """One connection of a client, with one of its own to the service."""

    def __init__(self, between, handler):
        self.between, self.client, self.read, self.write = between, handler.connection, handler.rfile, handler.wfile
        self.service = None

    def serve(self):
        try:
            while self.one():
                pass
        finally:
            if self.service:
                self.service.close()

    def one(self):
        line = self.read.readline(65537)
        if not line.strip():
            return False
        method, target, _ = line.decode("latin-1").split(None, 2)
        pairs = []
        while (line := self.read.readline(65537).rstrip(b"\r\n")):
            name, _, value = line.decode("latin-1").partition(":")
            pairs.append((name, value.strip()))
        headers = Headers(pairs)
        body = self.body(headers)
        with self.between.lock:
            asked = Asked(len(self.between.requests), method, target, headers, body)
            self.between.requests.append(asked)
        asked.hung_up = self.hung_up
        action = self.between.action(asked)
        if action:
            status, headers, body = action(asked, lambda: self.forward(asked))
        elif (got := self.ask(asked)).headers.get_content_type() == "text/event-stream" and got.status == 200:
            return self.relay(asked, got)
        else:
            status, headers, body = got.status, dict(got.getheaders()), got.read()
        return self.reply(asked, status, headers, body)

    def body(self, headers):
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.read.read(int(headers.get("content-length", 0)))
        body = b""
        while (size := int(self.read.readline().split(b";")[0], 16)):
            body += self.read.read(size)
            self.read.readline()
        self.read.readline()
        return body

    def hung_up(self):
        """Whether the client is gone: it has nothing to say while it waits."""
        ready, _, _ = select.select([self.client], [], [], 0)
        with contextlib.suppress(BlockingIOError):
            return bool(ready) and self.client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        return False

    def ask(self, asked):
        """The service's answer, its body not yet read. A connection that had gone stale is made anew."""
        for fresh in (False, True):
            if fresh or not self.service or self.place != self.between.upstream:
                self.service, self.place = http.client.HTTPConnection(*self.between.upstream, timeout=700), self.between.upstream
            headers = {name: value for name, value in asked.headers.items() if name not in HOP}
            try:
                self.service.request(asked.method, asked.target, body=asked.body or None, headers=headers)
                return self.service.getresponse()
            except (OSError, http.client.HTTPException):
                self.service.close()
                if fresh:
                    raise HangUp from None
        raise HangUp

    def forward(self, asked):
        got = self.ask(asked)
        return got.status, dict(got.getheaders()), got.read()

    def reply(self, asked, status, headers, body):
        asked.status, asked.answer, asked.ended = status, body, time.monotonic()
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() not in HOP]
        if status not in (204, 304):
            lines.append(f"Content-Length: {len(body)}")
        self.write.write("\r\n".join(lines + ["", ""]).encode("latin-1") + body)
        return asked.headers.get("connection", "").lower() != "close"

    def relay(self, asked, got):
        """A stream: its head at once, then frame by frame. It ends with either side, or with cut()."""
        asked.status = 200
        with self.between.lock:
            self.between.streams.add(self.client)
        service = self.service.sock or got.fp.raw._sock
        watcher = threading.Thread(target=self.watch, args=(service,), daemon=True)
        watcher.start()
        try:
            self.write.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            frame = []
            while (line := got.readline()):
                frame.append(line)
                if not line.strip():
                    self.pass_on(frame)
                    frame = []
            self.write.write(b"0\r\n\r\n")
        finally:
            asked.ended = time.monotonic()
            with self.between.lock:
                self.between.streams.discard(self.client)
            with contextlib.suppress(OSError):
                self.client.shutdown(socket.SHUT_RDWR)
            watcher.join(5)
        return False

    def watch(self, service):
        """Tells the service when the client has gone; nothing else would, on a quiet stream."""
        with contextlib.suppress(OSError, ValueError):
            while self.client.recv(1024):
                pass
        with contextlib.suppress(OSError, ValueError):
            service.shutdown(socket.SHUT_RDWR)

    def pass_on(self, frame):
        data = b"\n".join(line[5:].strip() for line in frame if line.startswith(b"data:"))
        name = next((line[6:].strip() for line in frame if line.startswith(b"event:")), b"")
        if self.between.frame and data and name not in (b"ping", b"error"):
            event = self.between.frame(json.loads(data))
            if event is None:
                return
            frame = [b"event: " + name + b"\n", b"data: " + json.dumps(event).encode() + b"\n", b"\n"]
        piece = b"".join(frame)
        self.write.write(b"%x\r\n%s\r\n" % (len(piece), piece))
