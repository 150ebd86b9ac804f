"""A tool call with an Idempotency-Key happens once, whatever breaks between the caller and the box.
labels: privileged timeout=180
"""
import http.client
import threading
import time

from harness import Glovebox, run, wait_for
from support import Checks, api_of, equal


def call(box, key, command, timeout=60, **more):
    reply = box.call("POST", "/tools/bash", {"command": command, **more}, {"Idempotency-Key": key}, timeout=timeout)
    return reply.expect(200).json


def lines(box, path):
    return box.run("cat", path).stdout


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create()

        with check("asked twice, done once: the second answer is the first"):
            first = call(box, "sevt_1", "echo one >>/tmp/a; date +%s%N")
            equal(call(box, "sevt_1", "echo one >>/tmp/a; date +%s%N"), first)
            equal(lines(box, "/tmp/a"), "one")

        with check("another key is another call; no key is always one"):
            for key in ("sevt_2", "sevt_3"):
                call(box, key, "echo x >>/tmp/b")
            for _ in range(2):
                box.tool("bash", command="echo y >>/tmp/b")
            equal(lines(box, "/tmp/b"), "x\nx\ny\ny")

        with check("asked while it runs: joined"):
            got = []
            many = [threading.Thread(target=lambda: got.append(call(box, "sevt_4", "sleep 0.5; echo z >>/tmp/c; echo done")))
                    for _ in range(5)]
            for thread in many:
                thread.start()
            for thread in many:
                thread.join()
            equal([one["content"] for one in got], ["done"] * 5)
            equal(lines(box, "/tmp/c"), "z")

        with check("who goes away ends nothing, and can ask again"):
            connection = leave(box, "sevt_5", "echo begun >/tmp/d; sleep 1; echo w >>/tmp/d; echo fine")
            wait_for("the call to run", lambda: box.run("cat", "/tmp/d").stdout == "begun")
            connection.close()
            equal(call(box, "sevt_5", "echo never")["content"], "fine")
            equal(lines(box, "/tmp/d"), "begun\nw")

        with check("killed engine: the call goes on, the next engine gives its result"):
            connection = leave(box, "sevt_6", "echo begun >/tmp/e; sleep 2; echo v >>/tmp/e; echo survived")
            wait_for("the call to run", lambda: box.run("cat", "/tmp/e").stdout == "begun")
            gb.kill_engine()
            connection.close()
            equal(call(box, "sevt_6", "echo never")["content"], "survived")
            equal(call(box, "sevt_1", "echo never"), first, "an older one")
            equal(lines(box, "/tmp/e"), "begun\nv")

        with check("who goes away while it begins: it is begun whole or not at all"):
            for number in range(40):
                connection = leave(box, f"brief_{number}", "echo b >>/tmp/brief; echo done")
                time.sleep(0.0001 * number)
                connection.close()
                equal(call(box, f"brief_{number}", "echo b >>/tmp/brief; echo done")["content"], "done")
            equal(len(lines(box, "/tmp/brief").split()), 40)

        with check("stopped engine: as when it is killed"):
            connection = leave(box, "sevt_10", "echo begun >/tmp/h; sleep 2; echo v >>/tmp/h; echo survived")
            wait_for("the call to run", lambda: box.run("cat", "/tmp/h").stdout == "begun")
            gb.down()
            connection.close()
            gb.start()
            box = api_of(gb).box(box.id)
            equal(call(box, "sevt_10", "echo never")["content"], "survived")

        with check("input that breaks off was no call"):
            half = leave(box, "sevt_7", "echo half >>/tmp/f", cut=10)
            half.close()
            equal(call(box, "sevt_7", "echo whole >>/tmp/f; echo ok")["content"], "ok")
            equal(lines(box, "/tmp/f"), "whole")

        with check("DELETE ends it; who waits is told"):
            got = []
            waiting = threading.Thread(target=lambda: got.append(call(box, "sevt_8", "echo begun >/tmp/g; sleep 60")))
            waiting.start()
            wait_for("the call to run", lambda: box.run("cat", "/tmp/g").stdout == "begun")
            for _ in range(2):
                box.call("DELETE", "/tools/calls/sevt_8").expect(204)
            waiting.join(20)
            assert got and got[0]["is_error"], got
            box.call("DELETE", "/tools/calls/sevt_unknown").expect(204)
            equal(call(box, "sevt_9", "echo $((6*7))")["content"], "42", "the shell after that")

        with check("old ones are let go, and programs that ended are still remembered"):
            program = box.run("true")
            for number in range(40):
                call(box, f"many_{number}", "true")
            assert program is not None and box.processes() is not None
            equal(call(box, "many_39", "echo never")["content"], "(no output)")

        with check("keys that are none"):
            for key in ("", "a b", "x" * 129, "ä"):
                reply = box.call("POST", "/tools/bash", {"command": "true"}, {"Idempotency-Key": key.encode("latin-1")})
                assert reply.status == 400, (key, reply)
        box.delete()
        check.done()


def leave(box, key, command, cut=None):
    """A request whose answer nobody waits for."""
    import json
    body = json.dumps({"command": command}).encode()
    host = box.api.url.split("//")[1]
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.putrequest("POST", f"/s/{box.id}/api/v1/tools/bash")
    connection.putheader("Authorization", f"Bearer {box.api.key}")
    connection.putheader("Idempotency-Key", key)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[:cut] if cut else body)
    return connection


run(test)
