"""CvT beside its peers at one size, under one schedule: Mask R-CNN on digits, with an lr chosen for each."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import evidence_gallery
from evidence_cells import (
    CHOICE_SEED,
    CLASSIFIER,
    DETECTOR,
    LRS,
    NOT_RUN,
    STARTS,
    backbone_cost,
    best_lr,
    cell,
    detector_config,
    draw_curves,
    fresh_config,
    have_ended,
    last_checkpoint,
    noted,
    only_cell,
    period,
    step_cell,
    step_seconds,
)
from evidence_models import PEERS, admit_peers, use_peer
from matplotlib.figure import Figure
from mmengine.config import Config, ConfigDict
from trainings import AP, TIMED_STEPS, TOP1, Job, read_note, shorten, timing

from cvt_backbone.analysis import plots
from cvt_backbone.analysis.tables import markdown
from cvt_backbone.data import DIGITS

DATA = {**DIGITS, 'copies': 12, 'tune': 200}
CHOICE_EPOCHS = 2  # of a training by which an lr is chosen
CLASSIFIER_LRS = (5e-4, 1e-3, 2e-3)  # to choose from; the last is that of the config
GALLERY, GALLERY_START = 'peers_gallery.jpg', 'pretrained'
TEXT = """# CvT beside its peers, under one schedule

How accurate is `cvt-nano` beside backbones of other families with as many parameters?

## Set-up

Each backbone is cut to three stages (strides 4, 8, 16) and 0.5 to 0.6 M parameters and stands in Mask R-CNN of
`mask-rcnn_cvt-nano_fpn_digits`: same neck, heads, losses and schedule, 5 epochs of {train} images. The data are those
of `cvt-backbone digits --copies {copies} --tune {tune}`, whose third split, disjoint in scans and background, chooses
the lr.

- lr: for each backbone and start the best of {lrs}, by mask AP on the {tune} images of tune after
  {choice} epochs with seed {choice_seed}.
- Result: AP on the {val} held-out images after the last epoch, seeds {seeds}. They serve no choice. Boxes count
  from a score of 0.05, as on COCO.
- Pretraining: `cvt-nano_1xb64_digits` with the backbone exchanged, 2000 iterations, for each backbone the best of
  {classifier_lrs} by top-1 on tune. The digits classifier shipped with the package is not used: it saw
  the scans of tune. The classifiers' weights were lost after two seeds; for the third they were trained again and
  have the same top-1, but for CvT (90.3 percent instead of 90.9) and ResNet (98.7 instead of 98.1).

## Result

{plot}{tables}
Parameters (M) and GMACs are those of the backbone at {side} pixels a side, computed. Seconds a step: the fastest
stretch of {timed} steps of 8 images on one CPU thread, another run beside it.

{when}

### Choice of the lr

Pretraining, top-1 on tune in percent:

{classifiers}
Mask R-CNN, mask AP on tune:

{choices}
{gallery}## What it means

{meaning}

## What it does not mean

- Half a million parameters, five epochs and digits favour what learns fast. Nothing here ranks the families at their
  published sizes; for these see [CvT and its peers on COCO](../results/coco.md).
- The optimiser, the weight decay and the length of the schedule are those of the CvT demo. Only the lr was chosen for
  each.
- Equal parameters are not equal GMACs, and GMACs are not seconds.
- The choice of lr is by one seed and two epochs. A best value at an end of the three says that a better one may lie
  beyond.

## Run it

```bash
python tools/dev/evidence.py peers
```

Every finished run is noted in `docs/evidence/runs/peers`; running the command again resumes where it stopped.
"""


def phases(work_dir: Path, seeds: Sequence[int], notes: Path) -> Iterator[list[Job]]:
    """The classifiers; then for each start the choice of the lrs and the runs, seed after seed."""
    yield [classifier(work_dir, peer, lr) for peer in PEERS for lr in CLASSIFIER_LRS]
    best = {peer: classifier(work_dir, peer, classifier_lr(work_dir, peer, notes)) for peer in PEERS}
    yield [
        job._replace(needed=last_checkpoint(work_dir, job))
        for peer, job in best.items()
        if not _is_done(work_dir, peer, seeds, notes)
    ]
    for start in STARTS:
        yield [choice(work_dir, peer, start, lr, notes) for peer in PEERS for lr in LRS]
        lrs = {peer: chosen_lr(work_dir, peer, start, notes) for peer in PEERS}
        yield [detector(work_dir, peer, start, lrs[peer], seed, notes) for seed in seeds for peer in PEERS]
    yield [_timing(work_dir, peer, notes) for peer in PEERS]


def classifier(work_dir: Path, peer: str, lr: float) -> Job:
    """The digits classifier with another backbone."""
    cfg = fresh_config(CLASSIFIER, work_dir / 'digits/classes', CHOICE_SEED)
    if peer != 'cvt':  # whose pooled map the classifier's config takes as it is
        cfg.model.backbone = ConfigDict(PEERS[peer].backbone)
        cfg.model.neck = ConfigDict(type='PoolLast')
        cfg.model.head.in_channels = PEERS[peer].channels[-1]
        cfg.custom_imports.imports = [*cfg.custom_imports.imports, 'evidence_pooling']
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_prefix = 'tune'
    admit_peers(cfg)
    cfg.optim_wrapper.optimizer.lr = lr
    settings = {'config': CLASSIFIER.stem, 'model': PEERS[peer].note, 'lr': lr, 'data': DATA}
    return Job(f'{peer}_classifier_lr{lr:g}', cfg, settings, TOP1)


def classifier_lr(work_dir: Path, peer: str, notes: Path) -> float | None:
    """The lr whose classifier is the best on tune; None while one of them has not ended."""
    return best_lr(notes, {lr: classifier(work_dir, peer, lr) for lr in CLASSIFIER_LRS}, 'top-1')


def _is_done(work_dir: Path, peer: str, seeds: Sequence[int], notes: Path) -> bool:
    """Whether no run is left that starts from the classifier."""
    lr = chosen_lr(work_dir, peer, 'pretrained', notes)
    if lr is None:
        return False
    return all(read_note(notes, detector(work_dir, peer, 'pretrained', lr, seed, notes)) for seed in seeds)


def choice(work_dir: Path, peer: str, start: str, lr: float, notes: Path) -> Job:
    """A short training, evaluated on the split to choose by."""
    job = detector(work_dir, peer, start, lr, CHOICE_SEED, notes)
    shorten(job.cfg, CHOICE_EPOCHS)
    _evaluate_on_tune(job.cfg)
    settings = {**job.settings, 'epochs': CHOICE_EPOCHS, 'evaluated on': 'tune'}
    return job._replace(name=f'{peer}_{start}_lr{lr:g}', settings=settings)


def _evaluate_on_tune(cfg: Config) -> None:
    annotations = 'annotations/instances_tune.json'
    for split in ('val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.ann_file, dataset.data_prefix = annotations, dict(img='images/tune/')
        cfg[f'{split}_evaluator'].ann_file = f'{dataset.data_root.rstrip("/")}/{annotations}'


def detector(work_dir: Path, peer: str, start: str, lr: float, seed: int, notes: Path) -> Job:
    """A training of Mask R-CNN, evaluated on the held-out images; its notes tell which classifier it starts from."""
    cfg = detector_config(work_dir / 'digits', seed)
    use_peer(cfg, peer)
    cfg.optim_wrapper.optimizer.lr = lr
    settings = {
        'config': DETECTOR.stem, 'model': PEERS[peer].note, 'start': start, 'lr': lr, 'seed': seed,
        'epochs': cfg.train_cfg.max_epochs, 'data': DATA,
    }  # fmt: skip
    if start == 'pretrained' and (source := classifier_lr(work_dir, peer, notes)) is not None:
        cfg.load_from = str(last_checkpoint(work_dir, classifier(work_dir, peer, source)))
        settings['lr of the classifier'] = source
    return Job(f'{peer}_{start}_seed{seed}', cfg, settings)


def _timing(work_dir: Path, peer: str, notes: Path) -> Job:
    """What a step takes, from whichever weights."""
    return timing(detector(work_dir, peer, 'random', LRS[0], CHOICE_SEED, notes), f'{peer}_time')


def chosen_lr(work_dir: Path, peer: str, start: str, notes: Path) -> float | None:
    """The lr whose short training has the best mask AP on tune; None while one of them has not ended."""
    return best_lr(notes, {lr: choice(work_dir, peer, start, lr, notes) for lr in LRS}, 'mask AP')


def page(work_dir: Path, seeds: Sequence[int], notes: Path) -> tuple[str, Figure | None]:
    """The page of what is noted, and its plot if there is anything to plot."""
    lrs = {(start, peer): chosen_lr(work_dir, peer, start, notes) for start in STARTS for peer in PEERS}
    found = {
        (start, peer): noted(notes, [detector(work_dir, peer, start, lr, seed, notes) for seed in seeds]) if lr else []
        for (start, peer), lr in lrs.items()
    }
    ended = [note for runs in found.values() for note in runs]
    seconds = {peer: step_seconds(notes, _timing(work_dir, peer, notes)) for peer in PEERS}
    text = TEXT.format(
        side=DATA['size'], **{key: DATA[key] for key in ('train', 'val', 'tune', 'copies')},
        timed=TIMED_STEPS, lrs=', '.join(f'{lr:g}' for lr in LRS), choice=CHOICE_EPOCHS, choice_seed=CHOICE_SEED,
        seeds=', '.join(map(str, seeds)), when=period(ended),
        plot='[![Mask AP against epochs and against seconds](peers.png)](peers.png)\n\n' if ended else '',
        tables='\n'.join(_table(start, lrs, found, seconds) for start in STARTS), choices=_choices(work_dir, notes),
        classifiers=_classifiers(work_dir, notes), classifier_lrs=', '.join(f'{lr:g}' for lr in CLASSIFIER_LRS),
        meaning='\n'.join(_meaning(start, found) for start in STARTS),
        gallery=evidence_gallery.line(
            notes, GALLERY, 'Ground truth and what each detector finds',
            f'From {STARTS[GALLERY_START]}, seed {seeds[-1]}. Drawn from a score of {evidence_gallery.SCORE}, one '
            'digit a place, as in the demo.',
        ),
    )  # fmt: skip
    return text, _plot(found, seconds) if ended else None


def gallery(work_dir: Path, seeds: Sequence[int], notes: Path) -> Figure | None:
    """Six held-out images by every detector, if their weights are still there."""
    lrs = {peer: chosen_lr(work_dir, peer, GALLERY_START, notes) for peer in PEERS}
    jobs = {PEERS[peer].short: detector(work_dir, peer, GALLERY_START, lrs[peer], seeds[-1], notes) for peer in PEERS}
    return evidence_gallery.draw_detections(work_dir, jobs)


def _table(start: str, lrs: dict, found: dict, seconds: dict) -> str:
    rows = []
    for peer in PEERS:
        runs, lr = found[start, peer], lrs[start, peer]
        parameters, macs = backbone_cost(PEERS[peer].backbone, (DATA['size'],) * 2)
        rows.append([
            PEERS[peer].label, f'{parameters / 1e6:.3f}', f'{macs / 1e9:.3f}', f'{lr:g}' if lr else NOT_RUN, len(runs),
            *(cell(runs, name) for name in AP), step_cell(seconds[peer]),
        ])  # fmt: skip
    aps = [f'{name}, mean ± std. dev.' for name in AP]
    head = ('backbone', 'parameters', 'GMACs', 'lr', 'runs', *aps, 'seconds a step')
    return f'From {STARTS[start]}:\n\n{markdown(head, rows, "lrrrrrrr")}'


def _classifiers(work_dir: Path, notes: Path) -> str:
    rows = [
        [PEERS[peer].label]
        + [only_cell(read_note(notes, classifier(work_dir, peer, lr)), 'top-1', 2) for lr in CLASSIFIER_LRS]
        for peer in PEERS
    ]
    return markdown(('backbone', *(f'lr {lr:g}' for lr in CLASSIFIER_LRS)), rows, 'lrrr')


def _choices(work_dir: Path, notes: Path) -> str:
    rows = [
        [STARTS[start], PEERS[peer].label]
        + [only_cell(read_note(notes, choice(work_dir, peer, start, lr, notes)), 'mask AP') for lr in LRS]
        for start in STARTS
        for peer in PEERS
    ]
    return markdown(('start', 'backbone', *(f'lr {lr:g}' for lr in LRS)), rows, 'llrrr')


def _meaning(start: str, found: dict) -> str:
    runs = {peer: found[start, peer] for peer in PEERS}
    if not have_ended(runs.values()):
        return f'- From {STARTS[start]}: not all rows have been run.'
    order = sorted(PEERS, key=lambda peer: -statistics.mean(note['metrics']['mask AP'] for note in runs[peer]))
    return f'- From {STARTS[start]}, by mask AP: ' + ', '.join(
        f'{PEERS[peer].label} {cell(runs[peer], "mask AP")}' for peer in order
    ) + '. If standard deviations overlap, the order may be chance.'  # fmt: skip


def _plot(found: dict, seconds: dict) -> Figure:
    """Mask AP, mean over the seeds, after each epoch; beside it against the seconds of training until then."""
    starts = [start for start in STARTS if any(found[start, peer] for peer in PEERS)]
    figure = plots.make_figure(9, 3 * len(starts))
    lines = figure.subplots(len(starts), 2, sharey='row', squeeze=False)
    for line, start in zip(lines, starts, strict=True):
        for peer in PEERS:
            draw_curves(*line, PEERS[peer].short, found[start, peer], 'mask AP', seconds[peer])
        line[0].set(ylabel=f'mask AP, from {STARTS[start]}', xlabel='epochs')
        line[1].set(xlabel='seconds of training steps, one CPU thread')
    lines[0, 0].legend()
    return figure
