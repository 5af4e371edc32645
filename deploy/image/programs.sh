#!/bin/sh
# Builds the programs of all images, static, into OUT/{proxy,init,control}: what is there is the whole image, but for the tools of the redirect.
#   programs.sh OUT [PROFILE]        PROFILE: of cargo, release unless it is said
set -eu
out=$1
profile=${2:-release}
target="$(uname -m)-unknown-linux-gnu"
RUSTFLAGS="-C target-feature=+crt-static"
export RUSTFLAGS

# Each package with the features that it has for users: together they would get the features of all of them.
for package in laneway-proxy laneway-iptables laneway-control-api; do
    cargo build --locked --profile "$profile" --target "$target" -p "$package" --bins
done
built="${CARGO_TARGET_DIR:-target}/$target/$profile"
for image in proxy:laneway-proxy init:laneway-init control:laneway-control control:lanectl; do
    mkdir -p "$out/${image%%:*}/usr/local/bin"
    install -m 0755 "$built/${image#*:}" "$out/${image%%:*}/usr/local/bin/"
    strip "$out/${image%%:*}/usr/local/bin/${image#*:}"
done
