#!/bin/sh
# Copies the tools of the redirect (ip, nft, and iptables as it asks nft) into ROOT, each with the libraries that it loads, and nothing else.
#   redirect.sh ROOT
set -eu
root=$1

copy() { # with the folders above it, as what it is
    mkdir -p "$root$(dirname "$1")"
    [ -e "$root$1" ] || cp -L "$1" "$root$1"
}

for tool in ip nft xtables-nft-multi; do
    # Where the image's PATH looks, by whatever way this machine comes to it.
    path=$(realpath "$(command -v "$tool" || echo "/usr/sbin/$tool")")
    copy "$path"
    ldd "$path" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (.*/\1/p' | while read -r library; do copy "$library"; done
done
# Under the names by which laneway-init calls it.
for name in iptables ip6tables iptables-restore ip6tables-restore iptables-save ip6tables-save; do
    ln -sf xtables-nft-multi "$root/usr/sbin/$name"
done
extensions=$(dirname "$(find /usr/lib -path '*/xtables/libxt_tcp.so' | head -n 1)")
for extension in libxt_tcp libxt_owner libxt_multiport libxt_comment libxt_standard libipt_REDIRECT libip6t_REDIRECT libxt_REDIRECT libxt_NAT; do
    [ ! -e "$extensions/$extension.so" ] || copy "$extensions/$extension.so"
done
