"""Recognise by their content files that are often given by mistake, and say what to do instead.

Names say little: a browser or a person may have renamed the file.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from mnist_mlp.readers.regular import OtherFormatError

_SAVE = "save them as safetensors or npz instead"

PICKLE = (
    "a pickle; loading one runs its author's code, so it is never read. In the program that wrote "
    "it, save the arrays with numpy.savez('weights.npz', **arrays)"
)
TORCH = (
    "a PyTorch checkpoint; it is a pickle, and loading one may run its author's code. In PyTorch: "
    "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')"
)
KERAS = (
    "a Keras model; it may hold code. In Keras: "
    "numpy.savez('weights.npz', *keras.models.load_model(FILE).get_weights())"
)
HDF5 = (
    "an HDF5 file, such as Keras's .h5; it may hold code. In Keras: "
    "numpy.savez('weights.npz', *model.get_weights())"
)
ONNX = (
    "an ONNX model; its arrays are not read. In Python: numpy.savez('weights.npz', "
    "**{t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(FILE).graph.initializer})"
)

_BEGINNINGS = (
    (rb"\x89HDF\r\n\x1a\n", HDF5),
    # Protocols 2 to 5. Protocols 0 and 1 have no mark, and fail as text that is no format.
    (rb"\x80[\x02-\x05]", PICKLE),
    (
        rb"\x93NUMPY",
        "a single array (.npy). Save all of them: numpy.savez('weights.npz', **arrays)",
    ),
    # A protocol buffer: field 1 is the version, then the producer, its version or the graph.
    (rb"\x08[\x01-\x1f][\x12\x1a\x22\x3a\x42]", ONNX),
    (rb".{4}TFL3", f"a TensorFlow Lite model; its arrays are not read: {_SAVE}"),
    (rb"GGUF", f"a GGUF file; its arrays are not read: {_SAVE}"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ\x00|\x28\xb5\x2f\xfd", "compressed: unpack it first"),
)


def refuse_foreign(content: bytes) -> None:
    """Raise `OtherFormatError` if a file is of a known format that is not read here."""
    for pattern, words in _BEGINNINGS:
        if re.match(pattern, content[:16], flags=re.DOTALL):
            raise OtherFormatError(words)
    if content[257:262] == b"ustar":
        raise OtherFormatError(f"a tar archive: {_SAVE}")


def refuse_foreign_members(names: Collection[str]) -> None:
    """The same for a zip archive by the names in it: PyTorch and Keras write zip archives, too."""
    if any(name.endswith("data.pkl") for name in names):
        raise OtherFormatError(TORCH)
    if any(name.endswith((".weights.h5", "metadata.json")) for name in names):
        raise OtherFormatError(KERAS)
