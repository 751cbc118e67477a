FROM scratch
HEALTHCHECK --interval=30 CMD true
