"""What attention windows cost in accuracy: Mask R-CNN on digits, larger than in pretraining, with five patterns."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from evidence_cells import DETECTOR, STARTS, ap_cell, backbone_cost, detector_config, noted, period, step_cell, values
from matplotlib.figure import Figure
from trainings import AP, Job, read_note

from cvt_backbone.analysis import plots
from cvt_backbone.analysis.tables import markdown, spread
from cvt_backbone.archs import get_arch
from cvt_backbone.data import DIGITS

DATA = dict(DIGITS)
SIDE = DATA['size']
ALIKE = (16, 8, 4)  # equal to global attention at the 64 pixels of pretraining
TOLERANCE = 0.01  # AP by which a pattern may be below global and still be preferred


class Pattern(NamedTuple):
    """A row: its windows, as ``window_sizes`` of CvT."""

    name: str
    windows: tuple | None

    @property
    def label(self) -> str:
        """In tables and plots."""
        return str(self.windows or 'global')


GLOBAL = Pattern('global', None)
PATTERNS = (
    GLOBAL,
    Pattern('w16-8-g', (16, 8, None)),
    Pattern('w16-8-4g', (16, 8, (4, None))),
    Pattern('w16-8-4', ALIKE),
    Pattern('w8-4-2', (8, 4, 2)),
)
TEXT = """# What windows cost in accuracy

Windows that equal global attention at the size of pretraining differ from it on larger images. What does that cost a
detector?

## Set-up

`cvt-nano` starts from [the shipped digits classifier](../howto/pretrained.md), which was trained at 64 pixels: its
stages have 16, 8 and 4 tokens a side there, so windows of (16, 8, 4) equal global attention (a test asserts it). At
{side} pixels they have {grids}. Mask R-CNN of `mask-rcnn_cvt-nano_fpn_digits` is trained for 5 epochs of {train} images
and evaluated on {val} held-out ones after the last epoch, with seeds {seeds}; nothing but the windows differs between
rows. Boxes count from a score of 0.05, as on COCO; the demo, which counts them from 0.3, has other figures.

## Result

{plot}{tables}
GMACs are those of the backbone at {side} pixels a side, computed. Seconds a step: median over a training of 8 images
a step on one thread, another run beside it. {when}

### Without training in the other pattern

The weights of a row, evaluated in another pattern than they were trained in.

{exchanged}
## What it means

{meaning}

## What it does not mean

- Digits on two photographs, with about four objects of few shapes an image: context from afar helps little here. On
  COCO the cost may be larger.
- {side} pixels are 2.5 times the size of pretraining; 800 by 1333 pixels are four to six times 224.
- Three seeds: a difference within the standard deviation is none.
- `cvt-nano` has two blocks in its third stage. Four global blocks among ten, as in the COCO configs, were not run.

## Run it

```bash
python tools/dev/evidence.py windows
```

Every finished run is noted in `docs/evidence/runs/windows`; a second call goes on where the first one stopped.
"""


def phases(work_dir: Path, seeds: Sequence[int], notes: Path) -> Iterator[list[Job]]:
    """For each start and seed the trainings, then the evaluations of their checkpoints."""
    for start in STARTS:
        for seed in seeds:
            evaluations = [evaluation(work_dir, *pair, start, seed) for pair in exchanges()]
            needed = {job.checkpoint for job in evaluations if read_note(notes, job) is None}
            trainings = [training(work_dir, pattern, start, seed) for pattern in PATTERNS]
            yield [job._replace(needed=last) if (last := _last(work_dir, job)) in needed else job for job in trainings]
            yield evaluations


def exchanges() -> list[tuple[Pattern, Pattern]]:
    """Which pattern is evaluated as which other one."""
    alike = next(pattern for pattern in PATTERNS if pattern.windows == ALIKE)
    return [*((pattern, GLOBAL) for pattern in PATTERNS[1:]), (GLOBAL, alike)]


def training(work_dir: Path, pattern: Pattern, start: str, seed: int) -> Job:
    """A run of the demo's config with other windows."""
    cfg = detector_config(work_dir / 'digits', seed)
    if start == 'random':
        cfg.model.backbone.init_cfg = None
    cfg.model.backbone.window_sizes = pattern.windows
    return Job(f'{pattern.name}_{start}_seed{seed}', cfg, _settings(pattern, start, seed))


def evaluation(work_dir: Path, trained: Pattern, pattern: Pattern, start: str, seed: int) -> Job:
    """The last checkpoint of a training with other windows."""
    job = training(work_dir, trained, start, seed)
    job.cfg.model.backbone.window_sizes = pattern.windows
    return job._replace(
        name=f'{job.name}_as-{pattern.name}',
        settings={**job.settings, 'evaluated as': pattern.label},
        checkpoint=_last(work_dir, job),
    )


def _last(work_dir: Path, job: Job) -> Path:
    """The checkpoint that a training leaves."""
    return (work_dir / job.name / f'epoch_{job.cfg.train_cfg.max_epochs}.pth').resolve()


def _settings(pattern: Pattern, start: str, seed: int) -> dict[str, Any]:
    return {'config': DETECTOR.stem, 'windows': pattern.label, 'start': start, 'seed': seed, 'data': DATA}


def page(work_dir: Path, seeds: Sequence[int], notes: Path) -> tuple[str, Figure | None]:
    """The page of what is noted, and its plot if there is anything to plot."""
    found = {
        (start, pattern.name): noted(notes, [training(work_dir, pattern, start, seed) for seed in seeds])
        for start in STARTS
        for pattern in PATTERNS
    }
    tables = '\n'.join(_table(start, found) for start in STARTS)
    ended = [note for runs in found.values() for note in runs]
    text = TEXT.format(
        side=SIDE, train=DATA['train'], val=DATA['val'], seeds=', '.join(map(str, seeds)),
        grids=', '.join(map(str, get_arch('cvt-nano').token_grids(SIDE))),
        plot='![Box and mask AP of each pattern](windows.png)\n\n' if ended else '', tables=tables,
        exchanged=_exchanged(work_dir, seeds, notes, found), when=period(ended),
        meaning='\n'.join(_meaning(start, found) for start in STARTS),
    )  # fmt: skip
    return text, _plot(found) if ended else None


@cache
def macs(pattern: Pattern) -> int:
    """Multiply-accumulates of the backbone for one image."""
    return backbone_cost(dict(type='CvT', arch='cvt-nano', window_sizes=pattern.windows), SIDE)[1]


def _table(start: str, found: dict) -> str:
    rows = []
    for pattern in PATTERNS:
        runs = found[start, pattern.name]
        cells = [ap_cell(runs, name) for name in AP]
        rows.append([pattern.label, len(runs), *cells, f'{macs(pattern) / 1e9:.4f}', step_cell(runs)])
    head = ('windows', 'runs', 'box AP, mean ± std. dev.', 'mask AP, mean ± std. dev.', 'GMACs', 'seconds a step')
    return f'From {STARTS[start]}:\n\n{markdown(head, rows, "lrrrrr")}'


def _exchanged(work_dir: Path, seeds: Sequence[int], notes: Path, found: dict) -> str:
    rows = []
    for start in STARTS:
        for trained, pattern in exchanges():
            runs = noted(notes, [evaluation(work_dir, trained, pattern, start, seed) for seed in seeds])
            cells = [ap_cell(source, name) for name in AP for source in (found[start, trained.name], runs)]
            rows.append([STARTS[start], trained.label, pattern.label, *cells])
    head = ('start', 'trained', 'evaluated', 'box AP as trained', 'box AP', 'mask AP as trained', 'mask AP')
    return markdown(head, rows, 'lllrrrr')


def _meaning(start: str, found: dict) -> str:
    """What the rule of the configs' default says, in one item."""
    rows = {pattern: values(found[start, pattern.name], 'mask AP') for pattern in PATTERNS}
    reference = rows[GLOBAL]
    if not all(len(aps) == len(reference) > 1 for aps in rows.values()):
        return f'- From {STARTS[start]}: not all rows have been run.'
    margin = max(TOLERANCE, spread(reference))
    differences = {p: statistics.mean(aps) - statistics.mean(reference) for p, aps in rows.items()}
    kept = [pattern for pattern, difference in differences.items() if difference >= -margin]
    best = min(kept, key=macs)
    listed = ', '.join(f'{p.label} {difference:+.3f}' for p, difference in differences.items() if p is not GLOBAL)
    return (
        f'- From {STARTS[start]}: mask AP against global: {listed}. The cheapest pattern within {margin:.3f} of global '
        f'(0.01 AP or its standard deviation) is {best.label}.'
    )


def _plot(found: dict) -> Figure:
    """Box and mask AP of each pattern, a row of plots a start."""
    figure = plots.make_figure(9, 6)
    for line, start in zip(figure.subplots(len(STARTS), len(AP)), STARTS, strict=True):
        for axes, name in zip(line, AP, strict=True):
            for place, pattern in enumerate(PATTERNS):
                if runs := found[start, pattern.name]:
                    plots.draw_runs(axes, place, values(runs, name), horizontal=True)
            axes.set_yticks(range(len(PATTERNS)), [pattern.label for pattern in PATTERNS])
            axes.set(ylim=(len(PATTERNS) - 0.5, -0.5), title=f'{name}, from {STARTS[start]}')
            axes.grid(axis='x', alpha=0.3)
    return figure
