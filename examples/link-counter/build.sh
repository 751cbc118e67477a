#!/bin/sh
# The old way to a small image: two Dockerfiles and a container in between. `stave` runs it as `docker` would.
set -eu

docker build -t link-counter:compile -f Dockerfile.build .

docker create --name link-counter-extract link-counter:compile
docker cp link-counter-extract:/go/src/link-counter/link-counter ./link-counter
docker rm -f link-counter-extract

docker build --no-cache -t link-counter:packed -f Dockerfile.pack .
rm ./link-counter
