#!/bin/sh
set -e
mkdir -p bin
go build -o bin/manager main.go
echo "$GIT_COMMIT$GOFLAGS" > bin/info
