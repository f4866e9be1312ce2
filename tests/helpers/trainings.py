"""Trainings of tools/dev that only log what a test says."""

import json
from pathlib import Path
from types import SimpleNamespace

from mmengine.config import Config

STEP = 0.5  # seconds


def fake_trainings(monkeypatch, trainings, figures):
    """Instead of starting a process, write the logs of train.py or test.py.

    ``figures`` maps the name of a run to what it logs in the end, or to its exit status, or is a function of the name;
    KeyError lets the run fail. Returns the commands, in order.
    """
    commands = []

    def run(command, *, stdout, **_):
        commands.append(command)
        folder = Path(command[command.index('--work-dir') + 1])
        cfg = Config.fromfile(command[2])
        (folder / 'time/vis_data').mkdir(parents=True, exist_ok=True)
        try:
            logged = figures(folder.name) if callable(figures) else figures[folder.name]
        except KeyError:
            stdout.write('out of memory\n')
            return SimpleNamespace(returncode=1)
        if isinstance(logged, int):
            return SimpleNamespace(returncode=logged)
        if command[1].endswith('test.py'):
            (folder / 'time/time.json').write_text(json.dumps(logged))
            return SimpleNamespace(returncode=0)
        end = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters
        (folder / f'{"epoch" if "max_epochs" in cfg.train_cfg else "iter"}_{end}.pth').touch()
        entries = [{'lr': 1e-3, 'time': STEP, 'loss': 1.0, 'step': 240}]
        entries += [{**{key: value / 2 for key, value in logged.items()}, 'step': 1}] if end > 1 else []
        entries += [{**logged, 'step': end}]
        (folder / 'time/vis_data/scalars.json').write_text(''.join(json.dumps(entry) + '\n' for entry in entries))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(trainings.subprocess, 'run', run)
    return commands
