"""tools/run_fuzz.py reports a target that fails, with the input that made it fail, and ends with the result line."""
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Stands for a libFuzzer program: takes the artifact prefix from its arguments.
BROKEN = """#!/bin/sh
for word in "$@"; do case "$word" in -artifact_prefix=*) echo boom > "${word#*=}crash-1" ;; esac; done
echo "ERROR: AddressSanitizer: heap-buffer-overflow"
exit 1
"""


class RunFuzz(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        for folder in ("tools", "build/bin"):
            os.makedirs(os.path.join(self.root, folder))
        shutil.copy(os.path.join(ROOT, "tools", "run_fuzz.py"), os.path.join(self.root, "tools"))

    def target(self, name, script):
        path = os.path.join(self.root, "build", "bin", name + "_fuzz")
        with open(path, "w") as file:
            file.write(script)
        os.chmod(path, stat.S_IRWXU)

    def fuzz(self, *arguments):
        done = subprocess.run([sys.executable, os.path.join(self.root, "tools", "run_fuzz.py"),
                               "--build", os.path.join(self.root, "build"), "--seconds", "1", *arguments],
                              capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def test_a_find_is_kept_and_reported(self):
        self.target("good", "#!/bin/sh\nexit 0\n")
        self.target("bad", BROKEN)
        code, output = self.fuzz()
        self.assertEqual(code, 1)
        self.assertIn("| ERROR: AddressSanitizer", output)
        self.assertIn("kept: fuzz/crashes/bad-crash-1", output)
        self.assertEqual(output.splitlines()[-1], "1 passed, 1 failed, 0 skipped")
        self.assertTrue(os.path.exists(os.path.join(self.root, "fuzz", "crashes", "bad-crash-1")))

    def test_names_choose(self):
        self.target("good", "#!/bin/sh\nexit 0\n")
        self.target("bad", BROKEN)
        self.assertEqual(self.fuzz("good")[0], 0)

    def test_nothing_to_run_is_no_success(self):
        self.assertEqual(self.fuzz()[0], 1)


if __name__ == "__main__":
    unittest.main()
