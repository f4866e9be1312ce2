"""Reading and writing take less than twice the file's size over the idle process, from torch and from Paddle."""

import subprocess
import sys

import pytest
import torch

from helpers.foreign import Classifier, to_passl, write_pdparams


@pytest.mark.parametrize(
    'arch',
    [
        pytest.param('cvt-21', marks=pytest.mark.slow),
        pytest.param('cvt-w24', marks=pytest.mark.reproduce, id='277_million'),
    ],
)
def test_memory(tmp_path, arch):
    state = Classifier(arch, 1000).official()
    source = tmp_path / 'w.pth'
    torch.save(state, source)
    write_pdparams(tmp_path / 'w.pdparams', to_passl(state))
    size = source.stat().st_size
    del state
    code = """
import re, sys
from pathlib import Path
from cvt_backbone.checkpoints import read, write
peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) * 1024
idle = peak()
write(read(sys.argv[1]), sys.argv[2], 'backbone', force=True)
print(peak() - idle)
"""
    for name, target in (('w.pth', 'out.safetensors'), ('w.pdparams', 'out.pth')):
        args = [sys.executable, '-c', code, str(tmp_path / name), str(tmp_path / target)]
        done = subprocess.run(args, capture_output=True, text=True, check=True)
        assert int(done.stdout) < 2 * size, (name, int(done.stdout) / size)
        print(name, round(int(done.stdout) / size, 2))
