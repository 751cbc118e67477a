FROM scratch
USER a:b:c
