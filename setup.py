"""Installs cvt_backbone. Its requirements name no line of OpenMMLab: installing one over the other breaks both."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
EXTRAS = ('onedl', 'upstream', 'demo', 'export', 'openvino', 'int8', 'explain', 'hub', 'data', 'docs', 'test')
CARRIED = ('configs', 'tools', 'model-index.yml')
LEFT_OUT = shutil.ignore_patterns('dev', 'setup_venv.sh', '__pycache__')  # what works in a checkout only


def requirements(name: str) -> list[str]:
    """The requirements of one file of requirements/, without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in (line.split('#')[0].strip() for line in lines) if line]


class BuildWithConfigs(build_py):
    """Puts configs, tools and model-index.yml into cvt_backbone/.mim, as OpenMMLab's own packages do.

    A wheel gets copies; an editable install gets links in the checkout, so that edits take effect.
    """

    def run(self) -> None:
        """Build the package, then its .mim."""
        super().run()
        editable = getattr(self, 'editable_mode', False)
        mim = (ROOT if editable else Path(self.build_lib)) / 'cvt_backbone/.mim'
        if not editable:
            shutil.rmtree(mim, ignore_errors=True)  # an earlier build may have left configs that are gone
        mim.mkdir(parents=True, exist_ok=True)
        for name in CARRIED:
            source, target = ROOT / name, mim / name
            if editable:
                target.unlink(missing_ok=True)
                target.symlink_to(os.path.relpath(source, mim))
            elif source.is_dir():
                shutil.copytree(source, target, ignore=LEFT_OUT)
            else:
                shutil.copy2(source, target)


setup(
    name='cvt_backbone',
    version=re.search(r"__version__ = '(.+)'", (ROOT / 'cvt_backbone/version.py').read_text(encoding='utf-8'))[1],
    description='CvT (Convolutional vision Transformer) as an OpenMMLab dense-prediction backbone',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='CvT, vision transformer, backbone, object detection, semantic segmentation, OpenMMLab, mmdet, mmseg',
    project_urls={
        'Paper': 'https://arxiv.org/abs/2103.15808',
        'Official code of the paper': 'https://github.com/microsoft/CvT',
    },
    python_requires='>=3.10',
    packages=find_packages(include=['cvt_backbone', 'cvt_backbone.*']),
    package_data={'cvt_backbone': ['py.typed']},
    install_requires=requirements('base'),
    extras_require={name: requirements(name) for name in EXTRAS},
    entry_points={'console_scripts': ['cvt-backbone=cvt_backbone.cli:main']},
    cmdclass={'build_py': BuildWithConfigs},
    classifiers=[
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Typing :: Typed',
    ],
)
