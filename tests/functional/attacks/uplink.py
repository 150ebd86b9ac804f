"""From inside of a box: sends what it is told to the uplink, as raw bytes, and tells what came back.

stdin: one JSON object per line, {"name", "port", "raw" (base64), "wait", "connections"}; stdout: one per line,
{"name", "status", "body", "error"}. `status` is that of the first answer, `statuses` of all of them.
"""
import base64
import json
import re
import socket
import sys
import time


def ask(attempt):
    out = {"name": attempt["name"], "status": None, "statuses": [], "body": "", "error": ""}
    raw, heard, deadline = base64.b64decode(attempt["raw"]), b"", time.monotonic() + attempt.get("wait", 3)
    crowd = []
    try:
        for _ in range(attempt.get("connections", 0)):
            crowd.append(socket.create_connection(("127.0.0.1", attempt["port"]), timeout=2))
        with socket.create_connection((attempt.get("host", "127.0.0.1"), attempt["port"]), timeout=2) as sock:
            for at in range(0, len(raw), 1 << 16):
                sock.sendall(raw[at:at + (1 << 16)])
            while time.monotonic() < deadline and len(heard) < 1 << 20:
                sock.settimeout(max(0.05, deadline - time.monotonic()))
                piece = sock.recv(65536)
                if not piece:
                    break
                heard += piece
    except OSError as error:
        out["error"] = type(error).__name__
    for one in crowd:
        one.close()
    out["statuses"] = [int(n) for n in re.findall(rb"(?:^|\r\n|\n|\})HTTP/1\.[01] (\d{3})", heard)]
    out["status"] = out["statuses"][0] if out["statuses"] else None
    out["body"] = heard.decode(errors="replace")[-3000:]
    return out


for line in sys.stdin:
    print(json.dumps(ask(json.loads(line))), flush=True)
