"""No key or secret of the host is in any environment, file or process of a box, and nothing of the host is to be seen there.
labels: privileged timeout=300
"""
import os
import secrets
import signal
import socket
import subprocess
import sys

import leftovers
from harness import Glovebox, run
from support import Checks, api_of, equal, slurp

SEARCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attacks", "search.py")


def canary(kind):
    return f"canary-{kind}-{secrets.token_hex(12)}"


def test(tmp):
    planted = {kind: canary(kind) for kind in ("env", "home", "etc", "argv", "environ", "memory", "deleted", "file")}
    with open(os.path.join(tmp, "secret-of-the-host"), "w") as file:
        file.write(planted["home"])
    os.chmod(file.name, 0o600)
    with open(os.path.join(tmp, "readable-by-all"), "w") as file:  # the mode is no protection: the box has its own files
        file.write(planted["file"])
    os.chmod(file.name, 0o644)

    # A process of the host with a canary in each place a process can have one.
    bystander = subprocess.Popen(
        [sys.executable, "-c", "import sys,time; m = sys.stdin.readline(); print('up', flush=True); time.sleep(600)", planted["argv"]],
        env={"CANARY": planted["environ"]}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    bystander.stdin.write(planted["memory"] + "\n")
    bystander.stdin.flush()
    bystander.stdout.readline()
    environment = {"GLOVEBOX_TEST_CANARY": planted["env"], "AWS_SECRET_ACCESS_KEY": planted["env"], "ANTHROPIC_API_KEY": planted["env"],
                   "ANTHROPIC_ENVIRONMENT_KEY": planted["env"], "ANTHROPIC_ENVIRONMENT_ID": "env_elsewhere",
                   "TENSORLAKE_API_KEY_OF_CALLER": planted["env"]}
    try:
        with Glovebox(tmp, environment=environment) as gb:
            search(tmp, gb, planted, bystander.pid)
    finally:
        bystander.send_signal(signal.SIGKILL)
        bystander.wait()


def keys_of(gb):
    """Every key of the instance, whatever it is called: all files of its key folders, and short 0600 files of its state."""
    found = {}
    for top, _, names in os.walk(gb.state):
        for name in names:
            path = os.path.join(top, name)
            if os.path.islink(path) or not os.path.isfile(path) or "/boxes/" in path or "/images/" in path:
                continue  # what boxes are made of is no secret in them
            if "key" in name or "token" in name or "secret" in name or "/keys" in top:
                content = slurp(path, 4096).strip()
                if len(content) >= 16:
                    found[path] = content
    return found


def search(tmp, gb, planted, bystander):
    api, check = api_of(gb), Checks()
    with open(os.path.join(gb.state, "etc-like-shadow"), "w") as file:
        file.write(planted["etc"])
    os.chmod(file.name, 0o600)
    boxes = [api.create(), api.create(name="neighbour")]
    keys = keys_of(gb)
    with check("the instance's own keys were found on the host (or this test searches for nothing)"):
        assert any(gb.key.encode() in value for value in keys.values()), list(keys)

    box = boxes[0]
    # What would give the host away, beside the planted ones. The box's own id is no secret in it.
    words = {f"planted {kind}": value.encode() for kind, value in planted.items()}
    words |= {f"key {os.path.basename(path)}": value for path, value in keys.items()}
    words |= {"the API's key": gb.key.encode(), "the state directory": gb.state.encode(), "the test's directory": tmp.encode(),
              "the other box's id": boxes[1].id.encode()}
    hostname = socket.gethostname()
    if len(hostname) >= 4:
        words["the host's name"] = hostname.encode()

    # The words go in through stdin of the searcher: in arguments or files it would find itself.
    box.write("/tmp/search.py", slurp(SEARCH))
    lines = [f"{name}\t{value.hex()}" for name, value in words.items()]
    for user in (None, "root"):
        who = user or "the box's user"
        with check(f"as {who}: no canary, key or name of the host in environments, processes, files, /proc, /sys, /dev, mounts"):
            members = {"user": user} if user else {}
            started = box.start("python3", "/tmp/search.py", stdin_mode="pipe", **members)
            box.call("POST", f"/processes/{started['pid']}/stdin", ("\n".join(lines) + "\n").encode()).expect(204)
            box.call("POST", f"/processes/{started['pid']}/stdin/close", b"").expect(204)
            record = box.ended(started["pid"], 240)
            output = box.output(started["pid"], "stdout")
            print("   ", output[-1] if output else "no output", flush=True)
            equal(record.get("exit_code"), 0, "\n".join(output[-20:] + box.output(started["pid"], "stderr")[-20:]))
            equal([line for line in output if line.startswith("HIT")], [])
            counted = dict(part.split("=") for part in output[-1].split()[1:])
            assert int(counted["files"]) > 100 and int(counted["processes"]) >= 2, "the search saw too little: " + output[-1]

    with check("the search finds what is there (a planted file inside is found)"):
        box.write("/tmp/positive-control", b"x" * 100_000 + words["planted home"])
        started = box.start("python3", "/tmp/search.py", stdin_mode="pipe")
        box.call("POST", f"/processes/{started['pid']}/stdin", ("\n".join(lines) + "\n").encode()).expect(204)
        box.call("POST", f"/processes/{started['pid']}/stdin/close", b"").expect(204)
        box.ended(started["pid"], 240)
        hits = [line for line in box.output(started["pid"], "stdout") if line.startswith("HIT")]
        assert any("/tmp/positive-control" in hit for hit in hits), hits
        box.call("DELETE", "/files?path=/tmp/positive-control").expect(204)

    with check("environments hold nothing that the API did not put there"):
        names = {line.split("=")[0] for line in box.run("env").stdout.splitlines()}
        strange = {n for n in names if n.startswith(("GLOVEBOX", "ANTHROPIC", "AWS", "TENSORLAKE", "SSH", "XDG"))}
        equal(strange, set())

    with check("host processes, their pids and the host's sockets are not visible"):
        listed = box.sh("ls -d /proc/[0-9]* | wc -l; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '").stdout
        assert int(listed.split("\n")[0]) < 20, listed
        host_pid_max = max(int(p) for p in os.listdir("/proc") if p.isdigit())
        inside = [int(p.split("/")[-1]) for p in box.sh("ls -d /proc/[0-9]*").stdout.split()]
        assert max(inside) < 5000 or max(inside) < host_pid_max, inside
        named = [line for line in box.run("cat", "/proc/net/unix").stdout.splitlines()[1:] if len(line.split()) > 7]
        equal(named, [], "sockets with a name")
        equal(box.sh("wc -l < /proc/net/tcp").stdout, "1", "sockets of the network")

    # What is outside of a namespace's root is told by "..", and where namespaces are the limits of delegation no process can be started there.
    with check("the box's own control group is the root of what first process and command see"):
        equal([line for line in box.sh("cat /proc/1/cgroup").stdout.splitlines() if line.startswith("0:")], ["0::/hand"])
        (mine,) = [line for line in box.sh("cat /proc/self/cgroup").stdout.splitlines() if line.startswith("0:")]
        assert mine.startswith("0::/user/p"), mine

    with check("the kernel's log, its symbols and other boxes' counts are closed"):
        for path in ("/proc/kmsg", "/dev/kmsg", "/proc/kcore", "/proc/sched_debug", "/proc/timer_list", "/sys/kernel/debug/x", "/proc/keys"):
            result = box.sh(f"head -c 100 {path} 2>&1 | tr -d '\\0' | head -c 100")
            assert result.exit_code == 0 and ("denied" in result.stdout or "No such" in result.stdout or "not permitted" in result.stdout
                                              or result.stdout == ""), f"{path}: {result}"
        first = box.sh("head -1 /proc/kallsyms").stdout
        assert first == "" or first.startswith("0000000000000000"), first

    with check("environment of the parts: nothing of the caller's shell went into any process of the instance"):
        for pid, command in leftovers.processes(gb.state):
            if pid == gb.process.pid:
                continue  # the one that was called with it
            assert planted["env"].encode() not in slurp(f"/proc/{pid}/environ"), f"{pid}: {command}"

    for one in boxes:
        one.delete()
    check.done()


run(test)
