"""Processes that tests start: none makes its test hang, and what it has started ends with it.

`subprocess.run` with a timeout kills its child alone, and waits for ever for pipes that the child's own
children still hold open.
"""

import contextlib
import os
import signal
import subprocess
import traceback

LIMIT = 480  # seconds, for all that tests wait for: a busy machine is faster, and CI ends a test after 600
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "XPCONV_NUM_THREADS": "1"}  # others would spin while they wait


def environment(**more):
    """That of this process, with one thread, and with more variables."""
    return {**os.environ, **ONE_THREAD, **more}


@contextlib.contextmanager
def started(command, *, env=None, **options):
    """A running process, with pipes of text; at the end, it and those that it has started are killed.

    Without `env` it has one thread; the options are those of `Popen`.
    """
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    env = environment() if env is None else env
    process = subprocess.Popen(command, env=env, start_new_session=True, **options)
    try:
        yield process
    finally:
        kill_group(process)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def output(process):
    """What a process has printed when it ends, on both pipes; a failure, with that, where it runs over the limit."""
    try:
        return process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        kill_group(process)
    try:
        out, err = process.communicate(timeout=10)
    except subprocess.TimeoutExpired as error:  # a child that left the group has the pipes
        out, err = error.stdout, error.stderr
    raise AssertionError(f"{process.args}: not within {LIMIT} s\n{out}\n{err}")


def run(command, *, check=True, **options):
    """The finished process with its output, as of `subprocess.run`; unless `check` is False, its status must be 0."""
    with started(command, **options) as process:
        out, err = output(process)
    done = subprocess.CompletedProcess(command, process.returncode, out, err)
    assert not check or done.returncode == 0, f"{command}: status {done.returncode}\n{out}\n{err}"
    return done


def kill_group(process):
    """Kill a process of `started` and those that it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def forked(function):
    """Run `function` in the child of a fork: 0 if it returned, 1 if it raised, -SIGALRM at the limit.

    The child ends there: it must not go on with pytest's tests, which are its parent's.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LIMIT)
            function()
            status = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
