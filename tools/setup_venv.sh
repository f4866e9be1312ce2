#!/usr/bin/env bash
# Makes the virtual environment of the pinned stack: setup_venv.sh PYTHON VENV
set -euo pipefail
python=$1 venv=$2
cd "$(dirname "$0")/.."

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "setup: Python 3.10 or newer is needed, $python is $("$python" -V 2>&1); call make PYTHON=python3.11" >&2
    exit 1
}
command -v gcc >/dev/null || { echo "setup: gcc is needed to compile mmcv; install it first" >&2; exit 1; }

install() { "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --constraint requirements/constraints.txt "$@"; }

echo "setup: virtual environment in $venv"
"$python" -m venv "$venv"
install --upgrade pip setuptools wheel ninja
echo "setup: torch and torchvision (several GB)"
install torch torchvision

# mmcv compiles its ops against the torch that is installed; in pip's isolated build it finds none and has no ops.
if ! "$venv/bin/python" -c 'import mmcv.ops' 2>/dev/null; then
    if ! install --no-build-isolation --only-binary onedl-mmcv onedl-mmcv 2>/dev/null; then
        echo "setup: compiling mmcv from source; this takes about fifteen minutes on two cores."
        echo "setup: a ready wheel in a folder named by PIP_FIND_LINKS would save it."
        install --no-build-isolation --no-binary onedl-mmcv onedl-mmcv
    fi
    "$venv/bin/python" -c 'import mmcv.ops' || {
        echo "setup: mmcv has no compiled ops. Remove $venv and pip's cached wheel (pip cache remove onedl_mmcv)," >&2
        echo "       then call make again." >&2
        exit 1
    }
fi

echo "setup: mmengine, mmdet, mmseg, mmpretrain and this package"
install --no-build-isolation --editable '.[onedl,demo,export,test]'
"$venv/bin/python" -m pip check
