"""What a brain makes at its first start, keeps over restarts, and learns from key files while it runs.
labels: privileged timeout=180
"""
import os
import re

from fake_messages import FakeMessages, stream, text
from harness import Glovebox, run
from sessions import Brain, kinds, lawful, plain
from support import Checks, equal, eventually


def put_key(gb, name, value):
    """As a person does: a new file in the place of the old one, mode 0600, of the same owner."""
    path = os.path.join(gb.state, "keys", name)
    with open(path + ".new", "w") as file:
        file.write(value + "\n")
    os.chmod(file.name, 0o600)
    owner = os.stat(path if os.path.exists(path) else os.path.dirname(path))
    os.chown(file.name, owner.st_uid, owner.st_gid)
    os.rename(file.name, path)


def polls(brain, place, key):
    return brain.with_key(key).get(f"/v1/environments/{place}/work/poll").status


def test_first_start(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], environment={"GLOVEBOX_BRAIN_MODEL_URL": fake.url}) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        first = brain.status()
        place, agent = first["default_environment_id"], first["default_agent_id"]
        embedded = gb.secret("environment")
        with check("an environment and an agent called default, a key of each kind"):
            equal(brain.get(f"/v1/environments/{place}").expect(200).json["name"], "default")
            made = brain.get(f"/v1/agents/{agent}").expect(200).json
            equal((made["name"], [t["type"] for t in made["tools"]], made["version"]), ("default", ["agent_toolset_20260401"], 1))
            assert made["model"]["id"] and made["system"], made
            assert gb.brain_key.startswith("gb-api-") and embedded.startswith("gb-env-")
            known = brain.with_key(embedded).get("/glovebox/v1/credential").expect(200).json
            equal((known["kind"], known["environment_id"]), ("environment", place))
            equal(brain.get("/glovebox/v1/credential").expect(200).json["kind"], "api")
        with check("status says who answers, and that is not a language model"):
            equal(first["model"]["kind"], "rehearsal")
            assert first["version"] and first["instance"] and first["model"]["about"], first
        with check("health needs no key, metrics need one"):
            equal(brain.get("/healthz", headers={"Authorization": None}).status, 200)
            brain.get("/metrics", headers={"Authorization": None}).refused(401)
            metrics = brain.with_key(gb.secret("metrics")).get("/metrics").expect(200).text
            assert re.search(r"^# TYPE \w*brain\w* ", metrics, re.M), metrics[:500]
            brain.with_key(gb.secret("metrics")).get("/v1/agents").expect(401, 403)
        with check("the rehearsal says that it is one, thinks first, and says what it understands"):
            session = brain.session(agent, place)["id"]
            brain.say(session, "What is the meaning of life?")
            events = lawful(brain.settled(session))
            said = plain([e for e in events if e["type"] == "agent.message"][-1]["content"])
            assert "rehearsal" in said.lower() and "create" in said.lower(), said
            again = brain.session(agent, place)["id"]
            brain.say(again, "create 'a b.txt' with \"x\"; read it back")
            brain.open_calls(again)
            seen = kinds(brain.events(again))
            assert seen.index("agent.thinking") < seen.index("agent.tool_use"), seen
        history = brain.events(session)
        with check("all of it is there after a restart, and after kill -9"):
            extra = brain.agent("kept")
            gb.down()
            gb.start()
            brain = Brain(gb.brain.url, gb.brain_key)
            equal({k: brain.status()[k] for k in ("default_environment_id", "default_agent_id", "instance")}, {k: first[k] for k in ("default_environment_id", "default_agent_id", "instance")})
            equal((gb.brain_key, gb.secret("environment")), (brain.key, embedded))
            made = brain.agent("acknowledged")
            gb.kill_part("brain")
            equal(brain.get(f"/v1/agents/{made['id']}").expect(200).json, made)
            equal(brain.get(f"/v1/agents/{extra['id']}").expect(200).json, extra)
            equal(brain.events(session), history)
            equal(len([e for e in brain.get("/v1/environments?limit=100").json["data"] if e["name"] == "default"]), 1)
        with check("another embedded key: the old one is out, the new one in, also after a restart"):
            other = "gb-env-" + "e" * 43
            put_key(gb, "environment", other)
            eventually(lambda: polls(brain, place, other) == 200, 15, "the new key counts")
            equal(polls(brain, place, embedded), 401)
            gb.kill_part("brain")
            equal((polls(brain, place, other), polls(brain, place, embedded)), (200, 401))
        with check("a model's key given later counts from the next question on; one of ours never leaves"):
            put_key(gb, "model", "gb-api-" + "o" * 43)
            fake.default = lambda asked: stream(text("the real one"))
            session = brain.session(agent, place)["id"]
            brain.say(session, "hello")
            brain.settled(session)
            equal(fake.asked, [], "our own key went to a model")
            put_key(gb, "model", fake.key)
            eventually(lambda: brain.status()["model"]["kind"] == "messages", 15, "the model's key counts")
            brain.say(session, "hello?")
            answers = [event for event in brain.settled(session) if event["type"] == "agent.message"]
            equal(plain(answers[-1]["content"]), "the real one")
            equal({a.headers.get("x-api-key") for a in fake.asked}, {fake.key})
        check.done()


def test_prune(tmp):
    """Retention: only what is idle and old goes, with its events."""
    with Glovebox(tmp, parts=["brain"]) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        status = brain.status()
        place, agent = status["default_environment_id"], status["default_agent_id"]
        idle, waiting = brain.session(agent, place)["id"], brain.session(agent, place)["id"]
        brain.say(idle, "nothing you understand")
        brain.say(waiting, "run `true`")
        count = len(brain.settled(idle))
        call = brain.open_calls(waiting)[0]
        equal(brain.post("/glovebox/v1/prune", {"older_than_secs": 3600}).expect(200).json, {"sessions_removed": 0, "events_removed": 0})

        def pruned():
            done = brain.post("/glovebox/v1/prune", {"older_than_secs": 1}).expect(200).json
            return done["sessions_removed"] and done

        equal(eventually(pruned, 10, "a second has passed", 0.2), {"sessions_removed": 1, "events_removed": count}) if call else None
        brain.get(f"/v1/sessions/{idle}").refused(404)
        equal(brain.show(waiting)["id"], waiting, "what waits for somebody stays")


run(test_first_start, test_prune)
