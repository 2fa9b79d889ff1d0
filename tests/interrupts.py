"""Something that happens before any bytecode of some files: Ctrl-C, or a signal handler."""

import sys


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
