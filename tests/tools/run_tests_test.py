"""tools/run_tests.py counts right: a failure, a skip with its reason, a time-out, something left behind, GoogleTest's tests."""
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

GTEST = """
cat > "${GTEST_OUTPUT#json:}" <<'END'
{"testsuites": [{"name": "A", "testsuite": [
  {"name": "Good", "status": "RUN", "result": "COMPLETED"},
  {"name": "Bad", "status": "RUN", "result": "COMPLETED", "failures": [{"failure": "x"}]},
  {"name": "Off", "status": "NOTRUN", "result": "SUPPRESSED"},
  {"name": "Lacks", "status": "RUN", "result": "SKIPPED"}]}]}
END
echo "[ RUN      ] A.Lacks"
echo "x.cc:7: Skipped"
echo "no kernel here"
echo
echo "[  SKIPPED ] A.Lacks (0 ms)"
exit 1
"""


class RunTests(unittest.TestCase):
    def setUp(self):
        self.build = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.build)
        self.tests = []

    def add(self, name, script, properties="LABELS unit"):
        path = os.path.join(self.build, name + ".sh")
        with open(path, "w") as file:
            file.write("#!/bin/sh\n" + script)
        os.chmod(path, stat.S_IRWXU)
        self.tests.append(f'add_test({name} "{path}")\nset_tests_properties({name} PROPERTIES {properties})\n')

    def run_tests(self, *arguments):
        with open(os.path.join(self.build, "CTestTestfile.cmake"), "w") as file:
            file.writelines(self.tests)
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tools", "run_tests.py"), "--build", self.build, *arguments],
                              capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        for line in done.stdout.splitlines():  # what a failure keeps is for people; here nobody looks
            if "directory kept: " in line:
                shutil.rmtree(os.path.dirname(line.split("directory kept: ")[1].split(",")[0]), ignore_errors=True)
        return done.returncode, done.stdout

    def last(self, *arguments):
        return self.run_tests(*arguments)[1].splitlines()[-1]

    def test_passed_failed_skipped(self):
        self.add("good", "exit 0\n")
        self.add("bad", "echo the reason; exit 3\n")
        self.add("lacking", "echo first; echo needs a moon; exit 77\n")
        code, output = self.run_tests()
        self.assertEqual(output.splitlines()[-1], "1 passed, 1 failed, 1 skipped")
        self.assertEqual(code, 1)
        self.assertIn("| the reason", output)
        self.assertIn("bad: exit status 3", output)
        self.assertIn("skipped lacking: needs a moon", output)

    def test_all_is_well(self):
        self.add("good", "exit 0\n")
        self.assertEqual(self.run_tests()[0], 0)

    def test_nothing_passed_is_no_success(self):
        self.assertEqual(self.run_tests()[0], 1)

    def test_labels_choose(self):
        self.add("quick", "exit 0\n")
        self.add("long", "exit 0\n", 'LABELS "unit;slow"')
        self.assertEqual(self.last("--exclude", "slow"), "1 passed, 0 failed, 0 skipped")
        self.assertEqual(self.last("--label", "slow"), "1 passed, 0 failed, 0 skipped")
        self.assertEqual(self.last(), "2 passed, 0 failed, 0 skipped")

    def test_each_gtest_counts(self):
        self.add("unit", GTEST)
        code, output = self.run_tests()
        self.assertEqual(output.splitlines()[-1], "1 passed, 1 failed, 1 skipped")
        self.assertIn("failed  unit: A.Bad", output)
        self.assertIn("skipped unit: A.Lacks: no kernel here", output)

    def test_a_crash_of_a_test_program_is_a_failure(self):
        self.add("crash", "kill -SEGV $$\n")
        code, output = self.run_tests()
        self.assertEqual(output.splitlines()[-1], "0 passed, 1 failed, 0 skipped")
        self.assertIn("crash: signal 11", output)

    def test_what_is_not_built_fails(self):
        self.tests.append(f'add_test(gone "{self.build}/no-such-program")\n')
        self.assertEqual(self.last(), "0 passed, 1 failed, 0 skipped")

    def test_a_time_limit(self):
        self.add("stuck", "exec sleep 1000\n", "TIMEOUT 1")
        code, output = self.run_tests()
        self.assertEqual(output.splitlines()[-1], "0 passed, 1 failed, 0 skipped")
        self.assertIn("stuck: not done after 1 s", output)

    def test_a_process_left_behind_is_a_failure(self):
        self.add("litter", 'setsid sleep 30 >/dev/null 2>&1 &\nexit 0\n')
        code, output = self.run_tests()
        self.assertEqual(output.splitlines()[-1], "0 passed, 1 failed, 0 skipped")
        self.assertIn("left behind on the machine", output)

    def test_who_still_runs_is_not_taken_for_a_leftover(self):
        for number in range(12):  # directories 1 and 10, 11, 12 of one run
            self.add(f"t{number}", "sleep 0.5\n" if number >= 9 else "exit 0\n")
        self.assertEqual(self.last("-j", "12"), "12 passed, 0 failed, 0 skipped")

    def test_callers_settings_stay_out(self):
        self.add("clean", 'test -z "$GLOVEBOX_STATE$TENSORLAKE_API_KEY" && test -d "$TMPDIR"\n')
        os.environ["GLOVEBOX_STATE"] = "x"
        self.addCleanup(os.environ.pop, "GLOVEBOX_STATE")
        self.assertEqual(self.last(), "1 passed, 0 failed, 0 skipped")


if __name__ == "__main__":
    unittest.main()
