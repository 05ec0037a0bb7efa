"""Lightning's captured step without a GPU: everything of it but the CUDA graph, on the CPU.

`capture_graph` is replaced by one that warms up, as the real one does, and then makes the step
itself each time. Named as `captured_on_cpu:Class`.
"""

from mnist_mlp_torch import TorchBackend


def eager(step, *, warm_up):
    warm_up()
    return step


class EagerBackend(TorchBackend):
    """Captures every SGD step, a CPU's too."""

    capture = staticmethod(eager)
    prepare = staticmethod(lambda: None)

    def open(self, spec, runtime):
        from mnist_mlp_torch import captured, fast

        fast.can_capture = lambda module: captured.why_not_captured(module) is None
        captured.capture_graph = self.capture
        self.prepare()
        return super().open(spec, runtime)


def failing(step, *, warm_up):
    warm_up()
    try:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")
    finally:
        # As `torch.cuda.graph` does it, when ending the capture fails too.
        raise RuntimeError("failed due to a previous error during capture")


class FailingBackend(EagerBackend):
    """Cannot capture, and finds out after its steps of warming up."""

    capture = staticmethod(failing)


ways = iter([eager])


def failing_later(step, *, warm_up):
    return next(ways, failing)(step, warm_up=warm_up)


class FailingLaterBackend(EagerBackend):
    """Captures at the first learning rate and not at the second, in the middle of training."""

    capture = staticmethod(failing_later)


def full(step, *, warm_up):
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 96.00 GiB. GPU 0 has ...")


class FullBackend(EagerBackend):
    """Has no memory for the step: without a graph there would be no more of it."""

    capture = staticmethod(full)


# --- Faults that the comparison with the plain path has to see ------------------------------------


class StaleRateBackend(EagerBackend):
    """Keeps the learning rate of the first capture."""

    @staticmethod
    def prepare():
        from mnist_mlp_torch.module import Perceptron

        Perceptron.set_rate = lambda self, optimizer: optimizer.param_groups[0]["lr"]


class KeptWarmUpBackend(EagerBackend):
    """Forgets to undo the steps of warming up: momentum's velocities stay."""

    @staticmethod
    def prepare():
        from mnist_mlp_torch.captured import CapturedSteps

        CapturedSteps._trained = lambda self: list(self.module.layers.parameters())


class StillCursorBackend(EagerBackend):
    """Takes the first batch of a series again and again."""

    @staticmethod
    def capture(step, *, warm_up):
        warm_up()
        steps = step.__self__

        def at_the_first():
            steps.cursor.zero_()
            step()

        return at_the_first


class EarlierLossesBackend(EagerBackend):
    """Warms up at the first batch of a series, over what was noted of it."""

    @staticmethod
    def capture(step, *, warm_up):
        steps = step.__self__
        at = steps.cursor.clone()
        steps.cursor.zero_()
        step()
        steps.cursor.copy_(at)
        warm_up()
        return step
