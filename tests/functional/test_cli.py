"""The command line does in a sandbox what a person or a script expects of a command: streams, exit codes, signals, a terminal.
labels: privileged timeout=600
"""
import hashlib
import io
import json
import os
import select
import signal
import subprocess
import tarfile

from harness import Glovebox, run
from support import Checks, Owned, api_of, equal, eventually, short, start_time
from terminals import Terminal, environment


def test_commands(tmp):
    """create, ls, show, exec, cp, rm, env, doctor, status, version, help."""
    with Glovebox(tmp) as gb:
        check = Checks()
        sandboxes(gb, check)
        executing(gb, check)
        copying(gb, check, tmp)
        around(gb, check)
        check.done()


def ok(done):
    assert done.returncode == 0, f"exit {done.returncode}; stdout {short(done.stdout)}; stderr {short(done.stderr)}"
    return done


def sandboxes(gb, check):
    with check("create, show, ls: JSON in a pipe, a table with --text"):
        made = json.loads(ok(gb.cli("sandbox", "create", "tool-box", "--memory=512M", "--cpus=1", "--timeout=10m")).stdout)
        box_id = made.get("sandbox_id") or made["id"]
        shown = json.loads(ok(gb.cli("sandbox", "show", "tool-box")).stdout)
        equal((shown["name"], shown["status"], shown["resources"]["memory_mb"], shown["timeout_secs"]), ("tool-box", "running", 512, 600))
        listed = json.loads(ok(gb.cli("sandbox", "ls")).stdout)
        assert box_id in json.dumps(listed)
        table = ok(gb.cli("--text", "sandbox", "ls")).stdout
        assert "tool-box" in table and "running" in table and not table.lstrip().startswith(("[", "{")), table
        equal(dict(zip(*(line.split() for line in table.splitlines()[:2])))["IMAGE"], "(default)")
        assert '"cpus":1.0,' in gb.cli("sandbox", "show", "tool-box").stdout
    with check("a variable that means nothing is said once, with what was meant, where settings are read, and nowhere else"):
        slip = {"GLOVEBOX_ENGINE_LISTN": "127.0.0.1:1", "GLOVEBOX_TEST_ANYTHING": "1"}
        said = gb.cli("status", environment=slip).stderr
        equal(said, "glovebox: warning: GLOVEBOX_ENGINE_LISTN means nothing here; did you mean GLOVEBOX_ENGINE_LISTEN? ('glovebox settings' lists what does)\n")
        equal(gb.cli("sandbox", "ls", environment=slip).stderr, "")
        listed = json.loads(ok(gb.cli("settings", environment={"GLOVEBOX_REGISTRY_PASSWORD": "hush"})).stdout)
        others = {one["variable"]: one["value"] for one in listed if one["setting"] is None}
        equal((others["GLOVEBOX_CONFIG"], others["GLOVEBOX_REGISTRY_PASSWORD"], others["GLOVEBOX_CA_FILE"]), (gb.config, "(set)", ""))
    with check("exit codes: 1 refused, 2 wrong usage, 3 not found; the reason on stderr, stdout empty"):
        for code, words in ((1, ("sandbox", "create", "tool-box")), (1, ("sandbox", "create", "Bad_Name")), (2, ("sandbox", "create", "--nonsense")),
                            (2, ("sandbox", "frobnicate")), (2, ("sandbox", "exec", "tool-box")), (2, ("sandbox", "show")), (2, ("nonsense",)),
                            (3, ("sandbox", "show", "nobody")), (3, ("sandbox", "rm", "nobody")), (3, ("sandbox", "exec", "nobody", "--", "true")),
                            (3, ("sandbox", "cp", "nobody:/x", "-"))):
            done = gb.cli(*words)
            equal((done.returncode, done.stdout), (code, ""), " ".join(words) + ": " + done.stderr)
            assert done.stderr.strip(), words
    with check("a secret is never a flag, and the key is in no output"):
        for words in (("sandbox", "ls"), ("status",), ("doctor",), ("help",)):
            done = gb.cli(*words)
            assert gb.key not in done.stdout + done.stderr, words
    with check("rm, several at once and --all"):
        for name in ("one", "two", "three"):
            ok(gb.cli("sandbox", "create", name))
        ok(gb.cli("sandbox", "rm", "one", "two"))
        ok(gb.cli("sandbox", "rm", "--all"))
        equal(api_of(gb).alive(), [])
    ok(gb.cli("sandbox", "create", "box"))


def executing(gb, check):
    with check("exec: both streams, and the command's own exit code"):
        done = gb.cli("sandbox", "exec", "box", "--", "bash", "-c", "echo out; echo err >&2; exit 37")
        equal((done.returncode, done.stdout, done.stderr), (37, "out\n", "err\n"))
        equal(gb.cli("sandbox", "exec", "box", "--", "true").returncode, 0)
        equal(gb.cli("sandbox", "exec", "box", "--", "bash", "-c", "kill -9 $$").returncode, 137)
    with check("exec: arguments arrive as they are"):
        words = ["a b", "", "--", "-n", "*", "$X", "ä"]
        equal(ok(gb.cli("sandbox", "exec", "box", "--", "printf", "[%s]", *words)).stdout, "".join(f"[{word}]" for word in words))
    with check("exec: --env, --cwd, --user, --timeout, -n"):
        done = ok(gb.cli("sandbox", "exec", "box", "--env=A=1=2", "--env=B=x", "--cwd=/tmp", "--user=1234", "--",
                         "bash", "-c", "echo $A $B $PWD $(id -u)"))
        equal(done.stdout, "1=2 x /tmp 1234\n")
        equal(gb.cli("sandbox", "exec", "box", "--timeout=1s", "--", "sleep", "100").returncode, 4)
        equal(ok(gb.cli("sandbox", "exec", "-n", "box", "--", "cat", input="eaten")).stdout, "")
    with check("exec: stdin to stdout, 30 MB of bytes unchanged"):
        data = os.urandom(30 << 20)
        done = gb.cli("sandbox", "exec", "box", "--", "cat", input=data, text=False)
        equal(done.returncode, 0, short(done.stderr))
        equal(hashlib.sha256(done.stdout).hexdigest(), hashlib.sha256(data).hexdigest())
    with check("exec: tar in and tar out through pipes"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for i in range(300):
                content = os.urandom(5000)
                info = tarfile.TarInfo(f"tree/d{i % 7}/f{i}")
                info.size, info.mode = len(content), 0o640
                archive.addfile(info, io.BytesIO(content))
        equal(gb.cli("sandbox", "exec", "box", "--", "tar", "-x", "-C", "/tmp", input=packed.getvalue(), text=False).returncode, 0)
        back = gb.cli("sandbox", "exec", "box", "--", "tar", "-c", "-C", "/tmp", "tree", text=False)
        equal(back.returncode, 0, short(back.stderr))

        def contents(raw):
            with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
                return {m.name: (archive.extractfile(m).read(), m.mode) for m in archive if m.isfile()}

        equal(contents(back.stdout) == contents(packed.getvalue()), True, "the same files come back")
    with check("exec: a reader that goes away ends it (| head)"):
        program = [gb.program, "sandbox", "exec", "box", "--", "yes"]
        done = subprocess.run(["bash", "-c", '"$@" | head -n 3', "x", *program], capture_output=True, text=True, timeout=60, env=environment(gb))
        equal(done.stdout, "y\ny\ny\n")
    with check("exec: signals are forwarded, and the exit code is the command's"):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            name = number.name[3:]
            script = f"trap 'echo caught {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
            child = subprocess.Popen([gb.program, "sandbox", "exec", "box", "--", "bash", "-c", script], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment(gb))
            equal(child.stdout.readline(), b"ready\n")
            child.send_signal(number)
            out, err = child.communicate(timeout=30)
            equal((out, child.returncode), (f"caught {name}\n".encode(), 9), name + ": " + short(err))
    with check("exec: a command that is not there is a failure with a reason"):
        done = gb.cli("sandbox", "exec", "box", "--", "no-such-command")
        assert done.returncode in (1, 126, 127) and "no-such-command" in done.stderr, (done.returncode, done.stderr)


def copying(gb, check, tmp):
    here = os.path.join(tmp, "here.bin")
    data = os.urandom(5_000_000)
    with open(here, "wb") as file:
        file.write(data)
    with check("cp in and out, into a folder, and through pipes"):
        ok(gb.cli("sandbox", "cp", here, "box:/tmp/there.bin"))
        ok(gb.cli("sandbox", "cp", "box:/tmp/there.bin", here + ".back"))
        with open(here + ".back", "rb") as file:
            equal(file.read() == data, True, "bytes")
        ok(gb.cli("sandbox", "cp", here, "box:/tmp/"))
        equal(ok(gb.cli("sandbox", "exec", "box", "--", "bash", "-c", "cmp /tmp/here.bin /tmp/there.bin && echo same")).stdout, "same\n")
        equal(gb.cli("sandbox", "cp", "box:/tmp/there.bin", "-", text=False).stdout == data, True)
        ok(gb.cli("sandbox", "cp", "-", "box:/tmp/from-pipe", input=b"piped", text=False))
        equal(gb.cli("sandbox", "cp", "box:/tmp/from-pipe", "-").stdout, "piped")
    with check("cp of what is not there fails and leaves nothing here"):
        target = os.path.join(tmp, "never")
        done = gb.cli("sandbox", "cp", "box:/tmp/nothing-there", target)
        equal(done.returncode, 3, done.stderr)
        assert not os.path.exists(target)
        assert gb.cli("sandbox", "cp", os.path.join(tmp, "no-such-file"), "box:/tmp/x").returncode != 0
        assert gb.cli("sandbox", "cp", here, here).returncode == 2


def around(gb, check):
    with check("env: shell text that works with eval; JSON with --json"):
        done = ok(gb.cli("env"))
        script = 'eval "$1"; printf "%s\\n%s\\n" "$TENSORLAKE_API_URL" "$TENSORLAKE_API_KEY"'
        out = subprocess.run(["sh", "-c", script, "x", done.stdout], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}).stdout
        equal(out.split(), [gb.url, gb.key])
        equal(json.loads(ok(gb.cli("env", "--json")).stdout)["TENSORLAKE_API_KEY"], gb.key)
    with check("env refuses a URL with which the SDK would send its key elsewhere"):
        for url in ("http://10.0.0.5:8410", "http://[::1]:8410", "http://myhost:8410"):
            done = gb.cli("env", "--url=" + url)
            assert done.returncode == 1 and done.stdout == "" and "sandbox.tensorlake.ai" in done.stderr, (url, done)
    with check("doctor: every line says what, how it is and what to do; --json is one object"):
        report = json.loads(gb.cli("doctor", "--json").stdout)
        assert report, report
        text = gb.cli("--text", "doctor")
        assert text.returncode in (0, 1) and len(text.stdout.splitlines()) >= 8, text.stdout
        for word in ("user namespaces", "cgroup", "overlay", "seccomp"):
            assert word in text.stdout.lower(), f"{word} is not in doctor's report:\n{text.stdout}"
    with check("status: what runs and where"):
        status = json.loads(ok(gb.cli("status", "--json")).stdout)
        assert gb.url.rsplit(":", 1)[1] in json.dumps(status), status
    with check("version and help"):
        assert any(c.isdigit() for c in ok(gb.cli("version")).stdout)
        assert "sandbox" in ok(gb.cli("--help")).stdout
        assert "COMMAND" in ok(gb.cli("sandbox", "exec", "--help")).stdout
    with check("up a second time on the same state is refused, and the first lives on"):
        done = gb.cli("up", "--listen", "127.0.0.1:0", timeout=60)
        assert done.returncode == 1 and done.stderr.strip(), (done.returncode, done.stderr)
        ok(gb.cli("sandbox", "ls"))


def test_shell(tmp):
    """`shell` is a real terminal: size, resize, Ctrl-C, job control, exit code, and ours is as before afterwards."""
    with Glovebox(tmp) as gb:
        check = Checks()
        ok(gb.cli("sandbox", "create", "box"))
        with check("shell: size, resize, Ctrl-C, exit code"):
            shell = Terminal(gb, "sandbox", "shell", "box", rows=31, cols=97)
            shell.type("echo ready-$((1+1))\n")
            shell.until("ready-2\r\n")
            shell.type("stty size\n")
            shell.until("31 97\r\n")
            shell.resize(45, 123)
            shell.type("stty size\n")
            eventually(lambda: size_seen(shell, "45 123"), 20, "the new size")
            shell.type("tty; test -t 0 && test -t 1 && test -t 2 && echo three-$((3*3))\n")
            shell.until("/dev/pts/")
            shell.until("three-9\r\n")
            shell.type("sleep 1234\n")
            api = api_of(gb)
            eventually(lambda: "sleep 1234" in api.box("box").programs(), 20, "sleep runs")
            shell.type("\x03")
            shell.type("echo status:$?\n")
            shell.until("status:130\r\n")
            shell.type("exit 11\n")
            equal(shell.wait(), 11)
        with check("exec -t is a terminal too"):
            tty = Terminal(gb, "sandbox", "exec", "-t", "box", "--", "bash", "-c", "stty size; read x; echo got:$x; exit 5")
            tty.until("24 80\r\n")
            tty.type("hello\n")
            tty.until("got:hello\r\n")
            equal(tty.wait(), 5)
        with check("our terminal is as it was before, also after a signal"):
            script = 'stty -g; "$0" sandbox exec -t box -- bash -c "$1"; stty -g; echo end'
            for command in ("true", "kill -9 $$", "stty raw; exit 3"):
                outer = Terminal(gb, "-c", script, gb.program, command, program="/bin/bash")
                outer.until("end\r\n", keep=True)
                settings = [line for line in outer.seen.decode().split("\r\n") if line.count(":") > 20]
                equal(len(settings), 2, short(outer.seen))
                equal(settings[0], settings[1], command)
                outer.wait()
        with check("cp of a directory: what tar says has a line of its own, beside the meter's"):
            # /usr is not writable in there, but what packs is called by the shell, by its full name.
            shell = ("#!/usr/bin/bash\ntar -C \"$4\" -cf /tmp/packed .; head -c 2000 /tmp/packed; sleep 1.2; tail -c +2001 /tmp/packed\n"
                     "until [ -e /tmp/shown ]; do sleep 0.05; done; echo 'tar: it changed' >&2\n")
            ok(gb.cli("sandbox", "exec", "box", "--", "bash", "-c",
                      'mkdir /tmp/tree && echo x > /tmp/tree/x && rm /bin && mkdir /bin && cat > /bin/sh && chmod 755 /bin/sh', input=shell))
            copy = Terminal(gb, "sandbox", "cp", "box:/tmp/tree/", os.path.join(tmp, "tree"))
            copy.until("/s")  # the meter's line is there
            ok(gb.cli("sandbox", "exec", "box", "--", "touch", "/tmp/shown"))
            copy.until("tar: it changed\r\n", keep=True)
            before = copy.seen.split(b"tar: it changed")[0]
            equal(before[-4:], b"\r\x1b[K", short(before))
            equal(copy.wait(), 0)
        with check("a shell without a terminal is wrong usage"):
            equal(gb.cli("sandbox", "shell", "box").returncode, 2)
        check.done()


def size_seen(shell, size):
    shell.type("stty size\n")
    ready, _, _ = select.select([shell.fd], [], [], 0.5)
    if ready:
        shell.seen += os.read(shell.fd, 65536)
    return size.encode() in shell.seen


def test_up_and_down(tmp):
    """`down` leaves boxes running and `up` finds them; `down --all` leaves nothing; `up --detach` returns when it serves."""
    with Glovebox(tmp) as gb:
        check = Checks()
        api, key = api_of(gb), gb.key
        box = api.create(name="stays")
        job = box.start("/bin/bash", "-c", "for i in $(seq 100000); do echo tick $i; sleep 0.02; done")
        owned = Owned(gb.state, gb.instance)
        inside = owned.host_pids(box.id, {1, job["pid"]})
        with check("down stops the parts and leaves the box running"):
            ok(gb.down())
            equal(gb.process.poll() is not None, True)
            for pid, started in inside.items():
                equal(start_time(pid), started, f"process {pid} of the box")
            done = gb.cli("sandbox", "ls")
            assert done.returncode == 1 and done.stderr.strip(), done
        with check("up finds the box again, with its command"):
            gb.start()
            api = api_of(gb)
            box = api.box("stays")
            equal(box.process(job["pid"])["status"], "running")
            lines = box.output(job["pid"], "stdout")
            equal(lines, [f"tick {i}" for i in range(1, len(lines) + 1)])
        with check("keys are 0600 in 0700 and stay the same over restarts"):
            folder = os.path.join(gb.state, "keys")
            equal(oct(os.stat(folder).st_mode & 0o777), "0o700")
            assert os.listdir(folder)
            for name in os.listdir(folder):
                equal(oct(os.stat(os.path.join(folder, name)).st_mode & 0o777), "0o600", name)
            with open(os.path.join(folder, "engine")) as file:
                equal(file.read().strip(), key)
        with check("a second down is no error, and status says that nothing runs"):
            ok(gb.down())
            assert gb.cli("down").returncode in (0, 1)
            status = gb.cli("status")
            assert status.returncode in (0, 1, 3), status
        with check("what needs something that runs says how to start it"):
            for words in (("sandbox", "ls"), ("orchestrate", "--mode=webhook-sandbox", "status")):
                done = gb.cli(*words)
                equal(done.returncode, 1, done.stderr)
                assert "start it with: glovebox" in done.stderr, done.stderr
        with check("up --detach returns when it serves, and logs to files"):
            anywhere = {f"GLOVEBOX_{part}_LISTEN": "127.0.0.1:0" for part in ("BRAIN", "INGRESS")}  # whoever tests may have one running
            done = ok(subprocess.run([gb.program, "up", "--detach", "--state", gb.state, "--listen", "127.0.0.1:0"], stdin=subprocess.DEVNULL,
                                     capture_output=True, text=True, timeout=120, env={**environment(gb), **anywhere}))
            assert "127.0.0.1:" in done.stdout + done.stderr, done
            equal(ok(gb.cli("sandbox", "exec", "stays", "--", "echo", "still here")).stdout, "still here\n")
            assert os.listdir(os.path.join(gb.state, "log"))
        with check("down --all ends boxes too, and leaves nothing"):
            equal(json.loads(ok(gb.cli("down", "--all", "--json")).stdout)["boxes"], "removed")
            eventually(lambda: not owned.processes(), 20, f"no process: {owned.describe(owned.processes())}")
            eventually(lambda: not owned.cgroups() and not owned.mounts(), 20, f"{owned.cgroups()} {owned.mounts()}")
        with check("what was terminated by it is told so by the next engine"):
            gb.start()
            record = api_of(gb).get(box.id)
            equal(record["status"], "terminated")
        check.done()


run(test_commands, test_shell, test_up_and_down)
