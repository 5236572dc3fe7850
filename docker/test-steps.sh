#!/usr/bin/env bash
# Runs the steps of docker/Dockerfile.cpu without a build engine: each stage is a root that
# debootstrap makes, each instruction is read from the file. Then starts the ENTRYPOINT there as an
# orchestrator would: as the file's USER, without capabilities, as process 1, on a read-only root;
# and looks at /health, the HEALTHCHECK, an answer, and SIGTERM.
# usage, as root: docker/test-steps.sh MODEL.gguf     Exit 77: no root can be made here.
. "$(dirname "$0")/../scripts/lib.sh"
cd "$ROOT"
MODEL=$(realpath "${1:?usage: docker/test-steps.sh MODEL.gguf}")
[ -f "$MODEL" ] || die "$MODEL is no file" "build/tests/models/target.gguf is one, once tests are built"
FILE=docker/Dockerfile.cpu
PORT=18080

if [ "${IN_NAMESPACE:-}" != 1 ]; then
    [ "$(id -u)" = 0 ] || { say "skipped: needs root" && exit 77; }
    (install_packages debootstrap curl rsync) || { say "skipped: no debootstrap" && exit 77; }
    unshare --mount true 2>/dev/null || { say "skipped: no mount namespaces here" && exit 77; }
    IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi

# In a mount namespace of its own: what is mounted below goes away with this process.
WORK=$(mktemp -d)
init=
cleanup() {
    [ -z "$init" ] || kill -KILL "$init" 2>/dev/null || true
    umount -R "$WORK"/*/proc "$WORK"/*/dev "$WORK/run" 2>/dev/null || true
    rm -rf --one-file-system "$WORK"
}
trap cleanup EXIT

# make_root NAME IMAGE: what the image's name stands for, with the package sources of this machine.
make_root() {
    [ "$2" = debian:12-slim ] || die "no root for $2" "test-steps.sh knows debian:12-slim"
    if [ ! -d "$WORK/base" ]; then
        say "debootstrap"
        debootstrap --variant=minbase bookworm "$WORK/base" >"$WORK/log" 2>&1 ||
            { tail -n 20 "$WORK/log" && say "skipped: debootstrap failed" && exit 77; }
        rm -f "$WORK/base/etc/apt/sources.list"
        [ ! -f /etc/apt/sources.list ] || cp /etc/apt/sources.list "$WORK/base/etc/apt/"
        cp -r /etc/apt/sources.list.d /etc/apt/apt.conf.d "$WORK/base/etc/apt/"
        cp /etc/resolv.conf "$WORK/base/etc/"
    fi
    cp -a "$WORK/base" "$WORK/$1"
    mount -t proc proc "$WORK/$1/proc"
    mount --rbind /dev "$WORK/$1/dev"
}

# words VALUE: the elements of ["a", "b"], one a line.
words() { python3 -c 'import json, sys; print("\n".join(json.loads(sys.argv[1])))' "$1"; }

# copy STAGE ARGUMENT...: COPY, from the checkout without what .dockerignore names, or a stage.
copy() {
    local stage=$1 from=$ROOT
    shift
    if [[ $1 == --from=* ]]; then
        from=$WORK/${1#--from=} && shift
        mkdir -p "$WORK/$stage/$2"
        rsync -a --keep-dirlinks "$from/$1" "$WORK/$stage/$2"
    else
        mkdir -p "$WORK/$stage/$2"
        # There a name without **/ is one of the top; to rsync that is /name.
        sed 's,^[^*],/&,; s,^\*\*/,,' .dockerignore |
            rsync -a --exclude-from=- "$from/$1/" "$WORK/$stage/$2/"
    fi
}

stage="" user="" entrypoint="" health="" env=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
while read -r word rest; do
    case $word in
    "" | \#* | LABEL | EXPOSE | STOPSIGNAL) ;;
    FROM)
        read -r image _ stage <<<"$rest"
        stage=${stage:-final}
        env=("${env[0]}")
        make_root "$stage" "$image"
        ;;
    COPY)
        # shellcheck disable=SC2086
        copy "$stage" $rest
        ;;
    RUN)
        say "$stage: $rest"
        env -i HOME=/root "${env[@]}" chroot "$WORK/$stage" /bin/sh -c "$rest" </dev/null
        ;;
    ENV) for pair in $rest; do env+=("$pair"); done ;;
    USER) user=$rest ;;
    HEALTHCHECK) health=${rest#*CMD } ;;
    ENTRYPOINT) entrypoint=$rest ;;
    *) die "$FILE: $word" "teach docker/test-steps.sh this instruction" ;;
    esac
done < <(sed -e ':a' -e '/\\$/N; s/\\\n//; ta' "$FILE")
say "final: $(du -sh --one-file-system "$WORK/final" 2>/dev/null | cut -f1)"

say "starting it as $user, process 1 on a read-only root"
root=$WORK/run
mkdir "$root"
mount --bind "$WORK/final" "$root" && mount -o remount,bind,ro "$root"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o uid=10001,gid=10001 tmpfs "$root/var/cache/specd"
mount -t tmpfs tmpfs "$root/models" && cp "$MODEL" "$root/models/model.gguf"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mapfile -t command < <(words "$entrypoint")
mapfile -t check < <(words "$health")
as_user=(setpriv "--reuid=${user%:*}" "--regid=${user#*:}" --clear-groups --no-new-privs
    --bounding-set=-all --inh-caps=-all)
env+=("SPECD_PORT=$PORT" SPECD_MODEL=/models/model.gguf)
# chroot needs a capability that the daemon must not have; so first chroot, then setpriv, inside.
unshare --pid --fork --kill-child=KILL env -i "${env[@]}" \
    chroot "$root" "${as_user[@]}" "${command[@]}" 2>"$WORK/log" &
outer=$!
for _ in $(seq 300); do
    curl -sf "http://127.0.0.1:$PORT/ready" >/dev/null && break
    kill -0 "$outer" 2>/dev/null || break
    sleep 0.1
done
cat "$WORK/log" >&2
init=$(pgrep -P "$outer") || die "the daemon did not start" "its log is above"
[ "$(curl -s "http://127.0.0.1:$PORT/health")" = '{"status":"ok"}' ] || die "/health" "see the log above"
grep -q '^Uid:.10001.10001' "/proc/$init/status" || die "it does not run as $user" "see USER in $FILE"
grep -q '^NSpid:.*	1$' "/proc/$init/status" || die "it is not process 1" "see ENTRYPOINT in $FILE"
grep -q '^CapEff:.0*$' "/proc/$init/status" || die "it has capabilities" "see test-steps.sh"
env -i "${env[@]}" chroot "$root" "${as_user[@]}" "${check[@]}" || die "HEALTHCHECK failed" "docker/health.sh"
env -i "${env[@]}" SPECD_PORT=1 chroot "$root" "${as_user[@]}" "${check[@]}" 2>/dev/null &&
    die "HEALTHCHECK finds a server where none is" "docker/health.sh"
curl -sf "http://127.0.0.1:$PORT/v1/completions" -H 'Content-Type: application/json' \
    -d '{"prompt":"hello","max_tokens":4}' | grep -q '"choices"' || die "no answer" "see the log above"

say "SIGTERM"
kill -TERM "$init"
code=0
wait "$outer" || code=$?
init=
[ $code = 0 ] || die "exit code $code after SIGTERM" "$(cat "$WORK/log")"
say "the image's steps: passed"
