"""What crash tests share: the points at which a part can be made to die or fail, and calls that it may not live to answer."""
import http.client
import os
import re

from harness import ROOT
from support import slurp

# A step's name is given to FAULT, or, in the brain, to the function that ends each step of its kind with one.
NAMED = re.compile(r'(?:FAULT|fault|(?:finish|step)(?=\([^"();]*"brain\.))\([^"();]*"([a-z_]+\.[a-z_.]+)"')


def fault_points(*folders, verbs=None, but=()):
    """point → its folder of src, all of them or those of some verbs; from the source: a new one is walked from its first day."""
    found = {}
    for folder in folders:
        path = os.path.join(ROOT, "src", folder)
        for name in sorted(os.listdir(path)):
            if name.endswith(".cc") and "_test" not in name:
                for point in NAMED.findall(slurp(os.path.join(path, name)).decode()):
                    verb = point.split(".")[0]
                    if verb not in but and (verbs is None or verb in verbs):
                        found[point] = folder
    return found


def attempt(action):
    """What the operation gave at which the other side dies or fails; None when the connection broke."""
    try:
        return action()
    except (OSError, http.client.HTTPException):
        return None
