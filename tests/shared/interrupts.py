"""Interrupts, as of Ctrl-C, at each line of some files."""

from __future__ import annotations

import linecache
import signal
import sys
import threading


class Interrupt:
    """Raises KeyboardInterrupt in this thread, before the line of that number of those of the files.

    Lines of the functions `but` are not counted.
    """

    def __init__(self, number, files, but=()):
        self.left = number
        self.files, self.but = files, but
        self.thread = threading.get_ident()

    def __enter__(self):
        sys.settrace(self.trace)

    def __exit__(self, *exc_info):
        sys.settrace(None)

    def trace(self, frame, event, _argument):
        code = frame.f_code
        if threading.get_ident() != self.thread or not code.co_filename.endswith(self.files):
            return None
        if code.co_name in self.but:
            return None
        # The end of a `with` is traced at its line, between the block and the call that a signal cannot part.
        source = linecache.getline(code.co_filename, frame.f_lineno)
        if event == "line" and not source.lstrip().startswith("with "):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return self.trace
