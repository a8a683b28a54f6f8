#!/usr/bin/env bash
# Publishes or downloads, as the inputs say; they come in the environment and are never evaluated.
set -euo pipefail

fail() {
    printf '::error::%s\n' "$1"
    exit 2
}

# Fails unless an input is "true" or "false": what is none would be taken for one of them.
is_true() {
    case $2 in
        true) return 0 ;;
        false) return 1 ;;
        *) fail "the input $1 is true or false" ;;
    esac
}

# Appends each line of a text to the array `arguments`, behind an option if one is given.
add_lines() {
    local line
    while IFS= read -r line; do
        line=${line%$'\r'}
        if [[ -n ${line//[[:space:]]/} ]]; then arguments+=("${2-}$line"); fi
    done <<<"$1"
}

bin=$RUNNER_TEMP/ama-action/bin
if [[ -d $RUNNER_TEMP/ama-action/Scripts ]]; then bin=$RUNNER_TEMP/ama-action/Scripts; fi
if [[ -n $AMA_ACTION_REMOTE ]]; then export AMA_REMOTE=$AMA_ACTION_REMOTE; fi
if [[ -z ${AMA_REMOTE-} ]]; then
    fail 'no store is named: set the input remote, or AMA_REMOTE'
fi
if [[ -n $AMA_ACTION_AUTHOR ]]; then
    export AMA_AUTHOR=$AMA_ACTION_AUTHOR
elif [[ -z ${AMA_AUTHOR-} && -n ${GITHUB_ACTOR-} ]]; then
    export AMA_AUTHOR="$GITHUB_ACTOR <$GITHUB_ACTOR@users.noreply.github.com>"
fi

arguments=()
case $AMA_ACTION_COMMAND in
    publish)
        if [[ -z $AMA_ACTION_CLASS ]]; then fail 'the input class is missing'; fi
        if [[ -n ${GITHUB_WORKSPACE-} ]]; then arguments+=("--code=$GITHUB_WORKSPACE"); fi
        add_lines "$AMA_ACTION_ALIASES" --alias=
        add_lines "$AMA_ACTION_REFS" --ref=
        add_lines "$AMA_ACTION_METADATA" --meta=
        if [[ -n $AMA_ACTION_MESSAGE ]]; then arguments+=("--message=$AMA_ACTION_MESSAGE"); fi
        if is_true once "$AMA_ACTION_ONCE"; then arguments+=(--once); fi
        arguments+=(--json -- "$AMA_ACTION_CLASS")
        before=${#arguments[@]}
        add_lines "$AMA_ACTION_FILES"
        if ((${#arguments[@]} == before)); then fail 'the input files is missing'; fi
        ;;
    download)
        if [[ -z $AMA_ACTION_ASSET ]]; then fail 'the input asset is missing'; fi
        if [[ -n $AMA_ACTION_DIRECTORY ]]; then arguments+=("--output=$AMA_ACTION_DIRECTORY"); fi
        add_lines "$AMA_ACTION_INCLUDE" --include=
        add_lines "$AMA_ACTION_EXCLUDE" --exclude=
        if is_true with-refs "$AMA_ACTION_WITH_REFS"; then arguments+=(--refs); fi
        arguments+=(--json -- "$AMA_ACTION_ASSET")
        ;;
    *) fail 'the input command is publish or download' ;;
esac

answer=$(mktemp "$RUNNER_TEMP/ama-XXXXXX")
code=0
"$bin/ama" "$AMA_ACTION_COMMAND" "${arguments[@]}" >"$answer" || code=$?
"$bin/python" -I - "$answer" "$GITHUB_OUTPUT" "$code" <<'PYTHON'
import json
import secrets
import sys

path, output, code = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    text = file.read()
answer = json.loads(text or "{}")
if int(code):
    error = answer.get("error", {"message": "ama failed"})
    said = "\n".join(str(error[key]) for key in ("message", "hint") if error.get(key))
    print("::error::" + said.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))
    sys.exit(int(code))
asset = answer["asset"]
found = {"asset": f"{asset['class_name']}/{asset['number']}", "id": asset["id"]}
if "directory" in answer:
    found["directory"] = answer["directory"]
with open(output, "a", encoding="utf-8") as file:
    for name, value in found.items():
        # A directory may have any name, and a line of its own would be another output.
        end = secrets.token_hex(16)
        file.write(f"{name}<<{end}\n{value}\n{end}\n")
print(f"{found['asset']} ({found['id'][:10]})")
PYTHON
