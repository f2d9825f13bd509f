"""A process that does nothing until SIGINT ends it: without Django, since every swap starts it anew."""

import os
import signal

ENDS = {signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # for sigwait to get it instead of Python
signal.sigwait(ENDS)
print(f"ending in {os.environ['RELEASE_ID']}", flush=True)
