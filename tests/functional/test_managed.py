"""Managed processes are kept running by their policy and their health, under their names, through crashes of the engine.
labels: privileged timeout=300
"""
import threading
import time

from harness import Glovebox, run
from support import Checks, api_of, equal, eventually

# A server that answers 200 until the file /tmp/sick is there, then 500.
SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if os.path.exists("/tmp/sick") else 204 if self.path == "/up" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""
QUICK = {"policy": "on_failure", "initial_backoff_ms": 20, "max_backoff_ms": 100}


def managed(box, name):
    return box.process(name)["managed"]


def restarted(box, name, before):
    """Its record once it runs with another pid than `before`."""
    return eventually(lambda: (p := box.process(name))["pid"] != before and p["status"] == "running" and p, 30, f"{name} runs again")


def stopped(box, name):
    return eventually(lambda: (p := box.process(name))["managed"]["status"] == "stopped" and p, 30, f"{name} is stopped")


def test_policies(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create(name="managed")
        addressing(box, check)
        policies(box, check)
        health(box, check)
        refusals(box, check)
        one_shot(box, check)
        with check("they end with their sandbox"):
            box.start("sleep", "3000", name="last", restart={"policy": "always"})
            box.delete()
            box.call("GET", "/processes/last").refused(410)
        check.done()


def addressing(box, check):
    with check("a managed process is found by name, by pid and in the list; its output and stdin too"):
        record = box.start("/bin/bash", "-c", "echo hello; read line; echo got $line; sleep 3000", name="my job", restart=QUICK, stdin_mode="pipe")
        kept = record["managed"]
        equal((kept["id"], kept["name"], kept["status"], kept["restart_count"], kept["health_status"]), ("my job", "my job", "running", 0, "disabled"))
        equal(kept["restart"], QUICK)
        by_name = box.process("my%20job")
        equal((by_name["pid"], by_name["status"]), (record["pid"], "running"))
        equal(box.process(record["pid"])["managed"]["name"], "my job")
        equal([p["managed"]["id"] for p in box.processes() if p["pid"] == record["pid"]], ["my job"])
        box.call("POST", "/processes/my%20job/stdin", b"it\n").expect(204)
        eventually(lambda: box.output("my%20job", "stdout") == ["hello", "got it"], 20, "its output")
    with check("a signal goes to the process there is now; it comes back with another pid"):
        box.call("POST", "/processes/my%20job/signal", {"signal": 15}).expect(200)
        again = restarted(box, "my%20job", record["pid"])
        eventually(lambda: box.output(again["pid"], "stdout") == ["hello"], 30, "its output")
        equal(again["managed"]["restart_count"], 1)
        equal((again["managed"]["last_exit"]["signal"], again["managed"]["last_exit"]["oom_killed"]), (15, False))
        assert type(again["managed"]["last_exit"]["ended_at"]) is int
    with check("restart: another process, whatever the policy says"):
        after = box.call("POST", "/processes/my%20job/restart").expect(200).json
        assert after["pid"] != again["pid"] and after["status"] == "running", after
        equal(after["managed"]["status"], "running")
    with check("what the process before said can still be read by its pid"):
        equal(box.output(again["pid"], "stdout"), ["hello"])
    with check("delete stops it for good, twice is no error, and restart brings it back"):
        box.call("DELETE", "/processes/my%20job").expect(204)
        equal(stopped(box, "my%20job")["status"], "signaled")
        box.call("DELETE", "/processes/my%20job").expect(204)
        back = box.call("POST", "/processes/my%20job/restart").expect(200).json
        equal(back["managed"]["status"], "running")
        box.call("DELETE", f"/processes/{back['pid']}").expect(204)  # by pid it is the same one
        stopped(box, "my%20job")
    with check("a stopped one makes place for another of its name"):
        box.start("sleep", "3000", name="my job")
        box.call("DELETE", "/processes/my%20job").expect(204)
    with check("without a name it has an id, and is found by pid"):
        record = box.start("sleep", "3000", restart={})
        assert record["managed"]["id"] and "name" not in record["managed"], record
        equal(record["managed"]["restart"]["policy"], "on_failure")
        box.call("DELETE", f"/processes/{record['pid']}").expect(204)


def policies(box, check):
    with check("never: its end is the end"):
        box.start("/bin/bash", "-c", "exit 3", name="never", restart={"policy": "never"})
        kept = stopped(box, "never")
        equal((kept["status"], kept["exit_code"], kept["managed"]["restart_count"], kept["managed"]["last_exit"]["exit_code"]), ("exited", 3, 0, 3))
    with check("on_failure: a good end is the end, a bad one is not"):
        box.sh("echo 0 > /tmp/count")
        box.start("/bin/bash", "-c", "n=$(($(cat /tmp/count) + 1)); echo $n > /tmp/count; [ $n -ge 3 ]", name="third", restart=QUICK)
        kept = stopped(box, "third")
        equal((kept["exit_code"], kept["managed"]["restart_count"], box.read("/tmp/count")), (0, 2, b"3\n"))
    with check("always: also after a good end; max_restarts is the limit"):
        box.sh("echo -n > /tmp/lines")
        box.start("/bin/bash", "-c", "echo x >> /tmp/lines", name="limited", restart={**QUICK, "policy": "always", "max_restarts": 3})
        kept = stopped(box, "limited")
        equal((kept["managed"]["restart_count"], box.read("/tmp/lines")), (3, b"x\n" * 4))
    with check("between two tries it backs off and says until when"):
        box.start("/bin/bash", "-c", "exit 1", name="slow", restart={"policy": "always", "initial_backoff_ms": 600_000, "max_backoff_ms": 600_000})
        kept = eventually(lambda: (m := managed(box, "slow"))["status"] == "backing_off" and m, 30, "backing off")
        assert kept["next_restart_at"] > time.time() * 1000 + 60_000, kept
        before = box.process("slow")["pid"]
        after = box.call("POST", "/processes/slow/restart").expect(200).json  # who asks does not wait for it
        assert after["pid"] != before
        eventually(lambda: managed(box, "slow")["status"] == "backing_off", 30, "backing off again")
        box.call("DELETE", "/processes/slow").expect(204)
        assert "next_restart_at" not in managed(box, "slow")
    with check("a program that has gone meanwhile is told, and tried again"):
        box.sh("printf '#!/bin/sh\\nexit 1\\n' > /tmp/prog; chmod 755 /tmp/prog")
        box.start("/tmp/prog", name="gone", restart=QUICK)
        box.sh("rm /tmp/prog")
        eventually(lambda: "/tmp/prog" in managed(box, "gone").get("last_error", ""), 30, "last_error")
        box.sh("printf '#!/bin/sh\\nexec sleep 3000\\n' > /tmp/prog; chmod 755 /tmp/prog")
        eventually(lambda: box.process("gone")["status"] == "running", 30, "runs")
        box.call("DELETE", "/processes/gone").expect(204)


def health(box, check):
    with check("http: healthy while it answers 200 to 399; unhealthy is killed and comes back"):
        box.write("/tmp/server.py", SERVER)
        probe = {"type": "http", "port": 8080, "path": "/up", "initial_delay_ms": 100, "interval_ms": 50, "timeout_ms": 5000, "failure_threshold": 60}  # python takes its time to start
        first = box.start("python3", "/tmp/server.py", name="server", restart=QUICK, health_check=probe)
        equal(first["managed"]["health_check"], probe)
        eventually(lambda: managed(box, "server")["health_status"] == "healthy", 30, "healthy")
        first = box.process("server")
        box.sh("touch /tmp/sick")
        sick = restarted(box, "server", first["pid"])
        assert sick["managed"]["last_exit"]["signal"] == 9, sick
        assert "status 500" in sick["managed"].get("last_error", ""), sick
        box.sh("rm /tmp/sick")
        eventually(lambda: managed(box, "server")["health_status"] == "healthy", 30, "healthy again")
        equal(managed(box, "server")["consecutive_health_failures"], 0)
        box.call("DELETE", "/processes/server").expect(204)
    with check("tcp: nobody listening is unhealthy; with the policy never that is only told"):
        probe = {"type": "tcp", "port": 8081, "initial_delay_ms": 0, "interval_ms": 20, "failure_threshold": 3}
        before = box.start("sleep", "3000", name="deaf", restart={"policy": "never"}, health_check=probe)
        kept = eventually(lambda: (m := managed(box, "deaf"))["health_status"] == "unhealthy" and m, 30, "unhealthy")
        assert kept["consecutive_health_failures"] >= 3 and "8081" in kept["last_error"], kept
        equal(box.process("deaf")["pid"], before["pid"])
        box.call("DELETE", "/processes/deaf").expect(204)


def refusals(box, check):
    with check("a name is taken only once, also by two at once"):
        outcomes = []
        start = {"command": "sleep", "args": ["3000"], "name": "twin"}
        threads = [threading.Thread(target=lambda: outcomes.append(box.call("POST", "/processes", start))) for _ in range(6)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        equal(sorted(r.status for r in outcomes), [201] + [409] * 5)
        next(r for r in outcomes if r.status == 409).refused(409, "NAME_TAKEN")
        box.call("DELETE", "/processes/twin").expect(204)
    with check("a command that is not there is refused and leaves nothing"):
        refused = box.call("POST", "/processes", {"command": "no-such-command", "name": "nothing"})
        assert refused.status >= 400, refused
        box.call("GET", "/processes/nothing").refused(404)
    with check("wrong members are refused by their names"):
        for more, word in [({"name": "a/b"}, "name"), ({"name": "12"}, "name"), ({"name": ""}, "name"), ({"restart": {"policy": "x"}}, "restart.policy"),
                           ({"health_check": {"type": "tcp"}}, "health_check.port"), ({"health_check": {"type": "udp", "port": 1}}, "health_check.type")]:
            refused = box.call("POST", "/processes", {"command": "true", **more}).refused(400)
            assert word in refused.json["error"], refused
    with check("what is not managed cannot be restarted, what is unknown is 404"):
        plain = box.start("sleep", "3000")
        box.call("POST", f"/processes/{plain['pid']}/restart").refused(400, "NOT_MANAGED")
        box.call("DELETE", f"/processes/{plain['pid']}").expect(204)
        box.call("POST", "/processes/unknown/restart").refused(404)
        box.call("POST", "/processes/run", {"command": "true", "name": "x"}).refused(400)


def one_shot(box, check):
    with check("one-shot: what a program leaves behind ends with it; otherwise it stays"):
        script = "sleep 2998 & disown; exit 0"
        box.sh(script, env={"TENSORLAKE_SANDBOX_PROCESS_MODE": "one-shot"}).ok()
        eventually(lambda: "sleep 2998" not in box.programs(), 20, "gone")
        record = box.start("/bin/bash", "-c", "sleep 2997 & disown; exit 0", env={"TENSORLAKE_SANDBOX_PROCESS_MODE": "one-shot"})
        equal(box.ended(record["pid"])["exit_code"], 0)
        eventually(lambda: "sleep 2997" not in box.programs(), 20, "gone")
        box.sh("sleep 2996 & disown; exit 0").ok()
        assert "sleep 2996" in box.programs()
        box.sh("pkill -f 'sleep 2996'")


def test_engine_killed(tmp):
    """The engine is killed: what runs goes on, what ends meanwhile is started by the next engine, what was stopped stays so."""
    with Glovebox(tmp) as gb:
        check = Checks()
        box = api_of(gb).create(name="managed")
        runs = box.start("sleep", "3000", name="runs", restart=QUICK)
        box.start("/bin/bash", "-c", "sleep 0.5; echo said; exit 1", name="ends", restart={**QUICK, "max_backoff_ms": 20})
        box.start("sleep", "3000", name="stopped")
        box.call("DELETE", "/processes/stopped").expect(204)
        for _ in range(3):
            gb.kill_engine()
        box = api_of(gb).box("managed")
        with check("what ran still runs, the same process"):
            kept = box.process("runs")
            equal((kept["pid"], kept["status"], kept["managed"]["status"]), (runs["pid"], "running", "running"))
            equal(len([p for p in box.programs() if p == "sleep 3000"]), 1)
        with check("it is looked after as before"):
            box.call("POST", "/processes/runs/signal", {"signal": 9}).expect(200)
            restarted(box, "runs", runs["pid"])
        with check("what ended while nobody looked comes back"):
            count = managed(box, "ends")["restart_count"]
            eventually(lambda: managed(box, "ends")["restart_count"] > count, 30, "another restart")
        with check("what was stopped stays stopped, and can be started again"):
            equal(managed(box, "stopped")["status"], "stopped")
            equal(box.call("POST", "/processes/stopped/restart").expect(200).json["managed"]["status"], "running")
        check.done()


run(test_policies, test_engine_killed)
