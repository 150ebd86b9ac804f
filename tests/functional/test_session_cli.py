"""A person's way through sessions on the command line: outputs, exit codes, JSON; a session goes on in its box; interrupt, Ctrl-C, SIGTERM.
labels: privileged timeout=300
"""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import leftovers
from fake_messages import FakeMessages, status, stream, text, tool
from harness import SYSTEM, Glovebox, Skip, run
from sessions import Brain, brief, lawful, plain
from support import Checks, Owned, api_of, equal, eventually, short

WORDS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def ok(done, code=0):
    assert done.returncode == code, f"exit {done.returncode}, not {code}\nstdout {short(done.stdout, 3000)}\nstderr {short(done.stderr, 2000)}"
    return done


def in_order(output, *words):
    """Each of these is in a line of its own behind the one before."""
    rest = output.splitlines()
    for word in words:
        while rest and word not in rest[0]:
            rest.pop(0)
        assert rest, f"no line with {word!r} (in this order) in:\n{output}"
        rest.pop(0)


def session_of(output):
    return re.search(r"sesn_[0-9A-Za-z]+", output)[0]


def start(gb, *words):
    return subprocess.Popen([gb.program, "session", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**WORDS, "HOME": os.path.dirname(gb.state), "GLOVEBOX_STATE": gb.state, "GLOVEBOX_CONFIG": gb.config})


def test_sessions(tmp):
    """With the rehearsal model, as on a fresh machine."""
    check = Checks()
    with Glovebox(tmp, parts=SYSTEM) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        driving(gb, brain, check)
        leaving(gb, brain, check)
        administering(gb, brain, check)
        around(gb, brain, check)
        check.done()


def driving(gb, brain, check):
    session = None
    with check("session: what the README shows"):
        done = ok(gb.cli("session", "create hello.txt with 'hi' then read it back"))
        in_order(done.stdout, "session sesn_", "> create hello.txt", "· running", "· thinking", "→ write  hello.txt", "← ", "→ read  hello.txt", "← hi", "· done (end_turn)")
        session = session_of(done.stdout)
        assert "\x1b" not in done.stdout, "no colours in a pipe"
        said = [line for line in done.stderr.splitlines() if "rehearsal" in line]
        equal(len(said), 1, f"one line says who answers: {done.stderr}")
        assert "key" in said[0], said
        final = plain([e for e in brain.events(session) if e["type"] == "agent.message"][-1]["content"])
        assert "rehearsal" in final.lower() and final.strip().splitlines()[0] in done.stdout, final
        lawful(brain.events(session))
    with check("--session goes on: the same box, its files and its shell"):
        in_order(ok(gb.cli("session", f"--session={session}", "run `cat hello.txt; WORD=kept; cd /tmp`")).stdout, "reusing session", "→ bash  cat hello.txt", "← hi", "· done (end_turn)")
        in_order(ok(gb.cli("session", "run `echo $WORD $PWD`", environment={"SESSION": session})).stdout, "← kept /tmp", "· done")
        equal(len([b for b in api_of(gb).alive() if b["name"].startswith("agent-")]), 1, "boxes")
    with check("a prompt is taken as it is: quotes, dollars, backticks, newlines; as word, in the environment, from stdin, behind --"):
        nasty = "run `echo 'a\"b' \"$((1+1))\" \\\\`\nthen run `echo ä ✓`"
        for words, more in (((nasty,), {}), ((), {"environment": {"PROMPT": nasty}}), (("-",), {"input": nasty}), (("--", nasty), {})):
            done = ok(gb.cli("session", *words, **more))
            assert "rehearsal" not in done.stderr, f"it is said once: {done.stderr}"
            sent = next(e for e in brain.events(session_of(done.stdout)) if e["type"] == "user.message")
            equal(plain(sent["content"]), nasty)
            in_order(done.stdout, "← a\"b 2 \\", "← ä ✓")
    with check("a failing command is a ✗, and the session goes on"):
        in_order(ok(gb.cli("session", "run `echo sorry; (exit 3)`")).stdout, "→ bash  echo sorry", "✗ sorry", "· done (end_turn)")
    with check("--json: the session, then its events as they are, one in a line"):
        done = ok(gb.cli("session", "--json", "run `echo json`"))
        first, *events = [json.loads(line) for line in done.stdout.splitlines()]
        equal(first["type"], "session")
        equal([e["id"] for e in events if "id" in e], [e["id"] for e in brain.events(first["id"])])
    with check("--metadata is the new session's, values with = in them too"):
        done = ok(gb.cli("session", "--json", "--metadata=session.box=ephemeral", "--metadata=note=a=b", "run `pwd`"))
        assert json.loads(done.stdout.splitlines()[0])["metadata"] == {"session.box": "ephemeral", "note": "a=b"}, done.stdout
        assert gb.cli("session", "--metadata=novalue", "hi").returncode == 2
    with check("without a prompt it follows what is there"):
        done = ok(gb.cli("session", f"--session={session}"))
        in_order(done.stdout, "· done (end_turn)")
    with check("wrong use is 2, what is not there is 3, and stdout stays empty"):
        for code, words in ((2, ()), (2, ("--nonsense",)), (2, ("two", "words")), (2, ("",)), (3, ("--session=sesn_01nope", "x"))):
            done = gb.cli("session", *words)
            equal((done.returncode, done.stdout), (code, ""), " ".join(words) + ": " + done.stderr)
            assert done.stderr.strip()


def leaving(gb, brain, check):
    with check("sessions interrupt while a command runs: the turn ends, the command is ended in the box"):
        before = newest(brain)
        child = start(gb, "run `echo begun > mark; sleep 321; echo never`")
        session = eventually(lambda: (n := newest(brain)) != before and n, 20, "the session")
        eventually(lambda: any("sleep 321" in line for line in sleepers(gb)), 30, "the command runs")
        ok(gb.cli("sessions", "interrupt", session))
        out, err = child.communicate(timeout=30)
        equal(child.returncode, 0, out + err)
        in_order(out, "→ bash", "· done (end_turn)")
        eventually(lambda: not any("sleep 321" in line for line in sleepers(gb)), 20, "the command is ended")
        lawful(brain.events(session))
        in_order(ok(gb.cli("session", f"--session={session}", "run `cat mark`")).stdout, "← begun")
    with check("Ctrl-C interrupts: the command is ended, the end is shown, exit 130"):
        before = newest(brain)
        child = start(gb, "run `sleep 322; echo never`")
        session = eventually(lambda: (n := newest(brain)) != before and n, 20, "the session")
        eventually(lambda: any("sleep 322" in line for line in sleepers(gb)), 30, "the command runs")
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        equal(child.returncode, 130, out + err)
        in_order(out, "→ bash", "· done (end_turn)")
        eventually(lambda: not any("sleep 322" in line for line in sleepers(gb)), 20, "the command is ended")
        lawful(brain.events(session))
    with check("SIGTERM leaves with 143, and the session goes on to its end"):
        before = newest(brain)
        child = start(gb, "run `sleep 2; echo finished without you`")
        session = eventually(lambda: (n := newest(brain)) != before and n, 20, "the session")
        eventually(lambda: "agent.tool_use" in [e["type"] for e in brain.events(session)], 20, "a call")
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=20)
        equal(child.returncode, 143, out + err)
        assert session in err, err
        results = [plain(e["content"]) for e in brain.settled(session) if e["type"] == "user.tool_result"]
        equal(results, ["finished without you"])
    with check("the brain is killed while it is followed: the follower comes back and shows everything once"):
        child = start(gb, "--json", "run `sleep 1; echo one` then run `sleep 1; echo two`")
        before = session
        session = eventually(lambda: (n := newest(brain)) != before and n, 20, "the session")
        eventually(lambda: "agent.tool_use" in [e["type"] for e in brain.events(session)], 20, "a call")
        gb.kill_part("brain")
        out, err = child.communicate(timeout=60)
        equal(child.returncode, 0, out + err)
        shown = [json.loads(line)["id"] for line in out.splitlines()[1:]]
        equal(shown, [e["id"] for e in brain.events(session)])
    with check("SIGTERM: the call that runs is finished and its result sent, then all stops; nothing is left; the next start goes on"):
        before = session
        child = start(gb, "run `sleep 2; echo finished > /workspace/term; echo done well` then run `cat /workspace/term`")
        session = eventually(lambda: (n := newest(brain)) != before and n, 20, "the session")
        eventually(lambda: any("sleep 2" in line for line in sleepers(gb)), 30, "the command runs")
        gb.process.send_signal(signal.SIGTERM)
        gb.process.wait(60)
        equal(gb.process.returncode, 0)
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=30)
        parts = [line for _, line in leftovers.processes(gb.state, gb.instance) if "daemon" in line]
        equal(parts, [], "parts that are left")
        gb.start()
        brain.__init__(gb.brain.url, gb.brain_key)
        events = lawful(brain.settled(session, 60))
        results = [(plain(e["content"]), e["is_error"]) for e in events if e["type"] == "user.tool_result"]
        equal(results, [("done well", False), ("finished", False)], brief(events))


def sleepers(gb):
    found = []
    for pid in Owned(gb.state, gb.instance).in_cgroup(gb.instance):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                found.append(file.read().replace(b"\0", b" ").decode(errors="replace").strip())
        except OSError:
            pass
    return found


def newest(brain):
    data = brain.get("/v1/sessions?limit=1").expect(200).json["data"]
    return data[0]["id"] if data else None


def listed(gb, *words):
    """The rows of a JSON list, however it is wrapped."""
    value = json.loads(ok(gb.cli("--json", *words)).stdout)
    while isinstance(value, dict):
        value = next(v for v in value.values() if isinstance(v, list))
    return value


def administering(gb, brain, check):
    session = newest(brain)
    with check("sessions ls, show, events"):
        rows = listed(gb, "sessions", "ls")
        equal(session in [r["id"] for r in rows], True)
        table = ok(gb.cli("--text", "sessions", "ls")).stdout
        assert session in table and "idle" in table and not table.lstrip().startswith(("[", "{")), table
        equal(json.loads(ok(gb.cli("--json", "sessions", "show", session)).stdout)["id"], session)
        shown = [json.loads(line) for line in ok(gb.cli("--json", "sessions", "events", session)).stdout.splitlines()]
        shown = shown[0] if len(shown) == 1 and isinstance(shown[0], list) else shown
        equal([e["id"] for e in shown], [e["id"] for e in brain.events(session)])
        in_order(ok(gb.cli("--text", "sessions", "events", session)).stdout, "→ bash", "← ", "· done (end_turn)")
    with check("agent create, ls, show"):
        made = json.loads(ok(gb.cli("--json", "agent", "create", "helper", "--model=claude-test-2", "--system=be kind")).stdout)
        equal((made["name"], made["model"]["id"], made["system"]), ("helper", "claude-test-2", "be kind"))
        assert made["id"] in [a["id"] for a in listed(gb, "agent", "ls")]
        equal(json.loads(ok(gb.cli("--json", "agent", "show", "helper")).stdout)["id"], made["id"])
        used = brain.show(session_of(ok(gb.cli("session", "--agent=helper", "run `true`")).stdout))
        equal(used["agent"]["id"], made["id"])
    with check("environment create, ls; key create, ls, revoke: shown once, good until revoked"):
        made = json.loads(ok(gb.cli("--json", "environment", "create", "farm")).stdout)
        assert made["id"] in [e["id"] for e in listed(gb, "environment", "ls")]
        done = ok(gb.cli("--json", "environment", "key", "create", "farm"))
        key = json.loads(done.stdout)
        worker = brain.with_key(key["key"])
        worker.get(f"/v1/environments/{made['id']}/work/poll").expect(200)
        rows = ok(gb.cli("--json", "environment", "key", "ls", "farm"))
        assert key["id"] in rows.stdout and key["key"] not in rows.stdout
        ok(gb.cli("environment", "key", "revoke", "farm", key["id"]))
        worker.get(f"/v1/environments/{made['id']}/work/poll").refused(401)
    with check("work stats, ls, stop"):
        place = brain.environment("nobody serves")["id"]
        brain.session(brain.status()["default_agent_id"], place, initial_events=[{"type": "user.message", "content": [{"type": "text", "text": "run `true`"}]}])
        eventually(lambda: json.loads(ok(gb.cli("--json", "work", "stats", f"--environment={place}")).stdout)["depth"] == 1, 20, "one waits")
        (item,) = listed(gb, "work", "ls", f"--environment={place}")
        equal(item["state"], "queued")
        ok(gb.cli("work", "stop", item["id"], "--force", f"--environment={place}"))
        equal([w["state"] for w in listed(gb, "work", "ls", f"--environment={place}") if w["id"] == item["id"]], ["stopped"])
        assert gb.cli("work", "stop", "work_01nope").returncode == 3
    with check("sessions archive, and what an archived one takes"):
        ok(gb.cli("sessions", "archive", session))
        equal(brain.show(session)["status"], "terminated")
        equal(gb.cli("session", f"--session={session}", "more").returncode, 1)
        equal(gb.cli("sessions", "show", "sesn_01nope").returncode, 3)
    with check("prune removes what is old and idle, and nothing else"):
        before = {s["id"] for s in brain.get("/v1/sessions?limit=100&include_archived=true").expect(200).json["data"]}
        ok(gb.cli("prune", "--older-than=1h"))
        equal({s["id"] for s in brain.get("/v1/sessions?limit=100&include_archived=true").expect(200).json["data"]}, before)
        time.sleep(1.1)
        ok(gb.cli("prune", "--older-than=1s"))
        left = brain.get("/v1/sessions?limit=100&include_archived=true").expect(200).json["data"]
        equal({s["status"] for s in left} <= {"running"} or all(s["id"] not in before or s["status"] != "terminated" for s in left), True, str(left))


def around(gb, brain, check):
    with check("env: what clients of both APIs need, as shell words; the official variables reach our brain"):
        done = subprocess.run(["/bin/bash", "-c", 'eval "$("$0" env)"; env', gb.program], capture_output=True, text=True, timeout=60,
                              env={**WORDS, "HOME": os.path.dirname(gb.state), "GLOVEBOX_STATE": gb.state, "GLOVEBOX_CONFIG": gb.config})
        seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        equal((seen["ANTHROPIC_BASE_URL"].rstrip("/"), seen["ANTHROPIC_API_KEY"]), (gb.brain.url.rstrip("/"), gb.brain_key), done.stderr)
        equal(seen["TENSORLAKE_API_KEY"], gb.key)
        Brain(seen["ANTHROPIC_BASE_URL"], seen["ANTHROPIC_API_KEY"]).get("/v1/agents").expect(200)
    with check("status names the three parts; doctor is content"):
        shown = ok(gb.cli("status")).stdout
        assert all(part in shown for part in SYSTEM), shown
        ok(gb.cli("doctor"))
    with check("completion for bash"):
        script = ok(gb.cli("completion", "bash")).stdout
        path = os.path.join(os.path.dirname(gb.state), "completion.bash")
        with open(path, "w") as file:
            file.write(script)
        ask = (f'PATH={os.path.dirname(gb.program)}:$PATH; source {path}; COMP_WORDS=(glovebox ses); COMP_CWORD=1; COMP_LINE="glovebox ses"; COMP_POINT=${{#COMP_LINE}}; '
               '$(complete -p glovebox | sed "s/.*-F \\([^ ]*\\).*/\\1/") glovebox ses glovebox; printf "%s\\n" "${COMPREPLY[@]}"')
        done = ok(subprocess.run(["/bin/bash", "-c", ask], capture_output=True, text=True, timeout=60,
                                 env={**WORDS, "HOME": os.path.dirname(gb.state), "GLOVEBOX_STATE": gb.state}))
        equal({word.strip() for word in done.stdout.split()} >= {"session", "sessions"}, True, done.stdout + done.stderr)
    with check("completion for zsh"):
        script = ok(gb.cli("completion", "zsh")).stdout
        assert "#compdef glovebox" in script or "compdef" in script, script[:300]
        if not shutil.which("zsh"):
            raise Skip("no zsh on this machine to parse it")
        ok(subprocess.run(["zsh", "-n"], input=script, capture_output=True, text=True, timeout=60))
    with check("help: every command named, each with its own page"):
        page = ok(gb.cli("help")).stdout
        for command in ("session", "sessions", "work", "agent", "environment", "prune", "env", "completion", "up", "down"):
            assert re.search(rf"\b{command}\b", page), f"{command} is not in help"
            assert ok(gb.cli(command, "--help")).stdout.strip(), command


def test_failures(tmp):
    """Exit codes when the model fails, refuses, or asks."""
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key)) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        fake.script("case:bad", [status(400, message="your prompt smells")])
        fake.script("case:refuse", [stream(text("I won't"), stop="refusal")])
        fake.script("case:fine", [stream(text("All right."))])
        fake.script("case:ask", [stream(tool("bash", {"command": "echo allowed"})), stream(text("thanks"))])
        with check("a model that works: its words, exit 0, no word of a rehearsal"):
            done = ok(gb.cli("session", "case:fine"))
            in_order(done.stdout, "All right.", "· done (end_turn)")
            assert "rehearsal" not in done.stdout + done.stderr
        with check("an error: exit 1, said on stderr"):
            done = ok(gb.cli("session", "case:bad"), 1)
            assert "your prompt smells" in done.stderr, done.stderr
        with check("a refusal: exit 1"):
            in_order(ok(gb.cli("session", "case:refuse"), 1).stdout, "· done (refusal)")
        with check("always_ask in a pipe: stderr says how to answer, and that works"):
            asking = brain.agent("asking", tools=[{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}])
            child = start(gb, f"--agent={asking['id']}", "case:ask")
            session = eventually(lambda: newest(brain) if brain.show(newest(brain))["agent"]["id"] == asking["id"] else None, 20, "the session")
            call = brain.open_calls(session)[0]
            ok(gb.cli("sessions", "confirm", session, call["id"], "allow"))
            out, err = child.communicate(timeout=30)
            equal(child.returncode, 0, out + err)
            assert call["id"] in err and "sessions confirm" in err, err
            in_order(out, "→ bash  echo allowed", "← allowed", "thanks", "· done (end_turn)")
        with check("a key of the file counts from its next change on"):
            path = os.path.join(gb.state, "keys", "brain")
            with open(path + ".new", "w") as file:
                file.write("gb-api-" + "n" * 43 + "\n")
            os.chmod(file.name, 0o600)
            stat = os.stat(path)
            os.chown(file.name, stat.st_uid, stat.st_gid)
            os.rename(path + ".new", path)
            eventually(lambda: brain.with_key("gb-api-" + "n" * 43).get("/v1/agents").status == 200, 15, "the new key counts")
            brain.get("/v1/agents").refused(401)
            ok(gb.cli("session", "case:fine"))
        check.done()


run(test_sessions, test_failures)
