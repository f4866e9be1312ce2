"""Make a small data set of real handwriting on real photographs, without a download.

The digits of scikit-learn's load_digits (1797 scans of 8x8 pixels) are upscaled and pasted onto crops of its two
sample photographs, some of them over others. The same material is written in three forms:

    OUT/images/{train,val}/00000.jpg            pictures with 2 to 5 digits
    OUT/annotations/instances_{train,val}.json  their boxes and masks, in COCO format
    OUT/annotations/{train,val}/00000.png       their label maps, 0 for the photograph
    OUT/classes/{train,val}/{0..9}/*.png        one digit in a picture of 64x64 pixels: COPIES of each scan in train,
                                                1 in val
    OUT/meta.json                               the arguments

Train and val share neither a scan nor a pixel of a photograph. --tune N makes a third split, tune, in the same places:
its scans and its part of the photographs are taken from train, and val does not change. Choose settings by it, and
leave val for the result.

The same arguments give the same bytes, as long as the versions of NumPy, Pillow and SciPy stay the same.

The photographs are by danielbuechele (china) and vultilion (flower), CC BY 2.0.
"""

from __future__ import annotations

from pathlib import Path

from ..data import DIGITS
from .common import check_installed, make_parser

TEXTS = {
    'train': 'number of training pictures',
    'val': 'number of validation pictures',
    'size': 'side of these pictures in pixels, at least 64',
    'seed': 'random seed',
    'copies': 'pictures of each scan in classes/train',
    'tune': 'number of pictures of a third split, to choose settings by; train then has other pictures',
}


def main() -> None:
    """Read the arguments, write the data set."""
    parser = make_parser(__doc__, 'data/digits')
    parser.add_argument(
        'out', metavar='OUT', nargs='?', type=Path, default='data/digits', help='folder to make (default: %(default)s)'
    )
    for name, text in TEXTS.items():
        parser.add_argument(
            f'--{name}', metavar='N', type=int, default=DIGITS[name], help=f'{text} (default: %(default)s)'
        )
    args = parser.parse_args()
    check_installed(sklearn='scikit-learn', pycocotools='pycocotools')
    from ..data.digits import make_digits

    make_digits(**vars(args))
