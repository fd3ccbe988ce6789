#!/usr/bin/env bash
# The runs behind the README's tables, one function a table; only that of frozen features has a
# program of its own, frozen_features.py.
#
#     bash benchmarks/tables.sh TABLE [--seed 0]      one of the names that "tables.sh" alone prints
#
# Runs go to $OUT (runs/tables by default); `cl-suite show` of the folders that it names at the end
# prints the rows. Options after the name are added to each run and win, such as --seed or --device.
# A table that was stopped goes on with --resume.
# $SPOKEN_DIGITS and $MINI_IMAGENET are data roots, $DEIT_TINY a weights file.
set -eo pipefail  # no -u: to an older bash an empty list is unset
cd "$(dirname "$0")/.."

OUT=${OUT:-runs/tables}
EXTRA=()
FOLDERS=()

run() { # row, scenario, strategy, options
    local row=$1 scenario=$2 strategy=$3
    shift 3
    cl-suite run "$scenario" "$strategy" --device cpu --seed 0 1 2 "$@" "${EXTRA[@]}" \
        --out "$OUT/$TABLE/$row"
    FOLDERS+=("$OUT/$TABLE/$row/$scenario")
}

from() { echo "$OUT/$TABLE/$1/$2/$3/seed{seed}"; } # row, scenario, strategy

table_omniglot() {
    run teen omniglot teen
    local base
    base=$(from teen omniglot teen)
    run teen_0.3 omniglot teen --start-from "$base" --strategy.shift_weight 0.3
    for strategy in prototype replay lwf ewc finetune; do
        run "$strategy" omniglot "$strategy" --start-from "$base"
    done
}

table_spoken_digits() {
    : "${SPOKEN_DIGITS:?must name the folder of the recordings}"
    # the scenario's recipe for all, which coconut's own file would replace
    local recipe=(
        --scenario.root "$SPOKEN_DIGITS" --seed 0 1 2 3 4 --training.incremental_batchnorm train
        --training.base_epochs 30 --training.incremental_epochs 30 --training.batch_size 32
        --training.lr 0.05 --training.incremental_lr 0.02 --training.optimizer sgd
        --training.schedule cosine --training.weight_decay 0.0005
    )
    for strategy in joint er supcon_replay coconut finetune; do
        run "$strategy" spoken_digits "$strategy" "${recipe[@]}"
    done
    for distill in label feature logit; do
        run "kd_$distill" spoken_digits kd_replay "${recipe[@]}" --strategy.distill "$distill"
    done
    run fpf spoken_digits fpf "${recipe[@]}" \
        --strategy.host er --strategy.host_params '{buffer: 40}'
    run kfpf spoken_digits kfpf "${recipe[@]}" --strategy.buffer 40
    local ablated=("${recipe[@]}" --seed 0 1 2)
    run coconut_weight_0.1 spoken_digits coconut "${ablated[@]}" --strategy.nspt_weight 0.1
    run coconut_no_nspt spoken_digits coconut "${ablated[@]}" --strategy.nspt_weight 0
    run coconut_no_mm spoken_digits coconut "${ablated[@]}" --strategy.multimodal_weight 0
    local authors=(
        "${recipe[@]}" --training.base_epochs 50 --training.incremental_epochs 50
        --training.batch_size 80 --training.lr 0.0005 --training.incremental_lr 0.0005
        --training.optimizer adamw --training.schedule constant --training.weight_decay 0
    )
    for strategy in er coconut; do
        run "authors_$strategy" spoken_digits "$strategy" "${authors[@]}"
    done
}

table_cler() {
    local recipe=(
        --scenario.way 24 --training.base_epochs 3 --training.incremental_epochs 3
        --training.batch_size 10 --training.lr 0.03 --training.incremental_lr 0.03
        --training.momentum 0 --training.nesterov false --training.weight_decay 0
        --training.schedule constant --training.incremental_batchnorm train --model.head linear
    )
    local host params buffer
    for host in er_ace der finetune; do
        params='{buffer: 500}' buffer=(--strategy.buffer 500)
        [[ $host == finetune ]] && params='{}' buffer=()
        run "$host" class_incremental "$host" "${recipe[@]}" "${buffer[@]}"
        run "cler_$host" class_incremental cler "${recipe[@]}" --strategy.host "$host" \
            --strategy.host_params "$params" --strategy.pretext rotation --strategy.weight 0.3
    done
}

table_without_labels() {
    local recipe=(
        --scenario.way 81 --training.base_epochs 20 --training.warmup_epochs 2
        --evaluation.sessions seen --strategy.projector_dim 512
    )
    run simclr class_incremental simclr "${recipe[@]}"
    run cassle class_incremental cassle "${recipe[@]}" \
        --strategy.base simclr --strategy.predictor_dim 512
    run sycon class_incremental sycon "${recipe[@]}" \
        --strategy.form simclr --strategy.predictor_dim 512
}

table_limit() {
    run prototype omniglot prototype
    local base
    base=$(from prototype omniglot prototype)
    run limit omniglot limit --start-from "$base"
    run no_attention omniglot limit --start-from "$base" --strategy.calibrate false
    run backbone_still omniglot limit --start-from "$base" --strategy.lr_backbone 0
}

table_limit_mini_imagenet() {
    : "${MINI_IMAGENET:?must name the folder of the images}" "${DEIT_TINY:?must name a weights file}"
    local frozen=(
        --scenario.root "$MINI_IMAGENET" --model.backbone deit_tiny_patch16_224
        --model.weights "$DEIT_TINY" --model.frozen true --training.base_epochs 0
    )
    local chosen=(--strategy.lr_head 0.004 --strategy.milestones '[]')
    run prototype mini_imagenet prototype "${frozen[@]}" --training.incremental_epochs 0
    run limit mini_imagenet limit "${frozen[@]}" "${chosen[@]}"
    run limit_authors mini_imagenet limit "${frozen[@]}"
    run no_attention mini_imagenet limit "${frozen[@]}" "${chosen[@]}" --strategy.calibrate false
}

table_mamlcon() {
    : "${SPOKEN_DIGITS:?must name the folder of the recordings}"
    local stream=(
        --scenario.root "$SPOKEN_DIGITS" --scenario.base_classes 6 --scenario.way 1
        --scenario.shots 5
    )
    run finetune spoken_digits finetune "${stream[@]}" --model.head linear
    # the base session alone: `--model.weights` takes a run's last network
    run base spoken_digits finetune "${stream[@]}" --model.head linear \
        --training.incremental_epochs 0
    local base
    base=$(from base spoken_digits finetune)
    run class_means spoken_digits prototype "${stream[@]}" --model.weights "$base" \
        --training.base_epochs 0 --training.incremental_epochs 0
    local meta=(
        "${stream[@]}" --start-from "$base" --strategy.way 1 --strategy.meta_batch 2
        --strategy.meta_epochs 5 --strategy.meta_steps 20 --strategy.outer_lr 0.001
        --strategy.inner_lr 0.003
    )
    run second_order spoken_digits mamlcon "${meta[@]}"
    meta+=(--strategy.first_order true)
    run first_order spoken_digits mamlcon "${meta[@]}"
    run no_templates spoken_digits mamlcon "${meta[@]}" --strategy.templates false
    run oml spoken_digits mamlcon "${meta[@]}" --strategy.inner head
    meta+=(--strategy.unit_order drawn)
    run oml_drawn spoken_digits mamlcon "${meta[@]}" --strategy.inner head
}

table_mamlcon_omniglot() {
    # the paper's encoder is like this one
    local network=(--model.backbone melconv)
    run base omniglot finetune "${network[@]}" --model.head linear \
        --training.incremental_epochs 0
    local base
    base=$(from base omniglot finetune)
    run finetune omniglot finetune "${network[@]}" --model.head linear --start-from "$base"
    run class_means omniglot prototype "${network[@]}" --model.weights "$base" \
        --training.base_epochs 0 --training.incremental_epochs 0
    local meta=(
        "${network[@]}" --start-from "$base" --strategy.first_order true --strategy.way 10
        --strategy.queries 2 --strategy.episode_classes 20 --strategy.meta_batch 2
        --strategy.meta_epochs 5 --strategy.meta_steps 40 --strategy.outer_lr 0.001
        --strategy.unit_order drawn
    )
    run mamlcon omniglot mamlcon "${meta[@]}" --strategy.inner_lr 0.01
    run oml omniglot mamlcon "${meta[@]}" --strategy.inner_lr 0.1 --strategy.inner head
}

few_shot_tasks() { # row, scenario, strategy, pretrained, tasks a network, options
    local row=$1 scenario=$2 strategy=$3 pretrained=$4 tasks=$5 network
    shift 5
    for network in 0 1 2; do
        # shellcheck disable=SC2046
        run "$row" "$scenario" "$strategy" "$@" \
            --seed $(seq $((10 * network)) $((10 * network + tasks - 1))) --model.weights \
            "$OUT/$TABLE/pretrained/cfsl_pretraining/$pretrained/seed$network"
    done
}

table_cfsl() {
    run pretrained cfsl_pretraining finetune
    run pretrained cfsl_pretraining protonet
    local tune=(--strategy.memory_sets 0)
    local published=("${tune[@]}" --training.base_epochs 5 --training.incremental_epochs 5)
    few_shot_tasks cfsl cfsl cfsl finetune 10
    few_shot_tasks protonet cfsl protonet protonet 10
    few_shot_tasks no_memory cfsl cfsl finetune 10 "${published[@]}"
    few_shot_tasks no_memory_120 cfsl cfsl finetune 5 "${tune[@]}"
    local row corrupted occluded=(--scenario.corruption occlusion --scenario.amount 0.2)
    for row in whole occluded; do
        [[ $row == whole ]] && corrupted=() || corrupted=("${occluded[@]}")
        few_shot_tasks "$row" instance_test cfsl finetune 5 "${corrupted[@]}"
        few_shot_tasks "$row" instance_test protonet protonet 5 "${corrupted[@]}"
        few_shot_tasks "${row}_no_memory" instance_test cfsl finetune 5 \
            "${corrupted[@]}" "${published[@]}"
    done
}

table_picle() {
    local small=(
        --scenario.patterns '[circle, x, square]' --scenario.plus_items 1500
        --scenario.minus_items 600 --scenario.image_items 640 --strategy.maps 8
        --strategy.path_epochs 15 --strategy.patience 5 --training.lr 0.002
    )
    local sequence search
    for sequence in S_out S_few S_in; do
        for search in standalone random picle; do
            run "${sequence}_$search" problem_sequence picle "${small[@]}" \
                --scenario.sequence "$sequence" --strategy.search "$search"
        done
    done
    for search in standalone picle; do
        run "S_in_larger_$search" problem_sequence picle --scenario.sequence S_in --scenario.length 4 \
            --scenario.patterns '[circle, x, square]' --scenario.plus_items 3000 \
            --scenario.minus_items 3000 --strategy.path_epochs 30 --strategy.patience 6 \
            --strategy.search "$search"
    done
}

TABLE=${1:-}
if ! declare -F "table_$TABLE" > /dev/null; then
    echo "tables: $(declare -F | sed -n 's/^declare -f table_//p' | tr '\n' ' ')" >&2
    exit 2
fi
EXTRA=("${@:2}")
"table_$TABLE"
for folder in $(printf '%s\n' "${FOLDERS[@]}" | sort -u); do
    cl-suite show "$folder"
done
