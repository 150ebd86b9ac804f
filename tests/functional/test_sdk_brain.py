"""The official npm SDK, unmodified, is a client of our brain with nothing but ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY set, and its
own EnvironmentWorker serves our sessions to the end.
labels: privileged timeout=600
"""
import os
import shutil
import subprocess

from fake_messages import FakeMessages
from harness import SYSTEM, Glovebox, run
from node_packages import HERE, PACKAGES, installed, node
from sdk_cases import scripts
from sessions import Brain, lawful

SDK = {name: PACKAGES[name] for name in ("@anthropic-ai/sdk", "node")}


def play(folder, name, tmp, environment):
    # Imports are looked up beside the script.
    place = os.path.join(folder, f"{name}-{os.getpid()}")
    os.makedirs(place)
    try:
        for script in ("common.mjs", f"{name}.mjs"):
            shutil.copy(os.path.join(HERE, "sdk", script), place)
        done = subprocess.run([node(folder), os.path.join(place, f"{name}.mjs")], capture_output=True, text=True, timeout=400,
                              env={"PATH": "/usr/bin:/bin", "HOME": tmp, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
                                   **environment})
    finally:
        shutil.rmtree(place)
    print(done.stdout, end="", flush=True)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-6000:]}"
    return done.stdout + done.stderr


def environment_of(gb, environment, key):
    return {"ANTHROPIC_BASE_URL": gb.brain.url, "ANTHROPIC_API_KEY": gb.brain_key, "TEST_ENVIRONMENT_ID": environment, "TEST_ENVIRONMENT_KEY": key}


def test_application(tmp):
    """create agent, environment, session; send; stream to idle; list; interrupt; confirm and deny; custom tool; error classes."""
    folder = installed(SDK)
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key)) as gb:
        scripts(fake)
        brain = Brain(gb.brain.url, gb.brain_key)
        environment = brain.status()["default_environment_id"]
        said = play(folder, "brain", tmp, environment_of(gb, environment, gb.secret("environment")))
        assert gb.brain_key not in said and fake.key not in said
        for session in brain.get("/v1/sessions?limit=100").expect(200).json["data"]:
            lawful(brain.events(session["id"]), finished=session["environment_id"] == environment)


def test_worker(tmp):
    """EnvironmentWorker, WorkPoller and SessionToolRunner of the SDK, while nothing of ours takes work."""
    folder = installed(SDK)
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key), lease_ttl=10) as gb:
        scripts(fake)
        brain = Brain(gb.brain.url, gb.brain_key)
        environment = brain.environment("official workers")["id"]
        key = brain.environment_key(environment)["key"]
        workdir = os.path.join(tmp, "work")
        os.mkdir(workdir)
        said = play(folder, "worker", tmp, {**environment_of(gb, environment, key), "TEST_WORKDIR": workdir})
        assert gb.brain_key not in said and key not in said
        for session in brain.get("/v1/sessions?limit=100").expect(200).json["data"]:
            lawful(brain.events(session["id"]))


run(test_application, test_worker)
