#!/usr/bin/env bash
# Makes the virtual environment of a pinned stack: setup_venv.sh PYTHON VENV LINE
# LINE is onedl, the maintained line of OpenMMLab, or upstream, the original one.
set -euo pipefail
python=$1 venv=$2 line=$3
cd "$(dirname "$0")/.."

case $line in
    onedl) constraints=constraints.txt mmcv=onedl-mmcv extras=onedl,demo,export,test newest='3, 99' ;;
    upstream) constraints=constraints-upstream.txt mmcv=mmcv extras=upstream,demo,test newest='3, 11' ;;
    *) echo "setup: the line of OpenMMLab is onedl or upstream, not '$line'" >&2; exit 1 ;;
esac
"$python" -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= ($newest))" || {
    echo "setup: Python 3.10 or newer is needed, and for the original line of OpenMMLab (upstream) 3.10 or 3.11;" >&2
    echo "setup: $python is $("$python" -V 2>&1). Call make with PYTHON=python3.11" >&2
    exit 1
}
command -v gcc >/dev/null || { echo "setup: gcc is needed to compile mmcv; install it first" >&2; exit 1; }

install() { "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --constraint "requirements/$constraints" "$@"; }

echo "setup: virtual environment in $venv"
"$python" -m venv "$venv"
install --upgrade pip setuptools wheel ninja
echo "setup: torch and torchvision (several GB)"
install torch torchvision

# mmcv compiles its ops against the torch that is installed; in pip's isolated build it finds none and has no ops.
if ! "$venv/bin/python" -c 'import mmcv.ops' 2>/dev/null; then
    if ! install --no-build-isolation --only-binary "$mmcv" "$mmcv" 2>/dev/null; then
        echo "setup: compiling mmcv from source; this takes about fifteen minutes on two cores."
        echo "setup: a ready wheel in a folder named by PIP_FIND_LINKS would save it."
        install --no-build-isolation --no-binary "$mmcv" "$mmcv"
    fi
    "$venv/bin/python" -c 'import mmcv.ops' || {
        echo "setup: mmcv has no compiled ops. Remove $venv and pip's cached wheel (pip cache remove ${mmcv//-/_})," >&2
        echo "       then call make again." >&2
        exit 1
    }
fi

echo "setup: mmengine, mmdet, mmseg, mmpretrain and this package"
install --no-build-isolation --editable ".[$extras]"
"$venv/bin/python" -m pip check
