"""Something that happens before any bytecode of some files: Ctrl-C, or a signal handler."""

import dis
import signal
import sys

# No signal is handled before these. CPython 3.11 does not release an exception that is being handled there
# when a trace function raises another.
ATOMIC = {dis.opmap[name] for name in ("PUSH_EXC_INFO", "POP_EXCEPT") if name in dis.opmap}


def at_bytecode(number, action, files, function):
    """Call `function`, and before the bytecode of that number in these files `action`.

    Return whether there are so many. KeyboardInterrupt from `action` ends it.
    """
    left = number

    def trace(frame, event, argument):
        nonlocal left
        if left < 0 or frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0 and frame.f_code.co_code[frame.f_lasti] in ATOMIC:
                left = 0
            if left < 0:
                sys.settrace(None)
                action()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return left < 0


def interrupt():
    raise KeyboardInterrupt


def stop_alarms(before):
    """The timer stops, and `before` handles its signal again.

    A late signal finds a handler that does nothing: a test's own may start the timer once more, and the signal
    that follows would end the process.
    """
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
