"""Draw the gallery of docs/howto/explain.md: each method on a digit and on a photograph.

    python tools/dev/draw_explain.py

The model is the digits classifier with the shipped weights of its backbone. They hold no head; a logistic regression
over the backbone's features of the training digits takes its place.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression
from torch import nn

from cvt_backbone.checkpoints import read
from cvt_backbone.cli import explain
from cvt_backbone.configs import load_config, shipped
from cvt_backbone.data.digits import make_digits
from cvt_backbone.models import build

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'cvt-nano_1xb64_digits'
OUT = ROOT / 'docs/images/explain'
DIGIT = '3/0059_0.png'
PHOTO_SIZE = (312, 208)
WIDTH = 1400  # pixels; with a palette the files stay small


def main() -> None:
    """Make the digits and the model, explain a digit and a photograph, shrink the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_digits(work / 'digits', train=1, val=1, size=160, seed=0, copies=1)
        classes = work / 'digits/classes'
        checkpoint = save_classifier(classes, work / 'classifier.pth')
        Image.fromarray(load_sample_image('china.jpg')).resize(PHOTO_SIZE).save(work / 'china.png')
        digit, photo = classes / 'val' / DIGIT, work / 'china.png'
        draw('digit', checkpoint, digit, work, '--at', 48, 40)
        draw('photo', checkpoint, photo, work, '--at', 108, 58)
        windows = ('--methods', 'attention', '--cfg-options', 'model.backbone.window_sizes=(28,14,None)')
        draw('windows', checkpoint, photo, work, '--at', 108, 58, *windows)


def draw(name: str, checkpoint: Path, image: Path, work: Path, *options: object) -> None:
    """Call the command; keep its pictures, shrunk."""
    args = ('explain', CONFIG, checkpoint, image, '-o', work / name, '--device', 'cpu', *options)
    sys.argv = [str(arg) for arg in args]
    explain.main()
    for path in (work / name).glob('*.png'):
        picture = Image.open(path).convert('RGB')
        picture.thumbnail((WIDTH, WIDTH))
        picture.quantize(256, kmeans=2, dither=Image.Dither.NONE).save(OUT / f'{name}-{path.name}', optimize=True)


def save_classifier(classes: Path, path: Path) -> Path:
    """The digits classifier with the shipped backbone, as a checkpoint of a training."""
    model = build(load_config(CONFIG)).eval()
    weights = shipped('configs') / '_base_/weights/cvt-nano_digits.safetensors'
    model.backbone.load_state_dict(read(weights, model.backbone.arch).state, strict=False)
    regression = LogisticRegression(C=10, max_iter=2000).fit(*features(model, classes / 'train'))
    print(f'{regression.score(*features(model, classes / "val")):.2%} of the held-out digits are right')
    model.head.fc.weight.data = torch.tensor(regression.coef_, dtype=torch.float32)
    model.head.fc.bias.data = torch.tensor(regression.intercept_, dtype=torch.float32)
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': tuple('0123456789')}}}, path)
    return path


@torch.no_grad()
def features(model: nn.Module, folder: Path) -> tuple[np.ndarray, list[int]]:
    """What enters the head, (N, C), and the labels."""
    paths = sorted(folder.rglob('*.png'))
    images = [torch.from_numpy(np.array(Image.open(path).convert('RGB'))[..., ::-1].copy()) for path in paths]
    batches = (images[i : i + 64] for i in range(0, len(images), 64))
    ready = (model.data_preprocessor({'inputs': [x.permute(2, 0, 1) for x in batch]}, False) for batch in batches)
    return torch.cat([model.backbone(data['inputs'])[-1] for data in ready]).numpy(), [
        int(p.parent.name) for p in paths
    ]


if __name__ == '__main__':
    main()
