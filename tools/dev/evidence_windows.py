"""What attention windows cost in accuracy: Mask R-CNN on digits, larger than in pretraining, with five patterns."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from evidence_cells import cell, have_ended, last_checkpoint, noted, period, step_cell, step_seconds, values
from evidence_patterns import (
    DATA,
    DEEP,
    DEEP_LR,
    GLOBAL,
    GROUPS,
    LARGE,
    PRETRAINED,
    RANDOM,
    SIDE,
    Group,
    Pattern,
    classifier,
    evaluation,
    exchanges,
    macs,
    training,
)
from matplotlib.figure import Figure
from trainings import AP, TIMED_STEPS, Job, read_note, timing

from cvt_backbone.analysis import plots
from cvt_backbone.analysis.tables import markdown, spread
from cvt_backbone.archs import get_arch

TOLERANCE = 0.01  # AP by which a pattern may be below global and still be preferred
FIRST = 'first'  # folder of the notes of trainings that were repeated
TEXT = """# What windows cost in accuracy

Windows that equal global attention at the size of pretraining differ from it on larger images. What does that cost a
detector?

## Set-up

`cvt-nano` starts from [the shipped digits classifier](../howto/pretrained.md), which was trained at 64 pixels: its
stages have 16, 8 and 4 tokens a side there, so windows of (16, 8, 4) equal global attention (a test asserts it). At
{side} pixels they have {grids}. Mask R-CNN of `mask-rcnn_cvt-nano_fpn_digits` is trained for 5 epochs of {train} images
and evaluated on {val} held-out ones after the last epoch, with seeds {seeds}; nothing but the windows differs between
rows. Boxes count from a score of 0.05, as on COCO; the demo, which counts them from 0.3, has other figures.

Two more tables. A `cvt-nano` of six blocks in the third stage has place for four global blocks among windows, spread as
in the COCO configs; it starts from a classifier of its own (`cvt-nano_1xb64_digits` with this depth and an lr of
{deep_lr:g}, for at the config's 0.002 its loss stays that of chance) and is trained for {deep_epochs} epochs. And the
same images scaled up to {large} pixels a side, with anchors scaled alike: {large_grids} tokens, {large_epochs} epochs.

## Result

{plot}{tables}
GMACs are those of the backbone at {side} pixels a side, in the last table {large}, computed. Seconds a step: the
fastest stretch of {timed} steps of 8 images on one CPU thread, another run beside it.

{when}

### Without training in the other pattern

The weights of a row, evaluated in another pattern than they were trained in.

{exchanged}
## What it means

{meaning}

## The default of the configs

It is (56, 28, None), as before: windows in the two large stages, global attention in the third. The rule is: the
cheapest pattern within 0.01 AP (or one standard deviation) of global.

With two blocks in the third stage all patterns pass at {side} pixels, from either start. With six, windows in every
block lose 0.012 mask AP and 0.019 box AP and do not pass; global attention in all six does, and so do four global
blocks. The COCO configs have ten or more blocks there. And with two blocks, too, windows in every block lose 0.015 mask
AP and 0.016 box AP if images are five times the size of pretraining instead of 2.5 times; COCO's are four to six times.
So (56, 28, 14) is no default. Half the pretraining size is none either: it changes what the weights compute at their
own size, and [the package warns of it](../concepts/windows.md). That leaves (56, 28, None) and four global blocks, and
the rule leaves open what cost is:

- By products four global blocks are cheaper: [0.85](../concepts/windows.md) of (56, 28, None) in CvT-13 at 800 by 1333
  pixels. On a CPU a training step takes [0.87 of its time](../results/performance.md).
- [On a GPU](../results/gpu.md) they are slower, since windows launch more kernels: one image of 800 by 1344 pixels
  takes 1.14 to 2.40 times as long.
- On the small images of this page no pattern that passes takes fewer seconds a step than (16, 8, None).

Detectors are trained on GPUs, so the configs keep (56, 28, None). `-window14-4global` is for CPUs, `-window14` for CPUs
if time is worth more than some AP, and `-global` for bf16 on GPUs, where a training step with it is faster.

## What it does not mean

- Digits on two photographs, with about four objects of few shapes an image: context from afar helps little here. On
  COCO the cost may be larger.
- {side} pixels are 2.5 times the size of pretraining, {large} are five times; 800 by 1333 pixels are four to six times
  224.
- With three seeds, a difference within the standard deviation means nothing, and a larger one is not proof.
- Four global blocks stand among six; in the COCO configs among ten.
- At {large} pixels only global attention and windows in every block were trained, for {large_epochs} epochs instead
  of 5.
{repeated}
## Run it

```bash
python tools/dev/evidence.py windows
```

Every finished run is noted in `docs/evidence/runs/windows`; running the command again resumes where it stopped.
"""


def phases(work_dir: Path, seeds: Sequence[int], notes: Path) -> Iterator[list[Job]]:
    """For each group the trainings, seed after seed, then the evaluations of their checkpoints; at last the timings."""
    for group in GROUPS:
        if group is DEEP:
            yield [_needed_classifier(work_dir, seeds, notes)]
        evaluations = [evaluation(work_dir, *pair, group, seed) for seed in seeds for pair in exchanges(group)]
        needed = {job.checkpoint for job in evaluations if read_note(notes, job) is None}
        trainings = [training(work_dir, pattern, group, seed) for seed in seeds for pattern in group.patterns]
        yield [
            job._replace(needed=last) if (last := last_checkpoint(work_dir, job)) in needed else job
            for job in trainings
        ]
        yield evaluations
    yield [_timing(work_dir, pattern, group) for group in GROUPS if group is not RANDOM for pattern in group.patterns]


def _timing(work_dir: Path, pattern: Pattern, group: Group) -> Job:
    """What a step takes; from random weights the same as from others."""
    group = PRETRAINED if group is RANDOM else group
    return timing(training(work_dir, pattern, group, 0), f'{pattern.name}_{group.name}_time')


def _needed_classifier(work_dir: Path, seeds: Sequence[int], notes: Path) -> Job:
    """The classifier, whose weights are needed as long as a run of its group is to be done."""
    job = classifier(work_dir)
    runs = [training(work_dir, pattern, DEEP, seed) for pattern in DEEP.patterns for seed in seeds]
    return job if len(noted(notes, runs)) == len(runs) else job._replace(needed=last_checkpoint(work_dir, job))


def page(work_dir: Path, seeds: Sequence[int], notes: Path) -> tuple[str, Figure | None]:
    """The page of what is noted, and its plot if there is anything to plot."""
    found = {
        (group, pattern): noted(notes, [training(work_dir, pattern, group, seed) for seed in seeds])
        for group in GROUPS
        for pattern in group.patterns
    }
    ended = [note for runs in found.values() for note in runs]
    text = TEXT.format(
        side=SIDE, train=DATA['train'], val=DATA['val'], seeds=', '.join(map(str, seeds)),
        grids=', '.join(map(str, get_arch('cvt-nano').token_grids(SIDE))),
        large=LARGE.side, large_grids=', '.join(map(str, get_arch('cvt-nano').token_grids(LARGE.side))),
        large_epochs=LARGE.epochs, deep_epochs=DEEP.epochs, deep_lr=DEEP_LR, timed=TIMED_STEPS,
        plot='[![Box and mask AP of each pattern](windows.png)](windows.png)\n\n' if ended else '',
        tables='\n'.join(_table(group, found, work_dir, notes) for group in GROUPS),
        exchanged=_exchanged(work_dir, seeds, notes), when=period(ended), repeated=_repeated(work_dir, seeds, notes),
        meaning='\n'.join([
            *(_meaning(group, found, work_dir, notes) for group in GROUPS),
            *(_exchange_meaning(group, work_dir, seeds, notes) for group in GROUPS if group.exchanged),
        ]),
    )  # fmt: skip
    return text, _plot(found) if ended else None


def _table(group: Group, found: dict, work_dir: Path, notes: Path) -> str:
    rows = []
    for pattern in group.patterns:
        runs = found[group, pattern]
        cells = [cell(runs, name) for name in AP]
        seconds = step_seconds(notes, _timing(work_dir, pattern, group))
        rows.append([pattern.label, len(runs), *cells, f'{macs(pattern, group) / 1e9:.4f}', step_cell(seconds)])
    head = ('windows', 'runs', 'box AP, mean ± std. dev.', 'mask AP, mean ± std. dev.', 'GMACs', 'seconds a step')
    return f'From {group.start}:\n\n{markdown(head, rows, "lrrrrr")}'


def _exchanged(work_dir: Path, seeds: Sequence[int], notes: Path) -> str:
    rows = []
    for group in GROUPS:
        for trained, pattern in exchanges(group):
            pair = _as_trained_and_exchanged(trained, pattern, group, work_dir, seeds, notes)
            cells = [cell(source, name) for name in AP for source in pair]
            rows.append([group.start, trained.label, pattern.label, len(pair[1]), *cells])
    head = ('start', 'trained', 'evaluated', 'runs', 'box AP as trained', 'box AP', 'mask AP as trained', 'mask AP')
    return markdown(head, rows, 'lllrrrrr')


def _as_trained_and_exchanged(
    trained: Pattern, pattern: Pattern, group: Group, work_dir: Path, seeds: Sequence[int], notes: Path
) -> tuple[list[dict], list[dict]]:
    """Notes of the seeds that have been evaluated in another pattern: as trained, and in that pattern."""
    jobs = {seed: evaluation(work_dir, trained, pattern, group, seed) for seed in seeds}
    done = [seed for seed, job in jobs.items() if read_note(notes, job)]
    own = noted(notes, [training(work_dir, trained, group, seed) for seed in done])
    return own, noted(notes, [jobs[seed] for seed in done])


def _meaning(group: Group, found: dict, work_dir: Path, notes: Path) -> str:
    """What the rule of the configs' default says of the rows that have been run, in one item."""
    reference = found[group, GLOBAL]
    rows = {
        pattern: values(found[group, pattern], 'mask AP')
        for pattern in group.patterns
        if have_ended([found[group, pattern], reference])
    }
    missing = [pattern.label for pattern in group.patterns if pattern not in rows]
    if len(rows) < 2:
        return f'- From {group.start}: not all rows have been run.'
    margin = max(TOLERANCE, spread(rows[GLOBAL]))
    differences = {p: statistics.mean(aps) - statistics.mean(rows[GLOBAL]) for p, aps in rows.items()}
    kept = [pattern for pattern, difference in differences.items() if difference >= -margin]
    best = min(kept, key=lambda pattern: macs(pattern, group)).label
    seconds = {pattern: step_seconds(notes, _timing(work_dir, pattern, group)) for pattern in kept}
    if all(seconds.values()):
        best += f' by products, {min(kept, key=seconds.__getitem__).label} by the seconds of a step'
    listed = ', '.join(f'{p.label} {difference:+.3f}' for p, difference in differences.items() if p is not GLOBAL)
    return (
        f'- From {group.start}: mask AP against global: {listed}. The cheapest pattern within {margin:.3f} of global '
        f'(0.01 AP or its standard deviation) is {best}.'
        + (f' Not all rows have been run: {", ".join(missing)}.' if missing else '')
    )


def _exchange_meaning(group: Group, work_dir: Path, seeds: Sequence[int], notes: Path) -> str:
    """What the pattern of the evaluation alone changes, in one item."""
    changes = []
    for trained, pattern in exchanges(group):
        own, other = _as_trained_and_exchanged(trained, pattern, group, work_dir, seeds, notes)
        if other:
            change = statistics.mean(values(other, 'mask AP')) - statistics.mean(values(own, 'mask AP'))
            changes.append(f'{trained.label} as {pattern.label} {change:+.3f} (seeds: {len(other)})')
    listed = ', '.join(changes) or 'no row has been run'
    return f'- From {group.start}, evaluated in another pattern than trained, by mask AP: {listed}.'


def _repeated(work_dir: Path, seeds: Sequence[int], notes: Path) -> str:
    """How far trainings lie apart that were repeated since an evaluation needed their checkpoints, as an item."""
    differences = []
    for group in GROUPS:
        jobs = [training(work_dir, pattern, group, seed) for pattern in group.patterns for seed in seeds]
        pairs = [(first, read_note(notes, job)) for job in jobs if (first := read_note(notes / FIRST, job))]
        if pairs := [pair for pair in pairs if pair[1]]:
            largest = max(abs(first['metrics']['mask AP'] - last['metrics']['mask AP']) for first, last in pairs)
            differences.append(f'{largest:.3f} from {group.start} (runs: {len(pairs)})')
    if not differences:
        return ''
    return (
        '- Trainings were repeated if an evaluation needed checkpoints that were gone. The tables have the second run, '
        f'on a CPU;\n  `docs/evidence/runs/windows/{FIRST}` has the first, on the H100. With the same seed the mask AP '
        f'differs by up to\n  {", ".join(differences)}.\n'
    )


def _plot(found: dict) -> Figure:
    """Box and mask AP of each pattern, a row of plots for each group with runs."""
    groups = [group for group in GROUPS if any(found[group, pattern] for pattern in group.patterns)]
    figure = plots.make_figure(9, 3 * len(groups))
    for line, group in zip(figure.subplots(len(groups), len(AP), squeeze=False), groups, strict=True):
        for axes, name in zip(line, AP, strict=True):
            for place, pattern in enumerate(group.patterns):
                if runs := found[group, pattern]:
                    plots.draw_runs(axes, place, values(runs, name), horizontal=True)
            axes.set_yticks(range(len(group.patterns)), [pattern.label for pattern in group.patterns])
            axes.set(ylim=(len(group.patterns) - 0.5, -0.5), xlabel=name)
            axes.grid(axis='x', alpha=0.3)
        line[0].set_title(f'From {group.start}', loc='left')
        line[1].set_yticklabels([])
    return figure
