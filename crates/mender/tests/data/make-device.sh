#!/bin/sh
# Makes the keys and signatures of devices in this folder, with openssl. The private keys are thrown away.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
printf '{"id_data":"{\\"mac\\":\\"02:00:00:00:00:01\\"}","tenant_token":"","pubkey":"…"}\n' >device-body.json
openssl genrsa -out "$work/rsa" 3072
openssl ecparam -name prime256v1 -genkey -noout -out "$work/p256"
openssl genpkey -algorithm ed25519 -out "$work/ed25519"
for key in rsa p256 ed25519; do openssl pkey -in "$work/$key" -pubout -out device-$key.pem; done
for key in rsa p256; do openssl dgst -sha256 -sign "$work/$key" device-body.json | base64 -w0 >device-$key.sig; done
openssl pkeyutl -sign -inkey "$work/ed25519" -rawin -in device-body.json | base64 -w0 >device-ed25519.sig
openssl genrsa 1024 | openssl pkey -pubout -out device-weak.pem
