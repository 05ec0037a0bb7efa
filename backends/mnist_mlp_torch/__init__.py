"""The PyTorch Lightning backend."""

from mnist_mlp_torch.backend import TorchBackend

__all__ = ["TorchBackend"]
