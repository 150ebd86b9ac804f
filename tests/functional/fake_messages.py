"""A Messages API of the test: answers as the real one does on the wire, or as no one should; and keeps what it was asked.

    with FakeMessages() as fake:
        fake.script("case:hello", [stream(text("hi"))])           # turn by turn of the conversation that names case:hello
        fake.script("case:slow", [[status(529), stream(text("ok"))]])  # a list in the list: attempt by attempt of one turn
        with Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key)) as gb: …

Which turn a request is of is taken from the request itself (the number of the assistant's messages in it), so a request that is
sent again gets the same answer again.
"""
import contextlib
import json
import re
import secrets
import socket
import socketserver
import threading
import time

MARK = re.compile(r"case:[\w-]+")


# --- content ----------------------------------------------------------------------------------------------------------

def text(words, pieces=3):
    size = max(1, -(-len(words) // pieces))
    return ({"type": "text", "text": ""},
            [{"type": "text_delta", "text": words[at:at + size]} for at in range(0, len(words), size)])


def thinking(words="let me see", signature="c2lnbmVk"):
    return ({"type": "thinking", "thinking": "", "signature": ""},
            [{"type": "thinking_delta", "thinking": words}, {"type": "signature_delta", "signature": signature}])


def tool(name, input=None, id=None, pieces=4, raw=None):
    """`raw` is the text of the input when it is to be something else than JSON."""
    whole = raw if raw is not None else json.dumps(input or {}, ensure_ascii=False)
    size = max(1, -(-len(whole) // pieces))
    deltas = [{"type": "input_json_delta", "partial_json": ""}] if input or raw else []
    deltas += [{"type": "input_json_delta", "partial_json": whole[at:at + size]} for at in range(0, len(whole), size)] if input or raw else []
    return ({"type": "tool_use", "id": id or "toolu_" + secrets.token_hex(12), "name": name, "input": {}}, deltas)


def block(start, *deltas):
    return (start, list(deltas))


# --- answers ----------------------------------------------------------------------------------------------------------

def event(kind, **members):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members}, ensure_ascii=False)}\n\n".encode()


def frames(*blocks, stop=None, usage=None, model="claude-test-1", stop_details=None):
    """The events of one answer. The stop reason is what the content asks for, unless it is given."""
    if stop is None:
        stop = "tool_use" if any(start["type"] == "tool_use" for start, _ in blocks) else "end_turn"
    usage = {"input_tokens": 11, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 1, **(usage or {})}
    out = [event("message_start", message={"id": "msg_" + secrets.token_hex(12), "type": "message", "role": "assistant", "model": model, "content": [],
                                           "stop_reason": None, "stop_sequence": None, "usage": usage})]
    for index, (start, deltas) in enumerate(blocks):
        out.append(event("content_block_start", index=index, content_block=start))
        if index == 0:
            out.append(event("ping"))
        out += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
        out.append(event("content_block_stop", index=index))
    delta = {"stop_reason": stop, "stop_sequence": None, **({"stop_details": stop_details} if stop_details else {})}
    out.append(event("message_delta", delta=delta, usage={"output_tokens": 42}))
    out.append(event("message_stop"))
    return out


class Answer:
    """What is written to one request. `cut`: hang up before this frame; `before`/`hold`: wait until the event is set (or hang);
    `pause` seconds between pieces of `piece` bytes; `chunked` False closes the connection at the end of the body instead."""

    def __init__(self, head, body, cut=None, hold=None, pause=0.0, piece=None, chunked=True, cut_bytes=None):
        self.head, self.body, self.cut, self.hold = head, body, cut, hold
        self.pause, self.piece, self.chunked, self.cut_bytes = pause, piece, chunked, cut_bytes

    def write(self, wire):
        if self.cut_bytes is not None:
            wire.send((self.head + b"".join(self.body))[:self.cut_bytes])
            return False
        wire.send(self.head)
        if self.cut == 0:
            return False
        for number, frame in enumerate(self.body):
            if self.cut is not None and number >= self.cut:
                return False
            if self.hold and number == self.hold[0] and not self.hold[1].wait(60):
                return False
            for at in range(0, len(frame), self.piece or len(frame) or 1):
                piece = frame[at:at + (self.piece or len(frame))]
                wire.send(b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece)
                if self.pause:
                    time.sleep(self.pause)
        if self.chunked and self.body is not None:
            wire.send(b"0\r\n\r\n")
        return self.chunked


def head(status=200, reason="OK", kind="text/event-stream; charset=utf-8", chunked=True, **headers):
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Type: {kind}", "request-id: req_fake"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines.append("Transfer-Encoding: chunked" if chunked else "Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def stream(*blocks, cut=None, hold=None, pause=0.0, piece=None, chunked=True, cut_bytes=None, kind="text/event-stream; charset=utf-8", **more):
    return Answer(head(kind=kind, chunked=chunked), frames(*blocks, **more), cut, hold, pause, piece, chunked, cut_bytes)


def raw_stream(*pieces, **more):
    """Any bytes as the body of an event stream."""
    return Answer(head(), [p if isinstance(p, bytes) else p.encode() for p in pieces], **more)


ERRORS = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
          413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}


def error_event(kind="overloaded_error", message="Overloaded"):
    return event("error", error={"type": kind, "message": message})


def status(code, message="the test wants it so", body=None, kind="application/json", **headers):
    if body is None:
        body = json.dumps({"type": "error", "error": {"type": ERRORS.get(code, "api_error"), "message": message}, "request_id": "req_fake"})
    return Answer(head(code, "Refused", kind, **headers), [body.encode() if isinstance(body, str) else body])


def wire_bytes(data):
    """Bytes that need not even be HTTP; then the connection ends."""
    return Answer(data, [], cut=0)


# --- the server -------------------------------------------------------------------------------------------------------

class Asked:
    """One request: .headers (lower case), .body (JSON), .case, .turn, .attempt, .when, and .aborted once the asker hung up early."""

    def __init__(self, path, headers, body):
        self.path, self.headers, self.raw, self.when = path, headers, body, time.monotonic()
        try:
            self.body = json.loads(body)
        except ValueError:
            self.body = None
        messages = (self.body or {}).get("messages") or []
        found = MARK.findall(json.dumps([m for m in messages if m.get("role") == "user"]))
        self.case = found[0] if found else None
        self.turn = sum(m.get("role") == "assistant" for m in messages)
        self.attempt, self.done, self.aborted = 0, False, False


class Wire:
    def __init__(self, connection):
        self.connection = connection

    def send(self, data):
        self.connection.sendall(data)


class FakeMessages:
    def __init__(self, key="sk-test-" + secrets.token_hex(20)):
        self.key, self.scripts, self.asked, self.unexpected = key, {}, [], []
        self.lock = threading.Lock()
        self.default = None  # callable(asked) for conversations that name no case
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self):
                with contextlib.suppress(OSError, ValueError):
                    while outer.serve(self):
                        pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address, request_queue_size = True, True, 256

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def script(self, case, turns):
        """`turns` is a list (of answers, or of lists of answers for the attempts at one turn), or a callable(asked)."""
        self.scripts[case] = turns

    def of(self, case):
        """The requests of a conversation, in the order they came."""
        with self.lock:
            return [one for one in self.asked if one.case == case]

    def pick(self, asked):
        turns = self.scripts.get(asked.case) or self.default
        if callable(turns):
            return turns(asked)
        if not turns or asked.turn >= len(turns):
            self.unexpected.append(asked)
            return stream(text("unexpected request"))
        answer = turns[asked.turn]
        return answer[min(asked.attempt, len(answer) - 1)] if isinstance(answer, list) else answer

    def serve(self, handler):
        line = handler.rfile.readline(65536).decode("latin-1").split()
        if len(line) < 3:
            return False
        headers = {}
        while (row := handler.rfile.readline(65536).decode("latin-1").rstrip("\r\n")):
            name, _, value = row.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(handler.rfile.readline().split(b";")[0], 16):
                body += handler.rfile.read(size)
                handler.rfile.readline()
            handler.rfile.readline()
        else:
            body = handler.rfile.read(int(headers.get("content-length", 0)))
        asked = Asked(f"{line[0]} {line[1]}", headers, body)
        with self.lock:
            asked.attempt = sum(one.case == asked.case and one.turn == asked.turn for one in self.asked)
            self.asked.append(asked)
        answer = self.pick(asked)
        watcher = threading.Thread(target=self.watch, args=(handler.connection, asked), daemon=True)
        if getattr(answer, "hold", None):
            watcher.start()
        try:
            keep = answer.write(Wire(handler.connection))
        except OSError:
            asked.aborted = True
            return False
        finally:
            asked.done = True
        return keep and headers.get("connection", "").lower() != "close"

    def watch(self, connection, asked):
        """Notices that the asker hangs up while the answer is held back."""
        while not asked.done:
            with contextlib.suppress(BlockingIOError):
                try:
                    if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                        asked.aborted = True
                        return
                except ConnectionError:
                    asked.aborted = True
                    return
                except OSError:
                    pass
            time.sleep(0.02)


def results_of(asked):
    """[(tool_use_id, text, is_error)] of the last message of a request."""
    found = []
    for part in asked.body["messages"][-1]["content"]:
        if isinstance(part, dict) and part["type"] == "tool_result":
            content = part.get("content")
            words = content if isinstance(content, str) else "".join(b.get("text", "") for b in content or [])
            found.append((part["tool_use_id"], words, bool(part.get("is_error"))))
    return found


def calls_of(message):
    return [part for part in message["content"] if isinstance(part, dict) and part["type"] == "tool_use"]


def proper(asked, key=None):
    """What holds for every request that a Messages API would take."""
    body, what = asked.body, json.dumps(asked.body)[:3000]
    assert asked.path == "POST /v1/messages", asked.path
    assert asked.headers.get("content-type", "").startswith("application/json"), asked.headers
    assert asked.headers.get("anthropic-version"), asked.headers
    assert body["stream"] is True and body["model"] and body["max_tokens"] > 0, what
    if key:
        assert asked.headers.get("x-api-key") == key, "the key is in x-api-key"
        elsewhere = {n: v for n, v in asked.headers.items() if n != "x-api-key" and key in v}
        assert not elsewhere and key.encode() not in asked.raw and key not in asked.path, f"the key is elsewhere too: {elsewhere}"
        assert "authorization" not in asked.headers, "no second credential"
    messages = body["messages"]
    roles = [m["role"] for m in messages]
    assert roles[0] == "user" and roles[-1] == "user", roles
    assert all(a != b for a, b in zip(roles, roles[1:])), f"roles do not take turns: {roles}"
    used = set()
    for at, message in enumerate(messages):
        content = message["content"]
        content = [{"type": "text", "text": content}] if isinstance(content, str) else content
        assert content, f"an empty message: {what}"
        for part in content:
            assert part["type"] != "text" or part["text"].strip(), f"an empty text block: {what}"
        if message["role"] == "assistant":
            calls = [part["id"] for part in content if part["type"] == "tool_use"]
            assert len(set(calls)) == len(calls) and not used & set(calls), f"a call's id twice: {calls}"
            used |= set(calls)
            if calls:
                after = [part["tool_use_id"] for part in messages[at + 1]["content"] if part["type"] == "tool_result"]
                assert after == calls, f"results {after} for calls {calls}"
                first = [part["type"] for part in messages[at + 1]["content"]][:len(calls)]
                assert first == ["tool_result"] * len(calls), f"results come first: {first}"
        else:
            answered = [part["tool_use_id"] for part in content if part["type"] == "tool_result"]
            asked_for = [part["id"] for part in messages[at - 1]["content"] if part["type"] == "tool_use"] if at else []
            assert answered == asked_for, f"results {answered} where {asked_for} were asked for"
    marks = re.findall(r'"cache_control": \{"type": "ephemeral"', json.dumps(body))
    assert 1 <= len(marks) <= 4, f"{len(marks)} cache marks: {what}"
    names = [t["name"] for t in body.get("tools", [])]
    assert len(set(names)) == len(names), names
    return asked
