"""Draw the figures of docs/concepts from the package itself: its zoo, its shapes and its windows."""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import matplotlib

matplotlib.use('svg')
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from cvt_backbone import ZOO, CvT
from cvt_backbone.files import replacing
from cvt_backbone.layers.windows import cut_axis

ROOT = Path(__file__).resolve().parents[2]
ARCH = 'cvt-13'
SMALL, LARGE = (224, 224), (800, 1333)
WINDOWS = (56, 28, 14)
X = '\u00d7'
INK, LINE = '#263238', '#607d8b'
IMAGE, EMBED, BLOCKS, MAP, TOKEN = '#eceff1', '#bbdefb', '#c5cae9', '#c8e6c9', '#ffe0b2'
STYLE = {
    'svg.hashsalt': 'cvt_backbone',  # the same ids in every file
    'font.size': 9,
    'text.color': INK,
    'axes.edgecolor': LINE,
    'axes.titlesize': 9,
    'axes.labelsize': 8,
    'xtick.labelsize': 7,
    'ytick.labelsize': 7,
}


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-o', '--out', type=Path, default=ROOT / 'docs/images', help='folder (default: %(default)s)')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    figures = dict(architecture=architecture, block=block, way=way, windows=windows, cls_token=cls_token)
    with plt.rc_context(STYLE):
        for name, draw in figures.items():
            figure = draw()
            with replacing(args.out / f'{name}.svg') as part:
                figure.savefig(part, format='svg', metadata={'Date': None, 'Creator': None})
            plt.close(figure)
            print(f'{args.out}/{name}.svg')


def shapes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Height and width of each stage's map for an image of this size."""
    with torch.device('meta'):
        maps = CvT(ARCH).eval()(torch.empty(1, 3, *size))
    return [tuple(level.shape[2:]) for level in maps]


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure whose units are hundredths of an inch, y downwards."""
    figure = plt.figure(figsize=(width, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 100 * width), ylim=(100 * height, 0))
    ax.axis('off')
    return figure, ax


def box(ax: Axes, x: float, y: float, width: float, height: float, text: str, color: str, **font: object) -> None:
    """A box with rounded corners and a text in its middle."""
    style = f'round,pad=0,rounding_size={min(8, height / 2)}'
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=color, edgecolor=LINE, linewidth=0.8))
    ax.text(x + width / 2, y + height / 2, text, ha='center', va='center', linespacing=1.35, **font)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one point to another."""
    ax.annotate('', end, start, arrowprops=dict(arrowstyle='-|>', color=LINE, linewidth=1, shrinkA=0, shrinkB=0))


def elbow(ax: Axes, points: list[tuple[float, float]]) -> None:
    """A line around corners that ends in an arrow."""
    xs, ys = zip(*points[:-1], strict=True)
    ax.plot(xs, ys, color=LINE, linewidth=1)
    arrow(ax, points[-2], points[-1])


def times(size: tuple[int, int]) -> str:
    """A size as text, height first."""
    return f'{size[0]}{X}{size[1]}'


def architecture() -> Figure:
    """The stages of CvT-13 from the image to the maps that come out."""
    figure, ax = canvas(5, 5.45)
    arch, small, large = ZOO[ARCH], shapes(SMALL), shapes(LARGE)
    box(ax, 15, 12, 270, 34, 'image (B, 3, H, W)', IMAGE)
    ax.text(302, 29, f'{times(SMALL)}\n{times(LARGE)}', va='center', fontsize=8)
    top, stride = 66, 1
    for i, dim in enumerate(arch.embed_dims):
        stride *= arch.patch_strides[i]
        arrow(ax, (150, top - 20), (150, top))
        ax.add_patch(Rectangle((5, top), 290, 138, facecolor='#fafafa', edgecolor=LINE, linewidth=0.8))
        ax.text(15, top + 14, f'stage {i}', va='center', fontweight='bold')
        kernel, step = arch.patch_sizes[i], arch.patch_strides[i]
        box(ax, 15, top + 26, 270, 36, f'ConvEmbed: {kernel}{X}{kernel} convolution, stride {step}\nLayerNorm', EMBED)
        arrow(ax, (150, top + 62), (150, top + 76))
        plural = 's' if arch.depths[i] > 1 else ''
        heads = f'{arch.num_heads[i]} head{"s" if arch.num_heads[i] > 1 else ""}'
        left = 112 if arch.cls_token[i] else 15  # of the box; the cls token stands beside it
        box(ax, left, top + 76, 285 - left, 50, f'{arch.depths[i]} block{plural}, {heads},\n{dim} channels', BLOCKS)
        if arch.cls_token[i]:
            box(ax, 15, top + 76, 90, 50, f'cls token\n(B, 1, {dim})', TOKEN, fontsize=8.5)
        arrow(ax, (285, top + 101), (312, top + 101))
        text = f'map (B, {dim}, H/{stride}, W/{stride})\n{times(small[i])}\n{times(large[i])}'
        box(ax, 312, top + 74, 180, 54, text, MAP, fontsize=8.5)
        top += 158
    return figure


def block() -> Figure:
    """One block: attention over convolutional projections, then the MLP."""
    figure, ax = canvas(5, 5.3)
    arch = ZOO[ARCH]
    kernel, ratio, stride_kv = arch.kernel_qkv[0], f'{arch.mlp_ratios[0]:g}', arch.stride_kv[0]
    ax.text(250, 14, 'tokens (B, H, W, C)', ha='center', va='center')
    arrow(ax, (250, 24), (250, 44))
    box(ax, 180, 44, 140, 26, 'LayerNorm', EMBED)
    xs = (85, 250, 415)
    for x, name, stride in zip(xs, 'qkv', (arch.stride_q[0], stride_kv, stride_kv), strict=True):
        elbow(ax, [(250, 70), (250, 82), (x, 82), (x, 96)])
        text = f'{kernel}{X}{kernel} depthwise conv\nstride {stride}, BatchNorm'
        box(ax, x - 72, 96, 144, 42, text, BLOCKS, fontsize=8.5)
        arrow(ax, (x, 138), (x, 152))
        box(ax, x - 72, 152, 144, 26, f'Linear → {name}', BLOCKS)
        elbow(ax, [(x, 178), (x, 196), (250, 196), (250, 212)])
    text = 'attention: softmax(q kᵀ / √C) v per head\nover the whole map, or inside windows'
    box(ax, 95, 212, 310, 42, text, MAP)
    arrow(ax, (250, 254), (250, 268))
    box(ax, 180, 268, 140, 26, 'Linear', BLOCKS)
    arrow(ax, (250, 294), (250, 316))
    elbow(ax, [(250, 34), (490, 34), (490, 325), (259, 325)])
    add(ax, 250, 325)
    arrow(ax, (250, 334), (250, 360))
    box(ax, 180, 360, 140, 26, 'LayerNorm', EMBED)
    arrow(ax, (250, 386), (250, 400))
    box(ax, 95, 400, 310, 42, f'MLP: Linear C → {ratio}C, QuickGELU,\nLinear {ratio}C → C', BLOCKS)
    arrow(ax, (250, 442), (250, 466))
    elbow(ax, [(250, 347), (490, 347), (490, 475), (259, 475)])
    add(ax, 250, 475)
    arrow(ax, (250, 484), (250, 506))
    ax.text(250, 516, 'tokens (B, H, W, C)', ha='center', va='center')
    return figure


def add(ax: Axes, x: float, y: float) -> None:
    """The sum of a residual branch."""
    ax.add_patch(plt.Circle((x, y), 9, facecolor='white', edgecolor=LINE))
    ax.text(x, y, '+', ha='center', va='center')


def way() -> Figure:
    """Which memory a map has on its way through a stage, and what each step calls it."""
    figure, ax = canvas(5, 5.1)
    dim, (height, width) = ZOO[ARCH].embed_dims[0], shapes(LARGE)[0]
    steps = [
        ('image (1, 3, 800, 1333), any memory format', IMAGE, 'copied to channels-last, if it is not'),
        (f'convolution 7{X}7/4\n(1, {dim}, {height}, {width}), channels-last', EMBED, 'seen as (B, H, W, C): no copy'),
        (f'(1, {height}, {width}, {dim}), contiguous\nLayerNorm, Linear, attention, MLP', BLOCKS, None),
        (f'map (1, {dim}, {height}, {width}), contiguous', MAP, None),
    ]
    y = 10
    for i, (text, color, note) in enumerate(steps):
        tall = 46 if '\n' in text else 34
        box(ax, 10, y, 300, tall, text, color)
        y += tall
        if i == len(steps) - 1:
            break
        if i == 2:
            text = f'the same memory as\n(1, {dim}, {height}, {width}):\ndepthwise convolutions'
            box(ax, 336, y - 46, 158, 62, text, BLOCKS, fontsize=8.5)
            arrow(ax, (310, y - 34), (336, y - 34))
            arrow(ax, (336, y - 12), (310, y - 12))
            arrow(ax, (160, y), (160, y + 60))
            ax.text(170, y + 32, 'one copy per output map', va='center', fontsize=8.5)
            y += 60
            elbow(ax, [(60, y - 60), (60, y - 18), (2, y - 18), (2, y + 92), (10, y + 92)])
            continue
        arrow(ax, (160, y), (160, y + 36))
        ax.text(170, y + 18, note, va='center', fontsize=8.5)
        y += 36
    y += 34
    box(ax, 10, y, 300, 48, f'next stage: the same memory as\n(1, {dim}, {height}, {width}), no copy', EMBED)
    ax.text(330, y + 24, f'convolution 3{X}3/2,\nthen as above', va='center', fontsize=8.5)
    figure.set_size_inches(5, (y + 60) / 100)
    ax.set_ylim(y + 60, 0)
    return figure


def windows() -> Figure:
    """The windows of each stage on the map of an image of the pretraining size and of a detector's."""
    figure = plt.figure(figsize=(5, 5.9), layout='constrained')
    axes = figure.subplots(3, 2, width_ratios=(224, 1333))
    for column, size in enumerate((SMALL, LARGE)):
        for i, (side, shape) in enumerate(zip(WINDOWS, shapes(size), strict=True)):
            draw_windows(axes[i, column], shape, side, ZOO[ARCH].stride_kv[i])
        axes[0, column].set_title(f'{times(size)}\nstage 0: {times(shapes(size)[0])} tokens' if column else times(size))
    for i in (1, 2):
        axes[i, 1].set_title(f'stage {i}: {times(shapes(LARGE)[i])} tokens')
    return figure


def draw_windows(ax: Axes, shape: tuple[int, int], window: int, stride: int) -> None:
    """Tokens coloured by the window they attend in; full windows green, the smaller last ones orange."""
    colors = np.zeros(shape)
    cuts = []
    for length in shape:
        runs = cut_axis(length, -(-length // stride), window, stride)
        cuts.append([(r.q_start + n * r.q_length, r.q_length) for r in runs for n in range(r.count)])
    for (m, (top, height)), (n, (left, width)) in product(enumerate(cuts[0]), enumerate(cuts[1])):
        is_full = height == width == window
        colors[top : top + height, left : left + width] = (0 if is_full else 2) + (m + n) % 2
    ax.imshow(colors, cmap=ListedColormap(['#a5d6a7', '#c8e6c9', '#ffcc80', '#ffe0b2']), vmin=0, vmax=3)
    ax.set_xticks([left for left, _ in cuts[1]] + [shape[1]])
    ax.set_yticks([top for top, _ in cuts[0]] + [shape[0]])
    ax.tick_params(length=2, color=LINE)


def cls_token() -> Figure:
    """Which keys each query reads, for a map of 8x8 tokens with a cls token: globally, and in windows of 4."""
    side, window, stride = 8, 4, 2
    figure = plt.figure(figsize=(5, 5.6), layout='constrained')
    axes = figure.subplots(1, 2, sharey=True)
    for ax, size in zip(axes, (side, window), strict=True):
        mask = attended(side, size, stride)
        image = np.where(mask, 1, 0)
        image[0], image[:, 0] = image[0] * 2, image[:, 0] * 2
        ax.imshow(image, cmap=ListedColormap(['#ffffff', '#c5cae9', '#ffcc80']), vmin=0, vmax=2, aspect='auto')
        ax.set_title('global' if size == side else f'windows of {window}{X}{window} queries')
        ax.set_xlabel(f'keys: cls, then {side // stride}{X}{side // stride}')
        ax.set_xticks(np.arange(-0.5, mask.shape[1]), [])
        ax.set_yticks([0, *range(1, side * side + 1, side)], ['cls', *(f'row {i}' for i in range(side))])
        ax.set_yticks(np.arange(-0.5, mask.shape[0]), minor=True)
        ax.grid(which='minor', axis='y', color='#eceff1', linewidth=0.5)
        ax.grid(axis='x', color='#eceff1', linewidth=0.5)
        ax.tick_params(which='both', length=0)
    axes[0].set_ylabel(f'queries: cls, then {side}{X}{side}')
    return figure


def attended(side: int, window: int, stride: int) -> np.ndarray:
    """Bool (1 + queries, 1 + keys) of a square map; the cls token comes first."""
    kv_side = -(-side // stride)
    runs = cut_axis(side, kv_side, window, stride)
    spans = [
        (range(r.q_start + n * r.q_length, r.q_start + (n + 1) * r.q_length),
         range(r.kv_start + n * r.kv_length, r.kv_start + (n + 1) * r.kv_length))
        for r in runs for n in range(r.count)
    ]  # fmt: skip
    mask = np.zeros((1 + side * side, 1 + kv_side * kv_side), bool)
    mask[0], mask[:, 0] = True, True
    for (q_rows, kv_rows), (q_cols, kv_cols) in product(spans, spans):
        queries = [1 + r * side + c for r in q_rows for c in q_cols]
        keys = [1 + r * kv_side + c for r in kv_rows for c in kv_cols]
        mask[np.ix_(queries, keys)] = True
    return mask


if __name__ == '__main__':
    main()
