"""A checksum of tensors, for files whose format has none."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

CHECKSUM = 'cvt_backbone.checksum'  # its name among the metadata of a safetensors file
KIND = 'crc32:'  # how its value begins


def compute_checksum(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 over names, types, shapes and bytes, in the order of the names."""
    crc = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        crc = zlib.crc32(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), crc)
    return f'{KIND}{crc:08x}'


def find_checksum(metadata: Mapping[str, str]) -> str | None:
    """The checksum among the metadata, known by its name or its value, for either may be damaged; None without one."""
    return next((value for name, value in metadata.items() if name == CHECKSUM or value.startswith(KIND)), None)
