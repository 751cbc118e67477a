#!/bin/sh
# A stand-in for Alpine's package manager. It knows one package, whose file is in the image already.
set -eu
command=
packages=
for word in "$@"; do
    case $word in
        -*) ;;
        *) if [ -z "$command" ]; then command=$word; else packages="$packages $word"; fi ;;
    esac
done
case $command in
    add) ;;
    update) echo "OK: nothing to update (stand-in)"; exit 0 ;;
    *) echo "ERROR: this stand-in's apk knows only 'add' and 'update'" >&2; exit 1 ;;
esac
for package in $packages; do
    case $package in
        ca-certificates)
            echo "(1/1) Installing ca-certificates (stand-in)"
            mkdir -p /etc/ssl/certs
            cp /usr/share/stand-in/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
            ln -sf certs/ca-certificates.crt /etc/ssl/cert.pem
            ;;
        *) echo "ERROR: unable to select packages: $package (this stand-in knows only ca-certificates)" >&2; exit 1 ;;
    esac
done
echo "OK"
