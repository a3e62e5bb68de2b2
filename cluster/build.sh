#!/usr/bin/env bash
# Compiles one program of the cluster: build.sh FOLDER PACKAGE OUTPUT. FOLDER holds the Go module with all versions.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || { echo "The cluster's programs are compiled with Go, which is not installed here" >&2; exit 1; }
output=$PWD/$3
cd "cluster/$1"
echo "Compiling ${output##*/} ..." >&2

# Without these, kubectl and the API server take themselves for version 0.0.0.
version=$(sed -n 's|^\tk8s.io/kubernetes ||p' go.mod)
flags="-s -w"
[ -z "$version" ] || for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
  flags+=" -X $package.gitCommit=unknown -X $package.gitTreeState=clean"
done

# No debugging data, fewer collections of garbage, no tracing of grpc: less to compile, and nothing here uses it.
CGO_ENABLED=0 GOGC=400 go build -trimpath -mod=readonly -tags notest,grpcnotrace -gcflags=all=-dwarf=false \
  -ldflags "$flags" -o "$output.new" "$2"
mv "$output.new" "$output"
