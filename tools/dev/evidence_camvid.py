"""CvT beside its peers on real images: Semantic FPN on CamVid from random weights, with an lr chosen for each."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import evidence_gallery
from evidence_cells import (
    CHOICE_SEED,
    LRS,
    NOT_RUN,
    backbone_cost,
    cell,
    draw_curves,
    fresh_config,
    have_ended,
    period,
    step_cell,
    values,
)
from evidence_comparison import Comparison
from evidence_models import PEERS, use_peer
from matplotlib.figure import Figure
from mmengine.config import Config
from trainings import ROOT, TIMED_STEPS, Job

from cvt_backbone.analysis import plots
from cvt_backbone.analysis.tables import markdown
from cvt_backbone.errors import InputError

SEGMENTOR = ROOT / 'configs/seg/semantic_fpn/semantic-fpn_cvt-13_1xb8-20k_camvid-360x480.py'
IMAGES = {'train': 367, 'val': 101, 'test': 233}  # of the split that SegNet's authors published
SIZE = (192, 256)  # height and width, pixels of what the network sees
CHANNELS = 64  # of neck and head
ITERS, WARMUP, VAL_INTERVAL = 900, 100, 150
DATA = {**IMAGES, 'size': list(SIZE)}
GALLERY = 'camvid_gallery.png'
CURVE = {'mIoU': 'mIoU'}
UNLEARNED = 1.0  # percent
CLASSES = (
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign symbol', 'fence', 'car', 'pedestrian', 'bicyclist'
)  # fmt: skip
TEST = {'mIoU': 'mIoU', 'pixel accuracy': 'aAcc', **{f'IoU {name}': f'IoU {name}' for name in CLASSES}}
TEXT = """# CvT beside its peers on real images

How well does `cvt-nano` segment road scenes beside backbones of other families with as many parameters?

## Set-up

The backbones are those of [the other comparison](peers.md), three stages (strides 4, 8, 16) of 0.5 to 0.6 M parameters.
Each stands in Semantic FPN of `{config}` with {channels} channels in neck and
head and starts from random weights: same losses, augmentation and schedule, {iters} iterations of 8 images, lr warmed
up and cooled down to nothing.

The data are CamVid with 11 classes, in the split that SegNet's authors published: {train} images to train, {val} for
validation, {test} to test. They are scaled to {height}x{width} pixels; predictions are scaled back and compared with
the labels at 360x480. All validation images are consecutive frames of a drive of train; a quarter of test is the second
half of a drive whose first half is in train, the rest is of a drive that train lacks.

- lr: for each backbone the best of {lrs}, by mIoU on the validation images at the end of the whole schedule, seed
  {choice_seed}.
- Result: mIoU on the test images with the weights of the last iteration, seeds {seeds}. They are read once a run, after
  its end, and serve no choice.

## Result

{plot}{table}
Parameters (M) and GMACs are those of the backbone at {height}x{width} pixels, computed. mIoU and pixel accuracy in
percent, mean ± standard deviation. Seconds a step: the fastest stretch of {timed} steps of 8 images on one CPU thread,
another run beside it, images read and augmented on the same thread.

{when}

### IoU of each class

Percent, mean over the seeds.

{classes}
### Choice of the lr

{choices}
{gallery}## What it means

{meaning}

## What it does not mean

- Half a million parameters, random weights and minutes of training favour what learns fast. Published results on CamVid
  start from ImageNet, at full size; nothing here compares with them, or ranks the families at their published sizes.
- {train} images of three drives. Frames of one drive resemble each other, so {test} test images say less
  than their number.
- Optimiser, weight decay and schedule are one choice for all. Only the lr was chosen for each, by one seed,
  whose run is also among the results; a best value at an end of the three says that a better one may lie beyond.
- Equal parameters are not equal GMACs, and GMACs are not seconds.

## Run it

```bash
python tools/dev/evidence.py camvid --camvid data/camvid
```

Every finished run is noted in `docs/evidence/runs/camvid`; running the command again resumes where it stopped.
"""


def link_data(work_dir: Path, source: Path) -> None:
    """Let CamVid be found in the work folder.

    Raises:
        InputError: It is not in ``source``, or not all of it.
    """
    for split, count in IMAGES.items():
        images, labels = (source / kind / split for kind in ('images', 'annotations'))
        found = [len(list(folder.glob(f'*.{suffix}'))) for folder, suffix in ((images, 'jpg'), (labels, 'png'))]
        if found != [count, count]:
            raise InputError(
                f'--camvid: {images} and {labels} must hold {count} *.jpg and {count} *.png, found {found[0]} and '
                f'{found[1]}; give the folder of configs/_base_/datasets/camvid.py'
            )
    link = work_dir / 'camvid'
    link.unlink(missing_ok=True)
    link.symlink_to(source.resolve())


def phases(work_dir: Path, seeds: Sequence[int], notes: Path) -> Iterator[list[Job]]:
    """Those of the comparison."""
    return COMPARISON.phases(work_dir, list(PEERS), seeds, notes)


def training(work_dir: Path, peer: str, lr: float, seed: int) -> Job:
    """A training of Semantic FPN, validated on images that are not the test's."""
    cfg = fresh_config(SEGMENTOR, work_dir / 'camvid', seed)
    use_peer(cfg, peer)
    cfg.model.data_preprocessor.size = SIZE
    cfg.model.neck.out_channels = CHANNELS
    norm = dict(type='BN', requires_grad=True)
    cfg.model.decode_head.update(in_channels=[CHANNELS] * 3, channels=CHANNELS, norm_cfg=norm)
    _scale_images(cfg)
    cfg.custom_imports.imports = [*cfg.custom_imports.imports, 'evidence_class_iou']
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    cfg.val_evaluator.type = cfg.test_evaluator.type = 'ClassIoU'
    cfg.optim_wrapper.optimizer.lr = lr
    cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
    cfg.train_cfg.update(max_iters=ITERS, val_interval=VAL_INTERVAL)
    warmup, decay = cfg.param_scheduler
    warmup.end = decay.begin = WARMUP
    decay.end = ITERS
    cfg.default_hooks.checkpoint.update(interval=VAL_INTERVAL, max_keep_ckpts=1, save_best=None)
    settings = {
        'config': SEGMENTOR.stem, 'model': PEERS[peer].note, 'channels': CHANNELS, 'lr': lr, 'seed': seed,
        'iterations': ITERS, 'data': DATA,
    }  # fmt: skip
    return Job(f'{peer}_lr{lr:g}_seed{seed}', cfg, settings, CURVE)


def _scale_images(cfg: Config) -> None:
    """Let the network see smaller images; the labels of an evaluation stay as they are."""
    scale = SIZE[::-1]
    for part in cfg.train_dataloader.dataset.pipeline:
        if part.type == 'RandomResize':
            part.scale = scale
        elif part.type == 'RandomCrop':
            part.crop_size = SIZE
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset.pipeline.insert(1, dict(type='Resize', scale=scale))


COMPARISON = Comparison(training, 'mIoU', TEST)


def page(work_dir: Path, seeds: Sequence[int], notes: Path) -> tuple[str, Figure | None]:
    """The page of what is noted, and its plot if there is anything to plot."""
    lrs = {peer: COMPARISON.lr(work_dir, peer, notes) for peer in PEERS}
    trained = {peer: COMPARISON.trained(work_dir, peer, lr, seeds, notes) for peer, lr in lrs.items()}
    tested = {peer: COMPARISON.tested(work_dir, peer, lr, seeds, notes) for peer, lr in lrs.items()}
    seconds = {peer: COMPARISON.seconds(work_dir, peer, notes) for peer in PEERS}
    ended = [note for runs in (*trained.values(), *tested.values()) for note in runs]
    text = TEXT.format(
        timed=TIMED_STEPS,
        config=SEGMENTOR.stem, channels=CHANNELS, iters=ITERS, **IMAGES, height=SIZE[0], width=SIZE[1],
        lrs=', '.join(f'{lr:g}' for lr in LRS), choice_seed=CHOICE_SEED,
        seeds=', '.join(map(str, seeds)), when=period(ended),
        plot='[![mIoU against iterations and seconds](camvid.png)](camvid.png)\n\n' if ended else '',
        table=_table(lrs, tested, seconds), classes=_class_table(tested), choices=_choices(work_dir, notes),
        meaning=_meaning(tested, lrs),
        gallery=evidence_gallery.line(
            notes, GALLERY, 'Image, ground truth and the label map of each segmentor', f'Test images, seed {seeds[0]}.'
        ),
    )  # fmt: skip
    return text, _plot(trained, seconds) if ended else None


def gallery(work_dir: Path, seeds: Sequence[int], notes: Path) -> Figure | None:
    """Six test images by every segmentor, if their weights are still there."""
    lrs = {peer: COMPARISON.lr(work_dir, peer, notes) for peer in PEERS}
    jobs = {PEERS[peer].short: training(work_dir, peer, lrs[peer], seeds[0]) for peer in PEERS}
    return evidence_gallery.draw_label_maps(work_dir, jobs)


def _table(lrs: dict, tested: dict, seconds: dict) -> str:
    rows = []
    for peer, lr in lrs.items():
        parameters, macs = backbone_cost(PEERS[peer].backbone, SIZE)
        runs = tested[peer]
        rows.append([
            PEERS[peer].label, f'{parameters / 1e6:.3f}', f'{macs / 1e9:.3f}', f'{lr:g}' if lr else NOT_RUN, len(runs),
            cell(runs, 'mIoU', 2), cell(runs, 'pixel accuracy', 2), step_cell(seconds[peer]),
        ])  # fmt: skip
    head = ('backbone', 'parameters', 'GMACs', 'lr', 'runs', 'mIoU', 'pixel accuracy', 'seconds a step')
    return markdown(head, rows, 'lrrrrrrr')


def _class_table(tested: dict) -> str:
    rows = [
        [name]
        + [f'{statistics.mean(values(runs, f"IoU {name}")):.1f}' if runs else NOT_RUN for runs in tested.values()]
        for name in CLASSES
    ]
    return markdown(('class', *(PEERS[peer].short for peer in tested)), rows, 'lrrrrr')


def _choices(work_dir: Path, notes: Path) -> str:
    rows = [[PEERS[peer].label, *COMPARISON.choice_cells(work_dir, peer, notes, 2)] for peer in PEERS]
    return markdown(('backbone', *(f'validation mIoU, lr {lr:g}' for lr in LRS)), rows, 'lrrr')


def _meaning(tested: dict, lrs: dict) -> str:
    if not have_ended(tested.values()):
        return '- By mIoU: not all rows have been run.'
    order = sorted(PEERS, key=lambda peer: -statistics.mean(values(tested[peer], 'mIoU')))
    listed = ', '.join(f'{PEERS[peer].label} {cell(tested[peer], "mIoU", 2)}' for peer in order)
    items = [f'By mIoU on the test images: {listed}. If standard deviations overlap, the order may be chance.']
    best = {name: max(statistics.mean(values(runs, f'IoU {name}')) for runs in tested.values()) for name in CLASSES}
    if unlearned := [name for name, iou in best.items() if iou < UNLEARNED]:
        items.append(f'No backbone learns {", ".join(unlearned)} (IoU below {UNLEARNED} %): the others make the order.')
    if lowest := [PEERS[peer].short for peer, lr in lrs.items() if lr == min(LRS)]:
        items.append(f'At the lowest lr of the choice, so that a lower one may be better: {", ".join(lowest)}.')
    return '\n'.join(f'- {item}' for item in items)


def _plot(trained: dict, seconds: dict) -> Figure:
    figure = plots.make_figure(9, 3.5)
    left, right = figure.subplots(1, 2, sharey=True)
    for peer in PEERS:
        draw_curves(left, right, PEERS[peer].short, trained[peer], 'mIoU', seconds[peer])
    left.set(ylabel='mIoU on the validation images (%)', xlabel='iterations')
    right.set(xlabel='seconds of training steps, one CPU thread')
    left.legend()
    return figure
