FROM scratch
COPY a b /dir
