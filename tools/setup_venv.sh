#!/usr/bin/env bash
# Creates a virtual environment with pinned versions: setup_venv.sh PYTHON VENV LINE
# LINE is onedl (the maintained OpenMMLab packages) or upstream (the original ones).
set -euo pipefail

fail() { echo "setup: $1" >&2; exit 2; }
say() { printf 'setup: %d:%02d %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$1"; }

[ $# -eq 3 ] || fail "expected three arguments, PYTHON VENV LINE (for example python3 .venv onedl), got $#"
python=$1 venv=$2 line=$3
cd "$(dirname "$0")/.."

case $line in
    onedl) constraints=requirements/constraints.txt mmcv=onedl-mmcv extras=onedl,data,demo,explain,export,openvino,int8,docs,test newest=99 ;;
    upstream) constraints=requirements/constraints-upstream.txt mmcv=mmcv extras=upstream,data,demo,test newest=11 ;;
    *) fail "LINE must be onedl or upstream, got '$line'" ;;
esac
version=$("$python" -c 'import sys; print(*sys.version_info[:2], sep=".")' 2>/dev/null) || fail "cannot run PYTHON '$python'; call make with PYTHON=/path/to/python3"
"$python" -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, $newest))" ||
    fail "Python must be 3.10 or newer (3.10 or 3.11 for the original OpenMMLab), '$python' is $version; call make with PYTHON=python3.11"
command -v gcc >/dev/null || fail "gcc is needed to compile mmcv; install it first"

install() { "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --constraint "$constraints" "$@"; }

say "virtual environment in $venv"
"$python" -m venv "$venv"
install --upgrade pip setuptools wheel ninja
say "torch and torchvision (several GB)"
install torch torchvision

if ! "$venv/bin/python" -c 'import mmcv.ops' 2>/dev/null; then
    say "mmcv with its compiled ops"
    "$venv/bin/python" tools/dev/install_mmcv.py "$mmcv" "$constraints"
    "$venv/bin/python" -c 'import mmcv.ops' ||
        fail "mmcv has no compiled ops; remove $venv and pip's cached wheel (pip cache remove ${mmcv//-/_}), then call make again"
fi

say "mmengine, mmdet, mmseg, mmpretrain and this package"
# setuptools warns about every editable install.
PYTHONWARNINGS=ignore install --no-build-isolation --editable ".[$extras]"
"$venv/bin/python" -m pip check
say "done"
