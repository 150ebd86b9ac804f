"""tools/check_tree.py sees each breach it is there for, and nothing in a tree that has none."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class CheckTree(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        os.mkdir(os.path.join(self.root, "tools"))
        shutil.copy(os.path.join(ROOT, "tools", "deps.txt"), os.path.join(self.root, "tools"))
        for folder in ("base", "net", "http", "engine"):
            self.put(f"src/{folder}/README.md", "what it is")
            self.put(f"src/{folder}/CMakeLists.txt", "glovebox_library(x SOURCES a.cc)")
            self.put(f"src/{folder}/a.cc", "int a;")

    def put(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)

    def check(self):
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tools", "check_tree.py"), self.root],
                              capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.returncode, 1 if done.stdout else 0)
        return done.stdout

    def breach(self, path, text, *words):
        self.put(path, text)
        found = self.check()
        for word in words:
            self.assertIn(word, found)

    def test_a_clean_tree_passes(self):
        self.put("src/http/a.cc", '#include "net/b.h"\n#include <boost/beast.hpp>\n#include <vector>\n')
        self.assertEqual(self.check(), "")

    def test_a_folder_it_may_not_know(self):
        self.breach("src/net/a.cc", '#include "http/b.h"\n', "src/net/a.cc:1", "net may not include http")

    def test_a_header_without_its_folder(self):
        self.breach("src/net/a.cc", '#include "b.h"\n', "src/net/a.cc:1")

    def test_heavy_headers_stay_home(self):
        self.breach("src/engine/a.cc", "#include <sqlite3.h>\n", "sqlite3.h")
        self.breach("src/http/b.h", "#pragma once\n#include <boost/asio.hpp>\n", "src/http/b.h:2")

    def test_a_source_nobody_builds(self):
        self.breach("src/net/ba.cc", "int b;", "src/net/ba.cc: no CMakeLists.txt names it")

    def test_a_long_file(self):
        self.breach("src/net/a.cc", "int a;\n" * 701, "701 lines")

    def test_a_folder_without_a_page(self):
        os.unlink(os.path.join(self.root, "src/net/README.md"))
        self.assertIn("src/net: no README.md", self.check())

    def test_an_unknown_folder(self):
        self.breach("src/misc/README.md", "x", "src/misc: not in tools/deps.txt")

    def test_a_header_twice(self):
        self.breach("src/net/b.h", "int b();\n", "no #pragma once")

    def test_python_finds_what_it_names(self):
        self.put("tools/a.py", "import os\n\n\ndef f(x):\n    match x:\n        case [y]:\n            return os.path, y\n")
        self.assertEqual(self.check(), "")
        self.breach("tests/b.py", "import os\nprint(re.sub)\n", "tests/b.py: nothing is called re", "tests/b.py: imports os for nothing")


if __name__ == "__main__":
    unittest.main()
