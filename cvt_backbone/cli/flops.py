"""Count the parameters and multiply-accumulates (MACs) of a config's model, part by part, including attention."""

from __future__ import annotations

from ..configs import load_config
from .common import add_config, make_parser

SHAPES = {'mmdet': (800, 1280), 'mmseg': (512, 512), 'mmpretrain': (224, 224)}


def main() -> None:
    """Count and print a table."""
    parser = make_parser(__doc__, 'mask-rcnn_cvt-13_fpn_1x_coco --shape 800 1333')
    add_config(parser)
    defaults = ', '.join(f'{height} {width} for {scope}' for scope, (height, width) in SHAPES.items())
    parser.add_argument('--shape', type=int, nargs=2, metavar=('H', 'W'), help=f'image in pixels (default: {defaults})')
    args = parser.parse_args()
    from ..analysis.flops import count, format_table

    cfg = load_config(args.config, args.cfg_options)
    height, width = args.shape or SHAPES[cfg.default_scope]
    rows = count(cfg, (height, width))
    print(f'{args.config}, one image of {height}x{width}\n')
    print(format_table(rows))
