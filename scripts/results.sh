#!/usr/bin/env bash
# The studies behind docs/results.md, on the evaluation data: scripts/results.sh [DATA [OUT]].
# What is in OUT already is used again, so a run that was stopped goes on, and a run after a change of text takes seconds.
# STUDIES="busi lgg" runs only some, METHODS and PRESETS (may be empty) only some methods; MORE goes to each evaluate.
# CORRECT names the methods whose masks a simulated user corrects, of those that are run; empty: none.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${VENV:-.venv}/bin/napari-refit
data=${1:-../shared/data}
out=${2:-results-output}
if [ ! -d "$data" ]; then
    echo "results: there is no evaluation data at $data; docs/results.md stays as it is" >&2
    exit 1
fi

evaluate() {
    local name=$1
    shift
    case " ${STUDIES:-busi lgg hippocampus} " in
    *" $name "*) "$program" evaluate "$data/$name" --out "$out/$name" --correct "$correct" "$@" ${MORE:-} ;;
    esac
}

methods=${METHODS:-gradcam,refit,appearance,fsss,fsss-thorough-appearance,fsss-truth,seam}
# Two modalities are what WSS-CMER compares.
two_modalities=${METHODS:-$methods,cmer}
read -ra presets <<<"${PRESETS---preset paper --preset thorough-appearance}"
correct=${CORRECT-$(printf '%s\n' ${methods//,/ } "${presets[@]/#thorough/refit-thorough}" | grep -xE 'refit|appearance|refit-thorough-.*' | paste -sd , || true)}

evaluate busi --preparation benign-normal --methods "$methods" "${presets[@]}" \
    --train input_size=256 --train epochs=10 \
    --train seam:input_size=192 --train seam:epochs=6 --train seam:seam.scale=0.5 --train seam:learning_rate=0.0001 --train seam:seam.norms=frozen \
    --fsss input_size=192 --fsss epochs=16 --fsss balance=none --fsss patience=0

evaluate lgg --folds 3 --methods "$two_modalities" "${presets[@]}" \
    --train input_size=224 --train epochs=5 --train patience=0 \
    --train classifier:epochs=8 --train classifier:monitor=last --train classifier:flip_vertical=0.5 --train classifier:rotation=30 \
    --train classifier:translation=0.1 --train classifier:scaling=0.25 --train classifier:brightness=0.2 \
    --train classifier:contrast=0.35 --train classifier:gamma=0.35 \
    --train seam:input_size=160 --train seam:epochs=4 --train seam:seam.scale=0.5 --train seam:learning_rate=0.0001 --train seam:seam.norms=frozen \
    --train cmer:input_size=128 --train cmer:epochs=6 --train cmer:learning_rate=0.001 --train cmer:flip_vertical=0.5 \
    --fsss input_size=160 --fsss epochs=4 --fsss contradicted=background

evaluate hippocampus --preparation paper --methods "$methods" "${presets[@]}" \
    --train input_size=128 --train epochs=3 \
    --train seam:input_size=64 --train seam:epochs=3 --train seam:seam.scale=0.5 --train seam:learning_rate=0.0001 --train seam:seam.norms=frozen \
    --fsss input_size=96 --fsss epochs=2

"${VENV:-.venv}/bin/python" docs/gen_results.py "$out"
