"""tools/with_env.py: what each role learns from .env and .env.local, and how the files are read."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools"))
import with_env  # noqa: E402

EVERYTHING = """
ANTHROPIC_ENVIRONMENT_ID=env_1
ANTHROPIC_ENVIRONMENT_KEY=the-queue
ANTHROPIC_WEBHOOK_SIGNING_KEY=whsec_x
TENSORLAKE_API_KEY=the-boxes
RESUME_SUSPENDED_SESSIONS=true
WEBHOOK_SANDBOX_TIMEOUT_SECONDS=60
SOMETHING_ELSE=1
"""
LOCAL = "ANTHROPIC_API_KEY=the-organisation\nANTHROPIC_AGENT_ID=agent_1\nANTHROPIC_ENVIRONMENT_ID=env_2\n"


class WithEnv(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)

    def write(self, name, text):
        with open(os.path.join(self.place.name, name), "w", encoding="utf-8") as file:
            file.write(text)

    def told(self, role, shell=()):
        made = with_env.environment(role, self.place.name, dict(shell))
        return {name.decode(): value.decode() for name, value in made.items()}

    def one(self, text):
        self.write(".env", text)
        return with_env.read(os.path.join(self.place.name, ".env"))

    def test_who_takes_work_is_not_told_the_api_key_and_reads_no_local_file(self):
        self.write(".env", EVERYTHING + "ANTHROPIC_API_KEY=misplaced\n")
        self.write(".env.local", LOCAL)
        for role in ("poll", "webhook", "webhook-sandbox"):
            told = self.told(role)
            self.assertNotIn("ANTHROPIC_API_KEY", told)
            self.assertEqual((told["ANTHROPIC_ENVIRONMENT_ID"], told["ANTHROPIC_ENVIRONMENT_KEY"]), ("env_1", "the-queue"))
            self.assertEqual("ANTHROPIC_WEBHOOK_SIGNING_KEY" in told, role != "poll")
            self.assertNotIn("SOMETHING_ELSE", told)

    def test_who_makes_sessions_is_told_no_key_of_queue_boxes_or_webhooks(self):
        self.write(".env", EVERYTHING)
        self.write(".env.local", LOCAL)
        for role in ("session", "agent"):
            told = self.told(role)
            self.assertEqual(told["ANTHROPIC_API_KEY"], "the-organisation")
            self.assertEqual(told["ANTHROPIC_ENVIRONMENT_ID"], "env_2")  # the last file wins
            for key in ("ANTHROPIC_ENVIRONMENT_KEY", "ANTHROPIC_WEBHOOK_SIGNING_KEY", "TENSORLAKE_API_KEY"):
                self.assertNotIn(key, told)

    def test_files_beat_the_shell_and_an_empty_value_says_nothing(self):
        self.write(".env", "ANTHROPIC_ENVIRONMENT_ID=env_1\nTENSORLAKE_API_KEY=\n")
        told = self.told("poll", {b"ANTHROPIC_ENVIRONMENT_ID": b"stale", b"TENSORLAKE_API_KEY": b"shell", b"OTHER": b"kept"})
        self.assertEqual(told, {"ANTHROPIC_ENVIRONMENT_ID": "env_1", "TENSORLAKE_API_KEY": "shell", "OTHER": "kept"})

    def test_without_files_the_environment_is_as_it_was(self):
        self.assertEqual(self.told("session", {b"PROMPT": b"x", b"ANTHROPIC_API_KEY": b"k"}), {"PROMPT": "x", "ANTHROPIC_API_KEY": "k"})

    def test_sessions_are_made_where_the_queue_is(self):
        self.write(".env", "ANTHROPIC_ENVIRONMENT_ID=env_1\n")
        self.assertEqual(self.told("session")["GLOVEBOX_BRAIN_URL"], "https://api.anthropic.com")
        self.write(".env", "ANTHROPIC_ENVIRONMENT_ID=env_1\nANTHROPIC_BASE_URL=http://127.0.0.1:1\n")
        self.assertEqual(self.told("session")["GLOVEBOX_BRAIN_URL"], "http://127.0.0.1:1")
        self.assertNotIn("GLOVEBOX_BRAIN_URL", self.told("poll"))

    def test_log_levels_have_their_other_names(self):
        self.write(".env", "LOG_LEVEL=WARNING\n")
        self.assertEqual(self.told("poll"), {"GLOVEBOX_LOG": "warn"})
        self.write(".env", "LOG_LEVEL=loud\n")
        self.assertRaises(with_env.Wrong, self.told, "poll")

    def test_values(self):
        for line, value in (("A=b", "b"), ("A = b c ", "b c"), ("export A=b", "b"), ("A=", ""), ("A=b # c", "b"), ("A=b#c", "b#c"), ("A=# c", ""),
                            ("A='b # $x `y`' # c", "b # $x `y`"), ('A="b\\n\\"c\\\\"', 'b\n"c\\'), ("A=$(touch x)${HOME}`y`", "$(touch x)${HOME}`y`"),
                            ("A=b=c", "b=c"), ("A=日本", "日本")):
            self.assertEqual(self.one(line), {"A": value}, line)
        self.assertEqual(self.one("# c\n\nA=1\nA=2\n"), {"A": "2"})

    def test_what_is_wrong_is_named_by_its_line_and_not_said(self):
        for line in ("secret", "1A=secret", "A='secret", 'A="secret', "A='secret' more", "A B=secret"):
            with self.assertRaises(with_env.Wrong) as caught:
                self.one("OK=1\n" + line)
            self.assertIn(".env:2:", str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
