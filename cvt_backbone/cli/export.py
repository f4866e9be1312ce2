"""Export a backbone, the backbone and neck of a detector, or a whole classifier or segmentor to another runtime.

    onnx          for ONNX Runtime and OpenVINO
    openvino      for OpenVINO: FILE.xml and FILE.bin
    torch-export  for torch.export.load
    torchscript   for torch.jit.load; needs --size

Batch size, height and width stay open. `--size HEIGHT WIDTH` makes a graph for one image of this size, which is faster
if the model has windows.

The file carries its metadata: part, arch, sizes, normalisation, classes. It is run and compared with the model before
it gets its name.

`--int8 IMAGES` quantises an openvino file: products and convolutions run with eight bits, in ranges that these images
give. They go through the test pipeline of the config; take images of the training.
"""

from __future__ import annotations

from pathlib import Path

from ..configs import load_config
from ..errors import InputError
from ..files import check_writable
from .common import add_config, make_parser


def check_out(path: Path, force: bool) -> None:
    """See that the file can be written, before the work starts.

    Raises:
        InputError: It cannot.
    """
    if path.is_dir():
        raise InputError(f'--out: {path} is a folder; give the name of a file')
    if path.exists() and not force:
        raise InputError(f'--out: {path} exists; give another name, or --force to replace it')
    check_writable('--out', path.parent)


def main() -> None:
    """Check the arguments, build, export."""
    parser = make_parser(
        __doc__,
        'mask-rcnn_cvt-nano_fpn_digits work_dirs/demo/epoch_5.pth --format torchscript --size 160 160 -o digits.pt',
        after='demo',
    )
    add_config(parser)
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint of a training, or published weights of a classifier (default: the initial weights)',
    )
    parser.add_argument('--format', required=True, help='onnx, openvino, torch-export or torchscript')
    parser.add_argument('-o', '--out', metavar='FILE', type=Path, required=True, help='file to write')
    parser.add_argument('--force', action='store_true', help='replace the file if it exists')
    parser.add_argument(
        '--part', help='backbone, features, classifier or segmentor (default: as much as the model allows)'
    )
    parser.add_argument('--deploy', action='store_true', help='fold norms and activations first (switch_to_deploy)')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the images, if the file is to take one size only',
    )
    parser.add_argument(
        '--int8',
        metavar='IMAGES',
        type=Path,
        help='folder of images to quantise an openvino file by; at most 300 are used',
    )
    args = parser.parse_args()
    import torch

    from ..export.formats import check_format, describe, write
    from ..export.parts import choose_part, make_exported
    from ..inference.calibration import make_calibration
    from ..models import build_initialised, load_trained

    check_format(args.format, args.size, args.out, args.int8 is not None)
    cfg = load_config(args.config, args.cfg_options)
    part = choose_part(cfg, args.part)
    torch.manual_seed(0)
    if args.checkpoint is None:
        model, meta = build_initialised(cfg), dict(cfg.get('metainfo') or {})
    else:
        model, meta = load_trained(cfg, args.checkpoint)
    calibration = make_calibration(cfg, model, args.int8, args.size) if args.int8 else None
    check_out(args.out, args.force)
    exported = make_exported(cfg, model, part, meta, args.deploy)
    deviations = write(exported, args.format, args.out, args.size, calibration)
    weights = 'weights of the checkpoint' if args.checkpoint else 'initial weights, as no checkpoint was given'
    kind = f'{args.format}, int8 by {len(calibration.paths)} images' if calibration else args.format
    found = describe(deviations, quantised=calibration is not None)
    print(f'{args.out}: {part}, {kind}, {weights}; deviates from the model by {found}')
