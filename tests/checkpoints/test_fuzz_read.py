"""Damaged checkpoints: the documented error, or the tensors that were written; nothing else where a checksum exists."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from cvt_backbone.checkpoints import read, write
from helpers.foreign import Classifier, to_passl, write_pdparams, write_torch
from helpers.fuzzing import fuzz
from helpers.read_worker import Contents, Reader, attempt, contents_of

ARCH = {'embed_dims': (16, 32), 'depths': (1, 1), 'num_heads': (1, 2), 'patch_sizes': (7, 3), 'patch_strides': (4, 2)}
STATE = Classifier(ARCH, out_indices=(0, 1)).official()
WRITTEN = contents_of(STATE)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
CHECKSUM = b'cvt_backbone.checksum'
OTHERS = [torch.bool, torch.complex64]
if tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 2):  # earlier ones write no such file
    OTHERS.append(torch.float8_e4m3fn)
COUNTERS = {name for name in STATE if name.endswith('num_batches_tracked')}


def training_run() -> dict:
    optimizer = {'state': {0: {'step': torch.tensor(3.0), 'exp_avg': torch.ones(7)}}, 'param_groups': [{'lr': 0.1}]}
    return {'meta': {'epoch': 3, 'seed': 1}, 'state_dict': STATE, 'optimizer': optimizer}


def without_checksums(path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        write_torch(path, STATE)
    finally:
        torch.serialization.set_crc32_options(True)


def own_safetensors(path: Path) -> None:
    source = write_torch(path.with_name('source.pth'), STATE)
    written = path.with_name('written.safetensors')
    write(read(source, ARCH), written, 'official', force=True)
    written.replace(path)


# How each file is made, and what guards its values: a checksum; nothing, but a damaged byte damages one value only;
# nothing at all, for a byte of a pickle may say how the others are read.
FORMATS: dict[str, tuple[Callable[[Path], object], str]] = {
    'torch': (lambda path: write_torch(path, STATE), 'checksum'),
    'torch, training run': (lambda path: write_torch(path, training_run()), 'checksum'),
    'safetensors of ours': (own_safetensors, 'checksum'),
    'safetensors': (lambda path: save_file(STATE, path), 'bytes'),
    'old torch': (lambda path: write_torch(path, STATE, legacy=True), 'nothing'),
    'paddle': (lambda path: write_pdparams(path, to_passl(STATE)), 'nothing'),
}
if hasattr(torch.serialization, 'set_crc32_options'):  # torch 2.6
    FORMATS['torch without checksums'] = (without_checksums, 'nothing')


@pytest.fixture(scope='module')
def files() -> dict[str, bytes]:
    """The bytes of a whole file of each format."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, (make, _) in FORMATS.items():
            make(Path(folder) / 'w')
            found[name] = (Path(folder) / 'w').read_bytes()
    return found


@pytest.fixture(scope='module')
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.close()


Damage = tuple[str, list[tuple[float, int]], bytes]  # kind; places as fractions of the file, each with a bit; bytes


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """What happens to a file of any length; near its ends a little more often."""
    near = st.sampled_from([64, 512, 4096]).flatmap(lambda n: st.integers(-n, n))  # bytes from an end
    place = st.one_of(st.floats(0, 1, exclude_max=True), near, st.sampled_from([0, -1]))
    kind = draw(st.sampled_from(['bits'] * 6 + ['run', 'truncated', 'cut out', 'put in', 'swapped', 'longer']))
    places = draw(st.lists(st.tuples(place, st.integers(0, 7)), min_size=2 if kind == 'swapped' else 1, max_size=5))
    return kind, places, draw(st.binary(min_size=1, max_size=64))


def damaged(data: bytes, damage: Damage) -> tuple[bytes, int]:
    """Damaged bytes, and how many of them are not what they were (the whole file where bytes moved)."""
    kind, places, more = damage
    changed, length = bytearray(data), len(more)
    starts = [int(at * len(data)) if isinstance(at, float) else at % len(data) for at, _ in places]
    start = starts[0]
    if kind == 'bits':
        for at, (_, bit) in zip(starts, places, strict=True):
            changed[at] ^= 1 << bit
    elif kind == 'run':
        changed[start : start + length] = more
        del changed[len(data) :]
    elif kind == 'truncated':
        del changed[start:]
    elif kind == 'cut out':
        del changed[start : start + length]
    elif kind == 'put in':
        changed[start:start] = more
    elif kind == 'swapped':
        other = starts[1]
        length = min(length, len(data) - max(start, other), abs(start - other))
        changed[start : start + length], changed[other : other + length] = (
            changed[other : other + length],
            changed[start : start + length],
        )
    else:
        changed += more
    event(kind)
    differing = sum(a != b for a, b in zip(data, changed, strict=False))
    return bytes(changed), differing if len(changed) == len(data) else len(data)


def check_damaged(read_file: Callable[..., tuple[str, Contents | None]], form: str, data: bytes, touched: int) -> str:
    """What became of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'w'
        path.write_bytes(data)
        message, found = read_file(path, ARCH)
    guard = FORMATS[form][1]
    if found is None:
        assert str(path) in message
        return 'refused'
    expected = {name: WRITTEN[name] for name in WRITTEN if name in found or name not in COUNTERS}
    if found == expected:
        return 'as written'
    # where the checksum's own name and value are damaged as well, nothing tells that there was one
    assert guard != 'checksum' or (form == 'safetensors of ours' and not (CHECKSUM in data or b'crc32:' in data))
    assert {name: shape for name, (_, shape, _) in found.items()} == {n: s for n, (_, s, _) in expected.items()}
    differing = 0
    for name, (dtype, shape, values) in found.items():
        tensor = torch.frombuffer(bytearray(values), dtype=dtype).reshape(shape)
        assert tensor.is_floating_point() == (name not in COUNTERS)
        assert tensor.isfinite().all() or 'NaN or infinity' in message
        assert not name.endswith('running_var') or not (tensor < 0).any()
        differing += sum(a != b for a, b in zip(values, expected[name][2], strict=False))
    assert guard == 'nothing' or differing <= touched
    return 'other values'


def test_whole_files(files: dict[str, bytes]) -> None:
    for form, data in files.items():
        assert check_damaged(attempt, form, data, 0) == 'as written'


@fuzz(300)
@given(damage=damages(), form=st.sampled_from([form for form, (_, guard) in FORMATS.items() if guard == 'checksum']))
def test_a_few_damaged_files(files: dict[str, bytes], damage: Damage, form: str) -> None:
    event(check_damaged(attempt, form, *damaged(files[form], damage)))


@pytest.mark.slow
@pytest.mark.parametrize('form', FORMATS)
@fuzz(300)
@given(damage=damages())
def test_many_damaged_files(files: dict[str, bytes], reader: Reader, form: str, damage: Damage) -> None:
    event(check_damaged(reader, form, *damaged(files[form], damage)))


Edit = tuple[str, int, str, int, int]  # kind, the tensor's place, a name of that kind, two numbers


@st.composite
def edits_of(draw: st.DrawFn) -> list[Edit]:
    """What happens to the tensors of a state dict, one after the other."""
    names = {
        'renamed': ['', '.', '0', '1', 'x', 'é', '.weight'],
        'gone': [''],
        'more': ['x', '', 'stage9.cls_token', 'norm.', '{}.', 'head.0.weight'],
        'type': [str(dtype).removeprefix('torch.') for dtype in (*FLOATS, *INTS, *OTHERS)],
        'shape': [''],
        'other': ['meta', 'sparse', 'strided', 'parameter'],
    }
    edits = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from([*names, 'type', 'shape', 'other']))
        number, place = draw(st.integers(0, 99)), draw(st.integers(0, len(STATE) - 1))
        edits.append((kind, place, draw(st.sampled_from(names[kind])), number, draw(st.integers(0, 2))))
    return edits


def change_tensor(tensor: torch.Tensor, kind: str, name: str, number: int) -> tuple[torch.Tensor, bool]:
    """A tensor that is not what it was, and whether its type and memory are those of a weight all the same."""
    if kind == 'type':
        dtype = getattr(torch, name)
        return tensor.to(dtype), dtype in (FLOATS if tensor.is_floating_point() else INTS)
    if kind == 'shape':
        shapes = [(), (1,), (0,), tensor.shape[1:], (tensor.numel(),), (1, *tensor.shape), tensor.shape[::-1]]
        return torch.zeros(shapes[number % len(shapes)], dtype=tensor.dtype), True
    if name == 'meta':
        return tensor.to('meta'), False
    if name == 'sparse':
        return tensor.to_sparse(), False
    if name == 'strided':  # every second value of a larger storage
        return torch.stack([tensor, tensor], dim=-1)[..., 0], True
    return torch.nn.Parameter(tensor, requires_grad=False), True


def edited(edits: list[Edit]) -> tuple[dict[str, torch.Tensor], bool]:
    """A state dict with other names or tensors, and whether it is one of this CvT all the same."""
    state, right = dict(STATE), True
    for kind, place, text, number, count in edits:
        untouched = [key for key in state if state[key] is STATE.get(key)]
        name = untouched[place % len(untouched)]
        if kind == 'renamed':
            at = number % (len(name) + 1)
            new = name[:at] + text + name[at + count :]
            state[new] = state.pop(name)
        elif kind == 'gone':
            del state[name]
        elif kind == 'more':
            state[text.format(name)] = state[name]
        else:
            state[name], usual = change_tensor(STATE[name], kind, text, number)
            right &= usual
    lost = {key for key in STATE if key not in state} - COUNTERS
    for pair in ({'norm.weight', 'norm.bias'}, {'head.weight', 'head.bias'}):  # a backbone may come without
        lost -= pair if pair <= lost else set()
    same_shapes = all(state[key].shape == STATE[key].shape for key in state if key in STATE)
    return state, right and not lost and same_shapes and set(state) <= set(STATE)


def check_state(edits: list[Edit]) -> None:
    state, right = edited(edits)
    with tempfile.TemporaryDirectory() as folder:
        path = write_torch(Path(folder) / 'w', {'state_dict': state})
        message, found = attempt(path, ARCH)
    assert (found is not None) == right, message
    if right:
        assert found == contents_of(state)
    else:
        assert message.startswith(str(path))
    event('read' if right else 'refused')


@fuzz(200)
@given(edits_of())
def test_a_few_other_states(edits: list[Edit]) -> None:
    check_state(edits)


@pytest.mark.slow
@fuzz(600)
@given(edits_of())
def test_many_other_states(edits: list[Edit]) -> None:
    check_state(edits)
