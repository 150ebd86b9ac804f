"""`glovebox worker` stands where `ant beta:worker` stood: poll and run serve sessions to the end, scripts have the official contract,
signals release what is held, and no key is readable where a model's commands run.
labels: privileged timeout=300
"""
import base64
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import time

from fake_messages import FakeMessages, results_of, stream, text, tool
from harness import Glovebox, note, run, wait_for
from sessions import Worker, lawful, plain
from support import Checks, equal, rss_kb, slurp
from workers import PROGRAM, Place, gone

MB = 1024


def bash(command):
    return stream(tool("bash", {"command": command}))


def scripts(fake):
    fake.script("case:six", [
        stream(tool("write", {"file_path": "notes.txt", "content": "one two\nthree\n"})), stream(tool("read", {"file_path": "notes.txt"})),
        stream(tool("edit", {"file_path": "notes.txt", "old_string": "one", "new_string": "ONE"})), bash("cat notes.txt; W=kept"),
        stream(tool("glob", {"pattern": "*.txt"}), tool("grep", {"pattern": "thr.e"})), bash("echo $W; (exit 3)"), stream(text("six tools"))])
    fake.script("case:mine", lambda asked: stream(text("mine")) if results_of(asked) else bash("echo >> mine-$$; sleep 0.3; env | grep -ci anthropic_"))
    fake.script("case:slow", [bash("touch begun; sleep 3; echo finished; echo line >> slow"), stream(text("slow"))])
    fake.script("case:long", [bash("touch begun; sleep 100; echo late"), stream(text("never"))])
    fake.script("case:line", [bash("echo line >> lines; cat lines | wc -l"), stream(text("line"))])
    fake.script("case:wait", [bash("echo before >> lines; while [ ! -e go ]; do sleep 0.05; done; echo line >> lines"), stream(text("waited"))])
    fake.script("case:hand", [bash("kill -9 $PPID; sleep 5"), bash("echo alive"), stream(text("hand"))])


def answers(events):
    return [plain(e["content"]) for e in events if e["type"] == "user.tool_result"]


def pss_kb(pid):
    return next((int(line.split()[1]) for line in slurp(f"/proc/{pid}/smaps_rollup").splitlines() if line.startswith(b"Pss:")), 0)


def in_process(place, check):
    with check("several sessions at once, each with a shell of its own, to the end"):
        workdir = place.workdir()
        with place.worker("--workdir", workdir, "--max-sessions=3", "--max-idle=1s", "--log-format=json", anthropic_low="hidden-7") as worker:
            sessions = [place.session("case:six")] + [place.session("case:mine") for _ in range(4)]
            for session in sessions:
                lawful(place.brain.settled(session))
            first = answers(place.brain.events(sessions[0]))
            assert first[3].startswith("ONE two") and "kept" in first[6], first
            equal(len([name for name in os.listdir(workdir) if name.startswith("mine-")]), 4, "shells")
            for session in sessions[1:]:
                equal(answers(place.brain.events(session)), ["0"], "ANTHROPIC_ variables in the shell")
            lines = [json.loads(line) for line in worker.log().splitlines()]
            equal(sum(line["event"] == "item.claim" for line in lines), 5, "claims in the log")
            equal(worker.signal().end(), 0, "exit code")
            assert place.key not in worker.log()
    with check("no key where a model's commands run, nor in our own environment; little memory"):
        with place.worker("--workdir", place.workdir(), "--max-idle=0") as worker:
            place.brain.settled(place.session("case:line"))
            below = worker.below()
            assert len(below) >= 2, f"a hand and a shell: {below}"
            secrets = [place.key.encode(), b"gb-ses-", b"gb-api-"]
            for pid in below | {worker.pid}:
                for file in ("environ", "cmdline"):
                    held = slurp(f"/proc/{pid}/{file}")
                    assert not any(secret in held for secret in secrets), f"a key in {file} of {slurp(f'/proc/{pid}/comm')}"
                if pid != worker.pid:
                    assert b"ANTHROPIC_" not in slurp(f"/proc/{pid}/environ").upper()
            mine, all_of_it = rss_kb(worker.pid), sum(pss_kb(pid) for pid in below | {worker.pid})
            note(f"    memory: worker {mine / MB:.1f} MB resident; with hand and shell {all_of_it / MB:.1f} MB, pages of libraries shared out among "
                 "those who have them")
            assert all_of_it < 15 * MB or b"asan" in slurp(f"/proc/{worker.pid}/maps"), f"{all_of_it} KB"
            equal(worker.signal().end(), 0, "exit code")
            wait_for("the hand's end", gone(below))
    with check("as a user who is not root"):
        workdir, nobody = place.workdir("nobody"), 65534
        os.chown(workdir, nobody, nobody)
        # The checkout may be below /root, where nobody gets to.
        programs = place.workdir("programs")
        for name in ("glovebox", "glovebox-hand"):
            shutil.copy2(os.path.join(os.path.dirname(PROGRAM), name), programs)
        session = place.session("case:mine")
        done = subprocess.run([os.path.join(programs, "glovebox"), "worker", "poll", "--drain", "--max-idle=100ms", "--workdir", workdir], env=place.variables(HOME="/"), user=nobody,
                              group=nobody, extra_groups=[], capture_output=True, timeout=60, cwd="/")
        equal(done.returncode, 0, done.stderr.decode())
        lawful(place.brain.settled(session))
        equal([os.stat(os.path.join(workdir, name)).st_uid for name in os.listdir(workdir)], [nobody], "whose the file is")
    with check("a hand that dies is an answer, and the next call has a new one"):
        with place.worker("--workdir", place.workdir("hand"), "--max-idle=1s") as worker:
            got = answers(lawful(place.brain.settled(place.session("case:hand"))))
            assert "not known" in got[0] and got[1] == "alive", got
            equal(worker.signal().end(), 0, "exit code")


def signals(place, check):
    with check("SIGTERM: the running call finishes and is answered, the item is released, exit 0"):
        workdir = place.workdir("slow")
        with place.worker("--workdir", workdir) as worker:
            session = place.session("case:slow")
            wait_for("the call", lambda: os.path.exists(os.path.join(workdir, "begun")))
            equal(worker.signal().end(), 0, "exit code")
        equal(answers(place.brain.events(session)), ["finished"])
        with place.worker("--workdir", workdir, "--max-idle=1s") as worker:
            lawful(place.brain.settled(session))
        equal(slurp(os.path.join(workdir, "slow")), b"line\n", "how often it ran")
    with check("a second signal ends at once, and the command with it"):
        workdir = place.workdir("long")
        with place.worker("--workdir", workdir) as worker:
            session = place.session("case:long")
            wait_for("the call", lambda: os.path.exists(os.path.join(workdir, "begun")))
            below = worker.below()
            worker.signal(signal.SIGINT).said("worker.stop")
            equal(worker.signal(signal.SIGINT).end(20), 130, "exit code")
            wait_for("the end of what it ran", gone(below))
        place.brain.send(session, {"type": "user.interrupt"})


    with check("an interrupt ends the running command"):
        workdir = place.workdir("interrupted")
        with place.worker("--workdir", workdir, "--max-idle=0") as worker:
            session = place.session("case:long")
            wait_for("the call", lambda: os.path.exists(os.path.join(workdir, "begun")))
            runs = wait_for("the command runs", lambda: [pid for pid in worker.below() if slurp(f"/proc/{pid}/comm") == b"sleep\n"])
            place.brain.send(session, {"type": "user.interrupt"})
            wait_for("the command's end", gone(runs))
            equal(worker.signal().end(), 0, "exit code")


def exit_codes(place, check):
    work = place.workdir()
    cases = [("unknown option", 2, ["poll", "--nonsense"], {}), ("no environment", 2, ["poll"], {"ANTHROPIC_ENVIRONMENT_ID": ""}),
             ("no key", 2, ["poll"], {"ANTHROPIC_ENVIRONMENT_KEY": ""}), ("a key as a flag", 2, ["poll", "--environment-key=x"], {}),
             ("bad format", 2, ["poll", "--log-format=xml"], {}), ("bad time", 2, ["poll", "--max-idle=soon"], {}),
             ("wrong key", 1, ["poll", "--workdir", work], {"ANTHROPIC_ENVIRONMENT_KEY": "gb-env-wrong"}),
             ("wrong environment", 1, ["poll", "--workdir", work, "--environment-id=env_nothing"], {}),
             ("no such directory", 1, ["poll", "--workdir", work + "/nothing"], {}), ("a file as directory", 1, ["poll", "--workdir", PROGRAM], {}),
             ("no such script", 1, ["poll", "--on-work", work + "/nothing"], {}), ("not executable", 1, ["poll", "--on-work", __file__], {}),
             ("run without an item", 2, ["run"], {}), ("run without a session", 2, ["run", "--work-id=work_1"], {}),
             ("run of an unknown item", 1, ["run", "--work-id=work_1", "--session-id=sesn_1", "--workdir", work], {}),
             ("nothing on stdin", 1, ["run", "--stdin", "--workdir", work], {})]
    for name, code, words, variables in cases:
        with check(f"exit {code}: {name}"):
            if os.access(__file__, os.X_OK) and name == "not executable":
                os.chmod(__file__, stat.S_IMODE(os.stat(__file__).st_mode) & ~0o111)
            got, said = place.once(*words, **variables)
            equal(got, code, said)
            assert "glovebox: " in said or "error" in said.lower(), said
    with check("--drain ends with the queue"):
        session = place.session("case:line")
        equal(place.once("poll", "--drain", "--max-idle=100ms", "--workdir", place.workdir("drain"))[0], 0)
        lawful(place.brain.settled(session))


RUN = 'exec {program} worker run --max-idle=500ms --workdir "{workdir}"\n'


def on_work(place, check):
    workdir = place.workdir("script")
    with check("a script gets item and credentials, stays, and serves with `worker run`"):
        script = place.script("serve.sh", f'env > {place.tmp}/env; cat > {place.tmp}/item; echo to-stdout; [ $# = 0 ] || exit 9\n'
                              + RUN.format(program=PROGRAM, workdir=workdir))
        with place.worker("--on-work", script) as worker:
            session = place.session("case:six")
            lawful(place.brain.settled(session))
            worker.said("script.end")
            assert "left_early" not in worker.log() and "to-stdout" in worker.log(), worker.log()
            equal(worker.signal().end(), 0, "exit code")
        item = json.loads(slurp(f"{place.tmp}/item"))
        env = dict(line.split("=", 1) for line in slurp(f"{place.tmp}/env").decode().splitlines() if "=" in line)
        equal(env["ANTHROPIC_WORK_ID"], item["id"])
        equal(env["ANTHROPIC_ENVIRONMENT_ID"], place.environment)
        equal(env["ANTHROPIC_SESSION_ID"], session)
        equal(env["ANTHROPIC_ENVIRONMENT_KEY"], place.key)
        equal(env["ANTHROPIC_BASE_URL"], place.gb.brain.url)
        equal(env["ANTHROPIC_WORK_SECRET"], item["secret"])
        token = json.loads(base64.urlsafe_b64decode(item["secret"] + "=" * (-len(item["secret"]) % 4)))["sessions_token"]
        assert token and place.key not in worker.log() and token not in worker.log()
    with check("a script that leaves at once is warned about"):
        with place.worker("--on-work", place.script("early.sh", "exit 0\n")) as worker:
            session = place.session("case:line")
            worker.said("script.left_early")
            place.brain.send(session, {"type": "user.interrupt"})
    with check("a script that fails is no reason to end; two at once"):
        script = place.script("fails.sh", f"cat > /dev/null; [ -e {place.tmp}/failed ] || {{ touch {place.tmp}/failed; exit 7; }}\n"
                              + RUN.format(program=PROGRAM, workdir=workdir))
        with place.worker("--on-work", script, "--max-sessions=2") as worker:
            sessions = [place.session("case:line") for _ in range(3)]
            worker.said("exit_code=7")
            for session in sessions:
                lawful(place.brain.settled(session, 60))
    with check("SIGTERM goes to the script, whose item is stopped"):
        script = place.script("trap.sh", f"trap 'touch {place.tmp}/trapped; exit 0' TERM; touch {place.tmp}/up; while :; do sleep 0.1; done\n")
        with place.worker("--on-work", script) as worker:
            session = place.session("case:line")
            wait_for("the script", lambda: os.path.exists(f"{place.tmp}/up"))
            equal(worker.signal().end(), 0, "exit code")
            assert os.path.exists(f"{place.tmp}/trapped")
            place.brain.send(session, {"type": "user.interrupt"})
    with check("--heartbeat keeps the lease of a script that does not"):
        os.path.exists(f"{place.tmp}/up") and os.unlink(f"{place.tmp}/up")
        script = place.script("quiet.sh", f"trap 'exit 0' TERM; cat > {place.tmp}/item; touch {place.tmp}/up; while :; do sleep 0.1; done\n")
        with place.worker("--on-work", script, "--heartbeat") as worker:
            session = place.session("case:line")
            wait_for("the script", lambda: os.path.exists(f"{place.tmp}/up"))
            item = json.loads(slurp(f"{place.tmp}/item"))["id"]
            path = f"/v1/environments/{place.environment}/work/{item}"
            wait_for("a heartbeat", lambda: place.brain.get(path).expect(200).json["state"] == "active")
            place.brain.post(f"{path}/stop").expect(200)
            worker.said("script.end")
            wait_for("the item's end", lambda: place.brain.get(path).expect(200).json["state"] == "stopped")
            place.brain.send(session, {"type": "user.interrupt"})
            equal(worker.signal().end(), 0, "exit code")


def one_item(place, check):
    def claimed(words):
        session = place.session(words)
        item = Worker(place.brain, place.environment, place.key).claim()
        assert item.session == session, "an item that another promise left"
        return session, item

    with check("run: the item by variables, with nothing but its secret"):
        session, item = claimed("case:line")
        code, said = place.once("run", "--max-idle=300ms", "--workdir", place.workdir("one"), ANTHROPIC_ENVIRONMENT_KEY="", ANTHROPIC_WORK_ID=item.id,
                                ANTHROPIC_SESSION_ID=session, ANTHROPIC_WORK_SECRET=item.record["secret"])
        equal(code, 0, said)
        lawful(place.brain.settled(session))
    with check("run: the item on stdin"):
        session, item = claimed("case:line")
        code, said = place.once("run", "--stdin", "--max-idle=300ms", "--workdir", place.workdir("two"), ANTHROPIC_ENVIRONMENT_KEY="",
                                input=json.dumps(item.record).encode())
        equal(code, 0, said)
        lawful(place.brain.settled(session))
    with check("run: an item that is somebody else's is an error, and is not stopped"):
        session, item = claimed("case:line")
        item.beat().expect(200)
        code, said = place.once("run", "--max-idle=300ms", "--workdir", place.workdir("three"), ANTHROPIC_WORK_ID=item.id, ANTHROPIC_SESSION_ID=session)
        equal(code, 1, said)
        item.beat().expect(200)
        item.stop(force=True)
        place.brain.send(session, {"type": "user.interrupt"})


def test_contract(tmp):
    """Everything on one brain, one promise after the other."""
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key), lease_ttl=10) as gb:
        scripts(fake)
        for part in (in_process, signals, exit_codes, on_work, one_item):
            part(Place(gb, tmp, part.__name__), check)
        check.done()


def test_takeover(tmp):
    """A worker that is killed loses no call: the next one goes on, and what was answered is not run again."""
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key), lease_ttl=10) as gb:
        scripts(fake)
        place = Place(gb, tmp)
        workdir = place.workdir()
        with place.worker("--workdir", workdir) as first:
            session = place.session("case:wait")
            wait_for("the call", lambda: b"before" in slurp(f"{workdir}/lines"))
            below = first.below()
            first.signal(signal.SIGKILL).end()
            wait_for("the end of what it ran", gone(below))
        with open(f"{workdir}/go", "w"):
            pass
        with place.worker("--workdir", workdir, "--max-idle=1s"):
            lawful(place.brain.settled(session, 60))
        equal(slurp(f"{workdir}/lines"), b"before\nbefore\nline\n", "the call that was cut was begun anew, and only that")


def test_kills(tmp):
    """kill -9 at random moments, each time another worker goes on: no call is lost, none is run again once its result was accepted."""
    seed = int(os.environ.get("GLOVEBOX_SEED", random.randrange(1 << 30)))
    note(f"GLOVEBOX_SEED={seed}")
    choice, calls, kills = random.Random(seed), 24, 4
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key), lease_ttl=10) as gb:
        fake.script("case:many", [bash(f"echo {n} >> lines; sleep 0.15") for n in range(calls)] + [stream(text("many"))])
        place = Place(gb, tmp)
        workdir = place.workdir()

        def ran():
            lines = slurp(f"{workdir}/lines").decode().split()
            return [lines.count(str(n)) for n in range(calls)]

        session, settled = place.session("case:many"), []
        for _ in range(kills):
            with place.worker("--workdir", workdir, "--max-idle=1s") as worker:
                worker.said("call.end", 40)
                time.sleep(choice.uniform(0, 0.6))  # a random moment
                below = worker.below()
                worker.signal(signal.SIGKILL).end()
                wait_for("the end of what it ran", gone(below))
            events = place.brain.events(session)
            answered = len([e for e in events if e["type"] == "user.tool_result"])
            settled.append((answered, ran()[:answered]))
        with place.worker("--workdir", workdir, "--max-idle=1s"):
            events = lawful(place.brain.settled(session, 60))
        equal(len([e for e in events if e["type"] == "user.tool_result"]), calls, "answers")
        for answered, before in settled:
            equal(ran()[:answered], before, "what was answered at a kill was not run again")
        assert min(ran()) >= 1 and sum(ran()) <= calls + kills, ran()


def test_boxes(tmp):
    """--sandbox: the hands are a box of the engine; nothing is done on the host."""
    with FakeMessages() as fake, Glovebox(tmp, parts=["engine", "brain"], model=(fake.url, fake.key)) as gb:
        scripts(fake)
        place = Place(gb, tmp)
        with place.worker("--sandbox", "--max-idle=1s", GLOVEBOX_STATE=gb.state) as worker:
            session = place.session("case:six")
            events = lawful(place.brain.settled(session))
            assert "kept" in answers(events)[6], answers(events)
            equal([pid for pid in worker.below()], [], "processes beside the worker")
            done = gb.cli("session", "outputs", session, "--json")
            equal((done.returncode, done.stdout.strip()), (0, "[]"), "it has a place for outputs")
            equal(worker.signal().end(), 0, "exit code")


run(test_contract, test_takeover, test_kills, test_boxes)
