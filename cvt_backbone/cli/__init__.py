"""The command line: ``cvt-backbone COMMAND`` or ``python -m cvt_backbone COMMAND``.

Help must be quick: a module of this package imports at its top what its help needs, and the rest, which needs PyTorch,
when it has read its arguments.
"""

from __future__ import annotations

import argparse
import sys
from difflib import get_close_matches
from importlib import import_module

from ..errors import InputError
from ..version import __version__
from .common import Parser, run

COMMANDS = {
    'list': 'list the configs and the published weights',
    'train': 'train a detector, a segmentor or a classifier',
    'test': 'evaluate a checkpoint',
    'predict': 'predict on images and draw the results',
    'explain': 'draw what a model sees in an image',
    'demo': 'train Mask R-CNN on handwritten digits and draw what it learned',
    'digits': 'make the data set of the demo',
    'new': 'write a config for your own data',
    'swap': 'put CvT into an existing config',
    'convert': 'convert a checkpoint of any format',
    'export': 'export a model to ONNX, OpenVINO, torch.export or TorchScript',
    'flops': 'count parameters and multiply-accumulates',
    'benchmark': 'measure time and memory of CvT and its peers',
    'imagenet-labels': 'write the labels of ImageNet ReaL or ImageNet-V2',
    'report': 'write the result of finished runs into the metafile of their config',
}


def main() -> None:
    """Find the command and call it with the rest of the command line."""
    run(_main)


def _main() -> None:
    names = '\n'.join(f'  {name:<16} {text}' for name, text in COMMANDS.items())
    parser = Parser(
        prog='cvt-backbone',
        usage='cvt-backbone COMMAND ...',
        description='CvT as an OpenMMLab backbone for dense prediction.',
        epilog=f'commands:\n{names}\n\n`cvt-backbone COMMAND --help` shows the arguments and an example.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=__version__)
    parser.add_argument('command', metavar='COMMAND', help=argparse.SUPPRESS)
    command = parser.parse_args(sys.argv[1:2] or ['--help']).command
    if command not in COMMANDS:
        nearest = get_close_matches(command, COMMANDS, n=1, cutoff=0.0)[0]
        raise InputError(f'{command!r} is not a command; did you mean {nearest!r}? The commands: {", ".join(COMMANDS)}')
    sys.argv = [f'cvt-backbone {command}', *sys.argv[2:]]
    import_module(f'{__name__}.{command.replace("-", "_")}').main()
