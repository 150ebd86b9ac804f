"""Escapes from a box by its runtime and its file system are denied, and the host is as it was. Prints attack → outcome.
labels: privileged timeout=300
"""
import glob
import hashlib
import os
import re
import time

from harness import BIN, Glovebox, run
from support import Checks, Exec, api_of, compile_attack, equal, eventually, slurp, start_time

# Those that the filter answers: any other errno means that the kernel looked at the call first.
FILTERED = re.compile(r"A14 (init|finit|delete)_module|A14 kexec|A14 (reboot|swap|iopl|ioperm|acct|quotactl)|A14 (32-bit|x32)|"
                      r"A15 (bpf|perf|userfaultfd|io_uring|add_key|keyctl|request_key)|A7 |A10 |A6 the new")
NOT_HERE = {
    "A3 symlink swapped on a mount target during start": "a box has no mount target that a tenant names until volumes come",
    "A19 archives with hostile members": "nothing unpacks archives until images are imported",
}
WATCHED_SYSCTLS = ["kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/domainname", "kernel/panic", "kernel/sysrq",
                   "kernel/printk", "kernel/randomize_va_space", "kernel/pid_max", "vm/overcommit_memory", "vm/swappiness",
                   "fs/file-max", "net/ipv4/ip_forward", "kernel/unprivileged_bpf_disabled"]


class Host:
    """What an escape would change: programs, settings, devices, modules, and a process that must live on."""

    def __init__(self):
        self.files = {path: hashlib.sha256(slurp(path, 64 << 20)).hexdigest() for path in [
            "/etc/passwd", "/etc/shadow", "/usr/bin/true", "/usr/lib/os-release", "/bin/bash",
            *glob.glob(os.path.join(BIN, "glovebox*"))] if os.path.isfile(path)}
        self.sysctls = {name: slurp("/proc/sys/" + name) for name in WATCHED_SYSCTLS}
        self.modules = sorted(line.split()[0] for line in slurp("/proc/modules").splitlines())
        self.devices = sorted(os.listdir("/dev"))
        self.agents = {path: slurp(path) for path in glob.glob("/sys/fs/cgroup/*/release_agent")}
        self.root = sorted(os.listdir("/"))
        self.us = start_time(os.getpid())


def test(tmp):
    program = compile_attack(tmp, "escape")
    table = []
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box, sibling = api.create(), api.create()
        sibling.write("/tmp/mine", "untouched")
        before = Host()

        def row(attack, outcome, fine):
            table.append((attack, outcome))
            print(f"    {attack:52} → {outcome}", flush=True)
            assert fine, f"{attack} → {outcome}"

        box.install("/tmp/escape", program)
        for user in (None, "root"):
            who = user or "box user"
            ran = box.run("/tmp/escape", **({"user": user} if user else {}))
            attempts = [line.split("\t", 1) for line in ran.stdout.splitlines() if "\t" in line]
            with check(f"the attack program ran through, as {who}"):
                equal(ran.exit_code, 0, repr(ran))
                assert len(attempts) >= 70, f"{len(attempts)} attempts: {ran!r}"
            for attack, outcome in attempts:
                with check(f"{attack} ({who})"):
                    fine = outcome.startswith(("denied", "contained"))
                    if FILTERED.match(attack):
                        fine = fine and re.search(r"EPERM|ENOSYS|EACCES|signal", outcome)
                    row(f"{attack} ({who})", outcome, fine)

        terminals(box, check, row)
        runtime(box, check, row)
        setuid(box, check, row)
        tools(box, check, row)
        names(box, check, row)
        loader(box, check, row)
        crash(box, check, row, tmp)
        signals(gb, api, box, check, row)
        host_api(gb, box, check, row)
        for attack, why in NOT_HERE.items():
            print(f"    {attack:52} → not run: {why}")

        with check("the host is as it was"):
            after = Host()
            for part in vars(before):
                equal(getattr(after, part), getattr(before, part), part)
        with check("the other box is as it was"):
            equal(sibling.read("/tmp/mine"), b"untouched")
            equal(sibling.sh("echo fine").stdout, "fine")
        with check("the attacked box still works"):
            equal(box.sh("echo fine").stdout, "fine")
        box.delete()
        sibling.delete()
        print(f"  {len(table)} attacks, {len(NOT_HERE)} not run")
        check.done()


def terminals(box, check, row):
    with check("A21 in a real terminal"):
        done = Exec(box, command="/tmp/escape", args=["A21 TIOCSTI"], pty=True, rows=24, cols=80).finish()
        outcome = done.stdout.decode().strip().split("\t")[-1]
        row("A21 TIOCSTI in a terminal of its own", outcome, outcome.startswith("denied"))


def runtime(box, check, row):
    with check("A4 masks and nodes are what they seem"):
        script = r"""
for n in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
  IFS=: read name major minor <<< "$n"
  [ -L /dev/$name ] && echo "/dev/$name is a link"
  got=$(stat -c %t:%T /dev/$name); [ "$got" = "$(printf %x:%x $major $minor)" ] || echo "/dev/$name is $got"
done
for p in kcore keys timer_list sysrq-trigger latency_stats sched_debug; do
  [ -e /proc/$p ] && head -c 16 /proc/$p 2>/dev/null | grep -q . && echo "/proc/$p can be read"
done
for p in sys irq bus fs; do [ -w /proc/$p ] && touch /proc/$p/x 2>/dev/null && echo "/proc/$p takes files"; done
echo checked"""
        ran = box.sh(script, user="root")
        row("A4 nodes and masks compared with what they should be", "contained: all as they should be" if ran.stdout == "checked" else ran.stdout,
            ran.stdout == "checked")
    with check("A1 a working directory that is somebody's descriptor (CVE-2024-21626)"):
        inside = box.run("stat", "-c", "%d:%i", "/").stdout
        script = "test -e cgroup.procs && echo control-group; stat -c 'root %d:%i' -- $(printf '../%.0s' {1..40})"
        for cwd in [f"/proc/self/fd/{n}" for n in range(3, 40)] + ["/proc/1/cwd", "/proc/1/root", "/proc/self/root/../..", "/proc/self/cwd"]:
            reply = box.call("POST", "/processes/run", {"command": "/bin/bash", "args": ["-c", script], "working_dir": cwd})
            if reply.status == 200 and "control-group\"" in reply.text or "root " in reply.text and f"root {inside}" not in reply.text:
                row(f"A1 start in {cwd}", "ALLOWED: " + reply.text[:200], False)
        row("A1 start in 41 descriptors and links of others", "denied, or inside its own root", True)


def setuid(box, check, row):
    with check("A16 setuid and file capabilities"):
        ran = box.sh("cp /tmp/escape /tmp/suid && chown root /tmp/suid && chmod 4755 /tmp/suid", user="root")
        ran = box.run("/tmp/suid", "euid", user="1234")
        row("A16 a setuid program run by another user", f"denied: uid, euid {ran.stdout}", ran.stdout == "1234 1234")
        # A version 2 capability with everything permitted and effective, as setcap would write it.
        script = ("import os; os.setxattr('/tmp/escape', 'security.capability', "
                  "bytes.fromhex('01000002') + b'\\xff'*4 + b'\\0'*4 + b'\\xff'*4 + b'\\0'*4)")
        set_it = box.run("python3", "-c", script, user="root")
        ran = box.sh("grep CapEff /proc/self/status; /tmp/escape 'A16 limits'; cp /bin/cat /tmp/cat", user="1234")
        held = re.search(r"CapEff:\s+(\w+)", box.run("/tmp/cat", "/proc/self/status", user="1234").stdout)
        how = "denied" if set_it.exit_code else "contained"
        row("A16 file capabilities on a writable file", f"{how}: effective {held[1]}", int(held[1], 16) == 0)


def tools(box, check, row):
    workdir = box.run("pwd").stdout
    box.sh(f"ln -sf /etc/shadow {workdir}/shadow-link; ln -f /etc/shadow {workdir}/shadow-hard", user="root")
    host_shadow = slurp("/etc/shadow")
    with check("A17 links to /etc/shadow"):
        for tool, members in (("read", {}), ("write", {"content": "x"}), ("edit", {"old_string": "root", "new_string": "toor"})):
            result = box.tool(tool, file_path="shadow-link", **members)
            outcome = "denied: " + result["content"][:60] if result["is_error"] else "ALLOWED"
            row(f"A17 {tool} through a symlink to /etc/shadow", outcome, result["is_error"])
        content = box.tool("read", file_path="shadow-hard")["content"]
        leaked = any(line and line.split(":")[1] not in ("*", "!", "!*", "x", "") and line in content for line in host_shadow.decode().splitlines())
        row("A17 read through a hard link to /etc/shadow", "contained: the box's own file at most", not leaked)
    with check("A18 what never ends"):
        box.sh(f"cd {workdir}; mkdir -p loop; ln -sfn . loop/self; ln -sfn .. loop/up; mkfifo loop/fifo; "
               "ln -sf /dev/zero loop/zero; ln -sf /proc/kcore loop/kcore")
        for tool, members in (("glob", {"pattern": "**/*", "path": "loop"}), ("grep", {"pattern": "x", "path": "loop"}),
                              ("read", {"file_path": "loop/fifo"}), ("read", {"file_path": "loop/zero"}), ("read", {"file_path": "/proc/kcore"})):
            began = time.monotonic()
            result = box.tool(tool, **members)
            took, size = time.monotonic() - began, len(result["content"])
            row(f"A18 {tool} of {members.get('file_path', 'a loop, a FIFO and /dev/zero')}",
                f"contained: {took:.2f} s, {size} characters", took < 65 and size < 300_000)


def names(box, check, row):
    with check("A20 names as bytes"):
        script = r"""import os
os.makedirs(b'/tmp/names', exist_ok=True)
for n in (b'a\nb', b'\xff\xfe', b'x'*255, b'-rf', b'--help', b"'; id; '", b'$(id)', b'\x1b[31mred'): open(b'/tmp/names/'+n, 'w').write('in')
print(len(os.listdir(b'/tmp/names')))"""
        equal(box.run("python3", "-c", script).stdout, "8")
        reply = box.call("GET", "/files/list?path=/tmp/names").expect(200)
        row("A20 a folder of hostile names is listed", f"contained: {len(reply.json['entries'])} entries", len(reply.json["entries"]) == 8)
        reply = box.call("GET", "/files?path=/tmp/names/-rf").expect(200)
        row("A20 a file called -rf is a file", "contained: read", reply.body == b"in")
        row("A20 a NUL in a name", "denied: 400", box.call("GET", "/files?path=/tmp/names/a%00b").status == 400)


def loader(box, check, row):
    with check("A23 tricks of paths"):
        ran = box.sh("cp /bin/true /tmp/denied; chmod 644 /tmp/denied; for l in /lib64/ld-linux-x86-64.so.2 /lib/ld-linux-*.so.*; do "
                     "[ -e $l ] && $l /bin/cat /proc/self/status; done | grep -E 'NoNewPrivs|Seccomp:' | sort | uniq -c")
        limits = re.findall(r"(NoNewPrivs|Seccomp):\s+(\d)", ran.stdout)
        row("A23 run by the loader", f"contained: {dict(limits)}", ("NoNewPrivs", "1") in limits and ("Seccomp", "2") in limits)
        ran = box.sh("/proc/self/root/bin/cat /proc/self/status | grep -E 'NoNewPrivs|Seccomp:'")
        row("A23 run through /proc/self/root", "contained: same limits", "NoNewPrivs:\t1" in ran.stdout and "Seccomp:\t2" in ran.stdout)


def crash(box, check, row, tmp):
    with check("A12 a crash calls nothing on the host"):
        pattern = slurp("/proc/sys/kernel/core_pattern").strip()
        ran = box.run("/tmp/escape", "crash")
        cores = glob.glob(os.path.join(tmp, "core*")) + glob.glob("core*")
        limit = box.sh("ulimit -Hc; ulimit -Sc").stdout.split()
        row("A12 a crash", f"contained: signal {ran.signal}, core limit {'/'.join(limit)}", ran.signal == 11 and not cores
            and (not pattern.startswith(b"|") or limit[0] in ("0", "1")))


def signals(gb, api, box, check, row):
    engine = gb.engine_pid()
    survivor = box.start("sleep", "600")
    with check("A24 kill -9 -1, as the box's user and as root"):
        for user in ({}, {"user": "root"}):
            ran = box.sh("kill -9 -1; echo survived", **user)
            after = eventually(lambda: box.sh("echo session continues").stdout == "session continues", 30, "the box answers")
            row(f"A24 kill -9 -1 ({user.get('user', 'box user')})", f"contained: {ran.end}, the session continues", after)
    with check("A24 the supervisor and the engine are the same and untouched"):
        row("A24 the engine", "contained: the same process", gb.engine_pid() == engine and gb.process.poll() is None)
        box.call("GET", f"/processes/{survivor['pid']}").expect(200)
    with check("A24 processes of the host by number"):
        ran = box.sh(f"kill -0 {engine} {gb.process.pid} {os.getpid()}; ls -d /proc/{engine} /proc/{os.getpid()}", user="root")
        row("A24 host pids named outright", "denied: " + ran.stderr.split("\n")[0][-60:], "No such" in ran.stderr and ran.stdout == "")


def host_api(gb, box, check, row):
    with check("E76 the engine's own API from inside"):
        port = gb.url.rsplit(":", 1)[1]
        script = f"""import socket
for host in ('127.0.0.1', '0.0.0.0', 'localhost', '::1', '::ffff:127.0.0.1', '10.0.0.1', '172.17.0.1', '169.254.169.254', '1.1.1.1'):
    for port in ({port}, 22, 80):
        try:
            socket.create_connection((host, port), 1)
            print('CONNECTED', host, port)
        except OSError:
            pass
print('tried', [i[1] for i in socket.if_nameindex()])"""
        ran = box.run("python3", "-c", script)
        row("E76 connect to the host, the metadata address and out", f"denied: nothing answers, interfaces {ran.stdout[6:]}",
            ran.stdout == "tried ['lo']")


run(test)
