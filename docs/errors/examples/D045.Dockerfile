#!/usr/bin/env stave
# escape=`
FROM scratch
COPY D045.Dockerfile /
