"""`make session` hands on what a person wrote byte for byte, runs none of it, and one command is all a session needs.
labels: timeout=300
"""
import json
import os
import subprocess
import time

import leftovers
from harness import BIN, ROOT, need_root, note, run, wait_gone

PROMPTS = [
    b"create hello.txt with 'hi' then read it back",
    b'double " quotes " and \'single\' ones, `back` ones',
    b"`touch %s`", b"$(touch %s)", b"$(shell touch %s)", b"$$(touch %s)", b"';touch %s;'", b'";touch %s;"', b"|touch %s", b"\ntouch %s\n",
    b"$$", b"$", b"$x ${HOME} $(HOME) $@ $< $$x $(value PROMPT) $(PROMPT) $(error no)",
    b"two\nlines\n\nand a third\n", b"tabs\tand\ttrailing blanks  ", b"a # b \\# c", b"back\\slashes \\ \\\\ at the end \\", b"%s %d %%", b"a=b", b"x:=y",
    b"--help", b"-n", b"-", b"-- x", b"*?[a]~!", b"&& true", b"\x1b[2J\x07", "日本 é ✗".encode(), b"no \xff\xfe UTF-8", b"x" * 100_000,
]

# Stands in for the program: what it was given goes to a file.
PROGRAM = r'''#!/usr/bin/env python3
import json, os, sys
with open(os.environ["GIVEN"], "w") as file:
    json.dump({"words": sys.argv[1:], "prompt": os.environb.get(b"PROMPT", b"").hex(), "session": os.environb.get(b"SESSION", b"").hex()}, file)
print("the session's own words")
'''


def write_program(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o755)


def make(tmp, build, arguments=(), environment=None, limit=120):
    """`make session` where nothing is to be built: ninja is a program that has nothing to do."""
    ninja = os.path.join(tmp, "path", "ninja")
    if not os.path.exists(ninja):
        write_program(ninja, "#!/bin/sh\nexit 0\n")
    environment = {b"PATH": f"{tmp}/path:/usr/sbin:/usr/bin:/sbin:/bin".encode(), b"HOME": tmp.encode(), b"LANG": b"C.UTF-8",
                   **{os.fsencode(k): os.fsencode(v) for k, v in (environment or {}).items()}}
    return subprocess.run([b"make", b"-C", os.fsencode(ROOT), b"--no-print-directory", b"session", b"BUILD=" + os.fsencode(build), *arguments],
                          env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit)


def test_prompts_arrive_byte_for_byte(tmp):
    """On make's command line and in the environment, whatever is in them; nothing of it is run by make or a shell."""
    build, trap, given = (os.path.join(tmp, name) for name in ("build", "trap", "given"))
    write_program(os.path.join(build, "bin", "glovebox"), PROGRAM)
    for name in ("deps.installed", "build.ninja"):
        with open(os.path.join(build, name), "w"):
            pass
    wrong = []
    for prompt in PROMPTS:
        prompt = prompt.replace(b"touch %s", b"touch " + trap.encode())
        for how in ("command line", "environment", "session"):
            arguments, environment = [], {"GIVEN": given}
            if how == "command line":
                arguments.append(b"PROMPT=" + prompt)
            elif how == "environment":
                environment["PROMPT"] = prompt
            else:
                arguments.append(b"SESSION=" + prompt)
            done = make(tmp, build, arguments, environment)
            if done.returncode != 0 or not os.path.exists(given):
                wrong.append(f"{how} {prompt[:60]!r}: exit {done.returncode}: {done.stderr[-300:]!r}")
                continue
            with open(given) as file:
                seen = json.load(file)
            os.unlink(given)
            arrived = bytes.fromhex(seen["session" if how == "session" else "prompt"])
            # Blanks between the = and the text are make's own, on its command line; in the environment nothing is.
            if arrived != (prompt if how == "environment" else prompt.lstrip()):
                wrong.append(f"{how} {prompt[:60]!r} arrived as {arrived[:60]!r}")
            if seen["words"] != ["session"] or done.stdout != b"the session's own words\n":
                wrong.append(f"{how} {prompt[:60]!r}: {seen['words']!r}, {done.stdout!r}")
        assert not os.path.exists(trap), f"{prompt!r} was run"
    assert not wrong, "\n".join(wrong)


def test_one_command_is_all_it_needs(tmp):
    """Starts what does not run, drives a session, and goes on with it in the same box; the second run has nothing to set up."""
    need_root()
    state = os.path.join(tmp, "state")
    config = os.path.join(tmp, "empty.toml")
    with open(config, "w"):
        pass
    environment = {"GLOVEBOX_STATE": state, "GLOVEBOX_CONFIG": config, "GLOVEBOX_ENGINE_LISTEN": "127.0.0.1:0", "GLOVEBOX_INGRESS_LISTEN": "127.0.0.1:0", "GLOVEBOX_BRAIN_LISTEN": "127.0.0.1:0"}
    build = os.path.dirname(BIN)
    try:
        first = make(tmp, build, environment={**environment, "PROMPT": "create hello.txt with 'hi' then read it back"})
        lines = first.stdout.decode().splitlines()
        assert first.returncode == 0, (first.returncode, first.stdout, first.stderr)
        session = lines[0].split()[1]
        wanted = ["> create hello.txt with 'hi' then read it back", "· running", "· thinking", "→ write  hello.txt", "→ read  hello.txt", "← hi", "· done (end_turn)"]
        assert [line for line in lines if line in wanted] == wanted, first.stdout.decode()
        assert "rehearsal model" in first.stderr.decode(), first.stderr
        started = time.monotonic()
        second = make(tmp, build, [b"PROMPT=read hello.txt", b"SESSION=" + session.encode()], environment)
        note(f"the second make session took {time.monotonic() - started:.2f} s")
        assert second.returncode == 0, second
        shown = second.stdout.decode()
        assert shown.startswith(f"reusing session {session}\n") and "\n← hi\n" in shown, shown
    finally:
        with open(os.path.join(state, "engine", "instance")) as file:
            instance = file.read().strip()
        down = subprocess.run([os.path.join(BIN, "glovebox"), "down", "--all"], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert down.returncode == 0, down
    left = wait_gone(state, instance)
    assert not left, "left behind:\n  " + "\n  ".join(left)
    assert not leftovers.claims(tmp)


run(test_prompts_arrive_byte_for_byte, test_one_command_is_all_it_needs)
