"""TensorFlow's native start-up messages kept off a person's screen.

They are written to file descriptor 2 before any log level applies. Within `start_up()` they go to a temporary file, which is shown
only when the start fails. `KERASDL_TRACEBACK=1` leaves everything visible.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def start_up() -> Iterator[None]:
    if os.environ.get("KERASDL_TRACEBACK"):
        yield
        return
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(screen, hidden.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
