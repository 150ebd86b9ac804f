"""Files go in and out of a sandbox byte for byte, with the box user's rights, and never past its root.
labels: privileged timeout=300
"""
import hashlib
import http.client
import json
import os

from harness import Glovebox, run
from support import Checks, api_of, equal, eventually

ODD_NAMES = ["a b", "a+b", "ä漢", "new\nline", "-rf", "%2e%2e", "q?x=1&y", "tab\t", "x" * 255, "'\"$(id)`", "#hash", "…"]


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create()
        contents(box, check)
        folders(box, check)
        hostile(box, check)
        box.delete()
        check.done()


def contents(box, check):
    with check("what is written is read back: empty, binary, 40 MB"):
        for name, data in (("empty", b""), ("text", b"hello\n"), ("bytes", bytes(range(256)) * 41), ("big", os.urandom(1 << 20) * 40)):
            box.write(f"/tmp/{name}", data)
            reply = box.call("GET", "/files?path=/tmp/" + name).expect(200)
            equal(reply.headers["content-type"], "application/octet-stream")
            equal(hashlib.sha256(reply.body).hexdigest(), hashlib.sha256(data).hexdigest(), name)
            equal(box.sh(f"sha256sum < /tmp/{name}").stdout.split()[0], hashlib.sha256(data).hexdigest(), name + " seen inside")

    with check("a file replaces the one before, parents are made"):
        box.write("/tmp/new/deep/er/file", "one two three")
        box.write("/tmp/new/deep/er/file", "x")
        equal(box.read("/tmp/new/deep/er/file"), b"x")

    with check("odd names are bytes"):
        for name in ODD_NAMES:
            if len(name.encode()) <= 255:
                box.write(f"/tmp/odd/{name}", name)
                equal(box.read(f"/tmp/odd/{name}"), name.encode(), name)
        listed = {e["name"] for e in box.call("GET", "/files/list?path=/tmp/odd").expect(200).json["entries"]}
        equal(listed, {n for n in ODD_NAMES if len(n.encode()) <= 255})

    with check("a space may come as + and as %20"):
        equal(box.call("GET", "/files?path=/tmp/odd/a+b").expect(200).body, b"a b")
        equal(box.call("GET", "/files?path=/tmp/odd/a%20b").expect(200).body, b"a b")
        equal(box.call("GET", "/files?path=%2Ftmp%2Fodd%2Fa%2Bb").expect(200).body, b"a+b")

    with check("files belong to the box's user"):
        equal(box.sh("stat -c %U /tmp/text; id -un").stdout.split("\n")[0], box.run("id", "-un").stdout)

    with check("a chunked upload is taken"):
        def pieces():
            for _ in range(100):
                yield b"0123456789" * 1000
        connection = http.client.HTTPConnection(*box.plane.address, timeout=30)
        connection.request("PUT", "/api/v1/files?path=/tmp/chunked", pieces(), box.plane.headers(), encode_chunked=True)
        equal(connection.getresponse().status, 204)
        connection.close()
        equal(len(box.read("/tmp/chunked")), 1_000_000)

    with check("an upload that breaks off leaves the old file"):
        box.write("/tmp/kept", "old content")
        connection = http.client.HTTPConnection(*box.plane.address, timeout=30)
        connection.putrequest("PUT", "/api/v1/files?path=/tmp/kept", skip_host=True)
        for name, value in box.plane.headers({"Content-Length": "1000000"}).items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(b"n" * 5000)
        connection.close()
        for _ in range(5):  # each of these goes through the same helper
            equal(box.read("/tmp/kept"), b"old content")
        names = [e["name"] for e in box.call("GET", "/files/list?path=/tmp").json["entries"]]
        eventually(lambda: not [n for n in box.sh("ls -A /tmp").stdout.split() if n.startswith(".") or "kept." in n], 10, "no half file stays")


def folders(box, check):
    with check("list: folders first, then by name, with size and time"):
        box.sh("mkdir -p /tmp/l/zdir /tmp/l/adir; printf 12345 > /tmp/l/b; : > /tmp/l/a; ln -s /etc/passwd /tmp/l/link").ok()
        reply = box.call("GET", "/files/list?path=/tmp/l").expect(200).json
        equal(reply["path"], "/tmp/l")
        entries = reply["entries"]
        equal([e["name"] for e in entries], ["adir", "zdir", "a", "b", "link"])
        equal([e["is_dir"] for e in entries], [True, True, False, False, False])
        equal(entries[3]["size"], 5)
        assert type(entries[3]["modified_at"]) is int and entries[3]["modified_at"] > 1_600_000_000_000, entries[3]

    with check("delete: 204, then 404"):
        box.call("DELETE", "/files?path=/tmp/l/b").expect(204)
        box.call("DELETE", "/files?path=/tmp/l/b").refused(404)
        box.call("GET", "/files?path=/tmp/l/b").refused(404)

    with check("errors say what is wrong"):
        box.call("GET", "/files?path=/tmp").refused(400, "IS_DIRECTORY")
        box.call("PUT", "/files?path=/tmp", b"x").refused(400)
        box.call("GET", "/files/list?path=/etc/passwd").refused(400, "NOT_A_DIRECTORY")
        box.call("GET", "/files/list?path=/no/such").refused(404)
        box.call("GET", "/files").refused(400)
        box.call("GET", "/files?path=").refused(400)
        box.call("GET", "/files?path=relative").refused(400)
        box.call("PUT", "/files?path=/usr/bin/x", b"x").refused(403) if box.run("id", "-u").stdout != "0" else None
        assert box.call("PUT", "/files?path=/proc/version", b"x").status >= 400

    with check("ten thousand entries are listed"):
        box.sh("mkdir /tmp/many && cd /tmp/many && seq 10000 | xargs touch").ok()
        equal(len(box.call("GET", "/files/list?path=/tmp/many").expect(200).json["entries"]), 10000)


def hostile(box, check):
    with check("'..' in a path is 403 PATH_TRAVERSAL"):
        for path in ("/tmp/../etc/passwd", "/../../etc/shadow", "/tmp/..", "..", "/a/../../b"):
            for method, verb in (("GET", "files"), ("PUT", "files"), ("DELETE", "files"), ("GET", "files/list")):
                reply = box.call(method, f"/{verb}?path={path}", b"x" if method == "PUT" else None)
                assert reply.status in (400, 403), f"{method} {path}: {reply!r}"
        box.call("GET", "/files?path=/tmp/../etc/passwd").refused(403, "PATH_TRAVERSAL")

    with check("a NUL in a path is refused"):
        box.call("GET", "/files?path=/etc/passwd%00.txt").refused(400)

    with check("symlinks stay inside the box"):
        box.sh("ln -sf / /tmp/root; ln -sf /proc/1/root /tmp/pid1; ln -sf ../../../../../../../../etc/passwd /tmp/up").ok()
        inside = box.sh("cat /etc/passwd").stdout
        equal(box.read("/tmp/up").decode().rstrip("\n"), inside.rstrip("\n"))
        reply = box.call("GET", "/files/list?path=/tmp/pid1/")
        assert reply.status != 200 or "workspace" in json.dumps(reply.json), repr(reply)

    with check("special files are refused or bounded, never waited for"):
        box.sh("mkfifo /tmp/fifo")
        for path in ("/tmp/fifo", "/dev/zero", "/dev/tty", "/proc/kmsg", "/dev/random"):
            reply = box.call("GET", f"/files?path={path}", timeout=20)
            assert reply.status >= 400 or reply.body == b"", f"{path}: {reply!r}"  # /proc/kmsg is an empty file here
        assert box.call("PUT", "/files?path=/tmp/fifo", b"x", timeout=20).status in (204, 400, 403)

    with check("a path of the wrong length is refused"):
        assert 400 <= box.call("GET", "/files?path=/tmp/" + "x" * 256).status < 500
        assert 400 <= box.call("GET", "/files?path=" + "/x" * 3000).status < 500

    with check("a full disk or a limit is an error, and the helper lives on"):
        box.write("/tmp/after", "fine")
        equal(box.read("/tmp/after"), b"fine")


run(test)
