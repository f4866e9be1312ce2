"""Train what a question of docs/evidence asks for, note each run as it ends, and write the question's page.

A call goes on where the last one stopped: a run that is noted in docs/evidence/runs is not repeated, and one that was
interrupted resumes from its last checkpoint. Rows without runs say "not run". --most 0 only writes the page.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import evidence_camvid
import evidence_options
import evidence_peers
import evidence_windows
from trainings import ROOT, add_options, check_options, run_jobs, write_page

from cvt_backbone.analysis import plots
from cvt_backbone.cli.common import run
from cvt_backbone.data import digits

QUESTIONS = {
    'windows': evidence_windows,
    'peers': evidence_peers,
    'camvid': evidence_camvid,
    'options': evidence_options,
}


def draw_gallery(question: ModuleType, args: argparse.Namespace, notes: Path) -> None:
    """Draw what all models of a question make of the same images, if it has a gallery and the weights are there."""
    if hasattr(question, 'gallery') and (figure := question.gallery(args.work_dir, args.seeds, notes)):
        plots.save(figure, args.out / question.GALLERY, dpi=100)


def main() -> None:
    """Run what is missing, phase by phase, then write the page of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('question', choices=QUESTIONS)
    parser.add_argument(
        '-o', '--out', type=Path, default=ROOT / 'docs/evidence', help='folder of page, plot and notes (default: there)'
    )
    parser.add_argument(
        '--camvid',
        type=Path,
        default=Path('data/camvid'),
        help='images and annotations of CamVid (default: %(default)s)',
    )
    add_options(parser, 'work_dirs/evidence')
    args = parser.parse_args()
    check_options(args)
    args.work_dir = args.work_dir / args.question
    question, notes = QUESTIONS[args.question], args.out / 'runs' / args.question
    args.out.mkdir(parents=True, exist_ok=True)
    page = args.out / f'{args.question}.md'
    try:
        if args.most != 0:
            args.work_dir.mkdir(parents=True, exist_ok=True)
            if question is evidence_camvid:
                question.link_data(args.work_dir, args.camvid)
            else:
                digits.make_digits(args.work_dir / 'digits', **question.DATA)  # unless they are there
            for jobs in question.phases(args.work_dir, args.seeds, notes):
                if not run_jobs(jobs, notes, args):
                    print(f'more is to be done: call again. {page} has what is there')
                    break
            else:
                draw_gallery(question, args, notes)
    finally:
        write_page('--out', page, *question.page(args.work_dir, args.seeds, notes))


if __name__ == '__main__':
    run(main)
