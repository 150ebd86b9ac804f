"""The receiver in a box: with an orchestrator outside, for a queue elsewhere, when webhooks are lost, and when the uplink dies while a box is made.
labels: privileged slow timeout=400
"""
import base64
import json
import os
import urllib.parse

from between import Between, refuse
from fake_messages import FakeMessages
from harness import Api, Glovebox, run
from modes import WebhookSandbox, WebhookSandboxOutside, sign
from sessions import Brain
from support import Checks, api_of, equal
from webhook_box import Stage, everything, stage_of


def test_outside(tmp):
    stage_of(WebhookSandboxOutside, tmp, everything)


def lost_webhooks(gb, stage, mode, check):
    with check("nobody calls: work is found while it sleeps, and taken once"):
        mode.asleep()
        stage.brain.delete(f"/v1/organizations/webhooks/{mode.hook()}").expect(200, 204)
        for session in [stage.play() for _ in range(3)]:
            stage.once(session)
    with check("then it sleeps again"):
        mode.asleep()


def test_lost(tmp):
    """Webhooks that never come: what the queue has wakes it all the same."""
    stage_of(WebhookSandbox, tmp, lost_webhooks, {"WEBHOOK_DRAIN_SECONDS": "3"})


def test_hosted(tmp):
    """A queue elsewhere, of a service that is not ours: by variables alone; deliveries are signed by it."""
    check, secret = Checks(), "whsec_" + base64.b64encode(os.urandom(32)).decode()
    with FakeMessages() as fake, Glovebox(tmp, name="elsewhere", parts=["brain"], model=(fake.url, fake.key), lease_ttl=10) as service, \
            Between(service.brain.url) as between:
        between.on("GET", "^/glovebox/", refuse(404))
        brain = Brain(service.brain.url, service.brain_key)
        place = brain.environment("hosted")["id"]
        queue = (between.url, place, brain.environment_key(place)["key"])
        gb = Glovebox(tmp, name="hands", hosted=queue, environment=WebhookSandbox.settings)
        gb.parts = ["engine", "ingress", "uplink"]
        told = {**dict(zip(("ANTHROPIC_BASE_URL", "ANTHROPIC_ENVIRONMENT_ID", "ANTHROPIC_ENVIRONMENT_KEY"), queue)), "ANTHROPIC_WEBHOOK_SIGNING_KEY": secret}
        with gb, WebhookSandbox(gb, brain, tmp, told) as mode:
            stage = Stage(gb, fake, brain, mode)
            stage.environment = place
            host = urllib.parse.urlsplit(mode.url).netloc
            door = Api(f"http://127.0.0.1:{host.rsplit(':', 1)[1]}", host=host)

            def deliver(session, number):
                body = json.dumps({"type": "event", "id": f"wevt_{number}", "data": {"type": "session.status_run_started", "id": session}}).encode()
                return door.post("/", body, headers={"Content-Type": "application/json", **sign(secret, f"msg_{number}", body)})

            with check("asleep, a signed delivery wakes it, and its work is done by the item's own token"):
                mode.asleep()
                for number in range(3):
                    session = stage.play()
                    deliver(session, number).expect(200)
                    stage.once(session)
                tokens = {asked.headers.get("authorization") for asked in between.requests if asked.path.startswith("/v1/sessions/")}
                assert len(tokens) == 3 and f"Bearer {queue[2]}" not in tokens, len(tokens)
            with check("one that is not signed wakes nobody; no key of the queue is in there"):
                mode.asleep()
                equal(door.post("/", b"{}").status, 401)
                equal(mode.status()["status"], "suspended")
                seen = stage.box().sh("cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; grep -rhs . /root/.glovebox-steward; true").stdout
                assert place in seen and queue[2] not in seen and between.url not in seen
        check.done()


def test_crash(tmp):
    """The uplink dies while a box is made: its own box is known again, and no second one is made."""
    check = Checks()
    for point in ("steward.before_create", "steward.after_create"):
        with check(point), FakeMessages() as fake, Glovebox(tmp, name=point.replace(".", "-"), parts=WebhookSandbox.parts, model=(fake.url, fake.key), lease_ttl=10,
                                                            environment={**WebhookSandbox.settings, "GLOVEBOX_FAULT": point + ":kill"}) as gb:
            brain = Brain(gb.brain.url, gb.brain_key)
            with WebhookSandbox(gb, brain, tmp) as mode:
                stage, pid = Stage(gb, fake, brain, mode), gb.pid("uplink")
                stage.once(stage.play())
                assert gb.pid("uplink") != pid, "it did not die"
                equal(len([b for b in api_of(gb).alive() if (b.get("name") or "").startswith("agent-")]), 1, "boxes")
    check.done()


run(test_outside, test_lost, test_hosted, test_crash)
