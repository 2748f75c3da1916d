#!/bin/sh
# Makes the artifacts in this folder, with mender-artifact 3.9 (Debian: apt-get install mender-artifact) and openssl. As root: one
# file gets an owner whose number does not fit into a tar's header. The keys are new each time and thrown away, but for the public
# ones that the tests check the signatures with.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
out=$PWD
cd "$work"
openssl ecparam -name prime256v1 -genkey -noout -out p256.key
openssl genrsa -traditional -out rsa.key 3072
for key in p256 rsa; do openssl pkey -in $key.key -pubout -outform DER -out "$out/$key.spki"; done

printf '/opt/app' >dest_dir
printf 'app.bin' >filename
printf '755' >permissions
printf 'first version\n' >app.bin
printf '#!/bin/sh\nexit 0\n' | tee ArtifactInstall_Enter_05_stop >ArtifactCommit_Leave_00
printf '{"restart":["app"],"nested":{"deep":[1,2.5,true,null]}}' >meta.json
printf 'owned\n' >owned.bin
chown 3000000:3000001 owned.bin
long=$(printf 'a%.0s' $(seq 120))
cp app.bin "$long"

image() { name=$1; shift; mender-artifact write module-image -T single-file -t kusabi-dev -n "$name" -o "$out/$name.mender" "$@" >/dev/null; }
image unsigned -f app.bin
image p256-gzip -f dest_dir -f filename -f permissions -f app.bin -k p256.key
image p256-xz -f app.bin -k p256.key --compression lzma
image p256-none -f app.bin -k p256.key --compression none
image rsa-gzip -f app.bin -k rsa.key
image everything -f app.bin -k p256.key -t board2 -s ArtifactInstall_Enter_05_stop -s ArtifactCommit_Leave_00 \
	-m meta.json -g fix -N vec-0 -N vec-1 -G stable -d app.version:1 -p app.version:2 --clears-provides 'app.*'
image owner -f owned.bin -k p256.key
image long-name -f "$long" -k p256.key
image augmented -f app.bin --augment-file owned.bin --augment-type single-file -k p256.key
mender-artifact write bootstrap-artifact -t kusabi-dev -n bootstrap -o "$out/bootstrap.mender" -k p256.key >/dev/null
truncate -s 1M root.ext4
mkfs.ext4 -q root.ext4
mender-artifact write rootfs-image -t kusabi-dev -n rootfs -f root.ext4 -o "$out/rootfs.mender" -k p256.key >/dev/null
mender-artifact write rootfs-image -t kusabi-dev -n version-2 -f root.ext4 -o "$out/version-2.mender" --version 2 >/dev/null
