"""Export a backbone, the backbone and neck of a detector, or a whole classifier or segmentor for another runtime.

    onnx          for ONNX Runtime and others; batch, height and width of the images are open
    torch-export  for torch.export.load; likewise open
    torchscript   for torch.jit.load; of one size, --size HEIGHT WIDTH, and one image at a time

The file says inside what it holds: part, arch, sizes, normalisation, classes. Before it gets its name it is run and
compared with the model.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from torch import nn

from common import InputError, check_writable, load_config, run
from export_formats import (
    check_format,
    largest_deviation,
    open_file,
    write_onnx,
    write_torch_export,
    write_torchscript,
)
from export_models import PARTS, Exported, choose_part, make_exported
from trained import build_initialised, load_trained

TOLERANCE = 1e-4
SHAPES = [(1, 96, 128), (2, 131, 75)]


def check_out(path: Path) -> None:
    """See before the model is built that the file can be written.

    Raises:
        InputError: It cannot.
    """
    if path.is_dir():
        raise InputError(f'--out: {path} is a folder; give the name of a file')
    check_writable('--out', path.parent)


def read_model(cfg: Config, checkpoint: str | None) -> tuple[nn.Module, dict[str, Any]]:
    """The model with its weights, and the names of its classes as far as they are known."""
    if checkpoint is not None:
        if not Path(checkpoint).is_file():
            raise InputError(f'checkpoint: {checkpoint} does not exist')
        return load_trained(cfg, checkpoint)
    return build_initialised(cfg), dict(cfg.get('metainfo') or {})


def write(exported: Exported, name: str, path: Path, size: list[int] | None = None) -> float:
    """Write a file, run it and give it its name.

    Args:
        exported: What to write.
        name: The format.
        path: The file.
        size: Height and width for ``torchscript``.

    Returns:
        Its largest deviation from the model, relative to the largest output where that is above 1.

    Raises:
        InputError: It cannot be written, or deviates by more than :data:`TOLERANCE`; nothing is left then.
    """
    part = path.with_name(f'.{path.name}.{os.getpid()}.part{"" if name == "onnx" else ".pt2"}')
    try:
        if name == 'torchscript':
            write_torchscript(exported, part, size)
        else:
            (write_onnx if name == 'onnx' else write_torch_export)(exported, part)
        deviation = largest_deviation(exported, open_file(name, part), [(1, *size)] if size else SHAPES)
        if not deviation <= TOLERANCE:
            raise InputError(f'config: the {name} file of this model deviates from it by {deviation:.1e}; not written')
        os.replace(part, path)
    except OSError as error:
        raise InputError(f'--out: cannot write {path} ({error.strerror or error})') from error
    finally:
        part.unlink(missing_ok=True)
    return deviation


def main() -> None:
    """Check what was given, build, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint of a training; without it the initial weights')
    parser.add_argument('--format', required=True, help='onnx, torch-export or torchscript')
    parser.add_argument('-o', '--out', type=Path, required=True, help='the file')
    parser.add_argument('--part', help=f'{", ".join(PARTS)} (default: the most that the model allows)')
    parser.add_argument('--deploy', action='store_true', help='fold norms and activations first (switch_to_deploy)')
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'), help='of the images; torchscript only'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings to change: KEY=VALUE')
    args = parser.parse_args()

    check_format(args.format, args.size)
    cfg = load_config(args.config, args.cfg_options)
    part = choose_part(cfg, args.part)
    check_out(args.out)
    torch.manual_seed(0)
    model, meta = read_model(cfg, args.checkpoint)
    exported = make_exported(cfg, model, part, meta, args.deploy)
    deviation = write(exported, args.format, args.out, args.size)
    weights = 'weights of the checkpoint' if args.checkpoint else 'initial weights, as no checkpoint was given'
    print(f'{args.out}: {part}, {args.format}, {weights}; deviates by {deviation:.1e} from the model')


if __name__ == '__main__':
    run(main)
