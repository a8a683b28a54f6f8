#!/bin/sh
# The job that ama is for, from the output of a training run to a colleague who uses the model.
#
#   examples/mission.sh [DIRECTORY]
#
# Works in DIRECTORY (a temporary one if none is given) on a copy of examples/sample. The store lies
# there too, so that nothing is left in your home; without the three variables below, ama makes it
# in your user data directory.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
place=${1:-$(mktemp -d)}
mkdir -p "$place/training" "$place/colleague"
place=$(CDPATH='' cd -- "$place" && pwd)
cp "$here"/sample/* "$place/training/"

export AMA_DATA_DIR="$place/data" AMA_CACHE_DIR="$place/cache" AMA_CONFIG_DIR="$place/config"
unset AMA_REMOTE

# Shows each command before it runs it.
ama() {
    printf '\n$ ama %s\n' "$*"
    command ama "$@"
}

# In the directory that holds the output of a training run:
cd "$place/training"

ama init nlp_embeddings
ama add git_commit_info_ckpt0.yml, run_config_ckpt0.yml, training.yml
ama set --alias my_training_inputs
ama upload

ama init sequence_models
ama add graph_version.txt, meta.yml, model.h5, model.yml, summary_dict.json
ama set --alias my_model
ama add ref --alias my_training_inputs
ama upload

# a colleague, elsewhere
cd "$place/colleague"

ama download sequence_models --alias my_model
ama download sequence_models --alias my_model --refs

# Who made this model, when, and from what?
cd "$place/colleague/my_model"

ama log
ama ref list
ama show sequence_models@my_model

printf '\nWhere everything is:\n'
printf '  %s  (the training run)\n' "$place/training"
printf '  %s  (the store)\n' "$AMA_DATA_DIR/store"
for copy in "$place"/colleague/*/; do
    printf "  %s  (the colleague's copy)\n" "${copy%/}"
done
