"""runner = "inside": skills and memory stores are in the box before the first call, are synced by the worker in there through the uplink, and
what is only to read stays as it is.
labels: privileged timeout=150
"""
from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, run
from inside import INSIDE, SETTINGS, Place
from sessions import TOOLSET
from stores import CALLS, LAW, NOTES, SKILL, Stores, remembered, upload
from support import Checks, equal, eventually

# In the order of CALLS: whether it is an error, and what is among the words.
ANSWERS = [
    (False, [" 5 /mnt/memory/notes/a.md", " 20 /mnt/memory/law/law.md", "skills/climbing/bin/up", "skills/climbing/empty"]),
    (False, ["went up\na note"]), (False, ["second grüezi"]), (False, []), (False, []), (True, ["read-only"]), (True, ["read-only"]),
    (False, ["thou shalt not write"]), (True, []), (False, ["new.md", "deep/er/b.md"]), (False, ["grüezi"]), (False, [])]


def test(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=INSIDE, model=(fake.url, fake.key), environment=SETTINGS, lease_ttl=10) as gb:
        place = Place(gb, fake)
        agent = place.brain.agent("with a skill", skills=[{"type": "custom", "skill_id": upload(place.brain, SKILL)}], tools=[TOOLSET])["id"]

        def script(mark, *calls):
            fake.script(mark, [*[stream(tool(name, asked)) for name, asked in calls], stream(text("done"))])

        with check("skill and memory stores are there, and answer to the tools as they do outside"):
            script("case:stores", *CALLS)
            session = Stores(place.brain, agent, place.environment, "case:stores")
            box = place.box(session.id)
            place.worker(box)
            answers, events = session.answers()
            equal(len(answers), len(ANSWERS), "calls\n" + events)
            for (name, asked), (words, wrong), (is_error, among) in zip(CALLS, answers, ANSWERS):
                assert wrong == is_error and all(word in words for word in among), f"{name} {asked}: {wrong} {words!r}, not {is_error} {among}\n{events}"
        with check("what changed is at the service, and only that; the worker leaves nothing in the box"):
            session.expect_notes()
            eventually(lambda: box.sh("find /workspace/skills /mnt/memory -type f 2>/dev/null").stdout == "", 40, "skills and stores are put away")
        with check("a shell that writes where only reading was granted changes nothing at the service"):
            script("case:shell", ("bash", {"command": f"chmod -R u+w {LAW}; echo mine > {LAW}/law.md; echo more > {LAW}/more.md; cat {LAW}/law.md; echo noted > {NOTES}/noted.md"}))
            session = Stores(place.brain, agent, place.environment, "case:shell")
            session.answers()
            eventually(lambda: "/noted.md" in remembered(place.brain, session.notes), 40, "the note at the brain")
            equal(remembered(place.brain, session.law), {"/law.md": "thou shalt not write"})
        with check("the worker is killed after a sync: the next one in the box goes on with what was noted"):
            script("case:killed", ("bash", {"command": f"echo in the box > {NOTES}/noted.md; touch noted; [ -e again ] || {{ touch again; sleep 100; }}"}),
                   ("bash", {"command": f"skills/climbing/bin/up; cat {NOTES}/noted.md"}))
            session = Stores(place.brain, agent, place.environment, "case:killed")
            box = place.box(session.id)
            eventually(lambda: "/noted.md" in remembered(place.brain, session.notes), 60, "the note at the brain")
            box.sh(f"kill -9 {place.worker(box)['pid']}")
            answers, events = session.answers(90)
            equal(answers[-1], ("went up\nin the box", False), events)
        check.done()


run(test)
