"""Export a backbone, the backbone and neck of a detector, or a whole classifier or segmentor for another runtime.

    onnx          for ONNX Runtime and others; batch, height and width of the images are open
    torch-export  for torch.export.load; likewise open
    torchscript   for torch.jit.load; of one size, --size HEIGHT WIDTH, and one image at a time

The file says inside what it holds: part, arch, sizes, normalisation, classes. Before it gets its name it is run and
compared with the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from ..configs import load_config
from ..errors import InputError
from ..export.formats import check_format, write
from ..export.parts import PARTS, choose_part, make_exported
from ..files import check_writable
from ..models import build_initialised, load_trained
from .common import add_config, make_parser


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


def main() -> None:
    """Check what was given, build, export."""
    parser = make_parser(__doc__, 'cvt-13_8xb256_in1k --format onnx -o cvt-13.onnx')
    add_config(parser)
    parser.add_argument('checkpoint', nargs='?', help='checkpoint of a training; without it the initial weights')
    parser.add_argument('--format', required=True, help='onnx, torch-export or torchscript')
    parser.add_argument('-o', '--out', type=Path, required=True, help='the file')
    parser.add_argument('--part', help=f'{", ".join(PARTS)} (default: the most that the model allows)')
    parser.add_argument('--deploy', action='store_true', help='fold norms and activations first (switch_to_deploy)')
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'), help='of the images; torchscript only'
    )
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
