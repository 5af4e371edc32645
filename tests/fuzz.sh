#!/bin/sh
# `./x fuzz [TARGET|all] [EXECUTIONS] [ARGUMENTS]`: libFuzzer over hostile input. Findings are in fuzz/artifacts; fuzz/README.md
# says what each target holds.
set -eu
cd "$(dirname "$0")/../fuzz"
target=${1:-h1}
executions=${2:-1000000}
shift $(($# > 2 ? 2 : $#))
folder=${CARGO_TARGET_DIR:-$PWD/../target}/fuzz
all=$(ls fuzz_targets | sed 's/\.rs$//')
case " $(echo $all) all " in
    *" $target "*) ;;
    *) echo "fuzz: no target $target; there are: $(echo $all) all" >&2; exit 2 ;;
esac
[ "$target" != all ] || target=$all
# The same versions as the product's.
cp ../Cargo.lock Cargo.lock
for one in $target; do
    mkdir -p "corpus/$one" "seeds/$one"
    dictionary=
    [ ! -e "$one.dict" ] || dictionary="-dict=$one.dict"
    echo "== $one: $executions executions" >&2
    # No `exec`: the next target follows. The stable compiler has what libFuzzer needs.
    RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir . --target-dir "$folder" --sanitizer none \
        "$one" "corpus/$one" "seeds/$one" -- -runs="$executions" $dictionary -max_len=2048 -print_final_stats=1 "$@"
done
