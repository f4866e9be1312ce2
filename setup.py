"""Installs cvt_backbone; `pip install -e .` needs torch only and stands beside either line of OpenMMLab."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """The requirements of one file of requirements/, without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in (line.split('#')[0].strip() for line in lines) if line]


setup(
    name='cvt_backbone',
    version=re.search(r"__version__ = '(.+)'", (ROOT / 'cvt_backbone/version.py').read_text())[1],
    description='CvT (Convolutional vision Transformer) as an OpenMMLab dense-prediction backbone',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['cvt_backbone', 'cvt_backbone.*']),
    install_requires=requirements('base'),
    extras_require={name: requirements(name) for name in ('onedl', 'upstream', 'demo', 'export', 'data', 'test')},
    entry_points={'console_scripts': ['cvt-backbone=cvt_backbone.cli:main']},
    classifiers=['Programming Language :: Python :: 3', 'License :: OSI Approved :: Apache Software License'],
)
