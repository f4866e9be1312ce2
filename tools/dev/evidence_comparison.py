"""Rows compared on images that serve no choice: an lr for each by validation, then several seeds, then the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evidence_cells import CHOICE_SEED, LRS, best_lr, last_checkpoint, noted, only_cell, step_seconds
from trainings import Job, read_note, timing

Note = dict[str, Any]


class Comparison(NamedTuple):
    """What is compared, and how.

    Attributes:
        train: Work folder, row, lr and seed to a training that validates on other images than it tests on.
        name: The figure of its validations by which an lr is chosen.
        metrics: Those on the test images: name in tables -> in the log.
    """

    train: Callable[[Path, str, float, int], Job]
    name: str
    metrics: dict[str, str]

    def phases(self, work_dir: Path, rows: Sequence[str], seeds: Sequence[int], notes: Path) -> Iterator[list[Job]]:
        """The trainings that choose lrs; the others, seed after seed; tests of their last weights; timings."""
        yield [job for row in rows for job in self.choices(work_dir, row).values()]
        lrs = {row: self.lr(work_dir, row, notes) for row in rows}
        jobs = [self.train(work_dir, row, lrs[row], seed) for seed in seeds for row in rows]
        yield [
            job._replace(needed=last_checkpoint(work_dir, job))
            if read_note(notes, self.test(work_dir, job)) is None and not _diverged(notes, job)
            else job
            for job in jobs
        ]
        yield [self.test(work_dir, job) for job in jobs if not _diverged(notes, job)]
        yield [self.timing(work_dir, row) for row in rows]

    def choices(self, work_dir: Path, row: str) -> dict[float, Job]:
        """The trainings by which a row's lr is chosen."""
        return {lr: self.train(work_dir, row, lr, CHOICE_SEED) for lr in LRS}

    def lr(self, work_dir: Path, row: str, notes: Path) -> float | None:
        """The best lr of a row; None while one of its trainings has not ended."""
        return best_lr(notes, self.choices(work_dir, row), self.name)

    def choice_cells(self, work_dir: Path, row: str, notes: Path, digits: int) -> list[str]:
        """The figure of each lr."""
        jobs = self.choices(work_dir, row).values()
        return [only_cell(read_note(notes, job), self.name, digits) for job in jobs]

    def timing(self, work_dir: Path, row: str) -> Job:
        """What a step of a row takes, at whichever lr."""
        return timing(self.train(work_dir, row, LRS[0], CHOICE_SEED), f'{row}_time')

    def seconds(self, work_dir: Path, row: str, notes: Path) -> float | None:
        """The same, as noted."""
        return step_seconds(notes, self.timing(work_dir, row))

    def test(self, work_dir: Path, job: Job) -> Job:
        """The last weights of a training on the test images."""
        settings = {**job.settings, 'evaluated on': 'test'}
        return Job(f'{job.name}_test', job.cfg, settings, self.metrics, checkpoint=last_checkpoint(work_dir, job))

    def trained(self, work_dir: Path, row: str, lr: float | None, seeds: Sequence[int], notes: Path) -> list[Note]:
        """The notes of a row's trainings with its lr."""
        return noted(notes, [self.train(work_dir, row, lr, seed) for seed in seeds]) if lr else []

    def tested(self, work_dir: Path, row: str, lr: float | None, seeds: Sequence[int], notes: Path) -> list[Note]:
        """The notes on the test images; figures of zero for a training that diverged."""
        runs = []
        for job in [self.train(work_dir, row, lr, seed) for seed in seeds] if lr else []:
            if _diverged(notes, job):
                runs.append({**read_note(notes, job), 'metrics': dict.fromkeys(self.metrics, 0.0)})
            elif note := read_note(notes, self.test(work_dir, job)):
                runs.append(note)
        return runs


def _diverged(notes: Path, job: Job) -> bool:
    return 'diverged' in (read_note(notes, job) or {})
