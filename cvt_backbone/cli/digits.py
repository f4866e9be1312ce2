"""Make a small data set of real handwriting on real photographs, without a download.

The digits of scikit-learn's load_digits (1797 scans of 8x8 pixels) are upscaled and
pasted onto crops of its two sample photographs, some of them over others. Written are
three views of the same material:

    OUT/images/{train,val}/00000.jpg            pictures with 2 to 5 digits
    OUT/annotations/instances_{train,val}.json  their boxes and masks, as in COCO
    OUT/annotations/{train,val}/00000.png       their label maps, 0 for the photograph
    OUT/classes/{train,val}/{0..9}/*.png        one digit in a picture of 64x64 pixels;
                                                of each scan COPIES in train, 1 in val
    OUT/meta.json                               the arguments

Train and val share neither a scan nor a pixel of a photograph. The same arguments give
the same bytes, as long as NumPy, Pillow and SciPy stay the same.

The photographs are by danielbuechele (china) and vultilion (flower), CC BY 2.0.
"""

from __future__ import annotations

from pathlib import Path

from ..data.digits import TRAIN_COPIES, make_digits
from .common import make_parser


def main() -> None:
    """Read the arguments, write the data set."""
    parser = make_parser(__doc__, 'data/digits')
    parser.add_argument(
        'out', metavar='OUT', nargs='?', type=Path, default='data/digits', help='folder to make (default: %(default)s)'
    )
    for name, default, text in (
        ('train', 1600, 'number of pictures to train on'),
        ('val', 200, 'number of pictures to validate on'),
        ('size', 160, 'side of these pictures in pixels, at least 64'),
        ('seed', 0, 'of all that is random'),
        ('copies', TRAIN_COPIES, 'pictures of each scan in classes/train'),
    ):
        parser.add_argument(f'--{name}', metavar='N', type=int, default=default, help=f'{text} (default: %(default)s)')
    make_digits(**vars(parser.parse_args()))
