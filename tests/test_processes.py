"""Processes that tests start, and those that these have started, end at their limit."""

import os
import sys

import process
import pytest

HOLDS_THE_PIPES = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print(child.pid, flush=True)
BODY
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="groups of processes are POSIX's")
@pytest.mark.parametrize("body", ["time.sleep(1000)", ""], ids=["waits", "ends"])
def test_the_limit_holds_for_children_that_have_the_pipes(body, monkeypatch):
    """Also where the process itself has ended."""
    monkeypatch.setattr(process, "LIMIT", 2)
    with pytest.raises(AssertionError, match="not within 2 s"):
        process.run([sys.executable, "-c", HOLDS_THE_PIPES.replace("BODY", body)])


def test_a_status_that_is_not_zero_is_a_failure_with_the_output():
    command = [sys.executable, "-c", "import sys; print('printed'); sys.exit('the reason')"]
    with pytest.raises(AssertionError, match=r"status 1\nprinted\n\nthe reason"):
        process.run(command)
    assert process.run(command, check=False).returncode == 1


def test_a_process_has_one_thread_unless_the_test_says_otherwise():
    command = [sys.executable, "-c", "import os; print(os.environ.get('XPCONV_NUM_THREADS'))"]
    assert process.run(command).stdout == "1\n"
    assert process.run(command, env=process.environment(XPCONV_NUM_THREADS="3")).stdout == "3\n"
