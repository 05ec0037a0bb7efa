"""Backends whose `fit` never returns, each in its own way; ended by a time limit."""

import os
import re
import signal
import subprocess
import sys
import time

from mnist_mlp.ports.user_code import load_object
from mnist_mlp_numpy import NumpyBackend


class SleepingBackend(NumpyBackend):
    def fit(self, plan, data, progress):
        self.sleep()

    def sleep(self):
        time.sleep(600)


class GreedyBackend(NumpyBackend):
    """In one call of C code, which lets no other Python thread run."""

    def fit(self, plan, data, progress):
        re.match(r"(a+)+$", "a" * 60 + "b")


class StoppedBackend(NumpyBackend):
    def fit(self, plan, data, progress):
        os.kill(os.getpid(), signal.SIGSTOP)


class OrphaningBackend(NumpyBackend):
    """Is killed, while a process that it started keeps its pipes open."""

    def fit(self, plan, data, progress):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
        os.kill(os.getpid(), signal.SIGKILL)


class PortBackend(NumpyBackend):
    """Calls a user's function as soon as its file is loaded."""

    def open_port(self, target, runtime):
        return load_object(target)()
