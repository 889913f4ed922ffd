#!/usr/bin/env bash
# Checks out REPOSITORY at REF into the workspace's DESTINATION, as actions/checkout does.
set -euo pipefail

fail() {
    echo "::error::$1"
    exit 1
}

[ "$SUBMODULES" = false ] || fail "The sandbox's checkout does not fetch submodules."
[ "$LFS" = false ] || fail "The sandbox's checkout does not fetch Git LFS files."
case "/$DESTINATION/" in */../*) fail "Repository path '$DESTINATION' is not under '$GITHUB_WORKSPACE'" ;; esac

folder="$GITHUB_WORKSPACE/$DESTINATION"
mkdir -p "$folder"
cd "$folder"
if [ ! -d .git ]; then
    git init --quiet --initial-branch=main .
    git remote add origin "$GITHUB_SERVER_URL/$REPOSITORY"
fi
git remote set-url origin "$GITHUB_SERVER_URL/$REPOSITORY"

# The token is neither on a command line nor, unless it is to stay, on disk.
header="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$TOKEN" | base64 | tr -d '\n')"
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="http.$GITHUB_SERVER_URL/.extraheader" GIT_CONFIG_VALUE_0="$header"
export GIT_TERMINAL_PROMPT=0

depth=(--depth "$DEPTH")
if [ "$DEPTH" = 0 ]; then
    depth=()
    git fetch --quiet --force --tags --prune origin '+refs/heads/*:refs/remotes/origin/*'
fi

fetch() { git fetch --quiet --force --no-tags "${depth[@]}" origin "$@"; }

commit=
branch=
if [ -z "$REF" ] && [ "$REPOSITORY" = "$OWN_REPOSITORY" ]; then
    # Exactly the commit that started the workflow, also when its branch has moved on.
    commit="$OWN_SHA"
    REF="$OWN_REF"
    case "$OWN_REF" in refs/heads/*) branch="${OWN_REF#refs/heads/}" ;; esac
    fetch "$commit"
elif [[ "$REF" =~ ^[0-9a-f]{40}$ ]]; then
    commit="$REF"
    fetch "$commit"
else
    REF="${REF:-HEAD}"
    case "$REF" in refs/* | HEAD) candidates=("$REF") ;; *) candidates=("refs/heads/$REF" "refs/tags/$REF") ;; esac
    for candidate in "${candidates[@]}"; do
        if fetch "$candidate" 2> /dev/null; then
            commit="$(git rev-parse 'FETCH_HEAD^{commit}')"
            case "$candidate" in refs/heads/*) branch="${candidate#refs/heads/}" ;; esac
            break
        fi
    done
    [ -n "$commit" ] || fail "A branch or tag with the name '$REF' could not be found"
fi

if [ -n "$branch" ]; then
    git update-ref "refs/remotes/origin/$branch" "$commit"
    git -c advice.detachedHead=false checkout --quiet --force -B "$branch" "refs/remotes/origin/$branch"
else
    git -c advice.detachedHead=false checkout --quiet --force --detach "$commit"
fi

if [ "$PERSIST" = true ]; then
    chmod 600 .git/config
    git config --unset-all "http.$GITHUB_SERVER_URL/.extraheader" || true
    printf '[http "%s/"]\n\textraheader = %s\n' "$GITHUB_SERVER_URL" "$header" >> .git/config
fi

echo "ref=$REF" >> "$GITHUB_OUTPUT"
echo "commit=$commit" >> "$GITHUB_OUTPUT"
echo "HEAD is now at $(git log -1 --format='%H %s')"
