#!/usr/bin/env python3
"""Runs a program with the variables of .env and .env.local that are its business, and no others.

    with_env.py [--dir DIR] ROLE -- PROGRAM [WORD]...

Both files beat the shell, and .env.local beats .env: a stale variable of the shell must not steer work elsewhere. They are read,
not run: KEY=VALUE, KEY='literally', KEY="with \\n and \\"", # comments; nothing in them is expanded. An empty value counts as unset.
"""
import os
import re
import sys

QUEUE = {"ANTHROPIC_ENVIRONMENT_ID", "ANTHROPIC_BASE_URL"}
ORCHESTRATOR = QUEUE | {
    "ANTHROPIC_ENVIRONMENT_KEY", "ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_WORKER_ID", "TENSORLAKE_API_KEY", "TENSORLAKE_API_URL",
    "SANDBOX_IMAGE_NAME", "SANDBOX_TIMEOUT_SECONDS", "RESUME_SUSPENDED_SESSIONS", "RUNNER_MAX_IDLE_SECONDS", "POLL_BLOCK_MS",
    "POLL_RECLAIM_OLDER_THAN_MS", "LOG_LEVEL"}
WEBHOOK = ORCHESTRATOR | {"ANTHROPIC_WEBHOOK_SIGNING_KEY", "WEBHOOK_DRAIN_SECONDS", "WEBHOOK_RECLAIM_OLDER_THAN_MS", "PORT"}
WEBHOOK_SANDBOX = WEBHOOK - {"PORT"} | {"WEBHOOK_SANDBOX_NAME", "WEBHOOK_SANDBOX_TIMEOUT_SECONDS"}
APPLICATION = QUEUE | {"ANTHROPIC_API_KEY", "ANTHROPIC_AGENT_ID", "ANTHROPIC_AGENT_MODEL", "ANTHROPIC_WORKSPACE_ID"}

# Who takes work has no API key, who makes sessions has no key of the queue and none that signs.
ROLES = {
    "poll": ((".env",), ORCHESTRATOR),
    "webhook": ((".env",), WEBHOOK),
    "webhook-sandbox": ((".env",), WEBHOOK_SANDBOX),
    "session": ((".env", ".env.local"), APPLICATION),
    "agent": ((".env", ".env.local"), APPLICATION),
}
HOSTED = "https://api.anthropic.com"
LEVELS = {"debug": "debug", "info": "info", "warning": "warn", "warn": "warn", "error": "error", "critical": "error"}
LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.S)


class Wrong(Exception):
    pass


def value_of(text):
    """What stands behind the =."""
    if text[:1] == "'":
        end = text.find("'", 1)
        rest, value = text[end + 1:], text[1:end]
    elif text[:1] == '"':
        found = re.match(r'"((?:[^"\\]|\\.)*)"', text, re.S)
        end = found.end() - 1 if found else -1
        rest = text[end + 1:]
        value = re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]), found[1]) if found else ""
    else:
        return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
    if end < 1 or (rest.strip() and not rest.strip().startswith("#")):
        raise Wrong("the quotes do not end as they began")
    return value


def read(path):
    """Name → value; {} where there is no file. What is wrong is named by its line: what stands there may be a secret."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise Wrong(f"{path}: is no UTF-8 text") from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        try:
            if not match:
                raise Wrong("must be NAME=VALUE")
            value = value_of(match[2])
            if "\0" in value:
                raise Wrong("holds a zero byte")
        except Wrong as wrong:
            raise Wrong(f"{path}:{number}: {wrong}") from None
        found[match[1]] = value
    return found


def variables(role, directory):
    """What the files say to this role."""
    names, known = ROLES[role]
    said = {}
    for name in names:
        said |= read(os.path.join(directory, name))
    return {name: value for name, value in said.items() if value and (name in known or name.startswith("GLOVEBOX_"))}


def environment(role, directory, shell):
    """`shell` with that on top, as bytes: what a person wrote there goes through as it is."""
    said = variables(role, directory)
    if level := said.pop("LOG_LEVEL", None):
        if level.lower() not in LEVELS:
            raise Wrong(f"LOG_LEVEL: must be one of {', '.join(LEVELS)}")
        said.setdefault("GLOVEBOX_LOG", LEVELS[level.lower()])
    if role in ("session", "agent") and said.get("ANTHROPIC_ENVIRONMENT_ID") and "GLOVEBOX_BRAIN_URL" not in said:
        # Whose queue is served from .env, there the sessions are made.
        said["GLOVEBOX_BRAIN_URL"] = said.get("ANTHROPIC_BASE_URL", HOSTED)
        said.setdefault("ANTHROPIC_AGENT_MODEL", "claude-sonnet-4-6")
    return dict(shell) | {os.fsencode(name): os.fsencode(value) for name, value in said.items()}


def main(words):
    directory = "."
    if words[:1] == ["--dir"]:
        directory, words = words[1], words[2:]
    if len(words) < 3 or words[0] not in ROLES or words[1] != "--":
        print(__doc__, file=sys.stderr)
        return 2
    try:
        env = environment(words[0], directory, os.environb)
        os.execvpe(words[2], words[2:], env)
    except Wrong as wrong:
        print(wrong, file=sys.stderr)
    except OSError as error:
        print(f"{words[2]}: {error.strerror}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
