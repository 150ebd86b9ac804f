"""A skill comes in whatever archive somebody made of it: what our worker unpacks of it is what the official one does, file by file with
its mode; what reaches out of the skill's folder, or is too much, leaves no trace; and the session goes on.
labels: privileged timeout=300
"""
import concurrent.futures
import io
import os
import tarfile
import uuid
import zipfile


from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, run
from sessions import TOOLSET, Brain, lawful, plain
from support import Checks, equal
from workers import OFFICIAL, OURS, Stage

HEAD = "---\nname: {}\ndescription: One of many.\n---\nRead me.\n"
REFUSED = None  # there may be a folder for it, with nothing in it
# Each line: type, mode, links, size and name of what is in the skills' folder.
TREE = r"find skills 2> /dev/null -mindepth 1 -printf '%y %m %s %p -> %l\n' | sed 's/^d \([0-7]*\) [0-9]* /d \1 - /' | sort -k 4; find . -newer mark -not -path './skills*' -not -name . ; ls /tmp/skill-escaped* 2> /dev/null | wc -l"


def zipped(*members, how=zipfile.ZIP_DEFLATED):
    """(name, content, mode) each; a mode above 0o7777 says what kind of file it is."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, (mode if mode > 0o7777 else 0o100000 | mode) << 16, how
            archive.writestr(info, content)
    return out.getvalue()


def tarred(*members, how=""):
    """As zipped(); or a TarInfo itself."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{how}", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                name, content, mode = member
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), mode
                archive.addfile(info, io.BytesIO(content.encode() if isinstance(content, str) else content))
    return out.getvalue()


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o644
    return info


def plainly(top=""):
    return [(top + "SKILL.md", "the skill\n", 0o644), (top + "bin/up", "#!/bin/sh\n", 0o755), (top + "bin/deep/er/notes", "n", 0o600), (top + "odd", "", 0o4711)]


def with_one(*members, how=tarred):
    """A sound skill with something in it that is not."""
    return how(*plainly(), *members)


SOUND = ["f 644 10 SKILL.md", "d 700 - bin", "d 700 - bin/deep", "d 700 - bin/deep/er", "f 644 1 bin/deep/er/notes", "f 755 10 bin/up", "f 755 0 odd"]
# name: (archive, what is in the skill's folder)
ARCHIVES = {
    "zip": (zipped(*plainly()), SOUND),
    "zip-wrapped": (zipped(*plainly("top/")), SOUND),
    "zip-stored": (zipped(*plainly(), how=zipfile.ZIP_STORED), SOUND),
    "tar": (tarred(*plainly()), SOUND),
    "tar-wrapped": (tarred(*plainly("top/")), SOUND),
    "tar-dot": (tarred(*plainly("./")), SOUND),
    "tar-gz": (tarred(*plainly("top/"), how="gz"), SOUND),
    "tar-bz2": (tarred(*plainly(), how="bz2"), SOUND),
    "tar-xz": (tarred(*plainly(), how="xz"), SOUND),
    "two-tops": (tarred(("a/SKILL.md", "x", 0o644), ("b/more", "y", 0o644)), ["d 700 - a", "f 644 1 a/SKILL.md", "d 700 - b", "f 644 1 b/more"]),
    "symlink": (with_one(special("link", tarfile.SYMTYPE, "/etc/passwd")), SOUND),
    "symlink-zip": (with_one(("link", "/etc/passwd", 0o120777), how=zipped), SOUND),
    "hard-link": (with_one(special("link", tarfile.LNKTYPE, "SKILL.md")), SOUND),
    "device": (with_one(special("null", tarfile.CHRTYPE), special("pipe", tarfile.FIFOTYPE)), SOUND),
    "up": (with_one(("../escaped", "x", 0o644)), REFUSED),
    "up-zip": (with_one(("../escaped", "x", 0o644), how=zipped), REFUSED),
    "up-inside": (with_one(("bin/../../escaped", "x", 0o644)), REFUSED),
    "absolute": (with_one(("/tmp/skill-escaped", "x", 0o644)), REFUSED),
    "absolute-zip": (with_one(("/tmp/skill-escaped-zip", "x", 0o644), how=zipped), REFUSED),
    "through-link": (with_one(special("out", tarfile.SYMTYPE, "/tmp"), ("out/skill-escaped", "x", 0o644)), SOUND),
    "garbage": (b"neither one nor the other" * 99, REFUSED),
    "nothing": (b"", REFUSED),
    "cut": (zipped(*plainly())[:200], REFUSED),
    "too-many": (tarred(*[(f"{n:06}", "", 0o644) for n in range(100_000)], how="gz"), REFUSED),
}
# A link is left out by both. What the archive has below its name goes with it there; here it is a file in a folder, like any other.
OURS_DIFFER = {"through-link": [*SOUND, "d 700 - out", "f 644 1 out/skill-escaped"]}
# Ours alone: the official worker would fill the disk.
BOMB = {"bomb": zipped(("SKILL.md", "x", 0o644), ("zeros", bytes(300 << 20), 0o644))}


def upload(brain, name):
    mark = uuid.uuid4().hex
    body = (f'--{mark}\r\nContent-Disposition: form-data; name="files[]"; filename="x/SKILL.md"\r\n\r\n{HEAD.format(name)}\r\n--{mark}--\r\n').encode()
    return brain.call("POST", "/v1/skills", body, {"Content-Type": f"multipart/form-data; boundary={mark}"}).expect(200, 201).json["id"]


def serve(gb, fake, tmp, kind, skills, archives):
    """What lies in the skills' folder of a session whose service gives these archives: {skill: lines}, and what else the listing said."""
    stage = Stage(gb, fake, tmp, f"archives-{len(archives)}-{next(iter(archives))}", kind)
    agent = stage.brain.agent("skilled", tools=[TOOLSET], skills=[{"type": "custom", "skill_id": skills[name]} for name in archives])
    by_id = {skills[name]: data for name, data in archives.items()}
    stage.between.on("GET", "^/v1/skills/[^/]*/versions/[^/]*/content$",
                     lambda asked, forward: (200, {"Content-Type": "application/zip"}, by_id[asked.path.split("/")[3]]))
    stage.script(stream(tool("bash", {"command": TREE})), stream(text("done")))
    with open(os.path.join(stage.workdir, "mark"), "w"):
        pass
    with stage.between:
        stage.id = stage.brain.session(agent, stage.place.environment)["id"]
        stage.brain.say(stage.id, stage.mark)
        with stage.worker() as worker:
            events = lawful(stage.brain.settled(stage.id, 120))
            log = worker.log()
    (said,) = [plain(e["content"]) for e in events if e["type"] == "user.tool_result"]
    *lines, escaped = said.strip().split("\n")
    found, rest = {name: [] for name in archives}, []
    for line in lines:
        what, _, path = line.partition(" skills/")
        name, _, inner = path.removesuffix(" -> ").partition("/")
        if inner and name in found:
            found[name].append(f"{what} {inner}")
        elif name not in found and line:  # a skill's own folder may be there, and empty
            rest.append(line)
    return found, rest, escaped, log


def test(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key)) as gb, concurrent.futures.ThreadPoolExecutor(4) as pool:
        brain = Brain(gb.brain.url, gb.brain_key)
        names = list(ARCHIVES)
        skills = {name: upload(brain, name) for name in [*names, "bomb"]}
        parts = [{name: ARCHIVES[name][0] for name in names[at:at + 12]} for at in range(0, len(names), 12)]  # an agent has 20 at most
        running = [[pool.submit(serve, gb, fake, tmp, kind, skills, part) for kind in (OFFICIAL, OURS)] for part in parts]
        bomb = pool.submit(serve, gb, fake, tmp, OURS, skills, BOMB)
        for part, both in zip(parts, running):
            (theirs, _, _, _), (mine, rest, escaped, log) = [future.result() for future in both]
            for name in part:
                with check(name):
                    wanted = ARCHIVES[name][1] or []
                    equal(theirs[name], wanted, "the official worker")
                    equal(mine[name], OURS_DIFFER.get(name, wanted), "ours")
                    assert wanted or skills[name] in log, f"no word of {name} in the log"
            with check(f"nothing beside them, {next(iter(part))} and so on"):
                equal((rest, escaped), ([], "0"))
        with check("bomb"):
            mine, rest, escaped, log = bomb.result()
            equal((mine, rest, escaped), ({"bomb": []}, [], "0"))
            assert skills["bomb"] in log, log
        check.done()


run(test)
