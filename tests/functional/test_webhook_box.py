"""The receiver in a box that sleeps takes the work itself: deliveries wake it, none is lost or doubled, whoever is killed; no key is in there; it converges.
labels: privileged timeout=300
"""
from harness import run
from modes import WebhookSandbox
from webhook_box import everything, stage_of


def test(tmp):
    stage_of(WebhookSandbox, tmp, everything)


run(test)
