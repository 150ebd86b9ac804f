"""A client that costs little: one kept connection, requests made ready before the clock starts."""
import json
import socket
import time


class Connection:
    """Speaks HTTP/1.1 over one socket. Answers come whole, or event by event."""

    def __init__(self, url, key, timeout=60.0):
        host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
        self.address, self.key, self.timeout = (host, int(port)), key, timeout
        self.socket, self.stream = None, None

    def __enter__(self):
        self.connect()
        return self

    def __exit__(self, *_):
        self.close()

    def connect(self):
        self.socket = socket.create_connection(self.address, timeout=self.timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")

    def close(self):
        if self.socket:
            self.stream.close()
            self.socket.close()
            self.socket = None

    def request(self, method, path, body=None, host=None):
        """The bytes of a request."""
        data = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or '%s:%d' % self.address}", f"Authorization: Bearer {self.key}"]
        if body is not None:
            lines.append("Content-Type: application/json")
        if data or method != "GET":
            lines.append(f"Content-Length: {len(data)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + data

    def send(self, request):
        self.socket.sendall(request)

    def head(self):
        """(status, headers) of the next answer."""
        line = self.stream.readline()
        if not line:
            raise ConnectionError("the server closed the connection")
        status, headers = int(line.split()[1]), {}
        while (line := self.stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        return status, headers

    def pieces(self, headers):
        """The body, as it comes."""
        if headers.get(b"transfer-encoding") == b"chunked":
            while size := int(self.stream.readline().split(b";")[0], 16):
                yield self.stream.read(size)
                self.stream.readline()
            self.stream.readline()
        elif size := int(headers.get(b"content-length", b"0")):
            yield self.stream.read(size)

    def answer(self):
        status, headers = self.head()
        return status, b"".join(self.pieces(headers))

    def call(self, request, *statuses):
        """The answer's JSON (or None) to a request that must succeed."""
        self.send(request)
        status, body = self.answer()
        if status not in (statuses or (200, 201, 204)):
            raise RuntimeError(f"status {status}: {body[:500].decode(errors='replace')}")
        return json.loads(body) if body else None

    def run(self, request):
        """Sends a /processes/run request. (time of the first line of output, its text); returns once the program ended."""
        self.send(request)
        status, headers = self.head()
        first, text, rest = 0.0, None, b""
        for piece in self.pieces(headers):
            if text is None and b'"line"' in piece:
                first = time.perf_counter()
            if text is None or status != 200:
                rest += piece
                for line in rest.split(b"\n"):
                    if line.startswith(b"data:") and b'"line"' in line and line.rstrip().endswith(b"}"):
                        text = json.loads(line[5:])["line"]
        if status != 200 or text is None:
            raise RuntimeError(f"run: status {status}: {rest[:500].decode(errors='replace')}")
        return first, text
