"""The paper's options, measured so that they say something: classifiers of digits, with an lr chosen for each."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from evidence_cells import (
    CHOICE_SEED,
    LRS,
    NOT_RUN,
    backbone_cost,
    cell,
    fresh_config,
    have_ended,
    period,
    step_cell,
    values,
)
from evidence_comparison import Comparison
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from trainings import ROOT, TIMED_STEPS, TOP1, Job

from cvt_backbone.analysis import plots
from cvt_backbone.analysis.tables import markdown, spread
from cvt_backbone.data import DIGITS
from cvt_backbone.data.digits import split_scans

CONFIGS = ROOT / 'configs/ablations'
DATA = {**DIGITS, 'copies': 12, 'tune': 200}
SIDE = 64  # pixels of the pictures
BASELINE = 'baseline'
# What is changed in each row, as in the names of the configs.
ROWS = {
    BASELINE: 'baseline: no position embedding, convolutional projection, K/V stride 2, overlapping patches',
    'pos-every': 'position embedding in every stage (Table 5 of the paper)',
    'pos-first': 'position embedding in the first stage (Table 5 of the paper)',
    'pos-last': 'position embedding in the last stage (Table 5 of the paper)',
    'proj-avg': 'keys and values by average pooling, queries by neither',
    'proj-linear': 'linear projection; every token is a key and a value',
    'kv-stride-1': 'K/V stride 1',
    'non-overlapping': 'patches that do not overlap',
    'nas-like': 'bottleneck: K/V stride and MLP ratio as in `cvt-13-nas-like`',
}
TEXT = """# The paper's options

What does each option of the paper change in accuracy, once the baseline has learned its task and every row has its
own lr?

## Set-up

The configs are those of `configs/ablations`, each `cvt-nano` with one option changed. They classify single digits of
{side}x{side} pixels from random weights, {iters} iterations of {batch} pictures. The data are those of
`cvt-backbone digits --copies {copies} --tune {tune}`, whose third split, disjoint in scans and background, chooses the
lr.

- lr: for each row the best of {lrs}, by top-1 on the pictures of tune at the end of the schedule, seed
  {choice_seed}.
- Result: top-1 on the {pictures} held-out pictures with the weights of the last iteration, seeds {seeds}. They chose
  no lr and no row; but among three lengths of the schedule, that at which the baseline passed 95 % of them was taken.

## Result

{plot}{table}
Parameters (M) and MACs (M) are those of the backbone, computed. Top-1 in percent. The spread is the standard deviation
of the difference of two runs, one of the row and one of the baseline. Seconds a step: the fastest stretch of {timed}
steps on one CPU thread, another run beside it.

{when}

### Choice of the lr

{choices}
## What it means

{meaning}

## What it does not mean

- One of {pictures} pictures is {picture:.2f} %. Their number alone leaves an accuracy of 95 % uncertain by
  {error:.1f} % (one standard error); all rows share the pictures.
- A network of half a million parameters and one digit a picture: not the paper's result, which is on ImageNet. Position
  in a picture says nothing about the digit, so a position embedding has little to offer.
- Beyond the spread is no proof. With three seeds a difference is significant (5 %, Welch's t-test) only from 1.6 to 2.5
  spreads on.
- One lr of three, chosen by one seed, whose run is also among the results. A row whose seeds lie far apart was unstable
  at that lr, which says less about its option.

## Run it

```bash
python tools/dev/evidence.py options
```

Every finished run is noted in `docs/evidence/runs/options`; running the command again resumes where it stopped.
"""


def phases(work_dir: Path, seeds: Sequence[int], notes: Path) -> Iterator[list[Job]]:
    """Those of the comparison."""
    return COMPARISON.phases(work_dir, list(ROWS), seeds, notes)


def training(work_dir: Path, row: str, lr: float, seed: int) -> Job:
    """A classifier, validated on tune; its test images are the held-out ones."""
    path = config_path(row)
    cfg = fresh_config(path, work_dir / 'digits/classes', seed)
    cfg.val_dataloader.dataset.data_prefix = 'tune'
    cfg.test_dataloader.dataset.data_prefix = 'val'
    cfg.optim_wrapper.optimizer.lr = lr
    cfg.default_hooks.checkpoint.interval = cfg.train_cfg.max_iters
    settings = {
        'config': path.stem, 'arch': repr(cfg.model.backbone.arch.to_dict()), 'lr': lr, 'seed': seed,
        'iterations': cfg.train_cfg.max_iters, 'batch': cfg.train_dataloader.batch_size, 'data': DATA,
    }  # fmt: skip
    return Job(f'{row}_lr{lr:g}_seed{seed}', cfg, settings, TOP1)


COMPARISON = Comparison(training, 'top-1', TOP1)


def config_path(row: str) -> Path:
    """The config of a row."""
    return CONFIGS / f'cvt-nano_{row}_digits.py'


@cache
def cost(row: str) -> tuple[int, int]:
    """Parameters and multiply-accumulates of the backbone for one picture."""
    return backbone_cost(fresh_config(config_path(row), Path('x'), 0).model.backbone, (SIDE, SIDE))


def page(work_dir: Path, seeds: Sequence[int], notes: Path) -> tuple[str, Figure | None]:
    """The page of what is noted, and its plot if there is anything to plot."""
    lrs = {row: COMPARISON.lr(work_dir, row, notes) for row in ROWS}
    tested = {row: COMPARISON.tested(work_dir, row, lr, seeds, notes) for row, lr in lrs.items()}
    trained = {row: COMPARISON.trained(work_dir, row, lr, seeds, notes) for row, lr in lrs.items()}
    ended = [note for runs in (*trained.values(), *tested.values()) for note in runs]
    seconds = {row: COMPARISON.seconds(work_dir, row, notes) for row in ROWS}
    cfg, pictures = training(work_dir, BASELINE, LRS[0], 0).cfg, count_pictures()
    choices = [[row, *COMPARISON.choice_cells(work_dir, row, notes, 2)] for row in ROWS]
    text = TEXT.format(
        side=SIDE, iters=cfg.train_cfg.max_iters, batch=cfg.train_dataloader.batch_size, copies=DATA['copies'],
        tune=DATA['tune'], lrs=', '.join(f'{lr:g}' for lr in LRS), choice_seed=CHOICE_SEED,
        seeds=', '.join(map(str, seeds)), pictures=pictures, picture=100 / pictures,
        error=(95 * 5 / pictures) ** 0.5, when=period(ended), table=_table(lrs, tested, seconds),
        timed=TIMED_STEPS,
        choices=markdown(('row', *(f'top-1 on tune, lr {lr:g}' for lr in LRS)), choices, 'lrrr'),
        meaning=_meaning(tested, lrs), plot='[![Top-1 of each row](options.png)](options.png)\n\n' if ended else '',
    )  # fmt: skip
    return text, _plot(tested) if ended else None


@cache
def count_pictures() -> int:
    """Pictures that are held out, one of each scan."""
    return len(split_scans(load_digits().target, DATA['seed'])[1])


def _table(lrs: dict, tested: dict, seconds: dict) -> str:
    lines = []
    for row, label in ROWS.items():
        parameters, macs = cost(row)
        runs = tested[row]
        lines.append([
            f'`{row}`: {label}' if row != BASELINE else label, f'{parameters / 1e6:.3f}', f'{macs / 1e6:.1f}',
            f'{lrs[row]:g}' if lrs[row] else NOT_RUN, len(runs), cell(runs, 'top-1', 2),
            _difference(runs, tested[BASELINE]) if row != BASELINE else '', step_cell(seconds[row]),
        ])  # fmt: skip
    head = ('option', 'parameters', 'MACs', 'lr', 'runs', 'top-1', 'against the baseline', 'seconds a step')
    return markdown(head, lines, 'lrrrrrlr')


def compare(runs: list[dict[str, Any]], baseline: list[dict[str, Any]]) -> tuple[float, float]:
    """Difference of the means, and the spread that it must exceed."""
    ours, theirs = values(runs, 'top-1'), values(baseline, 'top-1')
    return statistics.mean(ours) - statistics.mean(theirs), (spread(ours) ** 2 + spread(theirs) ** 2) ** 0.5


def _difference(runs: list[dict[str, Any]], baseline: list[dict[str, Any]]) -> str:
    if not have_ended([runs, baseline]):
        return NOT_RUN
    difference, allowed = compare(runs, baseline)
    words = 'within the spread' if abs(difference) <= allowed else 'beyond the spread'
    return f'{difference:+.2f}, {words} of {allowed:.2f}'


def _meaning(tested: dict, lrs: dict) -> str:
    rows = [row for row in tested if row != BASELINE and have_ended([tested[row], tested[BASELINE]])]
    missing = [row for row in tested if row not in rows and row != BASELINE]
    lines = [f'- By top-1: not all rows have been run; without a result: {", ".join(missing)}.'] if missing else []
    if rows:
        differences = {row: compare(tested[row], tested[BASELINE]) for row in rows}
        within = [row for row, (difference, allowed) in differences.items() if abs(difference) <= allowed]
        reached = statistics.mean(values(tested[BASELINE], 'top-1'))
        lines.append(f'- The baseline reaches {reached:.2f} %, {"at least" if reached >= 95 else "less than"} 95 %.')
        lines.append(f'- Within the spread, so that nothing can be said: {", ".join(within) or "no row"}.')
        for words, sign in (('Better', 1), ('Worse', -1)):
            beyond = [f'{row} ({d:+.2f})' for row, (d, _) in differences.items() if row not in within and sign * d > 0]
            lines.append(f'- {words} than the baseline, beyond the spread: {", ".join(beyond) or "no row"}.')
        if lowest := [row for row in rows if lrs[row] == min(LRS)]:
            lines.append(f'- At the lowest lr of the choice, so that a lower one may be better: {", ".join(lowest)}.')
    return '\n'.join(lines)


def _plot(tested: dict) -> Figure:
    """A row for each option, and the baseline's mean as a line."""
    figure = plots.make_figure(8, 0.45 * len(tested) + 1)
    axes = figure.subplots()
    for place, runs in enumerate(tested.values()):
        if runs:
            plots.draw_runs(axes, place, values(runs, 'top-1'), horizontal=True)
    if tested[BASELINE]:
        axes.axvline(statistics.mean(values(tested[BASELINE], 'top-1')), color='0.8', zorder=0)
    axes.set_yticks(range(len(tested)), list(tested))
    axes.set(ylim=(len(tested) - 0.5, -0.5))
    axes.set_xlabel('top-1 on held-out digits (%): mean and standard deviation (square), each seed (dot)')
    return figure
