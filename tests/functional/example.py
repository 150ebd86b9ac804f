"""A file written in a box is there for the next command, and for the file API. (The one to copy: cp example.py test_mine.py)
labels: privileged
"""
from harness import Glovebox, run


def test_files_last_as_long_as_the_box(tmp):
    """What one command writes the next one reads."""
    with Glovebox(tmp) as glovebox:
        box = glovebox.create()
        box.sh("echo kept > note").ok()
        assert box.sh("cat note").ok().stdout == "kept\n"
        box.write("/tmp/from-outside", "hello")
        assert box.read("/tmp/from-outside") == b"hello"
        box.delete()


run(test_files_last_as_long_as_the_box)
