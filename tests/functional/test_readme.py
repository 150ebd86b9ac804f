"""What the README and the documents tell people to type exists, and the README's first steps work as they stand.
labels: privileged
"""
import glob
import json
import os
import pty
import re
import select
import subprocess
import time

from harness import BIN, ROOT, SYSTEM, Glovebox, run

PROGRAM = os.path.join(BIN, "glovebox")


def documents():
    patterns = ("README.md", "docs/*.md", "docs/decisions/*.md", "src/*/README.md", "tests/functional/README.md",
                "bench/README.md", "fuzz/README.md")
    return [path for pattern in patterns for path in sorted(glob.glob(os.path.join(ROOT, pattern)))]


def code(text):
    """Lines of indented and fenced blocks, and what stands in backquotes."""
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line
        else:
            yield from re.findall(r"`([^`]+)`", line)


def test_what_documents_mention_exists():
    """Each `make X`, `glovebox X`, and file that a document names."""
    make = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^  make ([a-z-]+)", make, re.M))
    help_text = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout
    wrong = []
    for path in documents():
        name = os.path.relpath(path, ROOT)
        with open(path) as file:
            text = file.read()
        for line in code(text):
            for target in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)(?=$|\s)", line.split("  #")[0]):
                if target not in targets:
                    wrong.append(f"{name}: make {target}")
            for words in re.findall(r"(?:^|[\s/])glovebox ((?:sandbox )?[a-z]+)(?=$|\s)", line.split("  #")[0]):
                if not re.search(rf"(^|\s){re.escape(words)}(\s|$)", help_text, re.M):
                    wrong.append(f"{name}: glovebox {words}")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            if not os.path.exists(os.path.join(os.path.dirname(path), target)):
                wrong.append(f"{name}: link to {target}")
    assert not wrong, "no such thing:\n  " + "\n  ".join(wrong)


def test_all_settings_are_described():
    """The configuration in src/app/README.md names each setting, and none that is not there."""
    with open(os.path.join(ROOT, "src/app/README.md")) as file:
        block = re.search(r"```toml\n(.*?)```", file.read(), re.S).group(1)
    described, section = set(), ""
    for line in block.splitlines():
        if head := re.match(r"\[(\w+)\]", line):
            section = head.group(1) + "."
        elif key := re.match(r"(\w+) *=", line):
            described.add(section + key.group(1))
    listed = subprocess.run([PROGRAM, "settings", "--json", "--config=/dev/null"], capture_output=True, text=True, check=True)
    there = {setting["setting"] for setting in json.loads(listed.stdout)} - {None}  # a variable that is none
    assert described == there, f"not described: {there - described}; not there: {described - there}"


def try_it():
    """The commands of the README's first block."""
    with open(os.path.join(ROOT, "README.md")) as file:
        block = re.search(r"^## Try it\n(.*?)^## ", file.read(), re.S | re.M).group(1)
    lines = [line.strip().split("  #")[0].strip() for line in block.splitlines() if line.startswith("    ")]
    # make has run already, and the harness does `up` and `down --all` on a state directory and a port of its own.
    return [line for line in lines if not re.match(r"make\b|.*glovebox (up|down)\b", line)]


def on_a_terminal(command, environment, typed, limit=30):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve("/bin/sh", ["/bin/sh", "-c", command], environment)
    shown, sent, deadline = b"", False, time.monotonic() + limit
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # the other end is closed: the program has ended
                break
            if not piece:
                break
            shown += piece
            if not sent:  # a prompt: somebody listens
                os.write(terminal, typed)
                sent = True
    else:
        os.kill(pid, 9)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode(errors="replace")


def test_first_steps_work(tmp):
    """A newcomer types the block from top to bottom."""
    commands = try_it()
    assert len(commands) > 5, commands
    with Glovebox(tmp, parts=SYSTEM) as glovebox:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": tmp, "TERM": "dumb", "LANG": "C.UTF-8",
                       "GLOVEBOX_STATE": glovebox.state}
        for line in commands:
            command = line.replace("build/bin/glovebox", PROGRAM)
            if " sandbox shell " in line:
                code, shown = on_a_terminal(command, environment, b"exit 0\n")
            else:
                done = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
                code, shown = done.returncode, done.stdout
            print(f"$ {line}\n{shown}")
            # doctor's status is about this machine, not about us.
            assert code == 0 or " doctor" in line, f"{line}: exit {code}\n{shown}"
            if "uname" in line:
                assert "Linux" in shown, shown


run(test_what_documents_mention_exists, test_all_settings_are_described, test_first_steps_work)
