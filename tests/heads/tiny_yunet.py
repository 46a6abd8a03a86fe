"""A hand-written ONNX file with YuNet's outputs: every bright 8x8 cell of the picture is a face of 8x8 pixels.

OpenCV's zoo model can't be shipped and the onnx package is no dependency, so the few protobuf messages that are needed
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) are encoded here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

_SIZES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _tensor(name: str, array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    kind = 1 if array.dtype == np.float32 else 7
    dims = b"".join(_field(1, n) for n in array.shape)
    return _field(5, dims + _field(2, kind) + _field(8, name) + _field(9, array.tobytes()))


def _value(number: int, name: str, shape: list[int | str]) -> bytes:
    dims = b"".join(_field(1, _field(1 if isinstance(n, int) else 2, n)) for n in shape)
    return _field(number, _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, dims))))


def _node(kind: str, inputs: list[str], output: str, **ints: list[int]) -> bytes:
    body = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(3, output) + _field(4, kind)
    for name, values in ints.items():
        body += _field(5, _field(1, name) + b"".join(_field(8, v) for v in values) + _field(20, 7))
    return _field(1, body)


def write_yunet(path: Path) -> Path:
    """The file `FaceDetectorYN.create` takes."""
    nodes, tensors, outputs = b"", b"", b""
    for kind, channels in _SIZES.items():
        tensors += _tensor(f"shape_{kind}", np.array([1, -1, channels], np.int64))
        for stride in (8, 16, 32):
            name = f"{kind}_{stride}"
            # classes: mean brightness of the finest cells; everything else zero but the objectness
            weight = np.zeros((channels, 3, stride, stride), np.float32)
            bias = np.full(channels, 1.0 if kind == "obj" else 0.0, np.float32)
            if name == "cls_8":
                weight[:] = 1 / (3 * stride * stride * 255)
            tensors += _tensor(f"w_{name}", weight) + _tensor(f"b_{name}", bias)
            size = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
            nodes += _node("Conv", ["input", f"w_{name}", f"b_{name}"], f"c_{name}", **size)
            # zeros and single channels stay right without the transpose that the real network has
            nodes += _node("Reshape", [f"c_{name}", f"shape_{kind}"], name)
            outputs += _value(12, name, [1, "n", channels])
    graph = nodes + _field(2, "faces") + tensors + _value(11, "input", [1, 3, "h", "w"]) + outputs
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13)))
    return path
