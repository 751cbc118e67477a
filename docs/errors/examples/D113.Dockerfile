FROM scratch
USER me:
